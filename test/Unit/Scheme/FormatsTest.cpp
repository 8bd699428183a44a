//===- FormatsTest.cpp - the formats of the tree and parameters -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/MLIRContext.h"
#include "qcc/Scheme/BitFields.h"
#include "qcc/Scheme/StoredFloats.h"
#include "llvm/ADT/APFloat.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;

namespace {

struct FormatsTest : testing::Test {
  FormatsTest() {
    DialectRegistry registry;
    registry.insert<QCCDialect>();
    registerSchemes(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }
  const Scheme &get(StringRef precision) {
    return *llvm::cantFail(getSchemes(&context).find(precision));
  }
  std::string getProblem(StringRef precision) {
    auto found = getSchemes(&context).find(precision);
    return found ? "" : llvm::toString(found.takeError());
  }
  /// Largest error of the weights under the scheme's own map, in scales.
  double getWorst(const Scheme &scheme, ArrayRef<float> weights) {
    GroupAffine affine = scheme.choose(weights, {});
    std::vector<uint8_t> codes(weights.size());
    scheme.assign(weights, affine, codes);
    double worst = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      worst = std::max(worst, std::fabs(double(scheme.value(codes[i], affine)) -
                                        weights[i]));
    return worst / std::fabs(affine.scale);
  }
  static double getError(const Scheme &scheme, ArrayRef<float> weights,
                         ArrayRef<float> importance) {
    GroupAffine affine = scheme.choose(weights, importance);
    std::vector<uint8_t> codes(weights.size());
    scheme.assign(weights, affine, codes);
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      double error = double(scheme.value(codes[i], affine)) - weights[i];
      sum += error * error * (importance.empty() ? 1.0f : importance[i]);
    }
    return sum;
  }
  MLIRContext context{MLIRContext::Threading::DISABLED};
};

const char *const kKeys[] = {"int8",  "w4a8",  "w8a16", "w6a16",    "w4a16",
                             "w3a16", "w2a16", "fp8",   "fp8-e5m2", "nf4"};

std::vector<float> makeWeights(size_t count, float scale = 1) {
  std::vector<float> weights(count);
  for (size_t i = 0; i < count; ++i)
    weights[i] = std::sin(float(i * i)) * scale;
  return weights;
}

} // namespace

TEST_F(FormatsTest, ParametersNameVariants) {
  EXPECT_EQ(get("w4a16").getKey(), "w4a16");
  EXPECT_EQ(get("w4a16").getGroup(), 128);
  EXPECT_EQ(&get("w4a16:g128"), &get("w4a16")) << "one object per meaning";
  EXPECT_EQ(&get("w4a16:sym:g32"), &get("w4a16:g32:sym"));
  EXPECT_EQ(get("w4a16:clip:sym:g32").getKey(), "w4a16:g32:sym:clip");
  EXPECT_EQ(get("w4a16:g32").getGroup(), 32);
  EXPECT_EQ(get("w4a16:channel").getGroup(), 0);
  EXPECT_FALSE(get("w4a16:channel").hasHalfScales());
  EXPECT_TRUE(get("w4a16:g32").hasHalfScales());
  EXPECT_FALSE(get("w4a16:g32:f32-scales").hasHalfScales());
  EXPECT_EQ(get("w4a16:f32-scales:sym:g32").getKey(),
            "w4a16:g32:sym:f32-scales");
  // Those of channels are f32 in any case.
  EXPECT_EQ(&get("w4a16:channel:f32-scales"), &get("w4a16:channel"));
  EXPECT_EQ(get("w4a8:asym").getZero(), std::nullopt);
  EXPECT_EQ(&get("w4a8:sym"), &get("w4a8"));
  EXPECT_TRUE(get("int8:tensor").isPerTensor());
  EXPECT_EQ(get("w4a16").getZero(), std::nullopt);
  EXPECT_EQ(get("w4a16:sym").getZero(), 8);
  EXPECT_EQ(get("w8a16:asym").getZero(), std::nullopt);
}

