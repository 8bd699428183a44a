//===- Indexing.cpp - gathers and tensors made of indices -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An index that is out of range is an error in ONNX. Compiled code cannot stop
// for it: indices are brought into range, so that nothing outside of a tensor
// is ever read. A dimension without elements has no such range: the run ends
// before what would read from it (Emitter::requireElements).
//
//===----------------------------------------------------------------------===//
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// An element of an index tensor as a position in [0, size): negative ones
/// count from the end.
Value resolveIndex(Body &body, Value index, AffineExpr size) {
  Value extent = body.extent(size), position = body.toIndex(index);
  Value fromEnd = body.add(position, extent);
  return body.clampIndex(
      body.select(body.lt(position, body.index(0)), fromEnd, position), extent);
}

LogicalResult requireIndexType(NodeContext &node, unsigned input) {
  Type type = node.inElem(input);
  if (isa<IntegerType>(type) && !isUnsignedElement(type))
    return success();
  return node.refuse(Diag::BadShape,
                     "expected indices of a signed integer type");
}

/// Warns of a constant index that names no element of a constant dimension.
/// Without elements nothing is read, or the run ends.
void warnOutOfRange(NodeContext &node, int64_t axis) {
  std::optional<int64_t> extent = getConstantSize(node.inDims(0)[axis]);
  std::optional<SmallVector<int64_t>> known =
      extent.value_or(0) > 0 ? node.getInts(1) : std::nullopt;
  for (int64_t index : known.value_or(SmallVector<int64_t>()))
    if (index < -*extent || index >= *extent) {
      node.warn("expected indices in [" + Twine(-*extent) + ", " +
                Twine(*extent) + "), but got " + Twine(index) +
                ": the nearest element is read");
      return;
    }
}

LogicalResult convertGather(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (!axis || failed(requireIndexType(node, 1)))
    return failure();
  Dims data = node.inDims(0), indices = node.inDims(1),
       to(data.begin(), data.begin() + *axis);
  llvm::append_range(to, indices);
  to.append(data.begin() + *axis + 1, data.end());
  unsigned numIndexDims = indices.size();
  // A constant index selects a plane: no table is read.
  std::optional<SmallVector<int64_t>> known = node.getInts(1);
  std::optional<int64_t> extent = getConstantSize(data[*axis]);
  if (known && known->size() == 1 && extent && (*known)[0] >= -*extent &&
      (*known)[0] < *extent) {
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i < data.size(); ++i)
      reads.push_back(
          i < *axis ? node.d(i)
          : i == *axis
              ? node.size((*known)[0] < 0 ? (*known)[0] + *extent : (*known)[0])
              : node.d(i - 1 + numIndexDims));
    return node.set(0,
                    node.copy(to, node.in(0), node.makeMap(to.size(), reads)));
  }
  warnOutOfRange(node, *axis);
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < numIndexDims; ++i)
    reads.push_back(node.d(*axis + i));
  return node.set(
      0, node.generic(
             to, node.inElem(0), node.in(1), node.makeMap(to.size(), reads),
             node.in(0), [&](Body &body, ValueRange x) {
               SmallVector<Value> position;
               for (unsigned i = 0; i < data.size(); ++i)
                 position.push_back(
                     i == *axis
                         ? resolveIndex(body, x[0], data[i])
                         : body.dim(i < *axis ? i : i - 1 + numIndexDims));
               return body.read(x[1], position);
             }));
}

LogicalResult convertGatherElements(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (!axis || failed(requireIndexType(node, 1)))
    return failure();
  Dims data = node.inDims(0), to = node.inDims(1);
  if (data.size() != to.size())
    return node.refuse(Diag::BadShape, "expected indices of the data's rank");
  for (size_t i = 0; i < to.size(); ++i)
    if (i != static_cast<size_t>(*axis) &&
        !node.requireAtLeast(data[i], to[i], "a dimension of the data"))
      return failure();
  warnOutOfRange(node, *axis);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(to.size(), node.b.getContext());
  return node.set(
      0, node.generic(to, node.inElem(0), node.in(1), identity, node.in(0),
                      [&](Body &body, ValueRange x) {
                        SmallVector<Value> position;
                        for (unsigned i = 0; i < to.size(); ++i)
                          position.push_back(
                              i == *axis ? resolveIndex(body, x[0], data[i])
                                         : body.dim(i));
                        return body.read(x[1], position);
                      }));
}

