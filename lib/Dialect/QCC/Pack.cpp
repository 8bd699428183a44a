//===- Pack.cpp - weights in the order that kernels read --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/Pack.h"
#include "PackBytes.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace mlir;

namespace {
/// A weight as `groups` matrices of K by N that lie one after another, each
/// with the element (k, n) at `k * strideK + n * strideN`; or, with a window,
/// where channel and place of k in it say.
struct Matrices {
  int64_t groups, k, n, strideK, strideN;
  int64_t window = 0;
  bool turned = false; ///< the window; else K is (place, channel)

  int64_t offset(int64_t row, int64_t column) const {
    if (!window)
      return row * strideK + column * strideN;
    if (!turned) {
      int64_t channels = k / window;
      return column * k + row % channels * window + row / channels;
    }
    int64_t channel = row / window, place = window - 1 - row % window;
    return (channel * n + column) * window + place;
  }
};
} // namespace

/// Product of sizes, none on overflow.
static std::optional<int64_t> multiply(ArrayRef<int64_t> sizes) {
  int64_t product = 1;
  for (int64_t size : sizes)
    if (llvm::MulOverflow(product, size, product))
      return std::nullopt;
  return product;
}

/// `shape` as matrices in the sense of a layout, none where it does not fit.
static std::optional<Matrices> viewAs(ArrayRef<int64_t> shape, StringRef layout,
                                      bool transposed) {
  if (llvm::any_of(shape, [](int64_t d) { return d < 1; }))
    return std::nullopt;
  if (layout == "panel") {
    if (shape.size() != 2)
      return std::nullopt;
    if (transposed)
      return Matrices{1, shape[1], shape[0], 1, shape[1]};
    return Matrices{1, shape[0], shape[1], shape[1], 1};
  }
  bool turned = layout.consume_front("conv_transpose_panel:"),
       byTap = !turned && layout.consume_front("conv_taps:");
  int64_t groups = 0;
  if ((!turned && !byTap && !layout.consume_front("conv_panel:")) ||
      layout.getAsInteger(10, groups) || groups < 1 || shape.size() < 3 ||
      shape[0] % groups != 0)
    return std::nullopt;
  if (turned) {
    // Windows stay whole: K is (input channel, place in the window), and a
    // column is `window` elements away from the next.
    std::optional<int64_t> window = multiply(shape.drop_front(2)),
                           whole = multiply(shape);
    if (!window || !whole)
      return std::nullopt;
    return Matrices{groups,         shape[0] / groups * *window,
                    shape[1],       0,
                    *window,        *window,
                    /*turned=*/true};
  }
  std::optional<int64_t> k = multiply(shape.drop_front(1));
  if (!k || !multiply(shape))
    return std::nullopt;
  return Matrices{groups, *k, shape[0] / groups,
                  1,      *k, byTap ? *k / shape[1] : 0};
}

RankedTensorType qcc::packedType(RankedTensorType weight, StringRef layout,
                                 int64_t nr, bool transposed) {
  if (!weight.hasStaticShape() || nr < 1 || nr > 4096 ||
      !weight.getElementType().isIntOrFloat())
    return {};
  if (isByteLayout(layout))
    return nr == kDotColumns ? packedByteType(weight, layout, transposed)
                             : RankedTensorType();
  std::optional<Matrices> m = viewAs(weight.getShape(), layout, transposed);
  if (!m)
    return {};
  int64_t panels = llvm::divideCeil(m->n, nr), total = m->groups;
  for (int64_t size : {panels, m->k, nr, int64_t(8)})
    if (llvm::MulOverflow(total, size, total))
      return {};
  SmallVector<int64_t> shape{panels, m->k, nr};
  if (layout != "panel")
    shape.insert(shape.begin(), m->groups);
  return RankedTensorType::get(shape, weight.getElementType());
}

/// Packs one matrix; T has the size of an element.
template <typename T>
static void packMatrix(const char *in, const Matrices &m, int64_t nr,
                       char *out) {
  for (int64_t n0 = 0; n0 < m.n; n0 += nr) {
    int64_t columns = std::min(nr, m.n - n0);
    char *panel = out + n0 * m.k * int64_t(sizeof(T));
    if (columns < nr)
      std::memset(panel, 0, m.k * nr * sizeof(T));
    auto move = [&](int64_t k, int64_t j) {
      std::memcpy(panel + (k * nr + j) * int64_t(sizeof(T)),
                  in + m.offset(k, n0 + j) * int64_t(sizeof(T)), sizeof(T));
    };
    // The order that reads the source in rows.
    if (m.strideN == 1) {
      for (int64_t k = 0; k < m.k; ++k)
        for (int64_t j = 0; j < columns; ++j)
          move(k, j);
    } else {
      for (int64_t j = 0; j < columns; ++j)
        for (int64_t k = 0; k < m.k; ++k)
          move(k, j);
    }
  }
}

LogicalResult qcc::packWeight(ArrayRef<char> in, RankedTensorType weight,
                              StringRef layout, int64_t nr, bool transposed,
                              MutableArrayRef<char> out) {
  RankedTensorType packed = packedType(weight, layout, nr, transposed);
  if (!packed)
    return failure();
  int64_t bytes = getElementBytes(weight.getElementType());
  if (isByteLayout(layout))
    return packBytes(in, weight, layout, transposed, packed, out);
  if (int64_t(in.size()) != weight.getNumElements() * bytes ||
      int64_t(out.size()) != packed.getNumElements() * bytes)
    return failure();
  Matrices m = *viewAs(weight.getShape(), layout, transposed);
  int64_t inStep = m.k * m.n * bytes;
  int64_t outStep = packed.getNumElements() / m.groups * bytes;
  for (int64_t g = 0; g < m.groups; ++g) {
    const char *from = in.data() + g * inStep;
    char *to = out.data() + g * outStep;
    switch (bytes) {
    case 1:
      packMatrix<uint8_t>(from, m, nr, to);
      break;
    case 2:
      packMatrix<uint16_t>(from, m, nr, to);
      break;
    case 4:
      packMatrix<uint32_t>(from, m, nr, to);
      break;
    case 8:
      packMatrix<uint64_t>(from, m, nr, to);
      break;
    default:
      return failure();
    }
  }
  return success();
}
