//===- GridTest.cpp - rounding to grids and what it costs -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TestGrid.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::test;

namespace {

TEST(Grid, ErrorThroughTheGramMatrixIsThatOfTheOutputs) {
  std::vector<float> w = makeWeights(1, 24, 5), x = makeInputs(2, 100, 24);
  LayerWeights layer = {24, 5, w};
  std::vector<double> gram = makeGram(x, 24);
  RoundedWeights rounded = roundToNearest(Asymmetric(3, 8), layer);
  double expected = measureError(x, layer, rounded.values);
  EXPECT_NEAR(getOutputError(layer, rounded.values, gram), expected,
              1e-9 * expected);
  std::vector<float> zeros(w.size());
  double power = measureError(x, layer, zeros);
  EXPECT_NEAR(getOutputPower(layer, gram), power, 1e-9 * power);
}

TEST(Grid, ErrorsOfManyColumnsAndRowsAreThose) {
  // Around the sizes of blocks: rows by 96, columns by 128, panels by 16.
  for (auto [k, n] : {std::pair<int64_t, int64_t>(95, 16),
                      {97, 17},
                      {130, 127},
                      {193, 129},
                      {260, 150}}) {
    std::vector<float> w = makeWeights(unsigned(k), k, n),
                       x = makeInputs(unsigned(n), 50, k);
    LayerWeights layer = {k, n, w};
    std::vector<float> rounded = roundToNearest(Asymmetric(3, 0), layer).values;
    double expected = measureError(x, layer, rounded);
    EXPECT_NEAR(getOutputError(layer, rounded, makeGram(x, k)), expected,
                1e-9 * expected)
        << k << " " << n;
  }
}

TEST(Grid, RoundingIsIdempotentAndWithinHalfAStep) {
  std::vector<float> w = makeWeights(3, 40, 7);
  Asymmetric grid(4, 16); // the last group has 8 rows
  LayerWeights layer = {40, 7, w};
  RoundedWeights once = roundToNearest(grid, layer);
  ASSERT_EQ(once.affines.size(), 3u * 7);
  for (int64_t i = 0; i < 40; ++i)
    for (int64_t j = 0; j < 7; ++j)
      EXPECT_LE(std::fabs(once.values[size_t(i * 7 + j)] - layer.at(i, j)),
                once.affines[size_t(i / 16 * 7 + j)].scale * 0.5001f)
          << i << ' ' << j;
  EXPECT_EQ(roundWith(grid, {40, 7, once.values}, once.affines), once.values);
}

TEST(Grid, WeightsThatAreNotFiniteCountAsZero) {
  std::vector<float> w = makeWeights(4, 16, 2);
  w[3] = NAN;
  w[8] = INFINITY;
  RoundedWeights rounded = roundToNearest(Asymmetric(4, 0), {16, 2, w});
  EXPECT_TRUE(allFinite(rounded.values));
  EXPECT_TRUE(allFinite(rounded.affines));
  EXPECT_EQ(rounded.values[3], 0.0f);
}

/// The least error over the candidates, one column at a time, by the
/// definition.
double findLeastError(const WeightGrid &grid, llvm::ArrayRef<float> column,
                      llvm::ArrayRef<float> inputs) {
  double least = INFINITY;
  for (int i = 0; i <= 10; ++i) {
    float p = 1.0f - float(i) / 20, low = 0, high = 0;
    low = *std::min_element(column.begin(), column.end());
    high = *std::max_element(column.begin(), column.end());
    std::vector<float> clipped(column.begin(), column.end());
    for (float &w : clipped)
      w = std::clamp(w, low * p, high * p);
    GridAffine affine = grid.choose(clipped, {});
    std::vector<float> rounded;
    for (float w : column)
      rounded.push_back(grid.round(w, affine));
    least = std::min(
        least,
        measureError(inputs, {int64_t(column.size()), 1, column}, rounded));
  }
  return least;
}

TEST(Grid, ClipSearchFindsTheLeastOfItsCandidates) {
  Asymmetric grid(3, 0);
  std::vector<float> w = makeWeights(5, 32, 3), x = makeInputs(6, 80, 32);
  w[3 * 9] = 0.9f; // an outlier that is worth clipping
  LayerWeights layer = {32, 3, w};
  std::vector<double> gram = makeGram(x, 32);
  RoundedWeights found = searchClip(grid, layer, gram);
  for (int64_t j = 0; j < 3; ++j) {
    std::vector<float> column, rounded;
    for (int64_t i = 0; i < 32; ++i) {
      column.push_back(layer.at(i, j));
      rounded.push_back(found.values[size_t(i * 3 + j)]);
    }
    double expected = findLeastError(grid, column, x);
    EXPECT_NEAR(measureError(x, {32, 1, column}, rounded), expected,
                1e-6 * expected);
  }
  EXPECT_LT(getOutputError(layer, found.values, gram),
            getOutputError(layer, roundToNearest(grid, layer).values, gram));
}

TEST(Grid, ClipSearchByGroupsNeverCostsMoreInItsMeasure) {
  Asymmetric grid(2, 16);
  std::vector<float> w = makeWeights(7, 40, 6), x = makeInputs(8, 90, 40);
  LayerWeights layer = {40, 6, w};
  std::vector<double> gram = makeGram(x, 40);
  for (int64_t exactRows : {1024, 1}) {
    ClipOptions options;
    options.exactRows = exactRows;
    RoundedWeights found = searchClip(grid, layer, gram, options),
                   plain = roundToNearest(grid, layer);
    ASSERT_EQ(found.affines.size(), plain.affines.size());
    // Only the blocks of groups, or the diagonal, count in the measure.
    std::vector<double> measure(gram.size());
    for (size_t i = 0; i < 40; ++i)
      for (size_t j = 0; j < 40; ++j)
        if (exactRows == 1 ? i == j : i / 16 == j / 16)
          measure[i * 40 + j] = gram[i * 40 + j];
    EXPECT_LT(getOutputError(layer, found.values, measure),
              getOutputError(layer, plain.values, measure));
  }
}

TEST(Grid, ClipSearchWithoutDataRoundsToNearest) {
  Asymmetric grid(3, 8);
  std::vector<float> w = makeWeights(9, 16, 4);
  for (double value : {0.0, double(NAN), double(INFINITY)}) {
    std::vector<double> gram(16 * 16, value);
    EXPECT_EQ(searchClip(grid, {16, 4, w}, gram).values,
              roundToNearest(grid, {16, 4, w}).values);
  }
}

} // namespace
