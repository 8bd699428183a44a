//===- Compilation.h - one compile, stage by stage --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_COMPILATION_H
#define QCC_LIB_PIPELINE_COMPILATION_H

#include "Algorithms.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"
#include "qcc/Calibration/OutputJudge.h"
#include "qcc/Calibration/Statistics.h"
#include "qcc/Calibration/TokenInput.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Package/Package.h"
#include "qcc/Package/Tuning.h"
#include "qcc/Pipeline/Compiler.h"
#include "qcc/Support/ParameterStore.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/StringSet.h"
#include <chrono>

namespace qcc {

/// Keeps the first error that MLIR reports in a scope, as a coded error.
class ErrorCatcher : public mlir::ScopedDiagnosticHandler {
public:
  explicit ErrorCatcher(mlir::MLIRContext *context);
  /// The error; call once, after a failure. `culprit` is what of a plugin
  /// failed, or "": its errors without a code are no faults of qcc.
  llvm::Error take(llvm::StringRef culprit = "");
  /// True if there is one, even though what reported it went on.
  bool hasError() const { return !text.empty(); }
  /// What was warned of, with the node's name.
  std::vector<std::string> warnings;

private:
  std::string text, where;
};

/// The state of one compile. Each method is a stage or a step of one; the
/// module and the parameters are what flows between them.
class Compilation {
public:
  Compilation(const CompileOptions &options, mlir::MLIRContext &context,
              StageObserver observer)
      : options(options), context(context), observer(observer) {}

  /// Runs the stages up to `options.stopAfter`.
  llvm::Expected<CompileResult> run();

  /// Runs the stages from Transform on (Quantize, if it is quantized) for a
  /// module that is imported already.
  llvm::Expected<CompileResult>
  runFrom(mlir::OwningOpRef<mlir::ModuleOp> imported,
          std::shared_ptr<ParameterStore> weights);

  /// Runs Import and gathers statistics on the calibration data.
  llvm::Expected<Statistics>
  gather(llvm::function_ref<void(size_t, size_t)> progress);

