//===- Fuse.cpp - forming dispatches ----------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Approximate.h"
#include "Inline.h"
#include "RoundTrips.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/RegionUtils.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"

namespace qcc {
#define GEN_PASS_DEF_FUSE
#include "qcc/passes/Fuse.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// What passes note about an operation for the report only.
static constexpr llvm::StringLiteral kReportAttrs[] = {
    "qcc.requested", "qcc.executed",   "qcc.reason",    "qcc.algorithm",
    "qcc.error",     "qcc.error_of",   "qcc.transform", "qcc.layer_error",
    "qcc.equalised", "qcc.correction", "qcc.scaled",    "qcc.shift_of"};

/// True for operations that stay outside dispatches.
static bool isView(Operation *op) {
  return isa<ReshapeOp, ParamOp, ConstantOp, PackOp, EncodeOp, StateReadOp,
             StateWriteOp, ObserveOp, BindOp, CheckOp, IfOp, LoopOp, DispatchOp,
             YieldOp, func::ReturnOp>(op);
}

/// True for roots whose result an epilogue may transform before it is stored.
static bool takesEpilogue(Operation *op) {
  if (auto generic = dyn_cast<GenericOp>(op))
    return generic.isReduction();
  return isa<MatMulOp, ConvOp, ConvTransposeOp, QMatMulOp, IntMatMulOp,
             IntConvOp, SoftmaxOp, NormOp, AttentionOp>(op);
}

/// The generic that alone uses `value`, reads it point by point and yields the
/// same shape: what may become an epilogue.
static GenericOp getEpilogueUser(Value value) {
  if (!value.hasOneUse())
    return {};
  OpOperand &use = *value.getUses().begin();
  auto user = dyn_cast<GenericOp>(use.getOwner());
  // A loop's or branch's body is another place in time.
  if (!user || user.isReduction() ||
      user->getBlock() != value.getParentBlock() ||
      use.getOperandNumber() >= user.getInputs().size())
    return {};
  if (!user.getMap(use.getOperandNumber()).isIdentity() ||
      getDims(user.getResult().getType()) != getDims(value.getType()))
    return {};
  return user;
}

/// True for an operation on the elements of one tensor that permutes its
/// leading dimensions: an attention writes through it by strides, and reads
/// through it if it is a copy.
static bool isHeadPermutation(GenericOp op) {
  if (!op || op.isReduction() || !op.getWhole().empty() ||
      op.getInputs().size() != 1 || !op.getMap(0).isPermutation())
    return false;
  AffineMap map = op.getMap(0);
  return map.getResults().back() ==
         getAffineDimExpr(map.getNumDims() - 1, op.getContext());
}

/// The permuting copies that alone feed `op`, an attention.
static SmallVector<Operation *> getPermutedOperands(AttentionOp op) {
  SmallVector<Operation *> copies;
  for (Value operand : op->getOperands())
    if (auto copy = operand.getDefiningOp<GenericOp>())
      if (operand != op.getSink() && copy->hasOneUse() &&
          copy->getBlock() == op->getBlock() && copy.isCopy() &&
          isHeadPermutation(copy))
        copies.push_back(copy);
  // Program order: one copy may not read another.
  llvm::sort(copies,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  return copies;
}

/// What alone reads an attention's result and permutes it.
static GenericOp getPermutedResult(AttentionOp op) {
  Value result = op.getResult();
  if (!result.hasOneUse())
    return {};
  auto user = dyn_cast<GenericOp>(*result.getUsers().begin());
  return user && user->getBlock() == op->getBlock() && isHeadPermutation(user)
             ? user
             : GenericOp();
}

/// Wraps `ops` (in program order) in a dispatch at the last one's place; `root`
/// is the one that matters.
static void wrap(ArrayRef<Operation *> ops, Operation *root,
                 IRRewriter &rewriter) {
  Operation *last = ops.back();
  rewriter.setInsertionPoint(last);
  llvm::SetVector<Value> inputs;
  llvm::SmallPtrSet<Operation *, 4> inside(ops.begin(), ops.end());
  // A dispatch has the root's name, its value that of the last node inside.
  SmallVector<Location> locs{root->getLoc()};
  for (Operation *op : ops) {
    if (op != root)
      locs.push_back(op->getLoc());
    for (Value operand : op->getOperands())
      if (!inside.contains(operand.getDefiningOp()))
        inputs.insert(operand);
  }
  Location loc = rewriter.getFusedLoc(locs);
  auto dispatch = DispatchOp::create(rewriter, loc, last->getResultTypes(),
                                     inputs.getArrayRef());
  // What passes before noted about the root (precision and its reason).
  dispatch->setDiscardableAttrs(root->getDiscardableAttrDictionary());
  dispatch->setAttr("qcc.value",
                    rewriter.getStringAttr(getNodeName(last->getLoc())));
  Block *block = rewriter.createBlock(&dispatch.getBody());
  IRMapping mapping;
  for (Value input : inputs)
    mapping.map(input, block->addArgument(input.getType(), loc));
  for (Operation *op : ops) {
    // What is told of a layer would keep equal kernels of others apart.
    Operation *copy = rewriter.clone(*op, mapping);
    for (StringRef name : kReportAttrs)
      copy->removeAttr(name);
  }
  SmallVector<Value> yielded;
  for (Value result : last->getResults())
    yielded.push_back(mapping.lookup(result));
  YieldOp::create(rewriter, loc, yielded);
  rewriter.replaceOp(last, dispatch.getResults());
  for (Operation *op : llvm::reverse(ops.drop_back()))
    rewriter.eraseOp(op);
}

/// Forms the dispatches of one block of a function.
static void formDispatches(Block &block, IRRewriter &rewriter) {
  SmallVector<Operation *> work;
  for (Operation &op : block)
    work.push_back(&op);
  // An epilogue that two roots could claim goes to the later one: the operand
  // that was computed last is still in cache, and the other one exists by then.
  llvm::DenseMap<Operation *, Operation *> claimedBy;
  auto isConstant = [](Operation *op) {
    return op->getNumResults() == 1 && isConstantExpression(op->getResult(0));
  };
  for (Operation *op : work)
    if (takesEpilogue(op) && !isConstant(op))
      if (GenericOp user = getEpilogueUser(op->getResult(0)))
        claimedBy[user] = op;
  for (Operation *op : work)
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      for (Operation *copy : getPermutedOperands(attention))
        claimedBy[copy] = op;
      if (GenericOp copy = getPermutedResult(attention))
        claimedBy[copy] = op;
    }
  llvm::SmallPtrSet<Operation *, 16> taken;
  for (Operation *op : work) {
    // First of all, for what was taken is erased.
    if (taken.contains(op) || isView(op) || isConstant(op))
      continue;
    // What an attention reads through is wrapped with it, further down.
    Operation *claimant = claimedBy.lookup(op);
    if (isa_and_nonnull<AttentionOp>(claimant) && op->isBeforeInBlock(claimant))
      continue;
    SmallVector<Operation *> group{op};
    if (takesEpilogue(op)) {
      GenericOp user = getEpilogueUser(op->getResult(0));
      auto attention = dyn_cast<AttentionOp>(op);
      if (attention) {
        SmallVector<Operation *> copies = getPermutedOperands(attention);
        group.insert(group.begin(), copies.begin(), copies.end());
        if (GenericOp copy = getPermutedResult(attention))
          user = copy;
      }
      if (user && claimedBy.lookup(user) == op) {
        group.push_back(user);
        taken.insert(user);
      }
    }
    wrap(group, op, rewriter);
  }
}

namespace {
struct FusePass : qcc::impl::FuseBase<FusePass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    RewritePatternSet patterns(&getContext());
    populateInlinePatterns(patterns);
    GreedyRewriteConfig config;
    config.setMaxIterations(GreedyRewriteConfig::kNoLimit);
    if (failed(applyPatternsGreedily(module, std::move(patterns), config)))
      return signalPassFailure();
    IRRewriter rewriter(&getContext());
    SmallVector<Block *> blocks;
    for (auto func : module.getOps<func::FuncOp>())
      blocks.push_back(&func.getBody().front());
    module.walk([&](Operation *op) {
      if (isa<IfOp, LoopOp>(op))
        for (Region &region : op->getRegions())
          blocks.push_back(&region.front());
    });
    for (Block *block : blocks)
      formDispatches(*block, rewriter);
    module.walk([](GenericOp generic) {
      approximateRounded(generic);
      dropRoundTrips(generic);
    });
  }
};
} // namespace
