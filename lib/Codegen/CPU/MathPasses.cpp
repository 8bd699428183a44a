//===- MathPasses.cpp - arithmetic beyond the machine's ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "MathPasses.h"
#include "MathBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include <limits>

using namespace mlir;
using namespace qcc;

static Type elementType(Value value) {
  return getElementTypeOrSelf(value.getType());
}

static bool isSmallFloat(Type type) { return type.isF16() || type.isBF16(); }

/// Calls `f` on every operation below `root` that `filter` takes; `f` may erase
/// it.
template <typename Filter, typename Function>
static void forEach(Operation *root, Filter filter, Function f) {
  SmallVector<Operation *> work;
  root->walk([&](Operation *op) {
    if (filter(op))
      work.push_back(op);
  });
  for (Operation *op : work)
    f(op);
}

static void replace(Operation *op, Value value) {
  op->getResult(0).replaceAllUsesWith(value);
  op->erase();
}

//===----------------------------------------------------------------------===//
// 16-bit floats
//===----------------------------------------------------------------------===//

/// f32 to bf16, half to even; NaN stays NaN.
static Value truncateToBF16(MathBuilder &b, Value x) {
  Value bits = b.bits(x);
  Value lowest = arith::AndIOp::create(
      b, arith::ShRUIOp::create(b, bits, b.integer(16, bits)),
      b.integer(1, bits));
  Value rounded = b.addI(b.addI(bits, b.integer(0x7FFF, bits)), lowest);
  Value quiet = arith::OrIOp::create(b, bits, b.integer(0x400000, bits));
  Value isNaN = b.cmp(arith::CmpFPredicate::UNO, x, x);
  Value chosen = b.select(isNaN, quiet, rounded);
  Value top = arith::TruncIOp::create(
      b, b.typeLike(x.getType(), b.getIntegerType(16)),
      arith::ShRUIOp::create(b, chosen, b.integer(16, chosen)));
  return b.fromBits(top, b.getBF16Type());
}

static Value extendBF16(MathBuilder &b, Value x) {
  Value wide = arith::ExtUIOp::create(
      b, b.typeLike(x.getType(), b.getI32Type()), b.bits(x, 16));
  return b.fromBits(b.shiftLeft(wide, 16), b.getF32Type());
}

/// f64 to f32, rounded to odd: what is lost shows in the last bit, so that
/// rounding on to 16 bits is the same as rounding once.
static Value truncateToOdd(MathBuilder &b, Value x) {
  Value nearest = b.convert(x, b.getF32Type());
  Value back = b.convert(nearest, b.getF64Type());
  Value bits = b.bits(nearest);
  Value beyond = b.less(b.abs(x), b.abs(back));
  bits = b.select(beyond, b.subI(bits, b.integer(1, bits)), bits);
  Value odd = arith::OrIOp::create(b, bits, b.integer(1, bits));
  Value inexact = b.cmp(arith::CmpFPredicate::ONE, back, x);
  return b.fromBits(b.select(inexact, odd, bits), b.getF32Type());
}

/// f64 to f16 by way of f32: no machine of ours does it in one step.
static void convertDoubleToHalf(Operation *op) {
  MathBuilder b(op->getLoc(), op);
  Value wide = truncateToOdd(b, op->getOperand(0));
  replace(op, b.convert(wide, b.getF16Type()));
}

/// Computes an operation on 16-bit floats in f32.
static void promote(Operation *op) {
  MathBuilder b(op->getLoc(), op);
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(isSmallFloat(elementType(operand))
                           ? b.convert(operand, b.getF32Type())
                           : operand);
  Type resultType = op->getResult(0).getType();
  Type element = getElementTypeOrSelf(resultType);
  bool back = isSmallFloat(element);
  OperationState state(op->getLoc(), op->getName());
  state.addOperands(operands);
  state.addTypes(back ? b.typeLike(resultType, b.getF32Type()) : resultType);
  state.propertiesAttr = op->getPropertiesAsAttribute();
  Value result = b.create(state)->getResult(0);
  replace(op, back ? b.convert(result, element) : result);
}

