//===- DecodeMatMul.cpp - products with decoded weights ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One emitter for all schemes with float compute. A weight is decoded to f32,
// rounded once, and multiplied and added in ascending order of k: the bits are
// those of an f32 product with the decoded weight, for every number of rows.
//
// Few rows: codes become weights in registers and are used at once. Many rows:
// they are decoded into a panel of 16 columns or several that stays in L2 while
// the rows walk by.
//
// Where activations are bfloat16 as the weight is, levels with AMX multiply
// both in tiles (BfloatTiles.h); the others widen them.
//
//===----------------------------------------------------------------------===//
#include "BfloatTiles.h"
#include "Decoder.h"
#include "Emitters.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Scheme/StoredFloats.h"
#include "llvm/ADT/StringSet.h"
#include <cmath>

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr unsigned kColumns = kSchemeColumns;
/// Rows and blocks of 16 columns of a task. Decoding a weight costs about as
/// much as two rows of products with it.
constexpr int64_t kTaskRows = 192;
constexpr int64_t kTaskBlocks = 8;
/// Up to so many rows are multiplied without a panel.
constexpr unsigned kDirectRows = 4;
/// Blocks of a panel; a level may use fewer.
constexpr int64_t kPanelBlocks = 4;
/// Rows of K of a panel: half of L2.
constexpr int64_t kPanelBytes = 512 << 10;
/// Rows of bfloat16 of a task: what is left of L2 beside the weight's columns,
/// but enough rows to read these for.
constexpr int64_t kTileTaskBytes = 512 << 10, kMinTileTaskRows = 64;

AffineExpr getRows(QMatMulOp op) {
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  dims.pop_back();
  return product(dims, op.getContext());
}

/// What an operation asks for, if it is one for this emitter.
struct Problem {
  const Scheme *scheme;
  EncodedLayout layout;
  int64_t k;
  bool isHalf; ///< activations are bfloat16
};
std::optional<Problem> getProblem(QMatMulOp op) {
  if (!op || op.getActivations().size() != 1)
    return std::nullopt;
  Problem problem;
  Type input =
      cast<RankedTensorType>(op.getActivations()[0].getType()).getElementType();
  problem.isHalf = input.isBF16();
  if (!problem.isHalf && !input.isF32())
    return std::nullopt;
  problem.scheme =
      getSchemes(op.getContext()).lookup(op.getFormat().getScheme());
  problem.k = cast<RankedTensorType>(op.getActivations()[0].getType())
                  .getShape()
                  .back();
  if (!problem.scheme || problem.scheme->getCompute() != SchemeCompute::Float ||
      ShapedType::isDynamic(problem.k))
    return std::nullopt;
  std::optional<EncodedLayout> layout =
      getEncodedLayout(*problem.scheme, problem.k, op.getN());
  if (!layout)
    return std::nullopt;
  problem.layout = *layout;
  return problem;
}

/// Rows of K of a panel of so many bytes: whole groups, or whole units of a
/// channel. Partial sums of a longer K lie in the output; one that cannot hold
/// them gets a panel of all of K.
int64_t getPanelRows(const Problem &problem, Type stored, int64_t bytes) {
  int64_t step = problem.layout.groups > 1 ? problem.layout.groupK
                                           : problem.scheme->getUnit().k;
  int64_t fits = bytes / (kPanelBlocks * kColumns * 4) / step * step,
          all = int64_t(llvm::alignTo(problem.k, step));
  return stored.isF32() ? std::min(all, std::max(fits, step)) : all;
}

/// What a schedule is free to choose: rows and blocks of columns of a task, and
/// rows of K of a panel.
struct Cut {
  int64_t rows, blocks, panel;

  /// As parameters of a schedule, and back.
  DictionaryAttr getParams(MLIRContext *context) const {
    Builder b(context);
    return b.getDictionaryAttr(
        {b.getNamedAttr("blocks", b.getI64IntegerAttr(blocks)),
         b.getNamedAttr("panel", b.getI64IntegerAttr(panel)),
         b.getNamedAttr("rows", b.getI64IntegerAttr(rows))});
  }
  static Cut get(DictionaryAttr params) {
    auto number = [&](StringRef name) {
      return params.getAs<IntegerAttr>(name).getInt();
    };
    return {number("rows"), number("blocks"), number("panel")};
  }
};

