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
#include "llvm/Support/SaveAndRestore.h"

using namespace mlir;
using namespace qcc;

namespace {
/// An index value as base + step * lane, then limited to [low, high] where
/// those are given.
struct LaneIndex {
  Value base;
  int64_t step;
  Value low = {}, high = {};
};

/// Clones one body.
class Inliner {
public:
  Inliner(KernelBuilder &b, GenericOp generic, ArrayRef<Value> indices,
          unsigned lanes,
          llvm::function_ref<Value(unsigned wholeIndex)> wholePointer,
          Value mask, unsigned laneDim)
      : b(b), generic(generic), indices(indices), lanes(lanes),
        wholePointer(wholePointer), mask(mask), laneDim(laneDim) {}

  FailureOr<Value> run(ArrayRef<Value> args);

private:
  LogicalResult clone(Operation &op);
  LogicalResult cloneRegionOp(Operation &op);
  LogicalResult cloneIf(scf::IfOp op);
  LogicalResult cloneUniformIf(scf::IfOp op, Value condition);
  FailureOr<SmallVector<Value>> cloneArm(Region &arm);
  FailureOr<SmallVector<Value>> cloneMaskedArm(Region &arm, Value condition);
  LogicalResult cloneLifted(Operation &op);
  FailureOr<Value> read(ReadOp op);
  void trackIndex(Operation &op);
  std::optional<LaneIndex> getLaneIndex(Value original);
  std::optional<LaneIndex> getRun(ReadOp op);
  Value readLimitedRun(ReadOp op, LaneIndex run, Value pointer,
                       llvm::function_ref<Value()> gather);
  Value index(IndexOp op);

  KernelBuilder &b;
  GenericOp generic;
  ArrayRef<Value> indices;
  unsigned lanes;
  llvm::function_ref<Value(unsigned)> wholePointer;
  Value mask;
  unsigned laneDim;
  bool conditional = false; ///< inside an arm of a lifted scf.if
  IRMapping mapping;
  llvm::DenseMap<Value, LaneIndex> laneIndices;
};
} // namespace

static bool isVector(Value value) { return isa<VectorType>(value.getType()); }

Value Inliner::index(IndexOp op) {
  Value first = indices[op.getDim()];
  if (lanes == 1 || op.getDim() != laneDim)
    return first;
  laneIndices[op.getResult()] = {first, 1};
  return b.indicesFrom(first, lanes);
}

std::optional<LaneIndex> Inliner::getLaneIndex(Value original) {
  if (auto found = laneIndices.find(original); found != laneIndices.end())
    return found->second;
  Value mapped = mapping.lookupOrDefault(original);
  if (isVector(mapped))
    return std::nullopt;
  return LaneIndex{mapped, 0};
}

/// Notes how the result of index arithmetic moves with the lanes.
void Inliner::trackIndex(Operation &op) {
  if (lanes == 1 || !op.getNumResults() ||
      !op.getResult(0).getType().isIndex() ||
      !isa<arith::AddIOp, arith::SubIOp, arith::MulIOp, arith::MaxSIOp,
           arith::MinSIOp>(op))
    return;
  std::optional<LaneIndex> lhs = getLaneIndex(op.getOperand(0)),
                           rhs = getLaneIndex(op.getOperand(1));
  if (!lhs || !rhs || (lhs->step == 0 && rhs->step == 0))
    return;
  if (isa<arith::MaxSIOp, arith::MinSIOp>(op)) {
    // One limit of each kind; the other operand is the same in all lanes.
    LaneIndex run = lhs->step ? *lhs : *rhs, limit = lhs->step ? *rhs : *lhs;
    Value &bound = isa<arith::MaxSIOp>(op) ? run.low : run.high;
    if (limit.step != 0 || bound)
      return;
    bound = limit.base;
    laneIndices[op.getResult(0)] = run;
    return;
  }
  if (lhs->low || lhs->high || rhs->low || rhs->high)
    return;
  APInt factor;
  if (isa<arith::AddIOp>(op))
    laneIndices[op.getResult(0)] = {b.add(lhs->base, rhs->base),
                                    lhs->step + rhs->step};
  else if (isa<arith::SubIOp>(op))
    laneIndices[op.getResult(0)] = {b.sub(lhs->base, rhs->base),
                                    lhs->step - rhs->step};
  else if (matchPattern(op.getOperand(1), m_ConstantInt(&factor)))
    laneIndices[op.getResult(0)] = {b.mul(lhs->base, rhs->base),
                                    lhs->step * factor.getSExtValue()};
}

/// The first offset of a read whose lanes are consecutive elements, with the
/// limits of its last index.
std::optional<LaneIndex> Inliner::getRun(ReadOp op) {
  RankedTensorType type = op.getTensor().getType();
  SmallVector<Value> bases;
  LaneIndex run{{}, 1};
  for (auto [i, index] : llvm::enumerate(op.getIndices())) {
    std::optional<LaneIndex> at = getLaneIndex(index);
    bool last = i + 1 == op.getIndices().size();
    if (!at || at->step != (last ? 1 : 0))
      return std::nullopt;
    run.low = at->low;
    run.high = at->high;
    bases.push_back(at->base);
  }
  run.base = b.offset(type, bases);
  return run;
}

