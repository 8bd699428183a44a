//===- Quantized.h - codes, scales and zero points --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_QUANTIZED_H
#define QCC_LIB_IMPORT_ONNX_QUANTIZED_H

#include "Conv.h"
#include "NodeContext.h"

namespace qcc::onnx_import {

/// What one scale is for: the whole tensor, one index of an axis (where the
/// scale has more than one element), or `block` indices of it.
struct Granularity {
  int64_t axis = 0, block = 0;
};

/// Integers of 2 to 16 bits.
bool isIntegerCode(mlir::Type type);
/// Those, and the floats of 8 and 4 bits that have a sign.
bool isCode(mlir::Type type);

/// `qcc.quantize` of floats (integers and f64 are converted to f32): codes of
/// `type`. `zero` may be null. Records BadShape and UnsupportedType.
mlir::Value quantize(NodeContext &node, mlir::Value real, mlir::Value scale,
                     mlir::Value zero, mlir::Type type,
                     Granularity granularity = {}, mlir::Type precision = {},
                     bool overflow = false);

/// `qcc.dequantize` of codes or of i32 to `type`, a float.
mlir::Value dequantize(NodeContext &node, mlir::Value codes, mlir::Value scale,
                       mlir::Value zero, mlir::Type type,
                       Granularity granularity = {});

/// The codes of 2, 4 or 8 `bits` in bytes, first in the low bits: the last
/// dimension grows by the codes in a byte. Null for null.
mlir::Value unpackCodes(NodeContext &node, mlir::Value bytes, int64_t bits);

/// Attribute `block_size` of weights in blocks; 0 with a problem recorded if it
/// is none.
int64_t readBlock(NodeContext &node, int64_t defaultValue);

/// The exact product of integer codes as i32: `qcc.int_matmul` with numpy's
/// rules for ranks 1 and more. Zero points may be null; else a scalar, or per
/// row of `lhs` (`[M]`, `[..., M]`, `[..., M, 1]`) and per column of `rhs`
/// (`[N]`, `[..., N]`, `[..., 1, N]`).
mlir::Value multiplyCodes(NodeContext &node, mlir::Value lhs,
                          mlir::Value lhsZero, mlir::Value rhs,
                          mlir::Value rhsZero);

/// The product of floats, rounded to bytes by their range as
/// DynamicQuantizeLinear does, with codes `rhs` whose scale is one or one per
/// column, plus a bias: `zero` and `bias` may be null.
mlir::Value multiplyDynamically(NodeContext &node, mlir::Value real,
                                mlir::Value rhs, mlir::Value scale,
                                mlir::Value zero, mlir::Value bias);

/// The exact convolution of integer codes as i32: `qcc.int_conv`.
mlir::Value convolveCodes(NodeContext &node, const ConvShape &conv,
                          mlir::Value input, mlir::Value inputZero,
                          mlir::Value weight, mlir::Value weightZero);

/// A tensor of one element as a scalar; null for null.
mlir::Value asScalar(NodeContext &node, mlir::Value value);
/// True for a tensor that is known to have one element.
bool hasOneElement(mlir::Value value);

class Registry;
void registerQLinear(Registry &registry);
void registerPackedWeights(Registry &registry);
void registerPackedFloats(Registry &registry);
void registerQonnx(Registry &registry);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_QUANTIZED_H
