//===- CholeskyTest.cpp - factors of matrices of all sizes ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Cholesky.h"
#include "gtest/gtest.h"
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace qcc;

namespace {

/// A random matrix that is positive definite, and marks above its diagonal.
std::vector<double> makeMatrix(int64_t k, double mark) {
  std::mt19937 random(static_cast<unsigned>(k));
  std::normal_distribution<double> normal;
  std::vector<double> x(static_cast<size_t>(k * k)), a(x.size(), mark);
  for (double &value : x)
    value = normal(random);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double sum = i == j ? 0.1 : 0;
      for (int64_t t = 0; t < k; ++t)
        sum += x[size_t(i * k + t)] * x[size_t(j * k + t)];
      a[size_t(i * k + j)] = sum;
    }
  return a;
}

TEST(Cholesky, ProductIsTheMatrix) {
  // Around the sizes of panels, blocks and tasks.
  for (int64_t k : {1,   2,   3,   15,  16,  17,  95,  96,  97,  98, 99,
                    111, 112, 113, 192, 193, 287, 288, 289, 290, 400}) {
    std::vector<double> a = makeMatrix(k, 7.5), l = a;
    ASSERT_TRUE(factorCholesky(l.data(), k, 1)) << k;
    double worst = 0;
    for (int64_t i = 0; i < k; ++i) {
      EXPECT_GT(l[size_t(i * k + i)], 0);
      for (int64_t j = 0; j < k; ++j) {
        if (j > i) {
          ASSERT_EQ(l[size_t(i * k + j)], 7.5) << "above the diagonal";
          continue;
        }
        double sum = 0;
        for (int64_t t = 0; t <= j; ++t)
          sum += l[size_t(i * k + t)] * l[size_t(j * k + t)];
        worst = std::max(worst, std::fabs(sum - a[size_t(i * k + j)]));
      }
    }
    // Higham 10.3: about k units of the last place of the diagonal.
    EXPECT_LT(worst, 2.3e-16 * double(k + 1) * 3 * double(k)) << k;
  }
}

TEST(Cholesky, BitsDoNotDependOnThreads) {
  std::vector<double> a = makeMatrix(500, 0), one = a;
  ASSERT_TRUE(factorCholesky(one.data(), 500, 1));
  for (unsigned threads : {2, 4}) {
    std::vector<double> several = a;
    ASSERT_TRUE(factorCholesky(several.data(), 500, threads));
    EXPECT_EQ(one, several);
  }
}

TEST(Cholesky, RefusesWhatIsNotPositiveDefinite) {
  for (int64_t at : {0, 50, 120, 299})
    for (double value : {-1.0, 0.0, std::numeric_limits<double>::quiet_NaN(),
                         std::numeric_limits<double>::infinity()}) {
      std::vector<double> a = makeMatrix(300, 0);
      a[size_t(at * 301)] = value;
      EXPECT_FALSE(factorCholesky(a.data(), 300, 2)) << at << " " << value;
    }
}

} // namespace
