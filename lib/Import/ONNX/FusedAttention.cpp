//===- FusedAttention.cpp - attention of ONNX Runtime's tools ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The operators Attention and MultiHeadAttention of com.microsoft. Masks do not
// hide keys there: they add `mask_filter_value` to their scores, -10000 if not
// given, so that a row in which all keys are masked is the softmax of its
// scores. Only what follows a query (`unidirectional`) has no weight at all.
//
//===----------------------------------------------------------------------===//
#include "Attention.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The parts of an attention, heads split: `[B, H, S, D]`.
struct FusedAttention {
  Value query, key, value;
  /// Keys and values of earlier calls, which precede the others; may be null.
  Value pastKey, pastValue;
  /// A mask in one of the forms of MaskForm, and an addend of rank 4; may be
  /// null.
  Value mask, addend;
};

/// What a mask holds: the number of keys per batch; their ends and then their
/// begins; a flag per key; a flag per query and key. A flag per key for one key
/// only lets everything through.
enum class MaskForm { None, Lengths, Bounds, Keys, Pairs };

std::optional<MaskForm> readMaskForm(NodeContext &node, Value mask,
                                     const Dims &to) {
  if (!mask)
    return MaskForm::None;
  Dims in = node.dims(mask);
  auto isSize = [&](AffineExpr a, AffineExpr b) {
    return getConstantSize(simplifyDim(a - b)) == 0;
  };
  if (!isa<IntegerType>(node.elem(mask))) {
    (void)node.refuse(Diag::BadShape, "expected a mask of integers");
    return std::nullopt;
  }
  if (in.size() == 1 && isSize(in[0], to[0]))
    return MaskForm::Lengths;
  if (in.size() == 1 && isSize(in[0], to[0] * 2))
    return MaskForm::Bounds;
  if (in.size() == 2 && getConstantSize(in[1]) == 1)
    return MaskForm::None;
  if (in.size() == 2 && !isa<AffineConstantExpr>(in[1]) && in[1] != to[3]) {
    node.check(simplifyDim((to[3] - in[1]) * (in[1] - 1)), node.size(0), in[1],
               to[3]);
    in[1] = to[3];
  }
  if (in.size() == 2 && node.requireEqual(in[0], to[0], "masks and batches") &&
      node.requireEqual(in[1], to[3], "masks and keys"))
    return MaskForm::Keys;
  if (in.size() == 3 && node.requireEqual(in[0], to[0], "masks and batches") &&
      node.requireEqual(in[1], to[2], "masks and queries") &&
      node.requireEqual(in[2], to[3], "masks and keys"))
    return MaskForm::Pairs;
  (void)node.refuse(Diag::UnsupportedForm,
                    "expected a mask [B], [2 B], [B, T] or [B, S, T]");
  return std::nullopt;
}

/// Whether a mask lets a key through to a query.
Value isVisible(Body &body, MaskForm form, Value mask, const Dims &from,
                const Dims &to) {
  Value batch = body.dim(0), row = body.dim(2), key = body.dim(3);
  auto bound = [&](Value at) { return body.toIndex(body.read(mask, at)); };
  if (form == MaskForm::Lengths)
    return body.lt(key, bound(batch));
  if (form == MaskForm::Bounds)
    return body.both(body.lt(key, bound(batch)),
                     body.le(bound(body.add(batch, body.extent(to[0]))), key));
  bool isOpen = form == MaskForm::Keys && from[1] != to[3];
  Value size = isOpen ? body.extent(from[1]) : Value(),
        at = isOpen ? body.clampIndex(key, size) : key;
  Value flag = form == MaskForm::Keys ? body.read(mask, {batch, at})
                                      : body.read(mask, {batch, row, at});
  Value isSet = body.lt(body.integer(0, flag.getType()), flag);
  return isOpen ? body.either(body.eq(size, body.index(1)), isSet) : isSet;
}

