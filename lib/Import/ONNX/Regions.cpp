//===- Regions.cpp - pooling of regions, deformable convolution -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Conv.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Most samples of a bin along an axis. Regions are data: one of 2^60 pixels
/// would run for ever, and nothing beyond the image adds to a bin.
constexpr int64_t kMaxSamples = 4096;

struct RoiSettings {
  double scale = 1, shift = 0;
  int64_t sampling = 0;
  bool isMax = false;
};

/// One axis of a region: its start, the size of a bin, samples in a bin.
struct RoiAxis {
  Value start, binSize, samples;
};

RoiAxis getRoiAxis(Body &body, const RoiSettings &settings, Value begin,
                   Value end, int64_t bins) {
  Type type = begin.getType();
  auto number = [&](double value) { return body.number(value, type); };
  auto place = [&](Value x) {
    return body.sub(body.mul(x, number(settings.scale)),
                    number(settings.shift));
  };
  RoiAxis axis;
  axis.start = place(begin);
  Value size = body.sub(place(end), axis.start);
  if (settings.shift == 0)
    size = body.max(size, number(1));
  axis.binSize = body.div(size, number(static_cast<double>(bins)));
  axis.samples = body.index(settings.sampling);
  if (settings.sampling == 0) {
    Value adaptive = body.toIndex(
        body.convert(body.ceil(axis.binSize), type, body.b.getI64Type()));
    axis.samples =
        body.min(body.max(adaptive, body.index(0)), body.index(kMaxSamples));
  }
  return axis;
}

/// A sample between two elements of an axis: their indices and weights.
struct Between {
  Value low, high, lowWeight, highWeight, isOutside;
};

Between placeSample(Body &body, const RoiAxis &axis, Value bin, Value sample,
                    AffineExpr extent) {
  Type type = axis.start.getType();
  Value count = body.fromIndex(axis.samples, type),
        half = body.number(0.5, type), zero = body.number(0, type),
        one = body.number(1, type);
  Value offset = body.div(
      body.mul(body.add(body.fromIndex(sample, type), half), axis.binSize),
      count);
  Value x = body.add(
      body.add(axis.start, body.mul(body.fromIndex(bin, type), axis.binSize)),
      offset);
  Value size = body.extent(extent), sizeFloat = body.fromIndex(size, type);
  Between result;
  result.isOutside =
      body.either(body.lt(x, body.number(-1, type)), body.lt(sizeFloat, x));
  x = body.clamp(x, zero, body.sub(sizeFloat, one));
  Value base = body.floor(x);
  result.low = body.clampIndex(
      body.toIndex(body.convert(base, type, body.b.getI64Type())), size);
  result.high = body.clampIndex(body.add(result.low, body.index(1)), size);
  result.highWeight = body.sub(x, base);
  result.lowWeight = body.sub(one, result.highWeight);
  return result;
}

/// The average of the samples of a bin, or the largest weighted neighbour of
/// them: the operator's reference and other runtimes take the maximum before
/// neighbours are added.
Value poolBin(Body &body, const RoiSettings &settings, const RoiAxis &rows,
              const RoiAxis &columns, ArrayRef<Value> plane, Value tensor,
              const Dims &in) {
  Type type = rows.start.getType();
  Value zero = body.number(0, type);
  Value empty = body.number(
      settings.isMax ? -std::numeric_limits<double>::infinity() : 0, type);
  auto visit = [&](Value iy, Value ix, Value value) {
    Between y = placeSample(body, rows, body.dim(2), iy, in[2]),
            x = placeSample(body, columns, body.dim(3), ix, in[3]);
    Value outside = body.either(y.isOutside, x.isOutside), here;
    for (bool isLower : {false, true})
      for (bool isRight : {false, true}) {
        Value weight = body.mul(isLower ? y.highWeight : y.lowWeight,
                                isRight ? x.highWeight : x.lowWeight);
        Value pixel =
            body.read(tensor, {plane[0], plane[1], isLower ? y.high : y.low,
                               isRight ? x.high : x.low});
        Value term = body.mul(weight, pixel);
        here = !here            ? term
               : settings.isMax ? body.max(here, term)
                                : body.add(here, term);
      }
    here = body.select(outside, zero, here);
    return settings.isMax ? body.max(value, here) : body.add(value, here);
  };
  Value pooled = body.loop(rows.samples, empty, [&](Value iy, Value outer) {
    return body.loop(columns.samples, outer, [&](Value ix, Value value) {
      return visit(iy, ix, value);
    });
  });
  Value count = body.mul(rows.samples, columns.samples);
  if (!settings.isMax)
    return body.div(pooled,
                    body.fromIndex(body.max(count, body.index(1)), type));
  return body.select(body.eq(count, body.index(0)), zero, pooled);
}

