//===- MetricsTest.cpp - metrics and their intervals ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Evaluate/Metrics.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace qcc;

namespace {

constexpr Metric kMetrics[] = {Metric::Cosine, Metric::SQNR, Metric::Top1,
                               Metric::Perplexity, Metric::KL};

std::vector<RowScore> score(Metric metric, const std::vector<float> &r,
                            const std::vector<float> &x,
                            std::vector<int64_t> shape,
                            std::vector<int64_t> targets = {}) {
  auto scores =
      scoreRows(metric, OutputView(r, shape), OutputView(x, shape), targets);
  EXPECT_TRUE(bool(scores)) << toString(scores.takeError());
  return scores ? *scores : std::vector<RowScore>();
}

double measure(Metric metric, const std::vector<float> &r,
               const std::vector<float> &x, std::vector<int64_t> shape,
               std::vector<int64_t> targets = {}) {
  auto result =
      summarize(metric, score(metric, r, x, shape, targets), !targets.empty());
  EXPECT_TRUE(bool(result)) << toString(result.takeError());
  return result ? result->value.value : NAN;
}

TEST(Metrics, ViewsHaveRowsPositionsAndClasses) {
  std::vector<float> values(24);
  auto get = [&](std::vector<int64_t> shape) {
    OutputView view(values, shape);
    return std::vector<size_t>{view.rows, view.positions, view.classes};
  };
  EXPECT_EQ(get({2, 3, 4}), (std::vector<size_t>{2, 3, 4}));
  EXPECT_EQ(get({2, 2, 3, 2}), (std::vector<size_t>{2, 6, 2}));
  EXPECT_EQ(get({4, 6}), (std::vector<size_t>{4, 1, 6}));
  EXPECT_EQ(get({24}), (std::vector<size_t>{1, 1, 24}));
}

TEST(Metrics, CosineIsTheMeanOfTheRows) {
  EXPECT_DOUBLE_EQ(measure(Metric::Cosine, {1, 0, 0, 2}, {2, 0, 3, 0}, {2, 2}),
                   0.5);
  EXPECT_DOUBLE_EQ(measure(Metric::Cosine, {1, 1}, {1, 0}, {1, 2}),
                   std::sqrt(0.5));
  // Zeros that should be, and that should not be.
  EXPECT_EQ(measure(Metric::Cosine, {0, 0}, {0, 0}, {1, 2}), 1);
  EXPECT_EQ(measure(Metric::Cosine, {0, 1}, {0, 0}, {1, 2}), 0);
  EXPECT_EQ(measure(Metric::Cosine, {1, 1}, {1, NAN}, {1, 2}), -1);
}

TEST(Metrics, SQNRIsARatioOfSums) {
  EXPECT_NEAR(measure(Metric::SQNR, {3, 4, 0, 0}, {3, 4, 0, 0.5f}, {2, 2}), 20,
              1e-9);
  EXPECT_EQ(measure(Metric::SQNR, {1, 2}, {1, 2}, {1, 2}), INFINITY);
  EXPECT_EQ(measure(Metric::SQNR, {1, 2}, {1, INFINITY}, {1, 2}), -INFINITY);
}

TEST(Metrics, Top1IsAgreementOrAccuracy) {
  std::vector<float> r = {1, 2, 3, 1, 2, 0, 7, 8}, x = {1, 2, 0, 1, 2, 0, 8, 7};
  EXPECT_EQ(measure(Metric::Top1, r, x, {4, 2}), 0.5);
  EXPECT_EQ(measure(Metric::Top1, r, x, {2, 2, 2}), 0.5);
  auto result =
      summarize(Metric::Top1, score(Metric::Top1, r, x, {4, 2}, {1, 1, -1, 1}),
                /*hasLabels=*/true);
  ASSERT_TRUE(bool(result));
  EXPECT_EQ(result->rows, 3u);
  EXPECT_DOUBLE_EQ(result->value.value, 2.0 / 3);
  EXPECT_DOUBLE_EQ(*result->reference, 2.0 / 3);
  EXPECT_EQ(result->drop->value, 0);
  EXPECT_EQ(measure(Metric::Top1, {1, 2}, {NAN, 2}, {1, 2}), 0);
}

TEST(Metrics, PerplexityPredictsTheNextToken) {
  // Two positions over three classes; only the first one predicts.
  std::vector<float> r = {0, 1, 2, 9, 9, 9}, x = {1, 0, 0, 5, 5, 5};
  double p = std::exp(1) / (1 + std::exp(1) + std::exp(2)),
         q = 1 / (std::exp(1) + 2);
  auto result =
      summarize(Metric::Perplexity,
                score(Metric::Perplexity, r, x, {1, 2, 3}, {0, 1}), false);
  ASSERT_TRUE(bool(result));
  EXPECT_NEAR(result->value.value, 1 / q, 1e-6);
  EXPECT_NEAR(*result->reference, 1 / p, 1e-6);
  EXPECT_NEAR(result->drop->value, p / q - 1, 1e-6);
}

TEST(Metrics, DivergenceIsThatOfTheDistributions) {
  std::vector<float> r = {0, 1, 2, -1000}, x = {0.5f, 1, 1, 3};
  double sum = 0, sumR = 0, sumX = 0;
  for (int i = 0; i < 4; ++i) {
    sumR += std::exp(double(r[i]));
    sumX += std::exp(double(x[i]));
  }
  for (int i = 0; i < 3; ++i)
    sum +=
        std::exp(double(r[i])) / sumR *
        std::log(std::exp(double(r[i])) / sumR * sumX / std::exp(double(x[i])));
  EXPECT_NEAR(measure(Metric::KL, r, x, {1, 4}), sum, 1e-12);
  EXPECT_EQ(measure(Metric::KL, r, r, {1, 4}), 0);
  EXPECT_EQ(measure(Metric::KL, r, {NAN, 1, 1, 1}, {1, 4}), INFINITY);
}

TEST(Metrics, IntervalsHoldTheMeanAsOftenAsTheySay) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0.3, 1.0);
  int inside = 0;
  constexpr int kTrials = 300;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<RowScore> rows;
    for (int i = 0; i < 60; ++i)
      rows.push_back({normal(random), 0, 1});
    auto result = summarize(Metric::Cosine, rows, false);
    ASSERT_TRUE(bool(result));
    EXPECT_LT(result->value.low, result->value.value);
    EXPECT_GT(result->value.high, result->value.value);
    inside += result->value.low <= 0.3 && result->value.high >= 0.3;
  }
  EXPECT_GE(inside, kTrials * 90 / 100);
  EXPECT_LE(inside, kTrials * 98 / 100);
}

