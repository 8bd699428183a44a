//===- Qonnx.cpp - operators of the qonnx domain ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Floats that are rounded to what fewer bits can hold and stay floats.
// Definitions: qonnx, docs/qonnx-custom-ops (IntQuant 1, BipolarQuant 1,
// Trunc 1 and 2, FloatQuant 1); onnx.brevitas is the domain's older name.
//
//===----------------------------------------------------------------------===//
#include "Quantized.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// How a float becomes an integer.
enum class Rounding { Even, Ceil, Floor, Up, Down, HalfUp, HalfDown };

/// Attribute `rounding_mode`, in any case; `simple` allows the first three.
std::optional<Rounding> readRounding(NodeContext &node, StringRef defaultMode,
                                     bool simple) {
  std::string mode =
      StringRef(node.attrString("rounding_mode", defaultMode)).upper();
  constexpr std::pair<StringLiteral, Rounding> kModes[] = {
      {"ROUND", Rounding::Even},
      {"CEIL", Rounding::Ceil},
      {"FLOOR", Rounding::Floor},
      {"HALF_EVEN", Rounding::Even},
      {"UP", Rounding::Up},
      {"DOWN", Rounding::Down},
      {"ROUND_TO_ZERO", Rounding::Down},
      {"HALF_UP", Rounding::HalfUp},
      {"HALF_DOWN", Rounding::HalfDown}};
  for (auto [i, known] : llvm::enumerate(kModes))
    if (mode == known.first && (!simple || i < 3))
      return known.second;
  (void)node.refuse(Diag::BadAttribute,
                    "expected a rounding_mode of the operator, but got '" +
                        mode + "'");
  return std::nullopt;
}

Value roundAs(Body &body, Rounding mode, Value x) {
  Value half = body.number(0.5, x.getType());
  Value isNegative = body.lt(x, body.number(0, x.getType()));
  Value magnitude = body.abs(x), result;
  switch (mode) {
  case Rounding::Even:
    return body.roundEven(x);
  case Rounding::Ceil:
    return body.ceil(x);
  case Rounding::Floor:
    return body.floor(x);
  case Rounding::Up:
    result = body.ceil(magnitude);
    break;
  case Rounding::Down:
    result = body.floor(magnitude);
    break;
  case Rounding::HalfUp:
    result = body.floor(body.add(magnitude, half));
    break;
  case Rounding::HalfDown:
    result = body.ceil(body.sub(magnitude, half));
    break;
  }
  return body.select(isNegative, body.neg(result), result);
}

/// One number that must be known; none with a problem recorded.
std::optional<double> readNumber(NodeContext &node, unsigned i,
                                 StringRef what) {
  std::optional<SmallVector<double>> values = node.getFloats(i);
  if (!values || values->empty()) {
    (void)node.refuseDynamic(i, what);
    return std::nullopt;
  }
  for (double value : *values)
    if (value != values->front()) {
      (void)node.refuse(Diag::UnsupportedForm,
                        "expected one number for all elements as " + what);
      return std::nullopt;
    }
  return values->front();
}

/// The least and the largest integer of a number of bits.
struct Range {
  double low, high;
};

std::optional<Range> readRange(NodeContext &node, unsigned bitsInput,
                               double &bits) {
  std::optional<double> width =
      readNumber(node, bitsInput, "the number of bits");
  if (!width)
    return std::nullopt;
  if (*width < 1 || *width > 24 || *width != std::floor(*width) ||
      !isa<FloatType>(node.inElem(0))) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "expected 1 to 24 bits of a float tensor");
    return std::nullopt;
  }
  bits = *width;
  bool isSigned = node.attrInt("signed", 1) != 0;
  bool narrow = node.attrInt("narrow", 0) != 0;
  double top = std::exp2(bits - (isSigned ? 1 : 0));
  return Range{isSigned ? -top + (narrow ? 1 : 0) : 0,
               top - 1 - (!isSigned && narrow ? 1 : 0)};
}

/// x, scale, zero point, number of bits: the value that the integer stands for.
LogicalResult convertIntQuant(NodeContext &node) {
  double bits = 0;
  std::optional<Range> range = readRange(node, 3, bits);
  std::optional<Rounding> mode = readRounding(node, "ROUND", false);
  if (!range || !mode)
    return failure();
  bool isBinary = node.attrInt("signed", 1) != 0 && bits == 1;
  return node.set(
      0, node.elementwise(
             {node.in(0), node.in(1), node.in(2)}, node.inElem(0),
             [&](Body &body, ValueRange x) {
               Type type = x[0].getType();
               Value steps = body.add(body.div(x[0], x[1]), x[2]);
               Value one = body.number(1, type);
               if (isBinary) {
                 Value isNegative = body.lt(steps, body.number(0, type));
                 steps = body.select(isNegative, body.neg(one), one);
               } else {
                 steps =
                     roundAs(body, *mode,
                             body.clamp(steps, body.number(range->low, type),
                                        body.number(range->high, type)));
               }
               return body.mul(body.sub(steps, x[2]), x[1]);
             }));
}

/// The sign of x, never 0, times the scale.
LogicalResult convertBipolarQuant(NodeContext &node) {
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [](Body &body, ValueRange x) {
               Type type = x[0].getType();
               Value isNegative = body.lt(x[0], body.number(0, type));
               return body.select(isNegative, body.neg(x[1]), x[1]);
             }));
}

