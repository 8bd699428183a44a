//===- GenericEmitter.cpp - kernels of qcc.generic --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rows of the collapsed parallel dimensions are spread over the tasks; the last
// parallel dimension is the column loop. Vectors run along the columns, or, for
// reductions whose operands are contiguous along the last reduction dimension
// only, along that one. What has no vector form runs in scalar loops that LLVM
// may vectorise. The order in which elements are combined is a function of the
// shapes, so results do not depend on the number of threads.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "MathPasses.h"
#include "Reduction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "qcc/Codegen/Emitters.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace qcc;

namespace {
/// What the vector lanes run along.
enum class LaneMode { Scalar, Columns, Reduction };

/// Emits one nest.
class NestEmitter {
public:
  NestEmitter(KernelBuilder &b, LoopNest nest, GenericOp changes)
      : b(b), changes(changes), nest(nest), parallel(nest.root.getExtents()),
        reduction(nest.root.getCombiner(),
                  nest.root.getResult().getType().getElementType(), b.caps()) {
    unsigned count = nest.root.getNumParallel();
    inner.assign(parallel.begin() + count, parallel.end());
    parallel.resize(count);
  }

  LogicalResult run();

private:
  LaneMode chooseMode();
  bool isVectorizable();
  bool hasMaskedLoads();
  void emitRow(ArrayRef<Value> rowIndices, Value begin, Value end);
  void emitColumns(ArrayRef<Value> rowIndices, Value begin, Value end);
  void emitPoints(ArrayRef<Value> rowIndices, Value column, unsigned count,
                  unsigned width, Value mask);
  SmallVector<Value> reduceColumns(ArrayRef<Value> rowIndices, Value column,
                                   unsigned count, unsigned width, Value mask);
  SmallVector<Value>
  reduceLoops(ArrayRef<Value> indices, unsigned dim, ArrayRef<Value> carried,
              llvm::function_ref<SmallVector<Value>(ArrayRef<Value> indices,
                                                    ArrayRef<Value> carried)>
                  body);
  Value reduceInner(ArrayRef<Value> indices);
  SmallVector<Value> reduceRun(ArrayRef<Value> indices,
                               ArrayRef<Value> carried);
  Value compute(ArrayRef<Value> indices, unsigned width, Value mask,
                unsigned laneDim);
  bool hasFunctions();
  void finish(Value value, ArrayRef<Value> indices, unsigned width, Value mask);
  KernelBuilder::LoopHint scalarHint() const {
    return b.caps().vectorBits ? KernelBuilder::LoopHint::Vectorize
                               : KernelBuilder::LoopHint::NoVectorize;
  }

  KernelBuilder &b;
  /// Yields whether a row of a result in place changes; null if all rows do.
  GenericOp changes;
  LoopNest nest;
  SmallVector<AffineExpr> parallel, inner; // extents
  Reduction reduction;
  LaneMode mode = LaneMode::Scalar;
  unsigned lanes = 1;
  bool masked = false, broken = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// Choice of the lanes
//===----------------------------------------------------------------------===//

/// True for a scalar made of sizes and constants only: all lanes take one arm.
static bool isUniform(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getNumRegions() > 0 || isa<IndexOp, ReadOp>(op))
    return false;
  return isa<ExtentOp>(op) || llvm::all_of(op->getOperands(), isUniform);
}

bool NestEmitter::isVectorizable() {
  if (b.caps().vectorBits == 0)
    return false;
  Value result = nest.root.getResult();
  bool masks = hasMaskedLoads();
  return llvm::all_of(nest.generics(), [&](GenericOp generic) {
    bool branches =
        llvm::any_of(generic.getBlock()->getOps<scf::IfOp>(), [](scf::IfOp op) {
          return !isUniform(op.getCondition());
        });
    return canVectorize(generic) && (masks || !branches) &&
           llvm::all_of(generic.getInputs(), [&](Value input) {
             return isInMemory(input) || input == result ||
                    llvm::is_contained(nest.epilogue.chain,
                                       input.getDefiningOp());
           });
  });
}

/// True if masked loads and stores of all types in the nest are one instruction
/// each.
bool NestEmitter::hasMaskedLoads() {
  if (b.caps().hasAvx512)
    return true;
  auto isWide = [](Value tensor) {
    return getElementBytes(
               cast<RankedTensorType>(tensor.getType()).getElementType()) >= 4;
  };
  return llvm::all_of(nest.generics(), [&](GenericOp generic) {
    return isWide(generic.getResult()) &&
           llvm::all_of(generic.getInputs(), isWide) &&
           llvm::all_of(generic.getWhole(), isWide);
  });
}

/// How an operand is read when dimension `dim` runs over the lanes.
static bool isRun(AffineMap map, unsigned dim) {
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    std::optional<int64_t> step = getDimStep(expr, dim);
    bool last = i + 1 == map.getNumResults();
    if (step != 0 && !(last && step == 1))
      return false;
  }
  return true;
}

