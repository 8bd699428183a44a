//===- Workspace.h - data and weights for passes that need them -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that choose by data (AWQ, GPTQ, SmoothQuant) ask the workspace of
// their context: for the elements of weights, for statistics of activations of
// the module as it is, and for room for the weights that they make. The
// pipeline sets it while it compiles; without one (in qcc-opt) such passes
// refuse.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_WORKSPACE_H
#define QCC_CALIBRATION_WORKSPACE_H

#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Calibration/Rounds.h"
#include "qcc/Support/ParameterStore.h"

namespace qcc {

/// Runs modules on calibration samples.
class Workspace {
public:
  /// Bytes of Gram matrices that are gathered in one run over the samples.
  static constexpr uint64_t kGramBytes = uint64_t(128) << 20;

  /// Bytes of rows that are kept in memory so that samples run once; more are
  /// kept in a file without a name or, where there is no room, computed again.
  static constexpr uint64_t kKeptBytes = uint64_t(128) << 20;

  Workspace(ParameterStore &parameters, HostExecutor &executor,
            std::vector<Sample> samples, unsigned threads)
      : parameters(parameters), executor(executor), samples(std::move(samples)),
        threads(threads ? threads : 1) {}

  /// Shares work with other processes and runs; `rounds` outlives this object.
  void setRounds(Rounds *newRounds) { rounds = newRounds; }
  /// Null if no checkpoints are kept.
  Rounds *getRounds() const { return rounds; }
  Rounds::Role getRole() const {
    return rounds ? rounds->getRole() : Rounds::Role::Alone;
  }

  bool hasSamples() const {
    return !samples.empty() || (rounds && rounds->countSamples());
  }
  /// Those of this process.
  llvm::ArrayRef<Sample> getSamples() const { return samples; }
  /// What compiles modules for this machine.
  HostExecutor &getExecutor() { return executor; }
  /// Tells who waits what is done; `newReporter` is called by the thread of the
  /// pass.
  void setReporter(std::function<void(llvm::StringRef text)> newReporter) {
    reporter = std::move(newReporter);
  }
  void report(const llvm::Twine &text) {
    if (reporter)
      reporter(text.str());
  }
  /// For arithmetic on what was gathered.
  unsigned getThreads() const { return threads; }

  /// Tells of activations, one at a time: its position among those asked for.
  using Receiver = llvm::function_ref<llvm::Error(size_t index, InputData &)>;
  /// Runs the first function of a module and hands the data of `values`
  /// (results or arguments in it, f32, with a last dimension that is known) to
  /// `receive`, in order; few matrices are in memory at a time. Data do not
  /// depend on threads. The module may be changed by `receive`: data are those
  /// of the module as it was. Errors: BadCalibration (elements that are not
  /// finite), LimitReached (more rows than sums can hold), what compiling and
  /// running give.
  llvm::Error gather(mlir::ModuleOp module, llvm::ArrayRef<mlir::Value> values,
                     Receiver receive);

  /// As gather, but of this process's samples alone, also where others have
  /// their share in rounds, and without rows in which an element is not finite:
  /// for choices that a collector makes by itself, as ranges are found. No rows
  /// may be left. Errors: as gather, but for those elements.
  llvm::Error gatherHere(mlir::ModuleOp module,
                         llvm::ArrayRef<mlir::Value> values, Receiver receive);

  /// How many of the values, at least one, have sums of at most kGramBytes.
  static size_t countAtOnce(llvm::ArrayRef<mlir::Value> values);

  /// Told of an observation of a run: the sample's position, the name.
  using Listener = llvm::function_ref<void(size_t sample, llvm::StringRef name,
                                           llvm::ArrayRef<float> elements)>;
  /// Compiles a copy of a module with its observations. Errors: what compiling
  /// gives.
  llvm::Expected<std::unique_ptr<HostProgram>> compile(mlir::ModuleOp module) {
    return executor.compile(module);
  }
  /// Runs a program on samples, several at a time; `listener` is told of all
  /// observations, those of one sample in order. Errors: as gather.
  llvm::Error runSamples(const HostProgram &program,
                         llvm::ArrayRef<Sample> onSamples, Listener listener) {
    return forEachSample(program, onSamples, listener);
  }
  /// Gathers what a module observes as `@0`, `@1`, ..., which are `values`, on
  /// samples; `other` is told of all other observations, once per sample.
  /// With rounds, a shard stops here, and a collector takes what shards wrote
  /// and runs nothing, so that `other` is told nothing. Errors: as gather.
  llvm::Error gatherObserved(mlir::ModuleOp module,
                             llvm::ArrayRef<mlir::Value> values,
                             llvm::ArrayRef<Sample> onSamples,
                             std::vector<InputData> &data, Listener other);

  /// Largest difference of the float outputs of two modules on the first
  /// sample, relative to the largest magnitude of an output; infinite if one
  /// is not finite where the other is.
  llvm::Expected<double> compareOutputs(mlir::ModuleOp before,
                                        mlir::ModuleOp after);

