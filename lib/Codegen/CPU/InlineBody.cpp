//===- InlineBody.cpp - scalar bodies lifted to vectors ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One helper clones the body of a generic: on scalars, or with every operation
// lifted to vectors. Values that are equal in all lanes stay scalar until an
// operation joins them with a vector.
//
//===----------------------------------------------------------------------===//
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/KernelBuilder.h"

using namespace mlir;
using namespace qcc;

namespace {
/// Clones one body.
class Inliner {
public:
  Inliner(KernelBuilder &b, GenericOp generic, ArrayRef<Value> indices,
          unsigned lanes,
          llvm::function_ref<Value(unsigned wholeIndex)> wholePointer,
          Value mask)
      : b(b), generic(generic), indices(indices), lanes(lanes),
        wholePointer(wholePointer), mask(mask) {}

  FailureOr<Value> run(ArrayRef<Value> args);

private:
  LogicalResult clone(Operation &op);
  LogicalResult cloneRegionOp(Operation &op);
  LogicalResult cloneLifted(Operation &op);
  FailureOr<Value> read(ReadOp op);
  Value index(IndexOp op);

  KernelBuilder &b;
  GenericOp generic;
  ArrayRef<Value> indices;
  unsigned lanes;
  llvm::function_ref<Value(unsigned)> wholePointer;
  Value mask;
  IRMapping mapping;
};
} // namespace

static bool isVector(Value value) { return isa<VectorType>(value.getType()); }

Value Inliner::index(IndexOp op) {
  Value first = indices[op.getDim()];
  if (lanes == 1 || op.getDim() + 1 != indices.size())
    return first;
  auto type = VectorType::get(lanes, b.getIndexType());
  return arith::AddIOp::create(b, b.splat(first, lanes),
                               vector::StepOp::create(b, type));
}

FailureOr<Value> Inliner::read(ReadOp op) {
  auto arg = dyn_cast<BlockArgument>(op.getTensor());
  if (!arg || arg.getOwner() != generic.getBlock())
    return failure();
  Value pointer = wholePointer(arg.getArgNumber() - generic.getInputs().size());
  if (!pointer)
    return failure();
  RankedTensorType type = op.getTensor().getType();
  SmallVector<Value> at;
  for (Value index : op.getIndices())
    at.push_back(mapping.lookupOrDefault(index));
  if (llvm::none_of(at, isVector))
    return b.load(pointer, type.getElementType(), b.offset(type, at));
  SmallVector<Value> steps = b.strides(type);
  Value offsets = b.constantInt(0, VectorType::get(lanes, b.getIndexType()));
  for (auto [index, step] : llvm::zip_equal(at, steps))
    offsets = arith::AddIOp::create(
        b, offsets,
        arith::MulIOp::create(b, b.splat(index, lanes), b.splat(step, lanes)));
  return b.gather(pointer, type.getElementType(), offsets, mask);
}

/// An operation with regions (scf.if, scf.for): cloned as it is, then the
/// body operations of qcc inside are replaced. Everything in it must be scalar.
LogicalResult Inliner::cloneRegionOp(Operation &op) {
  bool uniform = llvm::none_of(op.getOperands(), [&](Value operand) {
    return isVector(mapping.lookupOrDefault(operand));
  });
  op.walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      if (Value mapped = mapping.lookupOrNull(operand))
        uniform &= !isVector(mapped);
    if (auto index = dyn_cast<IndexOp>(inner))
      uniform &= lanes == 1 || index.getDim() + 1 != indices.size();
  });
  if (!uniform)
    return failure();
  Operation *copy = b.clone(op, mapping);
  SmallVector<Operation *> ours;
  copy->walk([&](Operation *inner) {
    if (isa<ReadOp, IndexOp, ExtentOp>(inner))
      ours.push_back(inner);
  });
  for (Operation *inner : ours) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner);
    Value value;
    if (auto index = dyn_cast<IndexOp>(inner)) {
      value = indices[index.getDim()];
    } else if (auto extent = dyn_cast<ExtentOp>(inner)) {
      value = b.size(extent.getExpr().getResult(0));
    } else {
      FailureOr<Value> loaded = read(cast<ReadOp>(inner));
      if (failed(loaded))
        return failure();
      value = *loaded;
    }
    inner->getResult(0).replaceAllUsesWith(value);
    inner->erase();
  }
  return success();
}

LogicalResult Inliner::cloneLifted(Operation &op) {
  bool lifted = llvm::any_of(op.getOperands(), [&](Value operand) {
    return isVector(mapping.lookupOrDefault(operand));
  });
  if (!lifted) {
    b.clone(op, mapping);
    return success();
  }
  if (!op.hasTrait<OpTrait::Vectorizable>() || op.getNumResults() != 1)
    return failure();
  SmallVector<Value> operands;
  for (Value operand : op.getOperands())
    operands.push_back(b.splat(mapping.lookupOrDefault(operand), lanes));
  OperationState state(b.getLoc(), op.getName(), operands,
                       VectorType::get(lanes, op.getResult(0).getType()),
                       op.getAttrs());
  state.propertiesAttr = op.getPropertiesAsAttribute();
  mapping.map(op.getResult(0), b.create(state)->getResult(0));
  return success();
}

LogicalResult Inliner::clone(Operation &op) {
  if (auto index = dyn_cast<IndexOp>(op)) {
    mapping.map(index.getResult(), this->index(index));
    return success();
  }
  if (auto extent = dyn_cast<ExtentOp>(op)) {
    mapping.map(extent.getResult(), b.size(extent.getExpr().getResult(0)));
    return success();
  }
  if (auto readOp = dyn_cast<ReadOp>(op)) {
    FailureOr<Value> value = read(readOp);
    if (failed(value))
      return failure();
    mapping.map(readOp.getResult(), *value);
    return success();
  }
  return op.getNumRegions() ? cloneRegionOp(op) : cloneLifted(op);
}

FailureOr<Value> Inliner::run(ArrayRef<Value> args) {
  Block *block = generic.getBlock();
  for (auto [i, arg] : llvm::enumerate(args))
    mapping.map(block->getArgument(i), arg);
  for (Operation &op : block->without_terminator())
    if (failed(clone(op)))
      return failure();
  return b.splat(mapping.lookupOrDefault(generic.getYielded()), lanes);
}

FailureOr<Value> KernelBuilder::inlineBody(
    GenericOp generic, ArrayRef<Value> args, ArrayRef<Value> indices,
    unsigned lanes, llvm::function_ref<Value(unsigned wholeIndex)> wholePointer,
    Value mask) {
  return Inliner(*this, generic, indices, lanes, wholePointer, mask).run(args);
}

bool qcc::canVectorize(GenericOp generic) {
  // A lane may take a branch or a trip count of its own. There is no integer
  // division of vectors: LLVM would make scalar code of it.
  return llvm::all_of(*generic.getBlock(), [](Operation &op) {
    if (isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp,
            arith::CeilDivSIOp, arith::CeilDivUIOp, arith::FloorDivSIOp,
            math::IPowIOp>(op))
      return false;
    return op.getNumRegions() == 0 &&
           (isa<IndexOp, ExtentOp, ReadOp, YieldOp>(op) ||
            op.hasTrait<OpTrait::ConstantLike>() ||
            op.hasTrait<OpTrait::Vectorizable>());
  });
}
