//===- MatMul.h - matrix products of integers -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_MATMUL_H
#define QCC_LIB_IMPORT_ONNX_MATMUL_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// The exact product `[..., M, K] x [..., K, N]` with numpy's rules as
/// `elementType` (i32, i64, f64 ...), each operand less its zero point where
/// there is one: a scalar, or per row of `lhs` (`[..., M]` or `[..., M, 1]`)
/// and per column of `rhs` (`[..., N]` or `[..., 1, N]`).
mlir::Value multiplyExactly(NodeContext &node, mlir::Value lhs,
                            mlir::Value lhsZero, mlir::Value rhs,
                            mlir::Value rhsZero, mlir::Type elementType);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_MATMUL_H
