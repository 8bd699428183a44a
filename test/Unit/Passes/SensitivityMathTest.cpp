//===- SensitivityMathTest.cpp ----------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantize/StaticInt8/SensitivityMath.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;

namespace {

Products multiply(std::vector<float> a, std::vector<float> b) {
  Products products;
  products.add(a, b);
  return products;
}

TEST(SensitivityMathTest, comparesArrays) {
  EXPECT_DOUBLE_EQ(multiply({3, 4}, {6, 8}).getCosine(), 1);
  EXPECT_DOUBLE_EQ(multiply({3, 4}, {6, 8}).getError(), 1);
  EXPECT_DOUBLE_EQ(multiply({1, 0}, {0, 1}).getCosine(), 0);
  EXPECT_NEAR(multiply({3, 4}, {3, 4.5f}).getError(), 0.1, 1e-12);
  EXPECT_EQ(multiply({0, 0}, {0, 0}).getCosine(), 1);
  EXPECT_EQ(multiply({0, 0}, {0, 0}).getError(), 0);
  EXPECT_EQ(multiply({0, 0}, {1, 0}).getCosine(), 0);
  EXPECT_EQ(multiply({0, 0}, {1, 0}).getError(), HUGE_VAL);
  EXPECT_EQ(multiply({1, 0}, {NAN, 0}).getCosine(), 0);
  EXPECT_EQ(multiply({1, 0}, {NAN, 0}).getError(), HUGE_VAL);
  // What is no number in the exact outputs says nothing of others.
  EXPECT_DOUBLE_EQ(multiply({NAN, 3, -INFINITY, 4}, {1, 6, NAN, 8}).getCosine(),
                   1);
  EXPECT_DOUBLE_EQ(multiply({INFINITY, 3, 4}, {INFINITY, 6, 8}).getError(), 1);
}

TEST(SensitivityMathTest, takesTheLeastOfSamplesAndOutputs) {
  // Two samples of a large and a small output; the small one is wrong.
  Agreement agreement(2, 2);
  for (auto &sample : agreement.parts) {
    sample[0].add({{100, 100}}, {{100, 100}});
    sample[1].add({{1, 0}}, {{0, 1}});
  }
  EXPECT_DOUBLE_EQ(agreement.getLeastCosine(), 0);
  // One sample of two is wrong: the output of both is not, but the sample is.
  Agreement other(2, 1);
  other.parts[0][0].add({{100, 0}}, {{100, 0}});
  other.parts[1][0].add({{1, 0}}, {{0, 1}});
  EXPECT_DOUBLE_EQ(other.getLeastCosine(), 0);
  EXPECT_DOUBLE_EQ(other.getMeanError(), 1);
}

/// Keeps until the errors of what is not kept add up to less than a bound.
std::vector<bool> keepBelow(std::vector<double> errors, double bound,
                            unsigned &asked) {
  auto kept = chooseKept(
      errors, [&](const std::vector<bool> &on) -> llvm::Expected<bool> {
        ++asked;
        double sum = 0;
        for (size_t i = 0; i < on.size(); ++i)
          sum += on[i] ? errors[i] : 0;
        return sum < bound;
      });
  EXPECT_TRUE(bool(kept));
  return *kept;
}

TEST(SensitivityMathTest, keepsTheFewestOfTheWorst) {
  unsigned asked = 0;
  EXPECT_EQ(keepBelow({1, 8, 2, 4}, 4, asked),
            std::vector<bool>({false, true, false, true}));
  EXPECT_EQ(keepBelow({1, 8, 2, 4}, 8, asked),
            std::vector<bool>({false, true, false, false}));
  EXPECT_EQ(keepBelow({1, 8, 2, 4}, 0, asked),
            std::vector<bool>({true, true, true, true}));
  // Equal ones in their order.
  EXPECT_EQ(keepBelow({3, 3, 3}, 4, asked),
            std::vector<bool>({true, true, false}));
  for (size_t needed = 1; needed <= 100; ++needed) {
    asked = 0;
    std::vector<bool> kept =
        keepBelow(std::vector<double>(100, 1), 100.5 - double(needed), asked);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), true), long(needed));
    EXPECT_LE(asked, 14u);
  }
}

/// Releases what is kept while the sum of what is not stays below a bound.
std::vector<bool> releaseBelow(const std::vector<double> &errors,
                               std::vector<bool> kept, double bound,
                               unsigned questions) {
  auto released =
      releaseKept(errors, std::move(kept), questions,
                  [&](const std::vector<bool> &on) -> llvm::Expected<bool> {
                    double sum = 0;
                    for (size_t i = 0; i < on.size(); ++i)
                      sum += on[i] ? errors[i] : 0;
                    return std::abs(sum) < bound;
                  });
  EXPECT_TRUE(bool(released));
  return *released;
}

