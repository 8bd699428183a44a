//===- AttentionTest.cpp - attention on x86 ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

struct Attention {
  int64_t batch, heads, keyHeads, queries, keys, depth, width;
  int mask; ///< 0: none, 1: [B, 1, 1, T], 2: [B, H, S, T]
  bool causal;
  bool permuted; ///< heads stand before the last dimension in memory
  bool dynamic;
  bool int8 = false;
  bool doubled = false; ///< with `permuted`: the result is, behind it
  bool band = false;    ///< the mask lets each query see some keys in a row
  float softcap = 0;    ///< 0: none
  bool sink = false;    ///< one more score for each head

  std::vector<Dim> shape(int64_t h, Dim length, int64_t last) const {
    Dim b(batch, dynamic ? "s0" : "");
    if (!dynamic)
      length.symbol = "";
    return {b, h, length, last};
  }
  std::vector<Dim> stored(std::vector<Dim> dims) const {
    if (permuted)
      std::swap(dims[1], dims[2]);
    return dims;
  }
  std::vector<Dim> q() const { return shape(heads, {queries, "s1"}, depth); }
  std::vector<Dim> k() const { return shape(keyHeads, {keys, "s2"}, depth); }
  std::vector<Dim> v() const { return shape(keyHeads, {keys, "s2"}, width); }
  std::vector<Dim> r() const { return shape(heads, {queries, "s1"}, width); }
  std::vector<Dim> m() const {
    Dim t(keys, dynamic ? "s2" : ""), s(queries, dynamic ? "s1" : ""),
        b(batch, dynamic ? "s0" : "");
    return mask == 1 ? std::vector<Dim>{b, 1, 1, t}
                     : std::vector<Dim>{b, heads, s, t};
  }
  std::string text() const;
  int64_t at(int64_t b, int64_t h, int64_t s, int64_t d, int64_t hs, int64_t ss,
             int64_t ds) const {
    return permuted ? ((b * ss + s) * hs + h) * ds + d
                    : ((b * hs + h) * ss + s) * ds + d;
  }
};

std::string Attention::text() const {
  std::string body;
  auto copy = [&](std::string name, std::string from, std::string fromType,
                  std::string toType, bool twice = false) {
    body +=
        "  " + name + " = qcc.generic none ins(" + from + " : " + fromType +
        ") maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {\n  "
        "^bb1(%x: f32):\n" +
        (twice ? "    %y = arith.addf %x, %x : f32\n    qcc.yield %y : f32\n"
               : "    qcc.yield %x : f32\n") +
        "  } -> " + toType + "\n";
  };
  std::vector<std::string> types;
  for (auto dims : {q(), k(), v()})
    types.push_back(tensor(dims, "f32"));
  std::vector<std::string> operands;
  for (auto dims : {q(), k(), v()})
    operands.push_back(tensor(stored(dims), "f32"));
  std::vector<std::string> names{"%0", "%1", "%2"};
  if (permuted)
    for (int i : {0, 1, 2}) {
      std::string name = "%p" + std::to_string(i);
      copy(name, names[i], operands[i], types[i]);
      names[i] = name;
    }
  std::string result = tensor(r(), "f32"), maskType = tensor(m(), "f32"),
              sinkType = tensor({heads}, "f32");
  body +=
      "  %a = qcc.attention " + names[0] + ", " + names[1] + ", " + names[2] +
      (mask ? " mask %3" : "") +
      (sink ? std::string(" sink ") + (mask ? "%4" : "%3") : "") +
      " {scale = 0.3 : f32" +
      (softcap > 0 ? ", softcap = " + std::to_string(softcap) + " : f32" : "") +
      (causal ? ", causal" : "") + (int8 ? ", int8" : "") + "} : (" + types[0] +
      ", " + types[1] + ", " + types[2] + (mask ? ", " + maskType : "") +
      (sink ? ", " + sinkType : "") + ") -> " + result + "\n";
  if (mask)
    operands.push_back(maskType);
  if (sink)
    operands.push_back(sinkType);
  std::string yielded = "%a", yieldedType = result;
  if (permuted) {
    yieldedType = tensor(stored(r()), "f32");
    copy("%r", "%a", result, yieldedType, doubled);
    yielded = "%r";
  }
  return kernelText(operands, body, yielded, yieldedType);
}

