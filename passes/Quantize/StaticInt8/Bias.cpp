//===- Bias.cpp - adding corrections to layers ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Bias.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

ChannelPlaces qcc::getChannelPlaces(Operation *layer) {
  SmallVector<AffineExpr> dims = getDims(layer->getResult(0).getType());
  ChannelPlaces places;
  if (isa<MatMulOp>(layer)) {
    places.channels = size_t(getConstantSize(dims.back()).value_or(0));
    places.inner = 1;
    return places;
  }
  places.channels = size_t(getConstantSize(dims[1]).value_or(0));
  std::optional<int64_t> inner = getConstantSize(
      product(ArrayRef(dims).drop_front(2), layer->getContext()));
  places.inner = size_t(inner.value_or(0));
  return places;
}

/// Reads element `offset + channel` of a vector for each element of a result.
static AffineMap getOutputChannelMap(Operation *layer, int64_t offset) {
  MLIRContext *context = layer->getContext();
  auto rank =
      unsigned(cast<RankedTensorType>(layer->getResult(0).getType()).getRank());
  return AffineMap::get(
      rank, 0,
      getAffineDimExpr(isa<MatMulOp>(layer) ? rank - 1 : 1, context) + offset);
}

static Value add(ImplicitLocOpBuilder &b, ValueRange args) {
  return arith::AddFOp::create(b, args[0], args[1]);
}

Value qcc::addNumbers(OpBuilder &b, Operation *layer, Value value,
                      Value numbers, int64_t offset) {
  auto type = cast<RankedTensorType>(value.getType());
  return createGeneric(b, value.getLoc(), type, Combiner::None,
                       {value, numbers},
                       {b.getMultiDimIdentityMap(unsigned(type.getRank())),
                        getOutputChannelMap(layer, offset)},
                       {}, {}, add)
      .getResult();
}

/// The operand of the addition of a constant number to each channel that alone
/// reads a layer's result, if there is one: exporters write it first or last.
static OpOperand *findBias(Operation *layer) {
  Value result = layer->getResult(0);
  if (!result.hasOneUse())
    return nullptr;
  auto op = dyn_cast<GenericOp>(*result.getUsers().begin());
  if (!op || op.isReduction() || op.getInputs().size() != 2 ||
      !op.getWhole().empty())
    return nullptr;
  unsigned own = op.getInputs()[0] == result ? 0 : 1, other = 1 - own;
  if (!op.getMap(own).isIdentity() ||
      !isConstantExpression(op.getInputs()[other]))
    return nullptr;
  auto sum = op.getYielded().getDefiningOp<arith::AddFOp>();
  Value first = op.getBlock()->getArgument(0),
        second = op.getBlock()->getArgument(1);
  if (!sum || (sum.getLhs() != first && sum.getRhs() != first) ||
      (sum.getLhs() != second && sum.getRhs() != second))
    return nullptr;
  // One element for each channel, read by the channel alone.
  auto type = cast<RankedTensorType>(op.getInputs()[other].getType());
  size_t channels = getChannelPlaces(layer).channels;
  AffineExpr channel = getOutputChannelMap(layer, 0).getResult(0);
  if (!type.hasStaticShape() || !type.getElementType().isF32() ||
      size_t(type.getNumElements()) != channels)
    return nullptr;
  for (auto [size, read] :
       llvm::zip_equal(type.getShape(), op.getMap(other).getResults()))
    if (size != 1 && read != channel)
      return nullptr;
  return &op->getOpOperand(other);
}

void qcc::addToChannels(Operation *layer, ArrayRef<float> values) {
  OpBuilder b(layer->getContext());
  Location loc = layer->getLoc();
  layer->setAttr(kCorrectionAttr, b.getDenseF32ArrayAttr(values));
  if (OpOperand *bias = findBias(layer)) {
    b.setInsertionPoint(bias->getOwner());
    Value before = bias->get();
    auto type = cast<RankedTensorType>(before.getType());
    Value constant =
        ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, values));
    AffineMap same = b.getMultiDimIdentityMap(unsigned(type.getRank()));
    bias->set(createGeneric(b, loc, type, Combiner::None, {before, constant},
                            {same, same}, {}, {}, add)
                  .getResult());
    return;
  }
  b.setInsertionPointAfter(layer);
  Value result = layer->getResult(0);
  auto vector = RankedTensorType::get({int64_t(values.size())}, b.getF32Type());
  Value constant = ConstantOp::create(b, loc, vector,
                                      DenseElementsAttr::get(vector, values));
  Value moved = addNumbers(b, layer, result, constant);
  result.replaceAllUsesExcept(moved, moved.getDefiningOp());
}
