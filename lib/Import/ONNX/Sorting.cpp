//===- Sorting.cpp - the largest elements, unique ones ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Program.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The dimensions before and after an axis as one each.
Dims getOuterInner(NodeContext &node, const Dims &dims, int64_t axis) {
  MLIRContext *context = node.b.getContext();
  return {product(ArrayRef(dims).take_front(axis), context), dims[axis],
          product(ArrayRef(dims).drop_front(axis + 1), context)};
}

/// Each row along the axis is sorted by its elements, the first of equal ones
/// first; the result is the head of that.
LogicalResult convertTopK(NodeContext &node) {
  Dims dims = node.inDims(0), to = dims;
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), dims.size());
  if (!axis)
    return failure();
  std::optional<Dims> k;
  if (node.getOpset() < 10)
    k = Dims{node.size(node.attrInt("k", 0))};
  else if (node.has(1))
    k = node.readSizes(1, "the number of elements");
  if (!k || k->size() != 1)
    return node.refuse(Diag::BadShape, "expected one number of elements");
  to[*axis] = (*k)[0];
  if (!node.requireAtLeast(to[*axis], node.size(0), "the number") ||
      !node.requireAtLeast(dims[*axis], to[*axis], "the axis"))
    return failure();
  bool largest = node.attrInt("largest", 1) != 0;
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  Dims from = getOuterInner(node, dims, *axis),
       head = {from[0], to[*axis], from[2]};
  AffineExpr rows = simplifyDim(from[0] * from[2]);
  RankedTensorType order = makeTensorType({rows, from[1]}, node.i64());
  SmallVector<Value> sorted = emitProgram(
      node,
      {makeTensorType(head, node.inElem(0)), makeTensorType(head, node.i64()),
       order, order},
      node.reshape(node.in(0), from), rows,
      [&](ProgramBody &body, ValueRange x) {
        Value row = body.dim(0), inner = body.extent(from[2]);
        Value before = body.div(row, inner, true),
              after = body.rem(row, inner, true);
        auto at = [&](Value i) { return body.read(x[0], {before, i, after}); };
        emitSort(body, x[3], x[4], row, body.extent(from[1]),
                 [&](Value i, Value j) {
                   return largest ? isBelow(body, at(j), at(i), isUnsigned)
                                  : isBelow(body, at(i), at(j), isUnsigned);
                 });
        body.repeat(body.extent(head[1]), [&](Value i) {
          Value place = body.read(x[3], {row, i});
          body.write(at(body.toIndex(place)), x[1], {before, i, after});
          body.write(place, x[2], {before, i, after});
        });
      });
  if (sorted.empty())
    return failure();
  if (failed(node.set(0, node.reshape(sorted[0], to))))
    return failure();
  return node.set(1, node.reshape(sorted[1], to));
}

//===----------------------------------------------------------------------===//
// Unique
//===----------------------------------------------------------------------===//

/// Items that are compared: slices along an axis as rows `[n, width]`.
struct Items {
  Value rows;
  AffineExpr count, width;
};

/// Whether item `i` comes before item `j`: element by element, the first that
/// differs decides.
Value isBefore(ProgramBody &body, const Items &items, Value rows, Value i,
               Value j, bool isUnsigned) {
  if (getConstantSize(items.width) == 1) {
    Value zero = body.index(0);
    return isBelow(body, body.read(rows, {i, zero}), body.read(rows, {j, zero}),
                   isUnsigned);
  }
  Value no = body.boolean(false);
  SmallVector<Value> found =
      body.loop(body.extent(items.width), ValueRange{no, no},
                [&](Value k, ValueRange state) -> SmallVector<Value> {
                  Value x = body.read(rows, {i, k}),
                        y = body.read(rows, {j, k});
                  Value below = isBelow(body, x, y, isUnsigned),
                        above = isBelow(body, y, x, isUnsigned);
                  Value decided = state[1];
                  return {body.select(decided, state[0], below),
                          body.either(decided, body.either(below, above))};
                });
  return found[0];
}

/// What Unique knows of `n` items: `[n]` each, the first `groups` of `first`
/// and `counts` in the order of the result.
struct Groups {
  Value first, counts, inverse;
  AffineExpr groups;
};

