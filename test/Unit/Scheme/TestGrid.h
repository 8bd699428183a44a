//===- TestGrid.h - a plain grid and random layers for tests ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_UNIT_SCHEME_TESTGRID_H
#define QCC_TEST_UNIT_SCHEME_TESTGRID_H

#include "qcc/Scheme/Grid.h"
#include <algorithm>
#include <cmath>
#include <random>

namespace qcc::test {

/// Asymmetric integers of some bits; the range is extended to hold 0.
class Asymmetric final : public WeightGrid {
public:
  Asymmetric(unsigned bits, int64_t group)
      : top(int32_t((1u << bits) - 1)), group(group) {}
  int64_t getGroup() const override { return group; }
  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float>) const override {
    float low = 0, high = 0;
    for (float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    float scale = (high - low) / float(top);
    if (!(scale > 0))
      return {0, 0};
    return {scale, int32_t(std::nearbyint(-low / scale))};
  }
  float round(float weight, GridAffine affine) const override {
    if (!(affine.scale > 0))
      return 0;
    float code = std::nearbyint(weight / affine.scale) + float(affine.zero);
    return affine.scale *
           (std::clamp(code, 0.0f, float(top)) - float(affine.zero));
  }

private:
  int32_t top;
  int64_t group;
};

inline std::vector<float> makeWeights(unsigned seed, int64_t k, int64_t n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  std::vector<float> values(static_cast<size_t>(k * n));
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Rows whose channels are correlated and of different sizes, [rows, k].
inline std::vector<float> makeInputs(unsigned seed, int64_t rows, int64_t k) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(rows * k));
  for (int64_t r = 0; r < rows; ++r) {
    float shared = normal(random);
    for (int64_t c = 0; c < k; ++c)
      values[size_t(r * k + c)] =
          (normal(random) + shared) * (0.2f + float((c * 7) % 11) / 4);
  }
  return values;
}

/// Mean of x^T x by the definition.
inline std::vector<double> makeGram(llvm::ArrayRef<float> inputs, int64_t k) {
  std::vector<double> gram(static_cast<size_t>(k * k));
  size_t rows = inputs.size() / size_t(k), size = size_t(k);
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < size; ++i)
      for (size_t j = 0; j < size; ++j)
        gram[i * size + j] +=
            double(inputs[r * size + i]) * inputs[r * size + j] / double(rows);
  return gram;
}

/// Mean over rows of |x (W - W')|^2 by the definition.
inline double measureError(llvm::ArrayRef<float> inputs, LayerWeights weights,
                           llvm::ArrayRef<float> rounded) {
  double error = 0;
  size_t rows = inputs.size() / size_t(weights.k);
  for (size_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < weights.n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < weights.k; ++i)
        sum += double(inputs[r * size_t(weights.k) + size_t(i)]) *
               (double(weights.at(i, j)) -
                double(rounded[size_t(i * weights.n + j)]));
      error += sum * sum / double(rows);
    }
  return error;
}

/// Random weights and inputs.
struct Layer {
  Layer(unsigned seed, int64_t k, int64_t n, int64_t rows = 200)
      : w(makeWeights(seed, k, n)), x(makeInputs(seed + 1, rows, k)),
        gram(makeGram(x, k)), weights{k, n, w} {}
  std::vector<float> w, x;
  std::vector<double> gram;
  LayerWeights weights;
  double getError(llvm::ArrayRef<float> rounded) const {
    return getOutputError(weights, rounded, gram);
  }
};

inline bool allFinite(llvm::ArrayRef<float> values) {
  return std::all_of(values.begin(), values.end(),
                     [](float v) { return std::isfinite(v); });
}
inline bool allFinite(llvm::ArrayRef<GridAffine> affines) {
  return std::all_of(affines.begin(), affines.end(), [](GridAffine affine) {
    return std::isfinite(affine.scale);
  });
}

} // namespace qcc::test

#endif // QCC_TEST_UNIT_SCHEME_TESTGRID_H
