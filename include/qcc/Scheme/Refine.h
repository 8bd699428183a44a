//===- Refine.h - rounded weights moved to where they cost less -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Coordinate descent on rounded weights. GPTQ decides each weight once, before
// it knows what rounding the later ones costs. With all of them known, the
// error of the outputs is a quadratic function of each weight and of each
// scale by itself, and the best number of the grid is the one nearest to its
// minimum (codes: QuantEase, Behdin et al., 2023, section 3; scales: the least
// squares of a column with its codes held). No MLIR here.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_REFINE_H
#define QCC_SCHEME_REFINE_H

#include "qcc/Scheme/Grid.h"

namespace qcc {

struct RefineOptions {
  /// Added to the diagonal of the Gram matrix, as a part of its mean: what the
  /// data did not show costs something too, as in GPTQ.
  double damping = 0.01;
  /// How often all scales and then all weights are gone through.
  unsigned rounds = 4;
};

/// Moves `weights` (numbers of the grid, with their scales) of a layer [k, n]
/// one at a time to where trace(D^T (G + added I) D) with D = target - weights
/// is least, scales of groups and then weights in the order of rows. That error
/// never grows, up to rounding. `gram` is [k, k], symmetric; where it is not
/// finite nothing is moved. Rows whose inputs are always 0 and columns with a
/// scale of 0 stay as they are; a round changes a scale to at most twice and at
/// least half of what it is. Columns do not depend on each other.
void refineWeights(const WeightGrid &grid, LayerWeights target,
                   llvm::ArrayRef<double> gram, RoundedWeights &weights,
                   const RefineOptions &options = {});

} // namespace qcc

#endif // QCC_SCHEME_REFINE_H
