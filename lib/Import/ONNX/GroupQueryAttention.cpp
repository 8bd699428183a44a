//===- GroupQueryAttention.cpp - attention with a cache ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// GroupQueryAttention of com.microsoft, which exporters of language models
// write. Each batch has its own number of tokens: `seqlens_k[b] + 1`, of which
// the last S are new; in a prompt, where S is the total length, the new ones
// begin at 0. A cache whose length is that of all tokens grows by the new ones;
// a longer one is a buffer that they are written to. A cache of a window
// (`sliding_window_cache`) of C rows has, from row 0 on, the last L of T
// tokens: L = T where T <= C, else T - G ceil((T - C) / G) with G = C - W + 1,
// W being `local_window_size` (the operator's documentation).
//
//===----------------------------------------------------------------------===//
#include "Attention.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Inputs by position.
enum Input : unsigned {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLengths,
  kTotalLength,
  kCosine,
  kSine,
  kPositions,
  kAddend,
  kSink,
  kKeyScale,
  kValueScale,
  kQueryNorm,
  kKeyNorm,
};

/// More heads, and windows of more keys, are none.
constexpr int64_t kMaxHeads = 1 << 20, kMaxWindow = int64_t(1) << 40;

constexpr double kHidden = -std::numeric_limits<double>::infinity();

/// Elements of a cache: floats, or codes of 8 bits, or of 4 bits in pairs
/// (low one first, 8 being 0), times scales.
struct CacheForm {
  bool isCoded = false, isPacked = false;
};

class GroupQuery {
public:
  explicit GroupQuery(NodeContext &node) : node(node) {}

  LogicalResult convert() {
    if (failed(readSizes()) || failed(readCache()))
      return failure();
    Value query = takeHeads(kQuery, 0, heads),
          key = takeHeads(kKey, heads, kvHeads),
          value = takeHeads(kValue, heads + kvHeads, kvHeads);
    query = normalize(query, kQueryNorm, heads);
    key = normalize(key, kKeyNorm, kvHeads);
    if (node.attrInt("do_rotary", 0)) {
      Rotation rotation;
      if (failed(readRotation(rotation)))
        return failure();
      rotation.heads = heads;
      query = rotate(node, query, rotation);
      rotation.heads = kvHeads;
      key = rotate(node, key, rotation);
    }
    query = splitHeads(node, query, heads);
    key = store(splitHeads(node, key, kvHeads), kPastKey, kKeyScale, 1);
    value = store(splitHeads(node, value, kvHeads), kPastValue, kValueScale, 2);
    if (!query || !key || !value)
      return failure();
    Value result = attend(node.widen(query), load(key, kKeyScale),
                          load(value, kValueScale));
    return node.set(0, joinHeads(node, node.cast(result, type)));
  }

private:
  LogicalResult refuse(Diag id, const Twine &text) {
    return node.refuse(id, text);
  }

  /// Heads, and the sizes of queries and keys.
  LogicalResult readSizes() {
    type = node.inElem(kQuery);
    if (!type.isF32() && !type.isF16() && !type.isBF16())
      return refuse(Diag::UnsupportedType, "expected f32, f16 or bf16");
    window = std::min(node.attrInt("local_window_size", -1), kMaxWindow);
    isWindow = node.attrInt("sliding_window_cache", 0) != 0;
    if (isWindow && (window < 1 || !node.has(kPastKey) || node.wants(3)))
      return refuse(Diag::UnsupportedForm,
                    "expected sliding_window_cache with a past, a "
                    "local_window_size and no output of scores");
    heads = node.attrInt("num_heads", 0);
    kvHeads = node.attrInt("kv_num_heads", 0);
    if (heads < 1 || heads > kMaxHeads || kvHeads < 1 || heads % kvHeads)
      return refuse(Diag::BadAttribute,
                    "expected kv_num_heads that divides num_heads, but got " +
                        Twine(kvHeads) + " and " + Twine(heads));
    isTogether = !node.has(kKey) && !node.has(kValue);
    if (node.has(kKey) != node.has(kValue) || node.inRank(kQuery) != 3 ||
        (!isTogether &&
         (node.inRank(kKey) != 3 || node.inRank(kValue) != 3 ||
          node.inElem(kKey) != type || node.inElem(kValue) != type)))
      return refuse(Diag::BadShape, "expected query, key and value of rank 3 "
                                    "and one type, or all in one");
    Dims in = node.inDims(kQuery);
    std::optional<int64_t> columns = getConstantSize(in[2]);
    int64_t parts = isTogether ? heads + 2 * kvHeads : heads;
    if (!columns || *columns < parts || *columns % parts)
      return refuse(Diag::BadShape,
                    "expected a hidden size that is known, of " + Twine(parts) +
                        " heads");
    batch = in[0];
    count = in[1];
    width = *columns / parts;
    for (unsigned i : {kKey, kValue}) {
      if (isTogether)
        continue;
      Dims other = node.inDims(i);
      if (!node.requireEqual(other[0], batch, "batches") ||
          !node.requireEqual(other[1], count, "new keys and queries") ||
          !node.requireEqual(other[2], node.size(kvHeads * width),
                             "the hidden size of keys and its heads"))
        return failure();
    }
    return success();
  }