/// What is added to the scores `[B, H, S, T]`, with dimensions of 1 where it
/// does not change; null if it is nothing. `hidesLater` says that keys after a
/// query are hidden, `past` positions being before the first one.
Value emitAddend(NodeContext &node, const FusedAttention &parts,
                 const Dims &scores, bool hidesLater, AffineExpr past) {
  std::optional<MaskForm> form = readMaskForm(node, parts.mask, scores);
  if (!form)
    return {};
  Value mask = *form == MaskForm::None ? Value() : parts.mask;
  AffineExpr one = node.size(1);
  Dims to = {one, one, one, one};
  SmallVector<Value> whole;
  Dims addend;
  if (mask) {
    to[0] = scores[0];
    to[3] = scores[3];
    if (*form == MaskForm::Pairs)
      to[2] = scores[2];
    whole.push_back(mask);
  }
  if (hidesLater) {
    to[2] = scores[2];
    to[3] = scores[3];
  }
  if (parts.addend) {
    addend = node.dims(parts.addend);
    if (addend.size() != 4) {
      (void)node.refuse(Diag::BadShape, "expected an addend of rank 4");
      return {};
    }
    for (auto [i, dim] : llvm::enumerate(addend)) {
      if (getConstantSize(dim) == 1)
        continue;
      if (!node.requireEqual(dim, scores[i], "an addend and the scores"))
        return {};
      to[i] = scores[i];
    }
    whole.push_back(parts.addend);
  }
  if (whole.empty() && !hidesLater)
    return {};
  double filter = node.attrFloat("mask_filter_value", -10000);
  Type f32 = node.f32();
  return node.generic(to, f32, {}, {}, whole, [&](Body &body, ValueRange x) {
    Value sum = body.number(0, f32);
    if (mask)
      sum = body.select(isVisible(body, *form, x[0], node.dims(mask), scores),
                        sum, body.number(filter, f32));
    if (parts.addend) {
      SmallVector<Value> at;
      for (unsigned i = 0; i < 4; ++i)
        at.push_back(getConstantSize(addend[i]) == 1 ? body.index(0)
                                                     : body.dim(i));
      sum = body.add(sum, body.read(x.back(), at));
    }
    if (!hidesLater)
      return sum;
    Value last = body.add(body.dim(2), body.extent(past));
    return body.select(
        body.le(body.dim(3), last), sum,
        body.number(-std::numeric_limits<double>::infinity(), f32));
  });
}

/// The result `[B, S, H * E]`. Key and value become those of all positions.
Value emitFused(NodeContext &node, FusedAttention &parts) {
  if (!parts.query || !parts.key || !parts.value)
    return {};
  Type type = node.elem(parts.query);
  if (!type.isF32() && !type.isF16() && !type.isBF16()) {
    (void)node.refuse(Diag::UnsupportedType, "expected f32, f16 or bf16");
    return {};
  }
  AffineExpr past = node.size(0);
  if (static_cast<bool>(parts.pastKey) != static_cast<bool>(parts.pastValue)) {
    (void)node.refuse(Diag::BadGraph, "expected past key and value together");
    return {};
  }
  if (parts.pastKey) {
    if (node.rank(parts.pastKey) != 4 || node.rank(parts.pastValue) != 4) {
      (void)node.refuse(Diag::BadShape, "expected a past of rank 4");
      return {};
    }
    past = node.dims(parts.pastKey)[2];
    parts.key = node.concat({parts.pastKey, parts.key}, 2);
    parts.value = node.concat({parts.pastValue, parts.value}, 2);
  }
  if (!parts.key || !parts.value)
    return {};
  Dims q = node.dims(parts.query), k = node.dims(parts.key),
       v = node.dims(parts.value);
  std::optional<int64_t> width = getConstantSize(q[3]);
  if (!width || *width < 1 ||
      !node.requireEqual(q[3], k[3], "the head sizes of query and key") ||
      !node.requireEqual(q[0], k[0], "batches") ||
      !node.requireEqual(k[0], v[0], "batches") ||
      !node.requireEqual(q[1], k[1], "heads") ||
      !node.requireEqual(k[1], v[1], "heads") ||
      !node.requireEqual(k[2], v[2], "keys and values")) {
    (void)node.refuse(Diag::UnsupportedShape,
                      "expected a head size that is known");
    return {};
  }
  double scale = node.attrFloat("scale", 0);
  if (scale == 0)
    scale = 1 / std::sqrt(static_cast<double>(*width));
  // The named operation aligns the triangle at the end of the keys.
  bool causal = node.attrInt("unidirectional", 0) != 0;
  bool aligned = causal && simplifyDim(k[2] - q[2]) == simplifyDim(past);
  Value addend = emitAddend(node, parts, {q[0], q[1], q[2], k[2]},
                            causal && !aligned, past);
  if (node.getProblem())
    return {};
  Value result = AttentionOp::create(
      node.b, makeTensorType({q[0], q[1], q[2], v[3]}, node.f32()),
      node.widen(parts.query), node.widen(parts.key), node.widen(parts.value),
      addend, scale, aligned);
  return joinHeads(node, node.cast(result, type));
}

