//===- SchemeTest.cpp - encoding of weights ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Scheme.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace qcc;

namespace {

/// A scheme with two codes and a zero of its own per group: what a plugin may
/// do that the schemes of the tree do not.
class Binary : public Scheme {
public:
  explicit Binary(std::string key = "binary", CodeUnit unit = {8, 16})
      : key(std::move(key)), unit(unit) {}
  StringRef getKey() const override { return key; }
  StringRef getSummary() const override { return "one bit"; }
  unsigned getWeightBits() const override { return 1; }
  int64_t getGroup() const override { return 16; }
  CodeUnit getUnit() const override { return unit; }
  unsigned getMaxCode() const override { return 1; }
  std::optional<int32_t> getZero() const override { return std::nullopt; }
  GroupAffine quantize(ArrayRef<float> weights,
                       MutableArrayRef<uint8_t> codes) const override {
    float low = weights[0], high = weights[0];
    for (float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    for (size_t i = 0; i < weights.size(); ++i)
      codes[i] = weights[i] > (low + high) / 2;
    return {high - low, high > low ? int32_t(-low / (high - low)) : 0};
  }
  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t j = 0; j < 16; ++j) {
      bytes[j] = 0;
      for (size_t k = 0; k < 8; ++k)
        bytes[j] |= char(codes[k * 16 + j] << k);
    }
  }
  SmallVector<Value> decode(ImplicitLocOpBuilder &, Value) const override {
    return {};
  }

private:
  std::string key;
  CodeUnit unit;
};

struct SchemeTest : testing::Test {
  SchemeTest() {
    DialectRegistry registry;
    registry.insert<QCCDialect>();
    registerSchemes(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }
  const Scheme &get(StringRef key) { return *getSchemes(&context).lookup(key); }
  static std::vector<char> bytes(const std::vector<float> &values) {
    std::vector<char> result(values.size() * 4);
    std::memcpy(result.data(), values.data(), result.size());
    return result;
  }
  MLIRContext context{MLIRContext::Threading::DISABLED};
};

} // namespace

TEST_F(SchemeTest, SchemesOfTheTreeAreRegistered) {
  EXPECT_NE(getSchemes(&context).lookup("int8"), nullptr);
  EXPECT_NE(getSchemes(&context).lookup("w4a8"), nullptr);
  EXPECT_EQ(getSchemes(&context).lookup("int7"), nullptr);
}

TEST_F(SchemeTest, TheRegistryRefusesWhatKernelsCannotRead) {
  SchemeRegistry registry;
  EXPECT_TRUE(registry.add(std::make_unique<Binary>()));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>())) << "key taken";
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("")));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("a b")));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("a", CodeUnit{6, 16})));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("a", CodeUnit{8, 8})));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("a", CodeUnit{64, 512})));
  EXPECT_FALSE(registry.add(std::make_unique<Binary>("a", CodeUnit{32, 64})))
      << "group is no multiple of the unit";
}

TEST_F(SchemeTest, Int8RoundsToTheNearestCode) {
  // One column: the largest magnitude becomes 127.
  std::vector<float> weights{1.27f, -1.27f, 0.004f, 0.006f, 0};
  EncodedLayout layout = *getEncodedLayout(get("int8"), 5, 1);
  EXPECT_EQ(layout.groupK, 64);
  std::vector<char> out(layout.totalBytes);
  ASSERT_TRUE(succeeded(encodeWeight(get("int8"), 5, 1, bytes(weights), out)));
  float scale;
  std::memcpy(&scale, out.data(), 4);
  EXPECT_FLOAT_EQ(scale, 0.01f);
  auto code = [&](int k) {
    return int(uint8_t(out[layout.codeOffset + k / 4 * 64 + k % 4])) - 128;
  };
  EXPECT_EQ(code(0), 127);
  EXPECT_EQ(code(1), -127);
  EXPECT_EQ(code(2), 0);
  EXPECT_EQ(code(3), 1);
  EXPECT_EQ(code(4), 0);
  EXPECT_EQ(code(5), 0) << "padding";
  // A column that is not there has scale 0.
  std::memcpy(&scale, out.data() + 4, 4);
  EXPECT_EQ(scale, 0);
}

