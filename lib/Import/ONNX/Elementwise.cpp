//===- Elementwise.cpp - arithmetic, comparison, logic, casts ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Before opset 7 the second operand named the axis where it begins.
SmallVector<Value> alignOperands(NodeContext &node) {
  SmallVector<Value> operands = llvm::to_vector(node.getInputs());
  if (node.getOpset() >= 7 || !node.hasAttr("axis") || operands.size() != 2)
    return operands;
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (axis)
    operands[1] = node.expandRank(
        operands[1], std::max(node.inRank(1), node.inRank(0) - *axis),
        /*atEnd=*/true);
  return operands;
}

/// Two operands of one type, a result of that type.
using BinaryBody = Value (*)(Body &, Value, Value, bool isUnsigned);
template <BinaryBody fn> LogicalResult convertBinary(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(0, node.elementwise(alignOperands(node), node.inElem(0),
                                      [&](Body &body, ValueRange x) {
                                        return fn(body, x[0], x[1], isUnsigned);
                                      }));
}

/// Any number of operands, combined from the first to the last.
template <BinaryBody fn, bool isMean = false>
LogicalResult convertVariadic(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [&](Body &body, ValueRange x) {
               Value result = x[0];
               for (Value value : x.drop_front())
                 result = fn(body, result, value, isUnsigned);
               return isMean ? body.div(result,
                                        body.number(x.size(), result.getType()))
                             : result;
             }));
}

Value addBody(Body &body, Value x, Value y, bool) { return body.add(x, y); }
Value subBody(Body &body, Value x, Value y, bool) { return body.sub(x, y); }
Value mulBody(Body &body, Value x, Value y, bool) { return body.mul(x, y); }
Value divBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.div(x, y, isUnsigned);
}
Value maxBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.max(x, y, isUnsigned);
}
Value minBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.min(x, y, isUnsigned);
}
Value andBody(Body &body, Value x, Value y, bool) {
  return arith::AndIOp::create(body.b, x, y);
}
Value orBody(Body &body, Value x, Value y, bool) {
  return arith::OrIOp::create(body.b, x, y);
}
Value xorBody(Body &body, Value x, Value y, bool) {
  return arith::XOrIOp::create(body.b, x, y);
}

/// Comparisons give bool.
using CompareBody = Value (*)(Body &, Value, Value, bool isUnsigned);
template <CompareBody fn> LogicalResult convertCompare(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(0, node.elementwise(alignOperands(node), node.b.getI1Type(),
                                      [&](Body &body, ValueRange x) {
                                        return fn(body, x[0], x[1], isUnsigned);
                                      }));
}
Value equalBody(Body &body, Value x, Value y, bool) { return body.eq(x, y); }
Value lessBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.lt(x, y, isUnsigned);
}
Value lessOrEqualBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.le(x, y, isUnsigned);
}
Value greaterBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.lt(y, x, isUnsigned);
}
Value greaterOrEqualBody(Body &body, Value x, Value y, bool isUnsigned) {
  return body.le(y, x, isUnsigned);
}

/// Float functions of the math dialect.
template <typename Op> LogicalResult convertMath(NodeContext &node) {
  if (!isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::UnsupportedType, "expected a float tensor");
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return Value(Op::create(body.b, x));
  }));
}

/// Rounding leaves integers as they are.
template <typename Op> LogicalResult convertRounding(NodeContext &node) {
  return isa<FloatType>(node.inElem(0)) ? convertMath<Op>(node)
                                        : node.set(0, node.in(0));
}

LogicalResult convertAbs(NodeContext &node) {
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    return isUnsigned ? x : body.abs(x);
  }));
}
LogicalResult convertNeg(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.neg(x);
  }));
}
LogicalResult convertReciprocal(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.div(body.number(1, x.getType()), x);
  }));
}
LogicalResult convertNot(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.negate(x);
  }));
}
LogicalResult convertBitwiseNot(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return Value(
        arith::XOrIOp::create(body.b, x, body.integer(-1, x.getType())));
  }));
}

