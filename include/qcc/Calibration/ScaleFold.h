//===- ScaleFold.h - scaling the inputs of products -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// AWQ and SmoothQuant divide the channels of an activation by scales and
// multiply the rows of the weights that read it by them. That costs nothing
// where the division can be folded into weights that make the activation: a
// norm's gain, the columns of the product before, the values of an attention.
// What can be is found from the graph alone.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_SCALEFOLD_H
#define QCC_CALIBRATION_SCALEFOLD_H

#include "qcc/Calibration/LinearGroup.h"
#include "qcc/Calibration/ReadExtent.h"
#include <string>
#include <vector>

namespace qcc {

/// Fails with a diagnostic (Internal) if `after`, whose weights were rewritten,
/// does not compute in float what `before` does: to 1e-3 of the largest output
/// on the first sample, for rounding in f32 goes through all layers.
mlir::LogicalResult checkSameOutputs(Workspace &workspace,
                                     mlir::ModuleOp before,
                                     mlir::ModuleOp after);

/// How the channels of an activation are divided in what makes it.
class ScaleFold {
public:
  /// Looks for weights to fold into, for an activation that only the group's
  /// layers may read.
  explicit ScaleFold(const LinearGroup &group);

  /// Why it cannot be folded; empty if it can.
  llvm::StringRef getObstacle() const { return obstacle; }
  /// For each channel the first one that must have the same scale: query heads
  /// that share a value head.
  llvm::ArrayRef<int64_t> getClasses() const { return classes; }
  /// Divides the channels. Channels of a class have equal scales.
  void apply(llvm::ArrayRef<float> scales) const;

private:
  /// Where channels are in a tensor: `at` is for each the position in the
  /// tensor's dimensions `dims` (ascending, of `sizes`), row-major.
  struct Channels {
    llvm::SmallVector<int64_t> dims, sizes;
    std::vector<int64_t> at;
  };
  /// A constant operand that is divided.
  struct Sink {
    mlir::OpOperand *operand;
    Channels channels;
  };

  bool trace(mlir::Value value, Channels channels, unsigned depth);
  bool traceOperand(mlir::OpOperand &operand, Channels channels,
                    unsigned depth);
  bool traceMatMul(MatMulOp op, Channels channels, unsigned depth);
  bool traceConcat(ConcatOp op, const Channels &channels, unsigned depth);
  bool traceIf(IfOp op, unsigned result, const Channels &channels,
               unsigned depth);
  bool traceAttention(AttentionOp op, Channels channels, unsigned depth);
  bool traceReshape(ReshapeOp op, Channels channels, unsigned depth);
  bool traceGeneric(GenericOp op, const Channels &channels, unsigned depth);
  bool traceBody(GenericOp op, mlir::Value value, const Channels &channels,
                 unsigned depth, unsigned level);
  bool traceRead(GenericOp op, unsigned input, const Channels &channels,
                 unsigned depth);
  mlir::Operation *findJoin(mlir::OpOperand &use) const;
  bool fail(const llvm::Twine &why);
  void joinClasses(const Channels &channels);
  static bool reads(mlir::OpOperand &use, const Channels &channels);
  static Channels remap(const Channels &channels,
                        llvm::ArrayRef<int64_t> newDims);
  static Channels embed(const Channels &part, Channels place,
                        llvm::ArrayRef<ReadExtent> extents);

  std::string obstacle;
  std::vector<int64_t> classes;
  std::vector<Sink> sinks;
  llvm::SmallPtrSet<mlir::Operation *, 16> path; ///< traced so far
};

/// What a transform has found for a group: scales (none: it is left as it is),
/// and what the report says of it.
struct ScaleChoice {
  std::vector<float> scales;
  std::string note;
};
CheckpointRecord toRecord(const ScaleChoice &choice);
/// None for numbers that no transform of a group with so many channels gives.
std::optional<ScaleChoice> readScaleChoice(const CheckpointRecord &record,
                                           size_t channels);

/// Runs a transform on the groups of a module, one after the other: `find`
/// chooses by the data of a group's input in the module as it was (of which it
/// may free what it has used), `apply`
/// changes the module by what was chosen, now or in a run before. Errors: as
/// Workspace::gather, and those of `find`.
llvm::Error scaleGroups(
    Workspace &workspace, mlir::Pass &pass, mlir::ModuleOp module,
    llvm::ArrayRef<LinearGroup> groups,
    llvm::function_ref<llvm::Expected<ScaleChoice>(const LinearGroup &,
                                                   InputData &)>
        find,
    llvm::function_ref<void(const LinearGroup &, const ScaleChoice &)> apply);

} // namespace qcc

#endif // QCC_CALIBRATION_SCALEFOLD_H