LogicalResult convertRoiAlign(NodeContext &node) {
  Dims in = node.inDims(0), regions = node.inDims(1);
  Type type = node.inElem(0);
  if (in.size() != 4 || regions.size() != 2 ||
      getConstantSize(regions[1]) != 4 || node.inRank(2) != 1 ||
      !isa<FloatType>(type) || node.inElem(1) != type ||
      !isa<IntegerType>(node.inElem(2)))
    return node.refuse(Diag::BadShape,
                       "expected an image of rank 4, regions [R, 4] of its "
                       "type and an image's index for each");
  if (!node.requireEqual(regions[0], node.inDims(2)[0], "regions"))
    return failure();
  RoiSettings settings;
  settings.scale = node.attrFloat("spatial_scale", 1);
  settings.sampling = node.attrInt("sampling_ratio", 0);
  std::string mode = node.attrString("mode", "avg");
  std::string coordinates = node.attrString(
      "coordinate_transformation_mode",
      node.getOpset() < 16 ? "output_half_pixel" : "half_pixel");
  int64_t height = node.attrInt("output_height", 1),
          width = node.attrInt("output_width", 1);
  settings.isMax = mode == "max";
  settings.shift = coordinates == "half_pixel" ? 0.5 : 0;
  if ((mode != "avg" && mode != "max") ||
      (coordinates != "half_pixel" && coordinates != "output_half_pixel") ||
      height < 1 || width < 1 || height > (1 << 24) || width > (1 << 24) ||
      settings.sampling < 0 || settings.sampling > kMaxSamples)
    return node.refuse(Diag::BadAttribute,
                       "expected mode avg or max, coordinates half_pixel or "
                       "output_half_pixel, and an output of 1 or more");
  Dims to = {regions[0], in[1], node.size(height), node.size(width)};
  return node.set(
      0, node.generic(to, type, node.in(2), node.makeMap(4, node.d(0)),
                      {node.in(0), node.in(1)}, [&](Body &body, ValueRange x) {
                        Value region = body.dim(0);
                        auto bound = [&](int64_t i) {
                          return body.read(x[2], {region, body.index(i)});
                        };
                        RoiAxis rows = getRoiAxis(body, settings, bound(1),
                                                  bound(3), height),
                                columns = getRoiAxis(body, settings, bound(0),
                                                     bound(2), width);
                        Value image = body.clampIndex(body.toIndex(x[0]),
                                                      body.extent(in[0]));
                        return poolBin(body, settings, rows, columns,
                                       {image, body.dim(1)}, x[1], in);
                      }));
}

/// One axis of a bin of MaxRoiPool: elements from `begin` on, in the image.
struct Span {
  Value begin, count;
};

Span getBinSpan(Body &body, Value first, Value last, double scale, Value bin,
                int64_t bins, AffineExpr extent) {
  Type type = first.getType(), i64 = body.b.getI64Type();
  auto toPixel = [&](Value x) {
    Value rounded = body.round(body.mul(x, body.number(scale, type)));
    return body.toIndex(body.convert(rounded, type, i64));
  };
  Value size = body.extent(extent), start = toPixel(first);
  Value pixels = body.max(
      body.add(body.sub(toPixel(last), start), body.index(1)), body.index(1));
  Value binSize = body.div(body.fromIndex(pixels, type),
                           body.number(static_cast<double>(bins), type));
  auto edge = [&](Value index, bool up) {
    Value x = body.mul(body.fromIndex(index, type), binSize);
    Value whole = body.toIndex(
        body.convert(up ? body.ceil(x) : body.floor(x), type, i64));
    return body.min(body.max(body.add(whole, start), body.index(0)), size);
  };
  Value begin = edge(bin, false),
        end = edge(body.add(bin, body.index(1)), true);
  return {begin, body.max(body.sub(end, begin), body.index(0))};
}

