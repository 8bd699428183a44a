//===- Grid.cpp - rounding weights to grids, with their cost ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Grid.h"
#include "Panel.h"
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace qcc;
using llvm::ArrayRef;

using Matrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

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

/// Adds to `forms` [kPanel] what the rows `first` to `end` of the lower
/// triangle of G give of d^T G d for the columns d of `panel` [k, kPanel].
/// `products`, [rows, kPanel], are those of these rows with the rows before
/// `first`; the rows of G are `stride` apart.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void addForms(const double *gram, int64_t stride, const double *panel,
                     int64_t first, int64_t end, const double *products,
                     double *forms) {
  auto *total = reinterpret_cast<Double4 *>(forms);
  for (int64_t row = first; row < end; row += 3) {
    // Rows behind the last one repeat it and are left out below.
    const double *g[3];
    Double4 sums[3][4];
    for (int64_t r = 0; r < 3; ++r) {
      g[r] = gram + std::min(row + r, end - 1) * stride;
      for (int v = 0; v < 4; ++v)
        sums[r][v] = reinterpret_cast<const Double4 *>(
            products + (row - first + r) * kPanel)[v];
    }
    addPanelRows(g, panel, first, row, sums);
    for (int64_t r = 0; r < 3 && row + r < end; ++r) {
      const auto *own =
          reinterpret_cast<const Double4 *>(panel + (row + r) * kPanel);
      double x = g[r][row + r];
      for (int v = 0; v < 4; ++v) {
        // What is left of the triangle, twice what is below the diagonal, and
        // the diagonal.
        for (int64_t c = row; c < row + r; ++c) {
          double y = g[r][c];
          sums[r][v] = __builtin_elementwise_fma(
              Double4{y, y, y, y},
              reinterpret_cast<const Double4 *>(panel + c * kPanel)[v],
              sums[r][v]);
        }
        Double4 both = __builtin_elementwise_fma(Double4{x, x, x, x}, own[v],
                                                 sums[r][v] + sums[r][v]);
        total[v] = __builtin_elementwise_fma(both, own[v], total[v]);
      }
    }
  }
}

/// d_j^T G d_j for n columns d_j of k elements, which `get(i, j)` gives. Only
/// the lower triangle of the symmetric G counts.
template <typename Get>
static std::vector<double> getForms(const double *gram, int64_t stride,
                                    int64_t k, int64_t n, Get get) {
  std::vector<double> forms(static_cast<size_t>(n)), columns;
  constexpr int64_t kColumns = kPanel * kPanels;
  for (int64_t begin = 0; begin < n && k; begin += kColumns) {
    int64_t count = std::min(kColumns, n - begin),
            panels = (count + kPanel - 1) / kPanel;
    columns.assign(size_t(panels * k * kPanel), 0.0);
    for (int64_t p = 0; p < panels; ++p) {
      double *column = columns.data() + p * k * kPanel;
      int64_t start = begin + p * kPanel, width = std::min(kPanel, n - start);
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < width; ++j)
          column[i * kPanel + j] = get(i, start + j);
    }
    PanelProduct product(gram, stride, k, panels);
    double part[kColumns] = {};
    for (int64_t first = 0; first < k; first += kBlockRows) {
      int64_t end = std::min(first + kBlockRows, k);
      product.compute(first, end - first, first, columns.data());
      for (int64_t p = 0; p < panels; ++p)
        addForms(gram, stride, columns.data() + p * k * kPanel, first, end,
                 product.getSums(0, p), part + p * kPanel);
    }
    std::copy_n(part, count, forms.begin() + begin);
  }
  return forms;
}

double qcc::getOutputError(LayerWeights weights, ArrayRef<float> rounded,
                           ArrayRef<double> gram) {
  int64_t k = weights.k, n = weights.n;
  std::vector<double> forms =
      getForms(gram.data(), k, k, n, [&](int64_t i, int64_t j) {
        return double(weights.at(i, j)) - double(rounded[size_t(i * n + j)]);
      });
  return std::accumulate(forms.begin(), forms.end(), 0.0);
}

double qcc::getOutputPower(LayerWeights weights, ArrayRef<double> gram) {
  std::vector<double> forms =
      getForms(gram.data(), weights.k, weights.k, weights.n,
               [&](int64_t i, int64_t j) { return double(weights.at(i, j)); });
  return std::accumulate(forms.begin(), forms.end(), 0.0);
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
        exact(rows <= options.exactRows),
        block(gram.data() + first * weights.k + first),
        original(rows, weights.n), best(size_t(weights.n)),
        leastCost(size_t(weights.n), std::numeric_limits<double>::infinity()) {
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
    std::vector<double> costs = getCosts(difference);
    for (int64_t j = 0; j < weights.n; ++j)
      // Of equal costs, and where the cost is not a number, the first: p = 1.
      if (costs[size_t(j)] < leastCost[size_t(j)] || p >= 1) {
        leastCost[size_t(j)] = costs[size_t(j)];
        best[size_t(j)] = affines[size_t(j)];
      }
  }

  ArrayRef<GridAffine> getBest() const { return best; }

private:
  /// What the differences of each column cost.
  std::vector<double> getCosts(const Matrix &difference) const {
    size_t n = size_t(weights.n), stride = size_t(weights.k);
    if (exact)
      return getForms(block, weights.k, rows, weights.n,
                      [&](int64_t i, int64_t j) { return difference(i, j); });
    std::vector<double> costs(n);
    for (size_t i = 0; i < size_t(rows); ++i)
      for (size_t j = 0; j < n; ++j) {
        double d = difference.data()[i * n + j];
        costs[j] += block[i * stride + i] * d * d;
      }
    return costs;
  }

  const WeightGrid &grid;
  LayerWeights weights;
  int64_t rows;
  bool exact;
  const double *block; ///< of the Gram matrix, in rows `weights.k` apart
  Matrix original;
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
