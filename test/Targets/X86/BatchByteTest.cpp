//===- BatchByteTest.cpp - exact products of activations on x86 -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// What follows the sums: nothing, a scale and a bias per column that is added
/// in f32, or a function of them.
enum class After { Nothing, Sum, Function };

/// A * B of codes, with a batch that broadcasts.
struct Product {
  int64_t outer, inner, m, k, n;
  int lhsBatch, rhsBatch; ///< 0: [outer, inner], 1: [1, inner], 2: none
  bool lhsUnsigned, rhsUnsigned, lhsZero, rhsZero, dynamic;
  After after;

  std::vector<Dim> operand(int batch, const Dim &rows,
                           const Dim &columns) const {
    return batchDims({outer, inner}, batch, rows, columns, dynamic);
  }
  Dim dm() const { return {m, "s0"}; }
  Dim dn() const { return {n, "s1"}; }
  Dim dk() const { return {k, "s2"}; }
  std::vector<Dim> lhs() const { return operand(lhsBatch, dm(), dk()); }
  std::vector<Dim> rhs() const { return operand(rhsBatch, dk(), dn()); }
  std::vector<Dim> result() const { return operand(0, dm(), dn()); }
  static std::string element(bool isUnsigned) {
    return isUnsigned ? "ui8" : "i8";
  }
  std::string text() const;
};

std::string Product::text() const {
  std::vector<std::string> operands{tensor(lhs(), element(lhsUnsigned)),
                                    tensor(rhs(), element(rhsUnsigned))};
  std::string types = operands[0] + ", " + operands[1], zeros;
  auto addZero = [&](const std::string &name, bool isUnsigned) {
    zeros += " " + name + " %" + std::to_string(operands.size());
    operands.push_back("tensor<" + element(isUnsigned) + ">");
    types += ", " + operands.back();
  };
  if (lhsZero)
    addZero("lhs_zero", lhsUnsigned);
  if (rhsZero)
    addZero("rhs_zero", rhsUnsigned);
  std::string sums = tensor(result(), "i32");
  std::string body = "  %c = qcc.int_matmul %0, %1" + zeros + " : (" + types +
                     ") -> " + sums + "\n";
  if (after == After::Nothing)
    return kernelText(operands, body, "%c", sums);
  std::string y = tensor(result(), "f32"),
              bias = tensor({result().back()}, "f32"),
              function = after == After::Function
                             ? "    %v = math.tanh %t : f32\n"
                             : "    %v = arith.addf %t, %t : f32\n";
  body += "  %e = qcc.generic none ins(%c, %" +
          std::to_string(operands.size()) + " : " + sums + ", " + bias +
          ") maps [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, "
          "affine_map<(d0, d1, d2, d3) -> (d3)>] {\n"
          "  ^bb1(%p: i32, %q: f32):\n"
          "    %s = arith.constant 0.00001 : f32\n"
          "    %f = arith.sitofp %p : i32 to f32\n"
          "    %t = arith.mulf %f, %s : f32\n" +
          function +
          "    %u = arith.addf %v, %q : f32\n"
          "    qcc.yield %u : f32\n  } -> " +
          y + "\n";
  operands.push_back(bias);
  return kernelText(operands, body, "%e", y);
}

int64_t read(char byte, bool isUnsigned) {
  return isUnsigned ? int64_t(uint8_t(byte)) : int64_t(int8_t(byte));
}