  /// The past and the lengths.
  LogicalResult readCache() {
    if (node.has(kPastKey) != node.has(kPastValue))
      return refuse(Diag::BadGraph, "expected past key and value together");
    if (!node.has(kLengths) || !node.has(kTotalLength))
      return refuse(Diag::BadGraph,
                    "expected seqlens_k and total_sequence_length");
    past = node.size(0);
    if (node.has(kPastKey) && (failed(readForm()) || failed(readPast())))
      return failure();
    if (!node.has(kPastKey) && (node.has(kKeyScale) || node.has(kValueScale)))
      return refuse(Diag::BadGraph, "expected a past of codes beside scales");
    std::optional<Dims> length =
        node.readSizes(kTotalLength, "total_sequence_length");
    if (!length)
      return failure();
    if (length->size() != 1)
      return refuse(Diag::BadShape, "expected one total_sequence_length");
    total = (*length)[0];
    if (failed(choosePresent()))
      return failure();
    Value lengths = node.in(kLengths);
    Dims in = node.dims(lengths);
    bool isColumn = in.size() == 2 && getConstantSize(in[1]) == 1;
    if (!node.elem(lengths).isSignlessInteger(32) ||
        (in.size() != 1 && !isColumn))
      return refuse(Diag::BadShape,
                    "expected seqlens_k [B] or [B, 1] of int32");
    if (!node.requireEqual(in[0], batch, "lengths and batches"))
      return failure();
    ends = node.unary(node.cast(node.reshape(lengths, {batch}), node.i64()),
                      [](Body &body, Value x) {
                        return body.add(x, body.integer(1, x.getType()));
                      });
    begins = node.unary(ends, [&](Body &body, Value end) {
      Value begin =
          body.sub(end, body.fromIndex(body.extent(count), end.getType()));
      return body.select(isPrompt(body), body.integer(0, end.getType()), begin);
    });
    return success(static_cast<bool>(begins));
  }

  /// What the elements of the past are.
  LogicalResult readForm() {
    Type element = node.inElem(kPastKey);
    if (node.inElem(kPastValue) != element)
      return refuse(Diag::BadGraph, "expected past key and value of one type");
    std::string keys = node.attrString("k_quant_type", "NONE"),
                values = node.attrString("v_quant_type", "NONE");
    int64_t bits = node.attrInt("kv_cache_bit_width", 0);
    if (keys == "NONE" && values == "NONE" && element == type)
      return success();
    bool isByte =
             element.isInteger(8) && bits == 8 && !element.isUnsignedInteger(),
         isNibble = element.isUnsignedInteger(8) && bits == 4;
    if (keys == "NONE" || values == "NONE" || (!isByte && !isNibble))
      return refuse(Diag::UnsupportedForm,
                    "expected a past of the query's type, or with k_quant_type "
                    "and v_quant_type of int8 and kv_cache_bit_width 8, or "
                    "uint8 and 4");
    if (!node.has(kKeyScale) || !node.has(kValueScale))
      return refuse(Diag::BadGraph, "expected k_scale and v_scale");
    form = {true, isNibble};
    if (isNibble && width % 2)
      return refuse(Diag::BadShape, "expected an even head size");
    return success();
  }

