//===- Sequence.h - activations one after the other -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_SEQUENCE_H
#define QCC_CALIBRATION_SEQUENCE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Support/ScratchFile.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

namespace qcc {

/// Gathers the data of activations along the first function of a module, whose
/// weights change in between: each activation is computed with the weights as
/// they are then, from what was computed before. Work is done once, as only
/// what lies between two activations is compiled and run for the second; what
/// later parts need is kept per sample, in scratch files where it is much.
/// Functions with states, sizes found at run time or products in loops and
/// branches are run from the start each time.
class Sequence {
public:
  /// Bytes that are kept in memory before scratch files are used.
  static constexpr uint64_t kMemoryBytes = uint64_t(64) << 20;

  /// Both outlive this object, and so do the samples of the workspace.
  Sequence(Workspace &workspace, mlir::ModuleOp module);

  /// Data of a value; values come in the order of the function. Between calls
  /// constant operands may change, nothing else. `rows` gets all elements of
  /// each sample if it is given. Errors: as Workspace::gather; UnsupportedForm
  /// for rows of a function that is run from the start; CannotWrite without
  /// space for what is kept.
  llvm::Expected<InputData>
  next(mlir::Value value, std::vector<std::vector<float>> *rows = nullptr);

  /// Data of those of the values that `wants` names by their position, in the
  /// order of the function, as many at once as fit the memory for sums; weights
  /// do not change in between. Others are left out as skip() leaves them out.
  /// Errors: as next, and what `receive` returns.
  llvm::Error gather(llvm::ArrayRef<mlir::Value> values,
                     llvm::function_ref<bool(size_t)> wants,
                     Workspace::Receiver receive);

  /// Leaves a value out whose data are not wanted, because what is made of them
  /// is there from a run before. Later values are computed by the same pieces
  /// as if it had been asked for, so that they have the same bits, but only
  /// once one of them is. `rows`: as if its elements had been asked for.
  void skip(mlir::Value value, bool rows = false);

private:
  using Ops = llvm::SetVector<mlir::Operation *>;
  /// What is compiled and run for a value.
  struct Piece {
    mlir::OwningOpRef<mlir::ModuleOp> module;
    llvm::SmallVector<mlir::Value> results; ///< observed as `#0`, `#1`, ...
    std::vector<std::string> names;         ///< of their arrays
    std::vector<std::string> dropped;       ///< arrays not read after it
  };
  /// Room for an array of a sample.
  class Keeper;

  bool canSlice() const { return obstacle.empty(); }
  /// Makes the piece for values and notes what will be kept of it.
  Piece advance(llvm::ArrayRef<mlir::Value> values, bool observeRows);
  /// Data of values that are computed together. `rows` are those of the only
  /// one.
  llvm::Expected<std::vector<InputData>>
  gatherPiece(llvm::ArrayRef<mlir::Value> values,
              std::vector<std::vector<float>> *rows);
  /// Runs the pieces that were skipped.
  llvm::Error catchUp();
  /// Puts what was observed of a piece's results into the samples.
  llvm::Error store(const Piece &piece, Keeper &keeper);
  /// What computes values from arguments, constants and what is kept.
  Ops getSlice(llvm::ArrayRef<mlir::Value> values);
  /// Results of a slice that what comes later reads and that are worth keeping.
  llvm::SmallVector<mlir::Value> getResults(const Ops &slice);
  /// A module with the slice as its function and observations of `values` and
  /// `results`.
  mlir::OwningOpRef<mlir::ModuleOp>
  makeModule(const Ops &slice, llvm::ArrayRef<mlir::Value> values,
             llvm::ArrayRef<mlir::Value> results);
  llvm::SmallVector<int64_t> getShape(mlir::Value value, const Sample &sample);
  /// Names of the arrays that only operations of slices read.
  std::vector<std::string> forget(const Ops &slice);

  Workspace &workspace;
  mlir::ModuleOp module;
  mlir::func::FuncOp entry;
  /// Why the function is run from the start each time; empty if it is not.
  std::string obstacle;
  /// Operations that depend on a product or convolution.
  llvm::DenseSet<mlir::Operation *> heavy;
  llvm::DenseSet<mlir::Operation *> done;
  /// Values that samples hold once skipped pieces have run, by the name of
  /// their array.
  llvm::MapVector<mlir::Value, std::string> kept;
  unsigned names = 0;
  std::vector<Piece> skipped;
  std::vector<Sample> samples;
  /// Files of arrays that samples hold.
  llvm::StringMap<std::unique_ptr<ScratchArena>> files;
  uint64_t inMemory = 0; ///< bytes of kept arrays that are not in files
};

} // namespace qcc

#endif // QCC_CALIBRATION_SEQUENCE_H