/// True if levels with AMX make the product in tiles.
bool hasTiles(const Problem &problem) {
  return problem.isHalf && isa<StoredFloatScheme>(problem.scheme) &&
         problem.scheme->getTokenFormat() == TokenFormat::BF16;
}

int64_t getTaskRows(const Problem &problem) {
  if (!hasTiles(problem))
    return kTaskRows;
  int64_t fits = kTileTaskBytes / (2 * problem.k) / 16 * 16;
  return std::clamp(fits, kMinTileTaskRows, kTaskRows);
}

/// A product that the emitter takes.
struct Work {
  QMatMulOp op;
  Problem problem;
  Type stored;
  bool hasAmx; ///< some level

  std::optional<int64_t> getKnownRows() const {
    return getConstantSize(getRows(op));
  }
  /// True if some rows go through a panel.
  bool hasPanel() const {
    std::optional<int64_t> rows = getKnownRows();
    return !rows || *rows > int64_t(kDirectRows);
  }
  Cut choose() const {
    return {getTaskRows(problem), kTaskBlocks,
            getPanelRows(problem, stored, kPanelBytes)};
  }
  KernelSchedule schedule(const Cut &cut) const;
};

class DecodeMatMulEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "gemm.decode"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  SmallVector<KernelSchedule>
  getAlternatives(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class DecodeGemm {
public:
  DecodeGemm(KernelBuilder &b, QMatMulOp op, const Problem &problem,
             Epilogue epilogue);
  LogicalResult emit();

private:
  /// Gets a row of K, a block (0, 1, ...) and its 16 weights, and the values
  /// that are carried.
  using Consume = function_ref<void(Value row, unsigned v, Value weights,
                                    MutableArrayRef<Value> carried)>;
  /// A group of some blocks: where its units are and what decodes them.
  struct Group {
    SmallVector<Value> units, scales, zeros;
  };

  void emitTask(Value blockBegin, Value blockEnd, Value rowBegin, Value rowEnd,
                bool direct);
  void emitDirect(Value block, unsigned blocks, Value row, unsigned rows);
  void emitPanel(Value block, unsigned blocks, Value rowBegin, Value rowEnd);
  void emitTile(Value block, unsigned blocks, Value row, unsigned rows,
                Value kBegin, Value kCount, bool first, bool last);

  SmallVector<Value> walk(Value block, unsigned blocks, Value kBegin,
                          int64_t kCount, ArrayRef<Value> carried,
                          Consume consume);
  SmallVector<Value> walkGroup(Value block, unsigned blocks, Value group,
                               Value firstUnit, Value firstRow, int64_t rows,
                               ArrayRef<Value> carried, Consume consume);
  void walkUnit(const Group &group, Value unit, Value firstRow, int64_t rows,
                MutableArrayRef<Value> carried, Consume consume);
  Group loadGroup(Value block, unsigned blocks, Value group);
  Value scale(const Group &group, unsigned v, Value code, unsigned shift);
  Value getRow(Value row, Value from);
  Value loadInput(Value pointer, Value at);
  void emitStores(Value block, unsigned blocks, Value row, unsigned rows,
                  ArrayRef<Value> sums, bool last);
  Value getLive(Value column);

  KernelBuilder &b;
  QMatMulOp op;
  const Scheme &scheme;
  EncodedLayout layout;
  CodeUnit unit;
  Epilogue epilogue;
  int64_t k, n;
  Type stored;
  Cut cut;
  Type f32, i8, inputType;
  VectorType floats;
  Value input, weight, out;
  AffineExpr rowsExpr;
  LogicalResult status = success();
};

} // namespace

