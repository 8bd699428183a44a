//===- PoolEmitter.cpp - max and average pooling ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Bounds are settled per row: the range of window rows that lie in the input,
// and the columns whose windows do. Those run in vectors without checks, the
// last block moved back so that it overlaps; the few at the borders are scalar.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "Reduction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"
#include <numeric>

using namespace mlir;
using namespace qcc;

namespace {
/// One spatial dimension.
struct Axis {
  AffineExpr input, output;
  int64_t kernel, stride, padBegin, padEnd, dilation;
};

/// A half-open range of indices.
struct IndexSpan {
  Value begin, end;
};

class PoolKernel {
public:
  PoolKernel(KernelBuilder &b, PoolOp op);
  void run();

private:
  IndexSpan windowRange(const Axis &axis, Value start);
  Value countOf(const Axis &axis, Value start, IndexSpan range);
  Value startOf(const Axis &axis, Value output) {
    return b.sub(b.mul(output, b.idx(axis.stride)), b.idx(axis.padBegin));
  }
  IndexSpan insideColumns(Value begin, Value end);
  Value loadTap(Value offset, unsigned width, Value count = {});
  Value finish(Value accumulator, Value rowCount, Value columnCount);
  void emitVector(Value column, Value count = {});
  void emitScalar(Value column);

  KernelBuilder &b;
  PoolOp op;
  Axis rows, columns;
  bool isMax;
  Reduction reduction;
  Type f32;
  unsigned lanes;
  // Of the row that is being emitted.
  Value input, planeOffset, outputOffset, rowStart, rowCount;
  IndexSpan window;
};
} // namespace

static Axis getAxis(PoolOp op, unsigned i) {
  SmallVector<AffineExpr> in = getDims(op.getInput().getType()),
                          out = getDims(op.getResult().getType());
  unsigned spatial = in.size() - 2;
  return {in[2 + i],           out[2 + i],      op.getKernel()[i],
          op.getStrides()[i],  op.getPads()[i], op.getPads()[spatial + i],
          op.getDilations()[i]};
}

PoolKernel::PoolKernel(KernelBuilder &b, PoolOp op)
    : b(b), op(op), isMax(op.getKind() == PoolKind::Max),
      reduction(isMax ? Combiner::Max : Combiner::Sum, b.getF32Type(),
                b.caps()),
      f32(b.getF32Type()), lanes(b.caps().f32Lanes()) {
  unsigned spatial = op.getKernel().size();
  columns = getAxis(op, spatial - 1);
  AffineExpr one = mlir::getAffineConstantExpr(1, op.getContext());
  rows = spatial == 2 ? getAxis(op, 0) : Axis{one, one, 1, 1, 0, 0, 1};
}

/// Kernel positions that lie in the input when the window begins at `start`.
IndexSpan PoolKernel::windowRange(const Axis &axis, Value start) {
  Value zero = b.idx(0), dilation = b.idx(axis.dilation);
  auto ceilDivide = [&](Value value) { // of what is not negative
    return b.divFloor(b.add(value, b.idx(axis.dilation - 1)), dilation);
  };
  Value before = b.maxIdx(b.sub(zero, start), zero);
  Value room = b.maxIdx(b.sub(b.size(axis.input), start), zero);
  Value end = b.minIdx(ceilDivide(room), b.idx(axis.kernel));
  return {b.minIdx(ceilDivide(before), end), end};
}

/// Elements of the window that an average divides by.
Value PoolKernel::countOf(const Axis &axis, Value start, IndexSpan range) {
  if (!op.getCountIncludePad())
    return b.sub(range.end, range.begin);
  Value room = b.sub(b.add(b.size(axis.input), b.idx(axis.padEnd)), start);
  Value fitting =
      b.divFloor(b.add(b.maxIdx(room, b.idx(0)), b.idx(axis.dilation - 1)),
                 b.idx(axis.dilation));
  return b.minIdx(fitting, b.idx(axis.kernel));
}

