//===- Knapsack.cpp - one format for each layer, within budgets -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Knapsack.h"
#include <CbcHeuristic.hpp>
#include <CbcModel.hpp>
#include <CoinError.hpp>
#include <CoinPackedMatrix.hpp>
#include <OsiClpSolverInterface.hpp>
#include <algorithm>
#include <cmath>

using namespace qcc;
using namespace qcc::knapsack;
using llvm::ArrayRef;

/// Nodes of the search: some seconds for hundreds of layers.
static constexpr int kMaxNodes = 2000;
/// Share of the least total that the result may be above it.
static constexpr double kGap = 1e-4;

Costs knapsack::addCosts(ArrayRef<std::vector<Costs>> layers,
                         ArrayRef<unsigned> picks) {
  Costs totals = {};
  for (size_t i = 0; i < layers.size(); ++i)
    for (unsigned c = 0; c < kCosts; ++c)
      totals[c] += layers[i][picks[i]][c];
  return totals;
}

static bool isWithin(const Costs &totals, const Limits &limits) {
  for (unsigned c = 0; c < kCosts; ++c)
    if (!(totals[c] <= limits[c]))
      return false;
  return true;
}

/// Each layer's cheapest format by one cost; of equal ones the first.
static Assignment pickLeast(ArrayRef<std::vector<Costs>> layers, Cost cost) {
  Assignment result;
  for (const std::vector<Costs> &formats : layers) {
    auto least = std::min_element(
        formats.begin(), formats.end(),
        [&](const Costs &a, const Costs &b) { return a[cost] < b[cost]; });
    result.picks.push_back(unsigned(least - formats.begin()));
  }
  result.totals = addCosts(layers, result.picks);
  return result;
}

namespace {
/// The integer program: a column for each format of each layer that is 1 if it
/// is taken, a row per layer whose columns sum to 1, a row per limit. A column
/// has at most one part in a layer's row and one in each limit's.
class Program {
public:
  Program(ArrayRef<std::vector<Costs>> layers, Cost goal, const Limits &limits)
      : layers(layers), matrix(/*colordered=*/true, 0, 0) {
    std::vector<unsigned> limited;
    for (unsigned c = 0; c < kCosts; ++c)
      if (std::isfinite(limits[c]))
        limited.push_back(c);
    size_t rows = layers.size() + limited.size();
    rowLow.assign(rows, 1.0);
    rowHigh.assign(rows, 1.0);
    matrix.setDimensions(int(rows), 0);
    // The solver's tolerances are absolute: totals are scaled to about 1.
    double scale = 0;
    for (const std::vector<Costs> &formats : layers) {
      double largest = 0;
      for (const Costs &costs : formats)
        largest = std::max(largest, costs[goal]);
      scale += largest;
    }
    for (size_t i = 0; i < layers.size(); ++i)
      for (const Costs &costs : layers[i]) {
        CoinPackedVector column;
        column.insert(int(i), 1.0);
        for (size_t c = 0; c < limited.size(); ++c) {
          double limit = limits[limited[c]], cost = costs[limited[c]];
          double part = limit > 0 ? cost / limit : cost > 0 ? 2.0 : 0.0;
          // What is beyond the limit alone is so at any scale.
          column.insert(int(layers.size() + c), std::min(part, 1e6));
        }
        matrix.appendCol(column);
        objective.push_back(scale > 0 ? costs[goal] / scale : 0);
      }
    for (size_t c = 0; c < limited.size(); ++c) {
      rowLow[layers.size() + c] = -COIN_DBL_MAX;
      // A little below, so that the solver's tolerance stays within the limit.
      rowHigh[layers.size() + c] = 1 - 2e-7;
    }
  }

  std::optional<std::vector<unsigned>> solve() {
    std::vector<double> low(objective.size(), 0), high(objective.size(), 1);
    OsiClpSolverInterface solver;
    solver.messageHandler()->setLogLevel(0);
    solver.getModelPtr()->messageHandler()->setLogLevel(0);
    solver.loadProblem(matrix, low.data(), high.data(), objective.data(),
                       rowLow.data(), rowHigh.data());
    for (size_t i = 0; i < objective.size(); ++i)
      solver.setInteger(int(i));
    CbcModel model(solver);
    model.setLogLevel(0);
    model.solver()->messageHandler()->setLogLevel(0);
    model.setMaximumNodes(kMaxNodes);
    model.setAllowableFractionGap(kGap);
    CbcRounding rounding(model);
    model.addHeuristic(&rounding);
    model.branchAndBound();
    const double *best = model.bestSolution();
    if (!best)
      return std::nullopt;
    std::vector<unsigned> picks;
    for (const std::vector<Costs> &formats : layers) {
      picks.push_back(
          unsigned(std::max_element(best, best + formats.size()) - best));
      best += formats.size();
    }
    return picks;
  }

private:
  ArrayRef<std::vector<Costs>> layers;
  CoinPackedMatrix matrix;
  std::vector<double> objective, rowLow, rowHigh;
};
} // namespace

std::optional<Assignment> knapsack::solve(ArrayRef<std::vector<Costs>> layers,
                                          Cost goal, const Limits &limits) {
  // Without a limit that matters there is nothing to trade.
  Assignment least = pickLeast(layers, goal);
  if (isWithin(least.totals, limits))
    return least;
  try {
    std::optional<std::vector<unsigned>> picks =
        Program(layers, goal, limits).solve();
    if (picks) {
      Assignment found = {*picks, addCosts(layers, *picks)};
      if (isWithin(found.totals, limits))
        return found;
    }
  } catch (const CoinError &) {
    // A fault of the solver is as if nothing was found.
  }
  // What meets a limit exactly may be beyond the solver's tolerance.
  for (unsigned c = 0; c < kCosts; ++c)
    if (Assignment other = pickLeast(layers, Cost(c));
        isWithin(other.totals, limits))
      return other;
  return std::nullopt;
}
