//===- PoolEmitter.cpp - max and average pooling ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A row of results is made in two steps. The rows of the input that its windows
// cover become one, vector by vector in the order of memory, in scratch between
// neutral elements for the padding; then the taps of a window are neighbours
// there, and need no masks. With stride 2 the first step parts even from odd
// columns, so that these lie side by side as well. So a window of k by k costs
// about 2 k, not k^2. Each step is made for some rows at once: a load across
// two stores waits until both have left the core.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "Reduction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

namespace {
/// One spatial dimension.
struct Axis {
  AffineExpr input, output;
  int64_t kernel, stride, padBegin, padEnd, dilation;
  /// From the first tap of a window to the last.
  int64_t getReach() const { return (kernel - 1) * dilation; }
};

/// A half-open range of indices.
struct IndexSpan {
  Value begin, end;
};

/// How many results are made at once, and the places of scratch for them.
struct PoolCut {
  explicit PoolCut(const Axis &columns);
  int64_t chunk;  ///< results, whole vectors of all levels
  int64_t places; ///< of a row, of which each half is a plane with stride 2
  int64_t rows;   ///< that wait in scratch at once
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
  IndexSpan lanesWithin(Value position, Value size);
  Value maskOf(IndexSpan span);
  void startRow(Value row, Value place);
  void emitChunk(Value column, Value count);
  void clearRows();
  void joinRows(Value start, Value places);
  void joinBlock(Value start, Value column, Value count, bool isWhole);
  void joinNarrow(Value start, int64_t count, bool isWhole);
  void partColumns(Value first, Value second, Value place, int64_t count);
  int64_t getNarrowColumns() const;
  SmallVector<Value> joinVectors(ArrayRef<Value> at, ArrayRef<Value> masks,
                                 bool isWhole);
  void emitRest(Value whole, Value count, function_ref<void()> again,
                function_ref<void()> alone);
  /// Vectors that are parted together.
  int64_t getBlockVectors() const { return columns.stride == 2 ? 2 : 1; }
  Value loadTap(Value column, int64_t tap);
  void emitVector(Value first, Value column, Value count = {});
  Value countTaps(Value start);

  KernelBuilder &b;
  PoolOp op;
  Axis rows, columns;
  PoolCut cut;
  bool isMax;
  Reduction reduction;
  Type f32;
  unsigned lanes;
  // Of the row that is being emitted.
  Value input, joined, planeOffset, outputOffset, outputEnd, rowStart, rowCount;
  IndexSpan window;
};
} // namespace

static constexpr auto kNoUnroll = KernelBuilder::LoopHint::NoUnroll;

static Axis getAxis(PoolOp op, unsigned i) {
  SmallVector<AffineExpr> in = getDims(op.getInput().getType()),
                          out = getDims(op.getResult().getType());
  unsigned spatial = in.size() - 2;
  return {in[2 + i],           out[2 + i],      op.getKernel()[i],
          op.getStrides()[i],  op.getPads()[i], op.getPads()[spatial + i],
          op.getDilations()[i]};
}

static Axis getColumns(PoolOp op) {
  return getAxis(op, op.getKernel().size() - 1);
}

static Axis getRows(PoolOp op) {
  AffineExpr one = mlir::getAffineConstantExpr(1, op.getContext());
  return op.getKernel().size() == 2 ? getAxis(op, 0)
                                    : Axis{one, one, 1, 1, 0, 0, 1};
}

/// Most lanes of a vector.
static constexpr int64_t kMaxLanes = 16;

PoolCut::PoolCut(const Axis &columns) {
  constexpr int64_t mostPlaces = 2048;
  chunk = std::max<int64_t>(mostPlaces / columns.stride, 1);
  if (std::optional<int64_t> width = getConstantSize(columns.output))
    chunk = std::min(chunk, *width);
  chunk = std::max<int64_t>(llvm::alignTo(chunk, kMaxLanes), kMaxLanes);
  // Two vectors are written at a time.
  places = llvm::alignTo(chunk * columns.stride + columns.getReach(),
                         2 * kMaxLanes) +
           2 * kMaxLanes;
  constexpr int64_t apart = 1024; // places between a store and its load
  rows = std::max<int64_t>(apart / places, 1);
}

PoolKernel::PoolKernel(KernelBuilder &b, PoolOp op)
    : b(b), op(op), rows(getRows(op)), columns(getColumns(op)), cut(columns),
      isMax(op.getKind() == PoolKind::Max),
      reduction(isMax ? Combiner::Max : Combiner::Sum, b.getF32Type(),
                b.caps()),
      f32(b.getF32Type()), lanes(b.caps().f32Lanes()) {}

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

