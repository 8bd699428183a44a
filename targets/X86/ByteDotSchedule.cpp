//===- ByteDotSchedule.cpp - how products of bytes are cut ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ByteDotSchedule.h"
#include "ByteTiles.h"
#include "FlatRows.h"
#include "NibblePanel.h"
#include "TapLists.h"
#include "Tiles.h"
#include "llvm/ADT/SmallSet.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Products that make a task worth its start, and the most rows of one.
static constexpr int64_t kTaskProducts = 1 << 20;
static constexpr int64_t kMaxTaskRows = 96;
/// Rows of a task are a multiple of all tile heights but the largest; with AMX
/// of two tiles.
static constexpr int64_t kRowGrain = 12;
static constexpr int64_t kTileGrain = ByteTiles::kAtOnce * ByteTiles::kRows;
/// An AMX unit makes as many products in the time (1,024 per cycle in place of
/// 128 of VNNI).
static constexpr int64_t kTileSpeed = 8;
/// A larger weight does not stay in L2 from task to task: the fewer tasks, the
/// fewer times it comes from further away.
static constexpr int64_t kNearBytes = 512 << 10;
/// Each task expands a weight of 4 bits again: it gets as many times the rows.
static constexpr int64_t kExpandedRows = 2;
/// Tasks that make cutting columns unnecessary.
static constexpr int64_t kWantedTasks = 4;
/// Bytes of a task's flat rows: a part of L2 that leaves room for a block of
/// columns. Each task reads all weights, which need not fit L2.
static constexpr int64_t kFlatBytes = 192 << 10;
/// Rows of a tile of bytes, and tasks that make cutting columns unnecessary.
static constexpr int64_t kFlatGrain = 4, kWantedFlatTasks = 8;
/// Bytes of a task's rows that are copied for AMX: half of its smallest L2.
static constexpr int64_t kCopiedBytes = 1 << 20;

DictionaryAttr DotSchedule::toAttr(MLIRContext *context) const {
  Builder builder(context);
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  auto flag = [&](StringRef name, bool value) {
    return builder.getNamedAttr(name, builder.getBoolAttr(value));
  };
  SmallVector<NamedAttribute> params{
      number("blocks", blocks),
      flag("fit", pairsFit),
      flag("flat", isFlat),
      number("inputs", inputs),
      flag("nibbles", isNibble),
      number("rows", rows),
      flag("tiles", hasTiles),
      flag("wide", isWide),
      builder.getNamedAttr("window", builder.getDenseI64ArrayAttr(window))};
  if (listsTaps)
    params.push_back(flag("taps", true));
  return builder.getDictionaryAttr(params);
}

DotSchedule DotSchedule::get(DictionaryAttr params) {
  auto number = [&](StringRef name) {
    return params.getAs<IntegerAttr>(name).getInt();
  };
  auto flag = [&](StringRef name) {
    return params.getAs<BoolAttr>(name).getValue();
  };
  return {number("rows"),
          number("blocks"),
          number("inputs"),
          flag("wide"),
          flag("fit"),
          flag("flat"),
          flag("tiles"),
          flag("nibbles"),
          /*listsTaps=*/params.get("taps") != nullptr,
          SmallVector<int64_t>(
              params.getAs<DenseI64ArrayAttr>("window").asArrayRef())};
}

Operation *x86::findByteDot(Block &body) {
  if (auto matmul = getRoot<IntMatMulOp>(body)) {
    bool isPlain =
        matmul.getRhs().getType().getRank() <= 3 && !matmul.getRhsZero() &&
        (!matmul.getLhsZero() || matmul.getLhsZero().getType().getRank() == 0);
    return isPlain ? matmul : nullptr;
  }
  auto conv = getRoot<IntConvOp>(body);
  if (!conv || !conv.getChannelsLast() || conv.getWeightZero())
    return nullptr;
  return conv;
}

DotSigns x86::getDotSigns(Operation *op) {
  auto type = cast<RankedTensorType>(op->getOperand(0).getType());
  return {/*codes=*/true,
          /*activations=*/!type.getElementType().isUnsignedInteger()};
}

