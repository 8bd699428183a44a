//===- Scatter.cpp - tensors with some elements replaced --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Few updates are looked at by each element of the result, which fuses with
// what surrounds it. Many are applied by a program, in their order; where they
// stay in their slice of the first dimension, slices run side by side. An index
// that is out of range updates nothing.
//
//===----------------------------------------------------------------------===//
#include "Program.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Most updates that each element of a result looks at.
constexpr int64_t kFewUpdates = 8;

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

bool areFew(AffineExpr count) {
  std::optional<int64_t> known = getConstantSize(count);
  return known && *known <= kFewUpdates;
}

/// An index that may count from the end.
Value fromStart(Body &body, Value index, Value size) {
  Value position = body.toIndex(index);
  return body.select(body.lt(position, body.index(0)), body.add(position, size),
                     position);
}

/// Combines an element of a program's result with an update where the index is
/// within the tensor.
void update(ProgramBody &body, StringRef reduction, bool isUnsigned,
            Value tensor, ValueRange at, Value isInside,
            llvm::function_ref<Value()> value) {
  body.when(isInside, [&] {
    Value update = value();
    if (reduction != "none")
      update = combineUpdate(body, reduction, body.read(tensor, at), update,
                             isUnsigned);
    body.write(update, tensor, at);
  });
}

//===----------------------------------------------------------------------===//
// ScatterElements
//===----------------------------------------------------------------------===//

struct Scatter {
  int64_t axis = 0;
  std::string reduction;
  bool isUnsigned = false;
};

Value scatterFew(NodeContext &node, const Scatter &scatter, int64_t count) {
  Dims data = node.inDims(0), updates = node.inDims(2);
  int64_t axis = scatter.axis;
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(data.size(), node.b.getContext());
  return node.generic(
      data, node.inElem(0), node.in(0), identity, {node.in(1), node.in(2)},
      [&](Body &body, ValueRange x) {
        SmallVector<Value> at;
        Value covered = body.boolean(count > 0), here = body.dim(axis);
        bool mayBeEmpty = false;
        for (unsigned i = 0; i < data.size(); ++i) {
          Value size = body.extent(updates[i]);
          at.push_back(body.clampGuarded(body.dim(i), size));
          if (i == axis || updates[i] == data[i])
            continue;
          covered = body.both(covered, body.lt(body.dim(i), size));
          mayBeEmpty |= getConstantSize(updates[i]).value_or(0) == 0;
        }
        Value steps = body.index(count);
        if (mayBeEmpty)
          steps = body.select(covered, steps, body.index(0));
        return body.loop(steps, x[0], [&](Value j, Value value) {
          at[axis] = j;
          Value index =
              fromStart(body, body.read(x[1], at), body.extent(data[axis]));
          Value isHere = body.both(covered, body.eq(index, here));
          Value next = combineUpdate(body, scatter.reduction, value,
                                     body.read(x[2], at), scatter.isUnsigned);
          return body.select(isHere, next, value);
        });
      });
}

Value scatterMany(NodeContext &node, const Scatter &scatter) {
  Dims data = node.inDims(0), updates = node.inDims(2);
  // Updates along another axis stay in their slice of the first dimension.
  unsigned numOuter = scatter.axis != 0 ? 1 : 0;
  SmallVector<Value> result = emitProgram(
      node, {cast<RankedTensorType>(node.in(0).getType())},
      {node.in(0), node.in(1), node.in(2)}, numOuter ? data[0] : AffineExpr(),
      [&](ProgramBody &body, ValueRange x) {
        SmallVector<Value> outer;
        if (numOuter)
          outer.push_back(body.dim(0));
        auto inSlice = [&](ValueRange inner) {
          SmallVector<Value> at = outer;
          llvm::append_range(at, inner);
          return at;
        };
        body.forEach(ArrayRef(data).drop_front(numOuter),
                     [&](ValueRange inner) {
                       SmallVector<Value> at = inSlice(inner);
                       body.write(body.read(x[0], at), x[3], at);
                     });
        auto apply = [&] {
          body.forEach(
              ArrayRef(updates).drop_front(numOuter), [&](ValueRange inner) {
                SmallVector<Value> from = inSlice(inner), to = from;
                Value size = body.extent(data[scatter.axis]);
                Value index = fromStart(body, body.read(x[1], from), size);
                to[scatter.axis] = index;
                Value isInside = body.both(body.le(body.index(0), index),
                                           body.lt(index, size));
                update(body, scatter.reduction, scatter.isUnsigned, x[3], to,
                       isInside, [&] { return body.read(x[2], from); });
              });
        };
        if (numOuter)
          body.when(body.lt(outer[0], body.extent(updates[0])), apply);
        else
          apply();
      });
  return result.empty() ? Value() : result[0];
}

