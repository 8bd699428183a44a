//===- Attention.cpp - attention and rotary embeddings ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Attention.h"
#include "Importer.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

Value splitHeads(NodeContext &node, Value input, int64_t heads) {
  if (!input)
    return {};
  Dims in = node.dims(input);
  if (in.size() != 3 || heads < 1 ||
      (getConstantSize(in[2]) && *getConstantSize(in[2]) % heads)) {
    (void)node.refuse(
        Diag::BadAttribute,
        "expected a number of heads that divides the hidden size, but got " +
            Twine(heads));
    return {};
  }
  Value split = node.reshape(input, {in[0], in[1], node.size(heads),
                                     simplifyDim(in[2].floorDiv(heads))});
  return node.transpose(split, {0, 2, 1, 3});
}

Value joinHeads(NodeContext &node, Value input) {
  if (!input)
    return {};
  Dims in = node.dims(input);
  return node.reshape(node.transpose(input, {0, 2, 1, 3}),
                      {in[0], in[2], simplifyDim(in[1] * in[3])});
}

double readSoftcap(NodeContext &node) {
  double softcap = node.attrFloat("softcap", 0);
  if (!std::isfinite(softcap))
    (void)node.refuse(Diag::BadAttribute, "expected a finite softcap");
  return softcap;
}

Value repeatHeads(NodeContext &node, Value input, AffineExpr heads) {
  Dims in = node.dims(input);
  std::optional<int64_t> have = getConstantSize(in[1]),
                         want = getConstantSize(heads);
  if (in[1] == heads)
    return input;
  if (!have || !want || *have < 1 || *want % *have) {
    (void)node.refuse(
        Diag::BadShape,
        "expected a number of key heads that divides that of query heads");
    return {};
  }
  Dims to = {in[0], heads, in[2], in[3]};
  return node.copy(
      to, input,
      node.makeMap(4, {node.d(0), node.d(1).floorDiv(*want / *have), node.d(2),
                       node.d(3)}));
}

SpelledOut spellOut(NodeContext &node, Value query, Value key, Value value,
                    const ScoreOptions &options) {
  AffineExpr heads = node.dims(query)[1];
  key = repeatHeads(node, key, heads);
  value = repeatHeads(node, value, heads);
  SpelledOut out;
  if (!key || !value)
    return out;
  out.scores = node.unary(
      node.matmul(query, key, false, true), [&](Body &body, Value x) {
        Value scaled = body.mul(x, body.number(options.scale, x.getType()));
        if (options.softcap <= 0)
          return scaled;
        Value cap = body.number(options.softcap, x.getType());
        return body.mul(cap, body.tanh(body.div(scaled, cap)));
      });
  out.biased = options.bias ? node.add(out.scores, options.bias) : out.scores;
  if (!out.biased)
    return out;
  if (options.sink) {
    Dims to = node.dims(out.biased);
    AffineExpr keys = to[3];
    to[3] = node.size(1);
    Value sink = node.cast(options.sink, node.elem(out.biased));
    Value column = node.copy(to, sink, node.makeMap(4, node.d(1)));
    out.weights =
        node.slice(node.softmax(node.concat({out.biased, column}, 3), 3, false),
                   3, node.size(0), keys);
  } else {
    out.weights = node.softmax(out.biased, 3, false);
  }
  if (options.bias && !options.sink && out.weights) {
    // A row that sees nothing gives zeros, whatever its scores are.
    Value largest = node.reduce(Combiner::Max, options.bias, {3}, true,
                                node.elem(options.bias));
    out.weights = node.elementwise(
        {out.weights, largest}, node.elem(out.weights),
        [](Body &body, ValueRange x) {
          Value isHidden = body.eq(
              x[1], body.number(-std::numeric_limits<double>::infinity(),
                                x[1].getType()));
          return body.select(isHidden, body.number(0, x[0].getType()), x[0]);
        });
  }
  if (out.weights)
    out.result = node.matmul(out.weights, value);
  return out;
}

