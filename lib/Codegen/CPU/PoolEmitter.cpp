//===- PoolEmitter.cpp - max and average pooling ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Bounds are settled per row: the range of window rows that lie in the input,
// and the blocks of columns whose windows do. Those run in vectors without
// checks; in the blocks at the borders each tap reads the lanes that lie in the
// input. Scalars there would take as long as a block each: which element of a
// maximum wins is not predictable.
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

/// A half-open range of indices; null: all.
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
  IndexSpan lanesWithin(Value position, Value size);
  IndexSpan insideLanes(Value position, Value count);
  Value maskOf(IndexSpan span);
  Value loadTap(Value offset, IndexSpan inside);
  Value countTaps(Value start, ArrayRef<IndexSpan> inside);
  void emitBlock(Value column, Value count = {});

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

/// The lanes of a block whose tap, the first lane's at `position`, lies in
/// [0, size).
IndexSpan PoolKernel::lanesWithin(Value position, Value size) {
  Value zero = b.idx(0), stride = b.idx(columns.stride);
  auto ceilDivide = [&](Value value) {
    return b.divFloor(b.add(b.maxIdx(value, zero), b.idx(columns.stride - 1)),
                      stride);
  };
  return {ceilDivide(b.sub(zero, position)), ceilDivide(b.sub(size, position))};
}

/// The same of the input's columns, of the first `count` lanes.
IndexSpan PoolKernel::insideLanes(Value position, Value count) {
  IndexSpan span = lanesWithin(position, b.size(columns.input));
  return {span.begin, b.minIdx(span.end, count)};
}

Value PoolKernel::maskOf(IndexSpan span) {
  auto type = VectorType::get(lanes, b.getI1Type());
  Value before = arith::XOrIOp::create(b, b.firstLanes(span.begin, lanes),
                                       b.constantInt(-1, type));
  return arith::AndIOp::create(b, b.firstLanes(span.end, lanes), before);
}

/// Elements at offset, offset + stride, ...; where `inside` is given, lanes
/// outside have the neutral element.
Value PoolKernel::loadTap(Value offset, IndexSpan inside) {
  Value width = b.idx(lanes), mask, value;
  if (inside.begin)
    mask = maskOf(inside);
  if (columns.stride == 1) {
    value = b.load(input, f32, offset, lanes, mask);
  } else if (columns.stride == 2) {
    // Two runs; the very last element belongs to no lane and may not exist.
    Value lowMask, highMask = b.firstLanes(b.idx(lanes - 1), lanes);
    if (mask) {
      Value begin = b.add(inside.begin, inside.begin),
            end = b.sub(b.add(inside.end, inside.end), b.idx(1));
      lowMask = maskOf({begin, end});
      highMask = maskOf({b.sub(begin, width), b.sub(end, width)});
    }
    Value low = b.load(input, f32, offset, lanes, lowMask);
    Value high = b.load(input, f32, b.add(offset, width), lanes, highMask);
    SmallVector<int64_t> even(lanes);
    for (unsigned k = 0; k < lanes; ++k)
      even[k] = 2 * k;
    value = vector::ShuffleOp::create(b, low, high, even);
  } else {
    auto type = VectorType::get(lanes, b.getIndexType());
    Value steps = arith::MulIOp::create(b, vector::StepOp::create(b, type),
                                        b.constantInt(columns.stride, type));
    value =
        b.gather(input, f32,
                 arith::AddIOp::create(b, b.splat(offset, lanes), steps), mask);
  }
  if (!mask || !isMax) // lanes that are off read 0
    return value;
  return arith::SelectOp::create(b, mask, value,
                                 reduction.getNeutral(b, lanes));
}

