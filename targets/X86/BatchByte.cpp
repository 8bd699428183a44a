//===- BatchByte.cpp - exact products of two activations' bytes -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A task is a range of rows and of columns of one product of the batch. The
// left operand is read in place, four bytes of a row at a time; of the right
// one the task's columns are packed to scratch, in blocks of K whose sums, if
// there are several, wait in scratch too.
//
// The instructions take one operand without a sign and one with: the packed
// bytes get what the left ones have not, by turning their highest bit, which
// moves their zero point by 128. With codes a and b and zero points y and z,
//
//   sum (a - y) (b - z) = sum a b - z sum a - y (sum b - K z)
//
// in integers that wrap, so the result is exact for all levels and shapes.
//
//===----------------------------------------------------------------------===//
#include "ByteRows.h"
#include "Emitters.h"
#include "IntegerDot.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr int64_t kTaskRows = 128, kTaskColumns = 128;
/// Rows of the right operand that are packed at once: 64 KiB for all columns.
constexpr int64_t kBlock = 512;
constexpr int64_t kStep = 4; ///< of these in a step
constexpr unsigned kLanes = 16;
constexpr int64_t kStepBytes = kStep * kLanes;

class BatchByteEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "batch_dot.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// Sizes of `[..., M, K] x [..., K, N]`.
struct Sizes {
  explicit Sizes(IntMatMulOp op) : batch(getDims(op.getResult().getType())) {
    n = batch.pop_back_val();
    m = batch.pop_back_val();
    k = getDims(op.getLhs().getType()).back();
  }
  /// True if K may be larger than a block.
  bool hasBlocks() const {
    std::optional<int64_t> known = getConstantSize(k);
    return !known || *known > kBlock;
  }
  SmallVector<AffineExpr> batch;
  AffineExpr m, n, k;
};

/// Offsets of the parts of scratch, in bytes.
struct ScratchLayout {
  ScratchLayout(const Sizes &sizes, int64_t columns) {
    std::optional<int64_t> known = getConstantSize(sizes.k);
    blockRows = known && *known < kBlock
                    ? llvm::alignTo(std::max<int64_t>(*known, 1), kStep)
                    : kBlock;
    columnSums = blockRows * columns;
    rowTerms = columnSums + columns * 4;
    sums = rowTerms + kTaskRows * 4;
    bytes = sums + (sizes.hasBlocks() ? kTaskRows * columns * 4 : 0);
  }
  int64_t blockRows; ///< of the packed operand, which comes first
  int64_t columnSums, rowTerms, sums, bytes;
};

/// The operand's type may be multiplied: bytes, with at most one zero point.
bool isPlain(Value codes, Value zero) {
  auto isOne = [](Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    return type.hasStaticShape() && type.getNumElements() == 1;
  };
  return cast<RankedTensorType>(codes.getType())
             .getElementType()
             .isInteger(8) &&
         isa<BlockArgument>(codes) &&
         (!zero || (isOne(zero) && isa<BlockArgument>(zero)));
}

bool isSigned(Value codes) {
  return !cast<RankedTensorType>(codes.getType())
              .getElementType()
              .isUnsignedInteger();
}

/// State of one emission.
class BatchByte {
public:
  BatchByte(KernelBuilder &b, IntMatMulOp op, int64_t columns,
            Epilogue epilogue);
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitRowTerms();
  Value sumRow(Value row);
  void packBlock(Value kBegin, Value kCount);
  void packColumns(Value block, Value kBegin, Value kCount, bool isWhole);
  Value packStep(Value column, Value at, Value kBegin, Value kCount,
                 Value mask);
  Value packSingles(Value column, Value live, Value at, Value kBegin,
                    Value kCount);
  void emitBlockRows(Value kBegin, Value kCount);
  void emitColumns(Value first, unsigned vectors, Value lastCount, Value kBegin,
                   Value kCount);
  void emitTile(Value row, const Tile &tile, Value first, Value lastCount,
                Value kBegin, Value kCount);
  SmallVector<Value> multiply(Value row, const Tile &tile, Value first,
                              Value kBegin, Value kCount);
  void finish(Value row, const Tile &tile, Value first, Value lastCount,
              ArrayRef<Value> sums);
  Value loadTail(Value pointer, Value offset, Value count);
  Value part(int64_t offset) {
    return b.elementPointer(b.scratch(), i8, b.idx(offset));
  }
  /// K is a multiple of a step.
  bool hasWholeSteps() const {
    std::optional<int64_t> known = getConstantSize(sizes.k);
    return known && *known % kStep == 0;
  }

