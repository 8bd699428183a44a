//===- ConvF32.cpp - f32 convolution as an implicit matrix product -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Output channels are the rows and output pixels the columns of a tile. The
// weight is packed [G][O/mr][K][mr] with K = I * kh * kw; the input pixels of a
// tile are copied to a panel [K][nr] in scratch, where padding, strides and
// dilations vanish, and serve all output channels from there. Where a vector of
// pixels lies in one row and its windows in the image nothing is masked, and
// channels are copied one after the other, in the order of memory. K is cut by
// channels so that the panels stay in a part of L2; partial sums lie in the
// output. Where many taps lie in the padding, as those of large dilations do, K
// is in the order of taps, and a tile has only those that reach the image for
// one of its pixels. On AVX2 a panel is as wide as a register tile: read from
// end to end, written in whole lines.
//
//===----------------------------------------------------------------------===//
#include "ConvF32.h"
#include "ConvRowsF32.h"
#include "Emitters.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Scratch for the panels of a task: most of half of the smallest L2 of an
/// AVX-512 core, a third of that of AVX2 cores.
constexpr int64_t kPanelBytes = 384 << 10, kSmallPanelBytes = 160 << 10;
/// Tiles of pixels that share asking for the weights that come next.
constexpr int64_t kPrefetchParts = 3;
/// Output channels below which a task's channels are not cut.
constexpr int64_t kChunkChannels = 256;
/// Tasks that make cutting channels unnecessary.
constexpr int64_t kWantedTasks = 4;

struct TileShape {
  int64_t mr, nr;
};

/// The tile that computes the fewest idle elements; more pixels first, since
/// each tile reads all weights.
TileShape chooseTile(int64_t channels, std::optional<int64_t> pixels, bool flat,
                     bool avx512) {
  // Of a row alone a task takes more than a register tile.
  if (!avx512)
    return {6, flat ? 16 : 48};
  TileShape best{8, 48};
  double bestCost = 1e300;
  for (TileShape t : {TileShape{8, 48}, TileShape{6, 64}}) {
    double vectors = pixels ? llvm::divideCeil(*pixels, 16) : 64;
    double tiles = pixels ? llvm::divideCeil(*pixels, t.nr) : 1;
    double cost = double(llvm::alignTo(channels, t.mr)) *
                  (vectors + 0.25 * (tiles - 1) / tiles);
    if (cost < bestCost * 0.98) {
      best = t;
      bestCost = cost;
    }
  }
  return best;
}

/// Tiles of pixels of a task. Weights are read once per task, and input rows in
/// longer runs; but a small image must give work to several threads.
int64_t chooseTiles(std::optional<int64_t> numTiles, bool flat, int64_t nr) {
  if (!flat || !numTiles)
    return 1;
  int64_t most = std::max<int64_t>((nr > 16 ? 192 : 128) / nr, 1),
          few = most / 2;
  if (*numTiles <= few)
    return std::max<int64_t>(*numTiles, 1);
  int64_t tasks = std::max<int64_t>(llvm::divideCeil(*numTiles, most), 4);
  return llvm::divideCeil(*numTiles, tasks);
}

/// Input channels of a block of K whose panels take so many bytes: blocks of
/// about the same size.
int64_t chooseBlock(int64_t channels, int64_t channelBytes, int64_t bytes) {
  int64_t fits = std::clamp<int64_t>(bytes / channelBytes, 1, channels);
  return llvm::divideCeil(channels, llvm::divideCeil(channels, fits));
}

/// What a schedule is free to choose.
struct ConvCut {
  TileShape tile;
  int64_t taskTiles;  ///< tiles of pixels of a task
  int64_t panelBytes; ///< for the panels of a task
};

/// A convolution as a product with panels of pixels.
struct ConvWork {
  Operation *op;
  BlockArgument weight;
  ConvShape shape;
  bool flat, avx512, storesF32;

