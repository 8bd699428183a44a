//===- ChannelScale.cpp - scales of channels taken into weights -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Calibration/Observations.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

namespace {
/// The inputs of `x * scale + shift`.
struct ScaleShift {
  unsigned x, scale, shift;
};
} // namespace

/// The argument's number; none for another value.
static std::optional<unsigned> getArgument(GenericOp generic, Value value) {
  auto arg = dyn_cast<BlockArgument>(value);
  if (!arg || arg.getOwner() != generic.getBlock())
    return std::nullopt;
  return arg.getArgNumber();
}

/// The numbers of inputs of a body `a * b + c`, the factors in any order; the
/// first is one that is not a constant expression.
static std::optional<ScaleShift> matchScaleShift(GenericOp generic) {
  if (generic.isReduction() || !generic.getWhole().empty() ||
      generic.getInputs().size() != 3 ||
      std::distance(generic.getBlock()->begin(), generic.getBlock()->end()) !=
          3)
    return std::nullopt;
  auto sum = generic.getYielded().getDefiningOp<arith::AddFOp>();
  if (!sum)
    return std::nullopt;
  for (Value term : sum->getOperands()) {
    auto product = term.getDefiningOp<arith::MulFOp>();
    if (!product)
      continue;
    Value other = term == sum.getLhs() ? sum.getRhs() : sum.getLhs();
    std::optional<unsigned> first = getArgument(generic, product.getLhs()),
                            second = getArgument(generic, product.getRhs()),
                            shift = getArgument(generic, other);
    if (!first || !second || !shift || first == second || first == shift ||
        second == shift)
      return std::nullopt;
    if (isConstantExpression(generic.getInputs()[*first]))
      std::swap(first, second);
    return ScaleShift{*first, *second, *shift};
  }
  return std::nullopt;
}

/// True if an input of a result is read by nothing but its channel.
static bool isPerChannel(AffineMap map) {
  return llvm::all_of(map.getResults(), [](AffineExpr expr) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    return isa<AffineConstantExpr>(expr) || (dim && dim.getPosition() == 1);
  });
}

/// The same map of a rank-`rank` result whose channel is its first dimension.
static AffineMap channelFirst(AffineMap map, unsigned rank) {
  SmallVector<AffineExpr> dims;
  for (unsigned i = 0; i < map.getNumDims(); ++i)
    dims.push_back(getAffineDimExpr(i == 1 ? 0 : i, map.getContext()));
  return map.replaceDimsAndSymbols(dims, {}, rank, 0);
}

namespace {
/// A constant for each channel.
struct PerChannel {
  Value value;
  AffineMap map;

  /// Whether it is one number in f32 for each of so many channels.
  bool isConstant(int64_t channels) const {
    auto type = cast<RankedTensorType>(value.getType());
    return isPerChannel(map) && isConstantExpression(value) &&
           type.getElementType().isF32() && type.hasStaticShape() &&
           type.getNumElements() == channels;
  }
};

/// A convolution, and the bias that was added to it, if there is one.
struct BiasedConv {
  ConvOp conv;
  PerChannel bias;
};
} // namespace

static int64_t getOutputs(ConvOp conv) {
  return cast<RankedTensorType>(conv.getWeight().getType()).getDimSize(0);
}

/// The convolution that `value` is, with a bias or without, if nothing else
/// reads it on the way.
static std::optional<BiasedConv> matchConv(Value value) {
  if (!value.hasOneUse())
    return std::nullopt;
  if (auto conv = value.getDefiningOp<ConvOp>())
    return BiasedConv{conv, {}};
  auto sum = value.getDefiningOp<GenericOp>();
  if (!sum || sum.isReduction() || !sum.getWhole().empty() ||
      sum.getInputs().size() != 2 ||
      std::distance(sum.getBlock()->begin(), sum.getBlock()->end()) != 2 ||
      !sum.getYielded().getDefiningOp<arith::AddFOp>())
    return std::nullopt;
  auto add = sum.getYielded().getDefiningOp<arith::AddFOp>();
  std::optional<unsigned> x = getArgument(sum, add.getLhs()),
                          bias = getArgument(sum, add.getRhs());
  if (!x || !bias || x == bias)
    return std::nullopt;
  if (isConstantExpression(sum.getInputs()[*x]))
    std::swap(x, bias);
  auto conv = sum.getInputs()[*x].getDefiningOp<ConvOp>();
  PerChannel found{sum.getInputs()[*bias], sum.getMap(*bias)};
  if (!conv || !conv->hasOneUse() || !found.isConstant(getOutputs(conv)) ||
      !sum.getMap(*x).isIdentity() ||
      getDims(sum.getResult().getType()) != getDims(conv.getResult().getType()))
    return std::nullopt;
  return BiasedConv{conv, found};
}

