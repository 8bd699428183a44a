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
#include "QGemm.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Rows and blocks of 16 columns of a task: 128 rows, as batches and sequences
/// have them, unpack weights once, and tiles of 4, 6 and 12 rows divide it.
constexpr int64_t kTaskRows = 132;
constexpr int64_t kTaskBlocks = 12;
/// Up to so many rows are multiplied without a panel: few rows do not pay for
/// writing it.
constexpr int64_t kDirectRows = 8;
/// A larger panel would not stay in L2 in any case.
constexpr int64_t kMaxPanelBytes = 1 << 20;
/// Most scratch of a sorted panel and the rows beside it.
constexpr int64_t kMaxPairBytes = 4 << 20;
/// Rows of a tile with one.
constexpr unsigned kPairRows = 4;

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
  SmallVector<KernelSchedule>
  getAlternatives(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// Most blocks of a panel at a level.
unsigned getPanelBlocks(const Capabilities &caps, const EncodedLayout &layout,
                        const IntegerDot &dot) {
  if (!caps.hasAvx512)
    return 1;
  if (layout.groups > 1 || dot.getRegisters() > 1)
    return 2;
  return 4;
}

IntegerDot getDot(const Capabilities &caps, const Scheme &scheme) {
  return {caps, scheme.getMaxCode(), scheme.getUnit().k};
}

/// Whether many rows, in tasks of so many, are multiplied with a sorted panel.
bool isSorted(const Capabilities &caps, const Scheme &scheme,
              const EncodedLayout &layout, int64_t taskRows) {
  return layout.groups == 1 && getDot(caps, scheme).needsWords() &&
         PairPanel::canMultiply(caps, scheme) &&
         PairPanel::getBytes(scheme, layout.groupK, taskRows) <= kMaxPairBytes;
}

/// Bytes of the panel of a level; 0 where products are as fast without one.
int64_t getPanelBytes(const Capabilities &caps, const Scheme &scheme,
                      const EncodedLayout &layout, int64_t taskRows) {
  if (isSorted(caps, scheme, layout, taskRows))
    return PairPanel::getBytes(scheme, layout.groupK, taskRows);
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

/// A product that the emitter takes.
struct Work {
  QMatMulOp op;
  const Scheme *scheme;
  EncodedLayout layout;
  ArrayRef<Capabilities> levels;

  /// In tasks of so many rows and blocks of columns.
  KernelSchedule schedule(int64_t taskRows, int64_t taskBlocks) const;
};

} // namespace

static std::optional<Work> findWork(DispatchOp dispatch,
                                    ArrayRef<Capabilities> levels) {
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
  return Work{op, scheme, *layout, levels};
}

KernelSchedule Work::schedule(int64_t taskRows, int64_t taskBlocks) const {
  Builder builder(op->getContext());
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      {builder.getNamedAttr("blocks", builder.getI64IntegerAttr(taskBlocks)),
       builder.getNamedAttr("rows", builder.getI64IntegerAttr(taskRows))});
  schedule.tasks = getRows(op).ceilDiv(taskRows) *
                   int64_t(llvm::divideCeil(layout.blocks, taskBlocks));
  std::optional<int64_t> rows = getConstantSize(getRows(op));
  if (!rows || *rows > kDirectRows)
    for (const Capabilities &caps : levels)
      schedule.scratchBytes =
          std::max(schedule.scratchBytes,
                   getPanelBytes(caps, *scheme, layout, taskRows));
  return schedule;
}

std::optional<KernelSchedule>
QMatMulEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)>) const {
  std::optional<Work> work = findWork(dispatch, levels);
  if (!work)
    return std::nullopt;
  return work->schedule(kTaskRows, kTaskBlocks);
}

/// More and fewer columns of a task; of many rows more and fewer of these, too.
SmallVector<KernelSchedule>
QMatMulEmitter::getAlternatives(DispatchOp dispatch,
                                ArrayRef<Capabilities> levels,
                                function_ref<bool(unsigned)>) const {
  std::optional<Work> work = findWork(dispatch, levels);
  if (!work)
    return {};
  SmallVector<KernelSchedule> others;
  for (int64_t blocks : {kTaskBlocks / 2, kTaskBlocks * 2})
    if (blocks < 2 * work->layout.blocks)
      others.push_back(work->schedule(kTaskRows, blocks));
  int64_t rows = getConstantSize(getRows(work->op)).value_or(4 * kTaskRows);
  if (rows > kTaskRows / 2)
    others.push_back(work->schedule(kTaskRows / 2, kTaskBlocks));
  for (int64_t wanted : {2 * kTaskRows, 4 * kTaskRows})
    if (rows > wanted / 2)
      others.push_back(work->schedule(wanted, kTaskBlocks));
  return others;
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
  DictionaryAttr params = b.kernel().getSchedule();
  taskRows = params.getAs<IntegerAttr>("rows").getInt();
  taskBlocks = params.getAs<IntegerAttr>("blocks").getInt();
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

/// Blocks of columns of a tile. One row waits for memory, which gives most
/// where it is read in order. Else with one group the accumulators are all
/// there is, with several each has an f32 total beside it.
unsigned QGemm::getBlocks(std::optional<int64_t> rows) const {
  return rows == 1 ? 1 : getPanelBlocks(b.caps(), layout, dot);
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
  Value rowBlocks = b.size(rowsExpr.ceilDiv(taskRows));
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  bool hasPanel = getPanelBytes(b.caps(), scheme, layout, taskRows) > 0;
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        Value chunk = b.divFloor(task, rowBlocks);
        Value rowBegin = b.mul(b.mod(task, rowBlocks), b.idx(taskRows));
        Value rowEnd = b.minIdx(b.add(rowBegin, b.idx(taskRows)), rows);
        Value blockBegin = b.mul(chunk, b.idx(taskBlocks));
        Value blockEnd = b.minIdx(b.add(blockBegin, b.idx(taskBlocks)),
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
  if (usesPanel && isSorted(b.caps(), scheme, layout, taskRows))
    return emitPairs(blockBegin, blockEnd, rowBegin, rowEnd, known);
  unsigned maxBlocks = getBlocks(known);
  emitRowBlocks(
      b, blockBegin, blockEnd, maxBlocks,
      [&](unsigned blocks) {
        return needsRowBlock(layout.blocks, taskBlocks, maxBlocks, blocks);
      },
      [&](Value block, unsigned blocks) {
        if (usesPanel)
          emitPanel(block, blocks);
        unsigned maxRows = known == 1 ? 1 : getMaxRows(blocks);
        emitRowBlocks(
            b, rowBegin, rowEnd, maxRows,
            [&](unsigned rows) {
              return needsRowBlock(known, taskRows, maxRows, rows);
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
              return needsRowBlock(known, taskRows, kPairRows, rows);
            },
            [&](Value row, unsigned rows) {
              emitPairTile({row, block, rows, 1, Value(), 0}, pairs);
            });
      },
      KernelBuilder::LoopHint::NoUnroll);
}

std::unique_ptr<KernelEmitter> x86::createQMatMulEmitter() {
  return std::make_unique<QMatMulEmitter>();
}