  /// Taps that a panel has room for if it has only some; 0: all are multiplied.
  int64_t getTapSlots() const {
    return isa<ConvOp>(op) && shape.hasIdleTaps() ? shape.countUsedTaps() : 0;
  }
  int64_t getPerGroup() const { return *shape.outChannels / shape.groups; }
  std::optional<int64_t> getPixels() const {
    return getConstantSize(flat ? shape.outHeight * shape.outWidth
                                : shape.outWidth);
  }
  ConvCut choose() const {
    TileShape tile = chooseTile(getPerGroup(), getPixels(), flat, avx512);
    AffineExpr tiles = shape.getTiles(flat, tile.nr);
    return {tile, chooseTiles(getConstantSize(tiles), flat, tile.nr),
            avx512 ? kPanelBytes : kSmallPanelBytes};
  }
  KernelSchedule schedule(const ConvCut &cut) const;
  void addAlternatives(function_ref<void(KernelSchedule)> add) const;
};

class ConvF32Emitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "conv.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  SmallVector<KernelSchedule>
  getAlternatives(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// The root of a body: a convolution or a transposed one.
Operation *findConv(Block &body) {
  if (auto conv = getRoot<ConvOp>(body))
    return conv;
  return getRoot<ConvTransposeOp>(body);
}

} // namespace

std::optional<ConvOperands>
x86::findConvF32(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                 function_ref<bool(unsigned)> isConstant) {
  Operation *op = findConv(dispatch.getBody().front());
  if (!op || !isF32Tensor(op->getOperand(0).getType()) ||
      !isF32Tensor(op->getOperand(1).getType()) ||
      !isF32Tensor(op->getResult(0).getType()))
    return std::nullopt;
  auto input = dyn_cast<BlockArgument>(op->getOperand(0));
  auto weight = dyn_cast<BlockArgument>(op->getOperand(1));
  if (!input || !weight || input == weight ||
      !isConstant(weight.getArgNumber()) ||
      !llvm::hasSingleElement(weight.getUses()) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  auto weightType = cast<RankedTensorType>(weight.getType());
  if (weightType.getRank() > 4 || !weightType.hasStaticShape() ||
      weightType.getNumElements() == 0)
    return std::nullopt;
  ConvShape shape(op, weightType.getShape().drop_front(2));
  if (!shape.inChannels || !shape.outChannels ||
      (shape.groups > 1 && *shape.inChannels == shape.groups))
    return std::nullopt;
  return ConvOperands{op, weight, shape};
}

static ConvWork getWork(DispatchOp dispatch, const ConvOperands &conv,
                        bool avx512) {
  bool flat = conv.shape.canFlatten(*getEpilogue(conv.op)),
       storesF32 = getStoredType(dispatch.getBody().front()).isF32();
  return ConvWork{conv.op, conv.weight, conv.shape, flat, avx512, storesF32};
}

KernelSchedule ConvWork::schedule(const ConvCut &cut) const {
  TileShape tile = cut.tile;
  AffineExpr tiles =
      simplifySize(shape.getTiles(flat, tile.nr).ceilDiv(cut.taskTiles));
  int64_t channels = *shape.inChannels / shape.groups;
  int64_t slots = getTapSlots(), taps = slots ? slots : shape.kernelSize();
  int64_t channelBytes = taps * tile.nr * cut.taskTiles * 4;
  // Partial sums can only wait in the output if it is f32.
  int64_t blockChannels =
      storesF32 ? chooseBlock(channels, channelBytes, cut.panelBytes)
                : channels;
  int64_t panels = llvm::divideCeil(getPerGroup(), tile.mr), chunk = panels;
  std::optional<int64_t> numTasks = getConstantSize(tiles);
  if (numTasks && *numTasks * shape.groups < kWantedTasks) {
    int64_t wanted = llvm::divideCeil(
        kWantedTasks, std::max<int64_t>(*numTasks, 1) * shape.groups);
    int64_t most = std::max<int64_t>(getPerGroup() / kChunkChannels, 1);
    chunk = llvm::divideCeil(panels, std::min(wanted, most));
  }

  Builder builder(op->getContext());
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  auto weightType = cast<RankedTensorType>(weight.getType());
  KernelSchedule schedule;
  SmallVector<NamedAttribute> params{
      number("block", blockChannels),
      number("chunk", chunk),
      builder.getNamedAttr("flat", builder.getBoolAttr(flat)),
      builder.getNamedAttr("window", builder.getDenseI64ArrayAttr(
                                         weightType.getShape().drop_front(2))),
      number("nr", tile.nr),
      number("tiles", cut.taskTiles)};
  if (slots)
    params.push_back(number("slots", slots));
  schedule.params = builder.getDictionaryAttr(params);
  schedule.tasks =
      tiles * llvm::divideCeil(panels, chunk) * shape.groups * shape.batch;
  std::string layout = slots             ? "conv_taps:"
                       : isa<ConvOp>(op) ? "conv_panel:"
                                         : "conv_transpose_panel:";
  schedule.packs.push_back({weight.getArgNumber(),
                            layout + std::to_string(shape.groups), tile.mr,
                            false});
  // Behind the panels, a number for each pixel at most, or the taps of tiles.
  schedule.scratchBytes =
      blockChannels * channelBytes +
      (slots ? TapLists::getBytes(shape.kernelSize(), cut.taskTiles)
             : tile.nr * cut.taskTiles * 4);
  return schedule;
}

std::optional<KernelSchedule>
ConvF32Emitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)> isConstant) const {
  std::optional<ConvOperands> conv = findConvF32(dispatch, levels, isConstant);
  if (!conv)
    return std::nullopt;
  bool avx512 = hasAvx512(levels);
  const Capabilities &level = *llvm::find_if(
      levels, [&](const Capabilities &c) { return c.hasAvx512 == avx512; });
  std::optional<RowsCut> rows = chooseRowsCut(*conv, avx512);
  if (rows && isFasterByRows(conv->shape, level))
    return scheduleConvRows(*conv, *rows);
  ConvWork work = getWork(dispatch, *conv, avx512);
  return work.schedule(work.choose());
}

