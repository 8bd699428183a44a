//===- Budgeted.h - int8 within budgets -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H
#define QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H

#include "BudgetUnits.h"

namespace qcc {

/// Which layers run in codes within budgets.
struct BudgetedPlan {
  Switches inCodes;                 ///< layers in the order of SwitchedModel
  std::vector<bool> narrow;         ///< of each layer: its weight has 4 bits
  std::vector<std::string> reasons; ///< of each layer, in words
  std::string assignment;           ///< the object of the report
};

/// Chooses by an integer program which layers run in int8, with weights of 4
/// bits and in f32, as `assign::Planner` does for products: with --max-drop
/// those that take the least time, or least size where weights of 4 bits are
/// among them or the target has no figures, else those with the least loss. The
/// loss of a layer is what it does to the model's outputs alone: the divergence
/// of the judged output, or, where that is numbers, the mean over samples of
/// the squared error of all outputs relative to their power. `model` has been
/// measured. Errors: Usage (a latency for a target without figures),
/// BudgetMissed, those of running.
llvm::Expected<BudgetedPlan> planWithin(const BudgetRequest &request,
                                        SwitchedModel &model,
                                        llvm::ArrayRef<Activation> activations);

/// Refuses sizes and latencies that no choice meets, before anything is
/// measured. Errors: Usage, BudgetMissed.
llvm::Error checkLimits(const BudgetRequest &request,
                        llvm::ArrayRef<Activation> activations);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_BUDGETED_H
