//===- GemmTest.cpp - f32 matrix products on x86 ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// relu(A * B + bias) with a constant B.
struct Gemm {
  int64_t m, k, n;
  bool transposed, dynamic;

  std::vector<Dim> lhs() const {
    return {dynamic ? Dim(m, "s0") : Dim(m), Dim(k)};
  }
  std::vector<Dim> rhs() const {
    return transposed ? std::vector<Dim>{n, k} : std::vector<Dim>{k, n};
  }
  std::vector<Dim> result() const {
    return {dynamic ? Dim(m, "s0") : Dim(m), Dim(n)};
  }
  std::string text() const {
    std::string a = tensor(lhs(), "f32"), b = tensor(rhs(), "f32"),
                c = tensor(result(), "f32"), bias = tensor({n}, "f32");
    std::string body =
        "  %p = qcc.matmul %0, %1" +
        std::string(transposed ? " {trans_b}" : "") + " : (" + a + ", " + b +
        ") -> " + c + "\n  %e = qcc.generic none ins(%p, %2 : " + c + ", " +
        bias +
        ") maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> "
        "(d1)>] {\n  ^bb1(%x: f32, %y: f32):\n    %s = arith.addf %x, %y : "
        "f32\n    %z = arith.constant 0.0 : f32\n    %r = arith.maximumf %s, "
        "%z : f32\n    qcc.yield %r : f32\n  } -> " +
        c + "\n";
    return kernelText({a, b, bias}, body, "%e", c);
  }
};

void check(const X86 &x86, const std::string &levels, const Gemm &gemm,
           uint64_t seed) {
  SCOPED_TRACE(levels + " m " + std::to_string(gemm.m) + " k " +
               std::to_string(gemm.k) + " n " + std::to_string(gemm.n));
  LoadedKernel kernel(gemm.text(), x86.target(), x86.parse(levels), {1});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "gemm.f32");
  Random random(seed + 1);
  std::vector<float> a = random.floats(gemm.m * gemm.k, -1, 1),
                     b = random.floats(gemm.k * gemm.n, -1, 1),
                     bias = random.floats(gemm.n, -1, 1);
  auto run = [&](bool atEnd, int64_t parts) {
    return kernel.run({toBytes(a), toBytes(b), toBytes(bias)},
                      {size_t(gemm.m * gemm.n) * 4}, {gemm.m}, atEnd, parts)[0];
  };
  Bytes bytes = run(true, 1);
  std::vector<float> c = fromBytes<float>(bytes);
  for (int64_t i = 0; i < gemm.m; ++i)
    for (int64_t j = 0; j < gemm.n; ++j) {
      double sum = bias[j], magnitude = std::abs(sum);
      for (int64_t k = 0; k < gemm.k; ++k) {
        double product = double(a[i * gemm.k + k]) *
                         b[gemm.transposed ? j * gemm.k + k : k * gemm.n + j];
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_LE(relative(c[i * gemm.n + j], std::max(sum, 0.0), magnitude),
                kSumBound)
          << i << ", " << j;
    }
  EXPECT_EQ(bytes, run(false, 3)) << "alignment or split of tasks";
}

} // namespace

TEST(GemmTest, AgreesWithTheOracleOnRandomShapes) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed);
    Gemm gemm{random.range(1, 40), random.range(1, 130), random.range(1, 180),
              random.range(0, 1) != 0, random.range(0, 1) != 0};
    check(x86, x86.levels()[seed % x86.levels().size()], gemm, seed);
  }
}

TEST(GemmTest, AgreesWithTheOracleForFewRows) {
  // Several panels in a tile, the last tile with fewer, and sums in blocks.
  X86 x86;
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (int64_t rows : {1, 2, 3}) {
      Random random(++seed + 500);
      check(x86, levels,
            {rows, random.range(1, 200), random.range(1, 200), seed % 2 == 0,
             false},
            seed);
      check(x86, levels, {rows, 5001, 72, seed % 2 == 0, false}, seed);
    }
}

TEST(GemmTest, CutsALongReduction) {
  X86 x86;
  for (const std::string &levels : x86.levels())
    check(x86, levels, {9, 9001, 20, false, true}, 1);
}

TEST(GemmTest, RowsDoNotDependOnEachOther) {
  X86 x86;
  for (const std::string &levels : x86.levels()) {
    Gemm gemm{23, 300, 70, false, true};
    LoadedKernel kernel(gemm.text(), x86.target(), x86.parse(levels), {1});
    ASSERT_TRUE(kernel.ok());
    Random random(7);
    std::vector<float> a = random.floats(gemm.m * gemm.k, -1, 1),
                       b = random.floats(gemm.k * gemm.n, -1, 1),
                       bias = random.floats(gemm.n, -1, 1);
    std::vector<float> all = fromBytes<float>(
        kernel.run({toBytes(a), toBytes(b), toBytes(bias)},
                   {size_t(gemm.m * gemm.n) * 4}, {gemm.m})[0]);
    // Nor on whether their number was known.
    Gemm single{1, gemm.k, gemm.n, false, false};
    LoadedKernel known(single.text(), x86.target(), x86.parse(levels), {1});
    ASSERT_TRUE(known.ok());
    for (int64_t row : {0, 5, 22}) {
      std::vector<float> one(a.begin() + row * gemm.k,
                             a.begin() + (row + 1) * gemm.k);
      for (LoadedKernel *each : {&kernel, &known}) {
        std::vector<float> alone = fromBytes<float>(
            each->run({toBytes(one), toBytes(b), toBytes(bias)},
                      {size_t(gemm.n) * 4}, {1})[0]);
        EXPECT_TRUE(
            std::equal(alone.begin(), alone.end(), all.begin() + row * gemm.n))
            << levels << " row " << row;
      }
    }
  }
}

