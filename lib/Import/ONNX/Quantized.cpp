//===- Quantized.cpp - models that others have quantized --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Conv.h"
#include "MatMul.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Range of an integer type of at most 16 bits.
std::pair<double, double> getRange(Type type) {
  unsigned width = type.getIntOrFloatBitWidth();
  if (type.isUnsignedInteger())
    return {0, static_cast<double>((1 << width) - 1)};
  return {-static_cast<double>(1 << (width - 1)),
          static_cast<double>((1 << (width - 1)) - 1)};
}

bool isQuantizedType(Type type) {
  return isa<IntegerType>(type) && type.getIntOrFloatBitWidth() > 1 &&
         type.getIntOrFloatBitWidth() <= 16;
}

/// round(x / scale) + zero, saturated; `zero` is an integer of the type or
/// null.
Value quantizeScalar(Body &body, Value x, Value scale, Value zero, Type type) {
  Type compute = x.getType();
  Value steps = body.roundEven(body.div(x, scale));
  if (zero)
    steps = body.add(steps, body.convert(zero, type, compute));
  auto [low, high] = getRange(type);
  return body.convert(
      body.clamp(steps, body.number(low, compute), body.number(high, compute)),
      compute, type);
}

/// (x - zero) * scale in `compute`.
Value dequantizeScalar(Body &body, Value x, Value scale, Value zero, Type type,
                       Type compute) {
  Type wide = body.b.getI32Type();
  Value steps = body.convert(x, type, wide);
  if (zero)
    steps = body.sub(steps, body.convert(zero, type, wide));
  return body.mul(body.convert(steps, wide, compute), scale);
}

/// How a scale (or zero point) is read for an element of a tensor: one for all,
/// one per index of an axis, or one per block of an axis.
std::optional<AffineMap> getScaleMap(NodeContext &node, Value scale,
                                     const Dims &dims) {
  unsigned rank = dims.size();
  Dims sizes = node.dims(scale);
  if (sizes.empty())
    return node.makeMap(rank, {});
  int64_t block = node.attrInt("block_size", 0);
  if (sizes.size() == 1 && getConstantSize(sizes[0]) == 1 && block == 0)
    return node.makeMap(rank, node.size(0));
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 1), rank);
  if (!axis)
    return std::nullopt;
  if (sizes.size() == 1 && block == 0) {
    if (!node.requireEqual(sizes[0], dims[*axis],
                           "scales and the axis they are for"))
      return std::nullopt;
    return node.makeMap(rank, node.d(*axis));
  }
  if (sizes.size() != rank || block < 1) {
    (void)node.refuse(
        Diag::BadShape,
        "expected one scale, one per index of the axis, or one per block");
    return std::nullopt;
  }
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < rank; ++i) {
    AffineExpr wanted =
        i == *axis ? simplifyDim(dims[i].ceilDiv(block)) : dims[i];
    if (!node.requireEqual(sizes[i], wanted,
                           "scales and the blocks they are for"))
      return std::nullopt;
    reads.push_back(i == *axis ? node.d(i).floorDiv(block) : node.d(i));
  }
  return node.makeMap(rank, reads);
}

LogicalResult convertQuantize(NodeContext &node) {
  Type type = node.has(2)
                  ? node.inElem(2)
                  : node.attrType("output_dtype",
                                  IntegerType::get(node.b.getContext(), 8,
                                                   IntegerType::Unsigned));
  if (!type)
    return failure();
  if (!isQuantizedType(type))
    return node.refuse(Diag::UnsupportedType,
                       "expected a quantized type of 2 to 16 bits");
  Dims dims = node.inDims(0);
  std::optional<AffineMap> scaleMap = getScaleMap(node, node.in(1), dims);
  if (!scaleMap)
    return failure();
  Value input = node.in(0), scale = node.in(1);
  if (isa<IntegerType>(node.inElem(0)))
    input = node.cast(input, node.f32());
  SmallVector<Value> operands = {input, scale};
  SmallVector<AffineMap> maps = {
      AffineMap::getMultiDimIdentityMap(dims.size(), node.b.getContext()),
      *scaleMap};
  if (node.has(2)) {
    std::optional<AffineMap> zeroMap = getScaleMap(node, node.in(2), dims);
    if (!zeroMap)
      return failure();
    operands.push_back(node.in(2));
    maps.push_back(*zeroMap);
  }
  return node.set(
      0, node.generic(
             dims, type, operands, maps, {}, [&](Body &body, ValueRange x) {
               Value factor =
                   body.convert(x[1], x[1].getType(), x[0].getType());
               return quantizeScalar(body, x[0], factor,
                                     x.size() > 2 ? x[2] : Value(), type);
             }));
}

