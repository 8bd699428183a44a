//===- DepthwiseF32.cpp - f32 convolution of each channel alone -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Vectors run along a row of output pixels, below AVX-512 two in turns: the sum
// of a pixel is one chain. The rows of a channel that a task
// reads are copied to scratch with their padding, even and odd columns apart
// for stride 2, so that each tap is a plain load. Rows that are too long for
// that, which shows at run time where the width is not known, are read in
// place: which lanes of a tap fall in the padding is worked out once per vector
// of pixels and holds for all channels of a task, which run inside.
//
//===----------------------------------------------------------------------===//
#include "DepthwiseF32.h"
#include "ConvShape.h"
#include "CopiedRows.h"
#include "Emitters.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Channels and rows of a task.
constexpr int64_t kTaskChannels = 16;
constexpr int64_t kTaskRows = 8;
/// Taps whose masks are kept at once.
constexpr int64_t kMaxTaps = 49;

/// Bytes of a task's copied rows.
constexpr int64_t kMaxCopyBytes = 64 << 10;

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
        out(b.resultPointer(0)),
        copy(CopiedRows::get(shape, kTaskRows, kMaxCopyBytes)) {}
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitInPlace(Value firstRow, Value endRow);
  void emitCopied(Value channel, Value firstRow, Value endRow);
  void emitRow(Value channel, Value row, Value rows, ArrayRef<Value> weights);
  Value sumTaps(Value rows, Value column, ArrayRef<Value> weights,
                unsigned count);
  void emitRest(Value sums, Value channel, Value row, int64_t column);
  SmallVector<Value> getIndices(Value channel, Value row, Value column);
  Value getOffset(Value channel, Value row, Value column);
  LogicalResult storePixels(Value sum, Value channel, Value row, Value column,
                            unsigned count, Value live);
  void emitPixels(Value row, Value column, Value live);
  void emitChannel(Value channel, MutableArrayRef<PixelReader> taps, Value row,
                   Value column, Value live);

  KernelBuilder &b;
  ConvShape shape;
  Epilogue epilogue;
  Type f32, stored;
  unsigned lanes;
  Value input, weight, out;
  std::optional<CopiedRows> copy;
  // Of the current task.
  Value image, firstChannel, endChannel;
  LogicalResult status = success();
};

} // namespace

ConvOp x86::findDepthwiseF32(Block &body) {
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

std::optional<KernelSchedule>
DepthwiseF32Emitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                           function_ref<bool(unsigned)>) const {
  ConvOp op = findDepthwiseF32(dispatch.getBody().front());
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
  if (std::optional<CopiedRows> copy =
          CopiedRows::get(shape, kTaskRows, kMaxCopyBytes))
    schedule.scratchBytes = copy->getBytes();
  return schedule;
}

