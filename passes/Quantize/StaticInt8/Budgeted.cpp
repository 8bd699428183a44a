//===- Budgeted.cpp - int8 within budgets -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Budgeted.h"
#include "../../Precision/Assign/AssignReport.h"
#include "Speed.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"
#include <cmath>

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;
using knapsack::Assignment;

/// Samples on which layers are measured one by one.
static constexpr size_t kSamplesOfLayer = 16;
/// A planner with the losses of units that are known. Errors: Usage.
static llvm::Expected<Planner> makePlanner(const BudgetRequest &request,
                                           ArrayRef<BudgetUnit> units,
                                           knapsack::Cost goal) {
  LayerSet layers;
  std::vector<std::vector<knapsack::Costs>> costs;
  double floatBytes = 0, floatSeconds = 0;
  for (const BudgetUnit &unit : units) {
    costs.push_back(unit.getCosts());
    if (!unit.layer)
      continue;
    layers.insert(unit.layer);
    floatBytes += double(unit.inFloats.bytes);
    floatSeconds += unit.inFloats.seconds;
  }
  OtherBytes others = getOtherBytes(request.module, layers);
  floatBytes += double(others.inFloats) - double(others.stored);
  Planner planner(std::move(costs), others.stored,
                  predictOtherSeconds(request.module, layers,
                                      request.workspace.getSamples().front(),
                                      getRates(request.level.level)));
  planner.setFloatCosts(floatBytes, floatSeconds);
  planner.setGoal(goal);
  if (llvm::Error error = planner.setBudgets(request.budgets))
    return std::move(error);
  return planner;
}

namespace {
class BudgetChooser {
public:
  BudgetChooser(const BudgetRequest &request, SwitchedModel &model,
                ArrayRef<Activation> activations, BudgetUnits found)
      : request(request), model(model), activations(activations),
        judge(request.judge), units(std::move(found.units)), goal(found.goal) {}

  llvm::Expected<BudgetedPlan> run() {
    if (llvm::Error error = findLosses())
      return std::move(error);
    return choose();
  }

private:
  /// True if nothing but the loss of accuracy is limited.
  bool hasOnlyDrop() const {
    return request.budgets.size.empty() && request.budgets.latency.empty();
  }
  SmallVector<Level> getLevels(ArrayRef<unsigned> picks) const;
  BudgetedPlan getPlan(ArrayRef<Level> levels) const;
  llvm::Expected<OutputScore> measure(ArrayRef<Level> levels, size_t count);
  llvm::Expected<OutputScore> judgePicks(ArrayRef<unsigned> picks);
  llvm::Error findLosses();
  llvm::Expected<BudgetedPlan> choose();
  llvm::Expected<Assignment>
  leaveSlow(Assignment assignment,
            ArrayRef<std::vector<knapsack::Costs>> costs);
  bool dropSlow(std::vector<unsigned> &picks) const;
  std::string explain(const BudgetUnit &unit) const;
  std::string describe(const Planner &planner, const Assignment &assignment,
                       const OutputScore &score) const;

  const BudgetRequest &request;
  SwitchedModel &model;
  ArrayRef<Activation> activations;
  const OutputJudge &judge;
  std::vector<BudgetUnit> units;
  knapsack::Cost goal;
};
} // namespace

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

SmallVector<Level> BudgetChooser::getLevels(ArrayRef<unsigned> picks) const {
  SmallVector<Level> levels;
  for (auto [unit, pick] : llvm::zip_equal(units, picks))
    levels.push_back(unit.levels[pick]);
  return levels;
}

/// An activation is in codes for others where a layer that reads it is.
BudgetedPlan BudgetChooser::getPlan(ArrayRef<Level> levels) const {
  BudgetedPlan plan;
  plan.inCodes.activations.resize(activations.size());
  for (auto [unit, level] : llvm::zip_equal(units, levels)) {
    bool isInCodes = level != Level::Floats;
    if (isInCodes && unit.activation != BudgetUnit::kNone)
      plan.inCodes.activations[unit.activation] = true;
    if (unit.layer) {
      plan.inCodes.layers.push_back(isInCodes);
      plan.narrow.push_back(level == Level::Narrow);
    }
  }
  return plan;
}

llvm::Expected<OutputScore> BudgetChooser::measure(ArrayRef<Level> levels,
                                                   size_t count) {
  BudgetedPlan plan = getPlan(levels);
  const Switches &switches = plan.inCodes;
  if (request.narrow.set)
    request.narrow.set(plan.narrow);
  if (judge.getKind() != OutputJudge::Kind::Numbers)
    return model.score(judge, switches, count);
  llvm::Expected<Agreement> agreement = model.run(switches, count);
  if (!agreement)
    return agreement.takeError();
  OutputScore score;
  score.divergence = score.drop = agreement->getMeanError();
  return score;
}

/// For Planner: where accuracy alone is limited, outputs that are not judged
/// count by their cosine.
llvm::Expected<OutputScore>
BudgetChooser::judgePicks(ArrayRef<unsigned> picks) {
  SmallVector<Level> levels = getLevels(picks);
  llvm::Expected<OutputScore> score = measure(levels, SIZE_MAX);
  if (!score || !hasOnlyDrop())
    return score;
  llvm::Expected<Agreement> agreement =
      model.run(getPlan(levels).inCodes, SIZE_MAX);
  if (!agreement)
    return agreement.takeError();
  if (agreement->getLeastCosine() < request.leastCosine)
    score->drop = HUGE_VAL;
  return score;
}

