//===- EntryPlanner.h - one function as an entry ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PLAN_ENTRYPLANNER_H
#define QCC_PASSES_PLAN_ENTRYPLANNER_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

namespace qcc {

/// The weights of all entries: constant expressions by first use.
class Weights {
public:
  /// Offset of the constant `value` among the weights.
  uint64_t add(mlir::Value value);

  /// Writes the op, cloning the expressions.
  void build(mlir::OpBuilder &b, mlir::Location loc);

private:
  /// A number that equal expressions share: entries that are copies of each
  /// other name their weights each for itself.
  unsigned getNumber(mlir::Value value);

  struct Place {
    mlir::Value value;
    uint64_t offset;
  };
  llvm::MapVector<unsigned, Place> places; // by number
  llvm::DenseMap<mlir::Value, unsigned> numbers;
  llvm::StringMap<unsigned> expressions; // text -> number
  uint64_t bytes = 0;
};

/// Turns one function into an entry.
///
/// Values whose sizes are known before the entry starts live in its arena:
/// steps are numbered in the order of the text, branches one after the other
/// and loop bodies once, and a value is live from the step that writes it to
/// the last one that reads it. What a loop reads from outside stays live to the
/// loop's end, and its carried values are live in all of it. Values whose sizes
/// are found while the entry runs are blocks of their own, reserved before the
/// step that writes them.
class EntryPlanner {
public:
  /// `firstRuntime`: symbols from this position on are bound while entries
  /// run.
  EntryPlanner(mlir::func::FuncOp func, Weights &weights,
               const llvm::StringMap<unsigned> &states, unsigned firstRuntime)
      : func(func), weights(weights), states(states),
        firstRuntime(firstRuntime), builder(func.getContext()) {}

  mlir::LogicalResult run(mlir::OpBuilder &moduleBuilder);

private:
  struct Buffer {
    mlir::AffineMapAttr bytes;
    unsigned first, last;
  };
  /// A loop that is being planned: buffers below `firstBuffer` are older.
  struct Loop {
    unsigned firstBuffer;
    llvm::SmallSetVector<unsigned, 8> readInside;
  };

  // Operations.
  mlir::LogicalResult planBlock(mlir::Block &block);
  mlir::LogicalResult planOp(mlir::Operation &op);
  void plan(LaunchOp launch);
  void plan(BindOp bind);
  mlir::LogicalResult plan(IfOp op);
  mlir::LogicalResult plan(LoopOp op);
  mlir::LogicalResult planBranch(IfOp op, unsigned number,
                                 mlir::Region &region);
  mlir::LogicalResult planBody(LoopOp op, host::LoopOp loop);
  void yieldCarried(LoopOp op);
  void stackResults(LoopOp op);
  void writeStates(mlir::Block &body);
  void reserveResult(mlir::Value result, mlir::AffineExpr bytes, bool keep);

  // Memory.
  bool isRuntime(mlir::AffineExpr expr) const;
  /// Whether all sizes of run time in the type of `view`, a reshape of `base`,
  /// are in that of `base`: else they may be bound after it is computed.
  bool hasSizesOf(mlir::Value base, mlir::Value view) const;
  host::SlotAttr slot(host::Space space, unsigned index, uint64_t offset = 0) {
    return host::SlotAttr::get(func.getContext(), space, index, offset);
  }
  /// Slot of a value that is read at the current step.
  host::SlotAttr read(mlir::Value value);
  /// Slot for a value that the current step writes: an output or a state where
  /// possible.
  host::SlotAttr write(mlir::Value value);
  /// New memory of that many bytes: a piece of the arena, or a block.
  host::SlotAttr allocate(mlir::Location loc, mlir::AffineExpr bytes);
  /// Notes that the current step uses a piece of the arena.
  void touch(host::SlotAttr place);
  void copy(mlir::Location loc, host::SlotAttr to, mlir::Value from,
            mlir::AffineMapAttr at = {});
  /// Frees the blocks from `first` on behind the last step of `block` that uses
  /// them. What loops use inside is freed behind them: the next iteration
  /// reserves it again.
  void releaseBlocks(mlir::Block &block, unsigned first);
  void prepare(mlir::Location loc, unsigned output);
  mlir::ArrayAttr getTensors(mlir::TypeRange types, bool results);

  mlir::func::FuncOp func;
  Weights &weights;
  const llvm::StringMap<unsigned> &states;
  unsigned firstRuntime;
  mlir::OpBuilder builder;
  llvm::DenseMap<mlir::Value, host::SlotAttr> slots;    // of bases
  llvm::DenseMap<mlir::Value, unsigned> outputs;        // base -> output it is
  llvm::DenseMap<mlir::Value, mlir::StringRef> inPlace; // state it replaces
  llvm::SmallVector<Buffer> buffers;
  llvm::SmallVector<Loop> loops; // innermost last
  llvm::DenseSet<unsigned> released;
  unsigned step = 0, numBlocks = 0;
};

/// Every weight starts at a multiple of this: a cache line, and what aligned
/// vector loads may rely on.
inline constexpr int64_t kWeightAlignment = 64;

/// Bytes of a tensor as an expression of symbols.
mlir::AffineExpr getBytes(mlir::Type type);

} // namespace qcc

#endif // QCC_PASSES_PLAN_ENTRYPLANNER_H
