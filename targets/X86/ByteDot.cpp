//===- ByteDot.cpp - exact products of bytes --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Matrix products and convolutions of bytes with a constant i8 weight. The
// channels are last, so the inputs that a pixel reads for one tap of the window
// lie side by side, as a row of a matrix does: a convolution is a product whose
// rows are found through a table of pointers, one per pixel and tap, made once
// per task for all output channels. What falls in the padding points at a row
// of zero points in scratch. No image is copied.
//
// Vectors hold 16 output channels. The input's zero point is taken away after
// the sum, by the sums of the weight's columns: integers, so the result is
// exact and the same for all levels and tile shapes.
//
// Where no level is above AVX2, the rows of a task are copied once, to scratch,
// so that all taps lie side by side and the loop only loads, multiplies and
// adds, in the tile of an f32 product. They stay bytes (vpmaddubsw, four rows
// of the weight in place of one) where the weight's codes are known to fit in
// pairs (kPairsFitAttr), else they are widened to words (vpmaddwd, two rows).
// With VNNI alone windows of few channels are copied so too: a tap of three
// would fill one step of four and cost a pointer for each.
//
// A weight of 4 bits is expanded to these layouts in scratch, some blocks of
// columns at a time, once per task (NibblePanel.h).
//
// With AMX, products of 16 rows and more are made in tile registers, of the
// weight as VNNI kernels read it (ByteTiles.h).
//
//===----------------------------------------------------------------------===//
#include "ByteDotSchedule.h"
#include "ByteTiles.h"
#include "Emitters.h"
#include "FlatRows.h"
#include "NibblePanel.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr unsigned kColumns = kDotColumns;
/// Most blocks of 16 columns that are stored as one vector.
constexpr unsigned kStoredBlocks = 4;
/// Bytes of a weight from which on it is brought to L2 ahead.
constexpr int64_t kLeastAhead = 64 << 10;
/// Most rows of a tile of AVX2 that LLVM may load as it likes: it loads all
/// rows' pairs first, and those of more do not fit 16 registers with their
/// sums.
constexpr unsigned kMaxLoadedRows = 4;
/// Most accumulators of a tile, of as many registers.
constexpr unsigned kMaxSums = 24;

class ByteDotEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "dot.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  SmallVector<KernelSchedule>
  getAlternatives(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) const override {
    return listByteDots(dispatch.getBody().front(), levels, isConstant);
  }
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class ByteDot {
public:
  ByteDot(KernelBuilder &b, Operation *op, const DotSizes &sizes,
          const DotSchedule &schedule, ByteRows &rows, Epilogue epilogue);
  LogicalResult emit();

private:
  struct Place {
    Value row, block; ///< the first of each
    unsigned rows, blocks;
  };
  void emitTask(Value task);
  void emitRows(Value total, Value endRow);
  void sweep(Value rowBegin, Value rowEnd, std::optional<int64_t> known);
  void sweepTiles(Value endRow);
  void emitTile(const Place &at);
  SmallVector<Value> emitFlat(const Place &at, ArrayRef<Value> blocks);
  SmallVector<Value> emitFlatSteps(ArrayRef<Value> pointers,
                                   ArrayRef<Value> blocks, Value begin,
                                   Value end, ArrayRef<Value> init);
  void listTaps(Value endRow);
  /// Rows of the weight that a step over flat rows takes, of one word, and
  /// the number of steps.
  int64_t getStepRows() const { return isWide ? 2 : kDotRows; }
  int64_t getSteps() const {
    return llvm::divideCeil(sizes.terms(), getStepRows());
  }
  /// Vectors of a block's sums in a product of flat rows.
  unsigned getFlatParts() const { return b.caps().hasAvx512 ? 1 : 2; }
  SmallVector<Value> emitTap(const Place &at, ArrayRef<Value> blocks, Value tap,
                             ArrayRef<Value> sums);
  void setAhead(const Place &at, ArrayRef<Value> blocks);
  void prefetchStep(Value step);
  void emitStep(ArrayRef<Value> words, ArrayRef<Value> blocks, Value step,
                MutableArrayRef<Value> sums);
  void emitStores(const Place &at, ArrayRef<Value> blocks,
                  ArrayRef<Value> sums);
  void emitRowLoop(const Place &at, ArrayRef<Value> corrections);
  SmallVector<Value> getBlocks(Value block, unsigned count);
  SmallVector<Value> getStoredBlocks(Value block, unsigned count);
  void expandBlocks(Value block, unsigned count);
  SmallVector<Value> emitCorrections(ArrayRef<Value> blocks, Value shift);
  void emitRow(Value row, Value block, ArrayRef<Value> sums,
               ArrayRef<Value> corrections);
  void emitBlocks(Value sum, SmallVector<Value> indices, Value inGroup,
                  Value offset);
  unsigned getMaxBlocks(std::optional<int64_t> rows) const;
  unsigned getMaxRows(unsigned blocks) const;

  KernelBuilder &b;
  DotSizes sizes;
  ByteRows &rows;
  Epilogue epilogue;
  IntegerDot dot;
  bool isWide;                      ///< codes are multiplied as words
  std::optional<FlatRows> flatRows; ///< copied by each task
  std::optional<ByteTiles> tiles;   ///< where the level has them
  std::optional<NibblePanel> panel; ///< of a weight of 4 bits
  std::optional<TapLists> tapLists; ///< one of the current task
  Type i8, i32, stored;
  Value weight, out, zero, buffer;
  SmallVector<AffineExpr> leading; ///< of the result, all but the last
  int64_t taskRows, taskBlocks, blockBytes, stepBytes;
  int64_t header = kDotHeader; ///< bytes of a block before its codes
  // Of the current task.
  Value group, firstRow, firstBlock, endBlock;
  SmallVector<Value> ahead; ///< what the current tile brings to L2
  Value aheadStride;        ///< bytes of a step of these
  LogicalResult status = success();
};

} // namespace

std::optional<KernelSchedule>
ByteDotEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)> isConstant) const {
  return scheduleByteDot(dispatch.getBody().front(), levels, isConstant);
}

LogicalResult ByteDotEmitter::emit(KernelBuilder &builder) const {
  Operation *op = findByteDot(builder.kernel().getBody().front());
  if (!op)
    return failure();
  DotSchedule schedule = DotSchedule::get(builder.kernel().getSchedule());
  int64_t inputs = schedule.inputs;
  SmallVector<AffineExpr> dims = getDims(op->getResult(0).getType());
  int64_t outputs = *getConstantSize(dims.back());
  dims.pop_back();
  DotSizes sizes{product(dims, op->getContext()), 1, inputs, outputs, 1};
  std::optional<ConvShape> shape;
  if (auto conv = dyn_cast<IntConvOp>(op)) {
    shape.emplace(op, schedule.window);
    sizes.groups = shape->groups;
    sizes.outputs /= sizes.groups;
    sizes.taps = shape->kernelSize();
  }
  ByteRows rows(builder, op, shape, inputs, /*readsWords=*/true);
  return ByteDot(builder, op, sizes, schedule, rows, *getEpilogue(op)).emit();
}