  /// What was found worth telling so far.
  llvm::ArrayRef<std::string> getWarnings() const { return result.warnings; }

private:
  /// Runs the stages from `first` to the last one asked for.
  llvm::Expected<CompileResult> runStages(Stage first);
  /// Finds what the options name: target, algorithms, precision, budgets.
  /// Errors: Usage, UnsupportedScheme, also where they do not go together.
  llvm::Error readRequest();
  /// Refuses what no model can make good. Errors: Usage.
  llvm::Error checkRequest() const;
  /// The part of --emit=qdq-onnx in it, and what of that the model decides.
  llvm::Error checkQdq() const;
  llvm::Error checkSettledQdq() const;
  llvm::Error import();
  llvm::Error calibrate();
  /// False where no pass asks for the ranges of values.
  bool usesStatistics() const;
  /// Warns of tokens that the model does not have.
  void warnOfTokens(llvm::ArrayRef<Sample> samples);
  /// Notes on each value what range its statistics give it (`qcc.range`).
  llvm::Error noteRanges();
  /// Refuses weights of products and convolutions that are not finite: codes
  /// would hide them. Errors: BadTensor.
  llvm::Error checkWeights();
  llvm::Error nameObserved();
  llvm::Expected<Statistics> readStatistics();
  llvm::Expected<Statistics>
  gatherStatistics(llvm::function_ref<void(size_t, size_t)> progress);
  /// The same on samples that are read; `data` is the hash of all of them.
  llvm::Expected<Statistics>
  runCalibrator(llvm::ArrayRef<Sample> samples, llvm::StringRef data,
                llvm::function_ref<void(size_t, size_t)> progress);
  /// Opens the folder of checkpoints, if one is asked for, for calibration on
  /// so many samples. Errors: BadCalibration, CannotWrite.
  llvm::Error openCheckpoints(size_t samples);
  /// What decides the work in the folder.
  llvm::Expected<CheckpointFolder::Origin> getOrigin();
  /// Statistics from the folder; gathers what is missing there by `gather`.
  llvm::Expected<Statistics>
  gatherInRounds(llvm::function_ref<llvm::Expected<Statistics>()> gather);
  /// Reads the calibration data again for algorithms that choose by them, if
  /// any are asked for.
  llvm::Error makeWorkspace();
  llvm::Error transform();
  /// Takes what passes want to be told off the module (addWarning).
  void takeWarnings();
  /// Reads the precision and the budgets. Errors: Usage, UnsupportedScheme.
  llvm::Error readPrecision();
  /// The precision to take if budgets are those of static int8, "" if they are
  /// not: they may be with int8 and w4a8 as the only precisions beside f32, and
  /// samples, if losses may be measured. It is w4a8, if that is among them.
  llvm::StringRef findSettledPrecision() const;
  /// Decides whether budgets are those of static int8, for which the model
  /// needs convolutions with constant weights, too.
  void settleBudgets();
  /// Warns of rules of --keep that match no node.
  void warnOfIdleRules();
  /// Warns of budgets and flags of calibration that decide nothing.
  void warnOfIdleFlags();
  /// Chooses a precision for each product if there are budgets for them.
  llvm::Error assign();
  llvm::Error quantize();
  /// Runs the float model for checkChosenLoss.
  llvm::Error makeJudge();
  /// Measures what the quantized model loses with weights that algorithms chose
  /// and puts it in the assignment. Errors: BudgetMissed if it is more than
  /// --max-drop.
  llvm::Error checkChosenLoss();
  /// Notes which weights of a model have codes that fit signed bytes less their
  /// zero points (kZerosFitAttr). Errors: those of evaluateConstant.
  llvm::Error noteZeroPoints();
  /// Notes what scales and zero points of weights in codes are
  /// (kHalfScalesAttr, kMiddleZerosAttr).
  llvm::Error noteOwnCodes();
  /// Notes for budgets which layers of the model's own codes have weights that
  /// are stored in words, as their codes do not fit in pairs (kWordsAttr).
  llvm::Error noteWords();
  /// Notes for budgets what weights of convolutions take in f32
  /// (kFloatBytesAttr).
  void noteFloatWeights();
  /// Notes which weights of integer operations have codes that fit in pairs
  /// (kPairsFitAttr), where a level of the target has no VNNI. Errors: those of
  /// evaluateConstant.
  llvm::Error notePairs();
  /// True if activations get scales from statistics.
  bool isStaticInt8() const {
    return statistics && takesRanges() && usesStatistics();
  }
  /// True if attentions are chosen by the samples with nothing known of other
  /// activations. A shard has not all samples; it ends before.
  bool choosesAttentions() const;
  /// True for the precisions whose activations can have scales from statistics:
  /// `int8`, and `w4a8` with any parameters, for convolutions, unless an
  /// algorithm is asked for: then that one alone chooses weights.
  bool takesRanges() const {
    return basePrecision == "int8" ||
           (isNarrow() && options.algorithms.empty());
  }
  bool isNarrow() const {
    return llvm::StringRef(basePrecision).split(':').first == "w4a8";
  }
  /// Marks what the model itself rounds, before static int8 adds to it.
  void markOwnCodes();
  /// Marks products of nodes that have several, with a warning for each node.
  void markParts();
  /// The model with its scales as ONNX, after the decisions of static int8.
  llvm::Expected<std::string> writeQuantized();
  /// Reads the file of --tune, if there is one, so that what is wrong with it
  /// is told before the work. Errors: Usage, LimitReached; CannotWrite where
  /// there is none yet and none can be made.
  llvm::Error openTuning();
  /// Tells dispatches which schedule was measured to be fastest, and measures
  /// where the file of --tune does not know. Errors: CannotWrite.
  llvm::Error tune();
  /// Compiles a module of dispatches and times its entries on this machine
  /// (LoadedModel::time); `others` is what the caches hold when one begins.
  llvm::Expected<std::vector<std::vector<double>>>
  timeSchedules(mlir::ModuleOp probe, const Sample &sample,
                llvm::ArrayRef<char> others);
  /// Codegen to Package.
  llvm::Error build();
  llvm::Error printKernels();
  llvm::Error emitKernels();
  llvm::Error listKernels();
  llvm::Error emitObjects(bool assembly);
  llvm::Error package();

