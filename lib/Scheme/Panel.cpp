//===- Panel.cpp - products with some columns at once -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Panel.h"

using namespace qcc;

/// Lines of the next block's rows that a panel asks for.
static constexpr int kLines = 2;

/// Adds to sums [rows, kPanel] the products of a matrix [rows, stride], of
/// which `depth` columns count, and a panel. Rows are a multiple of three. Asks
/// for some lines of each row at `next`, in rows `nextStride` apart: what is
/// copied for the next block comes in short runs from memory.
#if defined(__x86_64__)
__attribute__((target_clones("arch=x86-64-v3", "default")))
#endif
static void addBlock(const double *matrix, int64_t stride, int64_t rows,
                     int64_t depth, const double *panel, double *sums,
                     const double *next, int64_t nextStride) {
  for (int64_t row = 0; row < rows; row += 3) {
    const double *factors[3];
    for (int r = 0; r < 3; ++r) {
      factors[r] = matrix + (row + r) * stride;
      for (int line = 0; line < kLines; ++line)
        __builtin_prefetch(next + (row + r) * nextStride + line * 8, 0, 2);
    }
    auto *own = reinterpret_cast<Double4 *>(sums + row * kPanel);
    Double4 total[3][4];
    for (int r = 0; r < 3; ++r)
      for (int v = 0; v < 4; ++v)
        total[r][v] = own[r * 4 + v];
    addPanelRows(factors, panel, 0, depth, total);
    for (int r = 0; r < 3; ++r)
      for (int v = 0; v < 4; ++v)
        own[r * 4 + v] = total[r][v];
  }
}

void PanelProduct::compute(int64_t first, int64_t rows, int64_t end,
                           const double *columns) {
  std::fill(sums.begin(), sums.end(), 0.0);
  for (int64_t begin = 0; begin < end; begin += kDepth) {
    int64_t depth = std::min(kDepth, end - begin);
    // Rows of a large matrix all fall on the same lines of a cache: a copy.
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(matrix + (first + row) * stride + begin, depth,
                  packed.data() + row * kDepth);
    for (int64_t panel = 0; panel < panels; ++panel)
      // Rows behind the last one are those of a block before.
      addBlock(packed.data(), kDepth, (rows + 2) / 3 * 3, depth,
               columns + (panel * k + begin) * kPanel,
               sums.data() + panel * kBlockRows * kPanel,
               matrix + first * stride + begin + kDepth + panel * kLines * 8,
               stride);
  }
}
