//===- Verify.cpp - what must hold after each stage -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Pipeline/Verify.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

/// True for what may stand in a function besides work.
static bool isSurrounding(Operation *op) {
  return isa<ReshapeOp, StateReadOp, StateWriteOp, ObserveOp, BindOp, CheckOp,
             IfOp, LoopOp, YieldOp, func::ReturnOp>(op) ||
         (op->getNumResults() == 1 && isConstantExpression(op->getResult(0)));
}

/// Checks each operation of each function, also those in branches and loops.
static LogicalResult
verifyFunctions(ModuleOp module, Stage stage,
                llvm::function_ref<bool(Operation *)> allowed) {
  for (auto func : module.getOps<func::FuncOp>()) {
    Operation *bad = nullptr;
    func.getBody().walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (!allowed(op)) {
        bad = op;
        return WalkResult::interrupt();
      }
      return isa<IfOp, LoopOp>(op) ? WalkResult::advance() : WalkResult::skip();
    });
    if (bad)
      return emitCoded(bad->getLoc(), Diag::Internal)
             << "'" << bad->getName() << "' is not allowed after stage "
             << getStageName(stage);
  }
  return success();
}

/// Every symbol that a type mentions has a name.
static LogicalResult verifySymbols(ModuleOp module) {
  size_t names = getSymbolNames(module).size();
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<unsigned> used = collectSymbols(func);
    if (!used.empty() && used.back() >= names)
      return emitCoded(func.getLoc(), Diag::Internal)
             << "expected " << used.back() + 1
             << " names in qcc.symbols, but got " << names;
  }
  return success();
}

LogicalResult qcc::verifyStage(ModuleOp module, Stage stage) {
  switch (stage) {
  case Stage::Import:
  case Stage::Calibrate:
  case Stage::Transform:
  case Stage::Assign:
    if (failed(verifySymbols(module)))
      return failure();
    return verifyFunctions(module, stage, [](Operation *op) {
      // A rounded weight that is f32 is a weight like any other.
      if (auto encode = dyn_cast<EncodeOp>(op))
        return encode.getResult().getType() == encode.getWeight().getType();
      return !isa<DispatchOp, LaunchOp, QMatMulOp, PackOp>(op);
    });
  case Stage::Quantize:
    return verifyFunctions(module, stage, [](Operation *op) {
      return !isa<DispatchOp, LaunchOp, PackOp>(op);
    });
  case Stage::Fuse:
    return verifyFunctions(module, stage, [](Operation *op) {
      return isa<DispatchOp>(op) || isSurrounding(op);
    });
  case Stage::Schedule:
    return verifyFunctions(module, stage, [](Operation *op) {
      return isa<LaunchOp>(op) || isSurrounding(op);
    });
  default:
    return verifyFunctions(module, stage, [](Operation *) { return false; });
  }
}
