//===- GramTest.cpp - exact sums of products --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Gram.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>
#include <thread>

using namespace qcc;

namespace {

std::vector<float> makeRows(unsigned seed, size_t rows, size_t channels) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.3f, 1.0f);
  std::vector<float> values(rows * channels);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = normal(random) * std::ldexp(1.0f, int(i % channels % 23) - 11);
  return values;
}

ChannelRange getRange(llvm::ArrayRef<float> values, size_t channels) {
  ChannelRange range(channels);
  range.add(values);
  return range;
}

Gram gather(llvm::ArrayRef<float> values, size_t channels, size_t pieceRows) {
  Gram gram(getRange(values, channels));
  for (size_t at = 0; at < values.size(); at += pieceRows * channels)
    gram.add(
        values.slice(at, std::min(pieceRows * channels, values.size() - at)));
  return gram;
}

TEST(Gram, AnySplitGivesTheSameSums) {
  for (size_t channels : {1, 5, 32, 70}) {
    std::vector<float> values = makeRows(1, 5000, channels);
    Gram whole = gather(values, channels, 5000);
    for (size_t rows : {1, 7, 1024, 4999}) {
      Gram parts = gather(values, channels, rows);
      EXPECT_TRUE(whole.getSums() == parts.getSums())
          << channels << ' ' << rows;
      EXPECT_EQ(whole.getMeanAbs(), parts.getMeanAbs());
      EXPECT_EQ(parts.getRows(), 5000u);
    }
  }
}

TEST(Gram, ThreadsAndMergesGiveTheSameSums) {
  size_t channels = 40;
  std::vector<float> values = makeRows(2, 4000, channels);
  Gram whole = gather(values, channels, 4000),
       shared(getRange(values, channels)), merged(getRange(values, channels));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i)
    threads.emplace_back(
        [&, i] { shared.add(llvm::ArrayRef(values).slice(i * 40000, 40000)); });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_TRUE(whole.getSums() == shared.getSums());
  for (size_t i : {3, 0, 2, 1}) {
    Gram part(getRange(values, channels));
    part.add(llvm::ArrayRef(values).slice(i * 40000, 40000));
    EXPECT_TRUE(merged.merge(part));
  }
  EXPECT_TRUE(whole.getSums() == merged.getSums());
}

/// Half a unit: how far an element may be from what is added for it.
double getHalfUnit(float largest) {
  return std::ldexp(1.0, std::ilogb(largest) - 14);
}

TEST(Gram, MeansAreThoseOfTheProducts) {
  size_t channels = 37, rows = 3000;
  std::vector<float> values = makeRows(3, rows, channels);
  ChannelRange range = getRange(values, channels);
  Gram gram = gather(values, channels, 1000);
  std::vector<double> means = gram.getMeans();
  std::vector<float> meanAbs = gram.getMeanAbs();
  std::vector<double> squares(channels);
  for (size_t i = 0; i < channels; ++i) {
    double magnitude = 0;
    for (size_t r = 0; r < rows; ++r) {
      double x = values[r * channels + i];
      magnitude += std::fabs(x) / double(rows);
      squares[i] += x * x / double(rows);
    }
    EXPECT_NEAR(meanAbs[i], magnitude, getHalfUnit(range.largest[i]));
  }
  for (size_t i = 0; i < channels; ++i)
    for (size_t j = 0; j < channels; ++j) {
      double expected = 0;
      for (size_t r = 0; r < rows; ++r)
        expected += double(values[r * channels + i]) *
                    values[r * channels + j] / double(rows);
      // |x + d|^2 for differences of at most half a unit in each row, by
      // Cauchy and Schwarz.
      double ofI = getHalfUnit(range.largest[i]),
             ofJ = getHalfUnit(range.largest[j]);
      EXPECT_NEAR(means[i * channels + j], expected,
                  ofI * std::sqrt(squares[j]) + ofJ * std::sqrt(squares[i]) +
                      ofI * ofJ);
      // They are spread evenly in either direction, so that most cancels: six
      // standard deviations.
      EXPECT_NEAR(
          means[i * channels + j], expected,
          6 * std::sqrt((ofI * ofI * squares[j] + ofJ * ofJ * squares[i]) /
                        (3 * double(rows))) +
              ofI * ofJ);
      EXPECT_EQ(means[i * channels + j], means[j * channels + i]);
    }
}

