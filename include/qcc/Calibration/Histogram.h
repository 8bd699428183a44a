//===- Histogram.h - counts of magnitudes -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_HISTOGRAM_H
#define QCC_CALIBRATION_HISTOGRAM_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace qcc {

/// Counts of a tensor's elements by sign and magnitude. The bins of each sign
/// cover magnitudes below 2^exponent, the smallest power of two above the
/// largest magnitude seen; bin `i` holds those from i to i + 1 widths, and
/// zeros are counted apart. A larger element makes pairs of bins one, which
/// gives the counts that there would be had the range been known: counts depend
/// on the elements only, not on their order or how they were split.
class Histogram {
public:
  static constexpr int kLogBins = 11;
  static constexpr unsigned kBins = 1u << kLogBins; ///< of each sign

  /// Adds finite elements whose largest magnitude is `largest`.
  void add(llvm::ArrayRef<float> values, float largest);
  void merge(const Histogram &other);

  bool empty() const { return negative.empty(); }
  int getExponent() const { return exponent; }
  uint64_t getZeros() const { return zeros; }
  /// Counts of one sign by magnitude; empty if no element is not 0.
  llvm::ArrayRef<uint64_t> getNegative() const { return negative; }
  llvm::ArrayRef<uint64_t> getPositive() const { return positive; }
  /// 2^(exponent - kLogBins).
  double getBinWidth() const;

  /// Takes what the functions above gave. False if they cannot have.
  bool set(int newExponent, uint64_t newZeros,
           llvm::ArrayRef<uint64_t> newNegative,
           llvm::ArrayRef<uint64_t> newPositive);

private:
  /// Counts as many elements as 32 bits can, `scale` bins for 1.
  void count(llvm::ArrayRef<float> values, double scale);
  /// Makes bins cover magnitudes below 2^newExponent.
  void widen(int newExponent);

  int exponent = 0;
  uint64_t zeros = 0;
  std::vector<uint64_t> negative, positive;
};

} // namespace qcc

#endif // QCC_CALIBRATION_HISTOGRAM_H
