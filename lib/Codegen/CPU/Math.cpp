//===- Math.cpp - transcendental functions as polynomials -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Functions of f32 without branches, tables or calls, so that a loop around
// them is vectorised like any other. Inputs of all kinds are served: NaN,
// infinities, denormals, huge ones. Bounds: docs/numerics.md; test/Numerics
// measures them.
//
//===----------------------------------------------------------------------===//
#include "MathBuilder.h"
#include "MathCoefficients.h"
#include "MathPasses.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Matchers.h"
#include "qcc/Codegen/Lowering.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace qcc;

static constexpr double kLn2 = 0.693147180559945309417;
static constexpr double kLog2E = 1.442695040888963407360;
static constexpr double kInfinity = std::numeric_limits<double>::infinity();
static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// ln(2) as 17 bits, so that products with exponents are exact, and the rest.
static constexpr double kLn2High = 0.693145751953125;
static constexpr double kLn2Low = 1.42860682030941723212e-6;
/// Adding it rounds an f32 to an integer, half to even, in the low bits of the
/// sum.
static constexpr double kRound = 12582912.0; // 1.5 * 2^23
static constexpr int64_t kRoundBits = 0x4B400000;

namespace {
/// x = n * ln(2) + r with |r| <= ln(2) / 2.
struct Exponent {
  Value n, r; // i32, f32
};
} // namespace

static Exponent reduceExponent(MathBuilder &b, Value x) {
  Value sum = b.fma(x, b.num(kLog2E, x), b.num(kRound, x));
  Value n = b.sub(sum, b.num(kRound, x));
  Value r = b.fma(n, b.num(-kLn2High, x), x);
  r = b.fma(n, b.num(-kLn2Low, x), r);
  Value bits = b.bits(sum);
  return {b.subI(bits, b.integer(kRoundBits, bits)), r};
}

/// 2^n for -126 <= n <= 127; 0 for n = -127 and infinity for n = 128.
static Value power(MathBuilder &b, Value n) {
  Value biased = b.addI(n, b.integer(127, n));
  return b.fromBits(b.shiftLeft(biased, 23), b.getF32Type());
}

/// a * 2^n for -252 <= n <= 254, with one rounding.
static Value scale(MathBuilder &b, Value a, Value n) {
  Value half = b.shiftRight(n, 1);
  return b.mul(b.mul(a, power(b, half)), power(b, b.subI(n, half)));
}

/// exp(r) - 1 for |r| <= ln(2) / 2.
static Value expm1Reduced(MathBuilder &b, Value r) {
  Value square = b.mul(r, r);
  return b.fma(square, b.polynomial(kExpm1, r), r);
}

static Value buildExp(MathBuilder &b, Value x) {
  // Beyond the ends the result is infinite or zero already.
  Exponent e = reduceExponent(b, b.clamp(x, -104.0, 89.0));
  return scale(b, b.add(expm1Reduced(b, e.r), b.num(1.0, x)), e.n);
}

/// The same where results outside of the normal numbers need not be exact:
/// below 2^-126.5 they are 0, above 2^127.5 infinite.
static Value buildNormalExp(MathBuilder &b, Value x) {
  // The powers at both ends are 0 and infinity.
  Exponent e = reduceExponent(b, b.clamp(x, -88.0, 89.0));
  return b.mul(b.add(expm1Reduced(b, e.r), b.num(1.0, x)), power(b, e.n));
}

static Value buildExp2(MathBuilder &b, Value x) {
  Value limited = b.clamp(x, -151.0, 129.0);
  Value sum = b.add(limited, b.num(kRound, x));
  Value r = b.sub(limited, b.sub(sum, b.num(kRound, x)));
  Value bits = b.bits(sum);
  Value n = b.subI(bits, b.integer(kRoundBits, bits));
  Value mantissa =
      b.add(expm1Reduced(b, b.mul(r, b.num(kLn2, x))), b.num(1.0, x));
  return scale(b, mantissa, n);
}