/// A few rows that are far larger than the others leave those fewer bits.
TEST(Gram, OutliersHardlyChangeWhatChannelsHaveInCommon) {
  size_t channels = 24, rows = 4096;
  std::vector<float> values = makeRows(8, rows, channels);
  for (size_t i = 0; i < channels; i += 3)
    values[(7 * i + 1) * channels + i] *= 2000;
  std::vector<double> means = gather(values, channels, 512).getMeans();
  for (size_t i = 0; i < channels; ++i)
    for (size_t j = 0; j < channels; ++j) {
      double product = 0, ofI = 0, ofJ = 0;
      for (size_t r = 0; r < rows; ++r) {
        double x = values[r * channels + i], y = values[r * channels + j];
        product += x * y / double(rows);
        ofI += x * x / double(rows);
        ofJ += y * y / double(rows);
      }
      EXPECT_NEAR(means[i * channels + j], product, 1e-4 * std::sqrt(ofI * ofJ))
          << i << ' ' << j;
    }
}

TEST(Gram, CrossProductsAreThoseOfTheRows) {
  std::vector<float> y = makeRows(6, 50, 7), x = makeRows(7, 50, 7);
  std::vector<double> sums(49);
  addCrossProducts(y, x, 7, sums);
  for (size_t i = 0; i < 7; ++i)
    for (size_t j = 0; j < 7; ++j) {
      double expected = 0;
      for (size_t r = 0; r < 50; ++r)
        expected += double(y[r * 7 + i]) * x[r * 7 + j];
      EXPECT_DOUBLE_EQ(sums[i * 7 + j], expected);
    }
}

TEST(Gram, ChannelsThatAreZeroHaveZeroSums) {
  std::vector<float> values = makeRows(4, 100, 6);
  for (size_t r = 0; r < 100; ++r)
    values[r * 6 + 2] = 0;
  Gram gram = gather(values, 6, 100);
  std::vector<double> means = gram.getMeans();
  for (size_t j = 0; j < 6; ++j)
    EXPECT_EQ(means[2 * 6 + j], 0.0);
  EXPECT_EQ(gram.getOutliers(), 0u);
}

TEST(Gram, WhatDoesNotFitTheUnitIsCounted) {
  std::vector<float> values = makeRows(5, 100, 6);
  ChannelRange range = getRange(values, 6);
  Gram exact(range), roomy(range, 2);
  std::vector<float> larger = values;
  for (float &value : larger)
    value *= 3;
  exact.add(larger);
  roomy.add(larger);
  EXPECT_GT(exact.getOutliers(), 0u);
  EXPECT_EQ(roomy.getOutliers(), 0u);
  larger[7] = NAN;
  Gram broken(range, 2);
  broken.add(larger);
  EXPECT_EQ(broken.getOutliers(), 1u);
  EXPECT_FALSE(exact.merge(roomy));
}

TEST(Gram, RangesSkipWhatIsNotFinite) {
  const float values[] = {1, NAN, -3, INFINITY, 2, 5};
  ChannelRange range = getRange(values, 2), other(2);
  EXPECT_EQ(range.nonFinite, 2u);
  EXPECT_EQ(range.largest, (std::vector<float>{3, 5}));
  other.add({-7.0f, 1.0f});
  range.merge(other);
  EXPECT_EQ(range.largest, (std::vector<float>{7, 5}));
  EXPECT_EQ(range.rows, 4u);
}

TEST(Gram, HugeAndTinyChannelsKeepTheirBits) {
  float huge = 3e38f, tiny = 1e-38f;
  std::vector<float> values = {huge, tiny, -huge, tiny};
  Gram gram = gather(values, 2, 1);
  std::vector<double> means = gram.getMeans();
  // Elements are within 2^-14 of the largest.
  EXPECT_NEAR(means[0] / (double(huge) * huge), 1, std::ldexp(1.0, -13));
  EXPECT_NEAR(means[3] / (double(tiny) * tiny), 1, std::ldexp(1.0, -13));
  EXPECT_EQ(means[1], 0.0);
}

} // namespace
