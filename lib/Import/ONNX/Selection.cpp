//===- Selection.cpp - results as large as the data asks for ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Program.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The index of each element that is not zero, a column `[rank]` for each.
LogicalResult convertNonZero(NodeContext &node) {
  Dims dims = node.inDims(0);
  AffineExpr total = product(dims, node.b.getContext());
  Places found = emitNonZero(node, node.reshape(node.in(0), {total}));
  if (!found.places)
    return failure();
  // A scalar counts as a vector of one element.
  unsigned rank = std::max<size_t>(dims.size(), 1);
  if (dims.empty())
    dims = {node.size(1)};
  Dims to = {node.size(rank), found.count};
  return node.set(
      0, node.generic(to, node.i64(), found.places, node.makeMap(2, node.d(1)),
                      {}, [&](Body &body, ValueRange x) {
                        Value rest = body.toIndex(x[0]), result;
                        for (unsigned i = rank; i-- > 0;) {
                          Value size = body.extent(dims[i]);
                          Value index = i ? body.rem(rest, size, true) : rest;
                          if (i)
                            rest = body.div(rest, size, true);
                          Value isHere = body.eq(body.dim(0), body.index(i));
                          result = result ? body.select(isHere, index, result)
                                          : index;
                        }
                        return body.fromIndex(result, node.i64());
                      }));
}

/// The slices along an axis whose flag is set; the condition may be shorter.
LogicalResult convertCompress(NodeContext &node) {
  Value data = node.in(0);
  int64_t axis = 0;
  if (node.inRank(1) != 1 || !node.inElem(1).isInteger(1))
    return node.refuse(Diag::BadShape, "expected a vector of booleans");
  if (node.hasAttr("axis")) {
    std::optional<int64_t> normal =
        node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
    if (!normal)
      return failure();
    axis = *normal;
  } else {
    data = node.reshape(data, {product(node.inDims(0), node.b.getContext())});
  }
  if (!data)
    return failure();
  Dims from = node.dims(data), to = from;
  if (!node.requireAtLeast(from[axis], node.inDims(1)[0],
                           "the compressed dimension"))
    return failure();
  Places found = emitNonZero(node, node.in(1));
  if (!found.places)
    return failure();
  to[axis] = found.count;
  return node.set(0, node.generic(to, node.inElem(0), found.places,
                                  node.makeMap(to.size(), node.d(axis)), data,
                                  [&](Body &body, ValueRange x) {
                                    SmallVector<Value> at;
                                    for (unsigned i = 0; i < to.size(); ++i)
                                      at.push_back(body.dim(i));
                                    at[axis] = body.clampIndex(
                                        body.toIndex(x[0]),
                                        body.extent(from[axis]));
                                    return body.read(x[1], at);
                                  }));
}

//===----------------------------------------------------------------------===//
// Suppression of boxes that overlap a better one
//===----------------------------------------------------------------------===//

struct Box {
  Value low[2], high[2];
};

Box readBox(Body &body, Value boxes, Value batch, Value box, bool isCentred) {
  Type type = body.b.getF32Type();
  auto bound = [&](int64_t i) {
    return body.read(boxes, {batch, box, body.index(i)});
  };
  Box result;
  for (int64_t i : {0, 1}) {
    Value a = bound(i), b = bound(i + 2);
    if (isCentred) {
      Value half = body.mul(b, body.number(0.5, type));
      result.low[i] = body.sub(a, half);
      result.high[i] = body.add(a, half);
    } else {
      // Corners may be given in either order.
      result.low[i] = body.min(a, b);
      result.high[i] = body.max(a, b);
    }
  }
  return result;
}

/// Whether the common area of two boxes is more than a part of their union.
Value overlaps(Body &body, const Box &a, const Box &b, Value threshold) {
  Type type = threshold.getType();
  Value zero = body.number(0, type);
  auto area = [&](const Box &box) {
    return body.mul(body.sub(box.high[0], box.low[0]),
                    body.sub(box.high[1], box.low[1]));
  };
  auto side = [&](unsigned i) {
    return body.max(
        body.sub(body.min(a.high[i], b.high[i]), body.max(a.low[i], b.low[i])),
        zero);
  };
  Value common = body.mul(side(0), side(1)), areaA = area(a), areaB = area(b);
  Value both = body.sub(body.add(areaA, areaB), common);
  Value isProper =
      body.both(body.both(body.lt(zero, areaA), body.lt(zero, areaB)),
                body.both(body.lt(zero, common), body.lt(zero, both)));
  return body.both(isProper, body.lt(threshold, body.div(common, both)));
}

/// The boxes of each batch and class that are kept, best first: `[B * C, most]`
/// and how many, `[B * C]`.
struct Kept {
  Value boxes, counts;
};

