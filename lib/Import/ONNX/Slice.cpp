//===- Slice.cpp - slices with known bounds and others -----------*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// One axis of a slice: where it starts and how many elements it has.
struct Window {
  AffineExpr start, size;
};

/// Says that a dimension that is cut by one element has one: then what is left
/// is a plain size.
bool requireElement(NodeContext &node, AffineExpr dim) {
  return node.requireAtLeast(dim, node.size(1), "a sliced dimension");
}

/// A bound of a slice that runs forwards as an expression in [0, dim].
AffineExpr resolveBound(NodeContext &node, AffineExpr bound, AffineExpr dim) {
  constexpr int64_t beyond = (int64_t(1) << 31) - 1;
  std::optional<int64_t> value = getConstantSize(bound),
                         extent = getConstantSize(dim);
  if (value && extent)
    return node.size(std::clamp<int64_t>(
        *value < 0 ? std::max(*value, -*extent) + *extent : *value, 0,
        *extent));
  if (bound == dim || (value && *value >= beyond))
    return dim;
  if (value && (*value == 0 || *value < -beyond))
    return node.size(0);
  // A size that data tells is 0 more often than that of an input.
  bool mayBeEmpty = node.symbols.isRuntime(dim);
  if ((value == 1 || value == -1) && !mayBeEmpty) {
    if (!requireElement(node, dim))
      return {};
    return value == 1 ? bound : simplifyDim(dim - 1);
  }
  if (value)
    return *value < 0 ? maxZero(dim + *value) : minSize(dim, *value);
  // N - k of a dimension N: below 0 it is a position from the end.
  if (std::optional<int64_t> less = getConstantSize(simplifyDim(dim - bound))) {
    if (*less <= 0)
      return dim;
    if (*less == 1 && !mayBeEmpty)
      return requireElement(node, dim) ? bound : AffineExpr();
    return maxZero(bound - dim * bound.floorDiv(int64_t(1) << 40));
  }
  // Other computed bounds are taken as positions, not as ones from the end.
  return node.requireAtLeast(dim, bound, "a sliced dimension") &&
                 node.requireAtLeast(bound, node.size(0), "a bound of a slice")
             ? bound
             : AffineExpr();
}

/// A slice that runs forwards.
std::optional<Window> resolveForward(NodeContext &node, AffineExpr start,
                                     AffineExpr end, int64_t step,
                                     AffineExpr dim) {
  AffineExpr first = resolveBound(node, start, dim),
             last = resolveBound(node, end, dim);
  if (!first || !last)
    return std::nullopt;
  AffineExpr span = simplifyDim(last - first);
  std::optional<int64_t> from = getConstantSize(start),
                         to = getConstantSize(end);
  bool isConstant = from && to && !getConstantSize(dim),
       isOneSign = isConstant && (*from < 0) == (*to < 0);
  if (first == dim || getConstantSize(last) == 0 || (isOneSign && *from >= *to))
    return Window{node.size(0), node.size(0)};
  // From k on to k before the end there are N - 2 k elements or none.
  if (isConstant && *from >= 0 && *to < 0)
    span = maxZero(dim - *from + *to);
  // Bounds of one sign keep their order when they are cut off.
  else if (!isOneSign && last != dim && getConstantSize(first) != 0) {
    if (!from && !to && !node.requireAtLeast(last, first, "the end of a slice"))
      return std::nullopt;
    span = from || to ? maxZero(span) : span;
  }
  if (std::optional<int64_t> known = getConstantSize(span);
      known && *known <= 0)
    return Window{node.size(0), node.size(0)};
  // Where that is behind the dimension nothing is read.
  if (isConstant && *from >= 0)
    first = start;
  Window window{first, simplifyDim(span.ceilDiv(step))};
  node.symbols.nonNegative.insert(window.size);
  return window;
}

