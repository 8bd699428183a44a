//===- Histogram.cpp - counts of magnitudes ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Histogram.h"
#include "Lanes.h"
#include <algorithm>
#include <bit>
#include <cmath>

using namespace qcc;

double Histogram::getBinWidth() const {
  return std::ldexp(1.0, exponent - kLogBins);
}

/// Joins 2^shift neighbours.
static void coarsen(std::vector<uint64_t> &bins, int shift) {
  for (size_t i = 1; i < bins.size(); ++i) {
    uint64_t count = std::exchange(bins[i], 0);
    bins[shift < Histogram::kLogBins ? i >> shift : 0] += count;
  }
}

void Histogram::widen(int newExponent) {
  if (empty()) {
    negative.resize(kBins);
    positive.resize(kBins);
    exponent = newExponent;
  } else if (newExponent > exponent) {
    coarsen(negative, newExponent - exponent);
    coarsen(positive, newExponent - exponent);
    exponent = newExponent;
  }
}

void Histogram::add(llvm::ArrayRef<float> values, float largest) {
  if (largest == 0) {
    zeros += values.size();
    return;
  }
  widen(std::ilogb(largest) + 1);
  // A power of two: the product is exact, and below kBins as every magnitude
  // is below 2^exponent.
  double scale = std::ldexp(1.0, kLogBins - exponent);
  // Counts of 32 bits of so few elements.
  constexpr size_t most = size_t(1) << 30;
  for (; !values.empty();
       values = values.drop_front(std::min(most, values.size())))
    count(values.take_front(most), scale);
}

void Histogram::count(llvm::ArrayRef<float> values, double scale) {
  constexpr int32_t magnitude = 0x7fffffff;
  std::vector<uint32_t> counts(2 * size_t(kBins));
  Words positiveZeros = {}, negativeZeros = {};
  forEachEight(values, 0, [&](const Floats &lanes) {
    auto bits = (Words)lanes;
    Words sign = (bits >> 31) & int32_t(kBins), rest = bits & magnitude;
    Doubles scaled = __builtin_convertvector((Floats)rest, Doubles) * scale;
    Words bins = __builtin_convertvector(scaled, Words) + sign;
    // True is -1.
    positiveZeros -= bits == 0;
    negativeZeros -= (rest == 0) & (bits != 0);
    for (size_t i = 0; i < kLanes; ++i)
      ++counts[size_t(bins[i])];
  });
  uint64_t none[2] = {};
  for (size_t i = 0; i < kLanes; ++i) {
    none[0] += uint32_t(positiveZeros[i]);
    none[1] += uint32_t(negativeZeros[i]);
  }
  // What filled the last eight up is no element.
  uint64_t filled = (kLanes - values.size() % kLanes) % kLanes;
  zeros += none[0] + none[1] - filled;
  for (unsigned i = 0; i < kBins; ++i) {
    positive[i] += counts[i];
    negative[i] += counts[kBins + i];
  }
  positive[0] -= none[0];
  negative[0] -= none[1];
}

void Histogram::merge(const Histogram &other) {
  zeros += other.zeros;
  if (other.empty())
    return;
  widen(other.exponent);
  int shift = exponent - other.exponent;
  for (unsigned i = 0; i < kBins; ++i) {
    unsigned bin = shift < kLogBins ? i >> shift : 0;
    negative[bin] += other.negative[i];
    positive[bin] += other.positive[i];
  }
}

bool Histogram::set(int newExponent, uint64_t newZeros,
                    llvm::ArrayRef<uint64_t> newNegative,
                    llvm::ArrayRef<uint64_t> newPositive) {
  bool none = newNegative.empty() && newPositive.empty() && newExponent == 0;
  bool full = newNegative.size() == kBins && newPositive.size() == kBins &&
              newExponent >= -148 && newExponent <= 128;
  if (!none && !full)
    return false;
  exponent = newExponent;
  zeros = newZeros;
  negative.assign(newNegative.begin(), newNegative.end());
  positive.assign(newPositive.begin(), newPositive.end());
  return true;
}