static DotSizes getSizes(Operation *op, RankedTensorType weight) {
  SmallVector<AffineExpr> dims = getDims(op->getResult(0).getType());
  dims.pop_back();
  AffineExpr rows = product(dims, op->getContext());
  if (isa<IntMatMulOp>(op))
    return {rows, 1, weight.getDimSize(0), weight.getDimSize(1), 1};
  int64_t groups = int64_t(cast<IntConvOp>(op).getGroups()), taps = 1;
  for (int64_t size : weight.getShape().drop_front(2))
    taps *= size;
  return {rows, taps, weight.getDimSize(1), weight.getDimSize(0) / groups,
          groups};
}

/// The type of a weight that kernels take, or null.
static RankedTensorType getWeightType(Operation *op,
                                      function_ref<bool(unsigned)> isConstant) {
  if (llvm::any_of(op->getOperands(),
                   [](Value operand) { return !isa<BlockArgument>(operand); }))
    return {};
  auto weight = cast<BlockArgument>(op->getOperand(1));
  auto type = cast<RankedTensorType>(weight.getType()),
       input = cast<RankedTensorType>(op->getOperand(0).getType());
  bool isTaken = isConstant(weight.getArgNumber()) &&
                 op->getOperand(0) != weight &&
                 llvm::hasSingleElement(weight.getUses()) &&
                 type.hasStaticShape() && type.getNumElements() != 0 &&
                 (type.getElementType().isSignlessInteger(8) ||
                  type.getElementType().isSignlessInteger(4)) &&
                 input.getElementType().getIntOrFloatBitWidth() == 8 &&
                 type.getRank() <= (isa<IntConvOp>(op) ? 4 : 2);
  return isTaken ? type : RankedTensorType();
}

/// `most` rows, or fewer that are a multiple of `grain` and about the same in
/// all tasks.
static int64_t shareRows(AffineExpr all, int64_t most, int64_t grain) {
  std::optional<int64_t> known = getConstantSize(all);
  if (!known || *known <= 0)
    return most;
  int64_t tasks = llvm::divideCeil(*known, most);
  return llvm::alignTo(llvm::divideCeil(*known, tasks), grain);
}

/// Rows of a task that copies them: as many as fit.
static int64_t getFlatRows(const DotSizes &sizes, const DotSchedule &cut) {
  int64_t rowBytes = FlatRows::getRowBytes(sizes.terms(), cut.isWide),
          rows = std::clamp<int64_t>(kFlatBytes / rowBytes / kFlatGrain *
                                         kFlatGrain,
                                     kRowGrain, kMaxTaskRows);
  return shareRows(sizes.rows, rows, kFlatGrain);
}

/// Rows of a task.
static int64_t getTaskRows(const DotSizes &sizes, const DotSchedule &schedule) {
  if (schedule.isFlat)
    return getFlatRows(sizes, schedule);
  int64_t perRow = sizes.terms() * sizes.outputs,
          grain = schedule.hasTiles ? kTileGrain : kRowGrain,
          wanted = kTaskProducts * (schedule.hasTiles ? kTileSpeed : 1) *
                   (schedule.isNibble ? kExpandedRows : 1);
  int64_t rows = std::clamp<int64_t>(
      llvm::alignTo(llvm::divideCeil(wanted, perRow), grain), grain,
      kMaxTaskRows);
  if (perRow > kNearBytes)
    rows = std::max(rows, shareRows(sizes.rows, kMaxTaskRows, grain));
  auto fit = [&](int64_t bytes, int64_t perRow) {
    rows = std::clamp<int64_t>(bytes / perRow / grain * grain, grain, rows);
  };
  if (schedule.hasTiles)
    fit(kCopiedBytes, ByteTiles::getRowBytes(sizes.taps, sizes.inputs));
  return rows;
}

/// Rows where each symbol counts as 1: an image has many whatever the batch.
static int64_t getLeastRows(AffineExpr rows) {
  constexpr unsigned mostSymbols = 64;
  SmallVector<int64_t> ones(mostSymbols, 1);
  return std::max<int64_t>(evaluateSize(rows, ones).value_or(1), 1);
}

