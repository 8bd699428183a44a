//===- DecodeMatMulTest.cpp - products with decoded weights -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "qcc/Scheme/Scheme.h"
#include "llvm/ADT/bit.h"
#include "gtest/gtest.h"
#include <cctype>
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// The nearest bfloat16 of a number, ties to even.
float roundToBfloat(float x) {
  auto bits = llvm::bit_cast<uint32_t>(x);
  bits += 0x7fff + ((bits >> 16) & 1);
  return llvm::bit_cast<float>(bits & 0xffff0000u);
}

/// Numbers as bfloat16, which they are.
Bytes toHalves(llvm::ArrayRef<float> numbers) {
  std::vector<uint16_t> halves;
  for (float x : numbers)
    halves.push_back(uint16_t(llvm::bit_cast<uint32_t>(x) >> 16));
  return toBytes(halves);
}

/// One product of activations with a weight in a scheme: in f32, or in bfloat16
/// where the scheme rounds them.
class Product {
public:
  Product(const std::string &key, int64_t m, int64_t k, int64_t n, bool dynamic,
          uint64_t seed);
  /// With `narrow` the result is rounded to bfloat16.
  std::string text(bool narrow = false) const;
  /// What is promised: products with the rounded weight, each added in one
  /// rounding in ascending order of k.
  std::vector<float> getExact() const;
  /// What tiles promise: of each 32 rows of K the products of even rows are
  /// added so, and those of odd ones, then both to the sum.
  std::vector<float> getInTiles() const;
  Bytes getInput() const { return isHalf ? toHalves(x) : toBytes(x); }

