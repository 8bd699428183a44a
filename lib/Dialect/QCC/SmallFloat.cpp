//===- SmallFloat.cpp - floats of 8 and 4 bits as their codes ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/SmallFloat.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

bool qcc::isSmallFloat(Type elementType) {
  auto type = dyn_cast<FloatType>(elementType);
  return type && type.getWidth() <= 8;
}

namespace {
/// A format with a sign: what its codes mean, without the sign bit.
struct Format {
  unsigned width, mantissa;
  int bias;
  int64_t largest; ///< code of the largest finite magnitude
  /// Code of infinity, or -1; of a NaN, which has the sign bit in FNUZ types.
  int64_t infinity, nan;
  bool signedZero;
};

Format getFormat(Type type) {
  if (isa<Float8E4M3FNType>(type))
    return {8, 3, 7, 0x7e, -1, 0x7f, true};
  if (isa<Float8E4M3FNUZType>(type))
    return {8, 3, 8, 0x7f, -1, 0x80, false};
  if (isa<Float8E5M2Type>(type))
    return {8, 2, 15, 0x7b, 0x7c, 0x7e, true};
  if (isa<Float8E5M2FNUZType>(type))
    return {8, 2, 16, 0x7f, -1, 0x80, false};
  assert(isa<Float4E2M1FNType>(type) && "not a small float with a sign");
  return {4, 1, 1, 0x7, -1, 0x8, true};
}

/// Integers of 32 bits and floats of the same size.
struct Bits {
  ImplicitLocOpBuilder &b;
  Type i32 = b.getI32Type(), f32 = b.getF32Type();

  Value number(int64_t value) {
    return arith::ConstantOp::create(
        b, IntegerAttr::get(i32, APInt(32, value, true, true)));
  }
  Value real(double value) {
    return arith::ConstantOp::create(b, b.getF32FloatAttr(value));
  }
  Value asInt(Value x) { return arith::BitcastOp::create(b, i32, x); }
  Value asFloat(Value x) { return arith::BitcastOp::create(b, f32, x); }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, x, y); }
  Value sub(Value x, Value y) { return arith::SubIOp::create(b, x, y); }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, x, y); }
  Value left(Value x, int64_t by) {
    return arith::ShLIOp::create(b, x, number(by));
  }
  Value right(Value x, int64_t by) {
    return arith::ShRUIOp::create(b, x, number(by));
  }
  /// Signed comparisons.
  Value is(arith::CmpIPredicate predicate, Value x, int64_t y) {
    return arith::CmpIOp::create(b, predicate, x, number(y));
  }
  Value less(Value x, int64_t y) { return is(arith::CmpIPredicate::slt, x, y); }
  Value more(Value x, int64_t y) { return is(arith::CmpIPredicate::sgt, x, y); }
  Value equal(Value x, int64_t y) { return is(arith::CmpIPredicate::eq, x, y); }
  Value select(Value condition, Value yes, Value no) {
    return arith::SelectOp::create(b, condition, yes, no);
  }
};

/// Bits of f32: infinity, quiet NaN, the sign.
constexpr int64_t kInfinity = 0x7f800000, kNaN = 0x7fc00000, kSign = 0x80000000;
} // namespace

/// 2^(code - 127): the code is the exponent field, 0 a denormal.
static Value decodeExponent(Bits bits, Value code) {
  Value normal = bits.asFloat(bits.left(code, 23));
  Value value = bits.select(bits.equal(code, 0), bits.real(0x1p-127), normal);
  return bits.select(bits.equal(code, 255), bits.asFloat(bits.number(kNaN)),
                     value);
}

Value qcc::decodeSmallFloat(ImplicitLocOpBuilder &b, Value code, Type type) {
  Bits bits{b};
  Value wide = arith::ExtUIOp::create(b, bits.i32, code);
  if (isa<Float8E8M0FNUType>(type))
    return decodeExponent(bits, wide);
  Format format = getFormat(type);
  int64_t signBit = int64_t(1) << (format.width - 1);
  Value magnitude = bits.both(wide, bits.number(signBit - 1));
  // In the place of an f32's exponent and mantissa the code is the value less
  // the difference of the biases; a product brings it there, denormals as well.
  Value value = arith::MulFOp::create(
      b, bits.asFloat(bits.left(magnitude, 23 - format.mantissa)),
      bits.real(std::ldexp(1.0, 127 - format.bias)));
  if (format.infinity >= 0)
    value = bits.select(bits.more(magnitude, format.infinity - 1),
                        bits.asFloat(bits.number(kInfinity)), value);
  Value sign = bits.left(bits.both(wide, bits.number(signBit)),
                         static_cast<int64_t>(32 - format.width));
  value = bits.asFloat(bits.either(bits.asInt(value), sign));
  if (type.getIntOrFloatBitWidth() < 8)
    return value;
  Value isNaN = !format.signedZero     ? bits.equal(wide, format.nan)
                : format.infinity >= 0 ? bits.more(magnitude, format.infinity)
                                       : bits.equal(magnitude, format.nan);
  return bits.select(isNaN, bits.asFloat(bits.number(kNaN)), value);
}