/// Blocks of columns of a task: all, unless there are few rows.
static int64_t getTaskBlocks(const DotSizes &sizes,
                             const DotSchedule &schedule) {
  int64_t rowTasks = llvm::divideCeil(getLeastRows(sizes.rows), schedule.rows);
  int64_t wantedTasks = schedule.isFlat ? kWantedFlatTasks : kWantedTasks;
  if (rowTasks * sizes.groups >= wantedTasks)
    return sizes.blocks();
  int64_t wanted = llvm::divideCeil(wantedTasks, rowTasks * sizes.groups);
  int64_t blocks = std::max<int64_t>(llvm::divideCeil(sizes.blocks(), wanted),
                                     std::min<int64_t>(sizes.blocks(), 2));
  if (schedule.hasTiles)
    blocks = std::min<int64_t>(llvm::alignTo(blocks, ByteTiles::kAtOnce),
                               sizes.blocks());
  return blocks;
}

/// Taps of less than a step, as of a first layer: each costs its pointer and
/// filling up, more than copying those of a row of the window side by side.
static bool hasShortTaps(const DotSizes &sizes) {
  return sizes.taps > 1 && sizes.inputs < kDotRows && sizes.groups == 1;
}

/// Taps of whole steps, each copied alone.
static bool hasWholeTaps(const DotSizes &sizes) {
  return sizes.inputs % kDotRows == 0 && sizes.inputs >= ByteRows::kFewInputs;
}

/// Scratch for what a task knows of its rows.
static int64_t getRowBytes(const DotSizes &sizes, const DotSchedule &cut) {
  int64_t bytes = 0;
  auto add = [&](int64_t more) { bytes = llvm::alignTo(bytes, 64) + more; };
  if (!cut.window.empty())
    add(ByteRows::getScratchBytes(sizes.inputs, cut.rows * sizes.taps));
  if (cut.isFlat)
    add(FlatRows::getBytes(sizes.terms(), cut.rows, cut.isWide));
  if (cut.hasTiles)
    add(ByteTiles::getBytes(sizes.taps, sizes.inputs, cut.rows));
  if (cut.listsTaps)
    add(TapLists::getBytes(sizes.taps, 1));
  return bytes;
}

int64_t x86::getTapsOffset(const DotSizes &sizes, const DotSchedule &cut) {
  return getRowBytes(sizes, cut) - TapLists::getBytes(sizes.taps, 1);
}

int64_t x86::getPanelOffset(const DotSizes &sizes, const DotSchedule &cut) {
  return int64_t(llvm::alignTo(getRowBytes(sizes, cut), 64));
}

/// The layout of a weight, without groups.
static std::string getLayout(const DotSchedule &cut) {
  if (cut.isNibble)
    return cut.isFlat ? "quad4" : "dot4";
  std::string taps = cut.listsTaps ? "taps" : "";
  if (cut.isWide)
    return cut.isFlat ? "pair" + taps : "dot16";
  if (cut.isFlat)
    return (cut.pairsFit ? "quad" : "flat") + taps;
  return cut.pairsFit ? "dotfit" : "dot";
}

namespace {
/// A product that the kernel takes, and how it is cut.
struct DotWork {
  Operation *op;
  DotSizes sizes;
  DotSchedule cut;

  KernelSchedule schedule() const;
};
} // namespace

