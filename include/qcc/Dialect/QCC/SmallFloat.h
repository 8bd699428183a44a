//===- SmallFloat.h - floats of 8 and 4 bits as their codes -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elements of these types are only stored: a scalar of one is its code, a
// signless integer of its width, and these functions convert it in the body of
// a generic, by integer arithmetic that vectorises.
//
// Formats: OCP OFP8 1.0 (E4M3FN, E5M2), OCP MX 1.0 (E8M0, E2M1), and the FNUZ
// variants with one more bias and NaN in the place of negative zero.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_SMALLFLOAT_H
#define QCC_DIALECT_QCC_SMALLFLOAT_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace qcc {

/// How a value between two powers of two becomes an E8M0.
enum class ExponentRounding { Up, Down, Nearest };

/// How an f32 is rounded to a small float.
struct SmallFloatRounding {
  /// What is too large becomes the largest finite value instead of the type's
  /// infinity or NaN. FLOAT4E2M1 has neither: it always saturates.
  bool saturate = true;
  /// For E8M0 only; ties of `Nearest` go up.
  ExponentRounding exponent = ExponentRounding::Up;
};

/// True for the float types of 8 bits and less.
bool isSmallFloat(mlir::Type elementType);

/// The value of a code of `type` as f32; exact. `code` has the type's width.
mlir::Value decodeSmallFloat(mlir::ImplicitLocOpBuilder &b, mlir::Value code,
                             mlir::Type type);

/// The code of `type` nearest to `value`, an f32, ties to even. Follows the
/// tables of ONNX's Cast: NaN stays NaN (negative zero in FLOAT4E2M1, which has
/// none), infinities count as too large. E8M0 has no sign and no zero:
/// a negative number gives NaN; below its smallest and above its largest value
/// is that value, or NaN without `saturate`.
mlir::Value encodeSmallFloat(mlir::ImplicitLocOpBuilder &b, mlir::Value value,
                             mlir::Type type, SmallFloatRounding rounding);

} // namespace qcc

#endif // QCC_DIALECT_QCC_SMALLFLOAT_H
