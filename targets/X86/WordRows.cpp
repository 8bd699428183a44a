//===- WordRows.cpp - the rows of a task as words ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "WordRows.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Inputs that are widened at once.
static constexpr int64_t kStep = 16;

int64_t WordRows::getRowBytes(int64_t terms) {
  return int64_t(llvm::alignTo(terms, 2)) * 2;
}

int64_t WordRows::getBytes(int64_t terms, int64_t rows) {
  // A word of inputs behind the last tap is written whole.
  return rows * getRowBytes(terms) + 2 * kStep;
}

WordRows::WordRows(KernelBuilder &b, ByteRows &rows, int64_t taps,
                   int64_t inputs, bool isSigned, int64_t scratchOffset)
    : b(b), rows(rows), taps(taps), inputs(inputs), isSigned(isSigned),
      base(b.elementPointer(b.scratch(), b.getI8Type(), b.idx(scratchOffset))) {
}

Value WordRows::getPointer(Value row) {
  return b.elementPointer(base, b.getI8Type(),
                          b.mul(row, b.idx(getRowBytes(taps * inputs))));
}

void WordRows::emit(Value firstRow, Value endRow) {
  b.forLoop(
      firstRow, endRow, b.idx(1),
      [&](Value row) {
        emitTaps(row, firstRow, getPointer(b.sub(row, firstRow)));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// The inputs of all taps of an output pixel. With few inputs those of a row of
/// the window are one copy, except at the edges of the image.
void WordRows::emitTaps(Value row, Value firstRow, Value words) {
  constexpr auto noUnroll = KernelBuilder::LoopHint::NoUnroll;
  auto copy = [&](Value tap, int64_t count) {
    emitInputs(
        rows.getPointer(row, firstRow, tap),
        b.elementPointer(words, b.getI16Type(), b.mul(tap, b.idx(inputs))),
        count);
  };
  auto copyTap = [&](Value tap) { copy(tap, inputs); };
  if (taps == 1)
    return copyTap(b.idx(0));
  int64_t run = rows.getRun();
  if (run == 1) {
    b.forLoop(b.idx(0), b.idx(taps), b.idx(1), copyTap, noUnroll);
    return;
  }
  b.forLoop(
      b.idx(0), b.idx(taps), b.idx(run),
      [&](Value tap) {
        auto branch = scf::IfOp::create(b, rows.isRun(row, firstRow, tap),
                                        /*withElseRegion=*/true);
        OpBuilder::InsertionGuard restore(b);
        b.setInsertionPointToStart(branch.thenBlock());
        copy(tap, run * inputs);
        b.setInsertionPointToStart(branch.elseBlock());
        b.forLoop(tap, b.add(tap, b.idx(run)), b.idx(1), copyTap, noUnroll);
      },
      noUnroll);
}

/// Widens `count` inputs that lie side by side. What is written beyond them is
/// overwritten by the next tap or row.
void WordRows::emitInputs(Value from, Value to, int64_t count) {
  Type i8 = b.getI8Type(), i16 = b.getI16Type();
  auto widen = [&](Value bytes) -> Value {
    auto type = cast<VectorType>(bytes.getType()).clone(i16);
    return isSigned ? Value(arith::ExtSIOp::create(b, type, bytes))
                    : Value(arith::ExtUIOp::create(b, type, bytes));
  };
  auto copy = [&](Value at, unsigned lanes) {
    b.store(widen(b.load(from, i8, at, lanes)), to, i16, at);
  };
  int64_t whole = count / kStep * kStep, at = whole;
  if (whole > kStep)
    b.forLoop(
        b.idx(0), b.idx(whole), b.idx(kStep), [&](Value i) { copy(i, kStep); },
        KernelBuilder::LoopHint::NoUnroll);
  else if (whole)
    copy(b.idx(0), kStep);
  if (count - at >= 8) {
    copy(b.idx(at), 8);
    at += 8;
  }
  for (; at < count; at += 4) {
    Value word = loadWord(b, from, b.idx(at),
                          rows.isPadded(count) ? 4 : std::min(count - at, 4l));
    Value bytes = vector::BitCastOp::create(
        b, VectorType::get(4, i8),
        vector::BroadcastOp::create(b, VectorType::get(1, b.getI32Type()),
                                    word));
    b.store(widen(bytes), to, i16, b.idx(at));
  }
}
