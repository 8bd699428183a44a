//===- ConcatEmitter.cpp - joining tensors ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// For each index before the axis, the elements of each operand from the axis on
// are one run of memory in the operand and one in the result.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

/// The concat that is all of a dispatch or kernel, with operands in memory.
static ConcatOp findConcat(Block &block) {
  Operation *yield = block.getTerminator();
  if (yield->getNumOperands() != 1)
    return {};
  auto concat = yield->getOperand(0).getDefiningOp<ConcatOp>();
  bool alone = llvm::all_of(block.without_terminator(), [&](Operation &op) {
    return &op == concat.getOperation() || isa<ReshapeOp, ConstantOp>(op);
  });
  return concat && alone && llvm::all_of(concat.getInputs(), isInMemory)
             ? concat
             : ConcatOp();
}

/// Elements of a tensor from the axis on.
static AffineExpr getRun(Value tensor, unsigned axis) {
  SmallVector<AffineExpr> dims = getDims(tensor.getType());
  return product(ArrayRef(dims).drop_front(axis), tensor.getContext());
}

/// Tasks are blocks of columns of [runs before the axis, run of the result];
/// each operand's part of a block is copied.
static Grain getConcatGrain(ConcatOp op) {
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  MLIRContext *context = op.getContext();
  AffineExpr outer = product(ArrayRef(dims).take_front(op.getAxis()), context);
  return getGrain({outer, getRun(op.getResult(), op.getAxis())},
                  mlir::getAffineConstantExpr(1, context));
}

namespace {
class ConcatEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "concat"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities>,
        llvm::function_ref<bool(unsigned)>) const override {
    ConcatOp op = findConcat(dispatch.getBody().front());
    if (!op)
      return std::nullopt;
    Grain grain = getConcatGrain(op);
    return makeSchedule(grain);
  }

  LogicalResult emit(KernelBuilder &b) const override {
    ConcatOp op = findConcat(b.kernel().getBody().front());
    if (!op)
      return failure();
    unsigned axis = op.getAxis();
    Type element = op.getResult().getType().getElementType();
    Value total = b.size(getRun(op.getResult(), axis));
    forEachRow(b, getConcatGrain(op), [&](Value row, Value begin, Value end) {
      Value start = b.idx(0); // of the operand's run in the result's
      for (Value input : op.getInputs()) {
        Value run = b.size(getRun(input, axis)), stop = b.add(start, run);
        Value from = b.maxIdx(begin, start), to = b.minIdx(end, stop);
        Value source = b.sub(b.mul(row, run), start),
              target = b.mul(row, total);
        Value pointer = getTensorPointer(b, input);
        auto copy = [&](Value column) {
          Value value = b.load(pointer, element, b.add(source, column));
          b.store(value, b.resultPointer(0), element, b.add(target, column));
        };
        b.forLoop(from, to, b.idx(1), copy,
                  b.caps().vectorBits ? KernelBuilder::LoopHint::Vectorize
                                      : KernelBuilder::LoopHint::NoVectorize);
        start = stop;
      }
    });
    return success();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createConcatEmitter() {
  return std::make_unique<ConcatEmitter>();
}