TEST_F(FormatsTest, WhatIsNoPrecisionIsRefusedWithWhatThereIs) {
  EXPECT_NE(getProblem("w4a61").find("did you mean 'w4a16'?"),
            std::string::npos);
  EXPECT_NE(getProblem("q").find("expected a precision (f32, int8, w4a8"),
            std::string::npos);
  EXPECT_NE(getProblem("awq").find("; `qcc schemes` lists them"),
            std::string::npos);
  // What other tools call a precision says its bits.
  const std::pair<const char *, const char *> meant[] = {
      {"int4", "'w4a8' or 'w4a16'"},
      {"w4", "'w4a8' or 'w4a16'"},
      {"q4", "'w4a8' or 'w4a16'"},
      {"int4wo", "'w4a8' or 'w4a16'"},
      {"Q4_K_M", "'w4a8' or 'w4a16'"},
      {"4-bit", "'w4a8' or 'w4a16'"},
      {"int6", "'w6a16'"},
      {"int3", "'w3a16'"},
      {"int2", "'w2a16'"},
      {"w2a8", "'w2a16'"},
      {"w8a8", "'int8' or 'w8a16'"},
      {"fp4", "'nf4'"},
      {"fp16", "'bf16'"},
      {"float32", "'f32'"},
      {"w4a4", "'w4a8'"},
      {"int9", "'int8'"}};
  for (auto [name, hint] : meant)
    EXPECT_NE(getProblem(name).find("but got '" + std::string(name) +
                                    "'; did you mean " + hint + "?"),
              std::string::npos)
        << getProblem(name);
  EXPECT_EQ(getProblem("bfloat128").find("did you mean"), std::string::npos);
  for (const char *bad :
       {"w4a16:", "w4a16:g", "w4a16:g0", "w4a16:g33", "w4a16:g-8", "w4a16:g1e9",
        "w4a16:g32:g32", "w4a16:channel:tensor", "w4a16:sym:asym", "nf4:sym",
        "w4a16:g131072", "w4a16:g99999999999999999999", "w3a16:g16",
        "w4a16:G32", "int8:f32-scales", "w4a16:f32-scales:f32-scales"})
    EXPECT_NE(getProblem(bad).find("expected each parameter of '"),
              std::string::npos)
        << bad;
  EXPECT_NE(getProblem("w4a16:g33").find("gN with N a multiple of 8"),
            std::string::npos);
  EXPECT_NE(getProblem("w4a16:g33")
                .find("but got 'g33', which is no multiple of 8 up to 65536"),
            std::string::npos);
  EXPECT_EQ(getProblem("w4a16:g32:g32").find("multiple of 8 up to"),
            std::string::npos);
  EXPECT_EQ(getSchemes(&context).lookup("w4a16:g33"), nullptr);
}

TEST_F(FormatsTest, StoredBitsCountScalesAndZeros) {
  EXPECT_EQ(getStoredBits(get("w4a16")), 4 + 24.0 / 128);
  EXPECT_EQ(getStoredBits(get("w4a16:g32:sym")), 4.5);
  EXPECT_EQ(getStoredBits(get("w4a16:g32:sym:f32-scales")), 5);
  EXPECT_EQ(getStoredBits(get("w3a16:channel")), 3);
  EXPECT_EQ(getStoredBits(get("w6a16:sym")), 6.125);
  EXPECT_EQ(getStoredBits(get("w2a16")), 2 + 24.0 / 64);
  EXPECT_EQ(getStoredBits(get("nf4")), 4.25);
  EXPECT_EQ(getStoredBits(get("fp8")), 8);
  EXPECT_EQ(getStoredBits(get("bf16")), 16);
}

TEST_F(FormatsTest, ConventionsGiveTheScalesOfTheirNames) {
  // The largest magnitude is 3, and positive.
  std::vector<float> weights{3, -2, 1, 0.5};
  auto choose = [&](StringRef precision) {
    return get(precision).choose(weights, {});
  };
  EXPECT_EQ(choose("w4a16:channel:sym").scale, 3.0f / -8);
  EXPECT_EQ(choose("w4a16:channel:sym-mid").scale, 3 / 7.5f);
  EXPECT_EQ(choose("w4a16:channel:sym-narrow").scale, 3.0f / 7);
  GroupAffine affine = choose("w4a16:channel:asym");
  EXPECT_EQ(affine.scale, 5.0f / 15);
  EXPECT_EQ(affine.zero, 6);
  EXPECT_EQ(choose("w4a16:g32:sym-narrow").scale, roundToHalf(3.0f / 7));
  // The largest element is met exactly by `sym`, whatever its sign.
  std::vector<uint8_t> codes(4);
  const Scheme &full = get("w4a16:channel:sym");
  full.assign(weights, choose("w4a16:channel:sym"), codes);
  EXPECT_EQ(codes[0], 0);
  EXPECT_EQ(full.value(codes[0], choose("w4a16:channel:sym")), 3.0f);
  // A range of one sign is extended to 0, which stays exact.
  GroupAffine positive = get("w4a16:channel").choose({1.0f, 3.0f}, {});
  EXPECT_EQ(positive.zero, 0);
  EXPECT_EQ(positive.scale, 3.0f / 15);
  GroupAffine negative = get("w4a16:channel").choose({-1.0f, -3.0f}, {});
  EXPECT_EQ(negative.zero, 15);
}

