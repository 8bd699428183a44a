//===- BatchedProducts.h - products with a weight per batch -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_BATCHEDPRODUCTS_H
#define QCC_LIB_IMPORT_ONNX_BATCHEDPRODUCTS_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// The product of `[..., E, M, K]`, `[..., 1, M, K]` or `[M, K]` and a constant
/// `[E, K, N]` of large matrices, as dense experts and projections of heads are
/// exported: E products with a weight each, joined. None if the operands are
/// not so; null with a problem recorded where sizes do not fit.
std::optional<mlir::Value> multiplyBatches(NodeContext &node, mlir::Value lhs,
                                           mlir::Value rhs);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_BATCHEDPRODUCTS_H
