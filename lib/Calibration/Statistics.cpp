//===- Statistics.cpp - what calibration knows of a tensor ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include <algorithm>
#include <cmath>

using namespace qcc;

void TensorStatistics::add(llvm::ArrayRef<float> values, ChannelLayout layout) {
  if (layout.channels) {
    if (channels.empty())
      channels = ChannelStatistics(layout.channels);
    channels.add(values, layout);
  }
  // Only what is finite; the copy is made where something is not.
  std::vector<float> finite;
  if (!llvm::all_of(values, [](float v) { return std::isfinite(v); })) {
    llvm::copy_if(values, std::back_inserter(finite),
                  [](float v) { return std::isfinite(v); });
    nonFinite += values.size() - finite.size();
    values = finite;
  }
  if (values.empty())
    return;
  count += values.size();
  float least = values[0], most = values[0];
  double above = 0, below = 0, sumOfSquares = 0;
  for (float value : values) {
    least = value < least ? value : least;
    most = value > most ? value : most;
    above += value > 0 ? value : 0.0f;
    below += value < 0 ? -value : 0.0f;
    sumOfSquares += double(value) * value;
  }
  // Zero has one sign, whatever the order.
  min = std::min(min, least) + 0.0f;
  max = std::max(max, most) + 0.0f;
  positive.add(0, above);
  negative.add(0, below);
  squares.add(0, sumOfSquares);
  histogram.add(values, std::max(std::fabs(least), std::fabs(most)));
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
