//===- ArgReduceEmitter.cpp - where the best element is ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lanes keep the best element so far and its index. They run over neighbouring
// results, or, when the axis is the last one, along the axis; then the lanes
// are compared at the end, ties going by index.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"
#include <limits>

using namespace mlir;
using namespace qcc;

/// The sizes before the axis, of the axis, and after it.
namespace {
struct Extents {
  explicit Extents(ArgReduceOp op) {
    SmallVector<AffineExpr> dims = getDims(op.getInput().getType());
    MLIRContext *context = op.getContext();
    unsigned at = op.getAxis();
    outer = product(ArrayRef(dims).take_front(at), context);
    axis = dims[at];
    inner = product(ArrayRef(dims).drop_front(at + 1), context);
  }
  Grain getGrain() const { return qcc::getGrain({outer, inner}, axis); }
  AffineExpr outer, axis, inner;
};

/// Best elements so far and their indices (i32), scalars or vectors.
struct Best {
  Value value, index;
};

class ArgReduceKernel {
public:
  ArgReduceKernel(KernelBuilder &b, ArgReduceOp op)
      : b(b), op(op), extents(op), f32(b.getF32Type()), i32(b.getI32Type()),
        lanes(b.caps().f32Lanes()) {}
  void run();

private:
  Value wins(Value challenger, Value best);
  Best choose(Value condition, Best a, Best c) {
    return {arith::SelectOp::create(b, condition, a.value, c.value),
            arith::SelectOp::create(b, condition, a.index, c.index)};
  }
  Best alongAxis(Value row);
  Best joinLanes(Best lanesBest);
  Best acrossColumns(Value row, Value column, unsigned width);
  void store(Value index, Value offset, unsigned width);
  Value toI32(Value index) { return arith::IndexCastOp::create(b, i32, index); }

  KernelBuilder &b;
  ArgReduceOp op;
  Extents extents;
  Type f32, i32;
  unsigned lanes;
  Value input;
};
} // namespace

/// True if `challenger`, of a later index, replaces `best`. A NaN beats all but
/// a NaN.
Value ArgReduceKernel::wins(Value challenger, Value best) {
  using P = arith::CmpFPredicate;
  P better = op.getSmallest() ? P::OLT : P::OGT;
  P equalOrBetter = op.getSmallest() ? P::OLE : P::OGE;
  auto cmp = [&](P predicate, Value x, Value y) -> Value {
    return arith::CmpFOp::create(b, predicate, x, y);
  };
  bool selectLast = op.getSelectLast();
  Value ordered = cmp(selectLast ? equalOrBetter : better, challenger, best);
  Value isNaN = cmp(P::UNO, challenger, challenger);
  // Decomposition: of several NaN the first one counts in both cases.
  Value ready = cmp(P::ORD, best, best);
  Value firstNaN = arith::AndIOp::create(b, isNaN, ready);
  return arith::OrIOp::create(b, ordered, firstNaN);
}

/// One row whose axis is contiguous.
Best ArgReduceKernel::alongAxis(Value row) {
  double infinity = std::numeric_limits<double>::infinity();
  Value size = b.size(extents.axis), base = b.mul(row, size);
  auto indexType = VectorType::get(lanes, i32);
  Value steps =
      vector::StepOp::create(b, VectorType::get(lanes, b.getIndexType()));
  steps = arith::IndexCastOp::create(b, indexType, steps);
  Value none =
      b.splat(b.constant(op.getSmallest() ? infinity : -infinity, f32), lanes);
  Value zero = b.constantInt(0, indexType);
  Value firstMask = b.firstLanes(size, lanes);
  Value first = b.load(input, f32, base, lanes, firstMask);
  // Lanes past the end hold index 0: they win nothing that lane 0 does not.
  Best start = {arith::SelectOp::create(b, firstMask, first, none),
                arith::SelectOp::create(b, firstMask, steps, zero)};
  Value step = b.idx(lanes);
  Value whole = b.mul(b.divFloor(size, step), step);
  auto loop = [&](Value from, Value to, Best in, bool masked) -> Best {
    SmallVector<Value> out = b.forLoop(
        from, to, step, {in.value, in.index},
        [&](Value column, ArrayRef<Value> carried) {
          Value mask =
              masked ? b.firstLanes(b.sub(size, column), lanes) : Value();
          Best now = {
              b.load(input, f32, b.add(base, column), lanes, mask),
              arith::AddIOp::create(b, steps, b.splat(toI32(column), lanes))};
          Value won = wins(now.value, carried[0]);
          if (masked)
            won = arith::AndIOp::create(b, won, mask);
          Best next = choose(won, now, {carried[0], carried[1]});
          return SmallVector<Value>{next.value, next.index};
        },
        KernelBuilder::LoopHint::NoVectorize);
    return {out[0], out[1]};
  };
  Best best = loop(step, whole, start, false);
  return joinLanes(loop(b.maxIdx(step, whole), size, best, true));
}