/// Numbers `first + i * step` as the operation's codes with their scale.
struct Codes {
  Codes(const std::vector<float> &numbers, int64_t first, int64_t step,
        int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; ++i)
      largest = std::max(largest, std::fabs(numbers[first + i * step]));
    for (int64_t i = 0; i < count; ++i)
      codes.push_back(
          largest < 0x1p-120f
              ? 0
              : std::nearbyint(numbers[first + i * step] * (127.0f / largest)));
    scale = largest < 0x1p-120f ? 0 : largest / 127.0f;
  }
  std::vector<double> codes;
  double scale;
};

/// Inputs of an attention.
struct Inputs {
  Inputs(const Attention &c, uint64_t seed) : c(c) {
    Random random(seed + 1);
    q = random.floats(count(c.q()), -3, 3);
    k = random.floats(count(c.k()), -1, 1);
    v = random.floats(count(c.v()), -1, 1);
    m = random.floats(c.mask ? count(c.m()) : 0, -1, 1);
    sinks = random.floats(c.sink ? c.heads : 0, -4, 4);
    for (float &x : m)
      x = x > 0.6f ? -INFINITY : x < -0.8f ? -1e9f : x;
    for (size_t i = 0; c.band && i < m.size(); ++i) {
      int64_t s = int64_t(i) / c.keys % c.queries, t = int64_t(i) % c.keys;
      if (std::abs(t - s * c.keys / c.queries) > 30)
        m[i] = -INFINITY;
    }
    // A query that sees nothing.
    if (c.mask == 2)
      std::fill_n(m.begin(), c.keys, -INFINITY);
    // One of zeros, and one of numbers that are next to that.
    if (c.int8 && c.queries > 2)
      for (int64_t d = 0; d < c.depth; ++d) {
        q[c.at(0, 0, 1, d, c.heads, c.queries, c.depth)] = 0;
        q[c.at(0, 0, 2, d, c.heads, c.queries, c.depth)] *= 1e-41f;
      }
  }
  int64_t group(int64_t h) const { return h / (c.heads / c.keyHeads); }
  double mask(int64_t b, int64_t h, int64_t s, int64_t t, double x) const;
  double product(int64_t b, int64_t h, int64_t s, int64_t t) const;
  double score(int64_t b, int64_t h, int64_t s, int64_t t) const;

  const Attention &c;
  std::vector<float> q, k, v, m, sinks;
};

/// A score after the mask.
double Inputs::mask(int64_t b, int64_t h, int64_t s, int64_t t,
                    double x) const {
  double addend =
      !c.mask
          ? 0
          : m[c.mask == 1 ? b * c.keys + t
                          : ((b * c.heads + h) * c.queries + s) * c.keys + t];
  // -1e9 swallows a score in f32: keys that are masked by it weigh the same
  // where a query sees no others.
  x = addend < -1e8 ? addend : x + addend;
  return c.causal && t > s + c.keys - c.queries ? -INFINITY : x;
}

/// A query times a key, with codes if the operation has them.
double Inputs::product(int64_t b, int64_t h, int64_t s, int64_t t) const {
  int64_t query = c.at(b, h, s, 0, c.heads, c.queries, c.depth),
          key = c.at(b, group(h), t, 0, c.keyHeads, c.keys, c.depth);
  double sum = 0;
  if (c.int8) {
    Codes x(q, query, 1, c.depth), y(k, key, 1, c.depth);
    for (int64_t d = 0; d < c.depth; ++d)
      sum += x.codes[d] * y.codes[d];
    return sum * x.scale * y.scale;
  }
  for (int64_t d = 0; d < c.depth; ++d)
    sum += double(q[query + d]) * k[key + d];
  return sum;
}