LaneMode NestEmitter::chooseMode() {
  if (!isVectorizable())
    return LaneMode::Scalar;
  unsigned rank = parallel.size();
  auto allRun = [&](unsigned dim) {
    for (unsigned i = 0, e = nest.root.getInputs().size(); i < e; ++i)
      if (!isRun(nest.root.getMap(i), dim))
        return false;
    return true;
  };
  auto isLong = [&](AffineExpr extent) {
    std::optional<int64_t> size = getConstantSize(extent);
    return !size || *size >= b.caps().f32Lanes() / 2;
  };
  bool columns = rank > 0 && isLong(parallel.back());
  if (inner.empty())
    return columns ? LaneMode::Columns : LaneMode::Scalar;
  unsigned last = rank + inner.size() - 1;
  bool usesLast = false; // else the lanes would all read the same
  for (unsigned i = 0, e = nest.root.getInputs().size(); i < e; ++i)
    for (AffineExpr expr : nest.root.getMap(i).getResults())
      usesLast |= expr.isFunctionOfDim(last);
  if (columns && allRun(rank - 1))
    return LaneMode::Columns;
  if (usesLast && isLong(inner.back()) && allRun(last))
    return LaneMode::Reduction;
  return columns ? LaneMode::Columns : LaneMode::Scalar;
}

//===----------------------------------------------------------------------===//
// Points
//===----------------------------------------------------------------------===//

Value NestEmitter::compute(ArrayRef<Value> indices, unsigned width, Value mask,
                           unsigned laneDim) {
  FailureOr<Value> value =
      computeGeneric(b, nest.root, indices, width, mask, {}, laneDim);
  if (succeeded(value))
    return *value;
  broken = true;
  Type scalar = getScalarType(nest.root.getResult().getType().getElementType());
  return b.splat(b.constant(0, scalar), width);
}

void NestEmitter::finish(Value value, ArrayRef<Value> indices, unsigned width,
                         Value mask) {
  FailureOr<Value> result = nest.epilogue.apply(b, value, indices, width, mask);
  if (failed(result)) {
    broken = true;
    return;
  }
  GenericOp last = nest.generics().back();
  RankedTensorType type = last.getResult().getType();
  b.store(*result, b.resultPointer(0), type.getElementType(),
          b.offset(type, indices), mask);
}