TEST_F(FormatsTest, ErrorsAreWithinHalfAStep) {
  std::vector<float> weights = makeWeights(128);
  for (const char *precision :
       {"w8a16", "w8a16:asym", "w6a16", "w4a16", "w4a16:sym-mid",
        "w4a16:sym-narrow", "w3a16", "w2a16", "int8"})
    // A half's scale may be 2^-11 too small, times up to 255 steps.
    EXPECT_LE(getWorst(get(precision), weights), 0.5 + 0.07) << precision;
  // The side without a code of its own may lose a step.
  EXPECT_LE(getWorst(get("w4a16:sym"), weights), 1.01);
}

TEST_F(FormatsTest, EveryCodeComesBack) {
  for (const char *key : kKeys) {
    const Scheme &scheme = get(key);
    for (float scale : {1.0f, 0.125f, -3.0f}) {
      GroupAffine affine{
          scale, scheme.getZero().value_or(int32_t(scheme.getMaxCode() / 3))};
      for (unsigned code = 0; code <= scheme.getMaxCode(); ++code) {
        float value = scheme.value(uint8_t(code), affine);
        uint8_t back;
        scheme.assign(value, affine, back);
        // Codes of NaN and infinity, -0, and int8's -128 are never chosen.
        bool unused = (StringRef(key).starts_with("fp8") &&
                       ((code & 127) >= (StringRef(key) == "fp8" ? 127 : 124) ||
                        code == 128)) ||
                      (StringRef(key) == "int8" && code == 0);
        if (!unused) {
          EXPECT_EQ(unsigned(back), code) << key << " " << scale;
        }
      }
    }
  }
}

TEST_F(FormatsTest, SmallFloatsAreThoseOfTheirSpecification) {
  struct Format {
    const char *key;
    const llvm::fltSemantics &semantics;
    float unit; ///< what is decoded for 1
  } formats[] = {{"fp8", llvm::APFloat::Float8E4M3FN(), 0x1p-8f},
                 {"fp8-e5m2", llvm::APFloat::Float8E5M2(), 1}};
  for (const Format &format : formats) {
    const Scheme &scheme = get(format.key);
    auto exact = [&](uint64_t bits) {
      llvm::APFloat number(format.semantics, llvm::APInt(8, bits));
      bool inexact;
      number.convert(llvm::APFloat::IEEEsingle(),
                     llvm::APFloat::rmNearestTiesToEven, &inexact);
      return number.convertToFloat();
    };
    for (unsigned code = 0; code < 256; ++code)
      if (std::isfinite(exact(code))) {
        EXPECT_EQ(scheme.value(uint8_t(code), {1, 0}),
                  exact(code) * format.unit)
            << format.key << " " << code;
      }
    // Rounding: what APFloat rounds to, saturated.
    for (int i = -4000; i <= 4000; ++i) {
      float number = std::ldexp(float(i % 97), i / 300);
      llvm::APFloat rounded(number);
      bool inexact;
      rounded.convert(format.semantics, llvm::APFloat::rmNearestTiesToEven,
                      &inexact);
      uint64_t bits = rounded.bitcastToAPInt().getZExtValue();
      if (!std::isfinite(exact(bits)))
        continue;
      float weight = number * format.unit;
      uint8_t code;
      scheme.assign(weight, {1, 0}, code);
      EXPECT_EQ(scheme.value(code, {1, 0}), exact(bits) * format.unit)
          << format.key << " " << number;
    }
    uint8_t code;
    scheme.assign(1e30f, {1, 0}, code);
    EXPECT_EQ(scheme.value(code, {1, 0}),
              (format.unit < 1 ? 448.0f : 57344.0f) * format.unit);
    scheme.assign(-1e30f, {1, 0}, code);
    EXPECT_TRUE(code & 128);
  }
}

