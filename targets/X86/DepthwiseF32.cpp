//===- DepthwiseF32.cpp - f32 convolution of each channel alone -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Vectors run along a row of output pixels. Which lanes of a tap fall in the
// padding is worked out once per vector of pixels and holds for all channels of
// a task, which run inside.
//
//===----------------------------------------------------------------------===//
#include "ConvShape.h"
#include "Emitters.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Channels and rows of a task.
constexpr int64_t kTaskChannels = 16;
constexpr int64_t kTaskRows = 8;
/// Taps whose masks are kept at once.
constexpr int64_t kMaxTaps = 49;

class DepthwiseF32Emitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "depthwise.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class Depthwise {
public:
  Depthwise(KernelBuilder &b, ConvOp op, const ConvShape &shape,
            Epilogue epilogue)
      : b(b), shape(shape), epilogue(std::move(epilogue)), f32(b.getF32Type()),
        stored(getStoredType(b.kernel().getBody().front())),
        lanes(b.caps().f32Lanes()),
        input(b.pointer(cast<BlockArgument>(op.getInput()))),
        weight(b.pointer(cast<BlockArgument>(op.getWeight()))),
        out(b.resultPointer(0)) {}
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitPixels(Value row, Value column, Value live);
  void emitChannel(Value channel, MutableArrayRef<PixelReader> taps, Value row,
                   Value column, Value live);

  KernelBuilder &b;
  ConvShape shape;
  Epilogue epilogue;
  Type f32, stored;
  unsigned lanes;
  Value input, weight, out;
  // Of the current task.
  Value image, firstChannel, endChannel;
  LogicalResult status = success();
};

/// The root, if it is a depthwise convolution that the emitter can do.
ConvOp findDepthwise(Block &body) {
  auto op = getRoot<ConvOp>(body);
  if (!op || !isF32Tensor(op.getInput().getType()) ||
      !isF32Tensor(op.getWeight().getType()) ||
      !isF32Tensor(op.getResult().getType()) ||
      !isa<BlockArgument>(op.getInput()) || !isa<BlockArgument>(op.getWeight()))
    return {};
  RankedTensorType weight = op.getWeight().getType();
  if (weight.getRank() > 4 || !weight.hasStaticShape() ||
      weight.getDimSize(1) != 1 || op.getGroups() < 2)
    return {};
  int64_t taps = 1;
  for (int64_t size : weight.getShape().drop_front(2))
    taps *= size;
  return taps > 0 && taps <= kMaxTaps ? op : ConvOp();
}

} // namespace

std::optional<KernelSchedule>
DepthwiseF32Emitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                           function_ref<bool(unsigned)>) const {
  ConvOp op = findDepthwise(dispatch.getBody().front());
  if (!op ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  ConvShape shape(op, op.getWeight().getType().getShape().drop_front(2));
  if (!shape.inChannels || !shape.outChannels)
    return std::nullopt;
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks = shape.batch *
                   llvm::divideCeil(*shape.outChannels, kTaskChannels) *
                   shape.outHeight.ceilDiv(kTaskRows);
  return schedule;
}

LogicalResult DepthwiseF32Emitter::emit(KernelBuilder &builder) const {
  ConvOp op = findDepthwise(builder.kernel().getBody().front());
  if (!op)
    return failure();
  ConvShape shape(op, op.getWeight().getType().getShape().drop_front(2));
  return Depthwise(builder, op, shape, *getEpilogue(op)).emit();
}

LogicalResult Depthwise::emit() {
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void Depthwise::emitTask(Value task) {
  Value rowBlocks = b.size(shape.outHeight.ceilDiv(kTaskRows));
  Value channelBlocks =
      b.idx(llvm::divideCeil(*shape.outChannels, kTaskChannels));
  Value firstRow = b.mul(b.mod(task, rowBlocks), b.idx(kTaskRows));
  Value rest = b.divFloor(task, rowBlocks);
  firstChannel = b.mul(b.mod(rest, channelBlocks), b.idx(kTaskChannels));
  endChannel = b.minIdx(b.add(firstChannel, b.idx(kTaskChannels)),
                        b.idx(*shape.outChannels));
  image = b.divFloor(rest, channelBlocks);
  Value endRow =
      b.minIdx(b.add(firstRow, b.idx(kTaskRows)), b.size(shape.outHeight));
  Value width = b.size(shape.outWidth);
  b.forLoop(
      firstRow, endRow, b.idx(1),
      [&](Value row) {
        b.forLoop(
            b.idx(0), width, b.idx(lanes),
            [&](Value column) {
              emitPixels(row, column, b.sub(width, column));
            },
            KernelBuilder::LoopHint::NoUnroll);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// One vector of output pixels (`live` or all lanes of it) of all channels.
void Depthwise::emitPixels(Value row, Value column, Value live) {
  SmallVector<PixelReader> taps;
  for (int64_t kh = 0; kh < shape.kernelHeight; ++kh)
    for (int64_t kw = 0; kw < shape.kernelWidth; ++kw) {
      PixelReader &tap = taps.emplace_back(b, shape, /*flat=*/false, lanes);
      tap.setRow(row, column);
      tap.setTap(b.idx(kh), b.idx(kw));
    }
  b.forLoop(
      firstChannel, endChannel, b.idx(1),
      [&](Value channel) { emitChannel(channel, taps, row, column, live); },
      KernelBuilder::LoopHint::NoUnroll);
}

void Depthwise::emitChannel(Value channel, MutableArrayRef<PixelReader> taps,
                            Value row, Value column, Value live) {
  int64_t perInput = *shape.outChannels / *shape.inChannels;
  Value source = b.add(b.mul(image, b.idx(*shape.inChannels)),
                       b.divFloor(channel, b.idx(perInput)));
  Value plane = b.mul(source, b.size(shape.inHeight * shape.inWidth));
  Value base = b.elementPointer(input, f32, plane);
  Value sum = zeros(b, 1, lanes)[0];
  Value weights = b.mul(channel, b.idx(shape.kernelSize()));
  for (auto [i, tap] : llvm::enumerate(taps)) {
    Value factor = b.load(weight, f32, b.add(weights, b.idx(i)));
    sum = b.fma(tap.read(base, b.idx(0)), b.splat(factor, lanes), sum);
  }
  Value target = b.add(b.mul(image, b.idx(*shape.outChannels)), channel);
  Value offset = b.add(b.mul(b.add(b.mul(target, b.size(shape.outHeight)), row),
                             b.size(shape.outWidth)),
                       column);
  SmallVector<Value> indices{image, channel};
  if (shape.spatialRank == 2)
    indices.push_back(row);
  indices.push_back(column);
  std::optional<int64_t> width = getConstantSize(shape.outWidth);
  bool whole = width && *width % lanes == 0;
  if (failed(storeWithEpilogue(b, epilogue, sum, indices, lanes,
                               whole ? Value() : live, out, stored, offset)))
    status = failure();
}

std::unique_ptr<KernelEmitter> x86::createDepthwiseF32Emitter() {
  return std::make_unique<DepthwiseF32Emitter>();
}
