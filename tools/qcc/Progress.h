//===- Progress.h - what a compile is doing ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_PROGRESS_H
#define QCC_TOOLS_QCC_PROGRESS_H

#include "qcc/Calibration/Calibrator.h"
#include "qcc/Pipeline/Stage.h"
#include "llvm/ADT/StringRef.h"
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace qcc::driver {

/// Prints a line for each stage that ended; while somebody watches, the one
/// that runs is shown too and overwritten, otherwise what it does is told every
/// ten seconds.
class Progress {
public:
  enum class Mode { None, Plain, Bar };

  Progress(Mode mode, Stage last)
      : mode(mode), numStages(getNumber(last)),
        begin(std::chrono::steady_clock::now()), told(begin) {}

  /// To be called as a StageObserver.
  void operator()(Stage stage, bool done, llvm::StringRef detail);

  /// Ends a line that is still to be overwritten.
  void clear();

private:
  /// Of a stage among those that are shown, from 1: kernels are a stage only
  /// where they are asked for.
  static unsigned getNumber(Stage stage) {
    return static_cast<unsigned>(stage) + (stage > Stage::Codegen ? 0 : 1);
  }

  Mode mode;
  unsigned numStages;
  std::chrono::steady_clock::time_point begin, told; ///< last line
  bool hasOpenLine = false;
};

/// What is left of many equal steps: a line that is overwritten while somebody
/// watches, otherwise one for each tenth.
class CountProgress {
public:
  CountProgress(Progress::Mode mode, llvm::StringRef what)
      : mode(mode), what(what) {}

  /// Time runs from the first call on, which has `done` 0.
  void update(size_t done, size_t all);
  /// Ends a line that is still to be overwritten.
  void clear();

private:
  Progress::Mode mode;
  std::string what;
  RemainingTime remaining;
  size_t tenth = 0; ///< that was printed last
  bool hasOpenLine = false;
};

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_PROGRESS_H
