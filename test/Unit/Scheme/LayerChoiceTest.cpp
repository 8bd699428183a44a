//===- LayerChoiceTest.cpp - the best rounded weights of a layer *- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/LayerChoice.h"
#include "TestGrid.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::test;

namespace {

constexpr int64_t kRows = 40;

struct Problems {
  explicit Problems(RoundingMethods methods)
      : narrow(1, kRows, /*n=*/9), wide(2, kRows, /*n=*/300), grid(3, 16),
        factor(narrow.gram, kRows) {
    for (const Layer *layer : {&narrow, &wide})
      list.push_back({grid,
                      {kRows, layer->weights.n, layer->w},
                      layer->w,
                      narrow.gram,
                      &factor,
                      methods});
  }
  double getError(const Layer &layer, const LayerChoice &choice) const {
    return measureError(narrow.x, layer.weights, choice.weights.values);
  }

  Layer narrow, wide; ///< their inputs are those of the first
  Asymmetric grid;
  gptq::Factor factor;
  std::vector<LayerProblem> list;
};

const RoundingMethods kAll{true, true, true, true};

TEST(LayerChoice, TellsTheErrorsOfItsWeights) {
  Problems problems(kAll);
  std::vector<LayerChoice> choices = chooseLayers(problems.list, 2);
  ASSERT_EQ(choices.size(), 2u);
  for (auto [layer, choice] : {std::pair(&problems.narrow, &choices[0]),
                               std::pair(&problems.wide, &choices[1])}) {
    EXPECT_EQ(choice->method, "refine");
    EXPECT_NEAR(choice->error, problems.getError(*layer, *choice),
                1e-6 * choice->error);
    EXPECT_NEAR(choice->power,
                measureError(problems.narrow.x, layer->weights,
                             std::vector<float>(layer->w.size())),
                1e-6 * choice->power);
    LayerChoice nearest;
    nearest.weights = roundToNearest(problems.grid, layer->weights);
    EXPECT_NEAR(choice->nearest, problems.getError(*layer, nearest),
                1e-6 * choice->nearest);
    EXPECT_EQ(choice->weights.values,
              roundWith(problems.grid,
                        {kRows, layer->weights.n, choice->weights.values},
                        choice->weights.affines));
  }
}

TEST(LayerChoice, NoMethodIsWorseThanFewer) {
  double least = 0;
  for (RoundingMethods methods :
       {RoundingMethods(), RoundingMethods{true, false, false, false},
        RoundingMethods{true, true, false, false},
        RoundingMethods{true, true, true, false}, kAll}) {
    Problems problems(methods);
    LayerChoice choice = chooseLayers(problems.list, 1)[1];
    if (!methods.clip) {
      EXPECT_EQ(choice.method, "rtn");
      least = choice.error;
    }
    EXPECT_LE(choice.error, least);
    least = choice.error;
  }
}

TEST(LayerChoice, DoesNotDependOnThreads) {
  Problems problems(kAll);
  std::vector<LayerChoice> one = chooseLayers(problems.list, 1),
                           many = chooseLayers(problems.list, 4);
  for (size_t i : {0, 1}) {
    EXPECT_EQ(one[i].weights.values, many[i].weights.values);
    EXPECT_EQ(one[i].error, many[i].error);
  }
}

/// What does not fit is made to, and its error is the one after that.
TEST(LayerChoice, AdjustsWhatIsNotRoundedToNearest) {
  Problems problems(kAll);
  auto clear = [](RoundedWeights &weights, int64_t n) {
    EXPECT_EQ(int64_t(weights.values.size()), kRows * n);
    std::fill(weights.values.begin(), weights.values.end(), 0.0f);
  };
  for (LayerProblem &problem : problems.list)
    problem.adjust = clear;
  for (const LayerChoice &choice : chooseLayers(problems.list, 1)) {
    EXPECT_EQ(choice.method, "rtn");
    EXPECT_EQ(choice.error, choice.nearest);
  }
}

} // namespace
