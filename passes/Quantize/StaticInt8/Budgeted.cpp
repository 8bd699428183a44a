//===- Budgeted.cpp - int8 within budgets -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Budgeted.h"
#include "../../Precision/Assign/AssignReport.h"
#include "../../Precision/Assign/Layers.h"
#include "Speed.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;
using knapsack::Assignment;

/// Positions that whole choices are judged on: shares of classes to 0.1 %.
static constexpr uint64_t kPositions = 1024;
/// Samples on which layers are measured one by one.
static constexpr size_t kSamplesOfLayer = 16;
/// The order of a unit's candidates.
static constexpr unsigned kInFloats = 0, kInCodes = 1;

namespace {
/// A layer, or an activation that is rounded for the sake of none.
struct Unit {
  size_t activation;
  Operation *layer; ///< may be null
};

class BudgetChooser {
public:
  BudgetChooser(const BudgetRequest &request, SwitchedModel &model,
                ArrayRef<Activation> activations, const OutputJudge &judge)
      : request(request), model(model), activations(activations), judge(judge) {
    for (auto [number, activation] : llvm::enumerate(activations)) {
      if (activation.layers.empty())
        units.push_back({number, nullptr});
      for (Operation *layer : activation.layers)
        units.push_back({number, layer});
    }
  }

  llvm::Expected<BudgetedPlan> run() {
    addChoices();
    if (llvm::Error error = predict())
      return std::move(error);
    if (llvm::Error error = findLosses())
      return std::move(error);
    return choose();
  }

private:
  /// True if nothing but the loss of accuracy is limited.
  bool hasOnlyDrop() const {
    return request.budgets.size.empty() && request.budgets.latency.empty();
  }
  Switches getSwitches(ArrayRef<unsigned> picks) const;
  llvm::Expected<OutputScore> measure(const Switches &switches, size_t count);
  llvm::Expected<OutputScore> judgePicks(ArrayRef<unsigned> picks);
  void addChoices();
  llvm::Error predict();
  llvm::Error findLosses();
  llvm::Expected<BudgetedPlan> choose();
  bool dropSlow(std::vector<unsigned> &picks);
  std::string explain(const Choice &choice) const;
  std::string describe(const Planner &planner, const Assignment &assignment,
                       const OutputScore &score) const;

  const BudgetRequest &request;
  SwitchedModel &model;
  ArrayRef<Activation> activations;
  const OutputJudge &judge;
  std::vector<Unit> units;
  std::vector<Choice> choices; ///< of each unit
  bool hasTimes = false;
  double floatBytes = 0, floatSeconds = 0; ///< of all units
};
} // namespace

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

/// An activation is in codes for others where a layer that reads it is.
Switches BudgetChooser::getSwitches(ArrayRef<unsigned> picks) const {
  Switches switches;
  switches.activations.resize(activations.size());
  for (auto [unit, pick] : llvm::zip_equal(units, picks)) {
    if (pick == kInCodes)
      switches.activations[unit.activation] = true;
    if (unit.layer)
      switches.layers.push_back(pick == kInCodes);
  }
  return switches;
}

llvm::Expected<OutputScore> BudgetChooser::measure(const Switches &switches,
                                                   size_t count) {
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
  Switches switches = getSwitches(picks);
  llvm::Expected<OutputScore> score = measure(switches, SIZE_MAX);
  if (!score || !hasOnlyDrop())
    return score;
  llvm::Expected<Agreement> agreement = model.run(switches, SIZE_MAX);
  if (!agreement)
    return agreement.takeError();
  if (agreement->getLeastCosine() < request.leastCosine)
    score->drop = HUGE_VAL;
  return score;
}