/// The lanes of a vector of results whose tap, the first lane's at `position`,
/// lies in [0, size).
IndexSpan PoolKernel::lanesWithin(Value position, Value size) {
  Value zero = b.idx(0), stride = b.idx(columns.stride);
  auto ceilDivide = [&](Value value) {
    return b.divFloor(b.add(b.maxIdx(value, zero), b.idx(columns.stride - 1)),
                      stride);
  };
  return {ceilDivide(b.sub(zero, position)), ceilDivide(b.sub(size, position))};
}

Value PoolKernel::maskOf(IndexSpan span) {
  auto type = VectorType::get(lanes, b.getI1Type());
  Value before = arith::XOrIOp::create(b, b.firstLanes(span.begin, lanes),
                                       b.constantInt(-1, type));
  return arith::AndIOp::create(b, b.firstLanes(span.end, lanes), before);
}

/// Neutral elements in all places of all rows: what is no column of the input
/// stays that.
void PoolKernel::clearRows() {
  Value neutral = reduction.getNeutral(b, lanes);
  b.forLoop(
      b.idx(0), b.idx(cut.rows * cut.places), b.idx(lanes),
      [&](Value at) { b.store(neutral, b.scratch(), f32, at); }, kNoUnroll);
}

/// What the window's rows have in vectors from each of some columns on; lanes
/// that a mask has off read 0.
SmallVector<Value> PoolKernel::joinVectors(ArrayRef<Value> at,
                                           ArrayRef<Value> masks,
                                           bool isWhole) {
  Value width = b.size(columns.input), neutral = reduction.getNeutral(b, lanes);
  auto step = [&](Value k, ArrayRef<Value> sums) {
    Value row = b.add(rowStart, b.mul(k, b.idx(rows.dilation))),
          from = b.add(planeOffset, b.mul(row, width));
    SmallVector<Value> next;
    for (auto [v, column] : llvm::enumerate(at)) {
      Value read = b.load(input, f32, b.add(from, column), lanes, masks[v]);
      next.push_back(sums.empty() ? read : reduction.combine(b, sums[v], read));
    }
    return next;
  };
  if (!isWhole)
    return b.forLoop(window.begin, window.end, b.idx(1),
                     SmallVector<Value>(at.size(), neutral), step, kNoUnroll);
  SmallVector<Value> sums;
  for (int64_t k = 0; k < rows.kernel; ++k)
    sums = step(b.idx(k), sums);
  return sums;
}

/// Writes what the window's rows have from `column` on, `count` columns or as
/// many as fit (null). `start` is the column at place 0.
void PoolKernel::joinBlock(Value start, Value column, Value count,
                           bool isWhole) {
  SmallVector<Value> at, masks;
  for (int64_t v = 0; v < getBlockVectors(); ++v) {
    Value before = b.idx(v * lanes);
    at.push_back(b.add(column, before));
    masks.push_back(
        count ? b.firstLanes(b.maxIdx(b.sub(count, before), b.idx(0)), lanes)
              : Value());
  }
  SmallVector<Value> sums = joinVectors(at, masks, isWhole);
  if (isMax && count)
    for (auto [sum, mask] : llvm::zip_equal(sums, masks))
      sum =
          arith::SelectOp::create(b, mask, sum, reduction.getNeutral(b, lanes));
  Value place = b.sub(column, start);
  if (columns.stride == 2)
    partColumns(sums[0], sums[1], place, 2 * int64_t(lanes));
  else
    b.store(sums[0], joined, f32, place);
}

/// The same of all of an input whose `count` columns take two vectors, which
/// overlap in place of masks.
void PoolKernel::joinNarrow(Value start, int64_t count, bool isWhole) {
  SmallVector<Value> sums = joinVectors({b.idx(0), b.idx(count - lanes)},
                                        {Value(), Value()}, isWhole);
  partColumns(sums[0], sums[1], b.sub(b.idx(0), start), count);
}

/// Parts `count` columns, in the first and the last lanes of two vectors, by
/// the parity of their places from `place` on; neutral elements follow.
void PoolKernel::partColumns(Value first, Value second, Value place,
                             int64_t count) {
  int64_t overlap = 2 * int64_t(lanes) - count;
  for (int64_t odd = 0; odd < 2; ++odd) {
    SmallVector<int64_t> half;
    int64_t live = 0;
    for (int64_t i = odd; i < 2 * int64_t(lanes); i += 2) {
      live += i < count;
      half.push_back(i < int64_t(lanes) ? i : i < count ? i + overlap : 0);
    }
    Value parted = vector::ShuffleOp::create(b, first, second, half);
    if (live < int64_t(lanes))
      parted = arith::SelectOp::create(b, b.firstLanes(b.idx(live), lanes),
                                       parted, reduction.getNeutral(b, lanes));
    Value at = b.add(place, b.idx(odd)),
          plane = b.mul(b.mod(at, b.idx(2)), b.idx(cut.places / 2));
    b.store(parted, joined, f32, b.add(plane, b.divFloor(at, b.idx(2))));
  }
}

