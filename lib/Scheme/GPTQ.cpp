//===- GPTQ.cpp - rounding that makes up for its errors ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/GPTQ.h"
#include "Cholesky.h"
#include "Panel.h"
#include "qcc/Support/Parallel.h"
#include <Eigen/Dense>
#include <algorithm>
#include <atomic>
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

/// Rows that a thread takes at a time.
static constexpr int64_t kStripe = 64;

/// Calls `body` for each of k rows, on several threads.
static void forStripes(int64_t k, unsigned threads,
                       llvm::function_ref<void(int64_t row)> body) {
  runParallel(size_t((k + kStripe - 1) / kStripe), threads, [&](size_t stripe) {
    int64_t first = int64_t(stripe) * kStripe;
    for (int64_t row = first, end = std::min(first + kStripe, k); row < end;
         ++row)
      body(row);
  });
}

/// Turns a lower triangular matrix [k, k] round its other diagonal, in place.
static void mirror(double *matrix, int64_t k, unsigned threads) {
  // Columns of a large matrix are far apart: blocks stay in a cache.
  constexpr int64_t kBlock = 16;
  runParallel(size_t((k + kBlock - 1) / kBlock), threads, [&](size_t number) {
    int64_t first = int64_t(number) * kBlock;
    for (int64_t begin = 0; begin <= first; begin += kBlock)
      for (int64_t i = first; i < std::min(first + kBlock, k); ++i)
        for (int64_t j = begin,
                     end = std::min({begin + kBlock, i + 1, k - 1 - i});
             j < end; ++j)
          std::swap(matrix[i * k + j], matrix[(k - 1 - j) * k + k - 1 - i]);
  });
}

/// Adds to three rows of `sums` [3, kPanel] what rows `first` to `end` of the
/// differences [k, kPanel] cost, by the factors of three rows of L.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void addDifferences(const double *const *factors,
                           const double *differences, int64_t first,
                           int64_t end, double *sums) {
  auto *rows = reinterpret_cast<Double4 *>(sums);
  Double4 total[3][4];
  for (int r = 0; r < 3; ++r)
    for (int v = 0; v < 4; ++v)
      total[r][v] = rows[r * 4 + v];
  addPanelRows(factors, differences, first, end, total);
  for (int r = 0; r < 3; ++r)
    for (int v = 0; v < 4; ++v)
      rows[r * 4 + v] = total[r][v];
}

double gptq::Factor::at(ArrayRef<double> gram, ArrayRef<float> scales,
                        int64_t i, int64_t j) const {
  double value = gram[size_t(i * k + j)];
  return scales.empty()
             ? value
             : value / (double(scales[size_t(i)]) * double(scales[size_t(j)]));
}

gptq::Factor::Factor(ArrayRef<double> gram, int64_t k, const Options &options,
                     ArrayRef<float> scales, unsigned threads)
    : k(k), options(options), order(static_cast<size_t>(k)),
      dead(static_cast<size_t>(k)) {
  std::iota(order.begin(), order.end(), 0);
  int64_t live = k;
  double mean = 0;
  bool isFinite = true;
  for (int64_t i = 0; i < k; ++i) {
    double square = at(gram, scales, i, i);
    importance.push_back(float(square));
    // Nothing is known of a dead row and it has no effect.
    dead[size_t(i)] = !(square > 0);
    live -= dead[size_t(i)];
    mean += dead[size_t(i)] ? 1 : square;
    for (int64_t j = 0; j < k; ++j)
      isFinite &= std::isfinite(gram[size_t(i * k + j)]);
  }
  mean /= double(std::max<int64_t>(k, 1));
  if (!isFinite || !std::isfinite(mean)) {
    fallback = "the inputs' Gram matrix is not finite";
    return;
  }
  if (!live) {
    fallback = "all inputs are 0";
    return;
  }
  if (options.actOrder)
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      double x = at(gram, scales, a, a), y = at(gram, scales, b, b);
      return x != y ? x > y : a < b;
    });
  lower.resize(size_t(k * k));
  pivots.resize(size_t(k));
  damping = options.damping;
  for (unsigned attempt = 0; attempt < options.attempts;
       ++attempt, damping *= 2) {
    added = damping * mean;
    if (factor(gram, scales, threads))
      return;
  }
  lower = pivots = {};
  damping = 0;
  fallback = "the inputs' Gram matrix is singular";
}

