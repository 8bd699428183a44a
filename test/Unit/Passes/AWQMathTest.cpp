//===- AWQMathTest.cpp - the search of AWQ's scales -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Transform/AWQ/AWQMath.h"
#include "TestGrid.h"
#include "qcc/Scheme/GPTQ.h"
#include "gtest/gtest.h"
#include <set>

using namespace qcc;
using namespace qcc::test;

namespace {

constexpr int64_t kInputs = 24, kColumns = 6;

/// A layer with one input that is much larger than the others.
struct Layer {
  explicit Layer(unsigned seed, int64_t rows = 150)
      : w(makeWeights(seed, kInputs, kColumns)),
        x(makeInputs(seed + 1, rows, kInputs)) {
    for (size_t r = 0; r < size_t(rows); ++r)
      x[r * kInputs + 4] *= 30;
    update();
  }
  void update() {
    gram = makeGram(x, kInputs);
    meanAbs.assign(kInputs, 0);
    size_t rows = x.size() / kInputs;
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < kInputs; ++i)
        meanAbs[i] += std::fabs(x[r * kInputs + i]) / float(rows);
  }
  LayerWeights get() const { return {kInputs, kColumns, w}; }
  std::vector<float> w, x, meanAbs;
  std::vector<double> gram;
};

/// Mean over rows of |x (W - Q(W s) / s)|^2 over that of |x W|^2, by outputs.
double measure(const WeightGrid &grid, const Layer &layer,
               llvm::ArrayRef<float> scales) {
  std::vector<float> scaled = awq::scaleRows(layer.get(), scales);
  std::vector<float> back =
      roundToNearest(grid, {kInputs, kColumns, scaled}).values;
  for (size_t i = 0; i < kInputs; ++i)
    for (size_t j = 0; j < kColumns; ++j)
      back[i * kColumns + j] /= scales[i];
  std::vector<float> zeros(layer.w.size());
  return measureError(layer.x, layer.get(), back) /
         measureError(layer.x, layer.get(), zeros);
}

/// All scales of the grid by the published formulas, and their least error.
double findLeast(const WeightGrid &grid, const Layer &layer, bool byWeights) {
  double least = measure(grid, layer, std::vector<float>(kInputs, 1.0f));
  std::vector<double> meanWeights(kInputs);
  int64_t rows = getGroupRows(grid, kInputs);
  for (int64_t i = 0; i < kInputs; ++i)
    for (int64_t j = 0; j < kColumns; ++j) {
      float largest = 0;
      for (int64_t m = i / rows * rows;
           m < std::min(kInputs, (i / rows + 1) * rows); ++m)
        largest = std::max(largest, std::fabs(layer.get().at(m, j)));
      meanWeights[size_t(i)] +=
          std::fabs(layer.get().at(i, j)) / (largest + 1e-6) / kColumns;
    }
  for (int step = 0; step <= 20; ++step) {
    double a = step / 20.0;
    std::vector<double> s(kInputs);
    for (size_t i = 0; i < kInputs; ++i) {
      s[i] = std::pow(double(layer.meanAbs[i]), a);
      if (byWeights)
        s[i] /= std::pow(meanWeights[i], 1 - a) + 1e-4;
      s[i] = std::max(s[i], 1e-4);
    }
    double low = *std::min_element(s.begin(), s.end()),
           high = *std::max_element(s.begin(), s.end());
    std::vector<float> scales;
    for (double v : s)
      scales.push_back(float(v / std::sqrt(low * high)));
    least = std::min(least, measure(grid, layer, scales));
  }
  return least;
}