/// Whether caches and positions are as large as what is read of them.
static bool checkCaches(NodeContext &node, const Rotation &rotation,
                        AffineExpr batch, AffineExpr steps, int64_t pairs) {
  Dims cosine = node.dims(rotation.cosine), sine = node.dims(rotation.sine);
  for (auto [a, b] : llvm::zip_equal(cosine, sine))
    if (!node.requireEqual(a, b, "caches"))
      return false;
  if (!node.requireAtLeast(cosine.back(), node.size(pairs),
                           "the width of caches"))
    return false;
  if (rotation.positions && node.rank(rotation.positions) != 2) {
    (void)node.refuse(Diag::BadShape, "expected position_ids of rank 2");
    return false;
  }
  // Positions choose rows; without them each token has its own.
  Dims places = rotation.positions ? node.dims(rotation.positions) : cosine;
  return node.requireEqual(places[0], batch, "positions and batches") &&
         node.requireEqual(places[1], steps, "positions and tokens");
}

Value rotate(NodeContext &node, Value input, const Rotation &rotation) {
  if (!input)
    return {};
  Dims in = node.dims(input);
  auto fail = [&](Diag id, const Twine &text) {
    (void)node.refuse(id, text);
    return Value();
  };
  bool isFlat = in.size() == 3;
  int64_t heads = rotation.heads;
  std::optional<int64_t> hidden =
      in.size() > 2 ? getConstantSize(in.back()) : std::nullopt;
  if ((in.size() != 3 && in.size() != 4) || !hidden ||
      (isFlat && (heads < 1 || *hidden % heads)))
    return fail(Diag::BadShape,
                "expected a tensor of rank 4, or of rank 3 with num_heads");
  int64_t width = isFlat ? *hidden / heads : *hidden,
          rotated = rotation.elements == 0 ? width : rotation.elements;
  if (rotated < 2 || rotated > width || rotated % 2)
    return fail(Diag::BadAttribute,
                "expected an even rotary_embedding_dim of at most " +
                    Twine(width) + ", but got " + Twine(rotated));
  bool interleaved = rotation.isInterleaved,
       hasPositions = static_cast<bool>(rotation.positions);
  if (node.rank(rotation.cosine) != (hasPositions ? 2 : 3) ||
      node.rank(rotation.sine) != node.rank(rotation.cosine))
    return fail(
        Diag::BadShape,
        "expected caches of rank 2 with position_ids, of rank 3 without");
  SmallVector<Value> whole = {input, rotation.cosine, rotation.sine}, inputs;
  SmallVector<AffineMap> maps;
  unsigned time = isFlat ? 1 : 2;
  if (!checkCaches(node, rotation, in[0], in[time], rotated / 2))
    return {};
  if (hasPositions) {
    inputs.push_back(rotation.positions);
    maps.push_back(node.makeMap(in.size(), {node.d(0), node.d(time)}));
  }
  Dims cache = node.dims(rotation.cosine);
  return node.generic(
      in, node.elem(input), inputs, maps, whole, [&](Body &body, ValueRange x) {
        ValueRange tensors = hasPositions ? x.drop_front() : x;
        SmallVector<Value> here;
        for (unsigned i = 0; i < in.size(); ++i)
          here.push_back(body.dim(i));
        Value last = here.back(), half = body.index(rotated / 2),
              two = body.index(2);
        Value column = isFlat ? body.rem(last, body.index(width), true) : last;
        Value inside = body.lt(column, body.index(rotated));
        Value isSecond =
            interleaved ? body.eq(body.rem(column, two, true), body.index(1))
                        : body.le(half, column);
        Value distance = interleaved ? body.index(1) : half;
        Value pair =
            interleaved ? body.div(column, two, true)
                        : body.select(isSecond, body.sub(column, half), column);
        pair = body.clampIndex(pair, half);
        SmallVector<Value> at = {pair};
        if (hasPositions)
          at.insert(at.begin(),
                    body.clampIndex(body.toIndex(x[0]), body.extent(cache[0])));
        else
          at.insert(at.begin(), {here[0], here[time]});
        Value self = body.read(tensors[0], here),
              cosine = body.read(tensors[1], at),
              sine = body.read(tensors[2], at);
        SmallVector<Value> other = here;
        Value partner = body.select(isSecond, body.sub(last, distance),
                                    body.add(last, distance));
        other.back() = body.clampIndex(partner, body.extent(in.back()));
        Value crossed = body.mul(sine, body.read(tensors[0], other));
        Value turned =
            body.add(body.mul(cosine, self),
                     body.select(isSecond, crossed, body.neg(crossed)));
        return body.select(inside, turned, self);
      });
}

