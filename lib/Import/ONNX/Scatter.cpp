//===- Scatter.cpp - scatters and the largest elements ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Written per element of the result: each looks for what is meant for it. That
// needs no order between threads, and is exact for indices that occur twice, at
// the price of work that grows with the product of both sizes; sizes are
// limited for that reason.
//
//===----------------------------------------------------------------------===//
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Most updates that each element of a result looks at.
constexpr int64_t kMaxUpdates = 4096;

Value combineUpdate(Body &body, StringRef reduction, Value old, Value update,
                    bool isUnsigned) {
  if (reduction == "add")
    return body.add(old, update);
  if (reduction == "mul")
    return body.mul(old, update);
  if (reduction == "max")
    return body.max(old, update, isUnsigned);
  if (reduction == "min")
    return body.min(old, update, isUnsigned);
  return update;
}

std::optional<std::string> readReduction(NodeContext &node) {
  std::string reduction = node.attrString("reduction", "none");
  for (StringRef known : {"none", "add", "mul", "max", "min"})
    if (reduction == known)
      return reduction;
  (void)node.refuse(Diag::BadAttribute,
                    "expected reduction none, add, mul, max or min, but got '" +
                        reduction + "'");
  return std::nullopt;
}

/// The number of updates, which must be small and known.
std::optional<int64_t> getUpdateCount(NodeContext &node, AffineExpr count) {
  std::optional<int64_t> known = getConstantSize(count);
  if (known && *known <= kMaxUpdates)
    return known;
  (void)node.refuse(Diag::UnsupportedForm,
                    "expected at most " + Twine(kMaxUpdates) +
                        " updates per element, known when compiling");
  return std::nullopt;
}

LogicalResult convertScatterElements(NodeContext &node) {
  Dims data = node.inDims(0), updates = node.inDims(2);
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), data.size());
  std::optional<std::string> reduction = readReduction(node);
  if (!axis || !reduction)
    return failure();
  if (node.inDims(1) != updates || updates.size() != data.size() ||
      node.inElem(0) != node.inElem(2) || !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape, "expected indices and updates of one "
                                       "shape, and updates of the data's type");
  std::optional<int64_t> count = getUpdateCount(node, updates[*axis]);
  if (!count)
    return failure();
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(data.size(), node.b.getContext());
  return node.set(
      0, node.generic(
             data, node.inElem(0), node.in(0), identity,
             {node.in(1), node.in(2)}, [&](Body &body, ValueRange x) {
               SmallVector<Value> at;
               Value covered = body.boolean(*count > 0), here = body.dim(*axis);
               for (unsigned i = 0; i < data.size(); ++i) {
                 Value size = body.extent(updates[i]);
                 at.push_back(body.clampIndex(body.dim(i), size));
                 if (i != *axis && updates[i] != data[i])
                   covered = body.both(covered, body.lt(body.dim(i), size));
               }
               return body.loop(
                   body.index(*count), x[0], [&](Value j, Value value) {
                     at[*axis] = j;
                     Value index = body.toIndex(body.read(x[1], at));
                     Value size = body.extent(data[*axis]);
                     index = body.select(body.lt(index, body.index(0)),
                                         body.add(index, size), index);
                     Value isHere = body.both(covered, body.eq(index, here));
                     Value update = body.read(x[2], at);
                     return body.select(isHere,
                                        combineUpdate(body, *reduction, value,
                                                      update, isUnsigned),
                                        value);
                   });
             }));
}

