//===- Body.cpp - scalar arithmetic in the body of a generic ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Body.h"
#include "ShapeData.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;

namespace qcc::onnx_import {

Type getComputeType(Type elementType) {
  if (elementType.isF16() || elementType.isBF16())
    return Float32Type::get(elementType.getContext());
  return getScalarType(elementType);
}

bool isUnsignedElement(Type elementType) {
  return elementType.isUnsignedInteger() || elementType.isInteger(1);
}

static bool isFloat(Value x) { return isa<FloatType>(x.getType()); }

Value Body::number(double value, Type type) {
  if (isa<FloatType>(type))
    return arith::ConstantOp::create(b, b.getFloatAttr(type, value));
  // A double beyond 64 bits has no int64_t; the largest double below 2^63.
  constexpr double limit = 9223372036854774784.0;
  return integer(static_cast<int64_t>(std::clamp(value, -limit, limit)), type);
}

Value Body::integer(int64_t value, Type type) {
  if (isa<FloatType>(type))
    return number(static_cast<double>(value), type);
  if (type.isIndex())
    return index(value);
  return arith::ConstantOp::create(
      b,
      IntegerAttr::get(type, APInt(type.getIntOrFloatBitWidth(),
                                   static_cast<uint64_t>(value), false, true)));
}

Value Body::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

Value Body::dim(unsigned position) {
  return IndexOp::create(b, b.getIndexType(), static_cast<int64_t>(position));
}

Value Body::extent(AffineExpr size) {
  if (std::optional<int64_t> constant = getConstantSize(size))
    return index(*constant);
  return ExtentOp::create(
      b, b.getIndexType(),
      AffineMapAttr::get(makeSizeMap(size, b.getContext())));
}

Value Body::read(Value tensor, ValueRange indices, bool widenResult) {
  Type scalar =
      getScalarType(cast<RankedTensorType>(tensor.getType()).getElementType());
  Value result = ReadOp::create(b, scalar, tensor, indices);
  return widenResult ? widen(result) : result;
}

Value Body::readIf(Value condition, Value tensor, ValueRange indices,
                   Value otherwise) {
  auto branch = scf::IfOp::create(b, otherwise.getType(), condition,
                                  /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, read(tensor, indices));
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, otherwise);
  return branch.getResult(0);
}

Value Body::add(Value x, Value y) {
  return isFloat(x) ? Value(arith::AddFOp::create(b, x, y))
                    : arith::AddIOp::create(b, x, y);
}
Value Body::sub(Value x, Value y) {
  return isFloat(x) ? Value(arith::SubFOp::create(b, x, y))
                    : arith::SubIOp::create(b, x, y);
}
Value Body::mul(Value x, Value y) {
  return isFloat(x) ? Value(arith::MulFOp::create(b, x, y))
                    : arith::MulIOp::create(b, x, y);
}

Value Body::div(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::DivFOp::create(b, x, y);
  // Division by zero and the one overflowing quotient trap on the machine: they
  // are selected away.
  Value zero = integer(0, x.getType()), one = integer(1, x.getType());
  Value byZero = eq(y, zero);
  if (isUnsigned)
    return select(byZero, zero,
                  arith::DivUIOp::create(b, x, select(byZero, one, y)));
  Value byMinusOne = eq(y, integer(-1, x.getType()));
  Value quotient =
      arith::DivSIOp::create(b, x, select(either(byZero, byMinusOne), one, y));
  return select(byZero, zero, select(byMinusOne, neg(x), quotient));
}

Value Body::rem(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::RemFOp::create(b, x, y);
  Value zero = integer(0, x.getType()), one = integer(1, x.getType());
  if (isUnsigned)
    return arith::RemUIOp::create(b, x, select(eq(y, zero), one, y));
  Value special = either(eq(y, zero), eq(y, integer(-1, x.getType())));
  return arith::RemSIOp::create(b, x, select(special, one, y));
}

Value Body::max(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::MaximumFOp::create(b, x, y);
  return isUnsigned ? Value(arith::MaxUIOp::create(b, x, y))
                    : arith::MaxSIOp::create(b, x, y);
}
Value Body::min(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::MinimumFOp::create(b, x, y);
  return isUnsigned ? Value(arith::MinUIOp::create(b, x, y))
                    : arith::MinSIOp::create(b, x, y);
}

Value Body::readUnlessEmpty(Value tensor, ValueRange indices,
                            ArrayRef<AffineExpr> sizes) {
  Value isThere;
  for (AffineExpr size : sizes) {
    if (getConstantSize(size).value_or(0) > 0)
      continue;
    Value here = lt(index(0), extent(size));
    isThere = isThere ? both(isThere, here) : here;
  }
  if (!isThere)
    return read(tensor, indices);
  Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
  return readIf(isThere, tensor, indices, number(0, getComputeType(element)));
}