  LogicalResult readPast() {
    int64_t stored = form.isPacked ? width / 2 : width;
    for (unsigned i : {kPastKey, kPastValue}) {
      if (node.inRank(i) != 4)
        return refuse(Diag::BadShape, "expected a past of rank 4");
      Dims in = node.inDims(i);
      if (!node.requireEqual(in[0], batch, "batches") ||
          !node.requireEqual(in[1], node.size(kvHeads), "kv_num_heads") ||
          !node.requireEqual(in[2], node.inDims(kPastKey)[2],
                             "past keys and values") ||
          !node.requireEqual(in[3], node.size(stored), "the head size"))
        return failure();
    }
    past = node.inDims(kPastKey)[2];
    return success();
  }

  /// The length of the present: that of all tokens, or of a longer past.
  LogicalResult choosePresent() {
    if (!node.has(kPastKey)) {
      present = count;
      return success(node.requireEqual(
          total, count, "total_sequence_length and tokens without a past"));
    }
    if (isWindow) {
      present = past;
      return success(
          node.requireAtLeast(past, node.size(window), "a cache of a window"));
    }
    AffineExpr added = simplifyDim(total - past);
    std::optional<int64_t> known = getConstantSize(added),
                           length = getConstantSize(past);
    present = total;
    if (known ? *known >= 0 : added == simplifyDim(count))
      return success();
    // A past of fixed length is a buffer for the present, one of free length
    // grows.
    bool isBuffer = known || length.value_or(0) > 0;
    if (isBuffer)
      present = past;
    return success(
        isBuffer ? node.requireAtLeast(past, total, "past keys")
                 : node.requireAtLeast(total, past, "total_sequence_length"));
  }

  /// Whether the new tokens are all there are.
  Value isPrompt(Body &body) {
    return body.eq(body.extent(count), body.extent(total));
  }

  /// `[B, S, n * D]`, the heads from `first` on where all are in one.
  Value takeHeads(unsigned input, int64_t first, int64_t n) {
    return isTogether ? node.slice(node.in(kQuery), 2, node.size(first * width),
                                   node.size(n * width))
                      : node.in(input);
  }

  /// Each head over the root of its mean square, times a weight.
  Value normalize(Value input, unsigned weight, int64_t n) {
    if (!input || !node.has(weight))
      return input;
    if (!node.has(kQueryNorm) || !node.has(kKeyNorm) ||
        node.inRank(weight) != 1 ||
        !node.requireEqual(node.inDims(weight)[0], node.size(width),
                           "the weights of a norm and the head size")) {
      (void)refuse(Diag::BadShape, "expected q_norm_weight and k_norm_weight "
                                   "of the head size");
      return {};
    }
    Dims in = node.dims(input);
    Value rows = node.widen(
        node.reshape(input, {in[0], in[1], node.size(n), node.size(width)}));
    if (!rows)
      return {};
    Value normal =
        NormOp::create(node.b, rows.getType(), NormKind::RMS, rows,
                       llvm::APFloat(static_cast<float>(
                           node.attrFloat("qk_norm_epsilon", 1e-6))));
    normal = node.mul(normal, node.widen(node.in(weight)));
    return node.cast(node.reshape(normal, in), type);
  }

  LogicalResult readRotation(Rotation &rotation) {
    if (!node.has(kCosine) || !node.has(kSine) || node.inRank(kCosine) != 2 ||
        node.inRank(kSine) != 2)
      return refuse(Diag::BadShape, "expected caches of rank 2 to rotate by");
    std::optional<int64_t> half = getConstantSize(node.inDims(kCosine)[1]);
    if (!half || *half < 1 || *half > width / 2)
      return refuse(Diag::BadShape,
                    "expected caches of at most half the head size");
    rotation.cosine = node.in(kCosine);
    rotation.sine = node.in(kSine);
    rotation.elements = 2 * *half;
    rotation.isInterleaved = node.attrInt("rotary_interleaved", 0) != 0;
    SmallVector<Value> inputs = {begins}, whole;
    SmallVector<AffineMap> maps = {node.makeMap(2, node.d(0))};
    if (node.has(kPositions)) {
      if (node.inRank(kPositions) != 2)
        return refuse(Diag::BadShape, "expected position_ids [B, S]");
      Dims in = node.inDims(kPositions);
      if (!node.requireEqual(in[0], batch, "positions and batches") ||
          !node.requireEqual(in[1], count, "positions and tokens"))
        return failure();
      whole.push_back(node.in(kPositions));
    }
    rotation.positions = node.generic(
        {batch, count}, node.i64(), inputs, maps, whole,
        [&](Body &body, ValueRange x) {
          auto place = [&](Value first) {
            return body.add(first, body.fromIndex(body.dim(1), node.i64()));
          };
          if (whole.empty())
            return place(x[0]);
          // A prompt's first position stands for all of them.
          Value zero = body.index(0),
                given = body.read(x[1], {body.dim(0), body.dim(1)});
          return body.select(isPrompt(body),
                             place(body.read(x[1], {zero, zero})), given);
        });
    return success(static_cast<bool>(rotation.positions));
  }

