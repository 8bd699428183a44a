//===- Activations.cpp - codes of activations and weights -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Activations.h"
#include "WeightMath.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

std::optional<qcc::Range> qcc::getRange(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  ArrayAttr range;
  if (auto arg = dyn_cast<BlockArgument>(value)) {
    auto func = dyn_cast<func::FuncOp>(arg.getOwner()->getParentOp());
    if (func)
      range = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), "qcc.range");
  } else if (value.getDefiningOp()->getNumResults() == 1) {
    range = value.getDefiningOp()->getAttrOfType<ArrayAttr>("qcc.range");
  }
  if (!range || range.size() != 2)
    return std::nullopt;
  auto low = dyn_cast<FloatAttr>(range[0]),
       high = dyn_cast<FloatAttr>(range[1]);
  if (!low || !high)
    return std::nullopt;
  return qcc::Range{float(low.getValueAsDouble()),
                    float(high.getValueAsDouble())};
}

/// A scalar constant.
static Value createScalar(OpBuilder &b, Location loc, Attribute value,
                          Type element) {
  auto type = RankedTensorType::get({}, element);
  return ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, value));
}

/// `value` times factors that `map` reads for each element.
static GenericOp multiply(OpBuilder &b, Location loc, Value value,
                          ArrayRef<float> factors, AffineMap map) {
  auto type = cast<RankedTensorType>(value.getType());
  auto vector =
      RankedTensorType::get({int64_t(factors.size())}, b.getF32Type());
  Value constant = ConstantOp::create(b, loc, vector,
                                      DenseElementsAttr::get(vector, factors));
  auto product =
      createGeneric(b, loc, type, Combiner::None, {value, constant},
                    {b.getMultiDimIdentityMap(type.getRank()), map}, {}, {},
                    [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                      return arith::MulFOp::create(body, args[0], args[1]);
                    });
  // For who writes the model.
  product->setAttr(kEqualisedAttr, b.getUnitAttr());
  return product;
}

/// Reads the factor of the channel that a layer sums over.
static AffineMap getChannelMap(Value value, Operation *layer) {
  auto rank = unsigned(cast<RankedTensorType>(value.getType()).getRank());
  unsigned axis = isa<MatMulOp>(layer) ? rank - 1 : 1;
  return AffineMap::get(rank, 0, getAffineDimExpr(axis, value.getContext()));
}

ActivationCodes qcc::createCodes(OpBuilder &b, Value value,
                                 const Activation &activation) {
  Location loc = value.getLoc();
  ActivationCodes result{nullptr, {}, {}};
  AffineMap channels;
  if (!activation.scales.empty()) {
    std::vector<float> reciprocals;
    for (float scale : activation.scales)
      reciprocals.push_back(1 / scale);
    channels = getChannelMap(value, activation.layers.front());
    result.first = multiply(b, loc, value, reciprocals, channels);
    value = result.first->getResult(0);
  }
  Grid grid =
      getGrid(activation.range, 8, /*isSymmetric=*/false, /*isSigned=*/false);
  Type code = b.getIntegerType(8, /*isSigned=*/false);
  Value scale =
            createScalar(b, loc, b.getF32FloatAttr(grid.scale), b.getF32Type()),
        zero;
  if (grid.zeroPoint != 0)
    zero = createScalar(b, loc, b.getIntegerAttr(code, grid.zeroPoint), code);
  auto codes = QuantizeOp::create(
      b, loc, makeTensorType(getDims(value.getType()), code), value, scale,
      zero, /*axis=*/0, /*block=*/0, /*precision=*/TypeAttr(),
      /*overflow=*/false);
  auto back = DequantizeOp::create(b, loc, value.getType(), codes.getResult(),
                                   scale, zero, /*axis=*/0, /*block=*/0);
  if (!result.first)
    result.first = codes;
  result.forLayers = result.forOthers = back.getResult();
  if (!activation.scales.empty())
    result.forOthers =
        multiply(b, loc, back.getResult(), activation.scales, channels)
            .getResult();
  return result;
}

bool qcc::readsCodes(OpOperand &use) {
  Operation *user = use.getOwner();
  if (isa<ConvOp, MatMulOp>(user))
    return use.getOperandNumber() == 0;
  return isa<GenericOp, PoolOp, ConcatOp>(user);
}

/// The weight with each input of its channels multiplied.
static Value scaleInputs(OpBuilder &b, Operation *layer,
                         ArrayRef<float> scales) {
  Value weight = layer->getOperand(1);
  auto type = cast<RankedTensorType>(weight.getType());
  MLIRContext *context = b.getContext();
  AffineExpr channel;
  if (auto matmul = dyn_cast<MatMulOp>(layer)) {
    channel = getAffineDimExpr(matmul.getTransB() ? 1 : 0, context);
  } else {
    int64_t groups = int64_t(cast<ConvOp>(layer).getGroups());
    AffineExpr group =
        getAffineDimExpr(0, context).floorDiv(type.getDimSize(0) / groups);
    channel = group * type.getDimSize(1) + getAffineDimExpr(1, context);
  }
  return multiply(b, layer->getLoc(), weight, scales,
                  AffineMap::get(unsigned(type.getRank()), 0, channel))
      .getResult();
}

std::vector<int64_t> qcc::getKernelRows(int64_t inputs, int64_t taps) {
  std::vector<int64_t> rows;
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t input = 0; input < inputs; ++input)
      rows.push_back(input * taps + tap);
  return rows;
}

