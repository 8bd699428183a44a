//===- WeightMathTest.cpp ---------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantize/StaticInt8/WeightMath.h"
#include "TestGrid.h"
#include "gtest/gtest.h"

using namespace qcc;

namespace {

/// Signed codes of 4 bits without a zero point; the range times `share`.
class Symmetric final : public WeightGrid {
public:
  explicit Symmetric(float share = 1) : share(share) {}
  int64_t getGroup() const override { return 0; }
  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float>) const override {
    float extreme = 0;
    for (float w : weights)
      if (std::fabs(w) > std::fabs(extreme))
        extreme = w;
    return {extreme * share / -8, 8};
  }
  float round(float weight, GridAffine affine) const override {
    if (affine.scale == 0)
      return 0;
    return affine.scale *
           std::clamp(std::nearbyint(weight / affine.scale), -8.0f, 7.0f);
  }

private:
  float share;
};

constexpr int64_t kOutputs = 6, kRows = 20, kSamples = 200;

std::vector<double> makeGram() {
  return test::makeGram(test::makeInputs(3, kSamples, kRows), kRows);
}

/// The error of the outputs of a weight [outputs, rows].
double getError(const std::vector<float> &weight,
                const std::vector<float> &rounded,
                const std::vector<double> &gram) {
  double error = 0;
  for (int64_t o = 0; o < kOutputs; ++o)
    for (int64_t i = 0; i < kRows; ++i)
      for (int64_t j = 0; j < kRows; ++j) {
        auto change = [&](int64_t k) {
          auto at = size_t(o * kRows + k);
          return double(weight[at]) - rounded[at];
        };
        error += change(i) * gram[size_t(i * kRows + j)] * change(j);
      }
  return error;
}

TEST(WeightMathTest, numbersAreCodesTimesScales) {
  std::vector<float> weight = test::makeWeights(1, kOutputs, kRows);
  ChosenValues chosen =
      chooseWeight(Symmetric(), Symmetric(0.8f), weight, kOutputs, makeGram());
  ASSERT_EQ(chosen.scales.size(), size_t(kOutputs));
  for (int64_t i = 0; i < kOutputs * kRows; ++i) {
    float scale = chosen.scales[size_t(i / kRows)],
          code = std::nearbyint(chosen.values[size_t(i)] / scale);
    EXPECT_GE(code, -8) << i;
    EXPECT_LE(code, 7) << i;
    EXPECT_EQ(chosen.values[size_t(i)], code * scale) << i;
  }
}

TEST(WeightMathTest, choosesTheLeastErrorOfOutputs) {
  std::vector<float> weight = test::makeWeights(1, kOutputs, kRows),
                     nearest(weight.size());
  std::vector<double> gram = makeGram();
  ChosenValues chosen =
      chooseWeight(Symmetric(), Symmetric(0.8f), weight, kOutputs, gram);
  for (int64_t o = 0; o < kOutputs; ++o) {
    auto row = llvm::ArrayRef(weight).slice(size_t(o * kRows), kRows);
    GridAffine affine = Symmetric().choose(row, {});
    for (int64_t i = 0; i < kRows; ++i)
      nearest[size_t(o * kRows + i)] =
          Symmetric().round(row[size_t(i)], affine);
  }
  // Correlated inputs: rows make up for each other.
  EXPECT_EQ(chosen.method.substr(0, 4), "gptq");
  EXPECT_LT(getError(weight, chosen.values, gram),
            0.7 * getError(weight, nearest, gram));
  ChosenValues refined = chooseWeight(Symmetric(), Symmetric(0.8f), weight,
                                      kOutputs, gram, {{}, /*refine=*/true});
  EXPECT_EQ(refined.method, "refine");
  EXPECT_LT(getError(weight, refined.values, gram),
            0.97 * getError(weight, chosen.values, gram));
}

