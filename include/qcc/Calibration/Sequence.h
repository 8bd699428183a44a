//===- Sequence.h - activations one after the other -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_SEQUENCE_H
#define QCC_CALIBRATION_SEQUENCE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Workspace.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace qcc {

/// Gathers the data of activations along the first function of a module, whose
/// weights change in between: each activation is computed with the weights as
/// they are then, from what was computed before. Work is done once, as only
/// what lies between two activations is compiled and run for the second; what
/// later parts need is kept per sample. Functions with states or sizes found
/// at run time are run from the start each time.
class Sequence {
public:
  Sequence(Workspace &workspace, mlir::ModuleOp module);

  /// Data of a value; values come in the order of the function. Between calls
  /// constant operands may change, nothing else. `rows` gets all elements of
  /// each sample if it is given. Errors: as Workspace::gather; UnsupportedForm
  /// for rows of a function that is run from the start.
  llvm::Expected<InputData>
  next(mlir::Value value, std::vector<std::vector<float>> *rows = nullptr);

private:
  using Ops = llvm::SetVector<mlir::Operation *>;
  /// What computes a value from arguments, constants and what is kept.
  Ops getSlice(mlir::Value value);
  /// Results of a slice that what comes later reads and that are worth keeping.
  llvm::SmallVector<mlir::Value> getResults(const Ops &slice);
  /// A module with the slice as its function and observations of `value` and
  /// `results`.
  mlir::OwningOpRef<mlir::ModuleOp>
  makeModule(const Ops &slice, mlir::Value value,
             llvm::ArrayRef<mlir::Value> results);
  llvm::SmallVector<int64_t> getShape(mlir::Value value, const Sample &sample);
  void forget(const Ops &slice);

  Workspace &workspace;
  mlir::ModuleOp module;
  mlir::func::FuncOp entry;
  bool canSlice = true;
  /// Operations that depend on a product or convolution.
  llvm::DenseSet<mlir::Operation *> heavy;
  llvm::DenseSet<mlir::Operation *> done;
  /// Values that samples hold, by the name of their array.
  llvm::MapVector<mlir::Value, std::string> kept;
  unsigned names = 0;
  std::vector<Sample> samples;
};

} // namespace qcc

#endif // QCC_CALIBRATION_SEQUENCE_H
