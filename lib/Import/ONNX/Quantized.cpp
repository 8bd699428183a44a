//===- Quantized.cpp - models that others have quantized --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantized.h"
#include "MatMul.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

bool isIntegerCode(Type type) {
  return isa<IntegerType>(type) && type.getIntOrFloatBitWidth() > 1 &&
         type.getIntOrFloatBitWidth() <= 16;
}

bool isCode(Type type) {
  return isIntegerCode(type) ||
         (isSmallFloat(type) && !isa<Float8E8M0FNUType>(type));
}

bool hasOneElement(Value value) {
  return getConstantSize(getNumElements(value.getType())) == 1;
}

Value asScalar(NodeContext &node, Value value) {
  return value ? node.reshape(value, {}) : value;
}

/// Says that the codes of an operator have integers or floats of few bits.
static LogicalResult refuseCode(NodeContext &node) {
  return node.refuse(Diag::UnsupportedType,
                     "expected a quantized type: integers of 2 to 16 bits, "
                     "float8 but e8m0, or float4");
}

/// Checks that a scale or zero point has the elements that the granularity asks
/// for.
static bool checkGranularity(NodeContext &node, Value scale, const Dims &dims,
                             Granularity granularity) {
  Dims sizes = node.dims(scale);
  auto [axis, block] = granularity;
  if (sizes.empty() ||
      (block == 0 && sizes.size() == 1 && getConstantSize(sizes[0]) == 1))
    return true;
  if (block == 0 && sizes.size() == 1)
    return node.requireEqual(sizes[0], dims[axis],
                             "scales and the axis they are for");
  if (block == 0 || sizes.size() != dims.size()) {
    (void)node.refuse(
        Diag::BadShape,
        "expected one scale, one per index of the axis, or one per block");
    return false;
  }
  for (auto [i, size] : llvm::enumerate(sizes)) {
    AffineExpr wanted = static_cast<int64_t>(i) == axis
                            ? simplifyDim(dims[i].ceilDiv(block))
                            : dims[i];
    if (!node.requireEqual(size, wanted, "scales and the blocks they are for"))
      return false;
  }
  return true;
}

/// The operand of a quantized operation as one of its types: f64 and integers
/// become f32.
static Value asReal(NodeContext &node, Value value) {
  if (!value)
    return value;
  Type type = node.elem(value);
  bool isReal = type.isF32() || type.isF16() || type.isBF16() ||
                isa<Float8E8M0FNUType>(type);
  return isReal ? value : node.cast(value, node.f32());
}

Value quantize(NodeContext &node, Value real, Value scale, Value zero,
               Type type, Granularity granularity, Type precision,
               bool overflow) {
  real = asReal(node, real);
  scale = asReal(node, scale);
  if (!real || !scale || node.getProblem())
    return {};
  if (!isCode(type) || isSmallFloat(node.elem(real))) {
    (void)refuseCode(node);
    return {};
  }
  if (zero && node.elem(zero) != type) {
    (void)node.refuse(Diag::BadShape,
                      "expected a zero point of the result's type");
    return {};
  }
  Dims dims = node.dims(real);
  if (!checkGranularity(node, scale, dims, granularity) ||
      (zero && !checkGranularity(node, zero, dims, granularity)))
    return {};
  if (precision && precision.isF32())
    precision = {};
  return QuantizeOp::create(node.b, makeTensorType(dims, type), real, scale,
                            zero, granularity.axis, granularity.block,
                            precision ? TypeAttr::get(precision) : TypeAttr(),
                            overflow);
}

Value dequantize(NodeContext &node, Value codes, Value scale, Value zero,
                 Type type, Granularity granularity) {
  scale = asReal(node, scale);
  if (!codes || !scale || node.getProblem())
    return {};
  Type from = node.elem(codes);
  if (!isCode(from) && !from.isSignlessInteger(32)) {
    (void)refuseCode(node);
    return {};
  }
  if (!type.isF32() && !type.isF16() && !type.isBF16()) {
    (void)node.refuse(Diag::UnsupportedType,
                      "expected a result of f32, f16 or bf16");
    return {};
  }
  if (zero && node.elem(zero) != from)
    zero = asReal(node, zero);
  Dims dims = node.dims(codes);
  if (!checkGranularity(node, scale, dims, granularity) ||
      (zero && !checkGranularity(node, zero, dims, granularity)))
    return {};
  return DequantizeOp::create(node.b, makeTensorType(dims, type), codes, scale,
                              zero, granularity.axis, granularity.block);
}

