//===- QLinear.cpp - com.microsoft's operators on codes ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each is its float operator between dequantized operands and a quantized
// result, with one scale and zero point per tensor: what ONNX Runtime's
// published schemas say.
//
//===----------------------------------------------------------------------===//
#include "Quantized.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Input `i`, a tensor of codes that its scale and zero point follow, as f32.
Value dequantized(NodeContext &node, unsigned i) {
  return dequantize(node, node.in(i), asScalar(node, node.in(i + 1)),
                    asScalar(node, node.in(i + 2)), node.f32());
}

/// The result as codes of `type`, by the scale that is input `i` and the zero
/// point that follows it.
LogicalResult setQuantized(NodeContext &node, Value real, unsigned i,
                           Type type) {
  if (!node.has(i))
    return node.refuse(Diag::BadGraph, "expected a scale of the result");
  return node.set(0, quantize(node, real, asScalar(node, node.in(i)),
                              asScalar(node, node.in(i + 1)), type));
}

/// Permutations that bring the channels from the end to dimension 1, and back.
SmallVector<int64_t> channelsToFront(int64_t rank) {
  SmallVector<int64_t> order = {0, rank - 1};
  for (int64_t i = 1; i + 1 < rank; ++i)
    order.push_back(i);
  return order;
}
SmallVector<int64_t> channelsToEnd(int64_t rank) {
  SmallVector<int64_t> order = {0};
  for (int64_t i = 2; i < rank; ++i)
    order.push_back(i);
  order.push_back(1);
  return order;
}

template <bool isProduct>
LogicalResult convertQLinearBinary(NodeContext &node) {
  Value a = dequantized(node, 0), b = dequantized(node, 3);
  return setQuantized(node, isProduct ? node.mul(a, b) : node.add(a, b), 6,
                      node.inElem(0));
}

LogicalResult convertQLinearSigmoid(NodeContext &node) {
  Value x = dequantized(node, 0);
  return setQuantized(
      node, node.unary(x, [](Body &body, Value v) { return body.sigmoid(v); }),
      3, node.inElem(0));
}

LogicalResult convertQLinearLeakyRelu(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 0.01f);
  Value x = dequantized(node, 0);
  Value result = node.unary(x, [&](Body &body, Value v) {
    return body.select(body.lt(v, body.number(0, v.getType())),
                       body.mul(v, body.number(alpha, v.getType())), v);
  });
  return setQuantized(node, result, 3, node.inElem(0));
}

/// Before opset 13 of ONNX's Softmax all dimensions from the axis on are one.
LogicalResult convertQLinearSoftmax(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), node.inRank(0));
  if (!axis)
    return failure();
  Value x = dequantized(node, 0);
  if (node.attrInt("opset", 13) >= 13)
    return setQuantized(node, node.softmax(x, *axis, false), 3, node.inElem(0));
  Dims dims = node.inDims(0);
  MLIRContext *context = node.b.getContext();
  Value flat =
      node.reshape(x, {product(ArrayRef(dims).take_front(*axis), context),
                       product(ArrayRef(dims).drop_front(*axis), context)});
  return setQuantized(node, node.reshape(node.softmax(flat, 1, false), dims), 3,
                      node.inElem(0));
}

/// The scale and zero point of the result, then three inputs per operand.
LogicalResult convertQLinearConcat(NodeContext &node) {
  if (node.numInputs() % 3 != 2 || !node.has(1))
    return node.refuse(Diag::BadGraph,
                       "expected a scale and zero point of the result and "
                       "three inputs per tensor");
  SmallVector<Value> parts;
  for (unsigned i = 2; i < node.numInputs(); i += 3) {
    if (!node.has(i) || !node.has(i + 1))
      return node.refuse(
          Diag::BadGraph,
          "expected a tensor and its scale, but one is left out");
    parts.push_back(dequantized(node, i));
    if (!parts.back())
      return failure();
  }
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.rank(parts[0]));
  if (!axis)
    return failure();
  return setQuantized(node, node.concat(parts, *axis), 0, node.inElem(1));
}