namespace {
/// A * B + C of activations, with a batch that broadcasts.
struct BatchGemm {
  int64_t outer, inner, m, k, n;
  int lhsBatch, rhsBatch; ///< 0: [outer, inner], 1: [1, inner], 2: none
  bool transposeA, transposeB, dynamic;

  std::vector<Dim> operand(int batch, const Dim &rows,
                           const Dim &columns) const {
    return batchDims({outer, inner}, batch, rows, columns, dynamic);
  }
  Dim dm() const { return {m, "s0"}; }
  Dim dn() const { return {n, "s1"}; }
  Dim dk() const { return {k, "s2"}; }
  std::vector<Dim> lhs() const {
    return transposeA ? operand(lhsBatch, dk(), dm())
                      : operand(lhsBatch, dm(), dk());
  }
  std::vector<Dim> rhs() const {
    return transposeB ? operand(rhsBatch, dn(), dk())
                      : operand(rhsBatch, dk(), dn());
  }
  std::vector<Dim> result() const { return operand(0, dm(), dn()); }
  std::string text() const {
    std::string a = tensor(lhs(), "f32"), b = tensor(rhs(), "f32"),
                c = tensor(result(), "f32");
    std::string flags = transposeA && transposeB ? " {trans_a, trans_b}"
                        : transposeA             ? " {trans_a}"
                        : transposeB             ? " {trans_b}"
                                                 : "";
    std::string map = "affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>";
    std::string body = "  %p = qcc.matmul %0, %1" + flags + " : (" + a + ", " +
                       b + ") -> " + c +
                       "\n  %e = qcc.generic none ins(%p, %2 : " + c + ", " +
                       c + ") maps [" + map + ", " + map +
                       "] {\n  ^bb1(%x: f32, %y: f32):\n    %s = arith.addf "
                       "%x, %y : f32\n    qcc.yield %s : f32\n  } -> " +
                       c + "\n";
    return kernelText({a, b, c}, body, "%e", c);
  }
};
} // namespace

static void checkBatch(const X86 &x86, const std::string &levels,
                       const BatchGemm &g, uint64_t seed) {
  LoadedKernel kernel(g.text(), x86.target(), x86.parse(levels), {});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "batch_gemm.f32");
  Random random(seed + 1);
  std::vector<float> a = random.floats(count(g.lhs()), -1, 1),
                     b = random.floats(count(g.rhs()), -1, 1),
                     c = random.floats(count(g.result()), -1, 1);
  Bytes bytes =
      kernel.run({toBytes(a), toBytes(b), toBytes(c)},
                 {size_t(count(g.result())) * 4}, {g.m, g.n, g.k}, seed % 2)[0];
  std::vector<float> r = fromBytes<float>(bytes);
  auto matrix = [&](int mode, int64_t outer, int64_t inner) {
    return mode == 2 ? 0 : (mode == 1 ? 0 : outer) * g.inner + inner;
  };
  for (int64_t at = 0; at < count(g.result()); ++at) {
    int64_t j = at % g.n, i = at / g.n % g.m, p = at / g.n / g.m;
    const float *x =
        &a[matrix(g.lhsBatch, p / g.inner, p % g.inner) * g.m * g.k];
    const float *y =
        &b[matrix(g.rhsBatch, p / g.inner, p % g.inner) * g.k * g.n];
    double sum = c[at], magnitude = std::abs(sum);
    for (int64_t k = 0; k < g.k; ++k) {
      double product = double(x[g.transposeA ? k * g.m + i : i * g.k + k]) *
                       y[g.transposeB ? j * g.k + k : k * g.n + j];
      sum += product;
      magnitude += std::abs(product);
    }
    ASSERT_LE(relative(r[at], sum, magnitude), kSumBound)
        << "element " << at << "\n"
        << g.text();
  }
}

TEST(BatchGemmTest, AgreesWithTheOracleOnRandomShapes) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed);
    BatchGemm g{random.range(1, 3),
                random.range(1, 3),
                random.range(1, 50),
                random.range(1, 60),
                random.range(1, 90),
                int(random.range(0, 2)),
                0,
                random.range(0, 1) != 0,
                random.range(0, 1) != 0,
                random.range(0, 1) != 0};
    if (g.lhsBatch == 0)
      g.rhsBatch = int(random.range(0, 2));
    if (seed % 6 == 0)
      g.k = random.range(250, 600);
    checkBatch(x86, x86.levels()[seed % x86.levels().size()], g, seed);
  }
}
