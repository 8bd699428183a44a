//===- RotateMathTest.cpp - rotations of channels ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Transform/Rotate/RotateMath.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace qcc;
using rotate::Rotation;

namespace {

/// Q by what it does to unit vectors.
std::vector<std::vector<double>> getMatrix(const Rotation &rotation) {
  size_t n = size_t(rotation.getSize());
  std::vector<std::vector<double>> q;
  std::vector<double> scratch;
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> row(n);
    row[i] = 1;
    rotation.apply(row.data(), scratch);
    q.push_back(row);
  }
  return q;
}

TEST(Rotate, IsOrthogonalForAnySize) {
  for (int64_t size : {2, 3, 6, 7, 12, 20, 24, 32, 44, 56, 76, 96, 172}) {
    std::optional<Rotation> rotation = Rotation::make(size, 1);
    ASSERT_TRUE(rotation) << size;
    auto q = getMatrix(*rotation);
    for (size_t i = 0; i < q.size(); ++i)
      for (size_t j = 0; j < q.size(); ++j) {
        double sum = 0;
        for (size_t k = 0; k < q.size(); ++k)
          sum += q[i][k] * q[j][k];
        EXPECT_NEAR(sum, i == j, 1e-12) << size << ' ' << i << ' ' << j;
      }
  }
}

TEST(Rotate, SpreadsChannelsEvenly) {
  // Hadamard matrices: powers of two, and 12, 20, 24, 44 by Paley. 28 is 4 * 7
  // with 27 no prime, 56 has none either: 55 is no prime.
  for (int64_t size : {2, 64, 12, 20, 24, 44, 48, 96, 768}) {
    std::optional<Rotation> rotation = Rotation::make(size, 1);
    EXPECT_TRUE(rotation->isHadamard()) << size;
    for (const std::vector<double> &row : getMatrix(*rotation))
      for (double x : row)
        EXPECT_NEAR(std::fabs(x), 1 / std::sqrt(double(size)), 1e-12);
  }
  for (int64_t size : {3, 7, 28, 56}) {
    std::optional<Rotation> rotation = Rotation::make(size, 1);
    EXPECT_FALSE(rotation->isHadamard()) << size;
    for (const std::vector<double> &row : getMatrix(*rotation))
      for (double x : row)
        EXPECT_LE(std::fabs(x), std::sqrt(2 / double(size)) + 1e-12);
  }
}

TEST(Rotate, RefusesSizesWithoutOne) {
  for (int64_t size : {-1, 0, 1, 1031, 2 * 1031})
    EXPECT_FALSE(Rotation::make(size, 0)) << size;
  EXPECT_TRUE(Rotation::make(4096, 0));
}

TEST(Rotate, SeedsDiffer) {
  auto a = getMatrix(*Rotation::make(32, 0)),
       b = getMatrix(*Rotation::make(32, 1));
  EXPECT_NE(a, b);
  EXPECT_EQ(a, getMatrix(*Rotation::make(32, 0)));
}

/// x W with gains before it is the same as rotated x times the rotated W.
TEST(Rotate, CancelsBetweenWeights) {
  constexpr int64_t k = 24, size = 12, n = 5, rows = 3;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * k), w(k * n), gains(k);
  for (std::vector<float> *values : {&x, &w, &gains})
    for (float &value : *values)
      value = normal(random);
  auto multiply = [&](const std::vector<float> &a, const std::vector<float> &b,
                      llvm::ArrayRef<float> g) {
    std::vector<double> y(rows * n);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t i = 0; i < k; ++i)
          y[size_t(r * n + j)] += double(a[size_t(r * k + i)]) *
                                  (g.empty() ? 1 : double(g[size_t(i)])) *
                                  double(b[size_t(i * n + j)]);
    return y;
  };
  std::vector<double> expected = multiply(x, w, gains);
  for (int64_t block : {size, k}) {
    Rotation rotation = *Rotation::make(block, 3);
    std::vector<float> turnedX = x, turnedW = w;
    rotation.applyToRows(turnedX, rows, k);
    rotation.applyToColumns(turnedW, k, n, gains);
    EXPECT_NE(turnedX, x);
    std::vector<double> result = multiply(turnedX, turnedW, {});
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(result[i], expected[i], 1e-5);
  }
}

} // namespace
