//===- Moves.cpp - moving codes in place of floats --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

namespace {

/// Quantizes what a copy, a concatenation or a reshape reads instead of its
/// result: codes are moved in place of floats, and the rounding ends what
/// computes them.
struct QuantizeBeforeMove : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op,
                                PatternRewriter &rewriter) const override {
    Operation *move = op.getInput().getDefiningOp();
    auto element =
        dyn_cast<IntegerType>(op.getResult().getType().getElementType());
    if (!isa_and_nonnull<GenericOp, ConcatOp, ReshapeOp>(move) ||
        !move->hasOneUse() || move->getBlock() != op->getBlock() || !element ||
        element.getWidth() != 8 || !hasOneElement(op.getScale()) ||
        (op.getZero() && !hasOneElement(op.getZero())) || op.getBlock() != 0 ||
        op.getPrecision() || !op.getInput().getType().getElementType().isF32())
      return failure();
    if (auto generic = dyn_cast<GenericOp>(move))
      if (!generic.isCopy() || generic.isReduction() ||
          generic.getInputs().size() != 1 || !generic.getWhole().empty() ||
          !keepsAll(generic))
        return failure();
    // What others read as floats would be stored twice.
    for (Value input : move->getOperands())
      if (isConstantExpression(input) || !input.getDefiningOp() ||
          (!input.hasOneUse() && !input.getDefiningOp<DequantizeOp>()))
        return failure();
    SmallVector<Value> codes;
    rewriter.setInsertionPoint(move);
    for (Value input : move->getOperands())
      codes.push_back(
          QuantizeOp::create(rewriter, op.getLoc(),
                             makeTensorType(getDims(input.getType()), element),
                             input, op.getScale(), op.getZero(), /*axis=*/0,
                             op.getBlock(), op.getPrecisionAttr(),
                             op.getOverflow())
              .getResult());
    rewriter.setInsertionPoint(op);
    if (auto concat = dyn_cast<ConcatOp>(move)) {
      rewriter.replaceOpWithNewOp<ConcatOp>(op, op.getResult().getType(),
                                            concat.getAxis(), codes);
      return success();
    }
    if (isa<ReshapeOp>(move)) {
      rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getResult().getType(),
                                             codes[0]);
      return success();
    }
    auto copy = createGeneric(rewriter, move->getLoc(),
                              op.getResult().getType(), Combiner::None, codes,
                              cast<GenericOp>(move).getMap(0), {}, {},
                              [](ImplicitLocOpBuilder &,
                                 ValueRange args) -> Value { return args[0]; });
    rewriter.replaceOp(op, copy.getResult());
    return success();
  }

  /// True for a copy whose result has no fewer elements than what it reads: a
  /// slice would leave codes that nobody needs.
  static bool keepsAll(GenericOp copy) {
    std::optional<int64_t> before = getConstantSize(
                               getNumElements(copy.getInputs()[0].getType())),
                           after = getConstantSize(
                               getNumElements(copy.getResult().getType()));
    return (before && after && *before <= *after) ||
           copy.getMap(0).isPermutation();
  }
};

/// The dequantized operand that an operation only moves elements of: a copy, a
/// reshape, a gather. Null if it is none of them.
OpOperand *getMoved(Operation *op) {
  if (isa<ReshapeOp>(op))
    return &op->getOpOperand(0);
  auto generic = dyn_cast<GenericOp>(op);
  if (!generic || generic.isReduction())
    return nullptr;
  if (generic.isCopy())
    return &op->getOpOperand(0);
  // A gather reads the element that it yields from a whole tensor.
  if (generic.getWhole().size() != 1)
    return nullptr;
  auto read = generic.getYielded().getDefiningOp<ReadOp>();
  Value table = generic.getBlock()->getArguments().back();
  if (!read || read.getTensor() != table || !table.hasOneUse() ||
      !read->hasOneUse() || read->getBlock() != generic.getBlock())
    return nullptr;
  return &op->getOpOperand(op->getNumOperands() - 1);
}

/// Moves codes and dequantizes what arrives.
template <typename OpT> struct MoveBeforeDequantize : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    OpOperand *moved = getMoved(op);
    std::optional<Codes> codes = moved ? getCodes(moved->get()) : std::nullopt;
    auto result = cast<RankedTensorType>(op->getResult(0).getType());
    if (!codes || codes->axis != -1 || result.getRank() == 0 ||
        !result.getElementType().isF32())
      return failure();
    Type element = codes->codes.getType().getElementType();
    auto source = moved->get().getDefiningOp<DequantizeOp>();
    Operation *copy = rewriter.clone(*op);
    rewriter.modifyOpInPlace(copy, [&] {
      copy->setOperand(moved->getOperandNumber(), codes->codes);
      copy->getResult(0).setType(makeTensorType(getDims(result), element));
      if (auto generic = dyn_cast<GenericOp>(copy))
        setBodyType(generic, codes->codes.getType());
    });
    rewriter.replaceOpWithNewOp<DequantizeOp>(
        op, result, copy->getResult(0), source.getScale(), source.getZero(),
        /*axis=*/0, /*block=*/0);
    return success();
  }

  /// The body's argument that is moved, and what is read from it.
  static void setBodyType(GenericOp op, RankedTensorType type) {
    Type scalar = getScalarType(type.getElementType());
    BlockArgument arg = op.getBlock()->getArguments().back();
    if (op.getWhole().empty()) {
      arg.setType(scalar);
      return;
    }
    arg.setType(type);
    cast<ReadOp>(op.getYielded().getDefiningOp()).getResult().setType(scalar);
  }
};

