//===- QuantizeRows.cpp - dynamic int8 activations --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two passes over each group of a row: the largest magnitude, then codes and
// their sum. A computed input (a prologue) is kept in scratch between them.
//
//===----------------------------------------------------------------------===//
#include "Emitters.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr int64_t kTaskRows = 8;
constexpr unsigned kLanes = 16;
/// Longest row that may wait in scratch.
constexpr int64_t kMaxScratchRow = 1 << 16;

AffineExpr getRows(QuantizeRowsOp op) {
  SmallVector<AffineExpr> dims = getDims(op.getInput().getType());
  dims.pop_back();
  return product(dims, op.getContext());
}

/// The only named operation, if its three results are what the body yields.
QuantizeRowsOp findRoot(Block &body) {
  QuantizeRowsOp root;
  for (Operation &op : body.without_terminator()) {
    if (auto candidate = dyn_cast<QuantizeRowsOp>(op)) {
      if (root)
        return {};
      root = candidate;
    } else if (!isa<GenericOp>(op)) {
      return {};
    }
  }
  if (!root ||
      !llvm::equal(body.getTerminator()->getOperands(), root->getResults()))
    return {};
  return root;
}

class QuantizeRowsEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "quantize.rows"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class RowQuantizer {
public:
  RowQuantizer(KernelBuilder &b, QuantizeRowsOp op);
  LogicalResult emit();

private:
  void emitGroup(Value row, Value group, int64_t length);
  Value emitLargest(Value row, Value first, int64_t length);
  Value emitCodes(Value row, Value first, int64_t length, Value inverse);
  SmallVector<Value>
  sweep(Value first, int64_t length, ArrayRef<Value> init,
        function_ref<SmallVector<Value>(Value at, Value mask,
                                        ArrayRef<Value> carried)>
            body);
  Value read(Value row, Value at, Value mask);

  KernelBuilder &b;
  QuantizeRowsOp op;
  int64_t k, group, groups;
  Type f32, i8, i32;
  VectorType floats, ints;
  Value input, codes, scales, sums;
  bool computed;
  LogicalResult status = success();
};

} // namespace

