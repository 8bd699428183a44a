//===- Gram.cpp - exact X^T X of activations --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Gram.h"
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <mutex>

using namespace qcc;

/// Elements are at most 2^kBits units.
static constexpr int kBits = 20;
/// Rows of a chunk: sums of that many products are integers below 2^49, which
/// doubles hold, so that they are exact in any order and on any instruction
/// set; and its tiles stay in the second-level cache.
static constexpr size_t kChunk = size_t(1) << 8;
/// Bytes of a chunk of wide activations.
static constexpr size_t kPanelBytes = size_t(16) << 20;
/// Channels of a tile, and rows whose products are summed in registers: both
/// tiles of a step fit in the first-level cache.
static constexpr size_t kTile = 48, kStep = 32;

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
/// Sums of 6 x 8 elements stay in registers for the rows of a step. Products
/// and sums are exact, so that fusing them changes nothing.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void multiplyPanels(const double *left, const double *right,
                           size_t count, double *sums) {
#pragma clang fp contract(fast)
  for (size_t first = 0; first < count; first += kStep) {
    size_t end = std::min(first + kStep, count), next = end;
    for (size_t i = 0; i < kTile; i += 6)
      for (size_t j = 0; j < kTile; j += 8, ++next) {
        // A row of the next step for each block of sums: panels come from the
        // last cache, in an order that it does not foresee.
        if (next < end + kStep)
          for (size_t line = next * kTile; line < (next + 1) * kTile;
               line += 8) {
            __builtin_prefetch(left + line);
            __builtin_prefetch(right + line);
          }
        Double4 block[6][2] = {};
        for (size_t t = first; t < end; ++t) {
          const double *l = left + t * kTile + i;
          const auto *r =
              reinterpret_cast<const Double4 *>(right + t * kTile + j);
#pragma clang loop unroll(full)
          for (int row = 0; row < 6; ++row) {
            block[row][0] += l[row] * r[0];
            block[row][1] += l[row] * r[1];
          }
        }
        for (int row = 0; row < 6; ++row)
          for (int v = 0; v < 2; ++v)
            reinterpret_cast<Double4 *>(sums + (i + row) * kTile + j)[v] +=
                block[row][v];
      }
  }
}

static void addAtomic(int64_t &sum, int64_t value) {
  std::atomic_ref(sum).fetch_add(value, std::memory_order_relaxed);
}

/// 1.5 * 2^52: numbers below 2^51 added to it lose what is behind the point.
static constexpr double kMagic = 6755399441055744.0;

/// A number rounded to an integer, ties to even, where it is below 2^51; what
/// is larger stays larger than 2^50.
static double roundToUnit(double value) { return (value + kMagic) - kMagic; }

/// Adds integers below 2^51 to sums: their bits behind the addition, for which
/// any machine has vectors, unlike for conversions to 64 bits.
static void addIntegers(const double *values, size_t count, int64_t *sums) {
  for (size_t i = 0; i < count; ++i)
    sums[i] += std::bit_cast<int64_t>(values[i] + kMagic) -
               std::bit_cast<int64_t>(kMagic);
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
    addIntegers(products + i * kTile, end,
                sums.data() + row * (row + 1) / 2 + columnTile);
  }
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
