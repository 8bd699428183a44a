//===- RefineTest.cpp - weights moved to where they cost less ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Refine.h"
#include "TestGrid.h"
#include "qcc/Scheme/GPTQ.h"
#include "gtest/gtest.h"
#include <limits>

using namespace qcc;
using namespace qcc::test;

namespace {

/// A grid whose scales are stored as powers of two with two more bits.
class CoarseScales final : public WeightGrid {
public:
  CoarseScales(unsigned bits, int64_t group) : grid(bits, group) {}
  int64_t getGroup() const override { return grid.getGroup(); }
  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float> importance) const override {
    GridAffine affine = grid.choose(weights, importance);
    affine.scale = storeScale(affine.scale);
    return affine;
  }
  float round(float weight, GridAffine affine) const override {
    return grid.round(weight, affine);
  }
  float storeScale(float scale) const override {
    int exponent;
    float fraction = std::frexp(scale, &exponent);
    return std::ldexp(std::nearbyint(fraction * 8) / 8, exponent);
  }

private:
  Asymmetric grid;
};

double getDamping(const Layer &layer, double damping) {
  double sum = 0;
  for (int64_t i = 0; i < layer.weights.k; ++i)
    sum += layer.gram[size_t(i * (layer.weights.k + 1))];
  return damping * sum / double(layer.weights.k);
}

/// What is lowered, by its definition.
double getCost(const Layer &layer, llvm::ArrayRef<float> rounded,
               double damping = RefineOptions().damping) {
  double cost = measureError(layer.x, layer.weights, rounded),
         added = getDamping(layer, damping);
  for (size_t i = 0; i < rounded.size(); ++i) {
    double d = double(layer.w[i]) - double(rounded[i]);
    cost += added * d * d;
  }
  return cost;
}

TEST(Refine, LowersTheErrorOfEveryStart) {
  for (int64_t group : {0, 16, 24}) {
    double before = 0, after = 0;
    for (unsigned seed = 0; seed < 5; ++seed) {
      Layer layer(seed * 7 + 1, /*k=*/61, /*n=*/19);
      Asymmetric grid(3, group);
      RoundedWeights clipped = searchClip(grid, layer.weights, layer.gram);
      for (RoundedWeights start :
           {roundToNearest(grid, layer.weights), clipped,
            gptq::solve(grid, layer.weights, layer.gram, {}, clipped.affines)
                .weights}) {
        double cost = getCost(layer, start.values);
        RoundedWeights refined = start;
        refineWeights(grid, layer.weights, layer.gram, refined);
        EXPECT_LT(getCost(layer, refined.values), cost);
        EXPECT_EQ(refined.values,
                  roundWith(grid, {61, 19, refined.values}, refined.affines))
            << "not numbers of the grid";
        before = layer.getError(start.values);
        after = layer.getError(refined.values);
      }
      // Of the last start, GPTQ with clipped scales.
      EXPECT_LT(after, before) << group << " " << seed;
    }
  }
}

/// With rounds enough no weight has a better number, whatever the others are,
/// and no scale.
TEST(Refine, EndsWhereNoSingleStepHelps) {
  Layer layer(3, /*k=*/24, /*n=*/5);
  Asymmetric grid(2, 8);
  RoundedWeights refined = roundToNearest(grid, layer.weights);
  RefineOptions options;
  options.rounds = 200;
  refineWeights(grid, layer.weights, layer.gram, refined, options);
  double least = getCost(layer, refined.values);
  for (int64_t i = 0; i < 24; ++i)
    for (int64_t j = 0; j < 5; ++j) {
      GridAffine affine = refined.affines[size_t(i / 8 * 5 + j)];
      for (int code = 0; code < 4; ++code) {
        std::vector<float> other = refined.values;
        other[size_t(i * 5 + j)] = affine.scale * float(code - affine.zero);
        EXPECT_GE(getCost(layer, other), least * (1 - 1e-7));
      }
    }
  for (size_t at = 0; at < refined.affines.size(); ++at)
    for (float factor : {0.99f, 1.01f}) {
      std::vector<float> other = refined.values;
      for (size_t i = at / 5 * 8; i < at / 5 * 8 + 8; ++i)
        other[i * 5 + at % 5] *= factor;
      EXPECT_GE(getCost(layer, other), least * (1 - 1e-7));
    }
}

