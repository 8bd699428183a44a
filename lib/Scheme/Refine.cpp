//===- Refine.cpp - rounded weights moved to where they cost less -*- C++ -*-=//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Refine.h"
#include "Panel.h"
#include <algorithm>
#include <cmath>

using namespace qcc;
using llvm::ArrayRef;

/// A scale that moves further in one round is one of a group that has hardly
/// any part in the outputs.
static constexpr double kMostScaling = 2;

/// Adds `factor` times a row of k elements to another.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void addRow(const double *row, double factor, int64_t k, double *out) {
  int64_t i = 0;
  for (; i + 4 <= k; i += 4) {
    auto *sum = reinterpret_cast<Double4 *>(out + i);
    *sum = __builtin_elementwise_fma(
        Double4{factor, factor, factor, factor},
        *reinterpret_cast<const Double4 *>(row + i), *sum);
  }
  for (; i < k; ++i)
    out[i] = std::fma(factor, row[i], out[i]);
}

namespace {
/// Up to kPanel * kPanels columns of a layer while they are refined.
class Refiner {
public:
  Refiner(const WeightGrid &grid, LayerWeights target, ArrayRef<double> gram,
          double added, int64_t first, int64_t count, RoundedWeights &weights)
      : grid(grid), target(target), gram(gram), added(added), first(first),
        count(count), k(target.k), groupRows(getGroupRows(grid, target.k)),
        panels((count + kPanel - 1) / kPanel), weights(weights),
        gradient(size_t(count * k)) {}

  void run(unsigned rounds) {
    findGradient();
    bool moved = true;
    for (unsigned round = 0; round < rounds && moved; ++round) {
      moved = false;
      for (int64_t row = 0; row < k; row += groupRows)
        moved |= moveScales(row, std::min(groupRows, k - row));
      for (int64_t row = 0; row < k; ++row)
        moved |= moveWeights(row);
    }
  }

private:
  float &valueAt(int64_t row, int64_t j) {
    return weights.values[size_t(row * target.n + first + j)];
  }
  GridAffine &affineAt(int64_t row, int64_t j) {
    return weights.affines[size_t(row / groupRows * target.n + first + j)];
  }
  double gramAt(int64_t i, int64_t j) const { return gram[size_t(i * k + j)]; }
  /// Of half the error, by a column's weights: what moving one up gains.
  double *gradientOf(int64_t j) { return gradient.data() + j * k; }

  /// Products of G's columns `begin` to `begin + rows` with panels
  /// [panels, rows, kPanel], handed to `take(row, j, sum)` for all rows.
  template <typename Take>
  void multiply(int64_t begin, int64_t rows, const std::vector<double> &columns,
                Take take) {
    PanelProduct product(gram.data() + begin, k, rows, panels);
    for (int64_t row = 0; row < k; row += kBlockRows) {
      int64_t end = std::min(row + kBlockRows, k);
      product.compute(row, end - row, rows, columns.data());
      for (int64_t j = 0; j < count; ++j)
        for (int64_t i = row; i < end; ++i)
          take(i, j, product.getSums(i - row, j / kPanel)[j % kPanel]);
    }
  }

  /// Columns as panels.
  template <typename Get> std::vector<double> getPanels(int64_t rows, Get get) {
    std::vector<double> columns(size_t(panels * rows * kPanel));
    for (int64_t j = 0; j < count; ++j)
      for (int64_t i = 0; i < rows; ++i)
        columns[size_t((j / kPanel * rows + i) * kPanel + j % kPanel)] =
            get(i, j);
    return columns;
  }

  double getDifference(int64_t i, int64_t j) {
    return double(target.at(i, first + j)) - double(valueAt(i, j));
  }

  void findGradient() {
    std::vector<double> columns =
        getPanels(k, [&](int64_t i, int64_t j) { return getDifference(i, j); });
    multiply(0, k, columns, [&](int64_t i, int64_t j, double sum) {
      gradientOf(j)[i] = sum + added * getDifference(i, j);
    });
  }

