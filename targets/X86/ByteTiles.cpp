//===- ByteTiles.cpp - products of bytes in AMX tiles -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tiles are values of the type x86_amx from intrinsics: LLVM places them in
// registers and configures these once per function. No call may stand between
// two of them, since it spills all, so sums go through scratch to the epilogue.
//
//===----------------------------------------------------------------------===//
#include "ByteTiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "qcc/Dialect/QCC/Pack.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

static constexpr int64_t kLine = 64;
/// Inputs of four that a tile holds, and their bytes.
static constexpr int64_t kTileSteps = 16;
static constexpr int64_t kTileBytes = kTileSteps * kLine;

/// Inputs of a row with those that fill up the last four of each tap.
static int64_t getSteps(int64_t taps, int64_t inputs) {
  return taps * llvm::divideCeil(inputs, 4);
}

/// Bytes of a row's inputs, in whole lines.
static int64_t getInputBytes(int64_t taps, int64_t inputs) {
  return llvm::alignTo(4 * getSteps(taps, inputs), kLine);
}

/// True if inputs are left behind whole tiles of them.
static bool hasTail(int64_t taps, int64_t inputs) {
  int64_t steps = getSteps(taps, inputs);
  return steps > kTileSteps && steps % kTileSteps;
}

int64_t ByteTiles::getRowBytes(int64_t taps, int64_t inputs) {
  int64_t lines = getInputBytes(taps, inputs) / kLine + hasTail(taps, inputs);
  return (lines | 1) * kLine;
}

int64_t ByteTiles::getBytes(int64_t taps, int64_t inputs, int64_t rows) {
  return kAtOnce * kAtOnce * kTileBytes + rows * getRowBytes(taps, inputs);
}

ByteTiles::ByteTiles(KernelBuilder &b, ByteRows &rows, int64_t taps,
                     int64_t inputs, TileDot dot, int64_t scratchOffset)
    : b(b), rows(rows), taps(taps), inputs(inputs), dot(dot) {
  Type i8 = b.getI8Type();
  buffer = b.elementPointer(b.scratch(), i8, b.idx(scratchOffset));
  copies = b.elementPointer(buffer, i8, b.idx(kAtOnce * kAtOnce * kTileBytes));
}

void ByteTiles::emitRows(Value first, Value end) {
  firstRow = first;
  endRow = end;
  apart = b.idx(getRowBytes(taps, inputs));
  auto forEachRow = [&](function_ref<void(Value)> body) {
    b.forLoop(firstRow, endRow, b.idx(1), body,
              KernelBuilder::LoopHint::NoUnroll);
  };
  findRows([&] { forEachRow([&](Value row) { copyRow(row); }); });
  if (hasTail(taps, inputs))
    forEachRow([&](Value row) { copyTail(row); });
}

/// Sets where the inputs are: in place, or where `copy` puts them.
void ByteTiles::findRows(function_ref<void()> copy) {
  if (!rows.isInPlace() || inputs % 4) {
    copy();
    base = copies;
    stride = apart;
    return;
  }
  // A tile must not end beyond the rows.
  Value inTile = b.mod(b.sub(endRow, firstRow), b.idx(kRows));
  Value isPart = b.less(b.idx(0), inTile);
  auto branch = scf::IfOp::create(b, isPart, /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(branch.thenBlock());
    copy();
  }
  Value there = rows.getPointer(firstRow, firstRow, b.idx(0));
  base = arith::SelectOp::create(b, isPart, copies, there);
  stride = arith::SelectOp::create(b, isPart, apart, b.idx(rows.getWidth()));
}