/// A zero point as qcc.int_matmul takes it: a scalar, or of the matrix's rank.
static Value shapeZero(NodeContext &node, Value zero, Value matrix,
                       bool perRow) {
  if (!zero)
    return {};
  if (hasOneElement(zero))
    return node.reshape(zero, {});
  int64_t rank = node.rank(matrix);
  Dims dims = node.dims(zero);
  // Row by row `[..., M]` lacks the last dimension, column by column the one
  // before it.
  if (perRow && node.rank(zero) <= std::max<int64_t>(1, rank - 1) &&
      (node.rank(zero) == 1 || node.rank(zero) == rank - 1))
    dims.push_back(node.size(1));
  else if (!perRow && dims.size() > 1 && node.rank(zero) == rank - 1)
    dims.insert(dims.end() - 1, node.size(1));
  zero = node.expandRank(node.reshape(zero, dims), rank);
  if (!zero)
    return {};
  // One for each row or column, or one for all, which may be known only at run
  // time.
  Dims target = node.dims(zero), sizes = node.dims(matrix);
  for (size_t i = 0; i < std::min(target.size(), sizes.size()); ++i)
    if (mayBroadcast(target[i], sizes[i]))
      target[i] = sizes[i];
  return node.broadcastTo(zero, target);
}

/// Checks the sizes of a matrix's zero point as the operation does.
static bool checkZero(NodeContext &node, Value zero, Value matrix,
                      bool perRow) {
  if (!zero || node.rank(zero) == 0)
    return true;
  Dims sizes = node.dims(zero), dims = node.dims(matrix);
  size_t inner = dims.size() - (perRow ? 1 : 2);
  bool fits = sizes.size() == dims.size();
  for (size_t i = 0; fits && i < dims.size(); ++i) {
    if (getConstantSize(sizes[i]) == 1)
      continue;
    if (i != inner && !node.requireEqual(sizes[i], dims[i],
                                         "zero points and what they are for"))
      return false;
    fits = i != inner;
  }
  if (!fits)
    (void)node.refuse(Diag::BadShape,
                      "expected one zero point, or one per row of the first "
                      "and column of the second operand");
  return fits;
}

Value multiplyCodes(NodeContext &node, Value lhs, Value lhsZero, Value rhs,
                    Value rhsZero) {
  bool dropRow = node.rank(lhs) == 1, dropColumn = node.rank(rhs) == 1;
  if (!makeMatrices(node, lhs, rhs))
    return {};
  if (!isIntegerCode(node.elem(lhs)) || !isIntegerCode(node.elem(rhs))) {
    (void)node.refuse(Diag::UnsupportedType,
                      "expected operands of integers of 2 to 16 bits");
    return {};
  }
  if ((lhsZero && node.elem(lhsZero) != node.elem(lhs)) ||
      (rhsZero && node.elem(rhsZero) != node.elem(rhs))) {
    (void)node.refuse(Diag::BadShape,
                      "expected a zero point of its operand's type");
    return {};
  }
  Dims a = node.dims(lhs), c = node.dims(rhs);
  if (!node.requireEqual(a.back(), c[c.size() - 2],
                         "the inner dimensions of a matrix product"))
    return {};
  std::optional<Dims> result = node.broadcastDims(
      {Dims(ArrayRef(a).drop_back(2)), Dims(ArrayRef(c).drop_back(2))});
  if (!result)
    return {};
  size_t numBatch = result->size();
  llvm::append_values(*result, a[a.size() - 2], c.back());
  lhsZero = shapeZero(node, lhsZero, lhs, true);
  rhsZero = shapeZero(node, rhsZero, rhs, false);
  if (node.getProblem() || !checkZero(node, lhsZero, lhs, true) ||
      !checkZero(node, rhsZero, rhs, false))
    return {};
  Value product =
      IntMatMulOp::create(node.b, makeTensorType(*result, node.b.getI32Type()),
                          lhs, rhs, lhsZero, rhsZero);
  Dims squeezed = *result;
  if (dropColumn)
    squeezed.pop_back();
  if (dropRow)
    squeezed.erase(squeezed.begin() + numBatch);
  return node.reshape(product, squeezed);
}

