//===- DepthwiseSmallF32.cpp - depthwise f32 of small pictures --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rows of a small picture fill no vectors, and a large window reads a factor
// per tap for few pixels, so vectors hold channels: the pictures of as many
// channels as a vector has lanes, or bands of their rows, are transposed to
// scratch, between zeros for the padding, and each tap of the window is a
// vector times a vector. Sums are transposed back before the epilogue. Taps are
// added in the order of DepthwiseF32.cpp: results are the same.
//
//===----------------------------------------------------------------------===//
#include "ConvShape.h"
#include "DepthwiseF32.h"
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

constexpr auto kNoUnroll = KernelBuilder::LoopHint::NoUnroll;
/// Most bytes of a task's pictures, at the largest level.
constexpr int64_t kMostBytes = 128 << 10;
/// Fewer rows of a band are not worth copying those around them again.
constexpr int64_t kLeastRows = 4;
/// Products that make a task worth its start.
constexpr int64_t kTaskProducts = 1 << 15;
/// Pixels that are summed at once: with a vector of weights and one of inputs
/// they fit in 16 registers.
constexpr int64_t kMostSums = 8;

/// The sizes of a small convolution.
struct Picture {
  int64_t inHeight, inWidth, outHeight, outWidth;
  int64_t rows;          ///< of the result in a band
  int64_t height, width; ///< of the copy of a band with its padding
  int64_t taps, channels;

  /// None where sizes are not known or the convolution is no such one.
  static std::optional<Picture> get(ConvOp op, const ConvShape &shape);
  /// Cuts the result into bands of equal height, few if they may be larger;
  /// false if they would be too low.
  bool chooseRows(const ConvShape &shape);
  int64_t getPixels() const { return rows * outWidth; } ///< of a band
  int64_t getBands() const { return outHeight / rows; }
  int64_t getInPixels() const { return inHeight * inWidth; }
  /// Floats of scratch of one channel: the copy, its weights, its sums.
  int64_t getCopyFloats() const { return height * width; }
  int64_t getSumFloats() const {
    return llvm::alignTo(getPixels(), kMostLanes);
  }
  int64_t getFloats() const {
    return getCopyFloats() + llvm::alignTo(taps, kMostLanes) + getSumFloats();
  }
  /// Channels of a task, a multiple of the lanes of all levels.
  int64_t getTaskChannels() const {
    int64_t perBlock = kMostLanes * getPixels() * taps;
    return kMostLanes * llvm::divideCeil(kTaskProducts, perBlock);
  }
};

class DepthwiseSmallF32Emitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "depthwise.small.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class SmallDepthwise {
public:
  SmallDepthwise(KernelBuilder &b, ConvOp op, const ConvShape &shape,
                 const Picture &picture, Epilogue epilogue)
      : b(b), shape(shape), picture(picture), epilogue(std::move(epilogue)),
        f32(b.getF32Type()),
        stored(getStoredType(b.kernel().getBody().front())),
        lanes(int64_t(b.caps().f32Lanes())),
        input(b.pointer(cast<BlockArgument>(op.getInput()))),
        weight(b.pointer(cast<BlockArgument>(op.getWeight()))),
        out(b.resultPointer(0)) {
    int64_t copy = picture.getCopyFloats() * lanes,
            taps = llvm::alignTo(picture.taps, lanes) * lanes;
    weights = b.elementPointer(b.scratch(), f32, b.idx(copy));
    sums = b.elementPointer(b.scratch(), f32, b.idx(copy + taps));
  }
  LogicalResult emit();

private:
  void emitTask(Value task);
  void clearCopy();
  void emitChannels(Value channel);
  Value getChannel(Value channel, int64_t lane);
  void copyTransposed(Value from, Value channel, int64_t distance,
                      int64_t length,
                      function_ref<void(Value vector, int64_t at)> store);
  void copyBand(Value channel);
  void copyRow(Value base, Value channel, Value row, Value target);
  void copyPicture(Value channel);
  void sumRow(Value row);
  void sumPixels(Value row, Value column, int64_t count);
  void transposeSums();
  void emitResults(Value channel, Value planes);
  void storePixels(Value channel, Value planes, Value pixel, int64_t count);

  KernelBuilder &b;
  ConvShape shape;
  Picture picture;
  Epilogue epilogue;
  Type f32, stored;
  int64_t lanes;
  Value input, weight, out;
  Value weights; ///< [taps][lanes]
  Value sums;    ///< [pixels][lanes], then [blocks of pixels][lanes][pixels]
  Value image, firstRow; ///< of the current task
  LogicalResult status = success();
};

