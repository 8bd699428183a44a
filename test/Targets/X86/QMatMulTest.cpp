//===- QMatMulTest.cpp - low-precision products on x86 ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "qcc/Scheme/Scheme.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// What the schemes of the tree are not: asymmetric, with a zero per column and
/// group, and codes of seven bits.
class AffineScheme final : public Scheme {
public:
  llvm::StringRef getKey() const override { return "affine"; }
  llvm::StringRef getSummary() const override { return "asymmetric"; }
  unsigned getWeightBits() const override { return 7; }
  int64_t getGroup() const override { return 16; }
  CodeUnit getUnit() const override { return {4, 64}; }
  unsigned getMaxCode() const override { return 127; }
  std::optional<int32_t> getZero() const override { return std::nullopt; }
  GroupAffine choose(llvm::ArrayRef<float> weights,
                     llvm::ArrayRef<float>) const override {
    float low = 0, high = 0;
    for (float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    float scale = (high - low) / 127;
    return {scale, scale > 0 ? roundCode(-low / scale, 0, 127) : 0};
  }
  void assign(llvm::ArrayRef<float> weights, const GroupAffine &affine,
              llvm::MutableArrayRef<uint8_t> codes) const override {
    assignLinear(weights, affine, 0, 127, codes);
  }
  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const override {
    for (size_t i = 0; i < 64; ++i)
      bytes[i % 16 * 4 + i / 16] = char(codes[i]);
  }
  llvm::SmallVector<mlir::Value> decode(DecodeBuilder &,
                                        mlir::Value bytes) const override {
    return {bytes};
  }
};

void registerAffine(mlir::DialectRegistry &registry) {
  registerScheme<AffineScheme>(registry);
}

/// One product: quantize_rows and qmatmul are kernels of their own.
class Product {
public:
  Product(const std::string &key, int64_t m, int64_t k, int64_t n, bool dynamic,
          uint64_t seed);
  std::string quantizeText() const;
  std::string productText() const;
  /// Checks codes, scales and sums of the activations.
  void checkActivations(const std::vector<Bytes> &parts) const;
  /// The exact result in the arithmetic that is promised: integer sums, scaled
  /// and added in f32 in order of groups.
  std::vector<float> getExact(const std::vector<Bytes> &parts) const;

  /// Codes of int8 at the ends of their range, -128 among them, in some steps
  /// of four rows, small ones or such that just fit vpmaddubsw in others.
  void setExtremeCodes(uint64_t seed);
  /// Activations of one group at the ends of their range: what quantizeText
  /// would return.
  std::vector<Bytes> getExtremeActivations(uint64_t seed) const;

  int64_t m, k, n, group, groups;
  bool dynamic;
  std::vector<float> x, w;
  Bytes encoded;

private:
  Dim rows() const { return dynamic ? Dim(m, "s0") : Dim(m); }
  int code(const EncodedLayout &layout, int64_t row, int64_t column) const;

