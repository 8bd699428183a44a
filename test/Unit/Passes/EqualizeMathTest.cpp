//===- EqualizeMathTest.cpp -------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantize/StaticInt8/EqualizeMath.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <cmath>
#include <random>

using namespace qcc;

namespace {

constexpr size_t kChannels = 16, kOutputs = 8, kRows = 400;

/// An activation whose channels have ranges of their own, and a weight.
struct Layer {
  std::vector<float> x, w, mins, maxs, squares;

  explicit Layer(double spread, unsigned seed = 1)
      : x(kRows * kChannels), w(kOutputs * kChannels), mins(kChannels),
        maxs(kChannels), squares(kChannels) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = normal(random) *
             float(std::exp2(-spread * double(i % kChannels) / kChannels));
    for (float &value : w)
      value = normal(random);
    for (size_t i = 0; i < x.size(); ++i) {
      size_t c = i % kChannels;
      mins[c] = std::min(mins[c], x[i]);
      maxs[c] = std::max(maxs[c], x[i]);
      squares[c] += x[i] * x[i] / kRows;
    }
  }
  ChannelData getData() const { return {mins, maxs, squares}; }
  ReadingWeight getWeight() const {
    ReadingWeight weight;
    weight.outputs = kOutputs;
    weight.inputs = kChannels;
    weight.outputStride = kChannels;
    weight.values = w;
    return weight;
  }

  /// The error of the product in 8 bits by doing it: mean over outputs of the
  /// squared error over the power.
  double measure(const std::vector<float> &scales) const {
    double low = 0, high = 0;
    for (size_t c = 0; c < kChannels; ++c) {
      low = std::min(low, double(mins[c]) / scales[c]);
      high = std::max(high, double(maxs[c]) / scales[c]);
    }
    double step = (high - low) / 255, sum = 0;
    for (size_t o = 0; o < kOutputs; ++o) {
      double largest = 0, error = 0, power = 0;
      for (size_t c = 0; c < kChannels; ++c)
        largest = std::max(largest,
                           std::fabs(double(w[o * kChannels + c]) * scales[c]));
      double weightStep = largest / 127;
      for (size_t r = 0; r < kRows; ++r) {
        double exact = 0, rounded = 0;
        for (size_t c = 0; c < kChannels; ++c) {
          double a = x[r * kChannels + c], b = w[o * kChannels + c];
          exact += a * b;
          rounded += std::nearbyint(a / scales[c] / step) * step *
                     std::nearbyint(b * scales[c] / weightStep) * weightStep;
        }
        error += (exact - rounded) * (exact - rounded);
        power += exact * exact;
      }
      sum += error / power;
    }
    return sum / kOutputs;
  }
};

TEST(EqualizeMathTest, estimatesWhatRoundingDoes) {
  std::vector<float> ones(kChannels, 1);
  for (double spread : {0.0, 4.0, 8.0}) {
    Layer layer(spread);
    double estimate = estimateError(layer.getData(), layer.getWeight(), ones);
    EXPECT_NEAR(estimate / layer.measure(ones), 1, 0.35) << spread;
  }
}

TEST(EqualizeMathTest, scalesMakeProductsMoreExact) {
  // Small channels matter where their weights are large.
  Layer layer(8);
  for (size_t i = 0; i < layer.w.size(); ++i)
    layer.w[i] *= float(std::exp2(6.0 * double(i % kChannels) / kChannels));
  std::vector<float> scales = chooseScales(layer.getData(), layer.getWeight()),
                     ones(kChannels, 1);
  ASSERT_EQ(scales.size(), kChannels);
  EXPECT_LT(layer.measure(scales), 0.5 * layer.measure(ones));
}

TEST(EqualizeMathTest, leavesEqualChannelsAlone) {
  Layer layer(0);
  EXPECT_TRUE(chooseScales(layer.getData(), layer.getWeight()).empty());
}

TEST(EqualizeMathTest, depthwiseWeightsCostNothing) {
  // Each channel has its own weight scale: all go half of the way, as data may
  // be larger than what was seen of them.
  Layer layer(8);
  ReadingWeight weight;
  weight.outputs = weight.groups = kChannels;
  weight.taps = weight.outputStride = weight.inputStride = kOutputs;
  weight.values = layer.w;
  double loudest = 0;
  for (size_t c = 0; c < kChannels; ++c)
    loudest =
        std::max({loudest, double(-layer.mins[c]), double(layer.maxs[c])});
  std::vector<float> scales = chooseScales(layer.getData(), weight);
  ASSERT_EQ(scales.size(), kChannels);
  for (size_t c = 0; c < kChannels; ++c) {
    auto get = [&](size_t i) {
      return std::max(double(std::max(-layer.mins[i], layer.maxs[i])),
                      loudest / 256);
    };
    EXPECT_NEAR(scales[c] / scales[0], std::sqrt(get(c) / get(0)), 1e-3);
  }
}

TEST(EqualizeMathTest, bearsWhatIsNeverSeenOrRead) {
  Layer layer(8);
  layer.mins[3] = layer.maxs[3] = layer.squares[3] = 0;
  for (size_t o = 0; o < kOutputs; ++o)
    layer.w[o * kChannels + 5] = 0;
  for (float scale : chooseScales(layer.getData(), layer.getWeight())) {
    EXPECT_TRUE(std::isfinite(scale));
    EXPECT_GT(scale, 0);
  }
  std::fill(layer.w.begin(), layer.w.end(), 0.0f);
  EXPECT_TRUE(chooseScales(layer.getData(), layer.getWeight()).empty());
}

} // namespace
