//===- X86Costs.cpp - what kernels cost on x86 ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Figures of each level are fitted to single layers of some sixty shapes with
// `qcc-run --profile`: those of AVX2 on an AMD EPYC of the Zen 3 kind, those of
// AVX-512 and VNNI on Zen 5, with a standard deviation of the errors of 12 %
// for bytes and 22 % for f32. AMX takes those of VNNI. They are nanoseconds of
// one core.
//
//===----------------------------------------------------------------------===//
#include "X86Costs.h"
#include "AttentionFrame.h"
#include "ConvRowsF32.h"
#include "DepthwiseF32.h"
#include "VectorUtils.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace qcc;

namespace {
/// What one element or step takes.
struct Figures {
  double floatProducts;            ///< multiplications per nanosecond in f32
  double integerProducts;          ///< the same of bytes
  double floatStore, integerStore; ///< epilogue, per result
  double widen;                    ///< per input and pixel that reads it
  double packWindow, packPixel;    ///< f32, per input and pixel that reads it
  double tapPointer;               ///< bytes, per tap of a window and pixel
};

/// Depthwise convolutions.
struct DepthwiseFigures {
  double floatTap, integerTap;  ///< per result and tap
  double integerStore, pointer; ///< per result, per tap and pixel
  double rowStart;              ///< what a row takes longer in f32, in results
  double strided;               ///< how much longer f32 takes to sort pixels
};
} // namespace

static Figures getFigures(const Capabilities &level) {
  if (level.hasVnni)
    return {129, 435, 0.040, 0.044, 0, 0.14, 0.22, 0.46};
  if (level.hasAvx512)
    return {127, 246, 0.040, 0.048, 0, 0.13, 0.22, 0.68};
  return {44, 86, 0.12, 0.20, 0.03, 0.22, 0.05, 1.5};
}

static DepthwiseFigures getDepthwiseFigures(const Capabilities &level) {
  if (level.hasVnni)
    return {0.041, 0.017, 0, 0.40, 22, 1.9};
  if (level.hasAvx512)
    return {0.042, 0.022, 0.01, 0.26, 22, 1.9};
  return {0.038, 0.058, 0.06, 1, 12, 1.8};
}

static double roundUp(int64_t value, uint64_t step) {
  return double(llvm::alignTo(uint64_t(value), step));
}

/// Nanoseconds of DepthwiseSmallF32.cpp at AVX2, 0 where rows of pixels are
/// vectors.
static double estimateSmallDepthwise(const ProductShape &shape) {
  if (shape.imagePixels <= 0 || shape.outputs < x86::kMostLanes)
    return 0;
  bool fillsRows = shape.imagePixels > x86::kBandPixels ||
                   shape.rowLength % x86::kMostLanes == 0;
  if (fillsRows && shape.taps < x86::kManyTaps)
    return 0;
  auto taps = double(shape.taps), stride = double(shape.stride),
       rows = double(shape.rows), outputs = double(shape.outputs);
  // Inputs and weights are transposed, each once.
  double perResult = 0.08 + 0.027 * taps + 0.2 * stride * stride,
         perChannel = 0.19 * taps;
  return outputs *
         (rows * perResult + rows / double(shape.imagePixels) * perChannel);
}

static double estimateDepthwise(const ProductShape &shape, bool inIntegers,
                                const Capabilities &level) {
  DepthwiseFigures figures = getDepthwiseFigures(level);
  auto rows = double(shape.rows), taps = double(shape.taps),
       outputs = double(shape.outputs);
  // Pointers of taps for each pixel, then vectors of channels.
  if (inIntegers)
    return rows *
           (taps * figures.pointer +
            outputs * (taps * figures.integerTap + figures.integerStore));
  if (double small = level.hasAvx512 ? 0 : estimateSmallDepthwise(shape))
    return small;
  // Vectors of pixels of a row, which is copied first; strides sort it.
  double row = double(std::max<int64_t>(shape.rowLength, 1));
  double idle = roundUp(shape.rowLength, level.f32Lanes()) / row;
  return rows * outputs * taps * figures.floatTap * idle *
         (1 + figures.rowStart / row) *
         (shape.stride > 1 ? figures.strided : 1);
}

