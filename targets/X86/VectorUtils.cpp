//===- VectorUtils.cpp - small pieces of vector code ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Of a level of a transpose, what two rows become: those lanes of both, in
/// blocks of `half`, that stand in an upper row, and those in a lower.
static std::pair<Value, Value> exchange(KernelBuilder &b, Value first,
                                        Value second, int64_t half) {
  int64_t n = cast<VectorType>(first.getType()).getNumElements();
  SmallVector<int64_t> upper(n), lower(n);
  for (int64_t c = 0; c < n; ++c) {
    upper[c] = c & half ? n + c - half : c;
    lower[c] = c & half ? n + c : c + half;
  }
  return {vector::ShuffleOp::create(b, first, second, upper),
          vector::ShuffleOp::create(b, first, second, lower)};
}

void x86::transpose(KernelBuilder &b, MutableArrayRef<Value> rows) {
  // Swaps the off-diagonal quarters of blocks of 2, 4, 8, ...
  int64_t n = rows.size();
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t i = 0; i < n; ++i)
      if (!(i & half))
        std::tie(rows[i], rows[i + half]) =
            exchange(b, rows[i], rows[i + half], half);
}

Value x86::sumRows(KernelBuilder &b, ArrayRef<Value> rows) {
  // A transpose whose levels each add the halves that they make.
  SmallVector<Value> sums(rows);
  int64_t n = sums.size();
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t i = 0; i < n; i += 2 * half) {
      auto [upper, lower] = exchange(b, sums[i], sums[i + half], half);
      sums[i] = arith::AddFOp::create(b, upper, lower);
    }
  return sums[0];
}

Value x86::maximum(KernelBuilder &builder, Value a, Value b) {
  Value larger =
      arith::CmpFOp::create(builder, arith::CmpFPredicate::OGT, a, b);
  return arith::SelectOp::create(builder, larger, a, b);
}

/// Combines halves until one element is left.
static Value reduce(KernelBuilder &b, Value vector,
                    function_ref<Value(Value, Value)> combine) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  for (; lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i) {
      low.push_back(i);
      high.push_back(lanes / 2 + i);
    }
    vector = combine(vector::ShuffleOp::create(b, vector, vector, low),
                     vector::ShuffleOp::create(b, vector, vector, high));
  }
  return vector::ExtractOp::create(b, vector, int64_t(0));
}

Value x86::reduceMaximum(KernelBuilder &b, Value vector) {
  return reduce(b, vector, [&](Value x, Value y) { return maximum(b, x, y); });
}

Value x86::reduceSum(KernelBuilder &b, Value vector) {
  return reduce(b, vector, [&](Value x, Value y) -> Value {
    return arith::AddFOp::create(b, x, y);
  });
}

Value x86::getMagnitudeBits(KernelBuilder &b, Value numbers) {
  Type ints = cast<VectorType>(numbers.getType()).clone(b.getI32Type());
  return arith::AndIOp::create(b, vector::BitCastOp::create(b, ints, numbers),
                               b.constantInt(0x7fffffff, ints));
}

Value x86::roundToIntegers(KernelBuilder &b, Value numbers) {
  Type result = VectorType::get(16, b.getI32Type());
  return LLVM::CallIntrinsicOp::create(
             b, result, b.getStringAttr("llvm.lrint.v16i32.v16f32"),
             ValueRange{numbers})
      .getResult(0);
}

void x86::forPieces(
    KernelBuilder &b, Value vector, int64_t count,
    function_ref<void(Value piece, unsigned size, int64_t first)> body) {
  int64_t first = 0,
          size = cast<VectorType>(vector.getType()).getNumElements() / 2;
  for (; size > 0; size /= 2) {
    if (!(count & size))
      continue;
    Value piece = size > 1 ? Value(vector::ExtractStridedSliceOp::create(
                                 b, vector, ArrayRef<int64_t>{first},
                                 ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1}))
                           : Value(vector::ExtractOp::create(b, vector, first));
    body(piece, unsigned(size), first);
    first += size;
  }
}