/// Columns of each lane's window that an average divides by, as floats.
Value PoolKernel::countTaps(Value start, ArrayRef<IndexSpan> inside) {
  auto type = VectorType::get(lanes, f32);
  Value one = b.constant(1, type), zero = b.constant(0, type), sum = zero;
  for (auto [i, span] : llvm::enumerate(inside)) {
    // What lies beyond the padding, where results reach there, never counts.
    Value place = b.add(
              start, b.idx(int64_t(i) * columns.dilation + columns.padBegin)),
          room = b.add(b.size(columns.input),
                       b.idx(columns.padBegin + columns.padEnd));
    Value counts =
        maskOf(op.getCountIncludePad() ? lanesWithin(place, room) : span);
    sum = arith::AddFOp::create(b, sum,
                                arith::SelectOp::create(b, counts, one, zero));
  }
  return sum;
}

/// A vector of neighbouring columns. With `count` the first of one, some of
/// whose windows leave the input.
void PoolKernel::emitBlock(Value column, Value count) {
  Value start = startOf(columns, column), width = b.size(columns.input);
  SmallVector<IndexSpan> inside(size_t(columns.kernel));
  if (count)
    for (auto [i, span] : llvm::enumerate(inside))
      span = insideLanes(b.add(start, b.idx(int64_t(i) * columns.dilation)),
                         count);
  Value result = b.forLoop(
      window.begin, window.end, b.idx(1), {reduction.getNeutral(b, lanes)},
      [&](Value k, ArrayRef<Value> carried) {
        Value row = b.add(rowStart, b.mul(k, b.idx(rows.dilation)));
        Value base = b.add(planeOffset, b.add(b.mul(row, width), start));
        Value sum = carried[0];
        for (auto [i, span] : llvm::enumerate(inside)) {
          Value offset = b.add(base, b.idx(int64_t(i) * columns.dilation));
          sum = reduction.combine(b, sum, loadTap(offset, span));
        }
        return SmallVector<Value>{sum};
      },
      KernelBuilder::LoopHint::NoVectorize)[0];
  if (!isMax) {
    Value rowTaps = arith::SIToFPOp::create(
        b, f32, arith::IndexCastOp::create(b, b.getI64Type(), rowCount));
    auto type = VectorType::get(lanes, f32);
    Value taps = count ? countTaps(start, inside)
                       : b.constant(double(columns.kernel), type);
    result = arith::DivFOp::create(
        b, result, arith::MulFOp::create(b, taps, b.splat(rowTaps, lanes)));
  }
  b.store(result, b.resultPointer(0), f32, b.add(outputOffset, column),
          count ? b.firstLanes(count, lanes) : Value());
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
  Value step = b.idx(lanes);
  forEachRow(b, getPoolGrain(op), [&](Value row, Value begin, Value end) {
    planeOffset = b.mul(b.divFloor(row, outRows), plane);
    outputOffset = b.mul(row, outColumns);
    rowStart = startOf(rows, b.mod(row, outRows));
    window = windowRange(rows, rowStart);
    rowCount = countOf(rows, rowStart, window);
    IndexSpan inside = insideColumns(begin, end);
    auto border = [&](Value column) {
      emitBlock(column, b.minIdx(b.sub(end, column), step));
    };
    auto wholeBlocks = [&](Value from, Value count) {
      return b.add(from, b.mul(b.divFloor(count, step), step));
    };
    Value first =
        wholeBlocks(begin, b.add(b.sub(inside.begin, begin), b.idx(lanes - 1)));
    Value last =
        wholeBlocks(first, b.maxIdx(b.sub(inside.end, first), b.idx(0)));
    // Without a border at the end the last block is moved back and overlaps.
    Value start = b.sub(inside.end, step);
    Value movesBack =
        arith::AndIOp::create(b, b.less(b.sub(inside.begin, b.idx(1)), start),
                              b.less(b.sub(end, b.idx(1)), inside.end));
    last = arith::SelectOp::create(b, movesBack, b.maxIdx(first, end), last);
    b.forLoop(begin, b.minIdx(first, end), step, border);
    b.forLoop(first, last, step,
              [&](Value column) { emitBlock(b.minIdx(column, start)); });
    b.forLoop(last, end, step, border);
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
    if (!op || !haveVectors(levels))
      return std::nullopt;
    Grain grain = getPoolGrain(op);
    return makeSchedule(grain);
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
