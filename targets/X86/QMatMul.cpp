//===- QMatMul.cpp - matrix product with an encoded weight ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One emitter for all schemes with integer compute: the scheme's decode is
// inlined where codes are loaded. Per group of rows the products are summed in
// int32, which is exact, and the sums are scaled and added in f32 in ascending
// order of groups; so all levels and tile shapes give the same bits.
//
// Few rows: codes are unpacked in registers. Many rows: they are unpacked into
// a panel of some columns that stays in L2 while the rows walk by. Codes of 8
// bits are sorted in it where that is faster (PairPanel.h).
//
//===----------------------------------------------------------------------===//
#include "ByteRows.h"
#include "Decoder.h"
#include "Emitters.h"
#include "IntegerDot.h"
#include "PairPanel.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Rows and blocks of 16 columns of a task.
constexpr int64_t kTaskRows = 96;
constexpr int64_t kTaskBlocks = 12;
constexpr unsigned kColumns = kSchemeColumns;
/// Up to so many rows are multiplied without a panel: few rows do not pay for
/// writing it.
constexpr int64_t kDirectRows = 8;
/// A larger panel would not stay in L2 in any case.
constexpr int64_t kMaxPanelBytes = 1 << 20;
/// Most scratch of a sorted panel and the rows beside it.
constexpr int64_t kMaxPairBytes = 4 << 20;
/// Rows of a tile with one.
constexpr unsigned kPairRows = 4;
/// Units and chunks of a group that are unrolled.
constexpr int64_t kUnrolledUnits = 8, kUnrolledChunks = 2;

AffineExpr getRows(QMatMulOp op) {
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  dims.pop_back();
  return product(dims, op.getContext());
}

class QMatMulEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "gemm.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class QGemm {
public:
  QGemm(KernelBuilder &b, QMatMulOp op, const Scheme &scheme,
        const EncodedLayout &layout, int64_t k, Epilogue epilogue);
  LogicalResult emit();

private:
  /// An accumulator (or widened sums) per row and block.
  using Sums = SmallVector<SmallVector<Value>>;
  /// A tile: rows from `row` and blocks from `block`.
  struct Place {
    Value row, block;
    unsigned rows, blocks;
    Value panel;   ///< of the first block; null: codes are unpacked here
    int64_t ahead; ///< bytes to what is brought to L2 meanwhile
  };
  /// Rows of K: those behind the first `skip` of a group.
  struct Range {
    Value group, skip;
    int64_t rows;
  };
  void emitTask(Value blockBegin, Value blockEnd, Value rowBegin, Value rowEnd,
                std::optional<int64_t> known, bool usesPanel);
  void emitPanel(Value block, unsigned blocks);
  void emitPanelUnit(Value source, Value target, Value index, int64_t ahead);
  int64_t getAhead(unsigned blocks) const;
  void emitTile(const Place &at);
  SmallVector<Value> emitGroup(const Place &at, Value group, int64_t rows,
                               ArrayRef<Value> totals);
  Sums emitGroupSums(const Place &at, Value group, int64_t rows);
  Sums emitChunk(const Place &at, const Range &range);
  void emitUnit(const Place &at, ArrayRef<Value> pointers, Value unit,
                Value firstK, int64_t liveK, Sums &partial);
  Value getCodes(Value block, Value group);
  Value loadActivation(Value row, Value k, int64_t live);
  void emitPairs(Value blockBegin, Value blockEnd, Value rowBegin, Value rowEnd,
                 std::optional<int64_t> known);
  void emitPairTile(const Place &at, PairPanel &pairs);
  void emitStores(const Place &at, ArrayRef<Value> totals);
  unsigned getBlocks(std::optional<int64_t> rows) const;
  unsigned getMaxRows(unsigned blocks) const;
  bool isAlone(const Place &at) const;

  KernelBuilder &b;
  QMatMulOp op;
  const Scheme &scheme;
  EncodedLayout layout;
  CodeUnit unit;
  Epilogue epilogue;
  IntegerDot dot;
  int64_t k, n;
  int64_t stepBytes; ///< of four rows and 16 columns in a panel
  Type f32, i8, i32, stored;
  Value codes, scales, sums, weight, out;
  AffineExpr rowsExpr;
  LogicalResult status = success();
};

