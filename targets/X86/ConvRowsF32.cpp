//===- ConvRowsF32.cpp - f32 convolution over copied rows -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The implicit product of ConvF32.cpp without a panel of pixels. Output
// channels are the rows and pixels of an output row the columns of a tile; what
// a tap reads for a vector of pixels is one load from the rows of the picture,
// which are copied to scratch with their padding, even and odd columns apart
// for stride 2 (CopiedRows.h). An element is copied once where a panel has it
// for each tap: that counts where few output channels share a panel. The
// weight is packed as there, and sums are made in the same order.
//
//===----------------------------------------------------------------------===//
#include "ConvRowsF32.h"
#include "ConvF32.h"
#include "CopiedRows.h"
#include "X86Costs.h"
#include <cmath>

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Most rows of a task.
constexpr int64_t kMaxTaskRows = 8;
/// Tasks of an image below which its rows are cut more finely.
constexpr int64_t kWantedTasks = 4;
/// Taps that are unrolled; of more, those of a window's row are.
constexpr int64_t kUnrolledTaps = 9, kUnrolledWidth = 16;
constexpr auto kNoUnroll = KernelBuilder::LoopHint::NoUnroll;

/// Output channels of a tile: the first one, their number and weights.
struct Panel {
  Value channel, weights;
  unsigned channels;
};

/// Pixels of a tile: vectors of some rows, one below the other.
struct Pixels {
  Value row, column;
  unsigned lines, vectors; ///< rows, vectors of each
  Value lastLanes;         ///< live lanes of a row's last vector; null: all
};

/// State of one emission.
class ConvRows {
public:
  ConvRows(KernelBuilder &b, ConvOp op, const ConvShape &shape,
           Epilogue epilogue);
  LogicalResult emit();

private:
  void emitTask(Value task);
  void copyChannels();
  void emitPanel(Value panel, int64_t channels);
  void emitRows(const Panel &panel, Value row, unsigned lines);
  void emitTile(const Panel &panel, const Pixels &pixels);
  LogicalResult storeLine(const Panel &panel, const Pixels &pixels,
                          ArrayRef<Value> sums, unsigned line);
  SmallVector<Value> emitProducts(const Panel &panel, const Pixels &pixels);
  SmallVector<Value> emitTaps(const Panel &panel, const Pixels &pixels,
                              Value weights, Value from, int64_t kh,
                              ArrayRef<Value> init);

  int64_t getPerGroup() const { return *shape.outChannels / shape.groups; }
  int64_t getInputs() const { return *shape.inChannels / shape.groups; }
  int64_t getChannelFloats() const { return copy.rows * copy.getRowFloats(); }

  KernelBuilder &b;
  ConvShape shape;
  int64_t taskRows;
  CopiedRows copy;
  Epilogue epilogue;
  Type f32;
  Value input, weight, out;
  int64_t panels, mr;
  unsigned lanes;
  RowsTile rowsTile;
  std::optional<TileStore> tileStore;
  // Of the current task.
  Value image, group, firstRow, endRow;
  LogicalResult status = success();
};

} // namespace

SmallVector<RowsTile> x86::getRowsTiles(bool avx512) {
  if (avx512)
    return {{8, 3}, {6, 4}};
  return {{6, 2}, {4, 3}};
}

/// Rows of pixels of a tile: several if their vectors leave room.
static int64_t getLines(RowsTile tile, int64_t width, int64_t lanes) {
  return std::max<int64_t>(tile.vectors / llvm::divideCeil(width, lanes), 1);
}

RowsWork x86::getRowsWork(int64_t channels, int64_t width, bool avx512) {
  // Sums that hide the latency of what is added to them.
  constexpr int64_t leastSums = 8;
  int64_t lanes = avx512 ? 16 : 8, vectors = llvm::divideCeil(width, lanes);
  auto count = [&](RowsTile tile) {
    int64_t products = 0, lines = getLines(tile, width, lanes);
    for (int64_t c = 0; c < channels; c += tile.channels)
      for (int64_t v = 0; v < vectors; v += tile.vectors)
        products += std::max(std::min(tile.channels, channels - c) * lines *
                                 std::min(tile.vectors, vectors - v),
                             leastSums);
    return double(products) / double(lines);
  };
  RowsWork best{{}, HUGE_VAL};
  for (RowsTile tile : getRowsTiles(avx512))
    if (double products = count(tile); products < best.products)
      best = {tile, products};
  return best;
}

