//===- Movement.cpp - transpose, concat, pad, tile -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

LogicalResult convertTranspose(NodeContext &node) {
  int64_t rank = node.inRank(0);
  SmallVector<int64_t> permutation =
      llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, rank)));
  if (std::optional<SmallVector<int64_t>> given = node.attrInts("perm")) {
    if (static_cast<int64_t>(given->size()) != rank)
      return node.refuse(Diag::BadAttribute,
                         "expected a permutation of " + Twine(rank) +
                             " axes, but got " + Twine(given->size()));
    SmallVector<bool> seen(rank, false);
    for (int64_t &axis : *given) {
      std::optional<int64_t> normal = node.normalizeAxis(axis, rank);
      if (!normal)
        return failure();
      if (seen[*normal])
        return node.refuse(Diag::BadAttribute,
                           "expected a permutation, but axis " +
                               Twine(*normal) + " occurs twice");
      seen[axis = *normal] = true;
    }
    permutation = *given;
  }
  return node.set(0, node.transpose(node.in(0), permutation));
}

LogicalResult convertConcat(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 1), node.inRank(0));
  return axis ? node.set(0, node.concat(node.getInputs(), *axis)) : failure();
}

/// The sizes of the parts of a split along a dimension.
std::optional<Dims> getSplitSizes(NodeContext &node, int64_t axis,
                                  AffineExpr dim) {
  std::optional<SmallVector<int64_t>> given = node.attrInts("split");
  if (node.has(1)) {
    return node.readSizes(1, "the sizes of the split");
  }
  if (given)
    return node.sizes(*given);
  int64_t count = node.attrInt("num_outputs", node.numOutputs());
  if (count < 1 || count > 65536) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected 1 or more outputs, but got " + Twine(count));
    return std::nullopt;
  }
  // Equal parts; the last one is smaller where they do not fit and the node
  // says how many there are.
  AffineExpr rest = simplifyDim(dim % count);
  if (!node.hasAttr("num_outputs") && getConstantSize(rest) != 0) {
    if (getConstantSize(rest)) {
      (void)node.refuse(Diag::BadShape,
                        "expected a dimension that splits into " +
                            Twine(count) + " equal parts, but got " +
                            Twine(*getConstantSize(dim)) +
                            "; give the sizes of the parts as input 1");
      return std::nullopt;
    }
    node.checkHere(rest, node.size(0));
  }
  AffineExpr part = simplifyDim(dim.ceilDiv(count));
  Dims sizes(count, part);
  sizes.back() = simplifyDim(dim - part * (count - 1));
  if (std::optional<int64_t> last = getConstantSize(sizes.back());
      last && *last < 0) {
    (void)node.refuse(Diag::BadShape,
                      "expected at most as many outputs as elements");
    return std::nullopt;
  }
  return sizes;
}

LogicalResult convertSplit(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (!axis)
    return failure();
  AffineExpr dim = node.inDims(0)[*axis], start = node.size(0);
  std::optional<Dims> sizes = getSplitSizes(node, *axis, dim);
  if (!sizes)
    return failure();
  if (sizes->size() < node.numOutputs())
    return node.refuse(Diag::BadShape, "expected " + Twine(node.numOutputs()) +
                                           " sizes, but got " +
                                           Twine(sizes->size()));
  AffineExpr total = node.size(0);
  for (AffineExpr part : *sizes) {
    if (std::optional<int64_t> known = getConstantSize(part);
        known && *known < 0)
      return node.refuse(Diag::BadShape,
                         "expected sizes of 0 or more, but got " +
                             Twine(*known));
    total = total + part;
  }
  if (!node.requireEqual(simplifyDim(total), dim,
                         "a split dimension and its parts"))
    return failure();
  for (unsigned i = 0; i < node.numOutputs(); ++i) {
    if (failed(node.set(i, node.slice(node.in(0), *axis, start, (*sizes)[i]))))
      return failure();
    start = simplifyDim(start + (*sizes)[i]);
  }
  return success();
}

/// Where to read for an index outside of [0, size): mirrored without the
/// border, repeated, or at the border.
Value reflectIndex(Body &body, Value index, Value size, StringRef mode) {
  Value zero = body.index(0), one = body.index(1), last = body.sub(size, one);
  if (mode == "edge")
    return body.clamp(index, zero, last);
  // A division by 0 traps, even where no result of it is used.
  Value period =
      body.max(mode == "reflect" ? body.mul(last, body.index(2)) : size, one);
  Value rest = arith::RemSIOp::create(body.b, index, period);
  rest = body.select(body.lt(rest, zero), body.add(rest, period), rest);
  return mode == "reflect"
             ? body.select(body.lt(last, rest), body.sub(period, rest), rest)
             : rest;
}