LogicalResult convertQLinearAveragePool(NodeContext &node) {
  bool channelsLast = node.attrInt("channels_last", 0) != 0;
  std::optional<SmallVector<int64_t>> kernel = node.attrInts("kernel_shape");
  int64_t rank = node.inRank(0);
  if (!kernel || rank < 3)
    return node.refuse(
        Diag::BadAttribute,
        "expected attribute 'kernel_shape' and an input of rank 3 or more");
  Value x = dequantized(node, 0);
  if (channelsLast)
    x = node.transpose(x, channelsToFront(rank));
  if (!x)
    return failure();
  Dims in = node.dims(x);
  auto pooling = readPooling(node, *kernel, in);
  if (!pooling)
    return failure();
  auto &[window, result] = *pooling;
  Value pooled = PoolOp::create(node.b, makeTensorType(result, node.f32()),
                                PoolKind::Average, x, window.kernel,
                                window.strides, window.pads, window.dilations,
                                node.attrInt("count_include_pad", 0) != 0, 2);
  if (channelsLast)
    pooled = node.transpose(pooled, channelsToEnd(rank));
  return setQuantized(node, pooled, 3, node.inElem(0));
}

/// The mean of `x` over axes that are kept with size 1, or dropped.
Value meanOver(NodeContext &node, Value x, ArrayRef<int64_t> axes, bool keep) {
  if (!x)
    return x;
  Dims over;
  for (int64_t axis : axes)
    over.push_back(node.dims(x)[axis]);
  AffineExpr count = product(over, node.b.getContext());
  Value sum = node.reduce(Combiner::Sum, x, axes, keep, node.f32());
  return node.unary(sum, [&](Body &body, Value v) {
    return body.div(v, body.fromIndex(body.extent(count), v.getType()));
  });
}

LogicalResult convertQLinearGlobalAveragePool(NodeContext &node) {
  int64_t rank = node.inRank(0);
  if (rank < 3)
    return node.refuse(Diag::BadShape, "expected a tensor of rank 3 or more");
  int64_t first = node.attrInt("channels_last", 0) != 0 ? 1 : 2;
  SmallVector<int64_t> axes =
      llvm::to_vector(llvm::seq<int64_t>(first, first + rank - 2));
  return setQuantized(node, meanOver(node, dequantized(node, 0), axes, true), 3,
                      node.inElem(0));
}

LogicalResult convertQLinearReduceMean(NodeContext &node) {
  SmallVector<int64_t> axes;
  int64_t rank = node.inRank(0);
  for (int64_t given : node.attrInts("axes").value_or(SmallVector<int64_t>())) {
    std::optional<int64_t> axis = node.normalizeAxis(given, rank);
    if (!axis)
      return failure();
    if (llvm::is_contained(axes, *axis))
      return node.refuse(Diag::BadAttribute, "expected each axis once");
    axes.push_back(*axis);
  }
  if (axes.empty())
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  llvm::sort(axes);
  Value mean = meanOver(node, dequantized(node, 0), axes,
                        node.attrInt("keepdims", 1) != 0);
  return setQuantized(node, mean, 3, node.inElem(0));
}

/// A condition, two tensors with their scales, the scale of the result.
LogicalResult convertQLinearWhere(NodeContext &node) {
  if (!node.inElem(0).isInteger(1))
    return node.refuse(Diag::BadShape, "expected a condition of booleans");
  Value x = dequantized(node, 1), y = dequantized(node, 4);
  if (!x || !y)
    return failure();
  Value chosen = node.elementwise(
      {node.in(0), x, y}, node.f32(),
      [](Body &body, ValueRange v) { return body.select(v[0], v[1], v[2]); });
  return setQuantized(node, chosen, 7, node.inElem(1));
}