LogicalResult convertMaxRoiPool(NodeContext &node) {
  Dims in = node.inDims(0), regions = node.inDims(1);
  Type type = node.inElem(0);
  std::optional<SmallVector<int64_t>> pooled = node.attrInts("pooled_shape");
  if (in.size() != 4 || regions.size() != 2 ||
      getConstantSize(regions[1]) != 5 || !isa<FloatType>(type) ||
      node.inElem(1) != type)
    return node.refuse(
        Diag::BadShape,
        "expected an image of rank 4 and regions [R, 5] of its type");
  if (!pooled || pooled->size() != 2 || (*pooled)[0] < 1 || (*pooled)[1] < 1 ||
      (*pooled)[0] > (1 << 24) || (*pooled)[1] > (1 << 24))
    return node.refuse(Diag::BadAttribute,
                       "expected two sizes of 1 or more of 'pooled_shape'");
  double scale = node.attrFloat("spatial_scale", 1);
  Type compute = getComputeType(type);
  Dims to = {regions[0], in[1], node.size((*pooled)[0]),
             node.size((*pooled)[1])};
  return node.set(
      0,
      node.generic(
          to, type, {}, {}, {node.in(0), node.in(1)},
          [&](Body &body, ValueRange x) {
            auto bound = [&](int64_t i) {
              return body.read(x[1], {body.dim(0), body.index(i)});
            };
            Value image = body.toIndex(
                body.convert(bound(0), compute, body.b.getI64Type()));
            image = body.clampIndex(image, body.extent(in[0]));
            Span rows = getBinSpan(body, bound(2), bound(4), scale, body.dim(2),
                                   (*pooled)[0], in[2]),
                 columns = getBinSpan(body, bound(1), bound(3), scale,
                                      body.dim(3), (*pooled)[1], in[3]);
            Value lowest =
                body.number(-std::numeric_limits<double>::infinity(), compute);
            Value largest =
                body.loop(rows.count, lowest, [&](Value iy, Value outer) {
                  return body.loop(
                      columns.count, outer, [&](Value ix, Value value) {
                        Value row = body.add(rows.begin, iy),
                              column = body.add(columns.begin, ix);
                        return body.max(
                            value,
                            body.read(x[0], {image, body.dim(1), row, column}));
                      });
                });
            Value isEmpty =
                body.eq(body.mul(rows.count, columns.count), body.index(0));
            return body.select(isEmpty, body.number(0, compute), largest);
          }));
}

//===----------------------------------------------------------------------===//
// Deformable convolution
//===----------------------------------------------------------------------===//

/// Linear interpolation at a position given per axis, 0 beyond the image.
Value interpolate(Body &body, Value image, SmallVectorImpl<Value> &at,
                  ArrayRef<Value> place, ArrayRef<AffineExpr> extents,
                  Value inside) {
  if (place.empty()) {
    Value value = body.read(image, at);
    return body.select(inside, value, body.number(0, value.getType()));
  }
  Value x = place.front(), base = body.floor(x);
  Type type = x.getType();
  Value size = body.extent(extents.front());
  Value low = body.toIndex(body.convert(base, type, body.b.getI64Type()));
  Value fraction = body.sub(x, base), sum;
  for (int64_t step : {0, 1}) {
    Value index = body.add(low, body.index(step));
    Value within = body.both(
        inside, body.both(body.le(body.index(0), index), body.lt(index, size)));
    at.push_back(body.clampIndex(index, size));
    Value value = interpolate(body, image, at, place.drop_front(),
                              extents.drop_front(), within);
    at.pop_back();
    Value weight = step ? fraction : body.sub(body.number(1, type), fraction);
    Value term = body.mul(weight, value);
    sum = sum ? body.add(sum, term) : term;
  }
  return sum;
}