/// Factors the damped matrix. The error is d^T H d = sum over i of c_i (L
/// d)_i^2 with H = R R^T for an upper triangular R, a Cholesky factor of the
/// matrix in reverse read backwards; L is R^T with its rows over their
/// diagonal. False if H is not positive definite as far as doubles tell.
bool gptq::Factor::factor(ArrayRef<double> gram, ArrayRef<float> scales,
                          unsigned threads) {
  // The factor does not look above the diagonal, and the product does not
  // either.
  forStripes(k, threads, [&](int64_t i) {
    int64_t row = order[size_t(k - 1 - i)];
    for (int64_t j = 0; j <= i; ++j) {
      int64_t column = order[size_t(k - 1 - j)];
      bool isDead = dead[size_t(row)] || dead[size_t(column)];
      double value = isDead ? double(i == j) : at(gram, scales, row, column);
      lower[size_t(i * k + j)] = j < i ? value : value + added;
    }
  });
  if (!factorCholesky(lower.data(), k, threads))
    return false;
  mirror(lower.data(), k, threads);
  std::atomic<bool> isFinite = true;
  forStripes(k, threads, [&](int64_t i) {
    double diagonal = lower[size_t(i * k + i)];
    // Dead rows cost nothing but what the damping adds.
    pivots[size_t(i)] =
        dead[size_t(order[size_t(i)])] ? added : diagonal * diagonal;
    bool isRowFinite = true;
    for (int64_t j = 0; j <= i; ++j) {
      double &value = lower[size_t(i * k + j)];
      value /= diagonal;
      isRowFinite &= std::isfinite(value);
    }
    if (!isRowFinite)
      isFinite = false;
  });
  return isFinite;
}

namespace {
/// One layer while it is rounded.
class Solver {
public:
  Solver(const WeightGrid &grid, LayerWeights weights, ArrayRef<int64_t> order,
         ArrayRef<double> l, ArrayRef<double> pivots, double added, bool late,
         RoundedWeights &result)
      : grid(grid), original(weights), order(order), l(l), pivots(pivots),
        added(added), late(late), groupRows(getGroupRows(grid, weights.k)),
        result(result) {}

  /// Returns the error of the outputs.
  double run() {
    result.values.resize(size_t(original.k * original.n));
    for (int64_t first = 0; first < original.n; first += kPanel * kPanels)
      roundColumns(first, std::min(kPanel * kPanels, original.n - first));
    return error;
  }

private:
  /// Rounds columns `first` to `first + count`. With the differences d of the
  /// rows before it, row i has the least cost if (L d)_i = 0, which is what
  /// moving the rows that are left after each rounding comes to: the number of
  /// the grid nearest to the weight that this asks for is taken.
  void roundColumns(int64_t first, int64_t count) {
    int64_t k = original.k, panels = (count + kPanel - 1) / kPanel;
    all.assign(size_t(panels * k * kPanel), 0.0);
    PanelProduct product(l.data(), k, k, panels);
    for (int64_t row = 0; row < k; row += kBlockRows) {
      int64_t end = std::min(row + kBlockRows, k);
      product.compute(row, end - row, row, all.data());
      for (int64_t p = 0; p < panels; ++p) {
        differences = all.data() + p * k * kPanel;
        roundBlock(row, end, product.getSums(0, p), first + p * kPanel,
                   std::min(kPanel, count - p * kPanel));
      }
    }
  }

  /// Rounds the rows of a block in one panel; `products` [rows, kPanel] are
  /// theirs with the rows before the block.
  void roundBlock(int64_t begin, int64_t end, const double *products,
                  int64_t first, int64_t count) {
    double sums[3 * kPanel];
    for (int64_t row = begin; row < end; row += 3) {
      // Rows behind the last one repeat it and are left out below.
      const double *factors[3];
      for (int64_t r = 0; r < 3; ++r)
        factors[r] = l.data() + std::min(row + r, end - 1) * original.k;
      std::copy_n(products + (row - begin) * kPanel, 3 * kPanel, sums);
      addDifferences(factors, differences, begin, row, sums);
      int64_t last = std::min(row + 3, end);
      for (int64_t at = row; at < last; ++at) {
        if (late && at % groupRows == 0)
          chooseScales(at, first, count);
        roundRow(at, first, count, sums + (at - row) * kPanel);
        // The other rows of the step have not seen this one.
        for (int64_t later = at + 1; later < last; ++later)
          for (int64_t j = 0; j < count; ++j)
            sums[(later - row) * kPanel + j] =
                std::fma(factorOf(later, at), differences[at * kPanel + j],
                         sums[(later - row) * kPanel + j]);
      }
    }
  }