TEST(Metrics, ChangesAreDrawnInPairs) {
  // Rows differ much, candidates from the reference by the same share.
  std::vector<RowScore> rows;
  for (int i = 0; i < 50; ++i)
    rows.push_back({i + 0.01, double(i), 1});
  auto result = summarize(Metric::Perplexity, rows, false);
  ASSERT_TRUE(bool(result));
  EXPECT_NEAR(result->drop->low, std::expm1(0.01), 1e-9);
  EXPECT_NEAR(result->drop->high, std::expm1(0.01), 1e-9);
  EXPECT_GT(result->value.high, 2 * result->value.low);
}

TEST(Metrics, SameRowsGiveTheSameInterval) {
  std::vector<RowScore> rows;
  for (int i = 0; i < 20; ++i)
    rows.push_back({std::sin(i), 0, 1});
  auto a = summarize(Metric::KL, rows, false),
       b = summarize(Metric::KL, rows, false);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->value.low, b->value.low);
  EXPECT_EQ(a->value.high, b->value.high);
}

TEST(Metrics, WhatDoesNotFitIsRefused) {
  std::vector<float> four = {1, 2, 3, 4}, six(6);
  auto refuse = [](auto expected, llvm::StringRef text) {
    ASSERT_FALSE(bool(expected)) << text.str();
    std::string problem = toString(expected.takeError());
    EXPECT_NE(problem.find(text), std::string::npos) << problem;
  };
  for (Metric metric : kMetrics)
    refuse(scoreRows(metric, OutputView(four, {2, 2}), OutputView(six, {2, 3}),
                     {}),
           "one shape");
  OutputView view(four, {2, 1, 2});
  refuse(scoreRows(Metric::Perplexity, view, view, {}), "expected 2 labels");
  refuse(scoreRows(Metric::Top1, view, view, {0, 2}), "tokens below 2");
  refuse(
      scoreRows(Metric::KL, OutputView({}, {2, 0}), OutputView({}, {2, 0}), {}),
      "the last dimension is empty");
  std::vector<float> bad = {1, NAN};
  refuse(scoreRows(Metric::KL, OutputView(bad, {1, 2}), OutputView(bad, {1, 2}),
                   {}),
         "finite outputs of the reference");
  refuse(summarize(Metric::Cosine, {}, false), "there are none");
  refuse(summarize(Metric::Top1, {RowScore{}}, true), "there are none");
}

TEST(Metrics, HaveNames) {
  for (Metric metric : kMetrics)
    EXPECT_EQ(parseMetric(getMetricName(metric)), metric);
  EXPECT_FALSE(parseMetric("accuracy").has_value());
}

} // namespace
