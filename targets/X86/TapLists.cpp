//===- TapLists.cpp - the taps of a window that are multiplied --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TapLists.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

static constexpr auto kNoUnroll = KernelBuilder::LoopHint::NoUnroll;

Value TapLists::load(Value at) {
  return arith::IndexCastOp::create(b, b.getIndexType(),
                                    b.load(base, b.getI32Type(), at));
}

void TapLists::store(Value number, Value at) {
  Type i32 = b.getI32Type();
  b.store(arith::IndexCastOp::create(b, i32, number), base, i32, at);
}

/// A tap is written behind the last one and stays there if it counts.
void TapLists::fill(Value list, function_ref<Value(Value)> isLive) {
  Value start = b.mul(list, b.idx(taps + 1)), first = b.add(start, b.idx(1));
  SmallVector<Value> end = b.forLoop(
      b.idx(0), b.idx(taps), b.idx(1), {first},
      [&](Value tap, ArrayRef<Value> at) -> SmallVector<Value> {
        store(tap, at[0]);
        return {b.add(at[0], isLive(tap))};
      },
      kNoUnroll);
  store(b.sub(end[0], first), start);
}

SmallVector<Value> TapLists::forTaps(
    Value list, ArrayRef<Value> init,
    function_ref<SmallVector<Value>(Value, Value, ArrayRef<Value>)> body) {
  Value start = b.mul(list, b.idx(taps + 1)), first = b.add(start, b.idx(1));
  return b.forLoop(
      b.idx(0), load(start), b.idx(1), init,
      [&](Value index, ArrayRef<Value> carried) {
        return body(index, load(b.add(first, index)), carried);
      },
      kNoUnroll);
}