ByteDot::ByteDot(KernelBuilder &b, Operation *op, const DotSizes &sizes,
                 const DotSchedule &schedule, ByteRows &rows, Epilogue epilogue)
    : b(b), sizes(sizes), rows(rows), epilogue(std::move(epilogue)),
      dot(b.caps(), getDotSigns(op), schedule.pairsFit),
      isWide(schedule.isWide), i8(b.getI8Type()), i32(b.getI32Type()),
      leading(getDims(op->getResult(0).getType())) {
  leading.pop_back();
  stored = getStoredType(b.kernel().getBody().front());
  weight = b.pointer(cast<BlockArgument>(op->getOperand(1)));
  out = b.resultPointer(0);
  zero = rows.getZero();
  taskRows = schedule.rows;
  taskBlocks = schedule.blocks;
  stepBytes = kDotColumns * kDotRows * (isWide ? 2 : 1);
  int64_t steps = llvm::divideCeil(sizes.inputs, kDotRows);
  blockBytes = kDotHeader + sizes.taps * steps * stepBytes;
  int64_t before =
      isa<IntConvOp>(op)
          ? ByteRows::getScratchBytes(sizes.inputs, taskRows * sizes.taps)
          : 0;
  bool isSigned = getDotSigns(op).activations;
  if (b.caps().hasAmx && schedule.hasTiles)
    tiles.emplace(b, rows, sizes.taps, sizes.inputs,
                  isSigned ? TileDot::Signed : TileDot::Unsigned,
                  llvm::alignTo(before, 64));
  if (schedule.listsTaps) {
    header = kDotHeader * (1 + sizes.taps);
    tapLists.emplace(b,
                     b.elementPointer(b.scratch(), i8,
                                      b.idx(getTapsOffset(sizes, schedule))),
                     sizes.taps);
  }
  if (schedule.isFlat)
    blockBytes = header + getSteps() * getStepRows() * kColumns;
  if (schedule.isNibble) {
    blockBytes = NibblePanel::getStoredBytes(sizes, schedule);
    panel.emplace(b, sizes, schedule,
                  b.elementPointer(b.scratch(), i8,
                                   b.idx(getPanelOffset(sizes, schedule))));
  }
  if (!schedule.isFlat)
    return;
  RowForm form = isWide                      ? RowForm::Words
                 : dot.getActivationOffset() ? RowForm::OffsetBytes
                                             : RowForm::Bytes;
  flatRows.emplace(b, rows, sizes.taps, sizes.inputs, form, isSigned,
                   llvm::alignTo(before, 64));
  if (tapLists)
    flatRows->setTaps(*tapLists);
  rows.readRuns();
}

/// One row alone reads several streams of weights.
unsigned ByteDot::getMaxBlocks(std::optional<int64_t> known) const {
  if (flatRows && !b.caps().hasAvx512)
    return std::min<int64_t>(known == 1 ? 4 : 1, sizes.blocks());
  unsigned most = !b.caps().hasAvx512
                      ? (known == 1 ? 2 : 1)
                      : (known == 1 || dot.getRegisters() == 1 ? 4 : 2);
  return std::min<int64_t>(most, sizes.blocks());
}

unsigned ByteDot::getMaxRows(unsigned blocks) const {
  // Words take as many loads for half the products: six rows share those of
  // the weight, which with their sums fill the registers.
  if (flatRows && !b.caps().hasAvx512)
    return isWide && blocks == 1 ? 6 : kMaxLoadedRows / blocks;
  unsigned budget = b.caps().hasAvx512 ? kMaxSums : 12;
  return std::clamp(budget / (dot.getRegisters() * blocks), 1u, 12u);
}