std::optional<Picture> Picture::get(ConvOp op, const ConvShape &shape) {
  Picture picture;
  for (auto [expr, size] : {std::pair(shape.inHeight, &picture.inHeight),
                            std::pair(shape.inWidth, &picture.inWidth),
                            std::pair(shape.outHeight, &picture.outHeight),
                            std::pair(shape.outWidth, &picture.outWidth)}) {
    std::optional<int64_t> known = getConstantSize(expr);
    if (!known || *known <= 0 || *known > kMostBytes)
      return std::nullopt;
    *size = *known;
  }
  picture.taps = shape.kernelSize();
  picture.channels = shape.outChannels.value_or(0);
  if (picture.channels < kMostLanes || shape.groups != picture.channels ||
      shape.inChannels != shape.outChannels || shape.spatialRank != 2 ||
      picture.outWidth > kBandPixels || shape.padTop < 0 || shape.padLeft < 0 ||
      std::max({shape.padTop, shape.padLeft, shape.dilationHeight,
                shape.dilationWidth, shape.strideHeight, shape.strideWidth}) >
          kBandPixels)
    return std::nullopt;
  picture.width =
      std::max(shape.padLeft + picture.inWidth,
               (picture.outWidth - 1) * shape.strideWidth +
                   (shape.kernelWidth - 1) * shape.dilationWidth + 1);
  if (!picture.chooseRows(shape))
    return std::nullopt;
  // A factor that is read serves whole vectors of a row there.
  Epilogue epilogue = *getEpilogue(op);
  bool fillsRows = picture.getBands() > 1 || picture.outWidth % kMostLanes == 0;
  if ((fillsRows && picture.taps < kManyTaps && !epilogue.hasFunctions()) ||
      !shape.canFlatten(epilogue))
    return std::nullopt;
  return picture;
}

bool Picture::chooseRows(const ConvShape &shape) {
  for (rows = std::min(outHeight, kBandPixels / outWidth); rows > 0; --rows) {
    if (outHeight % rows)
      continue;
    height = (rows - 1) * shape.strideHeight +
             (shape.kernelHeight - 1) * shape.dilationHeight + 1;
    if (getFloats() * kMostLanes * 4 <= kMostBytes)
      return rows >= std::min(outHeight, kLeastRows);
  }
  return false;
}

} // namespace

std::optional<KernelSchedule>
DepthwiseSmallF32Emitter::match(DispatchOp dispatch,
                                ArrayRef<Capabilities> levels,
                                function_ref<bool(unsigned)>) const {
  ConvOp op = findDepthwiseF32(dispatch.getBody().front());
  if (!op ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  ConvShape shape(op, op.getWeight().getType().getShape().drop_front(2));
  std::optional<Picture> picture = Picture::get(op, shape);
  if (!picture)
    return std::nullopt;
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks =
      shape.batch *
      llvm::divideCeil(picture->channels, picture->getTaskChannels()) *
      picture->getBands();
  schedule.scratchBytes = picture->getFloats() * kMostLanes * 4;
  return schedule;
}

LogicalResult DepthwiseSmallF32Emitter::emit(KernelBuilder &builder) const {
  ConvOp op = findDepthwiseF32(builder.kernel().getBody().front());
  if (!op)
    return failure();
  ConvShape shape(op, op.getWeight().getType().getShape().drop_front(2));
  std::optional<Picture> picture = Picture::get(op, shape);
  if (!picture)
    return failure();
  return SmallDepthwise(builder, op, shape, *picture, *getEpilogue(op)).emit();
}

LogicalResult SmallDepthwise::emit() {
  clearCopy();
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      kNoUnroll);
  return status;
}

/// Columns of the padding are not written later.
void SmallDepthwise::clearCopy() {
  Value zero = zeros(b, 1, lanes)[0];
  b.forLoop(
      b.idx(0), b.idx(picture.getCopyFloats() * lanes), b.idx(lanes),
      [&](Value at) { b.store(zero, b.scratch(), f32, at); }, kNoUnroll);
}

void SmallDepthwise::emitTask(Value task) {
  int64_t perTask = picture.getTaskChannels();
  Value tasks = b.idx(llvm::divideCeil(picture.channels, perTask)),
        bands = b.idx(picture.getBands());
  firstRow = b.mul(b.mod(task, bands), b.idx(picture.rows));
  Value rest = b.divFloor(task, bands);
  Value first = b.mul(b.mod(rest, tasks), b.idx(perTask));
  Value end = b.minIdx(b.add(first, b.idx(perTask)), b.idx(picture.channels));
  image = b.divFloor(rest, tasks);
  b.forLoop(
      first, end, b.idx(lanes), [&](Value channel) { emitChannels(channel); },
      kNoUnroll);
}

