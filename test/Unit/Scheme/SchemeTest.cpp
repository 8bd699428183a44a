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
  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    auto [low, high] = std::minmax_element(weights.begin(), weights.end());
    float range = *high - *low;
    return {range, range > 0 && *low < 0 && *high <= 0 ? 1 : 0};
  }
  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t j = 0; j < 16; ++j) {
      bytes[j] = 0;
      for (size_t k = 0; k < 8; ++k)
        bytes[j] |= char(codes[k * 16 + j] << k);
    }
  }
  SmallVector<Value> decode(DecodeBuilder &, Value) const override {
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
  /// Encodes, and gives the error's text, or "".
  static std::string encode(const Scheme &scheme, const WeightSource &source,
                            std::vector<char> &out) {
    out.resize(getEncodedLayout(scheme, source.k, source.n)->totalBytes);
    return llvm::toString(encodeWeight(scheme, source, out));
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
  // Each refusal says which scheme broke which rule with which number.
  ArrayRef<std::string> refused = registry.getRefused();
  ASSERT_EQ(refused.size(), 7u);
  EXPECT_EQ(refused[0], "scheme 'binary': expected a key of its own, but "
                        "another scheme has it");
  EXPECT_EQ(refused[3],
            "scheme 'a': expected a unit of 4, 8, 16, 32 or 64 rows, but got "
            "6");
  EXPECT_EQ(refused[6], "scheme 'a': expected a group of 0 or a multiple of "
                        "the unit's 32 rows, at most 65536, but got 16");
  for (const char *reserved : {"f32", "mixed"}) {
    EXPECT_FALSE(registry.add(std::make_unique<Binary>(reserved)));
    EXPECT_EQ(registry.getRefused().back(),
              std::string("scheme '") + reserved +
                  "': expected a key of its own, but this one is reserved");
  }
}

TEST_F(SchemeTest, FaultsOfASchemeAreNotThoseOfWeights) {
  class Wrong final : public Binary {
  public:
    explicit Wrong(GroupAffine affine, uint8_t code = 0)
        : affine(affine), code(code) {}
    GroupAffine choose(ArrayRef<float>, ArrayRef<float>) const override {
      return affine;
    }
    void assign(ArrayRef<float>, const GroupAffine &,
                MutableArrayRef<uint8_t> codes) const override {
      llvm::fill(codes, code);
    }

  private:
    GroupAffine affine;
    uint8_t code;
  };
  std::vector<char> out, weights = bytes(std::vector<float>(16, 1.0f));
  auto problem = [&](const Scheme &scheme) {
    return encode(scheme, {16, 1, weights}, out);
  };
  EXPECT_EQ(problem(Wrong({1, 0})), "");
  EXPECT_EQ(problem(Wrong({NAN, 0})),
            "scheme 'binary': expected choose() to give a finite scale, but "
            "got nan for column 0 [QCC-E402]");
  EXPECT_EQ(problem(Wrong({1, 7})),
            "scheme 'binary': expected choose() to give a zero from 0 to 1, "
            "but got 7 for column 0 [QCC-E402]");
  EXPECT_EQ(problem(Wrong({1, 0}, 9)),
            "scheme 'binary': expected assign() to give codes of at most 1, "
            "but got 9 for column 0 [QCC-E402]");
}

TEST_F(SchemeTest, Int8RoundsToTheNearestCode) {
  // One column: the largest magnitude becomes 127.
  std::vector<float> weights{1.27f, -1.27f, 0.004f, 0.006f, 0};
  EncodedLayout layout = *getEncodedLayout(get("int8"), 5, 1);
  EXPECT_EQ(layout.groupK, 64);
  std::vector<char> out(layout.totalBytes);
  ASSERT_EQ(encode(get("int8"), {5, 1, bytes(weights)}, out), "");
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
  GroupAffine affine = scheme.choose(weights, {});
  scheme.assign(weights, affine, codes);
  EXPECT_EQ(affine.scale, roundToHalf(affine.scale));
  for (int i = 0; i < 32; ++i) {
    float back = scheme.value(codes[i], affine);
    EXPECT_EQ(back, affine.scale * float(int(codes[i]) - 8));
    // The side without the code -8 may be cut by up to one step.
    EXPECT_NEAR(back, weights[i], std::abs(affine.scale) * 1.01f);
    EXPECT_LE(codes[i], 15);
  }
}

TEST_F(SchemeTest, ZerosGiveScaleZero) {
  for (StringRef key : {"int8", "w4a8"}) {
    std::vector<float> weights(32, 0.0f);
    std::vector<uint8_t> codes(32);
    GroupAffine affine = get(key).choose(weights, {});
    get(key).assign(weights, affine, codes);
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
  EXPECT_EQ(layout.codeOffset, 80);
  EXPECT_EQ(layout.groupBytes, 80 + 2 * 16);
  std::vector<float> weights(32 * 17);
  for (int k = 0; k < 32; ++k)
    for (int n = 0; n < 17; ++n)
      weights[k * 17 + n] = k % 2 ? -1.0f : -2.0f;
  std::vector<char> out;
  ASSERT_EQ(encode(scheme, {32, 17, bytes(weights)}, out), "");
  // The last column, in the second block: the nearest of -1 and 0 is -1.
  const char *group = out.data() + 2 * layout.groupBytes;
  EXPECT_EQ(group[layout.zeroOffset], 1);
  EXPECT_EQ(uint8_t(group[layout.codeOffset]), 0);
}

TEST_F(SchemeTest, TheLastGroupMayBeShort) {
  const Scheme &w4a8 = get("w4a8");
  EncodedLayout layout = *getEncodedLayout(w4a8, 70, 3);
  EXPECT_EQ(layout.groups, 3);
  EXPECT_EQ(layout.groupK, 32);
  std::vector<float> weights(70 * 3);
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = std::sin(float(i));
  std::vector<char> out;
  ASSERT_EQ(encode(w4a8, {70, 3, bytes(weights)}, out), "");
  std::vector<float> rounded(70 * 3);
  ASSERT_FALSE(roundWeight(w4a8, {70, 3, bytes(weights)}, rounded));
  // Rows 64 to 69 have a scale of their own; what follows are zeros.
  for (int64_t j = 0; j < 3; ++j) {
    std::vector<float> column;
    for (int64_t i = 64; i < 70; ++i)
      column.push_back(weights[i * 3 + j]);
    GroupAffine affine = w4a8.choose(column, {});
    std::vector<uint8_t> codes(6);
    w4a8.assign(column, affine, codes);
    const char *group =
        out.data() + 2 * layout.groupBytes + layout.codeOffset + j * 4;
    for (int64_t i = 0; i < 32; ++i) {
      int byte = uint8_t(group[i / 8 * 64 + i % 4]);
      EXPECT_EQ(i % 8 < 4 ? byte & 15 : byte >> 4, i < 6 ? codes[i] : 8);
      if (i < 6) {
        EXPECT_EQ(rounded[(64 + i) * 3 + j], w4a8.value(codes[i], affine));
      }
    }
  }
  // A group of more rows than there are is the channel.
  EXPECT_EQ(getEncodedLayout(w4a8, 20, 3)->groups, 1);
  EXPECT_EQ(getEncodedLayout(w4a8, 20, 3)->groupK, 64);
}

TEST_F(SchemeTest, GivenMapsGiveTheirCodesBack) {
  // An algorithm's weights lie on the grid of its maps, not on that of theirs.
  Binary binary;
  const Scheme &w4a8 = get("w4a8");
  for (const Scheme *scheme : {&w4a8, static_cast<const Scheme *>(&binary)}) {
    int64_t k = 70, n = 5, group = scheme->getGroup(),
            groups = getEncodedLayout(*scheme, k, n)->groups;
    std::vector<float> scales, weights(k * n);
    std::vector<int32_t> zeros;
    for (int64_t i = 0; i < groups * n; ++i) {
      scales.push_back(roundToHalf(0.01f * float(i + 1) * (i % 2 ? -1 : 1)));
      zeros.push_back(scheme->getZero().value_or(i % 2));
    }
    std::vector<uint8_t> codes(k * n);
    for (int64_t i = 0; i < k * n; ++i) {
      int64_t map = i / n / group * n + i % n;
      codes[i] = uint8_t(i * 7 % (scheme->getMaxCode() + 1));
      weights[i] = scheme->value(codes[i], {scales[map], zeros[map]});
    }
    std::vector<char> zeroBytes(zeros.size() * 4);
    std::memcpy(zeroBytes.data(), zeros.data(), zeroBytes.size());
    std::vector<char> weightBytes = bytes(weights), scaleBytes = bytes(scales);
    WeightSource source{k, n, weightBytes, {}, scaleBytes, {}};
    if (!scheme->getZero())
      source.zeros = zeroBytes;
    std::vector<float> rounded(k * n);
    ASSERT_FALSE(roundWeight(*scheme, source, rounded));
    EXPECT_EQ(rounded, weights);
    std::vector<char> out;
    ASSERT_EQ(encode(*scheme, source, out), "");
    float first;
    if (!scheme->hasHalfScales()) {
      std::memcpy(&first, out.data(), 4);
      EXPECT_EQ(first, scales[0]);
    }
  }
}

TEST_F(SchemeTest, WeightsThatCannotBeStoredAreRefused) {
  const Scheme &w4a8 = get("w4a8");
  std::vector<float> weights(32 * 2, 1.0f);
  std::vector<char> out;
  auto text = [&](float odd) {
    weights[3] = odd;
    return encode(w4a8, {32, 2, bytes(weights)}, out);
  };
  EXPECT_EQ(text(1), "");
  EXPECT_NE(text(NAN).find("expected finite weights, but got NaN in row 1 of "
                           "column 1"),
            std::string::npos);
  EXPECT_NE(text(-INFINITY).find("but got infinity"), std::string::npos);
  EXPECT_NE(text(1e9f).find("expected a scale below 65504"), std::string::npos);
  // What the last code stands for may be more than the weight.
  std::vector<float> huge{-3e38f, 3e38f, 1}, rounded(3);
  std::vector<char> hugeBytes = bytes(huge);
  EXPECT_NE(llvm::toString(
                roundWeight(get("w3a16:channel"), {3, 1, hugeBytes}, rounded))
                .find("are larger"),
            std::string::npos);
  weights[3] = 1;
  std::vector<char> all = bytes(weights), scales(2 * 4), zeros(2 * 4);
  WeightSource source{32, 2, all, {}, scales, zeros};
  EXPECT_NE(encode(w4a8, source, out)
                .find("expected zero points that are "
                      "codes of 'w4a8', but got 0"),
            std::string::npos);
  source.zeros = {};
  EXPECT_EQ(encode(w4a8, source, out), "");
  source.scales = ArrayRef(scales).take_front(4);
  EXPECT_NE(encode(w4a8, source, out).find("expected 32 x 2 weights"),
            std::string::npos);
  // No zero point for a scheme that needs one.
  Binary binary;
  std::vector<char> twice(2 * 2 * 4);
  WeightSource without{32, 2, all, {}, twice, {}};
  EXPECT_NE(encode(binary, without, out).find("but got none"),
            std::string::npos);
}

TEST_F(SchemeTest, TheDefaultCodeIsTheNearest) {
  /// Values 0, 1, 4 and 9 times the scale.
  class Squares : public Binary {
  public:
    unsigned getMaxCode() const override { return 3; }
    float value(uint8_t code, const GroupAffine &affine) const override {
      return affine.scale * float(code * code);
    }
  } squares;
  std::vector<uint8_t> codes(6);
  squares.assign({-1.0f, 0.9f, 1.1f, 5.1f, 13.1f, 99.0f}, {2, 0}, codes);
  EXPECT_EQ(codes, (std::vector<uint8_t>{0, 0, 1, 2, 3, 3}));
}

TEST_F(SchemeTest, SizesThatDoNotFitHaveNoLayout) {
  const Scheme &w4a8 = get("w4a8");
  EXPECT_FALSE(getEncodedLayout(w4a8, 0, 16));
  EXPECT_FALSE(getEncodedLayout(w4a8, 32, 0));
  EXPECT_FALSE(getEncodedLayout(w4a8, int64_t(1) << 40, 16));
  std::vector<char> weights(32 * 16 * 4), out(1);
  EXPECT_NE(llvm::toString(encodeWeight(w4a8, {32, 16, weights}, out)), "");
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
