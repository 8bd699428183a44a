//===- StatisticsTest.cpp - exact, mergeable statistics ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace qcc;

namespace {

std::vector<float> makeValues(unsigned seed, size_t count, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.1f, scale);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Statistics of `values` gathered in `parts` pieces that are merged in
/// reverse order.
TensorStatistics gather(llvm::ArrayRef<float> values, size_t parts) {
  std::vector<TensorStatistics> pieces(parts);
  TensorStatistics whole;
  size_t size = (values.size() + parts - 1) / parts;
  auto piece = [&](size_t i) {
    size_t begin = std::min(i * size, values.size());
    return values.slice(begin, std::min(size, values.size() - begin));
  };
  for (size_t i = 0; i < parts; ++i)
    pieces[i].addExtremes(piece(i));
  for (size_t i = parts; i-- > 0;)
    EXPECT_TRUE(whole.merge(pieces[i]));
  whole.chooseExponent();
  for (size_t i = parts; i-- > 0;) {
    TensorStatistics sums;
    sums.exponent = whole.exponent;
    sums.addSums(piece(i));
    EXPECT_TRUE(whole.merge(sums));
  }
  return whole;
}

std::string write(const TensorStatistics &t) {
  Statistics statistics;
  statistics.get("x") = t;
  statistics.get("x").name = "x";
  return statistics.write();
}

TEST(Statistics, AnySplitGivesTheSameBytes) {
  for (float scale : {1e-30f, 1.0f, 3e20f}) {
    std::vector<float> values = makeValues(7, 1000, scale);
    std::string one = write(gather(values, 1));
    for (size_t parts : {2, 3, 7, 16, 999})
      EXPECT_EQ(one, write(gather(values, parts))) << parts;
  }
}

TEST(Statistics, MomentsAreThoseOfTheValues) {
  std::vector<float> values = makeValues(3, 5000, 2.0f);
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  TensorStatistics t = gather(values, 4);
  EXPECT_EQ(t.count, values.size());
  EXPECT_NEAR(t.getMean(), sum / values.size(), 1e-10);
  EXPECT_NEAR(t.getMeanSquare(), squares / values.size(), 1e-9);
  EXPECT_EQ(t.min, *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(t.max, *std::max_element(values.begin(), values.end()));
}

TEST(Statistics, NonFiniteElementsCountApart) {
  const float values[] = {1.0f, NAN, -2.0f, INFINITY, -INFINITY};
  TensorStatistics t = gather(values, 1);
  EXPECT_EQ(t.count, 2u);
  EXPECT_EQ(t.nonFinite, 3u);
  EXPECT_EQ(t.min, -2.0f);
  EXPECT_EQ(t.max, 1.0f);
  EXPECT_NEAR(t.getMean(), -0.5, 1e-9);
}

TEST(Statistics, EmptyAndConstantTensors) {
  EXPECT_EQ(gather({}, 1).getMean(), 0);
  const float zeros[] = {0.0f, -0.0f};
  TensorStatistics t = gather(zeros, 2);
  EXPECT_EQ(t.getMeanSquare(), 0);
  EXPECT_EQ(write(t), write(gather(zeros, 1)));
}

TEST(Statistics, DifferentExponentsDoNotMerge) {
  const float small[] = {1.0f}, large[] = {1000.0f};
  TensorStatistics a = gather(small, 1), b = gather(large, 1);
  EXPECT_FALSE(a.merge(b));
}

TEST(Statistics, FileReadsBack) {
  Statistics statistics;
  statistics.source = "sha256:00";
  statistics.samples = 9;
  statistics.get("b") = gather(makeValues(1, 100, 1.0f), 1);
  statistics.get("b").name = "b";
  statistics.get("a") = gather(makeValues(2, 100, 1e-3f), 1);
  statistics.get("a").name = "a";
  std::string text = statistics.write();
  auto read = Statistics::read(text, "file");
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  EXPECT_EQ(read->write(), text);
  EXPECT_EQ(read->samples, 9u);
}

TEST(Statistics, BrokenFilesAreRefused) {
  Statistics statistics;
  statistics.get("x") = gather(makeValues(1, 10, 1.0f), 1);
  statistics.get("x").name = "x";
  std::string text = statistics.write();
  // Every truncation, but for the line's end.
  for (size_t size = 0; size + 2 < text.size(); ++size) {
    auto read = Statistics::read(llvm::StringRef(text).take_front(size), "f");
    EXPECT_FALSE(bool(read)) << size;
    if (!read)
      llvm::consumeError(read.takeError());
  }
  std::string other = text;
  other.replace(other.find("qcc-stats/1"), 11, "qcc-stats/2");
  auto read = Statistics::read(other, "f");
  ASSERT_FALSE(bool(read));
  EXPECT_NE(toString(read.takeError()).find("qcc-stats/1"), std::string::npos);
}

} // namespace