LogicalResult convertScatterND(NodeContext &node) {
  Dims data = node.inDims(0), indices = node.inDims(1);
  std::optional<std::string> reduction = readReduction(node);
  if (!reduction)
    return failure();
  std::optional<int64_t> depth =
      indices.empty() ? std::nullopt : getConstantSize(indices.back());
  if (!depth || *depth < 1 || *depth > static_cast<int64_t>(data.size()) ||
      node.inElem(0) != node.inElem(2) || !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape,
                       "expected at most as many indices per update as "
                       "dimensions, and updates of the data's type");
  AffineExpr outer =
      product(ArrayRef(indices).drop_back(), node.b.getContext());
  std::optional<int64_t> count = getUpdateCount(node, outer);
  if (!count)
    return failure();
  // One row per update.
  Dims flat = {outer};
  flat.append(data.begin() + *depth, data.end());
  Value rows = node.reshape(node.in(1), {outer, indices.back()});
  Value updates = node.reshape(node.in(2), flat);
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(data.size(), node.b.getContext());
  return node.set(
      0, node.generic(
             data, node.inElem(0), node.in(0), identity, {rows, updates},
             [&](Body &body, ValueRange x) {
               SmallVector<Value> at = {{}};
               for (unsigned i = *depth; i < data.size(); ++i)
                 at.push_back(body.dim(i));
               return body.loop(
                   body.index(*count), x[0], [&](Value j, Value value) {
                     Value isHere = body.boolean(true);
                     for (int64_t i = 0; i < *depth; ++i) {
                       Value index =
                           body.toIndex(body.read(x[1], {j, body.index(i)}));
                       index = body.select(
                           body.lt(index, body.index(0)),
                           body.add(index, body.extent(data[i])), index);
                       isHere = body.both(isHere, body.eq(index, body.dim(i)));
                     }
                     at[0] = j;
                     Value update = body.read(x[2], at);
                     return body.select(isHere,
                                        combineUpdate(body, *reduction, value,
                                                      update, isUnsigned),
                                        value);
                   });
             }));
}

/// The rank of each element along the axis among the others, 0 for the first of
/// the largest (or smallest); then the element of each rank.
LogicalResult convertTopK(NodeContext &node) {
  Dims dims = node.inDims(0), to = dims;
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), dims.size());
  if (!axis)
    return failure();
  std::optional<Dims> k = node.getSizes(1);
  if (node.getOpset() < 10)
    k = Dims{node.size(node.attrInt("k", 0))};
  if (!k)
    k = node.readSizes(1, "the number of elements");
  if (!k)
    return failure();
  if (k->size() != 1)
    return node.refuse(Diag::BadShape, "expected one number of elements");
  to[*axis] = (*k)[0];
  std::optional<int64_t> count = getUpdateCount(node, dims[*axis]);
  if (!count || !node.requireAtLeast(to[*axis], node.size(0), "the number") ||
      !node.requireAtLeast(dims[*axis], to[*axis], "the axis"))
    return failure();
  bool largest = node.attrInt("largest", 1) != 0;
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  unsigned rank = dims.size();
  auto place = [&](Body &body, Value index) {
    SmallVector<Value> at;
    for (unsigned i = 0; i < rank; ++i)
      at.push_back(i == *axis ? index : body.dim(i));
    return at;
  };
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(rank, node.b.getContext());
  Value ranks = node.generic(
      dims, node.i64(), node.in(0), identity, node.in(0),
      [&](Body &body, ValueRange x) {
        Value zero = body.integer(0, node.i64()), here = body.dim(*axis);
        return body.loop(body.index(*count), zero, [&](Value j, Value before) {
          Value other = body.read(x[1], place(body, j));
          Value better = largest ? body.lt(x[0], other, isUnsigned)
                                 : body.lt(other, x[0], isUnsigned);
          Value first = body.both(body.eq(other, x[0]), body.lt(j, here));
          Value counts = body.either(better, first);
          return body.add(
              before, body.select(counts, body.integer(1, node.i64()), zero));
        });
      });
  Value indices = node.generic(
      to, node.i64(), {}, {}, ranks, [&](Body &body, ValueRange x) {
        Value wanted = body.fromIndex(body.dim(*axis), node.i64());
        Value zero = body.integer(0, node.i64());
        return body.loop(body.index(*count), zero, [&](Value j, Value found) {
          Value isIt = body.eq(body.read(x[0], place(body, j)), wanted);
          return body.select(isIt, body.fromIndex(j, node.i64()), found);
        });
      });
  Value values = node.generic(to, node.inElem(0), indices, identity, node.in(0),
                              [&](Body &body, ValueRange x) {
                                Value index =
                                    body.clampIndex(body.toIndex(x[0]),
                                                    body.extent(dims[*axis]));
                                return body.read(x[1], place(body, index));
                              });
  if (failed(node.set(0, values)))
    return failure();
  return node.set(1, indices);
}

} // namespace

void registerScatter(Registry &registry) {
  constexpr const char *kSmall = "more than 4096 updates per element";
  registry.add(
      kOnnxDomain,
      {
          {"Scatter", 9, 3, 3, convertScatterElements, kSmall},
          {"ScatterElements", 11, 3, 3, convertScatterElements, kSmall},
          {"ScatterND", 11, 3, 3, convertScatterND, kSmall},
          {"TopK", 1, 1, 2, convertTopK, "axes of more than 4096 elements"},
      });
}

} // namespace qcc::onnx_import