/// The exponent of `value`, rounded as `rounding` says.
static Value encodeExponent(Bits bits, Value value,
                            SmallFloatRounding rounding) {
  ImplicitLocOpBuilder &b = bits.b;
  // Bits of 2^-127, a denormal, and of 2^127.
  constexpr int64_t low = 0x00400000, high = 0x7f000000;
  auto compare = [&](arith::CmpFPredicate predicate) {
    return arith::CmpFOp::create(b, predicate, value, bits.real(0));
  };
  // Numbers that are not negative are ordered as their bits; -0 counts as 0.
  Value raw = bits.both(bits.asInt(value), bits.number(kSign - 1));
  Value invalid = bits.either(compare(arith::CmpFPredicate::OLT),
                              compare(arith::CmpFPredicate::UNO));
  if (!rounding.saturate)
    invalid = bits.either(
        invalid, bits.either(bits.less(raw, low), bits.more(raw, high)));
  Value bounded = arith::MinSIOp::create(
      b, arith::MaxSIOp::create(b, raw, bits.number(low)), bits.number(high));
  // Below the smallest normal the interval from 2^-127 to 2^-126 is stretched
  // to the width that all others have.
  Value stretched =
      bits.select(bits.less(bounded, 0x00800000),
                  bits.left(bits.sub(bounded, bits.number(low)), 1), bounded);
  int64_t bump = rounding.exponent == ExponentRounding::Up        ? 0x7fffff
                 : rounding.exponent == ExponentRounding::Nearest ? 0x400000
                                                                  : 0;
  Value code = bits.right(bits.add(stretched, bits.number(bump)), 23);
  return arith::TruncIOp::create(b, b.getI8Type(),
                                 bits.select(invalid, bits.number(255), code));
}

Value qcc::encodeSmallFloat(ImplicitLocOpBuilder &b, Value value, Type type,
                            SmallFloatRounding rounding) {
  Bits bits{b};
  if (isa<Float8E8M0FNUType>(type))
    return encodeExponent(bits, value, rounding);
  Format format = getFormat(type);
  int drop = 23 - static_cast<int>(format.mantissa);
  Value raw = bits.asInt(value);
  Value magnitude = bits.both(raw, bits.number(kSign - 1));
  // Normal numbers: half of the last place less one, plus the last bit kept,
  // carries where the rest rounds up; then the biases are exchanged.
  Value odd = bits.both(bits.right(magnitude, drop), bits.number(1));
  Value carried = bits.add(
      magnitude, bits.add(odd, bits.number((int64_t(1) << (drop - 1)) - 1)));
  Value normal =
      bits.sub(bits.right(carried, drop),
               bits.number(int64_t(127 - format.bias) << format.mantissa));
  // Denormal ones: the last place of `magic` is theirs, so that adding it
  // rounds to a multiple.
  double magic =
      std::ldexp(1.0, 23 + 1 - format.bias - static_cast<int>(format.mantissa));
  Value shifted =
      arith::AddFOp::create(b, bits.asFloat(magnitude), bits.real(magic));
  Value denormal = bits.sub(bits.asInt(shifted), bits.asInt(bits.real(magic)));
  int64_t smallestNormal = int64_t(127 + 1 - format.bias) << 23;
  Value code =
      bits.select(bits.less(magnitude, smallestNormal), denormal, normal);
  bool saturate = rounding.saturate || format.width < 8;
  int64_t above = saturate               ? format.largest
                  : format.infinity >= 0 ? format.infinity
                                         : format.nan;
  code = bits.select(bits.more(code, format.largest), bits.number(above), code);
  Value isNaN = bits.more(magnitude, kInfinity);
  code = bits.select(isNaN, bits.number(format.nan), code);
  Value sign = bits.both(bits.right(raw, 32 - static_cast<int>(format.width)),
                         bits.number(int64_t(1) << (format.width - 1)));
  if (!format.signedZero) // NaN is the only code with a sign and no magnitude.
    sign = bits.select(bits.equal(code, 0), bits.number(0), sign);
  code = bits.either(code, sign);
  return arith::TruncIOp::create(b, getScalarType(type), code);
}