/// x, scale, zero point, bits before and after: low bits are dropped, the scale
/// stays that of the input.
LogicalResult convertTrunc(NodeContext &node) {
  std::optional<double> before = readNumber(node, 3, "the number of bits"),
                        after = readNumber(node, 4, "the number of bits");
  std::optional<Rounding> mode = readRounding(node, "FLOOR", true);
  if (!before || !after || !mode)
    return failure();
  if (std::abs(*before - *after) > 64)
    return node.refuse(Diag::BadAttribute, "expected at most 64 bits");
  double factor = std::exp2(*before - *after);
  return node.set(
      0,
      node.elementwise(
          {node.in(0), node.in(1), node.in(2)}, node.inElem(0),
          [&](Body &body, ValueRange x) {
            Value steps = body.roundEven(body.add(body.div(x[0], x[1]), x[2]));
            steps =
                roundAs(body, *mode,
                        body.div(steps, body.number(factor, x[0].getType())));
            return body.mul(body.sub(steps, x[2]), x[1]);
          }));
}

/// x, scale, zero point, bits before, scale and bits after: the quotient of the
/// scales, brought to a power of two, is what is dropped.
LogicalResult convertTrunc2(NodeContext &node) {
  double bits = 0;
  std::optional<Range> range = readRange(node, 5, bits);
  std::optional<double> scale = readNumber(node, 1, "the scale"),
                        outScale = readNumber(node, 4, "the scale");
  std::optional<Rounding> mode = readRounding(node, "FLOOR", true);
  if (!range || !scale || !outScale || !mode)
    return failure();
  double exponent = std::nearbyint(std::log2(*outScale / *scale));
  if (!(std::abs(exponent) <= 64))
    return node.refuse(Diag::BadAttribute,
                       "expected scales whose quotient is from 2^-64 to 2^64");
  double factor = std::exp2(exponent);
  return node.set(
      0, node.elementwise(
             {node.in(0), node.in(1), node.in(2), node.in(4)}, node.inElem(0),
             [&](Body &body, ValueRange x) {
               Type type = x[0].getType();
               auto number = [&](double v) { return body.number(v, type); };
               Value steps =
                   body.roundEven(body.add(body.div(x[0], x[1]), x[2]));
               steps = body.clamp(body.div(steps, number(factor)),
                                  number(range->low), number(range->high));
               steps = roundAs(body, *mode, steps);
               Value zero = body.div(x[2], number(factor));
               return body.mul(body.sub(steps, zero), x[3]);
             }));
}

/// x, scale, bits of exponent and mantissa, bias, largest value: x as a float
/// of such bits, denormals included, saturated.
LogicalResult convertFloatQuant(NodeContext &node) {
  std::optional<double> exponentBits =
                            readNumber(node, 2, "the exponent's bits"),
                        mantissaBits =
                            readNumber(node, 3, "the mantissa's bits"),
                        bias = readNumber(node, 4, "the exponent's bias"),
                        stated = readNumber(node, 5, "the largest value");
  std::optional<Rounding> mode = readRounding(node, "ROUND", true);
  if (!exponentBits || !mantissaBits || !bias || !stated || !mode)
    return failure();
  if (!node.inElem(0).isF32())
    return node.refuse(Diag::UnsupportedType, "expected a tensor of f32");
  auto isWhole = [](double v, double low, double high) {
    return v >= low && v <= high && v == std::floor(v);
  };
  if (!isWhole(*exponentBits, 1, 8) || !isWhole(*mantissaBits, 0, 23) ||
      !isWhole(*bias, -64, 100))
    return node.refuse(Diag::UnsupportedForm,
                       "expected at most 8 bits of exponent and 23 of mantissa "
                       "and a bias from -64 to 100");
  double mantissa = 2 - std::exp2(-*mantissaBits);
  double high = std::min(
      mantissa * std::exp2(std::exp2(*exponentBits) - 1 - *bias), *stated);
  double low = node.attrInt("signed", 1) ? -high : 0;
  return node.set(
      0, node.elementwise(
             {node.in(0), node.in(1)}, node.inElem(0),
             [&](Body &body, ValueRange x) {
               ImplicitLocOpBuilder &b = body.b;
               Type f32 = b.getF32Type(), i32 = b.getI32Type();
               Value scaled = body.div(x[0], x[1]);
               // The unit in the last place: an exponent field less the
               // mantissa's bits, that of denormals at least.
               Value bits = arith::BitcastOp::create(b, i32, body.abs(scaled));
               Value field =
                   arith::ShRUIOp::create(b, bits, body.integer(23, i32));
               auto places = static_cast<int64_t>(*mantissaBits);
               int64_t least = 128 - static_cast<int64_t>(*bias) - places;
               Value unitField =
                   body.clamp(body.sub(field, body.integer(places, i32)),
                              body.integer(std::max<int64_t>(least, 1), i32),
                              body.integer(254, i32));
               Value unit = arith::BitcastOp::create(
                   b, f32,
                   arith::ShLIOp::create(b, unitField, body.integer(23, i32)));
               Value rounded =
                   body.mul(unit, roundAs(body, *mode, body.div(scaled, unit)));
               return body.mul(body.clamp(rounded, body.number(low, f32),
                                          body.number(high, f32)),
                               x[1]);
             }));
}

} // namespace

void registerQonnx(Registry &registry) {
  constexpr const char *kPerTensor = "bits that differ between elements";
  for (const char *domain :
       {"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})
    registry.add(domain,
                 {
                     {"Quant", 1, 4, 4, convertIntQuant, kPerTensor},
                     {"IntQuant", 1, 4, 4, convertIntQuant, kPerTensor},
                     {"BipolarQuant", 1, 2, 2, convertBipolarQuant},
                     {"Trunc", 1, 5, 5, convertTrunc, kPerTensor},
                     {"Trunc", 2, 6, 6, convertTrunc2,
                      "bits and scales that differ between elements"},
                     {"FloatQuant", 1, 6, 6, convertFloatQuant, kPerTensor},
                 });
}

} // namespace qcc::onnx_import
