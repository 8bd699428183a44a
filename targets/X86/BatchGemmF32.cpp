//===- BatchGemmF32.cpp - f32 products of two activations -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A task is a panel of columns and a range of rows of one product of the batch.
// A right operand in row-major order is read in place; a transposed one is
// transposed to scratch in blocks of K, and partial sums lie in the output.
//
//===----------------------------------------------------------------------===//
#include "Emitters.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

constexpr int64_t kTaskRows = 96;
/// Rows of a transposed block: 64 KiB of scratch at 64 columns.
constexpr int64_t kBlock = 256;

class BatchGemmF32Emitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "batch_gemm.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// Sizes of `[..., M, K] x [..., K, N]`.
struct Sizes {
  explicit Sizes(MatMulOp op) : batch(getDims(op.getResult().getType())) {
    n = batch.pop_back_val();
    m = batch.pop_back_val();
    SmallVector<AffineExpr> lhs = getDims(op.getLhs().getType());
    k = lhs[lhs.size() - (op.getTransA() ? 2 : 1)];
  }
  SmallVector<AffineExpr> batch;
  AffineExpr m, n, k;
};

/// State of one emission.
class BatchGemm {
public:
  BatchGemm(KernelBuilder &b, MatMulOp op, int64_t nr, Epilogue epilogue);
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitPanel(std::optional<int64_t> columns);
  void packBlock(Value kBegin, Value kCount);
  void emitRows(std::optional<int64_t> columns, Value kBegin, Value kCount);
  void emitTile(std::optional<int64_t> columns, Value row, unsigned rows,
                Value kBegin, Value kCount);
  Value liveLanes(std::optional<int64_t> columns, unsigned v);
  Value maskOf(Value count) {
    return count ? b.firstLanes(count, lanes) : Value();
  }

  KernelBuilder &b;
  MatMulOp op;
  Sizes sizes;
  Epilogue epilogue;
  Type f32, stored;
  unsigned lanes;
  int64_t nr;
  Value lhs, rhs, out, rowStride, kStride;
  // Of the current task.
  SmallVector<Value> batchIndex;
  Value product, left, right, rowBegin, rowEnd, column, live;
  LogicalResult status = success();
};

} // namespace

std::optional<KernelSchedule>
BatchGemmF32Emitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                           function_ref<bool(unsigned)>) const {
  Block &body = dispatch.getBody().front();
  auto op = getRoot<MatMulOp>(body);
  if (!op || !isF32Tensor(op.getLhs().getType()) ||
      !isF32Tensor(op.getRhs().getType()) ||
      !isF32Tensor(op.getResult().getType()) ||
      !isa<BlockArgument>(op.getLhs()) || !isa<BlockArgument>(op.getRhs()) ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  // Partial sums need an output of f32.
  if (op.getTransB() && !getStoredType(body).isF32())
    return std::nullopt;
  bool avx512 = hasAvx512(levels);
  Sizes sizes(op);
  int64_t nr = avx512 ? 64 : 16;
  if (std::optional<int64_t> n = getConstantSize(sizes.n))
    nr = std::min<int64_t>(nr, llvm::alignTo(std::max<int64_t>(*n, 1), 16));
  Builder builder(op.getContext());
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      builder.getNamedAttr("nr", builder.getI64IntegerAttr(nr)));
  schedule.tasks = product(sizes.batch, op.getContext()) * sizes.n.ceilDiv(nr) *
                   sizes.m.ceilDiv(kTaskRows);
  schedule.scratchBytes = op.getTransB() ? kBlock * nr * 4 : 0;
  return schedule;
}

LogicalResult BatchGemmF32Emitter::emit(KernelBuilder &builder) const {
  auto op = getRoot<MatMulOp>(builder.kernel().getBody().front());
  if (!op)
    return failure();
  int64_t nr = builder.kernel().getSchedule().getAs<IntegerAttr>("nr").getInt();
  return BatchGemm(builder, op, nr, *getEpilogue(op)).emit();
}

BatchGemm::BatchGemm(KernelBuilder &b, MatMulOp op, int64_t nr,
                     Epilogue epilogue)
    : b(b), op(op), sizes(op), epilogue(std::move(epilogue)),
      f32(b.getF32Type()), stored(getStoredType(b.kernel().getBody().front())),
      lanes(b.caps().f32Lanes()), nr(nr),
      lhs(b.pointer(cast<BlockArgument>(op.getLhs()))),
      rhs(b.pointer(cast<BlockArgument>(op.getRhs()))),
      out(b.resultPointer(0)) {
  rowStride = op.getTransA() ? b.idx(1) : b.size(sizes.k);
  kStride = op.getTransA() ? b.size(sizes.m) : b.idx(1);
}

