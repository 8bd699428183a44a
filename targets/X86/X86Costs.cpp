//===- X86Costs.cpp - what kernels cost on x86 ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Figures of AVX2 are fitted to single layers of some sixty shapes, measured on
// an AMD EPYC (Zen 3) with `qcc-run --profile`; those of the other levels
// follow from the ceilings of their instructions. They are nanoseconds of one
// core at about 3.4 GHz.
//
//===----------------------------------------------------------------------===//
#include "X86Costs.h"
#include "llvm/Support/MathExtras.h"

using namespace qcc;

namespace {
/// What one element or step takes.
struct Figures {
  double floatProducts;            ///< multiplications per nanosecond in f32
  double integerProducts;          ///< the same of bytes
  double floatStore, integerStore; ///< epilogue, per result
  double widen;                    ///< per input and pixel that reads it
  double floatTap, integerTap;     ///< depthwise, per result and tap
};
} // namespace

static Figures getFigures(const Capabilities &level) {
  if (level.hasVnni)
    return {88, 260, 0.08, 0.10, 0, 0.021, 0.030};
  if (level.hasAvx512)
    return {88, 145, 0.08, 0.12, 0, 0.021, 0.035};
  return {44, 86, 0.12, 0.20, 0.03, 0.038, 0.058};
}

static double roundUp(int64_t value, uint64_t step) {
  return double(llvm::alignTo(uint64_t(value), step));
}

double x86::estimateProduct(const ProductShape &shape, bool inIntegers,
                            const Capabilities &level) {
  Figures figures = getFigures(level);
  auto rows = double(shape.rows), taps = double(shape.taps),
       outputs = double(shape.outputs), groups = double(shape.groups);
  if (shape.isDepthwise()) {
    // Pointers of taps for each pixel, then vectors of channels.
    if (inIntegers)
      return rows * (taps + outputs * (taps * figures.integerTap + 0.06));
    // Vectors of pixels of a row, which is copied first; strides sort it.
    double row = double(std::max<int64_t>(shape.rowLength, 1));
    double idle = roundUp(shape.rowLength, level.f32Lanes()) / row;
    return rows * outputs * taps * figures.floatTap * idle * (1 + 12 / row) *
           (shape.stride > 1 ? 1.8 : 1);
  }
  int64_t perGroup = shape.outputs / std::max<int64_t>(shape.groups, 1),
          terms = shape.inputs * shape.taps;
  if (inIntegers) {
    double columns = roundUp(perGroup, 16);
    double pointers = shape.taps > 1 ? 1.5 * taps : 0;
    return groups * rows *
           (columns * roundUp(terms, shape.isConv ? 2 : 4) /
                figures.integerProducts +
            double(terms) * figures.widen + pointers +
            columns * figures.integerStore);
  }
  double columns = shape.isConv ? roundUp(perGroup, 6) : roundUp(perGroup, 8);
  double pixels = shape.isConv ? roundUp(shape.rows, 16) : rows;
  double pack = !shape.isConv ? 0 : shape.taps > 1 ? 0.22 : 0.05;
  return groups * (pixels * columns * double(terms) / figures.floatProducts +
                   rows * double(terms) * pack) +
         rows * outputs * figures.floatStore;
}

double x86::estimatePool(int64_t reads, bool inIntegers,
                         const Capabilities &level) {
  // Vectors of 8 or 16 floats, of 32 or 64 bytes and table look-ups.
  double perRead = inIntegers ? 0.04 : 0.12;
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
                           const Capabilities &) {
  // Codes are rounded by what makes the floats, so that there only their order
  // costs; floats are written four times as large, read and written again.
  if (!permuted)
    return double(elements) * (toCodes ? 0.1 : 0.05);
  return double(elements) * (toCodes ? 0.3 : 0.35);
}
