//===- Tiles.h - register tiles shared by the x86 kernels -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_TILES_H
#define QCC_TARGETS_X86_TILES_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// The one operation of type `Op` in the body of a dispatch or kernel, if all
/// other operations are its epilogue and the body yields one value; else null.
template <typename Op> Op getRoot(mlir::Block &body) {
  Op root;
  for (mlir::Operation &op : body.without_terminator())
    if (auto candidate = llvm::dyn_cast<Op>(op)) {
      if (root)
        return {};
      root = candidate;
    }
  if (!root || body.getTerminator()->getNumOperands() != 1)
    return {};
  mlir::FailureOr<Epilogue> epilogue = getEpilogue(root);
  if (mlir::failed(epilogue))
    return {};
  size_t numOps = std::distance(body.begin(), body.end());
  return numOps == epilogue->chain.size() + 2 ? root : Op();
}

/// Element type of the value that a body yields.
mlir::Type getStoredType(mlir::Block &body);

/// True if one of the levels has AVX-512: layouts are then for its vectors.
bool hasAvx512(llvm::ArrayRef<Capabilities> levels);

/// True if the type is a tensor of f32.
bool isF32Tensor(mlir::Type type);

/// A block of `rows` by `vectors * lanes` accumulators held in registers.
struct Tile {
  unsigned rows, vectors, lanes;
};

/// Rows of accumulators that `vectors` vectors per row leave room for, next to
/// the vectors of the other operand and one broadcast.
unsigned getTileRows(const Capabilities &caps, unsigned vectors);

using TileLoad = llvm::function_ref<mlir::Value(unsigned, mlir::Value)>;

/// `acc[r][v] += scalar(r, k) * vector(v, k)` for k in [0, count), starting
/// from `init` (row-major, rows * vectors); returns the accumulators. `scalar`
/// may return a vector that has it in all lanes.
llvm::SmallVector<mlir::Value> emitFmaLoop(KernelBuilder &b, const Tile &tile,
                                           mlir::Value count,
                                           llvm::ArrayRef<mlir::Value> init,
                                           TileLoad scalar, TileLoad vector);

/// Asks for the cache line at byte `offset` of `pointer`, which may be any
/// address, to be brought to L1 or L2.
void prefetchToL1(KernelBuilder &b, mlir::Value pointer, mlir::Value offset);
void prefetchToL2(KernelBuilder &b, mlir::Value pointer, mlir::Value offset);

/// Zeros of `count` vectors.
llvm::SmallVector<mlir::Value> zeros(KernelBuilder &b, unsigned count,
                                     unsigned lanes);

/// Runs `body(row, rows)` over [begin, end) in blocks of `maxRows` and then of
/// the powers of two below, so that no row is computed twice and a row's
/// arithmetic does not depend on how many there are. Sizes for which `needed`
/// is false are left out.
void emitRowBlocks(
    KernelBuilder &b, mlir::Value begin, mlir::Value end, unsigned maxRows,
    llvm::function_ref<bool(unsigned rows)> needed,
    llvm::function_ref<void(mlir::Value row, unsigned rows)> body);

/// Which block sizes of emitRowBlocks occur when `total` rows (none: any
/// number) are cut into ranges of `grain`.
bool needsRowBlock(std::optional<int64_t> total, int64_t grain,
                   unsigned maxRows, unsigned rows);

/// What becomes of `value`, a vector of `lanes` or a scalar, at `indices`; with
/// a mask of some of its lanes. Fails for what has no vector form.
using ElementComputation = llvm::function_ref<mlir::FailureOr<mlir::Value>(
    mlir::Value value, llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
    mlir::Value mask)>;

/// Stores what becomes of `value` at `offset` of `pointer`, as
/// storeWithEpilogue; vectors run along dimension `laneDim` (none: the last).
mlir::LogicalResult
storeComputed(KernelBuilder &b, ElementComputation compute, mlir::Value value,
              llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
              mlir::Value count, mlir::Value pointer, mlir::Type stored,
              mlir::Value offset, std::optional<unsigned> laneDim = {});

/// Applies an epilogue to `value` at `indices` and stores the result at
/// `offset` of `pointer`; lane by lane if the body has no vector form. `count`
/// is the number of live lanes (none: all).
mlir::LogicalResult
storeWithEpilogue(KernelBuilder &b, const Epilogue &epilogue, mlir::Value value,
                  llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
                  mlir::Value count, mlir::Value pointer, mlir::Type stored,
                  mlir::Value offset);

/// Where elements of a run go, by their place in it.
struct RunTarget {
  llvm::function_ref<llvm::SmallVector<mlir::Value>(int64_t at)>
      indices; ///< of the result
  llvm::function_ref<mlir::Value(int64_t at)> offset;
};

/// Stores the first `count` elements of `value`, a vector, after an epilogue.
/// Below AVX-512 storing some lanes of a vector is slow, so they are stored in
/// pieces of known length, of what a long epilogue gives for all. Errors: as
/// storeWithEpilogue.
mlir::LogicalResult storeFirst(KernelBuilder &b, const Epilogue &epilogue,
                               mlir::Value value, int64_t count,
                               mlir::Value pointer, mlir::Type stored,
                               const RunTarget &target);

/// Where the accumulators of a tile go, by row (index) and first lane of a
/// vector in it.
struct TileTarget {
  llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value row,
                                                    unsigned lane)>
      indices; ///< of the result
  llvm::function_ref<mlir::Value(mlir::Value row, unsigned lane)> offset;
  mlir::Value lastCount; ///< live lanes of the last vector; null: all
};

/// Stores tiles after an epilogue. One that computes functions runs in a loop
/// over the rows, from a buffer, on two vectors as one: accumulators would take
/// the registers that its steps need, and each step of one vector would wait
/// for the one before.
class TileStore {
public:
  TileStore(KernelBuilder &b, const Epilogue &epilogue, mlir::Value pointer,
            mlir::Type stored)
      : b(b), epilogue(epilogue), pointer(pointer), stored(stored) {}
  /// `sums` are row-major, of f32 or i32. Errors: as storeWithEpilogue.
  mlir::LogicalResult store(const Tile &tile, llvm::ArrayRef<mlir::Value> sums,
                            const TileTarget &target);

private:
  mlir::LogicalResult storeRows(const Tile &tile, mlir::Type element,
                                const TileTarget &target);

  KernelBuilder &b;
  const Epilogue &epilogue;
  mlir::Value pointer, buffer;
  mlir::Type stored;
};

/// Offset, in elements, of the matrix of an operand of type `type` in the
/// product of a batch at `batchIndex`: leading dimensions of size 1 broadcast.
mlir::Value getMatrixOffset(KernelBuilder &b, mlir::Type type,
                            llvm::ArrayRef<mlir::Value> batchIndex);

/// Splits a flat row number into indices of the leading dimensions `dims`.
llvm::SmallVector<mlir::Value>
splitIndex(KernelBuilder &b, mlir::Value flat,
           llvm::ArrayRef<mlir::AffineExpr> dims);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_TILES_H