  KernelBuilder &b;
  IntMatMulOp op;
  Sizes sizes;
  Epilogue epilogue;
  int64_t columns; ///< of a task
  ScratchLayout layout;
  bool leftSigned, turns; ///< the packed bytes' highest bit
  IntegerDot dot, ones;   ///< of the product, and of the left codes with ones
  Type i8, i32, stored;
  VectorType ints;
  unsigned most; ///< vectors of a tile
  Value lhs, rhs, out, leftZero, rightZero, k, n;
  std::optional<TileStore> tileStore;
  // Of the current task.
  SmallVector<Value> batchIndex;
  Value product, left, right, rowBegin, rowEnd, column, live;
  LogicalResult status = success();
};

} // namespace

std::optional<KernelSchedule>
BatchByteEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                        function_ref<bool(unsigned)>) const {
  auto op = getRoot<IntMatMulOp>(dispatch.getBody().front());
  if (!op || !isPlain(op.getLhs(), op.getLhsZero()) ||
      !isPlain(op.getRhs(), op.getRhsZero()) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  Sizes sizes(op);
  int64_t columns = kTaskColumns;
  if (std::optional<int64_t> n = getConstantSize(sizes.n))
    columns = std::min<int64_t>(
        columns, llvm::alignTo(std::max<int64_t>(*n, 1), kLanes));
  Builder builder(op.getContext());
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      builder.getNamedAttr("columns", builder.getI64IntegerAttr(columns)));
  schedule.tasks = qcc::product(sizes.batch, op.getContext()) *
                   sizes.n.ceilDiv(columns) * sizes.m.ceilDiv(kTaskRows);
  schedule.scratchBytes = ScratchLayout(sizes, columns).bytes;
  return schedule;
}

LogicalResult BatchByteEmitter::emit(KernelBuilder &builder) const {
  auto op = getRoot<IntMatMulOp>(builder.kernel().getBody().front());
  if (!op)
    return failure();
  int64_t columns =
      builder.kernel().getSchedule().getAs<IntegerAttr>("columns").getInt();
  return BatchByte(builder, op, columns, *getEpilogue(op)).emit();
}

BatchByte::BatchByte(KernelBuilder &b, IntMatMulOp op, int64_t columns,
                     Epilogue epilogue)
    : b(b), op(op), sizes(op), epilogue(std::move(epilogue)), columns(columns),
      layout(sizes, columns), leftSigned(isSigned(op.getLhs())),
      turns(isSigned(op.getRhs()) == leftSigned),
      dot(b.caps(), {/*codes=*/!leftSigned, /*activations=*/leftSigned}),
      ones(b.caps(), {/*codes=*/leftSigned, /*activations=*/!leftSigned}),
      i8(b.getI8Type()), i32(b.getI32Type()),
      stored(getStoredType(b.kernel().getBody().front())),
      ints(VectorType::get(kLanes, i32)),
      lhs(b.pointer(cast<BlockArgument>(op.getLhs()))),
      rhs(b.pointer(cast<BlockArgument>(op.getRhs()))), out(b.resultPointer(0)),
      k(b.size(sizes.k)), n(b.size(sizes.n)) {
  most = !b.caps().hasAvx512 ? 1 : dot.getRegisters() == 1 ? 4 : 2;
  most = std::min(most, unsigned(columns / kLanes));
  tileStore.emplace(b, this->epilogue, out, stored);
}