void NestEmitter::emitPoints(ArrayRef<Value> rowIndices, Value column,
                             unsigned count, unsigned width, Value mask) {
  auto at = [&](unsigned i) {
    SmallVector<Value> indices(rowIndices);
    if (!parallel.empty())
      indices.push_back(b.add(column, b.idx(i * width)));
    return indices;
  };
  SmallVector<Value> values;
  if (mode == LaneMode::Reduction)
    values.push_back(reduceInner(at(0)));
  else if (!inner.empty())
    values = reduceColumns(rowIndices, column, count, width, mask);
  else
    for (unsigned i = 0; i < count; ++i)
      values.push_back(
          compute(at(i), width, mask, std::max<int>(parallel.size(), 1) - 1));
  for (auto [i, value] : llvm::enumerate(values))
    finish(value, at(i), width, mask);
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

SmallVector<Value> NestEmitter::reduceLoops(
    ArrayRef<Value> indices, unsigned dim, ArrayRef<Value> carried,
    llvm::function_ref<SmallVector<Value>(ArrayRef<Value>, ArrayRef<Value>)>
        body) {
  if (dim == inner.size())
    return body(indices, carried);
  return b.forLoop(b.idx(0), b.size(inner[dim]), b.idx(1), carried,
                   [&](Value index, ArrayRef<Value> inside) {
                     SmallVector<Value> next(indices);
                     next.push_back(index);
                     return reduceLoops(next, dim + 1, inside, body);
                   });
}

/// Reduces `count` vectors (or scalars) of neighbouring columns.
SmallVector<Value> NestEmitter::reduceColumns(ArrayRef<Value> rowIndices,
                                              Value column, unsigned count,
                                              unsigned width, Value mask) {
  SmallVector<Value> init(count, reduction.getNeutral(b, width));
  unsigned rank = parallel.size();
  auto body = [&](ArrayRef<Value> reductionIndices, ArrayRef<Value> carried) {
    SmallVector<Value> next;
    for (unsigned i = 0; i < count; ++i) {
      SmallVector<Value> indices(rowIndices);
      if (rank > 0)
        indices.push_back(b.add(column, b.idx(i * width)));
      llvm::append_range(indices, reductionIndices);
      Value value = compute(indices, width, mask, std::max(rank, 1u) - 1);
      next.push_back(
          reduction.combine(b, carried[i], reduction.widen(b, value)));
    }
    return next;
  };
  SmallVector<Value> sums = reduceLoops({}, 0, init, body);
  for (Value &sum : sums)
    sum = reduction.narrow(b, sum);
  return sums;
}

/// Reduces one point with vectors along the last reduction dimension.
Value NestEmitter::reduceInner(ArrayRef<Value> indices) {
  constexpr unsigned accumulators = 4;
  SmallVector<Value> init(accumulators, reduction.getNeutral(b, lanes));
  init.push_back(reduction.getNeutral(b, 1)); // of a scalar tail
  // All reduction dimensions but the last one.
  AffineExpr last = inner.pop_back_val();
  SmallVector<Value> sums = reduceLoops(
      {}, 0, init, [&](ArrayRef<Value> outer, ArrayRef<Value> carried) {
        SmallVector<Value> all(indices);
        llvm::append_range(all, outer);
        inner.push_back(last);
        SmallVector<Value> next = reduceRun(all, carried);
        inner.pop_back();
        return next;
      });
  inner.push_back(last);
  Value low = reduction.combine(b, sums[0], sums[1]),
        high = reduction.combine(b, sums[2], sums[3]);
  Value total = reduction.horizontal(b, reduction.combine(b, low, high));
  if (!masked)
    total = reduction.combine(b, total, sums[accumulators]);
  return reduction.narrow(b, total);
}

/// The last reduction dimension: blocks of four vectors, then single ones, then
/// the rest under a mask or one by one.
SmallVector<Value> NestEmitter::reduceRun(ArrayRef<Value> indices,
                                          ArrayRef<Value> carried) {
  using Hint = KernelBuilder::LoopHint;
  unsigned dim = parallel.size() + inner.size() - 1, count = carried.size() - 1;
  Value size = b.size(inner.back()), zero = b.idx(0);
  auto value = [&](Value at, unsigned width, Value mask) {
    SmallVector<Value> all(indices);
    all.push_back(at);
    Value element = reduction.widen(b, compute(all, width, mask, dim));
    if (!mask)
      return element;
    return arith::SelectOp::create(b, mask, element,
                                   reduction.getNeutral(b, width))
        .getResult();
  };
  auto roundDown = [&](unsigned step) {
    return b.mul(b.divFloor(size, b.idx(step)), b.idx(step));
  };
  Value blocks = roundDown(lanes * count), vectors = roundDown(lanes);
  SmallVector<Value> sums(carried);
  Value scalar = sums.pop_back_val();
  sums = b.forLoop(
      zero, blocks, b.idx(lanes * count), sums,
      [&](Value at, ArrayRef<Value> inside) {
        SmallVector<Value> next;
        for (unsigned i = 0; i < count; ++i)
          next.push_back(reduction.combine(
              b, inside[i], value(b.add(at, b.idx(i * lanes)), lanes, {})));
        return next;
      },
      Hint::NoVectorize);
  auto addTo = [&](Value sum, Value from, Value to, unsigned width,
                   Value mask) {
    return b.forLoop(
        from, to, b.idx(width), {sum},
        [&](Value at, ArrayRef<Value> inside) {
          return SmallVector<Value>{
              reduction.combine(b, inside[0], value(at, width, mask))};
        },
        Hint::NoUnroll)[0];
  };
  sums[0] = addTo(sums[0], blocks, vectors, lanes, {});
  if (masked)
    sums[1] = addTo(sums[1], vectors, size, lanes,
                    b.firstLanes(b.sub(size, vectors), lanes));
  else
    scalar = addTo(scalar, vectors, size, 1, {});
  sums.push_back(scalar);
  return sums;
}

//===----------------------------------------------------------------------===//
// Columns and rows
//===----------------------------------------------------------------------===//

/// True if functions are computed of each point, whose steps are a chain.
bool NestEmitter::hasFunctions() {
  return llvm::any_of(nest.generics(), computesFunctions);
}

void NestEmitter::emitColumns(ArrayRef<Value> rowIndices, Value begin,
                              Value end) {
  using Hint = KernelBuilder::LoopHint;
  if (mode != LaneMode::Columns) {
    // LLVM unrolls a few columns, and vectorises many.
    std::optional<int64_t> width =
        parallel.empty() ? 1 : getConstantSize(parallel.back());
    bool leaf =
        inner.empty() && mode == LaneMode::Scalar && !(width && *width < 8);
    b.forLoop(
        begin, end, b.idx(1),
        [&](Value column) { emitPoints(rowIndices, column, 1, 1, {}); },
        leaf ? scalarHint() : Hint::None);
    return;
  }
  auto upTo = [&](unsigned step) {
    Value length = b.maxIdx(b.sub(end, begin), b.idx(0));
    return b.add(begin, b.mul(b.divFloor(length, b.idx(step)), b.idx(step)));
  };
  // Several vectors share the overhead of a reduction's loops; two are one of
  // twice the width where steps wait for one another.
  unsigned count = inner.empty() ? 1 : 4,
           width = inner.empty() && hasFunctions() ? 2 * lanes : lanes;
  Value wide = upTo(width * count), vectors = upTo(lanes);
  b.forLoop(
      begin, wide, b.idx(width * count),
      [&](Value column) { emitPoints(rowIndices, column, count, width, {}); },
      Hint::NoVectorize);
  if (count > 1 || width > lanes)
    b.forLoop(
        wide, vectors, b.idx(lanes),
        [&](Value column) { emitPoints(rowIndices, column, 1, lanes, {}); },
        Hint::NoUnroll);
  if (!masked) {
    b.forLoop(
        vectors, end, b.idx(1),
        [&](Value column) { emitPoints(rowIndices, column, 1, 1, {}); },
        Hint::NoUnroll);
    return;
  }
  // At most one step.
  b.forLoop(
      vectors, end, b.idx(lanes),
      [&](Value column) {
        Value mask = b.firstLanes(b.sub(end, column), lanes);
        emitPoints(rowIndices, column, 1, lanes, mask);
      },
      Hint::NoUnroll);
}

/// Columns, but where a result that is written in place stays as it is.
void NestEmitter::emitRow(ArrayRef<Value> rowIndices, Value begin, Value end) {
  if (!changes)
    return emitColumns(rowIndices, begin, end);
  SmallVector<Value> indices(rowIndices);
  indices.push_back(b.idx(0));
  FailureOr<Value> isOther = computeGeneric(b, changes, indices, 1);
  if (failed(isOther)) {
    broken = true;
    return;
  }
  auto inPlace = b.kernel()->getAttrOfType<IntegerAttr>(kInPlaceAttr);
  Value from = b.pointer(
      b.kernel().getBody().front().getArgument(unsigned(inPlace.getInt())));
  Value isApart = LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne, from,
                                       b.resultPointer(0));
  auto branch = scf::IfOp::create(
      b, arith::OrIOp::create(b, isApart, *isOther).getResult());
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  emitColumns(rowIndices, begin, end);
}

