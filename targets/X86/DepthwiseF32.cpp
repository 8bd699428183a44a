//===- DepthwiseF32.cpp - f32 convolution of each channel alone -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Vectors run along a row of output pixels. Where the width is known, the rows
// of a channel that a task reads are copied to scratch with their padding, even
// and odd columns apart for stride 2, so that each tap is a plain load.
// Elsewhere, which lanes of a tap fall in the padding is worked out once per
// vector of pixels and holds for all channels of a task, which run inside.
//
//===----------------------------------------------------------------------===//
#include "ConvShape.h"
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

/// Vectors of a copied row at most (of 16 lanes), and bytes of a task's rows.
constexpr int64_t kMaxRowVectors = 32, kMaxCopyBytes = 64 << 10;

/// The copied rows of a channel: [rows][planes][plane] floats, where plane i
/// has every column i modulo the stride, from the padding on.
struct CopiedRows {
  int64_t rows, planes, plane;
  int64_t used; ///< floats of a plane that are read

  /// None where sizes are not known or rows too long. `lanes`: of vectors.
  static std::optional<CopiedRows> get(const ConvShape &shape, int64_t lanes);
  int64_t getRowFloats() const { return planes * plane; }
  int64_t getBytes() const { return rows * getRowFloats() * 4; }
};

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
        out(b.resultPointer(0)), copy(CopiedRows::get(shape, lanes)) {}
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitCopied(Value channel, Value firstRow, Value endRow);
  void copyRow(Value base, Value y, Value to);
  Value loadColumns(Value base, int64_t column);
  void emitRow(Value channel, Value row, Value rows, ArrayRef<Value> weights);
  Value sumTaps(Value rows, Value column, ArrayRef<Value> weights);
  void emitRest(Value sum, Value channel, Value row, int64_t column);
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