LogicalResult BatchGemm::emit() {
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void BatchGemm::emitTask(Value task) {
  auto split = [&](AffineExpr size) {
    Value count = b.size(size);
    Value index = b.mod(task, count);
    task = b.divFloor(task, count);
    return index;
  };
  rowBegin = b.mul(split(sizes.m.ceilDiv(kTaskRows)), b.idx(kTaskRows));
  rowEnd = b.minIdx(b.add(rowBegin, b.idx(kTaskRows)), b.size(sizes.m));
  column = b.mul(split(sizes.n.ceilDiv(nr)), b.idx(nr));
  product = task;
  batchIndex = splitIndex(b, product, sizes.batch);
  left = b.elementPointer(
      lhs, f32, getMatrixOffset(b, op.getLhs().getType(), batchIndex));
  right = b.elementPointer(
      rhs, f32, getMatrixOffset(b, op.getRhs().getType(), batchIndex));
  live = b.minIdx(b.sub(b.size(sizes.n), column), b.idx(nr));

  std::optional<int64_t> n = getConstantSize(sizes.n);
  if (n && (*n % nr == 0 || *n < nr)) {
    emitPanel(*n < nr ? *n : nr);
    return;
  }
  auto branch = scf::IfOp::create(b, b.less(live, b.idx(nr)),
                                  /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  emitPanel(n ? std::optional(*n % nr) : std::nullopt);
  b.setInsertionPointToStart(branch.elseBlock());
  emitPanel(nr);
}

/// All of K for a panel with `columns` live columns (none: `live`).
void BatchGemm::emitPanel(std::optional<int64_t> columns) {
  Value k = b.size(sizes.k);
  if (!op.getTransB()) {
    emitRows(columns, b.idx(0), k);
    return;
  }
  // At least one block, so that a product over nothing still stores zeros.
  Value end = b.maxIdx(k, b.idx(1));
  b.forLoop(
      b.idx(0), end, b.idx(kBlock),
      [&](Value kBegin) {
        Value kCount = b.minIdx(b.sub(k, kBegin), b.idx(kBlock));
        packBlock(kBegin, kCount);
        emitRows(columns, kBegin, kCount);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Transposes [columns][K] to [kBlock][nr] in scratch. Columns past the last
/// one repeat it.
void BatchGemm::packBlock(Value kBegin, Value kCount) {
  Value k = b.size(sizes.k), last = b.sub(b.size(sizes.n), b.idx(1));
  b.forLoop(b.idx(0), b.idx(nr), b.idx(lanes), [&](Value c) {
    b.forLoop(
        b.idx(0), kCount, b.idx(lanes),
        [&](Value at) {
          Value inside = b.firstLanes(b.sub(kCount, at), lanes);
          SmallVector<Value> rows;
          for (unsigned i = 0; i < lanes; ++i) {
            Value from = b.minIdx(b.add(b.add(column, c), b.idx(i)), last);
            Value offset = b.add(b.mul(from, k), b.add(kBegin, at));
            rows.push_back(b.load(right, f32, offset, lanes, inside));
          }
          transpose(b, rows);
          for (unsigned i = 0; i < lanes; ++i)
            b.store(rows[i], b.scratch(), f32,
                    b.add(b.mul(b.add(at, b.idx(i)), b.idx(nr)), c));
        },
        KernelBuilder::LoopHint::NoUnroll);
  });
}

void BatchGemm::emitRows(std::optional<int64_t> columns, Value kBegin,
                         Value kCount) {
  // On AVX2 two vectors of columns at a time.
  int64_t step = b.caps().hasAvx512 ? nr : 2 * lanes;
  int64_t width = columns.value_or(nr);
  Value panelColumn = column, panelLive = live;
  for (int64_t at = 0; at < width; at += step) {
    std::optional<int64_t> here;
    if (columns)
      here = std::min(step, *columns - at);
    unsigned maxRows =
        getTileRows(b.caps(), llvm::divideCeil(here.value_or(step), lanes));
    column = b.add(panelColumn, b.idx(at));
    live = b.sub(panelLive, b.idx(at));
    emitRowBlocks(
        b, rowBegin, rowEnd, maxRows,
        [&](unsigned rows) {
          return needsRowBlock(getConstantSize(sizes.m), kTaskRows, maxRows,
                               rows);
        },
        [&](Value row, unsigned rows) {
          emitTile(here, row, rows, kBegin, kCount);
        });
  }
  column = panelColumn;
  live = panelLive;
}

/// Live lanes of vector `v` of the tile; null: all.
Value BatchGemm::liveLanes(std::optional<int64_t> columns, unsigned v) {
  if (!columns)
    return b.minIdx(b.maxIdx(b.sub(live, b.idx(v * lanes)), b.idx(0)),
                    b.idx(lanes));
  int64_t rest = *columns - int64_t(v) * lanes;
  return rest < int64_t(lanes) ? b.idx(rest) : Value();
}

void BatchGemm::emitTile(std::optional<int64_t> columns, Value row,
                         unsigned rows, Value kBegin, Value kCount) {
  int64_t step = b.caps().hasAvx512 ? nr : 2 * lanes;
  bool transposed = op.getTransB();
  Tile tile{rows, unsigned(llvm::divideCeil(columns.value_or(step), lanes)),
            lanes};
  Value n = b.size(sizes.n);
  SmallVector<Value> pointers;
  for (unsigned r = 0; r < rows; ++r)
    pointers.push_back(b.elementPointer(
        left, f32,
        b.add(b.mul(b.add(row, b.idx(r)), rowStride), b.mul(kBegin, kStride))));
  auto outOffset = [&](unsigned r, unsigned v) {
    Value line = b.add(b.mul(product, b.size(sizes.m)), b.add(row, b.idx(r)));
    return b.add(b.mul(line, n), b.add(column, b.idx(v * lanes)));
  };
  SmallVector<Value> masks;
  for (unsigned v = 0; v < tile.vectors; ++v)
    masks.push_back(maskOf(liveLanes(columns, v)));

  std::optional<int64_t> k = getConstantSize(sizes.k);
  bool oneBlock = k && *k <= kBlock;
  SmallVector<Value> init = zeros(b, rows * tile.vectors, lanes);
  Value isFirst = b.less(kBegin, b.idx(1));
  if (transposed && !oneBlock)
    for (unsigned r = 0; r < rows; ++r)
      for (unsigned v = 0; v < tile.vectors; ++v) {
        Value &start = init[r * tile.vectors + v];
        // Nothing is read before the first block has been stored.
        Value some = masks[v] ? masks[v] : b.firstLanes(b.idx(lanes), lanes);
        Value none = b.firstLanes(b.idx(0), lanes);
        Value mask = arith::SelectOp::create(b, isFirst, none, some);
        start = b.load(out, f32, outOffset(r, v), lanes, mask);
      }
  Value scratchColumn = b.mod(column, b.idx(nr));
  SmallVector<Value> sums = emitFmaLoop(
      b, tile, kCount, init,
      [&](unsigned r, Value at) {
        return b.load(pointers[r], f32, b.mul(at, kStride));
      },
      [&](unsigned v, Value at) {
        if (transposed)
          return b.load(b.scratch(), f32,
                        b.add(b.mul(at, b.idx(nr)),
                              b.add(scratchColumn, b.idx(v * lanes))),
                        lanes);
        return b.load(right, f32,
                      b.add(b.mul(at, n), b.add(column, b.idx(v * lanes))),
                      lanes, masks[v]);
      });

  auto finishVector = [&](unsigned r, unsigned v) {
    SmallVector<Value> indices(batchIndex);
    indices.push_back(b.add(row, b.idx(r)));
    indices.push_back(b.add(column, b.idx(v * lanes)));
    if (failed(storeWithEpilogue(b, epilogue, sums[r * tile.vectors + v],
                                 indices, lanes, liveLanes(columns, v), out,
                                 stored, outOffset(r, v))))
      status = failure();
  };
  auto finish = [&] {
    for (unsigned v = 0; v < tile.vectors; ++v) {
      OpBuilder::InsertionGuard restore(b);
      // A vector past the last column has no lane to apply an epilogue to.
      if (!columns) {
        auto guard = scf::IfOp::create(
            b, b.less(b.idx(0), liveLanes(columns, v)), false);
        b.setInsertionPointToStart(guard.thenBlock());
      }
      for (unsigned r = 0; r < rows; ++r)
        finishVector(r, v);
    }
  };
  if (!transposed || oneBlock) {
    finish();
    return;
  }
  Value isLast = b.less(b.sub(b.size(sizes.k), kBegin), b.idx(kBlock + 1));
  auto branch = scf::IfOp::create(b, isLast, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  finish();
  b.setInsertionPointToStart(branch.elseBlock());
  for (unsigned r = 0; r < rows; ++r)
    for (unsigned v = 0; v < tile.vectors; ++v)
      b.store(sums[r * tile.vectors + v], out, f32, outOffset(r, v), masks[v]);
}

std::unique_ptr<KernelEmitter> x86::createBatchGemmF32Emitter() {
  return std::make_unique<BatchGemmF32Emitter>();
}
