//===- Measure.h - what low bits cost a model, and who is kept --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_MEASURE_H
#define QCC_PASSES_QUANTIZE_STATICINT8_MEASURE_H

#include "Sensitivity.h"

namespace qcc {

/// The model with switches and what was found with it.
struct Measured {
  std::unique_ptr<SwitchedModel> model;
  std::vector<double> errors; ///< of each layer alone, attentions last
  std::vector<std::optional<Correction>> corrections;
  std::optional<Agreement> whole; ///< all in low bits; none without outputs

  /// Compiles the model with switches and runs it. Corrections, if they are
  /// asked for, are those that do not change the outputs more than none do.
  /// Errors: as SwitchedModel.
  static llvm::Expected<Measured>
  create(Workspace &workspace, mlir::ModuleOp module,
         llvm::ArrayRef<Activation> activations, const WeightChoices &weights,
         bool correctBias, const SwitchedProducts &products = {});

  double getLeastCosine() const { return whole ? whole->getLeastCosine() : 1; }
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_MEASURE_H
