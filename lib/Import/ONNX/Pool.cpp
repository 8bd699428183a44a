//===- Pool.cpp - pooling ---------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"
#include "Window.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The place of each window's largest element in the whole input, the first one
/// of several; what the padding covers has none.
Value emitMaxIndices(NodeContext &node, Value input,
                     const SpatialWindow &window, const Dims &to,
                     bool columnMajor) {
  Dims in = node.dims(input);
  unsigned axes = window.size();
  int64_t elements = 1;
  for (int64_t size : window.kernel)
    elements *= size;
  return node.generic(
      to, node.i64(), {}, {}, input, [&](Body &body, ValueRange x) {
        auto place = [&](Value element, Value &inside) {
          SmallVector<Value> at(2 + axes);
          at[0] = body.dim(0);
          at[1] = body.dim(1);
          inside = body.boolean(true);
          for (unsigned i = axes; i-- > 0;) {
            Value size = body.index(window.kernel[i]);
            Value k = body.rem(element, size, true);
            element = body.div(element, size, true);
            Value index =
                body.sub(body.add(body.mul(body.dim(2 + i),
                                           body.index(window.strides[i])),
                                  body.mul(k, body.index(window.dilations[i]))),
                         body.index(window.pads[i]));
            at[2 + i] = index;
            inside = body.both(
                inside, body.both(body.le(body.index(0), index),
                                  body.lt(index, body.extent(in[2 + i]))));
          }
          return at;
        };
        // The element of the window that is largest so far; -1 before any.
        Type type = getComputeType(node.elem(input));
        Value zero = body.number(0, type);
        SmallVector<Value> found = body.loop(
            body.index(elements), ValueRange{body.index(-1), zero},
            [&](Value element, ValueRange best) -> SmallVector<Value> {
              Value inside;
              SmallVector<Value> at = place(element, inside);
              Value value = body.readIf(inside, x[0], at, zero);
              Value isFirst = body.lt(best[0], body.index(0));
              Value isBetter = body.both(
                  inside, body.either(isFirst, body.lt(best[1], value)));
              return {body.select(isBetter, element, best[0]),
                      body.select(isBetter, value, best[1])};
            });
        Value inside;
        SmallVector<Value> at =
            place(body.max(found[0], body.index(0)), inside);
        Value offset = body.index(0);
        for (unsigned j = 0; j < axes; ++j) {
          unsigned i = columnMajor ? axes - 1 - j : j;
          offset =
              body.add(body.mul(offset, body.extent(in[2 + i])), at[2 + i]);
        }
        Value plane = body.add(body.mul(at[0], body.extent(in[1])), at[1]);
        AffineExpr planeSize =
            product(ArrayRef(in).drop_front(2), node.b.getContext());
        return body.fromIndex(
            body.add(body.mul(plane, body.extent(planeSize)), offset),
            node.i64());
      });
}

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
  auto pooling = readPooling(node, *kernel, in);
  if (!pooling)
    return failure();
  auto &[window, result] = *pooling;
  bool countPads =
      kind == PoolKind::Average && node.attrInt("count_include_pad", 0) != 0;
  int64_t p = kind == PoolKind::Lp ? node.attrInt("p", 2) : 2;
  if (p < 1 || p > 64)
    return node.refuse(Diag::BadAttribute,
                       "expected an exponent p of 1 or more, but got " +
                           Twine(p));
  Value pooled =
      PoolOp::create(node.b, makeTensorType(result, node.elem(input)), kind,
                     input, window.kernel, window.strides, window.pads,
                     window.dilations, countPads, p);
  if (kind == PoolKind::Max && node.wants(1)) {
    int64_t order = node.attrInt("storage_order", 0);
    if (order != 0 && order != 1)
      return node.refuse(Diag::BadAttribute,
                         "expected storage_order 0 or 1, but got " +
                             Twine(order));
    int64_t elements = 1;
    for (int64_t size : window.kernel)
      if (llvm::MulOverflow(elements, size, elements))
        return node.refuse(Diag::BadAttribute, "expected a smaller kernel");
    if (failed(node.set(
            1, emitMaxIndices(node, input, window, result, order == 1))))
      return failure();
  }
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
  registry.add(kOnnxDomain,
               {
                   {"MaxPool", 1, 1, 1, convertMaxPool, kWindowNote},
                   {"AveragePool", 1, 1, 1, convertAveragePool, kWindowNote},
                   {"LpPool", 2, 1, 1, convertLpPool, kWindowNote},
                   {"GlobalMaxPool", 1, 1, 1, convertGlobalMax},
                   {"GlobalAveragePool", 1, 1, 1, convertGlobalAverage},
                   {"GlobalLpPool", 2, 1, 1, convertGlobalLp},
               });
}

} // namespace qcc::onnx_import