LogicalResult convertDequantize(NodeContext &node) {
  Type type = node.inElem(0),
       result = node.attrType("output_dtype", node.inElem(1));
  if (!result)
    return failure();
  if (!isQuantizedType(type) && !type.isSignlessInteger(32))
    return node.refuse(Diag::UnsupportedType,
                       "expected a quantized type of 2 to 32 bits");
  if (node.has(2) && node.inElem(2) != type)
    return node.refuse(Diag::BadShape,
                       "expected a zero point of the input's type");
  Dims dims = node.inDims(0);
  SmallVector<Value> operands = {node.in(0), node.in(1)};
  std::optional<AffineMap> scaleMap = getScaleMap(node, node.in(1), dims);
  if (!scaleMap)
    return failure();
  SmallVector<AffineMap> maps = {
      AffineMap::getMultiDimIdentityMap(dims.size(), node.b.getContext()),
      *scaleMap};
  if (node.has(2)) {
    std::optional<AffineMap> zeroMap = getScaleMap(node, node.in(2), dims);
    if (!zeroMap)
      return failure();
    operands.push_back(node.in(2));
    maps.push_back(*zeroMap);
  }
  return node.set(0, node.generic(dims, result, operands, maps, {},
                                  [&](Body &body, ValueRange x) {
                                    Value value = dequantizeScalar(
                                        body, x[0], x[1],
                                        x.size() > 2 ? x[2] : Value(), type,
                                        x[1].getType());
                                    return body.convert(value, value.getType(),
                                                        getComputeType(result));
                                  }));
}

LogicalResult convertDynamicQuantize(NodeContext &node) {
  SmallVector<int64_t> all =
      llvm::to_vector(llvm::seq<int64_t>(0, node.inRank(0)));
  Type type = IntegerType::get(node.b.getContext(), 8, IntegerType::Unsigned),
       f32 = node.f32();
  Value low = node.reduce(Combiner::Min, node.in(0), all, false, f32),
        high = node.reduce(Combiner::Max, node.in(0), all, false, f32);
  // The range always holds 0.
  Value scale =
      node.elementwise({low, high}, f32, [&](Body &body, ValueRange x) {
        Value zero = body.number(0, f32);
        return body.div(body.sub(body.max(x[1], zero), body.min(x[0], zero)),
                        body.number(255, f32));
      });
  Value zero =
      node.elementwise({low, scale}, type, [&](Body &body, ValueRange x) {
        Value least = body.min(x[0], body.number(0, f32));
        Value steps = body.div(body.neg(least), x[1]);
        return body.convert(
            body.roundEven(
                body.clamp(steps, body.number(0, f32), body.number(255, f32))),
            f32, type);
      });
  Value codes = node.elementwise(
      {node.in(0), scale, zero}, type, [&](Body &body, ValueRange x) {
        return quantizeScalar(body, x[0], x[1], x[2], type);
      });
  return failure(failed(node.set(0, codes)) || failed(node.set(1, scale)) ||
                 failed(node.set(2, zero)));
}

LogicalResult convertMatMulInteger(NodeContext &node) {
  return node.set(0, multiplyExactly(node, node.in(0), node.in(2), node.in(1),
                                     node.in(3), node.b.getI32Type()));
}

/// com.microsoft: the exact product times both scales, plus a bias.
LogicalResult convertMatMulIntegerToFloat(NodeContext &node) {
  Value sums = multiplyExactly(node, node.in(0), node.in(4), node.in(1),
                               node.in(5), node.b.getI32Type());
  SmallVector<Value> operands = {node.cast(sums, node.f32()), node.in(2),
                                 node.in(3)};
  if (node.has(6))
    operands.push_back(node.in(6));
  return node.set(
      0,
      node.elementwise(operands, node.inElem(2), [](Body &body, ValueRange x) {
        Value value = body.mul(x[0], body.mul(x[1], x[2]));
        return x.size() > 3 ? body.add(value, x[3]) : value;
      }));
}

