//===- NibblePanel.cpp - weights of 4 bits, expanded ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "NibblePanel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Units of codes of a block: pairs of rows, or steps of four.
static int64_t getUnits(const DotSizes &sizes, const DotSchedule &cut) {
  return cut.isPaired ? llvm::divideCeil(sizes.terms(), 2)
                      : sizes.taps * llvm::divideCeil(sizes.inputs, kDotRows);
}

static int64_t getUnitBytes(const DotSchedule &cut) {
  return cut.isPaired ? kPairNibbles : kDotStepNibbles;
}

/// Bytes of an expanded block: a code has four times or twice the bits.
static int64_t getBlockBytes(const DotSizes &sizes, const DotSchedule &cut) {
  return kDotHeader +
         getUnits(sizes, cut) * getUnitBytes(cut) * (cut.isWide ? 4 : 2);
}

int64_t NibblePanel::getStoredBytes(const DotSizes &sizes,
                                    const DotSchedule &cut) {
  return kDotHeader + getUnits(sizes, cut) * getUnitBytes(cut);
}

int64_t NibblePanel::getBytes(const DotSizes &sizes, const DotSchedule &cut) {
  return std::min(kSlots, sizes.blocks()) * getBlockBytes(sizes, cut);
}

NibblePanel::NibblePanel(KernelBuilder &b, const DotSizes &sizes,
                         const DotSchedule &cut, Value base)
    : b(b), isWide(cut.isWide), units(getUnits(sizes, cut)),
      unitBytes(getUnitBytes(cut)), blockBytes(getBlockBytes(sizes, cut)),
      base(base) {}

Value NibblePanel::getBlock(unsigned slot) {
  return b.elementPointer(base, b.getI8Type(),
                          b.idx(int64_t(slot) * blockBytes));
}

void NibblePanel::expand(Value from, unsigned slot) {
  Type i8 = b.getI8Type(), i32 = b.getI32Type();
  Value to = getBlock(slot);
  b.store(b.load(from, i32, b.idx(0), kDotColumns), to, i32, b.idx(0));
  auto bytes = VectorType::get(unitBytes, i8),
       words = VectorType::get(unitBytes / 2, b.getI16Type());
  Value mask = b.constantInt(15, bytes), sign = b.constantInt(8, bytes);
  // Half a byte in two's complement as a byte.
  auto widen = [&](Value vector) -> Value {
    Value low = arith::AndIOp::create(b, vector, mask);
    Value code =
        arith::SubIOp::create(b, arith::XOrIOp::create(b, low, sign), sign);
    if (isWide)
      return arith::ExtSIOp::create(b, bytes.clone(b.getI16Type()), code);
    return code;
  };
  Type stored = isWide ? b.getI16Type() : i8;
  Value codes = b.elementPointer(to, i8, b.idx(kDotHeader));
  b.forLoop(
      b.idx(0), b.idx(units), b.idx(1),
      [&](Value unit) {
        Value both = b.load(
            from, i8, b.add(b.idx(kDotHeader), b.mul(unit, b.idx(unitBytes))),
            unsigned(unitBytes));
        // Bytes have no shift of their own; what crosses is masked away.
        Value high = vector::BitCastOp::create(
            b, bytes,
            arith::ShRUIOp::create(b, vector::BitCastOp::create(b, words, both),
                                   b.constantInt(4, words)));
        Value at = b.mul(unit, b.idx(2 * unitBytes));
        b.store(widen(both), codes, stored, at);
        b.store(widen(high), codes, stored, b.add(at, b.idx(unitBytes)));
      },
      KernelBuilder::LoopHint::NoUnroll);
}