TEST_F(FormatsTest, NormalFloatsAreSymmetricAtTheirEnds) {
  const Scheme &nf4 = get("nf4");
  EXPECT_EQ(nf4.value(0, {2, 7}), -2.0f);
  EXPECT_EQ(nf4.value(7, {2, 7}), 0.0f);
  EXPECT_EQ(nf4.value(15, {2, 7}), 2.0f);
  EXPECT_EQ(nf4.value(8, {1, 7}), 0.07958029955625534f);
  for (int code = 1; code < 16; ++code)
    EXPECT_LT(nf4.value(uint8_t(code - 1), {1, 7}),
              nf4.value(uint8_t(code), {1, 7}));
}

TEST_F(FormatsTest, ClippingNeverCostsMore) {
  for (const char *key : kKeys)
    for (int seed = 0; seed < 20; ++seed) {
      std::vector<float> weights = makeWeights(64, 0.1f), importance(64);
      for (size_t i = 0; i < 64; ++i)
        importance[i] = float((i * 7 + size_t(seed)) % 5);
      weights[size_t(seed)] = 0.9f; // an outlier
      std::string clip = std::string(key) + ":clip";
      for (ArrayRef<float> weighting :
           {ArrayRef<float>(), ArrayRef(importance)})
        EXPECT_LE(getError(get(clip), weights, weighting),
                  getError(get(key), weights, weighting));
    }
  // An outlier that counts for nothing is clipped.
  std::vector<float> weights = makeWeights(64, 0.1f), importance(64, 1.0f);
  weights[5] = 0.19f;
  importance[5] = 0;
  EXPECT_LT(getError(get("w3a16:sym-mid:clip"), weights, importance),
            0.5 * getError(get("w3a16:sym-mid"), weights, importance));
}

TEST_F(FormatsTest, ZerosAndTinyWeightsAreSane) {
  for (const char *key : kKeys)
    for (float size : {0.0f, 1e-45f, 1e-38f, 1e-7f, 1e30f, 1e38f}) {
      const Scheme &scheme = get(std::string(key) + ":channel");
      std::vector<float> weights{size, -size, 0, size / 2};
      GroupAffine affine = scheme.choose(weights, {});
      EXPECT_TRUE(std::isfinite(affine.scale)) << key << " " << size;
      std::vector<uint8_t> codes(4);
      scheme.assign(weights, affine, codes);
      for (size_t i = 0; i < 4; ++i) {
        float value = scheme.value(codes[i], affine);
        EXPECT_TRUE(std::isfinite(value)) << key << " " << size;
        EXPECT_LE(std::fabs(value - weights[i]), size * 0.6f + 1e-44f);
      }
      EXPECT_EQ(scheme.value(codes[2], affine), 0.0f) << key << " " << size;
    }
}

TEST_F(FormatsTest, OneScaleForAWholeTensor) {
  const Scheme &scheme = get("w4a16:tensor:sym-narrow");
  std::vector<float> weights{1, 2, 3, -7, 0.4f, 2.6f};
  std::vector<char> bytes(24);
  std::memcpy(bytes.data(), weights.data(), 24);
  std::vector<float> rounded(6);
  ASSERT_FALSE(roundWeight(scheme, {3, 2, bytes}, rounded));
  EXPECT_EQ(rounded, (std::vector<float>{1, 2, 3, -7, 0, 3}));
}

namespace {
float fromBits(uint32_t bits) { return llvm::bit_cast<float>(bits); }
} // namespace

TEST_F(FormatsTest, Bfloat16RoundsToNearest) {
  const auto &scheme = llvm::cast<StoredFloatScheme>(get("bf16"));
  auto expectRound = [&](uint32_t from, uint32_t to) {
    EXPECT_EQ(llvm::bit_cast<uint32_t>(scheme.round(fromBits(from))), to)
        << std::hex << from;
  };
  expectRound(0x3f800000, 0x3f800000);
  expectRound(0x3f808000, 0x3f800000); // ties to even
  expectRound(0x3f818000, 0x3f820000);
  expectRound(0x3f807fff, 0x3f800000);
  expectRound(0x3f808001, 0x3f810000);
  expectRound(0xbf818000, 0xbf820000);
  expectRound(0x3fffffff, 0x40000000); // into the exponent
  expectRound(0x80000000, 0x80000000);
  expectRound(0x00008000, 0x00000000); // subnormal
  expectRound(0x00008001, 0x00010000);
  expectRound(0x007fffff, 0x00800000); // the least normal
  expectRound(0x7f7f7fff, 0x7f7f0000); // the largest stays finite
  expectRound(0x7f7f8000, 0x7f800000);
  // Every 9973rd finite float, as another implementation rounds.
  for (uint64_t bits = 0; bits < 0xff800000u; bits += 9973) {
    float weight = fromBits(uint32_t(bits));
    if (!std::isfinite(weight))
      continue;
    llvm::APFloat rounded(weight);
    bool inexact;
    rounded.convert(llvm::APFloat::BFloat(), llvm::APFloat::rmNearestTiesToEven,
                    &inexact);
    ASSERT_EQ(llvm::bit_cast<uint32_t>(scheme.round(weight)) >> 16,
              rounded.bitcastToAPInt().getZExtValue())
        << std::hex << bits;
  }
}