llvm::Error BudgetChooser::findLosses() {
  SmallVector<Level> levels(units.size(), Level::Floats);
  for (auto [i, unit] : llvm::enumerate(units)) {
    for (auto [candidate, level] :
         llvm::zip_equal(unit.candidates, unit.levels)) {
      if (level == Level::Floats)
        continue;
      levels[i] = level;
      auto score = measure(levels, kSamplesOfLayer);
      if (!score)
        return score.takeError();
      candidate.loss = std::isfinite(score->divergence)
                           ? std::max(score->divergence, 0.0)
                           : 1e30;
    }
    levels[i] = Level::Floats;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

/// Layers that are alone among floats may not be worth the conversions: brings
/// these back to f32; false if there are none.
bool BudgetChooser::dropSlow(std::vector<unsigned> &picks) const {
  SmallVector<Operation *> inCodes;
  for (auto [unit, pick] : llvm::zip_equal(units, picks))
    if (unit.layer && unit.activation != BudgetUnit::kNone &&
        unit.levels[pick] != Level::Floats)
      inCodes.push_back(unit.layer);
  SmallVector<Operation *> faster =
      chooseFaster(request.module, inCodes, request.target, request.level,
                   request.workspace.getSamples());
  bool anyChanged = false;
  for (auto [unit, pick] : llvm::zip_equal(units, picks)) {
    const auto *inFloats = llvm::find(unit.levels, Level::Floats);
    if (!llvm::is_contained(inCodes, unit.layer) || // or an activation
        llvm::is_contained(faster, unit.layer) || inFloats == unit.levels.end())
      continue;
    pick = unsigned(inFloats - unit.levels.begin());
    anyChanged = true;
  }
  return anyChanged;
}

/// The assignment without what is not worth the conversions, if it holds then:
/// errors may have made up for each other.
llvm::Expected<Assignment>
BudgetChooser::leaveSlow(Assignment assignment,
                         ArrayRef<std::vector<knapsack::Costs>> costs) {
  std::vector<unsigned> fewer = assignment.picks;
  // With weights of 4 bits it is size that counts.
  if (!hasOnlyDrop() || request.narrow.scheme || !dropSlow(fewer))
    return std::move(assignment);
  llvm::Expected<double> share = parseShare("--max-drop", request.budgets.drop);
  if (!share)
    return share.takeError();
  auto score = judgePicks(fewer);
  if (!score)
    return score.takeError();
  if (score->drop > *share)
    return std::move(assignment);
  for (auto [unit, before, after] :
       llvm::zip_equal(units, assignment.picks, fewer))
    if (before != after)
      unit.rule = "kept: not faster";
  return Assignment{fewer, knapsack::addCosts(costs, fewer)};
}

std::string BudgetChooser::describe(const Planner &planner,
                                    const Assignment &assignment,
                                    const OutputScore &score) const {
  std::vector<const Choice *> all;
  for (const BudgetUnit &unit : units)
    all.push_back(&unit);
  bool isNumbers = judge.getKind() == OutputJudge::Kind::Numbers;
  StringRef metric = judge.getDivergenceName();
  AssignmentFacts facts = {
      all,
      planner,
      assignment,
      request.budgets,
      score,
      metric,
      metric,
      judge.getDropName(),
      isNumbers ? model.getNumSamples() : judge.getSampleCount(),
      isNumbers ? model.getNumSamples() : judge.getPositionCount(),
      /*isMeasured=*/true,
      request.formatsText};
  return writeAssignment(facts);
}

/// The choice in words: between two, with what the layer costs alone in int8.
std::string BudgetChooser::explain(const BudgetUnit &unit) const {
  StringRef metric = judge.getDivergenceName();
  if (StringRef(unit.rule).starts_with("kept"))
    return unit.rule;
  if (unit.levels != ArrayRef({Level::Floats, Level::Bytes}))
    return unit.explain(metric);
  bool isInFloats = unit.levels[unit.chosen] == Level::Floats;
  std::string text;
  llvm::raw_string_ostream(text)
      << "assigned: " << metric << " "
      << llvm::format("%.2e", unit.candidates[1].loss)
      << (isInFloats ? " in int8" : "");
  return text;
}

llvm::Expected<BudgetedPlan> BudgetChooser::choose() {
  std::vector<std::vector<knapsack::Costs>> costs;
  for (const BudgetUnit &unit : units)
    costs.push_back(unit.getCosts());
  llvm::Expected<Planner> planner = makePlanner(request, units, goal);
  if (!planner)
    return planner.takeError();
  auto found = planner->choose(
      [&](ArrayRef<unsigned> picks) { return judgePicks(picks); });
  if (!found)
    return found.takeError();
  auto assignment = leaveSlow(std::move(*found), costs);
  if (!assignment)
    return assignment.takeError();
  SmallVector<Level> levels = getLevels(assignment->picks);
  auto score = measure(levels, SIZE_MAX);
  if (!score)
    return score.takeError();
  score->divergence = std::max(score->divergence, 0.0); // but for rounding
  BudgetedPlan plan = getPlan(levels);
  for (auto [unit, pick] : llvm::zip_equal(units, assignment->picks)) {
    unit.chosen = pick;
    if (unit.layer)
      plan.reasons.push_back(explain(unit));
  }
  plan.assignment = describe(*planner, *assignment, *score);
  return std::move(plan);
}

llvm::Expected<BudgetedPlan> qcc::planWithin(const BudgetRequest &request,
                                             SwitchedModel &model,
                                             ArrayRef<Activation> activations) {
  auto units = BudgetUnits::make(request, activations);
  if (!units)
    return units.takeError();
  return BudgetChooser(request, model, activations, std::move(*units)).run();
}

llvm::Error qcc::checkLimits(const BudgetRequest &request,
                             ArrayRef<Activation> activations) {
  auto units = BudgetUnits::make(request, activations);
  if (!units)
    return units.takeError();
  auto planner = makePlanner(request, units->units, units->goal);
  return planner ? planner->checkLimits() : planner.takeError();
}
