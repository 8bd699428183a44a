//===- QMatMul.cpp - matrix product with an encoded weight ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One emitter for all schemes with integer compute: the scheme's decode is
// inlined where codes are loaded. Per group of rows the products are summed in
// int32, which is exact, and the sums are scaled and added in f32 in ascending
// order of groups; so all levels and tile shapes give the same bits.
//
//===----------------------------------------------------------------------===//
#include "Decoder.h"
#include "Emitters.h"
#include "IntegerDot.h"
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
  using Sums = SmallVector<SmallVector<Value>>;
  /// A tile: rows from `row` and blocks from `block`.
  struct Place {
    Value row, block;
    unsigned rows, blocks;
    Value done; ///< tiles of rows before this one in these blocks
  };
  void emitTile(const Place &at);
  SmallVector<Value> emitGroup(const Place &at, Value group, int64_t rows,
                               ArrayRef<Value> totals);
  void emitUnits(const Place &at, Value group, int64_t rows, Sums &sums);
  void emitUnit(const Place &at, ArrayRef<Value> pointers, Value unit,
                Value firstK, int64_t liveK, Sums &sums);
  Value loadActivation(Value row, Value k, int64_t live);
  void emitStores(const Place &at, ArrayRef<Value> totals);
  unsigned getBlocks(std::optional<int64_t> rows) const;
  unsigned getMaxRows(unsigned blocks) const;

  KernelBuilder &b;
  QMatMulOp op;
  const Scheme &scheme;
  EncodedLayout layout;
  CodeUnit unit;
  Epilogue epilogue;
  IntegerDot dot;
  int64_t k, n;
  Type f32, i8, i32, stored;
  Value codes, scales, sums, weight, out;
  AffineExpr rowsExpr;
  LogicalResult status = success();
};

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
      epilogue(std::move(epilogue)),
      dot(b.caps(), scheme.getMaxCode(), layout.groupK), k(k), n(op.getN()),
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

/// Blocks of columns of a tile. One row alone reads four streams of weights;
/// else with one group the accumulators are all there is, with several each
/// has an f32 total beside it.
unsigned QGemm::getBlocks(std::optional<int64_t> rows) const {
  if (!b.caps().hasAvx512)
    return rows == 1 ? 2 : 1;
  if (rows == 1)
    return 4;
  if (layout.groups > 1)
    return 2;
  return dot.getRegisters() > 1 ? 2 : (layout.blocks % 3 == 0 ? 3 : 4);
}

unsigned QGemm::getMaxRows(unsigned blocks) const {
  unsigned budget = b.caps().hasAvx512 ? 24 : 8;
  unsigned perBlock = dot.getRegisters();
  if (layout.groups > 1)
    perBlock += b.caps().hasAvx512 ? 1 : 2;
  return std::clamp(budget / (perBlock * blocks), 1u, 12u);
}