/// Joins codes of one scale and dequantizes all at once.
struct JoinBeforeDequantize : OpRewritePattern<ConcatOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ConcatOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value> inputs;
    DequantizeOp first;
    for (Value input : op.getInputs()) {
      std::optional<Codes> codes = getCodes(input);
      auto source = input.getDefiningOp<DequantizeOp>();
      if (!codes || codes->axis != -1)
        return failure();
      if (!first)
        first = source;
      if (source.getScale() != first.getScale() ||
          source.getZero() != first.getZero() ||
          source.getInput().getType().getElementType() !=
              first.getInput().getType().getElementType())
        return failure();
      inputs.push_back(codes->codes);
    }
    RankedTensorType result = op.getResult().getType();
    Value joined =
        ConcatOp::create(
            rewriter, op.getLoc(),
            makeTensorType(getDims(result),
                           first.getInput().getType().getElementType()),
            op.getAxis(), inputs)
            .getResult();
    rewriter.replaceOpWithNewOp<DequantizeOp>(op, result, joined,
                                              first.getScale(), first.getZero(),
                                              /*axis=*/0, /*block=*/0);
    return success();
  }
};

/// Computes what is elementwise behind exact sums before they get another
/// shape, so that it stays in the registers of the sum.
struct ComputeBeforeReshape : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (op.isReduction() || op.isCopy() || !op.getWhole().empty() ||
        !op.getBlock()->getOps<IndexOp>().empty())
      return failure();
    ReshapeOp reshape;
    for (auto [i, input] : llvm::enumerate(op.getInputs())) {
      if (op.getMap(i).getNumResults() == 0)
        continue;
      if (reshape || !op.getMap(i).isIdentity() || !input.hasOneUse() ||
          getDims(input.getType()) != getDims(op.getResult().getType()))
        return failure();
      reshape = input.getDefiningOp<ReshapeOp>();
      if (!reshape || !reshape.getInput().hasOneUse() ||
          !comesFromSum(reshape.getInput()))
        return failure();
    }
    if (!reshape)
      return failure();
    SmallVector<AffineExpr> dims = getDims(reshape.getInput().getType());
    SmallVector<Attribute> maps;
    for (auto [i, input] : llvm::enumerate(op.getInputs()))
      maps.push_back(AffineMapAttr::get(
          input == reshape.getResult()
              ? rewriter.getMultiDimIdentityMap(unsigned(dims.size()))
              : AffineMap::get(unsigned(dims.size()), 0, getContext())));
    auto fresh = cast<GenericOp>(rewriter.clone(*op));
    rewriter.modifyOpInPlace(fresh, [&] {
      for (OpOperand &operand : fresh->getOpOperands())
        if (operand.get() == reshape.getResult())
          operand.set(reshape.getInput());
      fresh.setMapsAttr(rewriter.getArrayAttr(maps));
      fresh.getResult().setType(
          makeTensorType(dims, op.getResult().getType().getElementType()));
    });
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getResult().getType(),
                                           fresh.getResult());
    return success();
  }

  /// True for the floats of exact sums over dimensions, or what is computed of
  /// them alone.
  static bool comesFromSum(Value value) {
    for (unsigned steps = 0; steps < kMaxSteps; ++steps) {
      if (auto sums = value.getDefiningOp<DequantizeOp>()) {
        auto sum = sums.getInput().getDefiningOp<GenericOp>();
        return sum && sum.getCombiner() == Combiner::Sum;
      }
      auto generic = value.getDefiningOp<GenericOp>();
      if (!generic || generic.isReduction() || generic.getInputs().empty())
        return false;
      value = generic.getInputs()[0];
    }
    return false;
  }

  static constexpr unsigned kMaxSteps = 8;
};

} // namespace

void qcc::populateMovePatterns(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<QuantizeBeforeMove>(context, /*benefit=*/3);
  patterns.add<MoveBeforeDequantize<GenericOp>, MoveBeforeDequantize<ReshapeOp>,
               JoinBeforeDequantize, ComputeBeforeReshape>(context);
}
