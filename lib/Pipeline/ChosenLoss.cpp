//===- ChosenLoss.cpp - what a model with chosen weights loses --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Budgets choose formats by weights that are rounded to nearest; algorithms
// choose the weights after that. Usually they lose less, not always: a layer's
// own error is not the model's. So the whole is measured once more.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "qcc/Support/Budget.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/JSON.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

llvm::Error Compilation::makeJudge() {
  auto made = OutputJudge::make(*workspace, *module, OutputJudge::kPositions);
  if (!made)
    return made.takeError();
  judge = std::make_unique<OutputJudge>(std::move(*made));
  return llvm::Error::success();
}

/// `error` and `drop` of the assignment become those of the model as it is;
/// what they were is kept.
static std::string replaceScores(StringRef text, const OutputScore &score) {
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return text.str();
  }
  llvm::json::Object *all = parsed->getAsObject(),
                     *chosen = all ? all->getObject("chosen") : nullptr;
  if (!chosen)
    return text.str();
  for (auto [name, value] :
       {std::pair("error", score.divergence), std::pair("drop", score.drop)}) {
    llvm::json::Value before = std::move((*chosen)[name]);
    (*chosen)[("nearest_" + StringRef(name)).str()] = std::move(before);
    (*chosen)[name] = value;
  }
  std::string result;
  llvm::raw_string_ostream(result) << *parsed;
  return result;
}

llvm::Error Compilation::checkChosenLoss() {
  OwningOpRef<ModuleOp> copy = module->clone();
  judge->keepOutput(*copy);
  auto program = workspace->getExecutor().compile(*copy);
  if (!program)
    return program.takeError();
  llvm::Expected<OutputScore> score = judge->score(**program, {});
  if (!score)
    return score.takeError();
  result.assignment = replaceScores(result.assignment, *score);
  if (options.budgets.drop.empty())
    return llvm::Error::success();
  llvm::Expected<double> allowed =
      parseShare("--max-drop", options.budgets.drop);
  if (!allowed)
    return allowed.takeError();
  if (score->drop <= *allowed)
    return llvm::Error::success();
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format("%.4f", std::ceil(score->drop * 1e6) / 1e4) << "%";
  return makeError(
      Diag::BudgetMissed, "",
      "expected a model that meets --max-drop=" + options.budgets.drop +
          ", but with the weights that --algo chose it loses " + text + " of " +
          judge->getDropName() +
          "; allow as much, or choose formats for less: a smaller "
          "--max-drop, or no --algo");
}