  mlir::MLIRContext context;
  const Scheme *scheme = nullptr;
  std::string key;
};

Product::Product(const std::string &key, int64_t m, int64_t k, int64_t n,
                 bool dynamic, uint64_t seed)
    : m(m), k(k), n(n), dynamic(dynamic),
      context(mlir::MLIRContext::Threading::DISABLED), key(key) {
  mlir::DialectRegistry registry;
  registry.insert<QCCDialect>();
  registerSchemes(registry);
  registerAffine(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  scheme = getSchemes(&context).lookup(key);
  group = scheme->getGroup();
  // A group of at least K rows is the whole row.
  if (group >= k)
    group = 0;
  groups = group ? (k + group - 1) / group : 1;
  Random random(seed + 1);
  x = random.floats(m * k, -2, 2);
  w = random.floats(k * n, -1, 1);
  // A row of zeros, and a group of zeros of a column.
  if (m > 2)
    std::fill_n(x.begin() + k, k, 0.0f);
  for (int64_t i = 0; i < (group ? group : k) && n > 1; ++i)
    w[i * n + 1] = 0;
  Bytes bytes = toBytes(w);
  encoded.resize(getEncodedLayout(*scheme, k, n)->totalBytes);
  EXPECT_EQ(llvm::toString(encodeWeight(*scheme, {k, n, bytes}, encoded)), "");
}

void Product::setExtremeCodes(uint64_t seed) {
  const int values[2][4] = {{-128, 127, -127, 127}, {-3, 2, 0, 1}};
  EncodedLayout layout = *getEncodedLayout(*scheme, k, n);
  Random random(seed);
  for (int64_t block = 0; block < layout.blocks; ++block)
    for (int64_t step = 0; step * 4 < k; ++step) {
      char *codes = encoded.data() + block * layout.groupBytes +
                    layout.codeOffset + step * 64;
      int64_t kind = random.range(0, 3);
      for (int64_t i = 0; i < 64; ++i) {
        int value = kind == 3 ? (i % 2 ? -127 : 127)
                    : kind == 2
                        ? (i / 32 ? 64 : -64) - int(random.range(0, 40) == 0)
                        : values[kind][random.range(0, 3)];
        // Padding is zero.
        if (step * 4 + i % 4 < k)
          codes[i] = char(value + 128);
      }
    }
}

std::vector<Bytes> Product::getExtremeActivations(uint64_t seed) const {
  Random random(seed);
  std::vector<int8_t> codes(m * k);
  std::vector<int32_t> sums(m);
  for (int64_t i = 0; i < m * k; ++i) {
    int64_t kind = i / k % 4;
    codes[i] = kind == 0   ? 127
               : kind == 1 ? -127
               : kind == 2 ? (i % k % 2 ? -127 : 127)
                           : int8_t(random.range(-127, 127));
    sums[i / k] += codes[i];
  }
  return {toBytes(codes), toBytes(random.floats(m, 0, 1)), toBytes(sums)};
}

std::string Product::quantizeText() const {
  std::string in = tensor({rows(), k}, "f32"),
              codes = tensor({rows(), k}, "i8"),
              scales = tensor({rows(), groups}, "f32"),
              sums = tensor({rows(), groups}, "i32");
  return "qcc.kernel @k {} {\n^bb0(%0: " + in +
         "):\n  %q:3 = qcc.quantize_rows %0 {group = " + std::to_string(group) +
         " : i64} : (" + in + ") -> (" + codes + ", " + scales + ", " + sums +
         ")\n  qcc.yield %q#0, %q#1, %q#2 : " + codes + ", " + scales + ", " +
         sums + "\n}\n";
}

std::string Product::productText() const {
  std::string codes = tensor({rows(), k}, "i8"),
              scales = tensor({rows(), groups}, "f32"),
              sums = tensor({rows(), groups}, "i32"),
              weight = tensor({int64_t(encoded.size())}, "i8"),
              result = tensor({rows(), n}, "f32");
  std::string body = "  %p = qcc.qmatmul (%0, %1, %2), %3 <\"" + key +
                     "\", group = " + std::to_string(group) +
                     ", symmetric = true> {n = " + std::to_string(n) +
                     " : i64} : (" + codes + ", " + scales + ", " + sums +
                     ", " + weight + ") -> " + result + "\n";
  return kernelText({codes, scales, sums, weight}, body, "%p", result);
}

void Product::checkActivations(const std::vector<Bytes> &parts) const {
  auto codes = fromBytes<int8_t>(parts[0]);
  auto scales = fromBytes<float>(parts[1]);
  auto sums = fromBytes<int32_t>(parts[2]);
  for (int64_t i = 0; i < m * groups; ++i) {
    int64_t first = i % groups * group,
            length = group ? std::min(group, k - first) : k;
    const float *from = &x[i / groups * k + first];
    float largest = 0;
    for (int64_t j = 0; j < length; ++j)
      largest = std::max(largest, std::abs(from[j]));
    ASSERT_EQ(scales[i], largest / 127);
    float inverse = largest == 0 ? 0 : 127 / largest;
    int32_t sum = 0;
    for (int64_t j = 0; j < length; ++j) {
      int expected = roundCode(from[j] * inverse, -127, 127);
      ASSERT_EQ(codes[i / groups * k + first + j], expected) << i << ", " << j;
      sum += expected;
    }
    ASSERT_EQ(sums[i], sum);
  }
}

/// The stored code of a weight, found as the layout is documented.
int Product::code(const EncodedLayout &layout, int64_t row,
                  int64_t column) const {
  CodeUnit unit = scheme->getUnit();
  int64_t at = group ? row / group : 0, inside = group ? row % group : row;
  const char *block = encoded.data() +
                      (column / 16 * layout.groups + at) * layout.groupBytes +
                      layout.codeOffset + inside / unit.k * unit.bytes;
  int64_t r = inside % unit.k, c = column % 16;
  auto byte = [&](int64_t i) { return uint8_t(block[i]); };
  if (unit.k == 4)
    return byte(c * 4 + r);
  return r < 4 ? byte(c * 4 + r) & 15 : byte(c * 4 + r - 4) >> 4;
}

std::vector<float> Product::getExact(const std::vector<Bytes> &parts) const {
  auto codes = fromBytes<int8_t>(parts[0]);
  auto scales = fromBytes<float>(parts[1]);
  EncodedLayout layout = *getEncodedLayout(*scheme, k, n);
  std::vector<float> result(m * n);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t g = 0; g < groups; ++g) {
      const char *header =
          encoded.data() + (j / 16 * layout.groups + g) * layout.groupBytes;
      float scale;
      if (scheme->hasHalfScales()) {
        _Float16 half;
        std::memcpy(&half, header + j % 16 * 2, 2);
        scale = half;
      } else {
        std::memcpy(&scale, header + j % 16 * 4, 4);
      }
      for (int64_t i = 0; i < m; ++i) {
        int32_t sum = 0, zero = scheme->getZero().value_or(
                             uint8_t(header[layout.zeroOffset + j % 16]));
        int64_t first = g * group,
                length = group ? std::min(group, k - first) : k;
        for (int64_t r = 0; r < length; ++r)
          sum += (code(layout, first + r, j) - zero) * codes[i * k + first + r];
        float factor = scale * scales[i * groups + g];
        float &total = result[i * n + j];
        total = groups == 1 ? float(sum) * factor
                            : std::fma(float(sum), factor, total);
      }
    }
  return result;
}

void check(const X86 &x86, const std::vector<std::string> &at,
           const std::string &key, int64_t m, int64_t k, int64_t n,
           bool dynamic, uint64_t seed, size_t choice = 0) {
  Product product(key, m, k, n, dynamic, seed);
  for (const std::string &levels : at) {
    SCOPED_TRACE(key + " " + levels + " m " + std::to_string(m) + " k " +
                 std::to_string(k) + " n " + std::to_string(n));
    auto caps = x86.parse(levels);
    LoadedKernel quantize(product.quantizeText(), x86.target(), caps, {});
    LoadedKernel multiply(product.productText(), x86.target(), caps, {3},
                          registerAffine, choice);
    ASSERT_TRUE(quantize.ok() && multiply.ok());
    SCOPED_TRACE(multiply.getSchedule());
    EXPECT_EQ(multiply.getEmitter(), "gemm.int8");
    size_t entries = m * product.groups * 4;
    std::vector<Bytes> parts = quantize.run(
        {toBytes(product.x)}, {size_t(m * k), entries, entries}, {m}, seed % 2);
    product.checkActivations(parts);
    std::vector<float> exact = product.getExact(parts);
    Bytes result =
        multiply.run({parts[0], parts[1], parts[2], product.encoded},
                     {size_t(m * n) * 4}, {m}, seed % 2, 1 + seed % 3)[0];
    // Equal bits at every level.
    EXPECT_EQ(result, toBytes(exact));
  }
}

} // namespace