static std::optional<DotWork>
findWork(Block &body, ArrayRef<Capabilities> levels,
         function_ref<bool(unsigned)> isConstant) {
  Operation *op = findByteDot(body);
  if (!op ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  RankedTensorType type = getWeightType(op, isConstant);
  if (!type)
    return std::nullopt;
  auto isConv = isa<IntConvOp>(op);
  DotSizes sizes = getSizes(op, type);
  if (sizes.groups > 1 && sizes.inputs == 1)
    return std::nullopt; // depthwise: the taps are all there is to add

  std::optional<int64_t> known = getConstantSize(sizes.rows);
  DotSchedule cut;
  cut.inputs = sizes.inputs;
  cut.isNibble = type.getElementType().isInteger(4);
  cut.isFlat =
      !hasAvx512(levels) || (isConv && hasShortTaps(sizes) && !cut.isNibble &&
                             llvm::all_of(levels, [](const Capabilities &c) {
                               return c.hasVnni && !c.hasAmx;
                             }));
  // Pairs are those of rows counted through all taps. Where each tap is filled
  // up they are the same only if it has whole pairs.
  bool samePairs = cut.isFlat || sizes.taps == 1 || sizes.inputs % 2 == 0;
  cut.pairsFit = cut.isNibble || (op->hasAttr(kPairsFitAttr) && samePairs);
  // Where no level multiplies bytes, and rows are not copied, widening the
  // weight once is cheaper.
  cut.isWide =
      !cut.pairsFit &&
      llvm::none_of(levels, [](const Capabilities &c) { return c.hasVnni; });
  cut.hasTiles =
      llvm::any_of(levels, [](const Capabilities &c) { return c.hasAmx; }) &&
      (!known || *known >= ByteTiles::kRows);
  if (isConv) {
    llvm::append_range(cut.window, type.getShape().drop_front(2));
    cut.listsTaps = cut.isFlat && !cut.isNibble && hasWholeTaps(sizes) &&
                    ConvShape(op, cut.window).hasIdleTaps();
  }
  cut.rows = getTaskRows(sizes, cut);
  cut.blocks = getTaskBlocks(sizes, cut);
  return DotWork{op, sizes, cut};
}

KernelSchedule DotWork::schedule() const {
  KernelSchedule schedule;
  schedule.params = cut.toAttr(op->getContext());
  schedule.tasks = sizes.rows.ceilDiv(cut.rows) *
                   llvm::divideCeil(sizes.blocks(), cut.blocks) * sizes.groups;
  std::string layout = getLayout(cut);
  if (isa<IntConvOp>(op))
    layout += ":" + std::to_string(sizes.groups);
  schedule.packs.push_back(
      {cast<BlockArgument>(op->getOperand(1)).getArgNumber(), layout,
       kDotColumns, false});
  schedule.scratchBytes = getRowBytes(sizes, cut);
  if (cut.isNibble)
    schedule.scratchBytes =
        getPanelOffset(sizes, cut) + NibblePanel::getBytes(sizes, cut);
  return schedule;
}

std::optional<KernelSchedule>
x86::scheduleByteDot(Block &body, ArrayRef<Capabilities> levels,
                     function_ref<bool(unsigned)> isConstant) {
  std::optional<DotWork> work = findWork(body, levels, isConstant);
  if (!work)
    return std::nullopt;
  return work->schedule();
}

SmallVector<KernelSchedule>
x86::listByteDots(Block &body, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) {
  std::optional<DotWork> work = findWork(body, levels, isConstant);
  if (!work)
    return {};
  int64_t least = getLeastRows(work->sizes.rows),
          grain = work->cut.hasTiles ? kTileGrain : kRowGrain;
  SmallVector<KernelSchedule> others;
  llvm::SmallSet<int64_t, 4> known;
  known.insert(work->cut.rows);
  for (int64_t rows : {int64_t(12), int64_t(24), int64_t(48), kMaxTaskRows}) {
    rows = int64_t(llvm::alignTo(rows, grain));
    // More than there are is what all of them are.
    if (rows > kMaxTaskRows || rows >= least + grain ||
        !known.insert(rows).second)
      continue;
    work->cut.rows = rows;
    work->cut.blocks = getTaskBlocks(work->sizes, work->cut);
    others.push_back(work->schedule());
  }
  if (!others.empty() || work->cut.hasTiles)
    return others;
  // One task has all rows: columns are what is left to cut.
  int64_t blocks = work->cut.blocks;
  for (int64_t wanted : {blocks / 2, 2 * blocks})
    if (wanted >= 1 && wanted <= work->sizes.blocks()) {
      work->cut.blocks = wanted;
      others.push_back(work->schedule());
    }
  return others;
}
