//===- Statistics.h - what calibration knows of a tensor --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Statistics are exact: extremes, counts, and sums as integers of as many bits
// as they need. They are the same bytes for any split of the samples among
// threads or machines, because adding integers has no order, and they take one
// pass over the samples. Each kind of statistic is a class of its own.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_STATISTICS_H
#define QCC_CALIBRATION_STATISTICS_H

#include "qcc/Calibration/Channels.h"
#include "qcc/Calibration/Histogram.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
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
  ExactSums positive, negative; ///< of the magnitudes of one sign
  ExactSums squares;
  Histogram histogram;
  /// Of each channel; empty unless the tensor is the first operand of a
  /// product (channels: its last axis) or convolution (axis 1) with a weight.
  ChannelStatistics channels;

  /// Adds an array. Sums of one call are rounded to f64 in the order of
  /// indices, then added exactly.
  void add(llvm::ArrayRef<float> values, ChannelLayout layout = {});
  /// Adds those of other samples. False if the numbers of channels differ.
  bool merge(const TensorStatistics &other);

  /// max |x|; 0 without elements.
  float getAbsMax() const;
  /// Mean and mean square; 0 without elements.
  double getMean() const;
  double getMeanSquare() const;
};

/// A part of the samples: every `count`th, from the `number`th (1 to `count`)
/// on.
struct Shard {
  unsigned number = 1, count = 1;
  bool isWhole() const { return count == 1; }
  bool operator==(const Shard &) const = default;
};

/// Statistics of a model: tensors in the order of the graph.
class Statistics {
public:
  /// The tensor of a name, made if it is new, which moves the others.
  TensorStatistics &get(llvm::StringRef name);
  const TensorStatistics *lookup(llvm::StringRef name) const;
  llvm::ArrayRef<TensorStatistics> all() const { return tensors; }
  llvm::MutableArrayRef<TensorStatistics> all() { return tensors; }

  std::string source; ///< "sha256:..." of the model file
  std::string data;   ///< the same of all samples, those of other shards too
  /// Options that decide what is gathered, as KEY=VALUE.
  std::vector<std::string> options;
  uint64_t samples = 0; ///< that are in these statistics
  Shard shard;

  /// The file that `qcc calibrate` writes (docs/statistics-file.md, schema
  /// qcc-stats/3); equal statistics give equal bytes.
  std::string write() const;
  /// Reads it. Errors: BadCalibration, with `name`.
  static llvm::Expected<Statistics> read(llvm::StringRef text,
                                         llvm::StringRef name);

private:
  std::vector<TensorStatistics> tensors;
  llvm::StringMap<size_t> indices;
};

/// Joins the statistics of all shards, in any order; the result is that of one
/// process, to the byte. `names` are those of the parts, for messages. Errors:
/// BadCalibration: parts of different models, data or options, shards that are
/// missing or there twice, no shards.
llvm::Expected<Statistics> mergeShards(llvm::MutableArrayRef<Statistics> parts,
                                       llvm::ArrayRef<std::string> names);

} // namespace qcc

#endif // QCC_CALIBRATION_STATISTICS_H