/// Conversions of bf16 by integer operations; between f64 and bf16 through
/// f32.
static void convertBF16(Operation *op) {
  MathBuilder b(op->getLoc(), op);
  Value x = op->getOperand(0);
  Type to = elementType(op->getResult(0));
  if (to.isBF16()) {
    if (!elementType(x).isF32())
      x = truncateToOdd(b, x);
    return replace(op, truncateToBF16(b, x));
  }
  Value wide = extendBF16(b, x);
  replace(op, to.isF32() ? wide : b.convert(wide, to));
}

void qcc::promoteSmallFloats(Operation *root) {
  auto touchesSmall = [](Operation *op) {
    if (op->getNumResults() != 1 || !op->hasTrait<OpTrait::Vectorizable>() ||
        isa<arith::ExtFOp, arith::TruncFOp, arith::SelectOp, arith::BitcastOp>(
            op))
      return false;
    return llvm::any_of(op->getOperands(),
                        [](Value v) { return isSmallFloat(elementType(v)); }) ||
           isSmallFloat(elementType(op->getResult(0)));
  };
  forEach(root, touchesSmall, promote);
  auto isBF16Conversion = [](Operation *op) {
    return isa<arith::ExtFOp, arith::TruncFOp>(op) &&
           (elementType(op->getOperand(0)).isBF16() ||
            elementType(op->getResult(0)).isBF16());
  };
  forEach(root, isBF16Conversion, convertBF16);
  auto isDoubleToHalf = [](Operation *op) {
    return isa<arith::TruncFOp>(op) && elementType(op->getOperand(0)).isF64() &&
           elementType(op->getResult(0)).isF16();
  };
  forEach(root, isDoubleToHalf, convertDoubleToHalf);
}

//===----------------------------------------------------------------------===//
// Integer division
//===----------------------------------------------------------------------===//

void qcc::makeDivisionsSafe(Operation *root) {
  auto isDivision = [](Operation *op) {
    return isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp>(
               op) &&
           !elementType(op->getResult(0)).isIndex() &&
           !matchPattern(op->getOperand(1), m_Constant());
  };
  forEach(root, isDivision, [](Operation *op) {
    MathBuilder b(op->getLoc(), op);
    Value divisor = op->getOperand(1), one = b.integer(1, divisor);
    Value bad = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, divisor,
                                      b.integer(0, divisor));
    if (isa<arith::DivSIOp, arith::RemSIOp>(op)) {
      Value minusOne = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                             divisor, b.integer(-1, divisor));
      unsigned width = elementType(divisor).getIntOrFloatBitWidth();
      Value dividend = op->getOperand(0);
      Value smallest =
          arith::CmpIOp::create(b, arith::CmpIPredicate::eq, dividend,
                                b.integer(llvm::minIntN(width), dividend));
      bad = arith::OrIOp::create(b, bad,
                                 arith::AndIOp::create(b, minusOne, smallest));
    }
    op->setOperand(1, b.select(bad, one, divisor));
  });
}

//===----------------------------------------------------------------------===//
// Operations made of simpler ones
//===----------------------------------------------------------------------===//

/// base^exponent of integers by squaring; wraps. Negative exponents give what
/// an integer can hold of the fraction.
static Value buildIntegerPower(MathBuilder &b, Value base, Value exponent) {
  Type type = base.getType();
  Value one = b.integer(1, base), zero = b.integer(0, base);
  using Predicate = arith::CmpIPredicate;
  auto cmp = [&](Predicate predicate, Value x, Value y) -> Value {
    return arith::CmpIOp::create(b, predicate, x, y);
  };
  auto loop = scf::WhileOp::create(
      b, TypeRange{type, type, type}, ValueRange{one, base, exponent},
      [&](OpBuilder &inner, Location loc, ValueRange args) {
        Value more =
            arith::CmpIOp::create(inner, loc, Predicate::sgt, args[2], zero);
        scf::ConditionOp::create(inner, loc, more, args);
      },
      [&](OpBuilder &inner, Location loc, ValueRange args) {
        Value bit = arith::AndIOp::create(inner, loc, args[2], one);
        Value odd = arith::CmpIOp::create(inner, loc, Predicate::ne, bit, zero);
        Value product = arith::MulIOp::create(inner, loc, args[0], args[1]);
        Value next = arith::SelectOp::create(inner, loc, odd, product, args[0]);
        Value square = arith::MulIOp::create(inner, loc, args[1], args[1]);
        Value rest = arith::ShRSIOp::create(inner, loc, args[2], one);
        scf::YieldOp::create(inner, loc, ValueRange{next, square, rest});
      });
  Value power = loop.getResult(0), minusOne = b.integer(-1, base);
  // 1/1 = 1, 1/-1 = +-1, all other fractions are 0.
  Value oddExponent =
      cmp(Predicate::ne, arith::AndIOp::create(b, exponent, one), zero);
  Value fraction = b.select(cmp(Predicate::eq, base, one), one, zero);
  fraction = b.select(cmp(Predicate::eq, base, minusOne),
                      b.select(oddExponent, minusOne, one), fraction);
  return b.select(cmp(Predicate::slt, exponent, zero), fraction, power);
}

