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
