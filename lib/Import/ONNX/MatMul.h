//===- MatMul.h - matrix products of integers -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_MATMUL_H
#define QCC_LIB_IMPORT_ONNX_MATMUL_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// Makes a row of a vector `lhs` and a column of a vector `rhs`; false with a
/// problem recorded for scalars.
bool makeMatrices(NodeContext &node, mlir::Value &lhs, mlir::Value &rhs);

/// The exact product `[..., M, K] x [..., K, N]` with numpy's rules as
/// `elementType` (i32, i64, f64 ...).
mlir::Value multiplyExactly(NodeContext &node, mlir::Value lhs, mlir::Value rhs,
                            mlir::Type elementType);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_MATMUL_H