/// A slice that runs backwards between constants.
std::optional<Window> resolveBackward(NodeContext &node, int64_t first,
                                      int64_t last, int64_t step,
                                      AffineExpr dim) {
  if (std::optional<int64_t> extent = getConstantSize(dim)) {
    if (*extent == 0)
      return Window{node.size(0), node.size(0)};
    int64_t from = std::clamp<int64_t>(
        first < 0 ? std::max(first, -*extent - 1) + *extent : first, 0,
        *extent - 1);
    int64_t to = std::clamp<int64_t>(
        last < 0 ? std::max(last, -*extent - 1) + *extent : last, -1,
        *extent - 1);
    return Window{node.size(from),
                  node.size(std::max<int64_t>(
                      0, llvm::divideCeilSigned(from - to, -step)))};
  }
  // Of an empty dimension the first element is before its start.
  constexpr int64_t beyond = int64_t(1) << 30;
  AffineExpr from = dim - 1, to = node.size(-1);
  if (first < -1)
    from = (first < -beyond ? node.size(0) : maxZero(dim + first)) -
           node.size(1).floorDiv(dim + 1);
  else if (first >= 0 && first < beyond)
    from = minSize(dim, first + 1) - 1;
  if (last >= 0)
    to = last < beyond ? minSize(dim, last + 1) - 1 : dim - 1;
  else if (last >= -beyond)
    to = maxZero(dim + last + 1) - 1;
  bool whole = first == -1 || first >= beyond;
  AffineExpr span = simplifyDim(from - to);
  Window window{simplifyDim(from),
                simplifyDim((whole ? span : maxZero(span)).ceilDiv(-step))};
  node.symbols.nonNegative.insert(window.size);
  return window;
}

std::optional<Window> resolveWindow(NodeContext &node, AffineExpr start,
                                    AffineExpr end, int64_t step,
                                    AffineExpr dim) {
  if (step > 0)
    return resolveForward(node, start, end, step, dim);
  std::optional<int64_t> first = getConstantSize(start),
                         last = getConstantSize(end);
  if (!first || !last || step == INT64_MIN)
    return std::nullopt;
  return resolveBackward(node, *first, *last, step, dim);
}

/// The number of elements of each dimension that a slice with bounds, axes and
/// steps read at run time takes.
std::optional<Dims> computeSlice(NodeContext &node, ArrayRef<Value> operands,
                                 int64_t count, bool hasAxes, bool hasSteps) {
  Dims from = node.inDims(0);
  auto rank = static_cast<int64_t>(from.size());
  Value sizes = node.computeInts(
      operands,
      [&](Body &body, ValueRange x) {
        Value zero = body.index(0), one = body.index(1);
        auto wrap = [&](Value bound, Value dim) {
          return body.select(body.lt(bound, zero), body.add(bound, dim), bound);
        };
        SmallVector<Value> result;
        for (AffineExpr dim : from)
          result.push_back(body.extent(dim));
        for (int64_t k = 0; k < count; ++k) {
          auto at = [&](Value tensor) {
            return body.toIndex(body.read(tensor, body.index(k)));
          };
          Value axis =
                    hasAxes ? wrap(at(x[2]), body.index(rank)) : body.index(k),
                step = hasSteps ? at(x.back()) : one;
          Value forward = body.lt(zero, step);
          step = body.select(body.eq(step, zero), one, step);
          for (int64_t i = 0; i < rank; ++i) {
            Value dim = body.extent(from[i]), last = body.sub(dim, one);
            Value start = wrap(at(x[0]), dim), end = wrap(at(x[1]), dim);
            start = body.select(forward, body.clamp(start, zero, dim),
                                body.clamp(start, zero, last));
            end = body.select(forward, body.clamp(end, zero, dim),
                              body.clamp(end, body.index(-1), last));
            Value size =
                arith::CeilDivSIOp::create(body.b, body.sub(end, start), step);
            size = body.clamp(size, zero, dim);
            result[i] =
                body.select(body.eq(axis, body.index(i)), size, result[i]);
          }
        }
        for (Value &size : result)
          size = body.fromIndex(size, node.i64());
        return result;
      },
      rank);
  if (!sizes)
    return std::nullopt;
  Dims result;
  std::optional<SmallVector<int64_t>> axes = node.getInts(3);
  for (int64_t i = 0; i < rank; ++i) {
    // Only sizes of axes that are sliced change, where these are known.
    bool isSliced = !hasAxes ? i < count : !axes;
    for (int64_t axis : axes.value_or(SmallVector<int64_t>()))
      isSliced |= axis == i || axis + rank == i;
    result.push_back(isSliced ? node.readElement(sizes, i) : from[i]);
    if (!result.back())
      return std::nullopt;
  }
  return result;
}

