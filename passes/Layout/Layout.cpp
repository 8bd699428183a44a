//===- Layout.cpp - where copies that permute are needed --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

namespace qcc {
#define GEN_PASS_DEF_LAYOUT
#include "qcc/passes/Layout.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {
/// A permuting copy: dimension i of `result` is dimension order[i] of `source`.
struct Permutation {
  Value source;
  SmallVector<int64_t> order;
};
} // namespace

/// The permuting copy that makes `value`, none if it is made otherwise.
static std::optional<Permutation> getPermutation(Value value) {
  auto copy = value.getDefiningOp<GenericOp>();
  if (!copy || !copy.isCopy() || copy.isReduction() ||
      copy.getInputs().size() != 1 || !copy.getWhole().empty() ||
      isConstantExpression(value))
    return std::nullopt;
  AffineMap map = copy.getMap(0);
  if (!map.isPermutation() || map.isIdentity())
    return std::nullopt;
  Permutation result{copy.getInputs()[0], {}};
  result.order.resize(map.getNumResults());
  for (unsigned i = 0; i < map.getNumResults(); ++i)
    result.order[map.getDimPosition(i)] = i;
  return result;
}

namespace {

/// A permuting copy of another: one copy, or none.
struct MergePermutations : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<Permutation> outer = getPermutation(op.getResult());
    if (!outer)
      return failure();
    std::optional<Permutation> inner = getPermutation(outer->source);
    if (!inner)
      return failure();
    SmallVector<int64_t> order;
    bool isIdentity = true;
    for (auto [i, from] : llvm::enumerate(outer->order)) {
      order.push_back(inner->order[from]);
      isIdentity &= order.back() == int64_t(i);
    }
    if (isIdentity)
      rewriter.replaceOp(op, inner->source);
    else
      rewriter.replaceOp(op,
                         permute(rewriter, op.getLoc(), inner->source, order));
    return success();
  }
};

/// Computes an elementwise operation in the order of the sources of its
/// permuted operands, and permutes the result.
struct SinkBelowElementwise : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (op.isReduction() || op.isCopy() || !op.getWhole().empty())
      return failure();
    std::optional<Permutation> common = findCommon(op);
    if (!common)
      return failure();
    MLIRContext *context = getContext();
    SmallVector<AffineExpr> dims = getDims(op.getResult().getType()),
                            moved(dims.size()), places(dims.size());
    for (auto [i, from] : llvm::enumerate(common->order)) {
      moved[from] = dims[i];
      places[i] = getAffineDimExpr(from, context);
    }
    SmallVector<Value> inputs;
    SmallVector<AffineMap> maps;
    for (auto [i, input] : llvm::enumerate(op.getInputs())) {
      AffineMap map = op.getMap(i);
      if (map.isIdentity()) {
        // findCommon saw to it that it is permuted alike.
        inputs.push_back(getPermutation(input)->source);
        maps.push_back(map);
        continue;
      }
      inputs.push_back(input);
      maps.push_back(map.replaceDimsAndSymbols(places, {}, dims.size(),
                                               map.getNumSymbols()));
    }
    rewriter.setInsertionPoint(op);
    auto type =
        makeTensorType(moved, op.getResult().getType().getElementType());
    auto fresh = GenericOp::create(rewriter, op.getLoc(), type, Combiner::None,
                                   inputs, rewriter.getAffineMapArrayAttr(maps),
                                   ValueRange{}, AffineMapAttr());
    fresh->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    cloneBody(op, fresh, common->order, rewriter);
    rewriter.setInsertionPointAfter(fresh);
    rewriter.replaceOp(
        op, permute(rewriter, op.getLoc(), fresh.getResult(), common->order));
    return success();
  }

  /// The permutation that all operands of full shape have; none if one of them
  /// has another.
  static std::optional<Permutation> findCommon(GenericOp op) {
    std::optional<Permutation> common;
    size_t rank = getDims(op.getResult().getType()).size();
    for (auto [i, input] : llvm::enumerate(op.getInputs())) {
      AffineMap map = op.getMap(i);
      if (!map.isIdentity()) {
        if (map.getNumResults() == rank && map.isPermutation())
          return std::nullopt;
        continue;
      }
      std::optional<Permutation> found = getPermutation(input);
      if (!found || (common && found->order != common->order) ||
          getDims(input.getType()) != getDims(op.getResult().getType()))
        return std::nullopt;
      common = std::move(found);
    }
    return common;
  }

  static void cloneBody(GenericOp from, GenericOp to, ArrayRef<int64_t> order,
                        PatternRewriter &rewriter) {
    Block *block = rewriter.createBlock(&to.getBody());
    IRMapping mapping;
    for (BlockArgument arg : from.getBlock()->getArguments())
      mapping.map(arg, block->addArgument(arg.getType(), arg.getLoc()));
    for (Operation &inner : *from.getBlock())
      rewriter.clone(inner, mapping);
    to.getBody().walk(
        [&](IndexOp index) { index.setDim(order[index.getDim()]); });
  }
};