namespace {

/// Inputs of an attention after heads are split and the past is prepended, all
/// of rank 4 and f32 (or f64).
struct Heads {
  Value query, key, value;
  /// Number of positions that precede the queries; null without a past.
  AffineExpr past;
  bool isFlat = false;
};

std::optional<Heads> readHeads(NodeContext &node) {
  Heads heads;
  heads.query = node.in(0);
  heads.key = node.in(1);
  heads.value = node.in(2);
  heads.isFlat = node.inRank(0) == 3;
  if (heads.isFlat && node.inRank(1) == 3 && node.inRank(2) == 3) {
    int64_t q = node.attrInt("q_num_heads", 0),
            kv = node.attrInt("kv_num_heads", 0);
    heads.query = splitHeads(node, heads.query, q);
    heads.key = splitHeads(node, heads.key, kv);
    heads.value = splitHeads(node, heads.value, kv);
  } else if (node.inRank(0) != 4 || node.inRank(1) != 4 ||
             node.inRank(2) != 4) {
    (void)node.refuse(Diag::BadShape,
                      "expected query, key and value of one rank, 3 or 4");
    return std::nullopt;
  }
  if (node.has(4) != node.has(5)) {
    (void)node.refuse(Diag::BadGraph,
                      "expected past_key and past_value together");
    return std::nullopt;
  }
  if (node.has(4) && heads.key && heads.value) {
    if (node.inRank(4) != 4 || node.inRank(5) != 4) {
      (void)node.refuse(Diag::BadShape, "expected a past of rank 4");
      return std::nullopt;
    }
    heads.past = node.inDims(4)[2];
    heads.key = node.concat({node.in(4), heads.key}, 2);
    heads.value = node.concat({node.in(5), heads.value}, 2);
  }
  if (node.wants(1) && failed(node.set(1, heads.key)))
    return std::nullopt;
  if (node.wants(2) && failed(node.set(2, heads.value)))
    return std::nullopt;
  if (!heads.query || !heads.key || !heads.value)
    return std::nullopt;
  if (!node.requireEqual(node.dims(heads.key)[1], node.dims(heads.value)[1],
                         "the heads of key and value"))
    return std::nullopt;
  return heads;
}

/// What hides keys from queries.
struct Hiding {
  bool causal = false;
  int64_t left = -1, right = -1;
  Value mask, lengths;

