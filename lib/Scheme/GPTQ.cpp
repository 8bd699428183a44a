//===- GPTQ.cpp - rounding that makes up for its errors ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/GPTQ.h"
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace qcc;
using llvm::ArrayRef;

using Matrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;
using FloatMap =
    Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic,
                                   Eigen::RowMajor>>;

/// Mean of the diagonal of what is not dead; 1 if all is.
static double getMeanDiagonal(const Matrix &h) {
  double mean = h.diagonal().mean();
  return mean > 0 ? mean : 1;
}

/// The upper triangular U with H^-1 = U^T U. With the rows and columns of H
/// reversed, H = R R^T has an upper triangular R, which is a Cholesky factor
/// read backwards; U is its inverse. That takes one factorisation where
/// factoring the inverse takes two and an inversion. False if H is not positive
/// definite as far as doubles tell.
static bool factor(const Matrix &h, double damping, Matrix &u) {
  Eigen::Index k = h.rows();
  u = h.reverse();
  u.diagonal().array() += damping * getMeanDiagonal(h);
  Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Lower> cholesky(u);
  if (cholesky.info() != Eigen::Success)
    return false;
  Matrix lower = u.triangularView<Eigen::Lower>();
  double smallest = lower.diagonal().minCoeff();
  if (!(smallest > 0) || !std::isfinite(lower.sum()))
    return false;
  u = Matrix::Identity(k, k);
  lower.triangularView<Eigen::Lower>().solveInPlace(u);
  if (!std::isfinite(u.sum()))
    return false;
  // The inverse of the reversed factor, reversed back, is upper triangular.
  u = u.reverse().eval();
  return true;
}

namespace {
/// One layer while it is rounded; rows in the order in which they are.
class Solver {
public:
  Solver(const WeightGrid &grid, LayerWeights weights, ArrayRef<double> gram,
         const gptq::Options &options, ArrayRef<GridAffine> scales)
      : grid(grid), original(weights), options(options),
        groupRows(getGroupRows(grid, weights.k)), live(weights.k),
        order(static_cast<size_t>(weights.k)) {
    h = ConstMap(gram.data(), weights.k, weights.k);
    finite = std::isfinite(h.sum());
    cleaned.assign(weights.values.begin(), weights.values.end());
    for (float &value : cleaned)
      value = std::isfinite(value) ? value : 0.0f;
    for (int64_t i = 0; i < weights.k; ++i) {
      if (h(i, i) > 0)
        continue;
      // A dead row: nothing is known of it and it has no effect.
      --live;
      h.row(i).setZero();
      h.col(i).setZero();
      h(i, i) = 1;
      std::fill_n(cleaned.begin() + i * weights.n, weights.n, 0.0f);
    }
    original.values = cleaned;
    std::iota(order.begin(), order.end(), 0);
    if (options.actOrder && finite)
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        double x = gram[size_t(a * weights.k + a)],
               y = gram[size_t(b * weights.k + b)];
        return x != y ? x > y : a < b;
      });
    late = options.lateScales && !options.actOrder && scales.empty();
    result.weights.affines.assign(scales.begin(), scales.end());
    if (scales.empty())
      result.weights.affines =
          roundToNearest(grid, original, getImportance(gram, weights.k))
              .affines;
  }

  gptq::Solution run() {
    if (!prepare()) {
      result.weights.values = roundWith(grid, original, result.weights.affines);
      return std::move(result);
    }
    w.resize(original.k, original.n);
    FloatMap source(original.values.data(), original.k, original.n);
    for (int64_t i = 0; i < original.k; ++i)
      w.row(i) = source.row(order[size_t(i)]).cast<double>();
    result.weights.values.resize(size_t(original.k * original.n));
    for (int64_t first = 0; first < original.k; first += options.block)
      roundBlock(first, std::min(options.block, original.k - first));
    return std::move(result);
  }