/// Half of exp(x) - 1, where it is no larger than the largest float: 2^n
/// (expm1(r) + 1) - 1 at half the size, as 2^128 would overflow.
static Value buildHalfExpm1(MathBuilder &b, Exponent e) {
  Value factor = power(b, b.subI(e.n, b.integer(1, e.n)));
  return b.fma(factor, expm1Reduced(b, e.r), b.sub(factor, b.num(0.5, factor)));
}

static Value buildExpm1(MathBuilder &b, Value x) {
  Value half = buildHalfExpm1(b, reduceExponent(b, b.clamp(x, -18.0, 89.0)));
  return b.copySign(b.add(half, half), x);
}

namespace {
/// log(x) = e * ln(2) + log(1 + f) with sqrt(1/2) <= 1 + f < sqrt(2).
struct Logarithm {
  Value e, f, tail; // log(1 + f) = f + tail
};
} // namespace

static Logarithm reduceLog(MathBuilder &b, Value x) {
  // Denormals are made normal first.
  Value tiny = b.less(x, b.num(0x1p-126, x));
  Value scaled = b.select(tiny, b.mul(x, b.num(0x1p25, x)), x);
  Value bits = b.bits(scaled);
  Value offset = b.subI(bits, b.integer(0x3F3504F3, bits)); // sqrt(1/2)
  Value e = b.shiftRight(offset, 23);
  Value mantissa = b.fromBits(b.subI(bits, b.shiftLeft(e, 23)), b.getF32Type());
  e = b.subI(e, b.select(tiny, b.integer(25, e), b.integer(0, e)));
  Value f = b.sub(mantissa, b.num(1.0, x));
  Value square = b.mul(f, f);
  Value tail = b.mul(b.mul(square, f), b.polynomial(kLog1p, f));
  tail = b.fma(square, b.num(-0.5, x), tail);
  return {arith::SIToFPOp::create(b, x.getType(), e), f, tail};
}

/// Puts the results for 0, negative, infinite and NaN inputs in place.
static Value finishLog(MathBuilder &b, Value x, Value result) {
  result = b.select(b.equal(x, b.num(0.0, x)), b.num(-kInfinity, x), result);
  Value special = b.cmp(arith::CmpFPredicate::UGE, x, b.num(kInfinity, x));
  result = b.select(special, x, result); // also NaN
  return b.select(b.less(x, b.num(0.0, x)), b.num(kNaN, x), result);
}

static Value buildLog(MathBuilder &b, Value x) {
  Logarithm l = reduceLog(b, x);
  Value result = b.add(l.f, b.fma(l.e, b.num(kLn2Low, x), l.tail));
  result = b.fma(l.e, b.num(kLn2High, x), result);
  return finishLog(b, x, result);
}

/// Logarithm to another base: `factor` is that of the natural one, split so
/// that the product with f is exact to its last bit; `unit` the logarithm of 2.
static Value buildLogBase(MathBuilder &b, Value x, double factor, double unit) {
  double high = static_cast<float>(factor), low = factor - high;
  double unitHigh = std::ldexp(std::round(std::ldexp(unit, 16)), -16);
  Logarithm l = reduceLog(b, x);
  Value result = b.mul(l.tail, b.num(high, x));
  result = b.fma(l.f, b.num(low, x), result);
  result = b.fma(l.e, b.num(unit - unitHigh, x), result);
  result = b.fma(l.f, b.num(high, x), result);
  result = b.fma(l.e, b.num(unitHigh, x), result);
  return finishLog(b, x, result);
}

static Value buildLog1p(MathBuilder &b, Value x) {
  Value one = b.num(1.0, x);
  Value u = b.add(x, one);
  // What the sum lost: exact, the larger operand first.
  Value lost = b.select(b.less(one, x), b.sub(one, b.sub(u, x)),
                        b.sub(x, b.sub(u, one)));
  Value log = buildLog(b, u);
  Value corrected = b.add(log, b.div(lost, u));
  Value special = b.cmp(arith::CmpFPredicate::UGE, b.abs(log),
                        b.num(kInfinity, x)); // u is 0, infinite or NaN
  Value result = b.select(special, log, corrected);
  return b.select(b.equal(x, b.num(0.0, x)), x, result);
}

