//===- Calibrator.h - statistics of activations -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_CALIBRATOR_H
#define QCC_CALIBRATION_CALIBRATOR_H

#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Calibration/Observations.h"
#include "qcc/Calibration/Statistics.h"

namespace qcc {

/// What to do with samples and values that are not finite.
enum class NonFinitePolicy {
  Tolerate, ///< leave them out and warn; refuse if more than 1 % are
  Refuse,   ///< refuse the first
  Skip      ///< leave them out and warn, unless nothing remains
};

struct CalibratorOptions {
  unsigned threads = 1;
  ObservationScope scope = ObservationScope::All;
  NonFinitePolicy nonFinite = NonFinitePolicy::Tolerate;
};

/// Told of each observed array of a run, from several threads at once: the
/// sample's number, the name and the elements.
using SampleObserver =
    llvm::function_ref<void(size_t, llvm::StringRef, llvm::ArrayRef<float>)>;

/// Runs a program on samples, several at a time. `progress` is told how many
/// are done. The first error ends it.
llvm::Error runSamples(const HostProgram &program,
                       llvm::ArrayRef<Sample> samples, unsigned threads,
                       SampleObserver observer,
                       llvm::function_ref<void(size_t done)> progress);

/// Runs a float module on samples and gathers statistics of what it observes.
class Calibrator {
public:
  Calibrator(HostExecutor &executor, CalibratorOptions options)
      : executor(executor), options(options) {}

  /// `module` is a module after Import with names (nameValues); it is not
  /// changed. One pass over the samples. `progress` is told how many samples
  /// are done; `warnings` gets a line for each thing that was left out.
  /// Statistics do not depend on the number of threads. Errors: BadCalibration
  /// (no samples, an input that does not fit, values that are not finite), what
  /// compiling gives.
  llvm::Expected<Statistics> run(mlir::ModuleOp module,
                                 llvm::ArrayRef<Sample> samples,
                                 llvm::function_ref<void(size_t)> progress,
                                 std::vector<std::string> &warnings);

private:
  llvm::Error checkFinite(const Statistics &statistics,
                          llvm::ArrayRef<Observation> observations,
                          std::vector<std::string> &warnings) const;

  HostExecutor &executor;
  CalibratorOptions options;
};

/// Removes samples whose inputs hold NaN, as the policy says; `warnings` gets a
/// line for each that is left out. Errors: BadCalibration, with sample and
/// input.
llvm::Error removeBadSamples(std::vector<Sample> &samples,
                             NonFinitePolicy policy,
                             std::vector<std::string> &warnings);

} // namespace qcc

#endif // QCC_CALIBRATION_CALIBRATOR_H
