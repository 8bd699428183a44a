//===- BudgetUnits.h - what is chosen within budgets ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_BUDGETUNITS_H
#define QCC_PASSES_QUANTIZE_STATICINT8_BUDGETUNITS_H

#include "../../Precision/Assign/Layers.h"
#include "Sensitivity.h"
#include "qcc/Support/Budget.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// What a layer is computed in: f32, codes, or codes with a weight of 4 bits.
enum class Level { Floats, Bytes, Narrow };

/// Weights of 4 bits among what is chosen from.
struct NarrowChoices {
  const Scheme *scheme = nullptr; ///< null: there are none
  /// Products that read floats, with their formats: f32, the scheme, int8.
  llvm::ArrayRef<assign::Layer> products;
  const ChosenWeights *weights = nullptr;
  /// Has the model's layers, then products, run with weights of 4 bits or 8.
  llvm::function_ref<void(const std::vector<bool> &narrow)> set = nullptr;
};

/// What a choice within budgets goes by.
struct BudgetRequest {
  Workspace &workspace;
  mlir::ModuleOp module;
  const Target &target;
  const Capabilities &level; ///< the lowest one of the target
  const Budgets &budgets;
  /// With --max-drop alone also the least cosine of the outputs.
  double leastCosine;
  const OutputJudge &judge;
  llvm::ArrayRef<const Scheme *> formats; ///< null is f32
  llvm::StringRef formatsText;            ///< the same, for the report
  NarrowChoices narrow = {};
};

/// A layer, or an activation that is rounded for the sake of none, with what it
/// may be computed in. Candidates have bytes and seconds, no losses.
struct BudgetUnit : assign::Choice {
  static constexpr size_t kNone = SIZE_MAX;
  size_t activation = kNone;          ///< its number; none: reads floats
  mlir::Operation *layer = nullptr;   ///< null: an activation
  llvm::SmallVector<Level, 3> levels; ///< of the candidates
  assign::Candidate inFloats;         ///< what it costs in f32
};

/// The units of a model in the order of SwitchedModel's layers, activations
/// without layers among them.
struct BudgetUnits {
  std::vector<BudgetUnit> units;
  /// What --max-drop makes least: the time, or the size where the target has
  /// no figures of times or weights of 4 bits are among what is chosen from.
  knapsack::Cost goal = knapsack::Size;

  /// Errors: Usage (a latency for a target without figures).
  static llvm::Expected<BudgetUnits>
  make(const BudgetRequest &request, llvm::ArrayRef<Activation> activations);
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_BUDGETUNITS_H