/// Where row `row` of output `channel` lies in a weight, rows counted as
/// kernels do.
static SmallVector<AffineExpr> getRowPlace(Operation *layer,
                                           RankedTensorType type,
                                           AffineExpr channel, AffineExpr row) {
  if (auto matmul = dyn_cast<MatMulOp>(layer)) {
    if (matmul.getTransB())
      return {channel, row};
    return {row, channel};
  }
  int64_t inputs = type.getDimSize(1);
  SmallVector<AffineExpr> place{channel, row % inputs};
  AffineExpr tap = row.floorDiv(inputs);
  for (int64_t size : llvm::reverse(type.getShape().drop_front(2))) {
    place.insert(place.begin() + 2, tap % size);
    tap = tap.floorDiv(size);
  }
  return place;
}

/// Half of the largest sum that weights of one sign have in a pair of rows, for
/// each channel; null if there are no pairs.
static Value findLargestPair(OpBuilder &b, Operation *layer, Value weight,
                             RankedTensorType channels) {
  MLIRContext *context = b.getContext();
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t pairs = type.getNumElements() / channels.getDimSize(0) / 2;
  if (pairs == 0)
    return {};
  AffineExpr channel = getAffineDimExpr(0, context),
             pair = getAffineDimExpr(1, context);
  SmallVector<AffineMap> maps;
  for (int64_t i = 0; i < 2; ++i)
    maps.push_back(AffineMap::get(
        2, 0, getRowPlace(layer, type, channel, pair * 2 + i), context));
  return createGeneric(
             b, layer->getLoc(), channels, Combiner::Max, {weight, weight},
             maps, {}, {getAffineConstantExpr(pairs, context)},
             [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               auto number = [&](float value) -> Value {
                 return arith::ConstantOp::create(body,
                                                  body.getF32FloatAttr(value));
               };
               Value zero = number(0), half = number(0.5f);
               auto add = [&](bool negative) -> Value {
                 SmallVector<Value> parts;
                 for (Value arg : args) {
                   Value part =
                       negative ? arith::NegFOp::create(body, arg).getResult()
                                : arg;
                   part = arith::MaximumFOp::create(body, part, zero);
                   parts.push_back(arith::MulFOp::create(body, part, half));
                 }
                 return arith::AddFOp::create(body, parts[0], parts[1]);
               };
               return arith::MaximumFOp::create(body, add(false), add(true));
             })
      .getResult();
}

Value qcc::quantizeWeight(OpBuilder &b, Operation *layer,
                          ArrayRef<float> scales, WeightForm form) {
  MLIRContext *context = b.getContext();
  Location loc = layer->getLoc();
  double maxCode = (1 << (form.bits - 1)) - 1;
  form.pairsFit &= form.bits == 8 && !isDepthwise(layer);
  Value weight = layer->getOperand(1);
  if (!scales.empty())
    weight = scaleInputs(b, layer, scales);
  auto matmul = dyn_cast<MatMulOp>(layer);
  int64_t axis = matmul && !matmul.getTransB() ? 1 : 0;
  auto type = cast<RankedTensorType>(weight.getType());
  unsigned rank = type.getRank();
  // Dimension 0 is the channel; the others are reduced.
  SmallVector<AffineExpr> reads(rank), over;
  unsigned next = 1;
  for (unsigned i = 0; i < rank; ++i) {
    reads[i] = getAffineDimExpr(i == axis ? 0 : next++, context);
    if (i != axis)
      over.push_back(getAffineConstantExpr(type.getDimSize(i), context));
  }
  auto channels =
      RankedTensorType::get({type.getDimSize(axis)}, b.getF32Type());
  Value largest =
      createGeneric(b, loc, channels, Combiner::Max, weight,
                    AffineMap::get(rank, 0, reads, context), {}, over,
                    [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                      return math::AbsFOp::create(body, args[0]);
                    })
          .getResult();
  SmallVector<Value> bounds{largest};
  if (form.pairsFit)
    if (Value pair = findLargestPair(b, layer, weight, channels))
      bounds.push_back(pair);
  // A channel of zeros: any scale will do.
  Value scale =
      createGeneric(
          b, loc, channels, Combiner::None, bounds,
          SmallVector<AffineMap>(bounds.size(), b.getMultiDimIdentityMap(1)),
          {}, {},
          [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
            auto number = [&](double value) -> Value {
              return arith::ConstantOp::create(
                  body, body.getF32FloatAttr(float(value)));
            };
            Value least = number(maxCode * 0x1p-126);
            Value bounded = arith::MaximumFOp::create(body, args[0], least);
            Value result =
                arith::DivFOp::create(body, bounded, number(maxCode));
            if (args.size() > 1)
              result = arith::MaximumFOp::create(
                  body, result,
                  arith::DivFOp::create(body, args[1],
                                        number(kLargestPair / 2)));
            return result;
          })
          .getResult();
  return createWeightCodes(b, loc, weight, scale, axis, form);
}

Value qcc::createWeightCodes(OpBuilder &b, Location loc, Value weight,
                             Value scale, int64_t axis, WeightForm form) {
  auto type = cast<RankedTensorType>(weight.getType());
  auto codes = QuantizeOp::create(
      b, loc, type.clone(b.getIntegerType(form.bits)), weight, scale,
      /*zero=*/Value(), axis, /*block=*/0, /*precision=*/TypeAttr(),
      /*overflow=*/false);
  if (form.pairsFit)
    codes->setAttr(kPairsFitAttr, b.getUnitAttr());
  return DequantizeOp::create(b, loc, type, codes.getResult(), scale,
                              /*zero=*/Value(), axis, /*block=*/0)
      .getResult();
}
