//===- Activations.cpp - codes of activations and weights -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Activations.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

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
  product->setAttr("qcc.equalised", b.getUnitAttr());
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

Value qcc::quantizeWeight(OpBuilder &b, Operation *layer,
                          ArrayRef<float> scales, unsigned bits) {
  MLIRContext *context = b.getContext();
  Location loc = layer->getLoc();
  double maxCode = (1 << (bits - 1)) - 1;
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
  // A channel of zeros: any scale will do.
  Value scale =
      createGeneric(
          b, loc, channels, Combiner::None, largest,
          b.getMultiDimIdentityMap(1), {}, {},
          [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
            auto number = [&](double value) -> Value {
              return arith::ConstantOp::create(
                  body, body.getF32FloatAttr(float(value)));
            };
            Value least = number(maxCode * 0x1p-126);
            Value bounded = arith::MaximumFOp::create(body, args[0], least);
            return arith::DivFOp::create(body, bounded, number(maxCode));
          })
          .getResult();
  return createWeightCodes(b, loc, weight, scale, axis, bits);
}

Value qcc::createWeightCodes(OpBuilder &b, Location loc, Value weight,
                             Value scale, int64_t axis, unsigned bits) {
  auto type = cast<RankedTensorType>(weight.getType());
  auto codes = QuantizeOp::create(
      b, loc, type.clone(b.getIntegerType(bits)), weight, scale,
      /*zero=*/Value(), axis, /*block=*/0, /*precision=*/TypeAttr(),
      /*overflow=*/false);
  return DequantizeOp::create(b, loc, type, codes.getResult(), scale,
                              /*zero=*/Value(), axis, /*block=*/0)
      .getResult();
}
