//===- GemmF32.cpp - f32 matrix product with a constant weight --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A convolution of single pixels with a window of one, as those behind a global
// average are, is such a product as well: its rows are the images.
//
// The weight is packed in panels of `nr` columns, [N/nr][K][nr]. A task is a
// panel, with few rows several side by side, and a range of rows: a block of
// the panel that fits half of L2 stays there while the rows walk by, read in
// place. The accumulators of a tile stay in registers over a block of K;
// partial sums of a longer K lie in the output.
//
//===----------------------------------------------------------------------===//
#include "Emitters.h"
#include "Tiles.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Rows of a task: a multiple of 6, 8 and 12, the heights of tiles.
constexpr int64_t kTaskRows = 96;

/// Panels of `nr` columns that a tile takes side by side: on AVX2 with few rows
/// two vectors of sums, each of which waits for the one before, would leave the
/// core idle.
int64_t choosePanels(std::optional<int64_t> rows, int64_t nr, bool avx512) {
  if (avx512 || !rows || *rows > 3)
    return 1;
  return std::max<int64_t>((*rows == 1 ? 64 : 32) / nr, 1);
}

/// The panel width that wastes the fewest columns; on AVX-512 three or four
/// vectors, so that a row of the panel feeds enough products per load.
int64_t choosePanel(int64_t n, bool avx512) {
  if (!avx512)
    return 16;
  if (n <= 48)
    return llvm::alignTo(n, 16);
  return llvm::alignTo(n, 48) < llvm::alignTo(n, 64) ? 48 : 64;
}

/// A product `[leading..., K] x [K, N]`, the root of a body.
struct Product {
  Operation *op = nullptr;
  SmallVector<AffineExpr> leading; ///< dimensions of the rows
  unsigned trailing = 0; ///< dimensions of one element behind the columns
  std::optional<int64_t> n;
  bool transA = false, transB = false;
  const char *layout = "panel";

  AffineExpr getRows() const { return product(leading, op->getContext()); }
};

/// A convolution of images of one pixel with windows of one.
std::optional<Product> findPixelConv(Block &body) {
  auto conv = getRoot<ConvOp>(body);
  if (!conv || conv.getGroups() != 1 ||
      llvm::any_of(conv.getPads(), [](int64_t pad) { return pad != 0; }))
    return std::nullopt;
  SmallVector<AffineExpr> in = getDims(conv.getInput().getType()),
                          out = getDims(conv.getResult().getType());
  // Without padding the window has one element too.
  for (size_t i = 2; i < in.size(); ++i)
    if (getConstantSize(in[i]) != 1 || getConstantSize(out[i]) != 1)
      return std::nullopt;
  Product product{
      conv, {out[0]}, unsigned(out.size() - 2), getConstantSize(out[1])};
  product.layout = "conv_panel:1";
  return product;
}

std::optional<Product> findProduct(Block &body) {
  auto matmul = getRoot<MatMulOp>(body);
  if (!matmul)
    return findPixelConv(body);
  SmallVector<AffineExpr> dims = getDims(matmul.getResult().getType());
  std::optional<int64_t> n = getConstantSize(dims.pop_back_val());
  return Product{matmul, dims, 0, n, matmul.getTransA(), matmul.getTransB()};
}

class GemmF32Emitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "gemm.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  SmallVector<KernelSchedule>
  getAlternatives(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                  function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class Gemm {
public:
  Gemm(KernelBuilder &b, const Product &product, Epilogue epilogue);
  LogicalResult emit();

private:
  void emitPanel(Value panel, int64_t columns, Value rowBegin, Value rowEnd);
  void emitColumns(Value panel, int64_t column, int64_t columns, Value rowBegin,
                   Value rowEnd);
  void emitTile(Value panel, int64_t column, int64_t columns, Value row,
                unsigned rows, Value done, Value kBegin, Value kCount,
                bool first, bool last);

  KernelBuilder &b;
  Product product;
  Epilogue epilogue;
  Type f32, stored;
  Value lhs, rhs, out;
  int64_t n, k, nr, kBlock;
  int64_t taskPanels; ///< of a task, all in one tile if more than one
  unsigned lanes;
  AffineExpr rowsExpr;
  Value rowStride, kStride;
  std::optional<TileStore> tileStore;
  LogicalResult status = success();
};

} // namespace

