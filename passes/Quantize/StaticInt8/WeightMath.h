//===- WeightMath.h - rounding the weights of a layer -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_WEIGHTMATH_H
#define QCC_PASSES_QUANTIZE_STATICINT8_WEIGHTMATH_H

#include "qcc/Scheme/Grid.h"
#include <string>
#include <vector>

namespace qcc {

/// A matrix [n, k] as [k, n].
std::vector<float> transposeWeight(llvm::ArrayRef<float> in, int64_t n,
                                   int64_t k);

/// A layer's weights on a grid and how they were chosen.
struct RoundedChoice {
  RoundedWeights weights;
  std::string method;
  /// Mean squared errors of the outputs when rounded to nearest and as chosen,
  /// relative to the mean square of the outputs; 0 without inputs.
  double nearest = 0, chosen = 0;
};
/// The most that the sum of two weights of one sign of a pair of rows may be in
/// steps of their scale: rounded to nearest they exceed kMaxPairSum neither by
/// the rounding of the scale nor by their own, for of two numbers whose sum is
/// at most a whole one only one is rounded up.
inline constexpr double kLargestPair = 127.99;

struct ChoiceOptions {
  /// The layer's rows in the order of kernels: codes fit in pairs
  /// (kPairsFitAttr), on a grid without groups and zeros. Empty: any codes.
  llvm::ArrayRef<int64_t> kernelRows = {};
  /// The best weights are moved on to where they cost least (Refine.h). Worth
  /// its time with few bits.
  bool refine = false;
  /// Columns are rounded on several threads. The bits do not depend on it.
  unsigned threads = 1;
};

/// Rounds weights by the method of least output error among `rtn`, `clip`,
/// `gptq`, `gptq-clip` and, if asked for, `refine`; `gram` [k, k] is the mean
/// of x^T x of the inputs. Without one to nearest.
RoundedChoice chooseRounded(const WeightGrid &grid, LayerWeights layer,
                            llvm::ArrayRef<double> gram,
                            const ChoiceOptions &options = {});

/// A weight [outputs, rows] on a grid.
struct ChosenValues {
  std::vector<float> values; ///< [outputs, rows]
  std::vector<float> scales; ///< [outputs], none is 0
  std::string method;
};

/// Rounds a weight [outputs, rows] to a grid with a scale per output. With
/// `gram` [rows, rows], the mean of x^T x of the inputs, by the method of least
/// output error, as chooseRounded does; without one to nearest on `clipped`,
/// the same grid with ranges clipped for least error in the weights. Outputs
/// whose weights are so small that scales could not be divided by become zero.
ChosenValues chooseWeight(const WeightGrid &grid, const WeightGrid &clipped,
                          llvm::ArrayRef<float> weight, int64_t outputs,
                          llvm::ArrayRef<double> gram,
                          const ChoiceOptions &options = {});

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_WEIGHTMATH_H