SmallVector<KernelSchedule>
ConvF32Emitter::getAlternatives(DispatchOp dispatch,
                                ArrayRef<Capabilities> levels,
                                function_ref<bool(unsigned)> isConstant) const {
  std::optional<ConvOperands> conv = findConvF32(dispatch, levels, isConstant);
  if (!conv)
    return {};
  bool avx512 = hasAvx512(levels);
  SmallVector<KernelSchedule> others;
  llvm::StringSet<> known;
  known.insert(describeSchedule(*match(dispatch, levels, isConstant)));
  auto add = [&](KernelSchedule schedule) {
    if (known.insert(describeSchedule(schedule)).second)
      others.push_back(std::move(schedule));
  };
  getWork(dispatch, *conv, avx512).addAlternatives(add);
  if (std::optional<RowsCut> rows = chooseRowsCut(*conv, avx512))
    for (RowsTile tile : getRowsTiles(avx512))
      for (int64_t count : {rows->rows, std::max<int64_t>(rows->rows / 2, 1)})
        add(scheduleConvRows(*conv, {tile.channels, count}));
  return others;
}

/// Other register tiles, fewer or more tiles of a task, and panels of half the
/// size.
void ConvWork::addAlternatives(function_ref<void(KernelSchedule)> add) const {
  ConvCut chosen = choose();
  add(schedule(chosen));
  SmallVector<TileShape> shapes{{8, 48}, {6, 64}};
  if (!avx512)
    shapes = {{6, flat ? 16 : 48}, {8, flat ? 24 : 48}};
  for (TileShape tile : shapes) {
    std::optional<int64_t> tiles =
        getConstantSize(shape.getTiles(flat, tile.nr));
    int64_t pixels = chosen.taskTiles * chosen.tile.nr,
            most = flat && tiles ? std::max<int64_t>(*tiles, 1) : 1;
    for (int64_t wanted : {pixels, pixels / 2, pixels * 2}) {
      int64_t count = std::clamp<int64_t>(wanted / tile.nr, 1, most);
      add(schedule({tile, count, chosen.panelBytes}));
      if (wanted == pixels)
        add(schedule({tile, count, chosen.panelBytes / 2}));
    }
  }
}

LogicalResult ConvF32Emitter::emit(KernelBuilder &builder) const {
  if (builder.kernel().getSchedule().contains(kRowsParam))
    return emitConvRows(builder);
  Operation *op = findConv(builder.kernel().getBody().front());
  if (!op)
    return failure();
  auto window =
      builder.kernel().getSchedule().getAs<DenseI64ArrayAttr>("window");
  ConvShape shape(op, window.asArrayRef());
  return ConvGemm(builder, op, shape, *getEpilogue(op)).emit();
}

