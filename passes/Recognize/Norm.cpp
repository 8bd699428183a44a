//===- Norm.cpp - normalisation from its parts ------------------*- C++ -*-===//
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
  if (!sum || !factor || !scaled->maps[at].isIdentity())
    return {};
  auto reduction = skipViews(sum).getDefiningOp<GenericOp>();
  if (!reduction || reduction.getCombiner() != Combiner::Sum ||
      reduction.getInputs().size() != 1 || reduction.getNumReduction() != 1 ||
      reduction.getYielded() != reduction.getBlock()->getArgument(0))
    return {};
  Value input = reduction.getInputs()[0];
  auto type = cast<RankedTensorType>(input.getType());
  std::optional<int64_t> length = getConstantSize(getDims(type).back());
  // Rows in order, and the reduced dimension is the last one.
  if (!length || !reduction.getMap(0).isIdentity())
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
  if (!step || !step->operands[0] || !step->maps[0].isIdentity())
    return {};
  if (isa<arith::MulFOp>(step->op) && step->operands[0] == step->operands[1] &&
      step->maps[1].isIdentity())
    return step->operands[0];
  if (isa<math::PowFOp>(step->op) && step->constants[1] == 2.0)
    return step->operands[0];
  return {};
}

/// True if a map of `rank` dimensions reads one element per row.
static bool readsRows(AffineMap map, unsigned rank) {
  if (!map || rank == 0 || map.getNumResults() != rank)
    return false;
  for (unsigned i = 0; i + 1 < rank; ++i) {
    auto dim = dyn_cast<AffineDimExpr>(map.getResult(i));
    if (!dim || dim.getPosition() != i)
      return false;
  }
  auto last = dyn_cast<AffineConstantExpr>(map.getResult(rank - 1));
  return last && last.getValue() == 0;
}

/// `x` of `x - mean(x)`.
static Value matchCentred(Value value) {
  std::optional<BinaryElementwise> step = matchBinary(value);
  if (!step || !isa<arith::SubFOp>(step->op) || !step->operands[0] ||
      !step->operands[1] || !step->maps[0].isIdentity() ||
      !readsRows(step->maps[1], step->maps[0].getNumDims()))
    return {};
  return matchMean(step->operands[1]) == step->operands[0] ? step->operands[0]
                                                           : Value();
}

/// `s` and epsilon of `mean(s^2) + epsilon`; a null value if it is of another
/// form.
static std::pair<Value, double> matchMeanSquare(Value value) {
  std::optional<BinaryElementwise> shifted = matchBinary(skipViews(value));
  if (!shifted || !isa<arith::AddFOp>(shifted->op))
    return {};
  unsigned at = shifted->operands[0] ? 0 : 1;
  std::optional<double> epsilon = shifted->constants[1 - at];
  if (!shifted->operands[at] || !epsilon || !shifted->maps[at].isIdentity())
    return {};
  Value square = matchMean(shifted->operands[at]);
  Value input = square ? matchSquare(square) : Value();
  return {input, *epsilon};
}

/// The same of the root of that, and of its reciprocal: `1 / root`, or a power
/// of -1/2.
static std::pair<Value, double> matchRoot(Value value) {
  Value squared = matchUnary(skipViews(value), "math.sqrt");
  return squared ? matchMeanSquare(squared) : std::pair<Value, double>();
}
static std::pair<Value, double> matchInverseRoot(Value value) {
  std::optional<BinaryElementwise> step = matchBinary(skipViews(value));
  if (!step)
    return {};
  if (isa<arith::DivFOp>(step->op) && step->constants[0] == 1.0 &&
      step->operands[1] && step->maps[1].isIdentity())
    return matchRoot(step->operands[1]);
  if (isa<math::PowFOp>(step->op) && step->constants[1] == -0.5 &&
      step->operands[0] && step->maps[0].isIdentity())
    return matchMeanSquare(step->operands[0]);
  return {};
}

namespace {
/// x / sqrt(mean(x^2) + epsilon), also as a product with the reciprocal: a
/// layer norm where x is y - mean(y), else an RMS norm.
struct RecognizeNorm : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<BinaryElementwise> scaled = matchBinary(op.getResult());
    auto type = cast<RankedTensorType>(op.getResult().getType());
    if (!scaled || !scaled->operands[0] || !scaled->operands[1] ||
        !type.getElementType().isF32())
      return failure();
    bool isQuotient = isa<arith::DivFOp>(scaled->op);
    if (!isQuotient && !isa<arith::MulFOp>(scaled->op))
      return failure();
    for (unsigned at = 0; at < (isQuotient ? 1 : 2); ++at) {
      Value input = scaled->operands[at], factor = scaled->operands[1 - at];
      if (input.getType() != type || !scaled->maps[at].isIdentity() ||
          !readsRows(scaled->maps[1 - at], unsigned(type.getRank())))
        continue;
      auto [squared, epsilon] =
          isQuotient ? matchRoot(factor) : matchInverseRoot(factor);
      if (!squared || squared != input)
        continue;
      Value whole = matchCentred(input);
      if (whole && whole.getType() != type)
        return failure();
      rewriter.replaceOpWithNewOp<NormOp>(
          op, type, whole ? NormKind::Layer : NormKind::RMS,
          whole ? whole : input, APFloat(static_cast<float>(epsilon)));
      return success();
    }
    return failure();
  }
};
} // namespace

void qcc::populateNormPatterns(RewritePatternSet &patterns) {
  patterns.add<RecognizeNorm>(patterns.getContext());
}
