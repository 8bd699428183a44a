//===- Assign.cpp - a precision for each product ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AssignReport.h"
#include "Planner.h"
#include "Probe.h"
#include "SharedWeights.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Support/Diagnostics.h"
#include <cmath>

namespace qcc {
#define GEN_PASS_DECL_ASSIGN
#define GEN_PASS_DEF_ASSIGN
#include "qcc/passes/Assign.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

namespace {

/// Operations that measuring may take: minutes. Larger models are estimated.
constexpr double kMaxWork = 4e13;

/// What the pass's options say.
struct Settings {
  std::string formats, level, sensitivity;
  Budgets budgets;
  KeepRules rules;
  bool areOwn = false; ///< algorithms choose a weight for each product
};

/// One choice of formats for a module.
class Assigner {
public:
  Assigner(ModuleOp module, Workspace *workspace, const Settings &settings)
      : module(module), workspace(workspace), settings(settings) {}

  llvm::Error run() {
    llvm::Expected<SmallVector<const Scheme *>> known =
        findFormats(module.getContext(), settings.formats);
    if (!known)
      return known.takeError();
    llvm::Expected<OutputJudge> made =
        OutputJudge::make(*workspace, module, OutputJudge::kPositions);
    if (!made)
      return made.takeError();
    judge = std::make_unique<OutputJudge>(std::move(*made));
    if (llvm::Error error = warnOfGuess())
      return error;
    layers = collectLayers(module, *known, settings.rules, judge->getOutput());
    if (layers.empty())
      return makeError(Diag::UnsupportedForm, "",
                       "expected products with constant weights to choose "
                       "precisions for, but there are none; convolutions take "
                       "part with int8 and w4a8 alone");
    predict();
    // Losses take minutes, what they cannot change is refused before.
    llvm::Expected<Planner> planner = makePlanner();
    if (!planner)
      return planner.takeError();
    if (llvm::Error error = planner->checkLimits())
      return error;
    if (llvm::Error error = findLosses())
      return error;
    return choose();
  }

private:
  /// A limit of the drop is one of nothing if the float model guesses.
  llvm::Error warnOfGuess() {
    if (settings.budgets.drop.empty())
      return llvm::Error::success();
    llvm::Expected<std::string> text = judge->describeGuess();
    if (!text)
      return text.takeError();
    if (!text->empty())
      addWarning(module, *text);
    return llvm::Error::success();
  }

  llvm::Error findLosses() {
    double weights = 0, runs = 0;
    for (const Layer &layer : layers) {
      weights += double(layer.k) * double(layer.n);
      for (const Candidate &candidate : layer.candidates)
        runs += candidate.scheme && !layer.isFixed();
    }
    double work = 2 * weights * double(judge->getPositionCount()) * runs;
    isMeasured = settings.sensitivity == "measured" ||
                 (settings.sensitivity == "auto" && work <= kMaxWork);
    return isMeasured ? measureLosses(*workspace, module, *judge, layers)
                      : estimateLosses(*workspace, module, layers);
  }

  /// Sets what candidates cost but for losses, and what the float model and
  /// everything else do.
  void predict() {
    Rates rates = getRates(settings.level);
    const Sample &sample = workspace->getSamples().front();
    LayerSet ops;
    for (const Layer &layer : layers)
      ops.insert(layer.op);
    predictSeconds(module, layers, sample, rates);
    // The same layers with f32 alone are the float model.
    std::vector<Layer> exact = layers;
    for (Layer &layer : exact)
      layer.candidates = {Candidate()};
    predictSeconds(module, exact, sample, rates);
    shared.emplace(layers);
    shared->shareBytes(layers, settings.areOwn);
    shared->shareBytes(exact, settings.areOwn);
    for (const Layer &layer : exact) {
      floatBytes += double(layer.candidates[0].bytes);
      floatSeconds += layer.candidates[0].seconds;
    }
    others = getOtherBytes(module, ops);
    floatBytes += double(others.inFloats) - double(others.stored);
    otherSeconds = predictOtherSeconds(module, ops, sample, rates);
  }