/// The copy of a channel for so many rows of a task, which is known to fit.
static CopiedRows getCopy(const ConvShape &shape, int64_t rows) {
  return *CopiedRows::get(shape, rows, getRowsScratch(/*avx512=*/true));
}

/// The most rows of a task, up to `most`, whose copies have room; 0: none.
static int64_t fitRows(const ConvShape &shape, int64_t most, bool avx512) {
  int64_t bytes = getRowsScratch(avx512) * shape.groups / *shape.inChannels;
  for (int64_t rows = most; rows > 0; rows /= 2) {
    std::optional<CopiedRows> copy = CopiedRows::get(shape, rows, bytes);
    if (copy && copy->isUnrolled && copy->getBytes() <= bytes)
      return rows;
  }
  return 0;
}

std::optional<RowsCut> x86::chooseRowsCut(const ConvOperands &conv,
                                          bool avx512) {
  const ConvShape &shape = conv.shape;
  std::optional<int64_t> width = getConstantSize(shape.outWidth),
                         height = getConstantSize(shape.outHeight);
  if (!isa<ConvOp>(conv.op) || !width || !height || *width <= 0 ||
      *height * shape.groups < kWantedTasks || shape.kernelSize() == 1 ||
      shape.kernelWidth > kUnrolledWidth || shape.hasIdleTaps())
    return std::nullopt;
  int64_t wanted = std::clamp<int64_t>(*height * shape.groups / kWantedTasks, 1,
                                       kMaxTaskRows),
          rows = fitRows(shape, std::min(wanted, *height), avx512);
  if (rows == 0)
    return std::nullopt;
  return RowsCut{getRowsWork(*shape.outChannels / shape.groups, *width, avx512)
                     .tile.channels,
                 rows};
}

bool x86::isFasterByRows(const ConvShape &shape, const Capabilities &level) {
  int64_t width = *getConstantSize(shape.outWidth),
          height = *getConstantSize(shape.outHeight);
  ProductShape image;
  image.isConv = true;
  image.rows = image.imagePixels = width * height;
  image.rowLength = width;
  image.outputs = *shape.outChannels;
  image.inputs = *shape.inChannels / shape.groups;
  image.taps = shape.kernelSize();
  image.groups = shape.groups;
  image.stride = std::max(shape.strideHeight, shape.strideWidth);
  return estimateConvRows(image, level) < estimateConvPanel(image, level);
}

KernelSchedule x86::scheduleConvRows(const ConvOperands &conv,
                                     const RowsCut &cut) {
  const ConvShape &shape = conv.shape;
  Builder builder(conv.op->getContext());
  ArrayRef<int64_t> weight =
      cast<RankedTensorType>(conv.weight.getType()).getShape();
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      {builder.getNamedAttr(kRowsParam, builder.getI64IntegerAttr(cut.rows)),
       builder.getNamedAttr(
           "window", builder.getDenseI64ArrayAttr(weight.drop_front(2)))});
  schedule.tasks =
      shape.batch * shape.groups * shape.outHeight.ceilDiv(cut.rows);
  schedule.packs.push_back({conv.weight.getArgNumber(),
                            "conv_panel:" + std::to_string(shape.groups),
                            cut.channels, false});
  schedule.scratchBytes =
      getCopy(shape, cut.rows).getBytes() * *shape.inChannels / shape.groups;
  return schedule;
}

LogicalResult x86::emitConvRows(KernelBuilder &builder) {
  auto op = getRoot<ConvOp>(builder.kernel().getBody().front());
  if (!op)
    return failure();
  DictionaryAttr params = builder.kernel().getSchedule();
  ConvShape shape(op, params.getAs<DenseI64ArrayAttr>("window").asArrayRef());
  return ConvRows(builder, op, shape, *getEpilogue(op)).emit();
}

ConvRows::ConvRows(KernelBuilder &b, ConvOp op, const ConvShape &shape,
                   Epilogue epilogue)
    : b(b), shape(shape),
      taskRows(
          b.kernel().getSchedule().getAs<IntegerAttr>(kRowsParam).getInt()),
      copy(getCopy(shape, taskRows)), epilogue(std::move(epilogue)),
      f32(b.getF32Type()), input(b.pointer(cast<BlockArgument>(op.getInput()))),
      weight(b.pointer(cast<BlockArgument>(op.getWeight()))),
      out(b.resultPointer(0)), lanes(b.caps().f32Lanes()) {
  auto packed = cast<RankedTensorType>(op.getWeight().getType());
  panels = packed.getDimSize(1);
  mr = packed.getDimSize(3);
  // Panels are of the largest level.
  bool avx512 = b.caps().hasAvx512;
  rowsTile = *llvm::find_if(getRowsTiles(avx512),
                            [&](RowsTile t) { return mr % t.channels == 0; });
  tileStore.emplace(b, this->epilogue, out,
                    getStoredType(b.kernel().getBody().front()));
}