Value convolveCodes(NodeContext &node, const ConvShape &conv, Value input,
                    Value inputZero, Value weight, Value weightZero) {
  Type inputType = node.elem(input), weightType = node.elem(weight);
  if (!isIntegerCode(inputType) || !isIntegerCode(weightType)) {
    (void)node.refuse(Diag::UnsupportedType,
                      "expected operands of integers of 2 to 16 bits");
    return {};
  }
  if ((inputZero && node.elem(inputZero) != inputType) ||
      (weightZero && node.elem(weightZero) != weightType)) {
    (void)node.refuse(Diag::BadShape,
                      "expected a zero point of its operand's type");
    return {};
  }
  if (inputZero)
    inputZero = asScalar(node, inputZero);
  if (weightZero && hasOneElement(weightZero))
    weightZero = node.reshape(weightZero, {});
  else if (weightZero &&
           (node.rank(weightZero) != 1 ||
            !node.requireEqual(node.dims(weightZero)[0], node.dims(weight)[0],
                               "zero points and output channels"))) {
    (void)node.refuse(Diag::BadShape,
                      "expected one zero point of the weight, or one per "
                      "output channel");
    return {};
  }
  if (node.getProblem())
    return {};
  return IntConvOp::create(
      node.b, makeTensorType(conv.result, node.b.getI32Type()), input, weight,
      inputZero, weightZero, conv.window.strides, conv.window.pads,
      conv.window.dilations, conv.groups, /*channels_last=*/false);
}

namespace {

/// What attributes `axis` and `block_size` say of a scale.
std::optional<Granularity> readGranularity(NodeContext &node, Value scale,
                                           int64_t rank) {
  Granularity result;
  result.block = node.attrInt("block_size", 0);
  if (result.block < 0) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected a block_size of 0 or more, but got " +
                          Twine(result.block));
    return std::nullopt;
  }
  Dims sizes = node.dims(scale);
  if (sizes.empty() || (sizes.size() == 1 && result.block == 0 &&
                        getConstantSize(sizes[0]) == 1)) {
    result.block = 0;
    return result;
  }
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 1), rank);
  if (!axis)
    return std::nullopt;
  result.axis = *axis;
  return result;
}

LogicalResult convertQuantize(NodeContext &node) {
  Type u8 = IntegerType::get(node.b.getContext(), 8, IntegerType::Unsigned);
  // An output_dtype of 0 is none.
  Type stated = node.attrInt("output_dtype", 0)
                    ? node.attrType("output_dtype", {})
                    : Type();
  Type type = node.has(2) ? node.inElem(2) : stated ? stated : u8;
  if (node.getProblem())
    return failure();
  if (stated && stated != type)
    return node.refuse(Diag::BadAttribute,
                       "expected output_dtype to be the zero point's type");
  std::optional<Granularity> granularity =
      readGranularity(node, node.in(1), node.inRank(0));
  if (!granularity)
    return failure();
  // Since opset 23 the scale's type says what the quotient is rounded to.
  Type precision;
  if (node.attrInt("precision", 0))
    precision = node.attrType("precision", {});
  else if (node.getOpset() >= 23 &&
           (node.inElem(1).isF16() || node.inElem(1).isBF16()))
    precision = node.inElem(1);
  if (precision && !precision.isF32() && !precision.isF16() &&
      !precision.isBF16())
    return node.refuse(Diag::UnsupportedType,
                       "expected a precision of f32, f16 or bf16");
  return node.set(0, quantize(node, node.in(0), node.in(1), node.in(2), type,
                              *granularity, precision,
                              node.attrInt("saturate", 1) == 0));
}

