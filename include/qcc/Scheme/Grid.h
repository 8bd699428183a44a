//===- Grid.h - rounding weights to grids, with their cost ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the algorithms that choose codes by data share. Nothing here knows of
// MLIR. A layer is a matrix W [K, N], row-major; its inputs are rows x of K
// elements, of which only the mean of x^T x is kept, the Gram matrix [K, K].
// The mean square of what rounding W to W' changes in the outputs is
//
//   E |x (W - W')|^2 = trace((W - W')^T Gram (W - W')).
//
// All functions are deterministic and single-threaded.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_GRID_H
#define QCC_SCHEME_GRID_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <string>
#include <vector>

namespace qcc {

/// Scale and zero of a group of one column: weight = scale * (code - zero)
/// where codes are evenly spaced.
struct GridAffine {
  float scale = 0;
  int32_t zero = 0;
};

/// The numbers that a scheme can store.
class WeightGrid {
public:
  virtual ~WeightGrid();
  /// Consecutive rows that share a scale per column; 0: all rows.
  virtual int64_t getGroup() const = 0;
  /// Chooses the scale of a group of one column. `importance` is the mean
  /// square of each row's input, or empty. Never returns a scale that is not
  /// finite for weights that are.
  virtual GridAffine choose(llvm::ArrayRef<float> weights,
                            llvm::ArrayRef<float> importance) const = 0;
  /// The number of the grid nearest to a weight; 0 where the scale is 0.
  virtual float round(float weight, GridAffine affine) const = 0;
  /// The nearest scale that can be stored.
  virtual float storeScale(float scale) const { return scale; }
};

/// A layer's weights: `values` is [k, n].
struct LayerWeights {
  int64_t k = 0, n = 0;
  llvm::ArrayRef<float> values;

  float at(int64_t row, int64_t column) const {
    return values[size_t(row * n + column)];
  }
};

/// A layer's weights as they will be stored.
struct RoundedWeights {
  std::vector<float> values;       ///< [k, n], numbers of the grid
  std::vector<GridAffine> affines; ///< [groups, n]
};

/// Groups of rows of a layer: one if the grid has no groups. The last one is
/// shorter where k is no multiple.
int64_t countGroups(const WeightGrid &grid, int64_t k);
/// Rows of a group: k if the grid has no groups.
int64_t getGroupRows(const WeightGrid &grid, int64_t k);

/// Chooses scales and rounds each weight to the nearest number. `importance`
/// has k elements or none. Weights that are not finite count as 0.
RoundedWeights roundToNearest(const WeightGrid &grid, LayerWeights weights,
                              llvm::ArrayRef<float> importance = {});

/// Rounds with scales that are given.
std::vector<float> roundWith(const WeightGrid &grid, LayerWeights weights,
                             llvm::ArrayRef<GridAffine> affines);

/// Candidates of the search below.
struct ClipOptions {
  unsigned steps = 20;      ///< of the range from 1 to 0
  double smallest = 0.5;    ///< the range shrinks at most to this
  int64_t exactRows = 1024; ///< larger groups use the diagonal of Gram only
};

/// For each group and column, the scale that changes the outputs least among
/// those of the weights clipped to [p * min, p * max] for p = 1, 1 - 1/steps,
/// ...: clipping costs the largest weights and makes steps finer for the
/// others. The cost is that of the group alone, d^T Gram d with the group's
/// block of `gram` [k, k]. Never worse than p = 1 by that measure.
RoundedWeights searchClip(const WeightGrid &grid, LayerWeights weights,
                          llvm::ArrayRef<double> gram,
                          const ClipOptions &options = {});

/// trace((W - W')^T Gram (W - W')): the mean square change of all outputs
/// together. `rounded` is [k, n]; NaN if an input is not finite.
double getOutputError(LayerWeights weights, llvm::ArrayRef<float> rounded,
                      llvm::ArrayRef<double> gram);
/// trace(W^T Gram W), to compare errors with.
double getOutputPower(LayerWeights weights, llvm::ArrayRef<double> gram);

/// The diagonal of a [k, k] matrix as importance of rows.
std::vector<float> getImportance(llvm::ArrayRef<double> gram, int64_t k);

} // namespace qcc

#endif // QCC_SCHEME_GRID_H