/// x to the power of a small whole constant, by multiplications; null for
/// others.
static Value buildSmallPower(MathBuilder &b, Value x, Value exponent) {
  Attribute attr;
  if (!matchPattern(exponent, m_Constant(&attr)))
    return {};
  if (auto splat = dyn_cast<SplatElementsAttr>(attr))
    attr = splat.getSplatValue<Attribute>();
  auto number = dyn_cast<FloatAttr>(attr);
  if (!number)
    return {};
  double value = number.getValueAsDouble();
  if (value == 1)
    return x;
  if (value == 2)
    return b.mul(x, x);
  if (value == 3)
    return b.mul(b.mul(x, x), x);
  return {};
}

/// The nearest integer, ties to even, of an f32: one instruction in place of a
/// rounding and a conversion that cuts off.
static Value roundToInteger(MathBuilder &b, arith::FPToSIOp op) {
  auto rounded = op.getIn().getDefiningOp<math::RoundEvenOp>();
  Type from = getElementTypeOrSelf(op.getIn()), to = getElementTypeOrSelf(op);
  if (!rounded || !from.isF32() || !to.isSignlessInteger(32))
    return {};
  return LLVM::LrintOp::create(b, op.getType(), rounded.getOperand());
}

static Value expandSimple(MathBuilder &b, Operation *op) {
  Value x = op->getOperand(0);
  if (auto convert = dyn_cast<arith::FPToSIOp>(op))
    return roundToInteger(b, convert);
  if (isa<math::PowFOp>(op))
    return buildSmallPower(b, x, op->getOperand(1));
  double infinity = std::numeric_limits<double>::infinity();
  if (isa<math::RsqrtOp>(op))
    return b.div(b.num(1.0, x), math::SqrtOp::create(b, x));
  if (isa<math::IsInfOp>(op))
    return b.equal(b.abs(x), b.num(infinity, x));
  if (isa<math::IsNaNOp>(op))
    return b.cmp(arith::CmpFPredicate::UNO, x, x);
  if (isa<math::IsFiniteOp>(op))
    return b.less(b.abs(x), b.num(infinity, x));
  if (auto clamp = dyn_cast<math::ClampFOp>(op)) {
    Value low = arith::MaximumFOp::create(b, x, clamp.getMin());
    return arith::MinimumFOp::create(b, low, clamp.getMax());
  }
  if (isa<math::FPowIOp>(op)) {
    Value exponent = arith::SIToFPOp::create(b, x.getType(), op->getOperand(1));
    return math::PowFOp::create(b, x, exponent);
  }
  if (isa<math::IPowIOp>(op) && !isa<VectorType>(x.getType()))
    return buildIntegerPower(b, x, op->getOperand(1));
  return {};
}

void qcc::expandSimpleMath(Operation *root, bool exact) {
  auto isSimple = [&](Operation *op) {
    return isa<math::RsqrtOp, math::IsInfOp, math::IsNaNOp, math::IsFiniteOp,
               math::ClampFOp, math::FPowIOp, math::IPowIOp>(op) ||
           (isa<math::PowFOp, arith::FPToSIOp>(op) && !exact);
  };
  forEach(root, isSimple, [](Operation *op) {
    MathBuilder b(op->getLoc(), op);
    if (Value value = expandSimple(b, op))
      replace(op, value);
  });
}
