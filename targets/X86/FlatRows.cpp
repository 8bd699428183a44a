//===- FlatRows.cpp - the rows of a task side by side -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "FlatRows.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Inputs that are copied at once.
static constexpr int64_t kStep = 16;

int64_t FlatRows::getRowBytes(int64_t terms, bool hasWords) {
  return int64_t(llvm::alignTo(hasWords ? 2 * terms : terms, 4));
}

int64_t FlatRows::getBytes(int64_t terms, int64_t rows, bool hasWords) {
  // A word of inputs behind the last tap is written whole.
  return rows * getRowBytes(terms, hasWords) + 2 * kStep;
}

FlatRows::FlatRows(KernelBuilder &b, ByteRows &rows, int64_t taps,
                   int64_t inputs, RowForm form, bool isSigned,
                   int64_t scratchOffset)
    : b(b), rows(rows), taps(taps), inputs(inputs), form(form),
      isSigned(isSigned),
      element(form == RowForm::Words ? b.getI16Type() : b.getI8Type()),
      base(b.elementPointer(b.scratch(), b.getI8Type(), b.idx(scratchOffset))) {
}

Value FlatRows::getPointer(Value row) {
  int64_t bytes = getRowBytes(taps * inputs, form == RowForm::Words);
  return b.elementPointer(base, b.getI8Type(), b.mul(row, b.idx(bytes)));
}

void FlatRows::emit(Value firstRow, Value endRow) {
  b.forLoop(
      firstRow, endRow, b.idx(1),
      [&](Value row) {
        emitTaps(row, firstRow, getPointer(b.sub(row, firstRow)));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// The inputs of all taps of an output pixel. With few inputs those of a row of
/// the window are one copy, except at the edges of the image.
void FlatRows::emitTaps(Value row, Value firstRow, Value to) {
  constexpr auto noUnroll = KernelBuilder::LoopHint::NoUnroll;
  auto copy = [&](Value tap, int64_t count) {
    emitInputs(rows.getPointer(row, firstRow, tap),
               b.elementPointer(to, element, b.mul(tap, b.idx(inputs))), count);
  };
  auto copyTap = [&](Value tap) { copy(tap, inputs); };
  if (taps == 1)
    return copyTap(b.idx(0));
  if (tapLists) {
    tapLists->forTaps(
        b.idx(0), {},
        [&](Value, Value tap, ArrayRef<Value>) -> SmallVector<Value> {
          copyTap(tap);
          return {};
        });
    return;
  }
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

/// Bytes of inputs as the row holds them.
Value FlatRows::convert(Value bytes) {
  auto type = cast<VectorType>(bytes.getType());
  switch (form) {
  case RowForm::Bytes:
    return bytes;
  case RowForm::OffsetBytes: // 128 more is the highest bit turned
    return arith::XOrIOp::create(b, bytes, b.constantInt(-128, type));
  case RowForm::Words:
    break;
  }
  if (isSigned)
    return arith::ExtSIOp::create(b, type.clone(element), bytes);
  return arith::ExtUIOp::create(b, type.clone(element), bytes);
}

/// Copies `count` inputs that lie side by side. What is written beyond them is
/// overwritten by the next tap or row.
void FlatRows::emitInputs(Value from, Value to, int64_t count) {
  Type i8 = b.getI8Type();
  auto copy = [&](Value at, unsigned lanes) {
    b.store(convert(b.load(from, i8, at, lanes)), to, element, at);
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
    b.store(convert(bytes), to, element, b.idx(at));
  }
}