/// Copies what a row reads. The bytes that fill up four inputs meet zeros of
/// the weight.
void ByteTiles::copyRow(Value row) {
  Type i8 = b.getI8Type();
  int64_t tapBytes = llvm::alignTo(inputs, 4);
  Value to = b.elementPointer(
      copies, i8,
      b.mul(b.sub(row, firstRow), b.idx(getRowBytes(taps, inputs))));
  auto copyTap = [&](Value tap) {
    Value from = rows.getPointer(row, firstRow, tap);
    Value place = b.elementPointer(to, i8, b.mul(tap, b.idx(tapBytes)));
    auto copy = [&](Value at, unsigned bytes) {
      b.store(b.load(from, i8, at, bytes), place, i8, at);
    };
    int64_t at = inputs / kLine * kLine;
    if (at > kLine)
      b.forLoop(
          b.idx(0), b.idx(at), b.idx(kLine), [&](Value i) { copy(i, kLine); },
          KernelBuilder::LoopHint::NoUnroll);
    else if (at)
      copy(b.idx(0), kLine);
    for (unsigned bytes = kLine / 2; bytes >= 4; bytes /= 2)
      if (inputs - at >= bytes) {
        copy(b.idx(at), bytes);
        at += bytes;
      }
    if (at == inputs)
      return;
    Value word = loadWord(b, from, b.idx(at),
                          rows.isPadded() ? 4 : std::min(inputs - at, 4l));
    b.store(word, b.elementPointer(place, i8, b.idx(at)), b.getI32Type(),
            b.idx(0));
  };
  if (taps == 1)
    copyTap(b.idx(0));
  else
    b.forLoop(b.idx(0), b.idx(taps), b.idx(1), copyTap,
              KernelBuilder::LoopHint::NoUnroll);
}

