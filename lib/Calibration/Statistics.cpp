//===- Statistics.cpp - what calibration knows of a tensor ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include "Lanes.h"
#include <algorithm>
#include <cmath>

using namespace qcc;

static bool areFinite(llvm::ArrayRef<float> values) {
  Words others = {};
  forEachEight(values, 0,
               [&](const Floats &lanes) { others |= lanes - lanes != 0.0f; });
  for (size_t i = 0; i < kLanes; ++i)
    if (others[i])
      return false;
  return true;
}

namespace {
/// Of the elements of a tensor, all finite.
struct Extent {
  float least, most;
  double above = 0, below = 0, squares = 0; ///< of those with one sign, of all
};
} // namespace

static Extent measure(llvm::ArrayRef<float> values) {
  Extent extent{values[0], values[0]};
  Floats zero = {}, least = zero + values[0], most = least;
  forEachEight(values, values[0], [&](const Floats &lanes) {
    least = lanes < least ? lanes : least;
    most = lanes > most ? lanes : most;
  });
  for (size_t i = 0; i < kLanes; ++i) {
    extent.least = std::min(extent.least, float(least[i]));
    extent.most = std::max(extent.most, float(most[i]));
  }
  Doubles above = {}, below = {}, squares = {};
  forEachEight(values, 0, [&](const Floats &lanes) {
    Doubles wide = __builtin_convertvector(lanes, Doubles);
    above += __builtin_convertvector(lanes > zero ? lanes : zero, Doubles);
    below += __builtin_convertvector(lanes < zero ? -lanes : zero, Doubles);
    squares += wide * wide;
  });
  extent.above = addLanes(above);
  extent.below = addLanes(below);
  extent.squares = addLanes(squares);
  return extent;
}

void TensorStatistics::add(llvm::ArrayRef<float> values, ChannelLayout layout) {
  if (layout.channels) {
    if (channels.empty())
      channels = ChannelStatistics(layout.channels);
    channels.add(values, layout);
  }
  // Only what is finite; the copy is made where something is not.
  std::vector<float> finite;
  if (!areFinite(values)) {
    llvm::copy_if(values, std::back_inserter(finite),
                  [](float v) { return std::isfinite(v); });
    nonFinite += values.size() - finite.size();
    values = finite;
  }
  if (values.empty())
    return;
  count += values.size();
  Extent extent = measure(values);
  // Zero has one sign, whatever the order.
  min = std::min(min, extent.least) + 0.0f;
  max = std::max(max, extent.most) + 0.0f;
  positive.add(0, extent.above);
  negative.add(0, extent.below);
  squares.add(0, extent.squares);
  histogram.add(values,
                std::max(std::fabs(extent.least), std::fabs(extent.most)));
}

bool TensorStatistics::merge(const TensorStatistics &other) {
  if (channels.empty())
    channels = ChannelStatistics(other.channels.size());
  if (!other.channels.empty() && !channels.merge(other.channels))
    return false;
  count += other.count;
  nonFinite += other.nonFinite;
  min = std::min(min, other.min) + 0.0f;
  max = std::max(max, other.max) + 0.0f;
  positive.merge(other.positive);
  negative.merge(other.negative);
  squares.merge(other.squares);
  histogram.merge(other.histogram);
  return true;
}

float TensorStatistics::getAbsMax() const {
  return count ? std::max(std::fabs(min), std::fabs(max)) : 0.0f;
}

double TensorStatistics::getMean() const {
  return count ? (positive.get(0) - negative.get(0)) / double(count) : 0;
}

double TensorStatistics::getMeanSquare() const {
  return count ? squares.get(0) / double(count) : 0;
}

TensorStatistics &Statistics::get(llvm::StringRef name) {
  auto [entry, isNew] = indices.try_emplace(name, tensors.size());
  if (isNew) {
    tensors.emplace_back();
    tensors.back().name = name.str();
  }
  return tensors[entry->second];
}

const TensorStatistics *Statistics::lookup(llvm::StringRef name) const {
  auto entry = indices.find(name);
  return entry == indices.end() ? nullptr : &tensors[entry->second];
}