/// What padding needs to know: the number of elements before and after each
/// dimension; null where it is read at run time.
struct Padding {
  Dims begins, ends;
};

std::optional<Padding> getPadding(NodeContext &node) {
  auto rank = static_cast<size_t>(node.inRank(0));
  std::optional<Dims> pads;
  if (node.getOpset() < 11) {
    if (std::optional<SmallVector<int64_t>> ints = node.attrInts("pads"))
      pads = node.sizes(*ints);
  } else {
    pads = node.getSizes(1);
    if (!pads)
      pads = node.readSizes(1, "the padding", /*allowNegative=*/true);
    if (!pads)
      return std::nullopt;
  }
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (node.has(3)) {
    std::optional<SmallVector<int64_t>> given = node.getInts(3);
    if (!given) {
      (void)node.refuseDynamic(3, "the padded axes");
      return std::nullopt;
    }
    axes = *given;
  }
  if (!pads || pads->size() != 2 * axes.size()) {
    (void)node.refuse(Diag::BadShape, "expected two pads for each of " +
                                          Twine(axes.size()) + " axes");
    return std::nullopt;
  }
  Padding result{Dims(rank, node.size(0)), Dims(rank, node.size(0))};
  for (size_t i = 0; i < axes.size(); ++i) {
    std::optional<int64_t> axis = node.normalizeAxis(axes[i], rank);
    if (!axis)
      return std::nullopt;
    result.begins[*axis] = (*pads)[i];
    result.ends[*axis] = (*pads)[axes.size() + i];
  }
  return result;
}

/// The padded tensor. `begin` gives the number of elements before a dimension,
/// or null if there is no padding.
Value emitPad(NodeContext &node, const Dims &to, StringRef mode, Value fill,
              ArrayRef<Value> whole,
              llvm::function_ref<Value(Body &, ValueRange, size_t)> begin) {
  Dims from = node.inDims(0);
  bool isConstant = mode == "constant";
  SmallVector<Value> tensors = {node.in(0)};
  llvm::append_range(tensors, whole);
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  if (isConstant) {
    inputs.push_back(node.reshape(fill, {}));
    maps.push_back(node.makeMap(to.size(), {}));
  }
  return node.generic(
      to, node.inElem(0), inputs, maps, tensors, [&](Body &body, ValueRange x) {
        ValueRange operands = isConstant ? x.drop_front() : x;
        SmallVector<Value> indices;
        Dims padded;
        Value inside;
        for (size_t i = 0; i < from.size(); ++i) {
          Value index = body.dim(i),
                pad = begin(body, operands.drop_front(), i);
          if (pad) {
            Value size = body.extent(from[i]);
            index = body.sub(index, pad);
            if (isConstant) {
              Value within = body.both(body.le(body.index(0), index),
                                       body.lt(index, size));
              inside = inside ? body.both(inside, within) : within;
              index = body.clampGuarded(index, size);
              padded.push_back(from[i]);
            } else {
              body.expectElements(size);
              index = reflectIndex(body, index, size, mode);
            }
          }
          indices.push_back(index);
        }
        Value value = body.readUnlessEmpty(operands[0], indices, padded);
        return inside ? body.select(inside, value, x[0]) : value;
      });
}

LogicalResult convertPad(NodeContext &node) {
  std::string mode = node.attrString("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" &&
      mode != "wrap")
    return node.refuse(
        Diag::BadAttribute,
        "expected mode constant, reflect, edge or wrap, but got '" + mode +
            "'");
  Value fill = node.has(2)
                   ? node.in(2)
                   : node.scalar(node.attrFloat("value", 0), node.inElem(0));
  if (fill && node.elem(fill) != node.inElem(0))
    return node.refuse(Diag::BadShape,
                       "expected a padding value of the input's type");
  Dims from = node.inDims(0);
  if (node.getOpset() >= 11 && !node.has(1))
    return node.refuse(Diag::BadGraph, "expected the padding as input 1");
  std::optional<Padding> padding = getPadding(node);
  if (!padding)
    return failure();
  Dims to;
  bool any = false;
  for (size_t i = 0; i < from.size(); ++i) {
    to.push_back(simplifyDim(from[i] + padding->begins[i] + padding->ends[i]));
    any |= to[i] != from[i] || padding->begins[i] != node.size(0);
    if (to[i] != from[i] &&
        !node.requireAtLeast(to[i], node.size(0), "a padded dimension"))
      return failure();
    if (node.symbols.isRuntime(to[i]) && !(to[i] = node.nameSize(to[i])))
      return failure();
    if (mode != "constant" && getConstantSize(from[i]) == 0 &&
        getConstantSize(to[i]).value_or(0) != 0)
      return node.refuse(
          Diag::BadShape,
          "expected elements to pad with, but the dimension is empty");
  }
  if (!any)
    return node.set(0, node.in(0));
  // Nothing to read from an empty tensor.
  if (mode == "constant" &&
      getConstantSize(product(from, node.b.getContext())) == 0)
    return node.set(0, node.broadcastTo(node.reshape(fill, {}), to));
  return node.set(
      0,
      emitPad(node, to, mode, fill, {}, [&](Body &body, ValueRange, size_t i) {
        bool padded = to[i] != from[i] || padding->begins[i] != node.size(0);
        return padded ? body.extent(padding->begins[i]) : Value();
      }));
}