  int64_t m, k, n;
  bool dynamic, isHalf;
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
  isHalf = scheme->getTokenFormat() == TokenFormat::BF16;
  for (float &value : x)
    value = isHalf ? roundToBfloat(value) : value;
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

std::string Product::text(bool narrow) const {
  Dim rows = dynamic ? Dim(m, "s0") : Dim(m);
  std::string in = tensor({rows, k}, isHalf ? "bf16" : "f32"),
              weight = tensor({int64_t(encoded.size())}, "i8"),
              result = tensor({rows, n}, "f32");
  std::string body = "  %p = qcc.qmatmul (%0), %1 <\"" +
                     scheme->getKey().str() +
                     "\", group = " + std::to_string(scheme->getGroup()) +
                     ", symmetric = " + (scheme->getZero() ? "true" : "false") +
                     "> {n = " + std::to_string(n) + " : i64} : (" + in + ", " +
                     weight + ") -> " + result + "\n";
  if (!narrow)
    return kernelText({in, weight}, body, "%p", result);
  std::string halves = tensor({rows, n}, "bf16");
  body += "  %h = qcc.generic none ins(%p : " + result +
          ") maps [affine_map<(i, j) -> (i, j)>] {\n  ^bb0(%a: f32):\n"
          "    %t = arith.truncf %a : f32 to bf16\n"
          "    qcc.yield %t : bf16\n  } -> " +
          halves + "\n";
  return kernelText({in, weight}, body, "%h", halves);
}

std::vector<float> Product::getInTiles() const {
  constexpr int64_t tile = 32;
  std::vector<float> result(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t from = 0; from < k; from += tile) {
        float parts[2] = {0, 0};
        for (int64_t r = from; r < std::min(from + tile, k); ++r)
          parts[r % 2] =
              std::fma(x[i * k + r], rounded[r * n + j], parts[r % 2]);
        sum += parts[0] + parts[1];
      }
      result[i * n + j] = sum;
    }
  return result;
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

/// At each of `allLevels`; with the emitter's own schedule or with all that it
/// has.
void check(const X86 &x86, llvm::ArrayRef<std::string> allLevels,
           const std::string &key, int64_t m, int64_t k, int64_t n,
           bool dynamic, uint64_t seed, bool allSchedules = false) {
  Product product(key, m, k, n, dynamic, seed);
  std::vector<float> exact = product.getExact(), inTiles = product.getInTiles();
  for (const std::string &levels : allLevels) {
    bool hasTiles = product.isHalf && x86.parse(levels).back().hasAmx;
    const std::vector<float> &expected = hasTiles ? inTiles : exact;
    size_t choices = 1;
    for (size_t choice = 0; choice < choices; ++choice) {
      LoadedKernel kernel(product.text(), x86.target(), x86.parse(levels), {1},
                          nullptr, choice);
      SCOPED_TRACE(key + " " + levels + " m " + std::to_string(m) + " k " +
                   std::to_string(k) + " n " + std::to_string(n) +
                   (dynamic ? " dynamic " : " ") + kernel.getSchedule());
      ASSERT_TRUE(kernel.ok());
      EXPECT_EQ(kernel.getEmitter(), "gemm.decode");
      if (allSchedules)
        choices = kernel.getNumChoices();
      Bytes result =
          kernel.run({product.getInput(), product.encoded}, {size_t(m * n) * 4},
                     {m}, seed % 2, 1 + int64_t(seed % 3))[0];
      // Equal bits at every level that has no tiles for them, and for every
      // number of rows.
      std::vector<float> values = fromBytes<float>(result);
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(values[i], expected[i]) << "element " << i;
    }
    EXPECT_TRUE(!allSchedules || hasTiles || choices > 1) << key;
  }
}

const char *const kPrecisions[] = {"w4a16",
                                   "w4a16:g32",
                                   "w4a16:g32:sym",
                                   "w4a16:channel",
                                   "w4a16:g32:f32-scales",
                                   "w8a16",
                                   "w8a16:g64:asym",
                                   "w8a16:g16:asym:f32-scales",
                                   "w3a16",
                                   "w3a16:g32",
                                   "w3a16:channel",
                                   "w2a16",
                                   "w2a16:g32:sym",
                                   "w2a16:g16:f32-scales",
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
                                   "bf16",
                                   "bf16a16"};

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
  size_t shapes = size_t(getShapeCount(100)), step = std::size(kPrecisions);
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

TEST(DecodeMatMul, AllSchedulesGiveTheSameBits) {
  X86 x86;
  const std::string &first = x86.levels().front(), &last = x86.levels().back();
  check(x86, first, "w4a16:g32", 210, 2100, 290, false, 1, true);
  check(x86, last, "w8a16", 7, 5000, 150, true, 2, true);
  check(x86, first, "nf4", 2, 130, 40, false, 3, true);
  check(x86, last, "bf16a16", 50, 130, 40, false, 4, true);
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

/// Levels whose last one has tiles: alone and with others that read the same
/// weight.
const char *const kTileLevels[] = {"amx", "avx512-vnni+amx", "avx2+amx"};

TEST(DecodeMatMul, TilesOfBfloat16) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Random random(seed + 6000);
    int64_t m = random.range(0, 2) ? random.range(1, 230)
                                   : 16 * random.range(1, 8),
            k = random.range(0, 2) ? random.range(1, 200)
                                   : 32 * random.range(1, 6),
            n = random.range(1, 150);
    check(x86, {kTileLevels[seed % std::size(kTileLevels)]}, "bf16a16", m, k, n,
          random.range(0, 1), seed);
  }
}

TEST(DecodeMatMul, TilesOfFewRowsOfALongK) {
  X86 x86;
  check(x86, {"amx"}, "bf16a16", 70, 5001, 20, true, 7);
  check(x86, {"amx"}, "bf16a16", 1, 5000, 40, false, 8);
}

TEST(DecodeMatMul, NarrowResultsOfALongK) {
  // Partial sums do not fit the output.
  X86 x86;
  Product product("bf16a16", 9, 4999, 20, true, 9);
  std::vector<float> exact = product.getExact();
  for (const char *levels : {"avx2", "avx512"}) {
    SCOPED_TRACE(levels);
    LoadedKernel kernel(product.text(/*narrow=*/true), x86.target(),
                        x86.parse(levels), {1});
    ASSERT_TRUE(kernel.ok());
    EXPECT_EQ(kernel.getEmitter(), "gemm.decode");
    std::vector<uint16_t> halves = fromBytes<uint16_t>(kernel.run(
        {product.getInput(), product.encoded}, {exact.size() * 2}, {9})[0]);
    for (size_t i = 0; i < halves.size(); ++i)
      ASSERT_EQ(llvm::bit_cast<float>(uint32_t(halves[i]) << 16),
                roundToBfloat(exact[i]))
          << "element " << i;
  }
}