std::optional<KernelSchedule>
QuantizeRowsEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                           function_ref<bool(unsigned)>) const {
  QuantizeRowsOp op = findRoot(dispatch.getBody().front());
  if (!op || !isF32Tensor(op.getInput().getType()) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  int64_t k = cast<RankedTensorType>(op.getInput().getType()).getShape().back();
  int64_t group = op.getGroup();
  if (ShapedType::isDynamic(k) || k < 1 || group < 0)
    return std::nullopt;
  bool computed = !isa<BlockArgument>(op.getInput());
  if (computed && k > kMaxScratchRow)
    return std::nullopt;
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks = getRows(op).ceilDiv(kTaskRows);
  schedule.scratchBytes = computed ? int64_t(llvm::alignTo(k, kLanes)) * 4 : 0;
  return schedule;
}

LogicalResult QuantizeRowsEmitter::emit(KernelBuilder &builder) const {
  QuantizeRowsOp op = findRoot(builder.kernel().getBody().front());
  return op ? RowQuantizer(builder, op).emit() : failure();
}

RowQuantizer::RowQuantizer(KernelBuilder &b, QuantizeRowsOp op)
    : b(b), op(op), f32(b.getF32Type()), i8(b.getI8Type()), i32(b.getI32Type()),
      floats(VectorType::get(kLanes, f32)), ints(VectorType::get(kLanes, i32)) {
  k = cast<RankedTensorType>(op.getInput().getType()).getShape().back();
  group = op.getGroup() ? int64_t(op.getGroup()) : k;
  groups = llvm::divideCeil(k, group);
  computed = !isa<BlockArgument>(op.getInput());
  input =
      computed ? b.scratch() : b.pointer(cast<BlockArgument>(op.getInput()));
  codes = b.resultPointer(0);
  scales = b.resultPointer(1);
  sums = b.resultPointer(2);
}

LogicalResult RowQuantizer::emit() {
  Value rows = b.size(getRows(op));
  Value begin = b.mul(b.taskBegin(), b.idx(kTaskRows));
  Value end = b.minIdx(b.mul(b.taskEnd(), b.idx(kTaskRows)), rows);
  b.forLoop(
      begin, end, b.idx(1),
      [&](Value row) {
        int64_t whole = k / group, left = k % group;
        b.forLoop(
            b.idx(0), b.idx(whole), b.idx(1),
            [&](Value index) { emitGroup(row, index, group); },
            KernelBuilder::LoopHint::NoUnroll);
        if (left)
          emitGroup(row, b.idx(whole), left);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void RowQuantizer::emitGroup(Value row, Value index, int64_t length) {
  Value first = b.mul(index, b.idx(group));
  Value largest = emitLargest(row, first, length);
  Value scale = arith::DivFOp::create(b, largest, b.constant(127, f32));
  Value none = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, largest,
                                     b.constant(0, f32));
  Value inverse = arith::DivFOp::create(b, b.constant(127, f32), largest);
  inverse = arith::SelectOp::create(b, none, b.constant(0, f32), inverse);
  Value sum = emitCodes(row, first, length, inverse);
  Value at = b.add(b.mul(row, b.idx(groups)), index);
  b.store(scale, scales, f32, at);
  b.store(sum, sums, i32, at);
}

/// Calls `body` for each vector of the group at `first`; the last one is
/// masked if its length is no multiple of a vector.
SmallVector<Value> RowQuantizer::sweep(
    Value first, int64_t length, ArrayRef<Value> init,
    function_ref<SmallVector<Value>(Value, Value, ArrayRef<Value>)> body) {
  int64_t whole = length / kLanes * kLanes;
  SmallVector<Value> carried =
      b.forLoop(b.idx(0), b.idx(whole), b.idx(kLanes), init,
                [&](Value at, ArrayRef<Value> values) {
                  return body(b.add(first, at), Value(), values);
                });
  if (whole == length)
    return carried;
  Value mask = b.firstLanes(b.idx(length - whole), kLanes);
  return body(b.add(first, b.idx(whole)), mask, carried);
}

/// Elements `at`... of a row of the operation's input.
Value RowQuantizer::read(Value row, Value at, Value mask) {
  SmallVector<AffineExpr> leading = getDims(op.getInput().getType());
  leading.pop_back();
  SmallVector<Value> indices = splitIndex(b, row, leading);
  indices.push_back(at);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(indices.size(), b.getContext());
  FailureOr<Value> value =
      readTensor(b, op.getInput(), identity, indices, kLanes, mask);
  if (failed(value)) {
    status = failure();
    return b.constant(0, floats);
  }
  return b.splat(*value, kLanes);
}

/// The largest magnitude.
Value RowQuantizer::emitLargest(Value row, Value first, int64_t length) {
  SmallVector<Value> largest = sweep(
      first, length, {b.constantInt(0, ints)},
      [&](Value at, Value mask, ArrayRef<Value> carried) -> SmallVector<Value> {
        Value x;
        if (computed) {
          x = read(row, at, mask);
          b.store(x, b.scratch(), f32, at, mask);
        } else {
          x = b.load(input, f32, b.add(b.mul(row, b.idx(k)), at), kLanes, mask);
        }
        Value bits = getMagnitudeBits(b, x);
        if (mask && computed)
          bits = arith::SelectOp::create(b, mask, bits, b.constantInt(0, ints));
        return {arith::MaxSIOp::create(b, bits, carried[0])};
      });
  Value bits =
      vector::ReductionOp::create(b, vector::CombiningKind::MAXSI, largest[0]);
  return arith::BitcastOp::create(b, f32, bits);
}

Value RowQuantizer::emitCodes(Value row, Value first, int64_t length,
                              Value inverse) {
  Value factor = b.splat(inverse, kLanes);
  SmallVector<Value> sum = sweep(
      first, length, {b.constantInt(0, ints)},
      [&](Value at, Value mask, ArrayRef<Value> carried) -> SmallVector<Value> {
        Value rowOffset = b.mul(row, b.idx(k));
        Value from = computed ? at : b.add(rowOffset, at);
        Value x = b.load(input, f32, from, kLanes, mask);
        Value q = roundToIntegers(b, arith::MulFOp::create(b, x, factor));
        q = arith::MaxSIOp::create(b, q, b.constantInt(-127, ints));
        q = arith::MinSIOp::create(b, q, b.constantInt(127, ints));
        b.store(arith::TruncIOp::create(b, VectorType::get(kLanes, i8), q),
                codes, i8, b.add(rowOffset, at), mask);
        return {arith::AddIOp::create(b, carried[0], q)};
      });
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, sum[0]);
}

std::unique_ptr<KernelEmitter> x86::createQuantizeRowsEmitter() {
  return std::make_unique<QuantizeRowsEmitter>();
}
