//===- ResizeAxis.cpp - resizing along one axis -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Resize.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Most elements of the input that one element of the output reads along an
/// axis.
constexpr int64_t kMaxTaps = 256;

/// The position in the input that an output index means, in f32 as all runtimes
/// compute it. For a symbolic ratio the scale is that of the sizes.
Value sourcePosition(Body &body, const ResizeSettings &settings,
                     const ResizedAxis &axis, AffineExpr in, ValueRange runtime,
                     int64_t numAxes) {
  Type f32 = body.b.getF32Type();
  auto number = [&](double value) { return body.number(value, f32); };
  Value x = body.fromIndex(body.dim(axis.position), f32);
  Value inSize = body.fromIndex(body.extent(in), f32),
        outSize = body.fromIndex(body.extent(axis.out), f32), one = number(1),
        half = number(0.5);
  Type type = f32;
  auto readSlot = [&](Value tensor, int64_t slot) {
    Value value = body.read(tensor, body.index(slot));
    return body.convert(value, value.getType(), type);
  };
  Value scale = axis.scaleSlot >= 0 ? readSlot(runtime[0], axis.scaleSlot)
                : axis.scale > 0    ? number(static_cast<float>(axis.scale))
                                    : body.div(outSize, inSize);
  Value isOne = body.eq(outSize, one);
  Value inLast = body.sub(inSize, one),
        outLast = body.select(isOne, one, body.sub(outSize, one));
  StringRef mode = settings.coordinates;
  if (mode == "asymmetric")
    return body.div(x, scale);
  if (mode == "align_corners") {
    // The reference takes the size before it is rounded down.
    Value exact = axis.scale > 0 || axis.scaleSlot >= 0
                      ? body.sub(body.mul(inSize, scale), one)
                      : outLast;
    Value divisor = body.select(isOne, one, exact);
    return body.select(isOne, number(0),
                       body.div(body.mul(x, inLast), divisor));
  }
  if (mode == "tf_crop_and_resize") {
    Value begin = number(axis.roiBegin), end = number(axis.roiEnd);
    if (axis.roiSlot >= 0) {
      begin = readSlot(runtime.back(), axis.roiSlot);
      end = readSlot(runtime.back(), axis.roiSlot + numAxes);
    }
    Value step = body.div(body.mul(body.sub(end, begin), inLast), outLast);
    Value many = body.add(body.mul(begin, inLast), body.mul(x, step));
    return body.select(
        isOne, body.mul(half, body.mul(body.add(begin, end), inLast)), many);
  }
  Value centre = body.sub(body.div(body.add(x, half), scale), half);
  if (mode == "pytorch_half_pixel")
    return body.select(isOne, number(-0.5), centre);
  if (mode == "half_pixel_symmetric") {
    Value adjustment = body.div(outSize, body.mul(scale, inSize));
    return body.add(body.mul(body.mul(inSize, half), body.sub(one, adjustment)),
                    centre);
  }
  return centre;
}

Value roundNearest(Body &body, StringRef mode, Value x) {
  Value half = body.number(0.5, x.getType());
  if (mode == "floor")
    return body.floor(x);
  if (mode == "ceil")
    return body.ceil(x);
  return mode == "round_prefer_ceil" ? body.floor(body.add(x, half))
                                     : body.ceil(body.sub(x, half));
}

/// Weight of an input element at a distance: a triangle or Keys' cubic (IEEE
/// TASSP 29, 1981).
Value weigh(Body &body, const ResizeSettings &settings, Value distance) {
  Type type = distance.getType();
  auto number = [&](double value) { return body.number(value, type); };
  Value x = body.abs(distance);
  if (settings.mode == "linear")
    return body.max(body.sub(number(1), x), number(0));
  double a = settings.cubic;
  Value near = body.add(
      body.mul(body.mul(body.sub(body.mul(number(a + 2), x), number(a + 3)), x),
               x),
      number(1));
  Value far = body.mul(
      number(a),
      body.sub(
          body.mul(body.add(body.mul(body.sub(x, number(5)), x), number(8)), x),
          number(4)));
  return body.select(body.le(x, number(1)), near,
                     body.select(body.lt(x, number(2)), far, number(0)));
}

/// Whether an axis only repeats elements: then it is read by a map, without any
/// arithmetic.
bool isRepeat(const ResizeSettings &settings, const ResizedAxis &axis,
              AffineExpr in) {
  double factor = axis.scale;
  if (factor < 1 || factor != std::floor(factor) || factor > 1024 ||
      axis.out != simplifyDim(in * static_cast<int64_t>(factor)))
    return false;
  if (settings.coordinates == "asymmetric")
    return settings.nearest == "floor";
  return (settings.coordinates == "half_pixel" ||
          settings.coordinates == "pytorch_half_pixel") &&
         getConstantSize(axis.out) != 1 &&
         (settings.nearest == "round_prefer_floor" ||
          settings.nearest == "round_prefer_ceil");
}

} // namespace

