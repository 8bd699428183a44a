//===- ConvForms.cpp - convolutions as others with kernels ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Convolutions over three dimensions and transposed ones as convolutions over
// two, which all targets and precisions have kernels for, between moves:
//
// - Over depth, height and width: the planes that a tap in depth reads become
//   channels, and depths become images.
// - Transposed with strides: result `t` is the sum over m of products of input
//   `q - m` and tap `r + s m`, where `t + pad = s q + r`. The results of each
//   rest r are a convolution of the input with every s-th tap; all rests are
//   channels of one convolution, and are put side by side after (sub-pixel
//   convolution, Shi et al. 2016, arXiv:1609.05158; the equivalence in
//   arXiv:1609.07009).
//
//===----------------------------------------------------------------------===//
#include "Conv.h"
#include "Importer.h"
#include "Quantized.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

Value createConv(NodeContext &node, Value input, Value weight,
                 const ConvShape &conv) {
  return ConvOp::create(node.b, makeTensorType(conv.result, node.elem(input)),
                        input, weight, conv.window.strides, conv.window.pads,
                        conv.window.dilations, conv.groups);
}

/// The window without its first dimension.
SpatialWindow dropFirst(const SpatialWindow &window) {
  SpatialWindow rest = window;
  for (auto *numbers : {&rest.kernel, &rest.strides, &rest.dilations})
    numbers->erase(numbers->begin());
  rest.pads.erase(rest.pads.begin() + int64_t(window.size()));
  rest.pads.erase(rest.pads.begin());
  return rest;
}

/// What is moved in place of a tensor: the codes that it is dequantized from,
/// so that the convolution is one of codes, or the tensor itself.
struct Moved {
  DequantizeOp source;     ///< null: none
  Value data, scale, zero; ///< zero: the code of 0; null: 0

  explicit Moved(Value value)
      : source(value.getDefiningOp<DequantizeOp>()), data(value) {
    if (!source)
      return;
    auto type = dyn_cast<IntegerType>(
        cast<RankedTensorType>(source.getInput().getType()).getElementType());
    bool hasOwnZero = !source.getZero() ||
                      source.getZero().getType().getElementType() == type;
    if (!type || type.getWidth() > 8 || source.getBlock() != 0 || !hasOwnZero) {
      source = {};
      return;
    }
    data = source.getInput();
    scale = source.getScale();
    zero = source.getZero();
  }

  bool hasOneScale() const {
    return source && hasOneElement(scale) && (!zero || hasOneElement(zero));
  }
};

/// `[N, C, D, H, W]` as `[N, D', C * taps, H, W]`: at each depth of the result
/// the planes that its taps in depth read, `outside` (null: 0) beyond the ends.
Value gatherPlanes(NodeContext &node, Value input, Value outside,
                   const ConvShape &conv, AffineExpr channels) {
  Dims in = node.dims(input);
  const SpatialWindow &window = conv.window;
  int64_t taps = window.kernel[0], stride = window.strides[0],
          dilation = window.dilations[0], pad = window.pads[0];
  Dims to = {in[0], conv.result[2], channels, in[3], in[4]};
  AffineExpr depth = node.d(1) * stride + node.d(2) % taps * dilation - pad;
  if (pad == 0 && window.pads[window.size()] == 0)
    return node.copy(to, input,
                     node.makeMap(5, {node.d(0), node.d(2).floorDiv(taps),
                                      depth, node.d(3), node.d(4)}));
  Type type = getComputeType(node.elem(input));
  SmallVector<Value> read = {input};
  if (outside)
    read.push_back(node.reshape(outside, {}));
  return node.generic(
      to, node.elem(input), {}, {}, read, [&](Body &body, ValueRange x) {
        Value count = body.index(taps),
              tap = body.rem(body.dim(2), count, true);
        Value at = body.sub(body.add(body.mul(body.dim(1), body.index(stride)),
                                     body.mul(tap, body.index(dilation))),
                            body.index(pad));
        Value isInside = body.both(body.le(body.index(0), at),
                                   body.lt(at, body.extent(in[2])));
        return body.readIf(isInside, x[0],
                           {body.dim(0), body.div(body.dim(2), count, true), at,
                            body.dim(3), body.dim(4)},
                           outside ? body.read(x[1], {})
                                   : body.number(0, type));
      });
}

