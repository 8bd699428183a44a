//===- ProgramEmitter.cpp - kernels of qcc.program --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The body is cloned as it is, once per index of `over`; reads and writes
// become loads and stores. Operands may lie behind reshapes, and the results
// are the kernel's.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

/// The program that is all of a dispatch or kernel, with operands in memory.
static ProgramOp findProgram(Block &block) {
  ProgramOp found;
  for (Operation &op : block.without_terminator()) {
    if (auto program = dyn_cast<ProgramOp>(op)) {
      if (found)
        return {};
      found = program;
    } else if (!isa<ReshapeOp, ConstantOp>(op)) {
      return {};
    }
  }
  bool whole =
      found && llvm::all_of(found.getInputs(), isInMemory) &&
      llvm::equal(block.getTerminator()->getOperands(), found.getResults());
  return whole ? found : ProgramOp();
}

/// Replaces the operations of qcc in a cloned body.
static void lowerAccesses(KernelBuilder &b, ProgramOp program,
                          ArrayRef<Operation *> accesses, Value run) {
  auto pointer = [&](Value tensor) {
    unsigned number = cast<BlockArgument>(tensor).getArgNumber();
    unsigned inputs = program.getInputs().size();
    return number < inputs ? getTensorPointer(b, program.getInputs()[number])
                           : b.resultPointer(number - inputs);
  };
  for (Operation *op : accesses) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(op);
    if (auto write = dyn_cast<WriteOp>(op)) {
      RankedTensorType type = write.getTensor().getType();
      SmallVector<Value> at(write.getIndices());
      b.store(write.getValue(), pointer(write.getTensor()),
              type.getElementType(), b.offset(type, at));
      op->erase();
      continue;
    }
    Value value = run;
    if (auto extent = dyn_cast<ExtentOp>(op)) {
      value = b.size(extent.getExpr().getResult(0));
    } else if (auto read = dyn_cast<ReadOp>(op)) {
      RankedTensorType type = read.getTensor().getType();
      SmallVector<Value> at(read.getIndices());
      value = b.load(pointer(read.getTensor()), type.getElementType(),
                     b.offset(type, at));
    }
    op->getResult(0).replaceAllUsesWith(value);
    op->erase();
  }
}

namespace {
class ProgramEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "program"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities>,
        llvm::function_ref<bool(unsigned)>) const override {
    ProgramOp op = findProgram(dispatch.getBody().front());
    if (!op)
      return std::nullopt;
    KernelSchedule schedule;
    schedule.params = DictionaryAttr::get(dispatch.getContext());
    schedule.tasks = op.getOver()
                         ? op.getOver()->getResult(0)
                         : getAffineConstantExpr(1, dispatch.getContext());
    return schedule;
  }

  LogicalResult emit(KernelBuilder &b) const override {
    ProgramOp op = findProgram(b.kernel().getBody().front());
    if (!op)
      return failure();
    // Operands' pointers do not depend on the run.
    for (Value input : op.getInputs())
      (void)getTensorPointer(b, input);
    b.forLoop(
        b.taskBegin(), b.taskEnd(), b.idx(1),
        [&](Value run) {
          // Arguments stay those of the program in the clone, where the
          // accesses tell them apart.
          IRMapping mapping;
          SmallVector<Operation *> accesses;
          for (Operation &inner : op.getBlock()->without_terminator())
            b.clone(inner, mapping)->walk([&](Operation *nested) {
              if (isa<ReadOp, WriteOp, IndexOp, ExtentOp>(nested))
                accesses.push_back(nested);
            });
          lowerAccesses(b, op, accesses, run);
        },
        KernelBuilder::LoopHint::NoVectorize);
    return success();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createProgramEmitter() {
  return std::make_unique<ProgramEmitter>();
}
