//===- AWQMath.cpp - scales that protect important channels -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AWQMath.h"
#include "qcc/Support/Parallel.h"
#include "llvm/ADT/STLExtras.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

using namespace qcc;
using llvm::ArrayRef;

/// Scales below this are noise.
static constexpr double kSmallest = 1e-4;

std::vector<float> awq::scaleRows(LayerWeights weights,
                                  ArrayRef<float> scales) {
  std::vector<float> result(weights.values.size());
  for (int64_t i = 0; i < weights.k; ++i)
    for (int64_t j = 0; j < weights.n; ++j)
      result[size_t(i * weights.n + j)] = weights.at(i, j) * scales[size_t(i)];
  return result;
}

/// For each input the mean over all columns of |w| relative to the largest
/// weight of its group and column.
static std::vector<double> getMeanWeights(const WeightGrid &grid,
                                          ArrayRef<LayerWeights> layers) {
  int64_t k = layers[0].k, rows = getGroupRows(grid, k), columns = 0;
  std::vector<double> sums(static_cast<size_t>(k));
  for (const LayerWeights &layer : layers) {
    columns += layer.n;
    for (int64_t first = 0; first < k; first += rows)
      for (int64_t j = 0; j < layer.n; ++j) {
        int64_t end = std::min(first + rows, k);
        double largest = 0;
        for (int64_t i = first; i < end; ++i)
          largest = std::max(largest, std::fabs(double(layer.at(i, j))));
        for (int64_t i = first; i < end; ++i)
          sums[size_t(i)] +=
              std::fabs(double(layer.at(i, j))) / (largest + 1e-6);
      }
  }
  for (double &sum : sums)
    sum /= double(std::max<int64_t>(columns, 1));
  return sums;
}

/// Makes usable scales of raw ones: inputs of a class get the geometric mean,
/// the range is bounded and centred at 1. Empty if that cannot be done.
static std::vector<float>
normalize(std::vector<double> raw, ArrayRef<int64_t> classOf, double maxRatio) {
  for (double &s : raw)
    s = std::isfinite(s) ? std::max(s, kSmallest) : 1.0;
  if (!classOf.empty()) {
    std::vector<double> logs(raw.size());
    std::vector<unsigned> counts(raw.size());
    for (size_t i = 0; i < raw.size(); ++i) {
      logs[size_t(classOf[i])] += std::log(raw[i]);
      ++counts[size_t(classOf[i])];
    }
    for (size_t i = 0; i < raw.size(); ++i)
      raw[i] = std::exp(logs[size_t(classOf[i])] / counts[size_t(classOf[i])]);
  }
  auto [low, high] = std::minmax_element(raw.begin(), raw.end());
  double centre = std::sqrt(*low * *high), reach = std::sqrt(maxRatio);
  if (!(centre > 0) || !std::isfinite(centre))
    return {};
  std::vector<float> scales;
  for (double s : raw)
    scales.push_back(float(std::clamp(s / centre, 1 / reach, reach)));
  return scales;
}

namespace {
struct Candidate {
  std::vector<float> scales;
  double exponent = 0;
  bool byWeights = false;
  double error = std::numeric_limits<double>::infinity();
};

class Search {
public:
  Search(const WeightGrid &grid, ArrayRef<LayerWeights> layers,
         ArrayRef<double> gram)
      : grid(grid), layers(layers), gram(gram) {
    for (const LayerWeights &layer : layers)
      power += getOutputPower(layer, gram);
  }

  /// Relative output error with these scales; infinite where a scaled weight
  /// is not finite.
  double getError(ArrayRef<float> scales, awq::Rounder round) const {
    double error = 0;
    for (const LayerWeights &layer : layers) {
      std::vector<float> scaled = awq::scaleRows(layer, scales);
      if (!std::all_of(scaled.begin(), scaled.end(),
                       [](float w) { return std::isfinite(w); }))
        return std::numeric_limits<double>::infinity();
      std::vector<float> rounded =
          round({layer.k, layer.n, scaled}, gram, scales);
      // What the inputs are divided by, the weights are divided by instead.
      for (int64_t i = 0; i < layer.k; ++i)
        for (int64_t j = 0; j < layer.n; ++j)
          rounded[size_t(i * layer.n + j)] /= scales[size_t(i)];
      error += getOutputError(layer, rounded, gram);
    }
    // Infinite, so that it is never chosen, where it is not a number.
    return error >= 0 ? error / (power > 0 ? power : 1)
                      : std::numeric_limits<double>::infinity();
  }

