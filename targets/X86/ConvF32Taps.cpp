//===- ConvF32Taps.cpp - taps of convolutions in the image ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each tile of pixels of a task has a list of the taps that read the image for
// one of them (TapLists.h), in scratch behind the panels.
//
//===----------------------------------------------------------------------===//
#include "ConvF32.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

static constexpr auto kNoUnroll = KernelBuilder::LoopHint::NoUnroll;

/// Makes the lists of the task's tiles.
void ConvGemm::listTaps() {
  Value tiles = b.divFloor(b.add(live, b.idx(nr - 1)), b.idx(nr));
  b.forLoop(
      b.idx(0), tiles, b.idx(1),
      [&](Value tile) {
        Value begin = b.mul(tile, b.idx(nr)),
              end = b.minIdx(b.add(begin, b.idx(nr)), live),
              first = b.add(column, begin),
              last = b.add(column, b.sub(end, b.idx(1)));
        tapLists->fill(tile, [&](Value tap) {
          return isTapLive(b.divFloor(tap, b.idx(shape.kernelWidth)),
                           b.mod(tap, b.idx(shape.kernelWidth)), first, last);
        });
      },
      kNoUnroll);
}

/// 1 (index) if the tap lies in the image for one of the pixels from `first` to
/// `last`, else 0.
Value ConvGemm::isTapLive(Value kh, Value kw, Value first, Value last) {
  Value firstRow = row, lastRow = row, firstColumn = first, lastColumn = last,
        width = b.size(shape.outWidth);
  if (flat) {
    firstRow = b.divFloor(first, width);
    lastRow = b.divFloor(last, width);
    firstColumn = b.mod(first, width);
    lastColumn = b.mod(last, width);
  }
  auto equal = [&](Value lhs, Value rhs) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lhs, rhs);
  };
  auto both = [&](Value lhs, Value rhs) -> Value {
    return arith::AndIOp::create(b, lhs, rhs);
  };
  auto where = [&](Value at, int64_t stride, Value k, int64_t dilation,
                   int64_t pad) {
    return b.sub(b.add(b.mul(at, b.idx(stride)), b.mul(k, b.idx(dilation))),
                 b.idx(pad));
  };
  auto columnOf = [&](Value at) {
    return where(at, shape.strideWidth, kw, shape.dilationWidth, shape.padLeft);
  };
  return b.forLoop(
      firstRow, b.add(lastRow, b.idx(1)), b.idx(1), {b.idx(0)},
      [&](Value at, ArrayRef<Value> found) -> SmallVector<Value> {
        Value begin = arith::SelectOp::create(b, equal(at, firstRow),
                                              firstColumn, b.idx(0)),
              end = arith::SelectOp::create(b, equal(at, lastRow), lastColumn,
                                            b.sub(width, b.idx(1)));
        Value y = where(at, shape.strideHeight, kh, shape.dilationHeight,
                        shape.padTop);
        Value inRow =
                  both(b.less(b.idx(-1), y), b.less(y, b.size(shape.inHeight))),
              inColumn = both(b.less(b.idx(-1), columnOf(end)),
                              b.less(columnOf(begin), b.size(shape.inWidth)));
        return {arith::SelectOp::create(b, both(inRow, inColumn), b.idx(1),
                                        found[0])};
      },
      kNoUnroll)[0];
}

/// Copies the pixels of all tiles, [tap of the list][channels][nr] each.
void ConvGemm::packTaps(Value base, int64_t channels) {
  Value tiles = b.divFloor(b.add(live, b.idx(nr - 1)), b.idx(nr));
  b.forLoop(
      b.idx(0), tiles, b.idx(1),
      [&](Value tile) {
        Value slots = b.mul(tile, b.idx(tapSlots));
        tapLists->forTaps(
            tile, {},
            [&](Value index, Value tap, ArrayRef<Value>) -> SmallVector<Value> {
              packTap(base, tile, b.add(slots, index), tap, channels);
              return {};
            });
      },
      kNoUnroll);
}

void ConvGemm::packTap(Value base, Value tile, Value slot, Value tap,
                       int64_t channels) {
  Value perImage = b.size(shape.inHeight * shape.inWidth),
        begin = b.mul(tile, b.idx(nr)),
        count = b.minIdx(b.sub(live, begin), b.idx(nr)),
        target = b.mul(slot, b.idx(channels * nr));
  b.forLoop(
      b.idx(0), count, b.idx(lanes),
      [&](Value at) {
        PixelReader reader(b, shape, flat, lanes);
        Value pixel = b.add(column, b.add(begin, at));
        if (flat)
          reader.setPixels(row, pixel);
        else
          reader.setRow(row, pixel);
        reader.setTap(b.divFloor(tap, b.idx(shape.kernelWidth)),
                      b.mod(tap, b.idx(shape.kernelWidth)));
        b.forLoop(
            b.idx(0), b.idx(channels), b.idx(1),
            [&](Value c) {
              b.store(reader.read(base, b.mul(c, perImage)), b.scratch(), f32,
                      b.add(b.add(target, b.mul(c, b.idx(nr))), at));
            },
            kNoUnroll);
      },
      kNoUnroll);
}