void check(const X86 &x86, const std::string &levels, const Product &g,
           uint64_t seed) {
  SCOPED_TRACE(levels + "\n" + g.text());
  LoadedKernel kernel(g.text(), x86.target(), x86.parse(levels), {});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "batch_dot.int8");
  Random random(seed + 1);
  Bytes a = randomBytes(random, size_t(count(g.lhs()))),
        b = randomBytes(random, size_t(count(g.rhs()))),
        points = randomBytes(random, 2);
  std::vector<Bytes> inputs{a, b};
  if (g.lhsZero)
    inputs.push_back({points[0]});
  if (g.rhsZero)
    inputs.push_back({points[1]});
  std::vector<float> bias = random.floats(size_t(g.n), -1, 1);
  if (g.after != After::Nothing)
    inputs.push_back(toBytes(bias));
  Bytes bytes = kernel.run(inputs, {size_t(count(g.result())) * 4},
                           {g.m, g.n, g.k}, seed % 2, 1 + int64_t(seed % 3))[0];
  std::vector<int32_t> sums = fromBytes<int32_t>(bytes);
  std::vector<float> floats = fromBytes<float>(bytes);
  auto matrix = [&](int mode, int64_t p) {
    return mode == 2 ? 0 : mode == 1 ? p % g.inner : p;
  };
  int64_t y = g.lhsZero ? read(points[0], g.lhsUnsigned) : 0,
          z = g.rhsZero ? read(points[1], g.rhsUnsigned) : 0;
  for (int64_t at = 0; at < count(g.result()); ++at) {
    int64_t j = at % g.n, i = at / g.n % g.m, p = at / g.n / g.m, sum = 0;
    const char *row = &a[size_t((matrix(g.lhsBatch, p) * g.m + i) * g.k)],
               *column = &b[size_t(matrix(g.rhsBatch, p) * g.k * g.n + j)];
    for (int64_t k = 0; k < g.k; ++k)
      sum += (read(row[k], g.lhsUnsigned) - y) *
             (read(column[k * g.n], g.rhsUnsigned) - z);
    if (g.after == After::Nothing) {
      ASSERT_EQ(sums[size_t(at)], sum) << "element " << at;
      continue;
    }
    double scaled = double(sum) * 0.00001;
    double exact = g.after == After::Function ? std::tanh(scaled) : 2 * scaled;
    ASSERT_NEAR(floats[size_t(at)], exact + bias[size_t(j)],
                1e-6 * (std::abs(exact) + 2))
        << "element " << at;
  }
}

Product randomProduct(Random &random) {
  Product g{random.range(1, 3),
            random.range(1, 3),
            random.range(1, 50),
            random.range(1, 90),
            random.range(1, 150),
            int(random.range(0, 2)),
            0,
            random.range(0, 1) != 0,
            random.range(0, 1) != 0,
            random.range(0, 2) != 0,
            random.range(0, 2) != 0,
            random.range(0, 1) != 0,
            After(random.range(0, 2))};
  if (g.lhsBatch == 0)
    g.rhsBatch = int(random.range(0, 2));
  return g;
}

} // namespace

TEST(BatchByteTest, IsExactOnRandomShapes) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed);
    check(x86, x86.levels()[size_t(seed) % x86.levels().size()],
          randomProduct(random), uint64_t(seed));
  }
}

TEST(BatchByteTest, IsExactInBlocksOfRowsAndTasks) {
  // More of the inner dimension than is packed at once, rows and columns of
  // several tasks, and whole steps and vectors only.
  X86 x86;
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Random random(seed + 1000);
    Product g = randomProduct(random);
    g.outer = 1;
    g.inner = random.range(1, 2);
    if (seed % 3 == 0)
      g.k = random.range(500, 1100);
    if (seed % 3 == 1)
      g.m = random.range(120, 270);
    if (seed % 2)
      g.n = 16 * random.range(1, 17);
    if (seed % 4 == 2)
      g.k = 4 * random.range(1, 40);
    check(x86, x86.levels()[size_t(seed) % x86.levels().size()], g,
          uint64_t(seed));
  }
}

TEST(BatchByteTest, TakesWhatHasNoElements) {
  X86 x86;
  for (int64_t Product::*size : {&Product::m, &Product::k, &Product::n}) {
    Product g{
        1, 2, 3, 5, 17, 0, 0, true, true, true, true, true, After::Nothing};
    g.*size = 0;
    for (const std::string &levels : x86.levels())
      check(x86, levels, g, 7);
  }
}
