//===- Statistics.h - what calibration knows of a tensor --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Statistics are exact: extremes, counts, and sums in fixed point. They are the
// same bytes for any split of the samples among threads or machines, because
// adding integers has no order. The unit of the sums is a power of two chosen
// from the largest magnitude, which a first pass over the samples finds.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_STATISTICS_H
#define QCC_CALIBRATION_STATISTICS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace qcc {

/// Statistics of one observed tensor over all samples.
struct TensorStatistics {
  std::string name;
  uint64_t count = 0;     ///< finite elements
  uint64_t nonFinite = 0; ///< NaN and infinities, in nothing else
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
  /// Sums count units of 2^exponent (and its square); set before the second
  /// pass.
  int exponent = 0;
  __int128 sum = 0;
  unsigned __int128 sumOfSquares = 0;

  /// First pass: counts and extremes.
  void addExtremes(llvm::ArrayRef<float> values);
  /// Sets the exponent so that every element is below 2^40 units.
  void chooseExponent();
  /// Second pass: each element is rounded to units (ties to even) and added.
  void addSums(llvm::ArrayRef<float> values);
  /// Mean and mean square; 0 without elements.
  double getMean() const;
  double getMeanSquare() const;

  /// Adds what another part of the samples gave in the same pass. False if the
  /// exponents differ.
  bool merge(const TensorStatistics &other);
};

/// Statistics of a model: tensors in the order of the graph.
class Statistics {
public:
  /// The tensor of a name, made if it is new.
  TensorStatistics &get(llvm::StringRef name);
  const TensorStatistics *lookup(llvm::StringRef name) const;
  llvm::ArrayRef<TensorStatistics> all() const { return tensors; }
  llvm::MutableArrayRef<TensorStatistics> all() { return tensors; }

  std::string source; ///< "sha256:..." of the model file
  uint64_t samples = 0;

  /// The file that `qcc calibrate` writes (JSON, schema qcc-stats/1); equal
  /// statistics give equal bytes.
  std::string write() const;
  /// Reads it. Errors: BadCalibration, with `name`.
  static llvm::Expected<Statistics> read(llvm::StringRef text,
                                         llvm::StringRef name);

private:
  std::vector<TensorStatistics> tensors;
  llvm::StringMap<size_t> indices;
};

} // namespace qcc

#endif // QCC_CALIBRATION_STATISTICS_H