  /// A planner with the losses that are known. Errors: Usage.
  llvm::Expected<Planner> makePlanner() const {
    Planner planner(shared->addCosts(layers), others.stored, otherSeconds);
    planner.setFloatCosts(floatBytes, floatSeconds);
    if (llvm::Error error = planner.setBudgets(settings.budgets))
      return std::move(error);
    return planner;
  }

  llvm::Error choose() {
    std::vector<const Choice *> choices;
    for (const Layer &layer : layers)
      choices.push_back(&layer);
    llvm::Expected<Planner> planner = makePlanner();
    if (!planner)
      return planner.takeError();
    auto score = [&](ArrayRef<unsigned> picks) {
      shared->take(picks, layers);
      return scoreAssignment(*workspace, module, *judge, layers);
    };
    auto found = planner->choose(score);
    if (!found)
      return found.takeError();
    llvm::Expected<OutputScore> result = score(found->picks);
    if (!result)
      return result.takeError();
    note();
    Builder b(module.getContext());
    AssignmentFacts facts = {choices,
                             *planner,
                             *found,
                             settings.budgets,
                             *result,
                             getMetric(),
                             judge->getDivergenceName(),
                             judge->getDropName(),
                             judge->getSampleCount(),
                             judge->getPositionCount(),
                             isMeasured,
                             settings.formats};
    module->setAttr(kAssignmentAttr, b.getStringAttr(writeAssignment(facts)));
    return llvm::Error::success();
  }

  /// What losses are; estimates are of the products' own outputs.
  StringRef getMetric() const {
    return isMeasured ? judge->getDivergenceName() : "error";
  }

  /// Puts the choice on each product, with its reason.
  void note() {
    Builder b(module.getContext());
    for (Layer &layer : layers) {
      // The model's own codes stay in what they are where nothing is assigned.
      StringRef key = layer.model ? StringRef("f32") : layer.getChosen().key;
      layer.op->setAttr(kAssignedAttr, b.getStringAttr(key));
      layer.op->setAttr(kAssignedReasonAttr,
                        b.getStringAttr(layer.explain(getMetric())));
    }
  }

  ModuleOp module;
  Workspace *workspace;
  const Settings &settings;
  std::unique_ptr<OutputJudge> judge;
  std::vector<Layer> layers;
  std::optional<SharedWeights> shared;
  double floatBytes = 0, floatSeconds = 0, otherSeconds = 0;
  OtherBytes others;
  bool isMeasured = true;
};

struct AssignPass : qcc::impl::AssignBase<AssignPass> {
  using AssignBase::AssignBase;

  void runOnOperation() override {
    Settings settings = {formats,     level,
                         sensitivity, {maxSize, maxDrop, maxLatency},
                         {},          areOwn};
    if (failed(check(settings)))
      return signalPassFailure();
    Assigner assigner(getOperation(), getWorkspace(&getContext()), settings);
    if (llvm::Error error = assigner.run()) {
      (void)qcc::emitError(getOperation().getLoc(), std::move(error));
      signalPassFailure();
    }
  }

private:
  LogicalResult check(Settings &settings) {
    Location loc = getOperation().getLoc();
    if (sensitivity != "auto" && sensitivity != "measured" &&
        sensitivity != "estimated")
      return emitCoded(loc, Diag::Usage)
             << "expected auto, measured or estimated, but got '" << sensitivity
             << "'";
    Workspace *workspace = getWorkspace(&getContext());
    if (!workspace || !workspace->hasSamples())
      return emitCoded(loc, Diag::Usage)
             << "mixed precision chooses by data: expected --calib=DATA, but "
                "got none";
    return settings.rules.parse(loc, keep);
  }
};

} // namespace
