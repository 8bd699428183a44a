//===- Layers.h - products that get a format each ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_LAYERS_H
#define QCC_PASSES_PRECISION_ASSIGN_LAYERS_H

#include "CostTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Products.h"
#include <string>
#include <vector>

namespace qcc::assign {

/// A format that a layer may get, and what it costs.
struct Candidate {
  const Scheme *scheme = nullptr; ///< null: f32
  std::string key = "f32";
  double loss = 0; ///< divergence of the outputs with only this layer changed
  uint64_t bytes = 0;
  double seconds = 0; ///< predicted, for the sizes of the first sample
};

/// A product with a constant weight. `rule` says why candidates are missing, in
/// the words of the report; empty if none are.
struct Layer {
  MatMulOp op;
  int64_t k = 0, n = 0;
  std::string rule;
  std::vector<Candidate> candidates; ///< at least one
  unsigned chosen = 0;

  const Candidate &getChosen() const { return candidates[chosen]; }
  /// True if there is nothing to choose.
  bool isFixed() const { return candidates.size() == 1; }
};

/// Fewest bits of an output head: below, it costs more accuracy than it saves
/// memory (quantization.md, pitfall 13).
inline constexpr unsigned kHeadBits = 6;

/// The layers of a module's entry, in its order, with the candidates that they
/// may get: `formats` (null is f32) less those that a scheme cannot take, f32
/// alone where `keep` matches or where the product routes between experts, and
/// none below kHeadBits for the output head. Losses are 0.
std::vector<Layer> collectLayers(mlir::ModuleOp module,
                                 llvm::ArrayRef<const Scheme *> formats,
                                 const KeepRules &keep, unsigned output);

/// Bytes of the constants of a module's entry that are no layer's weight: what
/// any assignment keeps.
uint64_t getOtherBytes(mlir::ModuleOp module, llvm::ArrayRef<Layer> layers);
/// Bytes of a layer's weight in f32, as kernels store it.
uint64_t getFloatBytes(const Layer &layer);

/// Sets the bytes and the predicted seconds of all candidates, and returns the
/// predicted seconds of everything else, for the sizes of a sample. Operations
/// in loops count once.
double predictSeconds(mlir::ModuleOp module,
                      llvm::MutableArrayRef<Layer> layers, const Sample &sample,
                      const Rates &rates);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_LAYERS_H
