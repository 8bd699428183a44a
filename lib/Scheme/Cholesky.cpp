//===- Cholesky.cpp - factor of a large matrix ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Cholesky.h"
#include "Panel.h"
#include "qcc/Support/Parallel.h"
#include <algorithm>
#include <cmath>
#include <vector>

using namespace qcc;

/// Columns that are eliminated at once: rows of as many doubles stay in the
/// first-level cache with a panel.
static constexpr int64_t kBlock = 96;
/// Rows of a task, a multiple of three: they stay in the second-level cache.
static constexpr int64_t kTaskRows = 192;

/// Factors the block [count, count] on the diagonal. False at a pivot that is
/// not positive, which NaN is not either.
static bool factorBlock(double *block, int64_t stride, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      double sum = block[i * stride + j];
      for (int64_t t = 0; t < j; ++t)
        sum = std::fma(-block[i * stride + t], block[j * stride + t], sum);
      if (j < i) {
        block[i * stride + j] = sum / block[j * stride + j];
        continue;
      }
      if (!(sum > 0) || !std::isfinite(sum))
        return false;
      block[i * stride + i] = std::sqrt(sum);
    }
  return true;
}

/// Solves X L^T = A for kPanel rows of A, given and returned by columns [count,
/// kPanel], with the factored block L.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void solvePanel(const double *block, int64_t stride, int64_t count,
                       double *panel) {
  for (int64_t j = 0; j < count; ++j) {
    Double4 sums[4] = {};
    const double *factors = block + j * stride;
    for (int64_t t = 0; t < j; ++t) {
      const auto *x = reinterpret_cast<const Double4 *>(panel + t * kPanel);
      Double4 factor = {factors[t], factors[t], factors[t], factors[t]};
      for (int v = 0; v < 4; ++v)
        sums[v] = __builtin_elementwise_fma(factor, x[v], sums[v]);
    }
    auto *own = reinterpret_cast<Double4 *>(panel + j * kPanel);
    for (int v = 0; v < 4; ++v)
      own[v] = (own[v] - sums[v]) / factors[j];
  }
}

/// Subtracts from three rows of kPanel columns the products of `factors`, three
/// rows of `count`, and a panel [count, kPanel].
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void subtractPanel(const double *const *factors, const double *panel,
                          int64_t count, double *const *rows) {
  Double4 sums[3][4] = {};
  addPanelRows(factors, panel, 0, count, sums);
  for (int r = 0; r < 3; ++r)
    for (int v = 0; v < 4; ++v)
      reinterpret_cast<Double4 *>(rows[r])[v] -= sums[r][v];
}

namespace {
/// What is left of a matrix behind a factored block.
class Elimination {
public:
  Elimination(double *matrix, int64_t k, int64_t first, int64_t count,
              std::vector<double> &panels)
      : matrix(matrix), k(k), first(first), count(count), begin(first + count),
        panels(panels) {
    panels.resize(size_t((k - begin + kPanel - 1) / kPanel * kPanel * count));
  }

  int64_t getPanels() const { return (k - begin + kPanel - 1) / kPanel; }
  int64_t getTasks() const { return (k - begin + kTaskRows - 1) / kTaskRows; }

  /// Computes kPanel rows of the factor's columns, and keeps them by columns.
  void solve(int64_t number) {
    double *panel = getPanel(number);
    int64_t row = begin + number * kPanel, rows = std::min(kPanel, k - row);
    std::fill_n(panel, count * kPanel, 0.0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = 0; t < count; ++t)
        panel[t * kPanel + r] = matrix[(row + r) * k + first + t];
    solvePanel(matrix + first * k + first, k, count, panel);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = 0; t < count; ++t)
        matrix[(row + r) * k + first + t] = panel[t * kPanel + r];
  }

  /// Subtracts from the rows of a task what the block explains of them, up to
  /// the diagonal.
  void subtract(int64_t task) {
    int64_t row = begin + task * kTaskRows, end = std::min(row + kTaskRows, k);
    // Rows of a large matrix all fall on the same lines of a cache: a copy.
    std::vector<double> factors(size_t((end - row) * count));
    for (int64_t r = row; r < end; ++r)
      std::copy_n(matrix + r * k + first, count,
                  factors.data() + (r - row) * count);
    for (int64_t column = begin; column < end; column += kPanel)
      for (int64_t r = std::max(row, row + (column - row) / 3 * 3); r < end;
           r += 3)
        subtractRows(factors.data() + (r - row) * count, r,
                     std::min<int64_t>(end - r, 3), column);
  }

private:
  double *getPanel(int64_t number) {
    return panels.data() + number * kPanel * count;
  }

  void subtractRows(const double *factors, int64_t row, int64_t rows,
                    int64_t column) {
    const double *panel = getPanel((column - begin) / kPanel);
    const double *given[3];
    double *taken[3], buffer[3][kPanel] = {};
    // Rows behind the last one repeat it; panels across the diagonal or the
    // end are subtracted apart.
    bool isWhole = rows == 3 && column + kPanel <= row + 1;
    for (int64_t r = 0; r < 3; ++r) {
      given[r] = factors + std::min(r, rows - 1) * count;
      taken[r] = isWhole ? matrix + (row + r) * k + column : buffer[r];
    }
    subtractPanel(given, panel, count, taken);
    for (int64_t r = 0; r < rows && !isWhole; ++r)
      for (int64_t c = column; c < std::min(column + kPanel, row + r + 1); ++c)
        matrix[(row + r) * k + c] += buffer[r][c - column];
  }

  double *matrix;
  int64_t k, first, count, begin;
  std::vector<double> &panels; ///< [panels, count, kPanel]
};
} // namespace

bool qcc::factorCholesky(double *matrix, int64_t k, unsigned threads) {
  std::vector<double> panels;
  for (int64_t first = 0; first < k; first += kBlock) {
    int64_t count = std::min(kBlock, k - first);
    if (!factorBlock(matrix + first * k + first, k, count))
      return false;
    Elimination left(matrix, k, first, count, panels);
    runParallel(size_t(left.getPanels()), threads,
                [&](size_t i) { left.solve(int64_t(i)); });
    runParallel(size_t(left.getTasks()), threads, [&](size_t i) {
      // The longest rows first.
      left.subtract(left.getTasks() - 1 - int64_t(i));
    });
  }
  return true;
}