TEST(AWQ, FindsTheLeastErrorOfTheGrid) {
  for (int64_t group : {0, 8}) {
    Asymmetric grid(3, group);
    Layer layer(1);
    awq::Options options;
    for (bool byWeights : {false, true}) {
      options.byWeights = byWeights;
      LayerWeights weights = layer.get();
      awq::Result found =
          awq::search(grid, weights, layer.meanAbs, layer.gram, {}, options);
      double expected = findLeast(grid, layer, false);
      if (byWeights)
        expected = std::min(expected, findLeast(grid, layer, true));
      EXPECT_NEAR(found.errorAfter, expected, 1e-4 * expected);
      EXPECT_NEAR(measure(grid, layer, found.scales), expected,
                  1e-4 * expected);
      EXPECT_LT(found.errorAfter, 0.9 * found.errorBefore);
      EXPECT_GT(found.scales[4], found.scales[5]);
    }
  }
}

TEST(AWQ, ScalingChangesNothingInFloat) {
  Layer layer(3);
  LayerWeights weights = layer.get();
  awq::Result found =
      awq::search(Asymmetric(3, 8), weights, layer.meanAbs, layer.gram);
  std::vector<float> scaled = awq::scaleRows(weights, found.scales);
  for (size_t r = 0; r < 20; ++r)
    for (size_t j = 0; j < kColumns; ++j) {
      double before = 0, after = 0, size = 0;
      for (size_t i = 0; i < kInputs; ++i) {
        double x = layer.x[r * kInputs + i];
        before += x * layer.w[i * kColumns + j];
        size += std::fabs(x * layer.w[i * kColumns + j]);
        after += x / double(found.scales[i]) * scaled[i * kColumns + j];
      }
      EXPECT_NEAR(before, after, 1e-6 * size);
    }
}

TEST(AWQ, LayersThatShareAnInputShareScales) {
  Layer a(5), b(7);
  Asymmetric grid(3, 8);
  LayerWeights layers[] = {a.get(), b.get()};
  awq::Result found = awq::search(grid, layers, a.meanAbs, a.gram);
  double error = 0, power = 0;
  for (const LayerWeights &layer : layers) {
    std::vector<float> scaled = awq::scaleRows(layer, found.scales);
    std::vector<float> back =
        roundToNearest(grid, {kInputs, kColumns, scaled}).values;
    for (size_t i = 0; i < back.size(); ++i)
      back[i] /= found.scales[i / kColumns];
    error += measureError(a.x, layer, back);
    power += measureError(a.x, layer, std::vector<float>(back.size()));
  }
  EXPECT_NEAR(found.errorAfter, error / power, 1e-4 * found.errorAfter);
}

TEST(AWQ, ClassesHaveOneScale) {
  Layer layer(9);
  std::vector<int64_t> classOf;
  for (int64_t i = 0; i < kInputs; ++i)
    classOf.push_back(i / 12 * 6 + i % 6); // heads that share keys and values
  LayerWeights weights = layer.get();
  awq::Result found = awq::search(Asymmetric(3, 0), weights, layer.meanAbs,
                                  layer.gram, classOf);
  EXPECT_FALSE(found.isIdentity());
  for (size_t i = 0; i < kInputs; ++i)
    for (size_t j = 0; j < kInputs; ++j)
      if (classOf[i] == classOf[j])
        EXPECT_EQ(found.scales[i], found.scales[j]);
  EXPECT_GT(std::set<float>(found.scales.begin(), found.scales.end()).size(),
            6u);
}

TEST(AWQ, TheJudgeDecides) {
  Layer layer(11);
  Asymmetric grid(2, 8);
  LayerWeights weights = layer.get();
  auto judge = [&](llvm::ArrayRef<float> scales) -> awq::ColumnJudge {
    auto factor = std::make_shared<gptq::Factor>(
        layer.gram, int64_t(scales.size()), gptq::Options(), scales);
    return [=, &grid](LayerWeights, LayerWeights scaled) {
      return factor->solve(grid, scaled).error.value();
    };
  };
  awq::Result found =
      awq::search(grid, weights, layer.meanAbs, layer.gram, {}, {}, judge);
  double alone = getOutputError(
      weights, gptq::solve(grid, weights, layer.gram).weights.values,
      layer.gram);
  EXPECT_NEAR(found.errorBefore, alone / getOutputPower(weights, layer.gram),
              1e-9);
  EXPECT_LE(found.errorAfter, found.errorBefore);
  // A judge to whom scaling is worse keeps the identity.
  auto hostile = [&](llvm::ArrayRef<float> scales) -> awq::ColumnJudge {
    bool isIdentity = llvm::all_of(scales, [](float s) { return s == 1; });
    return [=](LayerWeights, LayerWeights) { return isIdentity ? 0.0 : 1.0; };
  };
  found =
      awq::search(grid, weights, layer.meanAbs, layer.gram, {}, {}, hostile);
  EXPECT_TRUE(found.isIdentity());
  for (float s : found.scales)
    EXPECT_EQ(s, 1.0f);
}

