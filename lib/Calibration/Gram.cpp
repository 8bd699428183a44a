//===- Gram.cpp - exact X^T X of activations --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Gram.h"
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace qcc;

/// Elements are below 2^kBits units: the products of kGroup pairs of rows fit
/// 32 bits.
static constexpr int kBits = 14, kLargest = (1 << kBits) - 1;
static constexpr size_t kGroup = 4;
/// Channels of a tile, and pairs of rows of a step: both tiles of a step fit in
/// the first-level cache.
static constexpr size_t kTile = 48, kStep = 64;
/// Pairs of rows whose sums are added to those of all rows at once, which are
/// far from the processor.
static constexpr size_t kChunk = 2 * kStep;
/// Bytes of the tiles of all channels that are multiplied at once: they stay in
/// the last cache.
static constexpr size_t kPanelBytes = size_t(8) << 20;
static_assert(2 * kGroup * uint64_t(kLargest) * kLargest < uint64_t(1) << 31);
/// Sums of halves of so many groups fit 32 bits.
static_assert(kStep / kGroup < size_t(1) << 15);

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

namespace {
/// Elements of two rows in 48 channels: what `pmaddwd` multiplies.
struct alignas(32) Pairs {
  int16_t values[kTile][2];
};
} // namespace

/// Adds to `sums` [kTile, kTile] the products of `count` pairs of rows, at most
/// kStep, in two tiles.
static void multiplyPlain(const Pairs *left, const Pairs *right, size_t count,
                          int64_t *sums) {
  for (size_t t = 0; t < count; ++t)
    for (size_t i = 0; i < kTile; ++i)
      for (size_t j = 0; j < kTile; ++j)
        for (int row = 0; row < 2; ++row)
          sums[i * kTile + j] += int64_t(left[t].values[i][row]) *
                                 int64_t(right[t].values[j][row]);
}

#if defined(__x86_64__)
/// The same. Sums of 2 x 16 elements stay in registers: those of a group of
/// rows, and of their upper and lower halves over all groups, which is cheaper
/// than to widen each.
__attribute__((target("avx2"))) static void multiplyVectors(const Pairs *left,
                                                            const Pairs *right,
                                                            size_t count,
                                                            int64_t *sums) {
  const __m256i mask = _mm256_set1_epi32(0xffff);
  for (size_t i = 0; i < kTile; i += 2)
    for (size_t j = 0; j < kTile; j += 16) {
      __m256i low[2][2], high[2][2];
      for (int at = 0; at < 4; ++at)
        low[at / 2][at % 2] = high[at / 2][at % 2] = _mm256_setzero_si256();
      for (size_t first = 0; first < count; first += kGroup) {
        __m256i group[2][2];
#pragma clang loop unroll(full)
        for (size_t t = 0; t < kGroup; ++t) {
          const Pairs &l = left[first + t], &r = right[first + t];
#pragma clang loop unroll(full)
          for (int v = 0; v < 2; ++v) {
            __m256i own = _mm256_load_si256(
                reinterpret_cast<const __m256i *>(r.values[j + size_t(v) * 8]));
#pragma clang loop unroll(full)
            for (size_t row = 0; row < 2; ++row) {
              int32_t pair;
              std::memcpy(&pair, l.values[i + row], sizeof(pair));
              __m256i product = _mm256_madd_epi16(_mm256_set1_epi32(pair), own);
              group[row][v] =
                  t ? _mm256_add_epi32(group[row][v], product) : product;
            }
          }
        }
#pragma clang loop unroll(full)
        for (int at = 0; at < 4; ++at) {
          __m256i sum = group[at / 2][at % 2];
          low[at / 2][at % 2] = _mm256_add_epi32(low[at / 2][at % 2],
                                                 _mm256_and_si256(sum, mask));
          high[at / 2][at % 2] = _mm256_add_epi32(high[at / 2][at % 2],
                                                  _mm256_srai_epi32(sum, 16));
        }
      }
      for (size_t at = 0; at < 4; ++at) {
        alignas(32) int32_t lows[8], highs[8];
        _mm256_store_si256(reinterpret_cast<__m256i *>(lows),
                           low[at / 2][at % 2]);
        _mm256_store_si256(reinterpret_cast<__m256i *>(highs),
                           high[at / 2][at % 2]);
        int64_t *out = sums + (i + at / 2) * kTile + j + at % 2 * 8;
        for (int lane = 0; lane < 8; ++lane)
          out[lane] += int64_t(highs[lane]) * (1 << 16) + lows[lane];
      }
    }
}
#endif

/// Adds to `sums` [kTile, kTile] the products of `count` pairs of rows, a
/// multiple of kGroup, in two tiles. Integers: any way gives the same.
static void multiplyTiles(const Pairs *left, const Pairs *right, size_t count,
                          int64_t *sums) {
  auto *multiply = multiplyPlain;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2"))
    multiply = multiplyVectors;
#endif
  for (size_t first = 0; first < count; first += kStep)
    multiply(left + first, right + first, std::min(kStep, count - first), sums);
}

