//===- Inline.cpp - inlining elementwise producers --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Inline.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"

using namespace mlir;
using namespace qcc;

/// Operations of a body that count as work when a producer would be repeated.
static unsigned bodyCost(GenericOp op) {
  unsigned cost = 0;
  op.getBody().walk([&](Operation *inner) {
    if (isa<YieldOp, IndexOp, ExtentOp, arith::ConstantOp>(inner))
      return;
    bool costly = isa<math::MathDialect>(inner->getDialect()) ||
                  isa<arith::DivFOp, scf::IfOp, scf::ForOp>(inner);
    cost += costly ? 8 : 1;
  });
  return cost;
}

/// True if `map` reads each element of its operand about once: every iteration
/// dimension makes a difference to a result. One of which only a quotient is
/// read (nearest neighbours, groups of channels) does so for a part of its
/// values; together with the rest of the division it is whole again.
static bool readsOnce(AffineMap map) {
  unsigned dims = map.getNumDims();
  llvm::SmallBitVector whole(dims), quotient(dims), rest(dims);
  auto mark = [&](AffineExpr expr, llvm::SmallBitVector &seen) {
    for (unsigned d = 0; d < dims; ++d)
      if (expr.isFunctionOfDim(d))
        seen.set(d);
  };
  SmallVector<AffineExpr> pending(map.getResults());
  while (!pending.empty()) {
    AffineExpr expr = pending.pop_back_val();
    if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
      whole.set(dim.getPosition());
      continue;
    }
    auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
    if (!binary)
      continue;
    switch (expr.getKind()) {
    case AffineExprKind::FloorDiv:
    case AffineExprKind::CeilDiv:
      mark(expr, quotient);
      break;
    case AffineExprKind::Mod:
      mark(expr, rest);
      break;
    default:
      pending.push_back(binary.getLHS());
      pending.push_back(binary.getRHS());
    }
  }
  return (whole | (quotient & rest)).all();
}

/// Elementwise operations that are looked through for a product.
static constexpr unsigned kMaxEpilogue = 16;

/// True if one operation reads a value; those that a pattern has replaced and
/// the driver has not erased yet do not count.
static bool hasOneReader(Value value) {
  return llvm::count_if(value.getUsers(), [](Operation *user) {
           return !isOpTriviallyDead(user);
         }) == 1;
}

/// True if a product or convolution may compute `producer` as its epilogue, or
/// the end of it.
static bool mayBeEpilogue(GenericOp producer) {
  for (unsigned step = 0; producer && step < kMaxEpilogue; ++step) {
    GenericOp before;
    for (auto [i, input] : llvm::enumerate(producer.getInputs())) {
      Operation *op = input.getDefiningOp();
      if (!op || !hasOneReader(input) || !producer.getMap(i).isIdentity())
        continue;
      if (isa<IntConvOp, IntMatMulOp, MatMulOp, QMatMulOp>(op))
        return true;
      if (auto generic = dyn_cast<GenericOp>(op))
        if (!generic.isReduction() && !generic.isCopy())
          before = generic;
    }
    producer = before;
  }
  return false;
}

/// True if a permuting copy would take an epilogue away from its product, which
/// has another order.
static bool separatesEpilogue(GenericOp producer, GenericOp consumer,
                              AffineMap map) {
  return consumer.isCopy() && map.isPermutation() && !map.isIdentity() &&
         producer->hasOneUse() && mayBeEpilogue(producer);
}

/// True if the consumer would take the rounding to codes from the product that
/// the producer ends, to become the epilogue of a later one: of the earlier one
/// sums of 32 bits would be stored and read in place of bytes.
static bool takesCodes(GenericOp producer, GenericOp consumer) {
  RankedTensorType type = producer.getResult().getType();
  if (!type.getElementType().isInteger(8) || !mayBeEpilogue(producer))
    return false;
  for (auto [i, input] : llvm::enumerate(consumer.getInputs())) {
    Operation *other = input.getDefiningOp();
    if (!other || other->getBlock() != producer->getBlock() ||
        !producer->isBeforeInBlock(other) || !consumer.getMap(i).isIdentity() ||
        !hasOneReader(input))
      continue;
    auto generic = dyn_cast<GenericOp>(other);
    if (isa<IntConvOp, IntMatMulOp>(other) ||
        (generic && mayBeEpilogue(generic)))
      return true;
  }
  return false;
}

/// Most nodes of a model whose operations become one. Each merge copies the
/// bodies of both, so without a limit a chain of elementwise nodes takes time
/// that grows with the square of its length; so long ones are split, at the
/// cost of a pass over memory for as many nodes.
constexpr size_t kMaxMerged = 64;