  /// Elements of a constant expression of f32.
  llvm::Expected<std::vector<float>> evaluate(mlir::Value constant);

  /// Adds a weight and returns a `qcc.param` of it. Errors: CannotWrite.
  llvm::Expected<mlir::Value>
  addParameter(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef key,
               llvm::ArrayRef<float> values, llvm::ArrayRef<int64_t> shape);
  llvm::Expected<mlir::Value>
  addParameter(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef key,
               llvm::ArrayRef<int32_t> values, llvm::ArrayRef<int64_t> shape);

private:
  llvm::Error forEachSample(const HostProgram &program,
                            llvm::ArrayRef<Sample> onSamples, Listener body);
  /// Takes observed rows of a value and a sample.
  using Taker = llvm::function_ref<void(size_t value, size_t sample,
                                        llvm::ArrayRef<float> rows)>;
  /// What becomes of rows in which an element is not finite.
  enum class Poor { Refused, LeftOut };
  /// First run of a request: ranges, and rows by sample. `take` is given all
  /// rows too, `other` is told of other observations.
  llvm::Expected<std::vector<InputRange>>
  gatherRanges(const HostProgram &program, llvm::ArrayRef<mlir::Value> values,
               llvm::ArrayRef<Sample> onSamples, Poor poor, Taker take,
               Listener other);
  /// Sums of the rows that `run` gives, in units that follow from the ranges
  /// over all samples.
  llvm::Expected<std::vector<InputData>>
  gatherSums(llvm::ArrayRef<mlir::Value> values,
             llvm::ArrayRef<InputRange> ranges,
             llvm::function_ref<llvm::Error(Taker)> run);
  /// Second run.
  llvm::Error observe(const HostProgram &program,
                      llvm::ArrayRef<mlir::Value> values,
                      llvm::ArrayRef<Sample> onSamples, Poor poor, Taker take);
  /// Both runs, or one where its rows can be kept.
  llvm::Error gatherAlone(mlir::ModuleOp module,
                          llvm::ArrayRef<mlir::Value> values,
                          llvm::ArrayRef<Sample> onSamples, Poor poor,
                          std::vector<InputData> &data, Listener other);
  /// Gathers data of some values, which a module observes.
  using BatchGatherer = llvm::function_ref<llvm::Error(
      mlir::ModuleOp observed, llvm::ArrayRef<mlir::Value> batch,
      std::vector<InputData> &data)>;
  llvm::Error forEachBatch(mlir::ModuleOp module,
                           llvm::ArrayRef<mlir::Value> values, Receiver receive,
                           BatchGatherer gatherIt);
  llvm::Error contribute(mlir::ModuleOp module, llvm::StringRef request,
                         llvm::ArrayRef<mlir::Value> values,
                         llvm::ArrayRef<Sample> onSamples);
  llvm::Expected<mlir::Value> addBytes(mlir::OpBuilder &b, mlir::Location loc,
                                       llvm::StringRef key, mlir::Type element,
                                       llvm::StringRef elementName,
                                       llvm::ArrayRef<char> bytes,
                                       llvm::ArrayRef<int64_t> shape);

  ParameterStore &parameters;
  HostExecutor &executor;
  std::vector<Sample> samples;
  unsigned threads;
  Rounds *rounds = nullptr;
  std::function<void(llvm::StringRef text)> reporter;
};

/// Finished pieces of what a pass does with a workspace: nothing is kept unless
/// the workspace has rounds.
class PassCheckpoints {
public:
  /// `module` is what the pass begins with; it and the pass's options say which
  /// work it is.
  PassCheckpoints(const Workspace &workspace, mlir::Pass &pass,
                  mlir::ModuleOp module);

  /// What a run before has found for a piece; none if it has not got there.
  std::optional<CheckpointRecord> read(size_t piece) const;
  /// Errors: CannotWrite.
  llvm::Error write(size_t piece, const CheckpointRecord &record) const;

private:
  std::string getKey(size_t piece) const;
  const Rounds *rounds;
  std::string work;
};

/// The workspace of a context, or null.
Workspace *getWorkspace(mlir::MLIRContext *context);
/// Sets it for as long as this object lives.
class WorkspaceScope {
public:
  WorkspaceScope(mlir::MLIRContext *context, Workspace *workspace);
  ~WorkspaceScope();
  WorkspaceScope(const WorkspaceScope &) = delete;
  WorkspaceScope &operator=(const WorkspaceScope &) = delete;

private:
  mlir::MLIRContext *context;
  Workspace *before;
};

/// The workspace if it has samples; else an error at the module that says that
/// `algorithm` needs calibration data, and null.
Workspace *requireWorkspace(mlir::ModuleOp module, llvm::StringRef algorithm);

/// Emits an error that a pass got as a diagnostic with its code.
mlir::LogicalResult emitError(mlir::Location loc, llvm::Error error);

} // namespace qcc

#endif // QCC_CALIBRATION_WORKSPACE_H