/// Signed codes of 8 bits.
class Bytes final : public WeightGrid {
public:
  int64_t getGroup() const override { return 0; }
  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float>) const override {
    float most = 0;
    for (float w : weights)
      most = std::fmax(most, std::fabs(w));
    return {most / 127, 0};
  }
  float round(float weight, GridAffine affine) const override {
    if (affine.scale == 0)
      return 0;
    return affine.scale *
           std::clamp(std::nearbyint(weight / affine.scale), -127.0f, 127.0f);
  }
};

TEST(WeightMathTest, codesFitInPairsOfKernelRows) {
  // Five inputs by four taps, of which rows 2 j and 2 j + 1 of the kernel's
  // order make a pair; large weights of one sign beside each other.
  std::vector<int64_t> rows;
  for (int64_t tap = 0; tap < 4; ++tap)
    for (int64_t input = 0; input < 5; ++input)
      rows.push_back(input * 4 + tap);
  std::vector<double> gram = makeGram();
  for (int seed = 0; seed < 40; ++seed) {
    std::vector<float> weight = test::makeWeights(seed, kOutputs, kRows);
    float large = seed % 2 ? 4.0f : -4.0f;
    for (int64_t i : {6, 7})
      weight[size_t(rows[size_t(i)])] = large + float(seed) / 40;
    ChosenValues plain = chooseWeight(Bytes(), Bytes(), weight, kOutputs, gram),
                 fitting = chooseWeight(Bytes(), Bytes(), weight, kOutputs,
                                        gram, {rows});
    auto getLargest = [&](const ChosenValues &chosen) {
      long largest = 0;
      for (int64_t o = 0; o < kOutputs; ++o)
        for (int64_t i = 0; i < kRows; i += 2) {
          long codes[2];
          for (int64_t p : {0, 1})
            codes[p] = std::lround(
                chosen.values[size_t(o * kRows + rows[size_t(i + p)])] /
                chosen.scales[size_t(o)]);
          if ((codes[0] < 0) == (codes[1] < 0))
            largest = std::max(largest, std::labs(codes[0] + codes[1]));
        }
      return largest;
    };
    EXPECT_GT(getLargest(plain), 128) << seed;
    EXPECT_LE(getLargest(fitting), 128) << seed;
    // Not worse than rounding to nearest with the least scales that fit.
    std::vector<float> nearest(weight.size());
    for (int64_t o = 0; o < kOutputs; ++o) {
      const float *row = &weight[size_t(o * kRows)];
      float most = 0;
      for (int64_t i = 0; i < kRows; ++i)
        most = std::fmax(most, std::fabs(row[i]) / 127);
      for (int64_t i = 0; i < kRows; i += 2) {
        float a = row[rows[size_t(i)]], b = row[rows[size_t(i + 1)]];
        if ((a < 0) == (b < 0))
          most = std::fmax(most, std::fabs(a + b) / 127.99f);
      }
      for (int64_t i = 0; i < kRows; ++i)
        nearest[size_t(o * kRows + i)] = Bytes().round(row[i], {most, 0});
    }
    EXPECT_LE(getError(weight, fitting.values, gram),
              getError(weight, nearest, gram) * 1.0001)
        << seed;
  }
}

TEST(WeightMathTest, roundsOnTheClippedGridWithoutInputs) {
  std::vector<float> weight{-1, 0.5f, 0.25f, 2};
  ChosenValues chosen =
      chooseWeight(Symmetric(), Symmetric(0.5f), weight, 2, {});
  EXPECT_EQ(chosen.method, "clip");
  EXPECT_EQ(chosen.scales, (std::vector<float>{1 / 16.0f, -1 / 8.0f}));
  EXPECT_EQ(chosen.values, (std::vector<float>{-0.5f, 0.4375f, 0.25f, 1}));
}

TEST(WeightMathTest, vanishingChannelsAreZero) {
  std::vector<float> weight{0, 0, 1e-38f, -1e-38f};
  ChosenValues chosen = chooseWeight(Symmetric(), Symmetric(), weight, 2, {});
  EXPECT_EQ(chosen.scales, (std::vector<float>{1, 1}));
  EXPECT_EQ(chosen.values, (std::vector<float>{0, 0, 0, 0}));
}

} // namespace
