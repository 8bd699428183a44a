//===- BfloatTiles.cpp - products of bfloat16 in AMX tiles ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "BfloatTiles.h"
#include "ByteTiles.h"
#include "Tiles.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Bytes of a bfloat16.
static constexpr int64_t kHalf = 2;

int64_t x86::getBfloatTileBytes(int64_t k, int64_t rows) {
  return ByteTiles::getBytes(/*taps=*/1, kHalf * k,
                             llvm::alignTo(rows, ByteTiles::kRows));
}

namespace {
/// State of one emission.
class TileProduct {
public:
  TileProduct(KernelBuilder &b, const BfloatProduct &product, Epilogue epilogue)
      : b(b), product(product), op(product.op), epilogue(std::move(epilogue)),
        inputs(b, op, std::nullopt, kHalf * product.k,
               /*readsWords=*/true),
        tiles(b, inputs, /*taps=*/1, kHalf * product.k, TileDot::Bfloat16,
              /*scratchOffset=*/0),
        stored(getStoredType(b.kernel().getBody().front())),
        leading(getDims(op.getResult().getType())) {
    leading.pop_back();
    rows = qcc::product(leading, op.getContext());
    weight = b.pointer(cast<BlockArgument>(op.getWeight()));
    out = b.resultPointer(0);
  }

  LogicalResult emit() {
    Value chunks = b.size(rows.ceilDiv(product.rows));
    b.forLoop(
        b.taskBegin(), b.taskEnd(), b.idx(1),
        [&](Value task) {
          Value row = b.mul(b.mod(task, chunks), b.idx(product.rows));
          Value block = b.mul(b.divFloor(task, chunks), b.idx(product.blocks));
          emitTask(row, block);
        },
        KernelBuilder::LoopHint::NoUnroll);
    return status;
  }

private:
  /// A pair of tiles of columns meets all rows of the task while it is in L2.
  void emitTask(Value row, Value block) {
    constexpr int64_t tileRows = ByteTiles::kRows;
    constexpr unsigned atOnce = ByteTiles::kAtOnce;
    Value endRow = b.minIdx(b.add(row, b.idx(product.rows)), b.size(rows)),
          endBlock = b.minIdx(b.add(block, b.idx(product.blocks)),
                              b.idx(product.layout.blocks));
    inputs.emitTable(b.idx(0), row, endRow);
    tiles.emitRows(row, endRow);
    std::optional<int64_t> known = getConstantSize(rows);
    if (known)
      known = llvm::divideCeil(*known, tileRows);
    Value count = b.divFloor(b.add(b.sub(endRow, row), b.idx(tileRows - 1)),
                             b.idx(tileRows));
    emitRowBlocks(
        b, block, endBlock, atOnce,
        [&](unsigned n) {
          return needsRowBlock(product.layout.blocks, product.blocks, atOnce,
                               n);
        },
        [&](Value at, unsigned blocks) {
          emitRowBlocks(
              b, b.idx(0), count, atOnce,
              [&](unsigned n) {
                return needsRowBlock(known, product.rows / tileRows, atOnce, n);
              },
              [&](Value tile, unsigned n) { multiply(tile, n, at, blocks); });
        });
  }

  void multiply(Value tile, unsigned rowTiles, Value block, unsigned blocks) {
    const EncodedLayout &layout = product.layout;
    SmallVector<Value> codes;
    for (unsigned v = 0; v < blocks; ++v)
      codes.push_back(b.elementPointer(
          weight, b.getI8Type(),
          b.add(b.mul(b.add(block, b.idx(v)), b.idx(layout.groupBytes)),
                b.idx(layout.codeOffset))));
    tiles.emitProduct(
        tile, rowTiles, codes,
        [&](Value row, ArrayRef<Value> sums) { emitRow(row, block, sums); });
  }

  void emitRow(Value row, Value block, ArrayRef<Value> sums) {
    int64_t n = op.getN();
    SmallVector<Value> indices = splitIndex(b, row, leading);
    indices.push_back({});
    for (auto [v, sum] : llvm::enumerate(sums)) {
      Value column = b.mul(b.add(block, b.idx(v)), b.idx(kSchemeColumns));
      Value live = n % kSchemeColumns ? b.minIdx(b.sub(b.idx(n), column),
                                                 b.idx(kSchemeColumns))
                                      : Value();
      indices.back() = column;
      if (failed(storeWithEpilogue(b, epilogue, sum, indices, kSchemeColumns,
                                   live, out, stored,
                                   b.add(b.mul(row, b.idx(n)), column))))
        status = failure();
    }
  }

  KernelBuilder &b;
  const BfloatProduct &product;
  QMatMulOp op;
  Epilogue epilogue;
  ByteRows inputs;
  ByteTiles tiles;
  Type stored;
  SmallVector<AffineExpr> leading; ///< of the result, all but the last
  AffineExpr rows;
  Value weight, out;
  LogicalResult status = success();
};
} // namespace

LogicalResult x86::emitBfloatTiles(KernelBuilder &b,
                                   const BfloatProduct &product,
                                   Epilogue epilogue) {
  return TileProduct(b, product, std::move(epilogue)).emit();
}
