//===- RegionCutTest.cpp ----------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantize/StaticInt8/RegionCut.h"
#include "gtest/gtest.h"
#include <random>

using namespace qcc;

namespace {

struct Operation {
  RegionCut::Time inIntegers, inFloats;
  int forced; ///< -1: float, 1: integer
};
struct Value {
  unsigned maker;
  std::vector<unsigned> readers;
  RegionCut::Time enter, leave;
};
struct Graph {
  std::vector<Operation> operations;
  std::vector<Value> values;

  /// The time of a choice by the definition; -1 if it is not allowed.
  RegionCut::Time getTime(const std::vector<bool> &integer) const {
    RegionCut::Time sum = 0;
    for (size_t i = 0; i < operations.size(); ++i) {
      if (operations[i].forced == (integer[i] ? -1 : 1))
        return -1;
      sum += integer[i] ? operations[i].inIntegers : operations[i].inFloats;
    }
    for (const Value &value : values) {
      bool asCodes = false, asFloats = false;
      for (unsigned reader : value.readers)
        (integer[reader] ? asCodes : asFloats) = true;
      if (asCodes && !integer[value.maker])
        sum += value.enter;
      if (asFloats && integer[value.maker])
        sum += value.leave;
    }
    return sum;
  }

  std::vector<bool> solve(RegionCut &cut) const {
    for (const Operation &operation : operations) {
      RegionCut::Node node = cut.addNode();
      cut.addTime(node, operation.inIntegers, operation.inFloats);
      if (operation.forced < 0)
        cut.forceFloat(node);
      if (operation.forced > 0)
        cut.forceInteger(node);
    }
    for (const Value &value : values)
      cut.addValue(value.maker, value.readers, value.enter, value.leave);
    return cut.solve();
  }
};

TEST(RegionCutTest, isLeastOfAllChoices) {
  std::mt19937 random(1);
  auto draw = [&](int most) { return int(random() % unsigned(most + 1)); };
  for (int trial = 0; trial < 400; ++trial) {
    Graph graph;
    unsigned count = unsigned(2 + draw(8));
    for (unsigned i = 0; i < count; ++i) {
      int forced = draw(9);
      graph.operations.push_back({draw(20), draw(20),
                                  forced == 0   ? -1
                                  : forced == 1 ? 1
                                                : 0});
    }
    for (unsigned i = 0; i + 1 < count; ++i) {
      Value value{i, {}, draw(12), draw(12)};
      for (unsigned reader = i + 1; reader < count; ++reader)
        if (draw(2) == 0)
          value.readers.push_back(reader);
      graph.values.push_back(value);
    }
    RegionCut::Time least = -1;
    for (unsigned bits = 0; bits < 1u << count; ++bits) {
      std::vector<bool> integer(count);
      for (unsigned i = 0; i < count; ++i)
        integer[i] = bits >> i & 1;
      RegionCut::Time time = graph.getTime(integer);
      if (time >= 0 && (least < 0 || time < least))
        least = time;
    }
    RegionCut cut;
    std::vector<bool> chosen = graph.solve(cut);
    EXPECT_EQ(graph.getTime(chosen), least) << "trial " << trial;
    EXPECT_EQ(cut.getTime(), least) << "trial " << trial;
  }
}

TEST(RegionCutTest, judgesRegionsNotOperations) {
  // float input -> a -> b -> float output: each gains 3, a border costs 4.
  auto make = [](RegionCut::Time border) {
    return Graph{{{0, 0, -1}, {10, 13, 0}, {10, 13, 0}, {0, 0, -1}},
                 {{0, {1}, border, border},
                  {1, {2}, border, border},
                  {2, {3}, border, border}}};
  };
  RegionCut dear, cheap;
  EXPECT_EQ(make(4).solve(dear),
            std::vector<bool>({false, false, false, false}));
  EXPECT_EQ(make(2).solve(cheap),
            std::vector<bool>({false, true, true, false}));
}

TEST(RegionCutTest, fillsGapsBetweenIntegers) {
  // The middle one is slower in integers, but two borders cost more.
  Graph graph{{{10, 90, 0}, {12, 10, 0}, {10, 90, 0}},
              {{0, {1}, 5, 5}, {1, {2}, 5, 5}}};
  RegionCut cut;
  EXPECT_EQ(graph.solve(cut), std::vector<bool>({true, true, true}));
  EXPECT_EQ(cut.getTime(), 32);
}

TEST(RegionCutTest, paysOnceForSeveralReaders) {
  // Three integer readers share one set of codes.
  Graph graph{{{0, 0, -1}, {1, 4, 0}, {1, 4, 0}, {1, 4, 0}},
              {{0, {1, 2, 3}, 8, 8}}};
  RegionCut cut;
  EXPECT_EQ(graph.solve(cut), std::vector<bool>({false, true, true, true}));
}

TEST(RegionCutTest, staysFloatWhereEqual) {
  Graph graph{{{5, 5, 0}, {0, 0, 0}}, {{0, {1}, 0, 0}}};
  RegionCut cut;
  EXPECT_EQ(graph.solve(cut), std::vector<bool>({false, false}));
}

} // namespace