static Value buildTanh(MathBuilder &b, Value x) {
  // From 10 on the result is 1.
  Value t = b.clamp(b.abs(x), 0.0, 10.0);
  // h / (h + 1) with h = (exp(2t) - 1) / 2.
  Exponent e = reduceExponent(b, b.add(t, t));
  Value half = buildHalfExpm1(b, e);
  Value quotient = b.div(half, b.add(half, b.num(1.0, x)));
  // h - h * h / (h + 1) has the rounding errors of the quotient in a small
  // term.
  Value small = b.fma(arith::NegFOp::create(b, half), quotient, half);
  Value isSmall = b.less(half, b.num(0.5, x));
  return b.copySign(b.select(isSmall, small, quotient), x);
}

static Value buildErf(MathBuilder &b, Value x) {
  Value t = b.abs(x), square = b.mul(x, x), one = b.num(1.0, x);
  Value small = b.fma(t, b.polynomial(kErfSmall, square), t);
  // From 4 on the result is 1.
  Value u = b.sub(b.clamp(t, 0.0, 4.0), one);
  Value exponent = b.polynomial(kErfLarge, u);
  Exponent e = reduceExponent(b, arith::NegFOp::create(b, exponent));
  Value complement = b.mul(b.add(expm1Reduced(b, e.r), one), power(b, e.n));
  Value large = b.sub(one, complement);
  return b.copySign(b.select(b.less(t, one), small, large), x);
}

/// erf with an absolute error of at most 1e-6: 1 and -1 from 3.6 on, exactly,
/// and one polynomial in place of two and an exponential.
static Value buildErfAbsolute(MathBuilder &b, Value x) {
  constexpr double kEnd = 3.6;
  Value one = b.num(1.0, x);
  // A number times a constant (GELU's x / sqrt(2)) takes one product in all.
  double factor = 1;
  if (auto product = x.getDefiningOp<arith::MulFOp>()) {
    APFloat constant(0.0f);
    if (matchPattern(product.getRhs(), m_ConstantFloat(&constant)) &&
        constant.isNormal()) {
      factor = constant.convertToDouble();
      x = product.getLhs();
    }
  }
  Value t = b.clamp(b.mul(x, b.num(factor / kEnd, x)), -1.0, 1.0);
  Value u = b.fma(b.mul(t, t), b.num(2.0, x), b.num(-1.0, x));
  Value share = b.fma(b.polynomial(kErfAbsolute, u), b.sub(u, one), one);
  return b.mul(t, share);
}

//===----------------------------------------------------------------------===//
// sin and cos
//===----------------------------------------------------------------------===//

namespace {
/// x = quadrant * pi/2 + r modulo 2 pi, |r| <= pi/4.
struct Quadrant {
  Value q, r; // i32, f32
};
} // namespace

/// The product of x with 2/pi modulo 4, for any finite x. 2/pi is taken in
/// pieces of at most 29 bits, so that the product of a piece with the 24 bits
/// of an f32 is exact in f64; whole turns are dropped before a sum could round.
static Quadrant reduceQuadrant(MathBuilder &b, Value x) {
  // 2/pi, 28 bits each: the numbers are piece * 2^(-28 (i + 1)).
  static constexpr int64_t kPieces[] = {0xA2F9836, 0xE4E4415, 0x29FC275,
                                        0x7D1F534, 0xDDC0DB6, 0x295993C,
                                        0x439041F, 0xE5163AB};
  Value wide = b.convert(x, b.getF64Type());
  Value zero = b.num(0.0, wide), sum = zero, turns = zero;
  auto round = [&](Value a) -> Value {
    return math::RoundEvenOp::create(b, a);
  };
  for (auto [i, piece] : llvm::enumerate(kPieces)) {
    Value part = b.mul(wide, b.num(std::ldexp(static_cast<double>(piece),
                                              -28 * (static_cast<int>(i) + 1)),
                                   wide));
    // Drop multiples of 4 exactly.
    Value quarter = round(b.mul(part, b.num(0.25, wide)));
    part = b.fma(quarter, b.num(-4.0, wide), part);
    Value next = b.add(sum, part);
    Value whole = round(next);
    // With |sum| <= 1/2 the difference is exact.
    sum = b.add(b.sub(sum, whole), part);
    turns = b.add(turns, whole);
  }
  Value r = b.convert(b.mul(sum, b.num(1.57079632679489661923, wide)),
                      b.getF32Type());
  // |turns| <= 20: the rounding constant puts it in the low bits. NaN ends as
  // some number, r is NaN then.
  Value narrow = b.convert(turns, b.getF32Type());
  Value q = b.bits(b.add(narrow, b.num(kRound, narrow)));
  return {q, r};
}

