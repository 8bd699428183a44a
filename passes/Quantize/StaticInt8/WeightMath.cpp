//===- WeightMath.cpp - rounding the weights of a layer ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "WeightMath.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Scheme/GPTQ.h"
#include "qcc/Scheme/Refine.h"
#include "qcc/Support/Parallel.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>

using namespace qcc;

/// Scales below it have reciprocals near overflow.
static constexpr float kLeastScale = 0x1p-100f;

std::vector<float> qcc::transposeWeight(llvm::ArrayRef<float> in, int64_t n,
                                        int64_t k) {
  std::vector<float> out(in.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j)
      out[size_t(j * n + i)] = in[size_t(i * k + j)];
  return out;
}

namespace {
/// A grid whose scales are such that weights rounded to nearest fit in pairs.
class PairGrid final : public WeightGrid {
public:
  PairGrid(const WeightGrid &grid, llvm::ArrayRef<int64_t> kernelRows)
      : grid(grid), kernelRows(kernelRows) {}
  int64_t getGroup() const override { return grid.getGroup(); }
  float round(float weight, GridAffine affine) const override {
    return grid.round(weight, affine);
  }
  float storeScale(float scale) const override {
    return grid.storeScale(scale);
  }
  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float> importance) const override {
    GridAffine affine = grid.choose(weights, importance);
    double largest = 0;
    for (size_t i = 1; i < kernelRows.size(); i += 2) {
      double first = weights[size_t(kernelRows[i - 1])],
             second = weights[size_t(kernelRows[i])];
      largest = std::max({largest, std::max(first, 0.0) + std::max(second, 0.0),
                          std::max(-first, 0.0) + std::max(-second, 0.0)});
    }
    float least = float(largest / kLargestPair);
    if (std::fabs(affine.scale) < least)
      affine.scale = std::copysign(least, affine.scale);
    return affine;
  }

  /// Makes codes fit that clipped ranges or what others left over made larger.
  void fit(RoundedWeights &weights, int64_t n) const;

private:
  const WeightGrid &grid;
  llvm::ArrayRef<int64_t> kernelRows;
};
} // namespace

void PairGrid::fit(RoundedWeights &weights, int64_t n) const {
  for (int64_t column = 0; column < n; ++column) {
    float scale = weights.affines[size_t(column)].scale;
    for (size_t i = 1; scale != 0 && i < kernelRows.size(); i += 2) {
      float &first = weights.values[size_t(kernelRows[i - 1] * n + column)],
            &second = weights.values[size_t(kernelRows[i] * n + column)];
      long a = std::lround(first / scale), b = std::lround(second / scale),
           excess = std::labs(a) + std::labs(b) - kMaxPairSum;
      if ((a < 0) != (b < 0) || excess <= 0)
        continue;
      // Each is larger than the excess, as none is above 127.
      long sign = a < 0 ? -1 : 1;
      first = scale * float(a - sign * (excess - excess / 2));
      second = scale * float(b - sign * (excess / 2));
    }
  }
}

namespace {
/// Columns that a thread rounds at a time.
constexpr int64_t kPartColumns = 128;

/// Some columns of a layer, with the weights of every method.
struct Part {
  int64_t first, count;
  struct Candidate {
    const char *method;
    RoundedWeights weights;
    double error;
  };
  std::vector<Candidate> candidates = {};
  double power = 0;
};

/// Rounds the columns of a layer by all methods.
class PartRounder {
public:
  PartRounder(const PairGrid &grid, LayerWeights layer,
              llvm::ArrayRef<double> gram, const ChoiceOptions &options)
      : grid(grid), layer(layer), gram(gram), refine(options.refine),
        factor(gram, layer.k, {}, {}, options.threads) {}