/// `bias * scale + shift` per channel.
static PerChannel moveBias(OpBuilder &b, Location loc, int64_t channels,
                           PerChannel bias, PerChannel scale,
                           PerChannel shift) {
  auto type = RankedTensorType::get({channels}, b.getF32Type());
  Value value =
      createGeneric(
          b, loc, type, Combiner::None, {bias.value, scale.value, shift.value},
          {channelFirst(bias.map, 1), channelFirst(scale.map, 1),
           channelFirst(shift.map, 1)},
          {}, {},
          [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
            Value product = arith::MulFOp::create(body, args[0], args[1]);
            return arith::AddFOp::create(body, product, args[2]);
          })
          .getResult();
  unsigned rank = scale.map.getNumDims();
  return {value, AffineMap::get(rank, 0, getAffineDimExpr(1, b.getContext()))};
}

namespace {
/// A convolution whose results are scaled per channel, as batch normalisation
/// does, has the scales in its weight. Weights that are codes of others keep
/// them.
struct FoldChannelScale : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<ScaleShift> found = matchScaleShift(op);
    if (!found || !op.getMap(found->x).isIdentity())
      return failure();
    PerChannel scale{op.getInputs()[found->scale], op.getMap(found->scale)},
        shift{op.getInputs()[found->shift], op.getMap(found->shift)};
    std::optional<BiasedConv> biased = matchConv(op.getInputs()[found->x]);
    if (!biased)
      return failure();
    ConvOp conv = biased->conv;
    if (!scale.isConstant(getOutputs(conv)) ||
        !shift.isConstant(getOutputs(conv)) ||
        getDims(op.getResult().getType()) !=
            getDims(conv.getResult().getType()))
      return failure();
    auto type = cast<RankedTensorType>(conv.getWeight().getType());
    if (!conv.getWeight().getDefiningOp<ParamOp>() ||
        !type.getElementType().isF32() ||
        !cast<RankedTensorType>(conv.getInput().getType())
             .getElementType()
             .isF32())
      return failure();
    if (biased->bias.value)
      shift = moveBias(rewriter, op.getLoc(), getOutputs(conv), biased->bias,
                       scale, shift);
    rewriter.replaceOp(op, rewrite(rewriter, op, conv, scale, shift));
    return success();
  }

private:
  static Value rewrite(PatternRewriter &rewriter, GenericOp op, ConvOp conv,
                       PerChannel scale, PerChannel shift) {
    auto type = cast<RankedTensorType>(conv.getWeight().getType());
    auto rank = unsigned(type.getRank());
    auto weight = createGeneric(
        rewriter, op.getLoc(), type, Combiner::None,
        {conv.getWeight(), scale.value},
        {rewriter.getMultiDimIdentityMap(rank), channelFirst(scale.map, rank)},
        {}, {}, [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
          return arith::MulFOp::create(body, args[0], args[1]);
        });
    weight->setAttr(kScaledAttr, rewriter.getUnitAttr());
    auto scaled = cast<ConvOp>(rewriter.clone(*conv));
    scaled.getWeightMutable().assign(weight.getResult());
    // What is known of the results by their names holds no longer.
    scaled->removeAttr(kValueNameAttr);
    auto sum = createGeneric(
        rewriter, op.getLoc(), op.getResult().getType(), Combiner::None,
        {scaled.getResult(), shift.value},
        {rewriter.getMultiDimIdentityMap(rank), shift.map}, {}, {},
        [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
          return arith::AddFOp::create(body, args[0], args[1]);
        });
    sum->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    sum->setAttr(kShiftOfAttr,
                 rewriter.getStringAttr(getNodeName(conv.getLoc())));
    return sum.getResult();
  }
};
} // namespace

void qcc::populateChannelScalePatterns(RewritePatternSet &patterns) {
  patterns.add<FoldChannelScale>(patterns.getContext());
}