LogicalResult convertGatherND(NodeContext &node) {
  Dims data = node.inDims(0), indices = node.inDims(1);
  int64_t batch = node.attrInt("batch_dims", 0);
  if (indices.empty() || batch < 0 ||
      batch >= static_cast<int64_t>(indices.size()) ||
      failed(requireIndexType(node, 1)))
    return node.refuse(Diag::BadAttribute,
                       "expected indices of a rank above batch_dims");
  std::optional<int64_t> depth = getConstantSize(indices.back());
  if (!depth || *depth < 0 ||
      batch + *depth > static_cast<int64_t>(data.size()))
    return node.refuse(
        Diag::BadShape,
        "expected at most as many indices per element as dimensions");
  for (int64_t i = 0; i < batch; ++i)
    if (!node.requireEqual(data[i], indices[i], "batches of the data"))
      return failure();
  Dims to(indices.begin(), indices.end() - 1);
  unsigned numOuter = to.size();
  to.append(data.begin() + batch + *depth, data.end());
  return node.set(
      0, node.generic(to, node.inElem(0), {}, {}, {node.in(0), node.in(1)},
                      [&](Body &body, ValueRange x) {
                        SmallVector<Value> outer, position;
                        for (unsigned i = 0; i < numOuter; ++i)
                          outer.push_back(body.dim(i));
                        for (int64_t i = 0; i < batch; ++i)
                          position.push_back(body.dim(i));
                        for (int64_t i = 0; i < *depth; ++i) {
                          SmallVector<Value> at = outer;
                          at.push_back(body.index(i));
                          position.push_back(resolveIndex(
                              body, body.read(x[1], at), data[batch + i]));
                        }
                        for (unsigned i = numOuter; i < to.size(); ++i)
                          position.push_back(body.dim(i));
                        return body.read(x[0], position);
                      }));
}

LogicalResult convertOneHot(NodeContext &node) {
  std::optional<Dims> depth = node.getSizes(1);
  if (!depth) {
    // Depths are often given as floats.
    std::optional<SmallVector<double>> number = node.getFloats(1);
    if (number && number->size() == 1)
      depth = Dims{node.size(static_cast<int64_t>((*number)[0]))};
  }
  Dims indices = node.inDims(0);
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), indices.size() + 1);
  if (!axis)
    return failure();
  Dims to = indices;
  if (!depth) {
    Value number = node.cast(node.in(1), node.i64());
    if (getConstantSize(getNumElements(number.getType())) != 1)
      return node.refuse(Diag::BadShape, "expected a depth of one number");
    AffineExpr read = node.readElement(number, 0);
    if (!read || !node.requireAtLeast(read, node.size(0), "the depth"))
      return failure();
    depth = Dims{read};
  }
  if (depth->size() != 1)
    return node.refuse(Diag::BadShape, "expected a depth of one number");
  to.insert(to.begin() + *axis, (*depth)[0]);
  Type indexType = node.inElem(0);
  if (node.inRank(2) != 1)
    return node.refuse(Diag::BadShape, "expected two values, off and on");
  if (!node.requireEqual(node.inDims(2)[0], node.size(2), "off and on"))
    return failure();
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < to.size(); ++i)
    if (i != *axis)
      reads.push_back(node.d(i));
  return node.set(
      0, node.generic(to, node.inElem(2), node.in(0),
                      node.makeMap(to.size(), reads), node.in(2),
                      [&](Body &body, ValueRange x) {
                        Value index = body.toIndex(body.convert(
                            x[0],
                            indexType.isF16() || indexType.isBF16() ? node.f32()
                                                                    : indexType,
                            node.i64()));
                        Value size = body.extent(to[*axis]);
                        index = body.select(body.lt(index, body.index(0)),
                                            body.add(index, size), index);
                        Value isHot = body.eq(index, body.dim(*axis));
                        return body.read(x[1], body.select(isHot, body.index(1),
                                                           body.index(0)));
                      }));
}

LogicalResult convertEyeLike(NodeContext &node) {
  Dims dims = node.inDims(0);
  Type type = node.attrType("dtype", node.inElem(0));
  int64_t k = node.attrInt("k", 0);
  if (dims.size() != 2 || !type || k < -(int64_t(1) << 40) ||
      k > (int64_t(1) << 40))
    return node.refuse(Diag::BadShape, "expected a tensor of rank 2");
  return node.set(0, node.generate(dims, type, [&](Body &body) {
    Value onDiagonal =
        body.eq(body.sub(body.dim(1), body.dim(0)), body.index(k));
    Type compute = getComputeType(type);
    return body.select(onDiagonal, body.number(1, compute),
                       body.number(0, compute));
  }));
}

