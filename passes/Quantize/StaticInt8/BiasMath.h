//===- BiasMath.h - correcting the means of rounded layers ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_BIASMATH_H
#define QCC_PASSES_QUANTIZE_STATICINT8_BIASMATH_H

#include "llvm/ADT/ArrayRef.h"
#include <cstddef>
#include <optional>
#include <vector>

namespace qcc {

/// Fewer samples are not divided into those that corrections are made from and
/// those that they are judged by.
inline constexpr size_t kFewSamples = 4;

/// What rounding changes in a layer's results, by output channel.
struct ChannelErrors {
  /// Sums over the elements of each channel of `exact - low`.
  std::vector<double> differences;
  double squares = 0;    ///< of all differences
  double magnitude = 0;  ///< sum of the squares of all exact results
  double perChannel = 0; ///< elements of a channel

  /// Adds results `[..., channels, inner]`, row-major. Sums are made in the
  /// order of the elements.
  void add(llvm::ArrayRef<float> exact, llvm::ArrayRef<float> low,
           size_t channels, size_t inner);
  void add(const ChannelErrors &other);
  /// The relative error `|exact - low - correction| / |exact|`, with each
  /// channel's results moved by its number; no numbers: as they are.
  double getError(llvm::ArrayRef<float> correction) const;
};

/// What is added to each output channel of a layer.
struct Correction {
  std::vector<float> values;
  /// Relative errors on the samples that it was not made from, and its own on
  /// all of them.
  double before = 0, after = 0, error = 0;
};

/// The mean of each channel's difference over all samples, if the means over
/// every other sample lower the squared error on the rest (on all, where there
/// are fewer than kFewSamples). None if they do not, or if something is not
/// finite. Follows from the samples in their order alone.
std::optional<Correction> correctBias(llvm::ArrayRef<ChannelErrors> samples);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_BIASMATH_H
