//===- Channels.cpp - statistics of each channel ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Channels.h"
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

using namespace qcc;

namespace {

/// Sums of one array, in f64.
struct Partial {
  explicit Partial(size_t channels)
      : positive(channels), negative(channels), squares(channels),
        mins(channels, std::numeric_limits<float>::infinity()),
        maxs(channels, -std::numeric_limits<float>::infinity()) {}

  void add(size_t channel, float value) {
    positive[channel] += value > 0 ? value : 0.0f;
    negative[channel] += value < 0 ? -value : 0.0f;
    squares[channel] += double(value) * value;
    mins[channel] = value < mins[channel] ? value : mins[channel];
    maxs[channel] = value > maxs[channel] ? value : maxs[channel];
  }

  std::vector<double> positive, negative, squares;
  std::vector<float> mins, maxs;
};

} // namespace

ChannelStatistics::ChannelStatistics(size_t channels)
    : counts(channels), mins(channels, std::numeric_limits<float>::infinity()),
      maxs(channels, -std::numeric_limits<float>::infinity()),
      positive(channels), negative(channels), squares(channels) {}

void ChannelStatistics::add(llvm::ArrayRef<float> values,
                            ChannelLayout layout) {
  auto channels = static_cast<size_t>(layout.channels),
       inner = static_cast<size_t>(layout.inner);
  assert(channels == size() && "another number of channels");
  if (values.empty() || !channels)
    return;
  assert(values.size() % (channels * inner) == 0);
  Partial partial(channels);
  for (size_t first = 0; first < values.size(); first += channels * inner)
    for (size_t c = 0; c < channels; ++c)
      for (float value : values.slice(first + c * inner, inner)) {
        bool isFinite = std::isfinite(value);
        counts[c] += isFinite;
        if (isFinite)
          partial.add(c, value);
      }
  for (size_t c = 0; c < channels; ++c) {
    // Zero has one sign, whatever the order.
    mins[c] = std::min(mins[c], partial.mins[c]) + 0.0f;
    maxs[c] = std::max(maxs[c], partial.maxs[c]) + 0.0f;
    positive.add(c, partial.positive[c]);
    negative.add(c, partial.negative[c]);
    squares.add(c, partial.squares[c]);
  }
}

bool ChannelStatistics::merge(const ChannelStatistics &other) {
  if (other.size() != size())
    return false;
  for (size_t c = 0; c < size(); ++c) {
    counts[c] += other.counts[c];
    mins[c] = std::min(mins[c], other.mins[c]) + 0.0f;
    maxs[c] = std::max(maxs[c], other.maxs[c]) + 0.0f;
  }
  positive.merge(other.positive);
  negative.merge(other.negative);
  squares.merge(other.squares);
  return true;
}

float ChannelStatistics::getAbsMax(size_t channel) const {
  return counts[channel]
             ? std::max(std::fabs(mins[channel]), std::fabs(maxs[channel]))
             : 0.0f;
}

double ChannelStatistics::getMean(size_t channel) const {
  uint64_t count = counts[channel];
  return count ? (positive.get(channel) - negative.get(channel)) / double(count)
               : 0;
}

double ChannelStatistics::getMeanAbs(size_t channel) const {
  uint64_t count = counts[channel];
  return count ? (positive.get(channel) + negative.get(channel)) / double(count)
               : 0;
}

double ChannelStatistics::getMeanSquare(size_t channel) const {
  uint64_t count = counts[channel];
  return count ? squares.get(channel) / double(count) : 0;
}