ConvGemm::ConvGemm(KernelBuilder &b, Operation *op, const ConvShape &shape,
                   Epilogue epilogue)
    : b(b), shape(shape), epilogue(std::move(epilogue)), f32(b.getF32Type()) {
  auto packed = cast<RankedTensorType>(op->getOperand(1).getType());
  DictionaryAttr params = b.kernel().getSchedule();
  auto number = [&](StringRef name) {
    return params.getAs<IntegerAttr>(name).getInt();
  };
  panels = packed.getDimSize(1);
  mr = packed.getDimSize(3);
  nr = number("nr");
  chunk = number("chunk");
  blockChannels = number("block");
  taskTiles = number("tiles");
  flat = params.getAs<BoolAttr>("flat").getValue();
  if (flat)
    this->shape.flattenPointwise();
  stored = getStoredType(b.kernel().getBody().front());
  lanes = b.caps().f32Lanes();
  tileRows = b.caps().hasAvx512 ? mr : (mr % 6 == 0 ? 6 : 4);
  tileVectors = b.caps().hasAvx512 ? nr / lanes : 12 / tileRows;
  input = b.pointer(cast<BlockArgument>(op->getOperand(0)));
  weight = b.pointer(cast<BlockArgument>(op->getOperand(1)));
  out = b.resultPointer(0);
  if (params.get("slots")) {
    tapSlots = number("slots");
    int64_t panelElements = blockChannels * taskTiles * tapSlots * nr;
    tapLists.emplace(b,
                     b.elementPointer(b.scratch(), f32, b.idx(panelElements)),
                     shape.kernelSize());
  }
  tileStore.emplace(b, this->epilogue, out, stored);
}