/// Work for one point of the parallel dimensions.
static AffineExpr getDepth(GenericOp root) {
  SmallVector<AffineExpr> extents = root.getExtents();
  return product(ArrayRef(extents).drop_front(root.getNumParallel()),
                 root.getContext());
}

LogicalResult NestEmitter::run() {
  mode = chooseMode();
  if (mode != LaneMode::Scalar)
    lanes = b.caps().f32Lanes();
  masked = hasMaskedLoads();
  SmallVector<AffineExpr> rows(parallel);
  if (!rows.empty())
    rows.pop_back();
  forEachRow(b, getGrain(parallel, getDepth(nest.root)), rows,
             [&](ArrayRef<Value> indices, Value begin, Value end) {
               emitRow(indices, begin, end);
             });
  return failure(broken);
}

//===----------------------------------------------------------------------===//
// Results in place
//===----------------------------------------------------------------------===//

/// Whether a value of a generic's body may differ between the columns.
static bool variesByColumn(GenericOp generic, Value value, unsigned column) {
  auto isColumn = [&](AffineExpr expr) { return expr.isFunctionOfDim(column); };
  llvm::SmallSetVector<Value, 16> needed;
  needed.insert(value);
  for (size_t i = 0; i < needed.size(); ++i) {
    if (auto arg = dyn_cast<BlockArgument>(needed[i])) {
      unsigned number = arg.getArgNumber();
      if (number >= generic.getInputs().size() ||
          llvm::any_of(generic.getMap(number).getResults(), isColumn))
        return true;
      continue;
    }
    Operation *op = needed[i].getDefiningOp();
    auto index = dyn_cast<IndexOp>(op);
    if (isa<ReadOp>(op) || op->getNumRegions() > 0 ||
        (index && index.getDim() == column))
      return true;
    needed.insert(op->operand_begin(), op->operand_end());
  }
  return false;
}

