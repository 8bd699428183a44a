//===- Gram.cpp - exact X^T X of activations --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Gram.h"
#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

using namespace qcc;

/// Elements are at most 2^kBits units.
static constexpr int kBits = 20;
/// Rows of a chunk: sums of that many products are integers that doubles hold,
/// so that they are exact in any order and on any instruction set.
static constexpr size_t kChunk = size_t(1) << 12;
/// Bytes of a chunk of wide activations.
static constexpr size_t kPanelBytes = size_t(16) << 20;
/// Channels of a tile, and rows whose products are summed in registers: both
/// tiles of a step fit in the first-level cache.
static constexpr size_t kTile = 32, kStep = 32;

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

/// Four doubles at any address.
typedef double Double4 __attribute__((vector_size(32), aligned(8), may_alias));

/// Adds to `sums` [kTile, kTile] the products of two panels [count, kTile].
/// Sums of 4 x 8 elements stay in registers for the rows of a step. Products
/// and sums are exact, so that fusing them changes nothing.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void multiplyPanels(const double *left, const double *right,
                           size_t count, double *sums) {
#pragma clang fp contract(fast)
  for (size_t first = 0; first < count; first += kStep) {
    size_t end = std::min(first + kStep, count);
    for (size_t i = 0; i < kTile; i += 4)
      for (size_t j = 0; j < kTile; j += 8) {
        Double4 a0 = {}, a1 = {}, b0 = {}, b1 = {}, c0 = {}, c1 = {}, d0 = {},
                d1 = {};
        for (size_t t = first; t < end; ++t) {
          const double *l = left + t * kTile + i;
          const double *r = right + t * kTile + j;
          Double4 x = *reinterpret_cast<const Double4 *>(r),
                  y = *reinterpret_cast<const Double4 *>(r + 4);
          a0 += l[0] * x, a1 += l[0] * y;
          b0 += l[1] * x, b1 += l[1] * y;
          c0 += l[2] * x, c1 += l[2] * y;
          d0 += l[3] * x, d1 += l[3] * y;
        }
        double *out = sums + i * kTile + j;
        *reinterpret_cast<Double4 *>(out) += a0;
        *reinterpret_cast<Double4 *>(out + 4) += a1;
        *reinterpret_cast<Double4 *>(out + kTile) += b0;
        *reinterpret_cast<Double4 *>(out + kTile + 4) += b1;
        *reinterpret_cast<Double4 *>(out + 2 * kTile) += c0;
        *reinterpret_cast<Double4 *>(out + 2 * kTile + 4) += c1;
        *reinterpret_cast<Double4 *>(out + 3 * kTile) += d0;
        *reinterpret_cast<Double4 *>(out + 3 * kTile + 4) += d1;
      }
  }
}

static void addAtomic(int64_t &sum, int64_t value) {
  std::atomic_ref(sum).fetch_add(value, std::memory_order_relaxed);
}

void Gram::addTile(const double *panels, size_t count, size_t rowTile,
                   size_t columnTile) {
  size_t channels = exponents.size();
  alignas(64) double products[kTile * kTile] = {};
  multiplyPanels(panels + rowTile * count, panels + columnTile * count, count,
                 products);
  // One thread at a time in these rows: cheaper than an atomic sum for each.
  std::lock_guard<std::mutex> lock(locks.get(rowTile / kTile));
  for (size_t i = 0; i < kTile && rowTile + i < channels; ++i) {
    size_t row = rowTile + i,
           end = std::min(kTile, row + 1 - std::min(columnTile, row + 1));
    int64_t *out = sums.data() + row * (row + 1) / 2 + columnTile;
    for (size_t j = 0; j < end; ++j)
      out[j] += int64_t(products[i * kTile + j]);
  }
}

/// A number rounded to an integer, ties to even, where it is below 2^51; what
/// is larger stays larger than 2^50.
static double roundToUnit(double value) {
  constexpr double kMagic = 6755399441055744.0; // 1.5 * 2^52
  return (value + kMagic) - kMagic;
}

void Gram::add(llvm::ArrayRef<float> values) {
  size_t channels = exponents.size();
  if (!channels)
    return;
  size_t tiles = (channels + kTile - 1) / kTile;
  size_t all = values.size() / channels;
  std::vector<double> panels;
  std::vector<double> magnitudes(channels);
  uint64_t left = 0;
  std::vector<double> factors(channels);
  for (size_t i = 0; i < channels; ++i)
    factors[i] = std::ldexp(1.0, -exponents[i]);
  // Several threads have panels.
  size_t chunk =
      std::clamp(kPanelBytes / (tiles * kTile * sizeof(double)), kStep, kChunk);
  for (size_t first = 0; first < all; first += chunk) {
    size_t count = std::min(chunk, all - first);
    // Tiles of channels [tiles][count][kTile], padded with zeros.
    panels.assign(tiles * count * kTile, 0.0);
    for (size_t r = 0; r < count; ++r)
      for (size_t tile = 0; tile < tiles; ++tile) {
        double *out = panels.data() + (tile * count + r) * kTile;
        size_t end = std::min(kTile, channels - tile * kTile);
        const float *in = values.data() + (first + r) * channels + tile * kTile;
        for (size_t j = 0; j < end; ++j) {
          size_t i = tile * kTile + j;
          double unit = roundToUnit(double(in[j]) * factors[i]);
          // Also where it is not a number.
          bool fits = std::fabs(unit) <= double(1 << kBits);
          left += !fits;
          out[j] = fits ? unit : 0.0;
          magnitudes[i] += std::fabs(out[j]);
        }
      }
    for (size_t row = 0; row < tiles; ++row)
      for (size_t column = 0; column <= row; ++column)
        addTile(panels.data(), count, row * kTile, column * kTile);
    // Integers below 2^32, exact.
    for (size_t i = 0; i < channels; ++i) {
      addAtomic(absSums[i], int64_t(magnitudes[i]));
      magnitudes[i] = 0;
    }
  }
  std::atomic_ref(rows).fetch_add(all, std::memory_order_relaxed);
  std::atomic_ref(outliers).fetch_add(left, std::memory_order_relaxed);
}

bool Gram::merge(const Gram &other) {
  return exponents == other.exponents &&
         merge(other.sums, other.absSums, other.rows, other.outliers);
}

bool Gram::merge(llvm::ArrayRef<int64_t> otherSums,
                 llvm::ArrayRef<int64_t> otherAbsSums, uint64_t otherRows,
                 uint64_t otherOutliers) {
  if (otherSums.size() != sums.size() || otherAbsSums.size() != absSums.size())
    return false;
  // Unsigned: what a file says may not fit, but must not be undefined.
  auto add = [](std::vector<int64_t> &to, llvm::ArrayRef<int64_t> from) {
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = int64_t(uint64_t(to[i]) + uint64_t(from[i]));
  };
  add(sums, otherSums);
  add(absSums, otherAbsSums);
  rows += otherRows;
  outliers += otherOutliers;
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