LogicalResult convertDequantize(NodeContext &node) {
  Type type = node.inElem(1);
  if (node.attrInt("output_dtype", 0))
    type = node.attrType("output_dtype", {});
  if (!type)
    return failure();
  if (node.has(2) && node.inElem(2) != node.inElem(0))
    return node.refuse(Diag::BadShape,
                       "expected a zero point of the input's type");
  std::optional<Granularity> granularity =
      readGranularity(node, node.in(1), node.inRank(0));
  return granularity ? node.set(0, dequantize(node, node.in(0), node.in(1),
                                              node.in(2), type, *granularity))
                     : failure();
}

/// What DynamicQuantizeLinear gives: the range of a tensor, with 0 in it, in
/// 255 steps.
struct Dynamic {
  Value codes, scale, zero;
};

Dynamic quantizeDynamically(NodeContext &node, Value input) {
  SmallVector<int64_t> all =
      llvm::to_vector(llvm::seq<int64_t>(0, node.rank(input)));
  Type type = IntegerType::get(node.b.getContext(), 8, IntegerType::Unsigned),
       f32 = node.f32();
  Value low = node.reduce(Combiner::Min, input, all, false, f32),
        high = node.reduce(Combiner::Max, input, all, false, f32);
  Dynamic result;
  result.scale =
      node.elementwise({low, high}, f32, [&](Body &body, ValueRange x) {
        Value zero = body.number(0, f32);
        Value range = body.sub(body.max(x[1], zero), body.min(x[0], zero));
        // Nothing but zeros: any scale serves, and 0 would divide.
        return body.select(body.eq(range, zero), body.number(1, f32),
                           body.div(range, body.number(255, f32)));
      });
  result.zero = node.elementwise(
      {low, result.scale}, type, [&](Body &body, ValueRange x) {
        Value least = body.min(x[0], body.number(0, f32));
        Value steps = body.div(body.neg(least), x[1]);
        return body.convert(
            body.roundEven(
                body.clamp(steps, body.number(0, f32), body.number(255, f32))),
            f32, type);
      });
  result.codes = quantize(node, input, result.scale, result.zero, type);
  return result;
}

LogicalResult convertDynamicQuantize(NodeContext &node) {
  Dynamic result = quantizeDynamically(node, node.in(0));
  return failure(failed(node.set(0, result.codes)) ||
                 failed(node.set(1, result.scale)) ||
                 failed(node.set(2, result.zero)));
}

LogicalResult convertMatMulInteger(NodeContext &node) {
  return node.set(
      0, multiplyCodes(node, node.in(0), node.in(2), node.in(1), node.in(3)));
}

/// A scale per row of the first operand broadcasts along the columns.
Value perRow(NodeContext &node, Value scale, Value matrix) {
  if (hasOneElement(scale))
    return node.reshape(scale, {});
  return node.rank(scale) == 1 && node.rank(matrix) > 1
             ? node.expandRank(scale, 2, /*atEnd=*/true)
             : scale;
}

/// An exact product of integers times a and b's scales, plus a bias.
Value scaleProduct(NodeContext &node, Value sums, Value scaleA, Value scaleB,
                   Value bias) {
  SmallVector<Value> operands = {sums, scaleA, scaleB};
  if (bias)
    operands.push_back(bias);
  return node.elementwise(
      operands, node.elem(scaleA), [&](Body &body, ValueRange x) {
        Value value =
            body.mul(body.convert(x[0], node.elem(sums), x[1].getType()),
                     body.mul(x[1], x[2]));
        return x.size() > 3 ? body.add(value, x[3]) : value;
      });
}

/// com.microsoft: A, B, their scales and zero points, a bias.
LogicalResult convertMatMulIntegerToFloat(NodeContext &node) {
  Value sums =
      multiplyCodes(node, node.in(0), node.in(4), node.in(1), node.in(5));
  if (!sums)
    return failure();
  return node.set(0,
                  scaleProduct(node, sums, perRow(node, node.in(2), node.in(0)),
                               node.in(3), node.in(6)));
}