/// A, B and C, which is of i32 in units of the product; codes where there is a
/// scale of the result, else floats.
LogicalResult convertQGemm(NodeContext &node) {
  if (node.inRank(0) != 2 || node.inRank(3) != 2)
    return node.refuse(Diag::BadShape, "expected matrices of rank 2");
  auto turned = [&](unsigned i, StringRef attribute) {
    return node.attrInt(attribute, 0) ? node.transpose(node.in(i), {1, 0})
                                      : node.in(i);
  };
  Value sums = multiplyCodes(node, turned(0, "transA"), node.in(2),
                             turned(3, "transB"), node.in(5));
  if (sums && node.has(6))
    sums = node.add(sums, node.in(6));
  if (!sums)
    return failure();
  double alpha = node.attrFloat("alpha", 1);
  Value scaleB =
      hasOneElement(node.in(4)) ? asScalar(node, node.in(4)) : node.in(4);
  Value real = node.elementwise(
      {sums, asScalar(node, node.in(1)), scaleB}, node.f32(),
      [&](Body &body, ValueRange x) {
        Type f32 = body.b.getF32Type();
        Value scale = body.mul(body.mul(x[1], x[2]), body.number(alpha, f32));
        return body.mul(body.convert(x[0], body.b.getI32Type(), f32), scale);
      });
  if (!node.has(7))
    return node.set(0, real);
  Type type = node.has(8) ? node.inElem(8) : node.inElem(0);
  return setQuantized(node, real, 7, type);
}

/// Max pooling of codes with the channels last.
LogicalResult convertNhwcMaxPool(NodeContext &node) {
  std::optional<SmallVector<int64_t>> kernel = node.attrInts("kernel_shape");
  int64_t rank = node.inRank(0);
  if (!kernel || rank < 3)
    return node.refuse(
        Diag::BadAttribute,
        "expected attribute 'kernel_shape' and an input of rank 3 or more");
  if (!isIntegerCode(node.inElem(0)))
    return node.refuse(Diag::UnsupportedType,
                       "expected integers of 2 to 16 bits");
  // Unsigned codes keep their order as i32.
  Value x = node.cast(node.transpose(node.in(0), channelsToFront(rank)),
                      node.b.getI32Type());
  if (!x)
    return failure();
  Dims in = node.dims(x);
  auto pooling = readPooling(node, *kernel, in);
  if (!pooling)
    return failure();
  auto &[window, result] = *pooling;
  Value pooled = PoolOp::create(node.b, makeTensorType(result, node.elem(x)),
                                PoolKind::Max, x, window.kernel, window.strides,
                                window.pads, window.dilations, false, 2);
  return node.set(0, node.transpose(node.cast(pooled, node.inElem(0)),
                                    channelsToEnd(rank)));
}

/// The additive mask `[B, 1, 1, S]` of how many keys each batch has.
Value maskLengths(NodeContext &node, Value lengths, AffineExpr batch,
                  AffineExpr keys) {
  double filter = node.attrFloat("mask_filter_value", -10000);
  return node.generic(
      {batch, node.size(1), node.size(1), keys}, node.f32(), lengths,
      node.makeMap(4, node.d(0)), {}, [&](Body &body, ValueRange x) {
        Type f32 = body.b.getF32Type();
        return body.select(body.lt(body.dim(3), body.toIndex(x[0])),
                           body.number(0, f32), body.number(filter, f32));
      });
}

