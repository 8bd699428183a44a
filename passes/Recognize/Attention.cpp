//===- Attention.cpp - attention from its parts -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "Scores.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

/// Batches and heads of an attention.
using Heads = std::pair<AffineExpr, AffineExpr>;

/// `value` with these dimensions.
static Value reshapeTo(ArrayRef<AffineExpr> dims, Value value,
                       PatternRewriter &rewriter) {
  auto type = cast<RankedTensorType>(value.getType());
  RankedTensorType wanted = makeTensorType(dims, type.getElementType());
  return wanted == type
             ? value
             : ReshapeOp::create(rewriter, value.getLoc(), wanted, value);
}

/// `value [N, ...]`, of all heads in one dimension, with batches and heads.
static Value splitHeads(Value value, const Heads &heads,
                        PatternRewriter &rewriter) {
  SmallVector<AffineExpr> from = getDims(value.getType());
  return reshapeTo({heads.first, heads.second, from[1], from[2]}, value,
                   rewriter);
}

/// `value` with leading dimensions of size 1 up to rank 4.
static Value toRank4(Value value, PatternRewriter &rewriter) {
  SmallVector<AffineExpr> from = getDims(value.getType()),
                          dims(4 - from.size(),
                               rewriter.getAffineConstantExpr(1));
  llvm::append_range(dims, from);
  return reshapeTo(dims, value, rewriter);
}

/// The tensor of batches and heads that `value` with all heads in one dimension
/// was made of; `value` if there is none.
static Value skipGrouping(Value value) {
  Value other = matchRegrouped(value);
  return other && cast<RankedTensorType>(other.getType()).getRank() == 4 &&
                 cast<RankedTensorType>(value.getType()).getRank() == 3
             ? other
             : value;
}

/// Batches and heads: as the scores say, or an operand that was made of such;
/// else one batch of all.
static Heads findHeads(const ScoreChain &chain, Value values,
                       PatternRewriter &rewriter) {
  if (chain.heads)
    return *chain.heads;
  MatMulOp product = chain.product;
  for (Value operand :
       {Value(product.getLhs()), Value(product.getRhs()), values}) {
    SmallVector<AffineExpr> dims = getDims(skipGrouping(operand).getType());
    if (dims.size() == 4)
      return {dims[0], dims[1]};
  }
  return {rewriter.getAffineConstantExpr(1),
          getDims(product.getLhs().getType())[0]};
}

/// An operand with batches and heads.
static Value getOperand(Value value, const Heads &heads,
                        PatternRewriter &rewriter) {
  Value whole = skipGrouping(value);
  SmallVector<AffineExpr> dims = getDims(whole.getType());
  if (dims.size() == 4 && Heads(dims[0], dims[1]) == heads)
    return whole;
  return cast<RankedTensorType>(value.getType()).getRank() == 4
             ? value
             : splitHeads(value, heads, rewriter);
}

/// `[..., D, T]` as `[..., T, D]`; Fuse merges it with the transpose that made
/// the former.
static Value swapLast(Value value, PatternRewriter &rewriter) {
  auto rank = cast<RankedTensorType>(value.getType()).getRank();
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(order[rank - 1], order[rank - 2]);
  return permute(rewriter, value.getLoc(), value, order);
}

/// A tensor of f32 made of each element of another one.
static Value
mapElements(Value value, PatternRewriter &rewriter,
            function_ref<Value(ImplicitLocOpBuilder &, Value)> make) {
  auto type = cast<RankedTensorType>(value.getType());
  return createGeneric(
      rewriter, value.getLoc(),
      makeTensorType(getDims(type), rewriter.getF32Type()), Combiner::None,
      value, rewriter.getMultiDimIdentityMap(unsigned(type.getRank())), {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return make(b, args[0]);
      });
}

/// An addend as a tensor of floats of rank 4.
static Value makeMask(const Addend &addend, const Heads &heads,
                      PatternRewriter &rewriter) {
  Value mask = addend.tensor;
  if (addend.hidden != 0) {
    mask = mapElements(
        mask, rewriter, [&](ImplicitLocOpBuilder &b, Value bit) -> Value {
          auto number = [&](double x) {
            return arith::ConstantOp::create(b, b.getF32FloatAttr(float(x)));
          };
          Value hidden = number(addend.hidden), none = number(0);
          return arith::SelectOp::create(b, bit,
                                         addend.hidesSet ? hidden : none,
                                         addend.hidesSet ? none : hidden);
        });
  } else if (addend.factor != 1) {
    mask = mapElements(mask, rewriter,
                       [&](ImplicitLocOpBuilder &b, Value x) -> Value {
                         Value factor = arith::ConstantOp::create(
                             b, b.getF32FloatAttr(float(addend.factor)));
                         return arith::MulFOp::create(b, x, factor);
                       });
  }
  // In scores of rank 3 the first dimension is that of all heads.
  SmallVector<AffineExpr> dims = getDims(mask.getType());
  return addend.rank == 3 && dims.size() == 3 && getConstantSize(dims[0]) != 1
             ? splitHeads(mask, heads, rewriter)
             : toRank4(mask, rewriter);
}

