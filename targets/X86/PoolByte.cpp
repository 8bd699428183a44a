//===- PoolByte.cpp - maximum of windows of bytes ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// With the channels last a vector holds channels, and each tap of the window is
// one maximum. Inputs are found through the table of ByteRows.
//
//===----------------------------------------------------------------------===//
#include "ByteRows.h"
#include "Emitters.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Taps of a window that are unrolled.
constexpr int64_t kMaxTaps = 81;
/// Bytes read that make a task worth its start, and the most pixels of one.
constexpr int64_t kTaskBytes = 1 << 17;
constexpr int64_t kMaxTaskPixels = 256;

class PoolByteEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "pool.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// The pooling that alone is in a body, if the emitter can do it.
PoolOp findPool(Block &body) {
  auto op = getRoot<PoolOp>(body);
  if (!op || !op.getChannelsLast() || !isa<BlockArgument>(op.getInput()) ||
      !llvm::hasSingleElement(body.without_terminator()) ||
      op.getInput().getType().getRank() > 4)
    return {};
  auto type = dyn_cast<IntegerType>(op.getInput().getType().getElementType());
  int64_t taps = 1;
  for (int64_t size : op.getKernel())
    taps *= size;
  bool hasChannels =
      getConstantSize(getDims(op.getInput().getType()).back()).value_or(0) > 0;
  return type && type.getWidth() == 8 && hasChannels && taps >= 1 &&
                 taps <= kMaxTaps
             ? op
             : PoolOp();
}

/// Maximum of the channels [channel, channel + lanes) of a pixel's taps.
Value emitMaximum(KernelBuilder &b, ArrayRef<Value> taps, Value channel,
                  unsigned lanes, bool isUnsigned) {
  Value result;
  for (Value tap : taps) {
    Value bytes = b.load(tap, b.getI8Type(), channel, lanes);
    if (!result)
      result = bytes;
    else if (isUnsigned)
      result = arith::MaxUIOp::create(b, result, bytes);
    else
      result = arith::MaxSIOp::create(b, result, bytes);
  }
  return result;
}

} // namespace

std::optional<KernelSchedule>
PoolByteEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                       function_ref<bool(unsigned)>) const {
  PoolOp op = findPool(dispatch.getBody().front());
  if (!op ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  int64_t channels = *getConstantSize(dims.back()), taps = 1;
  dims.pop_back();
  for (int64_t size : op.getKernel())
    taps *= size;
  int64_t pixels = std::clamp<int64_t>(
      llvm::divideCeil(kTaskBytes, taps * channels), 4, kMaxTaskPixels);
  Builder builder(op->getContext());
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      builder.getNamedAttr("pixels", builder.getI64IntegerAttr(pixels)));
  schedule.tasks = product(dims, op.getContext()).ceilDiv(pixels);
  schedule.scratchBytes = ByteRows::getScratchBytes(channels, pixels * taps);
  return schedule;
}

LogicalResult PoolByteEmitter::emit(KernelBuilder &b) const {
  PoolOp op = findPool(b.kernel().getBody().front());
  if (!op)
    return failure();
  ConvShape shape(op, op.getKernel());
  SmallVector<AffineExpr> leading = getDims(op.getResult().getType());
  int64_t channels = *getConstantSize(leading.pop_back_val());
  ByteRows rows(b, op, shape, channels, /*readsWords=*/false);
  bool isUnsigned =
      op.getInput().getType().getElementType().isUnsignedInteger();
  int64_t pixels =
      b.kernel().getSchedule().getAs<IntegerAttr>("pixels").getInt();
  unsigned widest = b.caps().vectorBits / 8;
  Value out = b.resultPointer(0);
  Type i8 = b.getI8Type();

  rows.emitZeroRow();
  auto emitPixel = [&](Value pixel, Value first) {
    SmallVector<Value> taps;
    for (int64_t tap = 0; tap < shape.kernelSize(); ++tap)
      taps.push_back(rows.getPointer(pixel, first, b.idx(tap)));
    auto emitChannels = [&](Value channel, unsigned lanes) {
      b.store(emitMaximum(b, taps, channel, lanes, isUnsigned), out, i8,
              b.add(b.mul(pixel, b.idx(channels)), channel));
    };
    int64_t at = channels / widest * widest;
    if (at)
      b.forLoop(
          b.idx(0), b.idx(at), b.idx(widest),
          [&](Value channel) { emitChannels(channel, widest); },
          KernelBuilder::LoopHint::NoUnroll);
    // No byte beyond the last channel is read: the pieces that are left.
    for (unsigned lanes = widest / 2; lanes > 0; lanes /= 2)
      if (channels - at >= int64_t(lanes)) {
        emitChannels(b.idx(at), lanes);
        at += lanes;
      }
  };
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        Value first = b.mul(task, b.idx(pixels)),
              end = b.minIdx(b.add(first, b.idx(pixels)),
                             b.size(product(leading, b.getContext())));
        rows.emitTable(b.idx(0), first, end);
        b.forLoop(
            first, end, b.idx(1), [&](Value pixel) { emitPixel(pixel, first); },
            KernelBuilder::LoopHint::NoUnroll);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return success();
}

std::unique_ptr<KernelEmitter> x86::createPoolByteEmitter() {
  return std::make_unique<PoolByteEmitter>();
}