/// `lanes` channels from `channel` on, or as many as there are.
void SmallDepthwise::emitChannels(Value channel) {
  copyTransposed(weight, channel, picture.taps, picture.taps,
                 [&](Value vector, int64_t tap) {
                   b.store(vector, weights, f32, b.idx(tap * lanes));
                 });
  // Rows that fill vectors are transposed by themselves.
  if (picture.getBands() == 1 && picture.inWidth < 2 * lanes &&
      picture.getInPixels() <= kBandPixels)
    copyPicture(channel);
  else
    copyBand(channel);
  b.forLoop(
      b.idx(0), b.idx(picture.rows), b.idx(1), [&](Value row) { sumRow(row); },
      kNoUnroll);
  transposeSums();
  Value count = b.minIdx(b.sub(b.idx(picture.channels), channel), b.idx(lanes));
  b.forLoop(
      b.idx(0), count, b.idx(1),
      [&](Value lane) {
        emitResults(b.add(channel, lane),
                    b.elementPointer(sums, f32, b.mul(lane, b.idx(lanes))));
      },
      kNoUnroll);
}

/// The channel of a lane: behind the last channel that one again.
Value SmallDepthwise::getChannel(Value channel, int64_t lane) {
  Value own = b.add(channel, b.idx(lane));
  return picture.channels % lanes == 0
             ? own
             : b.minIdx(own, b.idx(picture.channels - 1));
}

/// Calls `store` with a vector of channels for each of the first `length`
/// numbers at `from`, where channels are `distance` numbers apart.
void SmallDepthwise::copyTransposed(Value from, Value channel, int64_t distance,
                                    int64_t length,
                                    function_ref<void(Value, int64_t)> store) {
  SmallVector<Value> rows;
  for (int64_t lane = 0; lane < lanes; ++lane)
    rows.push_back(b.elementPointer(
        from, f32, b.mul(getChannel(channel, lane), b.idx(distance))));
  Value mask = length < lanes ? b.firstLanes(b.idx(length), lanes) : Value();
  for (int64_t at = 0; at < length; at += lanes) {
    // The last block begins earlier where there is room.
    int64_t first = std::max<int64_t>(0, std::min(at, length - lanes));
    SmallVector<Value> block;
    for (Value row : rows)
      block.push_back(b.load(row, f32, b.idx(first), lanes, mask));
    transpose(b, block);
    for (int64_t i = at; i < std::min(at + lanes, length); ++i)
      store(block[i - first], i);
  }
}

/// The rows of the input that a band reads.
void SmallDepthwise::copyBand(Value channel) {
  Value base = b.elementPointer(input, f32,
                                b.mul(b.mul(image, b.idx(picture.channels)),
                                      b.idx(picture.getInPixels())));
  Value top =
      b.sub(b.mul(firstRow, b.idx(shape.strideHeight)), b.idx(shape.padTop));
  b.forLoop(
      b.idx(0), b.idx(picture.height), b.idx(1),
      [&](Value row) {
        Value target = b.elementPointer(
            b.scratch(), f32, b.mul(row, b.idx(picture.width * lanes)));
        copyRow(base, channel, b.add(top, row), target);
      },
      kNoUnroll);
}

/// A row of the input, zeros outside of it.
void SmallDepthwise::copyRow(Value base, Value channel, Value row,
                             Value target) {
  auto store = [&](Value vector, int64_t column) {
    b.store(vector, target, f32, b.idx((column + shape.padLeft) * lanes));
  };
  Value isInside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, row,
                                         b.idx(picture.inHeight));
  auto branch = scf::IfOp::create(b, isInside, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  copyTransposed(
      b.elementPointer(base, f32, b.mul(row, b.idx(picture.inWidth))), channel,
      picture.getInPixels(), picture.inWidth, store);
  b.setInsertionPointToStart(branch.elseBlock());
  Value zero = zeros(b, 1, lanes)[0];
  for (int64_t column = 0; column < picture.inWidth; ++column)
    store(zero, column);
}

/// A small picture as one run of pixels.
void SmallDepthwise::copyPicture(Value channel) {
  Value base = b.elementPointer(input, f32,
                                b.mul(b.mul(image, b.idx(picture.channels)),
                                      b.idx(picture.getInPixels())));
  copyTransposed(base, channel, picture.getInPixels(), picture.getInPixels(),
                 [&](Value vector, int64_t pixel) {
                   int64_t y = pixel / picture.inWidth + shape.padTop,
                           x = pixel % picture.inWidth + shape.padLeft;
                   if (y < picture.height)
                     b.store(vector, b.scratch(), f32,
                             b.idx((y * picture.width + x) * lanes));
                 });
}

