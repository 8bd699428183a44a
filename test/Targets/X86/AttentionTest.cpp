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
                  std::string toType) {
    body += "  " + name + " = qcc.generic none ins(" + from + " : " + fromType +
            ") maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {\n  "
            "^bb1(%x: f32):\n    qcc.yield %x : f32\n  } -> " +
            toType + "\n";
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
  std::string result = tensor(r(), "f32"), maskType = tensor(m(), "f32");
  body += "  %a = qcc.attention " + names[0] + ", " + names[1] + ", " +
          names[2] + (mask ? " mask %3" : "") + " {scale = 0.3 : f32" +
          (causal ? ", causal" : "") + "} : (" + types[0] + ", " + types[1] +
          ", " + types[2] + (mask ? ", " + maskType : "") + ") -> " + result +
          "\n";
  if (mask)
    operands.push_back(maskType);
  std::string yielded = "%a", yieldedType = result;
  if (permuted) {
    yieldedType = tensor(stored(r()), "f32");
    copy("%r", "%a", result, yieldedType);
    yielded = "%r";
  }
  return kernelText(operands, body, yielded, yieldedType);
}

void check(const X86 &x86, const std::string &levels, const Attention &c,
           uint64_t seed) {
  std::string text = c.text();
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "attention.f32");
  Random random(seed + 1);
  std::vector<float> q = random.floats(count(c.q()), -3, 3),
                     k = random.floats(count(c.k()), -1, 1),
                     v = random.floats(count(c.v()), -1, 1),
                     m = random.floats(c.mask ? count(c.m()) : 0, -1, 1);
  for (float &x : m)
    x = x > 0.6f ? -INFINITY : x < -0.8f ? -1e9f : x;
  // A query that sees nothing.
  if (c.mask == 2)
    std::fill_n(m.begin(), c.keys, -INFINITY);
  std::vector<Bytes> inputs{toBytes(q), toBytes(k), toBytes(v)};
  if (c.mask)
    inputs.push_back(toBytes(m));
  std::vector<float> result = fromBytes<float>(
      kernel.run(inputs, {size_t(count(c.r())) * 4},
                 {c.batch, c.queries, c.keys}, seed % 2, 1 + seed % 2)[0]);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t s = 0; s < c.queries; ++s) {
        int64_t g = h / (c.heads / c.keyHeads);
        std::vector<double> score(c.keys);
        double top = -INFINITY, total = 0;
        for (int64_t t = 0; t < c.keys; ++t) {
          double x = 0;
          for (int64_t d = 0; d < c.depth; ++d)
            x += double(q[c.at(b, h, s, d, c.heads, c.queries, c.depth)]) *
                 k[c.at(b, g, t, d, c.keyHeads, c.keys, c.depth)];
          x *= double(0.3f);
          double addend =
              !c.mask
                  ? 0
                  : m[c.mask == 1
                          ? b * c.keys + t
                          : ((b * c.heads + h) * c.queries + s) * c.keys + t];
          // -1e9 swallows a score in f32: keys that are masked by it weigh the
          // same where a query sees no others.
          x = addend < -1e8 ? addend : x + addend;
          if (c.causal && t > s + c.keys - c.queries)
            x = -INFINITY;
          score[t] = x;
          top = std::max(top, x);
        }
        for (double &x : score)
          total += x = std::isinf(top) ? 0 : std::exp(x - top);
        for (int64_t e = 0; e < c.width; ++e) {
          double exact = 0;
          for (int64_t t = 0; t < c.keys; ++t)
            exact +=
                score[t] * v[c.at(b, g, t, e, c.keyHeads, c.keys, c.width)];
          exact = total > 0 ? exact / total : 0;
          float got = result[c.at(b, h, s, e, c.heads, c.queries, c.width)];
          ASSERT_LE(relative(got, exact, 1), 4e-6)
              << b << ", " << h << ", " << s << ", " << e;
        }
      }
}

} // namespace

TEST(AttentionTest, AgreesWithTheOracleOnRandomShapes) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Random random(seed);
    int64_t groups = random.range(1, 2), queries = random.range(1, 90);
    Attention c{random.range(1, 2),
                groups * random.range(1, 2),
                groups,
                queries,
                queries + random.range(0, 150),
                random.range(1, 70),
                random.range(1, 70),
                int(seed % 3),
                random.range(0, 1) != 0,
                random.range(0, 1) != 0,
                random.range(0, 1) != 0};
    check(x86, x86.levels()[seed % x86.levels().size()], c, seed);
  }
}