/// com.microsoft: A is quantized when it is known; B, its scale and zero point.
LogicalResult convertDynamicQuantizeMatMul(NodeContext &node) {
  return node.set(0, multiplyDynamically(node, node.in(0), node.in(1),
                                         node.in(2), node.in(3), node.in(4)));
}

/// Exact sums times `scaleA * scaleB / scaleY`, as codes of the result. The
/// three factors and the zero point broadcast with the sums.
Value requantize(NodeContext &node, Value sums, Value scaleA, Value scaleB,
                 Value scaleY, Value zeroY, Type type) {
  if (!isCode(type)) {
    (void)refuseCode(node);
    return {};
  }
  Value real =
      node.elementwise({sums, scaleA, scaleB, scaleY}, node.f32(),
                       [&](Body &body, ValueRange x) {
                         return body.mul(body.convert(x[0], node.elem(sums),
                                                      body.b.getF32Type()),
                                         body.div(body.mul(x[1], x[2]), x[3]));
                       });
  if (!zeroY || hasOneElement(zeroY))
    return quantize(node, real, node.scalar(1, node.f32()),
                    asScalar(node, zeroY), type);
  if (!isIntegerCode(type)) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "expected one zero point of a float result");
    return {};
  }
  // Several zero points are integers that are added to what was rounded: the
  // range is checked after.
  auto width = static_cast<int>(type.getIntOrFloatBitWidth());
  double top = std::ldexp(1.0, width - (type.isUnsignedInteger() ? 0 : 1));
  double low = type.isUnsignedInteger() ? 0 : -top;
  return node.elementwise({real, zeroY}, type, [&](Body &body, ValueRange x) {
    Type f32 = body.b.getF32Type();
    Value steps = body.add(body.roundEven(x[0]), body.convert(x[1], type, f32));
    return body.convert(
        body.clamp(steps, body.number(low, f32), body.number(top - 1, f32)),
        f32, type);
  });
}

/// The product of operands of which one has floats of few bits: they are
/// multiplied as f32.
LogicalResult multiplySmallFloats(NodeContext &node) {
  for (unsigned i : {1, 2, 4, 5, 6, 7})
    if (!hasOneElement(node.in(i)))
      return node.refuse(Diag::UnsupportedForm,
                         "expected one scale and zero point per tensor of "
                         "float8");
  auto real = [&](unsigned i) {
    return dequantize(node, node.in(i), asScalar(node, node.in(i + 1)),
                      asScalar(node, node.in(i + 2)), node.f32());
  };
  Value product = node.matmul(real(0), real(3));
  return node.set(0, quantize(node, product, asScalar(node, node.in(6)),
                              asScalar(node, node.in(7)), node.inElem(7)));
}

LogicalResult convertQLinearMatMul(NodeContext &node) {
  Value a = node.in(0), b = node.in(3);
  if (isSmallFloat(node.inElem(0)) || isSmallFloat(node.inElem(3)))
    return multiplySmallFloats(node);
  Value sums = multiplyCodes(node, a, node.in(2), b, node.in(5));
  if (!sums)
    return failure();
  Value scaleB = node.in(4);
  if (hasOneElement(scaleB))
    scaleB = node.reshape(scaleB, {});
  return node.set(0, requantize(node, sums, perRow(node, node.in(1), a), scaleB,
                                perRow(node, node.in(6), a),
                                perRow(node, node.in(7), a), node.inElem(7)));
}

/// `convolve` of codes, over three dimensions by one over two where the zero
/// point of the input is one number.
Value convolveAnyCodes(NodeContext &node, Value input, Value inputZero,
                       Value weight, const ConvShape &conv,
                       ConvolveFn convolve) {
  if (!inputZero ||
      (hasOneElement(inputZero) && node.elem(inputZero) == node.elem(input)))
    if (Value result =
            convolvePlanes(node, input, inputZero, weight, conv, convolve))
      return result;
  return node.getProblem() ? Value() : convolve(input, weight, conv);
}

