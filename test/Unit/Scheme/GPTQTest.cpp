//===- GPTQTest.cpp - GPTQ against plain brain surgery ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/GPTQ.h"
#include "TestGrid.h"
#include "gtest/gtest.h"
#include <numeric>

using namespace qcc;
using namespace qcc::test;

namespace {

using Table = std::vector<std::vector<double>>;

/// Inverse by Gauss-Jordan elimination with pivoting.
Table invert(Table a) {
  size_t k = a.size();
  Table inverse(k, std::vector<double>(k));
  for (size_t i = 0; i < k; ++i)
    inverse[i][i] = 1;
  for (size_t c = 0; c < k; ++c) {
    size_t pivot = c;
    for (size_t r = c; r < k; ++r)
      if (std::fabs(a[r][c]) > std::fabs(a[pivot][c]))
        pivot = r;
    std::swap(a[c], a[pivot]);
    std::swap(inverse[c], inverse[pivot]);
    double factor = 1 / a[c][c];
    for (size_t j = 0; j < k; ++j) {
      a[c][j] *= factor;
      inverse[c][j] *= factor;
    }
    for (size_t r = 0; r < k; ++r) {
      double f = r == c ? 0 : a[r][c];
      for (size_t j = 0; j < k; ++j) {
        a[r][j] -= f * a[c][j];
        inverse[r][j] -= f * inverse[c][j];
      }
    }
  }
  return inverse;
}

/// Optimal brain quantization in a given order, by its definition: each weight
/// is rounded, all others move by its column of the inverse, and the weight is
/// taken out of the inverse.
std::vector<float> roundOneByOne(const WeightGrid &grid, LayerWeights weights,
                                 llvm::ArrayRef<double> gram,
                                 llvm::ArrayRef<size_t> order, double damping,
                                 llvm::ArrayRef<GridAffine> affines) {
  size_t k = size_t(weights.k), n = size_t(weights.n);
  Table h(k, std::vector<double>(k));
  double mean = 0;
  for (size_t i = 0; i < k; ++i)
    mean += gram[i * k + i] / double(k);
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j)
      h[i][j] = gram[i * k + j] + (i == j ? damping * mean : 0);
  Table inverse = invert(h);
  Table w(k, std::vector<double>(n));
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < n; ++j)
      w[i][j] = weights.at(int64_t(i), int64_t(j));
  std::vector<float> result(k * n);
  size_t rows = size_t(getGroupRows(grid, weights.k));
  for (size_t q : order) {
    for (size_t j = 0; j < n; ++j) {
      float rounded = grid.round(float(w[q][j]), affines[q / rows * n + j]);
      result[q * n + j] = rounded;
      double error = (w[q][j] - double(rounded)) / inverse[q][q];
      for (size_t i = 0; i < k; ++i)
        w[i][j] -= error * inverse[i][q];
    }
    Table next = inverse;
    for (size_t i = 0; i < k; ++i)
      for (size_t j = 0; j < k; ++j)
        next[i][j] -= inverse[i][q] * inverse[q][j] / inverse[q][q];
    inverse = next;
  }
  return result;
}

TEST(GPTQ, EqualsBrainSurgeryInOrder) {
  Layer layer(1, 20, 4);
  for (int64_t group : {0, 8}) {
    Asymmetric grid(3, group);
    std::vector<size_t> order(20);
    std::iota(order.begin(), order.end(), 0);
    gptq::Options options;
    options.actOrder = false;
    gptq::Solution solution =
        gptq::solve(grid, layer.weights, layer.gram, options);
    EXPECT_EQ(solution.fallback, "");
    EXPECT_EQ(solution.weights.values,
              roundOneByOne(grid, layer.weights, layer.gram, order, 0.01,
                            roundToNearest(grid, layer.weights).affines));
  }
}

TEST(GPTQ, EqualsBrainSurgeryInTheOrderOfActivations) {
  Layer layer(5, 24, 3);
  for (int64_t group : {0, 8}) {
    Asymmetric grid(2, group);
    std::vector<size_t> order(24);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      double x = layer.gram[a * 25], y = layer.gram[b * 25];
      return x != y ? x > y : a < b;
    });
    gptq::Solution solution = gptq::solve(grid, layer.weights, layer.gram);
    EXPECT_EQ(solution.weights.values,
              roundOneByOne(grid, layer.weights, layer.gram, order, 0.01,
                            roundToNearest(grid, layer.weights).affines));
  }
}