LogicalResult convertSign(NodeContext &node) {
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Value zero = body.number(0, x.getType()), one = body.number(1, x.getType());
    if (isUnsigned)
      return body.select(body.eq(x, zero), zero, one);
    // A NaN stays what it is: neither comparison holds.
    Value negative = body.select(body.lt(x, zero), body.number(-1, x.getType()),
                                 isa<FloatType>(x.getType())
                                     ? body.select(body.eq(x, zero), zero, x)
                                     : zero);
    return body.select(body.lt(zero, x), one, negative);
  }));
}

LogicalResult convertMod(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  bool likeC = node.attrInt("fmod", 0) != 0;
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [&](Body &body, ValueRange x) {
               Value rest = body.rem(x[0], x[1], isUnsigned);
               if (likeC || isUnsigned)
                 return rest;
               // The sign of the divisor: one more divisor where the signs
               // differ and there is a rest.
               Value zero = body.number(0, rest.getType());
               Value differs =
                   body.ne(body.lt(rest, zero), body.lt(x[1], zero));
               return body.select(body.both(differs, body.ne(rest, zero)),
                                  body.add(rest, x[1]), rest);
             }));
}

LogicalResult convertPow(NodeContext &node) {
  Type base = node.inElem(0), exponent = node.inElem(1);
  std::optional<SmallVector<double>> constant = node.getFloats(1);
  return node.set(
      0, node.elementwise(
             alignOperands(node), base, [&](Body &body, ValueRange x) -> Value {
               // Integers go through doubles; squares, which norms are full of,
               // through a product.
               if (constant && constant->size() == 1 && (*constant)[0] == 2)
                 return body.mul(x[0], x[0]);
               if (constant && constant->size() == 1 && (*constant)[0] == 0.5 &&
                   isa<FloatType>(base))
                 return body.sqrt(x[0]);
               bool isDouble =
                   !isa<FloatType>(base) || base.isF64() || exponent.isF64();
               Type compute =
                   isDouble ? Type(body.b.getF64Type()) : body.b.getF32Type();
               auto prepare = [&](Value value, Type type) {
                 return body.convert(
                     value,
                     isa<FloatType>(value.getType()) ? value.getType() : type,
                     compute);
               };
               Value result =
                   body.pow(prepare(x[0], base), prepare(x[1], exponent));
               return body.convert(result, compute,
                                   getComputeType(base) == compute ? compute
                                   : isa<FloatType>(base) ? getComputeType(base)
                                                          : base);
             }));
}

LogicalResult convertBitShift(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  bool left = node.attrString("direction", "") == "LEFT";
  unsigned width = node.inElem(0).getIntOrFloatBitWidth();
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [&](Body &body, ValueRange x) {
               // A shift by the width or more has no defined result on the
               // machine; all bits are gone.
               Value limit = body.integer(width, x[0].getType()),
                     zero = body.integer(0, x[0].getType());
               Value inRange = body.lt(x[1], limit, /*isUnsigned=*/true);
               Value count = body.select(inRange, x[1], zero);
               Value shifted =
                   left ? Value(arith::ShLIOp::create(body.b, x[0], count))
                        : arith::ShRUIOp::create(body.b, x[0], count);
               return body.select(inRange, shifted, zero);
             }));
}

LogicalResult convertClip(NodeContext &node) {
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  if (node.getOpset() < 11) {
    if (!isa<FloatType>(node.inElem(0)))
      return node.refuse(Diag::BadShape,
                         "expected floats, as Clip has them before opset 11");
    double low = node.attrFloat("min", -3.4028234663852886e38),
           high = node.attrFloat("max", 3.4028234663852886e38);
    return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
      return body.clamp(x, body.number(low, x.getType()),
                        body.number(high, x.getType()));
    }));
  }
  SmallVector<Value> operands = {node.in(0)};
  for (unsigned i = 1; i <= 2; ++i)
    if (node.has(i))
      operands.push_back(node.in(i));
  if (operands.size() > 1 && !node.requireSameTypes())
    return failure();
  bool hasMin = node.has(1), hasMax = node.has(2);
  return node.set(
      0,
      node.elementwise(operands, node.inElem(0), [&](Body &body, ValueRange x) {
        Value result = hasMin ? body.max(x[0], x[1], isUnsigned) : x[0];
        return hasMax ? body.min(result, x.back(), isUnsigned) : result;
      }));
}