  /// Runs passes on the module, checks the stage's invariant after them.
  llvm::Error runPasses(Stage stage,
                        llvm::function_ref<void(mlir::OpPassManager &)> add);
  llvm::Error runPluginPasses(Stage stage);
  /// Runs one stage: tells the observer, takes the time. True in the result:
  /// go on; false: this was the last stage asked for.
  llvm::Expected<bool> runStage(Stage stage,
                                llvm::function_ref<llvm::Error()> body);
  /// The operations of a planned module, in the order of their sites.
  std::vector<OpReport> getOpReports();
  /// The size of each symbol at which the report counts work.
  std::vector<int64_t> getReportedSizes();
  /// What the report says of a planned module.
  Report getReport();
  /// Keeps which nodes only look at what others compute; before Plan.
  void noteViews();
  std::vector<IdleNode> getIdleNodes(llvm::ArrayRef<OpReport> ops);
  /// The model's file, and those that its weights lie in, in the order of the
  /// weights.
  std::vector<SourceFile> getModelFiles();
  /// A hash of all of them, that of the model's file if there is no other.
  /// Errors: BadArtifact if one cannot be read.
  llvm::Expected<std::string> hashModel();
  /// Files that were read, for the manifest's hashes: the model first.
  std::vector<SourceFile> getSources();
  /// The hash of the file of --tune, "" if there is none. Errors: BadArtifact
  /// if it cannot be read.
  llvm::Expected<std::string> hashTuning();
  /// The options that decide the bytes but for tuning, with the levels that
  /// `native` means.
  Recipe getRecipe();
  /// NotFused for each operation that cannot run as asked, if that matters.
  llvm::Error checkFused();
  /// A few words for the observer, "" if there is nothing to tell.
  std::string describeStage(Stage stage);
  std::string print();

  const CompileOptions &options;
  mlir::MLIRContext &context;
  StageObserver observer;
  Stage current = Stage::Import; ///< that runs
  const Target *target = nullptr;
  llvm::SmallVector<Capabilities> levels;
  std::shared_ptr<ParameterStore> parameters =
      std::make_shared<ParameterStore>();
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// Of the module's values, by getResultObservationName; none without
  /// --calib and --stats.
  std::optional<Statistics> statistics;
  Algorithms algorithms;
  /// The precision of what nothing else is said of: the first that is not f32.
  std::string basePrecision;
  /// Whether products get precisions of their own, from these. False where
  /// budgets are those of static int8.
  bool isMixed = false;
  std::string formats;
  /// What tokens there are, for each input of such.
  llvm::SmallVector<TokenTable> tokenTables;
  /// What algorithms run on; null without --algo or --calib.
  std::unique_ptr<CheckpointFolder> checkpoints;
  std::unique_ptr<Rounds> rounds;
  std::unique_ptr<HostExecutor> executor;
  /// The module before quantization if it is to be written as ONNX.
  mlir::OwningOpRef<mlir::ModuleOp> unquantized;
  std::unique_ptr<Workspace> workspace;
  /// Of budgets with algorithms that choose weights; else null.
  std::unique_ptr<OutputJudge> judge;
  std::vector<std::pair<std::string, double>> timings;
  std::vector<PackageObject> objects;
  /// Nodes of the model and their operators, in the order of import.
  std::vector<std::pair<std::string, std::string>> modelNodes;
  llvm::StringSet<> modelNodeNames;
  llvm::StringSet<> views;
  Tuning tuning; ///< what the file of --tune knows
  /// With another schedule than the cost model's.
  unsigned tunedKernels = 0;
  CompileResult result;
};

} // namespace qcc

#endif // QCC_LIB_PIPELINE_COMPILATION_H
