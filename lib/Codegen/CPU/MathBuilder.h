//===- MathBuilder.h - arithmetic on f32 scalars or vectors -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_CPU_MATHBUILDER_H
#define QCC_LIB_CODEGEN_CPU_MATHBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace qcc {

/// Short names for operations on values that are all scalars or all vectors of
/// one number of lanes.
class MathBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using Value = mlir::Value;
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  /// `element` with the lanes of `like`.
  mlir::Type typeLike(mlir::Type like, mlir::Type element) {
    auto vector = mlir::dyn_cast<mlir::VectorType>(like);
    return vector ? mlir::Type(vector.clone(element)) : element;
  }
  /// A float constant of the type of `like`.
  Value num(double value, Value like) {
    mlir::Type type = like.getType();
    mlir::TypedAttr attr =
        getFloatAttr(mlir::getElementTypeOrSelf(type), value);
    return splat(attr, type);
  }
  /// An integer constant of the type of `like`.
  Value integer(int64_t value, Value like) {
    mlir::Type type = like.getType();
    mlir::TypedAttr attr =
        getIntegerAttr(mlir::getElementTypeOrSelf(type), value);
    return splat(attr, type);
  }
  Value add(Value a, Value b) {
    return mlir::arith::AddFOp::create(*this, a, b);
  }
  Value sub(Value a, Value b) {
    return mlir::arith::SubFOp::create(*this, a, b);
  }
  Value mul(Value a, Value b) {
    return mlir::arith::MulFOp::create(*this, a, b);
  }
  Value div(Value a, Value b) {
    return mlir::arith::DivFOp::create(*this, a, b);
  }
  Value fma(Value a, Value b, Value c) {
    return mlir::math::FmaOp::create(*this, a, b, c);
  }
  Value abs(Value a) { return mlir::math::AbsFOp::create(*this, a); }
  Value copySign(Value a, Value sign) {
    return mlir::math::CopySignOp::create(*this, a, sign);
  }
  Value addI(Value a, Value b) {
    return mlir::arith::AddIOp::create(*this, a, b);
  }
  Value subI(Value a, Value b) {
    return mlir::arith::SubIOp::create(*this, a, b);
  }
  Value select(Value condition, Value a, Value b) {
    return mlir::arith::SelectOp::create(*this, condition, a, b);
  }
  Value cmp(mlir::arith::CmpFPredicate predicate, Value a, Value b) {
    return mlir::arith::CmpFOp::create(*this, predicate, a, b);
  }
  Value less(Value a, Value b) {
    return cmp(mlir::arith::CmpFPredicate::OLT, a, b);
  }
  Value equal(Value a, Value b) {
    return cmp(mlir::arith::CmpFPredicate::OEQ, a, b);
  }
  /// `a` limited to [low, high]; NaN stays NaN.
  Value clamp(Value a, double low, double high) {
    Value lowest = num(low, a), highest = num(high, a);
    a = select(less(a, lowest), lowest, a);
    return select(less(highest, a), highest, a);
  }
  /// The bits as integers, and back.
  Value bits(Value a, unsigned width = 32) {
    return mlir::arith::BitcastOp::create(
        *this, typeLike(a.getType(), getIntegerType(width)), a);
  }
  Value fromBits(Value a, mlir::Type element) {
    return mlir::arith::BitcastOp::create(*this, typeLike(a.getType(), element),
                                          a);
  }
  Value shiftLeft(Value a, int64_t count) {
    return mlir::arith::ShLIOp::create(*this, a, integer(count, a));
  }
  Value shiftRight(Value a, int64_t count) { // arithmetic
    return mlir::arith::ShRSIOp::create(*this, a, integer(count, a));
  }
  Value convert(Value a, mlir::Type element) { // between floats
    mlir::Type type = typeLike(a.getType(), element);
    if (mlir::getElementTypeOrSelf(a.getType()).getIntOrFloatBitWidth() <
        element.getIntOrFloatBitWidth())
      return mlir::arith::ExtFOp::create(*this, type, a);
    return mlir::arith::TruncFOp::create(*this, type, a);
  }
  /// Horner's scheme; the lowest coefficient first.
  Value polynomial(llvm::ArrayRef<double> coefficients, Value x) {
    Value result = num(coefficients.back(), x);
    for (double c : llvm::reverse(coefficients.drop_back()))
      result = fma(result, x, num(c, x));
    return result;
  }

private:
  Value splat(mlir::TypedAttr attr, mlir::Type type) {
    if (auto vector = mlir::dyn_cast<mlir::VectorType>(type))
      attr = mlir::DenseElementsAttr::get(vector, mlir::Attribute(attr));
    return mlir::arith::ConstantOp::create(*this, attr);
  }
};

} // namespace qcc

#endif // QCC_LIB_CODEGEN_CPU_MATHBUILDER_H