  /// Scales `[1, n or 1, 1, D or 1]` of a cache in codes.
  Value readScale(unsigned input) {
    Dims in = node.inDims(input);
    int64_t elements = 1;
    for (AffineExpr dim : in) {
      std::optional<int64_t> known = getConstantSize(dim);
      elements = known && *known <= kvHeads * width ? elements * *known : -1;
      if (elements < 0)
        break;
    }
    AffineExpr one = node.size(1);
    if (elements == 1)
      return node.reshape(node.in(input), {one, one, one, one});
    if (elements == kvHeads * width)
      return node.reshape(node.in(input),
                          {one, node.size(kvHeads), one, node.size(width)});
    (void)refuse(Diag::BadShape, "expected one scale, or one for each of " +
                                     Twine(kvHeads * width) + " channels");
    return {};
  }

  /// Codes of new keys or values, in the form of the cache.
  Value encode(Value fresh, unsigned scale) {
    Value scales = readScale(scale);
    if (!scales)
      return {};
    Type f32 = node.f32(), i8 = node.b.getIntegerType(8);
    double low = form.isPacked ? -8 : -128, high = form.isPacked ? 7 : 127;
    Value codes = node.elementwise(
        {node.widen(fresh), scales}, i8, [&](Body &body, ValueRange x) {
          Value steps = body.roundEven(body.div(x[0], x[1]));
          return body.convert(
              body.clamp(steps, body.number(low, f32), body.number(high, f32)),
              f32, i8);
        });
    if (!form.isPacked || !codes)
      return codes;
    Dims to = node.dims(codes);
    to[3] = node.size(width / 2);
    return node.generic(
        to, node.inElem(kPastKey), {}, {}, codes,
        [&](Body &body, ValueRange x) {
          Type i32 = body.b.getI32Type();
          auto get = [&](int64_t place) {
            Value at = body.add(body.mul(body.dim(3), body.index(2)),
                                body.index(place));
            Value code =
                body.read(x[0], {body.dim(0), body.dim(1), body.dim(2), at});
            return body.add(body.convert(code, i8, i32), body.integer(8, i32));
          };
          Value byte =
              body.add(get(0), body.mul(get(1), body.integer(16, i32)));
          return body.convert(byte, i32, node.inElem(kPastKey));
        });
  }

  /// Sets the output of the cache with new keys or values in it; returns what
  /// the queries see.
  Value store(Value fresh, unsigned input, unsigned scale, unsigned output) {
    if (!fresh || node.getProblem())
      return {};
    if (form.isCoded)
      fresh = encode(fresh, scale);
    if (!fresh)
      return {};
    Value cache = fresh, seen = fresh;
    if (node.has(input)) {
      cache = isWindow ? slide(fresh, node.in(input))
                       : insert(fresh, node.in(input));
      // What leaves a window in this step is still seen by its first tokens.
      seen = isWindow ? node.concat({node.in(input), fresh}, 2) : cache;
    }
    if (!cache || (node.wants(output) && failed(node.set(output, cache))))
      return {};
    return seen;
  }

  Value zero(Body &body, Type element) {
    Type scalar = getComputeType(element);
    return isa<FloatType>(scalar) ? body.number(0, scalar)
                                  : body.integer(0, scalar);
  }

  /// An element of a tensor `[B, n, rows, D]` at another row, `otherwise` where
  /// that is not in it.
  Value readRow(Body &body, Value tensor, Value row, AffineExpr rows,
                Value otherwise) {
    Value isInside =
        body.both(body.le(body.index(0), row), body.lt(row, body.extent(rows)));
    return body.readIf(isInside, tensor,
                       {body.dim(0), body.dim(1), row, body.dim(3)}, otherwise);
  }