static void addAtomic(int64_t &sum, int64_t value) {
  std::atomic_ref(sum).fetch_add(value, std::memory_order_relaxed);
}

/// 1.5 * 2^52: numbers below 2^51 added to it lose what is behind the point,
/// ties to even; what is larger stays larger than 2^50.
static double roundToUnit(double value) {
  constexpr double kMagic = 6755399441055744.0;
  return (value + kMagic) - kMagic;
}

namespace {
/// Rows of all channels in units, by tiles.
class Panels {
public:
  explicit Panels(llvm::ArrayRef<int> exponents)
      : channels(exponents.size()), tiles((channels + kTile - 1) / kTile),
        pairs(
            std::clamp(kPanelBytes / (tiles * sizeof(Pairs)) / kGroup * kGroup,
                       kGroup, kChunk)),
        panels(tiles * pairs), magnitudes(channels) {
    for (int exponent : exponents)
      factors.push_back(std::ldexp(1.0, -exponent));
  }

  /// Rows that fit.
  size_t getRows() const { return 2 * pairs; }
  size_t getTiles() const { return tiles; }
  /// Of `count` rows.
  static size_t countPairs(size_t count) {
    return (count + 2 * kGroup - 1) / (2 * kGroup) * kGroup;
  }
  const Pairs *getTile(size_t tile) const {
    return panels.data() + tile * pairs;
  }
  /// Sums of |x| since the last call, by channel.
  uint64_t takeMagnitude(size_t channel) {
    return std::exchange(magnitudes[channel], 0);
  }

  /// Takes the next rows [count, channels]; returns how many elements do not
  /// fit and were left out.
  uint64_t take(const float *values, size_t count) {
    uint64_t left = 0;
    std::fill(panels.begin(), panels.end(), Pairs{});
    for (size_t r = 0; r < count; ++r)
      for (size_t tile = 0; tile < tiles; ++tile)
        left += takeRow(values + r * channels, r, tile);
    return left;
  }

private:
  uint64_t takeRow(const float *row, size_t r, size_t tile) {
    Pairs &out = panels[tile * pairs + r / 2];
    uint64_t left = 0;
    size_t first = tile * kTile, count = std::min(kTile, channels - first);
    for (size_t j = 0; j < count; ++j) {
      double scaled = double(row[first + j]) * factors[first + j];
      // Also where it is not a number.
      bool fits = std::fabs(scaled) <= double(1 << kBits);
      left += !fits;
      auto unit = int32_t(roundToUnit(std::clamp(
          fits ? scaled : 0.0, -double(kLargest), double(kLargest))));
      out.values[j][r % 2] = int16_t(unit);
      magnitudes[first + j] += uint32_t(std::abs(unit));
    }
    return left;
  }

  size_t channels, tiles, pairs;
  std::vector<Pairs> panels;   ///< [tiles, pairs], padded with zeros
  std::vector<double> factors; ///< from numbers to units
  std::vector<uint64_t> magnitudes;
};
} // namespace

void Gram::addTile(const int64_t *products, size_t row, size_t column) {
  // One thread at a time in these rows: cheaper than an atomic sum for each.
  std::lock_guard<std::mutex> lock(locks.get(row));
  for (size_t i = row * kTile, end = std::min(i + kTile, exponents.size());
       i < end; ++i, products += kTile) {
    int64_t *out = sums.data() + i * (i + 1) / 2 + column * kTile;
    for (size_t j = 0; j < kTile && column * kTile + j <= i; ++j)
      out[j] += products[j];
  }
}

void Gram::add(llvm::ArrayRef<float> values) {
  size_t channels = exponents.size();
  if (!channels)
    return;
  Panels panels(exponents);
  size_t all = values.size() / channels;
  uint64_t left = 0;
  for (size_t first = 0; first < all; first += panels.getRows()) {
    size_t count = std::min(panels.getRows(), all - first);
    left += panels.take(values.data() + first * channels, count);
    for (size_t row = 0; row < panels.getTiles(); ++row)
      for (size_t column = 0; column <= row; ++column) {
        int64_t products[kTile * kTile] = {};
        multiplyTiles(panels.getTile(row), panels.getTile(column),
                      Panels::countPairs(count), products);
        addTile(products, row, column);
      }
  }
  for (size_t i = 0; i < channels; ++i)
    addAtomic(absSums[i], int64_t(panels.takeMagnitude(i)));
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
  std::vector<double> result(k * k), units;
  for (int exponent : exponents)
    units.push_back(std::ldexp(1.0, exponent));
  double count = double(std::max<uint64_t>(rows, 1));
  // Columns of a large matrix are far apart: tiles stay in a cache.
  for (size_t tile = 0; tile < k; tile += kTile)
    for (size_t first = 0; first <= tile; first += kTile)
      for (size_t i = tile; i < std::min(tile + kTile, k); ++i)
        for (size_t j = first; j < std::min(first + kTile, i + 1); ++j)
          result[i * k + j] = result[j * k + i] =
              double(sums[i * (i + 1) / 2 + j]) / count * (units[i] * units[j]);
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