/// The same of what may be dequantized codes with one scale.
Value moveToPlanes(NodeContext &node, Value input, Value outside,
                   const ConvShape &conv, AffineExpr channels) {
  Moved moved(input);
  if (!moved.hasOneScale())
    return gatherPlanes(node, input, outside, conv, channels);
  Value planes = gatherPlanes(node, moved.data, moved.zero, conv, channels);
  return DequantizeOp::create(
      node.b, makeTensorType(node.dims(planes), node.elem(input)), planes,
      moved.scale, moved.zero, /*axis=*/0, /*block=*/0);
}

/// A weight `[O, C, D, H, W]` as `[O, C * D, H, W]`.
Value flattenWeight(NodeContext &node, Value weight, AffineExpr perGroup) {
  Dims kernel = node.dims(weight),
       flat = {kernel[0], perGroup, kernel[3], kernel[4]};
  Moved moved(weight);
  if (!moved.source || (!moved.hasOneScale() && moved.source.getAxis() != 0))
    return node.reshape(weight, flat);
  return DequantizeOp::create(node.b, makeTensorType(flat, node.elem(weight)),
                              node.reshape(moved.data, flat), moved.scale,
                              moved.zero,
                              /*axis=*/0, /*block=*/0);
}

/// One dimension of a transposed convolution as results of each rest.
struct Phases {
  int64_t stride, taps, pad; ///< taps of each rest
  int64_t first;             ///< the least q
  /// Numbers of results of each rest and of all, less the input's elements: of
  /// the convolution, and of those that are put side by side.
  int64_t more, moreResults;
  std::array<int64_t, 2> pads; ///< of the convolution
  bool isCut;                  ///< the last results are too many
};

std::optional<Phases> getPhases(const SpatialWindow &window, size_t i,
                                int64_t extra) {
  int64_t stride = window.strides[i], kernel = window.kernel[i],
          pad = window.pads[i];
  if (window.dilations[i] != 1 || pad < 0)
    return std::nullopt;
  Phases phases;
  phases.stride = stride;
  phases.taps = llvm::divideCeil(kernel, stride);
  phases.pad = pad;
  phases.first = pad / stride;
  // Results less input * stride.
  int64_t over = kernel - stride - pad - window.pads[i + window.size()] + extra;
  phases.moreResults = llvm::divideCeilSigned(over, stride);
  phases.isCut = over != phases.moreResults * stride;
  phases.more = phases.moreResults + (pad % stride != 0);
  phases.pads = {phases.taps - 1 - phases.first, phases.more + phases.first};
  if (phases.pads[0] < 0 || phases.pads[1] < 0)
    return std::nullopt;
  return phases;
}

/// Whether the taps of all rests, zeros among them, are few enough to be
/// multiplied, and the rests to be channels.
bool areWorthwhile(ArrayRef<Phases> phases, const SpatialWindow &window) {
  constexpr double mostRests = 4096, mostZeros = 4;
  double rests = 1, taps = 1, kernel = 1;
  for (auto [i, one] : llvm::enumerate(phases)) {
    rests *= double(one.stride);
    taps *= double(one.taps);
    kernel *= double(window.kernel[i]);
  }
  return rests <= mostRests && rests * taps <= mostZeros * kernel;
}

/// The weight `[C, O, K...]` of a transposed convolution as `[G * O * S, C / G,
/// M...]`, a channel for each rest, row-major behind the outputs; its scales
/// and zero points, if it is made of codes with one per output, as those of the
/// channels.
class TapSplitter {
public:
  TapSplitter(NodeContext &node, ArrayRef<Phases> phases, int64_t rests,
              int64_t groups, AffineExpr channels)
      : node(node), phases(phases), rests(rests), groups(groups),
        channels(channels) {}

  Value split(Value weight) {
    Moved moved(weight);
    bool isPerOutput = moved.source && !moved.hasOneScale();
    // One group's outputs share scales with those of the others.
    if (!moved.source || (isPerOutput && moved.source.getAxis() != 1))
      return splitTaps(weight, {});
    Value taps = splitTaps(moved.data, moved.zero);
    return DequantizeOp::create(
        node.b, makeTensorType(node.dims(taps), node.elem(weight)), taps,
        spread(moved.scale), spread(moved.zero), /*axis=*/0,
        /*block=*/0);
  }

private:
  /// A number per output as one per channel.
  Value spread(Value numbers) {
    if (!numbers || hasOneElement(numbers))
      return numbers;
    int64_t outputs = cast<RankedTensorType>(numbers.getType()).getDimSize(0);
    return node.copy({channels}, numbers,
                     node.makeMap(1, node.d(0).floorDiv(rests) % outputs));
  }

