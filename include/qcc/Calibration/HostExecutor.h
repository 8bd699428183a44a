//===- HostExecutor.h - running compiled code while compiling ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that must run the model (calibration, sequential quantization) ask
// this interface; the pipeline implements it with the compiler itself, so that
// what is measured is what will run.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_HOSTEXECUTOR_H
#define QCC_CALIBRATION_HOSTEXECUTOR_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>
#include <vector>

namespace qcc {

/// A named array of a sample: dense, row-major. The type is DLPack's.
struct SampleArray {
  std::string name;
  uint8_t code = 0, bits = 0;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
  /// The elements, where they lie elsewhere and `bytes` is empty: in a scratch
  /// file, or in an array that lives longer.
  llvm::ArrayRef<char> mapped;

  llvm::ArrayRef<char> getBytes() const {
    return mapped.data() ? mapped : llvm::ArrayRef<char>(bytes);
  }
};

/// One input set of a model.
struct Sample {
  std::string name; ///< for messages: the path as it was given, and rows
  std::vector<SampleArray> arrays;
};

/// A module compiled for this machine.
class HostProgram {
public:
  virtual ~HostProgram() = default;
  /// Told of each `qcc.observe` of a run: its name and the elements (f32).
  using Observer =
      llvm::function_ref<void(llvm::StringRef, llvm::ArrayRef<float>)>;
  /// Runs `main` on a sample; may be called from several threads at once.
  /// Errors: BadCalibration if an input is missing or does not fit.
  virtual llvm::Error run(const Sample &sample, Observer observer) const = 0;
};

/// Compiles modules for this machine.
class HostExecutor {
public:
  virtual ~HostExecutor() = default;
  /// Compiles a copy of a module that has passed Import: `main` and its
  /// observations.
  virtual llvm::Expected<std::unique_ptr<HostProgram>>
  compile(mlir::ModuleOp module) = 0;
};

} // namespace qcc

#endif // QCC_CALIBRATION_HOSTEXECUTOR_H