/// Elements of the last dimension of `[B, S, N]`, less or more a bias.
Value takeColumns(NodeContext &node, Value input, int64_t first,
                  int64_t count) {
  return input ? node.slice(input, node.rank(input) - 1, node.size(first),
                            node.size(count))
               : Value();
}

/// Widths of query, key and value in a projection of `width` columns.
std::optional<SmallVector<int64_t>>
readWidths(NodeContext &node, AffineExpr columns, int64_t heads) {
  std::optional<int64_t> width = getConstantSize(columns);
  SmallVector<int64_t> widths =
      node.attrInts("qkv_hidden_sizes").value_or(SmallVector<int64_t>());
  if (widths.empty() && width && *width % 3 == 0)
    widths.assign(3, *width / 3);
  bool isValid = width && widths.size() == 3 && heads > 0;
  for (int64_t part : widths)
    isValid = isValid && part > 0 && part <= *width && part % heads == 0;
  if (isValid && widths[0] == widths[1] &&
      widths[0] + widths[1] + widths[2] == *width)
    return widths;
  (void)node.refuse(Diag::BadAttribute,
                    "expected weights for query, key and value of whole heads");
  return std::nullopt;
}

/// One of the two tensors in a past `[2, B, H, P, D]`.
Value takePast(NodeContext &node, Value past, int64_t index) {
  Dims in = node.dims(past);
  return node.reshape(node.slice(past, 0, node.size(index), node.size(1)),
                      Dims(ArrayRef(in).drop_front(1)));
}

LogicalResult convertContribAttention(NodeContext &node) {
  if (node.attrInt("do_rotary", 0) ||
      node.attrInt("past_present_share_buffer", 0) || node.has(6))
    return node.refuse(Diag::UnsupportedForm,
                       "rotary embeddings and shared buffers of past and "
                       "present are not supported");
  if (node.inRank(0) != 3 || node.inRank(1) != 2 ||
      (node.has(2) && node.inRank(2) != 1) || node.inElem(0) != node.inElem(1))
    return node.refuse(Diag::BadShape,
                       "expected an input of rank 3, weights of rank 2 and a "
                       "bias of rank 1");
  int64_t heads = node.attrInt("num_heads", 0);
  std::optional<SmallVector<int64_t>> widths =
      readWidths(node, node.inDims(1)[1], heads);
  if (!widths)
    return failure();
  Value projected = node.matmul(node.in(0), node.in(1));
  if (node.has(2))
    projected = node.add(projected, node.in(2));
  FusedAttention parts;
  parts.query =
      splitHeads(node, takeColumns(node, projected, 0, (*widths)[0]), heads);
  parts.key = splitHeads(
      node, takeColumns(node, projected, (*widths)[0], (*widths)[1]), heads);
  parts.value = splitHeads(
      node,
      takeColumns(node, projected, (*widths)[0] + (*widths)[1], (*widths)[2]),
      heads);
  parts.mask = node.in(3);
  parts.addend = node.in(5);
  if (node.has(4)) {
    if (node.inRank(4) != 5 || getConstantSize(node.inDims(4)[0]) != 2)
      return node.refuse(Diag::BadShape, "expected a past [2, B, H, P, D]");
    parts.pastKey = takePast(node, node.in(4), 0);
    parts.pastValue = takePast(node, node.in(4), 1);
  }
  Value result = emitFused(node, parts);
  if (result && node.wants(1)) {
    auto withFirst = [&](Value value) {
      Dims to = node.dims(value);
      to.insert(to.begin(), node.size(1));
      return node.reshape(value, to);
    };
    if (failed(node.set(
            1, node.concat({withFirst(parts.key), withFirst(parts.value)}, 0))))
      return failure();
  }
  return node.set(0, result);
}

