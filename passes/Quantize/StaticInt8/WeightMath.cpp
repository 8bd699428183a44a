//===- WeightMath.cpp - rounding the weights of a layer ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "WeightMath.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Scheme/LayerChoice.h"
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

RoundedChoice qcc::chooseRounded(const WeightGrid &numbers, LayerWeights layer,
                                 llvm::ArrayRef<double> gram,
                                 const ChoiceOptions &options) {
  PairGrid grid(numbers, options.kernelRows);
  if (gram.empty())
    return {roundToNearest(grid, layer), "rtn"};
  gptq::Factor factor(gram, layer.k, {}, {}, options.threads);
  auto fit = [&](RoundedWeights &weights, int64_t n) { grid.fit(weights, n); };
  LayerProblem problem{grid, layer, layer.values, gram, &factor, {}};
  problem.methods = {/*clip=*/true, /*gptq=*/true, /*gptqClip=*/true,
                     options.refine};
  problem.adjust = fit;
  LayerChoice found = std::move(chooseLayers(problem, options.threads)[0]);
  RoundedChoice choice{std::move(found.weights), std::move(found.method)};
  if (found.power > 0) {
    choice.nearest = found.nearest / found.power;
    choice.chosen = std::fmax(found.error, 0) / found.power;
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