LogicalResult ConvRows::emit() {
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      kNoUnroll);
  return status;
}

/// A task: (image, group, rows), the last running fastest.
void ConvRows::emitTask(Value task) {
  Value blocks = b.size(shape.outHeight.ceilDiv(taskRows));
  firstRow = b.mul(b.mod(task, blocks), b.idx(taskRows));
  endRow = b.minIdx(b.add(firstRow, b.idx(taskRows)), b.size(shape.outHeight));
  task = b.divFloor(task, blocks);
  group = b.mod(task, b.idx(shape.groups));
  image = b.divFloor(task, b.idx(shape.groups));
  copyChannels();
  int64_t ragged = getPerGroup() % mr, whole = getPerGroup() / mr;
  if (whole > 0)
    b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1),
        [&](Value panel) { emitPanel(panel, mr); }, kNoUnroll);
  if (ragged)
    emitPanel(b.idx(whole), ragged);
}

/// Copies what the task reads of the group's channels.
void ConvRows::copyChannels() {
  Value perImage = b.size(shape.inHeight * shape.inWidth),
        first = b.add(b.mul(image, b.idx(*shape.inChannels)),
                      b.mul(group, b.idx(getInputs()))),
        base = b.elementPointer(input, f32, b.mul(first, perImage));
  RowCopier copier(b, shape, copy, lanes);
  b.forLoop(
      b.idx(0), b.idx(getInputs()), b.idx(1),
      [&](Value channel) {
        copier.copyRows(
            b.elementPointer(base, f32, b.mul(channel, perImage)), firstRow,
            endRow,
            b.elementPointer(b.scratch(), f32,
                             b.mul(channel, b.idx(getChannelFloats()))));
      },
      kNoUnroll);
}

/// The first `channels` output channels of a panel of weights, in all rows.
void ConvRows::emitPanel(Value panel, int64_t channels) {
  int64_t inputs = getInputs() * shape.kernelSize(),
          lines = getLines(rowsTile, *getConstantSize(shape.outWidth), lanes);
  Value flatPanel = b.add(b.mul(group, b.idx(panels)), panel),
        at = b.mul(flatPanel, b.idx(inputs * mr)),
        first =
            b.add(b.mul(group, b.idx(getPerGroup())), b.mul(panel, b.idx(mr)));
  for (int64_t c = 0; c < channels; c += rowsTile.channels) {
    Panel part{b.add(first, b.idx(c)),
               b.elementPointer(weight, f32, b.add(at, b.idx(c))),
               unsigned(std::min(rowsTile.channels, channels - c))};
    auto emitBlocks = [&](Value begin, Value end, int64_t step) {
      b.forLoop(
          begin, end, b.idx(step),
          [&](Value row) { emitRows(part, row, step); }, kNoUnroll);
    };
    Value blocks = b.divFloor(b.sub(endRow, firstRow), b.idx(lines)),
          whole = b.add(firstRow, b.mul(blocks, b.idx(lines)));
    emitBlocks(firstRow, whole, lines);
    if (lines > 1)
      emitBlocks(whole, endRow, 1);
  }
}

/// Rows of pixels: whole tiles, then what is left, its last vectors masked.
void ConvRows::emitRows(const Panel &panel, Value row, unsigned lines) {
  int64_t pixels = *getConstantSize(shape.outWidth),
          width = rowsTile.vectors * lanes,
          whole = lines > 1 ? 0 : pixels / width * width, rest = pixels - whole;
  if (whole > 0)
    b.forLoop(
        b.idx(0), b.idx(whole), b.idx(width),
        [&](Value column) {
          emitTile(panel, {row, column, 1, unsigned(rowsTile.vectors), {}});
        },
        kNoUnroll);
  if (rest > 0)
    emitTile(panel,
             {row, b.idx(whole), lines, unsigned(llvm::divideCeil(rest, lanes)),
              rest % lanes ? b.idx(rest % lanes) : Value()});
}

void ConvRows::emitTile(const Panel &panel, const Pixels &pixels) {
  SmallVector<Value> sums = emitProducts(panel, pixels);
  for (unsigned line = 0; line < pixels.lines; ++line)
    if (failed(storeLine(panel, pixels, sums, line)))
      status = failure();
}