double getLeastShrink(const ResizedAxis &axis, AffineExpr in) {
  double scale = axis.scale;
  std::optional<int64_t> from = getConstantSize(in),
                         to = getConstantSize(axis.out);
  if (scale <= 0 && axis.scaleSlot >= 0 && from && to && *from > 0)
    scale = static_cast<double>(*to) / static_cast<double>(*from);
  return std::min(scale, 1.0);
}

namespace {

SmallVector<Value> hereIndices(Body &body, unsigned rank) {
  SmallVector<Value> at;
  for (unsigned i = 0; i < rank; ++i)
    at.push_back(body.dim(i));
  return at;
}

/// What the elements of an output at one position along an axis read of the
/// input: `numTaps` elements from `firstTap` on, counted from the one below the
/// position, and their weights.
struct Filter {
  NodeContext &node;
  const ResizeSettings &settings;
  ResizedAxis axis;
  const ResizeInputs &runtime;
  AffineExpr inSize;
  /// The factor that antialiasing stretches the weights by, or less.
  double shrink = 1;
  int64_t firstTap = 0, numTaps = 1;

  bool isNearest() const { return settings.mode == "nearest"; }
  /// Tensors that a body which computes taps has to read.
  SmallVector<Value> getWhole() const;
  Value getPosition(Body &body, ValueRange whole) const {
    return sourcePosition(body, settings, axis, inSize, whole, runtime.numAxes);
  }
  /// The element that a tap reads, as an index within the input.
  Value getIndex(Body &body, Value position, Value tap) const;
  Value getWeight(Body &body, Value position, Value tap,
                  ValueRange whole) const;
};

SmallVector<Value> Filter::getWhole() const {
  SmallVector<Value> whole;
  for (Value tensor : {runtime.scales, runtime.roi})
    if (tensor)
      whole.push_back(tensor);
  return whole;
}

/// The element at a position, by a whole number that is not clamped.
Value toElement(Body &body, Value whole) {
  return body.toIndex(
      body.convert(whole, body.b.getF32Type(), body.b.getI64Type()));
}

Value Filter::getIndex(Body &body, Value position, Value tap) const {
  Value element =
      isNearest()
          ? toElement(body, roundNearest(body, settings.nearest, position))
          : body.add(toElement(body, body.floor(position)), tap);
  return body.clampIndex(element, body.extent(inSize));
}

Value Filter::getWeight(Body &body, Value position, Value tap,
                        ValueRange whole) const {
  Type f32 = body.b.getF32Type();
  Value base = body.floor(position), fraction = body.sub(position, base),
        factor = body.number(shrink, f32);
  if (settings.antialias && axis.scaleSlot >= 0)
    factor =
        body.min(body.convert(body.read(whole[0], body.index(axis.scaleSlot)),
                              node.elem(runtime.scales), f32),
                 body.number(1, f32));
  Value distance =
      body.mul(body.sub(body.fromIndex(tap, f32), fraction), factor);
  Value weight = weigh(body, settings, distance);
  if (!settings.excludeOutside)
    return weight;
  Value element = body.add(toElement(body, base), tap);
  Value inside = body.both(body.le(body.index(0), element),
                           body.lt(element, body.extent(inSize)));
  return body.select(inside, weight, body.number(0, f32));
}

/// Indices and weights `[tap, output]` of a filter. Every row of the output has
/// the same, and converting floats to indices is scalar code on most machines.
struct Tables {
  Value indices, weights;
};

Tables emitTables(NodeContext &node, Filter filter) {
  filter.axis.position = 1;
  Dims dims = {node.size(filter.numTaps), filter.axis.out};
  std::optional<int64_t> size = getConstantSize(filter.inSize);
  bool isNarrow = size && *size <= std::numeric_limits<int32_t>::max();
  Type index = isNarrow ? node.b.getI32Type() : node.i64();
  SmallVector<Value> whole = filter.getWhole();
  auto getTap = [&](Body &body) {
    return body.add(body.dim(0), body.index(filter.firstTap));
  };
  Tables tables;
  tables.indices =
      node.generic(dims, index, {}, {}, whole, [&](Body &body, ValueRange x) {
        Value at =
            filter.getIndex(body, filter.getPosition(body, x), getTap(body));
        return body.fromIndex(at, index);
      });
  if (!filter.isNearest())
    tables.weights = node.generic(
        dims, node.f32(), {}, {}, whole, [&](Body &body, ValueRange x) {
          return filter.getWeight(body, filter.getPosition(body, x),
                                  getTap(body), x);
        });
  return tables;
}

/// True if tables of a filter are read often enough for what they take, and are
/// small where they are constants.
bool hasTables(const Filter &filter, const Dims &to) {
  constexpr int64_t mostTaps = 8, mostConstants = 1 << 16, leastRows = 8;
  std::optional<int64_t> out = getConstantSize(filter.axis.out);
  if (filter.numTaps > mostTaps || (out && *out > mostConstants))
    return false;
  int64_t rows = 1;
  for (auto [i, dim] : llvm::enumerate(to))
    if (static_cast<int64_t>(i) != filter.axis.position)
      rows *= std::min(getConstantSize(dim).value_or(leastRows), leastRows);
  return rows >= leastRows;
}

} // namespace

