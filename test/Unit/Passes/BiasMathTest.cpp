//===- BiasMathTest.cpp -----------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantize/StaticInt8/BiasMath.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;

namespace {

/// One sample of one channel pair with two pixels each.
ChannelErrors makeErrors(std::vector<float> exact, std::vector<float> low) {
  ChannelErrors errors;
  errors.add(exact, low, /*channels=*/2, /*inner=*/2);
  return errors;
}

TEST(BiasMathTest, sumsByChannel) {
  ChannelErrors errors =
      makeErrors({1, 2, 3, 4, 5, 6, 7, 8}, {0, 2, 3, 3, 5, 5, 9, 8});
  EXPECT_EQ(errors.differences, (std::vector<double>{2, -1}));
  EXPECT_EQ(errors.squares, 1 + 1 + 1 + 4);
  EXPECT_EQ(errors.magnitude, 204);
  EXPECT_EQ(errors.perChannel, 4);
  EXPECT_DOUBLE_EQ(errors.getError({}), std::sqrt(7 / 204.0));
  // (1, 0 | 0, 1 | 0, 1 | -2, 0) less 0.5 and 0.25.
  double moved = 4 * 0.25 + 2 * 0.0625 + 0.5625 + 2.25 * 2.25;
  EXPECT_DOUBLE_EQ(errors.getError({0.5f, 0.25f}), std::sqrt(moved / 204));
}

TEST(BiasMathTest, correctsMeans) {
  std::vector<ChannelErrors> samples(
      6, makeErrors({1, 2, 3, 4}, {0.5f, 1.5f, 3.25f, 4.25f}));
  auto correction = correctBias(samples);
  ASSERT_TRUE(correction);
  EXPECT_EQ(correction->values, (std::vector<float>{0.5f, -0.25f}));
  EXPECT_NEAR(correction->before, std::sqrt(0.625 / 30), 1e-12);
  EXPECT_EQ(correction->after, 0);
  EXPECT_EQ(correction->error, 0);
}

TEST(BiasMathTest, isJudgedByOtherSamples) {
  // What the even samples say makes the odd ones worse.
  std::vector<ChannelErrors> samples;
  for (unsigned i = 0; i < 6; ++i)
    samples.push_back(i % 2 ? makeErrors({1, 1, 1, 1}, {1.2f, 1, 1, 1})
                            : makeErrors({1, 1, 1, 1}, {0.8f, 1, 1, 1}));
  EXPECT_FALSE(correctBias(samples));
  // Of a few samples all are taken for both.
  samples.resize(3);
  EXPECT_TRUE(correctBias(samples));
}

TEST(BiasMathTest, leavesWhatIsNotFinite) {
  EXPECT_FALSE(correctBias({}));
  EXPECT_FALSE(correctBias({ChannelErrors()}));
  EXPECT_FALSE(correctBias({makeErrors({1, 1, 1, 1}, {NAN, 1, 1, 1})}));
  EXPECT_FALSE(correctBias({makeErrors({HUGE_VALF, 1, 1, 1}, {1, 1, 1, 1})}));
  EXPECT_FALSE(correctBias({makeErrors({0, 0, 0, 0}, {1, 1, 1, 1})}));
  EXPECT_FALSE(correctBias({makeErrors({1, 1, 1, 1}, {1, 1, 1, 1})}));
}

} // namespace