LogicalResult convertWhere(NodeContext &node) {
  if (!node.requireSameTypes(1))
    return failure();
  return node.set(0, node.elementwise(node.getInputs(), node.inElem(1),
                                      [](Body &body, ValueRange x) {
                                        return body.select(x[0], x[1], x[2]);
                                      }));
}

/// How a cast rounds to the small float types.
std::optional<SmallFloatRounding> readRounding(NodeContext &node) {
  SmallFloatRounding rounding;
  rounding.saturate = node.attrInt("saturate", 1) != 0;
  std::string mode = node.attrString("round_mode", "up");
  if (mode == "down")
    rounding.exponent = ExponentRounding::Down;
  else if (mode == "nearest")
    rounding.exponent = ExponentRounding::Nearest;
  else if (mode != "up") {
    (void)node.refuse(Diag::BadAttribute,
                      "expected up, down or nearest as attribute 'round_mode'");
    return std::nullopt;
  }
  return rounding;
}

LogicalResult convertCast(NodeContext &node) {
  Type to = node.attrType("to", {});
  if (!to)
    return node.getProblem()
               ? failure()
               : node.refuse(Diag::BadAttribute, "expected attribute 'to'");
  std::optional<SmallFloatRounding> rounding = readRounding(node);
  return rounding ? node.set(0, node.cast(node.in(0), to, *rounding))
                  : failure();
}

LogicalResult convertCastLike(NodeContext &node) {
  std::optional<SmallFloatRounding> rounding = readRounding(node);
  return rounding
             ? node.set(0, node.cast(node.in(0), node.inElem(1), *rounding))
             : failure();
}

LogicalResult convertBitCast(NodeContext &node) {
  Type from = node.inElem(0), to = node.attrType("to", {});
  if (!to)
    return node.getProblem()
               ? failure()
               : node.refuse(Diag::BadAttribute, "expected attribute 'to'");
  if (from.getIntOrFloatBitWidth() != to.getIntOrFloatBitWidth() ||
      from.getIntOrFloatBitWidth() < 8)
    return node.refuse(Diag::UnsupportedForm,
                       "expected types of one width of 8 bits or more");
  return node.set(0, node.bitcast(node.in(0), to));
}

LogicalResult convertIsNaN(NodeContext &node) {
  return node.set(0, node.elementwise(node.in(0), node.b.getI1Type(),
                                      [](Body &body, ValueRange x) {
                                        return body.isNaN(x[0]);
                                      }));
}

LogicalResult convertIsInf(NodeContext &node) {
  bool negative = node.attrInt("detect_negative", 1),
       positive = node.attrInt("detect_positive", 1);
  return node.set(
      0, node.elementwise(
             node.in(0), node.b.getI1Type(), [&](Body &body, ValueRange x) {
               double inf = std::numeric_limits<double>::infinity();
               Value up = body.eq(x[0], body.number(inf, x[0].getType())),
                     down = body.eq(x[0], body.number(-inf, x[0].getType()));
               return negative && positive ? body.either(up, down)
                      : negative           ? down
                      : positive           ? up
                                           : body.boolean(false);
             }));
}

LogicalResult convertIdentity(NodeContext &node) {
  return node.set(0, node.in(0));
}

LogicalResult convertDropout(NodeContext &node) {
  // Training is asked for by a third input, which is false when left out.
  if (node.has(2)) {
    std::optional<SmallVector<int64_t>> training = node.getInts(2);
    std::optional<SmallVector<double>> ratio = node.getFloats(1);
    bool dropsNothing = ratio && ratio->size() == 1 && (*ratio)[0] == 0;
    if (!dropsNothing &&
        (!training || training->size() != 1 || (*training)[0] != 0))
      return node.refuse(
          Diag::UnsupportedForm,
          "dropout in training mode is random and is not supported");
  }
  if (node.wants(1)) {
    Type maskType =
        node.getOpset() >= 10 ? Type(node.b.getI1Type()) : node.inElem(0);
    if (failed(node.set(1, node.filled(node.inDims(0), 1, maskType))))
      return failure();
  }
  return node.set(0, node.in(0));
}

} // namespace

