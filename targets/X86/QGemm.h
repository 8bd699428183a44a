//===- QGemm.h - products of codes with an encoded weight -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_QGEMM_H
#define QCC_TARGETS_X86_QGEMM_H

#include "IntegerDot.h"
#include "PairPanel.h"
#include "Tiles.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc::x86 {

/// State of one emission of a product of codes: tasks and panels (QMatMul.cpp),
/// tiles (QGemmTiles.cpp).
class QGemm {
public:
  QGemm(KernelBuilder &b, QMatMulOp op, const Scheme &scheme,
        const EncodedLayout &layout, int64_t k, Epilogue epilogue);
  mlir::LogicalResult emit();

private:
  static constexpr unsigned kColumns = kSchemeColumns;
  /// Units and chunks of a group that are unrolled; of one row, which waits for
  /// memory and not for its code, a whole group of 128.
  static constexpr int64_t kUnrolledUnits = 8, kUnrolledOfOneRow = 16,
                           kUnrolledChunks = 2;

  /// An accumulator (or widened sums) per row and block.
  using Sums = llvm::SmallVector<llvm::SmallVector<mlir::Value>>;
  /// A tile: rows from `row` and blocks from `block`.
  struct Place {
    mlir::Value row, block;
    unsigned rows, blocks;
    mlir::Value panel; ///< of the first block; null: codes are unpacked here
    int64_t ahead;     ///< bytes to what is brought to L2 meanwhile
  };
  /// Rows of K: those behind the first `skip` of a group.
  struct Range {
    mlir::Value group, skip;
    int64_t rows;
  };
  void emitTask(mlir::Value blockBegin, mlir::Value blockEnd,
                mlir::Value rowBegin, mlir::Value rowEnd,
                std::optional<int64_t> known, bool usesPanel);
  void emitPanel(mlir::Value block, unsigned blocks);
  void emitPanelUnit(mlir::Value source, mlir::Value target, mlir::Value index,
                     int64_t ahead);
  int64_t getAhead(unsigned blocks) const;
  void emitTile(const Place &at);
  llvm::SmallVector<mlir::Value> emitGroup(const Place &at, mlir::Value group,
                                           int64_t rows,
                                           llvm::ArrayRef<mlir::Value> totals);
  Sums emitGroupSums(const Place &at, mlir::Value group, int64_t rows);
  llvm::SmallVector<mlir::Value> getUnits(const Place &at, const Range &range);
  llvm::SmallVector<mlir::Value> emitChunk(const Place &at, const Range &range);
  unsigned getWays(const Place &at) const;
  void prefetchCodes(const Place &at, mlir::Value pointer, mlir::Value offset);
  void prefetchActivations(mlir::Value row, mlir::Value group);
  void emitUnit(const Place &at, llvm::ArrayRef<mlir::Value> pointers,
                mlir::Value unit, mlir::Value firstK, int64_t liveK,
                llvm::MutableArrayRef<mlir::Value> flat);
  mlir::Value getCodes(mlir::Value block, mlir::Value group);
  mlir::Value loadActivation(mlir::Value row, mlir::Value k, int64_t live);
  void emitPairs(mlir::Value blockBegin, mlir::Value blockEnd,
                 mlir::Value rowBegin, mlir::Value rowEnd,
                 std::optional<int64_t> known);
  void emitPairTile(const Place &at, PairPanel &pairs);
  void emitStores(const Place &at, llvm::ArrayRef<mlir::Value> totals);
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
  int64_t taskRows, taskBlocks; ///< of 16 columns
  int64_t stepBytes;            ///< of four rows and 16 columns in a panel
  mlir::Type f32, i8, i32, stored;
  mlir::Value codes, scales, sums, weight, out;
  mlir::AffineExpr rowsExpr;
  mlir::LogicalResult status = mlir::success();
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_QGEMM_H