  /// A cache with new rows at their places: a buffer, or a longer cache.
  Value insert(Value fresh, Value old) {
    if (present == past)
      return writeRows(node, old, fresh, begins, 2, /*isCircular=*/false);
    Dims to = node.dims(fresh);
    to[2] = present;
    Type element = node.elem(old);
    return node.generic(
        to, element, begins, node.makeMap(4, node.d(0)), {fresh, old},
        [&](Body &body, ValueRange x) {
          Value row = body.dim(2);
          return readRow(body, x[1], body.sub(row, body.toIndex(x[0])), count,
                         readRow(body, x[2], row, past, zero(body, element)));
        });
  }

  /// How many of so many tokens a cache of a window has.
  Value getResident(Body &body, Value tokens) {
    Value capacity = body.extent(past), one = body.index(1);
    Value step = body.sub(capacity, body.index(window - 1)),
          over = body.max(body.sub(tokens, capacity), body.index(0));
    Value steps = body.div(body.sub(body.add(over, step), one), step);
    return body.sub(tokens, body.mul(steps, step));
  }

  /// A cache of a window after new rows.
  Value slide(Value fresh, Value old) {
    Type element = node.elem(old);
    AffineMap perBatch = node.makeMap(4, node.d(0));
    return node.generic(
        node.dims(old), element, {begins, ends}, {perBatch, perBatch},
        {fresh, old}, [&](Body &body, ValueRange x) {
          Value begin = body.toIndex(x[0]), end = body.toIndex(x[1]);
          Value place = body.add(body.sub(end, getResident(body, end)),
                                 body.dim(2)),
                behind = body.sub(place, begin);
          return readRow(body, x[2], behind, count,
                         readRow(body, x[3],
                                 body.add(behind, getResident(body, begin)),
                                 past, zero(body, element)));
        });
  }

  /// A cache as f32.
  Value load(Value cache, unsigned scale) {
    if (!form.isCoded)
      return node.widen(cache);
    Value scales = readScale(scale);
    if (!scales || !cache)
      return {};
    Type f32 = node.f32();
    if (!form.isPacked)
      return node.elementwise(
          {cache, scales}, f32, [&](Body &body, ValueRange x) {
            return body.mul(body.convert(x[0], node.elem(cache), f32), x[1]);
          });
    Dims to = node.dims(cache);
    to[3] = node.size(width);
    AffineMap twice = node.makeMap(
        4, {node.d(0), node.d(1), node.d(2), node.d(3).floorDiv(2)});
    Value codes =
        node.generic(to, f32, cache, twice, {}, [&](Body &body, ValueRange x) {
          Type i32 = body.b.getI32Type();
          Value byte = body.convert(x[0], node.elem(cache), i32),
                sixteen = body.integer(16, i32),
                isHigh = body.eq(body.rem(body.dim(3), body.index(2), true),
                                 body.index(1));
          Value code = body.select(isHigh, body.div(byte, sixteen, true),
                                   body.rem(byte, sixteen, true));
          return body.sub(body.convert(code, i32, f32), body.number(8, f32));
        });
    return node.mul(codes, scales);
  }

  /// Whether the model's addend fits the scores `[B, H, S, T]`.
  LogicalResult checkAddend() {
    Dims addend = node.inDims(kAddend),
         want = {batch, node.size(heads), count, total};
    if (addend.size() != 4)
      return refuse(Diag::BadShape, "expected an attention_bias of rank 4");
    for (unsigned i = 0; i < 4; ++i) {
      if (i < 2 && getConstantSize(addend[i]) == 1)
        continue;
      if (!node.requireEqual(addend[i], want[i],
                             "attention_bias and the scores"))
        return failure();
    }
    return success();
  }

  /// The token whose key is in a row, and whether there is one.
  std::pair<Value, Value> getToken(Body &body, Value row, Value begin) {
    if (!isWindow)
      return {row, body.boolean(true)};
    Value capacity = body.extent(past), resident = getResident(body, begin),
          isNew = body.le(capacity, row);
    Value token =
        body.add(begin, body.sub(row, body.select(isNew, capacity, resident)));
    return {token, body.either(isNew, body.lt(row, resident))};
  }