/// The condition on which a row of the result is not a copy of that of operand
/// `inPlace`, if the body is a choice between the two; null else.
static Value findChange(GenericOp root, unsigned inPlace) {
  unsigned rank = root.getNumParallel();
  auto branch = root.getYielded().getDefiningOp<scf::IfOp>();
  if (root.isReduction() || rank == 0 || !branch ||
      branch.getNumResults() != 1 || branch->getBlock() != root.getBlock())
    return {};
  auto kept = dyn_cast<BlockArgument>(
      branch.elseBlock()->getTerminator()->getOperand(0));
  if (!kept || kept.getOwner() != root.getBlock() ||
      kept.getArgNumber() >= root.getInputs().size())
    return {};
  auto operand = dyn_cast<BlockArgument>(root.getInputs()[kept.getArgNumber()]);
  bool isCopy = operand && operand.getArgNumber() == inPlace &&
                operand.getType() == root.getResult().getType() &&
                root.getMap(kept.getArgNumber()).isIdentity();
  Value condition = branch.getCondition();
  return isCopy && !variesByColumn(root, condition, rank - 1) ? condition
                                                              : Value();
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

namespace {
class GenericEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "generic"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities>,
        llvm::function_ref<bool(unsigned)>) const override {
    FailureOr<LoopNest> nest = getLoopNest(dispatch.getBody().front());
    if (failed(nest))
      return std::nullopt;
    // The parallel extents after collapsing.
    SmallVector<AffineExpr> extents = nest->root.getExtents(), parallel;
    for (auto [first, count] : getDimGroups(*nest))
      if (first < nest->root.getNumParallel())
        parallel.push_back(product(ArrayRef(extents).slice(first, count),
                                   dispatch.getContext()));
    Grain grain = getGrain(parallel, getDepth(nest->root));
    return makeSchedule(grain);
  }

  LogicalResult emit(KernelBuilder &b) const override {
    FailureOr<CollapsedNest> collapsed = collapseCopy(b.kernel());
    if (failed(collapsed))
      return failure();
    LoopNest &nest = collapsed->nest;
    // A body that yields the condition, for as long as kernels are made of it.
    OwningOpRef<GenericOp> changes;
    auto inPlace = b.kernel()->getAttrOfType<IntegerAttr>(kInPlaceAttr);
    if (inPlace && nest.epilogue.chain.empty())
      if (Value condition = findChange(nest.root, unsigned(inPlace.getInt()))) {
        IRMapping mapping;
        changes = cast<GenericOp>(nest.root->clone(mapping));
        changes->getBlock()->getTerminator()->setOperands(
            mapping.lookup(condition));
      }
    return NestEmitter(b, nest, changes ? *changes : GenericOp()).run();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createGenericEmitter() {
  return std::make_unique<GenericEmitter>();
}