TEST(GPTQ, TellsTheErrorOfItsWeights) {
  // Several panels of columns, blocks of rows, rows that are dead, a matrix of
  // less than full rank.
  for (int64_t k : {20, 131, 300}) {
    Layer layer(unsigned(k), k, 21);
    for (int64_t i = 0; i < k; ++i)
      layer.gram[size_t(7 * k + i)] = layer.gram[size_t(i * k + 7)] = 0;
    for (bool actOrder : {false, true}) {
      gptq::Options options;
      options.actOrder = actOrder;
      gptq::Solution solution =
          gptq::solve(Asymmetric(3, 8), layer.weights, layer.gram, options);
      double error = layer.getError(solution.weights.values);
      ASSERT_TRUE(solution.error);
      EXPECT_NEAR(*solution.error, error, 1e-9 * error);
    }
  }
}

TEST(GPTQ, ColumnsDoNotMatterToEachOther) {
  // 37 columns are two panels and a part of one.
  Layer layer(9, 50, 37);
  Asymmetric grid(3, 10);
  gptq::Solution whole = gptq::solve(grid, layer.weights, layer.gram);
  for (size_t j : {0, 15, 16, 33, 36}) {
    std::vector<float> column;
    for (size_t i = 0; i < 50; ++i)
      column.push_back(layer.w[i * 37 + j]);
    std::vector<float> alone =
        gptq::solve(grid, {50, 1, column}, layer.gram).weights.values;
    for (size_t i = 0; i < 50; ++i)
      EXPECT_EQ(alone[i], whole.weights.values[i * 37 + j]) << i << ' ' << j;
  }
}

TEST(GPTQ, LosesLessThanRoundingToNearest) {
  for (unsigned seed = 0; seed < 8; ++seed)
    for (int64_t group : {0, 16}) {
      Layer layer(20 + seed, 48, 8);
      Asymmetric grid(3, group);
      gptq::Solution solution = gptq::solve(grid, layer.weights, layer.gram);
      double error = layer.getError(solution.weights.values);
      EXPECT_LT(error,
                layer.getError(roundToNearest(grid, layer.weights).values))
          << seed << ' ' << group;
      // The same by the outputs themselves.
      EXPECT_NEAR(measureError(layer.x, layer.weights, solution.weights.values),
                  error, 1e-6 * error);
    }
}

TEST(GPTQ, ValuesAreNumbersOfTheGrid) {
  Layer layer(40, 33, 5);
  Asymmetric grid(2, 16);
  gptq::Solution solution = gptq::solve(grid, layer.weights, layer.gram);
  EXPECT_EQ(roundWith(grid, {33, 5, solution.weights.values},
                      solution.weights.affines),
            solution.weights.values);
}

TEST(GPTQ, TakesScalesThatAreGiven) {
  Layer layer(41, 32, 5);
  Asymmetric grid(3, 16);
  RoundedWeights clipped = searchClip(grid, layer.weights, layer.gram);
  gptq::Solution solution =
      gptq::solve(grid, layer.weights, layer.gram, {}, clipped.affines);
  for (size_t i = 0; i < clipped.affines.size(); ++i)
    EXPECT_EQ(solution.weights.affines[i].scale, clipped.affines[i].scale);
  EXPECT_LT(layer.getError(solution.weights.values),
            layer.getError(clipped.values));
}

TEST(GPTQ, LateScalesFollowTheUpdatedWeights) {
  Layer layer(42, 32, 5);
  Asymmetric grid(2, 8);
  gptq::Options options;
  options.actOrder = false;
  gptq::Solution early = gptq::solve(grid, layer.weights, layer.gram, options);
  options.lateScales = true;
  gptq::Solution late = gptq::solve(grid, layer.weights, layer.gram, options);
  // The first group has seen no update; later ones have.
  for (size_t j = 0; j < 5; ++j)
    EXPECT_EQ(early.weights.affines[j].scale, late.weights.affines[j].scale);
  EXPECT_NE(early.weights.affines[3 * 5].scale,
            late.weights.affines[3 * 5].scale);
  EXPECT_TRUE(allFinite(late.weights.affines));
}

//===----------------------------------------------------------------------===//
// Pitfalls
//===----------------------------------------------------------------------===//

void expectSane(const gptq::Solution &solution) {
  EXPECT_TRUE(allFinite(solution.weights.values));
  EXPECT_TRUE(allFinite(solution.weights.affines));
}