LogicalResult BatchByte::emit() {
  if (op.getLhsZero())
    leftZero = loadZeroPoint(b, op.getLhsZero());
  if (op.getRhsZero())
    rightZero = loadZeroPoint(b, op.getRhsZero());
  if (turns) {
    Value moved = b.constantInt(leftSigned ? 128 : -128, i32);
    rightZero =
        rightZero ? Value(arith::AddIOp::create(b, rightZero, moved)) : moved;
  }
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void BatchByte::emitTask(Value task) {
  auto split = [&](AffineExpr size) {
    Value count = b.size(size);
    Value index = b.mod(task, count);
    task = b.divFloor(task, count);
    return index;
  };
  rowBegin = b.mul(split(sizes.m.ceilDiv(kTaskRows)), b.idx(kTaskRows));
  rowEnd = b.minIdx(b.add(rowBegin, b.idx(kTaskRows)), b.size(sizes.m));
  column = b.mul(split(sizes.n.ceilDiv(columns)), b.idx(columns));
  live = b.minIdx(b.sub(n, column), b.idx(columns));
  product = task;
  batchIndex = splitIndex(b, product, sizes.batch);
  left = b.elementPointer(
      lhs, i8, getMatrixOffset(b, op.getLhs().getType(), batchIndex));
  right = b.elementPointer(
      rhs, i8, getMatrixOffset(b, op.getRhs().getType(), batchIndex));

  emitRowTerms();
  Value zero = b.constantInt(0, ints);
  if (leftZero)
    b.forLoop(b.idx(0), b.idx(columns), b.idx(kLanes), [&](Value at) {
      b.store(zero, part(layout.columnSums), i32, at);
    });
  // At least one block, so that a product over nothing still stores zeros.
  b.forLoop(
      b.idx(0), b.maxIdx(k, b.idx(1)), b.idx(kBlock),
      [&](Value kBegin) {
        Value kCount = b.minIdx(b.sub(k, kBegin), b.idx(kBlock));
        packBlock(kBegin, kCount);
        emitBlockRows(kBegin, kCount);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

//===----------------------------------------------------------------------===//
// Terms of the zero points
//===----------------------------------------------------------------------===//

/// What the right zero point takes off the sums of each row.
void BatchByte::emitRowTerms() {
  if (!rightZero)
    return;
  Value zero = b.constantInt(0, i32);
  auto store = [&](function_ref<Value(Value)> term) {
    b.forLoop(
        rowBegin, rowEnd, b.idx(1),
        [&](Value row) {
          b.store(term(row), part(layout.rowTerms), i32, b.sub(row, rowBegin));
        },
        KernelBuilder::LoopHint::NoUnroll);
  };
  Value isNeeded =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ne, rightZero, zero);
  b.emitEither(
      isNeeded,
      [&] {
        store([&](Value row) -> Value {
          return arith::MulIOp::create(b, sumRow(row), rightZero);
        });
      },
      [&] { store([&](Value) { return zero; }); });
}

/// The sum of a row of the left operand.
Value BatchByte::sumRow(Value row) {
  Value pointer = b.elementPointer(left, i8, b.mul(row, k));
  Value one = ones.prepareActivation(b, b.constantInt(0x01010101, i32));
  unsigned values = ones.getNumValues();
  auto add = [&](Value codes, ArrayRef<Value> carried) {
    SmallVector<Value> next(carried);
    for (unsigned p = 0; p < values; ++p)
      ones.stepPart(b, next[p], ones.prepareCodes(b, codes, p), one);
    return next;
  };
  Value whole = b.mul(b.divFloor(k, b.idx(kStepBytes)), b.idx(kStepBytes));
  SmallVector<Value> sums = b.forLoop(
      b.idx(0), whole, b.idx(kStepBytes), ones.zero(b),
      [&](Value at, ArrayRef<Value> carried) {
        return add(b.load(pointer, i8, at, kStepBytes), carried);
      },
      KernelBuilder::LoopHint::NoUnroll);
  std::optional<int64_t> known = getConstantSize(sizes.k);
  bool hasRest = !known || *known % kStepBytes != 0;
  if (hasRest && b.caps().hasAvx512)
    sums = add(b.load(pointer, i8, whole, kStepBytes,
                      b.firstLanes(b.sub(k, whole), kStepBytes)),
               sums);
  Value sum = vector::ReductionOp::create(b, vector::CombiningKind::ADD,
                                          ones.finish(b, sums));
  if (!hasRest || b.caps().hasAvx512)
    return sum;
  return b.forLoop(
      whole, k, b.idx(1), {sum},
      [&](Value at, ArrayRef<Value> carried) {
        Value byte = b.load(pointer, i8, at), wide;
        if (leftSigned)
          wide = arith::ExtSIOp::create(b, i32, byte);
        else
          wide = arith::ExtUIOp::create(b, i32, byte);
        return SmallVector<Value>{arith::AddIOp::create(b, carried[0], wide)};
      },
      KernelBuilder::LoopHint::NoVectorize)[0];
}

//===----------------------------------------------------------------------===//
// The right operand
//===----------------------------------------------------------------------===//

/// Packs the task's columns of a block of rows, as [columns / 16][rows / 4]
/// [16][4], and adds their sums.
void BatchByte::packBlock(Value kBegin, Value kCount) {
  std::optional<int64_t> known = getConstantSize(sizes.n);
  Value whole = b.divFloor(live, b.idx(kLanes));
  b.forLoop(
      b.idx(0), whole, b.idx(1),
      [&](Value block) { packColumns(block, kBegin, kCount, true); },
      KernelBuilder::LoopHint::NoUnroll);
  if (known && *known % kLanes == 0)
    return;
  Value blocks = b.divFloor(b.add(live, b.idx(kLanes - 1)), b.idx(kLanes));
  b.forLoop(
      whole, blocks, b.idx(1),
      [&](Value block) { packColumns(block, kBegin, kCount, false); },
      KernelBuilder::LoopHint::NoUnroll);
}

void BatchByte::packColumns(Value block, Value kBegin, Value kCount,
                            bool isWhole) {
  Value first = b.mul(block, b.idx(kLanes)), here = b.sub(live, first);
  Value to =
      b.elementPointer(b.scratch(), i8, b.mul(first, b.idx(layout.blockRows)));
  bool hasMasks = b.caps().hasAvx512;
  Value mask = !isWhole && hasMasks ? b.firstLanes(here, kLanes) : Value();
  Value one = dot.prepareActivation(b, b.constantInt(0x01010101, i32));
  unsigned values = dot.getNumValues();
  SmallVector<Value> sums = b.forLoop(
      b.idx(0), kCount, b.idx(kStep),
      leftZero ? dot.zero(b) : SmallVector<Value>(),
      [&](Value at, ArrayRef<Value> carried) {
        Value words =
            isWhole || hasMasks
                ? packStep(b.add(column, first), at, kBegin, kCount, mask)
                : packSingles(b.add(column, first), here, at, kBegin, kCount);
        b.store(words, to, i32, b.mul(at, b.idx(kLanes / kStep)));
        SmallVector<Value> next(carried);
        if (!leftZero)
          return next;
        Value codes = vector::BitCastOp::create(
            b, VectorType::get(kStepBytes, i8), words);
        for (unsigned p = 0; p < values; ++p)
          dot.stepPart(b, next[p], dot.prepareCodes(b, codes, p), one);
        return next;
      },
      KernelBuilder::LoopHint::NoUnroll);
  if (!leftZero)
    return;
  Value before = b.load(part(layout.columnSums), i32, first, kLanes);
  b.store(arith::AddIOp::create(b, before, dot.finish(b, sums)),
          part(layout.columnSums), i32, first);
}

/// Four rows of 16 columns, side by side in words; zeros past the last row.
Value BatchByte::packStep(Value from, Value at, Value kBegin, Value kCount,
                          Value mask) {
  Value word;
  for (int64_t i = 0; i < kStep; ++i) {
    Value row = b.add(at, b.idx(i)), inside = row;
    if (!hasWholeSteps())
      inside = b.minIdx(row, b.sub(kCount, b.idx(1)));
    Value offset = b.add(b.mul(b.add(kBegin, inside), n), from);
    Value codes = arith::ExtUIOp::create(
        b, ints, b.load(right, i8, offset, kLanes, mask));
    if (turns)
      codes = arith::XOrIOp::create(b, codes, b.constantInt(0x80, ints));
    if (!hasWholeSteps() && i > 0) {
      Value isInside = b.splat(b.less(row, kCount), kLanes);
      codes =
          arith::SelectOp::create(b, isInside, codes, b.constantInt(0, ints));
    }
    if (i > 0)
      codes = arith::ShLIOp::create(b, codes, b.constantInt(8 * i, ints));
    word = word ? Value(arith::OrIOp::create(b, word, codes)) : codes;
  }
  return word;
}

/// The same of `count` columns, byte by byte: below AVX-512 nothing reads some
/// bytes of a vector.
Value BatchByte::packSingles(Value from, Value count, Value at, Value kBegin,
                             Value kCount) {
  Value buffer = b.stackBuffer(kStepBytes);
  b.store(b.constantInt(0, ints), buffer, i32, b.idx(0));
  Value end = b.minIdx(b.add(at, b.idx(kStep)), kCount);
  b.forLoop(
      at, end, b.idx(1),
      [&](Value row) {
        b.forLoop(
            b.idx(0), count, b.idx(1),
            [&](Value c) {
              Value byte =
                  b.load(right, i8,
                         b.add(b.mul(b.add(kBegin, row), n), b.add(from, c)));
              if (turns)
                byte = arith::XOrIOp::create(b, byte, b.constantInt(-128, i8));
              b.store(byte, buffer, i8,
                      b.add(b.mul(c, b.idx(kStep)), b.sub(row, at)));
            },
            KernelBuilder::LoopHint::NoVectorize);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return b.load(buffer, i32, b.idx(0), kLanes);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void BatchByte::emitBlockRows(Value kBegin, Value kCount) {
  int64_t group = int64_t(most) * kLanes;
  std::optional<int64_t> known = getConstantSize(sizes.n);
  // Every task has as many columns.
  bool isKnown = known && (*known <= columns || *known % columns == 0);
  Value whole = b.mul(b.divFloor(live, b.idx(group)), b.idx(group));
  b.forLoop(
      b.idx(0), whole, b.idx(group),
      [&](Value first) { emitColumns(first, most, Value(), kBegin, kCount); },
      KernelBuilder::LoopHint::NoUnroll);
  if (isKnown) {
    int64_t rest = std::min(*known, columns) % group;
    if (rest)
      emitColumns(whole, unsigned(llvm::divideCeil(rest, kLanes)),
                  rest % kLanes ? b.idx(rest % kLanes) : Value(), kBegin,
                  kCount);
    return;
  }
  b.forLoop(
      whole, live, b.idx(kLanes),
      [&](Value first) {
        emitColumns(first, 1, b.minIdx(b.sub(live, first), b.idx(kLanes)),
                    kBegin, kCount);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// All rows of the task times some columns, from the `first` of its own on.
void BatchByte::emitColumns(Value first, unsigned vectors, Value lastCount,
                            Value kBegin, Value kCount) {
  unsigned registers = b.caps().hasAvx512 ? 24 : 12,
           rows =
               std::clamp(registers / (dot.getRegisters() * vectors), 1u, 12u);
  emitRowBlocks(
      b, rowBegin, rowEnd, rows,
      [&](unsigned count) {
        return needsRowBlock(getConstantSize(sizes.m), kTaskRows, rows, count);
      },
      [&](Value row, unsigned count) {
        emitTile(row, {count, vectors, kLanes}, first, lastCount, kBegin,
                 kCount);
      });
}

/// The last word of a row, of `count` bytes (at most 3).
Value BatchByte::loadTail(Value pointer, Value offset, Value count) {
  Value bytes = b.load(pointer, i8, offset, kStep, b.firstLanes(count, kStep));
  Value word = vector::BitCastOp::create(b, VectorType::get(1, i32), bytes);
  return vector::ExtractOp::create(b, word, ArrayRef<int64_t>{0});
}

/// Sums over a block of rows of the right operand, as i32, row by row.
SmallVector<Value> BatchByte::multiply(Value row, const Tile &tile, Value first,
                                       Value kBegin, Value kCount) {
  unsigned values = dot.getNumValues();
  SmallVector<Value> rows, blocks, init;
  for (unsigned r = 0; r < tile.rows; ++r)
    rows.push_back(b.elementPointer(
        left, i8, b.add(b.mul(b.add(row, b.idx(r)), k), kBegin)));
  for (unsigned v = 0; v < tile.vectors; ++v)
    blocks.push_back(b.elementPointer(
        b.scratch(), i8,
        b.mul(b.add(first, b.idx(v * kLanes)), b.idx(layout.blockRows))));
  for (unsigned i = 0; i < tile.rows * tile.vectors; ++i)
    llvm::append_range(init, dot.zero(b));
  auto step = [&](Value at, function_ref<Value(Value)> load,
                  ArrayRef<Value> carried) {
    SmallVector<Value> next(carried), codes;
    for (Value block : blocks)
      codes.push_back(b.load(block, i8, b.mul(at, b.idx(kLanes)), kStepBytes));
    for (unsigned r = 0; r < tile.rows; ++r) {
      Value word = dot.prepareActivation(b, load(rows[r]));
      for (unsigned v = 0; v < tile.vectors; ++v)
        for (unsigned p = 0; p < values; ++p)
          dot.stepPart(b, next[(r * tile.vectors + v) * values + p],
                       dot.prepareCodes(b, codes[v], p), word);
    }
    return next;
  };
  Value whole = b.mul(b.divFloor(kCount, b.idx(kStep)), b.idx(kStep));
  SmallVector<Value> sums = b.forLoop(
      b.idx(0), whole, b.idx(kStep), init,
      [&](Value at, ArrayRef<Value> carried) {
        auto load = [&](Value pointer) {
          return loadWord(b, pointer, at, kStep);
        };
        return step(at, load, carried);
      },
      KernelBuilder::LoopHint::NoUnroll);
  if (!hasWholeSteps())
    sums = b.forLoop(
        whole, kCount, b.idx(kStep), sums,
        [&](Value at, ArrayRef<Value> carried) {
          Value count = b.sub(kCount, at);
          auto load = [&](Value pointer) {
            return loadTail(pointer, at, count);
          };
          return step(at, load, carried);
        },
        KernelBuilder::LoopHint::NoUnroll);
  SmallVector<Value> results;
  for (unsigned i = 0; i < tile.rows * tile.vectors; ++i)
    results.push_back(
        dot.finish(b, dot.widen(b, ArrayRef(sums).slice(i * values, values))));
  return results;
}

/// Multiplies a block of rows of the right operand; after the last one stores.
void BatchByte::emitTile(Value row, const Tile &tile, Value first,
                         Value lastCount, Value kBegin, Value kCount) {
  SmallVector<Value> sums = multiply(row, tile, first, kBegin, kCount);
  if (!sizes.hasBlocks())
    return finish(row, tile, first, lastCount, sums);
  auto place = [&](unsigned r, unsigned v) {
    Value own = b.sub(b.add(row, b.idx(r)), rowBegin);
    return b.add(b.mul(own, b.idx(columns)), b.add(first, b.idx(v * kLanes)));
  };
  // Nothing is read before the first block has been stored.
  Value isLater = b.less(b.idx(0), kBegin);
  Value mask = b.firstLanes(
      arith::SelectOp::create(b, isLater, b.idx(kLanes), b.idx(0)), kLanes);
  for (unsigned r = 0; r < tile.rows; ++r)
    for (unsigned v = 0; v < tile.vectors; ++v) {
      Value &sum = sums[r * tile.vectors + v];
      Value before = b.load(part(layout.sums), i32, place(r, v), kLanes, mask);
      sum = arith::AddIOp::create(b, sum, before);
    }
  b.emitEither(
      b.less(b.sub(k, kBegin), b.idx(kBlock + 1)),
      [&] { finish(row, tile, first, lastCount, sums); },
      [&] {
        for (unsigned r = 0; r < tile.rows; ++r)
          for (unsigned v = 0; v < tile.vectors; ++v)
            b.store(sums[r * tile.vectors + v], part(layout.sums), i32,
                    place(r, v));
      });
}

/// Takes the zero points' terms off and stores.
void BatchByte::finish(Value row, const Tile &tile, Value first,
                       Value lastCount, ArrayRef<Value> sums) {
  SmallVector<Value> columnTerms, results;
  if (leftZero) {
    Value shift = b.constantInt(0, i32);
    if (rightZero)
      shift = arith::MulIOp::create(b, arith::IndexCastOp::create(b, i32, k),
                                    rightZero);
    for (unsigned v = 0; v < tile.vectors; ++v) {
      Value columnSums = b.load(part(layout.columnSums), i32,
                                b.add(first, b.idx(v * kLanes)), kLanes);
      columnTerms.push_back(arith::MulIOp::create(
          b, arith::SubIOp::create(b, columnSums, b.splat(shift, kLanes)),
          b.splat(leftZero, kLanes)));
    }
  }
  for (unsigned r = 0; r < tile.rows; ++r) {
    Value rowTerm;
    if (rightZero)
      rowTerm = b.splat(b.load(part(layout.rowTerms), i32,
                               b.sub(b.add(row, b.idx(r)), rowBegin)),
                        kLanes);
    for (unsigned v = 0; v < tile.vectors; ++v) {
      Value sum = sums[r * tile.vectors + v];
      if (rightZero)
        sum = arith::SubIOp::create(b, sum, rowTerm);
      if (leftZero)
        sum = arith::SubIOp::create(b, sum, columnTerms[v]);
      results.push_back(sum);
    }
  }
  Value begin = b.add(column, first);
  auto indices = [&](Value at, unsigned lane) {
    SmallVector<Value> result(batchIndex);
    result.push_back(b.add(row, at));
    result.push_back(b.add(begin, b.idx(lane)));
    return result;
  };
  auto offset = [&](Value at, unsigned lane) {
    Value line = b.add(b.mul(product, b.size(sizes.m)), b.add(row, at));
    return b.add(b.mul(line, n), b.add(begin, b.idx(lane)));
  };
  if (failed(tileStore->store(tile, results, {indices, offset, lastCount})))
    status = failure();
}

std::unique_ptr<KernelEmitter> x86::createBatchByteEmitter() {
  return std::make_unique<BatchByteEmitter>();
}