/// The best lane; equal ones go by index.
Best ArgReduceKernel::joinLanes(Best vectors) {
  using P = arith::CmpFPredicate;
  auto lane = [&](int64_t i) -> Best {
    return {vector::ExtractOp::create(b, vectors.value, ArrayRef<int64_t>{i}),
            vector::ExtractOp::create(b, vectors.index, ArrayRef<int64_t>{i})};
  };
  auto cmp = [&](P predicate, Value x, Value y) -> Value {
    return arith::CmpFOp::create(b, predicate, x, y);
  };
  Best best = lane(0);
  for (unsigned i = 1; i < lanes; ++i) {
    Best other = lane(i);
    Value better =
        cmp(op.getSmallest() ? P::OLT : P::OGT, other.value, best.value);
    Value otherNaN = cmp(P::UNO, other.value, other.value),
          bestNaN = cmp(P::UNO, best.value, best.value);
    Value bothNaN = arith::AndIOp::create(b, otherNaN, bestNaN);
    Value lower = arith::CmpIOp::create(b, arith::CmpIPredicate::slt,
                                        other.index, best.index);
    Value higher = arith::CmpIOp::create(b, arith::CmpIPredicate::sgt,
                                         other.index, best.index);
    Value tie = arith::AndIOp::create(b, cmp(P::OEQ, other.value, best.value),
                                      op.getSelectLast() ? higher : lower);
    Value firstNaN = arith::AndIOp::create(b, bothNaN, lower);
    Value onlyNaN =
        arith::AndIOp::create(b, otherNaN, cmp(P::ORD, best.value, best.value));
    Value won =
        arith::OrIOp::create(b, arith::OrIOp::create(b, better, tie),
                             arith::OrIOp::create(b, firstNaN, onlyNaN));
    best = choose(won, other, best);
  }
  return best;
}

/// `width` neighbouring results; the axis is strided.
Best ArgReduceKernel::acrossColumns(Value row, Value column, unsigned width) {
  Value axis = b.size(extents.axis), inner = b.size(extents.inner);
  Value base = b.add(b.mul(b.mul(row, axis), inner), column);
  Value first = b.load(input, f32, base, width);
  Value zero = b.splat(b.constantInt(0, i32), width);
  SmallVector<Value> out = b.forLoop(
      b.idx(1), axis, b.idx(1), {first, zero},
      [&](Value k, ArrayRef<Value> carried) {
        Best now = {b.load(input, f32, b.add(base, b.mul(k, inner)), width),
                    b.splat(toI32(k), width)};
        Best next =
            choose(wins(now.value, carried[0]), now, {carried[0], carried[1]});
        return SmallVector<Value>{next.value, next.index};
      },
      KernelBuilder::LoopHint::NoVectorize);
  return {out[0], out[1]};
}

void ArgReduceKernel::store(Value index, Value offset, unsigned width) {
  Type i64 = b.getI64Type();
  Type type = width == 1 ? i64 : VectorType::get(width, i64);
  b.store(arith::ExtSIOp::create(b, type, index), b.resultPointer(0), i64,
          offset);
}

void ArgReduceKernel::run() {
  input = getTensorPointer(b, op.getInput());
  bool contiguous = getConstantSize(extents.inner) == 1;
  Value inner = b.size(extents.inner), step = b.idx(lanes), one = b.idx(1);
  forEachRow(b, extents.getGrain(), [&](Value row, Value begin, Value end) {
    if (contiguous) {
      store(alongAxis(row).index, row, 1);
      return;
    }
    Value base = b.mul(row, inner);
    Value length = b.maxIdx(b.sub(end, begin), b.idx(0));
    Value whole = b.add(begin, b.mul(b.divFloor(length, step), step));
    auto columns = [&](unsigned width) {
      return [&, width](Value column) {
        store(acrossColumns(row, column, width).index, b.add(base, column),
              width);
      };
    };
    b.forLoop(begin, whole, step, columns(lanes));
    b.forLoop(whole, end, one, columns(1));
  });
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

/// The operation that is all of a dispatch or kernel, if this emitter takes it.
static ArgReduceOp findArgReduce(Block &block) {
  Operation *yield = block.getTerminator();
  if (yield->getNumOperands() != 1 ||
      !llvm::hasSingleElement(block.without_terminator()))
    return {};
  auto op = yield->getOperand(0).getDefiningOp<ArgReduceOp>();
  if (!op || !isa<BlockArgument>(op.getInput()) ||
      !op.getInput().getType().getElementType().isF32() ||
      !op.getResult().getType().getElementType().isSignlessInteger(64))
    return {};
  // Indices are kept in 32 bits; an axis of no elements has no index.
  std::optional<int64_t> axis = getConstantSize(Extents(op).axis);
  return axis && *axis > 0 && *axis <= std::numeric_limits<int32_t>::max()
             ? op
             : ArgReduceOp();
}

namespace {
class ArgReduceEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "arg_reduce"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    ArgReduceOp op = findArgReduce(dispatch.getBody().front());
    if (!op || !haveVectors(levels))
      return std::nullopt;
    Grain grain = Extents(op).getGrain();
    return makeSchedule(grain);
  }

  LogicalResult emit(KernelBuilder &b) const override {
    ArgReduceOp op = findArgReduce(b.kernel().getBody().front());
    if (!op)
      return failure();
    ArgReduceKernel(b, op).run();
    return success();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createArgReduceEmitter() {
  return std::make_unique<ArgReduceEmitter>();
}