TEST(SensitivityMathTest, releasesWhatNeedNotBeKept) {
  // 1 and 2 fit beside the 3 that is not kept, 4 does not.
  EXPECT_EQ(releaseBelow({3, 4, 1, 2}, {false, true, true, true}, 6.5, 24),
            std::vector<bool>({false, true, false, false}));
  // One question: the half with the smaller errors.
  EXPECT_EQ(releaseBelow({3, 4, 1, 2}, {false, true, true, true}, 6.5, 1),
            std::vector<bool>({false, true, false, false}));
  EXPECT_EQ(releaseBelow({3, 4, 1, 2}, {false, true, true, true}, 6.5, 0),
            std::vector<bool>({false, true, true, true}));
  // Halves do not hold, single ones do.
  EXPECT_EQ(releaseBelow({1, 5, 5, 2}, {true, true, true, true}, 3, 24),
            std::vector<bool>({false, true, true, true}));
  EXPECT_EQ(releaseBelow({1}, {false}, 3, 24), std::vector<bool>({false}));
}

TEST(SensitivityMathTest, keepsWhatCostsLittle) {
  // Each adds its squared error at a right angle to the outputs.
  const std::vector<double> errors{0.004, 0.006, 0.0001};
  auto run = [&](const std::vector<bool> &on,
                 size_t samples) -> llvm::Expected<Agreement> {
    Agreement agreement(samples, 1);
    for (std::vector<Products> &sample : agreement.parts) {
      sample[0] = {1, 1, 1};
      for (size_t i = 0; i < on.size(); ++i)
        sample[0].bb += on[i] ? errors[i] : 0;
    }
    return agreement;
  };
  // Either of the first two may stay: the worse one, or the cheaper one.
  auto keep = [&](const std::vector<double> &costs) {
    auto kept = keepWorst(costs, 8, Closeness{1 / std::sqrt(1.007)}, run);
    EXPECT_TRUE(bool(kept));
    return *kept;
  };
  EXPECT_EQ(keep({1, 1, 1}), std::vector<bool>({false, true, false}));
  EXPECT_EQ(keep({1, 10, 1}), std::vector<bool>({true, false, false}));
}

TEST(SensitivityMathTest, ranksBesideWhatIsChangedAnyway) {
  // What nobody asks for changes more than either.
  const double others = 0.05;
  const std::vector<double> errors{0.006, 0.001};
  auto run = [&](const std::vector<bool> &on,
                 size_t samples) -> llvm::Expected<Agreement> {
    Agreement agreement(samples, 1);
    for (std::vector<Products> &sample : agreement.parts) {
      sample[0] = {1, 1, 1 + others};
      for (size_t i = 0; i < on.size(); ++i)
        sample[0].bb += on[i] ? errors[i] : 0;
    }
    return agreement;
  };
  // Keeping either is enough: that which changes most for its cost is kept.
  auto kept = keepWorst(std::vector<double>{10, 5}, 8,
                        Closeness{1 / std::sqrt(1.0565)}, run);
  ASSERT_TRUE(bool(kept));
  EXPECT_EQ(*kept, std::vector<bool>({true, false}));
}

TEST(SensitivityMathTest, judgesTokensByDivergence) {
  Agreement agreement(2, 1);
  for (std::vector<Products> &sample : agreement.parts)
    sample[0] = {1, 1, 1};
  EXPECT_EQ(agreement.getDivergence(), 0);
  // Samples count by their positions.
  agreement.divergences = {{0.3, 30}, {0.1, 10}};
  EXPECT_DOUBLE_EQ(agreement.getDivergence(), 0.01);
  EXPECT_TRUE((Closeness{0.9, 0.011}.holds(agreement)));
  EXPECT_FALSE((Closeness{0.9, 0.009}.holds(agreement)));
  EXPECT_TRUE((Closeness{0.9}.holds(agreement)));
  EXPECT_FALSE((Closeness{1.1, 0.011}.holds(agreement)));
  // Outputs that are not finite are not near.
  agreement.divergences[0].first = NAN;
  EXPECT_FALSE((Closeness{0.9, 1}.holds(agreement)));
}

TEST(SensitivityMathTest, passesErrorsOn) {
  auto kept =
      chooseKept({1, 2}, [](const std::vector<bool> &) -> llvm::Expected<bool> {
        return llvm::createStringError("no");
      });
  EXPECT_EQ(llvm::toString(kept.takeError()), "no");
  auto released =
      releaseKept({1, 2}, {true, true}, 4,
                  [](const std::vector<bool> &) -> llvm::Expected<bool> {
                    return llvm::createStringError("no");
                  });
  EXPECT_EQ(llvm::toString(released.takeError()), "no");
}

} // namespace
