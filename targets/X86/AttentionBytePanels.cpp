//===- AttentionBytePanels.cpp - codes for attention ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AttentionByte.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;
using namespace qcc::x86::attention;

/// 127 / largest and its inverse for numbers of these largest magnitudes; 0
/// where they are tiny.
std::pair<Value, Value> ByteAttention::scaleOf(Value largest) {
  Type type = largest.getType();
  Value top = b.constant(127, type), zero = b.constant(0, type);
  Value tiny = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, largest,
                                     b.constant(AttentionOp::kTiny, type));
  Value inverse = arith::DivFOp::create(b, top, largest),
        scale = arith::DivFOp::create(b, largest, top);
  return {arith::SelectOp::create(b, tiny, zero, inverse),
          arith::SelectOp::create(b, tiny, zero, scale)};
}

/// A vector of a row of `end` elements from `column` on; zeros past its end.
Value ByteAttention::loadRow(const Operand &from, ArrayRef<Value> indices,
                             int64_t column, int64_t end) {
  SmallVector<Value> at(indices);
  at.push_back(b.idx(column));
  int64_t live = std::min<int64_t>(kLanes, end - column);
  return b.load(from.pointer, f32, from.offset(b, at), kLanes,
                live < kLanes ? b.firstLanes(b.idx(live), kLanes) : Value());
}

/// Writes the codes of a row of depth elements, plus `offset`, to `to` and its
/// scale to element `scaleAt` of `scale`; bytes behind are zero codes. Returns
/// the sum of the codes.
Value ByteAttention::roundRow(const Operand &from, ArrayRef<Value> indices,
                              Value to, Value scale, Value scaleAt,
                              int64_t offset) {
  SmallVector<Value> numbers;
  Value largest = b.constantInt(0, ints);
  for (int64_t d = 0; d < depth; d += kLanes) {
    numbers.push_back(loadRow(from, indices, d, depth));
    largest =
        arith::MaxSIOp::create(b, largest, getMagnitudeBits(b, numbers.back()));
  }
  Value bits =
      vector::ReductionOp::create(b, vector::CombiningKind::MAXSI, largest);
  auto [inverse, scaled] = scaleOf(arith::BitcastOp::create(b, f32, bits));
  b.store(scaled, scale, f32, scaleAt);
  Value factor = b.splat(inverse, kLanes), sum = b.constantInt(0, ints);
  VectorType bytes = VectorType::get(kLanes, i8);
  Value zeroCode = b.constantInt(offset, ints);
  for (int64_t d = 0; d < layout.codeBytes; d += kLanes) {
    Value code = zeroCode;
    if (d < depth) {
      Value rounded = roundToIntegers(
          b, arith::MulFOp::create(b, numbers[size_t(d / kLanes)], factor));
      sum = arith::AddIOp::create(b, sum, rounded);
      code = arith::AddIOp::create(b, rounded, zeroCode);
    }
    b.store(arith::TruncIOp::create(b, bytes, code), to, i8, b.idx(d));
  }
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, sum);
}

void ByteAttention::packQueries() {
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) {
        Value to = b.elementPointer(part(layout.queries), i8,
                                    b.mul(row, b.idx(layout.codeBytes)));
        roundRow(query, {batch, head, b.add(queryBegin, row)}, to,
                 part(layout.queryScales), row, /*offset=*/128);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Writes the block of keys as [depth / 4][key][4]. Keys past the last one
/// repeat it: their scores are never used.
void ByteAttention::packKeys(Value keyBegin, Value keyCount) {
  Value lastKey = b.sub(numKeys, b.idx(1));
  auto pack = [&](Value t) {
    b.forLoop(
        b.idx(0), b.idx(kLanes), b.idx(1),
        [&](Value i) {
          Value at = b.add(t, i);
          Value row = b.minIdx(b.add(keyBegin, at), lastKey);
          Value to = b.elementPointer(part(layout.keyRows), i8,
                                      b.mul(i, b.idx(layout.codeBytes)));
          Value sum = roundRow(key, {batch, keyHead, row}, to,
                               part(layout.keyScales), at, /*offset=*/0);
          sum = arith::MulIOp::create(b, sum, b.constantInt(-128, i32));
          b.store(sum, part(layout.keyOffsets), i32, at);
        },
        KernelBuilder::LoopHint::NoUnroll);
    int64_t words = llvm::divideCeil(depth, kStep);
    for (int64_t first = 0; first < words; first += kLanes) {
      SmallVector<Value> rows;
      for (unsigned i = 0; i < kLanes; ++i)
        rows.push_back(b.load(part(layout.keyRows), i32,
                              b.idx(i * layout.codeBytes / kStep + first),
                              kLanes));
      transpose(b, rows);
      for (int64_t i = 0; i < std::min<int64_t>(kLanes, words - first); ++i)
        b.store(rows[size_t(i)], part(layout.keys), i32,
                b.add(b.idx((first + i) * blockKeys), t));
    }
  };
  b.forLoop(b.idx(0), keyCount, b.idx(kLanes), pack,
            KernelBuilder::LoopHint::NoUnroll);
}

/// Writes `count` vectors of columns of the block of values, from the
/// `first`-th on, as [key / 4][column][4]. Keys past the last one repeat it:
/// their weights have code 0.
void ByteAttention::packValues(Value keyBegin, Value keyCount, int64_t first,
                               unsigned count) {
  auto load = [&](Value at, unsigned v) {
    return loadRow(value, {batch, keyHead, at}, (first + v) * kLanes, width);
  };
  SmallVector<Value> largest =
      b.forLoop(keyBegin, b.add(keyBegin, keyCount), b.idx(1),
                SmallVector<Value>(count, b.constantInt(0, ints)),
                [&](Value at, ArrayRef<Value> carried) {
                  SmallVector<Value> next;
                  for (unsigned v = 0; v < count; ++v)
                    next.push_back(arith::MaxSIOp::create(
                        b, carried[v], getMagnitudeBits(b, load(at, v))));
                  return next;
                });
  SmallVector<Value> inverses;
  for (unsigned v = 0; v < count; ++v) {
    auto [inverse, scale] =
        scaleOf(vector::BitCastOp::create(b, vec, largest[v]));
    inverses.push_back(inverse);
    b.store(scale, part(layout.valueScales), f32, b.idx((first + v) * kLanes));
  }
  Value lastKey = b.sub(numKeys, b.idx(1));
  auto pack = [&](Value t) {
    for (unsigned v = 0; v < count; ++v) {
      Value word;
      for (int64_t i = 0; i < kStep; ++i) {
        Value at = b.minIdx(b.add(b.add(keyBegin, t), b.idx(i)), lastKey);
        Value code = roundToIntegers(
            b, arith::MulFOp::create(b, load(at, v), inverses[v]));
        if (i < kStep - 1)
          code = arith::AndIOp::create(b, code, b.constantInt(255, ints));
        if (i > 0)
          code = arith::ShLIOp::create(b, code, b.constantInt(8 * i, ints));
        word = word ? Value(arith::OrIOp::create(b, word, code)) : code;
      }
      // [key / 4][column] words.
      Value at =
          b.add(b.mul(b.divFloor(t, b.idx(kStep)), b.idx(layout.columns)),
                b.idx((first + v) * kLanes));
      b.store(word, part(layout.values), i32, at);
    }
  };
  b.forLoop(b.idx(0), keyCount, b.idx(kStep), pack,
            KernelBuilder::LoopHint::NoUnroll);
}