LogicalResult ConvGemm::emit() {
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

/// A task: (image, group, chunk of output channels, tiles of pixels), the last
/// running fastest.
void ConvGemm::emitTask(Value task) {
  auto split = [&](Value size) {
    Value index = b.mod(task, size);
    task = b.divFloor(task, size);
    return index;
  };
  Value tile = split(b.size(shape.getTiles(flat, nr).ceilDiv(taskTiles)));
  Value chunkIndex = split(b.idx(llvm::divideCeil(panels, chunk)));
  group = split(b.idx(shape.groups));
  image = task;
  firstPanel = b.mul(chunkIndex, b.idx(chunk));
  endPanel = b.minIdx(b.add(firstPanel, b.idx(chunk)), b.idx(panels));
  if (flat) {
    row = b.idx(0);
    column = b.mul(tile, b.idx(taskTiles * nr));
    live = b.minIdx(b.sub(b.size(shape.outHeight * shape.outWidth), column),
                    b.idx(taskTiles * nr));
  } else {
    Value perRow = b.size(shape.outWidth.ceilDiv(nr));
    row = b.divFloor(tile, perRow);
    column = b.mul(b.mod(tile, perRow), b.idx(nr));
    live = b.minIdx(b.sub(b.size(shape.outWidth), column), b.idx(nr));
  }

  if (tapLists)
    listTaps();
  int64_t channels = *shape.inChannels / shape.groups;
  if (blockChannels >= channels) {
    emitBlock(b.idx(0), channels, true, true);
    return;
  }
  int64_t lastBegin = (channels - 1) / blockChannels * blockChannels;
  emitBlock(b.idx(0), blockChannels, true, false);
  if (lastBegin > blockChannels)
    b.forLoop(
        b.idx(blockChannels), b.idx(lastBegin), b.idx(blockChannels),
        [&](Value begin) { emitBlock(begin, blockChannels, false, false); });
  emitBlock(b.idx(lastBegin), channels - lastBegin, false, true);
}

void ConvGemm::emitBlock(Value channelBegin, int64_t channels, bool first,
                         bool last) {
  emitPack(channelBegin, channels);
  // With a list of taps K is that of one of them.
  int64_t perChannel = tapLists ? 1 : shape.kernelSize();
  emitChannels(b.mul(channelBegin, b.idx(perChannel)), channels * perChannel,
               first, last);
}

void ConvGemm::emitChannels(Value kBegin, int64_t kCount, bool first,
                            bool last) {
  int64_t perGroup = *shape.outChannels / shape.groups, ragged = perGroup % mr;
  Value endFull = ragged ? b.minIdx(endPanel, b.idx(panels - 1)) : endPanel;
  b.forLoop(
      firstPanel, endFull, b.idx(1),
      [&](Value panel) { emitPanel(panel, mr, kBegin, kCount, first, last); },
      KernelBuilder::LoopHint::NoUnroll);
  if (!ragged)
    return;
  auto branch = scf::IfOp::create(b, b.less(endFull, endPanel),
                                  /*withElseRegion=*/false);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  emitPanel(b.idx(panels - 1), ragged, kBegin, kCount, first, last);
}

/// The first `liveRows` output channels of a weight panel.
void ConvGemm::emitPanel(Value panel, int64_t liveRows, Value kBegin,
                         int64_t kCount, bool first, bool last) {
  int64_t inputs = *shape.inChannels / shape.groups * shape.kernelSize();
  Value flatPanel = b.add(b.mul(group, b.idx(panels)), panel);
  Value at = b.mul(b.add(b.mul(flatPanel, b.idx(inputs)), kBegin), b.idx(mr));
  Value channel = b.add(b.mul(group, b.idx(*shape.outChannels / shape.groups)),
                        b.mul(panel, b.idx(mr)));
  // What is read next: the same inputs of the next panel, after the last one
  // the next inputs of the first.
  Value next = b.mul(b.add(b.sub(firstPanel, panel), b.idx(1)), b.idx(inputs));
  next = arith::SelectOp::create(
      b, b.less(b.add(panel, b.idx(1)), endPanel), b.idx(inputs),
      b.add(b.sub(next, b.idx(inputs)), b.idx(kCount)));
  ahead = b.mul(next, b.idx(mr * 4));
  for (int64_t r = 0; r < liveRows; r += tileRows) {
    unsigned rows = std::min<int64_t>(tileRows, liveRows - r);
    emitColumns(b.add(channel, b.idx(r)),
                b.elementPointer(weight, f32, b.add(at, b.idx(r))), rows,
                kCount, first, last);
  }
}

/// All live pixels of the task for some output channels: whole tiles, then what
/// is left in register tiles, the last of them narrower and masked.
void ConvGemm::emitColumns(Value channel, Value weights, unsigned rows,
                           int64_t kCount, bool first, bool last) {
  int64_t width = int64_t(tileVectors) * lanes;
  std::optional<int64_t> pixels =
      getConstantSize(flat ? shape.outHeight * shape.outWidth : shape.outWidth);
  auto emitWhole = [&](Value tile, Value end) {
    b.forLoop(
        b.idx(0), end, b.idx(width),
        [&](Value at) {
          emitTile(channel, weights, rows, tileVectors, tile, at, Value(),
                   kCount, first, last);
        },
        KernelBuilder::LoopHint::NoUnroll);
  };
  Value tiles = b.divFloor(live, b.idx(nr)), rest = b.mod(live, b.idx(nr));
  if (!pixels || *pixels >= nr)
    b.forLoop(
        b.idx(0), tiles, b.idx(1),
        [&](Value tile) { emitWhole(tile, b.idx(nr)); },
        KernelBuilder::LoopHint::NoUnroll);
  if (pixels && *pixels % nr == 0)
    return;
  Value whole = b.mul(b.divFloor(rest, b.idx(width)), b.idx(width));
  if (width < nr && (!pixels || *pixels % nr >= width))
    emitWhole(tiles, whole);
  rest = b.sub(rest, whole);
  Value vectors = b.divFloor(b.add(rest, b.idx(lanes - 1)), b.idx(lanes));
  for (unsigned v = 1; v <= tileVectors; ++v) {
    if (pixels && llvm::divideCeil(*pixels % nr % width, lanes) != v)
      continue;
    Value wanted =
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, vectors, b.idx(v));
    auto branch = scf::IfOp::create(b, wanted, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(branch.thenBlock());
    emitTile(channel, weights, rows, v, tiles, whole,
             b.sub(rest, b.idx((v - 1) * lanes)), kCount, first, last);
  }
}

/// `rows` channels by `vectors` of pixels from `tileColumn` of a tile on; only
/// `lastLanes` lanes of the last vector are there (none: all).
void ConvGemm::emitTile(Value channel, Value weights, unsigned rows,
                        unsigned vectors, Value tileIndex, Value tileColumn,
                        Value lastLanes, int64_t kCount, bool first,
                        bool last) {
  Tile tile{rows, vectors, lanes};
  Value pixel = b.add(b.add(column, b.mul(tileIndex, b.idx(nr))), tileColumn);
  auto liveLanes = [&](unsigned v) {
    return v + 1 == vectors ? lastLanes : Value();
  };
  Value pixelCount = b.size(shape.outHeight * shape.outWidth);
  Value plane = b.mul(row, b.size(shape.outWidth));
  auto outOffset = [&](Value r, unsigned lane) -> Value {
    Value o = b.add(b.mul(image, b.idx(*shape.outChannels)), b.add(channel, r));
    return b.add(b.add(b.mul(o, pixelCount), plane), b.add(pixel, b.idx(lane)));
  };

  SmallVector<Value> init = zeros(b, rows * vectors, lanes);
  if (!first)
    for (unsigned r = 0; r < rows; ++r)
      for (unsigned v = 0; v < vectors; ++v) {
        Value count = liveLanes(v);
        init[r * vectors + v] =
            b.load(out, f32, outOffset(b.idx(r), v * lanes), lanes,
                   count ? b.firstLanes(count, lanes) : Value());
      }
  SmallVector<Value> sums =
      emitProducts(tile, weights, tileIndex, tileColumn, kCount, init);
  if (last) {
    auto indices = [&](Value r, unsigned lane) {
      SmallVector<Value> at{image, b.add(channel, r)};
      if (shape.spatialRank == 2)
        at.push_back(row);
      at.push_back(b.add(pixel, b.idx(lane)));
      return at;
    };
    if (failed(tileStore->store(tile, sums, {indices, outOffset, lastLanes})))
      status = failure();
    return;
  }
  for (unsigned r = 0; r < rows; ++r)
    for (unsigned v = 0; v < vectors; ++v) {
      Value count = liveLanes(v);
      b.store(sums[r * vectors + v], out, f32, outOffset(b.idx(r), v * lanes),
              count ? b.firstLanes(count, lanes) : Value());
    }
}

/// Adds the products of a tile to `init`: of all K, or of each tap in its list.
SmallVector<Value> ConvGemm::emitProducts(const Tile &tile, Value weights,
                                          Value tileIndex, Value tileColumn,
                                          int64_t kCount,
                                          ArrayRef<Value> init) {
  int64_t perTile = kCount * nr * std::max<int64_t>(tapSlots, 1);
  Value panel = b.elementPointer(
      b.scratch(), f32, b.add(b.mul(tileIndex, b.idx(perTile)), tileColumn));
  // Each tile asks for a part of the weights that come next.
  int64_t parts = std::clamp<int64_t>(taskTiles, 1, kPrefetchParts),
          stride = mr * 4 / parts;
  Value part = b.mul(b.mod(tileIndex, b.idx(parts)), b.idx(stride * kCount));
  Value from = b.add(ahead, part);
  auto multiply = [&](Value weights, Value panel, ArrayRef<Value> init) {
    return emitFmaLoop(
        b, tile, b.idx(kCount), init,
        [&](unsigned r, Value k) {
          return b.load(weights, f32, b.add(b.mul(k, b.idx(mr)), b.idx(r)));
        },
        [&](unsigned v, Value k) {
          if (v == 0)
            prefetchToL2(b, weights, b.add(from, b.mul(k, b.idx(stride))));
          return b.load(panel, f32,
                        b.add(b.mul(k, b.idx(nr)), b.idx(v * lanes)), lanes);
        });
  };
  if (!tapLists)
    return multiply(weights, panel, init);
  int64_t perTap = *shape.inChannels / shape.groups * mr;
  return tapLists->forTaps(
      tileIndex, init, [&](Value index, Value tap, ArrayRef<Value> sums) {
        return multiply(
            b.elementPointer(weights, f32, b.mul(tap, b.idx(perTap))),
            b.elementPointer(panel, f32, b.mul(index, b.idx(kCount * nr))),
            sums);
      });
}

std::unique_ptr<KernelEmitter> x86::createConvF32Emitter() {
  return std::make_unique<ConvF32Emitter>();
}
