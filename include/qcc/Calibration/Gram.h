//===- Gram.h - exact X^T X of activations ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The Gram matrix of the rows of an activation is gathered in two passes. The
// first finds the largest magnitude of each channel, from which each gets a
// unit, a power of two. In the second, elements are rounded to units, so that
// they are integers below 2^14, and products of them are added as integers.
// Sums are the same for any split of the rows among threads or machines. They
// are those of inputs that are at most 2^-14 of their channel's largest away:
// with n rows, the square of what a channel's sum is off by is less than
// n 2^-28 of the square of that largest, which is part of the sum.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_GRAM_H
#define QCC_CALIBRATION_GRAM_H

#include "llvm/ADT/ArrayRef.h"
#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace qcc {

/// Extremes of the channels of an activation: the first pass.
struct ChannelRange {
  std::vector<float> largest; ///< magnitude of each channel
  uint64_t rows = 0;
  uint64_t nonFinite = 0; ///< elements that are NaN or infinite, not counted

  explicit ChannelRange(size_t channels = 0) : largest(channels) {}
  /// Adds rows [n, channels].
  void add(llvm::ArrayRef<float> values);
  void merge(const ChannelRange &other);
};

/// Sums of products of channels: the second pass.
class Gram {
public:
  /// Rows that can be added before a sum could overflow.
  static constexpr uint64_t kMaxRows = uint64_t(1) << 22;

  Gram() = default;
  /// Units are taken from `range`. With `headroom` h, elements up to 2^h times
  /// larger can be added too, with h bits less of each.
  explicit Gram(const ChannelRange &range, unsigned headroom = 0);

  size_t getChannels() const { return exponents.size(); }
  uint64_t getRows() const { return rows; }
  /// Elements that were too large for the unit or not finite, and were left
  /// out: if there are any, the sums are of no use.
  uint64_t getOutliers() const { return outliers; }

  /// Adds rows [n, channels]. May be called by several threads at once.
  void add(llvm::ArrayRef<float> values);
  /// Adds what another part of the rows gave. False if units differ.
  bool merge(const Gram &other);
  /// The same from the numbers of a file: those of getSums and getAbsSums.
  /// False if their sizes are not those of these sums.
  bool merge(llvm::ArrayRef<int64_t> otherSums,
             llvm::ArrayRef<int64_t> otherAbsSums, uint64_t otherRows,
             uint64_t otherOutliers);

  /// Mean over all rows of x_i * x_j, [channels, channels].
  std::vector<double> getMeans() const;
  /// Mean over all rows of |x_i|.
  std::vector<float> getMeanAbs() const;
  /// The sums, for tests and files: the lower triangle by rows.
  llvm::ArrayRef<int64_t> getSums() const { return sums; }
  /// Sums of |x| in units, by channel.
  llvm::ArrayRef<int64_t> getAbsSums() const { return absSums; }

private:
  /// Locks of rows. Copies have their own.
  class Locks {
  public:
    Locks() = default;
    Locks(const Locks &) {}
    Locks &operator=(const Locks &) { return *this; }
    std::mutex &get(size_t stripe) { return stripes[stripe % 16]; }

  private:
    std::array<std::mutex, 16> stripes;
  };

  /// Adds the products of two tiles of channels.
  void addTile(const int64_t *products, size_t row, size_t column);

  /// A unit of channel i is 2^exponents[i].
  std::vector<int> exponents;
  std::vector<int64_t> sums;    ///< lower triangle by rows
  std::vector<int64_t> absSums; ///< of |x|, in units
  uint64_t rows = 0, outliers = 0;
  Locks locks;
};

/// Adds y^T x for rows of two activations of the same `channels` ([n, channels]
/// each) to `sums` [channels, channels], in the order of rows.
void addCrossProducts(llvm::ArrayRef<float> y, llvm::ArrayRef<float> x,
                      size_t channels, llvm::MutableArrayRef<double> sums);

} // namespace qcc

#endif // QCC_CALIBRATION_GRAM_H
