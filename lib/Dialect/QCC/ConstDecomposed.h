//===- ConstDecomposed.h - values of named operations -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_CONSTDECOMPOSED_H
#define QCC_LIB_DIALECT_QCC_CONSTDECOMPOSED_H

#include "mlir/IR/Operation.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// Evaluates a named operation with one static result (isDecomposable) by the
/// generics that it means, made beside the module it is in. `operands` and
/// `out` are bytes in memory (getTensorBytes). Errors: Internal for an
/// operation that cannot be evaluated.
llvm::Error evaluateDecomposed(mlir::Operation *op,
                               llvm::ArrayRef<llvm::ArrayRef<char>> operands,
                               llvm::MutableArrayRef<char> out);

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_CONSTDECOMPOSED_H
