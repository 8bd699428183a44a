//===- NibblePanel.cpp - weights of 4 bits, expanded ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "NibblePanel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Steps of four rows of a block.
static int64_t getSteps(const DotSizes &sizes, const DotSchedule &cut) {
  return cut.isFlat ? llvm::divideCeil(sizes.terms(), kDotRows)
                    : sizes.taps * llvm::divideCeil(sizes.inputs, kDotRows);
}

/// Bytes of an expanded block: a code has twice the bits.
static int64_t getBlockBytes(const DotSizes &sizes, const DotSchedule &cut) {
  return kDotHeader + getSteps(sizes, cut) * kDotStepNibbles * 2;
}

int64_t NibblePanel::getStoredBytes(const DotSizes &sizes,
                                    const DotSchedule &cut) {
  return kDotHeader + getSteps(sizes, cut) * kDotStepNibbles;
}

int64_t NibblePanel::getBytes(const DotSizes &sizes, const DotSchedule &cut) {
  return std::min(kSlots, sizes.blocks()) * getBlockBytes(sizes, cut);
}

NibblePanel::NibblePanel(KernelBuilder &b, const DotSizes &sizes,
                         const DotSchedule &cut, Value base)
    : b(b), steps(getSteps(sizes, cut)), blockBytes(getBlockBytes(sizes, cut)),
      base(base) {}

Value NibblePanel::getBlock(unsigned slot) {
  return b.elementPointer(base, b.getI8Type(),
                          b.idx(int64_t(slot) * blockBytes));
}

void NibblePanel::expand(Value from, unsigned slot) {
  Type i8 = b.getI8Type(), i32 = b.getI32Type();
  Value to = getBlock(slot);
  b.store(b.load(from, i32, b.idx(0), kDotColumns), to, i32, b.idx(0));
  auto bytes = VectorType::get(kDotStepNibbles, i8),
       words = VectorType::get(kDotStepNibbles / 2, b.getI16Type());
  Value mask = b.constantInt(15, bytes), sign = b.constantInt(8, bytes);
  // Half a byte in two's complement as a byte.
  auto widen = [&](Value vector) -> Value {
    Value low = arith::AndIOp::create(b, vector, mask);
    return arith::SubIOp::create(b, arith::XOrIOp::create(b, low, sign), sign);
  };
  Value codes = b.elementPointer(to, i8, b.idx(kDotHeader));
  b.forLoop(
      b.idx(0), b.idx(steps), b.idx(1),
      [&](Value step) {
        Value both = b.load(
            from, i8,
            b.add(b.idx(kDotHeader), b.mul(step, b.idx(kDotStepNibbles))),
            unsigned(kDotStepNibbles));
        // Bytes have no shift of their own; what crosses is masked away.
        Value high = vector::BitCastOp::create(
            b, bytes,
            arith::ShRUIOp::create(b, vector::BitCastOp::create(b, words, both),
                                   b.constantInt(4, words)));
        Value at = b.mul(step, b.idx(2 * kDotStepNibbles));
        b.store(widen(both), codes, i8, at);
        b.store(widen(high), codes, i8, b.add(at, b.idx(kDotStepNibbles)));
      },
      KernelBuilder::LoopHint::NoUnroll);
}