LogicalResult QGemm::emit() {
  Value rows = b.size(rowsExpr);
  Value rowBlocks = b.size(rowsExpr.ceilDiv(kTaskRows));
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  auto sweep = [&](Value blockBegin, Value blockEnd, Value rowBegin,
                   Value rowEnd, std::optional<int64_t> known) {
    unsigned maxBlocks = getBlocks(known);
    auto everyBlock = [&](unsigned blocks) {
      return needsRowBlock(layout.blocks, kTaskBlocks, maxBlocks, blocks);
    };
    emitRowBlocks(b, blockBegin, blockEnd, maxBlocks, everyBlock,
                  [&](Value block, unsigned blocks) {
                    unsigned maxRows = known == 1 ? 1 : getMaxRows(blocks);
                    emitRowBlocks(
                        b, rowBegin, rowEnd, maxRows,
                        [&](unsigned r) {
                          return needsRowBlock(known, kTaskRows, maxRows, r);
                        },
                        [&](Value row, unsigned r) {
                          Value done =
                              b.divFloor(b.sub(row, rowBegin), b.idx(r));
                          emitTile({row, block, r, blocks, done});
                        });
                  });
  };
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
          sweep(blockBegin, blockEnd, rowBegin, rowEnd, total);
          return;
        }
        auto branch = scf::IfOp::create(b, b.less(b.idx(1), rows),
                                        /*withElseRegion=*/true);
        OpBuilder::InsertionGuard restore(b);
        b.setInsertionPointToStart(branch.thenBlock());
        sweep(blockBegin, blockEnd, rowBegin, rowEnd, std::nullopt);
        b.setInsertionPointToStart(branch.elseBlock());
        sweep(blockBegin, blockEnd, rowBegin, rowEnd, 1);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
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
  Sums partial(at.rows * at.blocks);
  for (SmallVector<Value> &sum : partial)
    sum = dot.zero(b);
  emitUnits(at, group, rows, partial);

  SmallVector<Value> result(totals);
  auto ints = VectorType::get(kColumns, i32);
  auto floats = VectorType::get(kColumns, f32);
  for (unsigned v = 0; v < at.blocks; ++v) {
    Value block = b.add(at.block, b.idx(v));
    Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                       b.idx(layout.groupBytes));
    Value header = b.elementPointer(weight, i8, base);
    Type scaleType = scheme.hasHalfScales() ? Type(b.getF16Type()) : f32;
    Value columnScales = b.load(header, scaleType, b.idx(0), kColumns);
    if (scheme.hasHalfScales())
      columnScales = arith::ExtFOp::create(b, floats, columnScales);
    Value zero;
    if (std::optional<int32_t> common = scheme.getZero())
      zero = b.constantInt(*common, ints);
    else
      zero = arith::ExtUIOp::create(
          b, ints, b.load(header, i8, b.idx(layout.zeroOffset), kColumns));
    for (unsigned r = 0; r < at.rows; ++r) {
      Value rowGroup =
          b.add(b.mul(b.add(at.row, b.idx(r)), b.idx(layout.groups)), group);
      Value rowSum = b.splat(b.load(sums, i32, rowGroup), kColumns);
      Value rowScale = b.splat(b.load(scales, f32, rowGroup), kColumns);
      Value exact =
          arith::SubIOp::create(b, dot.finish(b, partial[r * at.blocks + v]),
                                arith::MulIOp::create(b, zero, rowSum));
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

/// All units of a group: a loop over whole ones, and the rows that are left
/// where K is no multiple of a unit.
void QGemm::emitUnits(const Place &at, Value group, int64_t rows,
                      Sums &partial) {
  SmallVector<Value> pointers;
  for (unsigned v = 0; v < at.blocks; ++v) {
    Value block = b.add(at.block, b.idx(v));
    Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                       b.idx(layout.groupBytes));
    pointers.push_back(
        b.elementPointer(weight, i8, b.add(base, b.idx(layout.codeOffset))));
  }
  int64_t whole = rows / unit.k, left = rows % unit.k;
  Value groupK = b.mul(group, b.idx(layout.groupK));
  auto place = [&](Value u) { return b.add(groupK, b.mul(u, b.idx(unit.k))); };
  constexpr int64_t kUnrolledUnits = 8;
  if (whole <= kUnrolledUnits) {
    for (int64_t u = 0; u < whole; ++u)
      emitUnit(at, pointers, b.idx(u), place(b.idx(u)), unit.k, partial);
  } else {
    SmallVector<Value> flat;
    for (SmallVector<Value> &sum : partial)
      llvm::append_range(flat, sum);
    flat = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), flat,
        [&](Value u, ArrayRef<Value> carried) {
          Sums inner(partial.size());
          unsigned width = dot.getNumValues();
          for (auto [i, sum] : llvm::enumerate(inner))
            sum = SmallVector<Value>(carried.slice(i * width, width));
          emitUnit(at, pointers, u, place(u), unit.k, inner);
          SmallVector<Value> next;
          for (SmallVector<Value> &sum : inner)
            llvm::append_range(next, sum);
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
    unsigned width = dot.getNumValues();
    for (auto [i, sum] : llvm::enumerate(partial))
      sum = SmallVector<Value>(ArrayRef(flat).slice(i * width, width));
  }
  if (left)
    emitUnit(at, pointers, b.idx(whole), place(b.idx(whole)), left, partial);
}

/// The products of the first `liveK` rows of a unit.
void QGemm::emitUnit(const Place &at, ArrayRef<Value> pointers, Value index,
                     Value firstK, int64_t liveK, Sums &partial) {
  unsigned steps = llvm::divideCeil(liveK, 4);
  // While the first tiles of rows run, the blocks that follow in memory are
  // brought to L2. A tile covers the units of its own blocks one after another.
  Value part = b.minIdx(at.done, b.idx(at.blocks - 1));
  Value ahead = b.mul(b.add(part, b.idx(at.blocks)),
                      b.idx(layout.groups * layout.groupBytes));
  prefetchToL2(b, pointers[0], b.add(ahead, b.mul(index, b.idx(unit.bytes))));
  SmallVector<SmallVector<Value>> decoded;
  for (Value pointer : pointers) {
    Value bytes =
        b.load(pointer, i8, b.mul(index, b.idx(unit.bytes)), unit.bytes);
    Decoder decoder(b);
    decoded.push_back(scheme.decode(decoder, bytes));
  }
  for (unsigned s = 0; s < steps; ++s) {
    SmallVector<SmallVector<Value>> prepared;
    for (unsigned v = 0; v < at.blocks; ++v)
      prepared.push_back(dot.prepareCodes(b, decoded[v][s]));
    for (unsigned r = 0; r < at.rows; ++r) {
      Value word =
          loadActivation(b.add(at.row, b.idx(r)), b.add(firstK, b.idx(4 * s)),
                         std::min<int64_t>(4, liveK - 4 * s));
      Value activation = dot.prepareActivation(b, word);
      for (unsigned v = 0; v < at.blocks; ++v)
        dot.step(b, partial[r * at.blocks + v], prepared[v], activation);
    }
  }
}

/// Activations k to k + 3 of a row as the bytes of an i32; only `live` of them
/// are there, the others are zero.
Value QGemm::loadActivation(Value row, Value firstK, int64_t live) {
  Value pointer = b.elementPointer(codes, i8, b.mul(row, b.idx(k)));
  pointer = b.elementPointer(pointer, i8, firstK);
  if (live == 4)
    return b.load(pointer, i32, b.idx(0));
  Value word = b.constantInt(0, i32);
  for (int64_t j = 0; j < live; ++j) {
    Value byte = arith::ExtUIOp::create(b, i32, b.load(pointer, i8, b.idx(j)));
    word = arith::OrIOp::create(
        b, word, arith::ShLIOp::create(b, byte, b.constantInt(8 * j, i32)));
  }
  return word;
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