  /// What is added to the scores of `keys` rows: the model's addend, and what
  /// hides keys.
  Value emitBias(AffineExpr keys) {
    Dims to = {batch, node.size(1), count, keys}, addend;
    SmallVector<Value> whole;
    if (node.has(kAddend)) {
      if (failed(checkAddend()))
        return {};
      addend = node.inDims(kAddend);
      to[1] = addend[1];
      whole.push_back(node.in(kAddend));
    }
    bool isCausal = node.attrInt("causal", 1) != 0;
    AffineMap perBatch = node.makeMap(4, node.d(0));
    return node.generic(
        to, node.f32(), {begins, ends}, {perBatch, perBatch}, whole,
        [&](Body &body, ValueRange x) {
          Value begin = body.toIndex(x[0]);
          Value place = body.add(begin, body.dim(2));
          auto [token, seen] = getToken(body, body.dim(3), begin);
          seen = body.both(seen, isCausal ? body.le(token, place)
                                          : body.lt(token, body.toIndex(x[1])));
          if (window >= 0)
            seen = body.both(
                seen, body.lt(body.sub(place, body.index(window)), token));
          Value sum = body.number(0, node.f32());
          if (!whole.empty()) {
            Value isInside = body.both(body.le(body.index(0), token),
                                       body.lt(token, body.extent(total)));
            auto at = [&](unsigned i) {
              return getConstantSize(addend[i]) == 1 ? body.index(0)
                                                     : body.dim(i);
            };
            sum = body.readIf(isInside, x.back(),
                              {at(0), at(1), body.dim(2), token}, sum);
          }
          return body.select(seen, sum, body.number(kHidden, node.f32()));
        });
  }

  Value attend(Value query, Value key, Value value) {
    if (!query || !key || !value || node.getProblem())
      return {};
    double scale = node.attrFloat("scale", 0), softcap = readSoftcap(node);
    if (node.getProblem())
      return {};
    if (scale == 0)
      scale = 1 / std::sqrt(static_cast<double>(width));
    Value bias = emitBias(node.dims(key)[2]), sink = node.in(kSink);
    if (!bias)
      return {};
    if (!sink && node.attrInt("smooth_softmax", 0) > 0)
      sink = node.filled({node.size(heads)}, 0, node.f32());
    if (sink && (node.rank(sink) != 1 ||
                 !node.requireEqual(node.dims(sink)[0], node.size(heads),
                                    "head_sink and heads"))) {
      (void)refuse(Diag::BadShape, "expected head_sink of rank 1");
      return {};
    }
    if (!node.wants(3))
      return AttentionOp::create(node.b, query.getType(), query, key, value,
                                 bias, scale, /*causal=*/false, softcap,
                                 sink ? node.cast(sink, node.f32()) : Value());
    SpelledOut out =
        spellOut(node, query, key, value, {scale, softcap, bias, sink});
    if (out.result && node.wants(3) && failed(setScores(out)))
      return {};
    return out.result;
  }

  /// The output of scores or weights, `[B, H, S, T]`, 0 where keys are hidden.
  LogicalResult setScores(const SpelledOut &out) {
    int64_t mode = node.attrInt("qk_output", 0);
    if (mode != 1 && mode != 2)
      return refuse(Diag::BadAttribute,
                    "expected qk_output 1 or 2, but got " + Twine(mode));
    Value scores = mode == 2 ? out.weights : out.biased;
    scores = node.unary(scores, [](Body &body, Value x) {
      return body.select(body.eq(x, body.number(kHidden, x.getType())),
                         body.number(0, x.getType()), x);
    });
    return node.set(
        3, node.cast(node.slice(scores, 3, node.size(0), total), type));
  }

  NodeContext &node;
  Type type;
  int64_t heads = 0, kvHeads = 0, width = 0;
  /// Keys before a query that it sees, -1 for all.
  int64_t window = -1;
  bool isTogether = false, isWindow = false;
  CacheForm form;
  /// New tokens, tokens with those before, and lengths of the caches.
  AffineExpr batch, count, total, past, present;
  /// Of each batch, the place of its first new token and behind its last one,
  /// i64.
  Value begins, ends;
};

LogicalResult convertGroupQueryAttention(NodeContext &node) {
  return GroupQuery(node).convert();
}

} // namespace

void registerGroupQueryAttention(Registry &registry) {
  registry.add(
      kMicrosoftDomain,
      {{"GroupQueryAttention", 1, 1, 16, convertGroupQueryAttention,
        "caches of floats of 8 bits; scores beside sliding_window_cache"}});
}

} // namespace qcc::onnx_import
