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
// Where no level is above AVX2, products are those of words (vpmaddwd): the
// rows of a task are widened to words once, in scratch, so that the loop only
// loads, multiplies and adds, in the tile of an f32 product: two rows of the
// weight in place of one.
//
//===----------------------------------------------------------------------===//
#include "ByteRows.h"
#include "Emitters.h"
#include "IntegerDot.h"
#include "Tiles.h"
#include "WordRows.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Dialect/QCC/Pack.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr unsigned kColumns = kDotColumns;
/// Products that make a task worth its start, and the most rows of one.
constexpr int64_t kTaskProducts = 1 << 20;
constexpr int64_t kMaxTaskRows = 96;
/// Rows of a task are a multiple of all tile heights but the largest.
constexpr int64_t kRowGrain = 12;
/// Tasks that make cutting columns unnecessary.
constexpr int64_t kWantedTasks = 4;
/// Bytes of a task's rows as words: a quarter of the smallest L2.
constexpr int64_t kWordBytes = 128 << 10;

/// Sizes of a product: `rows` times `groups` of [taps * inputs, outputs].
struct DotSizes {
  AffineExpr rows;
  int64_t taps, inputs, outputs, groups;
  int64_t blocks() const { return llvm::divideCeil(outputs, kColumns); }
  /// Rows of the weight.
  int64_t terms() const { return taps * inputs; }
};

class ByteDotEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "dot.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class ByteDot {
public:
  ByteDot(KernelBuilder &b, Operation *op, const DotSizes &sizes,
          ByteRows &rows, Epilogue epilogue);
  LogicalResult emit();

private:
  struct Place {
    Value row, block; ///< the first of each
    unsigned rows, blocks;
  };
  void emitTask(Value task);
  void sweep(Value rowBegin, Value rowEnd, std::optional<int64_t> known);
  void emitTile(const Place &at);
  SmallVector<Value> emitPairs(const Place &at, ArrayRef<Value> blocks);
  SmallVector<Value> emitTap(const Place &at, ArrayRef<Value> blocks, Value tap,
                             ArrayRef<Value> sums);
  void emitStep(ArrayRef<Value> words, ArrayRef<Value> blocks, Value step,
                MutableArrayRef<Value> sums);
  void emitStores(const Place &at, ArrayRef<Value> blocks,
                  ArrayRef<Value> sums);
  void emitBlock(Value sum, SmallVector<Value> indices, Value inGroup,
                 Value offset);
  unsigned getMaxBlocks(std::optional<int64_t> rows) const;
  unsigned getMaxRows(unsigned blocks) const;

  KernelBuilder &b;
  DotSizes sizes;
  ByteRows &rows;
  Epilogue epilogue;
  IntegerDot dot;
  bool isWide;   ///< the weight's codes are words
  bool isPaired; ///< so are the rows that it is multiplied with
  std::optional<WordRows> wordRows;
  Type i8, i32, stored;
  Value weight, out, zero;
  SmallVector<AffineExpr> leading; ///< of the result, all but the last
  int64_t taskRows, taskBlocks, blockBytes, stepBytes;
  // Of the current task.
  Value group, firstRow, firstBlock, endBlock;
  LogicalResult status = success();
};

