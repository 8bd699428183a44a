//===- Attention.cpp - attention from its parts -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include <cfloat>

using namespace mlir;
using namespace qcc;

namespace {
/// What lies between the first product and the softmax: scores * scale + mask,
/// or softcap * tanh(scores * scale / softcap) + mask.
struct ScoreChain {
  MatMulOp product;
  double scale = 1.0;
  double softcap = 0; // 0: none
  Value mask;         // as it is added; null if there is none
};
} // namespace

/// Follows the scores back to their product.
static std::optional<ScoreChain> followScores(Value scores) {
  ScoreChain chain;
  while (true) {
    if (!scores.hasOneUse())
      return std::nullopt;
    if (auto product = scores.getDefiningOp<MatMulOp>()) {
      chain.product = product;
      return chain;
    }
    // What has been multiplied with so far is the cap.
    if (Value capped = matchUnary(scores, "math.tanh")) {
      if (chain.softcap != 0 || !(chain.scale > 0 && chain.scale <= FLT_MAX))
        return std::nullopt;
      chain.softcap = chain.scale;
      scores = capped;
      continue;
    }
    std::optional<BinaryElementwise> step = matchBinary(scores);
    if (!step)
      return std::nullopt;
    // Scores are the operand that has the shape of the result.
    unsigned at = step->operands[0] && step->maps[0].isIdentity() &&
                          step->operands[0].getType() == scores.getType()
                      ? 0
                      : 1;
    Value next = step->operands[at];
    if (!next || !step->maps[at].isIdentity() ||
        next.getType() != scores.getType())
      return std::nullopt;
    std::optional<double> constant = step->constants[1 - at];
    if (isa<arith::MulFOp>(step->op) && constant) {
      chain.scale *= *constant;
    } else if (isa<arith::DivFOp>(step->op) && constant && at == 0) {
      chain.scale /= *constant;
    } else if (isa<arith::AddFOp>(step->op) && step->operands[1 - at] &&
               !chain.mask && chain.scale == 1.0 && chain.softcap == 0) {
      // scale * (scores + mask) is not what qcc.attention computes, so a mask
      // is taken only before (in this walk: above) any scaling.
      Value mask = step->operands[1 - at];
      // Kernels take a mask whose broadcast sizes are known to be 1.
      if (step->maps[1 - at].getNumSymbols() != 0 ||
          step->maps[1 - at] != getBroadcastMap(getDims(mask.getType()),
                                                getDims(scores.getType()),
                                                scores.getContext()))
        return std::nullopt;
      chain.mask = mask;
    } else {
      return std::nullopt;
    }
    scores = next;
  }
}

/// `value` with leading dimensions of size 1 up to rank 4.
static Value toRank4(Value value, PatternRewriter &rewriter) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<AffineExpr> dims(4 - type.getRank(),
                               rewriter.getAffineConstantExpr(1));
  llvm::append_range(dims, getDims(type));
  if (type.getRank() == 4)
    return value;
  return ReshapeOp::create(rewriter, value.getLoc(),
                           makeTensorType(dims, type.getElementType()), value);
}

/// The generic that computes `value` if it is elementwise, its operands all
/// read by the identity or one number each.
static GenericOp getElementwise(Value value) {
  auto generic = value.getDefiningOp<GenericOp>();
  if (!generic || generic.isReduction() || !generic.getWhole().empty())
    return {};
  for (unsigned i = 0; i < generic.getInputs().size(); ++i)
    if (!generic.getMap(i).isIdentity() &&
        generic.getMap(i).getNumResults() != 0)
      return {};
  return generic;
}

/// The tensor whose elements `value`, of the body of `generic`, says to be NaN.
static Value findTested(GenericOp generic, Value value) {
  auto compared = value.getDefiningOp<arith::CmpFOp>();
  auto argument =
      compared ? dyn_cast<BlockArgument>(compared.getLhs()) : BlockArgument();
  bool isTest = argument && compared.getLhs() == compared.getRhs() &&
                (compared.getPredicate() == arith::CmpFPredicate::UNE ||
                 compared.getPredicate() == arith::CmpFPredicate::UNO);
  return isTest ? generic.getInputs()[argument.getArgNumber()] : Value();
}

