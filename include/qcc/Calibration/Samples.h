//===- Samples.h - reading calibration data ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_SAMPLES_H
#define QCC_CALIBRATION_SAMPLES_H

#include "qcc/Calibration/HostExecutor.h"

namespace qcc {

/// An input that samples must have: its name and sizes, -1 where any will do.
struct SampleInput {
  std::string name;
  std::vector<int64_t> shape;
  /// Rows of a piece where the first dimension is free, and the bounds of them.
  int64_t pieceRows = 8, leastRows = 0, mostRows = INT64_MAX;
};

/// Reads calibration data: an .npz, a folder of them (in the order of their
/// names) or a folder of ONNX test data (test_data_set_N, or input_N.pb
/// itself). Members are arrays by input name. An .npz whose arrays have more
/// rows than the inputs' first dimension takes holds several samples: it is cut
/// along the first dimension, where that is free into pieces of 8 rows.
/// Errors: BadCalibration, with file and input.
[[gnu::visibility("default")]] llvm::Expected<std::vector<Sample>>
readSamples(llvm::StringRef path, llvm::ArrayRef<SampleInput> inputs);

/// The array of that name; null if there is none.
[[gnu::visibility("default")]] const SampleArray *
findArray(llvm::ArrayRef<SampleArray> arrays, llvm::StringRef name);

} // namespace qcc

#endif // QCC_CALIBRATION_SAMPLES_H