/// The root of a body that the emitter takes, or null.
Operation *findRoot(Block &body) {
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

DotSizes getSizes(Operation *op, RankedTensorType weight) {
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

} // namespace

std::optional<KernelSchedule>
ByteDotEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)> isConstant) const {
  Operation *op = findRoot(dispatch.getBody().front());
  if (!op ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  for (Value operand : op->getOperands())
    if (!isa<BlockArgument>(operand))
      return std::nullopt;
  auto weight = cast<BlockArgument>(op->getOperand(1));
  auto type = cast<RankedTensorType>(weight.getType()),
       input = cast<RankedTensorType>(op->getOperand(0).getType());
  auto isConv = isa<IntConvOp>(op);
  if (!isConstant(weight.getArgNumber()) || op->getOperand(0) == weight ||
      !llvm::hasSingleElement(weight.getUses()) || !type.hasStaticShape() ||
      type.getNumElements() == 0 ||
      !type.getElementType().isSignlessInteger(8) ||
      input.getElementType().getIntOrFloatBitWidth() != 8 ||
      type.getRank() > (isConv ? 4 : 2))
    return std::nullopt;
  DotSizes sizes = getSizes(op, type);
  if (sizes.groups > 1 && sizes.inputs == 1)
    return std::nullopt; // depthwise: the taps are all there is to add
  std::optional<int64_t> known = getConstantSize(sizes.rows);

  int64_t perRow = sizes.taps * sizes.inputs * sizes.outputs;
  int64_t taskRows = std::clamp<int64_t>(
      llvm::alignTo(llvm::divideCeil(kTaskProducts, perRow), kRowGrain),
      kRowGrain, kMaxTaskRows);
  // Where no level multiplies bytes, widening the weight once is cheaper.
  bool isWide =
      llvm::none_of(levels, [](const Capabilities &c) { return c.hasVnni; });
  bool isPaired =
      llvm::none_of(levels, [](const Capabilities &c) { return c.hasAvx512; });
  if (isPaired)
    taskRows =
        std::clamp<int64_t>(kWordBytes / WordRows::getRowBytes(sizes.terms()) /
                                kRowGrain * kRowGrain,
                            kRowGrain, taskRows);
  int64_t taskBlocks = sizes.blocks();
  int64_t rowTasks =
      known ? llvm::divideCeil(std::max<int64_t>(*known, 1), taskRows) : 1;
  if (rowTasks * sizes.groups < kWantedTasks) {
    int64_t wanted = llvm::divideCeil(kWantedTasks, rowTasks * sizes.groups);
    taskBlocks = std::max<int64_t>(llvm::divideCeil(sizes.blocks(), wanted),
                                   std::min<int64_t>(sizes.blocks(), 2));
  }
  KernelSchedule schedule;
  Builder builder(op->getContext());
  auto number = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  SmallVector<int64_t> window;
  if (isConv)
    llvm::append_range(window, type.getShape().drop_front(2));
  schedule.params = builder.getDictionaryAttr(
      {number("blocks", taskBlocks), number("inputs", sizes.inputs),
       builder.getNamedAttr("paired", builder.getBoolAttr(isPaired)),
       number("rows", taskRows),
       builder.getNamedAttr("wide", builder.getBoolAttr(isWide)),
       builder.getNamedAttr("window", builder.getDenseI64ArrayAttr(window))});
  schedule.tasks = sizes.rows.ceilDiv(taskRows) *
                   llvm::divideCeil(sizes.blocks(), taskBlocks) * sizes.groups;
  std::string layout = isPaired ? "pair16" : isWide ? "dot16" : "dot";
  if (isConv)
    layout += ":" + std::to_string(sizes.groups);
  schedule.packs.push_back({weight.getArgNumber(), layout, kDotColumns, false});
  if (isConv)
    schedule.scratchBytes =
        ByteRows::getScratchBytes(sizes.inputs, taskRows * sizes.taps);
  if (isPaired)
    schedule.scratchBytes = llvm::alignTo(schedule.scratchBytes, 64) +
                            WordRows::getBytes(sizes.terms(), taskRows);
  return schedule;
}

LogicalResult ByteDotEmitter::emit(KernelBuilder &builder) const {
  Operation *op = findRoot(builder.kernel().getBody().front());
  if (!op)
    return failure();
  DictionaryAttr params = builder.kernel().getSchedule();
  auto window = params.getAs<DenseI64ArrayAttr>("window");
  int64_t inputs = params.getAs<IntegerAttr>("inputs").getInt();
  SmallVector<AffineExpr> dims = getDims(op->getResult(0).getType());
  int64_t outputs = *getConstantSize(dims.back());
  dims.pop_back();
  DotSizes sizes{product(dims, op->getContext()), 1, inputs, outputs, 1};
  std::optional<ConvShape> shape;
  if (auto conv = dyn_cast<IntConvOp>(op)) {
    shape.emplace(op, window.asArrayRef());
    sizes.groups = shape->groups;
    sizes.outputs /= sizes.groups;
    sizes.taps = shape->kernelSize();
  }
  ByteRows rows(builder, op, shape, inputs, /*readsWords=*/true);
  return ByteDot(builder, op, sizes, rows, *getEpilogue(op)).emit();
}

/// How the bytes of an operation are read.
static DotSigns getSigns(Operation *op) {
  auto type = cast<RankedTensorType>(op->getOperand(0).getType());
  return {/*codes=*/true,
          /*activations=*/!type.getElementType().isUnsignedInteger()};
}

ByteDot::ByteDot(KernelBuilder &b, Operation *op, const DotSizes &sizes,
                 ByteRows &rows, Epilogue epilogue)
    : b(b), sizes(sizes), rows(rows), epilogue(std::move(epilogue)),
      dot(b.caps(), getSigns(op)), i8(b.getI8Type()), i32(b.getI32Type()),
      leading(getDims(op->getResult(0).getType())) {
  leading.pop_back();
  stored = getStoredType(b.kernel().getBody().front());
  weight = b.pointer(cast<BlockArgument>(op->getOperand(1)));
  out = b.resultPointer(0);
  zero = rows.getZero();
  DictionaryAttr params = b.kernel().getSchedule();
  taskRows = params.getAs<IntegerAttr>("rows").getInt();
  taskBlocks = params.getAs<IntegerAttr>("blocks").getInt();
  isWide = params.getAs<BoolAttr>("wide").getValue();
  isPaired = params.getAs<BoolAttr>("paired").getValue();
  stepBytes = kDotColumns * kDotRows * (isWide ? 2 : 1);
  int64_t steps = llvm::divideCeil(sizes.inputs, kDotRows);
  blockBytes = kDotHeader + sizes.taps * steps * stepBytes;
  if (!isPaired)
    return;
  blockBytes = kDotHeader + llvm::alignTo(sizes.terms(), 2) * kColumns * 2;
  int64_t before =
      isa<IntConvOp>(op)
          ? ByteRows::getScratchBytes(sizes.inputs, taskRows * sizes.taps)
          : 0;
  wordRows.emplace(b, rows, sizes.taps, sizes.inputs, getSigns(op).activations,
                   llvm::alignTo(before, 64));
}

/// One row alone reads several streams of weights.
unsigned ByteDot::getMaxBlocks(std::optional<int64_t> known) const {
  if (isPaired)
    return std::min<int64_t>(known == 1 ? 4 : 1, sizes.blocks());
  unsigned most = !b.caps().hasAvx512
                      ? (known == 1 ? 2 : 1)
                      : (known == 1 || dot.getRegisters() == 1 ? 4 : 2);
  return std::min<int64_t>(most, sizes.blocks());
}

unsigned ByteDot::getMaxRows(unsigned blocks) const {
  // LLVM loads all rows' pairs first: with more than four they and their sums
  // do not fit 16 registers.
  if (isPaired)
    return 4 / blocks;
  unsigned budget = b.caps().hasAvx512 ? 24 : 12;
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
  if (isPaired)
    wordRows->emit(firstRow, endRow);
  if (std::optional<int64_t> known = getConstantSize(sizes.rows)) {
    sweep(firstRow, endRow, known);
    return;
  }
  auto branch = scf::IfOp::create(b, b.less(b.idx(1), total),
                                  /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  sweep(firstRow, endRow, std::nullopt);
  b.setInsertionPointToStart(branch.elseBlock());
  sweep(firstRow, endRow, 1);
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
        unsigned maxRows = known == 1 ? 1 : getMaxRows(blocks);
        emitRowBlocks(
            b, rowBegin, rowEnd, maxRows,
            [&](unsigned n) {
              return needsRowBlock(known, taskRows, maxRows, n);
            },
            [&](Value row, unsigned n) { emitTile({row, block, n, blocks}); });
      });
}

