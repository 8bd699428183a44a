//===- Sampling.cpp - reading tensors between their elements ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

struct GridSettings {
  std::string mode, padding;
  bool corners = false;
};

/// Borders of a dimension that reflection mirrors at.
std::pair<Value, Value> getBorders(Body &body, const GridSettings &settings,
                                   Value size) {
  Type type = size.getType();
  double shift = settings.corners ? 0 : -0.5;
  Value low = body.number(shift, type);
  return {low, body.sub(size, body.number(settings.corners ? 1 : 0.5, type))};
}

/// A position mirrored at both borders as often as needed.
Value reflect(Body &body, Value x, Value low, Value high) {
  Type type = x.getType();
  Value zero = body.number(0, type), one = body.number(1, type);
  Value span = body.sub(high, low);
  span = body.select(body.lt(zero, span), span, one);
  // The distance from the low border, folded into one period of two spans.
  Value distance = body.abs(body.sub(x, low));
  Value period = body.add(span, span);
  Value turns = body.floor(body.div(distance, period));
  Value rest = body.sub(distance, body.mul(turns, period));
  Value folded = body.select(body.lt(span, rest), body.sub(period, rest), rest);
  Value inside = body.both(body.le(low, x), body.le(x, high));
  return body.select(inside, x, body.add(low, folded));
}

/// Weights of the elements around a fraction: 1 for the nearest, a triangle, or
/// Keys' cubic with -0.75.
SmallVector<Value> getWeights(Body &body, StringRef mode, Value t) {
  Type type = t.getType();
  auto number = [&](double value) { return body.number(value, type); };
  if (mode == "nearest")
    return {number(1)};
  Value rest = body.sub(number(1), t);
  if (mode == "linear")
    return {rest, t};
  double a = -0.75;
  auto far = [&](Value x) {
    Value sum = body.mul(body.sub(x, number(5)), x);
    sum = body.mul(body.add(sum, number(8)), x);
    return body.mul(number(a), body.sub(sum, number(4)));
  };
  auto near = [&](Value x) {
    Value sum = body.sub(body.mul(number(a + 2), x), number(a + 3));
    return body.add(body.mul(body.mul(sum, x), x), number(1));
  };
  return {far(body.add(t, number(1))), near(t), near(rest),
          far(body.add(rest, number(1)))};
}

/// One dimension of the image at one point of the grid.
struct Line {
  SmallVector<Value> indices, weights;
  /// Whether each index is within the image; empty if it always is.
  SmallVector<Value> inside;
};

Line sampleLine(Body &body, const GridSettings &settings, Value place,
                AffineExpr dim) {
  Type type = place.getType();
  Value count = body.extent(dim), size = body.fromIndex(count, type);
  Value one = body.number(1, type), half = body.number(0.5, type);
  auto [low, high] = getBorders(body, settings, size);
  // From [-1, 1] to positions in the image.
  Value moved = body.add(place, one), x;
  if (settings.corners)
    x = body.mul(body.mul(moved, half), body.sub(size, one));
  else
    x = body.mul(body.sub(body.mul(moved, size), one), half);
  if (settings.mode == "nearest")
    x = body.roundEven(x);
  if (settings.padding == "border")
    x = body.clamp(x, body.number(0, type), body.sub(size, one));
  else if (settings.padding == "reflection")
    x = reflect(body, x, low, high);
  Value base = settings.mode == "nearest" ? x : body.floor(x);
  Line line;
  line.weights = getWeights(body, settings.mode, body.sub(x, base));
  int64_t first = settings.mode == "cubic" ? -1 : 0;
  for (size_t i = 0; i < line.weights.size(); ++i) {
    Value at = body.add(
        base,
        body.number(static_cast<double>(first) + static_cast<double>(i), type));
    if (settings.padding == "reflection")
      at = reflect(body, at, low, high);
    Value index = body.toIndex(body.convert(at, type, body.b.getI64Type()));
    if (settings.padding == "zeros")
      line.inside.push_back(
          body.both(body.le(body.index(0), index), body.lt(index, count)));
    line.indices.push_back(body.clampIndex(index, count));
  }
  return line;
}

/// The weighted sum over all combinations of indices of the lines.
Value combine(Body &body, Value image, SmallVectorImpl<Value> &at,
              ArrayRef<Line> lines, Value inside) {
  if (lines.empty()) {
    Value value = body.read(image, at);
    return inside ? body.select(inside, value, body.number(0, value.getType()))
                  : value;
  }
  Value sum;
  const Line &line = lines.front();
  for (size_t i = 0; i < line.indices.size(); ++i) {
    at.push_back(line.indices[i]);
    Value within = inside;
    if (!line.inside.empty())
      within = inside ? body.both(inside, line.inside[i]) : line.inside[i];
    Value value = combine(body, image, at, lines.drop_front(), within);
    at.pop_back();
    Value term =
        line.indices.size() == 1
            ? value
            : body.mul(body.convert(line.weights[i], line.weights[i].getType(),
                                    value.getType()),
                       value);
    sum = sum ? body.add(sum, term) : term;
  }
  return sum;
}

LogicalResult convertGridSample(NodeContext &node) {
  Dims image = node.inDims(0), grid = node.inDims(1);
  size_t rank = image.size();
  if (rank < 3 || rank > 5 || grid.size() != rank)
    return node.refuse(Diag::BadShape,
                       "expected an image and a grid of one rank from 3 to 5");
  if (getConstantSize(grid.back()) != static_cast<int64_t>(rank - 2) ||
      !isa<FloatType>(node.inElem(1)))
    return node.refuse(Diag::BadShape,
                       "expected a grid of as many coordinates as the image "
                       "has spatial dimensions");
  if (!node.requireEqual(image[0], grid[0], "images and grids"))
    return failure();
  GridSettings settings;
  settings.mode = node.attrString("mode", "linear");
  if (StringRef(settings.mode).starts_with("bi"))
    settings.mode = settings.mode.substr(2);
  settings.padding = node.attrString("padding_mode", "zeros");
  settings.corners = node.attrInt("align_corners", 0) != 0;
  bool known = settings.mode == "linear" || settings.mode == "nearest" ||
               settings.mode == "cubic";
  if (!known || (settings.padding != "zeros" && settings.padding != "border" &&
                 settings.padding != "reflection"))
    return node.refuse(Diag::BadAttribute,
                       "expected mode linear, nearest or cubic and padding "
                       "zeros, border or reflection");
  if (settings.mode != "nearest" && !isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::UnsupportedType, "expected a float tensor");
  Dims to = {image[0], image[1]};
  to.append(grid.begin() + 1, grid.end() - 1);
  return node.set(
      0, node.generic(
             to, node.inElem(0), {}, {}, {node.in(0), node.in(1)},
             [&](Body &body, ValueRange x) {
               SmallVector<Value> point = {body.dim(0)},
                                  at = {body.dim(0), body.dim(1)};
               for (unsigned i = 2; i < rank; ++i)
                 point.push_back(body.dim(i));
               point.push_back({});
               // Coordinates go from the last dimension to the first.
               SmallVector<Line> lines;
               for (unsigned i = 2; i < rank; ++i) {
                 point.back() = body.index(static_cast<int64_t>(rank) - 1 - i);
                 lines.push_back(sampleLine(body, settings,
                                            body.read(x[1], point), image[i]));
               }
               return combine(body, x[0], at, lines, {});
             }));
}

} // namespace

void registerSampling(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"GridSample", 16, 2, 2, convertGridSample,
                                 "integers in other modes than nearest"},
                            });
}

} // namespace qcc::onnx_import
