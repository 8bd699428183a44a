//===- Lower.cpp - decomposing what has no kernel ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/TypeSwitch.h"

namespace qcc {
#define GEN_PASS_DECL_LOWER
#define GEN_PASS_DEF_LOWER
#include "qcc/passes/Schedule.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// True if an emitter of the target takes the operation on its own.
static bool hasKernel(Operation *op, const Target &target,
                      ArrayRef<Capabilities> levels, IRRewriter &rewriter) {
  rewriter.setInsertionPoint(op);
  auto dispatch = DispatchOp::create(rewriter, op->getLoc(),
                                     op->getResultTypes(), op->getOperands());
  Block *block = rewriter.createBlock(&dispatch.getBody());
  IRMapping mapping;
  SmallVector<BlockArgument> args;
  for (Value operand : op->getOperands())
    args.push_back(block->addArgument(operand.getType(), op->getLoc()));
  Operation *clone = rewriter.clone(*op, mapping);
  clone->setOperands(SmallVector<Value>(args.begin(), args.end()));
  YieldOp::create(rewriter, op->getLoc(), clone->getResults());
  auto isConstant = [&](unsigned operand) {
    return isConstantExpression(op->getOperand(operand));
  };
  bool taken = llvm::any_of(target.getEmitters(), [&](const auto &emitter) {
    return emitter->match(dispatch, levels, isConstant).has_value();
  });
  rewriter.eraseOp(dispatch);
  return taken;
}

/// True for what has kernels with the channels last only: convolutions of
/// integers, whose products take four input channels at once, side by side, and
/// maxima of bytes.
static bool wantsChannelsLast(Operation *op) {
  if (auto conv = dyn_cast<IntConvOp>(op))
    return !conv.getChannelsLast();
  auto pool = dyn_cast<PoolOp>(op);
  return pool && pool.getKind() == PoolKind::Max && !pool.getChannelsLast() &&
         pool.getInput().getType().getElementType().isInteger(8);
}

/// Replaces an operation by one with the channels last, between two copies, if
/// the target has a kernel for that.
static bool replaceByChannelsLast(Operation *op, const Target &target,
                                  ArrayRef<Capabilities> levels,
                                  IRRewriter &rewriter) {
  auto result = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t rank = result.getRank();
  SmallVector<int64_t> last{0}, second{0, rank - 1};
  for (int64_t i = 2; i < rank; ++i) {
    last.push_back(i);
    second.push_back(i - 1);
  }
  last.push_back(1);
  Location loc = op->getLoc();
  rewriter.setInsertionPoint(op);
  GenericOp input = permute(rewriter, loc, op->getOperand(0), last);
  SmallVector<AffineExpr> dims = getDims(result);
  std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  Operation *moved = rewriter.clone(*op);
  rewriter.modifyOpInPlace(moved, [&] {
    moved->setOperand(0, input.getResult());
    moved->getResult(0).setType(makeTensorType(dims, result.getElementType()));
    TypeSwitch<Operation *>(moved).Case<IntConvOp, PoolOp>(
        [](auto named) { named.setChannelsLast(true); });
  });
  if (!hasKernel(moved, target, levels, rewriter)) {
    rewriter.eraseOp(moved);
    rewriter.eraseOp(input);
    return false;
  }
  rewriter.setInsertionPoint(op);
  rewriter.replaceOp(
      op, permute(rewriter, loc, moved->getResult(0), second)->getResults());
  return true;
}

namespace {
struct LowerPass : qcc::impl::LowerBase<LowerPass> {
  using LowerBase::LowerBase;
  void runOnOperation() override {
    auto found = getTargets(&getContext()).find(target);
    if (!found) {
      emitError(UnknownLoc::get(&getContext()), toString(found.takeError()));
      return signalPassFailure();
    }
    SmallVector<Operation *> named;
    getOperation().walk([&](Operation *op) {
      if (isDecomposable(op))
        named.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (Operation *op : named) {
      if (hasKernel(op, *found->first, found->second, rewriter) ||
          (wantsChannelsLast(op) &&
           replaceByChannelsLast(op, *found->first, found->second, rewriter)))
        continue;
      rewriter.setInsertionPoint(op);
      if (failed(decompose(op, rewriter)))
        return signalPassFailure();
    }
  }
};
} // namespace
