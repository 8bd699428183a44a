//===- LayerChoice.h - the best rounded weights of a layer ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rounds the weights of a layer by several methods and takes those that change
// the outputs least on the data. No MLIR here.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_LAYERCHOICE_H
#define QCC_SCHEME_LAYERCHOICE_H

#include "qcc/Scheme/GPTQ.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace qcc {

/// How weights are rounded beside to nearest.
struct RoundingMethods {
  bool clip = false;     ///< scales of clipped weights (searchClip)
  bool gptq = false;     ///< gptq::Factor::solve
  bool gptqClip = false; ///< the same with the scales of clipped weights
  bool refine = false;   ///< the best of the others, refined (refineWeights)
};

/// A layer whose weights are to be rounded.
struct LayerProblem {
  const WeightGrid &grid;
  LayerWeights weights; ///< [k, n]
  /// What the outputs of rounded weights are compared with, [k, n]: the
  /// weights, or ones that make up for what earlier layers lost.
  llvm::ArrayRef<float> target;
  llvm::ArrayRef<double> gram; ///< of the inputs, [k, k]
  /// Of this matrix; may be null where no method is GPTQ.
  const gptq::Factor *factor = nullptr;
  RoundingMethods methods;
  double damping = 0.01; ///< of `refine`
  /// Makes rounded weights of n columns fit what the grid does not say; those
  /// rounded to nearest fit. May be null.
  llvm::function_ref<void(RoundedWeights &weights, int64_t n)> adjust = nullptr;
};

struct LayerChoice {
  std::string method = "rtn"; ///< or `clip`, `gptq`, `gptq-clip`, `refine`
  RoundedWeights weights;
  /// Mean square of what rounding to nearest and the method change in the
  /// outputs, against those of the target, and of the outputs themselves.
  double nearest = 0, error = 0, power = 0;
};

/// Chooses for each layer by the sum over its columns. Columns are rounded in
/// parts, on several threads, on which the bits do not depend.
std::vector<LayerChoice> chooseLayers(llvm::ArrayRef<LayerProblem> layers,
                                      unsigned threads);

} // namespace qcc

#endif // QCC_SCHEME_LAYERCHOICE_H