  std::vector<float> roundNearest(LayerWeights weights,
                                  ArrayRef<float> scales) const {
    std::vector<float> importance = getImportance(gram, weights.k);
    for (auto [value, scale] : llvm::zip_equal(importance, scales))
      value = float(double(value) / (double(scale) * double(scale)));
    return roundToNearest(grid, weights, importance).values;
  }

private:
  const WeightGrid &grid;
  ArrayRef<LayerWeights> layers;
  ArrayRef<double> gram;
  double power = 0;
};
} // namespace

/// Every candidate but the identity, with its scales.
static std::vector<Candidate> makeCandidates(const WeightGrid &grid,
                                             ArrayRef<LayerWeights> layers,
                                             ArrayRef<float> meanAbs,
                                             ArrayRef<int64_t> classOf,
                                             const awq::Options &options) {
  std::vector<double> meanWeights = getMeanWeights(grid, layers);
  std::vector<Candidate> result;
  for (bool byWeights : {false, true}) {
    if (byWeights && !options.byWeights)
      break;
    // Without weights, the exponent 0 is the identity.
    for (unsigned i = byWeights ? 0 : 1; i <= options.steps; ++i) {
      Candidate candidate;
      candidate.exponent = double(i) / options.steps;
      candidate.byWeights = byWeights;
      std::vector<double> raw(meanAbs.size());
      for (size_t c = 0; c < raw.size(); ++c) {
        raw[c] = std::pow(double(meanAbs[c]), candidate.exponent);
        if (byWeights)
          raw[c] /=
              std::pow(meanWeights[c], 1 - candidate.exponent) + kSmallest;
      }
      candidate.scales = normalize(std::move(raw), classOf, options.maxRatio);
      if (!candidate.scales.empty())
        result.push_back(std::move(candidate));
    }
  }
  return result;
}

/// Some columns of a layer, evenly spaced.
static std::vector<float> takeColumns(LayerWeights layer, int64_t count) {
  std::vector<float> values(static_cast<size_t>(layer.k * count));
  for (int64_t i = 0; i < layer.k; ++i)
    for (int64_t j = 0; j < count; ++j)
      values[size_t(i * count + j)] = layer.at(i, j * layer.n / count);
  return values;
}

awq::Result awq::search(const WeightGrid &grid, ArrayRef<LayerWeights> layers,
                        ArrayRef<float> meanAbs, ArrayRef<double> gram,
                        ArrayRef<int64_t> classOf, const Options &options,
                        Rounder judge) {
  Result result;
  result.scales.assign(meanAbs.size(), 1.0f);
  if (layers.empty() || meanAbs.empty())
    return result;
  Search search(grid, layers, gram);
  auto nearest = [&](LayerWeights weights, ArrayRef<double>,
                     ArrayRef<float> scales) {
    return search.roundNearest(weights, scales);
  };
  std::vector<Candidate> candidates =
      makeCandidates(grid, layers, meanAbs, classOf, options);
  // Ranks are those on some columns, which is all of them for small layers.
  std::vector<std::vector<float>> columns;
  std::vector<LayerWeights> parts;
  for (const LayerWeights &layer : layers) {
    int64_t count = std::min(layer.n, options.rankedColumns);
    columns.push_back(takeColumns(layer, count));
    parts.push_back({layer.k, count, columns.back()});
  }
  Search ranking(grid, parts, gram);
  auto compare = [&](const Search &by, Rounder round, uint64_t threads) {
    llvm::cantFail(runParallel(
        candidates.size(), unsigned(threads),
        [&](size_t i) {
          candidates[i].error = by.getError(candidates[i].scales, round);
          return llvm::Error::success();
        },
        [](size_t) {}));
  };
  compare(ranking, nearest, options.threads);
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate &a, const Candidate &b) {
              // Ties have an order too, so that results do not depend on the
              // library.
              return std::tie(a.error, a.byWeights, a.exponent) <
                     std::tie(b.error, b.byWeights, b.exponent);
            });
  candidates.resize(std::min<size_t>(candidates.size(), options.judged));
  Rounder last = judge ? judge : Rounder(nearest);
  uint64_t judgeBytes = 16 * uint64_t(gram.size());
  compare(search, last,
          judge ? std::min<uint64_t>(options.threads,
                                     1 + options.judgeBytes / judgeBytes)
                : options.threads);
  result.errorBefore = result.errorAfter = search.getError(result.scales, last);
  for (Candidate &candidate : candidates)
    if (candidate.error < result.errorAfter) {
      result.errorAfter = candidate.error;
      result.scales = std::move(candidate.scales);
      result.exponent = candidate.exponent;
      result.byWeights = candidate.byWeights;
    }
  return result;
}
