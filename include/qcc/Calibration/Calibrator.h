//===- Calibrator.h - statistics of activations -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_CALIBRATOR_H
#define QCC_CALIBRATION_CALIBRATOR_H

#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Calibration/Observations.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Calibration/Statistics.h"
#include <chrono>
#include <optional>

namespace qcc {

/// What to do with samples that hold NaN, and with values that are not finite
/// where a product or convolution reads them.
enum class NonFinitePolicy {
  Tolerate, ///< leave them out and warn; refuse if more than 1 % are
  Refuse,   ///< refuse the first
  Skip      ///< leave them out and warn, unless nothing remains
};

/// "tolerate", "refuse", "skip".
llvm::StringRef getPolicyName(NonFinitePolicy policy);

/// What is left of a number of equal steps, in words.
class RemainingTime {
public:
  /// "3/16 samples, 12 s left"; time runs from the first call on.
  std::string describe(size_t done, size_t all);

private:
  std::optional<std::chrono::steady_clock::time_point> start;
  size_t doneBefore = 0; ///< at the first call
};

struct CalibratorOptions {
  unsigned threads = 1;
  ObservationScope scope = ObservationScope::All;
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
  /// changed. One pass over the samples; `progress` is told how many are done.
  /// Statistics do not depend on the number of threads. Errors: BadCalibration
  /// (an input that is missing or does not fit), what compiling gives.
  llvm::Expected<Statistics> run(mlir::ModuleOp module,
                                 llvm::ArrayRef<Sample> samples,
                                 llvm::function_ref<void(size_t)> progress);

private:
  HostExecutor &executor;
  CalibratorOptions options;
};

/// Checks statistics of all samples: that there are elements, and that those
/// that products and convolutions with a weight read are finite, as the policy
/// says. Errors: BadCalibration, with the tensor's name.
llvm::Error checkStatistics(const Statistics &statistics,
                            NonFinitePolicy policy,
                            std::vector<std::string> &warnings);

/// "sha256:..." of samples: names, types, shapes and elements.
std::string hashSamples(llvm::ArrayRef<Sample> samples);

/// Removes samples of which one of `inputs` holds NaN, as the policy says;
/// `warnings` gets a line for each that is left out. Errors: BadCalibration,
/// with sample and input, or the first input where no sample has an element.
llvm::Error removeBadSamples(std::vector<Sample> &samples,
                             llvm::ArrayRef<SampleInput> inputs,
                             NonFinitePolicy policy,
                             std::vector<std::string> &warnings);

} // namespace qcc

#endif // QCC_CALIBRATION_CALIBRATOR_H
