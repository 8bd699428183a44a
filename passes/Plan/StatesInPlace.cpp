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

static KernelOp getKernel(LaunchOp launch) {
  return SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch,
                                                        launch.getKernelAttr());
}

/// Whether an operation of the entry's block, or one in a region of it, may use
/// the current value of a state that `launch` overwrites.
static bool mayUse(OpOperand &use, LaunchOp launch) {
  Operation *top = launch->getBlock()->findAncestorOpInBlock(*use.getOwner());
  if (!top)
    return false;
  if (top != launch)
    return top->isBeforeInBlock(launch) && !isa<StateWriteOp>(top);
  KernelOp kernel = getKernel(launch);
  return kernel && readsOwnElement(kernel, use.getOperandNumber());
}

/// The uses of a value and its views.
static SmallVector<OpOperand *> collectUses(Value value) {
  SmallVector<Value> views = {value};
  SmallVector<OpOperand *> uses;
  while (!views.empty())
    for (OpOperand &use : views.pop_back_val().getUses()) {
      if (auto reshape = dyn_cast<ReshapeOp>(use.getOwner()))
        views.push_back(reshape.getResult());
      else
        uses.push_back(&use);
    }
  return uses;
}

/// Tells the kernel of a launch which of `uses` it overwrites; false if these
/// are several, or another launch overwrites another operand of it.
static bool markKernel(LaunchOp launch, ArrayRef<OpOperand *> uses) {
  SmallVector<unsigned> operands;
  for (OpOperand *use : uses)
    if (use->getOwner() == launch)
      operands.push_back(use->getOperandNumber());
  if (operands.empty())
    return true;
  KernelOp kernel = getKernel(launch);
  auto number = OpBuilder(kernel).getI64IntegerAttr(operands.front());
  Attribute before = kernel->getAttr(kInPlaceAttr);
  if (operands.size() > 1 || (before && before != number))
    return false;
  kernel->setAttr(kInPlaceAttr, number);
  return true;
}

llvm::DenseMap<Value, StringRef>
qcc::chooseStatesInPlace(func::FuncOp func,
                         llvm::function_ref<bool(Value)> isFree) {
  llvm::DenseMap<Value, StringRef> found;
  Block &body = func.getBody().front();
  for (auto write : body.getOps<StateWriteOp>()) {
    Value next = getBase(write.getValue());
    auto launch = next.getDefiningOp<LaunchOp>();
    if (!launch || launch->getBlock() != &body || found.contains(next) ||
        !isFree(next))
      continue;
    SmallVector<OpOperand *> uses;
    func.walk([&](StateReadOp read) {
      if (read.getState() == write.getState())
        llvm::append_range(uses, collectUses(read.getResult()));
    });
    if (!llvm::all_of(uses,
                      [&](OpOperand *use) { return mayUse(*use, launch); }))
      continue;
    if (markKernel(launch, uses))
      found[next] = write.getState();
  }
  return found;
}
