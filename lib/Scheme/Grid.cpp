//===- Grid.cpp - rounding weights to grids, with their cost ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Grid.h"
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>

using namespace qcc;
using llvm::ArrayRef;

using Matrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;

WeightGrid::~WeightGrid() = default;

int64_t qcc::getGroupRows(const WeightGrid &grid, int64_t k) {
  return grid.getGroup() ? grid.getGroup() : k;
}

int64_t qcc::countGroups(const WeightGrid &grid, int64_t k) {
  int64_t rows = getGroupRows(grid, k);
  return rows ? (k + rows - 1) / rows : 0;
}

/// One column of a group; weights that are not finite are 0.
static void copyColumn(LayerWeights weights, int64_t first, int64_t column,
                       std::vector<float> &out) {
  for (size_t i = 0; i < out.size(); ++i) {
    float w = weights.at(first + int64_t(i), column);
    out[i] = std::isfinite(w) ? w : 0.0f;
  }
}

/// Calls `body(group, first, rows)` for each group of rows.
template <typename Body>
static void forEachGroup(const WeightGrid &grid, int64_t k, Body body) {
  int64_t size = getGroupRows(grid, k);
  for (int64_t first = 0, group = 0; first < k; first += size, ++group)
    body(group, first, std::min(size, k - first));
}

RoundedWeights qcc::roundToNearest(const WeightGrid &grid, LayerWeights weights,
                                   ArrayRef<float> importance) {
  RoundedWeights result;
  result.affines.resize(size_t(countGroups(grid, weights.k) * weights.n));
  forEachGroup(
      grid, weights.k, [&](int64_t group, int64_t first, int64_t rows) {
        std::vector<float> column(static_cast<size_t>(rows));
        ArrayRef<float> part =
            importance.empty() ? importance
                               : importance.slice(size_t(first), size_t(rows));
        for (int64_t j = 0; j < weights.n; ++j) {
          copyColumn(weights, first, j, column);
          result.affines[size_t(group * weights.n + j)] =
              grid.choose(column, part);
        }
      });
  result.values = roundWith(grid, weights, result.affines);
  return result;
}

std::vector<float> qcc::roundWith(const WeightGrid &grid, LayerWeights weights,
                                  ArrayRef<GridAffine> affines) {
  std::vector<float> result(size_t(weights.k * weights.n));
  int64_t size = getGroupRows(grid, weights.k);
  for (int64_t i = 0; i < weights.k; ++i)
    for (int64_t j = 0; j < weights.n; ++j) {
      float w = weights.at(i, j);
      result[size_t(i * weights.n + j)] =
          grid.round(std::isfinite(w) ? w : 0.0f,
                     affines[size_t(i / size * weights.n + j)]);
    }
  return result;
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

/// trace(D^T Gram D) for D of [k, n].
static double traceProduct(const Matrix &d, ArrayRef<double> gram) {
  ConstMap g(gram.data(), d.rows(), d.rows());
  Matrix product = g * d;
  return product.cwiseProduct(d).sum();
}

static Matrix toMatrix(LayerWeights weights) {
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic,
                                        Eigen::RowMajor>>(weights.values.data(),
                                                          weights.k, weights.n)
      .cast<double>();
}

double qcc::getOutputError(LayerWeights weights, ArrayRef<float> rounded,
                           ArrayRef<double> gram) {
  Matrix d = toMatrix(weights) - toMatrix({weights.k, weights.n, rounded});
  return traceProduct(d, gram);
}

double qcc::getOutputPower(LayerWeights weights, ArrayRef<double> gram) {
  return traceProduct(toMatrix(weights), gram);
}

std::vector<float> qcc::getImportance(ArrayRef<double> gram, int64_t k) {
  std::vector<float> result(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i)
    result[size_t(i)] = float(gram[size_t(i * k + i)]);
  return result;
}

//===----------------------------------------------------------------------===//
// Clipping
//===----------------------------------------------------------------------===//

namespace {
/// Searches one group of rows.
class ClipSearch {
public:
  ClipSearch(const WeightGrid &grid, LayerWeights weights,
             ArrayRef<double> gram, const ClipOptions &options, int64_t first,
             int64_t rows)
      : grid(grid), weights(weights), rows(rows),
        exact(rows <= options.exactRows), original(rows, weights.n),
        best(size_t(weights.n)),
        leastCost(size_t(weights.n), std::numeric_limits<double>::infinity()) {
    ConstMap all(gram.data(), weights.k, weights.k);
    if (exact)
      block = all.block(first, first, rows, rows);
    diagonal = all.diagonal().segment(first, rows);
    column.resize(size_t(rows));
    for (int64_t j = 0; j < weights.n; ++j) {
      copyColumn(weights, first, j, column);
      for (int64_t i = 0; i < rows; ++i)
        original(i, j) = column[size_t(i)];
    }
  }

  /// Tries weights clipped to `p` times their range.
  void tryRange(double p) {
    Matrix difference(rows, weights.n);
    std::vector<GridAffine> affines(static_cast<size_t>(weights.n));
    for (int64_t j = 0; j < weights.n; ++j) {
      float low = float(original.col(j).minCoeff() * p),
            high = float(original.col(j).maxCoeff() * p);
      for (int64_t i = 0; i < rows; ++i)
        column[size_t(i)] =
            p < 1 ? std::clamp(float(original(i, j)), std::min(low, high),
                               std::max(low, high))
                  : float(original(i, j));
      affines[size_t(j)] = grid.choose(column, {});
      for (int64_t i = 0; i < rows; ++i)
        difference(i, j) =
            original(i, j) -
            double(grid.round(float(original(i, j)), affines[size_t(j)]));
    }
    Matrix product = exact ? Matrix(block * difference)
                           : Matrix(diagonal.asDiagonal() * difference);
    Eigen::VectorXd costs =
        product.cwiseProduct(difference).colwise().sum().transpose();
    for (int64_t j = 0; j < weights.n; ++j)
      // Of equal costs, and where the cost is not a number, the first: p = 1.
      if (costs(j) < leastCost[size_t(j)] || p >= 1) {
        leastCost[size_t(j)] = costs(j);
        best[size_t(j)] = affines[size_t(j)];
      }
  }

  ArrayRef<GridAffine> getBest() const { return best; }

private:
  const WeightGrid &grid;
  LayerWeights weights;
  int64_t rows;
  bool exact;
  Matrix original, block;
  Eigen::VectorXd diagonal;
  std::vector<float> column;
  std::vector<GridAffine> best;
  std::vector<double> leastCost;
};
} // namespace

RoundedWeights qcc::searchClip(const WeightGrid &grid, LayerWeights weights,
                               ArrayRef<double> gram,
                               const ClipOptions &options) {
  RoundedWeights result;
  forEachGroup(grid, weights.k, [&](int64_t, int64_t first, int64_t rows) {
    ClipSearch search(grid, weights, gram, options, first, rows);
    for (unsigned i = 0; i <= options.steps; ++i) {
      double p = 1 - double(i) / options.steps;
      if (p < options.smallest || p <= 0)
        break;
      search.tryRange(p);
    }
    result.affines.insert(result.affines.end(), search.getBest().begin(),
                          search.getBest().end());
  });
  result.values = roundWith(grid, weights, result.affines);
  return result;
}