LogicalResult convertScatterElements(NodeContext &node) {
  Dims data = node.inDims(0), updates = node.inDims(2);
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), data.size());
  std::optional<std::string> reduction = readReduction(node);
  if (!axis || !reduction)
    return failure();
  if (node.inDims(1).size() != updates.size() ||
      updates.size() != data.size() || node.inElem(0) != node.inElem(2) ||
      !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape, "expected indices and updates of one "
                                       "shape, and updates of the data's type");
  for (size_t i = 0; i < data.size(); ++i) {
    if (!node.requireEqual(node.inDims(1)[i], updates[i],
                           "indices and updates"))
      return failure();
    if (i != static_cast<size_t>(*axis) &&
        !node.requireAtLeast(data[i], updates[i], "a dimension of the data"))
      return failure();
  }
  Scatter scatter{*axis, *reduction, isUnsignedElement(node.inElem(0))};
  return node.set(
      0, areFew(updates[*axis])
             ? scatterFew(node, scatter, *getConstantSize(updates[*axis]))
             : scatterMany(node, scatter));
}

//===----------------------------------------------------------------------===//
// ScatterND
//===----------------------------------------------------------------------===//

/// `rows [U, depth]` are the indices of `updates [U, slice...]`.
Value scatterSlicesFew(NodeContext &node, const Scatter &scatter, Value rows,
                       Value updates, int64_t depth) {
  Dims data = node.inDims(0);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(data.size(), node.b.getContext());
  AffineExpr count = node.dims(rows)[0];
  return node.generic(
      data, node.inElem(0), node.in(0), identity, {rows, updates},
      [&](Body &body, ValueRange x) {
        SmallVector<Value> at = {{}};
        for (unsigned i = depth; i < data.size(); ++i)
          at.push_back(body.dim(i));
        return body.loop(body.extent(count), x[0], [&](Value j, Value value) {
          Value isHere = body.boolean(true);
          for (int64_t i = 0; i < depth; ++i) {
            Value index = fromStart(body, body.read(x[1], {j, body.index(i)}),
                                    body.extent(data[i]));
            isHere = body.both(isHere, body.eq(index, body.dim(i)));
          }
          at[0] = j;
          Value next = combineUpdate(body, scatter.reduction, value,
                                     body.read(x[2], at), scatter.isUnsigned);
          return body.select(isHere, next, value);
        });
      });
}

Value scatterSlicesMany(NodeContext &node, const Scatter &scatter, Value rows,
                        Value updates, int64_t depth) {
  Dims data = node.inDims(0), updateDims = node.dims(updates);
  SmallVector<Value> result = emitProgram(
      node, {cast<RankedTensorType>(node.in(0).getType())},
      {node.in(0), rows, updates}, {}, [&](ProgramBody &body, ValueRange x) {
        body.forEach(data, [&](ValueRange at) {
          body.write(body.read(x[0], at), x[3], at);
        });
        body.repeat(body.extent(updateDims[0]), [&](Value row) {
          SmallVector<Value> start;
          Value isInside = body.boolean(true);
          for (int64_t i = 0; i < depth; ++i) {
            Value size = body.extent(data[i]);
            Value index =
                fromStart(body, body.read(x[1], {row, body.index(i)}), size);
            start.push_back(index);
            isInside =
                body.both(isInside, body.both(body.le(body.index(0), index),
                                              body.lt(index, size)));
          }
          body.forEach(ArrayRef(data).drop_front(depth), [&](ValueRange inner) {
            SmallVector<Value> to = start, from = {row};
            llvm::append_range(to, inner);
            llvm::append_range(from, inner);
            update(body, scatter.reduction, scatter.isUnsigned, x[3], to,
                   isInside, [&] { return body.read(x[2], from); });
          });
        });
      });
  return result.empty() ? Value() : result[0];
}

LogicalResult convertScatterND(NodeContext &node) {
  Dims data = node.inDims(0), indices = node.inDims(1),
       updates = node.inDims(2);
  std::optional<std::string> reduction = readReduction(node);
  if (!reduction)
    return failure();
  std::optional<int64_t> depth =
      indices.empty() ? std::nullopt : getConstantSize(indices.back());
  if (!depth || *depth < 1 || *depth > static_cast<int64_t>(data.size()) ||
      updates.size() + *depth + 1 != data.size() + indices.size() ||
      node.inElem(0) != node.inElem(2) || !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape,
                       "expected at most as many indices per update as "
                       "dimensions, and updates of the data's type");
  AffineExpr outer =
      product(ArrayRef(indices).drop_back(), node.b.getContext());
  // One row per update.
  Dims flat = {outer};
  flat.append(data.begin() + *depth, data.end());
  Value rows = node.reshape(node.in(1), {outer, indices.back()}),
        slices = node.reshape(node.in(2), flat);
  if (!rows || !slices)
    return failure();
  Scatter scatter{0, *reduction, isUnsignedElement(node.inElem(0))};
  return node.set(0,
                  areFew(outer)
                      ? scatterSlicesFew(node, scatter, rows, slices, *depth)
                      : scatterSlicesMany(node, scatter, rows, slices, *depth));
}

} // namespace

void registerScatter(Registry &registry) {
  constexpr const char *kRange = "indices out of range update nothing";
  registry.add(
      kOnnxDomain,
      {
          {"Scatter", 9, 3, 3, convertScatterElements, kRange},
          {"ScatterElements", 11, 3, 3, convertScatterElements, kRange},
          {"ScatterND", 11, 3, 3, convertScatterND, kRange},
      });
}

} // namespace qcc::onnx_import