TEST(Refine, FindsTheScaleOfWeightsThatLieOnAGrid) {
  Layer layer(5, /*k=*/32, /*n=*/4);
  std::vector<float> wrong(32 * 4);
  for (int64_t i = 0; i < 32; ++i)
    for (int64_t j = 0; j < 4; ++j) {
      float code = float((i * 5 + j * 3) % 16) - 8;
      layer.w[size_t(i * 4 + j)] = code * 0.125f;
      wrong[size_t(i * 4 + j)] = code * 0.15625f;
    }
  layer.weights.values = layer.w;
  RoundedWeights weights{wrong, std::vector<GridAffine>(4, {0.15625f, 8})};
  refineWeights(Asymmetric(4, 0), layer.weights, layer.gram, weights);
  EXPECT_LT(layer.getError(weights.values),
            1e-10 * getOutputPower(layer.weights, layer.gram));
  for (GridAffine affine : weights.affines)
    EXPECT_NEAR(affine.scale, 0.125f, 1e-5f);
}

TEST(Refine, KeepsScalesThatCanBeStored) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    Layer layer(seed + 40, /*k=*/40, /*n=*/9);
    CoarseScales grid(3, 16);
    RoundedWeights start = gptq::solve(grid, layer.weights, layer.gram).weights;
    RoundedWeights refined = start;
    refineWeights(grid, layer.weights, layer.gram, refined);
    EXPECT_LT(getCost(layer, refined.values), getCost(layer, start.values));
    for (GridAffine affine : refined.affines)
      EXPECT_EQ(affine.scale, grid.storeScale(affine.scale));
  }
}

TEST(Refine, ColumnsDoNotMatterToEachOther) {
  constexpr int64_t kRows = 20, kColumns = 150;
  Layer layer(9, kRows, kColumns);
  Asymmetric grid(3, 8);
  RoundedWeights all = roundToNearest(grid, layer.weights), refined = all;
  refineWeights(grid, layer.weights, layer.gram, refined);
  for (int64_t j : {int64_t(0), int64_t(17), int64_t(127), kColumns - 1}) {
    std::vector<float> target;
    RoundedWeights own, expected;
    auto pick = [&](const auto &from, auto &to) {
      for (size_t i = size_t(j); i < from.size(); i += kColumns)
        to.push_back(from[i]);
    };
    pick(layer.w, target);
    pick(all.values, own.values);
    pick(all.affines, own.affines);
    pick(refined.values, expected.values);
    refineWeights(grid, {kRows, 1, target}, layer.gram, own);
    EXPECT_EQ(own.values, expected.values) << j;
  }
}

TEST(Refine, LeavesWhatNothingIsKnownOf) {
  Layer layer(2, /*k=*/16, /*n=*/3);
  for (int64_t i = 0; i < 16; ++i)
    layer.gram[size_t(5 * 16 + i)] = layer.gram[size_t(i * 16 + 5)] = 0;
  Asymmetric grid(3, 0);
  RoundedWeights start = roundToNearest(grid, layer.weights);
  for (int64_t j = 0; j < 3; ++j)
    start.values[size_t(5 * 3 + j)] = 0;
  for (int64_t i = 0; i < 16; ++i)
    start.values[size_t(i * 3 + 1)] = 0;
  start.affines[1] = {0, 0};
  RoundedWeights refined = start;
  refineWeights(grid, layer.weights, layer.gram, refined);
  EXPECT_NE(refined.values, start.values);
  EXPECT_EQ(refined.affines[1].scale, 0);
  for (int64_t j = 0; j < 3; ++j)
    EXPECT_EQ(refined.values[size_t(5 * 3 + j)], 0);
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(refined.values[size_t(i * 3 + 1)], 0);
}

TEST(Refine, NumbersThatAreNotFiniteMoveNothing) {
  Layer layer(2, /*k=*/16, /*n=*/3);
  Asymmetric grid(3, 8);
  RoundedWeights start = roundToNearest(grid, layer.weights);
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  for (double bad : {nan, infinity})
    for (size_t at : {size_t(0), size_t(3)}) {
      std::vector<double> gram = layer.gram;
      gram[at * 16 + at] = gram[3] = gram[3 * 16] = bad;
      RoundedWeights refined = start;
      refineWeights(grid, layer.weights, gram, refined);
      EXPECT_EQ(refined.values, start.values);
    }
  // No data at all.
  RoundedWeights refined = start;
  refineWeights(grid, layer.weights, std::vector<double>(16 * 16), refined);
  EXPECT_EQ(refined.values, start.values);
  // One weight that is no number: its column stays.
  layer.w[4] = std::numeric_limits<float>::quiet_NaN();
  refineWeights(grid, layer.weights, layer.gram, refined);
  EXPECT_TRUE(allFinite(refined.values));
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(refined.values[size_t(i * 3 + 1)],
              start.values[size_t(i * 3 + 1)]);
}

} // namespace