/// The sum of all addends, null if there are none; each dimension is that of
/// the scores where one of them has it.
static Value addMasks(const ScoreChain &chain, const Heads &heads,
                      PatternRewriter &rewriter) {
  Value sum;
  for (const Addend &addend : chain.masks) {
    Value mask = makeMask(addend, heads, rewriter);
    if (!sum) {
      sum = mask;
      continue;
    }
    SmallVector<AffineExpr> a = getDims(sum.getType()),
                            b = getDims(mask.getType()), dims;
    for (auto [x, y] : llvm::zip_equal(a, b))
      dims.push_back(getConstantSize(x) == 1 ? y : x);
    MLIRContext *context = rewriter.getContext();
    sum = createGeneric(
        rewriter, mask.getLoc(), makeTensorType(dims, rewriter.getF32Type()),
        Combiner::None, {mask, sum},
        {getBroadcastMap(b, dims, context), getBroadcastMap(a, dims, context)},
        {}, {}, [](ImplicitLocOpBuilder &builder, ValueRange args) -> Value {
          return arith::AddFOp::create(builder, args[0], args[1]);
        });
  }
  if (!sum || chain.least == 0)
    return sum;
  return mapElements(
      sum, rewriter, [&](ImplicitLocOpBuilder &b, Value x) -> Value {
        Value least =
            arith::ConstantOp::create(b, b.getF32FloatAttr(float(chain.least)));
        return arith::MaximumFOp::create(b, x, least);
      });
}

/// The generic that computes `value` if it is elementwise, its operands all
/// read by the identity or one number each.
static GenericOp getElementwise(Value value) {
  auto generic = value.getDefiningOp<GenericOp>();
  if (!generic || generic.isReduction() || !generic.getWhole().empty())
    return {};
  for (auto [i, input] : llvm::enumerate(generic.getInputs())) {
    auto type = cast<RankedTensorType>(input.getType());
    bool isOne = type.hasStaticShape() && type.getNumElements() == 1;
    if (!isOne && !generic.getMap(unsigned(i)).isIdentity())
      return {};
  }
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

/// Leading dimensions that an operand has with batches and heads; none if it
/// cannot have them.
static std::optional<Heads> getLeading(Value value, const Heads &heads) {
  SmallVector<AffineExpr> dims = getDims(skipGrouping(value).getType()),
                          own = getDims(value.getType());
  if (dims.size() == 4 && (own.size() == 4 || Heads(dims[0], dims[1]) == heads))
    return Heads(dims[0], dims[1]);
  if (own.size() == 3 && own[0] == simplifySize(heads.first * heads.second))
    return heads;
  return std::nullopt;
}

/// True if an attention has what leading dimensions products broadcast: equal
/// ones, or one head of keys and values for all queries.
static bool haveHeads(const Heads &heads, Value query, Value key, Value value) {
  std::optional<Heads> q = getLeading(query, heads), k = getLeading(key, heads),
                       v = getLeading(value, heads);
  if (!q || !k || !v || *q != heads || k->first != heads.first || *k != *v)
    return false;
  return getConstantSize(k->second) == 1 || k->second == heads.second;
}

/// The softmax whose result are the weights that a product multiplies values
/// with, if nothing else reads it.
static SoftmaxOp findSoftmax(MatMulOp op) {
  Value weights = op.getLhs();
  if (Value other = matchRegrouped(weights)) {
    if (!weights.hasOneUse())
      return {};
    weights = other;
  }
  Value guarded = skipNanGuard(weights);
  auto softmax = guarded.getDefiningOp<SoftmaxOp>();
  bool isOurs = softmax && (guarded != weights || softmax->hasOneUse());
  return isOurs && !softmax.getLog() ? softmax : SoftmaxOp();
}

namespace {
struct RecognizeAttention : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatMulOp op,
                                PatternRewriter &rewriter) const override {
    RankedTensorType type = op.getResult().getType();
    if (op.getTransA() || op.getTransB() || !type.getElementType().isF32())
      return failure();
    std::optional<SinkedScores> sinked = matchSink(op.getLhs());
    SoftmaxOp softmax = sinked ? sinked->softmax : findSoftmax(op);
    if (!softmax)
      return failure();
    std::optional<ScoreChain> chain =
        followScores(sinked ? sinked->scores : softmax.getInput());
    if (!chain || chain->product.getTransA())
      return failure();
    MatMulOp product = chain->product;
    Heads heads = findHeads(*chain, op.getRhs(), rewriter);
    if (!haveHeads(heads, product.getLhs(), product.getRhs(), op.getRhs()))
      return failure();

    if (sinked && getDims(sinked->column.getType())[1] != heads.second)
      return failure();

    Value query = getOperand(product.getLhs(), heads, rewriter),
          value = getOperand(op.getRhs(), heads, rewriter),
          key = product.getRhs();
    if (!product.getTransB()) {
      Value whole = skipGrouping(key);
      key = swapLast(whole == key ? key : getOperand(key, heads, rewriter),
                     rewriter);
    }
    key = getOperand(key, heads, rewriter);
    Location loc =
        rewriter.getFusedLoc({op.getLoc(), softmax.getLoc(), product.getLoc()});
    SmallVector<AffineExpr> dims = getDims(query.getType());
    dims.back() = getDims(value.getType()).back();
    auto attention = AttentionOp::create(
        rewriter, loc, makeTensorType(dims, type.getElementType()), query, key,
        value, addMasks(*chain, heads, rewriter), chain->scale,
        /*causal=*/false, chain->softcap,
        sinked ? makeSink(*sinked, rewriter) : Value());
    rewriter.replaceOp(op, reshapeTo(getDims(type), attention, rewriter));
    return success();
  }
};
} // namespace

void qcc::populateAttentionPatterns(RewritePatternSet &patterns) {
  patterns.add<RecognizeAttention>(patterns.getContext());
}