/// Most blocks of a panel at a level.
unsigned getPanelBlocks(const Capabilities &caps, const EncodedLayout &layout,
                        const IntegerDot &dot) {
  if (!caps.hasAvx512)
    return 1;
  if (layout.groups > 1 || dot.getRegisters() > 1)
    return 2;
  return layout.blocks % 3 == 0 ? 3 : 4;
}

IntegerDot getDot(const Capabilities &caps, const Scheme &scheme) {
  return {caps, scheme.getMaxCode(), scheme.getUnit().k};
}

/// Whether many rows are multiplied with a sorted panel.
bool isSorted(const Capabilities &caps, const Scheme &scheme,
              const EncodedLayout &layout) {
  return layout.groups == 1 && getDot(caps, scheme).needsWords() &&
         PairPanel::canMultiply(caps, scheme) &&
         PairPanel::getBytes(scheme, layout.groupK, kTaskRows) <= kMaxPairBytes;
}

/// Bytes of the panel of a level; 0 where products are as fast without one.
int64_t getPanelBytes(const Capabilities &caps, const Scheme &scheme,
                      const EncodedLayout &layout) {
  if (isSorted(caps, scheme, layout))
    return PairPanel::getBytes(scheme, layout.groupK, kTaskRows);
  IntegerDot dot = getDot(caps, scheme);
  CodeUnit unit = scheme.getUnit();
  bool isPlain = unit.bytes == unit.k * kSchemeColumns;
  if (isPlain && !dot.needsWords())
    return 0;
  // groups * groupK is at most 2^32, which getEncodedLayout sees to.
  int64_t bytes = layout.groups * layout.groupK * kSchemeColumns *
                  (dot.needsWords() ? 2 : 1) *
                  getPanelBlocks(caps, layout, dot);
  return bytes <= kMaxPanelBytes ? bytes : 0;
}

} // namespace

