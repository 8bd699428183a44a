//===- BatchedProducts.cpp - products with a weight per batch ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "BatchedProducts.h"
#include "Importer.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Most weights of a node, and how many elements each must have: below, one
/// kernel for all takes less time than one for each.
static constexpr int64_t kMaxWeights = 512, kMinElements = 65536;

/// Axis of the weights in `lhs`, or -1 if all of them multiply the same rows;
/// none if it has another number of batches.
static std::optional<int64_t> findAxis(NodeContext &node, Value lhs,
                                       int64_t number) {
  Dims dims = node.dims(lhs);
  if (dims.size() < 3)
    return -1;
  auto axis = int64_t(dims.size()) - 3;
  std::optional<int64_t> batches = getConstantSize(dims[axis]);
  if (batches == number)
    return axis;
  return batches == 1 ? std::optional<int64_t>(-1) : std::nullopt;
}

std::optional<Value> multiplyBatches(NodeContext &node, Value lhs, Value rhs) {
  auto type = cast<RankedTensorType>(rhs.getType());
  if (type.getRank() != 3 || !type.hasStaticShape() || node.rank(lhs) < 2 ||
      !isConstantExpression(rhs) || isConstantExpression(lhs))
    return std::nullopt;
  int64_t number = type.getDimSize(0);
  std::optional<int64_t> axis = findAxis(node, lhs, number);
  if (!axis || number < 2 || number > kMaxWeights ||
      type.getNumElements() / number < kMinElements ||
      !node.importer.countParts(number))
    return std::nullopt;
  // All batches but that of the weights.
  Dims dims = node.dims(lhs), rows = dims;
  if (rows.size() > 2)
    rows.erase(rows.end() - 3);
  Dims part = rows;
  part.insert(part.end() - 2, node.size(1));
  part.back() = node.size(type.getDimSize(2));
  auto joined = int64_t(part.size()) - 3;
  SmallVector<Value> parts;
  for (int64_t i = 0; i < number; ++i) {
    Value own =
        *axis < 0 ? lhs : node.slice(lhs, *axis, node.size(i), node.size(1));
    Value product = node.matmul(node.reshape(own, rows), node.takePart(rhs, i));
    parts.push_back(node.reshape(product, part));
    if (!parts.back() || node.getProblem())
      return Value();
  }
  return node.concatMany(parts, joined);
}

} // namespace qcc::onnx_import