static size_t countNodes(GenericOp op) {
  auto fused = dyn_cast<FusedLoc>(op.getLoc());
  return fused ? fused.getLocations().size() : 1;
}

static bool mayInline(GenericOp producer, GenericOp consumer, AffineMap map) {
  if (countNodes(producer) + countNodes(consumer) > kMaxMerged)
    return false;
  if (producer.isReduction() || isConstantExpression(producer.getResult()))
    return false;
  // What a loop's body reads is computed once, before the loop.
  if (producer->getBlock() != consumer->getBlock())
    return false;
  if (separatesEpilogue(producer, consumer, map) ||
      takesCodes(producer, consumer))
    return false;
  bool once = producer->hasOneUse() && readsOnce(map);
  if (once || producer.isCopy())
    return true;
  // Broadcasts of small producers: repeating a few adds beats a buffer.
  if (producer->hasOneUse())
    return bodyCost(producer) <= 4;
  // With several readers only if that frees the buffer and each of them still
  // reads one: a chain of residual sums would read all that came before.
  bool vanishes = llvm::all_of(producer->getUsers(), [](Operation *user) {
    return isa<GenericOp>(user);
  });
  return vanishes && producer.getInputs().size() <= 1 &&
         bodyCost(producer) <= 1;
}

/// An index value for `expr` over the consumer's iteration dimensions.
static Value materialise(OpBuilder &b, Location loc, AffineExpr expr) {
  MLIRContext *context = b.getContext();
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return IndexOp::create(b, loc, b.getIndexType(), dim.getPosition());
  if (expr.isSymbolicOrConstant())
    return ExtentOp::create(b, loc, b.getIndexType(),
                            AffineMapAttr::get(makeSizeMap({expr}, context)));
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Value lhs = materialise(b, loc, binary.getLHS());
  Value rhs = materialise(b, loc, binary.getRHS());
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return arith::AddIOp::create(b, loc, lhs, rhs);
  case AffineExprKind::Mul:
    return arith::MulIOp::create(b, loc, lhs, rhs);
  case AffineExprKind::FloorDiv:
    return arith::FloorDivSIOp::create(b, loc, lhs, rhs);
  case AffineExprKind::CeilDiv:
    return arith::CeilDivSIOp::create(b, loc, lhs, rhs);
  default:
    return arith::RemSIOp::create(b, loc, lhs, rhs);
  }
}

/// Clones the producer's body before the first operation of the consumer's and
/// returns the yielded value. `mapping` holds the body arguments.
static Value cloneProducer(RewriterBase &b, GenericOp producer, AffineMap map,
                           IRMapping &mapping) {
  for (Operation &op : producer.getBlock()->without_terminator())
    b.clone(op, mapping);
  Value yielded = mapping.lookup(producer.getYielded());
  // Index operations may be nested in regions of the clone: rewrite in place.
  producer.getBody().walk([&](IndexOp index) {
    auto clone = mapping.lookup(index.getResult()).getDefiningOp();
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(clone);
    Value value = materialise(b, index.getLoc(), map.getResult(index.getDim()));
    if (yielded == clone->getResult(0))
      yielded = value;
    // By the rewriter, which has the clone on its list of work.
    b.replaceOp(clone, value);
  });
  return yielded;
}

namespace {
/// Moves a producer's body into its consumer.
struct InlineProducer : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(GenericOp consumer,
                                PatternRewriter &rewriter) const override {
    for (unsigned i = 0, e = consumer.getInputs().size(); i < e; ++i) {
      auto producer = consumer.getInputs()[i].getDefiningOp<GenericOp>();
      // A constant expression folds as a whole: merging a producer into it
      // would tie it to run-time values.
      if (producer && mayInline(producer, consumer, consumer.getMap(i)))
        return inlineAt(consumer, producer, i, rewriter);
    }
    return failure();
  }