TEST(QMatMulTest, Int8IsExactOnRandomShapes) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(32) / 4; ++seed) {
    Random random(seed);
    check(x86, x86.levels(), "int8", seed % 3 ? random.range(1, 30) : 1,
          random.range(1, 200), random.range(1, 130), seed % 2, seed);
  }
}

TEST(QMatMulTest, AllSchedulesAreExact) {
  X86 x86;
  // Two of columns, three of rows.
  for (size_t choice = 1; choice <= 5; ++choice) {
    const std::string &levels = x86.levels()[choice % x86.levels().size()];
    check(x86, {levels}, "w4a8", 140, 200, 300, true, choice, choice);
    check(x86, {levels}, "int8", 270, 70, 210, false, choice, choice);
  }
}

TEST(QMatMulTest, W4A8IsExactOnRandomShapes) {
  // Groups of one piece that sums in 16 bits and of several, ragged ones too.
  const char *const keys[] = {"w4a8",         "w4a8:g128",
                              "w4a8:g64",     "w4a8:g8",
                              "w4a8:channel", "w4a8:g72",
                              "w4a8:g256",    "w4a8:clip",
                              "w4a8:asym",    "w4a8:g64:asym:f32-scales"};
  X86 x86;
  // Shapes of its own for each level, which compile faster than the same for
  // all; every format is tried at every level.
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed + 50);
    size_t key = size_t(seed) % std::size(keys),
           round = size_t(seed) / std::size(keys);
    // One row, few rows, and rows that share a panel.
    const int64_t most[] = {1, 8, 30, 110};
    check(x86, {x86.levels()[round % x86.levels().size()]}, keys[key],
          random.range(1, most[seed / 3 % 4]), random.range(1, 400),
          random.range(1, 130), seed % 2, seed);
  }
}