//===----------------------------------------------------------------------===//
// Pitfalls
//===----------------------------------------------------------------------===//

void expectSane(const awq::Result &result) {
  EXPECT_TRUE(allFinite(result.scales));
  for (float s : result.scales)
    EXPECT_GT(s, 0.0f);
  EXPECT_LE(result.errorAfter, result.errorBefore);
}

awq::Result run(const Layer &layer, double maxRatio = 1e4) {
  LayerWeights weights = layer.get();
  awq::Options options;
  options.maxRatio = maxRatio;
  return awq::search(Asymmetric(3, 8), weights, layer.meanAbs, layer.gram, {},
                     options);
}

TEST(AWQ, ChannelsOfZeroAreHarmless) {
  Layer layer(20);
  for (size_t r = 0; r < 150; ++r)
    layer.x[r * kInputs + 2] = 0;
  layer.update();
  awq::Result result = run(layer);
  expectSane(result);
  EXPECT_LT(result.errorAfter, result.errorBefore);
}

TEST(AWQ, GroupsOfZeroWeightsAreHarmless) {
  Layer layer(21);
  std::fill_n(layer.w.begin(), 8 * kColumns, 0.0f);
  expectSane(run(layer));
  std::fill(layer.w.begin(), layer.w.end(), 0.0f);
  awq::Result zero = run(layer);
  expectSane(zero);
  EXPECT_TRUE(zero.isIdentity());
}

TEST(AWQ, InputsOfZeroKeepTheIdentity) {
  Layer layer(22);
  std::fill(layer.x.begin(), layer.x.end(), 0.0f);
  layer.update();
  awq::Result result = run(layer);
  expectSane(result);
  EXPECT_TRUE(result.isIdentity());
}

TEST(AWQ, ScalesAreBounded) {
  Layer layer(23);
  for (size_t r = 0; r < 150; ++r) {
    layer.x[r * kInputs + 4] *= 1e12f;
    layer.x[r * kInputs + 5] *= 1e-12f;
  }
  layer.update();
  awq::Result result = run(layer, 100);
  expectSane(result);
  auto [low, high] =
      std::minmax_element(result.scales.begin(), result.scales.end());
  EXPECT_LE(*high / *low, 100.1f);
}

TEST(AWQ, WeightsThatWouldOverflowAreNotScaled) {
  Layer layer(24);
  layer.w[4 * kColumns] = 3e38f;
  awq::Result result = run(layer);
  EXPECT_TRUE(allFinite(result.scales));
  EXPECT_TRUE(allFinite(awq::scaleRows(layer.get(), result.scales)));
}

TEST(AWQ, StatisticsThatAreNotFiniteKeepTheIdentity) {
  for (float value : {NAN, INFINITY}) {
    Layer layer(25);
    layer.meanAbs[3] = value;
    for (size_t j = 0; j < kInputs; ++j)
      layer.gram[3 * kInputs + j] = layer.gram[j * kInputs + 3] = value;
    awq::Result result = run(layer);
    EXPECT_TRUE(result.isIdentity());
    EXPECT_TRUE(allFinite(result.scales));
  }
}

TEST(AWQ, OneRowIsEnough) {
  Layer layer(26, 1);
  expectSane(run(layer));
}

TEST(AWQ, NothingToScaleIsTheIdentity) {
  awq::Result result = awq::search(Asymmetric(3, 8), {}, {}, {});
  EXPECT_TRUE(result.isIdentity());
}

} // namespace