LogicalResult convertTile(NodeContext &node) {
  Dims from = node.inDims(0), to;
  std::optional<Dims> repeats = node.readSizes(1, "the repeats");
  if (!repeats)
    return failure();
  if (repeats->size() != from.size())
    return node.refuse(Diag::BadShape, "expected " + Twine(from.size()) +
                                           " repeats, but got " +
                                           Twine(repeats->size()));
  for (size_t i = 0; i < from.size(); ++i) {
    AffineExpr size = mulDims(from[i], (*repeats)[i]);
    if (!size)
      return node.refuse(Diag::LimitReached,
                         "expected sizes of at most 2^40, but got more");
    to.push_back(size);
  }
  SmallVector<AffineExpr> reads;
  for (size_t i = 0; i < from.size(); ++i) {
    bool isOne = getConstantSize(from[i]) == 1;
    reads.push_back(to[i] == from[i] ? node.d(i)
                    : isOne          ? node.size(0)
                                     : node.d(i) % from[i]);
  }
  return node.set(0, node.copy(to, node.in(0), node.makeMap(to.size(), reads)));
}

/// Both directions between channels and space: [N, C * b * b, H, W] and [N, C,
/// H * b, W * b].
LogicalResult convertDepthToSpace(NodeContext &node) {
  Dims in = node.inDims(0);
  int64_t block = node.attrInt("blocksize", 0);
  if (in.size() != 4 || block < 1 || block > 1 << 20)
    return node.refuse(
        Diag::BadAttribute,
        "expected a tensor of rank 4 and a block size of 1 or more");
  bool columnFirst = node.attrString("mode", "DCR") == "CRD";
  AffineExpr s = node.size(block),
             channels = simplifyDim(in[1].floorDiv(block * block)),
             height = node.scaled(in[2], block),
             width = node.scaled(in[3], block);
  if (!height || !width)
    return failure();
  Value split, moved;
  if (columnFirst) {
    split = node.reshape(node.in(0), {in[0], channels, s, s, in[2], in[3]});
    moved = node.transpose(split, {0, 1, 4, 2, 5, 3});
  } else {
    split = node.reshape(node.in(0), {in[0], s, s, channels, in[2], in[3]});
    moved = node.transpose(split, {0, 3, 4, 1, 5, 2});
  }
  return node.set(0, node.reshape(moved, {in[0], channels, height, width}));
}

LogicalResult convertSpaceToDepth(NodeContext &node) {
  Dims in = node.inDims(0);
  int64_t block = node.attrInt("blocksize", 0);
  if (in.size() != 4 || block < 1 || block > 1 << 20)
    return node.refuse(
        Diag::BadAttribute,
        "expected a tensor of rank 4 and a block size of 1 or more");
  AffineExpr s = node.size(block), height = simplifyDim(in[2].floorDiv(block)),
             width = simplifyDim(in[3].floorDiv(block)),
             channels = node.scaled(in[1], block * block);
  if (!channels)
    return failure();
  Value split = node.reshape(node.in(0), {in[0], in[1], height, s, width, s});
  Value moved = node.transpose(split, {0, 3, 5, 1, 2, 4});
  return node.set(0, node.reshape(moved, {in[0], channels, height, width}));
}

} // namespace

void registerMovement(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"Transpose", 1, 1, 1, convertTranspose},
                                {"Concat", 4, 1, kAnyNumber, convertConcat},
                                {"Split", 2, 1, 2, convertSplit},
                                {"Pad", 2, 1, 4, convertPad},
                                {"Tile", 6, 2, 2, convertTile},
                                {"DepthToSpace", 1, 1, 1, convertDepthToSpace},
                                {"SpaceToDepth", 1, 1, 1, convertSpaceToDepth},
                            });
}

} // namespace qcc::onnx_import