TEST(GPTQ, DeadRowsBecomeZero) {
  Layer layer(50, 24, 4);
  for (size_t i : {0, 7, 23})
    for (size_t j = 0; j < 24; ++j)
      layer.gram[i * 24 + j] = layer.gram[j * 24 + i] = 0;
  layer.w[7 * 4] = 100; // has no part in the scale
  for (int64_t group : {0, 8}) {
    gptq::Solution solution =
        gptq::solve(Asymmetric(4, group), layer.weights, layer.gram);
    EXPECT_EQ(solution.fallback, "");
    expectSane(solution);
    for (size_t i : {0, 7, 23})
      for (size_t j = 0; j < 4; ++j)
        EXPECT_EQ(solution.weights.values[i * 4 + j], 0.0f);
    for (GridAffine affine : solution.weights.affines)
      EXPECT_LT(affine.scale, 0.2f);
  }
}

TEST(GPTQ, AWholeDeadGroupIsZero) {
  Layer layer(51, 24, 4);
  for (size_t i = 8; i < 16; ++i)
    for (size_t j = 0; j < 24; ++j)
      layer.gram[i * 24 + j] = layer.gram[j * 24 + i] = 0;
  gptq::Solution solution =
      gptq::solve(Asymmetric(4, 8), layer.weights, layer.gram);
  expectSane(solution);
  for (size_t j = 0; j < 4; ++j)
    EXPECT_EQ(solution.weights.affines[4 + j].scale, 0.0f);
}

TEST(GPTQ, FewerRowsThanInputsNeedDamping) {
  for (int64_t rows : {1, 3, 10}) {
    Layer layer(52, 32, 4, rows);
    Asymmetric grid(3, 0);
    gptq::Solution solution = gptq::solve(grid, layer.weights, layer.gram);
    EXPECT_EQ(solution.fallback, "");
    expectSane(solution);
    EXPECT_LE(layer.getError(solution.weights.values),
              layer.getError(roundToNearest(grid, layer.weights).values));
  }
}

TEST(GPTQ, DampingGrowsUntilItCanBeFactored) {
  // Not positive definite: an eigenvalue of -0.5.
  Layer layer(53, 8, 2);
  std::fill(layer.gram.begin(), layer.gram.end(), 0.0);
  for (size_t i = 0; i < 8; ++i)
    layer.gram[i * 9] = 1;
  layer.gram[1] = layer.gram[8] = 1.5;
  gptq::Solution solution =
      gptq::solve(Asymmetric(3, 0), layer.weights, layer.gram);
  EXPECT_EQ(solution.fallback, "");
  EXPECT_GT(solution.damping, 0.5);
  expectSane(solution);
}

TEST(GPTQ, WhatCannotBeFactoredIsRoundedToNearest) {
  Layer layer(54, 8, 2);
  Asymmetric grid(3, 0);
  std::vector<float> nearest = roundToNearest(grid, layer.weights).values;
  std::vector<double> indefinite = layer.gram;
  indefinite[1] = indefinite[8] = 1e6;
  gptq::Solution solution = gptq::solve(grid, layer.weights, indefinite);
  EXPECT_EQ(solution.fallback, "the inputs' Gram matrix is singular");
  EXPECT_EQ(solution.weights.values, nearest);
  for (double value : {double(NAN), double(INFINITY)}) {
    std::vector<double> broken = layer.gram;
    for (size_t at : {9, 10}) {
      broken[at] = value;
      solution = gptq::solve(grid, layer.weights, broken);
      EXPECT_EQ(solution.fallback, "the inputs' Gram matrix is not finite");
      expectSane(solution);
    }
  }
  std::vector<double> zeros(64);
  solution = gptq::solve(grid, layer.weights, zeros);
  EXPECT_EQ(solution.fallback, "all inputs are 0");
  expectSane(solution);
}

TEST(GPTQ, DividedInputsHaveTheDividedGramMatrix) {
  Layer layer(57, 24, 4);
  Asymmetric grid(3, 8);
  std::vector<float> scales;
  std::vector<double> divided = layer.gram;
  for (size_t i = 0; i < 24; ++i)
    scales.push_back(0.25f + float(i % 5));
  for (size_t i = 0; i < 24; ++i)
    for (size_t j = 0; j < 24; ++j)
      divided[i * 24 + j] /= double(scales[i]) * double(scales[j]);
  EXPECT_EQ(gptq::Factor(layer.gram, 24, {}, scales)
                .solve(grid, layer.weights)
                .weights.values,
            gptq::solve(grid, layer.weights, divided).weights.values);
}

