//===- Calibrator.h - statistics of activations -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_CALIBRATOR_H
#define QCC_CALIBRATION_CALIBRATOR_H

#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Calibration/Statistics.h"

namespace qcc {

/// Name under which the activation of an operation with a weight is observed.
std::string getObservationName(mlir::Operation *op);

/// Inserts a `qcc.observe` before every matrix product and convolution whose
/// second operand is a constant: of its first operand. Returns their number.
unsigned insertObservations(mlir::ModuleOp module);

/// Runs a float module on samples and gathers statistics of what it observes.
class Calibrator {
public:
  Calibrator(HostExecutor &executor, unsigned threads)
      : executor(executor), threads(threads ? threads : 1) {}

  /// `module` is a module after Import; it is not changed. `progress` is told
  /// how many of the 2 * samples runs are done. Statistics do not depend on
  /// the number of threads. Errors: BadCalibration (no samples, an input that
  /// does not fit, values that are not finite), what compiling gives.
  llvm::Expected<Statistics>
  run(mlir::ModuleOp module, llvm::ArrayRef<Sample> samples,
      llvm::function_ref<void(size_t done)> progress);

private:
  enum class Pass { Extremes, Sums };
  llvm::Error runPass(Pass pass, const HostProgram &program,
                      llvm::ArrayRef<Sample> samples, Statistics &statistics,
                      llvm::function_ref<void(size_t)> progress);

  HostExecutor &executor;
  unsigned threads;
};

} // namespace qcc

#endif // QCC_CALIBRATION_CALIBRATOR_H