/// A scale per row of the first operand broadcasts along the columns.
Value perRow(NodeContext &node, Value scale, Value matrix) {
  if (getConstantSize(getNumElements(scale.getType())) == 1)
    return node.reshape(scale, {});
  return node.rank(scale) == 1 && node.rank(matrix) > 1
             ? node.expandRank(scale, 2, /*atEnd=*/true)
             : scale;
}

LogicalResult convertQLinearMatMul(NodeContext &node) {
  Value a = node.in(0), b = node.in(3);
  Value sums =
      multiplyExactly(node, a, node.in(2), b, node.in(5), node.b.getI32Type());
  if (!sums)
    return failure();
  Type type = node.inElem(7);
  if (!isQuantizedType(type))
    return node.refuse(Diag::UnsupportedType,
                       "expected a quantized type of 2 to 16 bits");
  Value scaleA = perRow(node, node.in(1), a), scaleB = node.in(4);
  if (getConstantSize(getNumElements(scaleB.getType())) == 1)
    scaleB = node.reshape(scaleB, {});
  Value scaleY = perRow(node, node.in(6), a),
        zeroY = perRow(node, node.in(7), a);
  return node.set(
      0, node.elementwise({sums, scaleA, scaleB, scaleY, zeroY}, type,
                          [&](Body &body, ValueRange x) {
                            Type f32 = body.b.getF32Type();
                            Value real = body.mul(
                                body.convert(x[0], body.b.getI32Type(), f32),
                                body.div(body.mul(x[1], x[2]), x[3]));
                            return quantizeScalar(
                                body, real, body.number(1, f32), x[4], type);
                          }));
}

/// The exact integer convolution as i32: what padding adds is the zero point,
/// which counts as nothing.
Value convolveExactly(NodeContext &node, const ConvShape &conv, Value input,
                      Value zero, Value weight, Value weightZero) {
  Dims in = node.dims(input), kernel = node.dims(weight);
  unsigned rank = in.size(), spatial = rank - 2;
  Dims over(kernel.begin() + 1, kernel.end());
  AffineExpr perGroup = simplifyDim(kernel[0].floorDiv(conv.groups));
  SmallVector<AffineExpr> weightReads = {node.d(1)};
  for (unsigned i = 0; i <= spatial; ++i)
    weightReads.push_back(node.d(rank + i));
  unsigned numDims = rank + over.size();
  SmallVector<Value> inputs = {weight};
  SmallVector<AffineMap> maps = {node.makeMap(numDims, weightReads)};
  auto addZero = [&](Value value, bool perChannel) {
    if (!value)
      return;
    bool single = getConstantSize(getNumElements(value.getType())) == 1;
    inputs.push_back(single ? node.reshape(value, {}) : value);
    maps.push_back(node.makeMap(
        numDims, single || !perChannel ? ArrayRef<AffineExpr>()
                                       : ArrayRef<AffineExpr>(node.d(1))));
  };
  addZero(zero, false);
  addZero(weightZero, true);
  Type inputType = node.elem(input), weightType = node.elem(weight),
       i32 = node.b.getI32Type();
  return node.reduction(
      Combiner::Sum, conv.result, i32, inputs, maps, input, over,
      [&](Body &body, ValueRange x) {
        Value group = body.div(body.dim(1), body.extent(perGroup), true);
        SmallVector<Value> at = {
            body.dim(0),
            body.add(body.mul(group, body.extent(kernel[1])), body.dim(rank))};
        Value inside = body.boolean(true);
        for (unsigned i = 0; i < spatial; ++i) {
          Value start = body.sub(
              body.mul(body.dim(2 + i), body.index(conv.window.strides[i])),
              body.index(conv.window.pads[i]));
          Value position =
              body.add(start, body.mul(body.dim(rank + 1 + i),
                                       body.index(conv.window.dilations[i])));
          Value size = body.extent(in[2 + i]);
          inside = body.both(inside, body.both(body.le(body.index(0), position),
                                               body.lt(position, size)));
          at.push_back(body.clampIndex(position, size));
        }
        Value left = body.convert(body.read(x.back(), at), inputType, i32),
              right = body.convert(x[0], weightType, i32);
        if (zero)
          left = body.sub(left, body.convert(x[1], inputType, i32));
        if (weightZero)
          right =
              body.sub(right, body.convert(x[zero ? 2 : 1], weightType, i32));
        return body.select(inside, body.mul(left, right), body.integer(0, i32));
      });
}

