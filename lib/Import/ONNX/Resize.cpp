//===- Resize.cpp - resizing of images, one axis after the other -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// How one axis is resized.
struct Axis {
  int64_t position;
  AffineExpr out;
  /// Output over input; 0 if it follows from sizes that are symbolic.
  double scale = 0;
  double roiBegin = 0, roiEnd = 1;
  /// Where the scale (and the region) is read at run time: the position of the
  /// axis in those tensors; -1 if they are known.
  int64_t scaleSlot = -1, roiSlot = -1;
};

/// Tensors that are read at run time; null where they are known.
struct RuntimeInputs {
  Value scales, roi;
  int64_t numAxes = 0;
};

struct Settings {
  std::string mode, coordinates, nearest;
  double cubic = -0.75, extrapolation = 0;
  bool excludeOutside = false, antialias = false;
};

/// Most elements of the input that one element of the output reads along an
/// axis.
constexpr int64_t kMaxTaps = 256;

/// The position in the input that an output index means, in f32 as all runtimes
/// compute it. For a symbolic ratio the scale is that of the sizes.
Value sourcePosition(Body &body, const Settings &settings, const Axis &axis,
                     AffineExpr in, ValueRange runtime, int64_t numAxes) {
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
Value weigh(Body &body, const Settings &settings, Value distance) {
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
bool isRepeat(const Settings &settings, const Axis &axis, AffineExpr in) {
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

/// The factor that an antialiasing filter is stretched by, or less: a scale
/// that is read at run time is at least that of the sizes, which are rounded
/// down. 0 if neither is known.
double getLeastShrink(const Axis &axis, AffineExpr in) {
  double scale = axis.scale;
  std::optional<int64_t> from = getConstantSize(in),
                         to = getConstantSize(axis.out);
  if (scale <= 0 && axis.scaleSlot >= 0 && from && to && *from > 0)
    scale = static_cast<double>(*to) / static_cast<double>(*from);
  return std::min(scale, 1.0);
}

SmallVector<Value> hereIndices(Body &body, unsigned rank) {
  SmallVector<Value> at;
  for (unsigned i = 0; i < rank; ++i)
    at.push_back(body.dim(i));
  return at;
}

Value resizeAxis(NodeContext &node, Value input, const Settings &settings,
                 const Axis &axis, const RuntimeInputs &runtime) {
  if (!input)
    return {};
  Dims in = node.dims(input), to = in;
  unsigned rank = in.size();
  AffineExpr inSize = in[axis.position];
  to[axis.position] = axis.out;
  if (settings.mode == "nearest" && isRepeat(settings, axis, inSize)) {
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i < rank; ++i)
      reads.push_back(i == axis.position
                          ? node.d(i).floorDiv(static_cast<int64_t>(axis.scale))
                          : node.d(i));
    return node.copy(to, input, node.makeMap(rank, reads));
  }
  bool crops = settings.coordinates == "tf_crop_and_resize";
  // Elements left and right of the position that have a weight; more of them
  // when shrinking without aliasing.
  double shrink = settings.antialias ? getLeastShrink(axis, inSize) : 1.0;
  int64_t support = settings.mode == "linear" ? 1 : 2;
  int64_t firstTap =
      static_cast<int64_t>(std::floor(-static_cast<double>(support) / shrink)) +
      1;
  if (2 - 2 * firstTap > kMaxTaps) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "a resize that reads more than " + Twine(kMaxTaps) +
                          " elements at once is not supported");
    return {};
  }
  SmallVector<Value> whole = {input};
  for (Value tensor : {runtime.scales, runtime.roi})
    if (tensor)
      whole.push_back(tensor);
  return node.generic(
      to, node.elem(input), {}, {}, whole, [&](Body &body, ValueRange x) {
        Value position = sourcePosition(body, settings, axis, inSize,
                                        x.drop_front(), runtime.numAxes),
              size = body.extent(inSize);
        SmallVector<Value> at = hereIndices(body, rank);
        Type f32 = body.b.getF32Type(), i64 = body.b.getI64Type();
        auto readAt = [&](Value index) {
          at[axis.position] = body.clampIndex(index, size);
          return body.read(x[0], at);
        };
        Value result;
        if (settings.mode == "nearest") {
          Value rounded = roundNearest(body, settings.nearest, position);
          result = readAt(body.toIndex(body.convert(rounded, f32, i64)));
        } else {
          Value base = body.floor(position),
                baseIndex = body.toIndex(body.convert(base, f32, i64)),
                fraction = body.sub(position, base);
          Value factor = body.number(shrink, f32);
          if (settings.antialias && axis.scaleSlot >= 0)
            factor = body.min(
                body.convert(body.read(x[1], body.index(axis.scaleSlot)),
                             node.elem(runtime.scales), f32),
                body.number(1, f32));
          Value sum, total;
          for (int64_t tap = firstTap; tap <= 1 - firstTap; ++tap) {
            Value distance = body.mul(
                body.sub(body.number(static_cast<double>(tap), f32), fraction),
                factor);
            Value index = body.add(baseIndex, body.index(tap)),
                  weight = weigh(body, settings, distance);
            if (settings.excludeOutside) {
              Value inside = body.both(body.le(body.index(0), index),
                                       body.lt(index, size));
              weight = body.select(inside, weight, body.number(0, f32));
            }
            Value value = readAt(index);
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
          Value last = body.fromIndex(body.sub(size, body.index(1)), f32);
          Value outside = body.either(body.lt(position, body.number(0, f32)),
                                      body.lt(last, position));
          result = body.select(
              outside, body.number(settings.extrapolation, result.getType()),
              result);
        }
        return result;
      });
}

LogicalResult emitResize(NodeContext &node, const Settings &settings,
                         ArrayRef<Axis> axes,
                         const RuntimeInputs &runtime = {}) {
  Type type = node.inElem(0);
  if (settings.mode != "nearest" && settings.mode != "linear" &&
      settings.mode != "cubic")
    return node.refuse(Diag::BadAttribute,
                       "expected mode nearest, linear or cubic, but got '" +
                           settings.mode + "'");
  Value result = node.in(0);
  if (settings.mode != "nearest")
    result = node.cast(result, node.f32());
  for (const Axis &axis : axes) {
    bool same = result && axis.out == node.dims(result)[axis.position] &&
                (axis.scale == 1 || axis.scale == 0) && axis.scaleSlot < 0;
    if (!same || settings.coordinates == "tf_crop_and_resize")
      result = resizeAxis(node, result, settings, axis, runtime);
  }
  if (isa<IntegerType>(type) && result && node.elem(result) != type)
    result = node.unary(result,
                        [](Body &body, Value x) { return body.roundEven(x); });
  return node.set(0, node.cast(result, type));
}

/// A size times a factor, rounded down.
AffineExpr scaleDim(NodeContext &node, AffineExpr dim, double scale) {
  if (std::optional<int64_t> size = getConstantSize(dim)) {
    auto scaled =
        std::floor(static_cast<float>(*size) * static_cast<float>(scale));
    return scaled >= 0 && scaled < 0x1p40f
               ? node.size(static_cast<int64_t>(scaled))
               : AffineExpr();
  }
  for (int64_t divisor = 1; divisor <= 1024; divisor *= 2) {
    double numerator = scale * static_cast<double>(divisor);
    if (numerator == std::floor(numerator) && numerator > 0 &&
        numerator < 1e6) {
      AffineExpr product = node.scaled(dim, static_cast<int64_t>(numerator));
      return product ? simplifyDim(product.floorDiv(divisor)) : product;
    }
  }
  return {};
}

std::optional<SmallVector<Axis>> axesFromScales(NodeContext &node,
                                                ArrayRef<double> scales,
                                                ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  if (scales.size() != positions.size()) {
    (void)node.refuse(Diag::BadShape, "expected " + Twine(positions.size()) +
                                          " scales, but got " +
                                          Twine(scales.size()));
    return std::nullopt;
  }
  SmallVector<Axis> axes;
  for (auto [scale, position] : llvm::zip(scales, positions)) {
    AffineExpr out =
        scale > 0 ? scaleDim(node, in[position], scale) : AffineExpr();
    if (!out) {
      (void)node.refuse(scale > 0 ? Diag::UnsupportedShape : Diag::BadAttribute,
                        "expected scales above 0 that give whole sizes");
      return std::nullopt;
    }
    axes.push_back({position, out, scale});
  }
  return axes;
}

/// The axes from target sizes, with the policies that keep the aspect ratio.
std::optional<SmallVector<Axis>> axesFromSizes(NodeContext &node,
                                               const Dims &sizes,
                                               ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  if (sizes.size() != positions.size()) {
    (void)node.refuse(Diag::BadShape, "expected " + Twine(positions.size()) +
                                          " sizes, but got " +
                                          Twine(sizes.size()));
    return std::nullopt;
  }
  SmallVector<Axis> axes;
  for (auto [size, position] : llvm::zip(sizes, positions)) {
    Axis axis{position, size};
    std::optional<int64_t> from = getConstantSize(in[position]),
                           to = getConstantSize(size);
    if (from && to && *from > 0)
      axis.scale = static_cast<double>(*to) / static_cast<double>(*from);
    axes.push_back(axis);
  }
  std::string policy = node.attrString("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch")
    return axes;
  double scale =
      policy == "not_larger" ? std::numeric_limits<double>::infinity() : 0;
  for (const Axis &axis : axes) {
    if (axis.scale <= 0) {
      (void)node.refuse(Diag::BadShape,
                        "expected sizes of 1 or more to keep the ratio of");
      return std::nullopt;
    }
    scale = policy == "not_larger" ? std::min(scale, axis.scale)
                                   : std::max(scale, axis.scale);
  }
  for (Axis &axis : axes) {
    axis.scale = scale;
    double size =
        static_cast<double>(*getConstantSize(in[axis.position])) * scale;
    axis.out = node.size(static_cast<int64_t>(std::floor(size + 0.5)));
  }
  return axes;
}

Settings readSettings(NodeContext &node) {
  Settings settings;
  settings.mode = node.attrString("mode", "nearest");
  bool first = node.getOpset() < 11;
  settings.coordinates =
      first ? "asymmetric"
            : node.attrString("coordinate_transformation_mode", "half_pixel");
  settings.nearest =
      first ? "floor" : node.attrString("nearest_mode", "round_prefer_floor");
  settings.cubic = node.attrFloat("cubic_coeff_a", -0.75);
  settings.extrapolation = node.attrFloat("extrapolation_value", 0);
  settings.excludeOutside = node.attrInt("exclude_outside", 0) != 0;
  settings.antialias = node.attrInt("antialias", 0) != 0;
  return settings;
}

std::optional<SmallVector<int64_t>> readPositions(NodeContext &node) {
  std::optional<SmallVector<int64_t>> given = node.attrInts("axes");
  if (!given)
    return llvm::to_vector(llvm::seq<int64_t>(0, node.inRank(0)));
  for (int64_t &axis : *given) {
    std::optional<int64_t> normal = node.normalizeAxis(axis, node.inRank(0));
    if (!normal)
      return std::nullopt;
    axis = *normal;
  }
  return given;
}

/// The sizes of the resized axes in the shape that the model states.
std::optional<Dims> getDeclaredSizes(NodeContext &node,
                                     ArrayRef<int64_t> positions) {
  std::optional<Dims> declared = node.getDeclaredDims(0);
  if (!declared || declared->size() != static_cast<size_t>(node.inRank(0)))
    return std::nullopt;
  Dims sizes;
  for (int64_t position : positions)
    sizes.push_back((*declared)[position]);
  return sizes;
}

bool keepsAspectRatio(NodeContext &node) {
  return node.attrString("keep_aspect_ratio_policy", "stretch") != "stretch";
}

/// True if target sizes and those of the input are constants.
bool areConstant(NodeContext &node, const std::optional<Dims> &sizes,
                 ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  return sizes &&
         llvm::all_of(*sizes,
                      [](AffineExpr size) {
                        return getConstantSize(size).has_value();
                      }) &&
         llvm::all_of(positions, [&](int64_t position) {
           return getConstantSize(in[position]).has_value();
         });
}

/// The scale of all axes that keeps the aspect ratio, from target sizes that
/// are read at run time: one number for each axis.
Value emitCommonScale(NodeContext &node, ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  auto count = static_cast<int64_t>(positions.size());
  bool larger =
      node.attrString("keep_aspect_ratio_policy", "stretch") == "not_smaller";
  if (node.inRank(3) != 1 || getConstantSize(node.inDims(3)[0]) != count) {
    (void)node.refuse(Diag::BadShape, "expected a size for each axis");
    return {};
  }
  Type f32 = node.f32();
  return node.generic(
      {node.size(count)}, f32, {}, {}, node.in(3),
      [&](Body &body, ValueRange x) {
        Value scale;
        for (auto [i, position] : llvm::enumerate(positions)) {
          Value size = body.read(x[0], body.index(static_cast<int64_t>(i)));
          Value ratio =
              body.div(body.convert(size, node.inElem(3), f32),
                       body.fromIndex(body.extent(in[position]), f32));
          scale = !scale   ? ratio
                  : larger ? body.max(scale, ratio)
                           : body.min(scale, ratio);
        }
        return scale;
      });
}

/// The sizes that scales which are read at run time give, to the nearest.
std::optional<Dims> readScaledSizes(NodeContext &node, Value scales,
                                    ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  auto count = static_cast<int64_t>(positions.size());
  Value sizes = node.computeInts(
      scales,
      [&](Body &body, ValueRange x) {
        Type f32 = node.f32();
        SmallVector<Value> result;
        for (auto [i, position] : llvm::enumerate(positions)) {
          Value scale = body.read(x[0], body.index(static_cast<int64_t>(i))),
                size = body.fromIndex(body.extent(in[position]), f32);
          Value nearest = body.floor(
              body.add(body.mul(size, scale), body.number(0.5, f32)));
          // What cannot be counted cannot be stored either.
          nearest = body.clamp(nearest, body.number(0, f32),
                               body.number(0x1p40, f32));
          result.push_back(body.convert(nearest, f32, node.i64()));
        }
        return result;
      },
      count);
  Dims result;
  for (int64_t i = 0; i < count; ++i) {
    result.push_back(node.readElement(sizes, i));
    if (!result.back())
      return std::nullopt;
  }
  return result;
}

/// Axes whose sizes are known and whose scales are read at run time.
SmallVector<Axis> axesAtRuntime(ArrayRef<int64_t> positions,
                                const Dims &sizes) {
  SmallVector<Axis> axes;
  for (auto [i, position] : llvm::enumerate(positions)) {
    axes.push_back({position, sizes[i]});
    axes.back().scaleSlot = static_cast<int64_t>(i);
  }
  return axes;
}

std::optional<SmallVector<Axis>> readAxes(NodeContext &node,
                                          ArrayRef<int64_t> positions,
                                          RuntimeInputs &runtime) {
  unsigned scaleInput = node.getOpset() < 11 ? 1 : 2;
  std::optional<Dims> declared = getDeclaredSizes(node, positions);
  bool hasScales =
      node.has(scaleInput) &&
      getConstantSize(getNumElements(node.in(scaleInput).getType())) != 0;
  if (!hasScales && !node.has(3)) {
    (void)node.refuse(Diag::BadGraph, "expected scales or sizes");
    return std::nullopt;
  }
  if (hasScales) {
    if (auto scales = node.getFloats(scaleInput))
      return axesFromScales(node, *scales, positions);
    if (!declared || node.inRank(scaleInput) != 1) {
      (void)node.refuseDynamic(scaleInput, "the scales");
      return std::nullopt;
    }
    runtime.scales = node.in(scaleInput);
    return axesAtRuntime(positions, *declared);
  }
  std::optional<Dims> sizes = node.getSizes(3);
  if (keepsAspectRatio(node) && !areConstant(node, sizes, positions)) {
    runtime.scales = emitCommonScale(node, positions);
    if (runtime.scales && !declared)
      declared = readScaledSizes(node, runtime.scales, positions);
    if (!runtime.scales || !declared)
      return std::nullopt;
    return axesAtRuntime(positions, *declared);
  }
  if (!sizes)
    sizes = declared;
  if (!sizes)
    sizes = node.readSizes(3, "the sizes");
  if (!sizes)
    return std::nullopt;
  return axesFromSizes(node, *sizes, positions);
}

/// The region of interest of a crop: begins of all axes and then ends.
LogicalResult readRegion(NodeContext &node, MutableArrayRef<Axis> axes,
                         RuntimeInputs &runtime) {
  auto count = static_cast<int64_t>(axes.size());
  if (!node.has(1) ||
      getConstantSize(getNumElements(node.in(1).getType())) != 2 * count)
    return node.refuse(Diag::BadShape,
                       "expected two bounds of the region for each axis");
  std::optional<SmallVector<double>> roi = node.getFloats(1);
  if (!roi)
    runtime.roi = node.reshape(node.in(1), {node.size(2 * count)});
  runtime.numAxes = count;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    if (roi) {
      axis.roiBegin = (*roi)[i];
      axis.roiEnd = (*roi)[i + axes.size()];
    } else {
      axis.roiSlot = static_cast<int64_t>(i);
    }
  }
  return success();
}

