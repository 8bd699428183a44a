//===- Budgeted.h - int8 within budgets -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H
#define QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H

#include "Sensitivity.h"
#include "qcc/Support/Budget.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// What a choice within budgets goes by.
struct BudgetRequest {
  Workspace &workspace;
  mlir::ModuleOp module;
  const Target &target;
  const Capabilities &level; ///< the lowest one of the target
  const Budgets &budgets;
  /// With --max-drop alone also the least cosine of the outputs.
  double leastCosine;
  llvm::StringRef formats; ///< for the report
};

/// Which layers run in int8 within budgets.
struct BudgetedPlan {
  Switches inCodes;
  std::vector<std::string> reasons; ///< of each layer, in words
  std::string assignment;           ///< the object of the report
};

/// Chooses by an integer program which layers run in int8 and which in f32, as
/// `assign::Planner` does for products: with --max-drop those that take the
/// least time, or least size where the target has no figures, else those with
/// the least loss. The loss of a layer is what it does to the model's outputs
/// alone: the divergence of the judged output, or, where that is numbers, the
/// mean over samples of the squared error of all outputs relative to their
/// power. `model` has been measured. Errors: Usage (a latency for a target
/// without figures), BudgetMissed, those of OutputJudge and of running.
llvm::Expected<BudgetedPlan> planWithin(const BudgetRequest &request,
                                        SwitchedModel &model,
                                        llvm::ArrayRef<Activation> activations);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H