/// Copies elements of a permuted tensor in the order of its source, and
/// permutes the result, where each dimension is read by its own index alone: a
/// resize to the nearest, a slice, a repetition.
struct SinkBelowCopy : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.isCopy() || op.isReduction() || op.getInputs().size() != 1 ||
        !op.getWhole().empty())
      return failure();
    AffineMap map = op.getMap(0);
    if (map.isPermutation() || map.getNumResults() != map.getNumDims())
      return failure();
    for (auto [i, read] : llvm::enumerate(map.getResults()))
      for (unsigned dim = 0; dim < map.getNumDims(); ++dim)
        if (dim != i && read.isFunctionOfDim(dim))
          return failure();
    std::optional<Permutation> found = getPermutation(op.getInputs()[0]);
    if (!found)
      return failure();
    SmallVector<AffineExpr> dims = getDims(op.getResult().getType()),
                            moved(dims.size()), places(dims.size()),
                            reads(dims.size());
    for (auto [i, from] : llvm::enumerate(found->order)) {
      moved[from] = dims[i];
      places[i] = getAffineDimExpr(from, getContext());
    }
    for (auto [i, from] : llvm::enumerate(found->order))
      reads[from] = map.getResult(i).replaceDims(places);
    auto type =
        makeTensorType(moved, op.getResult().getType().getElementType());
    AffineMap fresh = AffineMap::get(map.getNumDims(), map.getNumSymbols(),
                                     reads, getContext());
    auto copy = createGeneric(rewriter, op.getLoc(), type, Combiner::None,
                              found->source, fresh, {}, {},
                              [](ImplicitLocOpBuilder &,
                                 ValueRange args) -> Value { return args[0]; });
    copy->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    rewriter.replaceOp(
        op, permute(rewriter, op.getLoc(), copy.getResult(), found->order));
    return success();
  }
};

/// Concatenates the sources of permuted operands along the dimension that the
/// axis came from.
struct SinkBelowConcat : OpRewritePattern<ConcatOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ConcatOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<Value> sources;
    SmallVector<int64_t> order;
    for (Value input : op.getInputs()) {
      std::optional<Permutation> found = getPermutation(input);
      if (!found || (!order.empty() && found->order != order))
        return failure();
      order = found->order;
      sources.push_back(found->source);
    }
    if (order.empty())
      return failure();
    SmallVector<AffineExpr> dims = getDims(op.getResult().getType()),
                            moved(dims.size());
    for (auto [i, from] : llvm::enumerate(order))
      moved[from] = dims[i];
    auto type =
        makeTensorType(moved, op.getResult().getType().getElementType());
    Value joined = ConcatOp::create(rewriter, op.getLoc(), type,
                                    uint64_t(order[op.getAxis()]), sources)
                       .getResult();
    rewriter.replaceOp(op, permute(rewriter, op.getLoc(), joined, order));
    return success();
  }
};

/// Finds extremes of a permuted tensor in the order of its source: they are the
/// same in any order, and memory is read as it lies.
struct ReorderExtremes : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    bool isExtreme =
        op.getCombiner() == Combiner::Max || op.getCombiner() == Combiner::Min;
    if (!isExtreme || !op.getWhole().empty() || op.getInputs().empty())
      return failure();
    AffineMap map = op.getMap(0);
    unsigned kept = op.getNumParallel();
    std::optional<Permutation> found = getPermutation(op.getInputs()[0]);
    if (!found || map.getNumSymbols() ||
        !llvm::all_of(map.getResults(),
                      [](AffineExpr read) { return isa<AffineDimExpr>(read); }))
      return failure();
    // How the source is read, and its reduced dimensions in its order.
    SmallVector<AffineExpr> reads(map.getNumResults());
    for (auto [i, from] : llvm::enumerate(found->order))
      reads[from] = map.getResult(i);
    SmallVector<AffineExpr> places, over;
    for (unsigned dim = 0; dim < op.getNumDims(); ++dim)
      places.push_back(getAffineDimExpr(dim, getContext()));
    for (AffineExpr read : reads)
      if (unsigned dim = cast<AffineDimExpr>(read).getPosition(); dim >= kept) {
        places[dim] = getAffineDimExpr(kept + over.size(), getContext());
        over.push_back(op.getOver()->getResult(dim - kept));
      }
    bool usesPlaces = false;
    op.getBody().walk([&](IndexOp) { usesPlaces = true; });
    if (over.size() != op.getNumReduction() || usesPlaces)
      return failure();
    auto move = [&](ArrayRef<AffineExpr> exprs, unsigned symbols) {
      SmallVector<AffineExpr> moved;
      for (AffineExpr expr : exprs)
        moved.push_back(expr.replaceDims(places));
      return AffineMap::get(op.getNumDims(), symbols, moved, getContext());
    };
    SmallVector<Value> inputs(op.getInputs());
    SmallVector<AffineMap> maps{move(reads, 0)};
    inputs[0] = found->source;
    for (unsigned i = 1; i < inputs.size(); ++i)
      maps.push_back(
          move(op.getMap(i).getResults(), op.getMap(i).getNumSymbols()));
    rewriter.modifyOpInPlace(op, [&] {
      op.getInputsMutable().assign(inputs);
      op.setMapsAttr(rewriter.getAffineMapArrayAttr(maps));
      op.setOverAttr(AffineMapAttr::get(makeSizeMap(over, getContext())));
    });
    return success();
  }
};

struct LayoutPass : qcc::impl::LayoutBase<LayoutPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<MergePermutations, SinkBelowElementwise, SinkBelowCopy,
                 SinkBelowConcat, ReorderExtremes>(&getContext());
    GreedyRewriteConfig config;
    // Every pattern moves a copy down the graph or removes one.
    config.setMaxIterations(GreedyRewriteConfig::kNoLimit);
    if (failed(
            applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};

} // namespace