private:
  /// Orders and factors the matrix; false if it cannot be done.
  bool prepare() {
    if (!finite) {
      result.fallback = "the inputs' Gram matrix is not finite";
      return false;
    }
    if (!live) {
      result.fallback = "all inputs are 0";
      return false;
    }
    Matrix sorted(original.k, original.k);
    for (int64_t i = 0; i < original.k; ++i)
      for (int64_t j = 0; j < original.k; ++j)
        sorted(i, j) = h(order[size_t(i)], order[size_t(j)]);
    h.resize(0, 0);
    double damping = options.damping;
    for (unsigned i = 0; i < options.attempts; ++i, damping *= 2)
      if (factor(sorted, damping, u)) {
        result.damping = damping;
        return true;
      }
    result.fallback = "the inputs' Gram matrix is singular";
    return false;
  }

  /// Rounds rows `first` to `first + count`, then updates those behind them.
  void roundBlock(int64_t first, int64_t count) {
    Matrix errors(count, original.n);
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = first + i, row = order[size_t(at)];
      if (late && row % groupRows == 0)
        chooseScales(row);
      const GridAffine *affines =
          result.weights.affines.data() + row / groupRows * original.n;
      float *values = result.weights.values.data() + row * original.n;
      for (int64_t j = 0; j < original.n; ++j)
        values[j] = grid.round(float(w(at, j)), affines[j]);
      errors.row(i) =
          (w.row(at) - FloatMap(values, 1, original.n).cast<double>().row(0)) /
          u(at, at);
      int64_t left = count - i - 1;
      if (left)
        w.middleRows(at + 1, left).noalias() -=
            u.row(at).segment(at + 1, left).transpose() * errors.row(i);
    }
    int64_t behind = first + count, left = original.k - behind;
    if (left)
      w.bottomRows(left).noalias() -=
          u.block(first, behind, count, left).transpose() * errors;
  }

  /// Scales of the group that begins at a row, of the weights as they are now.
  /// Rows of later blocks lack the updates of the current one, as in the
  /// authors' code.
  void chooseScales(int64_t row) {
    int64_t rows = std::min(groupRows, original.k - row);
    std::vector<float> column(static_cast<size_t>(rows));
    for (int64_t j = 0; j < original.n; ++j) {
      for (int64_t i = 0; i < rows; ++i)
        column[size_t(i)] = float(w(row + i, j));
      result.weights.affines[size_t(row / groupRows * original.n + j)] =
          grid.choose(column, {});
    }
  }

  const WeightGrid &grid;
  LayerWeights original;
  const gptq::Options &options;
  int64_t groupRows, live;
  std::vector<int64_t> order;
  std::vector<float> cleaned;
  Matrix h, u, w;
  bool finite = true, late = false;
  gptq::Solution result;
};
} // namespace

gptq::Solution gptq::solve(const WeightGrid &grid, LayerWeights weights,
                           ArrayRef<double> gram, const Options &options,
                           ArrayRef<GridAffine> scales) {
  return Solver(grid, weights, gram, options, scales).run();
}

std::vector<float> gptq::correctTarget(LayerWeights weights,
                                       ArrayRef<double> gram,
                                       ArrayRef<double> cross, double share,
                                       double damping) {
  Matrix g = ConstMap(gram.data(), weights.k, weights.k);
  Matrix c = ConstMap(cross.data(), weights.k, weights.k);
  double added = damping * getMeanDiagonal(g);
  g.diagonal().array() += added;
  c.diagonal().array() += added;
  Matrix w =
      FloatMap(weights.values.data(), weights.k, weights.n).cast<double>();
  std::vector<float> result(weights.values.begin(), weights.values.end());
  Eigen::LLT<Matrix> cholesky(g);
  if (cholesky.info() != Eigen::Success)
    return result;
  Matrix corrected = w + share * (cholesky.solve(c * w) - w);
  if (!std::isfinite(corrected.sum()))
    return result;
  for (int64_t i = 0; i < weights.k; ++i)
    for (int64_t j = 0; j < weights.n; ++j)
      result[size_t(i * weights.n + j)] = float(corrected(i, j));
  return result;
}
