//===- AttentionByte.h - attention with products of bytes -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_ATTENTIONBYTE_H
#define QCC_TARGETS_X86_ATTENTIONBYTE_H

#include "AttentionFrame.h"
#include "IntegerDot.h"
#include "Tiles.h"

namespace qcc::x86::attention {

/// Queries of a task, those that get scores at a time, and keys of a block.
inline constexpr int64_t kQueries = 128, kRows = 24,
                         kKeys = AttentionOp::kBlockKeys;
inline constexpr unsigned kLanes = 16;
/// Bytes of a step of a product: 16 columns by 4 rows.
inline constexpr int64_t kStep = 4, kStepBytes = kStep * kLanes;

/// Keys of a block for which there is room: fewer if that is known.
inline int64_t getBlockKeys(AttentionOp op) {
  std::optional<int64_t> known =
      getConstantSize(getDims(op.getKey().getType())[2]);
  return known && *known <= kKeys / 2
             ? llvm::alignTo(std::max<int64_t>(*known, 1), kLanes)
             : kKeys;
}

/// Offsets of the parts of scratch, in bytes.
struct ScratchLayout {
  explicit ScratchLayout(AttentionOp op) : blockKeys(getBlockKeys(op)) {
    int64_t depth = op.getQuery().getType().getShape()[3];
    codeBytes = llvm::alignTo(depth, kStepBytes);
    columns = llvm::alignTo(op.getValue().getType().getShape()[3], kLanes);
    int64_t end = 0;
    auto take = [&](int64_t bytes) {
      end += llvm::alignTo(bytes, kStepBytes);
      return end - llvm::alignTo(bytes, kStepBytes);
    };
    queries = take(kQueries * codeBytes);
    queryScales = take(kQueries * 4);
    keyRows = take(kLanes * codeBytes);
    keys = take(blockKeys * llvm::alignTo(depth, kStep));
    keyScales = take(blockKeys * 4);
    keyOffsets = take(blockKeys * 4);
    values = take(blockKeys * columns);
    valueScales = take(columns * 4);
    scores = take(kRows * blockKeys * 4);
    weights = take(kRows * blockKeys);
    // Vectors of rows may reach past the last row.
    int64_t rowBytes = llvm::alignTo(kQueries + kLanes, kLanes) * 4;
    largest = take(rowBytes);
    blockLargest = take(rowBytes);
    sums = take(rowBytes);
    blockSums = take(rowBytes);
    decays = take(rowBytes);
    factors = take(rowBytes);
    totals = take(kQueries * columns * 4);
    bytes = end;
  }
  int64_t blockKeys;
  int64_t codeBytes; ///< of a row of queries or keys
  int64_t columns;   ///< of a row of values and of totals
  int64_t queries, queryScales, keyRows, keys, keyScales, keyOffsets, values,
      valueScales, scores, weights, largest, blockLargest, sums, blockSums,
      decays, factors, totals, bytes;
};

/// State of one emission.
class ByteAttention final : public AttentionFrame {
public:
  ByteAttention(KernelBuilder &b, const AttentionParts &parts)
      : AttentionFrame(b, parts, kLanes, kQueries), i8(b.getI8Type()),
        i32(b.getI32Type()), ints(mlir::VectorType::get(kLanes, i32)),
        dot(b.caps(), {/*codes=*/true, /*activations=*/false}), layout(op),
        blockKeys(layout.blockKeys) {
    std::optional<int64_t> known = getConstantSize(keys);
    isOneBlock = known && *known <= kKeys && !op.getSink();
    // Accumulators are all registers but those of codes and of a query.
    unsigned registers = b.caps().hasAvx512 ? 24 : 12;
    most = {std::clamp(registers / dot.getRegisters() / 4, 1u, 6u),
            dot.getRegisters() == 1 ? 4u : 1u, kLanes};
    scoreVectors = std::min(most.vectors, unsigned(blockKeys / kLanes));
  }

private:
  void emitTask() override;
  void clear();
  void emitKeyBlock(mlir::Value keyBegin, mlir::Value keyCount);
  void packQueries();
  void packKeys(mlir::Value keyBegin, mlir::Value keyCount);
  void packValues(mlir::Value keyBegin, mlir::Value keyCount, int64_t first,
                  unsigned count);
  void emitRows(mlir::Value begin, mlir::Value end, mlir::Value keyBegin,
                mlir::Value keyCount);
  void emitScores(mlir::Value begin, mlir::Value end, mlir::Value keyCount);
  void emitWeights(mlir::Value row, mlir::Value own, mlir::Value keyBegin,
                   mlir::Value keyCount);
  mlir::Value toCodes(mlir::Value x);
  void emitFactors(mlir::Value row, mlir::Value rowMask);
  void emitWeighted(mlir::Value begin, mlir::Value end, mlir::Value keyCount);

  std::pair<mlir::Value, mlir::Value> scaleOf(mlir::Value largest);
  mlir::Value roundRow(const Operand &from, llvm::ArrayRef<mlir::Value> indices,
                       mlir::Value to, mlir::Value scale, mlir::Value scaleAt,
                       int64_t offset);
  mlir::Value loadRow(const Operand &from, llvm::ArrayRef<mlir::Value> indices,
                      int64_t column, int64_t end);
  llvm::SmallVector<mlir::Value>
  multiply(const Tile &tile, mlir::Value steps,
           llvm::function_ref<mlir::Value(unsigned, mlir::Value)> word,
           llvm::function_ref<mlir::Value(unsigned, mlir::Value)> codes);
  void
  forRows(mlir::Value begin, mlir::Value end, unsigned vectors,
          llvm::function_ref<void(mlir::Value row, const Tile &tile)> body);
  mlir::Value part(int64_t offset) {
    return b.elementPointer(b.scratch(), i8, b.idx(offset));
  }

  mlir::Type i8, i32;
  mlir::VectorType ints;
  IntegerDot dot;
  ScratchLayout layout;
  Tile most;
  unsigned scoreVectors; ///< of keys in a tile of scores
  int64_t blockKeys;
  bool isOneBlock; ///< all keys
};

} // namespace qcc::x86::attention

#endif // QCC_TARGETS_X86_ATTENTIONBYTE_H
