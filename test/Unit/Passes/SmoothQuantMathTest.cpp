//===- SmoothQuantMathTest.cpp - moving outliers into weights ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Transform/SmoothQuant/SmoothQuantMath.h"
#include "TestGrid.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::test;

namespace {

constexpr int64_t kInputs = 32, kColumns = 8;
constexpr size_t kRows = 200;

struct Layer {
  explicit Layer(unsigned seed, float outlier = 60)
      : w(makeWeights(seed, kInputs, kColumns)),
        x(makeInputs(seed + 1, kRows, kInputs)) {
    for (size_t r = 0; r < kRows; ++r)
      x[r * kInputs + 9] *= outlier;
    update();
  }
  void update() {
    gram = makeGram(x, kInputs);
    range.assign(kInputs, 0);
    for (size_t i = 0; i < x.size(); ++i)
      range[i % kInputs] = std::max(range[i % kInputs], std::fabs(x[i]));
  }
  LayerWeights get() const { return {kInputs, kColumns, w}; }
  std::vector<float> w, x, range;
  std::vector<double> gram;
};

/// What the outputs lose with codes of 8 bits for both, by the definition.
double measure(const WeightGrid &grid, const Layer &layer,
               llvm::ArrayRef<float> scales) {
  std::vector<float> scaled = layer.w;
  for (size_t i = 0; i < scaled.size(); ++i)
    scaled[i] *= scales[i / kColumns];
  std::vector<float> rounded =
      roundToNearest(grid, {kInputs, kColumns, scaled}).values;
  double error = 0, power = 0;
  for (size_t r = 0; r < kRows; ++r) {
    std::vector<double> x(kInputs), codes(kInputs);
    double largest = 0;
    for (size_t i = 0; i < kInputs; ++i) {
      x[i] = double(layer.x[r * kInputs + i]) / double(scales[i]);
      largest = std::max(largest, std::fabs(x[i]));
    }
    for (size_t i = 0; i < kInputs; ++i)
      codes[i] = std::nearbyint(x[i] * 127 / largest) * largest / 127;
    for (size_t j = 0; j < kColumns; ++j) {
      double exact = 0, got = 0;
      for (size_t i = 0; i < kInputs; ++i) {
        exact += x[i] * scaled[i * kColumns + j];
        got += codes[i] * rounded[i * kColumns + j];
      }
      error += (exact - got) * (exact - got);
      power += exact * exact;
    }
  }
  return error / power;
}

TEST(SmoothQuant, ScalesAreThePublishedFormula) {
  Layer layer(1);
  LayerWeights weights = layer.get();
  std::vector<float> range = smoothquant::getWeightRange(weights);
  for (double alpha : {0.5, 0.85}) {
    std::vector<float> scales =
        smoothquant::getScales(layer.range, range, alpha);
    for (size_t i = 0; i < kInputs; ++i) {
      float largest = 0;
      for (size_t j = 0; j < kColumns; ++j)
        largest = std::max(largest, std::fabs(layer.w[i * kColumns + j]));
      double expected = std::pow(double(layer.range[i]), alpha) /
                        std::pow(double(largest), 1 - alpha);
      EXPECT_NEAR(scales[i], expected, 1e-5 * expected);
    }
  }
}

TEST(SmoothQuant, WeightsOfAllLayersCount) {
  Layer a(3), b(5);
  LayerWeights layers[] = {a.get(), b.get()};
  std::vector<float> range = smoothquant::getWeightRange(layers);
  for (size_t i = 0; i < kInputs; ++i) {
    float largest = 0;
    for (size_t j = 0; j < kColumns; ++j)
      largest = std::max({largest, std::fabs(a.w[i * kColumns + j]),
                          std::fabs(b.w[i * kColumns + j])});
    EXPECT_EQ(range[i], largest);
  }
}

TEST(SmoothQuant, TheErrorIsThatOfTheOutputs) {
  Asymmetric grid(8, 0);
  Layer layer(7);
  LayerWeights weights = layer.get();
  std::vector<float> scales(kInputs, 1.0f);
  for (double alpha : {-1.0, 0.3, 0.6, 0.9}) {
    if (alpha >= 0)
      scales = smoothquant::getScales(
          layer.range, smoothquant::getWeightRange(weights), alpha);
    double expected = measure(grid, layer, scales);
    EXPECT_NEAR(
        smoothquant::getError(grid, weights, layer.x, layer.gram, scales, 0),
        expected, 0.35 * expected)
        << alpha;
  }
}

TEST(SmoothQuant, TheSearchRemovesWhatOutliersCost) {
  Asymmetric grid(8, 0);
  Layer layer(9);
  LayerWeights weights = layer.get();
  std::vector<double> alphas = {0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
  smoothquant::Result result = smoothquant::search(
      grid, weights, layer.range, layer.x, layer.gram, 0, alphas);
  double plain = measure(grid, layer, std::vector<float>(kInputs, 1.0f)),
         smooth = measure(grid, layer, result.scales);
  EXPECT_LT(smooth, plain / 4);
  for (double alpha : alphas)
    EXPECT_GT(
        measure(grid, layer,
                smoothquant::getScales(
                    layer.range, smoothquant::getWeightRange(weights), alpha)),
        0.7 * smooth);
}

TEST(SmoothQuant, SmallGroupsOfInputsNeedLess) {
  Asymmetric grid(8, 0);
  Layer layer(11);
  LayerWeights weights = layer.get();
  std::vector<float> ones(kInputs, 1.0f);
  EXPECT_LT(smoothquant::getError(grid, weights, layer.x, layer.gram, ones, 8),
            smoothquant::getError(grid, weights, layer.x, layer.gram, ones, 0));
}

TEST(SmoothQuant, ClassesHaveOneScale) {
  Layer layer(13);
  LayerWeights weights = layer.get();
  std::vector<int64_t> classOf;
  for (int64_t i = 0; i < kInputs; ++i)
    classOf.push_back(i % 16);
  std::vector<float> scales = smoothquant::getScales(
      layer.range, smoothquant::getWeightRange(weights), 0.5, classOf);
  for (size_t i = 0; i < 16; ++i)
    EXPECT_EQ(scales[i], scales[i + 16]);
  EXPECT_NE(scales[0], scales[1]);
}

//===----------------------------------------------------------------------===//
// Pitfalls
//===----------------------------------------------------------------------===//

void expectSane(llvm::ArrayRef<float> scales) {
  EXPECT_TRUE(allFinite(scales));
  for (float s : scales)
    EXPECT_GT(s, 0.0f);
}

TEST(SmoothQuant, DeadInputsAreNotScaled) {
  std::vector<float> x = {0, 1, 2, 3}, w = {1, 0, 2, 3};
  std::vector<float> scales = smoothquant::getScales(x, w, 0.5);
  expectSane(scales);
  EXPECT_EQ(scales[0], 1.0f);
  std::vector<float> zeros(4);
  for (float s : smoothquant::getScales(zeros, zeros, 0.5))
    EXPECT_EQ(s, 1.0f);
}

TEST(SmoothQuant, ExtremesAreBounded) {
  std::vector<float> x = {3e38f, 1, 1, 1, 1e-38f}, w = {1e-38f, 1, 1, 1, 3e38f};
  for (double alpha : {0.0, 0.5, 1.0}) {
    std::vector<float> scales = smoothquant::getScales(x, w, alpha);
    expectSane(scales);
    for (float s : scales) {
      EXPECT_LE(s, 1.01e4f);
      EXPECT_GE(s, 0.99e-4f);
    }
  }
}

TEST(SmoothQuant, RangesThatAreNotFiniteAreNotScaled) {
  std::vector<float> x = {NAN, INFINITY, 2, 3}, w = {1, 1, NAN, 1};
  std::vector<float> scales = smoothquant::getScales(x, w, 0.5);
  expectSane(scales);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(scales[i], 1.0f);
}

TEST(SmoothQuant, NothingIsScaledWhereItDoesNotHelp) {
  Asymmetric grid(8, 0);
  Layer layer(15);
  std::fill(layer.x.begin(), layer.x.end(), 0.0f);
  layer.update();
  LayerWeights weights = layer.get();
  smoothquant::Result result = smoothquant::search(
      grid, weights, layer.range, layer.x, layer.gram, 0, {0.5});
  EXPECT_LT(result.alpha, 0);
  for (float s : result.scales)
    EXPECT_EQ(s, 1.0f);
}

TEST(SmoothQuant, AFixedAlphaIsTaken) {
  Asymmetric grid(8, 0);
  Layer layer(17, 1);
  LayerWeights weights = layer.get();
  smoothquant::Result result =
      smoothquant::search(grid, weights, layer.range, layer.x, layer.gram, 0,
                          {0.95}, {}, /*always=*/true);
  EXPECT_EQ(result.alpha, 0.95);
}

} // namespace
