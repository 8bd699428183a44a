//===- Panel.h - products with some columns at once -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_SCHEME_PANEL_H
#define QCC_LIB_SCHEME_PANEL_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace qcc {

/// Columns that are computed together.
inline constexpr int64_t kPanel = 16;
/// Panels that share what is read of a matrix.
inline constexpr int64_t kPanels = 8;
/// Rows of a matrix that are multiplied together, a multiple of three.
inline constexpr int64_t kBlockRows = 96;
/// Four doubles at any address.
typedef double Double4 __attribute__((vector_size(32), aligned(8), may_alias));

/// Adds to three rows of sums [3, kPanel] the rows `first` to `end` of a panel
/// [k, kPanel], each times the factor of the sum's row. Products are fused with
/// their sums on any machine, in the order of rows: the bits of the result
/// depend on nothing else. Part of its caller, which is compiled for several
/// machines.
__attribute__((always_inline)) inline void
addPanelRows(const double *const *factors, const double *panel, int64_t first,
             int64_t end, Double4 (&sums)[3][4]) {
  for (int64_t row = first; row < end; ++row) {
    const auto *d = reinterpret_cast<const Double4 *>(panel + row * kPanel);
    Double4 factor[3];
#pragma clang loop unroll(full)
    for (int r = 0; r < 3; ++r) {
      double x = factors[r][row];
      factor[r] = Double4{x, x, x, x};
    }
    // With 12 sums, 3 factors and one vector of the panel at a time all 16
    // registers are taken.
#pragma clang loop unroll(full)
    for (int v = 0; v < 4; ++v) {
      Double4 own = d[v];
#pragma clang loop unroll(full)
      for (int r = 0; r < 3; ++r)
        sums[r][v] = __builtin_elementwise_fma(factor[r], own, sums[r][v]);
    }
  }
}

/// Products of rows of a large matrix [k, k] with columns in up to kPanels
/// panels, [panels, k, kPanel]. Panels are longer than caches, and so are rows:
/// blocks of both are used as often as possible while they are there. The bits
/// are those of addPanelRows over all rows.
class PanelProduct {
public:
  /// Rows of the matrix are `stride` apart.
  PanelProduct(const double *matrix, int64_t stride, int64_t k, int64_t panels)
      : matrix(matrix), stride(stride), k(k), panels(panels),
        packed(size_t(kBlockRows * kDepth)),
        sums(size_t(kBlockRows * panels * kPanel)) {}

  /// Computes, for `rows` (at most kBlockRows) rows from `first`, the products
  /// with the rows 0 to `end` of the columns.
  void compute(int64_t first, int64_t rows, int64_t end, const double *columns);

  /// Sums [kPanel] of a row of the block; those of the next row of the panel
  /// follow. Three rows from any can be read.
  const double *getSums(int64_t row, int64_t panel) const {
    return sums.data() + (panel * kBlockRows + row) * kPanel;
  }

private:
  /// Columns of the matrix that are multiplied at once.
  static constexpr int64_t kDepth = 128;

  const double *matrix;
  int64_t stride, k, panels;
  std::vector<double> packed; ///< [kBlockRows, kDepth] of the matrix
  std::vector<double> sums;   ///< [panels, kBlockRows, kPanel]
};

} // namespace qcc

#endif // QCC_LIB_SCHEME_PANEL_H
