//===- Histogram.cpp - counts of magnitudes ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Histogram.h"
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
  uint64_t *bins[] = {positive.data(), negative.data()};
  uint64_t numZeros = 0;
  for (float value : values) {
    auto bits = std::bit_cast<uint32_t>(value);
    if ((bits << 1) == 0) {
      ++numZeros;
      continue;
    }
    auto magnitude = std::bit_cast<float>(bits & 0x7fffffffu);
    ++bins[bits >> 31][static_cast<unsigned>(double(magnitude) * scale)];
  }
  zeros += numZeros;
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