/// What each element of the kernel meets: `[N, C, kernel elements, out...]`.
/// `offsets` is `[N, G, kernel elements, axes, out...]`, the mask (or null)
/// `[N, G, kernel elements, out...]`.
Value emitSamples(NodeContext &node, Value image, Value offsets, Value mask,
                  const SpatialWindow &window, const Dims &to,
                  int64_t channelsPerGroup) {
  Dims in = node.dims(image);
  unsigned axes = window.size();
  Type type = node.elem(image);
  SmallVector<Value> whole = {image, offsets};
  if (mask)
    whole.push_back(mask);
  return node.generic(to, type, {}, {}, whole, [&](Body &body, ValueRange x) {
    Value batch = body.dim(0), channel = body.dim(1), element = body.dim(2);
    Value group = body.div(channel, body.index(channelsPerGroup), true);
    SmallVector<Value> position = {batch, group, element};
    for (unsigned i = 0; i < axes; ++i)
      position.push_back(body.dim(3 + i));
    SmallVector<Value> place(axes);
    Value rest = element;
    for (unsigned i = axes; i-- > 0;) {
      Value size = body.index(window.kernel[i]);
      Value k = body.rem(rest, size, true);
      rest = body.div(rest, size, true);
      Value regular = body.sub(
          body.add(body.mul(body.dim(3 + i), body.index(window.strides[i])),
                   body.mul(k, body.index(window.dilations[i]))),
          body.index(window.pads[i]));
      SmallVector<Value> at = position;
      at.insert(at.begin() + 3, body.index(i));
      place[i] = body.add(body.fromIndex(regular, type), body.read(x[1], at));
    }
    SmallVector<Value> at = {batch, channel};
    Value value = interpolate(body, x[0], at, place, ArrayRef(in).drop_front(2),
                              body.boolean(true));
    return mask ? body.mul(value, body.read(x[2], position)) : value;
  });
}

LogicalResult convertDeformConv(NodeContext &node) {
  if (!node.requireSameTypes() || !isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::BadShape, "expected float tensors of one type");
  Value image = node.widen(node.in(0)), weight = node.widen(node.in(1));
  std::optional<ConvShape> conv = readConv(node, image, weight);
  if (!conv)
    return failure();
  Dims in = node.inDims(0), kernel = node.inDims(1), given = node.inDims(2);
  std::optional<int64_t> channels = getConstantSize(in[1]),
                         outputs = getConstantSize(kernel[0]);
  int64_t offsetGroups = node.attrInt("offset_group", 1);
  if (!channels || !outputs || offsetGroups < 1 || *channels % offsetGroups)
    return node.refuse(
        Diag::BadAttribute,
        "expected a number of offset groups that divides the channels");
  if (given.size() != in.size() ||
      (node.has(4) && node.inRank(4) != node.inRank(2)))
    return node.refuse(Diag::BadShape,
                       "expected offsets and a mask of the input's rank");
  Dims out(ArrayRef(conv->result).drop_front(2));
  int64_t axes = out.size(), elements = 1;
  for (int64_t size : conv->window.kernel)
    elements *= size;
  Dims offsetDims = {in[0], node.size(offsetGroups), node.size(elements)},
       maskDims = offsetDims;
  offsetDims.push_back(node.size(axes));
  llvm::append_range(offsetDims, out);
  llvm::append_range(maskDims, out);
  auto split = [&](unsigned input, AffineExpr rows, const Dims &to) -> Value {
    Dims have = node.inDims(input);
    if (!node.requireEqual(have[0], in[0], "batches of offsets") ||
        !node.requireEqual(have[1], rows, "rows of offsets"))
      return {};
    for (int64_t i = 0; i < axes; ++i)
      if (!node.requireEqual(have[2 + i], out[i], "offsets and results"))
        return {};
    return node.reshape(node.widen(node.in(input)), to);
  };
  Value offsets =
      split(2, node.size(offsetGroups * elements * axes), offsetDims);
  Value mask = node.has(4)
                   ? split(4, node.size(offsetGroups * elements), maskDims)
                   : Value();
  if (node.getProblem())
    return failure();
  Dims sampled = {in[0], in[1], node.size(elements)};
  llvm::append_range(sampled, out);
  Value samples = emitSamples(node, image, offsets, mask, conv->window, sampled,
                              *channels / offsetGroups);
  // One matrix product per group: its weights by what they meet.
  AffineExpr pixels = product(out, node.b.getContext()),
             groups = node.size(conv->groups),
             depth = node.size(*channels / conv->groups * elements),
             perGroup = node.size(*outputs / conv->groups);
  Value columns = node.reshape(samples, {in[0], groups, depth, pixels});
  Value rows = node.reshape(weight, {node.size(1), groups, perGroup, depth});
  Value result = node.reshape(node.matmul(rows, columns), conv->result);
  result = addChannelBias(node, result, node.widen(node.in(3)));
  return node.set(0, node.cast(result, node.inElem(0)));
}

} // namespace

void registerRegions(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"RoiAlign", 10, 3, 3, convertRoiAlign},
                                {"MaxRoiPool", 1, 2, 2, convertMaxRoiPool},
                                {"DeformConv", 19, 3, 5, convertDeformConv,
                                 "more than 3 spatial dimensions"},
                            });
}

} // namespace qcc::onnx_import