static std::optional<Work> findWork(DispatchOp dispatch,
                                    ArrayRef<Capabilities> levels) {
  Block &body = dispatch.getBody().front();
  auto op = getRoot<QMatMulOp>(body);
  std::optional<Problem> problem = getProblem(op);
  if (!problem || !isF32Tensor(op.getResult().getType()) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  for (Value operand : op->getOperands())
    if (!isa<BlockArgument>(operand))
      return std::nullopt;
  return Work{
      op, *problem, getStoredType(body),
      llvm::any_of(levels, [](const Capabilities &c) { return c.hasAmx; })};
}

KernelSchedule Work::schedule(const Cut &cut) const {
  KernelSchedule schedule;
  schedule.params = cut.getParams(op->getContext());
  schedule.tasks = getRows(op).ceilDiv(cut.rows) *
                   int64_t(llvm::divideCeil(problem.layout.blocks, cut.blocks));
  if (hasPanel())
    schedule.scratchBytes = kPanelBlocks * kColumns * 4 * cut.panel;
  if (hasTiles(problem) && hasAmx)
    schedule.scratchBytes = std::max(
        schedule.scratchBytes,
        getBfloatTileBytes(
            problem.k, std::min(getKnownRows().value_or(cut.rows), cut.rows)));
  return schedule;
}

std::optional<KernelSchedule>
DecodeMatMulEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                           function_ref<bool(unsigned)>) const {
  std::optional<Work> work = findWork(dispatch, levels);
  if (!work)
    return std::nullopt;
  return work->schedule(work->choose());
}

/// More and fewer columns of a task; with a panel more and fewer rows of a task
/// and of K, too.
SmallVector<KernelSchedule>
DecodeMatMulEmitter::getAlternatives(DispatchOp dispatch,
                                     ArrayRef<Capabilities> levels,
                                     function_ref<bool(unsigned)>) const {
  std::optional<Work> work = findWork(dispatch, levels);
  // Tiles are cut by the room that L2 has.
  if (!work || (hasTiles(work->problem) && work->hasAmx))
    return {};
  Cut chosen = work->choose();
  SmallVector<KernelSchedule> others;
  llvm::StringSet<> known;
  known.insert(describeSchedule(work->schedule(chosen)));
  auto add = [&](const Cut &cut) {
    KernelSchedule schedule = work->schedule(cut);
    if (known.insert(describeSchedule(schedule)).second)
      others.push_back(std::move(schedule));
  };
  for (int64_t blocks : {chosen.blocks / 2, chosen.blocks * 2})
    if (blocks < 2 * work->problem.layout.blocks)
      add({chosen.rows, blocks, chosen.panel});
  if (!work->hasPanel())
    return others;
  int64_t rows = work->getKnownRows().value_or(4 * chosen.rows);
  for (int64_t wanted : {chosen.rows / 2, chosen.rows * 2, chosen.rows * 4})
    if (std::min(wanted, rows) != std::min(chosen.rows, rows))
      add({std::min(wanted, rows), chosen.blocks, chosen.panel});
  for (int64_t bytes : {kPanelBytes / 4, kPanelBytes / 2, kPanelBytes * 2})
    add({chosen.rows, chosen.blocks,
         getPanelRows(work->problem, work->stored, bytes)});
  return others;
}

LogicalResult DecodeMatMulEmitter::emit(KernelBuilder &builder) const {
  auto op = getRoot<QMatMulOp>(builder.kernel().getBody().front());
  std::optional<Problem> problem = getProblem(op);
  if (!problem)
    return failure();
  Cut cut = Cut::get(builder.kernel().getSchedule());
  if (hasTiles(*problem) && builder.caps().hasAmx)
    return emitBfloatTiles(
        builder, {op, problem->layout, problem->k, cut.rows, cut.blocks},
        *getEpilogue(op));
  return DecodeGemm(builder, op, *problem, *getEpilogue(op)).emit();
}