  void round(Part &part) const {
    std::vector<float> values;
    for (int64_t i = 0; i < layer.k; ++i) {
      const float *row = layer.values.data() + i * layer.n + part.first;
      values.insert(values.end(), row, row + part.count);
    }
    LayerWeights own{layer.k, part.count, values};
    auto offer = [&](const char *method, RoundedWeights weights) {
      if (!part.candidates.empty())
        grid.fit(weights, own.n);
      double error = getOutputError(own, weights.values, gram);
      part.candidates.push_back({method, std::move(weights), error});
    };
    offer("rtn", roundToNearest(grid, own));
    RoundedWeights clip = searchClip(grid, own, gram);
    std::vector<GridAffine> scales = clip.affines;
    offer("clip", std::move(clip));
    if (gptq::Solution plain = factor.solve(grid, own);
        plain.fallback.empty()) {
      offer("gptq", std::move(plain.weights));
      offer("gptq-clip", factor.solve(grid, own, scales).weights);
    }
    if (refine) {
      RoundedWeights refined =
          std::min_element(
              part.candidates.begin(), part.candidates.end(),
              [](const Part::Candidate &a, const Part::Candidate &b) {
                return a.error < b.error;
              })
              ->weights;
      refineWeights(grid, own, gram, refined);
      offer("refine", std::move(refined));
    }
    part.power = getOutputPower(own, gram);
  }

private:
  const PairGrid &grid;
  LayerWeights layer;
  llvm::ArrayRef<double> gram;
  bool refine;
  gptq::Factor factor;
};
} // namespace

/// Puts rows of a part's columns in their place among those of the layer.
template <typename T>
static void place(const std::vector<T> &part, int64_t first, int64_t count,
                  int64_t n, std::vector<T> &out) {
  int64_t rows = int64_t(part.size()) / count;
  out.resize(size_t(rows * n));
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(part.begin() + i * count, count, out.begin() + i * n + first);
}

RoundedChoice qcc::chooseRounded(const WeightGrid &numbers, LayerWeights layer,
                                 llvm::ArrayRef<double> gram,
                                 const ChoiceOptions &options) {
  PairGrid grid(numbers, options.kernelRows);
  if (gram.empty() || !layer.n)
    return {roundToNearest(grid, layer), "rtn"};
  PartRounder rounder(grid, layer, gram, options);
  std::vector<Part> parts;
  for (int64_t first = 0; first < layer.n; first += kPartColumns)
    parts.push_back({first, std::min(kPartColumns, layer.n - first)});
  runParallel(parts.size(), options.threads,
              [&](size_t i) { rounder.round(parts[i]); });
  // One method for the whole layer.
  RoundedChoice choice;
  size_t best = 0;
  double nearest = 0, least = 0, power = 0;
  for (const Part &part : parts)
    power += part.power;
  for (size_t method = 0; method < parts[0].candidates.size(); ++method) {
    double error = 0;
    for (const Part &part : parts)
      error += part.candidates[method].error;
    if (method == 0)
      nearest = least = error;
    if (error < least) {
      least = error;
      best = method;
    }
  }
  choice.method = parts[0].candidates[best].method;
  for (const Part &part : parts) {
    const RoundedWeights &own = part.candidates[best].weights;
    place(own.values, part.first, part.count, layer.n, choice.weights.values);
    place(own.affines, part.first, part.count, layer.n, choice.weights.affines);
  }
  if (power > 0) {
    choice.nearest = nearest / power;
    choice.chosen = std::fmax(least, 0) / power;
  }
  return choice;
}

ChosenValues qcc::chooseWeight(const WeightGrid &grid,
                               const WeightGrid &clipped,
                               llvm::ArrayRef<float> weight, int64_t outputs,
                               llvm::ArrayRef<double> gram,
                               const ChoiceOptions &options) {
  int64_t k = int64_t(weight.size()) / outputs;
  std::vector<float> columns = transposeWeight(weight, outputs, k);
  LayerWeights layer{k, outputs, columns};
  RoundedChoice best =
      gram.empty() ? RoundedChoice{roundToNearest(clipped, layer), "clip"}
                   : chooseRounded(grid, layer, gram, options);
  ChosenValues result{
      transposeWeight(best.weights.values, k, outputs), {}, best.method};
  for (int64_t o = 0; o < outputs; ++o) {
    float scale = best.weights.affines[size_t(o)].scale;
    bool isTiny = !(std::fabs(scale) >= kLeastScale);
    result.scales.push_back(isTiny ? 1 : scale);
    if (isTiny)
      std::fill_n(result.values.begin() + o * k, k, 0.0f);
  }
  return result;
}