/// Columns in [begin, end) whose windows lie in the input.
IndexSpan PoolKernel::insideColumns(Value begin, Value end) {
  int64_t stride = columns.stride;
  Value first = b.idx(llvm::divideCeil(columns.padBegin, stride));
  int64_t reach = (columns.kernel - 1) * columns.dilation;
  // Windows start at 0 ... last.
  Value last =
      b.add(b.size(columns.input), b.idx(columns.padBegin - reach - 1));
  Value count =
      b.divFloor(b.maxIdx(b.add(last, b.idx(stride)), b.idx(0)), b.idx(stride));
  Value low = b.minIdx(b.maxIdx(first, begin), end);
  Value high = b.maxIdx(b.minIdx(count, end), low);
  return {low, high};
}

/// Elements at offset, offset + stride, ...; only the first `count` if given.
Value PoolKernel::loadTap(Value offset, unsigned width, Value count) {
  if (width == 1)
    return b.load(input, f32, offset);
  Value mask = count ? b.firstLanes(count, width) : Value();
  if (columns.stride == 1)
    return b.load(input, f32, offset, width, mask);
  if (columns.stride != 2) {
    auto type = VectorType::get(width, b.getIndexType());
    Value steps = arith::MulIOp::create(b, vector::StepOp::create(b, type),
                                        b.constantInt(columns.stride, type));
    return b.gather(input, f32,
                    arith::AddIOp::create(b, b.splat(offset, width), steps),
                    mask);
  }
  // Two runs; the very last element belongs to no lane and may not exist.
  Value lowMask, highCount = b.idx(width - 1);
  if (count) {
    Value elements = b.sub(b.add(count, count), b.idx(1));
    lowMask = b.firstLanes(elements, width);
    highCount = b.sub(elements, b.idx(width));
  }
  Value low = b.load(input, f32, offset, width, lowMask);
  Value high = b.load(input, f32, b.add(offset, b.idx(width)), width,
                      b.firstLanes(highCount, width));
  SmallVector<int64_t> even(width);
  for (unsigned k = 0; k < width; ++k)
    even[k] = 2 * k;
  return vector::ShuffleOp::create(b, low, high, even);
}

Value PoolKernel::finish(Value accumulator, Value countRows,
                         Value countColumns) {
  if (isMax)
    return accumulator;
  Value count = arith::IndexCastOp::create(b, b.getI64Type(),
                                           b.mul(countRows, countColumns));
  Value divisor = arith::SIToFPOp::create(b, f32, count);
  auto vector = dyn_cast<VectorType>(accumulator.getType());
  return arith::DivFOp::create(
      b, accumulator, b.splat(divisor, vector ? vector.getNumElements() : 1));
}

/// A vector of neighbouring columns, or the first `count` of one.
void PoolKernel::emitVector(Value column, Value count) {
  Value start = startOf(columns, column), width = b.size(columns.input);
  Value result = b.forLoop(
      window.begin, window.end, b.idx(1), {reduction.getNeutral(b, lanes)},
      [&](Value k, ArrayRef<Value> carried) {
        Value row = b.add(rowStart, b.mul(k, b.idx(rows.dilation)));
        Value base = b.add(planeOffset, b.add(b.mul(row, width), start));
        Value sum = carried[0];
        for (int64_t i = 0; i < columns.kernel; ++i)
          sum = reduction.combine(
              b, sum,
              loadTap(b.add(base, b.idx(i * columns.dilation)), lanes, count));
        return SmallVector<Value>{sum};
      },
      KernelBuilder::LoopHint::NoVectorize)[0];
  Value mask = count ? b.firstLanes(count, lanes) : Value();
  b.store(finish(result, rowCount, b.idx(columns.kernel)), b.resultPointer(0),
          f32, b.add(outputOffset, column), mask);
}

