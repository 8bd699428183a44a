//===- AWQMath.cpp - scales that protect important channels -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AWQMath.h"
#include "qcc/Support/Parallel.h"
#include "llvm/ADT/STLExtras.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
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

/// Columns that one thread judges at a time.
constexpr int64_t kPartColumns = 128;

/// Some columns of a layer.
struct Part {
  int64_t k = 0, n = 0;
  std::vector<float> values; ///< [k, n]
  LayerWeights get() const { return {k, n, values}; }
};

class Search {
public:
  /// Judges as many columns of each layer, evenly spaced, as have so many
  /// weights, at least 16.
  Search(const WeightGrid &grid, ArrayRef<LayerWeights> layers,
         ArrayRef<double> gram, unsigned threads, int64_t limit)
      : grid(grid), gram(gram) {
    for (const LayerWeights &layer : layers) {
      int64_t count = std::min(layer.n, std::max<int64_t>(limit / layer.k, 16));
      for (int64_t first = 0; first < count; first += kPartColumns) {
        int64_t end = std::min(first + kPartColumns, count);
        parts.push_back({layer.k, end - first, {}});
        for (int64_t i = 0; i < layer.k; ++i)
          for (int64_t j = first; j < end; ++j)
            parts.back().values.push_back(layer.at(i, j * layer.n / count));
      }
    }
    power = sum(threads, [&](const Part &part) {
      return getOutputPower(part.get(), gram);
    });
  }

  /// Relative output error with these scales; infinite where a scaled weight
  /// is not finite.
  double getError(ArrayRef<float> scales, const awq::ColumnJudge &judge,
                  unsigned threads) const {
    double error = sum(threads, [&](const Part &part) {
      std::vector<float> scaled = awq::scaleRows(part.get(), scales);
      if (!std::all_of(scaled.begin(), scaled.end(),
                       [](float w) { return std::isfinite(w); }))
        return std::numeric_limits<double>::infinity();
      return judge(part.get(), {part.k, part.n, scaled});
    });
    // Infinite, so that it is never chosen, where it is not a number.
    return error >= 0 ? error / (power > 0 ? power : 1)
                      : std::numeric_limits<double>::infinity();
  }

  /// Judges by rounding to nearest.
  awq::ColumnJudge judgeNearest(ArrayRef<float> scales) const {
    std::vector<float> importance = getImportance(gram, int64_t(scales.size()));
    for (auto [value, scale] : llvm::zip_equal(importance, scales))
      value = float(double(value) / (double(scale) * double(scale)));
    return [this, scales, importance = std::move(importance)](
               LayerWeights weights, LayerWeights scaled) {
      return awq::getScaledError(
          weights, roundToNearest(grid, scaled, importance).values, gram,
          scales);
    };
  }

private:
  /// The sum of a number of each part, in their order.
  double sum(unsigned threads,
             llvm::function_ref<double(const Part &)> get) const {
    std::vector<double> numbers(parts.size());
    runParallel(parts.size(), threads,
                [&](size_t i) { numbers[i] = get(parts[i]); });
    return std::accumulate(numbers.begin(), numbers.end(), 0.0);
  }

  const WeightGrid &grid;
  ArrayRef<double> gram;
  std::vector<Part> parts;
  double power = 0;
};
} // namespace

double awq::getScaledError(LayerWeights weights, std::vector<float> rounded,
                           ArrayRef<double> gram, ArrayRef<float> scales) {
  // What the inputs are divided by, the weights are divided by instead.
  for (int64_t i = 0; i < weights.k; ++i)
    for (int64_t j = 0; j < weights.n; ++j)
      rounded[size_t(i * weights.n + j)] /= scales[size_t(i)];
  return getOutputError(weights, rounded, gram);
}

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

awq::Result awq::search(const WeightGrid &grid, ArrayRef<LayerWeights> layers,
                        ArrayRef<float> meanAbs, ArrayRef<double> gram,
                        ArrayRef<int64_t> classOf, const Options &options,
                        Judge judge) {
  Result result;
  result.scales.assign(meanAbs.size(), 1.0f);
  if (layers.empty() || meanAbs.empty())
    return result;
  std::vector<Candidate> candidates =
      makeCandidates(grid, layers, meanAbs, classOf, options);
  Search ranking(grid, layers, gram, options.threads, options.rankedWeights);
  runParallel(candidates.size(), options.threads, [&](size_t i) {
    ArrayRef<float> scales = candidates[i].scales;
    candidates[i].error =
        ranking.getError(scales, ranking.judgeNearest(scales), 1);
  });
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate &a, const Candidate &b) {
              // Ties have an order too, so that results do not depend on the
              // library.
              return std::tie(a.error, a.byWeights, a.exponent) <
                     std::tie(b.error, b.byWeights, b.exponent);
            });
  candidates.resize(std::min<size_t>(candidates.size(), options.judged));
  // One after the other: a judge may take much memory, and has its threads.
  Search search(grid, layers, gram, options.threads, options.judgedWeights);
  auto getError = [&](ArrayRef<float> scales) {
    return search.getError(scales,
                           judge ? judge(scales) : search.judgeNearest(scales),
                           options.threads);
  };
  result.errorBefore = result.errorAfter = getError(result.scales);
  for (Candidate &candidate : candidates) {
    candidate.error = getError(candidate.scales);
    if (candidate.error >= result.errorAfter)
      continue;
    result.errorAfter = candidate.error;
    result.scales = std::move(candidate.scales);
    result.exponent = candidate.exponent;
    result.byWeights = candidate.byWeights;
  }
  return result;
}
