//===- EqualizeMath.cpp - scales of channels before rounding ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "EqualizeMath.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <algorithm>
#include <cmath>

using namespace qcc;

/// Scales of less than that part of the error are taken.
static constexpr double kWorthwhile = 0.75;
/// Scales are within 2^-kSpread and 2^kSpread.
static constexpr double kSpread = 12;
/// Samples show less of a channel than there is: one that is smaller than this
/// part of the largest, or was never seen, is taken to be as large.
static constexpr double kLeastMagnitude = 1.0 / 256;

/// Calls `body` with output, channel of the activation and value.
static void
forEachWeight(const ReadingWeight &weight,
              llvm::function_ref<void(int64_t, size_t, double)> body) {
  int64_t perGroup = weight.outputs / weight.groups;
  for (int64_t o = 0; o < weight.outputs; ++o)
    for (int64_t c = 0; c < weight.inputs; ++c)
      for (int64_t t = 0; t < weight.taps; ++t)
        body(o, size_t(o / perGroup * weight.inputs + c),
             double(weight.values[size_t(o * weight.outputStride +
                                         c * weight.inputStride + t)]));
}

double qcc::estimateError(const ChannelData &channels,
                          llvm::ArrayRef<ReadingWeight> weights,
                          llvm::ArrayRef<float> scales) {
  double low = 0, high = 0;
  for (size_t c = 0; c < scales.size(); ++c) {
    low = std::min(low, double(channels.mins[c]) / scales[c]);
    high = std::max(high, double(channels.maxs[c]) / scales[c]);
  }
  double step = (high - low) / 255, error = 0;
  for (const ReadingWeight &weight : weights) {
    auto outputs = size_t(weight.outputs);
    std::vector<double> largest(outputs), ofInputs(outputs), powers(outputs),
        signal(outputs);
    forEachWeight(weight, [&](int64_t o, size_t c, double value) {
      auto output = size_t(o);
      double scaled = value * scales[c], power = channels.meanSquares[c];
      largest[output] = std::max(largest[output], std::fabs(scaled));
      ofInputs[output] += scaled * scaled;
      powers[output] += power / (double(scales[c]) * scales[c]);
      signal[output] += value * value * power;
    });
    double sum = 0;
    for (size_t o = 0; o < outputs; ++o) {
      double weightStep = largest[o] / 127;
      if (signal[o] > 0)
        sum +=
            (ofInputs[o] * step * step + powers[o] * weightStep * weightStep) /
            12 / signal[o];
    }
    error += sum / double(outputs);
  }
  return error;
}

std::vector<float> qcc::chooseScales(const ChannelData &channels,
                                     llvm::ArrayRef<ReadingWeight> weights) {
  size_t count = channels.mins.size();
  std::vector<double> reading(count);
  for (const ReadingWeight &weight : weights) {
    std::vector<double> largest(size_t(weight.outputs));
    forEachWeight(weight, [&](int64_t o, size_t, double value) {
      largest[size_t(o)] = std::max(largest[size_t(o)], std::fabs(value));
    });
    forEachWeight(weight, [&](int64_t o, size_t c, double value) {
      if (largest[size_t(o)] > 0)
        reading[c] =
            std::max(reading[c], std::fabs(value) / largest[size_t(o)]);
    });
  }
  std::vector<float> best, ones(count, 1.0f);
  double least = kWorthwhile * estimateError(channels, weights, ones);
  if (!(std::isfinite(least) && least > 0))
    return {};
  double loudest = 0;
  for (size_t c = 0; c < count; ++c)
    loudest = std::max(
        {loudest, -double(channels.mins[c]), double(channels.maxs[c])});
  // More than half of the difference left no channel room for what it does on
  // other data: DTLN's second model lost 13 dB on the other half of a
  // recording.
  for (double share : {0.25, 0.5}) {
    std::vector<float> scales(count);
    for (size_t c = 0; c < count; ++c) {
      double magnitude =
          std::max(-double(channels.mins[c]), double(channels.maxs[c])) /
          loudest;
      magnitude = std::max(magnitude, kLeastMagnitude);
      // What is never read may have any scale: the largest takes no room of the
      // activation's grid.
      double scale = reading[c] <= 0 ? kSpread
                                     : share * std::log2(magnitude) -
                                           (1 - share) * std::log2(reading[c]);
      scales[c] = float(std::exp2(std::clamp(scale, -kSpread, kSpread)));
    }
    double error = estimateError(channels, weights, scales);
    if (error < least) {
      least = error;
      best = std::move(scales);
    }
  }
  return best;
}
