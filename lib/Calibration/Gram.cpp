//===- Gram.cpp - exact X^T X of activations --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Gram.h"
#include <algorithm>
#include <atomic>
#include <cmath>

using namespace qcc;

/// Elements are at most 2^kBits units.
static constexpr int kBits = 20;
/// Rows of a chunk: sums of that many products are integers that doubles hold,
/// so that they are exact in any order and on any instruction set.
static constexpr size_t kChunk = size_t(1) << 12;
/// Channels of a tile; its sums stay in the first-level cache.
static constexpr size_t kTile = 32;

void ChannelRange::add(llvm::ArrayRef<float> values) {
  size_t channels = largest.size();
  if (!channels)
    return;
  rows += values.size() / channels;
  for (size_t at = 0; at + channels <= values.size(); at += channels)
    for (size_t i = 0; i < channels; ++i) {
      float magnitude = std::fabs(values[at + i]);
      if (!std::isfinite(magnitude))
        ++nonFinite;
      else
        largest[i] = std::max(largest[i], magnitude);
    }
}

void ChannelRange::merge(const ChannelRange &other) {
  rows += other.rows;
  nonFinite += other.nonFinite;
  for (size_t i = 0; i < largest.size(); ++i)
    largest[i] = std::max(largest[i], other.largest[i]);
}

Gram::Gram(const ChannelRange &range, unsigned headroom)
    : exponents(range.largest.size()),
      sums(range.largest.size() * (range.largest.size() + 1) / 2),
      absSums(range.largest.size()) {
  for (size_t i = 0; i < exponents.size(); ++i) {
    float largest = range.largest[i];
    // The smallest normal where a channel was always 0: later ones may not be.
    exponents[i] =
        (largest > 0 ? std::ilogb(largest) : -126) + 1 - kBits + int(headroom);
  }
}

/// Adds to `sums` [kTile, kTile] the products of two tiles of channels of
/// `count` rows. Loops over rows four at a time, so that a sum is loaded and
/// stored once for four products. The result is exact, so that the version for
/// AVX2 gives the same.
#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
static void multiplyTiles(const double *left, const double *right,
                          size_t stride, size_t count, double *sums) {
  for (size_t t = 0; t + 4 <= count; t += 4) {
    const double *l = left + t * stride, *r = right + t * stride;
    for (size_t i = 0; i < kTile; ++i) {
      double a = l[i], b = l[stride + i], c = l[2 * stride + i],
             d = l[3 * stride + i];
      double *row = sums + i * kTile;
      for (size_t j = 0; j < kTile; ++j)
        row[j] += (a * r[j] + b * r[stride + j]) +
                  (c * r[2 * stride + j] + d * r[3 * stride + j]);
    }
  }
}

static void addAtomic(int64_t &sum, int64_t value) {
  std::atomic_ref(sum).fetch_add(value, std::memory_order_relaxed);
}

void Gram::addTile(const double *values, size_t count, size_t rowTile,
                   size_t columnTile) {
  size_t channels = exponents.size(),
         stride = (channels + kTile - 1) / kTile * kTile;
  alignas(64) double products[kTile * kTile] = {};
  multiplyTiles(values + rowTile, values + columnTile, stride, count, products);
  for (size_t i = 0; i < kTile && rowTile + i < channels; ++i)
    for (size_t j = 0; j < kTile; ++j) {
      size_t row = rowTile + i, column = columnTile + j;
      if (column <= row && products[i * kTile + j] != 0)
        addAtomic(sums[row * (row + 1) / 2 + column],
                  int64_t(products[i * kTile + j]));
    }
}

void Gram::add(llvm::ArrayRef<float> values) {
  size_t channels = exponents.size();
  if (!channels)
    return;
  size_t stride = (channels + kTile - 1) / kTile * kTile;
  size_t all = values.size() / channels;
  std::vector<double> units;
  std::vector<int64_t> magnitudes(channels);
  uint64_t left = 0;
  std::vector<double> factors(channels);
  for (size_t i = 0; i < channels; ++i)
    factors[i] = std::ldexp(1.0, -exponents[i]);
  for (size_t first = 0; first < all; first += kChunk) {
    size_t count = std::min(kChunk, all - first);
    // Padded with zeros to whole tiles and steps of four rows.
    units.assign((count + 3) / 4 * 4 * stride, 0.0);
    for (size_t r = 0; r < count; ++r)
      for (size_t i = 0; i < channels; ++i) {
        double unit = std::nearbyint(
            double(values[(first + r) * channels + i]) * factors[i]);
        // Also where it is not a number.
        if (!(std::fabs(unit) <= double(1 << kBits))) {
          ++left;
          continue;
        }
        units[r * stride + i] = unit;
        magnitudes[i] += int64_t(std::fabs(unit));
      }
    for (size_t row = 0; row < channels; row += kTile)
      for (size_t column = 0; column <= row; column += kTile)
        addTile(units.data(), (count + 3) / 4 * 4, row, column);
  }
  for (size_t i = 0; i < channels; ++i)
    addAtomic(absSums[i], magnitudes[i]);
  std::atomic_ref(rows).fetch_add(all, std::memory_order_relaxed);
  std::atomic_ref(outliers).fetch_add(left, std::memory_order_relaxed);
}

bool Gram::merge(const Gram &other) {
  if (exponents != other.exponents)
    return false;
  for (size_t i = 0; i < sums.size(); ++i)
    sums[i] += other.sums[i];
  for (size_t i = 0; i < absSums.size(); ++i)
    absSums[i] += other.absSums[i];
  rows += other.rows;
  outliers += other.outliers;
  return true;
}

std::vector<double> Gram::getMeans() const {
  size_t k = exponents.size();
  std::vector<double> result(k * k);
  double count = double(std::max<uint64_t>(rows, 1));
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j <= i; ++j)
      result[i * k + j] = result[j * k + i] =
          std::ldexp(double(sums[i * (i + 1) / 2 + j]) / count,
                     exponents[i] + exponents[j]);
  return result;
}

std::vector<float> Gram::getMeanAbs() const {
  std::vector<float> result(exponents.size());
  double count = double(std::max<uint64_t>(rows, 1));
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = float(std::ldexp(double(absSums[i]) / count, exponents[i]));
  return result;
}

void qcc::addCrossProducts(llvm::ArrayRef<float> y, llvm::ArrayRef<float> x,
                           size_t channels,
                           llvm::MutableArrayRef<double> sums) {
  size_t rows = channels ? std::min(y.size(), x.size()) / channels : 0;
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < channels; ++i) {
      double left = y[r * channels + i];
      const float *right = x.data() + r * channels;
      double *row = sums.data() + i * channels;
      for (size_t j = 0; j < channels; ++j)
        row[j] += left * double(right[j]);
    }
}
