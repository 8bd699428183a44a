//===- RotateMath.cpp - rotations of channels -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RotateMath.h"
#include <cmath>
#include <numbers>

using namespace qcc;
using rotate::Rotation;

static bool isPrime(int64_t n) {
  for (int64_t i = 2; i * i <= n; ++i)
    if (n % i == 0)
      return false;
  return n > 1;
}

/// Paley's Hadamard matrix of order q + 1 for a prime q = 3 mod 4: ones on the
/// diagonal plus the skew matrix whose inner part says which differences are
/// squares modulo q.
static std::vector<double> makePaley(int64_t q) {
  std::vector<double> square(size_t(q), -1.0);
  for (int64_t i = 1; i < q; ++i)
    square[size_t(i * i % q)] = 1;
  square[0] = 0;
  int64_t n = q + 1;
  std::vector<double> matrix(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double skew = 0;
      if (i && j)
        skew = square[size_t((j - i + q) % q)];
      else if (i != j)
        skew = i ? -1 : 1;
      matrix[size_t(i * n + j)] = skew + (i == j ? 1 : 0);
    }
  return matrix;
}

/// cos(t) + sin(t) of t = 2 pi i j / n: symmetric and, over sqrt(n),
/// orthogonal.
static std::vector<double> makeHartley(int64_t n) {
  std::vector<double> matrix(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double angle = 2 * std::numbers::pi * double(i * j % n) / double(n);
      matrix[size_t(i * n + j)] = std::cos(angle) + std::sin(angle);
    }
  return matrix;
}

std::optional<Rotation> Rotation::make(int64_t size, uint64_t seed) {
  if (size < 2)
    return std::nullopt;
  int64_t odd = size >> __builtin_ctzll(uint64_t(size));
  if (odd > kMaxBase)
    return std::nullopt;
  Rotation result;
  if (odd > 1) {
    for (int64_t n = odd * 4; n <= kMaxBase && size % n == 0; n *= 2)
      if (isPrime(n - 1)) {
        result.base = n;
        result.small = makePaley(n - 1);
        break;
      }
    if (result.small.empty()) {
      result.base = odd;
      result.small = makeHartley(odd);
      result.hadamard = false;
    }
    for (double &x : result.small)
      x /= std::sqrt(double(result.base));
  }
  // SplitMix64: one bit of each number.
  uint64_t state = seed;
  for (int64_t i = 0; i < size; ++i) {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    result.signs.push_back((z ^ (z >> 31)) >> 63 ? -1.0 : 1.0);
  }
  return result;
}

void Rotation::apply(double *x, std::vector<double> &scratch) const {
  int64_t size = getSize(), count = size / base;
  scratch.resize(size_t(size));
  double scale = 1 / std::sqrt(double(count));
  for (int64_t i = 0; i < size; ++i)
    scratch[size_t(i)] = x[i] * signs[size_t(i)] * scale;
  for (int64_t half = base; half < size; half *= 2)
    for (int64_t first = 0; first < size; first += 2 * half)
      for (int64_t i = first; i < first + half; ++i) {
        double a = scratch[size_t(i)], b = scratch[size_t(i + half)];
        scratch[size_t(i)] = a + b;
        scratch[size_t(i + half)] = a - b;
      }
  for (int64_t first = 0; first < size; first += base)
    for (int64_t j = 0; j < base; ++j) {
      double sum = scratch[size_t(first + j)];
      if (base > 1) {
        sum = 0;
        for (int64_t i = 0; i < base; ++i)
          sum += scratch[size_t(first + i)] * small[size_t(i * base + j)];
      }
      x[first + j] = sum;
    }
}

void Rotation::applyToRows(llvm::MutableArrayRef<float> values, int64_t rows,
                           int64_t columns) const {
  std::vector<double> vector(signs.size()), scratch;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t first = 0; first + getSize() <= columns; first += getSize()) {
      float *at = values.data() + row * columns + first;
      std::copy_n(at, getSize(), vector.begin());
      apply(vector.data(), scratch);
      std::copy(vector.begin(), vector.end(), at);
    }
}

void Rotation::applyToColumns(llvm::MutableArrayRef<float> values, int64_t rows,
                              int64_t columns,
                              llvm::ArrayRef<float> gains) const {
  std::vector<double> vector(signs.size()), scratch;
  for (int64_t column = 0; column < columns; ++column)
    for (int64_t first = 0; first + getSize() <= rows; first += getSize()) {
      for (int64_t i = 0; i < getSize(); ++i)
        vector[size_t(i)] =
            double(values[size_t((first + i) * columns + column)]) *
            (gains.empty() ? 1.0 : double(gains[size_t(first + i)]));
      apply(vector.data(), scratch);
      for (int64_t i = 0; i < getSize(); ++i)
        values[size_t((first + i) * columns + column)] =
            float(vector[size_t(i)]);
    }
}