/// With panels of `nr` columns.
static KernelSchedule makeSchedule(const Product &product, int64_t nr,
                                   bool avx512) {
  auto rhs = cast<BlockArgument>(product.op->getOperand(1));
  int64_t panels = choosePanels(getConstantSize(product.getRows()), nr, avx512);
  Builder builder(product.op->getContext());
  KernelSchedule schedule;
  SmallVector<NamedAttribute> params{
      builder.getNamedAttr("nr", builder.getI64IntegerAttr(nr))};
  if (panels > 1)
    params.push_back(
        builder.getNamedAttr("panels", builder.getI64IntegerAttr(panels)));
  schedule.params = builder.getDictionaryAttr(params);
  schedule.tasks = product.getRows().ceilDiv(kTaskRows) *
                   int64_t(llvm::divideCeil(*product.n, nr * panels));
  schedule.packs.push_back(
      {rhs.getArgNumber(), product.layout, nr, product.transB});
  return schedule;
}

std::optional<KernelSchedule>
GemmF32Emitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                      function_ref<bool(unsigned)> isConstant) const {
  std::optional<Product> product = findProduct(dispatch.getBody().front());
  if (!product || !llvm::all_of(product->op->getOperandTypes(), isF32Tensor) ||
      !isF32Tensor(product->op->getResult(0).getType()))
    return std::nullopt;
  auto lhs = dyn_cast<BlockArgument>(product->op->getOperand(0));
  auto rhs = dyn_cast<BlockArgument>(product->op->getOperand(1));
  if (!lhs || !rhs || lhs == rhs || !isConstant(rhs.getArgNumber()) ||
      !llvm::hasSingleElement(rhs.getUses()))
    return std::nullopt;
  auto weight = cast<RankedTensorType>(rhs.getType());
  int64_t rank = cast<RankedTensorType>(lhs.getType()).getRank();
  if (weight.getRank() != 2 + product->trailing || !weight.hasStaticShape() ||
      weight.getNumElements() == 0 || (product->transA && rank != 2))
    return std::nullopt;
  if (llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  bool avx512 = hasAvx512(levels);
  return makeSchedule(*product, choosePanel(*product->n, avx512), avx512);
}

/// Panels of other widths: what a task reads of the weight, and on AVX-512 the
/// tiles of registers.
SmallVector<KernelSchedule>
GemmF32Emitter::getAlternatives(DispatchOp dispatch,
                                ArrayRef<Capabilities> levels,
                                function_ref<bool(unsigned)> isConstant) const {
  std::optional<KernelSchedule> chosen = match(dispatch, levels, isConstant);
  if (!chosen)
    return {};
  std::optional<Product> product = findProduct(dispatch.getBody().front());
  SmallVector<KernelSchedule> others;
  for (int64_t nr : {16, 32, 48, 64})
    if (nr != chosen->packs.front().nr && nr < *product->n + 16 &&
        (nr >= 32 || !hasAvx512(levels)))
      others.push_back(makeSchedule(*product, nr, hasAvx512(levels)));
  return others;
}

LogicalResult GemmF32Emitter::emit(KernelBuilder &builder) const {
  std::optional<Product> product =
      findProduct(builder.kernel().getBody().front());
  if (!product)
    return failure();
  return Gemm(builder, *product, *getEpilogue(product->op)).emit();
}

Gemm::Gemm(KernelBuilder &b, const Product &product, Epilogue epilogue)
    : b(b), product(product), epilogue(std::move(epilogue)),
      f32(b.getF32Type()), n(*product.n), rowsExpr(product.getRows()) {
  Operation *op = product.op;
  auto packed = cast<RankedTensorType>(op->getOperand(1).getType());
  k = packed.getDimSize(packed.getRank() - 2);
  nr = packed.getDimSize(packed.getRank() - 1);
  stored = getStoredType(b.kernel().getBody().front());
  lanes = b.caps().f32Lanes();
  lhs = b.pointer(cast<BlockArgument>(op->getOperand(0)));
  rhs = b.pointer(cast<BlockArgument>(op->getOperand(1)));
  out = b.resultPointer(0);
  this->epilogue.laneDim = product.leading.size();
  tileStore.emplace(b, this->epilogue, out, stored);
  rowStride = product.transA ? b.idx(1) : b.idx(k);
  kStride = product.transA ? b.size(rowsExpr) : b.idx(1);
  // Partial sums can only wait in the output if it is f32.
  auto panels = b.kernel().getSchedule().getAs<IntegerAttr>("panels");
  taskPanels = panels ? panels.getInt() : 1;
  int64_t fits =
      std::max<int64_t>(b.caps().l2Bytes / 2 / (nr * taskPanels * 4), 256);
  kBlock = k;
  if (stored.isF32() && k > fits)
    kBlock = llvm::divideCeil(k, llvm::divideCeil(k, fits));
}

LogicalResult Gemm::emit() {
  int64_t width = nr * taskPanels, groups = llvm::divideCeil(n, width),
          ragged = n % width;
  Value rows = b.size(rowsExpr);
  Value rowBlocks = b.size(rowsExpr.ceilDiv(kTaskRows));
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1),
      [&](Value task) {
        Value group = b.divFloor(task, rowBlocks),
              panel = b.mul(group, b.idx(taskPanels));
        Value begin = b.mul(b.mod(task, rowBlocks), b.idx(kTaskRows));
        Value end = b.minIdx(b.add(begin, b.idx(kTaskRows)), rows);
        if (!ragged || groups == 1) {
          emitPanel(panel, ragged ? ragged : width, begin, end);
          return;
        }
        auto branch = scf::IfOp::create(b, b.less(group, b.idx(groups - 1)),
                                        /*withElseRegion=*/true);
        OpBuilder::InsertionGuard restore(b);
        b.setInsertionPointToStart(branch.thenBlock());
        emitPanel(panel, width, begin, end);
        b.setInsertionPointToStart(branch.elseBlock());
        emitPanel(panel, ragged, begin, end);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

/// The first `columns` columns from a panel on: all at once, or on AVX2 two
/// vectors after two vectors of one.
void Gemm::emitPanel(Value panel, int64_t columns, Value rowBegin,
                     Value rowEnd) {
  int64_t step = taskPanels > 1       ? nr * taskPanels
                 : b.caps().hasAvx512 ? nr
                                      : 2 * lanes;
  for (int64_t column = 0; column < columns; column += step)
    emitColumns(panel, column, std::min(step, columns - column), rowBegin,
                rowEnd);
}

void Gemm::emitColumns(Value panel, int64_t column, int64_t columns,
                       Value rowBegin, Value rowEnd) {
  unsigned maxRows = getTileRows(b.caps(), llvm::divideCeil(columns, lanes));
  std::optional<int64_t> total = getConstantSize(rowsExpr);
  auto sweep = [&](Value kBegin, Value kCount, bool first, bool last) {
    emitRowBlocks(
        b, rowBegin, rowEnd, maxRows,
        [&](unsigned rows) {
          return needsRowBlock(total, kTaskRows, maxRows, rows);
        },
        [&](Value row, unsigned rows) {
          Value done = b.divFloor(b.sub(row, rowBegin), b.idx(rows));
          emitTile(panel, column, columns, row, rows, done, kBegin, kCount,
                   first, last);
        });
  };
  if (kBlock == k) {
    sweep(b.idx(0), b.idx(k), true, true);
    return;
  }
  int64_t lastBegin = (k - 1) / kBlock * kBlock;
  sweep(b.idx(0), b.idx(kBlock), true, false);
  if (lastBegin > kBlock)
    b.forLoop(b.idx(kBlock), b.idx(lastBegin), b.idx(kBlock),
              [&](Value begin) { sweep(begin, b.idx(kBlock), false, false); });
  sweep(b.idx(lastBegin), b.idx(k - lastBegin), false, true);
}

/// Rows [row, row + rows) by columns [column, column + columns) of the panel,
/// and of those behind it, over a block of K. `first` starts from zero, else
/// from the output; `last` applies the epilogue. While the first tiles of rows
/// (`done` of them before this one) run, the block that follows in memory is
/// brought to L2: a line per step.
void Gemm::emitTile(Value panel, int64_t column, int64_t columns, Value row,
                    unsigned rows, Value done, Value kBegin, Value kCount,
                    bool first, bool last) {
  Tile tile{rows, unsigned(llvm::divideCeil(columns, lanes)), lanes};
  SmallVector<Value> rowPointers;
  for (unsigned r = 0; r < rows; ++r) {
    Value at =
        b.add(b.mul(b.add(row, b.idx(r)), rowStride), b.mul(kBegin, kStride));
    rowPointers.push_back(b.elementPointer(lhs, f32, at));
  }
  Value panelOffset = b.mul(b.add(b.mul(panel, b.idx(k)), kBegin), b.idx(nr));
  Value panelPointer =
      b.elementPointer(rhs, f32, b.add(panelOffset, b.idx(column)));
  Value columnIndex = b.add(b.mul(panel, b.idx(nr)), b.idx(column));
  auto outOffset = [&](Value r, unsigned lane) -> Value {
    return b.add(b.mul(b.add(row, r), b.idx(n)),
                 b.add(columnIndex, b.idx(lane)));
  };
  auto liveLanes = [&](unsigned v) {
    int64_t left = columns - int64_t(v) * lanes;
    return left < int64_t(lanes) ? b.idx(left) : Value();
  };

  SmallVector<Value> init = zeros(b, rows * tile.vectors, lanes);
  if (!first)
    for (unsigned r = 0; r < rows; ++r)
      for (unsigned v = 0; v < tile.vectors; ++v) {
        Value live = liveLanes(v);
        init[r * tile.vectors + v] =
            b.load(out, f32, outOffset(b.idx(r), v * lanes), lanes,
                   live ? b.firstLanes(live, lanes) : Value());
      }
  constexpr int64_t line = 64;
  int64_t lines = nr * 4 / line; // of a row of the panel
  Value part = b.minIdx(done, b.idx(lines - 1));
  Value ahead =
      b.mul(b.mul(b.add(b.idx(lines * taskPanels), part), kCount), b.idx(line));
  SmallVector<Value> sums = emitFmaLoop(
      b, tile, kCount, init,
      [&](unsigned r, Value kk) {
        return b.load(rowPointers[r], f32, b.mul(kk, kStride));
      },
      [&](unsigned v, Value kk) {
        if (v == 0)
          prefetchToL2(b, panelPointer, b.add(ahead, b.mul(kk, b.idx(line))));
        int64_t at = int64_t(v) * lanes;
        return b.load(
            panelPointer, f32,
            b.add(b.mul(kk, b.idx(nr)), b.idx(at / nr * k * nr + at % nr)),
            lanes);
      });

  Value lastCount = liveLanes(tile.vectors - 1);
  if (last) {
    auto indices = [&](Value r, unsigned lane) {
      SmallVector<Value> at = splitIndex(b, b.add(row, r), product.leading);
      at.push_back(b.add(columnIndex, b.idx(lane)));
      at.append(product.trailing, b.idx(0));
      return at;
    };
    if (failed(tileStore->store(tile, sums, {indices, outOffset, lastCount})))
      status = failure();
    return;
  }
  for (unsigned r = 0; r < rows; ++r)
    for (unsigned v = 0; v < tile.vectors; ++v) {
      Value live = liveLanes(v);
      b.store(sums[r * tile.vectors + v], out, f32,
              outOffset(b.idx(r), v * lanes),
              live ? b.firstLanes(live, lanes) : Value());
    }
}

std::unique_ptr<KernelEmitter> x86::createGemmF32Emitter() {
  return std::make_unique<GemmF32Emitter>();
}
