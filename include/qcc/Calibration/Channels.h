//===- Channels.h - statistics of each channel ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_CHANNELS_H
#define QCC_CALIBRATION_CHANNELS_H

#include "qcc/Calibration/ExactSums.h"

namespace qcc {

/// Where an array has its channels: element `i` of the row-major array is of
/// channel `i / inner % channels`. No channels: `channels` is 0.
struct ChannelLayout {
  int64_t channels = 0; ///< size of the axis
  int64_t inner = 1;    ///< product of the sizes behind it
};

/// Statistics of each channel of a tensor: what the algorithms that scale
/// channels (SmoothQuant, AWQ) and correct biases ask for.
class ChannelStatistics {
public:
  explicit ChannelStatistics(size_t channels = 0);

  size_t size() const { return counts.size(); }
  bool empty() const { return counts.empty(); }
  /// Adds an array; what is not finite is left out. The sums of one call are
  /// rounded to f64 in the order of indices, then added exactly. The array's
  /// size must be a multiple of channels * inner.
  void add(llvm::ArrayRef<float> values, ChannelLayout layout);
  /// Adds those of other samples. False if the numbers of channels differ.
  bool merge(const ChannelStatistics &other);

  /// Finite elements.
  uint64_t getCount(size_t channel) const { return counts[channel]; }
  /// Extremes; infinity and -infinity without elements.
  float getMin(size_t channel) const { return mins[channel]; }
  float getMax(size_t channel) const { return maxs[channel]; }
  /// max |x|; 0 without elements.
  float getAbsMax(size_t channel) const;
  /// Means of x, |x| and x^2; 0 without elements.
  double getMean(size_t channel) const;
  double getMeanAbs(size_t channel) const;
  double getMeanSquare(size_t channel) const;

  /// What the file holds. `positive` and `negative` are sums of the elements
  /// of one sign, by magnitude.
  std::vector<uint64_t> counts;
  std::vector<float> mins, maxs;
  ExactSums positive, negative, squares;
};

} // namespace qcc

#endif // QCC_CALIBRATION_CHANNELS_H