/// A read whose lanes are consecutive unless a limit of the last index
/// interferes, which is decided when it runs.
Value Inliner::readLimitedRun(ReadOp op, LaneIndex run, Value pointer,
                              llvm::function_ref<Value()> gather) {
  Type element = op.getTensor().getType().getElementType();
  Value first = getLaneIndex(op.getIndices().back())->base;
  Value last = b.add(first, b.idx(lanes - 1));
  Value free = b.constantInt(1, b.getI1Type());
  if (run.low)
    free = b.createOrFold<arith::AndIOp>(
        free,
        arith::CmpIOp::create(b, arith::CmpIPredicate::sge, first, run.low));
  if (run.high)
    free = b.createOrFold<arith::AndIOp>(
        free,
        arith::CmpIOp::create(b, arith::CmpIPredicate::sle, last, run.high));
  auto type = VectorType::get(lanes, op.getResult().getType());
  auto branch = scf::IfOp::create(b, type, free, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, b.load(pointer, element, run.base, lanes, mask));
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, gather());
  return branch.getResult(0);
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
  if (llvm::none_of(at, isVector)) {
    Value offset = b.offset(type, at);
    // Under a condition there may be no lane that allows the read.
    return conditional ? b.gather(pointer, type.getElementType(),
                                  b.splat(offset, lanes), mask)
                       : b.load(pointer, type.getElementType(), offset);
  }
  SmallVector<Value> steps = b.strides(type);
  auto gather = [&] {
    Value offsets = b.constantInt(0, VectorType::get(lanes, b.getIndexType()));
    for (auto [index, step] : llvm::zip_equal(at, steps))
      offsets =
          arith::AddIOp::create(b, offsets,
                                arith::MulIOp::create(b, b.splat(index, lanes),
                                                      b.splat(step, lanes)));
    return b.gather(pointer, type.getElementType(), offsets, mask);
  };
  std::optional<LaneIndex> run = getRun(op);
  if (!run)
    return gather();
  if (run->low || run->high)
    return readLimitedRun(op, *run, pointer, gather);
  return b.load(pointer, type.getElementType(), run->base, lanes, mask);
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
      uniform &= lanes == 1 || index.getDim() != laneDim;
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

/// One arm of a conditional; what it yields in all lanes.
FailureOr<SmallVector<Value>> Inliner::cloneArm(Region &arm) {
  SmallVector<Value> yielded;
  for (Operation &op : arm.front()) {
    if (isa<scf::YieldOp>(op)) {
      for (Value value : op.getOperands())
        yielded.push_back(b.splat(mapping.lookupOrDefault(value), lanes));
      break;
    }
    if (failed(clone(op)))
      return failure();
  }
  return yielded;
}

/// The same for the lanes where `condition` holds. Arms have no effect but
/// reads, and these see the mask.
FailureOr<SmallVector<Value>> Inliner::cloneMaskedArm(Region &arm,
                                                      Value condition) {
  llvm::SaveAndRestore keepMask(mask);
  llvm::SaveAndRestore keepConditional(conditional, true);
  mask =
      mask ? arith::AndIOp::create(b, mask, condition).getResult() : condition;
  return cloneArm(arm);
}

/// Takes one arm, as all lanes do.
LogicalResult Inliner::cloneUniformIf(scf::IfOp op, Value condition) {
  SmallVector<Type> types;
  for (Type type : op.getResultTypes())
    types.push_back(VectorType::get(lanes, type));
  auto branch = scf::IfOp::create(b, types, condition, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
  for (auto [from, to] : {std::pair(&op.getThenRegion(), branch.thenBlock()),
                          std::pair(&op.getElseRegion(), branch.elseBlock())}) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(to);
    FailureOr<SmallVector<Value>> values = cloneArm(*from);
    if (failed(values))
      return failure();
    scf::YieldOp::create(b, *values);
  }
  mapping.map(op.getResults(), branch.getResults());
  return success();
}

/// Computes both arms and selects lane by lane, but where lanes do not differ.
LogicalResult Inliner::cloneIf(scf::IfOp op) {
  Value condition = mapping.lookupOrDefault(op.getCondition());
  if (!isVector(condition))
    return cloneUniformIf(op, condition);
  Value otherwise = arith::XOrIOp::create(
      b, condition, b.constantInt(1, condition.getType()));
  FailureOr<SmallVector<Value>> thenValues =
      cloneMaskedArm(op.getThenRegion(), condition);
  if (failed(thenValues))
    return failure();
  FailureOr<SmallVector<Value>> elseValues =
      cloneMaskedArm(op.getElseRegion(), otherwise);
  if (failed(elseValues))
    return failure();
  for (auto [result, a, c] :
       llvm::zip_equal(op.getResults(), *thenValues, *elseValues))
    mapping.map(result, arith::SelectOp::create(b, condition, a, c));
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
  trackIndex(op);
  auto branch = dyn_cast<scf::IfOp>(op);
  if (branch && lanes > 1 && branch.getNumResults() > 0)
    return cloneIf(branch);
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
    Value mask, std::optional<unsigned> laneDim) {
  unsigned dim = laneDim.value_or(indices.empty() ? 0 : indices.size() - 1);
  return Inliner(*this, generic, indices, lanes, wholePointer, mask, dim)
      .run(args);
}

/// True if a block can be lifted: conditionals become selections; loops may
/// have a trip count per lane, and LLVM makes scalar code of vector divisions.
static bool canLift(Block &block) {
  return llvm::all_of(block, [](Operation &op) {
    if (isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp,
            arith::CeilDivSIOp, arith::CeilDivUIOp, arith::FloorDivSIOp,
            math::IPowIOp>(op))
      return false;
    if (auto branch = dyn_cast<scf::IfOp>(op))
      return branch.getNumResults() > 0 &&
             canLift(branch.getThenRegion().front()) &&
             canLift(branch.getElseRegion().front());
    return op.getNumRegions() == 0 &&
           (isa<IndexOp, ExtentOp, ReadOp, YieldOp, scf::YieldOp>(op) ||
            op.hasTrait<OpTrait::ConstantLike>() ||
            op.hasTrait<OpTrait::Vectorizable>());
  });
}

bool qcc::canVectorize(GenericOp generic) {
  return canLift(*generic.getBlock());
}
