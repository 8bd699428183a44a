//===- Compiler.h - from a model file to an artifact ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PIPELINE_COMPILER_H
#define QCC_PIPELINE_COMPILER_H

#include "qcc/Calibration/Calibrator.h"
#include "qcc/Calibration/Range.h"
#include "qcc/Package/Package.h"
#include "qcc/Pipeline/Stage.h"
#include "qcc/Support/Budget.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mlir {
class DialectRegistry;
class MLIRContext;
} // namespace mlir

namespace qcc {

class Extensions;

/// Everything that decides the bytes of an artifact, and how it is made.
struct CompileOptions {
  std::string model;     ///< path of the ONNX file
  std::string outputDir; ///< "" : MODEL.qcc beside the model
  std::string target = "native";
  /// A precision, or with budgets several to choose from (findFormats).
  std::string precision = "f32";
  Budgets budgets; ///< --max-size, --max-drop, --max-latency
  /// How mixed precision finds what a format costs: auto, measured, estimated.
  std::string sensitivity = "auto";
  std::vector<std::string> algorithms; ///< --algo, see `qcc schemes`
  /// Algorithms see the inputs that products have once those before them are
  /// quantized, else those of the float model.
  bool sequential = true;
  std::string calibration; ///< --calib: .npz, folder or ONNX test data
  std::string statistics;  ///< --stats
  NonFinitePolicy nonFinite = NonFinitePolicy::Tolerate; ///< --calib-nan
  Shard shard;                                           ///< --shard
  /// --checkpoint: folder for finished work of algorithms, or none.
  std::string checkpoint;
  /// With a checkpoint: gather this shard's part of what is wanted next, and
  /// stop.
  bool isShard = false;
  /// --shards: with a checkpoint, statistics are gathered by so many shards;
  /// 0: by this process.
  unsigned shards = 0;
  /// --calib-method: how static ranges are chosen, and chooseRange's parameter.
  RangeMethod rangeMethod = RangeMethod::MinMax;
  double rangeParameter = 0;
  /// --dim NAME=RULE: what is known of a symbol (parseDimRule).
  std::vector<std::pair<std::string, std::string>> dims;
  /// --state INPUT=OUTPUT: the input holds what the output was in the run
  /// before (zero at first) and vanishes from the signature.
  std::vector<std::pair<std::string, std::string>> states;
  /// --drop-output: regexes of outputs that are left out, behind the states
  /// that they may be the values of.
  std::vector<std::string> dropOutputs;
  std::vector<std::string> keep; ///< regexes of nodes that stay float
  /// --min-cos: layers whose int8 makes outputs on the calibration data differ
  /// more than that from those in float find scales of rows or stay float; 0:
  /// none does.
  double minCosine = 0.99;
  /// --no-correct-bias: biases of layers in int8 stay as they are; else they
  /// are corrected where there are samples.
  bool correctBias = true;
  bool requireFused = false;
  std::optional<bool> embedWeights; ///< none: below 16 MiB
  /// --tune: file with the schedules of kernels; those that it lacks are timed
  /// and added to it. "": the cost model chooses.
  std::string tuning;
  unsigned jobs = 0;                      ///< 0: all cores
  std::string cacheDir;                   ///< "" : no kernel cache
  const Extensions *extensions = nullptr; ///< passes of plugins; may be null
  std::vector<std::string> plugins;       ///< files that these came from
  Stage stopAfter = Stage::Package;       ///< --emit
  /// --emit=qdq-onnx: stop where scales are chosen and give the model as ONNX.
  bool emitQdq = false;
  PackageKind kind = PackageKind::Library; ///< --emit=obj, --emit=a
  std::string symbolPrefix;                ///< of these; "": none
  /// Asked of the inputs that may have tokens (findTokenInputs) once the model
  /// is imported: an error ends the compile. May be null.
  std::function<llvm::Error(llvm::ArrayRef<std::string>)> checkTokens;
  std::string workerProgram; ///< executable that answers `--worker`; "":
                             ///< compile kernels in this process
};

/// Counts and sizes of a finished compile, for the summary.
struct CompileResult {
  std::string artifact; ///< folder, or "" when a stage was printed
  std::string text;     ///< IR or listing when `stopAfter` is not Package
  uint64_t weightBytes = 0, libraryBytes = 0;
  unsigned kernels = 0, launches = 0;
  std::vector<OpReport> ops;
  /// Inputs that may have the tokens of the first output (findTokenInputs).
  std::vector<std::string> tokenInputs;
  /// What mixed precision measured and chose, as JSON; "" without budgets.
  std::string assignment;
  /// What compiling found worth telling: `warning` lines with their codes.
  std::vector<std::string> warnings;
  /// The same where it is of this run and not of its result, so that no file
  /// has it: checkpoints that were not used.
  std::vector<std::string> notes;
};

/// Told of each stage that begins (`done` false) and ends.
using StageObserver =
    llvm::function_ref<void(Stage stage, bool done, llvm::StringRef detail)>;

/// Registers the dialects and interfaces a compile needs.
void registerDialects(mlir::DialectRegistry &registry);
/// Registers every pass of the tree with MLIR's pass registry (qcc-opt).
void registerAllPasses();

/// Compiles. Errors carry codes (CodedError, or MLIR diagnostics that start
/// with `[QCC-E...]` and go to the context's handlers).
llvm::Expected<CompileResult> compile(const CompileOptions &options,
                                      mlir::MLIRContext &context,
                                      StageObserver observer);

/// Runs the float model on `options.calibration` and gathers statistics of its
/// values. `progress` is told runs done and runs in all; `warnings` gets what
/// was left out. Errors: as compile, and BadCalibration.
llvm::Expected<Statistics>
calibrate(const CompileOptions &options, mlir::MLIRContext &context,
          llvm::function_ref<void(size_t, size_t)> progress,
          std::vector<std::string> &warnings);

} // namespace qcc

#endif // QCC_PIPELINE_COMPILER_H
