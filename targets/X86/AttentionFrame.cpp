//===- AttentionFrame.cpp - what kernels of attention share -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AttentionFrame.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

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

void AttentionFrame::forBlocks(int64_t size,
                               function_ref<void(Value, Value)> body) {
  std::optional<int64_t> known = getConstantSize(keys);
  if (known && *known <= size)
    return body(b.idx(0), b.idx(*known));
  b.forLoop(
      b.idx(0), numKeys, b.idx(size),
      [&](Value begin) {
        body(begin, b.minIdx(b.sub(numKeys, begin), b.idx(size)));
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
