//===- Layers.h - products that get a format each ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_LAYERS_H
#define QCC_PASSES_PRECISION_ASSIGN_LAYERS_H

#include "Choice.h"
#include "CostTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Products.h"
#include "llvm/ADT/DenseSet.h"

namespace qcc::assign {

/// A product with a constant weight.
struct Layer : Choice {
  MatMulOp op;
  /// How it runs where the only candidate is the model's own codes, whose key
  /// it then has.
  const Scheme *model = nullptr;
};

/// Fewest bits of an output head: below, it costs more accuracy than it saves
/// memory (quantization.md, pitfall 13).
inline constexpr unsigned kHeadBits = 6;

/// The layers of a module's entry, in its order, with the candidates that they
/// may get: `formats` (null is f32) less those that a scheme cannot take, f32
/// alone where `keep` matches or where the product routes between experts, what
/// the model's own codes run in where the weight has some, and none below
/// kHeadBits for the output head. Losses are 0.
std::vector<Layer> collectLayers(mlir::ModuleOp module,
                                 llvm::ArrayRef<const Scheme *> formats,
                                 const KeepRules &keep, unsigned output);

/// Operations with a weight, whose formats are being chosen.
using LayerSet = llvm::DenseSet<mlir::Operation *>;

/// Bytes of the constants of a module's entry that are no layer's weight (its
/// second operand): what any assignment keeps.
struct OtherBytes {
  uint64_t stored = 0;   ///< with weights in the model's own codes as such
  uint64_t inFloats = 0; ///< with those in f32
};
OtherBytes getOtherBytes(mlir::ModuleOp module, const LayerSet &layers);
/// Bytes that a weight takes in an artifact, of its own ones.
uint64_t alignWeight(uint64_t bytes);
/// Bytes of the weight of a product or convolution as kernels store it: in f32,
/// and in codes of 8 or 4 bits with a scale and the sum of the codes for each
/// column (those of the model in words where it says so: kWordsAttr).
uint64_t getFloatBytes(mlir::Operation *layer);
uint64_t getCodeBytes(mlir::Operation *layer, unsigned bits);

/// Sets the bytes and the predicted seconds of all candidates, for the sizes of
/// a sample.
void predictSeconds(mlir::ModuleOp module, llvm::MutableArrayRef<Layer> layers,
                    const Sample &sample, const Rates &rates);
/// The predicted seconds of everything but the layers. Operations in loops
/// count once.
double predictOtherSeconds(mlir::ModuleOp module, const LayerSet &layers,
                           const Sample &sample, const Rates &rates);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_LAYERS_H