LogicalResult convertResize(NodeContext &node) {
  Settings settings = readSettings(node);
  RuntimeInputs runtime;
  std::optional<SmallVector<int64_t>> positions = readPositions(node);
  if (!positions)
    return failure();
  std::optional<SmallVector<Axis>> axes = readAxes(node, *positions, runtime);
  if (!axes)
    return failure();
  if (settings.antialias && llvm::any_of(*axes, [&](const Axis &axis) {
        return getLeastShrink(axis, node.inDims(0)[axis.position]) <= 0;
      }))
    return node.refuse(Diag::UnsupportedShape,
                       "antialiasing needs a scale that is known");
  if (settings.coordinates == "tf_crop_and_resize" &&
      failed(readRegion(node, *axes, runtime)))
    return failure();
  return emitResize(node, settings, *axes, runtime);
}

LogicalResult convertUpsample(NodeContext &node) {
  Settings settings;
  settings.mode = node.attrString("mode", "nearest");
  settings.coordinates = "asymmetric";
  settings.nearest = "floor";
  std::optional<SmallVector<double>> scales =
      node.getOpset() < 9 ? node.attrFloats("scales") : node.getFloats(1);
  if (!scales)
    return node.refuseDynamic(1, "the scales");
  if (settings.mode == "bilinear")
    settings.mode = "linear";
  std::optional<SmallVector<Axis>> axes = axesFromScales(
      node, *scales, llvm::to_vector(llvm::seq<int64_t>(0, node.inRank(0))));
  return axes ? emitResize(node, settings, *axes) : failure();
}

} // namespace

void registerResize(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"Resize", 10, 1, 4, convertResize,
                                 "scales that depend on data, unless the model "
                                 "states the output's shape"},
                                {"Upsample", 7, 1, 2, convertUpsample,
                                 "scales that depend on data"},
                            });
}

} // namespace qcc::onnx_import