/// What the softmax reads.
double Inputs::score(int64_t b, int64_t h, int64_t s, int64_t t) const {
  double scaled = double(0.3f) * product(b, h, s, t), cap = c.softcap;
  return mask(b, h, s, t, cap > 0 ? cap * std::tanh(scaled / cap) : scaled);
}

/// What one query gives, and how much of it is a matter of rounding.
struct Expected {
  std::vector<double> values;
  double slack = 0;
};

Expected expectFloats(const Inputs &in, const std::vector<double> &score,
                      int64_t b, int64_t h) {
  const Attention &c = in.c;
  double top = *std::max_element(score.begin(), score.end()), total = 0;
  if (c.sink) {
    top = std::max(top, double(in.sinks[h]));
    total = std::exp(in.sinks[h] - top);
  }
  Expected result{std::vector<double>(c.width)};
  for (int64_t t = 0; t < c.keys; ++t) {
    double weight = std::isinf(top) ? 0 : std::exp(score[t] - top);
    total += weight;
    for (int64_t e = 0; e < c.width; ++e)
      result.values[e] +=
          weight *
          in.v[c.at(b, in.group(h), t, e, c.keyHeads, c.keys, c.width)];
  }
  for (double &x : result.values)
    x = total > 0 ? x / total : 0;
  return result;
}

Expected expectBytes(const Inputs &in, const std::vector<double> &score,
                     int64_t b, int64_t h) {
  const Attention &c = in.c;
  double top = *std::max_element(score.begin(), score.end()), total = 0,
         unsure = 0;
  if (c.sink) {
    top = std::max(top, double(in.sinks[h]));
    total = 255 * std::exp(in.sinks[h] - top);
  }
  Expected result{std::vector<double>(c.width)};
  for (int64_t first = 0; first < c.keys; first += 128) {
    int64_t keys = std::min<int64_t>(128, c.keys - first);
    double most =
        *std::max_element(score.begin() + first, score.begin() + first + keys);
    if (std::isinf(most))
      continue;
    double factor = std::exp(most - top);
    std::vector<double> weights;
    for (int64_t t = first; t < first + keys; ++t) {
      double exact = 255 * std::exp(score[t] - most);
      weights.push_back(std::nearbyint(exact));
      total += factor * weights.back();
      // Either code is right next to the middle.
      if (std::fabs(exact - std::floor(exact) - 0.5) < 2e-3)
        unsure += factor;
    }
    int64_t step = c.at(0, 0, 1, 0, c.keyHeads, c.keys, c.width);
    for (int64_t e = 0; e < c.width; ++e) {
      Codes column(in.v,
                   c.at(b, in.group(h), first, e, c.keyHeads, c.keys, c.width),
                   step, keys);
      double sum = 0;
      for (int64_t t = 0; t < keys; ++t)
        sum += weights[t] * column.codes[t];
      result.values[e] += factor * column.scale * sum;
    }
  }
  for (double &x : result.values)
    x = total > 0 ? x / total : 0;
  result.slack = total > 0 ? 2.02 * unsure / total : 0;
  return result;
}

void check(const X86 &x86, const std::string &levels, const Attention &c,
           uint64_t seed) {
  std::string text = c.text();
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), c.int8 ? "attention.int8" : "attention.f32");
  Inputs in(c, seed);
  std::vector<Bytes> inputs{toBytes(in.q), toBytes(in.k), toBytes(in.v)};
  if (c.mask)
    inputs.push_back(toBytes(in.m));
  if (c.sink)
    inputs.push_back(toBytes(in.sinks));
  std::vector<float> result = fromBytes<float>(
      kernel.run(inputs, {size_t(count(c.r())) * 4},
                 {c.batch, c.queries, c.keys}, seed % 2, 1 + seed % 2)[0]);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t s = 0; s < c.queries; ++s) {
        std::vector<double> score;
        for (int64_t t = 0; t < c.keys; ++t)
          score.push_back(in.score(b, h, s, t));
        Expected expected =
            (c.int8 ? expectBytes : expectFloats)(in, score, b, h);
        for (int64_t e = 0; e < c.width; ++e) {
          float got = result[c.at(b, h, s, e, c.heads, c.queries, c.width)];
          got *= c.permuted && c.doubled ? 0.5f : 1;
          ASSERT_LE(relative(got, expected.values[e], 1),
                    (c.int8 ? 1e-5 : 4e-6) + expected.slack)
              << b << ", " << h << ", " << s << ", " << e;
        }
      }
}

