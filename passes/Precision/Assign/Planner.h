//===- Planner.h - budgets, and what can be had within them -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_PLANNER_H
#define QCC_PASSES_PRECISION_ASSIGN_PLANNER_H

#include "Choice.h"
#include "qcc/Calibration/OutputJudge.h"
#include "qcc/Support/Budget.h"

namespace qcc::assign {

/// A point of the front of size and loss.
struct FrontPoint {
  double bytes = 0, loss = 0;
};

/// Chooses formats for layers whose losses, bytes and seconds are known.
class Planner {
public:
  /// `costs` are those of each layer's candidates; `otherBytes` and
  /// `otherSeconds` are of what no choice changes.
  Planner(std::vector<std::vector<knapsack::Costs>> costs, uint64_t otherBytes,
          double otherSeconds)
      : costs(std::move(costs)), otherBytes(double(otherBytes)),
        otherSeconds(otherSeconds) {}

  /// Bytes and seconds of the layers in f32, which relative budgets refer to.
  void setFloatCosts(double bytes, double seconds);
  /// What is least with --max-drop: Size, or Latency.
  void setGoal(knapsack::Cost cost) { goal = cost; }
  /// Reads the budgets, after setFloatCosts. Errors: Usage.
  llvm::Error setBudgets(const Budgets &budgets);
  /// Refuses sizes and latencies that no choice meets, which needs no losses.
  /// Errors: BudgetMissed.
  llvm::Error checkLimits() const;

  /// Scores picks with all formats at once, for --max-drop.
  using Judge = llvm::function_ref<llvm::Expected<OutputScore>(
      llvm::ArrayRef<unsigned> picks)>;
  /// The least loss within the budgets; with --max-drop the goal. Errors:
  /// BudgetMissed, with the nearest budgets that can be met; what `judge`
  /// gives.
  llvm::Expected<knapsack::Assignment> choose(Judge judge);

  /// The least loss for sizes from the smallest to the largest, in that order;
  /// only points that no other is better than.
  std::vector<FrontPoint> getFront() const;

  /// Totals of the model with f32 everywhere, and of picks.
  double getFloatBytes() const { return otherBytes + floatBytes; }
  double getFloatSeconds() const { return otherSeconds + floatSeconds; }
  double getBytes(const knapsack::Assignment &assignment) const;
  double getSeconds(const knapsack::Assignment &assignment) const;

private:
  llvm::Expected<knapsack::Assignment> chooseByDrop(Judge judge);
  llvm::Error refuse() const;
  llvm::Error refuseDrop(double best) const;
  /// A total as a flag that allows it.
  std::string describe(knapsack::Cost cost, double total) const;

  std::vector<std::vector<knapsack::Costs>> costs;
  double otherBytes, otherSeconds, floatBytes = 0, floatSeconds = 0;
  Budgets budgets;
  knapsack::Cost goal = knapsack::Size;
  bool sizeIsRelative = true;
  std::optional<double> maxDrop;
  knapsack::Limits limits = {knapsack::kNone, knapsack::kNone, knapsack::kNone};
};

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_PLANNER_H
