//===- SmoothQuantMath.h - large activations moved into weights -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// SmoothQuant (Xiao et al., 2022; quantization.md 1.3): inputs with large
// channels are divided by scales that weights are multiplied by, so that both
// round well to 8 bits. No MLIR here.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_TRANSFORM_SMOOTHQUANT_SMOOTHQUANTMATH_H
#define QCC_PASSES_TRANSFORM_SMOOTHQUANT_SMOOTHQUANTMATH_H

#include "qcc/Scheme/Grid.h"

namespace qcc::smoothquant {

/// Largest magnitude of the weights of each input over all columns of all
/// layers, [k].
std::vector<float> getWeightRange(llvm::ArrayRef<LayerWeights> layers);

/// max|x_c|^alpha / max|w_c|^(1 - alpha), both at least 1e-5, for each input c.
/// Inputs of a class (`classOf`, empty: none) share the geometric mean. Inputs
/// that are always 0 get 1; all are within [1e-4, 1e4] of their median, finite
/// and positive.
std::vector<float> getScales(llvm::ArrayRef<float> inputRange,
                             llvm::ArrayRef<float> weightRange, double alpha,
                             llvm::ArrayRef<int64_t> classOf = {});

/// Error of the outputs with inputs rounded to int8 by row and weights to the
/// grid, relative to the power of the outputs, on sampled inputs [rows, k].
/// Inputs round in groups of `inputGroup` elements (0: the row). Rounding
/// errors of inputs are taken as independent: what each adds is its squared
/// error times the squared norm of its weights.
double getError(const WeightGrid &grid, llvm::ArrayRef<LayerWeights> layers,
                llvm::ArrayRef<float> inputs, llvm::ArrayRef<double> gram,
                llvm::ArrayRef<float> scales, int64_t inputGroup);

struct Result {
  std::vector<float> scales;
  double alpha = 0; ///< negative: no scaling is best
  double errorBefore = 0, errorAfter = 0;
};

/// Tries each alpha and no scaling; the result is never worse than the latter.
/// One alpha is taken as it is if it is given as the only one and `always`.
Result search(const WeightGrid &grid, llvm::ArrayRef<LayerWeights> layers,
              llvm::ArrayRef<float> inputRange, llvm::ArrayRef<float> inputs,
              llvm::ArrayRef<double> gram, int64_t inputGroup,
              llvm::ArrayRef<double> alphas,
              llvm::ArrayRef<int64_t> classOf = {}, bool always = false);

} // namespace qcc::smoothquant

#endif // QCC_PASSES_TRANSFORM_SMOOTHQUANT_SMOOTHQUANTMATH_H