// Of each pair of rows the two words of a column lie side by side.
TEST_F(FormatsTest, Bfloat16StoresPairsOfRows) {
  const Scheme &scheme = get("bf16");
  std::vector<float> weights = makeWeights(size_t(70 * 19));
  ArrayRef<char> source(reinterpret_cast<const char *>(weights.data()),
                        weights.size() * 4);
  auto layout = getEncodedLayout(scheme, 70, 19);
  ASSERT_TRUE(layout);
  std::vector<char> out(size_t(layout->totalBytes), char(0x55));
  std::vector<float> rounded(weights.size());
  ASSERT_FALSE(encodeWeight(scheme, {70, 19, source}, out));
  ASSERT_FALSE(roundWeight(scheme, {70, 19, source}, rounded));
  for (int64_t row = 0; row < layout->groupK; ++row)
    for (int64_t at = 0; at < layout->blocks * kSchemeColumns; ++at) {
      uint16_t word;
      std::memcpy(&word,
                  out.data() + at / 16 * layout->groupBytes +
                      layout->codeOffset + row / 2 * 64 + at % 16 * 4 +
                      row % 2 * 2,
                  2);
      float want = row < 70 && at < 19 ? rounded[size_t(row * 19 + at)] : 0.0f;
      ASSERT_EQ(llvm::bit_cast<uint32_t>(want), uint32_t(word) << 16)
          << row << " " << at;
    }
}

TEST_F(FormatsTest, Bfloat16RefusesWhatItCannotHold) {
  const Scheme &scheme = get("bf16");
  std::vector<float> rounded(4);
  auto refuse = [&](float weight, ArrayRef<char> scales = {}) {
    std::vector<float> weights{1, 2, weight, 3};
    ArrayRef<char> bytes(reinterpret_cast<const char *>(weights.data()), 16);
    WeightSource source{2, 2, bytes};
    source.scales = scales;
    return llvm::toString(roundWeight(scheme, source, rounded));
  };
  EXPECT_EQ(refuse(3.3e38f), "");
  EXPECT_NE(refuse(fromBits(0x7f7f8000)).find("rounds to infinity in row 1"),
            std::string::npos);
  EXPECT_NE(refuse(fromBits(0xff7fffff)).find("rounds to infinity"),
            std::string::npos);
  EXPECT_NE(refuse(fromBits(0x7fc00000)).find("NaN"), std::string::npos);
  EXPECT_NE(refuse(fromBits(0xff800000)).find("got infinity"),
            std::string::npos);
  const char scales[8] = {};
  EXPECT_NE(refuse(0, scales).find("expected no scales"), std::string::npos);
  for (const char *bad : {"bf16:g32", "bf16:clip", "bf16:tensor", "bf16:"})
    EXPECT_NE(getProblem(bad).find("expected no parameters"), std::string::npos)
        << bad;
}

TEST_F(FormatsTest, BitFieldsUseEveryBit) {
  for (unsigned bits : {2u, 3u, 4u, 6u, 8u}) {
    BitFields fields(bits);
    CodeUnit unit = fields.getUnit();
    EXPECT_EQ(unit.k * 16 * bits, unit.bytes * 8);
    // Each bit of each code moves exactly one bit of the bytes, each another.
    std::vector<char> all(unit.bytes, 0);
    std::vector<uint8_t> codes(unit.k * 16, 0);
    for (size_t i = 0; i < codes.size(); ++i)
      for (unsigned bit = 0; bit < bits; ++bit) {
        codes[i] = uint8_t(1u << bit);
        std::vector<char> bytes(unit.bytes, 0);
        fields.pack(codes, bytes);
        codes[i] = 0;
        unsigned set = 0;
        for (size_t j = 0; j < bytes.size(); ++j) {
          set += unsigned(llvm::popcount(uint8_t(bytes[j])));
          EXPECT_EQ(all[j] & bytes[j], 0);
          all[j] |= bytes[j];
        }
        EXPECT_EQ(set, 1u);
      }
  }
}
