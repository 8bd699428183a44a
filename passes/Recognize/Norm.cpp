//===- Norm.cpp - layer normalisation from its parts ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

/// Skips reshapes: keepdims of a mean is a view.
static Value skipViews(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value;
}

/// The tensor whose mean over the last dimension `value` is: a sum times (or
/// over) the number of elements of a row.
static Value matchMean(Value value) {
  value = skipViews(value);
  std::optional<BinaryElementwise> scaled = matchBinary(value);
  if (!scaled)
    return {};
  unsigned at = scaled->operands[0] ? 0 : 1;
  Value sum = scaled->operands[at];
  std::optional<double> factor = scaled->constants[1 - at];
  if (!sum || !factor)
    return {};
  auto reduction = skipViews(sum).getDefiningOp<GenericOp>();
  if (!reduction || reduction.getCombiner() != Combiner::Sum ||
      reduction.getInputs().size() != 1 || reduction.getNumReduction() != 1 ||
      reduction.getYielded() != reduction.getBlock()->getArgument(0))
    return {};
  Value input = reduction.getInputs()[0];
  auto type = cast<RankedTensorType>(input.getType());
  std::optional<int64_t> length = getConstantSize(getDims(type).back());
  // The reduced dimension is the last one, read in order.
  AffineMap map = reduction.getMap(0);
  auto last = dyn_cast<AffineDimExpr>(map.getResult(map.getNumResults() - 1));
  if (!length || !last || last.getPosition() != reduction.getNumParallel())
    return {};
  bool isMean = isa<arith::DivFOp>(scaled->op)
                    ? at == 0 && *factor == double(*length)
                    : isa<arith::MulFOp>(scaled->op) &&
                          *factor == double(float(1.0 / double(*length)));
  return isMean ? input : Value();
}

/// The tensor whose elementwise square `value` is.
static Value matchSquare(Value value) {
  std::optional<BinaryElementwise> step = matchBinary(value);
  if (!step)
    return {};
  if (isa<arith::MulFOp>(step->op) && step->operands[0] == step->operands[1])
    return step->operands[0];
  if (isa<math::PowFOp>(step->op) && step->operands[0] &&
      step->constants[1] == 2.0)
    return step->operands[0];
  return {};
}

/// `x` of `x - mean(x)`.
static Value matchCentred(Value value) {
  std::optional<BinaryElementwise> step = matchBinary(value);
  if (!step || !isa<arith::SubFOp>(step->op) || !step->operands[0] ||
      !step->operands[1])
    return {};
  return matchMean(step->operands[1]) == step->operands[0] ? step->operands[0]
                                                           : Value();
}

namespace {
/// centred / sqrt(mean(centred^2) + epsilon).
struct RecognizeLayerNorm : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<BinaryElementwise> quotient = matchBinary(op.getResult());
    if (!quotient || !isa<arith::DivFOp>(quotient->op) ||
        !quotient->operands[0] || !quotient->operands[1] ||
        !op.getResult().getType().getElementType().isF32())
      return failure();
    Value centred = quotient->operands[0];
    if (centred.getType() != op.getResult().getType())
      return failure();
    Value root = matchUnary(skipViews(quotient->operands[1]), "math.sqrt");
    if (!root)
      return failure();
    std::optional<BinaryElementwise> shifted = matchBinary(skipViews(root));
    if (!shifted || !isa<arith::AddFOp>(shifted->op))
      return failure();
    unsigned at = shifted->operands[0] ? 0 : 1;
    std::optional<double> epsilon = shifted->constants[1 - at];
    if (!shifted->operands[at] || !epsilon)
      return failure();
    Value square = matchMean(shifted->operands[at]);
    if (!square || matchSquare(square) != centred)
      return failure();
    Value input = matchCentred(centred);
    if (!input || input.getType() != op.getResult().getType())
      return failure();
    rewriter.replaceOpWithNewOp<NormOp>(op, op.getResult().getType(),
                                        NormKind::Layer, input,
                                        APFloat(static_cast<float>(*epsilon)));
    return success();
  }
};
} // namespace

void qcc::populateNormPatterns(RewritePatternSet &patterns) {
  patterns.add<RecognizeLayerNorm>(patterns.getContext());
}