LogicalResult convertTrilu(NodeContext &node) {
  Dims dims = node.inDims(0);
  unsigned rank = dims.size();
  if (rank < 2)
    return node.refuse(Diag::BadShape, "expected a tensor of rank 2 or more");
  bool upper = node.attrInt("upper", 1) != 0;
  Value offset = node.has(1)
                     ? node.cast(node.reshape(node.in(1), {}), node.i64())
                     : node.scalar(0, node.i64());
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(rank, node.b.getContext());
  return node.set(
      0, node.generic(dims, node.inElem(0), {node.in(0), offset},
                      {identity, node.makeMap(rank, {})}, {},
                      [&](Body &body, ValueRange x) {
                        Value difference = body.sub(body.dim(rank - 1),
                                                    body.dim(rank - 2)),
                              k = body.toIndex(x[1]);
                        Value kept = upper ? body.le(k, difference)
                                           : body.le(difference, k);
                        return body.select(kept, x[0],
                                           body.number(0, x[0].getType()));
                      }));
}

LogicalResult convertReverseSequence(NodeContext &node) {
  Dims dims = node.inDims(0);
  int64_t time = node.attrInt("time_axis", 0),
          batch = node.attrInt("batch_axis", 1);
  if (dims.size() < 2 || time == batch || time < 0 || time > 1 || batch < 0 ||
      batch > 1)
    return node.refuse(Diag::BadAttribute,
                       "expected time_axis and batch_axis to be 0 and 1");
  if (node.inRank(1) != 1)
    return node.refuse(Diag::BadShape, "expected a vector of lengths");
  if (!node.requireEqual(node.inDims(1)[0], dims[batch], "lengths and batches"))
    return failure();
  return node.set(
      0, node.generic(dims, node.inElem(0), node.in(1),
                      node.makeMap(dims.size(), node.d(batch)), node.in(0),
                      [&](Body &body, ValueRange x) {
                        SmallVector<Value> position;
                        for (unsigned i = 0; i < dims.size(); ++i)
                          position.push_back(body.dim(i));
                        Value length = body.toIndex(x[0]), t = body.dim(time);
                        Value mirrored =
                            body.sub(body.sub(length, body.index(1)), t);
                        position[time] = body.clampIndex(
                            body.select(body.lt(t, length), mirrored, t),
                            body.extent(dims[time]));
                        return body.read(x[1], position);
                      }));
}

LogicalResult convertCenterCropPad(NodeContext &node) {
  std::optional<Dims> target = node.getSizes(1);
  Dims from = node.inDims(0), to = from;
  SmallVector<int64_t> axes =
      llvm::to_vector(llvm::seq<int64_t>(0, from.size()));
  if (std::optional<SmallVector<int64_t>> given = node.attrInts("axes"))
    axes = *given;
  if (!target)
    target = node.readSizes(1, "the shape");
  if (!target)
    return failure();
  if (target->size() != axes.size())
    return node.refuse(Diag::BadShape, "expected a size for each of " +
                                           Twine(axes.size()) + " axes");
  for (auto [axis, size] : llvm::zip(axes, *target)) {
    std::optional<int64_t> normal = node.normalizeAxis(axis, from.size());
    if (!normal)
      return failure();
    to[*normal] = size;
  }
  return node.set(
      0,
      node.generic(
          to, node.inElem(0), {}, {}, node.in(0),
          [&](Body &body, ValueRange x) {
            SmallVector<Value> position;
            Value inside = body.boolean(true), two = body.index(2);
            for (unsigned i = 0; i < to.size(); ++i) {
              Value index = body.dim(i);
              if (to[i] != from[i]) {
                // Half of what is cut or added goes before, rounded down both
                // ways.
                Value have = body.extent(from[i]), want = body.extent(to[i]),
                      zero = body.index(0);
                Value cut = body.div(body.max(body.sub(have, want), zero), two),
                      added =
                          body.div(body.max(body.sub(want, have), zero), two);
                index = body.sub(body.add(index, cut), added);
                inside = body.both(inside, body.both(body.le(zero, index),
                                                     body.lt(index, have)));
                index = body.clampGuarded(index, have);
              }
              position.push_back(index);
            }
            Value value = body.readUnlessEmpty(x[0], position, from);
            return body.select(inside, value, body.number(0, value.getType()));
          }));
}

} // namespace

void registerIndexing(Registry &registry) {
  constexpr const char *kStated =
      "sizes that depend on data, unless the model states the output's shape";
  constexpr const char *kNearest =
      "indices out of range read the nearest element, in dimensions without "
      "elements they end the run";
  registry.add(
      kOnnxDomain,
      {
          {"Gather", 1, 2, 2, convertGather, kNearest},
          {"GatherElements", 11, 2, 2, convertGatherElements, kNearest},
          {"GatherND", 11, 2, 2, convertGatherND, kNearest},
          {"OneHot", 9, 3, 3, convertOneHot, kStated},
          {"EyeLike", 9, 1, 1, convertEyeLike},
          {"Trilu", 14, 1, 2, convertTrilu},
          {"ReverseSequence", 10, 2, 2, convertReverseSequence},
          {"CenterCropPad", 18, 2, 2, convertCenterCropPad, kStated},
      });
}

} // namespace qcc::onnx_import