LogicalResult ByteDot::emit() {
  rows.emitZeroRow();
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

/// A task: (group, chunk of blocks, chunk of rows), the last running fastest.
void ByteDot::emitTask(Value task) {
  Value total = b.size(sizes.rows),
        chunks = b.size(sizes.rows.ceilDiv(taskRows));
  firstRow = b.mul(b.mod(task, chunks), b.idx(taskRows));
  Value endRow = b.minIdx(b.add(firstRow, b.idx(taskRows)), total);
  Value rest = b.divFloor(task, chunks);
  Value blockChunks = b.idx(llvm::divideCeil(sizes.blocks(), taskBlocks));
  firstBlock = b.mul(b.mod(rest, blockChunks), b.idx(taskBlocks));
  endBlock =
      b.minIdx(b.add(firstBlock, b.idx(taskBlocks)), b.idx(sizes.blocks()));
  group = b.divFloor(rest, blockChunks);
  rows.emitTable(group, firstRow, endRow);
  if (tapLists)
    listTaps(endRow);
  if (flatRows)
    flatRows->emit(firstRow, endRow);
  emitRows(total, endRow);
}

/// The taps that lie in the image for one of the task's pixels: the others are
/// zero points, whose products are taken away anyway.
void ByteDot::listTaps(Value endRow) {
  tapLists->fill(b.idx(0), [&](Value tap) {
    return b.forLoop(
        firstRow, endRow, b.idx(1), {b.idx(0)},
        [&](Value row, ArrayRef<Value> found) -> SmallVector<Value> {
          Value isLive = rows.isInImage(row, firstRow, tap);
          return {arith::SelectOp::create(b, isLive, b.idx(1), found[0])};
        },
        KernelBuilder::LoopHint::NoUnroll)[0];
  });
}

/// The products of a task in the form that suits the number of all rows.
void ByteDot::emitRows(Value total, Value endRow) {
  if (std::optional<int64_t> known = getConstantSize(sizes.rows)) {
    if (tiles)
      sweepTiles(endRow);
    else
      sweep(firstRow, endRow, known);
    return;
  }
  auto withoutTiles = [&] {
    b.emitEither(
        b.less(b.idx(1), total), [&] { sweep(firstRow, endRow, std::nullopt); },
        [&] { sweep(firstRow, endRow, 1); });
  };
  if (!tiles)
    return withoutTiles();
  b.emitEither(
      b.less(b.idx(ByteTiles::kRows - 1), total), [&] { sweepTiles(endRow); },
      withoutTiles);
}

/// A pair of tiles of columns meets all rows of the task while it is in L2.
void ByteDot::sweepTiles(Value endRow) {
  tiles->emitRows(firstRow, endRow);
  std::optional<int64_t> known = getConstantSize(sizes.rows), knownTiles;
  if (known)
    knownTiles = llvm::divideCeil(*known, ByteTiles::kRows);
  Value count =
      b.divFloor(b.add(b.sub(endRow, firstRow), b.idx(ByteTiles::kRows - 1)),
                 b.idx(ByteTiles::kRows));
  auto multiply = [&](Value tile, unsigned rowTiles, Value block,
                      unsigned blocks) {
    SmallVector<Value> pointers = getBlocks(block, blocks), codes;
    for (Value pointer : pointers)
      codes.push_back(b.elementPointer(pointer, i8, b.idx(kDotHeader)));
    SmallVector<Value> corrections = emitCorrections(pointers, zero);
    tiles->emitProduct(tile, rowTiles, codes,
                       [&](Value row, ArrayRef<Value> sums) {
                         emitRow(row, block, sums, corrections);
                       });
  };
  emitRowBlocks(
      b, firstBlock, endBlock, ByteTiles::kAtOnce,
      [&](unsigned n) {
        return needsRowBlock(sizes.blocks(), taskBlocks, ByteTiles::kAtOnce, n);
      },
      [&](Value block, unsigned blocks) {
        expandBlocks(block, blocks);
        emitRowBlocks(
            b, b.idx(0), count, ByteTiles::kAtOnce,
            [&](unsigned n) {
              return needsRowBlock(knownTiles, taskRows / ByteTiles::kRows,
                                   ByteTiles::kAtOnce, n);
            },
            [&](Value tile, unsigned n) { multiply(tile, n, block, blocks); });
      });
}

void ByteDot::sweep(Value rowBegin, Value rowEnd,
                    std::optional<int64_t> known) {
  unsigned maxBlocks = getMaxBlocks(known);
  emitRowBlocks(
      b, firstBlock, endBlock, maxBlocks,
      [&](unsigned n) {
        return needsRowBlock(sizes.blocks(), taskBlocks, maxBlocks, n);
      },
      [&](Value block, unsigned blocks) {
        expandBlocks(block, blocks);
        unsigned maxRows = known == 1 ? 1 : getMaxRows(blocks);
        emitRowBlocks(
            b, rowBegin, rowEnd, maxRows,
            [&](unsigned n) {
              return needsRowBlock(known, taskRows, maxRows, n);
            },
            [&](Value row, unsigned n) { emitTile({row, block, n, blocks}); });
      });
}

/// Where `count` blocks of the weight begin, expanded.
SmallVector<Value> ByteDot::getBlocks(Value block, unsigned count) {
  if (!panel)
    return getStoredBlocks(block, count);
  SmallVector<Value> blocks;
  for (unsigned v = 0; v < count; ++v)
    blocks.push_back(panel->getBlock(v));
  return blocks;
}

/// Brings blocks of a weight of 4 bits to where getBlocks() finds them.
void ByteDot::expandBlocks(Value block, unsigned count) {
  if (!panel)
    return;
  for (auto [v, from] : llvm::enumerate(getStoredBlocks(block, count)))
    panel->expand(from, unsigned(v));
}

SmallVector<Value> ByteDot::getStoredBlocks(Value block, unsigned count) {
  SmallVector<Value> blocks;
  Value first = b.add(b.mul(group, b.idx(sizes.blocks())), block);
  for (unsigned v = 0; v < count; ++v)
    blocks.push_back(b.elementPointer(
        weight, i8, b.mul(b.add(first, b.idx(v)), b.idx(blockBytes))));
  return blocks;
}

void ByteDot::emitTile(const Place &at) {
  SmallVector<Value> blocks = getBlocks(at.block, at.blocks), sums;
  if (flatRows) {
    emitStores(at, blocks, emitFlat(at, blocks));
    return;
  }
  for (unsigned i = 0; i < at.rows * at.blocks; ++i)
    llvm::append_range(sums, dot.zero(b));
  setAhead(at, blocks);
  if (sizes.taps == 1)
    sums = emitTap(at, blocks, b.idx(0), sums);
  else
    sums = b.forLoop(
        b.idx(0), b.idx(sizes.taps), b.idx(1), sums,
        [&](Value tap, ArrayRef<Value> carried) {
          return emitTap(at, blocks, tap, carried);
        },
        KernelBuilder::LoopHint::NoUnroll);
  emitStores(at, blocks, sums);
}

/// The sums of a tile, [rows][blocks] of getFlatParts() vectors of columns,
/// over all rows of the weight: two words of a column or four bytes at a time.
/// Words are stored as bytes: widening them costs no more than loading them,
/// and half as many come from memory.
SmallVector<Value> ByteDot::emitFlat(const Place &at, ArrayRef<Value> blocks) {
  unsigned parts = getFlatParts();
  auto sumType = VectorType::get(kColumns / parts, i32);
  SmallVector<Value> pointers,
      init(size_t(at.rows) * at.blocks * parts, b.constantInt(0, sumType));
  for (unsigned r = 0; r < at.rows; ++r)
    pointers.push_back(
        flatRows->getPointer(b.sub(b.add(at.row, b.idx(r)), firstRow)));
  if (!tapLists)
    return emitFlatSteps(pointers, blocks, b.idx(0), b.idx(getSteps()), init);
  int64_t perTap = sizes.inputs / getStepRows();
  return tapLists->forTaps(
      b.idx(0), init, [&](Value, Value tap, ArrayRef<Value> sums) {
        Value begin = b.mul(tap, b.idx(perTap));
        return emitFlatSteps(pointers, blocks, begin,
                             b.add(begin, b.idx(perTap)), sums);
      });
}

/// The steps [begin, end) of these sums.
SmallVector<Value> ByteDot::emitFlatSteps(ArrayRef<Value> pointers,
                                          ArrayRef<Value> blocks, Value begin,
                                          Value end, ArrayRef<Value> init) {
  unsigned parts = getFlatParts(), lanes = kColumns / parts;
  int64_t unit = getStepRows() * kColumns; // bytes of weights of a step
  auto codes = VectorType::get(lanes * getStepRows(),
                               isWide ? Type(b.getI16Type()) : i8);
  bool isInOrder = !b.caps().hasAvx512 && pointers.size() > kMaxLoadedRows;
  // A weight that does not fit L2 beside the rows comes from further away.
  bool isFar = blockBytes * sizes.blocks() > b.caps().l2Bytes / 2;
  return b.forLoop(
      begin, end, b.idx(1), init,
      [&](Value step, ArrayRef<Value> carried) {
        SmallVector<Value> sums(carried), factors;
        if (isFar && blocks.size() == 1)
          prefetchToL2(
              b, blocks[0],
              b.add(b.idx(blockBytes + header), b.mul(step, b.idx(unit))));
        Value first = b.add(b.idx(header), b.mul(step, b.idx(unit)));
        for (Value block : blocks)
          for (unsigned part = 0; part < parts; ++part) {
            Value bytes =
                b.load(block, i8, b.add(first, b.idx(part * unit / parts)),
                       codes.getNumElements());
            factors.push_back(isWide ? arith::ExtSIOp::create(b, codes, bytes)
                                     : bytes);
          }
        for (auto [r, pointer] : llvm::enumerate(pointers)) {
          Value word = isInOrder ? broadcastInOrder(b, pointer, step)
                                 : b.splat(b.load(pointer, i32, step), lanes);
          Value both = vector::BitCastOp::create(b, codes, word);
          for (auto [v, factor] : llvm::enumerate(factors))
            dot.stepPart(b, sums[r * factors.size() + v], factor, both);
        }
        return sums;
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Chooses what a tile brings to L2: each of the first ones of a task some of
/// the blocks that come after these, so that all are there in time.
void ByteDot::setAhead(const Place &at, ArrayRef<Value> blocks) {
  ahead.clear();
  // A smaller weight is there before it would have been asked for.
  if (panel || at.rows == 1 || sizes.terms() * sizes.outputs <= kLeastAhead)
    return;
  int64_t perTask = std::max<int64_t>(taskRows / at.rows, 1);
  auto perTile = int64_t(llvm::divideCeil(at.blocks, perTask));
  Value index = b.divFloor(b.sub(at.row, firstRow), b.idx(at.rows)),
        first = b.mul(index, b.idx(perTile));
  Value isNeeded = b.less(first, b.idx(at.blocks));
  first = b.add(first, b.idx(at.blocks));
  for (int64_t i = 0; i < perTile; ++i)
    ahead.push_back(b.elementPointer(
        blocks[0], i8, b.mul(b.add(first, b.idx(i)), b.idx(blockBytes))));
  // Later tiles ask for one line again and again, which costs little.
  aheadStride =
      arith::SelectOp::create(b, isNeeded, b.idx(stepBytes), b.idx(0));
}

void ByteDot::prefetchStep(Value step) {
  for (Value pointer : ahead)
    for (int64_t line = 0; line < stepBytes; line += 64)
      prefetchToL2(b, pointer, b.add(b.mul(step, aheadStride), b.idx(line)));
}

/// Adds the products of one tap: whole steps of four inputs, then the rest.
SmallVector<Value> ByteDot::emitTap(const Place &at, ArrayRef<Value> blocks,
                                    Value tap, ArrayRef<Value> sums) {
  SmallVector<Value> pointers;
  for (unsigned r = 0; r < at.rows; ++r)
    pointers.push_back(rows.getPointer(b.add(at.row, b.idx(r)), firstRow, tap));
  int64_t whole = sizes.inputs / kDotRows, rest = sizes.inputs % kDotRows;
  Value base = b.mul(tap, b.idx(llvm::divideCeil(sizes.inputs, kDotRows)));
  auto step = [&](Value index, ArrayRef<Value> carried, int64_t live) {
    SmallVector<Value> next(carried), words;
    prefetchStep(b.add(base, index));
    for (Value pointer : pointers)
      words.push_back(dot.prepareActivation(
          b, loadWord(b, pointer, b.mul(index, b.idx(kDotRows)), live)));
    emitStep(words, blocks, b.add(base, index), next);
    return next;
  };
  SmallVector<Value> result(sums);
  if (whole)
    result = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), result,
        [&](Value index, ArrayRef<Value> carried) {
          return step(index, carried, kDotRows);
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (rest)
    result = step(b.idx(whole), result, rows.isPadded() ? kDotRows : rest);
  return result;
}

/// Four rows of the weight: `sums` holds the values of each row and block.
void ByteDot::emitStep(ArrayRef<Value> words, ArrayRef<Value> blocks,
                       Value step, MutableArrayRef<Value> sums) {
  unsigned perSum = dot.getNumValues();
  for (auto [v, block] : llvm::enumerate(blocks)) {
    Value codes = b.elementPointer(
        block, i8, b.add(b.idx(kDotHeader), b.mul(step, b.idx(stepBytes))));
    Value bytes =
        isWide ? Value() : b.load(codes, i8, b.idx(0), kColumns * kDotRows);
    for (unsigned part = 0; part < perSum; ++part) {
      Value factor = isWide ? dot.loadWords(b, codes, part)
                            : dot.prepareCodes(b, bytes, part);
      for (auto [r, word] : llvm::enumerate(words))
        dot.stepPart(b, sums[(r * blocks.size() + v) * perSum + part], factor,
                     word);
    }
  }
}

/// What is taken from the sums of each block: `shift` times the sums of its
/// columns, of those taps that are multiplied.
SmallVector<Value> ByteDot::emitCorrections(ArrayRef<Value> blocks,
                                            Value shift) {
  SmallVector<Value> corrections;
  auto loadSums = [&](Value block, Value place) {
    return b.load(block, i32, b.mul(place, b.idx(kColumns)), kColumns);
  };
  for (Value block : blocks) {
    Value sums =
        tapLists
            ? tapLists->forTaps(
                  b.idx(0), {b.constantInt(0, VectorType::get(kColumns, i32))},
                  [&](Value, Value tap,
                      ArrayRef<Value> sums) -> SmallVector<Value> {
                    return {arith::AddIOp::create(
                        b, sums[0], loadSums(block, b.add(tap, b.idx(1))))};
                  })[0]
            : loadSums(block, b.idx(0));
    corrections.push_back(
        arith::MulIOp::create(b, sums, b.splat(shift, kColumns)));
  }
  return corrections;
}

void ByteDot::emitStores(const Place &at, ArrayRef<Value> blocks,
                         ArrayRef<Value> sums) {
  unsigned perSum = flatRows ? getFlatParts() : dot.getNumValues();
  SmallVector<Value> corrections = emitCorrections(
      blocks, arith::AddIOp::create(
                  b, zero, b.constantInt(dot.getActivationOffset(), i32)));
  // A loop of few values where the epilogue is long: in a line of all rows' the
  // sums would take the registers that it needs.
  bool isLong = epilogue.hasFunctions() && b.caps().hasAvx512 && at.rows > 1;
  if (isLong && !buffer)
    buffer = b.stackBuffer(int64_t(kMaxSums) * kColumns * 4);
  for (unsigned r = 0; r < at.rows; ++r) {
    SmallVector<Value> whole;
    for (unsigned v = 0; v < at.blocks; ++v) {
      ArrayRef<Value> parts = sums.slice((r * at.blocks + v) * perSum, perSum);
      whole.push_back(flatRows ? dot.concatenate(b, parts)
                               : dot.finish(b, parts));
      if (isLong)
        b.store(whole.back(), buffer, i32,
                b.idx((r * at.blocks + v) * kColumns));
    }
    if (!isLong)
      emitRow(b.add(at.row, b.idx(r)), at.block, whole, corrections);
  }
  if (isLong)
    emitRowLoop(at, corrections);
}

/// Stores the sums in the buffer, [rows][blocks].
void ByteDot::emitRowLoop(const Place &at, ArrayRef<Value> corrections) {
  b.forLoop(
      b.idx(0), b.idx(at.rows), b.idx(1),
      [&](Value r) {
        SmallVector<Value> sums;
        for (unsigned v = 0; v < at.blocks; ++v)
          sums.push_back(b.load(
              buffer, i32,
              b.add(b.mul(r, b.idx(at.blocks * kColumns)), b.idx(v * kColumns)),
              kColumns));
        emitRow(b.add(at.row, r), at.block, sums, corrections);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Stores the sums of a row and of the blocks from `block` on: several blocks
/// as one vector where all are whole. Its operations become one of each block
/// in turns, so that a long epilogue does not wait for its own results.
void ByteDot::emitRow(Value row, Value block, ArrayRef<Value> sums,
                      ArrayRef<Value> corrections) {
  int64_t width = sizes.outputs * sizes.groups;
  bool isWhole = sizes.outputs % kColumns == 0;
  unsigned most = isWhole && b.caps().hasAvx512 ? kStoredBlocks : 1;
  SmallVector<Value> indices = splitIndex(b, row, leading);
  indices.push_back({});
  for (unsigned v = 0; v < sums.size();) {
    unsigned count =
        llvm::bit_floor(std::min<unsigned>(most, unsigned(sums.size()) - v));
    Value inGroup = b.mul(b.add(block, b.idx(v)), b.idx(kColumns));
    Value column = b.add(b.mul(group, b.idx(sizes.outputs)), inGroup);
    indices.back() = column;
    SmallVector<Value> parts;
    for (unsigned end = v + count; v < end; ++v)
      parts.push_back(arith::SubIOp::create(b, sums[v], corrections[v]));
    emitBlocks(IntegerDot::concatenate(b, parts), indices, inGroup,
               b.add(b.mul(row, b.idx(width)), column));
  }
}

/// Stores the sums of blocks; one alone may be the last of a group, which may
/// hold fewer columns. Below AVX-512 no instruction stores some bytes of a
/// vector, so that one is stored in pieces of known length.
void ByteDot::emitBlocks(Value sum, SmallVector<Value> indices, Value inGroup,
                         Value offset) {
  int64_t rest = sizes.outputs % kColumns;
  auto columns = unsigned(cast<VectorType>(sum.getType()).getNumElements());
  auto store = [&](Value part, unsigned lanes, Value live, int64_t first) {
    SmallVector<Value> at(indices);
    at.back() = b.add(at.back(), b.idx(first));
    if (failed(storeWithEpilogue(b, epilogue, part, at, lanes, live, out,
                                 stored, b.add(offset, b.idx(first)))))
      status = failure();
  };
  if (!rest)
    return store(sum, columns, Value(), 0);
  if (b.caps().hasAvx512)
    return store(
        sum, kColumns,
        b.minIdx(b.sub(b.idx(sizes.outputs), inGroup), b.idx(kColumns)), 0);
  auto storeRest = [&] {
    forPieces(b, sum, rest, [&](Value piece, unsigned lanes, int64_t first) {
      store(piece, lanes, Value(), first);
    });
  };
  if (sizes.outputs < kColumns)
    return storeRest();
  auto branch = scf::IfOp::create(
      b, b.less(inGroup, b.idx(sizes.outputs - rest)), /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  store(sum, kColumns, Value(), 0);
  b.setInsertionPointToStart(branch.elseBlock());
  storeRest();
}

std::unique_ptr<KernelEmitter> x86::createByteDotEmitter() {
  return std::make_unique<ByteDotEmitter>();
}