/// Ends the run unless a slice's steps are not 0 and its axes are axes, each
/// one once; BadAttribute where that is known.
LogicalResult checkSlice(NodeContext &node, Value axes, Value steps,
                         int64_t count) {
  int64_t rank = node.inRank(0);
  std::optional<SmallVector<int64_t>> knownAxes = node.getInts(3),
                                      knownSteps = node.getInts(4);
  if (knownAxes) {
    bool given;
    if (!node.getAxes(3, rank, given))
      return failure();
    axes = {};
  }
  if (knownSteps) {
    if (llvm::is_contained(*knownSteps, 0))
      return node.refuse(Diag::BadAttribute, "expected steps other than 0");
    steps = {};
  }
  SmallVector<Value> whole;
  for (Value tensor : {axes, steps})
    if (tensor)
      whole.push_back(tensor);
  if (whole.empty())
    return success();
  return node.checkValues(whole, [&](Body &body, ValueRange x) {
    Value holds = body.boolean(true), zero = body.index(0),
          end = body.index(rank);
    auto read = [&](Value tensor, int64_t k) {
      return body.toIndex(body.read(tensor, body.index(k)));
    };
    SmallVector<Value> seen;
    for (int64_t k = 0; k < count && axes; ++k) {
      Value axis = read(x[0], k);
      axis = body.select(body.lt(axis, zero), body.add(axis, end), axis);
      holds =
          body.both(holds, body.both(body.le(zero, axis), body.lt(axis, end)));
      for (Value other : seen)
        holds = body.both(holds, body.ne(axis, other));
      seen.push_back(axis);
    }
    for (int64_t k = 0; k < count && steps; ++k)
      holds = body.both(holds, body.ne(read(x.back(), k), zero));
    return holds;
  });
}

/// A slice whose bounds are read at run time.
LogicalResult convertRuntimeSlice(NodeContext &node) {
  if (!node.has(1) || !node.has(2) || node.inRank(1) != 1)
    return node.refuseDynamic(1, "the bounds");
  std::optional<int64_t> count = getConstantSize(node.inDims(1)[0]);
  if (!count || *count > 32)
    return node.refuseDynamic(1, "the number of sliced axes");
  for (unsigned i = 2; i <= 4; ++i)
    if (node.has(i) && node.inDims(i) != node.inDims(1))
      return node.refuse(Diag::BadShape,
                         "expected as many ends, axes and steps as starts");
  Dims from = node.inDims(0);
  bool hasAxes = node.has(3), hasSteps = node.has(4);
  SmallVector<Value> operands;
  for (unsigned i = 1; i <= 4; ++i)
    if (node.has(i))
      operands.push_back(node.cast(node.in(i), node.i64()));
  if (failed(checkSlice(node, hasAxes ? operands[2] : Value(),
                        hasSteps ? operands.back() : Value(), *count)))
    return failure();
  std::optional<Dims> to =
      computeSlice(node, operands, *count, hasAxes, hasSteps);
  if (!to)
    return failure();
  SmallVector<Value> whole = {node.in(0), operands[0]};
  whole.append(operands.begin() + 2, operands.end());
  return node.set(
      0, node.generic(
             *to, node.inElem(0), {}, {}, whole, [&](Body &body, ValueRange x) {
               Value zero = body.index(0), one = body.index(1);
               SmallVector<Value> starts(from.size(), zero),
                   steps(from.size(), one);
               Value rank = body.index(from.size());
               for (int64_t k = 0; k < *count; ++k) {
                 auto at = [&](Value tensor) {
                   return body.toIndex(body.read(tensor, body.index(k)));
                 };
                 Value axis = hasAxes ? at(x[2]) : body.index(k),
                       step = hasSteps ? at(x.back()) : one;
                 axis = body.select(body.lt(axis, zero), body.add(axis, rank),
                                    axis);
                 for (size_t i = 0; i < from.size(); ++i) {
                   Value here = body.eq(axis, body.index(i)), start = at(x[1]),
                         dim = body.extent(from[i]);
                   start = body.select(body.lt(start, zero),
                                       body.add(start, dim), start);
                   starts[i] = body.select(here, start, starts[i]);
                   steps[i] = body.select(here, step, steps[i]);
                 }
               }
               SmallVector<Value> indices;
               for (size_t i = 0; i < from.size(); ++i) {
                 Value size = body.extent(from[i]),
                       start = body.clampIndex(starts[i], size);
                 indices.push_back(body.clampIndex(
                     body.add(start, body.mul(body.dim(i), steps[i])), size));
               }
               return body.read(x[0], indices);
             }));
}