  LogicalResult inlineAt(GenericOp consumer, GenericOp producer, unsigned at,
                         PatternRewriter &rewriter) const {
    AffineMap map = consumer.getMap(at);
    SmallVector<Value> inputs, whole;
    SmallVector<Attribute> maps;
    unsigned numInputs = consumer.getInputs().size();
    for (unsigned i = 0; i < numInputs; ++i)
      if (i != at) {
        inputs.push_back(consumer.getInputs()[i]);
        maps.push_back(consumer.getMaps()[i]);
      }
    for (unsigned i = 0, e = producer.getInputs().size(); i < e; ++i) {
      inputs.push_back(producer.getInputs()[i]);
      maps.push_back(
          AffineMapAttr::get(composeSizeMaps(producer.getMap(i), map)));
    }
    llvm::append_range(whole, consumer.getWhole());
    llvm::append_range(whole, producer.getWhole());

    Location loc = rewriter.getFusedLoc({consumer.getLoc(), producer.getLoc()});
    auto fresh = GenericOp::create(
        rewriter, loc, consumer.getResult().getType(), consumer.getCombiner(),
        inputs, rewriter.getArrayAttr(maps), whole, consumer.getOverAttr());
    // It is still the consumer, as the report tells of it.
    fresh->setDiscardableAttrs(consumer->getDiscardableAttrDictionary());
    Block *block = rewriter.createBlock(&fresh.getBody());
    IRMapping consumerMap, producerMap;
    addArguments(fresh, block, numInputs, at, consumer, producer, consumerMap,
                 producerMap);
    rewriter.setInsertionPointToStart(block);
    Value value = cloneProducer(rewriter, producer, map, producerMap);
    consumerMap.map(consumer.getBlock()->getArgument(at), value);
    rewriter.setInsertionPointToEnd(block);
    for (Operation &op : consumer.getBlock()->getOperations())
      rewriter.clone(op, consumerMap);
    rewriter.replaceOp(consumer, fresh);
    return success();
  }

  static void addArguments(GenericOp fresh, Block *block, unsigned numInputs,
                           unsigned at, GenericOp consumer, GenericOp producer,
                           IRMapping &consumerMap, IRMapping &producerMap) {
    auto addAll = [&](IRMapping &mapping, Block *from, unsigned begin,
                      unsigned end, unsigned skip) {
      for (unsigned i = begin; i < end; ++i)
        if (i != skip) {
          BlockArgument old = from->getArgument(i);
          mapping.map(old, block->addArgument(old.getType(), old.getLoc()));
        }
    };
    Block *c = consumer.getBlock(), *p = producer.getBlock();
    unsigned producerInputs = producer.getInputs().size();
    addAll(consumerMap, c, 0, numInputs, at);
    addAll(producerMap, p, 0, producerInputs, ~0u);
    addAll(consumerMap, c, numInputs, c->getNumArguments(), ~0u);
    addAll(producerMap, p, producerInputs, p->getNumArguments(), ~0u);
  }
};

/// Replaces an operand that is the same constant everywhere by that constant.
struct InlineScalarConstant : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    for (auto [i, input] : llvm::enumerate(op.getInputs())) {
      BlockArgument arg = op.getBlock()->getArgument(i);
      Value source = input;
      while (auto reshape = source.getDefiningOp<ReshapeOp>())
        source = reshape.getInput();
      auto constant = source.getDefiningOp<ConstantOp>();
      auto dense =
          constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
      if (!dense || !dense.isSplat() || arg.use_empty())
        continue;
      rewriter.setInsertionPointToStart(op.getBlock());
      Attribute value = dense.getSplatValue<Attribute>();
      if (auto integer = dyn_cast<IntegerAttr>(value))
        value = IntegerAttr::get(arg.getType(), integer.getValue());
      else if (auto real = dyn_cast<FloatAttr>(value);
               real && isa<IntegerType>(arg.getType())) // the code of a float8
        value =
            IntegerAttr::get(arg.getType(), real.getValue().bitcastToAPInt());
      Value scalar = arith::ConstantOp::create(rewriter, op.getLoc(),
                                               cast<TypedAttr>(value));
      rewriter.modifyOpInPlace(op, [&] { arg.replaceAllUsesWith(scalar); });
      return success();
    }
    return failure();
  }
};

/// Reads an operand once where two inputs are the same at the same map.
struct MergeEqualInputs : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    for (unsigned i = 0, e = op.getInputs().size(); i < e; ++i)
      for (unsigned j = i + 1; j < e; ++j) {
        BlockArgument second = op.getBlock()->getArgument(j);
        if (op.getInputs()[i] != op.getInputs()[j] ||
            op.getMap(i) != op.getMap(j) || second.use_empty())
          continue;
        rewriter.modifyOpInPlace(op, [&] {
          second.replaceAllUsesWith(op.getBlock()->getArgument(i));
        });
        return success();
      }
    return failure();
  }
};
} // namespace

void qcc::populateInlinePatterns(RewritePatternSet &patterns) {
  patterns.add<InlineProducer, InlineScalarConstant, MergeEqualInputs>(
      patterns.getContext());
  GenericOp::getCanonicalizationPatterns(patterns, patterns.getContext());
}