  /// Moves the scales of a group, its codes held.
  bool moveScales(int64_t begin, int64_t rows) {
    // Weights at a scale of 1.
    auto getUnits = [&](int64_t i, int64_t j) {
      double scale = affineAt(begin, j).scale;
      return scale != 0 ? double(valueAt(begin + i, j)) / scale : 0.0;
    };
    std::vector<double> units = getPanels(rows, getUnits);
    // What a scale of 1 adds to the gradient, negated.
    std::vector<double> effect(size_t(count * k));
    multiply(begin, rows, units, [&](int64_t i, int64_t j, double sum) {
      effect[size_t(j * k + i)] = sum;
    });
    bool moved = false;
    for (int64_t j = 0; j < count; ++j) {
      double *own = effect.data() + j * k, gain = 0, curvature = 0;
      for (int64_t i = 0; i < rows; ++i) {
        double unit = getUnits(i, j);
        own[begin + i] += added * unit;
        gain += unit * gradientOf(j)[begin + i];
        curvature += unit * own[begin + i];
      }
      moved |= moveScale(begin, rows, j, gain, curvature, own);
    }
    return moved;
  }

  bool moveScale(int64_t begin, int64_t rows, int64_t j, double gain,
                 double curvature, const double *effect) {
    GridAffine &affine = affineAt(begin, j);
    if (affine.scale == 0 || !(curvature > 0))
      return false;
    double old = affine.scale;
    float scale = grid.storeScale(float(old + gain / curvature));
    double ratio = scale / old, step = scale - old;
    // A number that cannot be stored may be as far on the other side.
    if (!(ratio >= 1 / kMostScaling && ratio <= kMostScaling) ||
        !(2 * gain * step > curvature * step * step))
      return false;
    affine.scale = scale;
    for (int64_t i = begin; i < begin + rows; ++i) {
      float &value = valueAt(i, j);
      value = grid.round(float(double(value) * ratio), affine);
    }
    addRow(effect, -step, k, gradientOf(j));
    return true;
  }

  /// Moves the weights of a row, of one column after the other.
  bool moveWeights(int64_t row) {
    // Nothing is known of a dead row.
    if (!(gramAt(row, row) > 0))
      return false;
    double curvature = gramAt(row, row) + added;
    bool moved = false;
    for (int64_t j = 0; j < count; ++j) {
      GridAffine affine = affineAt(row, j);
      if (affine.scale == 0)
        continue;
      float &value = valueAt(row, j);
      double best = value + gradientOf(j)[row] / curvature;
      float nearest = grid.round(float(best), affine);
      if (!(std::fabs(nearest - best) < std::fabs(value - best)))
        continue;
      double step = double(nearest) - double(value);
      value = nearest;
      addRow(gram.data() + row * k, -step, k, gradientOf(j));
      gradientOf(j)[row] -= added * step;
      moved = true;
    }
    return moved;
  }

  const WeightGrid &grid;
  LayerWeights target;
  ArrayRef<double> gram;
  double added; ///< to the diagonal
  int64_t first, count, k, groupRows, panels;
  RoundedWeights &weights;
  std::vector<double> gradient; ///< [count, k]
};
} // namespace

void qcc::refineWeights(const WeightGrid &grid, LayerWeights target,
                        ArrayRef<double> gram, RoundedWeights &weights,
                        const RefineOptions &options) {
  double sum = 0;
  int64_t live = 0;
  for (int64_t i = 0; i < target.k; ++i) {
    double square = gram[size_t(i * (target.k + 1))];
    sum += square;
    live += square > 0;
  }
  if (!live || !std::isfinite(sum))
    return;
  double added = options.damping * sum / double(live);
  for (int64_t first = 0; first < target.n; first += kPanel * kPanels)
    Refiner(grid, target, gram, added, first,
            std::min(kPanel * kPanels, target.n - first), weights)
        .run(options.rounds);
}
