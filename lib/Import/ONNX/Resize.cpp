//===- Resize.cpp - resizing of images, one axis after the other -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Resize.h"
#include "Registry.h"
#include "llvm/Support/Format.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The axes in the order in which least is computed: along the last one lanes
/// read elements that lie apart, so what shrinks goes before it and what grows
/// after it. With a region each axis fills what is outside, in the model's
/// order.
SmallVector<ResizedAxis> orderAxes(NodeContext &node,
                                   const ResizeSettings &settings,
                                   ArrayRef<ResizedAxis> axes) {
  SmallVector<ResizedAxis> ordered, after;
  for (const ResizedAxis &axis : axes) {
    bool grows = axis.position != node.inRank(0) - 1 && axis.scale > 1 &&
                 settings.coordinates != "tf_crop_and_resize";
    (grows ? after : ordered).push_back(axis);
  }
  ordered.append(after);
  return ordered;
}

LogicalResult emitResize(NodeContext &node, const ResizeSettings &settings,
                         ArrayRef<ResizedAxis> axes,
                         const ResizeInputs &runtime = {}) {
  Type type = node.inElem(0);
  if (settings.mode != "nearest" && settings.mode != "linear" &&
      settings.mode != "cubic")
    return node.refuse(Diag::BadAttribute,
                       "expected mode nearest, linear or cubic, but got '" +
                           settings.mode + "'");
  Value result = node.in(0);
  if (settings.mode != "nearest")
    result = node.cast(result, node.f32());
  for (const ResizedAxis &axis : orderAxes(node, settings, axes)) {
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

/// The same where no expression has its rounding: in f32 at run time, as ONNX
/// Runtime and so most exporters' models expect.
AffineExpr scaleDimAtRuntime(NodeContext &node, AffineExpr dim, double scale) {
  Value size = node.computeInts(
      {},
      [&](Body &body, ValueRange) {
        Type f32 = node.f32();
        Value scaled = body.floor(body.mul(
            body.fromIndex(body.extent(dim), f32), body.number(scale, f32)));
        // What cannot be counted cannot be stored either.
        scaled =
            body.clamp(scaled, body.number(0, f32), body.number(0x1p40, f32));
        return SmallVector<Value>{body.convert(scaled, f32, node.i64())};
      },
      1);
  return size ? node.readElement(size, 0) : AffineExpr();
}

std::optional<SmallVector<ResizedAxis>>
axesFromScales(NodeContext &node, ArrayRef<double> scales,
               ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  if (scales.size() != positions.size()) {
    (void)node.refuse(Diag::BadShape, "expected " + Twine(positions.size()) +
                                          " scales, but got " +
                                          Twine(scales.size()));
    return std::nullopt;
  }
  SmallVector<ResizedAxis> axes;
  for (auto [scale, position] : llvm::zip(scales, positions)) {
    bool isScale = scale > 0 && std::isfinite(scale);
    AffineExpr out =
        isScale ? scaleDim(node, in[position], scale) : AffineExpr();
    if (!out && isScale && !getConstantSize(in[position]))
      out = scaleDimAtRuntime(node, in[position], scale);
    if (!out) {
      (void)node.refuse(isScale ? Diag::LimitReached : Diag::BadAttribute,
                        isScale ? "expected sizes of at most 2^40"
                                : "expected finite scales above 0");
      return std::nullopt;
    }
    axes.push_back({position, out, scale});
  }
  return axes;
}

/// The axes from target sizes, with the policies that keep the aspect ratio.
std::optional<SmallVector<ResizedAxis>>
axesFromSizes(NodeContext &node, const Dims &sizes,
              ArrayRef<int64_t> positions) {
  Dims in = node.inDims(0);
  if (sizes.size() != positions.size()) {
    (void)node.refuse(Diag::BadShape, "expected " + Twine(positions.size()) +
                                          " sizes, but got " +
                                          Twine(sizes.size()));
    return std::nullopt;
  }
  SmallVector<ResizedAxis> axes;
  for (auto [size, position] : llvm::zip(sizes, positions)) {
    ResizedAxis axis{position, size};
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
  for (const ResizedAxis &axis : axes) {
    if (axis.scale <= 0) {
      (void)node.refuse(Diag::BadShape,
                        "expected sizes of 1 or more to keep the ratio of");
      return std::nullopt;
    }
    scale = policy == "not_larger" ? std::min(scale, axis.scale)
                                   : std::max(scale, axis.scale);
  }
  for (ResizedAxis &axis : axes) {
    axis.scale = scale;
    double size =
        static_cast<double>(*getConstantSize(in[axis.position])) * scale;
    axis.out = node.size(static_cast<int64_t>(std::floor(size + 0.5)));
  }
  return axes;
}

ResizeSettings readSettings(NodeContext &node) {
  ResizeSettings settings;
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
SmallVector<ResizedAxis> axesAtRuntime(ArrayRef<int64_t> positions,
                                       const Dims &sizes) {
  SmallVector<ResizedAxis> axes;
  for (auto [i, position] : llvm::enumerate(positions)) {
    axes.push_back({position, sizes[i]});
    axes.back().scaleSlot = static_cast<int64_t>(i);
  }
  return axes;
}

unsigned getScaleInput(NodeContext &node) {
  return node.getOpset() < 11 ? 1 : 2;
}

bool hasScales(NodeContext &node) {
  unsigned input = getScaleInput(node);
  return node.has(input) &&
         getConstantSize(getNumElements(node.in(input).getType())) != 0;
}

std::optional<SmallVector<ResizedAxis>> readAxes(NodeContext &node,
                                                 ArrayRef<int64_t> positions,
                                                 ResizeInputs &runtime) {
  unsigned scaleInput = getScaleInput(node);
  std::optional<Dims> declared = getDeclaredSizes(node, positions);
  if (!hasScales(node) && !node.has(3)) {
    (void)node.refuse(Diag::BadGraph, "expected scales or sizes");
    return std::nullopt;
  }
  if (hasScales(node)) {
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

/// Aligned corners lie where the exact size ends by ONNX's definition and where
/// the whole one does in ONNX Runtime, which is what most were exported for.
void warnOfCorners(NodeContext &node, ArrayRef<ResizedAxis> axes) {
  for (const ResizedAxis &axis : axes) {
    std::optional<int64_t> in = getConstantSize(node.inDims(0)[axis.position]),
                           out = getConstantSize(axis.out);
    if (in == 1 || out == 1 || axis.scale == std::floor(axis.scale))
      continue;
    double exact =
        in ? static_cast<float>(*in) * static_cast<float>(axis.scale) : 0;
    if (in && exact == std::floor(exact))
      continue;
    std::string sizes;
    llvm::raw_string_ostream os(sizes);
    os << "axis " << axis.position << ": ";
    if (in)
      os << llvm::format("%g", exact) << " of " << *out << " elements";
    else
      os << "a size times " << llvm::format("%g", axis.scale);
    node.warn("align_corners with `scales` counts parts of an element (" +
              sizes +
              "), as ONNX defines it, and ONNX Runtime does not; give "
              "`sizes` in place of `scales` for the results of "
              "ONNX Runtime");
    return;
  }
}

/// The region of interest of a crop: begins of all axes and then ends.
LogicalResult readRegion(NodeContext &node, MutableArrayRef<ResizedAxis> axes,
                         ResizeInputs &runtime) {
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
  ResizeSettings settings = readSettings(node);
  ResizeInputs runtime;
  std::optional<SmallVector<int64_t>> positions = readPositions(node);
  if (!positions)
    return failure();
  std::optional<SmallVector<ResizedAxis>> axes =
      readAxes(node, *positions, runtime);
  if (!axes)
    return failure();
  if (settings.antialias && llvm::any_of(*axes, [&](const ResizedAxis &axis) {
        return getLeastShrink(axis, node.inDims(0)[axis.position]) <= 0;
      }))
    return node.refuse(Diag::UnsupportedShape,
                       "antialiasing needs a scale that is known");
  if (settings.coordinates == "tf_crop_and_resize" &&
      failed(readRegion(node, *axes, runtime)))
    return failure();
  if (settings.coordinates == "align_corners" && hasScales(node))
    warnOfCorners(node, *axes);
  return emitResize(node, settings, *axes, runtime);
}

LogicalResult convertUpsample(NodeContext &node) {
  ResizeSettings settings;
  settings.mode = node.attrString("mode", "nearest");
  settings.coordinates = "asymmetric";
  settings.nearest = "floor";
  std::optional<SmallVector<double>> scales =
      node.getOpset() < 9 ? node.attrFloats("scales") : node.getFloats(1);
  if (!scales)
    return node.refuseDynamic(1, "the scales");
  if (settings.mode == "bilinear")
    settings.mode = "linear";
  std::optional<SmallVector<ResizedAxis>> axes = axesFromScales(
      node, *scales, llvm::to_vector(llvm::seq<int64_t>(0, node.inRank(0))));
  return axes ? emitResize(node, settings, *axes) : failure();
}

} // namespace

void registerResize(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"Resize", 10, 1, 4, convertResize,
                                 "scales that depend on data, unless the model "
                                 "states the output's shape. align_corners "
                                 "with scales that give no whole size is as "
                                 "ONNX defines it (a warning: ONNX Runtime "
                                 "takes the whole size)"},
                                {"Upsample", 7, 1, 2, convertUpsample,
                                 "scales that depend on data"},
                            });
}

} // namespace qcc::onnx_import
