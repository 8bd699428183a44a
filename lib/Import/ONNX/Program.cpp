//===- Program.cpp - building sequential programs ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Program.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace qcc::onnx_import {

void ProgramBody::write(Value value, Value tensor, ValueRange indices) {
  Type element = cast<RankedTensorType>(tensor.getType()).getElementType();
  WriteOp::create(b, narrow(value, getScalarType(element)), tensor, indices);
}

void ProgramBody::repeat(Value count, llvm::function_ref<void(Value)> fn) {
  auto loop = scf::ForOp::create(b, index(0), count, index(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  fn(loop.getInductionVar());
}

void ProgramBody::forEach(ArrayRef<AffineExpr> sizes,
                          llvm::function_ref<void(ValueRange)> fn) {
  OpBuilder::InsertionGuard guard(b);
  SmallVector<Value> at;
  for (AffineExpr size : sizes) {
    auto loop = scf::ForOp::create(b, index(0), extent(size), index(1));
    b.setInsertionPointToStart(loop.getBody());
    at.push_back(loop.getInductionVar());
  }
  fn(at);
}

void ProgramBody::when(Value condition, llvm::function_ref<void()> fn) {
  auto branch = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  fn();
}

void ProgramBody::copy(Value from, Value to, Value count) {
  repeat(count, [&](Value i) { write(read(from, i), to, i); });
}

SmallVector<Value>
emitProgram(NodeContext &node, ArrayRef<RankedTensorType> results,
            ValueRange inputs, AffineExpr over,
            llvm::function_ref<void(ProgramBody &, ValueRange)> fn) {
  if (node.getProblem() ||
      llvm::any_of(inputs, [](Value input) { return !input; }))
    return {};
  SmallVector<Type> types(results.begin(), results.end());
  AffineMapAttr overAttr;
  if (over)
    overAttr = AffineMapAttr::get(makeSizeMap(over, node.b.getContext()));
  auto op = ProgramOp::create(node.b, types, inputs, overAttr);
  OpBuilder::InsertionGuard guard(node.b);
  Block *block = node.b.createBlock(&op.getBody());
  for (Value input : inputs)
    block->addArgument(input.getType(), node.b.getLoc());
  for (Type type : types)
    block->addArgument(type, node.b.getLoc());
  ProgramBody body(node.b, node.b.getLoc());
  fn(body, ValueRange(block->getArguments()));
  body.b.setInsertionPointToEnd(block);
  YieldOp::create(body.b, ValueRange());
  return SmallVector<Value>(op.getResults());
}

void emitSort(ProgramBody &body, Value order, Value spare, Value row,
              Value count, llvm::function_ref<Value(Value, Value)> less) {
  Type i64 = body.b.getI64Type();
  Value zero = body.index(0), one = body.index(1);
  body.repeat(count, [&](Value i) {
    body.write(body.fromIndex(i, i64), order, {row, i});
  });
  auto at = [&](Value i) {
    Value inside = body.clampGuarded(i, body.max(count, one));
    return body.toIndex(body.read(order, {row, inside}));
  };
  // Runs of 1, 2, 4, ... elements are merged in pairs: as many times as it
  // takes to cover the row, at most 62.
  Type index = body.b.getIndexType();
  auto passes = scf::WhileOp::create(body.b, TypeRange{index}, ValueRange{one});
  {
    OpBuilder::InsertionGuard guard(body.b);
    Block *before =
        body.b.createBlock(&passes.getBefore(), {}, {index}, {body.b.getLoc()});
    Value width = before->getArgument(0);
    scf::ConditionOp::create(body.b, body.lt(width, count), width);
    Block *after =
        body.b.createBlock(&passes.getAfter(), {}, {index}, {body.b.getLoc()});
    width = after->getArgument(0);
    Value twice = body.add(width, width);
    Value pairs = body.div(body.sub(body.add(count, twice), one), twice,
                           /*isUnsigned=*/true);
    body.repeat(pairs, [&](Value pair) {
      Value begin = body.mul(pair, twice),
            middle = body.min(body.add(begin, width), count),
            end = body.min(body.add(begin, twice), count);
      (void)body.loop(body.sub(end, begin), ValueRange{begin, middle},
                      [&](Value k, ValueRange heads) -> SmallVector<Value> {
                        Value left = at(heads[0]), right = at(heads[1]);
                        Value isLeftDone = body.le(middle, heads[0]),
                              isRightDone = body.le(end, heads[1]);
                        Value takesRight = body.both(
                            body.negate(isRightDone),
                            body.either(isLeftDone, less(right, left)));
                        Value taken = body.select(takesRight, right, left);
                        body.write(body.fromIndex(taken, i64), spare,
                                   {row, body.add(begin, k)});
                        Value step = body.select(takesRight, one, zero);
                        return {body.add(heads[0], body.sub(one, step)),
                                body.add(heads[1], step)};
                      });
    });
    body.repeat(count, [&](Value i) {
      body.write(body.read(spare, {row, i}), order, {row, i});
    });
    scf::YieldOp::create(body.b, twice);
  }
}

Value isBelow(Body &body, Value x, Value y, bool isUnsigned) {
  Value below = body.lt(x, y, isUnsigned);
  if (!isa<FloatType>(x.getType()))
    return below;
  return body.either(below,
                     body.both(body.isNaN(y), body.negate(body.isNaN(x))));
}

Places emitNonZero(NodeContext &node, Value vector) {
  if (!vector)
    return {};
  Dims dims = node.dims(vector);
  SmallVector<Value> found = emitProgram(
      node,
      {makeTensorType(dims, node.i64()),
       makeTensorType({node.size(1)}, node.i64())},
      vector, {}, [&](ProgramBody &body, ValueRange x) {
        Value zero = body.index(0);
        SmallVector<Value> count = body.loop(
            body.extent(dims[0]), ValueRange{zero},
            [&](Value i, ValueRange at) -> SmallVector<Value> {
              Value value = body.read(x[0], i);
              Value counts = body.ne(value, body.number(0, value.getType()));
              body.when(counts, [&] {
                body.write(body.fromIndex(i, node.i64()), x[1], at[0]);
              });
              Value next = body.add(at[0], body.index(1));
              return {body.select(counts, next, at[0])};
            });
        body.write(body.fromIndex(count[0], node.i64()), x[2], zero);
      });
  if (found.empty())
    return {};
  AffineExpr count = node.readElement(found[1], 0);
  return count ? Places{found[0], count} : Places();
}

} // namespace qcc::onnx_import
