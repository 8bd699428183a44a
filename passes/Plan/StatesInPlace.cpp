//===- StatesInPlace.cpp - states written where they are --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "StatesInPlace.h"

using namespace mlir;
using namespace qcc;

Value qcc::getBase(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value;
}

/// Whether a kernel reads of an operand only the element that it writes, before
/// it writes it: the emitter of generics computes each element once.
static bool readsOwnElement(KernelOp kernel, unsigned operand) {
  auto name = kernel.getSchedule().getAs<StringAttr>("kernel");
  Block &body = kernel.getBody().front();
  auto generic = dyn_cast<GenericOp>(body.front());
  if (!name || name.getValue() != "generic" || !generic ||
      generic->getNextNode() != body.getTerminator() || generic.isReduction())
    return false;
  BlockArgument arg = body.getArgument(operand);
  if (arg.getType() != generic.getResult().getType() || !arg.hasOneUse())
    return false;
  for (auto [i, input] : llvm::enumerate(generic.getInputs()))
    if (input == arg)
      return generic.getMap(i).isIdentity();
  return false;
}

/// Whether an operation of the entry's block, or one in a region of it, may use
/// the current value of a state that `launch` overwrites.
static bool mayUse(Operation *user, OpOperand &use, LaunchOp launch) {
  Operation *top = launch->getBlock()->findAncestorOpInBlock(*user);
  if (!top)
    return false;
  if (top != launch)
    return top->isBeforeInBlock(launch) && !isa<StateWriteOp>(top);
  auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(
      launch, launch.getKernelAttr());
  return kernel && readsOwnElement(kernel, use.getOperandNumber());
}

static bool mayUseAll(Value current, LaunchOp launch) {
  SmallVector<Value> views = {current};
  while (!views.empty())
    for (OpOperand &use : views.pop_back_val().getUses()) {
      if (auto reshape = dyn_cast<ReshapeOp>(use.getOwner()))
        views.push_back(reshape.getResult());
      else if (!mayUse(use.getOwner(), use, launch))
        return false;
    }
  return true;
}

llvm::DenseMap<Value, StringRef> qcc::findStatesInPlace(func::FuncOp func) {
  llvm::DenseMap<Value, StringRef> found;
  Block &body = func.getBody().front();
  SmallVector<StateReadOp> reads;
  func.walk([&](StateReadOp read) { reads.push_back(read); });
  for (auto write : body.getOps<StateWriteOp>()) {
    Value next = getBase(write.getValue());
    auto launch = next.getDefiningOp<LaunchOp>();
    if (launch && launch->getBlock() == &body && !found.contains(next) &&
        llvm::all_of(reads, [&](StateReadOp read) {
          return read.getState() != write.getState() ||
                 mayUseAll(read.getResult(), launch);
        }))
      found[next] = write.getState();
  }
  return found;
}