std::optional<CopiedRows> CopiedRows::get(const ConvShape &shape,
                                          int64_t lanes) {
  std::optional<int64_t> width = getConstantSize(shape.outWidth);
  int64_t stride = shape.strideWidth;
  constexpr int64_t mostLanes = 16, mostReach = 256;
  if (!width || *width <= 0 || !getConstantSize(shape.inWidth) || stride > 2 ||
      *width > kMaxRowVectors * mostLanes || shape.padLeft < 0 ||
      shape.padLeft > mostReach || shape.dilationWidth > mostReach ||
      shape.dilationHeight > mostReach || shape.strideHeight > mostReach)
    return std::nullopt;
  // The same for all levels of an artifact.
  int64_t reach = (shape.kernelWidth - 1) * shape.dilationWidth / stride + 1;
  CopiedRows copy;
  copy.rows = (kTaskRows - 1) * shape.strideHeight +
              (shape.kernelHeight - 1) * shape.dilationHeight + 1;
  copy.planes = stride;
  copy.plane =
      llvm::alignTo(llvm::alignTo(*width, mostLanes) + reach, mostLanes);
  copy.used = llvm::alignTo(*width, lanes) + reach;
  if (copy.plane > kMaxRowVectors * mostLanes ||
      copy.getBytes() > kMaxCopyBytes)
    return std::nullopt;
  return copy;
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
  if (std::optional<CopiedRows> copy = CopiedRows::get(shape, /*lanes=*/16))
    schedule.scratchBytes = copy->getBytes();
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
  if (copy) {
    b.forLoop(
        firstChannel, endChannel, b.idx(1),
        [&](Value channel) { emitCopied(channel, firstRow, endRow); },
        KernelBuilder::LoopHint::NoUnroll);
    return;
  }
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
  Value top =
      b.sub(b.mul(firstRow, b.idx(shape.strideHeight)), b.idx(shape.padTop));
  int64_t reach = (shape.kernelHeight - 1) * shape.dilationHeight + 1;
  Value count = b.add(b.mul(b.sub(b.sub(endRow, firstRow), b.idx(1)),
                            b.idx(shape.strideHeight)),
                      b.idx(reach));
  b.forLoop(
      b.idx(0), count, b.idx(1),
      [&](Value r) {
        copyRow(base, b.add(top, r),
                b.elementPointer(b.scratch(), f32,
                                 b.mul(r, b.idx(copy->getRowFloats()))));
      },
      noUnroll);
  SmallVector<Value> weights;
  for (int64_t i = 0; i < shape.kernelSize(); ++i)
    weights.push_back(b.splat(
        b.load(weight, f32,
               b.add(b.mul(channel, b.idx(shape.kernelSize())), b.idx(i))),
        lanes));
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

/// A row of the input, which is 0 outside of the image.
void Depthwise::copyRow(Value base, Value y, Value to) {
  Value isInside = arith::AndIOp::create(b, b.less(b.idx(-1), y),
                                         b.less(y, b.size(shape.inHeight)));
  auto branch = scf::IfOp::create(b, isInside, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  auto store = [&](Value vector, int64_t plane, int64_t at) {
    b.store(vector, to, f32, b.idx(plane * copy->plane + at));
  };
  int64_t stride = copy->planes;
  b.setInsertionPointToStart(branch.thenBlock());
  Value from = b.elementPointer(base, f32, b.mul(y, b.size(shape.inWidth)));
  SmallVector<int64_t> even, odd;
  for (int64_t i = 0; i < int64_t(lanes); ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
  }
  for (int64_t at = 0; at < copy->used; at += lanes) {
    int64_t column = at * stride - shape.padLeft;
    Value low = loadColumns(from, column);
    if (stride == 1) {
      store(low, 0, at);
      continue;
    }
    Value high = loadColumns(from, column + lanes);
    store(vector::ShuffleOp::create(b, low, high, even), 0, at);
    store(vector::ShuffleOp::create(b, low, high, odd), 1, at);
  }
  b.setInsertionPointToStart(branch.elseBlock());
  Value zero = zeros(b, 1, lanes)[0];
  for (int64_t plane = 0; plane < stride; ++plane)
    for (int64_t at = 0; at < copy->used; at += lanes)
      store(zero, plane, at);
}

/// The columns from `column` on of a row, 0 where there is none.
Value Depthwise::loadColumns(Value row, int64_t column) {
  int64_t width = *getConstantSize(shape.inWidth);
  SmallVector<bool> live;
  for (int64_t i = 0; i < int64_t(lanes); ++i)
    live.push_back(column + i >= 0 && column + i < width);
  if (llvm::none_of(live, [](bool is) { return is; }))
    return zeros(b, 1, lanes)[0];
  Value mask;
  if (!llvm::all_of(live, [](bool is) { return is; }))
    mask = arith::ConstantOp::create(
        b, DenseElementsAttr::get(VectorType::get(lanes, b.getI1Type()),
                                  ArrayRef<bool>(live)));
  return b.load(row, f32, b.idx(column), lanes, mask);
}

/// A row of the output, `rows` being where its window begins.
void Depthwise::emitRow(Value channel, Value row, Value rows,
                        ArrayRef<Value> weights) {
  int64_t width = *getConstantSize(shape.outWidth),
          whole = width / lanes * lanes;
  b.forLoop(
      b.idx(0), b.idx(whole), b.idx(lanes),
      [&](Value column) {
        if (failed(storePixels(sumTaps(rows, column, weights), channel, row,
                               column, lanes, Value())))
          status = failure();
      },
      KernelBuilder::LoopHint::NoUnroll);
  if (whole < width)
    emitRest(sumTaps(rows, b.idx(whole), weights), channel, row, whole);
}

Value Depthwise::sumTaps(Value rows, Value column, ArrayRef<Value> weights) {
  Value sum = zeros(b, 1, lanes)[0];
  for (auto [i, factor] : llvm::enumerate(weights)) {
    int64_t kh = int64_t(i) / shape.kernelWidth,
            x = int64_t(i) % shape.kernelWidth * shape.dilationWidth,
            at = kh * shape.dilationHeight * copy->getRowFloats() +
                 x % copy->planes * copy->plane + x / copy->planes;
    sum =
        b.fma(b.load(rows, f32, b.add(column, b.idx(at)), lanes), factor, sum);
  }
  return sum;
}

/// The last pixels of a row, fewer than a vector. Below AVX-512 storing some
/// lanes of a vector is slow, so they are stored in pieces of known length.
void Depthwise::emitRest(Value sum, Value channel, Value row, int64_t column) {
  int64_t rest = *getConstantSize(shape.outWidth) - column;
  auto store = [&](Value part, unsigned count, int64_t first, Value live) {
    if (failed(storePixels(part, channel, row, b.idx(column + first), count,
                           live)))
      status = failure();
  };
  if (b.caps().hasAvx512)
    return store(sum, lanes, 0, b.idx(rest));
  forPieces(b, sum, rest, [&](Value piece, unsigned count, int64_t first) {
    store(piece, count, first, Value());
  });
}

LogicalResult Depthwise::storePixels(Value sum, Value channel, Value row,
                                     Value column, unsigned count, Value live) {
  Value target = b.add(b.mul(image, b.idx(*shape.outChannels)), channel);
  Value offset = b.add(b.mul(b.add(b.mul(target, b.size(shape.outHeight)), row),
                             b.size(shape.outWidth)),
                       column);
  SmallVector<Value> indices{image, channel};
  if (shape.spatialRank == 2)
    indices.push_back(row);
  indices.push_back(column);
  return storeWithEpilogue(b, epilogue, sum, indices, count, live, out, stored,
                           offset);
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