/// sin of (q + shift) quadrants + r.
static Value buildSine(MathBuilder &b, Value x, int64_t shift) {
  Quadrant reduced = reduceQuadrant(b, x);
  Value r = reduced.r, square = b.mul(r, r);
  Value q = b.addI(reduced.q, b.integer(shift, reduced.q));
  Value sine = b.fma(b.mul(r, square), b.polynomial(kSin, square), r);
  Value cosine = b.fma(b.mul(square, square), b.polynomial(kCos, square),
                       b.fma(square, b.num(-0.5, x), b.num(1.0, x)));
  Value odd = arith::AndIOp::create(b, q, b.integer(1, q));
  Value isOdd =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ne, odd, b.integer(0, q));
  Value result = b.select(isOdd, cosine, sine);
  Value second = arith::AndIOp::create(b, q, b.integer(2, q));
  Value sign = b.shiftLeft(second, 30);
  result = b.fromBits(arith::XOrIOp::create(b, b.bits(result), sign),
                      b.getF32Type());
  Value finite = b.less(b.abs(x), b.num(kInfinity, x));
  result = b.select(finite, result, b.num(kNaN, x));
  // -0 of the sine.
  return shift == 0 ? b.select(b.equal(x, b.num(0.0, x)), x, result) : result;
}

//===----------------------------------------------------------------------===//
// pow
//===----------------------------------------------------------------------===//

/// log2 of a positive f64 that was an f32, to about 48 bits.
static Value log2Wide(MathBuilder &b, Value x) {
  Value bits = b.bits(x, 64);
  Value offset = b.subI(bits, b.integer(0x3FE6A09E667F3BCD, bits)); // sqrt(1/2)
  Value e = b.shiftRight(offset, 52);
  Value mantissa = b.fromBits(b.subI(bits, b.shiftLeft(e, 52)), b.getF64Type());
  Value one = b.num(1.0, x);
  Value s = b.div(b.sub(mantissa, one), b.add(mantissa, one));
  // log(m) = 2 atanh(s); the series, |s| <= 0.172.
  static constexpr double kSeries[] = {1.0,     1.0 / 3,  1.0 / 5,  1.0 / 7,
                                       1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15};
  Value log = b.mul(s, b.polynomial(kSeries, b.mul(s, s)));
  // Through i32: there is no conversion of i64 before AVX-512.
  Type i32 = b.typeLike(x.getType(), b.getI32Type());
  Value exponent = arith::SIToFPOp::create(b, x.getType(),
                                           arith::TruncIOp::create(b, i32, e));
  return b.fma(log, b.num(2 * kLog2E, x), exponent);
}

/// 2^w for |w| <= 1000, to about 36 bits.
static Value exp2Wide(MathBuilder &b, Value w) {
  Value n = math::RoundEvenOp::create(b, w);
  Value r = b.mul(b.sub(w, n), b.num(kLn2, w));
  static constexpr double kSeries[] = {
      1.0,       1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,
      1.0 / 120, 1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880.0};
  Value mantissa = b.polynomial(kSeries, r);
  // The rounding constant of f64 leaves the integer in the low bits.
  Value bits = b.bits(b.add(n, b.num(0x1.8p52, n)), 64);
  Value biased = b.addI(bits, b.integer(1023, bits));
  return b.mul(mantissa, b.fromBits(b.shiftLeft(biased, 52), b.getF64Type()));
}

