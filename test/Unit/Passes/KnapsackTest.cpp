//===- KnapsackTest.cpp - formats within budgets ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Precision/Assign/Knapsack.h"
#include "gtest/gtest.h"
#include <random>

using namespace qcc::knapsack;
using Layers = std::vector<std::vector<Costs>>;

static bool isWithin(const Costs &totals, const Limits &limits) {
  for (unsigned c = 0; c < kCosts; ++c)
    if (totals[c] > limits[c])
      return false;
  return true;
}

/// The least total by trying everything; infinite if nothing fits.
static double tryAll(const Layers &layers, Cost goal, const Limits &limits) {
  std::vector<unsigned> picks(layers.size(), 0);
  double least = kNone;
  for (;;) {
    Costs totals = addCosts(layers, picks);
    if (isWithin(totals, limits))
      least = std::min(least, totals[goal]);
    size_t i = 0;
    while (i < picks.size() && ++picks[i] == layers[i].size())
      picks[i++] = 0;
    if (i == picks.size())
      return least;
  }
}

static Layers makeLayers(unsigned seed, unsigned count, unsigned formats,
                         double lossScale) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> real(0.1, 1.0);
  Layers layers;
  for (unsigned i = 0; i < count; ++i) {
    double weight = real(random), sensitivity = lossScale * real(random);
    layers.emplace_back();
    for (unsigned f = 0; f < formats; ++f)
      // Fewer bits lose more, as formats do.
      layers.back().push_back({sensitivity * std::pow(4.0, -double(f)),
                               1e6 * weight * (f + 2),
                               1e-3 * weight * (1 + real(random))});
  }
  return layers;
}

TEST(Knapsack, FindsTheLeast) {
  unsigned solved = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    Layers layers =
        makeLayers(seed, 2 + seed % 6, 2 + seed % 3, seed % 2 ? 1e-6 : 1.0);
    std::vector<unsigned> smallest(layers.size(), 0);
    double size = addCosts(layers, smallest)[Size];
    Limits limits = {kNone, size * (1 + 0.02 * (seed % 20)), kNone};
    if (seed % 3 == 0)
      limits[Latency] = 1e-3 * layers.size() * (0.3 + 0.02 * (seed % 30));
    Cost goal = seed % 4 == 3 ? Latency : Loss;
    double expected = tryAll(layers, goal, limits);
    std::optional<Assignment> found = solve(layers, goal, limits);
    ASSERT_EQ(found.has_value(), std::isfinite(expected)) << seed;
    if (!found)
      continue;
    ++solved;
    EXPECT_TRUE(isWithin(found->totals, limits)) << seed;
    EXPECT_EQ(found->totals, addCosts(layers, found->picks)) << seed;
    EXPECT_LE(found->totals[goal], expected * 1.0002) << seed;
    EXPECT_GE(found->totals[goal], expected * (1 - 1e-12)) << seed;
  }
  EXPECT_GE(solved, 30u);
}

TEST(Knapsack, MeetsALimitOfLossWithTheLeastSize) {
  Layers layers = makeLayers(7, 6, 4, 1e-4);
  Limits limits = {3e-5, kNone, kNone};
  std::optional<Assignment> found = solve(layers, Size, limits);
  ASSERT_TRUE(found);
  EXPECT_LE(found->totals[Loss], 3e-5);
  EXPECT_LE(found->totals[Size], tryAll(layers, Size, limits) * 1.0002);
}

TEST(Knapsack, SolvesHundredsOfLayers) {
  Layers layers = makeLayers(3, 400, 5, 1e-3);
  std::vector<unsigned> smallest(layers.size(), 0);
  double size = addCosts(layers, smallest)[Size];
  Limits limits = {kNone, size * 1.4, kNone};
  std::optional<Assignment> found = solve(layers, Loss, limits);
  ASSERT_TRUE(found);
  EXPECT_LE(found->totals[Size], limits[Size]);
  // The budget is used.
  EXPECT_GE(found->totals[Size], limits[Size] * 0.999);
  EXPECT_EQ(found->picks, solve(layers, Loss, limits)->picks);
}

TEST(Knapsack, MeetsALimitExactly) {
  Layers layers = {{{1, 10, 0}, {0, 20, 0}}, {{1, 10, 0}, {0, 20, 0}}};
  std::optional<Assignment> found = solve(layers, Loss, {kNone, 20.0, kNone});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->picks, (std::vector<unsigned>{0, 0}));
  EXPECT_FALSE(solve(layers, Loss, {kNone, 19.999, kNone}));
  EXPECT_FALSE(solve(layers, Loss, {kNone, -5.0, kNone}));
}

TEST(Knapsack, TakesCostsOfZeroAndHugeOnes) {
  Layers layers = {{{0, 0, 0}}, {{1e30, 1, 0}, {0, 2, 0}}};
  std::optional<Assignment> found = solve(layers, Loss, {kNone, 2.0, kNone});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->picks, (std::vector<unsigned>{0, 1}));
  found = solve(layers, Size, {1.0, kNone, kNone});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->picks, (std::vector<unsigned>{0, 1}));
}