/// True for the size of a slice that a symbol says better: a long one, which
/// would double in the next slice, and one that may be 1 where it is broadcast
/// (of elements backwards, or of one element or none).
bool isBetterNamed(const Window &window, AffineExpr start, AffineExpr end,
                   int64_t step, AffineExpr dim) {
  if (getConstantSize(window.size) || window.size == dim)
    return false;
  std::optional<int64_t> span = getConstantSize(simplifyDim(end - start));
  constexpr size_t limit = 40;
  return step < 0 || (span && *span > 0 && *span <= step) ||
         countTerms(window.size, limit) > limit;
}

LogicalResult convertSlice(NodeContext &node) {
  int64_t rank = node.inRank(0);
  std::optional<Dims> starts, ends;
  std::optional<SmallVector<int64_t>> axes, steps;
  if (node.getOpset() < 10) {
    std::optional<SmallVector<int64_t>> startInts = node.attrInts("starts"),
                                        endInts = node.attrInts("ends");
    if (!startInts || !endInts)
      return node.refuse(Diag::BadAttribute,
                         "expected attributes 'starts' and 'ends'");
    starts = node.sizes(*startInts);
    ends = node.sizes(*endInts);
    axes = node.attrInts("axes");
  } else {
    starts = node.getSizes(1);
    ends = node.getSizes(2);
    axes = node.getInts(3);
    steps = node.getInts(4);
    if (!starts || !ends || (node.has(3) && !axes) || (node.has(4) && !steps))
      return convertRuntimeSlice(node);
  }
  if (!axes)
    axes = llvm::to_vector(llvm::seq<int64_t>(0, starts->size()));
  if (!steps)
    steps = SmallVector<int64_t>(starts->size(), 1);
  if (ends->size() != starts->size() || axes->size() != starts->size() ||
      steps->size() != starts->size())
    return node.refuse(Diag::BadShape,
                       "expected as many ends, axes and steps as starts");
  Value result = node.in(0);
  llvm::SmallDenseSet<int64_t> seen;
  for (size_t i = 0; i < starts->size(); ++i) {
    std::optional<int64_t> axis = node.normalizeAxis((*axes)[i], rank);
    if (!axis || !result)
      return failure();
    if (!seen.insert(*axis).second)
      return node.refuse(Diag::BadAttribute,
                         "expected each axis once, but got " + Twine(*axis) +
                             " twice");
    int64_t step = (*steps)[i];
    if (step == 0)
      return node.refuse(Diag::BadAttribute, "expected steps other than 0");
    std::optional<Window> window = resolveWindow(
        node, (*starts)[i], (*ends)[i], step, node.dims(result)[*axis]);
    if (node.getProblem())
      return failure();
    if (!window)
      return convertRuntimeSlice(node);
    if (isBetterNamed(*window, (*starts)[i], (*ends)[i], step,
                      node.dims(result)[*axis]))
      window->size = node.nameSize(window->size);
    if (!window->size)
      return failure();
    // A step beyond the dimension reads one element.
    step = std::clamp<int64_t>(step, -(int64_t(1) << 40), int64_t(1) << 40);
    result = node.slice(result, *axis, window->start, window->size, step);
  }
  return node.set(0, result);
}

} // namespace

void registerSlice(Registry &registry) {
  registry.add(
      kOnnxDomain,
      {
          {"Slice", 1, 1, 5, convertSlice,
           "empty dimensions that are cut by one element, and bounds that "
           "other sizes give beyond a dimension, end the run"},
      });
}

} // namespace qcc::onnx_import
