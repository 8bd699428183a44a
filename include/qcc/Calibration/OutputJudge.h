//===- OutputJudge.h - what rounding does to a model's output ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_OUTPUTJUDGE_H
#define QCC_CALIBRATION_OUTPUTJUDGE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Workspace.h"
#include <limits>

namespace qcc {

/// How far an output is from that of the float model.
struct OutputScore {
  /// Kullback-Leibler divergence per position in nats (of logits), or squared
  /// error relative to the output's power. At least 0 but for rounding of sums.
  double divergence = 0;
  /// What a person would call the loss: the rise of the perplexity as a share,
  /// the share of positions with another largest class, or `divergence`.
  double drop = 0;
};

/// Compares the first float output of changed copies of a model with that of
/// the model, on calibration samples. Which comparison makes sense follows from
/// shapes: an output [rows, positions, classes] beside an input with its tokens
/// [rows, positions] (findTokenInputs) is a language model, classes at each
/// position if several inputs may be that; [rows, classes] are classes; all
/// else is numbers. Scores do not depend on threads.
class OutputJudge {
public:
  enum class Kind { Tokens, Classes, Numbers };

  /// Positions that choices of formats, and of the weights in them, are judged
  /// on: figures of both are compared.
  static constexpr uint64_t kPositions = 4096;

  /// Runs the float model on the first samples, at least one, until they have
  /// `maxPositions` positions. Errors: BadCalibration (no samples, outputs that
  /// are not finite), UnsupportedForm (no float output that depends on inputs),
  /// what compiling and running give.
  static llvm::Expected<OutputJudge>
  make(Workspace &workspace, mlir::ModuleOp module, uint64_t maxPositions);

  Kind getKind() const { return kind; }
  /// What `divergence` is: "kl" or "error"; and `drop`: "perplexity", "top1" or
  /// "error".
  llvm::StringRef getDivergenceName() const;
  llvm::StringRef getDropName() const;
  /// Samples that are compared, and their positions (rows of classes, or
  /// samples).
  size_t getSampleCount() const { return references.size(); }
  uint64_t getPositionCount() const { return positions; }
  /// The judged output among the results of the entry.
  unsigned getOutput() const { return output; }

  /// A warning if the drop is that of a perplexity which is above that of a
  /// guess in the float model already: its rise says nothing then. Else empty.
  /// Errors: as score.
  llvm::Expected<std::string> describeGuess() const;

  /// Leaves of a copy of the model what computes the judged output, observed.
  void keepOutput(mlir::ModuleOp copy) const;
  /// The name that keepOutput observes it by.
  static constexpr llvm::StringLiteral kObserved = "judged";
  /// Scores a program of such a copy, or of one that observes the output by
  /// another name. `more` is given to each run besides the sample's arrays; at
  /// most `count` samples are compared. Errors: what running gives.
  llvm::Expected<OutputScore>
  score(const HostProgram &program, llvm::ArrayRef<SampleArray> more,
        llvm::StringRef observed = kObserved,
        size_t count = std::numeric_limits<size_t>::max()) const;

private:
  explicit OutputJudge(Workspace &workspace) : workspace(&workspace) {}
  llvm::Error chooseOutput(mlir::func::FuncOp entry);
  bool hasTokens(llvm::StringRef input) const;
  llvm::Error chooseKind(mlir::func::FuncOp entry);
  llvm::Expected<std::vector<float>> run(const HostProgram &program,
                                         size_t sample,
                                         llvm::ArrayRef<SampleArray> more,
                                         llvm::StringRef observed) const;

  Workspace *workspace;
  Kind kind = Kind::Numbers;
  unsigned output = 0;
  int64_t classes = 0;
  uint64_t positions = 0;
  /// Of each sample: the float model's output, and tokens [rows, positions].
  std::vector<std::vector<float>> references;
  std::vector<std::vector<int64_t>> tokens, tokenShapes;
};

} // namespace qcc

#endif // QCC_CALIBRATION_OUTPUTJUDGE_H