/// The sign and the cases of pow(x, y) that the magnitude does not give.
static Value finishPow(MathBuilder &b, Value x, Value y, Value magnitude) {
  Value zero = b.num(0.0, x), one = b.num(1.0, x), half = b.num(0.5, y);
  auto isWhole = [&](Value a) {
    return b.equal(math::TruncOp::create(b, a), a);
  };
  Value whole = isWhole(y), evenHalf = isWhole(b.mul(y, half));
  Value signedResult = b.copySign(magnitude, x);
  Value result =
      b.select(whole, b.select(evenHalf, magnitude, signedResult), magnitude);
  // A negative finite base to a fraction has no value.
  Value negative = arith::AndIOp::create(b, b.less(x, zero),
                                         b.less(b.num(-kInfinity, x), x));
  Value undefined = arith::SelectOp::create(
      b, whole, arith::ConstantOp::create(b, b.getZeroAttr(whole.getType())),
      negative);
  result = b.select(undefined, b.num(kNaN, x), result);
  Value unordered = b.cmp(arith::CmpFPredicate::UNO, x, y);
  result = b.select(unordered, b.add(x, y), result);
  // (-1)^inf is 1; so are 1^y and x^0, for NaN too.
  Value minusOne = arith::AndIOp::create(
      b, b.equal(x, b.num(-1.0, x)), b.equal(b.abs(y), b.num(kInfinity, y)));
  Value unit = arith::OrIOp::create(
      b, minusOne, arith::OrIOp::create(b, b.equal(x, one), b.equal(y, zero)));
  return b.select(unit, one, result);
}

static Value buildPow(MathBuilder &b, Value x, Value y) {
  Type f64 = b.getF64Type();
  Value base = b.convert(b.abs(x), f64), exponent = b.convert(y, f64);
  Value log = log2Wide(b, base);
  Value zero = b.num(0.0, base), infinity = b.num(kInfinity, base);
  log = b.select(b.equal(base, zero), b.num(-kInfinity, base), log);
  log = b.select(b.equal(base, infinity), infinity, log);
  // 2^200 and 2^-200 are infinite and zero as f32.
  Value w = b.clamp(b.mul(log, exponent), -200.0, 200.0);
  Value magnitude = b.convert(exp2Wide(b, w), b.getF32Type());
  return finishPow(b, x, y, magnitude);
}

//===----------------------------------------------------------------------===//
// Which operation becomes what
//===----------------------------------------------------------------------===//

/// Whether a function need not be right everywhere (docs/numerics.md).
static bool isApproximate(arith::ArithFastMathInterface op) {
  return arith::bitEnumContainsAll(op.getFastMathFlagsAttr().getValue(),
                                   arith::FastMathFlags::afn);
}

static Value expand(MathBuilder &b, Operation *op) {
  Value x = op->getOperand(0);
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<math::ExpOp>([&](math::ExpOp exp) {
        return isApproximate(exp) ? buildNormalExp(b, x) : buildExp(b, x);
      })
      .Case<math::Exp2Op>([&](auto) { return buildExp2(b, x); })
      .Case<math::ExpM1Op>([&](auto) { return buildExpm1(b, x); })
      .Case<math::LogOp>([&](auto) { return buildLog(b, x); })
      .Case<math::Log2Op>([&](auto) { return buildLogBase(b, x, kLog2E, 1.0); })
      .Case<math::Log10Op>([&](auto) {
        return buildLogBase(b, x, 0.434294481903251827651,
                            0.301029995663981195214);
      })
      .Case<math::Log1pOp>([&](auto) { return buildLog1p(b, x); })
      .Case<math::TanhOp>([&](auto) { return buildTanh(b, x); })
      .Case<math::ErfOp>([&](math::ErfOp erf) {
        return isApproximate(erf) ? buildErfAbsolute(b, x) : buildErf(b, x);
      })
      .Case<math::SinOp>([&](auto) { return buildSine(b, x, 0); })
      .Case<math::CosOp>([&](auto) { return buildSine(b, x, 1); })
      .Case<math::PowFOp>(
          [&](auto) { return buildPow(b, x, op->getOperand(1)); })
      .Default([](Operation *) { return Value(); });
}