Value Body::clampIndex(Value x, Value size) {
  expectElements(size);
  return clampGuarded(x, size);
}

Value Body::clampGuarded(Value x, Value size) {
  return max(min(x, sub(size, index(1))), index(0));
}

Value Body::neg(Value x) {
  return isFloat(x) ? arith::NegFOp::create(b, x)
                    : sub(integer(0, x.getType()), x);
}

Value Body::abs(Value x) {
  if (isFloat(x))
    return math::AbsFOp::create(b, x);
  return select(lt(x, integer(0, x.getType())), neg(x), x);
}

Value Body::lt(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, y);
  return arith::CmpIOp::create(
      b, isUnsigned ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt, x,
      y);
}
Value Body::le(Value x, Value y, bool isUnsigned) {
  if (isFloat(x))
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OLE, x, y);
  return arith::CmpIOp::create(
      b, isUnsigned ? arith::CmpIPredicate::ule : arith::CmpIPredicate::sle, x,
      y);
}
Value Body::eq(Value x, Value y) {
  if (isFloat(x))
    return arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, x, y);
  return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, x, y);
}
Value Body::ne(Value x, Value y) {
  if (isFloat(x))
    return arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, x, y);
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, x, y);
}
Value Body::both(Value x, Value y) { return arith::AndIOp::create(b, x, y); }
Value Body::either(Value x, Value y) { return arith::OrIOp::create(b, x, y); }
Value Body::negate(Value condition) {
  return arith::XOrIOp::create(b, condition, boolean(true));
}
Value Body::select(Value condition, Value yes, Value no) {
  return arith::SelectOp::create(b, condition, yes, no);
}

