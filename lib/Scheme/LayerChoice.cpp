//===- LayerChoice.cpp - the best rounded weights of a layer ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/LayerChoice.h"
#include "qcc/Scheme/Refine.h"
#include "qcc/Support/Parallel.h"
#include <algorithm>

using namespace qcc;
using llvm::ArrayRef;

/// Columns of a layer that are rounded by one thread at a time.
static constexpr int64_t kPartColumns = 128;

namespace {
/// Some columns by some method.
struct Candidate {
  const char *method;
  RoundedWeights weights;
  double error;
};

/// Some columns of a layer, by all methods.
class Part {
public:
  Part(const LayerProblem &layer, int64_t first, int64_t count)
      : layer(layer), first(first), count(count) {}

  void round();

  const LayerProblem &layer;
  int64_t first, count;
  std::vector<Candidate> candidates;
  double power = 0;

private:
  std::vector<float> getColumns(ArrayRef<float> all) const {
    std::vector<float> values;
    for (int64_t i = 0; i < layer.weights.k; ++i) {
      const float *row = all.data() + i * layer.weights.n + first;
      values.insert(values.end(), row, row + count);
    }
    return values;
  }
  void offer(const char *method, LayerWeights target, RoundedWeights weights,
             std::optional<double> error = std::nullopt) {
    if (layer.adjust && !candidates.empty()) {
      layer.adjust(weights, count);
      error.reset();
    }
    double own =
        error ? *error : getOutputError(target, weights.values, layer.gram);
    candidates.push_back({method, std::move(weights), own});
  }
};
} // namespace

void Part::round() {
  std::vector<float> values = getColumns(layer.weights.values),
                     targets = getColumns(layer.target);
  LayerWeights original{layer.weights.k, count, values},
      target{layer.weights.k, count, targets};
  const RoundingMethods &methods = layer.methods;
  auto offerSolution = [&](const char *method, gptq::Solution solution) {
    offer(method, target, std::move(solution.weights), solution.error);
  };
  offer("rtn", target,
        roundToNearest(layer.grid, original,
                       getImportance(layer.gram, original.k)));
  RoundedWeights clipped;
  if (methods.clip || methods.gptqClip)
    clipped = searchClip(layer.grid, target, layer.gram);
  if (methods.gptq)
    offerSolution("gptq", layer.factor->solve(layer.grid, target));
  if (methods.gptqClip)
    offerSolution("gptq-clip",
                  layer.factor->solve(layer.grid, target, clipped.affines));
  if (methods.clip)
    offer("clip", target, std::move(clipped));
  if (methods.refine) {
    auto isLess = [](const Candidate &a, const Candidate &b) {
      return a.error < b.error;
    };
    RoundedWeights refined =
        std::min_element(candidates.begin(), candidates.end(), isLess)->weights;
    RefineOptions options;
    options.damping = layer.damping;
    refineWeights(layer.grid, target, layer.gram, refined, options);
    offer("refine", target, std::move(refined));
  }
  power = getOutputPower(original, layer.gram);
}

/// Puts the rows of a part's columns in their place among those of the layer.
template <typename T>
static void place(const std::vector<T> &values, const Part &part,
                  std::vector<T> &out) {
  int64_t rows = int64_t(values.size()) / part.count, n = part.layer.weights.n;
  out.resize(size_t(rows * n));
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(values.begin() + i * part.count, part.count,
                out.begin() + i * n + part.first);
}

/// The method with the least error in a whole layer.
static LayerChoice join(ArrayRef<Part> parts) {
  LayerChoice choice;
  size_t best = 0;
  for (size_t m = 0; m < parts.front().candidates.size(); ++m) {
    double error = 0;
    for (const Part &part : parts)
      error += part.candidates[m].error;
    if (m == 0)
      choice.nearest = choice.error = error;
    if (error < choice.error) {
      choice.error = error;
      best = m;
    }
  }
  choice.method = parts.front().candidates[best].method;
  for (const Part &part : parts) {
    choice.power += part.power;
    place(part.candidates[best].weights.values, part, choice.weights.values);
    place(part.candidates[best].weights.affines, part, choice.weights.affines);
  }
  return choice;
}

std::vector<LayerChoice> qcc::chooseLayers(ArrayRef<LayerProblem> layers,
                                           unsigned threads) {
  std::vector<Part> parts;
  for (const LayerProblem &layer : layers)
    for (int64_t first = 0; first < layer.weights.n; first += kPartColumns)
      parts.emplace_back(layer, first,
                         std::min(kPartColumns, layer.weights.n - first));
  runParallel(parts.size(), threads, [&](size_t i) { parts[i].round(); });
  std::vector<LayerChoice> choices;
  ArrayRef<Part> left(parts);
  for (const LayerProblem &layer : layers) {
    ArrayRef<Part> own = left.take_while(
        [&](const Part &part) { return &part.layer == &layer; });
    choices.push_back(own.empty() ? LayerChoice() : join(own));
    left = left.drop_front(own.size());
  }
  return choices;
}