std::optional<KernelSchedule>
QMatMulEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)>) const {
  auto op = getRoot<QMatMulOp>(dispatch.getBody().front());
  if (!op || op.getActivations().size() != 3 ||
      !isF32Tensor(op.getResult().getType()))
    return std::nullopt;
  for (Value operand : op->getOperands())
    if (!isa<BlockArgument>(operand))
      return std::nullopt;
  const Scheme *scheme =
      getSchemes(op.getContext()).lookup(op.getFormat().getScheme());
  auto codes = cast<RankedTensorType>(op.getActivations()[0].getType());
  int64_t k = codes.getShape().back();
  if (!scheme || scheme->getCompute() != SchemeCompute::Integer ||
      ShapedType::isDynamic(k) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  std::optional<EncodedLayout> layout = getEncodedLayout(*scheme, k, op.getN());
  // Beyond this many rows a sum of products may not fit 32 bits.
  if (!layout || layout->groupK > 65536)
    return std::nullopt;
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks = getRows(op).ceilDiv(kTaskRows) *
                   int64_t(llvm::divideCeil(layout->blocks, kTaskBlocks));
  std::optional<int64_t> rows = getConstantSize(getRows(op));
  if (!rows || *rows > kDirectRows)
    for (const Capabilities &caps : levels)
      schedule.scratchBytes = std::max(schedule.scratchBytes,
                                       getPanelBytes(caps, *scheme, *layout));
  return schedule;
}

LogicalResult QMatMulEmitter::emit(KernelBuilder &builder) const {
  auto op = getRoot<QMatMulOp>(builder.kernel().getBody().front());
  if (!op)
    return failure();
  const Scheme *scheme =
      getSchemes(op.getContext()).lookup(op.getFormat().getScheme());
  if (!scheme)
    return op.emitError("expected a registered scheme, but got '")
           << op.getFormat().getScheme() << "'";
  int64_t k = cast<RankedTensorType>(op.getActivations()[0].getType())
                  .getShape()
                  .back();
  std::optional<EncodedLayout> layout = getEncodedLayout(*scheme, k, op.getN());
  if (!layout)
    return failure();
  return QGemm(builder, op, *scheme, *layout, k, *getEpilogue(op)).emit();
}

QGemm::QGemm(KernelBuilder &b, QMatMulOp op, const Scheme &scheme,
             const EncodedLayout &layout, int64_t k, Epilogue epilogue)
    : b(b), op(op), scheme(scheme), layout(layout), unit(scheme.getUnit()),
      epilogue(std::move(epilogue)), dot(getDot(b.caps(), scheme)), k(k),
      n(op.getN()), stepBytes(4 * kColumns * (dot.needsWords() ? 2 : 1)),
      f32(b.getF32Type()), i8(b.getI8Type()), i32(b.getI32Type()),
      rowsExpr(getRows(op)) {
  stored = getStoredType(b.kernel().getBody().front());
  auto pointer = [&](Value value) {
    return b.pointer(cast<BlockArgument>(value));
  };
  codes = pointer(op.getActivations()[0]);
  scales = pointer(op.getActivations()[1]);
  sums = pointer(op.getActivations()[2]);
  weight = pointer(op.getWeight());
  out = b.resultPointer(0);
}

/// True for a tile whose blocks are summed one after another: AVX2 has no
/// registers for several, but reading several streams is faster.
bool QGemm::isAlone(const Place &at) const {
  return at.blocks > 1 && layout.groups > 1 && !b.caps().hasAvx512;
}

/// Blocks of columns of a tile. One row alone reads several streams of weights;
/// else with one group the accumulators are all there is, with several each
/// has an f32 total beside it.
unsigned QGemm::getBlocks(std::optional<int64_t> rows) const {
  if (rows == 1)
    return b.caps().hasAvx512 || layout.groups > 1 ? 4 : 2;
  return getPanelBlocks(b.caps(), layout, dot);
}

unsigned QGemm::getMaxRows(unsigned blocks) const {
  unsigned perBlock = dot.getRegisters();
  if (b.caps().hasAvx512) {
    if (layout.groups > 1)
      ++perBlock;
    return std::clamp(24 / (perBlock * blocks), 1u, 12u);
  }
  // Totals go to memory and back once per group.
  return std::clamp((layout.groups > 1 ? 8 : 12) / (perBlock * blocks), 1u,
                    12u);
}

LogicalResult QGemm::emit() {
  Value rows = b.size(rowsExpr);
  Value rowBlocks = b.size(rowsExpr.ceilDiv(kTaskRows));
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  bool hasPanel = getPanelBytes(b.caps(), scheme, layout) > 0;
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        Value chunk = b.divFloor(task, rowBlocks);
        Value rowBegin = b.mul(b.mod(task, rowBlocks), b.idx(kTaskRows));
        Value rowEnd = b.minIdx(b.add(rowBegin, b.idx(kTaskRows)), rows);
        Value blockBegin = b.mul(chunk, b.idx(kTaskBlocks));
        Value blockEnd = b.minIdx(b.add(blockBegin, b.idx(kTaskBlocks)),
                                  b.idx(layout.blocks));
        if (total) {
          emitTask(blockBegin, blockEnd, rowBegin, rowEnd, total,
                   hasPanel && *total > kDirectRows);
          return;
        }
        auto choose = [&](int64_t most, function_ref<void()> more,
                          function_ref<void()> few) {
          auto branch = scf::IfOp::create(b, b.less(b.idx(most), rows),
                                          /*withElseRegion=*/true);
          OpBuilder::InsertionGuard restore(b);
          b.setInsertionPointToStart(branch.thenBlock());
          more();
          b.setInsertionPointToStart(branch.elseBlock());
          few();
        };
        auto emitSome = [&](std::optional<int64_t> known, bool usesPanel) {
          emitTask(blockBegin, blockEnd, rowBegin, rowEnd, known, usesPanel);
        };
        choose(
            1,
            [&] {
              if (hasPanel)
                choose(
                    kDirectRows, [&] { emitSome(std::nullopt, true); },
                    [&] { emitSome(std::nullopt, false); });
              else
                emitSome(std::nullopt, false);
            },
            [&] { emitSome(1, false); });
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

/// `known` is the number of all rows.
void QGemm::emitTask(Value blockBegin, Value blockEnd, Value rowBegin,
                     Value rowEnd, std::optional<int64_t> known,
                     bool usesPanel) {
  if (usesPanel && isSorted(b.caps(), scheme, layout))
    return emitPairs(blockBegin, blockEnd, rowBegin, rowEnd, known);
  unsigned maxBlocks = getBlocks(known);
  emitRowBlocks(
      b, blockBegin, blockEnd, maxBlocks,
      [&](unsigned blocks) {
        return needsRowBlock(layout.blocks, kTaskBlocks, maxBlocks, blocks);
      },
      [&](Value block, unsigned blocks) {
        if (usesPanel)
          emitPanel(block, blocks);
        unsigned maxRows = known == 1 ? 1 : getMaxRows(blocks);
        emitRowBlocks(
            b, rowBegin, rowEnd, maxRows,
            [&](unsigned rows) {
              return needsRowBlock(known, kTaskRows, maxRows, rows);
            },
            [&](Value row, unsigned rows) {
              emitTile({row, block, rows, blocks,
                        usesPanel ? b.scratch() : Value(), getAhead(blocks)});
            });
      });
}

//===----------------------------------------------------------------------===//
// Panels
//===----------------------------------------------------------------------===//

/// While `blocks` blocks are read, the same place of those that follow is
/// brought to L2, or where L2 would not hold them, what follows soon.
int64_t QGemm::getAhead(unsigned blocks) const {
  constexpr int64_t kNear = 2048;
  int64_t bytes = int64_t(blocks) * layout.groups * layout.groupBytes;
  return bytes <= b.caps().l2Bytes * 3 / 4 ? bytes : kNear;
}

/// Unpacks all codes of some blocks: [block][step of four rows][16][4].
void QGemm::emitPanel(Value block, unsigned blocks) {
  int64_t units = layout.groupK / unit.k, ahead = getAhead(blocks),
          groupSteps = layout.groupK / 4 * stepBytes;
  for (unsigned v = 0; v < blocks; ++v) {
    Value base = b.elementPointer(b.scratch(), i8,
                                  b.idx(v * layout.groups * groupSteps));
    b.forLoop(
        b.idx(0), b.idx(layout.groups), b.idx(1),
        [&](Value group) {
          Value source = getCodes(b.add(block, b.idx(v)), group);
          Value target =
              b.elementPointer(base, i8, b.mul(group, b.idx(groupSteps)));
          if (units <= kUnrolledUnits)
            for (int64_t u = 0; u < units; ++u)
              emitPanelUnit(source, target, b.idx(u), ahead);
          else
            b.forLoop(
                b.idx(0), b.idx(units), b.idx(1),
                [&](Value u) { emitPanelUnit(source, target, u, ahead); },
                KernelBuilder::LoopHint::NoUnroll);
        },
        KernelBuilder::LoopHint::NoUnroll);
  }
}

void QGemm::emitPanelUnit(Value source, Value target, Value index,
                          int64_t ahead) {
  prefetchToL2(b, source, b.add(b.mul(index, b.idx(unit.bytes)), b.idx(ahead)));
  Value bytes = b.load(source, i8, b.mul(index, b.idx(unit.bytes)), unit.bytes);
  Decoder decoder(b);
  for (auto [s, step] : llvm::enumerate(scheme.decode(decoder, bytes))) {
    Value at = b.add(b.mul(index, b.idx(unit.k / 4 * stepBytes)),
                     b.idx(int64_t(s) * stepBytes));
    if (dot.needsWords()) {
      auto words = VectorType::get(4 * kColumns, b.getI16Type());
      Value wide = arith::ExtUIOp::create(b, words, step);
      b.store(wide, b.elementPointer(target, i8, at), b.getI16Type(), b.idx(0));
    } else {
      b.store(step, target, i8, at);
    }
  }
}

void QGemm::emitPairs(Value blockBegin, Value blockEnd, Value rowBegin,
                      Value rowEnd, std::optional<int64_t> known) {
  PairPanel pairs(b, scheme, k, codes);
  pairs.emitRows(rowBegin, rowEnd);
  b.forLoop(
      blockBegin, blockEnd, b.idx(1),
      [&](Value block) {
        pairs.emitBlock(getCodes(block, b.idx(0)), getAhead(1));
        emitRowBlocks(
            b, rowBegin, rowEnd, kPairRows,
            [&](unsigned rows) {
              return needsRowBlock(known, kTaskRows, kPairRows, rows);
            },
            [&](Value row, unsigned rows) {
              emitPairTile({row, block, rows, 1, Value(), 0}, pairs);
            });
      },
      KernelBuilder::LoopHint::NoUnroll);
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

/// The codes of a group of a block.
Value QGemm::getCodes(Value block, Value group) {
  Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                     b.idx(layout.groupBytes));
  return b.elementPointer(weight, i8, b.add(base, b.idx(layout.codeOffset)));
}

void QGemm::emitTile(const Place &at) {
  SmallVector<Value> totals = zeros(b, at.rows * at.blocks, kColumns);
  int64_t group = layout.groups == 1 ? k : layout.groupK, whole = k / group,
          left = k % group;
  if (whole == 1)
    totals = emitGroup(at, b.idx(0), group, totals);
  else
    totals = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), totals,
        [&](Value index, ArrayRef<Value> carried) {
          return emitGroup(at, index, group, carried);
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (left)
    totals = emitGroup(at, b.idx(whole), left, totals);
  emitStores(at, totals);
}

/// Adds the scaled sums of one group, of `rows` rows, to the totals.
SmallVector<Value> QGemm::emitGroup(const Place &at, Value group, int64_t rows,
                                    ArrayRef<Value> totals) {
  SmallVector<Value> result(totals);
  auto ints = VectorType::get(kColumns, i32);
  auto floats = VectorType::get(kColumns, f32);
  Sums all;
  if (!isAlone(at))
    all = emitGroupSums(at, group, rows);
  for (unsigned v = 0; v < at.blocks; ++v) {
    Value block = b.add(at.block, b.idx(v));
    Sums alone;
    if (isAlone(at))
      alone = emitGroupSums({at.row, block, at.rows, 1, at.panel, at.ahead},
                            group, rows);
    Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                       b.idx(layout.groupBytes));
    Value header = b.elementPointer(weight, i8, base);
    Type scaleType = scheme.hasHalfScales() ? Type(b.getF16Type()) : f32;
    Value columnScales = b.load(header, scaleType, b.idx(0), kColumns);
    if (scheme.hasHalfScales())
      columnScales = arith::ExtFOp::create(b, floats, columnScales);
    if (layout.groups > 1 && !at.panel)
      prefetchToL2(b, header, b.idx(at.ahead));
    std::optional<int32_t> common = scheme.getZero();
    Value zero;
    if (!common)
      zero = arith::ExtUIOp::create(
          b, ints, b.load(header, i8, b.idx(layout.zeroOffset), kColumns));
    for (unsigned r = 0; r < at.rows; ++r) {
      Value rowGroup =
          b.add(b.mul(b.add(at.row, b.idx(r)), b.idx(layout.groups)), group);
      Value rowSum = b.splat(b.load(sums, i32, rowGroup), kColumns);
      Value rowScale = b.splat(b.load(scales, f32, rowGroup), kColumns);
      Value offset;
      if (!common)
        offset = arith::MulIOp::create(b, zero, rowSum);
      else if (llvm::isPowerOf2_32(*common))
        offset = shiftSplat(b, rowSum, llvm::Log2_32(*common));
      else
        offset = arith::MulIOp::create(b, b.constantInt(*common, ints), rowSum);
      Value sum =
          dot.finish(b, isAlone(at) ? alone[r] : all[r * at.blocks + v]);
      Value exact = arith::SubIOp::create(b, sum, offset);
      Value number = arith::SIToFPOp::create(b, floats, exact);
      Value scale = arith::MulFOp::create(b, columnScales, rowScale);
      Value &total = result[r * at.blocks + v];
      total = layout.groups == 1
                  ? arith::MulFOp::create(b, number, scale).getResult()
                  : b.fma(number, scale, total);
    }
  }
  return result;
}

/// A tile of one block with its sorted panel: what emitGroup does with the only
/// group.
void QGemm::emitPairTile(const Place &at, PairPanel &pairs) {
  Type scaleType = scheme.hasHalfScales() ? Type(b.getF16Type()) : f32;
  auto floats = VectorType::get(kColumns, f32);
  Value header =
      b.elementPointer(weight, i8, b.mul(at.block, b.idx(layout.groupBytes)));
  Value columnScales = b.load(header, scaleType, b.idx(0), kColumns);
  if (scheme.hasHalfScales())
    columnScales = arith::ExtFOp::create(b, floats, columnScales);
  SmallVector<Value> totals;
  for (auto [r, sum] : llvm::enumerate(pairs.emitSums(at.row, at.rows))) {
    Value rowScale =
        b.splat(b.load(scales, f32, b.add(at.row, b.idx(r))), kColumns);
    Value number = arith::SIToFPOp::create(b, floats, sum);
    Value scale = arith::MulFOp::create(b, columnScales, rowScale);
    totals.push_back(arith::MulFOp::create(b, number, scale));
  }
  emitStores(at, totals);
}

/// The widened sums of the first `rows` rows of a group.
QGemm::Sums QGemm::emitGroupSums(const Place &at, Value group, int64_t rows) {
  int64_t chunk = std::min(dot.getChunkRows(), rows), whole = rows / chunk,
          left = rows % chunk;
  unsigned width = dot.getNumValues();
  Sums result;
  auto add = [&](MutableArrayRef<Value> total, const Sums &part) {
    for (auto [i, values] : llvm::enumerate(part))
      for (auto [j, value] : llvm::enumerate(values)) {
        Value &sum = total[i * width + j];
        sum = sum ? Value(arith::AddIOp::create(b, sum, value)) : value;
      }
  };
  SmallVector<Value> flat(size_t(at.rows) * at.blocks * width);
  int64_t unrolled = whole <= kUnrolledChunks ? whole : 1;
  for (int64_t c = 0; c < unrolled; ++c)
    add(flat, emitChunk(at, {group, b.idx(c * chunk), chunk}));
  if (unrolled < whole)
    flat = b.forLoop(
        b.idx(unrolled), b.idx(whole), b.idx(1), flat,
        [&](Value index, ArrayRef<Value> carried) {
          SmallVector<Value> next(carried);
          add(next, emitChunk(at, {group, b.mul(index, b.idx(chunk)), chunk}));
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (left)
    add(flat, emitChunk(at, {group, b.idx(whole * chunk), left}));
  for (size_t i = 0; i < size_t(at.rows) * at.blocks; ++i)
    result.emplace_back(ArrayRef(flat).slice(i * width, width));
  return result;
}

/// The widened sums of some rows: a loop over whole units, and the rows that
/// are left where K is no multiple of a unit.
QGemm::Sums QGemm::emitChunk(const Place &at, const Range &range) {
  unsigned width = dot.getNumValues();
  size_t count = size_t(at.rows) * at.blocks;
  Value firstUnit = b.divFloor(range.skip, b.idx(unit.k));
  SmallVector<Value> pointers;
  for (unsigned v = 0; v < at.blocks; ++v) {
    if (!at.panel) {
      pointers.push_back(
          b.elementPointer(getCodes(b.add(at.block, b.idx(v)), range.group), i8,
                           b.mul(firstUnit, b.idx(unit.bytes))));
      continue;
    }
    Value row = b.add(b.mul(b.add(range.group, b.idx(v * layout.groups)),
                            b.idx(layout.groupK)),
                      range.skip);
    pointers.push_back(b.elementPointer(
        at.panel, i8, b.mul(b.divFloor(row, b.idx(4)), b.idx(stepBytes))));
  }
  int64_t whole = range.rows / unit.k, left = range.rows % unit.k;
  Value firstK = b.add(b.mul(range.group, b.idx(layout.groupK)), range.skip);
  auto place = [&](Value u) { return b.add(firstK, b.mul(u, b.idx(unit.k))); };
  Sums partial(count);
  if (whole <= kUnrolledUnits) {
    for (SmallVector<Value> &sum : partial)
      sum.resize(width);
    for (int64_t u = 0; u < whole; ++u)
      emitUnit(at, pointers, b.idx(u), place(b.idx(u)), unit.k, partial);
  } else {
    SmallVector<Value> flat;
    for (size_t i = 0; i < count; ++i)
      llvm::append_range(flat, dot.zero(b));
    flat = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), flat,
        [&](Value u, ArrayRef<Value> carried) {
          Sums inner(count);
          for (auto [i, sum] : llvm::enumerate(inner))
            sum = SmallVector<Value>(carried.slice(i * width, width));
          emitUnit(at, pointers, u, place(u), unit.k, inner);
          SmallVector<Value> next;
          for (SmallVector<Value> &sum : inner)
            llvm::append_range(next, sum);
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
    for (auto [i, sum] : llvm::enumerate(partial))
      sum = SmallVector<Value>(ArrayRef(flat).slice(i * width, width));
  }
  if (left)
    emitUnit(at, pointers, b.idx(whole), place(b.idx(whole)), left, partial);
  for (SmallVector<Value> &sum : partial)
    sum = dot.widen(b, sum);
  return partial;
}

/// The products of the first `liveK` rows of a unit.
void QGemm::emitUnit(const Place &at, ArrayRef<Value> pointers, Value index,
                     Value firstK, int64_t liveK, Sums &partial) {
  unsigned steps = llvm::divideCeil(liveK, 4);
  std::vector<SmallVector<Value>> decoded;
  for (Value pointer : pointers) {
    if (at.panel)
      break;
    Value offset = b.mul(index, b.idx(unit.bytes));
    prefetchToL2(b, pointer, b.add(offset, b.idx(at.ahead)));
    Value bytes = b.load(pointer, i8, offset, unit.bytes);
    Decoder decoder(b);
    decoded.push_back(scheme.decode(decoder, bytes));
  }
  auto getPart = [&](unsigned v, unsigned s, unsigned part) -> Value {
    if (!at.panel)
      return dot.prepareCodes(b, decoded[v][s], part);
    Value step = b.add(b.mul(index, b.idx(unit.k / 4)), b.idx(s));
    return dot.loadPart(
        b, b.elementPointer(pointers[v], i8, b.mul(step, b.idx(stepBytes))),
        part);
  };
  for (unsigned s = 0; s < steps; ++s) {
    SmallVector<Value> words;
    for (unsigned r = 0; r < at.rows; ++r)
      words.push_back(dot.prepareActivation(
          b,
          loadActivation(b.add(at.row, b.idx(r)), b.add(firstK, b.idx(4 * s)),
                         std::min<int64_t>(4, liveK - 4 * s))));
    for (unsigned v = 0; v < at.blocks; ++v)
      for (unsigned part = 0; part < dot.getNumValues(); ++part) {
        Value factor = getPart(v, s, part);
        for (unsigned r = 0; r < at.rows; ++r)
          dot.stepPart(b, partial[r * at.blocks + v][part], factor, words[r]);
      }
  }
}

/// Activations k to k + 3 of a row as the bytes of an i32; only `live` of them
/// are there, the others are zero.
Value QGemm::loadActivation(Value row, Value firstK, int64_t live) {
  return loadWord(b, b.elementPointer(codes, i8, b.mul(row, b.idx(k))), firstK,
                  live);
}

void QGemm::emitStores(const Place &at, ArrayRef<Value> totals) {
  SmallVector<AffineExpr> leading = getDims(op.getResult().getType());
  leading.pop_back();
  for (unsigned r = 0; r < at.rows; ++r) {
    Value row = b.add(at.row, b.idx(r));
    SmallVector<Value> indices = splitIndex(b, row, leading);
    indices.push_back({});
    for (unsigned v = 0; v < at.blocks; ++v) {
      Value column = b.mul(b.add(at.block, b.idx(v)), b.idx(kSchemeColumns));
      indices.back() = column;
      Value live = n % kSchemeColumns
                       ? b.minIdx(b.sub(b.idx(n), column), b.idx(kColumns))
                       : Value();
      if (failed(storeWithEpilogue(b, epilogue, totals[r * at.blocks + v],
                                   indices, kColumns, live, out, stored,
                                   b.add(b.mul(row, b.idx(n)), column))))
        status = failure();
    }
  }
}

std::unique_ptr<KernelEmitter> x86::createQMatMulEmitter() {
  return std::make_unique<QMatMulEmitter>();
}