  Value splitTaps(Value weight, Value outside);

  NodeContext &node;
  ArrayRef<Phases> phases;
  int64_t rests, groups;
  AffineExpr channels;
};

Value TapSplitter::splitTaps(Value weight, Value outside) {
  Dims from = node.dims(weight);
  int64_t inputs = *getConstantSize(from[0]) / groups,
          outputs = *getConstantSize(from[1]);
  Dims to = {channels, node.size(inputs)};
  bool isWhole = true; // each rest has as many taps
  for (auto [i, one] : llvm::enumerate(phases)) {
    to.push_back(node.size(one.taps));
    isWhole &= getConstantSize(from[2 + i]) == one.taps * one.stride;
  }
  Type type = getComputeType(node.elem(weight));
  bool isSingle = outside && hasOneElement(outside);
  SmallVector<Value> read = {weight};
  if (outside)
    read.push_back(isSingle ? node.reshape(outside, {}) : outside);
  return node.generic(
      to, node.elem(weight), {}, {}, read, [&](Body &body, ValueRange x) {
        Value rest = body.dim(0), inside = body.boolean(true);
        SmallVector<Value> taps(phases.size());
        for (size_t i = phases.size(); i-- > 0;) {
          Value stride = body.index(phases[i].stride);
          Value last = body.index(phases[i].taps - 1);
          Value step = body.mul(body.sub(last, body.dim(2 + i)), stride);
          taps[i] = body.add(body.rem(rest, stride, true), step);
          rest = body.div(rest, stride, true);
          inside =
              body.both(inside, body.lt(taps[i], body.extent(from[2 + i])));
        }
        Value count = body.index(outputs), input = body.dim(1),
              output = body.rem(rest, count, true);
        if (groups > 1)
          input = body.add(
              input, body.mul(body.div(rest, count, true), body.index(inputs)));
        SmallVector<Value> at = {input, output};
        llvm::append_range(at, taps);
        if (isWhole)
          return body.read(x[0], at);
        Value none = !outside   ? body.number(0, type)
                     : isSingle ? body.read(x[1], {})
                                : body.read(x[1], output);
        return body.readIf(inside, x[0], at, none);
      });
}

/// Results of all rests `[N, O * S, Q...]` side by side, `[N, O, Q' * s...]`.
Value joinPhases(NodeContext &node, Value rests, ArrayRef<Phases> phases,
                 const Dims &in, AffineExpr outputs) {
  unsigned spatial = phases.size();
  Dims all = node.dims(rests), apart = {all[0], outputs},
       to = {all[0], outputs}, joined = to;
  SmallVector<AffineExpr> rest, place;
  for (auto [i, one] : llvm::enumerate(phases)) {
    apart.push_back(node.size(one.stride));
    AffineExpr count = simplifyDim(in[2 + i] + one.moreResults),
               length = node.scaled(count, one.stride),
               at = node.d(3 + 2 * i) + one.pad;
    if (!length)
      return {};
    to.push_back(count);
    to.push_back(node.size(one.stride));
    joined.push_back(length);
    rest.push_back(at % one.stride);
    place.push_back(node.d(2 + 2 * i) + at.floorDiv(one.stride) - one.first);
  }
  apart.append(all.begin() + 2, all.end());
  SmallVector<AffineExpr> map = {node.d(0), node.d(1)};
  llvm::append_range(map, rest);
  llvm::append_range(map, place);
  return node.reshape(node.copy(to, node.reshape(rests, apart),
                                node.makeMap(2 + 2 * spatial, map)),
                      joined);
}

/// A transposed convolution of one element per dimension that keeps all
/// results: a product.
Value multiplyPoint(NodeContext &node, Value input, Value weight,
                    const ConvShape &conv, Value bias) {
  Dims in = node.dims(input), from = node.dims(weight);
  AffineExpr columns =
      product(ArrayRef(from).drop_front(1), node.b.getContext());
  Value result = node.matmul(node.reshape(input, {in[0], in[1]}),
                             node.reshape(weight, {from[0], columns}));
  if (!result)
    return {};
  return addChannelBias(node, node.reshape(result, conv.result), bias);
}

} // namespace

