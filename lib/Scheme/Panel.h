//===- Panel.h - products with some columns at once -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_SCHEME_PANEL_H
#define QCC_LIB_SCHEME_PANEL_H

#include <cstdint>

namespace qcc {

/// Columns that are computed together.
inline constexpr int64_t kPanel = 16;
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
    Double4 d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];
#pragma clang loop unroll(full)
    for (int r = 0; r < 3; ++r) {
      double x = factors[r][row];
      Double4 factor = {x, x, x, x};
      sums[r][0] = __builtin_elementwise_fma(factor, d0, sums[r][0]);
      sums[r][1] = __builtin_elementwise_fma(factor, d1, sums[r][1]);
      sums[r][2] = __builtin_elementwise_fma(factor, d2, sums[r][2]);
      sums[r][3] = __builtin_elementwise_fma(factor, d3, sums[r][3]);
    }
  }
}

} // namespace qcc

#endif // QCC_LIB_SCHEME_PANEL_H