  void roundRow(int64_t at, int64_t first, int64_t count, const double *sums) {
    int64_t row = order[size_t(at)];
    const GridAffine *affines =
        result.affines.data() + row / groupRows * original.n + first;
    float *values = result.values.data() + row * original.n + first;
    double *out = differences + at * kPanel, pivot = pivots[size_t(at)];
    for (int64_t j = 0; j < count; ++j) {
      double weight = original.at(row, first + j);
      values[j] = grid.round(float(weight + sums[j]), affines[j]);
      out[j] = weight - double(values[j]);
      double left = sums[j] + out[j]; // (L d)_i
      error += pivot * left * left - added * out[j] * out[j];
    }
    std::fill(out + count, out + kPanel, 0.0);
  }

  /// Scales of the group that begins at a row, of the weights that make up for
  /// what was rounded before it. Rows are in their own order.
  void chooseScales(int64_t row, int64_t first, int64_t count) {
    int64_t rows = std::min(groupRows, original.k - row);
    std::vector<float> column(static_cast<size_t>(rows));
    std::vector<double> moved(static_cast<size_t>(row + rows));
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t m = 0; m < row; ++m)
        moved[size_t(m)] = differences[m * kPanel + j];
      for (int64_t i = row; i < row + rows; ++i) {
        double sum = 0;
        for (int64_t m = 0; m < i; ++m)
          sum = std::fma(factorOf(i, m), moved[size_t(m)], sum);
        moved[size_t(i)] = -sum;
        column[size_t(i - row)] = float(original.at(i, first + j) + sum);
      }
      result.affines[size_t(row / groupRows * original.n + first + j)] =
          grid.choose(column, {});
    }
  }

  double factorOf(int64_t row, int64_t of) const {
    return l[size_t(row * original.k + of)];
  }

  const WeightGrid &grid;
  LayerWeights original;
  ArrayRef<int64_t> order; ///< rows as they are rounded
  ArrayRef<double> l;      ///< [k, k] in this order
  ArrayRef<double> pivots; ///< [k]
  double added;            ///< to the diagonal
  bool late;
  int64_t groupRows;
  RoundedWeights &result;
  /// Of weights and their numbers, rows in order: [panels, k, kPanel], and
  /// those of the panel that is rounded.
  std::vector<double> all;
  double *differences = nullptr;
  double error = 0;
};
} // namespace

gptq::Solution gptq::Factor::solve(const WeightGrid &grid, LayerWeights weights,
                                   ArrayRef<GridAffine> scales) const {
  Solution result;
  result.damping = damping;
  result.fallback = fallback;
  std::vector<float> cleaned(weights.values.begin(), weights.values.end());
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < weights.n; ++j) {
      float &value = cleaned[size_t(i * weights.n + j)];
      if (dead[size_t(i)] || !std::isfinite(value))
        value = 0.0f;
    }
  weights.values = cleaned;
  result.weights.affines.assign(scales.begin(), scales.end());
  if (scales.empty())
    result.weights.affines = roundToNearest(grid, weights, importance).affines;
  if (!fallback.empty())
    result.weights.values = roundWith(grid, weights, result.weights.affines);
  else
    result.error =
        Solver(grid, weights, order, lower, pivots, added,
               options.lateScales && !options.actOrder && scales.empty(),
               result.weights)
            .run();
  return result;
}

gptq::Solution gptq::solve(const WeightGrid &grid, LayerWeights weights,
                           ArrayRef<double> gram, const Options &options,
                           ArrayRef<GridAffine> scales) {
  return Factor(gram, weights.k, options).solve(grid, weights, scales);
}

std::vector<float> gptq::correctTarget(LayerWeights weights,
                                       ArrayRef<double> gram,
                                       ArrayRef<double> cross, double share,
                                       double damping) {
  ConstMap c(cross.data(), weights.k, weights.k);
  Matrix g = ConstMap(gram.data(), weights.k, weights.k);
  double added = damping * getMeanDiagonal(g);
  g.diagonal().array() += added;
  Matrix w =
      FloatMap(weights.values.data(), weights.k, weights.n).cast<double>();
  std::vector<float> result(weights.values.begin(), weights.values.end());
  // In place: there are matrices enough.
  Eigen::LLT<Eigen::Ref<Matrix>> cholesky(g);
  if (cholesky.info() != Eigen::Success)
    return result;
  Matrix corrected = c * w + added * w;
  cholesky.solveInPlace(corrected);
  corrected = w + share * (corrected - w);
  if (!std::isfinite(corrected.sum()))
    return result;
  for (int64_t i = 0; i < weights.k; ++i)
    for (int64_t j = 0; j < weights.n; ++j)
      result[size_t(i * weights.n + j)] = float(corrected(i, j));
  return result;
}