void PoolKernel::emitScalar(Value column) {
  using Hint = KernelBuilder::LoopHint;
  Value start = startOf(columns, column), width = b.size(columns.input);
  IndexSpan range = windowRange(columns, start);
  Value result = b.forLoop(
      window.begin, window.end, b.idx(1), {reduction.getNeutral(b, 1)},
      [&](Value k, ArrayRef<Value> outer) {
        Value row = b.add(rowStart, b.mul(k, b.idx(rows.dilation)));
        Value base = b.add(planeOffset, b.add(b.mul(row, width), start));
        return b.forLoop(
            range.begin, range.end, b.idx(1), outer,
            [&](Value i, ArrayRef<Value> carried) {
              Value offset = b.add(base, b.mul(i, b.idx(columns.dilation)));
              return SmallVector<Value>{
                  reduction.combine(b, carried[0], loadTap(offset, 1))};
            },
            Hint::NoUnroll);
      },
      Hint::NoUnroll)[0];
  Value value = finish(result, rowCount, countOf(columns, start, range));
  b.store(value, b.resultPointer(0), f32, b.add(outputOffset, column));
}

/// The grain of a pool: rows are those of all planes.
static Grain getPoolGrain(PoolOp op) {
  int64_t depth = 1;
  for (int64_t size : op.getKernel())
    depth *= size;
  return getGrain(getDims(op.getResult().getType()),
                  mlir::getAffineConstantExpr(depth, op.getContext()));
}

void PoolKernel::run() {
  input = getTensorPointer(b, op.getInput());
  Value outRows = b.size(rows.output), outColumns = b.size(columns.output);
  Value plane = b.mul(b.size(rows.input), b.size(columns.input));
  Value one = b.idx(1), step = b.idx(lanes);
  forEachRow(b, getPoolGrain(op), [&](Value row, Value begin, Value end) {
    planeOffset = b.mul(b.divFloor(row, outRows), plane);
    outputOffset = b.mul(row, outColumns);
    rowStart = startOf(rows, b.mod(row, outRows));
    window = windowRange(rows, rowStart);
    rowCount = countOf(rows, rowStart, window);
    IndexSpan inside = insideColumns(begin, end);
    auto scalar = [&](Value column) { emitScalar(column); };
    b.forLoop(begin, inside.begin, one, scalar);
    // Fewer columns than lanes are one masked vector.
    Value count = b.sub(inside.end, inside.begin);
    Value narrow = b.less(count, step);
    Value wideEnd =
        arith::SelectOp::create(b, narrow, inside.begin, inside.end);
    b.forLoop(inside.begin, wideEnd, step, [&](Value column) {
      emitVector(b.minIdx(column, b.sub(inside.end, step)));
    });
    b.forLoop(wideEnd, inside.end, step,
              [&](Value column) { emitVector(column, count); });
    b.forLoop(inside.end, end, one, scalar);
  });
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

/// The pool that is all of a dispatch or kernel, if this emitter takes it.
static PoolOp findPool(Block &block) {
  Operation *yield = block.getTerminator();
  if (yield->getNumOperands() != 1)
    return {};
  auto pool = yield->getOperand(0).getDefiningOp<PoolOp>();
  if (!pool || !llvm::hasSingleElement(block.without_terminator()) ||
      !isa<BlockArgument>(pool.getInput()))
    return {};
  bool known = !pool.getChannelsLast() && pool.getKind() != PoolKind::Lp &&
               pool.getKernel().size() <= 2 &&
               pool.getInput().getType().getElementType().isF32() &&
               pool.getResult().getType().getElementType().isF32();
  // Taps are unrolled along a row.
  constexpr int64_t maxTaps = 16;
  return known && pool.getKernel().back() <= maxTaps ? pool : PoolOp();
}

namespace {
class PoolEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "pool"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    PoolOp op = findPool(dispatch.getBody().front());
    bool vectors = llvm::all_of(
        levels, [](const Capabilities &c) { return c.vectorBits > 0; });
    if (!op || !vectors)
      return std::nullopt;
    Grain grain = getPoolGrain(op);
    KernelSchedule schedule;
    schedule.params = DictionaryAttr::get(dispatch.getContext());
    schedule.tasks = simplifySize(grain.rowTasks * grain.colTasks);
    return schedule;
  }

  LogicalResult emit(KernelBuilder &b) const override {
    PoolOp op = findPool(b.kernel().getBody().front());
    if (!op)
      return failure();
    PoolKernel(b, op).run();
    return success();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createPoolEmitter() {
  return std::make_unique<PoolEmitter>();
}