/// Sorts the items, numbers runs of equal ones, and numbers them again by where
/// each is first where the result is not to be sorted.
std::optional<Groups> emitGroups(NodeContext &node, const Items &items,
                                 bool sorted, bool isUnsigned) {
  Type i64 = node.i64();
  RankedTensorType vector = makeTensorType({items.count}, i64),
                   one = makeTensorType({node.size(1)}, i64),
                   order = makeTensorType({node.size(1), items.count}, i64);
  // first, counts, inverse, groups; then working memory.
  SmallVector<Value> found = emitProgram(
      node, {vector, vector, vector, one, order, order, vector}, items.rows, {},
      [&](ProgramBody &body, ValueRange x) {
        Value rows = x[0], first = x[1], counts = x[2], inverse = x[3],
              sequence = x[5], renumbered = x[7];
        Value count = body.extent(items.count), zero = body.index(0),
              next = body.index(1);
        auto number = [&](Value value) { return body.fromIndex(value, i64); };
        emitSort(body, sequence, x[6], zero, count, [&](Value i, Value j) {
          return isBefore(body, items, rows, i, j, isUnsigned);
        });
        // Runs: items of one run are equal, their first one has the least
        // number since the sort is stable.
        SmallVector<Value> groups = body.loop(
            count, ValueRange{zero, zero},
            [&](Value k, ValueRange state) -> SmallVector<Value> {
              Value item = body.toIndex(body.read(sequence, {zero, k}));
              Value isFirst = body.eq(k, zero);
              Value differs =
                  body.either(isFirst, isBefore(body, items, rows, state[1],
                                                item, isUnsigned));
              Value after =
                  body.select(differs, body.add(state[0], next), state[0]);
              Value group = body.sub(after, next);
              body.when(differs, [&] {
                body.write(number(item), first, group);
                body.write(number(zero), counts, group);
              });
              body.write(body.add(body.read(counts, group), number(next)),
                         counts, group);
              body.write(number(group), inverse, item);
              return {after, item};
            });
        body.write(number(groups[0]), x[4], zero);
        if (sorted)
          return;
        // The items in their own order meet the groups in the wanted one.
        SmallVector<Value> seen = body.loop(
            count, ValueRange{zero},
            [&](Value i, ValueRange state) -> SmallVector<Value> {
              Value group = body.toIndex(body.read(inverse, i));
              Value isFirst = body.eq(body.toIndex(body.read(first, group)), i);
              body.when(isFirst, [&] {
                body.write(number(state[0]), renumbered, group);
              });
              return {body.select(isFirst, body.add(state[0], next), state[0])};
            });
        // The sequence is not needed any more: it takes the counts.
        body.repeat(seen[0], [&](Value group) {
          Value to = body.toIndex(body.read(renumbered, group));
          body.write(body.read(counts, group), sequence, {zero, to});
          body.write(body.read(first, group), x[6], {zero, to});
        });
        body.repeat(seen[0], [&](Value group) {
          body.write(body.read(sequence, {zero, group}), counts, group);
          body.write(body.read(x[6], {zero, group}), first, group);
        });
        body.repeat(count, [&](Value i) {
          Value group = body.toIndex(body.read(inverse, i));
          body.write(body.read(renumbered, group), inverse, i);
        });
      });
  if (found.empty())
    return std::nullopt;
  AffineExpr groups = node.readElement(found[3], 0);
  if (!groups)
    return std::nullopt;
  return Groups{found[0], found[1], found[2], groups};
}

LogicalResult convertUnique(NodeContext &node) {
  Dims dims = node.inDims(0);
  MLIRContext *context = node.b.getContext();
  bool sorted = node.attrInt("sorted", 1) != 0, hasAxis = node.hasAttr("axis");
  std::optional<int64_t> axis = 0;
  if (hasAxis)
    axis = node.normalizeAxis(node.attrInt("axis", 0), dims.size());
  if (!axis)
    return failure();
  // The axis becomes the first dimension; the others keep their order, by which
  // slices are compared.
  Value data =
      hasAxis ? node.in(0) : node.reshape(node.in(0), {product(dims, context)});
  if (!data)
    return failure();
  SmallVector<int64_t> forward = {*axis}, back;
  for (int64_t i = 0; i < node.rank(data); ++i) {
    if (i != *axis)
      forward.push_back(i);
    back.push_back(i < *axis ? i + 1 : i == *axis ? 0 : i);
  }
  Value first = *axis == 0 ? data : node.transpose(data, forward);
  Dims moved = node.dims(first);
  Items items{{}, moved[0], product(ArrayRef(moved).drop_front(1), context)};
  items.rows = node.reshape(first, {items.count, items.width});
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  std::optional<Groups> groups = emitGroups(node, items, sorted, isUnsigned);
  if (!groups)
    return failure();
  auto head = [&](Value vector) {
    return node.slice(vector, 0, node.size(0), groups->groups);
  };
  Value places = head(groups->first);
  Dims to = moved;
  to[0] = groups->groups;
  SmallVector<AffineExpr> reads = {node.d(0)};
  Value unique =
      node.generic(to, node.inElem(0), places, node.makeMap(to.size(), reads),
                   first, [&](Body &body, ValueRange x) {
                     SmallVector<Value> at = {body.clampIndex(
                         body.toIndex(x[0]), body.extent(items.count))};
                     for (unsigned i = 1; i < to.size(); ++i)
                       at.push_back(body.dim(i));
                     return body.read(x[1], at);
                   });
  if (failed(node.set(0, *axis == 0 ? unique : node.transpose(unique, back))) ||
      (node.wants(1) && failed(node.set(1, places))) ||
      (node.wants(2) && failed(node.set(2, groups->inverse))) ||
      (node.wants(3) && failed(node.set(3, head(groups->counts)))))
    return failure();
  return success();
}

} // namespace

void registerSorting(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"TopK", 1, 1, 2, convertTopK},
                                {"Unique", 11, 1, 1, convertUnique, "strings"},
                            });
}

} // namespace qcc::onnx_import