/// Stores what a tile has of one row.
LogicalResult ConvRows::storeLine(const Panel &panel, const Pixels &pixels,
                                  ArrayRef<Value> sums, unsigned line) {
  Tile tile{panel.channels, pixels.vectors, lanes};
  SmallVector<Value> part;
  for (unsigned c = 0; c < panel.channels; ++c)
    llvm::append_range(
        part,
        sums.slice((c * pixels.lines + line) * pixels.vectors, pixels.vectors));
  Value row = b.add(pixels.row, b.idx(line)),
        perChannel = b.size(shape.outHeight * shape.outWidth),
        pixel = b.add(b.mul(row, b.size(shape.outWidth)), pixels.column);
  auto offset = [&](Value c, unsigned lane) -> Value {
    Value o =
        b.add(b.mul(image, b.idx(*shape.outChannels)), b.add(panel.channel, c));
    return b.add(b.mul(o, perChannel), b.add(pixel, b.idx(lane)));
  };
  auto indices = [&](Value c, unsigned lane) {
    SmallVector<Value> at{image, b.add(panel.channel, c)};
    if (shape.spatialRank == 2)
      at.push_back(row);
    at.push_back(b.add(pixels.column, b.idx(lane)));
    return at;
  };
  return tileStore->store(tile, part, {indices, offset, pixels.lastLanes});
}

/// The sums of a tile over all inputs and taps: [channels][lines][vectors].
SmallVector<Value> ConvRows::emitProducts(const Panel &panel,
                                          const Pixels &pixels) {
  Value line = b.mul(b.sub(pixels.row, firstRow),
                     b.idx(shape.strideHeight * copy.getRowFloats())),
        first = b.elementPointer(b.scratch(), f32, b.add(line, pixels.column));
  SmallVector<Value> init =
      zeros(b, panel.channels * pixels.lines * pixels.vectors, lanes);
  return b.forLoop(
      b.idx(0), b.idx(getInputs()), b.idx(1), init,
      [&](Value channel, ArrayRef<Value> sums) -> SmallVector<Value> {
        Value from = b.elementPointer(
            first, f32, b.mul(channel, b.idx(getChannelFloats())));
        Value weights = b.elementPointer(
            panel.weights, f32, b.mul(channel, b.idx(shape.kernelSize() * mr)));
        if (shape.kernelSize() > kUnrolledTaps)
          return b.forLoop(
              b.idx(0), b.idx(shape.kernelHeight), b.idx(1), sums,
              [&](Value kh, ArrayRef<Value> sums) -> SmallVector<Value> {
                Value step = b.idx(copy.getTapOffset(shape, 1, 0));
                return emitTaps(
                    panel, pixels,
                    b.elementPointer(weights, f32,
                                     b.mul(kh, b.idx(shape.kernelWidth * mr))),
                    b.elementPointer(from, f32, b.mul(kh, step)), 0, sums);
              },
              kNoUnroll);
        SmallVector<Value> all(sums);
        for (int64_t kh = 0; kh < shape.kernelHeight; ++kh)
          all = emitTaps(panel, pixels, weights, from, kh, all);
        return all;
      },
      kNoUnroll);
}

/// Adds the products of row `kh` of a window.
SmallVector<Value> ConvRows::emitTaps(const Panel &panel, const Pixels &pixels,
                                      Value weights, Value from, int64_t kh,
                                      ArrayRef<Value> init) {
  SmallVector<Value> sums(init);
  int64_t lineFloats = shape.strideHeight * copy.getRowFloats();
  for (int64_t kw = 0; kw < shape.kernelWidth; ++kw) {
    SmallVector<Value> vectors;
    for (unsigned line = 0; line < pixels.lines; ++line)
      for (unsigned v = 0; v < pixels.vectors; ++v)
        vectors.push_back(b.load(from, f32,
                                 b.idx(copy.getTapOffset(shape, kh, kw) +
                                       line * lineFloats + v * lanes),
                                 lanes));
    for (unsigned c = 0; c < panel.channels; ++c) {
      int64_t at = (kh * shape.kernelWidth + kw) * mr + c;
      Value factor = b.splat(b.load(weights, f32, b.idx(at)), lanes);
      for (auto [v, vector] : llvm::enumerate(vectors)) {
        Value &sum = sums[c * vectors.size() + v];
        sum = b.fma(factor, vector, sum);
      }
    }
  }
  return sums;
}
