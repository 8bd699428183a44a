//===- SmoothQuantMath.cpp - large activations moved into weights -*- C++ -*-=//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "SmoothQuantMath.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace qcc;
using llvm::ArrayRef;

static constexpr double kSmallest = 1e-5, kReach = 1e4;

std::vector<float> smoothquant::getWeightRange(ArrayRef<LayerWeights> layers) {
  std::vector<float> range(layers.empty() ? 0 : size_t(layers[0].k));
  for (const LayerWeights &layer : layers)
    for (int64_t i = 0; i < layer.k; ++i)
      for (int64_t j = 0; j < layer.n; ++j)
        range[size_t(i)] =
            std::max(range[size_t(i)], std::fabs(layer.at(i, j)));
  return range;
}

std::vector<float> smoothquant::getScales(ArrayRef<float> inputRange,
                                          ArrayRef<float> weightRange,
                                          double alpha,
                                          ArrayRef<int64_t> classOf) {
  size_t k = inputRange.size();
  std::vector<double> logs(k);
  std::vector<char> live(k);
  for (size_t i = 0; i < k; ++i) {
    double x = inputRange[i], w = weightRange[i];
    live[i] = std::isfinite(x) && std::isfinite(w) && x > 0;
    if (live[i])
      logs[i] = alpha * std::log(std::max(x, kSmallest)) -
                (1 - alpha) * std::log(std::max(w, kSmallest));
  }
  if (!classOf.empty()) {
    std::vector<double> sums(k);
    std::vector<unsigned> counts(k);
    for (size_t i = 0; i < k; ++i)
      if (live[i]) {
        sums[size_t(classOf[i])] += logs[i];
        ++counts[size_t(classOf[i])];
      }
    for (size_t i = 0; i < k; ++i)
      if (unsigned count = counts[size_t(classOf[i])]) {
        live[i] = true;
        logs[i] = sums[size_t(classOf[i])] / count;
      }
  }
  std::vector<double> sorted;
  for (size_t i = 0; i < k; ++i)
    if (live[i])
      sorted.push_back(logs[i]);
  std::vector<float> scales(k, 1.0f);
  if (sorted.empty())
    return scales;
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2,
                   sorted.end());
  double median = sorted[sorted.size() / 2], reach = std::log(kReach);
  // A median beyond what floats hold well is moved to 1 as a whole.
  double shift = std::fabs(median) > reach ? median : 0;
  for (size_t i = 0; i < k; ++i)
    if (live[i])
      scales[i] = float(std::exp(
          std::clamp(logs[i], median - reach, median + reach) - shift));
  return scales;
}

/// Mean over rows of the squared rounding error of each input in int8.
static std::vector<double> getInputNoise(ArrayRef<float> inputs,
                                         ArrayRef<float> scales,
                                         int64_t inputGroup) {
  size_t k = scales.size(), rows = k ? inputs.size() / k : 0;
  size_t group = inputGroup ? size_t(inputGroup) : k;
  std::vector<double> noise(k);
  for (size_t r = 0; r < rows; ++r)
    for (size_t first = 0; first < k; first += group) {
      size_t end = std::min(first + group, k);
      double largest = 0;
      for (size_t i = first; i < end; ++i)
        largest = std::max(
            largest, std::fabs(double(inputs[r * k + i]) / double(scales[i])));
      double step = largest / 127;
      for (size_t i = first; i < end && step > 0; ++i) {
        double x = double(inputs[r * k + i]) / double(scales[i]);
        double error = x - std::nearbyint(x / step) * step;
        noise[i] += error * error;
      }
    }
  for (double &n : noise)
    n /= double(std::max<size_t>(rows, 1));
  return noise;
}

double smoothquant::getError(const WeightGrid &grid,
                             ArrayRef<LayerWeights> layers,
                             ArrayRef<float> inputs, ArrayRef<double> gram,
                             ArrayRef<float> scales, int64_t inputGroup) {
  size_t k = scales.size();
  std::vector<double> noise = getInputNoise(inputs, scales, inputGroup);
  std::vector<double> scaledGram(gram.size());
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j)
      scaledGram[i * k + j] =
          gram[i * k + j] / (double(scales[i]) * double(scales[j]));
  double error = 0, power = 0;
  for (const LayerWeights &layer : layers) {
    std::vector<float> scaled(layer.values.begin(), layer.values.end());
    for (size_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < layer.n; ++j)
        scaled[i * size_t(layer.n) + size_t(j)] *= scales[i];
    LayerWeights weights = {layer.k, layer.n, scaled};
    error += getOutputError(weights, roundToNearest(grid, weights).values,
                            scaledGram);
    power += getOutputPower(weights, scaledGram);
    for (size_t i = 0; i < k; ++i) {
      double norm = 0;
      for (int64_t j = 0; j < layer.n; ++j)
        norm += double(weights.at(int64_t(i), j)) * weights.at(int64_t(i), j);
      error += noise[i] * norm;
    }
  }
  double relative = error / (power > 0 ? power : 1);
  return relative >= 0 ? relative : std::numeric_limits<double>::infinity();
}

smoothquant::Result
smoothquant::search(const WeightGrid &grid, ArrayRef<LayerWeights> layers,
                    ArrayRef<float> inputRange, ArrayRef<float> inputs,
                    ArrayRef<double> gram, int64_t inputGroup,
                    ArrayRef<double> alphas, ArrayRef<int64_t> classOf,
                    bool always) {
  Result result;
  result.alpha = -1;
  result.scales.assign(inputRange.size(), 1.0f);
  if (layers.empty() || inputRange.empty())
    return result;
  auto getErrorOf = [&](ArrayRef<float> scales) {
    return getError(grid, layers, inputs, gram, scales, inputGroup);
  };
  result.errorBefore = result.errorAfter = getErrorOf(result.scales);
  std::vector<float> weightRange = getWeightRange(layers);
  for (double alpha : alphas) {
    std::vector<float> scales =
        getScales(inputRange, weightRange, alpha, classOf);
    double error = getErrorOf(scales);
    if (error < result.errorAfter || (always && alphas.size() == 1)) {
      result.errorAfter = error;
      result.scales = std::move(scales);
      result.alpha = alpha;
    }
  }
  return result;
}
