//===- RecurrentCodes.cpp - recurrent layers with integer weights -*- C++ -===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RecurrentCodes.h"
#include "Quantized.h"

using namespace mlir;

namespace qcc::onnx_import {

std::optional<CodedWeight> readCodedWeight(NodeContext &node, unsigned i,
                                           unsigned scaleAt,
                                           int64_t direction) {
  for (unsigned part : {scaleAt, scaleAt + 1}) {
    if (!node.has(part)) {
      (void)node.refuse(Diag::BadGraph, "expected input " + Twine(part) +
                                            ", but it is left out");
      return std::nullopt;
    }
    Dims sizes = node.inDims(part), weight = node.inDims(i);
    bool fits = sizes.size() == 1 || sizes.size() == 2;
    if (!fits)
      (void)node.refuse(Diag::BadShape,
                        "expected scales and zero points of rank 1 or 2, but "
                        "got rank " +
                            Twine(sizes.size()));
    if (!fits ||
        !node.requireEqual(sizes[0], weight[0],
                           "scales or zero points and directions") ||
        (sizes.size() == 2 &&
         !node.requireEqual(sizes[1], weight[2],
                            "scales or zero points and gates")))
      return std::nullopt;
  }
  Type type = node.inElem(i);
  if (!type.isInteger(8) || node.inElem(scaleAt + 1) != type ||
      !node.inElem(scaleAt).isF32()) {
    (void)node.refuse(Diag::UnsupportedType,
                      "expected weights of int8 or uint8 with zero points of "
                      "their type and scales of float");
    return std::nullopt;
  }
  return CodedWeight{node.takePart(node.in(i), direction),
                     node.takePart(node.in(scaleAt), direction),
                     node.takePart(node.in(scaleAt + 1), direction)};
}

Value multiplyCoded(NodeContext &node, Value rows, const CodedWeight &weight) {
  if (!rows || !weight.codes)
    return {};
  return multiplyDynamically(node, rows, weight.codes, weight.scale,
                             weight.zero, /*bias=*/{});
}

Value turnSequences(NodeContext &node, Value tensor, Value lengths) {
  if (!tensor)
    return {};
  Dims dims = node.dims(tensor);
  auto rank = static_cast<unsigned>(dims.size());
  return node.generic(
      dims, node.elem(tensor), lengths, node.makeMap(rank, node.d(1)), tensor,
      [&](Body &body, ValueRange x) {
        SmallVector<Value> at;
        for (unsigned i = 0; i < rank; ++i)
          at.push_back(body.dim(i));
        Value length = body.toIndex(x[0]);
        Value mirrored = body.sub(body.sub(length, body.index(1)), at[0]);
        at[0] = body.clampIndex(
            body.select(body.lt(at[0], length), mirrored, at[0]),
            body.extent(dims[0]));
        return body.read(x[1], at);
      });
}

Value dropPadding(NodeContext &node, Value tensor, Value lengths) {
  if (!tensor)
    return {};
  Dims dims = node.dims(tensor);
  auto rank = static_cast<unsigned>(dims.size());
  Value longest =
      node.reduce(Combiner::Max, lengths, {0}, false, node.elem(lengths));
  if (!longest)
    return {};
  return node.generic(
      dims, node.elem(tensor), {tensor, longest},
      {AffineMap::getMultiDimIdentityMap(rank, node.b.getContext()),
       node.makeMap(rank, {})},
      {}, [&](Body &body, ValueRange x) {
        return body.select(body.lt(body.dim(0), body.toIndex(x[1])), x[0],
                           body.number(0, x[0].getType()));
      });
}

Value dropEnded(NodeContext &node, Value states, Value lengths,
                AffineExpr step) {
  if (!states)
    return {};
  return node.generic(
      node.dims(states), node.elem(states), {states, lengths},
      {AffineMap::getMultiDimIdentityMap(2, node.b.getContext()),
       node.makeMap(2, node.d(0))},
      {}, [&](Body &body, ValueRange x) {
        return body.select(body.le(body.extent(step), body.toIndex(x[1])), x[0],
                           body.number(0, x[0].getType()));
      });
}

} // namespace qcc::onnx_import
