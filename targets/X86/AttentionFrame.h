//===- AttentionFrame.h - what kernels of attention share -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_ATTENTIONFRAME_H
#define QCC_TARGETS_X86_ATTENTIONFRAME_H

#include "AttentionParts.h"

namespace qcc::x86 {

/// Most elements of a query, key or value of one head.
inline constexpr int64_t kMaxHeadSize = 256;

/// One emission of an attention: a task is a block of queries of one head, and
/// for each a sum of weights and weighted values grow in scratch.
class AttentionFrame {
public:
  virtual ~AttentionFrame() = default;
  /// Emits the loop over tasks.
  mlir::LogicalResult emit();

  /// Tasks of an attention with `taskQueries` queries each.
  static mlir::AffineExpr countTasks(AttentionOp op, int64_t taskQueries);
  /// True if the sizes are such as kernels take and all levels have vectors.
  static bool areSizesKnown(AttentionOp op,
                            llvm::ArrayRef<Capabilities> levels);

protected:
  /// Vectors have `lanes` elements.
  AttentionFrame(KernelBuilder &b, const AttentionParts &parts, unsigned lanes,
                 int64_t taskQueries);

  /// Emits a task, whose place is known.
  virtual void emitTask() = 0;
  /// Calls `body` with the first key and the number of keys of each block of
  /// at most `size` that some query of the task sees; constants if there is but
  /// one block.
  void forBlocks(
      int64_t size,
      llvm::function_ref<void(mlir::Value begin, mlir::Value count)> body);
  /// `lanes` scaled scores of the task's query `row` from key `keyIndex` of a
  /// block of `keyCount` on, capped and masked; minus infinity where there is
  /// nothing to see.
  mlir::Value maskScores(mlir::Value score, mlir::Value row,
                         mlir::Value keyBegin, mlir::Value keyCount,
                         mlir::Value keyIndex);
  /// The score of the head's sink, a vector of it; minus infinity without.
  mlir::Value getSinkScore();
  /// The weight of that relative to itself, a vector: 1, or 0 without.
  mlir::Value getSinkWeight(double unit = 1);
  /// Divides a row of `totals` (f32, rows of `stride` elements) by its sum of
  /// weights and stores it; zeros if that is zero.
  void emitResult(mlir::Value row, mlir::Value totals, int64_t stride,
                  mlir::Value sums);
  /// `largest`, or 0 if nothing was seen: any finite number does then.
  mlir::Value toFinite(mlir::Value largest);

  KernelBuilder &b;
  AttentionParts parts;
  AttentionOp op;
  mlir::Type f32;
  unsigned lanes;
  mlir::VectorType vec;
  int64_t taskQueries, depth, width;
  mlir::AffineExpr heads, keyHeads, queries, keys;
  Operand query, key, value, mask, sink, result;
  mlir::Value numKeys, numQueries;
  // Of the current task.
  mlir::Value batch, head, keyHead, queryBegin, queryCount;

private:
  void startTask(mlir::Value task);
  /// Whether the mask lets a query, or any of the task's, see some of these
  /// keys.
  mlir::Value isRowSeen(mlir::Value row, mlir::Value keyBegin,
                        mlir::Value keyCount);
  mlir::Value isBlockSeen(mlir::Value keyBegin, mlir::Value keyCount);

  mlir::LogicalResult status = mlir::success();
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_ATTENTIONFRAME_H