Attention makeRandom(int seed) {
  Random random(seed);
  int64_t groups = random.range(1, 2), queries = random.range(1, 90);
  return {random.range(1, 2),
          groups * random.range(1, 2),
          groups,
          queries,
          queries + random.range(0, 150),
          random.range(1, 70),
          random.range(1, 70),
          int(seed % 3),
          random.range(0, 1) != 0,
          random.range(0, 1) != 0,
          random.range(0, 1) != 0,
          /*int8=*/false,
          seed % 2 == 0};
}

} // namespace

TEST(AttentionTest, AgreesWithTheOracleOnRandomShapes) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(12); ++seed)
    check(x86, x86.levels()[seed % x86.levels().size()], makeRandom(seed),
          seed);
}

TEST(AttentionTest, AgreesWithTheOracleForFewQueries) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  // The last task of some has few, that of others has not.
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (int64_t queries : {1, 3, 4, 66}) {
      Random random(++seed);
      int64_t depths[] = {1, 7, 16, 64, 100},
              depth = depths[random.range(0, 4)];
      int64_t keys = queries + random.range(0, 200);
      check(x86, levels,
            {1, 2, random.range(1, 2), queries, keys, depth,
             random.range(1, 70), seed % 3, seed % 4 == 0, seed % 5 < 2,
             seed % 2 == 0},
            seed);
    }
}

TEST(AttentionTest, AgreesWithTheOracleInInt8) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Attention c = makeRandom(seed);
    c.int8 = true;
    check(x86, x86.levels()[seed % x86.levels().size()], c, seed);
  }
  // Several tasks and blocks of keys, and widths of several tiles.
  Attention long_{1, 1, 1, 300, 300, 72, 100, 0, true, true, true, true};
  check(x86, x86.levels().back(), long_, 1);
}

TEST(AttentionTest, AgreesWithTheOracleForCappedScores) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (float cap : {0.5f, 2.0f, 50.0f})
      for (bool int8 : {false, true}) {
        Attention c = makeRandom(++seed);
        c.softcap = cap;
        c.int8 = int8;
        check(x86, levels, c, seed);
      }
}

TEST(AttentionTest, AgreesWithTheOracleForSinks) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (int i = 0; i < 8; ++i) {
      Attention c = makeRandom(++seed);
      c.sink = true;
      c.int8 = i % 2 != 0;
      c.softcap = i % 4 > 1 ? 2 : 0;
      check(x86, levels, c, seed);
    }
}

TEST(AttentionTest, LeavesOutBlocksThatNoQuerySees) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  auto make = [](int64_t queries, int64_t keys, int mask, bool causal,
                 bool dynamic) {
    return Attention{2,    2,      1,     queries, keys,  20,    24,
                     mask, causal, false, dynamic, false, false, mask != 0};
  };
  std::vector<Attention> cases = {
      make(100, 400, 2, false, true), make(100, 400, 2, true, false),
      make(1, 400, 2, false, true),   make(1, 400, 1, false, true),
      make(90, 260, 0, true, true),   make(160, 130, 0, true, false),
      make(90, 260, 1, true, true)};
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (Attention c : cases) {
      c.int8 = seed % 2 != 0;
      check(x86, levels, c, seed++);
    }
}