/// Bytes of a pixel's window in the kernel's order, and what finding them
/// takes.
static std::pair<double, double> getWindow(const ProductShape &shape,
                                           const Capabilities &level) {
  int64_t terms = shape.inputs * shape.taps;
  if (!shape.isConv)
    return {roundUp(terms, 4), 0};
  auto taps = double(shape.taps);
  // Few channels lie flat: rows of the window are found, not taps.
  if (level.hasVnni && !level.hasAmx && shape.inputs < 4 && shape.groups == 1) {
    constexpr double kRowPointer = 1.6;
    double side = std::round(std::sqrt(taps));
    return {side * roundUp(shape.inputs * int64_t(side), 4),
            kRowPointer * side};
  }
  return {roundUp(terms, level.hasVnni ? 4 : 2),
          shape.taps > 1 ? getFigures(level).tapPointer * taps : 0};
}

/// What reading a weight once takes: few rows of a product wait for it. Bytes
/// per nanosecond are those of weights that lie in L2 or L3 (Zen 4: 64 to 105,
/// Zen 1: 42); from memory they come at half of that or less, in f32 as in
/// codes.
static double estimateWeight(const ProductShape &shape, bool inIntegers,
                             const Capabilities &level) {
  double bytes = double(shape.inputs) * double(shape.outputs) *
                 (inIntegers ? 1 : sizeof(float));
  return bytes / (level.hasAvx512 ? 64 : 42);
}

double x86::estimateProduct(const ProductShape &shape, bool inIntegers,
                            const Capabilities &level) {
  if (shape.isDepthwise())
    return estimateDepthwise(shape, inIntegers, level);
  Figures figures = getFigures(level);
  auto rows = double(shape.rows), outputs = double(shape.outputs),
       groups = double(shape.groups);
  int64_t perGroup = shape.outputs / std::max<int64_t>(shape.groups, 1),
          terms = shape.inputs * shape.taps;
  double weight = shape.isConv ? 0 : estimateWeight(shape, inIntegers, level);
  if (inIntegers) {
    double columns = roundUp(perGroup, 16);
    auto [bytes, pointers] = getWindow(shape, level);
    return std::max(weight, groups * rows *
                                (columns * bytes / figures.integerProducts +
                                 double(terms) * figures.widen + pointers +
                                 columns * figures.integerStore));
  }
  if (shape.isConv)
    return std::min(estimateConvPanel(shape, level),
                    estimateConvRows(shape, level));
  return std::max(weight, groups * rows * roundUp(perGroup, 8) * double(terms) /
                                  figures.floatProducts +
                              rows * outputs * figures.floatStore);
}

/// What a convolution's results take after their sums.
static double estimateFloatStores(const ProductShape &shape,
                                  const Capabilities &level) {
  return double(shape.rows) * double(shape.outputs) *
         getFigures(level).floatStore;
}

double x86::estimateConvPanel(const ProductShape &shape,
                              const Capabilities &level) {
  Figures figures = getFigures(level);
  auto groups = double(shape.groups), rows = double(shape.rows),
       terms = double(shape.inputs) * double(shape.taps);
  double columns = roundUp(shape.outputs / shape.groups, 6),
         pack = shape.taps > 1 ? figures.packWindow : figures.packPixel;
  return groups * (roundUp(shape.rows, 16) * columns * terms /
                       figures.floatProducts +
                   rows * terms * pack) +
         estimateFloatStores(shape, level);
}

