//===- SchemeCheck.h - whether the parts of a scheme agree ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SCHEME_SCHEMECHECK_H
#define QCC_SCHEME_SCHEMECHECK_H

#include "qcc/Scheme/Scheme.h"

namespace qcc {

/// Checks that the parts of a scheme do what Scheme.h says and agree with each
/// other, on sample weights: choose() gives maps that can be stored, assign()
/// the nearest codes, value() is linear if isLinear() says so, and decode()
/// gives back what pack() stored. Decodes of operations that cannot be
/// evaluated here (evaluateConstants) are only checked for the number and types
/// of their results. Errors (BadPlugin) say what was expected and what came.
llvm::Error checkScheme(const Scheme &scheme, mlir::MLIRContext &context);

/// The values of `results` after the operations of `block`, which depend on
/// constants alone: elementwise operations that fold, and those of vector that
/// move bits. None if an operation is another.
std::optional<llvm::SmallVector<mlir::DenseElementsAttr>>
evaluateConstants(mlir::Block &block, llvm::ArrayRef<mlir::Value> results);

} // namespace qcc

#endif // QCC_SCHEME_SCHEMECHECK_H
