//===- PickedProducts.h - products with weights picked by data --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_PICKEDPRODUCTS_H
#define QCC_LIB_IMPORT_ONNX_PICKEDPRODUCTS_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// The product of two tensors of rank 3 or more where one of them is picked
/// from the matrices of a constant `[E, ., .]` by indices that data tells, a
/// matrix for each row (or column) of the other, as frameworks export the
/// experts of a mixture: each of the E matrices is multiplied by the rows that
/// picked it alone, so that it is a weight like that of any product. The shape
/// is that of the matrix product. None if the operands are not so; null with a
/// problem recorded for a limit.
std::optional<mlir::Value> multiplyPicked(NodeContext &node, mlir::Value lhs,
                                          mlir::Value rhs);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_PICKEDPRODUCTS_H