Value convolvePlanes(NodeContext &node, Value input, Value outside,
                     Value weight, const ConvShape &conv, ConvolveFn convolve) {
  if (conv.window.size() != 3 || node.importer.getOptions().keepsConvolutions)
    return {};
  Dims in = node.dims(input), kernel = node.dims(weight);
  AffineExpr channels = mulDims(in[1], node.size(conv.window.kernel[0])),
             perGroup = mulDims(kernel[1], kernel[2]),
             images = mulDims(in[0], conv.result[2]);
  if (!channels || !perGroup || !images)
    return {};
  Value planes =
      node.reshape(moveToPlanes(node, input, outside, conv, channels),
                   {images, channels, in[3], in[4]});
  Value flat = flattenWeight(node, weight, perGroup);
  if (!planes || !flat)
    return {};
  ConvShape flatConv{dropFirst(conv.window),
                     conv.groups,
                     {images, conv.result[1], conv.result[3], conv.result[4]}};
  Value result = convolve(planes, flat, flatConv);
  if (!result)
    return {};
  Dims apart = conv.result;
  std::swap(apart[1], apart[2]);
  return node.transpose(node.reshape(result, apart), {0, 2, 1, 3, 4});
}

Value convolve(NodeContext &node, Value input, Value weight,
               const ConvShape &conv, Value bias) {
  auto convolvePlain = [&](Value in, Value kernel, const ConvShape &shape) {
    return addChannelBias(node, createConv(node, in, kernel, shape), bias);
  };
  if (node.elem(input).isF32())
    if (Value result =
            convolvePlanes(node, input, {}, weight, conv, convolvePlain))
      return result;
  return node.getProblem() ? Value() : convolvePlain(input, weight, conv);
}

Value convolveTransposed(NodeContext &node, Value input, Value weight,
                         const ConvShape &conv, ArrayRef<int64_t> extra,
                         Value bias) {
  const SpatialWindow &window = conv.window;
  Dims in = node.dims(input), from = node.dims(weight);
  if (node.importer.getOptions().keepsConvolutions ||
      !node.elem(input).isF32() || !isConstantExpression(weight) ||
      !isStatic(weight.getType()))
    return {};
  bool isPoint =
      conv.groups == 1 &&
      llvm::all_of(window.pads, [](int64_t p) { return p == 0; }) &&
      llvm::all_of(extra, [](int64_t e) { return e == 0; }) &&
      llvm::all_of(window.dilations, [](int64_t d) { return d == 1; });
  for (AffineExpr dim : ArrayRef(in).drop_front(2))
    isPoint &= getConstantSize(dim) == 1;
  if (isPoint)
    return multiplyPoint(node, input, weight, conv, bias);
  SmallVector<Phases> phases;
  int64_t rests = 1;
  bool isCut = false;
  for (size_t i = 0; i < window.size(); ++i) {
    std::optional<Phases> one = getPhases(window, i, extra[i]);
    if (!one)
      return {};
    phases.push_back(*one);
    isCut |= one->isCut;
  }
  if (!areWorthwhile(phases, window))
    return {};
  for (const Phases &one : phases)
    rests *= one.stride;
  AffineExpr outputs = conv.result[1], channels = node.scaled(outputs, rests);
  if (!channels)
    return {};
  ConvShape plain;
  plain.result = {in[0], channels};
  size_t count = window.size();
  plain.window.pads.resize(2 * count);
  for (auto [i, one] : llvm::enumerate(phases)) {
    plain.window.kernel.push_back(one.taps);
    plain.window.strides.push_back(1);
    plain.window.dilations.push_back(1);
    plain.window.pads[i] = one.pads[0];
    plain.window.pads[i + count] = one.pads[1];
    plain.result.push_back(simplifyDim(in[2 + i] + one.more));
  }
  if (bias && node.rank(bias) == 1)
    bias =
        node.copy({channels}, bias, node.makeMap(1, node.d(0).floorDiv(rests)));
  plain.groups = conv.groups;
  TapSplitter splitter(node, phases, rests, conv.groups, channels);
  Value result = convolve(node, input, splitter.split(weight), plain, bias);
  if (result && rests != 1)
    result = joinPhases(node, result, phases, in, outputs);
  for (size_t i = 0; result && isCut && i < count; ++i)
    result =
        node.slice(result, int64_t(2 + i), node.size(0), conv.result[2 + i]);
  return result;
}

} // namespace qcc::onnx_import
