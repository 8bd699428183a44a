//===- ChannelScale.cpp - scales of channels taken into weights -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Calibration/Observations.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

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

/// True if an input of a rank-`rank` result is read by its channel alone.
static bool isPerChannel(AffineMap map) {
  return llvm::all_of(map.getResults(), [](AffineExpr expr) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    return isa<AffineConstantExpr>(expr) || (dim && dim.getPosition() == 1);
  });
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
    if (!found)
      return failure();
    auto conv = op.getInputs()[found->x].getDefiningOp<ConvOp>();
    Value scale = op.getInputs()[found->scale],
          shift = op.getInputs()[found->shift];
    if (!conv || !conv->hasOneUse() || !op.getMap(found->x).isIdentity() ||
        getDims(op.getResult().getType()) !=
            getDims(conv.getResult().getType()) ||
        !conv.getWeight().getDefiningOp<ParamOp>() ||
        !isConstantExpression(scale) || !isConstantExpression(shift) ||
        !isPerChannel(op.getMap(found->scale)))
      return failure();
    for (Value value :
         SmallVector<Value>{conv.getWeight(), conv.getInput(), scale, shift})
      if (!cast<RankedTensorType>(value.getType()).getElementType().isF32())
        return failure();

    auto type = cast<RankedTensorType>(conv.getWeight().getType());
    auto rank = unsigned(type.getRank());
    MLIRContext *context = op.getContext();
    SmallVector<AffineExpr> dims;
    for (unsigned i = 0; i < rank; ++i)
      dims.push_back(getAffineDimExpr(i == 1 ? 0 : i, context));
    AffineMap ofOutput =
        op.getMap(found->scale).replaceDimsAndSymbols(dims, {}, rank, 0);
    Value weight =
        createGeneric(rewriter, op.getLoc(), type, Combiner::None,
                      {conv.getWeight(), scale},
                      {rewriter.getMultiDimIdentityMap(rank), ofOutput}, {}, {},
                      [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                        return arith::MulFOp::create(body, args[0], args[1]);
                      })
            .getResult();
    auto scaled = cast<ConvOp>(rewriter.clone(*conv));
    scaled.getWeightMutable().assign(weight);
    // What is known of the results by their names holds no longer.
    scaled->removeAttr(kValueNameAttr);
    auto sum =
        createGeneric(rewriter, op.getLoc(), op.getResult().getType(),
                      Combiner::None, {scaled.getResult(), shift},
                      {op.getMap(found->x), op.getMap(found->shift)}, {}, {},
                      [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                        return arith::AddFOp::create(body, args[0], args[1]);
                      });
    sum->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    rewriter.replaceOp(op, sum.getResult());
    return success();
  }
};
} // namespace

void qcc::populateChannelScalePatterns(RewritePatternSet &patterns) {
  patterns.add<FoldChannelScale>(patterns.getContext());
}
