//===- ConvF32Panel.cpp - pixels of convolutions in panels ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ConvF32.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Taps of a window whose masks are kept at once.
static constexpr int64_t kUnrolledTaps = 9;
/// Widest window whose rows are copied by unrolled code.
static constexpr int64_t kUnrolledWidth = 16;

/// Copies the input elements that the task's pixels read from the channels
/// [channelBegin, channelBegin + channels) to a panel [K][nr] per tile.
void ConvGemm::emitPack(Value channelBegin, int64_t channels) {
  Value perImage = b.size(shape.inHeight * shape.inWidth);
  int64_t perGroup = *shape.inChannels / shape.groups;
  Value channel = b.add(b.add(b.mul(image, b.idx(*shape.inChannels)),
                              b.mul(group, b.idx(perGroup))),
                        channelBegin);
  Value base = b.elementPointer(input, f32, b.mul(channel, perImage));
  if (tapLists)
    return packTaps(base, channels);
  int64_t kCount = channels * shape.kernelSize();
  if (flat && shape.isPointwise()) {
    b.forLoop(
        b.idx(0), b.idx(channels), b.idx(1),
        [&](Value c) { copyPixels(base, b.mul(c, perImage), c, kCount); },
        KernelBuilder::LoopHint::NoUnroll);
    return;
  }
  Value vectors = b.divFloor(b.add(live, b.idx(lanes - 1)), b.idx(lanes));
  auto target = [&](Value at) {
    Value panel = b.mul(b.divFloor(at, b.idx(nr)), b.idx(kCount * nr));
    return b.add(panel, b.mod(at, b.idx(nr)));
  };
  auto masked = [&](Value at) {
    packMasked(base, b.add(column, at), target(at), channels);
  };
  auto forVectors = [&](llvm::function_ref<void(Value)> body) {
    b.forLoop(
        b.idx(0), vectors, b.idx(1),
        [&](Value v) { body(b.mul(v, b.idx(lanes))); },
        KernelBuilder::LoopHint::NoUnroll);
  };
  if (shape.strideWidth > 2 || shape.spreadHeight > 1 ||
      shape.spreadWidth > 1 || shape.kernelWidth > kUnrolledWidth) {
    forVectors(masked);
    return;
  }
  // Channel after channel, each in the order of memory.
  Value table = b.elementPointer(
      b.scratch(), f32,
      b.idx(blockChannels * taskTiles * shape.kernelSize() * nr));
  auto entry = [&](Value at) {
    return b.elementPointer(table, b.getI32Type(), at);
  };
  auto where = [&](bool isInside, Value at, function_ref<void(Value)> body) {
    Value from = arith::IndexCastOp::create(
        b, b.getIndexType(), b.load(entry(at), b.getI32Type(), b.idx(0)));
    Value wanted = isInside ? b.less(b.idx(-1), from) : b.less(from, b.idx(0));
    auto branch = scf::IfOp::create(b, wanted, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(branch.thenBlock());
    body(from);
  };
  forVectors([&](Value at) {
    Value from = arith::IndexCastOp::create(b, b.getI32Type(),
                                            findInside(b.add(column, at)));
    b.store(from, entry(at), b.getI32Type(), b.idx(0));
  });
  b.forLoop(
      b.idx(0), b.idx(channels), b.idx(1),
      [&](Value c) {
        Value pointer = b.elementPointer(base, f32, b.mul(c, perImage));
        forVectors([&](Value at) {
          where(true, at, [&](Value from) {
            packInside(b.elementPointer(pointer, f32, from),
                       b.mul(c, b.idx(shape.kernelSize())), target(at));
          });
        });
      },
      KernelBuilder::LoopHint::NoUnroll);
  forVectors([&](Value at) { where(false, at, [&](Value) { masked(at); }); });
}

/// One channel of a pointwise convolution: the pixels as they lie.
void ConvGemm::copyPixels(Value base, Value from, Value k, int64_t kCount) {
  Value whole = b.divFloor(live, b.idx(nr)),
        perChannel = b.size(shape.inHeight * shape.inWidth);
  from = b.add(from, column);
  auto target = [&](Value tile, Value at) {
    return b.add(b.mul(b.add(b.mul(tile, b.idx(kCount)), k), b.idx(nr)), at);
  };
  b.forLoop(
      b.idx(0), whole, b.idx(1),
      [&](Value tile) {
        Value start = b.add(from, b.mul(tile, b.idx(nr)));
        prefetchToL1(b, base, b.mul(b.add(start, perChannel), b.idx(4)));
        for (int64_t at = 0; at < nr; at += lanes)
          b.store(b.load(base, f32, b.add(start, b.idx(at)), lanes),
                  b.scratch(), f32, target(tile, b.idx(at)));
      },
      KernelBuilder::LoopHint::NoUnroll);
  Value rest = b.mod(live, b.idx(nr));
  b.forLoop(
      b.idx(0), rest, b.idx(lanes),
      [&](Value at) {
        Value start = b.add(b.add(from, b.mul(whole, b.idx(nr))), at);
        Value mask = b.firstLanes(b.sub(rest, at), lanes);
        b.store(b.load(base, f32, start, lanes, mask), b.scratch(), f32,
                target(whole, at));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// The offset in a channel of what the first tap reads for a vector of pixels
/// of one row whose windows lie in the image; -1 for others.
Value ConvGemm::findInside(Value pixel) {
  Value first = row, at = pixel;
  if (flat && getConstantSize(shape.outHeight) != 1) {
    Value width = b.size(shape.outWidth);
    first = b.add(row, b.divFloor(pixel, width));
    at = b.mod(pixel, width);
  }
  Value y = b.sub(b.mul(first, b.idx(shape.strideHeight)), b.idx(shape.padTop)),
        x = b.sub(b.mul(at, b.idx(shape.strideWidth)), b.idx(shape.padLeft));
  auto within = [&](Value from, int64_t reach, Value size) -> Value {
    return arith::AndIOp::create(b, b.less(b.idx(-1), from),
                                 b.less(b.add(from, b.idx(reach - 1)), size));
  };
  int64_t rows = (shape.kernelHeight - 1) * shape.dilationHeight + 1,
          columns = (shape.kernelWidth - 1) * shape.dilationWidth;
  Value offset = b.add(b.mul(y, b.size(shape.inWidth)), x);
  // Offsets are kept as 32 bits.
  Value isInside = arith::AndIOp::create(
      b, within(at, lanes, b.size(shape.outWidth)),
      arith::AndIOp::create(b, within(y, rows, b.size(shape.inHeight)),
                            within(x, columns + shape.strideWidth * lanes,
                                   b.size(shape.inWidth))));
  isInside =
      arith::AndIOp::create(b, isInside, b.less(offset, b.idx(INT32_MAX)));
  return arith::SelectOp::create(b, isInside, offset, b.idx(-1));
}

/// All taps of a vector of pixels in a channel, from `from` on. Meanwhile the
/// next channel is brought to L1.
void ConvGemm::packInside(Value from, Value k, Value target) {
  Value perImage = b.size(shape.inHeight * shape.inWidth),
        rowStep = b.mul(b.size(shape.inWidth), b.idx(shape.dilationHeight));
  SmallVector<int64_t> even;
  for (unsigned i = 0; i < lanes; ++i)
    even.push_back(2 * i);
  auto packRow = [&](Value kh) {
    Value pointer = b.elementPointer(from, f32, b.mul(kh, rowStep)),
          first = b.add(k, b.mul(kh, b.idx(shape.kernelWidth)));
    prefetchToL1(b, pointer, b.mul(perImage, b.idx(4)));
    for (int64_t kw = 0; kw < shape.kernelWidth; ++kw) {
      int64_t at = kw * shape.dilationWidth;
      Value pixels = b.load(pointer, f32, b.idx(at), lanes);
      if (shape.strideWidth == 2)
        pixels = vector::ShuffleOp::create(
            b, pixels, b.load(pointer, f32, b.idx(at + lanes), lanes), even);
      b.store(pixels, b.scratch(), f32,
              b.add(b.mul(b.add(first, b.idx(kw)), b.idx(nr)), target));
    }
  };
  if (shape.kernelSize() > kUnrolledTaps) {
    b.forLoop(b.idx(0), b.idx(shape.kernelHeight), b.idx(1), packRow,
              KernelBuilder::LoopHint::NoUnroll);
    return;
  }
  for (int64_t kh = 0; kh < shape.kernelHeight; ++kh)
    packRow(b.idx(kh));
}

/// A vector of pixels in all taps and channels, wherever it is. With a small
/// window all masks are kept and the taps run inside, so that a channel's rows
/// are read while they are in L1.
void ConvGemm::packMasked(Value base, Value pixel, Value target,
                          int64_t channels) {
  Value perImage = b.size(shape.inHeight * shape.inWidth);
  PixelReader reader(b, shape, flat, lanes);
  if (flat)
    reader.setPixels(row, pixel);
  else
    reader.setRow(row, pixel);
  auto store = [&](PixelReader &from, Value c, Value tap) {
    Value k = b.add(b.mul(c, b.idx(shape.kernelSize())), tap);
    b.store(from.read(base, b.mul(c, perImage)), b.scratch(), f32,
            b.add(b.mul(k, b.idx(nr)), target));
  };
  if (shape.kernelSize() <= kUnrolledTaps) {
    SmallVector<PixelReader> taps;
    for (int64_t i = 0; i < shape.kernelSize(); ++i) {
      taps.push_back(reader);
      taps.back().setTap(b.idx(i / shape.kernelWidth),
                         b.idx(i % shape.kernelWidth));
    }
    b.forLoop(
        b.idx(0), b.idx(channels), b.idx(1),
        [&](Value c) {
          for (auto [i, tap] : llvm::enumerate(taps))
            store(tap, c, b.idx(i));
        },
        KernelBuilder::LoopHint::NoUnroll);
    return;
  }
  b.forLoop(b.idx(0), b.idx(shape.kernelHeight), b.idx(1), [&](Value kh) {
    b.forLoop(b.idx(0), b.idx(shape.kernelWidth), b.idx(1), [&](Value kw) {
      reader.setTap(kh, kw);
      Value tap = b.add(b.mul(kh, b.idx(shape.kernelWidth)), kw);
      b.forLoop(b.idx(0), b.idx(channels), b.idx(1),
                [&](Value c) { store(reader, c, tap); });
    });
  });
}