Value Body::loop(Value count, Value init,
                 llvm::function_ref<Value(Value, Value)> fn) {
  auto op = scf::ForOp::create(b, index(0), count, index(1), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  Value next = fn(op.getInductionVar(), op.getRegionIterArg(0));
  scf::YieldOp::create(b, next);
  return op.getResult(0);
}

SmallVector<Value>
Body::loop(Value count, ValueRange init,
           llvm::function_ref<SmallVector<Value>(Value, ValueRange)> fn) {
  auto op = scf::ForOp::create(b, index(0), count, index(1), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Value> next = fn(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return SmallVector<Value>(op.getResults());
}

Value Body::exp(Value x) { return math::ExpOp::create(b, x); }
Value Body::log(Value x) { return math::LogOp::create(b, x); }
Value Body::log1p(Value x) { return math::Log1pOp::create(b, x); }
Value Body::sqrt(Value x) { return math::SqrtOp::create(b, x); }
Value Body::cos(Value x) { return math::CosOp::create(b, x); }
Value Body::sin(Value x) { return math::SinOp::create(b, x); }
Value Body::expm1(Value x) { return math::ExpM1Op::create(b, x); }
Value Body::tanh(Value x) { return math::TanhOp::create(b, x); }
Value Body::erf(Value x) { return math::ErfOp::create(b, x); }
Value Body::floor(Value x) { return math::FloorOp::create(b, x); }
Value Body::ceil(Value x) { return math::CeilOp::create(b, x); }
Value Body::round(Value x) { return math::RoundOp::create(b, x); }
Value Body::roundEven(Value x) { return math::RoundEvenOp::create(b, x); }
Value Body::pow(Value x, Value y) { return math::PowFOp::create(b, x, y); }

Value Body::sigmoid(Value x) {
  Value one = number(1, x.getType());
  // What of the exponential is next to 0 or infinite makes 1 and 0.
  Value power = math::ExpOp::create(b, neg(x), arith::FastMathFlags::afn);
  return div(one, add(one, power));
}

/// A float as an integer of `width` bits, low bits of the value saturated to 64
/// (or 32) bits; NaN gives 0.
static Value floatToInteger(Body &body, Value x, unsigned width,
                            bool isUnsigned) {
  ImplicitLocOpBuilder &b = body.b;
  unsigned through = width >= 32 ? (isUnsigned || width == 64 ? 64 : 32) : 32;
  Type middle = b.getIntegerType(through), type = x.getType();
  bool isDouble = type.isF64();
  // The largest float of the type that the integer can hold.
  double low = through == 64 ? -0x1p63 : -0x1p31;
  double high = through == 64
                    ? (isDouble ? 0x1.fffffffffffffp62 : 0x1.fffffep62)
                    : (isDouble ? 2147483647.0 : 0x1.fffffep30);
  Value valid = body.select(body.isNaN(x), body.number(0, type), x);
  Value bounded =
      body.clamp(valid, body.number(low, type), body.number(high, type));
  Value result = arith::FPToSIOp::create(b, middle, bounded);
  if (isUnsigned && width == 64) {
    // The upper half of the range does not go through the signed conversion.
    double top = isDouble ? 0x1.fffffffffffffp63 : 0x1.fffffep63;
    Value positive =
        body.clamp(valid, body.number(0, type), body.number(top, type));
    Value large = arith::FPToUIOp::create(b, middle, positive);
    result = body.select(body.lt(valid, body.number(0, type)), result, large);
  }
  return through == width ? result
                          : Value(arith::TruncIOp::create(
                                b, b.getIntegerType(width), result));
}

/// An f64 as f32 so that rounding once more, to less than 23 bits, is rounding
/// the f64 itself: what is not exact gets an odd last bit (Boldo and Melquiond,
/// When double rounding is odd, 2005).
static Value roundToOdd(Body &body, Value x) {
  ImplicitLocOpBuilder &b = body.b;
  Type f32 = b.getF32Type(), i32 = b.getI32Type();
  Value near = arith::TruncFOp::create(b, f32, x);
  Value back = arith::ExtFOp::create(b, x.getType(), near);
  Value bits = arith::BitcastOp::create(b, i32, near);
  Value isLarge = body.lt(body.abs(x), body.abs(back));
  Value down = body.select(isLarge, body.sub(bits, body.integer(1, i32)), bits);
  Value odd = arith::OrIOp::create(b, down, body.integer(1, i32));
  // NaN is no equal of itself and stays one: only bits of its payload change.
  Value exact = body.either(body.eq(x, back), body.isNaN(x));
  return arith::BitcastOp::create(b, f32, body.select(exact, bits, odd));
}

Value Body::convert(Value x, Type from, Type to, SmallFloatRounding rounding) {
  if (from == to)
    return x;
  Type f32 = b.getF32Type();
  if (isSmallFloat(from))
    return convert(decodeSmallFloat(b, x, from), f32, to, rounding);
  if (isSmallFloat(to)) {
    Value single =
        x.getType().isF64() ? roundToOdd(*this, x) : convert(x, from, f32);
    return encodeSmallFloat(b, single, to, rounding);
  }
  Type target = getScalarType(to);
  auto floatTarget = dyn_cast<FloatType>(target);
  if (isFloat(x)) {
    if (floatTarget) {
      unsigned have = x.getType().getIntOrFloatBitWidth(),
               want = floatTarget.getWidth();
      if (x.getType() == target)
        return x;
      if (have == want) // f16 and bf16
        return arith::TruncFOp::create(
            b, target, arith::ExtFOp::create(b, b.getF32Type(), x));
      return have < want ? Value(arith::ExtFOp::create(b, target, x))
                         : arith::TruncFOp::create(b, target, x);
    }
    if (target.isInteger(1))
      return ne(x, number(0, x.getType()));
    return floatToInteger(*this, widen(x), target.getIntOrFloatBitWidth(),
                          to.isUnsignedInteger());
  }
  bool isUnsigned = isUnsignedElement(from);
  if (floatTarget) {
    Type compute = getComputeType(target);
    Value result = isUnsigned ? Value(arith::UIToFPOp::create(b, compute, x))
                              : arith::SIToFPOp::create(b, compute, x);
    return narrow(result, target);
  }
  unsigned have = x.getType().getIntOrFloatBitWidth(),
           want = target.getIntOrFloatBitWidth();
  if (have == want)
    return x;
  if (want == 1)
    return ne(x, integer(0, x.getType()));
  if (have > want)
    return arith::TruncIOp::create(b, target, x);
  return isUnsigned ? Value(arith::ExtUIOp::create(b, target, x))
                    : arith::ExtSIOp::create(b, target, x);
}

Value Body::toIndex(Value x, bool isUnsigned) {
  if (x.getType().isIndex())
    return x;
  return isUnsigned
             ? Value(arith::IndexCastUIOp::create(b, b.getIndexType(), x))
             : arith::IndexCastOp::create(b, b.getIndexType(), x);
}

Value Body::fromIndex(Value x, Type to) {
  if (to.isIndex())
    return x;
  if (!isa<FloatType>(to))
    return arith::IndexCastOp::create(b, to, x);
  Value wide = arith::IndexCastOp::create(b, b.getI64Type(), x);
  return arith::SIToFPOp::create(b, to, wide);
}

Value Body::widen(Value x) {
  Type compute = getComputeType(x.getType());
  return compute == x.getType() ? x
                                : Value(arith::ExtFOp::create(b, compute, x));
}

Value Body::narrow(Value x, Type type) {
  return x.getType() == type ? x : Value(arith::TruncFOp::create(b, type, x));
}

} // namespace qcc::onnx_import