TEST(GPTQ, SizesOfInputsDoNotMatter) {
  Layer layer(55, 24, 4);
  std::vector<float> expected =
      gptq::solve(Asymmetric(3, 8), layer.weights, layer.gram).weights.values;
  for (double factor : {0x1p-120, 0x1p+120}) {
    std::vector<double> gram = layer.gram;
    for (double &g : gram)
      g *= factor;
    gptq::Solution solution =
        gptq::solve(Asymmetric(3, 8), layer.weights, gram);
    EXPECT_EQ(solution.fallback, "");
    EXPECT_EQ(solution.weights.values, expected) << factor;
  }
}

TEST(GPTQ, WeightsOfZeroStayZero) {
  Layer layer(56, 16, 3);
  std::fill(layer.w.begin(), layer.w.end(), 0.0f);
  gptq::Solution solution =
      gptq::solve(Asymmetric(4, 8), layer.weights, layer.gram);
  expectSane(solution);
  for (float value : solution.weights.values)
    EXPECT_EQ(value, 0.0f);
}

TEST(GPTQ, AConstantChannelIsHarmless) {
  Layer layer(57, 16, 3);
  for (size_t r = 0; r < 200; ++r)
    layer.x[r * 16 + 5] = 3;
  layer.gram = makeGram(layer.x, 16);
  gptq::Solution solution =
      gptq::solve(Asymmetric(4, 0), layer.weights, layer.gram);
  EXPECT_EQ(solution.fallback, "");
  expectSane(solution);
}

TEST(GPTQ, WeightsThatAreNotFiniteAreRoundedAsZero) {
  Layer layer(58, 16, 3);
  layer.w[4] = NAN;
  layer.w[20] = INFINITY;
  gptq::Solution solution =
      gptq::solve(Asymmetric(4, 0), layer.weights, layer.gram);
  expectSane(solution);
}

//===----------------------------------------------------------------------===//
// Asymmetric correction
//===----------------------------------------------------------------------===//

TEST(GPTQ, CorrectionMakesUpForChangedInputs) {
  // Inputs y of the quantized model are a mix of those of the float model.
  int64_t k = 12, n = 3, rows = 400;
  Layer layer(60, k, n, rows);
  std::vector<float> y = layer.x;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (size_t r = 0; r < size_t(rows); ++r)
    for (size_t c = 0; c < size_t(k); ++c)
      y[r * 12 + c] = 0.8f * layer.x[r * 12 + c] +
                      0.3f * layer.x[r * 12 + (c + 1) % 12] +
                      0.1f * normal(random);
  std::vector<double> gram = makeGram(y, k), cross(size_t(k * k));
  for (size_t r = 0; r < size_t(rows); ++r)
    for (size_t i = 0; i < 12; ++i)
      for (size_t j = 0; j < 12; ++j)
        cross[i * 12 + j] +=
            double(y[r * 12 + i]) * layer.x[r * 12 + j] / double(rows);
  auto getError = [&](llvm::ArrayRef<float> w) {
    double error = 0;
    for (size_t r = 0; r < size_t(rows); ++r)
      for (size_t j = 0; j < size_t(n); ++j) {
        double sum = 0;
        for (size_t i = 0; i < 12; ++i)
          sum += double(layer.x[r * 12 + i]) * layer.w[i * 3 + j] -
                 double(y[r * 12 + i]) * w[i * 3 + j];
        error += sum * sum;
      }
    return error;
  };
  double before = getError(layer.w);
  std::vector<float> full =
      gptq::correctTarget(layer.weights, gram, cross, 1, 1e-6);
  EXPECT_LT(getError(full), 0.2 * before);
  // The least squares solution: no small step in any direction is better.
  for (size_t i = 0; i < full.size(); ++i)
    for (float step : {-1e-2f, 1e-2f}) {
      std::vector<float> moved = full;
      moved[i] += step;
      EXPECT_GT(getError(moved), getError(full));
    }
  EXPECT_EQ(gptq::correctTarget(layer.weights, gram, cross, 0), layer.w);
  // Nothing to correct where inputs are the same.
  std::vector<float> same =
      gptq::correctTarget(layer.weights, layer.gram, layer.gram, 1);
  for (size_t i = 0; i < same.size(); ++i)
    EXPECT_NEAR(same[i], layer.w[i], 1e-6);
}

TEST(GPTQ, CorrectionWithoutDataChangesNothing) {
  Layer layer(61, 6, 2);
  std::vector<double> broken(36, NAN);
  EXPECT_EQ(gptq::correctTarget(layer.weights, broken, broken, 1), layer.w);
}

} // namespace