LogicalResult convertConvInteger(NodeContext &node) {
  std::optional<ConvShape> conv = readConv(node, node.in(0), node.in(1));
  if (!conv)
    return failure();
  auto convolve = [&](Value input, Value weight, const ConvShape &shape) {
    return convolveCodes(node, shape, input, node.in(2), weight, node.in(3));
  };
  return node.set(0, convolveAnyCodes(node, node.in(0), node.in(2), node.in(1),
                                      *conv, convolve));
}

/// ONNX's form, and com.microsoft's whose input and result may have the
/// channels last.
LogicalResult convertQLinearConv(NodeContext &node) {
  bool channelsLast = node.attrInt("channels_last", 0) != 0;
  Value input = node.in(0), weight = node.in(3);
  int64_t rank = node.inRank(0);
  if (channelsLast && rank > 2) {
    SmallVector<int64_t> order = {0, rank - 1};
    for (int64_t i = 1; i + 1 < rank; ++i)
      order.push_back(i);
    input = node.transpose(input, order);
  }
  std::optional<ConvShape> conv = readConv(node, input, weight);
  if (!conv)
    return failure();
  auto convolve = [&](Value in, Value kernel, const ConvShape &shape) -> Value {
    Value sums = addChannelBias(
        node, convolveCodes(node, shape, in, node.in(2), kernel, node.in(5)),
        node.in(8));
    if (!sums)
      return {};
    auto perChannel = [&](Value value) {
      return hasOneElement(value)
                 ? node.reshape(value, {})
                 : node.expandRank(value, node.rank(sums) - 1, /*atEnd=*/true);
    };
    return requantize(node, sums, perChannel(node.in(1)),
                      perChannel(node.in(4)), perChannel(node.in(6)),
                      perChannel(node.in(7)), node.inElem(7));
  };
  Value result =
      convolveAnyCodes(node, input, node.in(2), weight, *conv, convolve);
  if (channelsLast && result) {
    SmallVector<int64_t> order = {0};
    for (int64_t i = 2; i < rank; ++i)
      order.push_back(i);
    order.push_back(1);
    result = node.transpose(result, order);
  }
  return node.set(0, result);
}

} // namespace

Value multiplyDynamically(NodeContext &node, Value real, Value rhs, Value scale,
                          Value zero, Value bias) {
  Dynamic a = quantizeDynamically(node, real);
  if (!a.codes)
    return {};
  Value sums = multiplyCodes(node, a.codes, a.zero, rhs, zero);
  return sums ? scaleProduct(node, sums, a.scale, scale, bias) : Value();
}

void registerQuantized(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"QuantizeLinear", 10, 2, 3, convertQuantize},
                   {"DequantizeLinear", 10, 2, 3, convertDequantize},
                   {"DynamicQuantizeLinear", 11, 1, 1, convertDynamicQuantize},
                   {"MatMulInteger", 10, 2, 4, convertMatMulInteger},
                   {"ConvInteger", 10, 2, 4, convertConvInteger, kWindowNote},
                   {"QLinearMatMul", 10, 8, 8, convertQLinearMatMul,
                    "float8 with a scale per row or column"},
                   {"QLinearConv", 10, 8, 9, convertQLinearConv, kWindowNote},
               });
  registry.add(
      kMicrosoftDomain,
      {
          {"QuantizeLinear", 1, 2, 3, convertQuantize},
          {"DequantizeLinear", 1, 2, 3, convertDequantize},
          {"MatMulIntegerToFloat", 1, 4, 7, convertMatMulIntegerToFloat},
          {"DynamicQuantizeMatMul", 1, 3, 5, convertDynamicQuantizeMatMul},
          {"QLinearConv", 1, 8, 9, convertQLinearConv, kWindowNote},
      });
  registerQLinear(registry);
  registerPackedWeights(registry);
  registerPackedFloats(registry);
  registerQonnx(registry);
}

} // namespace qcc::onnx_import