/// `x` of `isnan(x) ? 0 : x`, if nothing else reads it; else `value`. Exporters
/// put that behind the softmax of an attention for rows with nothing to see,
/// which qcc.attention makes zeros.
static Value skipNanGuard(Value value) {
  GenericOp guard = getElementwise(value);
  auto choice = guard ? guard.getYielded().getDefiningOp<arith::SelectOp>()
                      : arith::SelectOp();
  auto kept = choice ? dyn_cast<BlockArgument>(choice.getFalseValue())
                     : BlockArgument();
  if (!kept || !value.hasOneUse() ||
      getNumber(guard, choice.getTrueValue()) != 0.0)
    return value;
  // The test is in the same body or in one of its own.
  GenericOp test = guard;
  Value isNan = choice.getCondition();
  if (auto argument = dyn_cast<BlockArgument>(isNan)) {
    test = getElementwise(guard.getInputs()[argument.getArgNumber()]);
    if (!test)
      return value;
    isNan = test.getYielded();
  }
  Value guarded = guard.getInputs()[kept.getArgNumber()];
  bool isOnlyGuarded = llvm::all_of(guarded.getUsers(), [&](Operation *user) {
    return user == guard || user == test;
  });
  return isOnlyGuarded && findTested(test, isNan) == guarded ? guarded : value;
}

/// True if an attention has what leading dimensions a product broadcasts: equal
/// ones, or one head of keys and values for all queries.
static bool haveHeads(ArrayRef<AffineExpr> query, ArrayRef<AffineExpr> key,
                      ArrayRef<AffineExpr> value) {
  bool isShared =
      getConstantSize(key[1]) == 1 && getConstantSize(value[1]) == 1;
  return query[0] == key[0] && query[0] == value[0] && key[1] == value[1] &&
         (isShared || query[1] == key[1]);
}

namespace {
struct RecognizeAttention : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatMulOp op,
                                PatternRewriter &rewriter) const override {
    Value weights = skipNanGuard(op.getLhs());
    auto softmax = weights.getDefiningOp<SoftmaxOp>();
    RankedTensorType type = op.getResult().getType();
    if (!softmax || softmax.getLog() ||
        (weights == op.getLhs() && !softmax->hasOneUse()) || op.getTransA() ||
        op.getTransB() || type.getRank() != 4 || !type.getElementType().isF32())
      return failure();
    std::optional<ScoreChain> chain = followScores(softmax.getInput());
    if (!chain || chain->product.getTransA())
      return failure();
    MatMulOp product = chain->product;
    if (product.getLhs().getType().getRank() != 4 ||
        product.getRhs().getType().getRank() != 4 ||
        op.getRhs().getType().getRank() != 4)
      return failure();
    SmallVector<AffineExpr> q = getDims(product.getLhs().getType()),
                            k = getDims(product.getRhs().getType()),
                            v = getDims(op.getRhs().getType());
    if (!haveHeads(q, k, v))
      return failure();

    Value key = product.getRhs();
    if (!product.getTransB()) {
      // [B, H, D, T] -> [B, H, T, D]; Fuse merges it with the transpose that
      // made the former.
      MLIRContext *context = op.getContext();
      auto d = [&](unsigned i) { return getAffineDimExpr(i, context); };
      AffineMap swap = AffineMap::get(4, 0, {d(0), d(1), d(3), d(2)}, context);
      key = createGeneric(
          rewriter, key.getLoc(),
          makeTensorType({k[0], k[1], k[3], k[2]}, type.getElementType()),
          Combiner::None, key, swap, {}, {},
          [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
    }
    Value mask = chain->mask ? toRank4(chain->mask, rewriter) : Value();
    Location loc =
        rewriter.getFusedLoc({op.getLoc(), softmax.getLoc(), product.getLoc()});
    auto attention = AttentionOp::create(rewriter, loc, type, product.getLhs(),
                                         key, op.getRhs(), mask, chain->scale,
                                         /*causal=*/false, chain->softcap);
    rewriter.replaceOp(op, attention);
    return success();
  }
};
} // namespace

void qcc::populateAttentionPatterns(RewritePatternSet &patterns) {
  patterns.add<RecognizeAttention>(patterns.getContext());
}