void registerElementwise(Registry &registry) {
  registry.add(
      kOnnxDomain,
      {
          {"Add", 1, 2, 2, convertBinary<addBody>},
          {"Sub", 1, 2, 2, convertBinary<subBody>},
          {"Mul", 1, 2, 2, convertBinary<mulBody>},
          {"Div", 1, 2, 2, convertBinary<divBody>},
          {"Sum", 1, 1, kAnyNumber, convertVariadic<addBody>},
          {"Mean", 1, 1, kAnyNumber, convertVariadic<addBody, true>},
          {"Max", 1, 1, kAnyNumber, convertVariadic<maxBody>},
          {"Min", 1, 1, kAnyNumber, convertVariadic<minBody>},
          {"And", 1, 2, 2, convertBinary<andBody>},
          {"Or", 1, 2, 2, convertBinary<orBody>},
          {"Xor", 1, 2, 2, convertBinary<xorBody>},
          {"BitwiseAnd", 18, 2, 2, convertBinary<andBody>},
          {"BitwiseOr", 18, 2, 2, convertBinary<orBody>},
          {"BitwiseXor", 18, 2, 2, convertBinary<xorBody>},
          {"BitwiseNot", 18, 1, 1, convertBitwiseNot},
          {"BitShift", 11, 2, 2, convertBitShift},
          {"Equal", 1, 2, 2, convertCompare<equalBody>},
          {"Less", 1, 2, 2, convertCompare<lessBody>},
          {"LessOrEqual", 12, 2, 2, convertCompare<lessOrEqualBody>},
          {"Greater", 1, 2, 2, convertCompare<greaterBody>},
          {"GreaterOrEqual", 12, 2, 2, convertCompare<greaterOrEqualBody>},
          {"Not", 1, 1, 1, convertNot},
          {"Neg", 1, 1, 1, convertNeg},
          {"Abs", 1, 1, 1, convertAbs},
          {"Sign", 9, 1, 1, convertSign},
          {"Reciprocal", 1, 1, 1, convertReciprocal},
          {"Sqrt", 1, 1, 1, convertMath<math::SqrtOp>},
          {"Exp", 1, 1, 1, convertMath<math::ExpOp>},
          {"Log", 1, 1, 1, convertMath<math::LogOp>},
          {"Sin", 7, 1, 1, convertMath<math::SinOp>},
          {"Cos", 7, 1, 1, convertMath<math::CosOp>},
          {"Tan", 7, 1, 1, convertMath<math::TanOp>},
          {"Asin", 7, 1, 1, convertMath<math::AsinOp>},
          {"Acos", 7, 1, 1, convertMath<math::AcosOp>},
          {"Atan", 7, 1, 1, convertMath<math::AtanOp>},
          {"Sinh", 9, 1, 1, convertMath<math::SinhOp>},
          {"Cosh", 9, 1, 1, convertMath<math::CoshOp>},
          {"Tanh", 1, 1, 1, convertMath<math::TanhOp>},
          {"Asinh", 9, 1, 1, convertMath<math::AsinhOp>},
          {"Acosh", 9, 1, 1, convertMath<math::AcoshOp>},
          {"Atanh", 9, 1, 1, convertMath<math::AtanhOp>},
          {"Erf", 9, 1, 1, convertMath<math::ErfOp>},
          {"Floor", 1, 1, 1, convertRounding<math::FloorOp>},
          {"Ceil", 1, 1, 1, convertRounding<math::CeilOp>},
          {"Round", 11, 1, 1, convertRounding<math::RoundEvenOp>},
          {"Mod", 10, 2, 2, convertMod},
          {"Pow", 1, 2, 2, convertPow},
          {"Clip", 1, 1, 3, convertClip},
          {"Where", 9, 3, 3, convertWhere},
          {"Cast", 1, 1, 1, convertCast, "strings"},
          {"CastLike", 15, 2, 2, convertCastLike, "strings"},
          {"BitCast", 26, 1, 1, convertBitCast, "types of different widths"},
          {"IsNaN", 9, 1, 1, convertIsNaN},
          {"IsInf", 10, 1, 1, convertIsInf},
          {"Identity", 1, 1, 1, convertIdentity, "optional values"},
          {"Dropout", 1, 1, 3, convertDropout, "inference only"},
      });
}

} // namespace qcc::onnx_import
