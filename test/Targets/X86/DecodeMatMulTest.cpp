//===- DecodeMatMulTest.cpp - products with decoded weights -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "qcc/Scheme/Scheme.h"
#include "gtest/gtest.h"
#include <cctype>
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// One product of f32 activations with a weight in a scheme.
class Product {
public:
  Product(const std::string &key, int64_t m, int64_t k, int64_t n, bool dynamic,
          uint64_t seed);
  std::string text(const std::string &epilogue = "") const;
  /// What is promised: products with the rounded weight, each added in one
  /// rounding in ascending order of k.
  std::vector<float> getExact() const;

  int64_t m, k, n;
  bool dynamic;
  std::vector<float> x, rounded;
  Bytes encoded;

private:
  mlir::MLIRContext context;
  const Scheme *scheme = nullptr;
};

Product::Product(const std::string &key, int64_t m, int64_t k, int64_t n,
                 bool dynamic, uint64_t seed)
    : m(m), k(k), n(n), dynamic(dynamic), rounded(k * n),
      context(mlir::MLIRContext::Threading::DISABLED) {
  mlir::DialectRegistry registry;
  registry.insert<QCCDialect>();
  registerSchemes(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  scheme = llvm::cantFail(getSchemes(&context).find(key));
  Random random(seed + 1);
  x = random.floats(m * k, -2, 2);
  std::vector<float> w = random.floats(k * n, -1, 1);
  // A column of zeros, one of one sign, one of tiny numbers.
  for (int64_t i = 0; i < k; ++i) {
    if (n > 1)
      w[i * n + 1] = 0;
    if (n > 2)
      w[i * n + 2] = std::fabs(w[i * n + 2]);
    if (n > 3)
      w[i * n + 3] *= 1e-6f;
  }
  Bytes bytes = toBytes(w);
  encoded.resize(getEncodedLayout(*scheme, k, n)->totalBytes);
  EXPECT_EQ(llvm::toString(encodeWeight(*scheme, {k, n, bytes}, encoded)), "");
  EXPECT_EQ(llvm::toString(roundWeight(*scheme, {k, n, bytes}, rounded)), "");
}

std::string Product::text(const std::string &epilogue) const {
  Dim rows = dynamic ? Dim(m, "s0") : Dim(m);
  std::string in = tensor({rows, k}, "f32"),
              weight = tensor({int64_t(encoded.size())}, "i8"),
              result = tensor({rows, n}, "f32");
  std::string body = "  %p = qcc.qmatmul (%0), %1 <\"" +
                     scheme->getKey().str() +
                     "\", group = " + std::to_string(scheme->getGroup()) +
                     ", symmetric = " + (scheme->getZero() ? "true" : "false") +
                     "> {n = " + std::to_string(n) + " : i64} : (" + in + ", " +
                     weight + ") -> " + result + "\n";
  return kernelText({in, weight}, body, "%p", result);
}

std::vector<float> Product::getExact() const {
  std::vector<float> result(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t r = 0; r < k; ++r)
        sum = std::fma(x[i * k + r], rounded[r * n + j], sum);
      result[i * n + j] = sum;
    }
  return result;
}

/// At each of `allLevels`.
void check(const X86 &x86, llvm::ArrayRef<std::string> allLevels,
           const std::string &key, int64_t m, int64_t k, int64_t n,
           bool dynamic, uint64_t seed) {
  Product product(key, m, k, n, dynamic, seed);
  std::vector<float> exact = product.getExact();
  for (const std::string &levels : allLevels) {
    SCOPED_TRACE(key + " " + levels + " m " + std::to_string(m) + " k " +
                 std::to_string(k) + " n " + std::to_string(n) +
                 (dynamic ? " dynamic" : ""));
    LoadedKernel kernel(product.text(), x86.target(), x86.parse(levels), {1});
    ASSERT_TRUE(kernel.ok());
    EXPECT_EQ(kernel.getEmitter(), "gemm.decode");
    Bytes result =
        kernel.run({toBytes(product.x), product.encoded}, {size_t(m * n) * 4},
                   {m}, seed % 2, 1 + int64_t(seed % 3))[0];
    // Equal bits at every level and for every number of rows.
    std::vector<float> values = fromBytes<float>(result);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], exact[i]) << "element " << i;
  }
}

const char *const kPrecisions[] = {"w4a16",
                                   "w4a16:g32",
                                   "w4a16:g32:sym",
                                   "w4a16:channel",
                                   "w8a16",
                                   "w8a16:g64:asym",
                                   "w3a16",
                                   "w3a16:g32",
                                   "w3a16:channel",
                                   "w2a16",
                                   "w2a16:g32:sym",
                                   "w6a16",
                                   "w6a16:g16:sym-mid",
                                   "fp8",
                                   "fp8:g32",
                                   "fp8-e5m2",
                                   "fp8:tensor",
                                   "nf4",
                                   "nf4:g32",
                                   "nf4:channel",
                                   "w4a16:tensor:sym-narrow:clip",
                                   "bf16"};

class DecodeMatMulTest : public testing::TestWithParam<size_t> {};

std::string getName(const testing::TestParamInfo<size_t> &info) {
  std::string name = kPrecisions[info.param];
  for (char &c : name)
    c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

} // namespace

INSTANTIATE_TEST_SUITE_P(Precisions, DecodeMatMulTest,
                         testing::Range(size_t(0), std::size(kPrecisions)),
                         getName);

TEST_P(DecodeMatMulTest, BitsAreThoseOfTheDecodedWeight) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  // Shapes of its own for each level, which compile faster than the same for
  // all; four for each precision, so that it is tried at every level.
  size_t shapes = size_t(getShapeCount(88)), step = std::size(kPrecisions);
  for (size_t i = GetParam(), round = 0; i < shapes; i += step, ++round) {
    uint64_t seed = i + round;
    Random random(seed);
    int64_t m = random.range(1, seed % 3 ? 40 : 4), k = random.range(1, 300),
            n = random.range(1, 130);
    check(x86, x86.levels()[round % x86.levels().size()],
          kPrecisions[GetParam()], m, k, n, random.range(0, 1), seed);
  }
}

TEST(DecodeMatMul, MoreRowsThanATask) {
  X86 x86;
  check(x86, x86.levels(), "w4a16:g32", 200, 96, 33, true, 1);
}

TEST(DecodeMatMul, SeveralPanelsOfGroups) {
  X86 x86;
  check(x86, x86.levels(), "w4a16:g32", 5, 5000, 17, false, 2);
}

TEST(DecodeMatMul, SeveralPanelsWithoutGroups) {
  X86 x86;
  check(x86, x86.levels(), "w3a16:channel", 7, 4999, 20, true, 3);
}

TEST(DecodeMatMul, SeveralPanelsOfStoredFloats) {
  X86 x86;
  check(x86, x86.levels(), "bf16", 7, 4999, 20, true, 5);
}

TEST(DecodeMatMul, SeveralPanelsOfOneRow) {
  X86 x86;
  check(x86, x86.levels(), "nf4", 1, 5001, 20, true, 4);
}
