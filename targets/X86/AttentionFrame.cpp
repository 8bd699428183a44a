//===- AttentionFrame.cpp - what kernels of attention share -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AttentionFrame.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

AffineExpr AttentionFrame::countTasks(AttentionOp op, int64_t taskQueries) {
  SmallVector<AffineExpr> q = getDims(op.getQuery().getType());
  return q[0] * q[1] * q[2].ceilDiv(taskQueries);
}

bool AttentionFrame::areSizesKnown(AttentionOp op,
                                   ArrayRef<Capabilities> levels) {
  if (llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return false;
  int64_t depth = op.getQuery().getType().getShape()[3],
          width = op.getValue().getType().getShape()[3];
  return !ShapedType::isDynamic(depth) && !ShapedType::isDynamic(width) &&
         depth >= 1 && width >= 1 && depth <= kMaxHeadSize &&
         width <= kMaxHeadSize;
}

AttentionFrame::AttentionFrame(KernelBuilder &b, const AttentionParts &parts,
                               unsigned lanes, int64_t taskQueries)
    : b(b), parts(parts), op(parts.op), f32(b.getF32Type()), lanes(lanes),
      vec(VectorType::get(lanes, f32)), taskQueries(taskQueries),
      depth(op.getQuery().getType().getShape()[3]),
      width(op.getValue().getType().getShape()[3]) {
  SmallVector<AffineExpr> q = getDims(op.getQuery().getType()),
                          k = getDims(op.getKey().getType());
  heads = q[1];
  queries = q[2];
  keyHeads = k[1];
  keys = k[2];
  query = parts.getOperand(b, op.getQuery());
  key = parts.getOperand(b, op.getKey());
  value = parts.getOperand(b, op.getValue());
  if (op.getMask())
    mask = parts.getOperand(b, op.getMask());
  if (op.getSink())
    sink = parts.getOperand(b, op.getSink());
  result = parts.getResult(b);
  numKeys = b.size(keys);
  numQueries = b.size(queries);
}

LogicalResult AttentionFrame::emit() {
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        startTask(task);
        emitTask();
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void AttentionFrame::startTask(Value task) {
  Value blocks = b.size(queries.ceilDiv(taskQueries)), numHeads = b.size(heads);
  queryBegin = b.mul(b.mod(task, blocks), b.idx(taskQueries));
  Value rest = b.divFloor(task, blocks);
  head = b.mod(rest, numHeads);
  batch = b.divFloor(rest, numHeads);
  // Heads that share keys follow one another.
  keyHead = heads == keyHeads
                ? head
                : b.divFloor(head, b.divFloor(numHeads, b.size(keyHeads)));
  queryCount = b.minIdx(b.sub(numQueries, queryBegin), b.idx(taskQueries));
}

Value AttentionFrame::maskScores(Value score, Value row, Value keyBegin,
                                 Value keyCount, Value keyIndex) {
  if (op.getSoftcap()) {
    double cap = op.getSoftcap()->convertToFloat();
    Value share =
        arith::MulFOp::create(b, score, b.constant(1 / cap, score.getType()));
    score = arith::MulFOp::create(b, math::TanhOp::create(b, share),
                                  b.constant(cap, score.getType()));
  }
  Value visible = b.sub(keyCount, keyIndex);
  Value position = b.add(queryBegin, row);
  if (op.getCausal()) {
    // Keys up to position + T - S, counted from this vector's first.
    Value last = b.add(position, b.sub(numKeys, numQueries));
    Value seen = b.sub(b.add(last, b.idx(1)), b.add(keyBegin, keyIndex));
    visible = b.minIdx(visible, seen);
  }
  std::optional<int64_t> known = getConstantIntValue(visible);
  Value live =
      known && *known >= lanes ? Value() : b.firstLanes(visible, lanes);
  if (mask.pointer) {
    Value at =
        mask.offset(b, {batch, head, position, b.add(keyBegin, keyIndex)});
    Value addend = mask.unit ? b.load(mask.pointer, f32, at, lanes, live)
                             : b.splat(b.load(mask.pointer, f32, at), lanes);
    score = arith::AddFOp::create(b, score, addend);
  }
  if (!live)
    return score;
  Value none = b.constant(-std::numeric_limits<double>::infinity(), vec);
  return arith::SelectOp::create(b, live, score, none);
}

Value AttentionFrame::isRowSeen(Value row, Value keyBegin, Value keyCount) {
  Value none = b.constant(-std::numeric_limits<double>::infinity(), vec),
        isNot = b.constantInt(0, b.getI1Type());
  return b.forLoop(
      b.idx(0), keyCount, b.idx(lanes), {isNot},
      [&](Value at, ArrayRef<Value> seen) {
        Value live = b.firstLanes(b.sub(keyCount, at), lanes);
        Value addend =
            b.load(mask.pointer, f32,
                   mask.offset(b, {batch, head, b.add(queryBegin, row),
                                   b.add(keyBegin, at)}),
                   lanes, live);
        Value isSeen = arith::AndIOp::create(
            b, live,
            arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, addend, none));
        Value any =
            vector::ReductionOp::create(b, vector::CombiningKind::OR, isSeen);
        return SmallVector<Value>{arith::OrIOp::create(b, seen[0], any)};
      },
      KernelBuilder::LoopHint::NoUnroll)[0];
}

Value AttentionFrame::isBlockSeen(Value keyBegin, Value keyCount) {
  AttentionOp attention = op;
  AffineExpr rows = getDims(attention.getMask().getType())[2];
  Value count = getConstantSize(rows) == 1 ? b.idx(1) : queryCount,
        isNot = b.constantInt(0, b.getI1Type());
  return b.forLoop(
      b.idx(0), count, b.idx(1), {isNot},
      [&](Value at, ArrayRef<Value> seen) {
        auto branch = scf::IfOp::create(b, b.getI1Type(), seen[0],
                                        /*addThenBlock=*/true,
                                        /*addElseBlock=*/true);
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(branch.thenBlock());
        scf::YieldOp::create(b, seen[0]);
        b.setInsertionPointToStart(branch.elseBlock());
        // From the last one on, which sees most where queries see what is
        // before them.
        Value row = b.sub(b.sub(count, b.idx(1)), at);
        scf::YieldOp::create(b, isRowSeen(row, keyBegin, keyCount));
        return SmallVector<Value>{branch.getResult(0)};
      },
      KernelBuilder::LoopHint::NoUnroll)[0];
}

void AttentionFrame::forBlocks(int64_t size,
                               function_ref<void(Value, Value)> body) {
  std::optional<int64_t> known = getConstantSize(keys);
  if (known && *known <= size)
    return body(b.idx(0), b.idx(*known));
  Value end = numKeys;
  if (op.getCausal())
    end = b.minIdx(
        end, b.add(b.add(queryBegin, queryCount), b.sub(numKeys, numQueries)));
  b.forLoop(
      b.idx(0), end, b.idx(size),
      [&](Value begin) {
        Value count = b.minIdx(b.sub(numKeys, begin), b.idx(size));
        if (!mask.pointer || !mask.unit)
          return body(begin, count);
        auto branch = scf::IfOp::create(b, isBlockSeen(begin, count));
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(branch.thenBlock());
        body(begin, count);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

Value AttentionFrame::toFinite(Value largest) {
  Type type = largest.getType();
  Value nothing = arith::CmpFOp::create(
      b, arith::CmpFPredicate::OEQ, largest,
      b.constant(-std::numeric_limits<double>::infinity(), type));
  return arith::SelectOp::create(b, nothing, b.constant(0, type), largest);
}

Value AttentionFrame::getSinkScore() {
  if (!sink.pointer)
    return b.constant(-std::numeric_limits<double>::infinity(), vec);
  return b.splat(b.load(sink.pointer, f32, head), lanes);
}

Value AttentionFrame::getSinkWeight(double unit) {
  return b.constant(sink.pointer ? unit : 0, vec);
}

void AttentionFrame::emitResult(Value row, Value totals, int64_t stride,
                                Value sums) {
  Value sum = b.load(sums, f32, row);
  Value empty = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, sum,
                                      b.constant(0, f32));
  Value inverse = arith::DivFOp::create(b, b.constant(1, f32), sum);
  inverse = arith::SelectOp::create(b, empty, b.constant(0, f32), inverse);
  Value factor = b.splat(inverse, lanes);
  Value position = b.add(queryBegin, row);
  for (int64_t column = 0; column < width; column += lanes) {
    int64_t live = std::min<int64_t>(lanes, width - column);
    Value total = b.load(
        totals, f32, b.add(b.mul(row, b.idx(stride)), b.idx(column)), lanes);
    SmallVector<Value> indices{batch, head, position, b.idx(column)};
    if (failed(parts.store(b, result, arith::MulFOp::create(b, total, factor),
                           indices, lanes,
                           live < lanes ? b.idx(live) : Value())))
      status = failure();
  }
}