/// Self-attention whose three projections are one product of codes: input, its
/// weight `[H, 3 * heads * size]`, a bias of floats, their scales, a mask of
/// lengths, zero points.
LogicalResult convertQAttention(NodeContext &node) {
  int64_t heads = node.attrInt("num_heads", 0);
  Dims in = node.inDims(0), columns = node.inDims(1);
  if (in.size() != 3 || columns.size() != 2 || heads < 1)
    return node.refuse(Diag::BadShape,
                       "expected an input of rank 3, a weight of rank 2 and "
                       "1 or more heads");
  std::optional<int64_t> width = getConstantSize(columns[1]);
  if (!width || *width % (3 * heads) != 0)
    return node.refuse(Diag::BadShape,
                       "expected a weight with a multiple of three times the "
                       "heads as columns");
  if (node.has(8) || node.attrInt("do_rotary", 0) || node.wants(1))
    return node.refuse(Diag::UnsupportedForm,
                       "a past and rotary positions are not supported");
  if (node.has(5) &&
      (node.inRank(5) != 1 || !isa<IntegerType>(node.inElem(5)) ||
       !node.requireEqual(node.inDims(5)[0], in[0], "lengths and the batch")))
    return node.refuse(Diag::UnsupportedForm,
                       "expected a mask of one length per batch");
  Value sums =
      multiplyCodes(node, node.in(0), node.in(6), node.in(1), node.in(7));
  if (!sums)
    return failure();
  Value scale =
      hasOneElement(node.in(4)) ? asScalar(node, node.in(4)) : node.in(4);
  Value projected = node.elementwise(
      {sums, asScalar(node, node.in(3)), scale, node.in(2)}, node.f32(),
      [](Body &body, ValueRange x) {
        Type f32 = body.b.getF32Type();
        return body.add(body.mul(body.convert(x[0], body.b.getI32Type(), f32),
                                 body.mul(x[1], x[2])),
                        x[3]);
      });
  int64_t size = *width / 3 / heads;
  Value split = node.transpose(
      node.reshape(projected, {in[0], in[1], node.size(3), node.size(heads),
                               node.size(size)}),
      {2, 0, 3, 1, 4});
  auto part = [&](int64_t i) {
    return node.reshape(node.slice(split, 0, node.size(i), node.size(1)),
                        {in[0], node.size(heads), in[1], node.size(size)});
  };
  Value query = part(0), key = part(1), value = part(2), mask;
  if (node.has(5))
    mask = maskLengths(node, node.in(5), in[0], in[1]);
  if (!query || !key || !value || node.getProblem())
    return failure();
  double factor = node.attrFloat("scale", 0);
  if (factor == 0)
    factor = 1 / std::sqrt(static_cast<double>(size));
  Value attended = AttentionOp::create(
      node.b, cast<RankedTensorType>(query.getType()), query, key, value, mask,
      factor, node.attrInt("unidirectional", 0) != 0);
  return node.set(0, node.reshape(node.transpose(attended, {0, 2, 1, 3}),
                                  {in[0], in[1], node.size(heads * size)}));
}

} // namespace

void registerQLinear(Registry &registry) {
  registry.add(kMicrosoftDomain,
               {
                   {"QLinearAdd", 1, 7, 8, convertQLinearBinary<false>},
                   {"QLinearMul", 1, 7, 8, convertQLinearBinary<true>},
                   {"QLinearSigmoid", 1, 2, 5, convertQLinearSigmoid},
                   {"QLinearLeakyRelu", 1, 2, 5, convertQLinearLeakyRelu},
                   {"QLinearSoftmax", 1, 5, 5, convertQLinearSoftmax},
                   {"QLinearConcat", 1, 5, kAnyNumber, convertQLinearConcat},
                   {"QLinearAveragePool", 1, 4, 5, convertQLinearAveragePool,
                    kWindowNote},
                   {"QLinearGlobalAveragePool", 1, 5, 5,
                    convertQLinearGlobalAveragePool},
                   {"QLinearReduceMean", 1, 4, 5, convertQLinearReduceMean},
                   {"QLinearWhere", 1, 9, 9, convertQLinearWhere},
                   {"QGemm", 1, 6, 9, convertQGemm},
                   {"QAttention", 1, 5, 9, convertQAttention,
                    "a past, masks that are no lengths"},
                   {"NhwcMaxPool", 1, 1, 1, convertNhwcMaxPool, kWindowNote},
               });
}

} // namespace qcc::onnx_import
