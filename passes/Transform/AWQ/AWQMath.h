//===- AWQMath.h - scales that protect important channels -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// AWQ (Lin et al., 2023; quantization.md 1.2): rows of weights whose inputs are
// large are multiplied by s > 1 before they are rounded, their inputs divided
// by it, so that their rounding errors shrink. No MLIR here.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_TRANSFORM_AWQ_AWQMATH_H
#define QCC_PASSES_TRANSFORM_AWQ_AWQMATH_H

#include "qcc/Scheme/Grid.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <functional>

namespace qcc::awq {

struct Options {
  unsigned steps = 20; ///< of the exponent from 0 to 1
  /// Scales are also divided by the mean weight of each input to the power of
  /// 1 - exponent.
  bool byWeights = true;
  /// The largest scale over the smallest is at most this: what is folded into
  /// other weights must not overflow.
  double maxRatio = 1e4;
  /// Candidates are ranked by rounding to nearest, on as many columns of each
  /// layer, evenly spaced, as have so many weights, at least 16.
  int64_t rankedWeights = int64_t(1) << 19;
  /// So many of the best are compared, all on the same columns, as many as have
  /// so many weights.
  unsigned judged = 3;
  int64_t judgedWeights = int64_t(1) << 22;
  unsigned threads = 1; ///< that compare candidates; they change no result
};

/// The output error of some columns of a layer, [k, n], once their scaled
/// weights are rounded; the inputs are divided by the scales. Called by several
/// threads at once.
using ColumnJudge =
    std::function<double(LayerWeights weights, LayerWeights scaled)>;
/// Makes what judges columns with these scales [k]. Called by one thread; may
/// use all.
using Judge = llvm::function_ref<ColumnJudge(llvm::ArrayRef<float> scales)>;

struct Result {
  /// What weights are multiplied by and inputs divided by, for each of k
  /// inputs: finite and positive. All ones if nothing else is better.
  std::vector<float> scales;
  double exponent = 0;
  bool byWeights = false;
  /// Output errors of all layers together with scales of one and with
  /// `scales`, relative to the power of the outputs.
  double errorBefore = 0, errorAfter = 0;
  bool isIdentity() const { return exponent == 0 && !byWeights; }
};

/// Searches the scales of `layers` (all [k, n_i]) that share an input with the
/// mean magnitudes `meanAbs` [k] and the Gram matrix [k, k]. `classOf` [k] says
/// which inputs must have the same scale (equal numbers below k), empty: none.
/// Each exponent of the grid is tried with weights rounded to nearest; the best
/// ones and no scaling at all are then compared by `judge`, if there is one,
/// else by rounding to nearest.
/// The result is never worse than no scaling by the last comparison. Errors are
/// those of the columns that are compared.
Result search(const WeightGrid &grid, llvm::ArrayRef<LayerWeights> layers,
              llvm::ArrayRef<float> meanAbs, llvm::ArrayRef<double> gram,
              llvm::ArrayRef<int64_t> classOf = {}, const Options &options = {},
              Judge judge = nullptr);

/// The output error of columns of a layer, [k, n], that get the weights
/// `rounded` for inputs that are divided by the scales [k].
double getScaledError(LayerWeights weights, std::vector<float> rounded,
                      llvm::ArrayRef<double> gram,
                      llvm::ArrayRef<float> scales);

/// [k, n] with rows multiplied by the scales.
std::vector<float> scaleRows(LayerWeights weights,
                             llvm::ArrayRef<float> scales);

} // namespace qcc::awq

#endif // QCC_PASSES_TRANSFORM_AWQ_AWQMATH_H