static void rewrite(Operation *op, Value replacement) {
  op->getResult(0).replaceAllUsesWith(replacement);
  op->erase();
}

/// Exact mode: computes an f32 function in f64, for libm.
static Value widen(MathBuilder &b, Operation *op) {
  IRMapping mapping;
  for (Value operand : op->getOperands())
    mapping.map(operand, b.convert(operand, b.getF64Type()));
  OperationState state(op->getLoc(), op->getName());
  for (Value operand : op->getOperands())
    state.addOperands(mapping.lookup(operand));
  state.addTypes(b.typeLike(op->getResult(0).getType(), b.getF64Type()));
  return b.convert(b.create(state)->getResult(0), b.getF32Type());
}

bool qcc::isTranscendental(Operation *op) {
  return isa<math::AcosOp, math::AcoshOp, math::AsinOp, math::AsinhOp,
             math::AtanOp, math::Atan2Op, math::AtanhOp, math::CbrtOp,
             math::CosOp, math::CoshOp, math::ErfOp, math::ErfcOp, math::ExpOp,
             math::Exp2Op, math::ExpM1Op, math::LogOp, math::Log10Op,
             math::Log1pOp, math::Log2Op, math::PowFOp, math::SinOp,
             math::SinhOp, math::TanOp, math::TanhOp>(op);
}

bool qcc::computesFunctions(GenericOp generic) {
  return generic.getBody()
      .walk([](Operation *op) {
        return isTranscendental(op) ? WalkResult::interrupt()
                                    : WalkResult::advance();
      })
      .wasInterrupted();
}

/// expm1 and log1p of f64 as calls of libm: MLIR's own lowering, exp(x) - 1 and
/// log(1 + x), loses all digits of small results.
static Value callLibm(MathBuilder &b, Operation *op, StringRef name) {
  auto module = op->getParentOfType<ModuleOp>();
  auto function = module.lookupSymbol<func::FuncOp>(name);
  Type f64 = b.getF64Type();
  if (!function) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    function = func::FuncOp::create(b, name, b.getFunctionType(f64, f64));
    function.setPrivate();
  }
  Value x = op->getOperand(0);
  auto vector = dyn_cast<VectorType>(x.getType());
  if (!vector)
    return func::CallOp::create(b, function, x).getResult(0);
  Value result = b.num(0.0, x);
  for (int64_t i = 0, e = vector.getNumElements(); i < e; ++i) {
    Value lane = vector::ExtractOp::create(b, x, ArrayRef<int64_t>{i});
    Value value = func::CallOp::create(b, function, lane).getResult(0);
    result = vector::InsertOp::create(b, value, result, ArrayRef<int64_t>{i});
  }
  return result;
}

void qcc::expandMath(Operation *root, const Capabilities &caps) {
  promoteSmallFloats(root);
  makeDivisionsSafe(root);
  expandSimpleMath(root, caps.exactMath);
  SmallVector<Operation *> work;
  root->walk([&](Operation *op) {
    if (isTranscendental(op) &&
        getElementTypeOrSelf(op->getResult(0).getType()).isF32())
      work.push_back(op);
  });
  for (Operation *op : work) {
    MathBuilder b(op->getLoc(), op);
    Value result = caps.exactMath ? widen(b, op) : expand(b, op);
    if (result)
      rewrite(op, result);
  }
  work.clear();
  root->walk([&](Operation *op) {
    if (isa<math::ExpM1Op, math::Log1pOp>(op) &&
        getElementTypeOrSelf(op->getResult(0).getType()).isF64())
      work.push_back(op);
  });
  for (Operation *op : work) {
    MathBuilder b(op->getLoc(), op);
    rewrite(op, callLibm(b, op, isa<math::ExpM1Op>(op) ? "expm1" : "log1p"));
  }
}