Value resizeAxis(NodeContext &node, Value input, const ResizeSettings &settings,
                 const ResizedAxis &axis, const ResizeInputs &runtime) {
  if (!input)
    return {};
  Dims in = node.dims(input), to = in;
  unsigned rank = in.size();
  AffineExpr inSize = in[axis.position];
  to[axis.position] = axis.out;
  Filter filter{node, settings, axis, runtime, inSize};
  if (filter.isNearest() && isRepeat(settings, axis, inSize)) {
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i < rank; ++i)
      reads.push_back(i == axis.position
                          ? node.d(i).floorDiv(static_cast<int64_t>(axis.scale))
                          : node.d(i));
    return node.copy(to, input, node.makeMap(rank, reads));
  }
  bool crops = settings.coordinates == "tf_crop_and_resize";
  if (!filter.isNearest()) {
    // Elements left and right of the position that have a weight; more of them
    // when shrinking without aliasing.
    double support = settings.mode == "linear" ? 1 : 2;
    filter.shrink = settings.antialias ? getLeastShrink(axis, inSize) : 1.0;
    filter.firstTap =
        static_cast<int64_t>(std::floor(-support / filter.shrink)) + 1;
    filter.numTaps = 2 - 2 * filter.firstTap;
  }
  if (filter.numTaps > kMaxTaps) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "a resize that reads more than " + Twine(kMaxTaps) +
                          " elements at once is not supported");
    return {};
  }
  Tables tables;
  SmallVector<Value> whole = {input};
  if (!crops && hasTables(filter, to)) {
    tables = emitTables(node, filter);
    // A gather: passes know that it moves elements.
    if (filter.isNearest())
      return node.generic(
          to, node.elem(input), tables.indices,
          node.makeMap(rank, {node.size(0), node.d(axis.position)}), input,
          [&](Body &body, ValueRange x) {
            SmallVector<Value> at = hereIndices(body, rank);
            at[axis.position] = body.toIndex(x[0]);
            return body.read(x[1], at);
          });
    llvm::append_range(whole, ValueRange{tables.indices, tables.weights});
  } else {
    llvm::append_range(whole, filter.getWhole());
  }
  return node.generic(
      to, node.elem(input), {}, {}, whole, [&](Body &body, ValueRange x) {
        Type f32 = body.b.getF32Type();
        SmallVector<Value> at = hereIndices(body, rank);
        Value here = at[axis.position], position;
        if (!tables.indices)
          position = filter.getPosition(body, x.drop_front());
        auto readTap = [&](int64_t tap) {
          Value row = body.index(tap - filter.firstTap);
          at[axis.position] =
              tables.indices ? body.toIndex(body.read(x[1], {row, here}))
                             : filter.getIndex(body, position, body.index(tap));
          return body.read(x[0], at);
        };
        Value result;
        if (filter.isNearest()) {
          result = readTap(0);
        } else {
          Value sum, total;
          for (int64_t i = 0; i < filter.numTaps; ++i) {
            int64_t tap = filter.firstTap + i;
            Value weight =
                tables.weights
                    ? body.read(x[2], {body.index(i), here})
                    : filter.getWeight(body, position, body.index(tap),
                                       x.drop_front());
            Value value = readTap(tap);
            Value term =
                body.mul(weight, isa<FloatType>(value.getType()) &&
                                         !value.getType().isF32()
                                     ? body.convert(value, value.getType(), f32)
                                     : value);
            sum = sum ? body.add(sum, term) : term;
            total = total ? body.add(total, weight) : weight;
          }
          result = settings.excludeOutside || settings.antialias
                       ? body.div(sum, total)
                       : sum;
        }
        if (crops) {
          Value last =
              body.fromIndex(body.sub(body.extent(inSize), body.index(1)), f32);
          Value outside = body.either(body.lt(position, body.number(0, f32)),
                                      body.lt(last, position));
          result = body.select(
              outside, body.number(settings.extrapolation, result.getType()),
              result);
        }
        return result;
      });
}

} // namespace qcc::onnx_import