TEST_F(SchemeTest, W4A8ErrorIsWithinHalfAStep) {
  const Scheme &scheme = get("w4a8");
  std::vector<float> weights(32);
  for (int i = 0; i < 32; ++i)
    weights[i] = std::sin(float(i)) * 3;
  std::vector<uint8_t> codes(32);
  GroupAffine affine = scheme.quantize(weights, codes);
  EXPECT_EQ(affine.scale, roundToHalf(affine.scale));
  for (int i = 0; i < 32; ++i) {
    float back = affine.scale * float(int(codes[i]) - 8);
    // The side without the code -8 may be cut by up to one step.
    EXPECT_NEAR(back, weights[i], std::abs(affine.scale) * 1.01f);
    EXPECT_LE(codes[i], 15);
  }
}

TEST_F(SchemeTest, ZerosGiveScaleZero) {
  for (StringRef key : {"int8", "w4a8"}) {
    std::vector<float> weights(32, 0.0f);
    std::vector<uint8_t> codes(32);
    GroupAffine affine = get(key).quantize(weights, codes);
    EXPECT_EQ(affine.scale, 0);
    for (uint8_t code : codes)
      EXPECT_EQ(int(code), *get(key).getZero());
  }
}

TEST_F(SchemeTest, AsymmetricGroupsStoreTheirZeros) {
  Binary scheme;
  EncodedLayout layout = *getEncodedLayout(scheme, 32, 17);
  EXPECT_EQ(layout.blocks, 2);
  EXPECT_EQ(layout.groups, 2);
  EXPECT_EQ(layout.zeroOffset, 64);
  EXPECT_EQ(layout.codeOffset, 128);
  EXPECT_EQ(layout.groupBytes, 128 + 2 * 16);
  std::vector<float> weights(32 * 17);
  for (int k = 0; k < 32; ++k)
    for (int n = 0; n < 17; ++n)
      weights[k * 17 + n] = k % 2 ? 1.0f : -2.0f;
  std::vector<char> out(layout.totalBytes);
  ASSERT_TRUE(succeeded(encodeWeight(scheme, 32, 17, bytes(weights), out)));
  // The last column, in the second block: rows 1, 3, ... are the larger ones.
  const char *group = out.data() + 2 * layout.groupBytes;
  EXPECT_EQ(uint8_t(group[layout.codeOffset]), 0xAA);
}

TEST_F(SchemeTest, SizesThatDoNotFitHaveNoLayout) {
  const Scheme &w4a8 = get("w4a8");
  EXPECT_FALSE(getEncodedLayout(w4a8, 33, 16));
  EXPECT_FALSE(getEncodedLayout(w4a8, 0, 16));
  EXPECT_FALSE(getEncodedLayout(w4a8, 32, 0));
  EXPECT_FALSE(getEncodedLayout(w4a8, int64_t(1) << 40, 16));
  std::vector<char> weights(32 * 16 * 4), out(1);
  EXPECT_TRUE(failed(encodeWeight(w4a8, 32, 16, weights, out)));
}

TEST_F(SchemeTest, HelpersSurviveOddNumbers) {
  float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(roundCode(NAN, -8, 7), 0);
  EXPECT_EQ(roundCode(infinity, -8, 7), 7);
  EXPECT_EQ(roundCode(-infinity, -8, 7), -8);
  EXPECT_EQ(roundCode(2.5f, -8, 7), 2);
  EXPECT_EQ(roundToHalf(1e30f), 65504.0f);
  EXPECT_EQ(roundToHalf(-1e30f), -65504.0f);
  EXPECT_EQ(roundToHalf(0.1f), 0.0999755859375f);
}