/// One of the tensors in a packed `[B, L, H, n, D]`, as `[B, H, L, D]`.
Value takePacked(NodeContext &node, Value packed, int64_t index) {
  Dims in = node.dims(packed);
  Value part = node.slice(packed, 3, node.size(index), node.size(1));
  part = node.reshape(part, {in[0], in[1], in[2], in[4]});
  return part ? node.transpose(part, {0, 2, 1, 3}) : Value();
}

/// Query, key and value in each of the forms they may come in.
LogicalResult readParts(NodeContext &node, int64_t heads,
                        FusedAttention &parts) {
  int64_t rank = node.inRank(0);
  auto isPacked = [&](unsigned input, int64_t count) {
    return node.inRank(input) == 5 &&
           getConstantSize(node.inDims(input)[3]) == count;
  };
  if (isPacked(0, 3) && !node.has(1) && !node.has(2) && !node.has(3)) {
    parts.query = takePacked(node, node.in(0), 0);
    parts.key = takePacked(node, node.in(0), 1);
    parts.value = takePacked(node, node.in(0), 2);
    return success();
  }
  std::optional<int64_t> width =
      rank == 3 ? getConstantSize(node.inDims(0)[2]) : std::nullopt;
  if (!width || !node.has(1) || (node.has(3) && node.inRank(3) != 1))
    return node.refuse(Diag::BadShape,
                       "expected a query of rank 3, a key and a value, or all "
                       "of them packed");
  int64_t first = 0;
  auto project = [&](unsigned input) -> Value {
    Value value = node.in(input);
    std::optional<int64_t> columns = getConstantSize(node.dims(value).back());
    if (node.has(3) && columns)
      value = node.add(value, takeColumns(node, node.in(3), first, *columns));
    first += columns.value_or(0);
    return splitHeads(node, value, heads);
  };
  parts.query = project(0);
  if (isPacked(1, 2) && !node.has(2) && !node.has(3)) {
    parts.key = takePacked(node, node.in(1), 0);
    parts.value = takePacked(node, node.in(1), 1);
    return success();
  }
  if (!node.has(2) || node.inRank(1) != node.inRank(2) ||
      (node.inRank(1) != 3 && node.inRank(1) != 4))
    return node.refuse(Diag::BadShape,
                       "expected key and value of one rank, 3 or 4");
  // With heads already split they are those of another sequence, with their
  // bias in them.
  bool isSplit = node.inRank(1) == 4;
  parts.key = isSplit ? node.in(1) : project(1);
  parts.value = isSplit ? node.in(2) : project(2);
  return success();
}

LogicalResult convertMultiHeadAttention(NodeContext &node) {
  if (node.has(8) || node.has(9) || node.wants(3))
    return node.refuse(Diag::UnsupportedForm,
                       "shared buffers of past and present and the output of "
                       "scores are not supported");
  FusedAttention parts;
  if (failed(readParts(node, node.attrInt("num_heads", 0), parts)))
    return failure();
  parts.mask = node.in(4);
  parts.addend = node.in(5);
  parts.pastKey = node.in(6);
  parts.pastValue = node.in(7);
  Value result = emitFused(node, parts);
  if (!result)
    return failure();
  if ((node.wants(1) && failed(node.set(1, parts.key))) ||
      (node.wants(2) && failed(node.set(2, parts.value))))
    return failure();
  return node.set(0, result);
}

} // namespace

void registerFusedAttention(Registry &registry) {
  registry.add(kMicrosoftDomain,
               {
                   {"Attention", 1, 2, 7, convertContribAttention,
                    "rotary embeddings, shared buffers of past and present"},
                   {"MultiHeadAttention", 1, 1, 10, convertMultiHeadAttention,
                    "shared buffers of past and present, the output of scores"},
               });
}

} // namespace qcc::onnx_import