TEST(QMatMulTest, ASchemeOfAPluginIsExact) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(32) / 8; ++seed) {
    Random random(seed + 90);
    check(x86, x86.levels(), "affine", random.range(1, 30),
          random.range(1, 100), random.range(1, 130), seed % 2, seed);
  }
}

TEST(QMatMulTest, Int8IsExactWhereverItsCodesFit) {
  // Many rows are multiplied with steps of codes that are sorted by what they
  // are; more than a task's, and numbers that are no multiple of a tile's.
  X86 x86;
  const int64_t shapes[][3] = {
      {1, 203, 33}, {9, 5, 16}, {13, 64, 37}, {103, 203, 33}};
  for (auto [m, k, n] : shapes)
    for (const std::string &levels : x86.levels()) {
      SCOPED_TRACE(levels + " k " + std::to_string(k));
      Product product("int8", m, k, n, /*dynamic=*/k == 64, k);
      product.setExtremeCodes(k);
      LoadedKernel multiply(product.productText(), x86.target(),
                            x86.parse(levels), {3});
      ASSERT_TRUE(multiply.ok());
      std::vector<Bytes> parts = product.getExtremeActivations(m);
      Bytes result =
          multiply.run({parts[0], parts[1], parts[2], product.encoded},
                       {size_t(m * n) * 4}, {m})[0];
      EXPECT_EQ(result, toBytes(product.getExact(parts)));
    }
}

TEST(QMatMulTest, LargestCodesDoNotSaturate) {
  // All weights and activations at the end of their range, one sign each.
  X86 x86;
  for (const char *key : {"int8", "w4a8"}) {
    Product product(key, 3, 256, 16, false, 1);
    std::fill(product.x.begin(), product.x.end(), -1.0f);
    std::fill(product.w.begin(), product.w.end(), 1.0f);
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    mlir::DialectRegistry registry;
    registry.insert<QCCDialect>();
    registerSchemes(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    const Scheme *scheme = getSchemes(&context).lookup(key);
    Bytes bytes = toBytes(product.w);
    ASSERT_EQ(llvm::toString(
                  encodeWeight(*scheme, {256, 16, bytes}, product.encoded)),
              "");
    for (const std::string &levels : x86.levels()) {
      auto caps = x86.parse(levels);
      LoadedKernel quantize(product.quantizeText(), x86.target(), caps, {});
      LoadedKernel multiply(product.productText(), x86.target(), caps, {3});
      ASSERT_TRUE(quantize.ok() && multiply.ok());
      size_t entries = 3 * product.groups * 4;
      std::vector<Bytes> parts =
          quantize.run({toBytes(product.x)}, {3 * 256, entries, entries}, {3});
      std::vector<float> result = fromBytes<float>(
          multiply.run({parts[0], parts[1], parts[2], product.encoded},
                       {3 * 16 * 4}, {3})[0]);
      for (float value : result)
        EXPECT_NEAR(value, -256.0f, 0.01f) << key << " " << levels;
    }
  }
}