LogicalResult convertConvInteger(NodeContext &node) {
  std::optional<ConvShape> conv = readConv(node, node.in(0), node.in(1));
  return conv ? node.set(0, convolveExactly(node, *conv, node.in(0), node.in(2),
                                            node.in(1), node.in(3)))
              : failure();
}

LogicalResult convertQLinearConv(NodeContext &node) {
  if (node.attrInt("channels_last", 0))
    return node.refuse(Diag::UnsupportedForm,
                       "channels in the last dimension are not supported");
  Value input = node.in(0), weight = node.in(3);
  std::optional<ConvShape> conv = readConv(node, input, weight);
  if (!conv)
    return failure();
  Type type = node.inElem(7);
  if (!isQuantizedType(type))
    return node.refuse(Diag::UnsupportedType,
                       "expected a quantized type of 2 to 16 bits");
  Value sums = addChannelBias(
      node, convolveExactly(node, *conv, input, node.in(2), weight, node.in(5)),
      node.in(8));
  auto perChannel = [&](Value value) {
    bool single = getConstantSize(getNumElements(value.getType())) == 1;
    return single
               ? node.reshape(value, {})
               : node.expandRank(value, node.rank(input) - 1, /*atEnd=*/true);
  };
  SmallVector<Value> operands = {sums, perChannel(node.in(1)),
                                 perChannel(node.in(4)), perChannel(node.in(6)),
                                 perChannel(node.in(7))};
  return node.set(
      0, node.elementwise(operands, type, [&](Body &body, ValueRange x) {
        Type f32 = body.b.getF32Type();
        Value real = body.mul(body.convert(x[0], body.b.getI32Type(), f32),
                              body.div(body.mul(x[1], x[2]), x[3]));
        return quantizeScalar(body, real, body.number(1, f32), x[4], type);
      }));
}

/// com.microsoft: A, its scale and zero point, B and its, those of the result.
template <bool isProduct>
LogicalResult convertQLinearBinary(NodeContext &node) {
  Type type = node.inElem(0), f32 = node.f32();
  if (!isQuantizedType(type) || !node.has(6))
    return node.refuse(
        Diag::UnsupportedType,
        "expected a quantized type of 2 to 16 bits and a scale of the result");
  Value zero = node.scalar(0, type);
  auto zeroOf = [&](unsigned i) {
    return node.has(i) ? node.reshape(node.in(i), {}) : zero;
  };
  auto scaleOf = [&](unsigned i) { return node.reshape(node.in(i), {}); };
  SmallVector<Value> operands = {node.in(0), scaleOf(1), zeroOf(2),  node.in(3),
                                 scaleOf(4), zeroOf(5),  scaleOf(6), zeroOf(7)};
  return node.set(
      0, node.elementwise(operands, type, [&](Body &body, ValueRange x) {
        Value a = dequantizeScalar(body, x[0], x[1], x[2], type, f32),
              b = dequantizeScalar(body, x[3], x[4], x[5], type, f32);
        return quantizeScalar(body, isProduct ? body.mul(a, b) : body.add(a, b),
                              x[6], x[7], type);
      }));
}

/// com.microsoft: X, its scale and zero point, those of the result; a function
/// of one element between.
template <bool isSigmoid> LogicalResult convertQLinearUnary(NodeContext &node) {
  Type type = node.inElem(0), f32 = node.f32();
  if (!isQuantizedType(type) || !node.has(3))
    return node.refuse(
        Diag::UnsupportedType,
        "expected a quantized type of 2 to 16 bits and a scale of the result");
  double alpha = node.attrFloat("alpha", 0.01f);
  Value zero = node.scalar(0, type);
  auto zeroOf = [&](unsigned i) {
    return node.has(i) ? node.reshape(node.in(i), {}) : zero;
  };
  SmallVector<Value> operands = {node.in(0), node.reshape(node.in(1), {}),
                                 zeroOf(2), node.reshape(node.in(3), {}),
                                 zeroOf(4)};
  return node.set(
      0, node.elementwise(operands, type, [&](Body &body, ValueRange x) {
        Value v = dequantizeScalar(body, x[0], x[1], x[2], type, f32);
        Value leaky =
            isSigmoid ? Value()
                      : body.select(body.lt(v, body.number(0, f32)),
                                    body.mul(v, body.number(alpha, f32)), v);
        return quantizeScalar(body, isSigmoid ? body.sigmoid(v) : leaky, x[3],
                              x[4], type);
      }));
}