std::optional<Kept> emitSuppression(NodeContext &node, AffineExpr rows,
                                    AffineExpr most) {
  Dims boxes = node.inDims(0), scores = node.inDims(1);
  AffineExpr count = boxes[1];
  Type f32 = node.f32(), i64 = node.i64();
  bool isCentred = node.attrInt("center_point_box", 0) != 0;
  SmallVector<Value> inputs = {node.in(0), node.in(1)};
  auto addScalar = [&](unsigned input, Type type) -> unsigned {
    if (!node.has(input))
      return 0;
    inputs.push_back(node.cast(node.reshape(node.in(input), {}), type));
    return inputs.size() - 1;
  };
  unsigned limit = addScalar(2, i64), iou = addScalar(3, f32),
           score = addScalar(4, f32);
  RankedTensorType order = makeTensorType({rows, count}, i64);
  SmallVector<Value> found = emitProgram(
      node,
      {makeTensorType({rows, most}, i64), makeTensorType({rows}, i64), order,
       order},
      inputs, rows, [&](ProgramBody &body, ValueRange x) {
        size_t results = inputs.size();
        Value kept = x[results], counts = x[results + 1],
              sequence = x[results + 2];
        Value row = body.dim(0), classes = body.extent(scores[1]);
        Value batch = body.div(row, classes, true),
              which = body.rem(row, classes, true);
        auto scoreOf = [&](Value box) {
          return body.read(x[1], {batch, which, box});
        };
        Value threshold = iou ? body.read(x[iou], {}) : body.number(0, f32);
        Value wanted = body.index(0), zero = body.index(0);
        if (limit)
          wanted =
              body.min(body.max(body.toIndex(body.read(x[limit], {})), zero),
                       body.extent(most));
        emitSort(body, sequence, x[results + 3], row, body.extent(count),
                 [&](Value i, Value j) {
                   return isBelow(body, scoreOf(j), scoreOf(i), false);
                 });
        SmallVector<Value> chosen = body.loop(
            body.extent(count), ValueRange{zero},
            [&](Value k, ValueRange state) -> SmallVector<Value> {
              Value number = state[0];
              Value candidate = body.read(sequence, {row, k}),
                    box = body.toIndex(candidate);
              Value isWanted = body.lt(number, wanted);
              if (score)
                isWanted = body.both(
                    isWanted, body.lt(body.read(x[score], {}), scoreOf(box)));
              Box mine = readBox(body, x[0], batch, box, isCentred);
              // Nothing is compared once enough boxes are found.
              Value compared = body.select(isWanted, number, zero);
              Value isKept =
                  body.loop(compared, isWanted, [&](Value i, Value stays) {
                    Value other = body.toIndex(body.read(kept, {row, i}));
                    Box better = readBox(body, x[0], batch, other, isCentred);
                    return body.both(
                        stays,
                        body.negate(overlaps(body, mine, better, threshold)));
                  });
              body.when(isKept,
                        [&] { body.write(candidate, kept, {row, number}); });
              return {
                  body.select(isKept, body.add(number, body.index(1)), number)};
            });
        body.write(body.fromIndex(chosen[0], i64), counts, row);
      });
  if (found.empty())
    return std::nullopt;
  return Kept{found[0], found[1]};
}

LogicalResult convertSuppression(NodeContext &node) {
  Dims boxes = node.inDims(0), scores = node.inDims(1);
  if (boxes.size() != 3 || scores.size() != 3 ||
      getConstantSize(boxes[2]) != 4 || !node.inElem(0).isF32() ||
      !node.inElem(1).isF32())
    return node.refuse(Diag::BadShape,
                       "expected f32 boxes [B, N, 4] and scores [B, C, N]");
  for (unsigned i = 2; i < 5; ++i)
    if (node.has(i) &&
        getConstantSize(getNumElements(node.in(i).getType())) != 1)
      return node.refuse(Diag::BadShape,
                         "expected one number as input " + Twine(i));
  if (!node.requireEqual(boxes[0], scores[0], "batches") ||
      !node.requireEqual(boxes[1], scores[2], "boxes and scores"))
    return failure();
  AffineExpr rows = simplifyDim(scores[0] * scores[1]), most = boxes[1];
  if (auto limit = node.getInts(2); limit && limit->size() == 1)
    if (std::optional<int64_t> all = getConstantSize(most);
        !all || (*limit)[0] < *all)
      most = all ? node.size(std::max<int64_t>((*limit)[0], 0)) : most;
  std::optional<Kept> kept = emitSuppression(node, rows, most);
  if (!kept)
    return failure();
  Value total = node.reduce(Combiner::Sum, kept->counts, {0}, true, node.i64());
  AffineExpr count = total ? node.readElement(total, 0) : AffineExpr();
  if (!count)
    return failure();
  SmallVector<Value> selected = emitProgram(
      node, {makeTensorType({count, node.size(3)}, node.i64())},
      {kept->boxes, kept->counts}, {}, [&](ProgramBody &body, ValueRange x) {
        Value classes = body.extent(scores[1]), zero = body.index(0);
        (void)body.loop(
            body.extent(rows), ValueRange{zero},
            [&](Value row, ValueRange state) -> SmallVector<Value> {
              Value mine = body.toIndex(body.read(x[1], row));
              body.repeat(mine, [&](Value i) {
                Value at = body.add(state[0], i);
                Value parts[] = {
                    body.fromIndex(body.div(row, classes, true), node.i64()),
                    body.fromIndex(body.rem(row, classes, true), node.i64()),
                    body.read(x[0], {row, i})};
                for (auto [j, part] : llvm::enumerate(parts))
                  body.write(part, x[2],
                             {at, body.index(static_cast<int64_t>(j))});
              });
              return {body.add(state[0], mine)};
            });
      });
  return selected.empty() ? failure() : node.set(0, selected[0]);
}

} // namespace

void registerSelection(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"NonZero", 9, 1, 1, convertNonZero},
                   {"Compress", 9, 2, 2, convertCompress},
                   {"NonMaxSuppression", 10, 2, 5, convertSuppression},
               });
}

} // namespace qcc::onnx_import
