//===- Attention.cpp - attention from its parts -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

namespace {
/// What lies between the first product and the softmax: scores * scale + mask.
struct ScoreChain {
  MatMulOp product;
  double scale = 1.0;
  Value mask; // as it is added; null if there is none
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
               !chain.mask && chain.scale == 1.0) {
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

namespace {
struct RecognizeAttention : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatMulOp op,
                                PatternRewriter &rewriter) const override {
    auto softmax = op.getLhs().getDefiningOp<SoftmaxOp>();
    RankedTensorType type = op.getResult().getType();
    if (!softmax || softmax.getLog() || !softmax->hasOneUse() ||
        op.getTransA() || op.getTransB() || type.getRank() != 4 ||
        !type.getElementType().isF32())
      return failure();
    std::optional<ScoreChain> chain = followScores(softmax.getInput());
    if (!chain || chain->product.getTransA())
      return failure();
    MatMulOp product = chain->product;
    if (product.getLhs().getType().getRank() != 4 ||
        product.getRhs().getType().getRank() != 4 ||
        op.getRhs().getType().getRank() != 4)
      return failure();
    // Leading dimensions broadcast in matmul, not in attention.
    SmallVector<AffineExpr> q = getDims(product.getLhs().getType()),
                            k = getDims(product.getRhs().getType()),
                            v = getDims(op.getRhs().getType());
    for (unsigned i = 0; i < 2; ++i)
      if (q[i] != k[i] || q[i] != v[i])
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
    auto attention = AttentionOp::create(
        rewriter, loc, type, product.getLhs(), key, op.getRhs(), mask,
        APFloat(static_cast<float>(chain->scale)), /*causal=*/false);
    rewriter.replaceOp(op, attention);
    return success();
  }
};
} // namespace

void qcc::populateAttentionPatterns(RewritePatternSet &patterns) {
  patterns.add<RecognizeAttention>(patterns.getContext());
}