  bool needsPositions() const { return causal || left >= 0 || right >= 0; }
};

/// All of it as a tensor to be added to the scores, of rank 4 with dimensions
/// of 1 where they make no difference; null if nothing is hidden.
Value emitBias(NodeContext &node, const Hiding &hiding, const Heads &heads) {
  Dims q = node.dims(heads.query), k = node.dims(heads.key);
  AffineExpr one = node.size(1);
  Dims to = {one, one, one, one};
  Type type = getComputeType(node.inElem(0));
  SmallVector<Value> inputs, whole;
  Dims maskDims;
  if (hiding.mask) {
    Value mask = node.expandRank(hiding.mask, 4);
    maskDims = node.dims(mask);
    if (maskDims.size() != 4) {
      (void)node.refuse(Diag::BadShape, "expected a mask of rank 4 or less");
      return {};
    }
    whole.push_back(mask);
    to = maskDims;
    // A shorter mask hides the keys that it does not reach.
    to[3] = k[2];
  }
  if (hiding.needsPositions()) {
    to[2] = q[2];
    to[3] = k[2];
  }
  bool perBatch = static_cast<bool>(hiding.lengths);
  if (perBatch) {
    to[0] = q[0];
    to[3] = k[2];
    whole.push_back(hiding.lengths);
  }
  if (!hiding.mask && !perBatch && !hiding.needsPositions())
    return {};
  Type maskType = hiding.mask ? node.elem(hiding.mask) : Type();
  return node.generic(to, type, {}, {}, whole, [&](Body &body, ValueRange x) {
    Value bias = body.number(0, type),
          hidden = body.number(-std::numeric_limits<double>::infinity(), type);
    Value i = body.dim(2), j = body.dim(3);
    if (hiding.mask) {
      SmallVector<Value> at;
      for (unsigned d = 0; d < 4; ++d)
        at.push_back(getConstantSize(maskDims[d]) == 1 ? body.index(0)
                                                       : body.dim(d));
      bool isShorter = maskDims[3] != k[2];
      Value width = body.extent(maskDims[3]);
      if (isShorter)
        at[3] = body.clampIndex(at[3], width);
      Value value = body.read(x[0], at);
      bias = maskType.isInteger(1) ? body.select(value, bias, hidden) : value;
      if (isShorter)
        bias = body.select(body.lt(j, width), bias, hidden);
    }
    Value seen = body.boolean(true),
          offset = heads.past ? body.extent(heads.past) : body.index(0);
    if (perBatch) {
      Value length = body.toIndex(body.read(x.back(), body.dim(0)));
      seen = body.lt(j, length);
      if (!heads.past)
        offset = body.sub(length, body.extent(q[2]));
    }
    Value position = body.add(i, offset);
    if (hiding.causal)
      seen = body.both(seen, body.le(j, position));
    if (hiding.left >= 0)
      seen = body.both(seen,
                       body.le(body.sub(position, body.index(hiding.left)), j));
    if (hiding.right >= 0)
      seen = body.both(
          seen, body.le(j, body.add(position, body.index(hiding.right))));
    return body.select(seen, bias, hidden);
  });
}

/// What the named operation cannot say, and the intermediate output.
Value emitSpelledOut(NodeContext &node, const Heads &heads,
                     const ScoreOptions &options) {
  SpelledOut out = spellOut(node, heads.query, heads.key, heads.value, options);
  int64_t mode = node.attrInt("qk_matmul_output_mode", 0);
  if (out.result && node.wants(3) &&
      failed(node.set(3, node.cast(mode == 3   ? out.weights
                                   : mode == 2 ? out.biased
                                               : out.scores,
                                   node.inElem(0)))))
    return {};
  return out.result;
}

LogicalResult convertAttention(NodeContext &node) {
  std::optional<Heads> heads = readHeads(node);
  if (!heads)
    return failure();
  Type type = node.inElem(0);
  heads->query = node.widen(heads->query);
  heads->key = node.widen(heads->key);
  heads->value = node.widen(heads->value);
  if (!heads->query || !heads->key || !heads->value)
    return failure();
  Dims q = node.dims(heads->query), k = node.dims(heads->key),
       v = node.dims(heads->value);
  std::optional<int64_t> width = getConstantSize(q[3]);
  if (!width || *width < 1 ||
      !node.requireEqual(q[3], k[3], "the head sizes of query and key"))
    return node.refuse(Diag::UnsupportedShape,
                       "expected a head size that is known");
  double scale =
      node.attrFloat("scale", 1 / std::sqrt(static_cast<double>(*width)));
  double softcap = readSoftcap(node);
  Hiding hiding;
  hiding.causal = node.attrInt("is_causal", 0) != 0;
  hiding.left = node.attrInt("left_window_size", -1);
  hiding.right = node.attrInt("right_window_size", -1);
  hiding.mask = node.in(3);
  hiding.lengths = node.in(6);
  bool named = !node.wants(3) && node.elem(heads->query).isF32();
  // The named operation aligns the triangle at the end of the keys.
  AffineExpr offset = simplifyDim(k[2] - q[2]);
  bool aligned =
      named && !hiding.lengths && hiding.left < 0 && hiding.right < 0 &&
      hiding.causal &&
      offset == (heads->past ? simplifyDim(heads->past) : node.size(0));
  if (aligned)
    hiding.causal = false;
  Value bias = emitBias(node, hiding, *heads);
  if (node.getProblem())
    return failure();
  Value result;
  if (named)
    result = AttentionOp::create(
        node.b,
        makeTensorType({q[0], q[1], q[2], v[3]}, node.elem(heads->query)),
        heads->query, heads->key, heads->value, bias, scale, aligned, softcap);
  else
    result = emitSpelledOut(node, *heads, {scale, softcap, bias, {}});
  result = node.cast(result, type);
  return node.set(0, heads->isFlat ? joinHeads(node, result) : result);
}

/// A tensor through a subgraph of the node that has one input and one output of
/// its shape; unchanged without the attribute.
Value applyModifier(NodeContext &node, StringRef name, Value input) {
  const onnx::AttributeProto *attribute = node.findAttr(name);
  if (!attribute || !input)
    return input;
  SmallVector<Value> results;
  if (attribute->g().input_size() != 1 || attribute->g().output_size() != 1) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected a graph of one input and one output as '" +
                          name + "'");
    return {};
  }
  if (failed(
          node.importer.importSubgraph(node, attribute->g(), input, results)))
    return {};
  if (results[0].getType() == input.getType())
    return results[0];
  (void)node.refuse(Diag::BadShape, "expected graph '" + name +
                                        "' to keep the shape and the type");
  return {};
}

