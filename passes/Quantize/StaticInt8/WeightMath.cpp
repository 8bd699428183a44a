//===- WeightMath.cpp - rounding the weights of a convolution -----*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "WeightMath.h"
#include "qcc/Scheme/GPTQ.h"
#include <cmath>

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

RoundedChoice qcc::chooseRounded(const WeightGrid &grid, LayerWeights layer,
                                 llvm::ArrayRef<double> gram) {
  RoundedChoice best{roundToNearest(grid, layer), "rtn"};
  if (gram.empty())
    return best;
  double least = getOutputError(layer, best.weights.values, gram),
         nearest = least;
  auto offer = [&](const char *name, RoundedWeights candidate) {
    double error = getOutputError(layer, candidate.values, gram);
    if (!(error < least))
      return;
    least = error;
    best.weights = std::move(candidate);
    best.method = name;
  };
  RoundedWeights clip = searchClip(grid, layer, gram);
  std::vector<GridAffine> scales = clip.affines;
  offer("clip", std::move(clip));
  gptq::Factor factor(gram, layer.k);
  gptq::Solution plain = factor.solve(grid, layer);
  if (plain.fallback.empty()) {
    offer("gptq", std::move(plain.weights));
    offer("gptq-clip", factor.solve(grid, layer, scales).weights);
  }
  double power = getOutputPower(layer, gram);
  if (power > 0) {
    best.nearest = nearest / power;
    best.chosen = std::fmax(least, 0) / power;
  }
  return best;
}

ChosenValues qcc::chooseWeight(const WeightGrid &grid,
                               const WeightGrid &clipped,
                               llvm::ArrayRef<float> weight, int64_t outputs,
                               llvm::ArrayRef<double> gram) {
  int64_t k = int64_t(weight.size()) / outputs;
  std::vector<float> columns = transposeWeight(weight, outputs, k);
  LayerWeights layer{k, outputs, columns};
  RoundedChoice best =
      gram.empty() ? RoundedChoice{roundToNearest(clipped, layer), "clip"}
                   : chooseRounded(grid, layer, gram);
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