llvm::Error BudgetChooser::findLosses() {
  std::vector<unsigned> picks(units.size(), kInFloats);
  for (size_t i = 0; i < units.size(); ++i) {
    picks[i] = kInCodes;
    auto score = measure(getSwitches(picks), kSamplesOfLayer);
    if (!score)
      return score.takeError();
    picks[i] = kInFloats;
    choices[i].candidates[kInCodes].loss =
        std::isfinite(score->divergence) ? std::max(score->divergence, 0.0)
                                         : 1e30;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// What layers cost
//===----------------------------------------------------------------------===//

void BudgetChooser::addChoices() {
  for (const Unit &unit : units) {
    Choice choice;
    choice.candidates.resize(2);
    Candidate &floats = choice.candidates[kInFloats],
              &codes = choice.candidates[kInCodes];
    codes.key = "int8";
    if (!unit.layer) {
      choice.node = getNodeName(activations[unit.activation].value.getLoc());
      choice.rule = "codes between layers";
      choices.push_back(std::move(choice));
      continue;
    }
    auto type = cast<RankedTensorType>(unit.layer->getOperand(1).getType());
    auto matmul = dyn_cast<MatMulOp>(unit.layer);
    choice.node = getNodeName(unit.layer->getLoc());
    choice.n = type.getDimSize(matmul && !matmul.getTransB() ? 1 : 0);
    choice.k = type.getNumElements() / choice.n;
    // Columns of kernels, those of convolutions of floats by six; a scale and
    // the sum of the codes for each.
    uint64_t columns = llvm::alignTo(uint64_t(choice.n), 16),
             outputs = matmul ? columns : llvm::alignTo(uint64_t(choice.n), 6);
    floats.bytes = alignWeight(uint64_t(choice.k) * outputs * 4);
    // Taps of depthwise weights lie in words, ready for pairs.
    uint64_t stored = isDepthwise(unit.layer)
                          ? uint64_t(choice.k) * columns * 4
                          : llvm::alignTo(uint64_t(choice.k), 4) * columns;
    codes.bytes = alignWeight(stored) + 2 * alignWeight(columns * 4);
    choices.push_back(std::move(choice));
  }
}

llvm::Error BudgetChooser::predict() {
  SmallVector<Operation *> layers;
  for (const Unit &unit : units)
    if (unit.layer)
      layers.push_back(unit.layer);
  auto times = estimateTimes(request.module, layers, request.target,
                             request.level, request.workspace.getSamples());
  if (!times && !request.budgets.latency.empty())
    return makeError(Diag::Usage, "",
                     "expected a target with figures of how long layers take "
                     "for --max-latency, but '" +
                         request.target.getName() + "' has none");
  hasTimes = times.has_value();
  double sum = 0;
  ArrayRef<LayerTimes> left;
  if (times)
    left = *times;
  for (auto [unit, choice] : llvm::zip_equal(units, choices)) {
    if (unit.layer && hasTimes) {
      choice.candidates[kInFloats].seconds = left.front().inFloats * 1e-9;
      // Borders are not counted here, regions of layers were chosen by them.
      choice.candidates[kInCodes].seconds =
          std::min(left.front().inIntegers, 0.99 * left.front().inFloats) *
          1e-9;
      left = left.drop_front();
    }
    sum += choice.candidates[kInFloats].seconds;
  }
  // Floats between codes cost two conversions: a hundredth of all. Where times
  // are not known, what is least is the size.
  for (auto [unit, choice] : llvm::zip_equal(units, choices))
    if (!unit.layer) {
      choice.candidates[kInFloats].seconds = sum / 100;
      choice.candidates[kInFloats].bytes = hasTimes ? 0 : 1;
    }
  for (auto [unit, choice] : llvm::zip_equal(units, choices))
    if (unit.layer) {
      floatBytes += double(choice.candidates[kInFloats].bytes);
      floatSeconds += choice.candidates[kInFloats].seconds;
    }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

/// Layers that are alone among floats may not be worth the conversions: brings
/// these back to f32; false if there are none.
bool BudgetChooser::dropSlow(std::vector<unsigned> &picks) {
  SmallVector<Operation *> inCodes;
  for (auto [unit, pick] : llvm::zip_equal(units, picks))
    if (unit.layer && pick == kInCodes)
      inCodes.push_back(unit.layer);
  SmallVector<Operation *> faster =
      chooseFaster(request.module, inCodes, request.target, request.level,
                   request.workspace.getSamples());
  if (faster.size() == inCodes.size())
    return false;
  for (auto [unit, pick] : llvm::zip_equal(units, picks))
    if (unit.layer && !llvm::is_contained(faster, unit.layer))
      pick = kInFloats;
  return true;
}

std::string BudgetChooser::describe(const Planner &planner,
                                    const Assignment &assignment,
                                    const OutputScore &score) const {
  std::vector<const Choice *> all;
  for (const Choice &choice : choices)
    all.push_back(&choice);
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
      request.formats};
  return writeAssignment(facts);
}

/// The choice in words, with what the layer costs alone in int8.
std::string BudgetChooser::explain(const Choice &choice) const {
  if (!choice.rule.empty())
    return choice.rule;
  std::string text;
  llvm::raw_string_ostream(text)
      << "assigned: " << judge.getDivergenceName() << " "
      << llvm::format("%.2e", choice.candidates[kInCodes].loss)
      << (choice.chosen == kInCodes ? "" : " in int8");
  return text;
}

llvm::Expected<BudgetedPlan> BudgetChooser::choose() {
  LayerSet layers;
  std::vector<std::vector<knapsack::Costs>> costs;
  for (auto [unit, choice] : llvm::zip_equal(units, choices)) {
    if (unit.layer)
      layers.insert(unit.layer);
    costs.push_back(choice.getCosts());
  }
  Planner planner(costs, getOtherBytes(request.module, layers),
                  predictOtherSeconds(request.module, layers,
                                      request.workspace.getSamples().front(),
                                      getRates(request.level.level)));
  planner.setFloatCosts(floatBytes, floatSeconds);
  planner.setGoal(hasTimes ? knapsack::Latency : knapsack::Size);
  if (llvm::Error error = planner.setBudgets(request.budgets))
    return std::move(error);
  auto found = planner.choose(
      [&](ArrayRef<unsigned> picks) { return judgePicks(picks); });
  if (!found)
    return found.takeError();
  Assignment assignment = std::move(*found);
  if (std::vector<unsigned> fewer = assignment.picks;
      hasOnlyDrop() && dropSlow(fewer)) {
    // Errors may have made up for each other: what was chosen holds.
    llvm::Expected<double> share =
        parseShare("--max-drop", request.budgets.drop);
    if (!share)
      return share.takeError();
    auto score = judgePicks(fewer);
    if (!score)
      return score.takeError();
    if (score->drop <= *share) {
      for (auto [unit, choice, before, after] :
           llvm::zip_equal(units, choices, assignment.picks, fewer))
        if (unit.layer && before != after)
          choice.rule = "kept: not faster";
      assignment = {fewer, knapsack::addCosts(costs, fewer)};
    }
  }
  Switches switches = getSwitches(assignment.picks);
  auto score = measure(switches, SIZE_MAX);
  if (!score)
    return score.takeError();
  score->divergence = std::max(score->divergence, 0.0); // but for rounding
  BudgetedPlan plan;
  for (auto [unit, choice, pick] :
       llvm::zip_equal(units, choices, assignment.picks)) {
    choice.chosen = pick;
    if (unit.layer)
      plan.reasons.push_back(explain(choice));
  }
  plan.assignment = describe(planner, assignment, *score);
  plan.inCodes = std::move(switches);
  return std::move(plan);
}

llvm::Expected<BudgetedPlan> qcc::planWithin(const BudgetRequest &request,
                                             SwitchedModel &model,
                                             ArrayRef<Activation> activations) {
  auto judge = OutputJudge::make(request.workspace, request.module, kPositions);
  if (!judge)
    return judge.takeError();
  return BudgetChooser(request, model, activations, *judge).run();
}