/// ai.onnx.preview: scores and weights that the model's own graphs change.
LogicalResult convertFlexAttention(NodeContext &node) {
  for (unsigned i : {0, 1, 2})
    if (node.inRank(i) != 4 || !isa<FloatType>(node.inElem(i)))
      return node.refuse(Diag::BadShape,
                         "expected query, key and value of rank 4");
  Type type = node.inElem(0);
  Dims q = node.inDims(0);
  std::optional<int64_t> width = getConstantSize(q[3]);
  if (!width || *width < 1)
    return node.refuse(Diag::UnsupportedShape,
                       "expected a head size that is known");
  double scale =
      node.attrFloat("scale", 1 / std::sqrt(static_cast<double>(*width)));
  Type precision = node.attrType("softmax_precision", getComputeType(type));
  if (!precision || !isa<FloatType>(precision))
    return node.refuse(Diag::BadAttribute,
                       "expected a float type as softmax_precision");
  Value key = repeatHeads(node, node.in(1), q[1]),
        value = repeatHeads(node, node.in(2), q[1]);
  Value scores =
      node.matmul(node.widen(node.in(0)), node.widen(key), false, true);
  scores = node.unary(scores, [&](Body &body, Value x) {
    return body.mul(x, body.number(scale, x.getType()));
  });
  scores = applyModifier(node, "score_mod", node.cast(scores, precision));
  Value weights =
      applyModifier(node, "prob_mod", node.softmax(scores, 3, false));
  if (!weights || !value)
    return failure();
  Type compute = getComputeType(precision);
  Value result =
      node.matmul(node.cast(weights, compute), node.cast(value, compute));
  return node.set(0, node.cast(result, node.inElem(2)));
}

/// Rotates input 0.
LogicalResult emitRotary(NodeContext &node, Rotation rotation) {
  rotation.elements = node.attrInt("rotary_embedding_dim", 0);
  rotation.isInterleaved = node.attrInt("interleaved", 0) != 0;
  return node.set(0, rotate(node, node.in(0), rotation));
}

LogicalResult convertRotary(NodeContext &node) {
  return emitRotary(
      node, {node.in(1), node.in(2), node.in(3), node.attrInt("num_heads", 0)});
}

/// com.microsoft: other inputs, and a first position in place of all of them.
LogicalResult convertContribRotary(NodeContext &node) {
  if (node.attrInt("is_packed_batching", 0) || node.attrFloat("scale", 1) != 1)
    return node.refuse(Diag::UnsupportedForm,
                       "packed batches and scales are not supported");
  Dims in = node.inDims(0);
  if ((in.size() != 3 && in.size() != 4) || node.inRank(2) != 2 ||
      node.inRank(3) != 2)
    return node.refuse(Diag::BadShape,
                       "expected a tensor of rank 3 or 4 and caches of rank 2");
  Rotation rotation{node.in(2), node.in(3), node.in(1),
                    node.attrInt("num_heads", 0)};
  std::optional<int64_t> hidden = getConstantSize(in.back()),
                         half = getConstantSize(node.inDims(2)[1]);
  if (rotation.heads == 0 && node.attrInt("rotary_embedding_dim", 0) == 0 &&
      hidden && half && *half > 0)
    rotation.heads = *hidden / (2 * *half);
  if (node.inRank(1) == 1) {
    if (!node.requireEqual(node.inDims(1)[0], node.size(1), "a first position"))
      return failure();
    Dims to = {in[0], in[in.size() == 3 ? 1 : 2]};
    rotation.positions = node.generic(
        to, node.i64(), node.in(1), node.makeMap(2, node.size(0)), {},
        [&](Body &body, ValueRange x) {
          return body.add(body.convert(x[0], node.inElem(1), node.i64()),
                          body.fromIndex(body.dim(1), node.i64()));
        });
  } else if (node.inRank(1) != 2) {
    return node.refuse(Diag::BadShape, "expected positions of rank 1 or 2");
  }
  return rotation.positions ? emitRotary(node, rotation) : failure();
}

} // namespace

void registerAttention(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"Attention", 23, 3, 7, convertAttention},
                                {"RotaryEmbedding", 23, 3, 4, convertRotary},
                            });
  registry.add("ai.onnx.preview",
               {{"FlexAttention", 1, 3, 3, convertFlexAttention}});
  registry.add(kMicrosoftDomain,
               {{"RotaryEmbedding", 1, 4, 4, convertContribRotary,
                 "packed batches, scales"}});
}

} // namespace qcc::onnx_import