DecodeGemm::DecodeGemm(KernelBuilder &b, QMatMulOp op, const Problem &problem,
                       Epilogue epilogue)
    : b(b), op(op), scheme(*problem.scheme), layout(problem.layout),
      unit(scheme.getUnit()), epilogue(std::move(epilogue)), k(problem.k),
      n(op.getN()), stored(getStoredType(b.kernel().getBody().front())),
      cut(Cut::get(b.kernel().getSchedule())), f32(b.getF32Type()),
      i8(b.getI8Type()),
      inputType(problem.isHalf ? Type(b.getBF16Type()) : f32),
      floats(VectorType::get(kColumns, b.getF32Type())), rowsExpr(getRows(op)) {
  input = b.pointer(cast<BlockArgument>(op.getActivations()[0]));
  weight = b.pointer(cast<BlockArgument>(op.getWeight()));
  out = b.resultPointer(0);
}

LogicalResult DecodeGemm::emit() {
  Value rows = b.size(rowsExpr);
  Value rowBlocks = b.size(rowsExpr.ceilDiv(cut.rows));
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        Value chunk = b.divFloor(task, rowBlocks);
        Value rowBegin = b.mul(b.mod(task, rowBlocks), b.idx(cut.rows));
        Value rowEnd = b.minIdx(b.add(rowBegin, b.idx(cut.rows)), rows);
        Value blockBegin = b.mul(chunk, b.idx(cut.blocks));
        Value blockEnd = b.minIdx(b.add(blockBegin, b.idx(cut.blocks)),
                                  b.idx(layout.blocks));
        if (total) {
          emitTask(blockBegin, blockEnd, rowBegin, rowEnd,
                   *total <= int64_t(kDirectRows));
          return;
        }
        auto branch = scf::IfOp::create(b, b.less(b.idx(kDirectRows), rows),
                                        /*withElseRegion=*/true);
        OpBuilder::InsertionGuard restore(b);
        b.setInsertionPointToStart(branch.thenBlock());
        emitTask(blockBegin, blockEnd, rowBegin, rowEnd, false);
        b.setInsertionPointToStart(branch.elseBlock());
        emitTask(blockBegin, blockEnd, rowBegin, rowEnd, true);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void DecodeGemm::emitTask(Value blockBegin, Value blockEnd, Value rowBegin,
                          Value rowEnd, bool direct) {
  bool wide = b.caps().hasAvx512;
  auto sweep = [&](unsigned maxBlocks,
                   function_ref<void(Value, unsigned)> body) {
    emitRowBlocks(
        b, blockBegin, blockEnd, maxBlocks,
        [&](unsigned blocks) {
          return needsRowBlock(layout.blocks, cut.blocks, maxBlocks, blocks);
        },
        body);
  };
  if (!direct) {
    sweep(wide ? kPanelBlocks : 1, [&](Value block, unsigned blocks) {
      emitPanel(block, blocks, rowBegin, rowEnd);
    });
    return;
  }
  // One row: as many blocks as hide the latency of the products.
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  for (unsigned rows = 1; rows <= kDirectRows; ++rows) {
    if (total && *total != int64_t(rows))
      continue;
    unsigned maxBlocks = (wide ? 4 : 2) / (rows == 1 ? 1 : 2);
    auto emitRows = [&] {
      sweep(maxBlocks, [&](Value block, unsigned blocks) {
        emitDirect(block, blocks, rowBegin, rows);
      });
    };
    if (total) {
      emitRows();
      continue;
    }
    Value matches = arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                          b.sub(rowEnd, rowBegin), b.idx(rows));
    auto guard = scf::IfOp::create(b, matches, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(guard.thenBlock());
    emitRows();
  }
}

/// All of K for some rows, with weights that are never stored.
void DecodeGemm::emitDirect(Value block, unsigned blocks, Value row,
                            unsigned rows) {
  SmallVector<Value> pointers;
  for (unsigned r = 0; r < rows; ++r)
    pointers.push_back(getRow(b.add(row, b.idx(r)), b.idx(0)));
  SmallVector<Value> sums = walk(
      block, blocks, b.idx(0), k, zeros(b, rows * blocks, kColumns),
      [&](Value at, unsigned v, Value weights, MutableArrayRef<Value> carried) {
        for (unsigned r = 0; r < rows; ++r) {
          Value x = loadInput(pointers[r], at);
          Value &sum = carried[r * blocks + v];
          sum = b.fma(x, weights, sum);
        }
      });
  emitStores(block, blocks, row, rows, sums, /*last=*/true);
}

/// All rows of a task by some blocks: K in parts that fit the panel.
void DecodeGemm::emitPanel(Value block, unsigned blocks, Value rowBegin,
                           Value rowEnd) {
  unsigned lanes = b.caps().f32Lanes();
  unsigned maxRows = getTileRows(b.caps(), blocks * kColumns / lanes);
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  auto sweep = [&](Value kBegin, int64_t kCount, bool first, bool last) {
    walk(block, blocks, kBegin, kCount, {},
         [&](Value at, unsigned v, Value weights, MutableArrayRef<Value>) {
           Value line = b.add(b.sub(at, kBegin), b.idx(v * cut.panel));
           b.store(weights, b.scratch(), f32, b.mul(line, b.idx(kColumns)));
         });
    emitRowBlocks(
        b, rowBegin, rowEnd, maxRows,
        [&](unsigned rows) {
          return needsRowBlock(total, cut.rows, maxRows, rows);
        },
        [&](Value row, unsigned rows) {
          emitTile(block, blocks, row, rows, kBegin, b.idx(kCount), first,
                   last);
        });
  };
  if (k <= cut.panel) {
    sweep(b.idx(0), k, true, true);
    return;
  }
  int64_t lastBegin = (k - 1) / cut.panel * cut.panel;
  sweep(b.idx(0), cut.panel, true, false);
  if (lastBegin > cut.panel)
    b.forLoop(b.idx(cut.panel), b.idx(lastBegin), b.idx(cut.panel),
              [&](Value begin) { sweep(begin, cut.panel, false, false); });
  sweep(b.idx(lastBegin), k - lastBegin, false, true);
}

/// The activations of a row, from one of them on.
Value DecodeGemm::getRow(Value row, Value from) {
  return b.elementPointer(input, inputType, b.add(b.mul(row, b.idx(k)), from));
}

/// An activation in f32, in all lanes.
Value DecodeGemm::loadInput(Value pointer, Value at) {
  if (inputType == f32)
    return b.splat(b.load(pointer, f32, at), kColumns);
  // Each word of a lane is the bfloat16: the upper one becomes the f32.
  Value word = b.load(pointer, b.getI16Type(), at);
  auto lanes = VectorType::get(kColumns, b.getI32Type());
  Value both = vector::BitCastOp::create(b, lanes, b.splat(word, 2 * kColumns));
  return arith::BitcastOp::create(
      b, floats, arith::ShLIOp::create(b, both, b.constantInt(16, lanes)));
}

/// Some rows by the panel.
void DecodeGemm::emitTile(Value block, unsigned blocks, Value row,
                          unsigned rows, Value kBegin, Value kCount, bool first,
                          bool last) {
  SmallVector<Value> pointers;
  for (unsigned r = 0; r < rows; ++r)
    pointers.push_back(getRow(b.add(row, b.idx(r)), kBegin));
  SmallVector<Value> sums = zeros(b, rows * blocks, kColumns);
  for (unsigned r = 0; r < rows && !first; ++r)
    for (unsigned v = 0; v < blocks; ++v) {
      Value column = b.mul(b.add(block, b.idx(v)), b.idx(kColumns));
      Value live = getLive(column);
      sums[r * blocks + v] =
          b.load(out, f32, b.add(b.mul(b.add(row, b.idx(r)), b.idx(n)), column),
                 kColumns, live ? b.firstLanes(live, kColumns) : Value());
    }
  sums = emitFmaLoop(
      b, {rows, blocks, kColumns}, kCount, sums,
      [&](unsigned r, Value kk) { return loadInput(pointers[r], kk); },
      [&](unsigned v, Value kk) {
        Value line = b.add(kk, b.idx(v * cut.panel));
        return b.load(b.scratch(), f32, b.mul(line, b.idx(kColumns)), kColumns);
      });
  emitStores(block, blocks, row, rows, sums, last);
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

/// Decodes `kCount` rows of K from `kBegin` (whole groups or units from there
/// on) of some blocks.
SmallVector<Value> DecodeGemm::walk(Value block, unsigned blocks, Value kBegin,
                                    int64_t kCount, ArrayRef<Value> carried,
                                    Consume consume) {
  if (layout.groups == 1)
    return walkGroup(block, blocks, b.idx(0), b.divFloor(kBegin, b.idx(unit.k)),
                     kBegin, kCount, carried, consume);
  int64_t whole = kCount / layout.groupK, left = kCount % layout.groupK;
  Value first = b.divFloor(kBegin, b.idx(layout.groupK));
  auto one = [&](Value group, int64_t rows, ArrayRef<Value> values) {
    return walkGroup(block, blocks, group, b.idx(0),
                     b.mul(group, b.idx(layout.groupK)), rows, values, consume);
  };
  SmallVector<Value> values = b.forLoop(
      first, b.add(first, b.idx(whole)), b.idx(1), carried,
      [&](Value group, ArrayRef<Value> inner) {
        return one(group, layout.groupK, inner);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return left ? one(b.add(first, b.idx(whole)), left, values) : values;
}

/// The first `rows` rows of a group behind `firstUnit`; `firstRow` is theirs.
SmallVector<Value> DecodeGemm::walkGroup(Value block, unsigned blocks,
                                         Value group, Value firstUnit,
                                         Value firstRow, int64_t rows,
                                         ArrayRef<Value> carried,
                                         Consume consume) {
  // So many rows are unrolled.
  constexpr int64_t kUnrolled = 8;
  Group loaded = loadGroup(block, blocks, group);
  int64_t whole = rows / unit.k, left = rows % unit.k;
  auto one = [&](Value u, int64_t live, MutableArrayRef<Value> values) {
    walkUnit(loaded, b.add(firstUnit, u),
             b.add(firstRow, b.mul(u, b.idx(unit.k))), live, values, consume);
  };
  int64_t perStep = std::max<int64_t>(kUnrolled / unit.k, 1),
          steps = whole / perStep;
  SmallVector<Value> values(carried);
  if (steps > 1) {
    values = b.forLoop(
        b.idx(0), b.idx(steps), b.idx(1), carried,
        [&](Value step, ArrayRef<Value> inner) {
          SmallVector<Value> next(inner);
          for (int64_t u = 0; u < perStep; ++u)
            one(b.add(b.mul(step, b.idx(perStep)), b.idx(u)), unit.k, next);
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  } else {
    steps = 0;
  }
  for (int64_t u = steps * perStep; u < whole; ++u)
    one(b.idx(u), unit.k, values);
  if (left)
    one(b.idx(whole), left, values);
  return values;
}

void DecodeGemm::walkUnit(const Group &group, Value index, Value firstRow,
                          int64_t rows, MutableArrayRef<Value> carried,
                          Consume consume) {
  std::vector<DecodedUnit> decoded;
  Value offset = b.mul(index, b.idx(unit.bytes));
  for (Value pointer : group.units) {
    // The blocks that come next, a line for each that is read here.
    int64_t next =
        int64_t(group.units.size()) * layout.groups * layout.groupBytes;
    for (unsigned line = 0; line < unit.bytes; line += 64)
      prefetchToL2(b, pointer, b.add(offset, b.idx(next + line)));
  }
  for (Value pointer : group.units)
    decoded.emplace_back(b, scheme, b.load(pointer, i8, offset, unit.bytes),
                         /*inPlace=*/scheme.hasHalfScales());
  for (int64_t r = 0; r < rows; ++r)
    for (unsigned v = 0; v < decoded.size(); ++v)
      consume(b.add(firstRow, b.idx(r)), v,
              scale(group, v, decoded[v].take(b, unsigned(r)),
                    decoded[v].getShift(unsigned(r))),
              carried);
  for (DecodedUnit &each : decoded)
    each.finish();
}

DecodeGemm::Group DecodeGemm::loadGroup(Value block, unsigned blocks,
                                        Value group) {
  Group loaded;
  std::optional<int32_t> common = scheme.getZero();
  bool halves = scheme.hasHalfScales();
  for (unsigned v = 0; v < blocks; ++v) {
    Value at =
        b.add(b.mul(b.add(block, b.idx(v)), b.idx(layout.groups)), group);
    Value header =
        b.elementPointer(weight, i8, b.mul(at, b.idx(layout.groupBytes)));
    loaded.units.push_back(
        b.elementPointer(header, i8, b.idx(layout.codeOffset)));
    Value scales =
        b.load(header, halves ? Type(b.getF16Type()) : f32, b.idx(0), kColumns);
    if (halves)
      scales = arith::ExtFOp::create(b, floats, scales);
    loaded.scales.push_back(scales);
    Value zero;
    if (!scheme.isLinear() || common == 0) {
      loaded.zeros.push_back({});
      continue;
    }
    if (common) {
      zero = b.constant(*common, floats);
    } else {
      Value bytes = b.load(header, i8, b.idx(layout.zeroOffset), kColumns);
      Value wide = arith::ExtUIOp::create(
          b, VectorType::get(kColumns, b.getI32Type()), bytes);
      zero = arith::SIToFPOp::create(b, floats, wide);
    }
    // A half times a zero point is exact in f32, and so is the whole weight.
    if (halves)
      zero = arith::NegFOp::create(b, arith::MulFOp::create(b, zero, scales));
    loaded.zeros.push_back(zero);
  }
  return loaded;
}

/// scale * (code - zero), rounded once, of 2^shift times a code.
Value DecodeGemm::scale(const Group &group, unsigned v, Value code,
                        unsigned shift) {
  // All scales are 1.
  if (isa<StoredFloatScheme>(&scheme))
    return code;
  Value scales = group.scales[v], zero = group.zeros[v];
  // Exact for halves; the same for all units of a group, so that it moves out
  // of the loop over them.
  if (shift)
    scales = arith::MulFOp::create(
        b, scales, b.constant(std::ldexp(1.0, -int(shift)), floats));
  if (!zero)
    return arith::MulFOp::create(b, code, scales);
  if (scheme.hasHalfScales())
    return b.fma(code, scales, zero);
  return arith::MulFOp::create(b, arith::SubFOp::create(b, code, zero), scales);
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

/// Live lanes of the block of columns at `column`; null: all.
Value DecodeGemm::getLive(Value column) {
  return n % kSchemeColumns ? b.minIdx(b.sub(b.idx(n), column), b.idx(kColumns))
                            : Value();
}

/// Stores sums: the results if they are the last ones, else partial ones.
void DecodeGemm::emitStores(Value block, unsigned blocks, Value row,
                            unsigned rows, ArrayRef<Value> sums, bool last) {
  SmallVector<AffineExpr> leading = getDims(op.getResult().getType());
  leading.pop_back();
  for (unsigned r = 0; r < rows; ++r) {
    Value at = b.add(row, b.idx(r));
    SmallVector<Value> indices = splitIndex(b, at, leading);
    indices.push_back({});
    for (unsigned v = 0; v < blocks; ++v) {
      Value column = b.mul(b.add(block, b.idx(v)), b.idx(kSchemeColumns));
      Value sum = sums[r * blocks + v], live = getLive(column),
            offset = b.add(b.mul(at, b.idx(n)), column);
      indices.back() = column;
      if (!last)
        b.store(sum, out, f32, offset,
                live ? b.firstLanes(live, kColumns) : Value());
      else if (failed(storeWithEpilogue(b, epilogue, sum, indices, kColumns,
                                        live, out, stored, offset)))
        status = failure();
    }
  }
}

std::unique_ptr<KernelEmitter> x86::createDecodeMatMulEmitter() {
  return std::make_unique<DecodeMatMulEmitter>();
}
