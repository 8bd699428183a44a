//===- GPTQ.h - rounding that makes up for its errors -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// GPTQ (Frantar et al., 2022; quantization.md 1.1): rows of W [K, N] are
// rounded one after the other, and what rounding one of them changes in the
// outputs is made up for by those that are not rounded yet, as far as the
// inputs' correlations allow. Those are not moved each time, by the inverse of
// the Gram matrix, but when they are reached, by its triangular factor: the
// same numbers (the nearest plane method on the lattice of the factor) with no
// inverse and no blocks of rows. No MLIR here. It is not in the folder of the
// pass because AWQ judges scales by what GPTQ makes of them.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_GPTQ_H
#define QCC_SCHEME_GPTQ_H

#include "qcc/Scheme/Grid.h"
#include <optional>
#include <string>

namespace qcc::gptq {

struct Options {
  /// Added to the diagonal, as a part of its mean; doubled until the matrix can
  /// be factored, at most `attempts` times.
  double damping = 0.01;
  unsigned attempts = 8;
  /// Rows in descending order of their inputs' mean square, with the groups'
  /// scales of the original order and weights (static groups), so that nothing
  /// has to be gathered at run time.
  bool actOrder = true;
  /// Without actOrder: a group's scale is chosen when its first row is reached,
  /// of weights that make up for earlier rows. Ignored if scales are given.
  bool lateScales = false;
};

struct Solution {
  RoundedWeights weights;
  /// What was added to the diagonal, as a part of its mean.
  double damping = 0;
  /// Why weights are rounded to nearest instead; empty if they are not.
  std::string fallback;
  /// The output error of the weights, as getOutputError gives it without the
  /// damping, up to rounding: it falls off. None for a fallback.
  std::optional<double> error;
};

/// What GPTQ needs of the inputs, for any number of layers that share them, and
/// for parts of their columns: each column is rounded for itself. Objects do
/// not change and are shared by threads.
class Factor {
public:
  /// `gram` is [k, k], symmetric; with `scales` [k], its rows and columns are
  /// divided by them. What cannot be factored or is not finite is told by
  /// solve(). Takes 8 k^2 bytes. The result does not depend on `threads`.
  Factor(llvm::ArrayRef<double> gram, int64_t k, const Options &options = {},
         llvm::ArrayRef<float> scales = {}, unsigned threads = 1);

  /// Rounds a layer [k, n]. `scales` ([groups, n]) are used if given, else
  /// those of the grid for the weights. Rows whose inputs are always 0 get
  /// weights 0 and have no part in scales. A matrix that cannot be factored or
  /// is not finite gives weights rounded to nearest and a reason.
  Solution solve(const WeightGrid &grid, LayerWeights weights,
                 llvm::ArrayRef<GridAffine> scales = {}) const;

private:
  double at(llvm::ArrayRef<double> gram, llvm::ArrayRef<float> scales,
            int64_t i, int64_t j) const;
  bool factor(llvm::ArrayRef<double> gram, llvm::ArrayRef<float> scales,
              unsigned threads);

  int64_t k;
  Options options;
  std::vector<int64_t> order; ///< rows as they are rounded
  std::vector<char> dead;     ///< rows whose inputs are always 0
  std::vector<float> importance;
  /// L, lower triangular [k, k] with ones on its diagonal, and c [k]: the error
  /// of differences d in this order is the sum over i of c_i (L d)_i^2, minus
  /// what the damping adds, `added` |d|^2. Empty if there is none.
  std::vector<double> lower, pivots;
  double damping = 0, added = 0;
  std::string fallback;
};

/// The same for one layer.
Solution solve(const WeightGrid &grid, LayerWeights weights,
               llvm::ArrayRef<double> gram, const Options &options = {},
               llvm::ArrayRef<GridAffine> scales = {});

/// The weights W* = (G + dI)^-1 (C + dI) W that give with inputs y, of which G
/// is the mean of y^T y, the outputs that W gives with inputs x, where C is the
/// mean of y^T x [k, k]: the correction for what earlier layers lost. The error
/// of rounding W* measured by G then is that of the outputs against those of
/// the float model, up to a constant. `share` in [0, 1] of the correction is
/// applied. The weights as they are where G cannot be factored.
std::vector<float> correctTarget(LayerWeights weights,
                                 llvm::ArrayRef<double> gram,
                                 llvm::ArrayRef<double> cross, double share,
                                 double damping = 0.01);

} // namespace qcc::gptq

#endif // QCC_SCHEME_GPTQ_H