LogicalResult DepthwiseF32Emitter::emit(KernelBuilder &builder) const {
  ConvOp op = findDepthwiseF32(builder.kernel().getBody().front());
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
  auto fromCopies = [&] {
    b.forLoop(
        firstChannel, endChannel, b.idx(1),
        [&](Value channel) { emitCopied(channel, firstRow, endRow); },
        KernelBuilder::LoopHint::NoUnroll);
  };
  if (!copy)
    return emitInPlace(firstRow, endRow);
  if (copy->isUnrolled)
    return fromCopies();
  Value fits =
      b.less(b.size(copy->getUsed(kMostLanes)), b.idx(copy->plane + 1));
  auto branch = scf::IfOp::create(b, fits, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  fromCopies();
  b.setInsertionPointToStart(branch.elseBlock());
  emitInPlace(firstRow, endRow);
}

/// The rows [firstRow, endRow) of the task's channels, whose inputs are read
/// where they are.
void Depthwise::emitInPlace(Value firstRow, Value endRow) {
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

/// The rows [firstRow, endRow) of a channel, from a copy.
void Depthwise::emitCopied(Value channel, Value firstRow, Value endRow) {
  constexpr auto noUnroll = KernelBuilder::LoopHint::NoUnroll;
  int64_t perInput = *shape.outChannels / *shape.inChannels;
  Value source = b.add(b.mul(image, b.idx(*shape.inChannels)),
                       b.divFloor(channel, b.idx(perInput)));
  Value height = b.size(shape.inHeight), width = b.size(shape.inWidth);
  Value base =
      b.elementPointer(input, f32, b.mul(source, b.mul(height, width)));
  RowCopier(b, shape, *copy, lanes)
      .copyRows(base, firstRow, endRow, b.scratch());
  SmallVector<Value> weights;
  for (int64_t i = 0; i < shape.kernelSize(); ++i)
    weights.push_back(
        b.load(weight, f32,
               b.add(b.mul(channel, b.idx(shape.kernelSize())), b.idx(i))));
  b.forLoop(
      firstRow, endRow, b.idx(1),
      [&](Value row) {
        Value first = b.mul(b.sub(row, firstRow),
                            b.idx(shape.strideHeight * copy->getRowFloats()));
        emitRow(channel, row, b.elementPointer(b.scratch(), f32, first),
                weights);
      },
      noUnroll);
}

/// A row of the output, `rows` being where its window begins.
void Depthwise::emitRow(Value channel, Value row, Value rows,
                        ArrayRef<Value> weights) {
  Value width = b.size(shape.outWidth);
  auto emitVectors = [&](Value column, unsigned count, Value live) {
    if (failed(storePixels(sumTaps(rows, column, weights, count), channel, row,
                           column, count, live)))
      status = failure();
  };
  auto emitWhole = [&](Value from, unsigned count) {
    Value blocks = b.divFloor(b.sub(width, from), b.idx(count)),
          end = b.add(from, b.mul(blocks, b.idx(count)));
    b.forLoop(
        from, end, b.idx(count),
        [&](Value column) { emitVectors(column, count, Value()); },
        KernelBuilder::LoopHint::NoUnroll);
    return end;
  };
  Value whole = emitWhole(b.idx(0), kMostLanes);
  if (std::optional<int64_t> known = getConstantSize(shape.outWidth)) {
    int64_t rest = *known % kMostLanes;
    unsigned count = rest > int64_t(lanes) ? kMostLanes : lanes;
    if (rest == int64_t(lanes))
      emitVectors(whole, lanes, Value());
    else if (rest != 0)
      emitRest(sumTaps(rows, whole, weights, count), channel, row,
               *known - rest);
    return;
  }
  if (lanes < kMostLanes)
    whole = emitWhole(whole, lanes);
  auto branch = scf::IfOp::create(b, b.less(whole, width),
                                  /*withElseRegion=*/false);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  emitVectors(whole, lanes, b.sub(width, whole));
}

/// The sums of `count` pixels from `column` on.
Value Depthwise::sumTaps(Value rows, Value column, ArrayRef<Value> weights,
                         unsigned count) {
  Value sum = zeros(b, 1, count)[0];
  for (auto [i, factor] : llvm::enumerate(weights)) {
    int64_t at = copy->getTapOffset(shape, int64_t(i) / shape.kernelWidth,
                                    int64_t(i) % shape.kernelWidth);
    sum = b.fma(b.load(rows, f32, b.add(column, b.idx(at)), count),
                b.splat(factor, count), sum);
  }
  return sum;
}

/// The last pixels of a row, fewer than the lanes of `sums`.
void Depthwise::emitRest(Value sums, Value channel, Value row, int64_t column) {
  auto indices = [&](int64_t at) {
    return getIndices(channel, row, b.idx(column + at));
  };
  auto offset = [&](int64_t at) {
    return getOffset(channel, row, b.idx(column + at));
  };
  if (failed(storeFirst(b, epilogue, sums,
                        *getConstantSize(shape.outWidth) - column, out, stored,
                        {indices, offset})))
    status = failure();
}

/// Of a pixel in the result.
SmallVector<Value> Depthwise::getIndices(Value channel, Value row,
                                         Value column) {
  SmallVector<Value> indices{image, channel};
  if (shape.spatialRank == 2)
    indices.push_back(row);
  indices.push_back(column);
  return indices;
}

Value Depthwise::getOffset(Value channel, Value row, Value column) {
  Value target = b.add(b.mul(image, b.idx(*shape.outChannels)), channel);
  return b.add(b.mul(b.add(b.mul(target, b.size(shape.outHeight)), row),
                     b.size(shape.outWidth)),
               column);
}

LogicalResult Depthwise::storePixels(Value sum, Value channel, Value row,
                                     Value column, unsigned count, Value live) {
  return storeWithEpilogue(b, epilogue, sum, getIndices(channel, row, column),
                           count, live, out, stored,
                           getOffset(channel, row, column));
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
  std::optional<int64_t> width = getConstantSize(shape.outWidth);
  bool whole = width && *width % lanes == 0;
  if (failed(storePixels(sum, channel, row, column, lanes,
                         whole ? Value() : live)))
    status = failure();
}

std::unique_ptr<KernelEmitter> x86::createDepthwiseF32Emitter() {
  return std::make_unique<DepthwiseF32Emitter>();
}
