//===- Range.h - ranges of numbers to represent -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From statistics of a tensor to the interval that its codes should cover.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_RANGE_H
#define QCC_CALIBRATION_RANGE_H

#include "qcc/Calibration/Statistics.h"

namespace qcc {

/// How a range is chosen.
enum class RangeMethod {
  MinMax,     ///< everything that was seen
  Percentile, ///< what is left without the outermost elements
  Entropy,    ///< least Kullback-Leibler divergence (Migacz, GTC 2017)
  MSE         ///< least squared error
};

/// "minmax", "percentile", "entropy", "mse".
llvm::StringRef getRangeMethodName(RangeMethod method);
std::optional<RangeMethod> parseRangeMethod(llvm::StringRef name);

/// A method with its parameter as on the command line: METHOD, or
/// METHOD:PARAMETER where it is not 0.
std::string describeRangeMethod(RangeMethod method, double parameter);
/// Reads that. Errors: Usage.
llvm::Expected<std::pair<RangeMethod, double>>
readRangeMethod(llvm::StringRef text);

/// An interval that has 0 in it. Both are 0 where all elements were.
struct Range {
  float min = 0, max = 0;
  bool operator==(const Range &) const = default;
};

/// The range that a tensor's codes of `bits` bits (2 to 16) should cover;
/// `isSymmetric`: -a to a. It is never wider than what was seen, widened to 0.
///
/// `parameter`, 0 for the default:
///   Percentile  percentage of the elements to keep, above 50 and at most 100
///               (99.99); of all magnitudes where symmetric, else half of the
///               rest is cut at each end. Found to a bin of the histogram.
///   Entropy     candidates: every bin's end from the 2^(bits - 1)th on.
///               Distributions are of the elements that are not 0: these have
///               a code of their own whatever the range.
///   MSE         number of candidates, equally spaced fractions of the largest
///               magnitude (256).
///
/// Errors: BadCalibration, with the tensor's name, if no finite element was
/// seen or `parameter` is out of range.
llvm::Expected<Range> chooseRange(const TensorStatistics &statistics,
                                  RangeMethod method, unsigned bits,
                                  bool isSymmetric, double parameter = 0);

/// The same for each channel of an array of finite values (a weight).
llvm::Expected<std::vector<Range>>
chooseRanges(llvm::StringRef name, llvm::ArrayRef<float> values,
             ChannelLayout layout, RangeMethod method, unsigned bits,
             bool isSymmetric, double parameter = 0);

/// An affine grid: the code q stands for scale * (q - zeroPoint).
struct Grid {
  float scale = 1; ///< finite, normal, above 0
  int32_t zeroPoint = 0;
  bool operator==(const Grid &) const = default;
};

/// The grid whose codes (-2^(bits-1) to 2^(bits-1) - 1 if `isSigned`, else 0 to
/// 2^bits - 1) cover a range. Symmetric: the scale is a / (2^(bits-1) - 1) and
/// zero's code is the middle one (0 or 2^(bits-1)). An empty range has scale 1;
/// one whose scale would be denormal has the smallest normal scale.
Grid getGrid(Range range, unsigned bits, bool isSymmetric, bool isSigned);

} // namespace qcc

#endif // QCC_CALIBRATION_RANGE_H