void ByteDot::emitTile(const Place &at) {
  SmallVector<Value> blocks, sums;
  Value first = b.add(b.mul(group, b.idx(sizes.blocks())), at.block);
  for (unsigned v = 0; v < at.blocks; ++v)
    blocks.push_back(b.elementPointer(
        weight, i8, b.mul(b.add(first, b.idx(v)), b.idx(blockBytes))));
  if (isPaired) {
    emitStores(at, blocks, emitPairs(at, blocks));
    return;
  }
  for (unsigned i = 0; i < at.rows * at.blocks; ++i)
    llvm::append_range(sums, dot.zero(b));
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

/// The sums of a tile, [rows][blocks] of two vectors of eight columns, over all
/// rows of the weight, two at a time.
SmallVector<Value> ByteDot::emitPairs(const Place &at, ArrayRef<Value> blocks) {
  constexpr unsigned lanes = kColumns / 2;
  auto sumType = VectorType::get(lanes, i32);
  auto pairType = VectorType::get(2 * lanes, b.getI16Type());
  SmallVector<Value> pointers,
      init(size_t(at.rows) * at.blocks * 2, b.constantInt(0, sumType));
  for (unsigned r = 0; r < at.rows; ++r)
    pointers.push_back(
        wordRows->getPointer(b.sub(b.add(at.row, b.idx(r)), firstRow)));
  return b.forLoop(
      b.idx(0), b.idx(llvm::divideCeil(sizes.terms(), 2)), b.idx(1), init,
      [&](Value pair, ArrayRef<Value> carried) {
        SmallVector<Value> sums(carried), factors;
        Value first =
            b.add(b.idx(kDotHeader / 2), b.mul(pair, b.idx(2 * kColumns)));
        for (Value block : blocks)
          for (unsigned half = 0; half < 2; ++half)
            factors.push_back(b.load(block, b.getI16Type(),
                                     b.add(first, b.idx(half * 2 * lanes)),
                                     2 * lanes));
        for (auto [r, pointer] : llvm::enumerate(pointers)) {
          Value both = vector::BitCastOp::create(
              b, pairType, b.splat(b.load(pointer, i32, pair), lanes));
          for (auto [v, factor] : llvm::enumerate(factors))
            dot.stepPart(b, sums[r * factors.size() + v], factor, both);
        }
        return sums;
      },
      KernelBuilder::LoopHint::NoUnroll);
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

void ByteDot::emitStores(const Place &at, ArrayRef<Value> blocks,
                         ArrayRef<Value> sums) {
  unsigned perSum = isPaired ? 2 : dot.getNumValues();
  auto ints = VectorType::get(kColumns, i32);
  int64_t width = sizes.outputs * sizes.groups;
  SmallVector<Value> corrections;
  Value shift = arith::AddIOp::create(
      b, zero, b.constantInt(dot.getActivationOffset(), i32));
  for (Value block : blocks)
    corrections.push_back(arith::MulIOp::create(
        b, b.load(block, i32, b.idx(0), kColumns), b.splat(shift, kColumns)));
  for (unsigned r = 0; r < at.rows; ++r) {
    Value row = b.add(at.row, b.idx(r));
    SmallVector<Value> indices = splitIndex(b, row, leading);
    indices.push_back({});
    for (unsigned v = 0; v < at.blocks; ++v) {
      Value inGroup = b.mul(b.add(at.block, b.idx(v)), b.idx(kColumns));
      Value column = b.add(b.mul(group, b.idx(sizes.outputs)), inGroup);
      indices.back() = column;
      ArrayRef<Value> parts = sums.slice((r * at.blocks + v) * perSum, perSum);
      Value sum = isPaired ? dot.concatenate(b, parts) : dot.finish(b, parts);
      sum = arith::SubIOp::create(b, ints, sum, corrections[v]);
      emitBlock(sum, indices, inGroup, b.add(b.mul(row, b.idx(width)), column));
    }
  }
}

/// Stores the sums of a block of which the last one of a group may hold fewer
/// columns. Below AVX-512 no instruction stores some bytes of a vector, so that
/// one is stored in pieces of known length.
void ByteDot::emitBlock(Value sum, SmallVector<Value> indices, Value inGroup,
                        Value offset) {
  int64_t rest = sizes.outputs % kColumns;
  auto store = [&](Value part, unsigned lanes, Value live, int64_t first) {
    SmallVector<Value> at(indices);
    at.back() = b.add(at.back(), b.idx(first));
    if (failed(storeWithEpilogue(b, epilogue, part, at, lanes, live, out,
                                 stored, b.add(offset, b.idx(first)))))
      status = failure();
  };
  if (!rest)
    return store(sum, kColumns, Value(), 0);
  if (b.caps().hasAvx512)
    return store(
        sum, kColumns,
        b.minIdx(b.sub(b.idx(sizes.outputs), inGroup), b.idx(kColumns)), 0);
  auto storeRest = [&] {
    int64_t first = 0;
    for (unsigned lanes = kColumns / 2; lanes > 0; lanes /= 2) {
      if (!(rest & lanes))
        continue;
      Value part = lanes > 1
                       ? Value(vector::ExtractStridedSliceOp::create(
                             b, sum, ArrayRef<int64_t>{first},
                             ArrayRef<int64_t>{lanes}, ArrayRef<int64_t>{1}))
                       : Value(vector::ExtractOp::create(b, sum, first));
      store(part, lanes, Value(), first);
      first += lanes;
    }
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
