//===- Body.h - scalar arithmetic in the body of a generic ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_BODY_H
#define QCC_LIB_IMPORT_ONNX_BODY_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "qcc/Dialect/QCC/SmallFloat.h"

namespace qcc::onnx_import {

/// Builds scalars. Operators choose the float or the integer operation by the
/// type of their operands; integers are signless, so that the ones whose
/// meaning depends on the sign take it as an argument.
class Body {
public:
  Body(mlir::OpBuilder &builder, mlir::Location loc) : b(loc, builder) {}

  mlir::ImplicitLocOpBuilder b;

  /// Constants; `number` is rounded to the type.
  mlir::Value number(double value, mlir::Type type);
  mlir::Value integer(int64_t value, mlir::Type type);
  mlir::Value index(int64_t value);
  mlir::Value boolean(bool value) { return integer(value, b.getI1Type()); }

  /// The iteration index of a dimension; a size.
  mlir::Value dim(unsigned position);
  mlir::Value extent(mlir::AffineExpr size);
  /// An element of a whole operand, f16 and bf16 widened to f32 if `widen`.
  mlir::Value read(mlir::Value tensor, mlir::ValueRange indices,
                   bool widenResult = true);

  /// As `read` where the condition holds, `otherwise` elsewhere; indices may be
  /// out of range there.
  mlir::Value readIf(mlir::Value condition, mlir::Value tensor,
                     mlir::ValueRange indices, mlir::Value otherwise);

  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, mlir::Value y);
  /// Float quotient, or the integer one rounded toward zero; x / 0 is 0 and the
  /// smallest over -1 wraps.
  mlir::Value div(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  /// Remainder with the sign of `x`; 0 for a divisor of 0.
  mlir::Value rem(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  /// Propagate NaN.
  mlir::Value max(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  mlir::Value min(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  mlir::Value neg(mlir::Value x);
  mlir::Value abs(mlir::Value x);
  mlir::Value clamp(mlir::Value x, mlir::Value low, mlir::Value high) {
    return min(max(x, low), high);
  }

  /// As `read` where none of the tensor's sizes is 0, else 0: for bodies that
  /// select what they read only where there is something.
  mlir::Value readUnlessEmpty(mlir::Value tensor, mlir::ValueRange indices,
                              llvm::ArrayRef<mlir::AffineExpr> sizes);

  /// An index brought into [0, size). A size of 0 has none: what builds the
  /// body makes sure that it does not run then (`getNonEmpty`).
  mlir::Value clampIndex(mlir::Value x, mlir::Value size);
  /// The same for what is not read if `size` is 0.
  mlir::Value clampGuarded(mlir::Value x, mlir::Value size);
  /// Says that a size must not be 0 where the body runs; those that were said.
  void expectElements(mlir::Value size) { nonEmpty.push_back(size); }
  llvm::ArrayRef<mlir::Value> getNonEmpty() const { return nonEmpty; }

  /// Comparisons are ordered: false if an operand is NaN, but `ne` is true
  /// then.
  mlir::Value lt(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  mlir::Value le(mlir::Value x, mlir::Value y, bool isUnsigned = false);
  mlir::Value eq(mlir::Value x, mlir::Value y);
  mlir::Value ne(mlir::Value x, mlir::Value y);
  mlir::Value both(mlir::Value x, mlir::Value y);
  mlir::Value either(mlir::Value x, mlir::Value y);
  mlir::Value negate(mlir::Value condition);
  mlir::Value select(mlir::Value condition, mlir::Value yes, mlir::Value no);
  mlir::Value isNaN(mlir::Value x) { return ne(x, x); }

  /// `value = fn(i, value)` for i from 0 to `count`, starting from `init`.
  mlir::Value
  loop(mlir::Value count, mlir::Value init,
       llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> fn);

  /// The same with several values that are carried along.
  llvm::SmallVector<mlir::Value>
  loop(mlir::Value count, mlir::ValueRange init,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value,
                                                         mlir::ValueRange)>
           fn);

  mlir::Value exp(mlir::Value x);
  mlir::Value log(mlir::Value x);
  mlir::Value log1p(mlir::Value x);
  mlir::Value sqrt(mlir::Value x);
  mlir::Value tanh(mlir::Value x);
  mlir::Value cos(mlir::Value x);
  mlir::Value sin(mlir::Value x);
  mlir::Value expm1(mlir::Value x);
  mlir::Value erf(mlir::Value x);
  mlir::Value floor(mlir::Value x);
  mlir::Value ceil(mlir::Value x);
  mlir::Value roundEven(mlir::Value x);
  /// To the nearest integer, halves away from zero.
  mlir::Value round(mlir::Value x);
  mlir::Value pow(mlir::Value x, mlir::Value y);
  /// 1 / (1 + exp(-x)).
  mlir::Value sigmoid(mlir::Value x);

  /// The conversion that ONNX's Cast does between element types (unsigned types
  /// tell their sign): floats to integers round toward zero, what does not fit
  /// keeps its low bits after saturation to 32 or 64 bits; never undefined.
  /// Floats of 8 bits and less are scalars of their code; `rounding` is how
  /// they are made, with one rounding from every float type.
  mlir::Value convert(mlir::Value x, mlir::Type from, mlir::Type to,
                      SmallFloatRounding rounding = {});
  /// An integer of any type as an index, by its sign.
  mlir::Value toIndex(mlir::Value x, bool isUnsigned = false);
  /// An index as an integer or a float.
  mlir::Value fromIndex(mlir::Value x, mlir::Type to);
  /// f16 and bf16 as f32, anything else as it is; and back to `type`.
  mlir::Value widen(mlir::Value x);
  mlir::Value narrow(mlir::Value x, mlir::Type type);

private:
  llvm::SmallVector<mlir::Value> nonEmpty;
};

/// The type that arithmetic on elements is done in: f32 for f16 and bf16, the
/// signless scalar else.
mlir::Type getComputeType(mlir::Type elementType);
/// True for ui types and for bool.
bool isUnsignedElement(mlir::Type elementType);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_BODY_H
