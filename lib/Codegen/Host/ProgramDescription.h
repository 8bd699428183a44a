//===- ProgramDescription.h - types and sizes for the blob ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H
#define QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/Types.h"
#include "qcc/Runtime/ProgramWriter.h"

namespace qcc {

/// The size expression that the runtime evaluates for an affine expression
/// without dimensions.
SizeExpr toSizeExpr(mlir::AffineExpr expr);

} // namespace qcc

#endif // QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H