/// The input's columns if with stride 2 they are more than one vector, less
/// than two, and all read at once; else 0.
int64_t PoolKernel::getNarrowColumns() const {
  std::optional<int64_t> in = getConstantSize(columns.input),
                         out = getConstantSize(columns.output);
  if (columns.stride != 2 || !in || !out || *out > cut.chunk)
    return 0;
  int64_t read =
      std::min(*in, *out * 2 + columns.getReach() - columns.padBegin);
  return read >= int64_t(lanes) && read < 2 * int64_t(lanes) ? read : 0;
}

/// Makes one row of the window's, of `places` columns from `start` on.
void PoolKernel::joinRows(Value start, Value places) {
  Value left = b.maxIdx(start, b.idx(0)),
        right = b.minIdx(b.add(start, places), b.size(columns.input)),
        count = b.maxIdx(b.sub(right, left), b.idx(0)),
        step = b.idx(getBlockVectors() * lanes),
        whole = b.mul(b.divFloor(count, step), step);
  auto join = [&](bool isWhole) {
    if (int64_t narrow = getNarrowColumns())
      return joinNarrow(start, narrow, isWhole);
    b.forLoop(
        left, b.add(left, whole), step,
        [&](Value at) { joinBlock(start, at, {}, isWhole); }, kNoUnroll);
    emitRest(
        whole, count,
        [&] { joinBlock(start, b.sub(right, step), {}, isWhole); },
        [&] { joinBlock(start, left, count, isWhole); });
  };
  constexpr int64_t unrolled = 8;
  if (rows.kernel > unrolled)
    return join(false);
  Value missing = b.sub(b.idx(rows.kernel), b.sub(window.end, window.begin));
  b.emitEither(
      b.less(missing, b.idx(1)), [&] { join(true); }, [&] { join(false); });
}

/// What `whole` of `count` elements leave: made with those before them once
/// more if there are any, else alone.
void PoolKernel::emitRest(Value whole, Value count, function_ref<void()> again,
                          function_ref<void()> alone) {
  auto branch = scf::IfOp::create(b, b.less(whole, count));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  b.emitEither(b.less(b.idx(0), whole), again, alone);
}

/// A tap of the windows of `lanes` results, in the row that was made.
Value PoolKernel::loadTap(Value column, int64_t tap) {
  int64_t at = tap * columns.dilation;
  if (columns.stride == 1)
    return b.load(joined, f32, b.add(column, b.idx(at)), lanes);
  if (columns.stride == 2) {
    int64_t plane = at % 2 * cut.places / 2;
    return b.load(joined, f32, b.add(column, b.idx(plane + at / 2)), lanes);
  }
  auto type = VectorType::get(lanes, b.getIndexType());
  Value steps = arith::MulIOp::create(b, vector::StepOp::create(b, type),
                                      b.constantInt(columns.stride, type));
  Value first = b.add(b.mul(column, b.idx(columns.stride)), b.idx(at));
  return b.gather(joined, f32,
                  arith::AddIOp::create(b, b.splat(first, lanes), steps));
}

/// Columns of each lane's window that an average divides by, as floats; the
/// first window begins at `start`.
Value PoolKernel::countTaps(Value start) {
  auto type = VectorType::get(lanes, f32);
  Value kernel = b.constant(double(columns.kernel), type),
        width = b.size(columns.input);
  int64_t last = (int64_t(lanes) - 1) * columns.stride + columns.getReach();
  Value isInside = arith::AndIOp::create(
      b, b.less(b.idx(-1), start), b.less(b.add(start, b.idx(last)), width));
  auto branch = scf::IfOp::create(b, type, isInside, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, kernel);
  b.setInsertionPointToStart(branch.elseBlock());
  Value one = b.constant(1, type), zero = b.constant(0, type), sum = zero;
  for (int64_t i = 0; i < columns.kernel; ++i) {
    // What lies beyond the padding, where results reach there, never counts.
    Value place = b.add(start, b.idx(i * columns.dilation));
    IndexSpan counted = op.getCountIncludePad()
                            ? lanesWithin(b.add(place, b.idx(columns.padBegin)),
                                          b.add(width, b.idx(columns.padBegin +
                                                             columns.padEnd)))
                            : lanesWithin(place, width);
    sum = arith::AddFOp::create(
        b, sum, arith::SelectOp::create(b, maskOf(counted), one, zero));
  }
  scf::YieldOp::create(b, sum);
  return branch.getResult(0);
}