double x86::estimateConvRows(const ProductShape &shape,
                             const Capabilities &level) {
  auto side = int64_t(std::ceil(std::sqrt(double(shape.taps))));
  int64_t copied = shape.inputs * side * (shape.rowLength + side) *
                   shape.stride * int64_t(sizeof(float));
  if (shape.taps == 1 || shape.stride > 2 || shape.imagePixels <= 0 ||
      copied > getRowsScratch(level.hasAvx512))
    return HUGE_VAL;
  Figures figures = getFigures(level);
  auto groups = double(shape.groups), inputs = double(shape.inputs),
       lines = double(shape.rows) / double(shape.rowLength);
  double products = getRowsWork(shape.outputs / shape.groups, shape.rowLength,
                                level.hasAvx512)
                        .products;
  // An element is copied at least once, for as many results as strides step
  // over; where few rows have room, as often as windows have rows.
  double copies = double(copied * 4 > getRowsScratch(level.hasAvx512)
                             ? side * shape.stride
                             : shape.stride * shape.stride);
  return groups * (lines * products * double(level.f32Lanes()) * inputs *
                       double(shape.taps) / figures.floatProducts +
                   double(shape.rows) * inputs * copies * figures.packPixel) +
         estimateFloatStores(shape, level);
}

double x86::estimateAttention(const AttentionShape &shape, bool inIntegers,
                              const Capabilities &level) {
  if (std::max(shape.depth, shape.width) > kMaxHeadSize) // no kernel
    return inIntegers ? HUGE_VAL : 0;
  // Multiplications per nanosecond; per score; per number of an operand that
  // goes to a panel or is rounded. Fitted to 20 shapes timed as
  // `bench kernels` times its own: 1 to 1024 queries, 16 to 1024 keys.
  struct AttentionFigures {
    double products, score, pack;
  };
  AttentionFigures figures =
      level.hasVnni     ? (inIntegers ? AttentionFigures{579, 0.28, 0.087}
                                      : AttentionFigures{146, 0.43, 0.093})
      : level.hasAvx512 ? (inIntegers ? AttentionFigures{161, 0.31, 0.089}
                                      : AttentionFigures{142, 0.43, 0.093})
      : inIntegers      ? AttentionFigures{68, 0.42, 0.13}
                        : AttentionFigures{66, 0.46, 0.15};
  double keys = roundUp(shape.keys, 16), queries = double(shape.queries),
         sizes = double(shape.depth + shape.width);
  // Keys, and with codes values, go to a panel for so many queries.
  double packed = std::ceil(queries / (inIntegers ? 128 : 64)) *
                  double(shape.keys) *
                  (inIntegers ? sizes : double(shape.depth));
  return double(shape.heads) *
         (queries * keys * (sizes / figures.products + figures.score) +
          (packed + queries * double(shape.depth)) * figures.pack);
}

double x86::estimatePool(int64_t reads, bool inIntegers,
                         const Capabilities &level) {
  // Vectors of 32 or 64 bytes and table look-ups; vectors of 8 or 16 floats,
  // whose rows are joined before their columns. The latter was fitted without
  // that (0.12) and took a quarter of the time on another core with it: half of
  // it is a guess.
  double perRead = inIntegers ? 0.04 : 0.06;
  return double(reads) * (level.hasAvx512 ? perRead / 2 : perRead);
}

double x86::estimateSampleCodes(int64_t elements, bool hasZero,
                                const Capabilities &level) {
  // A pass for the range, one that rounds; a third where padding has to be made
  // of zero points. Some launches. Half of AVX2's at AVX-512 is a guess.
  double perElement = hasZero ? 0.7 : 0.4;
  return 500 +
         double(elements) * (level.hasAvx512 ? perElement / 2 : perElement);
}

double x86::estimateBorder(int64_t elements, bool toCodes, bool permuted,
                           const Capabilities &level) {
  // Codes are rounded by what makes the floats, so that there only their order
  // costs; floats are written four times as large, read and written again.
  if (!permuted)
    return double(elements) * (toCodes ? 0.1 : 0.05) *
           (level.hasAvx512 ? 0.5 : 1);
  if (level.hasAvx512)
    return double(elements) * (toCodes ? 0.22 : 0.2);
  return double(elements) * (toCodes ? 0.3 : 0.35);
}