/// A row of the result, in runs of pixels of much the same length.
void SmallDepthwise::sumRow(Value row) {
  int64_t runs = llvm::divideCeil(picture.outWidth, kMostSums),
          length = llvm::divideCeil(picture.outWidth, runs),
          whole = picture.outWidth / length * length;
  b.forLoop(
      b.idx(0), b.idx(whole), b.idx(length),
      [&](Value column) { sumPixels(row, column, length); }, kNoUnroll);
  if (whole < picture.outWidth)
    sumPixels(row, b.idx(whole), picture.outWidth - whole);
}

void SmallDepthwise::sumPixels(Value row, Value column, int64_t count) {
  Value first =
      b.add(b.mul(row, b.idx(shape.strideHeight * picture.width * lanes)),
            b.mul(column, b.idx(shape.strideWidth * lanes)));
  Value pixels = b.elementPointer(b.scratch(), f32, first);
  SmallVector<Value> total = zeros(b, count, lanes);
  for (int64_t tap = 0; tap < picture.taps; ++tap) {
    int64_t y = tap / shape.kernelWidth * shape.dilationHeight,
            x = tap % shape.kernelWidth * shape.dilationWidth;
    Value factor = b.load(weights, f32, b.idx(tap * lanes), lanes);
    for (auto [i, sum] : llvm::enumerate(total)) {
      int64_t at = y * picture.width + x + int64_t(i) * shape.strideWidth;
      sum = b.fma(b.load(pixels, f32, b.idx(at * lanes), lanes), factor, sum);
    }
  }
  Value target =
      b.mul(b.add(b.mul(row, b.idx(picture.outWidth)), column), b.idx(lanes));
  for (auto [i, sum] : llvm::enumerate(total))
    b.store(sum, sums, f32, b.add(target, b.idx(int64_t(i) * lanes)));
}

/// Blocks of as many pixels as there are lanes, in place. What lies behind the
/// last pixel is not read later.
void SmallDepthwise::transposeSums() {
  int64_t block = lanes * lanes;
  b.forLoop(
      b.idx(0), b.idx(llvm::divideCeil(picture.getPixels(), lanes) * block),
      b.idx(block),
      [&](Value at) {
        SmallVector<Value> rows;
        for (int64_t i = 0; i < lanes; ++i)
          rows.push_back(b.load(sums, f32, b.add(at, b.idx(i * lanes)), lanes));
        transpose(b, rows);
        for (auto [i, row] : llvm::enumerate(rows))
          b.store(row, sums, f32, b.add(at, b.idx(int64_t(i * lanes))));
      },
      kNoUnroll);
}

/// The results of a channel; `planes`: its sums, `lanes` of each block. Steps
/// of functions wait for each other, so two vectors take turns.
void SmallDepthwise::emitResults(Value channel, Value planes) {
  int64_t pixels = picture.getPixels(),
          step = epilogue.hasFunctions() ? kMostLanes : lanes,
          whole = pixels / step * step;
  b.forLoop(
      b.idx(0), b.idx(whole), b.idx(step),
      [&](Value pixel) { storePixels(channel, planes, pixel, step); },
      kNoUnroll);
  for (int64_t at = whole; at < pixels; at += lanes)
    storePixels(channel, planes, b.idx(at), std::min(lanes, pixels - at));
}

/// `count` pixels of a channel from `pixel` on, which is in the first lane of a
/// block.
void SmallDepthwise::storePixels(Value channel, Value planes, Value pixel,
                                 int64_t count) {
  auto load = [&](int64_t block) {
    return b.load(
        planes, f32,
        b.add(b.mul(pixel, b.idx(lanes)), b.idx(block * lanes * lanes)), lanes);
  };
  Value sum = load(0);
  if (count > lanes)
    sum = vector::ShuffleOp::create(b, sum, load(1),
                                    llvm::to_vector(llvm::seq<int64_t>(count)));
  Value first = b.add(b.mul(firstRow, b.idx(picture.outWidth)), pixel),
        plane = b.add(b.mul(image, b.idx(picture.channels)), channel),
        target = b.add(
            b.mul(plane, b.idx(picture.outHeight * picture.outWidth)), first);
  auto indices = [&](int64_t lane) {
    return SmallVector<Value>{image, channel, b.idx(0),
                              b.add(first, b.idx(lane))};
  };
  auto offset = [&](int64_t lane) { return b.add(target, b.idx(lane)); };
  if (failed(
          storeFirst(b, epilogue, sum, count, out, stored, {indices, offset})))
    status = failure();
}

std::unique_ptr<KernelEmitter> x86::createDepthwiseSmallF32Emitter() {
  return std::make_unique<DepthwiseSmallF32Emitter>();
}