/// A vector of results, `column` behind the first of the chunk. With `count` as
/// many of them.
void PoolKernel::emitVector(Value first, Value column, Value count) {
  Value result = loadTap(column, 0);
  for (int64_t tap = 1; tap < columns.kernel; ++tap)
    result = reduction.combine(b, result, loadTap(column, tap));
  Value at = b.add(first, column);
  if (!isMax) {
    Value rowTaps = arith::SIToFPOp::create(
        b, f32, arith::IndexCastOp::create(b, b.getI64Type(), rowCount));
    result = arith::DivFOp::create(
        b, result,
        arith::MulFOp::create(b, countTaps(startOf(columns, at)),
                              b.splat(rowTaps, lanes)));
  }
  auto store = [&](Value mask) {
    b.store(result, b.resultPointer(0), f32, b.add(outputOffset, at), mask);
  };
  if (!count)
    return store({});
  std::optional<int64_t> width = getConstantSize(columns.output);
  if (!width || *width >= int64_t(lanes))
    return store(b.firstLanes(count, lanes));
  // What lies behind the row is written later, but for the last one; storing
  // some lanes is slow below AVX-512.
  b.emitEither(
      b.less(b.add(outputOffset, b.idx(lanes - 1)), outputEnd),
      [&] { store({}); }, [&] { store(b.firstLanes(count, lanes)); });
}

/// `count` results of a row from `column` on, whose rows are joined.
void PoolKernel::emitChunk(Value column, Value count) {
  Value step = b.idx(lanes);
  Value whole = b.mul(b.divFloor(count, step), step);
  b.forLoop(
      b.idx(0), whole, step, [&](Value at) { emitVector(column, at); },
      kNoUnroll);
  emitRest(
      whole, count, [&] { emitVector(column, b.sub(count, step)); },
      [&] { emitVector(column, b.idx(0), count); });
}

/// The grain of a pool: rows are those of all planes.
static Grain getPoolGrain(PoolOp op) {
  int64_t depth = 1;
  for (int64_t size : op.getKernel())
    depth *= size;
  return getGrain(getDims(op.getResult().getType()),
                  mlir::getAffineConstantExpr(depth, op.getContext()));
}

/// Row `row` of the results, whose joined row is the `place`th of scratch.
void PoolKernel::startRow(Value row, Value place) {
  Value outRows = b.size(rows.output),
        plane = b.mul(b.size(rows.input), b.size(columns.input));
  planeOffset = b.mul(b.divFloor(row, outRows), plane);
  outputOffset = b.mul(row, b.size(columns.output));
  rowStart = startOf(rows, b.mod(row, outRows));
  window = windowRange(rows, rowStart);
  rowCount = countOf(rows, rowStart, window);
  joined = b.elementPointer(b.scratch(), f32, b.mul(place, b.idx(cut.places)));
}

void PoolKernel::run() {
  input = getTensorPointer(b, op.getInput());
  auto forRows = [&](Value first, Value end, function_ref<void()> body) {
    b.forLoop(
        first, b.minIdx(b.add(first, b.idx(cut.rows)), end), b.idx(1),
        [&](Value row) {
          startRow(row, b.sub(row, first));
          body();
        },
        kNoUnroll);
  };
  auto emitRows = [&](Value begin, Value end, Value column, Value count) {
    Value start = startOf(columns, column),
          places = b.add(b.mul(count, b.idx(columns.stride)),
                         b.idx(columns.getReach()));
    outputEnd = b.mul(end, b.size(columns.output));
    clearRows();
    b.forLoop(
        begin, end, b.idx(cut.rows),
        [&](Value first) {
          forRows(first, end, [&] { joinRows(start, places); });
          forRows(first, end, [&] { emitChunk(column, count); });
        },
        kNoUnroll);
  };
  forEachTask(b, getPoolGrain(op),
              [&](Value begin, Value end, Value left, Value right) {
                b.forLoop(
                    left, right, b.idx(cut.chunk),
                    [&](Value column) {
                      Value count =
                          b.minIdx(b.sub(right, column), b.idx(cut.chunk));
                      emitRows(begin, end, column, count);
                    },
                    kNoUnroll);
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
  if (!known)
    return {};
  // Taps are unrolled along a row, and scratch holds those of a vector.
  constexpr int64_t maxTaps = 16, maxReach = 4096, maxStride = 64;
  Axis columns = getColumns(pool);
  bool fits = columns.kernel <= maxTaps && columns.stride <= maxStride &&
              columns.dilation <= maxReach / columns.kernel;
  return fits ? pool : PoolOp();
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
    KernelSchedule schedule = makeSchedule(getPoolGrain(op));
    PoolCut cut(getColumns(op));
    schedule.scratchBytes = cut.rows * cut.places * 4;
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