/// Copies what is left of a row behind whole tiles to the end of a line of
/// zeros: with the last tile of codes, which begins before it, the zeros meet
/// the codes that had their inputs already. A tile of fewer codes would do, but
/// a register has one shape in a function, and there are none for two more.
void ByteTiles::copyTail(Value row) {
  Type i8 = b.getI8Type();
  int64_t steps = getSteps(taps, inputs),
          whole = steps / kTileSteps * kTileSteps;
  Value number = b.sub(row, firstRow);
  Value from = b.elementPointer(base, i8,
                                b.add(b.mul(number, stride), b.idx(4 * whole)));
  Value to = b.elementPointer(
      copies, i8,
      b.add(b.mul(number, apart), b.idx(getInputBytes(taps, inputs))));
  b.store(b.constantInt(0, VectorType::get(kLine, i8)), to, i8, b.idx(0));
  int64_t at = 0, left = 4 * (steps - whole), zeros = kLine - left;
  for (unsigned bytes = kLine / 2; bytes >= 4; bytes /= 2)
    if (left - at >= bytes) {
      b.store(b.load(from, i8, b.idx(at), bytes), to, i8, b.idx(zeros + at));
      at += bytes;
    }
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

namespace {
/// Calls of the intrinsics of tiles.
class TileCalls {
public:
  explicit TileCalls(KernelBuilder &b) : b(b) {}

  Value zero() { return call("tilezero", {size(16), size(kLine)}); }
  /// `rowCount` rows of `bytes` bytes, `stride` (index) bytes apart.
  Value load(int64_t rowCount, int64_t bytes, Value pointer, Value stride) {
    return call("tileloadd64",
                {size(rowCount), size(bytes), pointer, wide(stride)});
  }
  void store(Value tile, Value pointer, Value stride) {
    LLVM::CallIntrinsicOp::create(
        b, b.getStringAttr("llvm.x86.tilestored64.internal"),
        ValueRange{size(16), size(kLine), pointer, wide(stride), tile});
  }
  /// sums + activations * codes; `bytes` of each row of activations count.
  Value dot(Value sums, Value activations, Value codes, int64_t bytes,
            TileDot dot) {
    StringRef names[] = {"tdpbusd", "tdpbssd", "tdpbf16ps"};
    return call(names[size_t(dot)],
                {size(16), size(kLine), size(bytes), sums, activations, codes});
  }

private:
  Value size(int64_t value) { return b.constantInt(value, b.getI16Type()); }
  Value wide(Value index) {
    return arith::IndexCastOp::create(b, b.getI64Type(), index);
  }
  Value call(StringRef name, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(
               b, LLVM::LLVMX86AMXType::get(b.getContext()),
               b.getStringAttr("llvm.x86." + name + ".internal"), operands)
        .getResult(0);
  }

  KernelBuilder &b;
};
} // namespace

void ByteTiles::emitProduct(Value tile, unsigned rowTiles,
                            ArrayRef<Value> blocks,
                            function_ref<void(Value, ArrayRef<Value>)> store) {
  TileCalls calls(b);
  SmallVector<Value> sums;
  for (unsigned i = 0; i < rowTiles * blocks.size(); ++i)
    sums.push_back(calls.zero());
  int64_t steps = getSteps(taps, inputs), whole = steps / kTileSteps;
  if (whole)
    sums = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), sums,
        [&](Value k, ArrayRef<Value> carried) {
          SmallVector<Value> next(carried);
          emitStep({base, stride, b.mul(k, b.idx(kLine))},
                   b.mul(k, b.idx(kTileBytes)), kTileSteps, tile, rowTiles,
                   blocks, next);
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (hasTail(taps, inputs))
    emitStep({copies, apart, b.idx(getInputBytes(taps, inputs))},
             b.idx((steps - kTileSteps) * kLine), kTileSteps, tile, rowTiles,
             blocks, sums);
  else if (!whole)
    emitStep({base, stride, b.idx(0)}, b.idx(0), steps, tile, rowTiles, blocks,
             sums);

  // [rows][blocks][16] of i32 or f32.
  Type sum = dot == TileDot::Bfloat16 ? Type(b.getF32Type()) : b.getI32Type();
  int64_t rowBytes = blocks.size() * kLine;
  for (unsigned r = 0; r < rowTiles; ++r)
    for (unsigned v = 0; v < blocks.size(); ++v)
      calls.store(sums[r * blocks.size() + v],
                  b.elementPointer(buffer, b.getI8Type(),
                                   b.idx(r * kRows * rowBytes + v * kLine)),
                  b.idx(rowBytes));
  Value begin = b.add(firstRow, b.mul(tile, b.idx(kRows)));
  Value end = b.minIdx(b.add(begin, b.idx(rowTiles * kRows)), endRow);
  b.forLoop(
      begin, end, b.idx(1),
      [&](Value row) {
        SmallVector<Value> vectors;
        Value at = b.mul(b.sub(row, begin), b.idx(blocks.size() * kDotColumns));
        for (unsigned v = 0; v < blocks.size(); ++v)
          vectors.push_back(b.load(
              buffer, sum, b.add(at, b.idx(v * kDotColumns)), kDotColumns));
        store(row, vectors);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Products of `steps` times four inputs with codes that begin `codesAt` bytes
/// behind those of a block.
void ByteTiles::emitStep(const TileRows &from, Value codesAt, int64_t steps,
                         Value tile, unsigned rowTiles, ArrayRef<Value> blocks,
                         MutableArrayRef<Value> sums) {
  TileCalls calls(b);
  Type i8 = b.getI8Type();
  SmallVector<Value> activations, codes;
  for (unsigned r = 0; r < rowTiles; ++r) {
    Value row = b.mul(b.add(tile, b.idx(r)), b.idx(kRows));
    Value at = b.add(b.mul(row, from.stride), from.offset);
    activations.push_back(calls.load(
        kRows, 4 * steps, b.elementPointer(from.base, i8, at), from.stride));
  }
  for (Value block : blocks)
    codes.push_back(calls.load(
        steps, kLine, b.elementPointer(block, i8, codesAt), b.idx(kLine)));
  for (unsigned r = 0; r < rowTiles; ++r)
    for (unsigned v = 0; v < blocks.size(); ++v) {
      Value &sum = sums[r * blocks.size() + v];
      sum = calls.dot(sum, activations[r], codes[v], 4 * steps, dot);
    }
}