/// Rounding modes of the qonnx domain.
Value roundAs(Body &body, StringRef mode, Value x) {
  Value half = body.number(0.5, x.getType());
  Value isNegative = body.lt(x, body.number(0, x.getType()));
  Value magnitude = body.abs(x), result;
  if (mode == "CEIL")
    return body.ceil(x);
  if (mode == "FLOOR")
    return body.floor(x);
  if (mode == "UP")
    result = body.ceil(magnitude);
  else if (mode == "DOWN")
    result = body.floor(magnitude);
  else if (mode == "HALF_UP")
    result = body.floor(body.add(magnitude, half));
  else if (mode == "HALF_DOWN")
    result = body.ceil(body.sub(magnitude, half));
  else
    return body.roundEven(x);
  return body.select(isNegative, body.neg(result), result);
}

/// qonnx: x, scale, zero point, number of bits; the value that the integer
/// stands for, as a float.
LogicalResult convertQuant(NodeContext &node) {
  std::optional<SmallVector<double>> bits = node.getFloats(3);
  if (!bits || bits->size() != 1)
    return node.refuseDynamic(3, "the number of bits");
  if ((*bits)[0] < 1 || (*bits)[0] > 24 || !isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::UnsupportedForm,
                       "expected 1 to 24 bits of a float tensor");
  bool isSigned = node.attrInt("signed", 1) != 0;
  bool narrow = node.attrInt("narrow", 0) != 0;
  std::string mode =
      StringRef(node.attrString("rounding_mode", "ROUND")).upper();
  double top = std::exp2((*bits)[0] - (isSigned ? 1 : 0));
  double high = top - 1 - (!isSigned && narrow ? 1 : 0);
  double low = isSigned ? -top + (narrow ? 1 : 0) : 0;
  bool isBinary = isSigned && (*bits)[0] == 1;
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
                 steps = roundAs(body, mode,
                                 body.clamp(steps, body.number(low, type),
                                            body.number(high, type)));
               }
               return body.mul(body.sub(steps, x[2]), x[1]);
             }));
}

/// qonnx: the sign of x, never 0, times the scale.
LogicalResult convertBipolarQuant(NodeContext &node) {
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [](Body &body, ValueRange x) {
               Type type = x[0].getType();
               Value isNegative = body.lt(x[0], body.number(0, type));
               return body.select(isNegative, body.neg(x[1]), x[1]);
             }));
}

} // namespace

void registerQuantized(Registry &registry) {
  constexpr const char *kFloats = "float8 and float4 types";
  registry.add(kOnnxDomain,
               {
                   {"QuantizeLinear", 10, 2, 3, convertQuantize, kFloats},
                   {"DequantizeLinear", 10, 2, 3, convertDequantize, kFloats},
                   {"DynamicQuantizeLinear", 11, 1, 1, convertDynamicQuantize},
                   {"MatMulInteger", 10, 2, 4, convertMatMulInteger},
                   {"ConvInteger", 10, 2, 4, convertConvInteger},
                   {"QLinearMatMul", 10, 8, 8, convertQLinearMatMul, kFloats},
                   {"QLinearConv", 10, 8, 9, convertQLinearConv},
               });
  for (const char *domain : {"qonnx.custom_op.general", "onnx.brevitas"})
    registry.add(domain, {
                             {"Quant", 1, 4, 4, convertQuant},
                             {"BipolarQuant", 1, 2, 2, convertBipolarQuant},
                         });
  registry.add(
      kMicrosoftDomain,
      {
          {"QuantizeLinear", 1, 2, 3, convertQuantize},
          {"DequantizeLinear", 1, 2, 3, convertDequantize},
          {"MatMulIntegerToFloat", 1, 4, 7, convertMatMulIntegerToFloat},
          {"QLinearAdd", 1, 7, 8, convertQLinearBinary<false>},
          {"QLinearMul", 1, 7, 8, convertQLinearBinary<true>},
          {"QLinearSigmoid", 1, 4, 5, convertQLinearUnary<true>},
          {"QLinearLeakyRelu", 1, 4, 5, convertQLinearUnary<false>},
      });
}

} // namespace qcc::onnx_import
