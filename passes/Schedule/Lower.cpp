//===- Lower.cpp - decomposing what has no kernel ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Target/Target.h"

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
      if (hasKernel(op, *found->first, found->second, rewriter))
        continue;
      rewriter.setInsertionPoint(op);
      if (failed(decompose(op, rewriter)))
        return signalPassFailure();
    }
  }
};
} // namespace
