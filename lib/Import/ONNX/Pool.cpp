//===- Pool.cpp - pooling ---------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"
#include "Window.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

LogicalResult convertPool(NodeContext &node, PoolKind kind) {
  Type type = node.inElem(0);
  // Integers are compared by their value as i32, where unsigned ones keep their
  // order.
  Value input = isa<IntegerType>(type)
                    ? node.cast(node.in(0), node.b.getI32Type())
                    : node.widen(node.in(0));
  Dims in = node.inDims(0);
  std::optional<SmallVector<int64_t>> kernel = node.attrInts("kernel_shape");
  if (!kernel || in.size() < 3)
    return node.refuse(
        Diag::BadAttribute,
        "expected attribute 'kernel_shape' and an input of rank 3 or more");
  if (isa<IntegerType>(type) &&
      (kind != PoolKind::Max || type.getIntOrFloatBitWidth() > 16))
    return node.refuse(Diag::UnsupportedType, "expected a float tensor");
  std::optional<SpatialWindow> window =
      readWindow(node, *kernel, ArrayRef(in).drop_front(2));
  if (!window)
    return failure();
  std::optional<Dims> out =
      getWindowedDims(node, *window, ArrayRef(in).drop_front(2));
  if (!out)
    return failure();
  Dims result = {in[0], in[1]};
  llvm::append_range(result, *out);
  bool countPads =
      kind == PoolKind::Average && node.attrInt("count_include_pad", 0) != 0;
  int64_t p = kind == PoolKind::Lp ? node.attrInt("p", 2) : 2;
  if (p < 1 || p > 64)
    return node.refuse(Diag::BadAttribute,
                       "expected an exponent p of 1 or more, but got " +
                           Twine(p));
  Value pooled =
      PoolOp::create(node.b, makeTensorType(result, node.elem(input)), kind,
                     input, window->kernel, window->strides, window->pads,
                     window->dilations, countPads, p);
  return node.set(0, node.cast(pooled, type));
}

LogicalResult convertMaxPool(NodeContext &node) {
  return convertPool(node, PoolKind::Max);
}
LogicalResult convertAveragePool(NodeContext &node) {
  return convertPool(node, PoolKind::Average);
}
LogicalResult convertLpPool(NodeContext &node) {
  return convertPool(node, PoolKind::Lp);
}

/// All spatial dimensions become one element.
std::optional<SmallVector<int64_t>> getSpatialAxes(NodeContext &node) {
  if (node.inRank(0) < 2) {
    (void)node.refuse(Diag::BadShape, "expected a tensor of rank 2 or more");
    return std::nullopt;
  }
  return llvm::to_vector(llvm::seq<int64_t>(2, node.inRank(0)));
}

LogicalResult convertGlobalMax(NodeContext &node) {
  std::optional<SmallVector<int64_t>> axes = getSpatialAxes(node);
  return axes ? node.set(0, node.reduce(Combiner::Max, node.in(0), *axes, true,
                                        node.inElem(0)))
              : failure();
}

LogicalResult convertGlobalAverage(NodeContext &node) {
  std::optional<SmallVector<int64_t>> axes = getSpatialAxes(node);
  if (!axes)
    return failure();
  Dims in = node.inDims(0);
  AffineExpr count = product(ArrayRef(in).drop_front(2), node.b.getContext());
  Type type = node.inElem(0), compute = getComputeType(type);
  Value sum = node.reduce(Combiner::Sum, node.in(0), *axes, true, compute);
  Value mean = node.unary(sum, [&](Body &body, Value x) {
    return body.div(x, body.fromIndex(body.extent(count), compute));
  });
  return node.set(0, node.cast(mean, type));
}

LogicalResult convertGlobalLp(NodeContext &node) {
  std::optional<SmallVector<int64_t>> axes = getSpatialAxes(node);
  if (!axes)
    return failure();
  auto p = static_cast<double>(node.attrInt("p", 2));
  Type type = node.inElem(0), compute = getComputeType(type);
  Value sum = node.reduce(Combiner::Sum, node.in(0), *axes, true, compute,
                          [&](Body &body, Value x) {
                            return p == 2 ? body.mul(x, x)
                                          : body.pow(body.abs(x),
                                                     body.number(p, compute));
                          });
  Value root = node.unary(sum, [&](Body &body, Value x) {
    return p == 2 ? body.sqrt(x) : body.pow(x, body.number(1 / p, compute));
  });
  return node.set(0, node.cast(root, type));
}

} // namespace

void registerPool(Registry &registry) {
  registry.add(
      kOnnxDomain,
      {
          {"MaxPool", 1, 1, 1, convertMaxPool, "the output of indices"},
          {"AveragePool", 1, 1, 1, convertAveragePool},
          {"LpPool", 2, 1, 1, convertLpPool},
          {"GlobalMaxPool", 1, 1, 1, convertGlobalMax},
          {"GlobalAveragePool", 1, 1, 1, convertGlobalAverage},
          {"GlobalLpPool", 2, 1, 1, convertGlobalLp},
      });
}

} // namespace qcc::onnx_import
