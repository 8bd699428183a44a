//===- DynamicConv.h - convolutions with scales of samples ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_DYNAMICCONV_H
#define QCC_PASSES_QUANTIZE_STATICINT8_DYNAMICCONV_H

#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// The codes of an activation [N, C, spatial...] whose scale is found at run
/// time: each sample, an index of the first dimension, has its own, so that a
/// sample is computed alike in any batch.
///
/// With `low` and `high` the least and the largest element of a sample, 0 among
/// them, `scale = max(high / 255 - low / 255, 2^-126)`, `zero = round(-low /
/// scale)` and a code is `round(x / scale) + zero`, by the reciprocal of the
/// scale, ties to even, within 0 and 255. A sample with NaN has the scale NaN,
/// one with infinities an infinite one; its codes are of no meaning then.
struct SampleCodes {
  mlir::Value codes;   ///< ui8, of the activation's shape
  mlir::Value numbers; ///< f32 [N, 2 or 3]: scale, reciprocal, zero point
  bool hasZero =
      false; ///< false: no element is negative, and zero points are 0
};

/// True if no element of a value of f32 is below zero whatever the inputs are,
/// as far as a few operations before it tell; NaN may be among them.
bool isNeverNegative(mlir::Value value);

/// Codes of `value`, of f32 and rank 3 or 4.
SampleCodes createSampleCodes(mlir::OpBuilder &b, mlir::Value value);

/// Replaces a convolution of f32 with a constant weight, of one or two spatial
/// dimensions, by one of the codes of its input and of its weight, with a scale
/// per output channel: exact sums in i32, less the zero point times the sums of
/// the weight's codes, times both scales. `pairsFit`: the weight's codes do.
/// Returns what computes the sums.
IntConvOp makeDynamic(ConvOp conv, const SampleCodes &input, bool pairsFit);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_DYNAMICCONV_H
