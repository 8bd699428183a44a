//===- Metrics.h - how far outputs are from a reference ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_EVALUATE_METRICS_H
#define QCC_EVALUATE_METRICS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace qcc {

/// What is measured. `x` is an output of a candidate, `r` that of the
/// reference.
enum class Metric {
  Cosine,     ///< mean over rows of x . r / (|x| |r|)
  SQNR,       ///< 10 log10 (sum r^2 / sum (x - r)^2), in dB
  Top1,       ///< share of positions whose largest class is the label, or that
              ///< of the reference where there are no labels
  Perplexity, ///< exp of the mean of -ln p(next token)
  KL          ///< mean over positions of KL(softmax r || softmax x), in nats
};

/// "cosine", "sqnr", "top1", "perplexity", "kl".
llvm::StringRef getMetricName(Metric metric);
std::optional<Metric> parseMetric(llvm::StringRef name);

/// An output of one run as [rows, positions, classes]: the first of at least
/// two dimensions, the last one, and the product of those between. Other
/// arrays are one row.
struct OutputView {
  llvm::ArrayRef<float> values;
  size_t rows = 1, positions = 1, classes = 1;

  OutputView(llvm::ArrayRef<float> values, llvm::ArrayRef<int64_t> shape);
};

/// What a row adds to a metric. The value is made of the sums over rows, so
/// that rows can be drawn again and again (bootstrap).
struct RowScore {
  double candidate = 0; ///< cosine, squared error, hits, -ln p or divergence
  double reference = 0; ///< squared magnitude, hits or -ln p of the reference
  double count = 0;     ///< rows or positions
};

/// Scores of the rows of one output, in order. `targets` are token ids [rows,
/// positions] for Perplexity, labels of all positions or nothing for Top1,
/// nothing for others; negative ones are left out. A candidate that is not
/// finite where the reference is scores worst: cosine -1, no hit, an infinite
/// error. Errors: BadCalibration, if shapes or targets do not fit.
llvm::Expected<std::vector<RowScore>>
scoreRows(Metric metric, const OutputView &reference,
          const OutputView &candidate, llvm::ArrayRef<int64_t> targets);

/// A value with its 95 % interval: the percentiles of 1,000 draws of as many
/// rows with replacement, from a fixed generator.
struct Estimate {
  double value = 0, low = 0, high = 0;
};

/// A metric over all rows.
struct MetricResult {
  Metric metric = Metric::Cosine;
  size_t rows = 0;
  Estimate value;
  /// Perplexity, and Top1 with labels: that of the reference.
  std::optional<double> reference;
  /// How much worse the candidate is: Perplexity relative to the reference's,
  /// Top1 as share of the positions (drawn in pairs). Absent for others.
  std::optional<Estimate> drop;
};

/// Errors: BadCalibration, if nothing can be scored.
llvm::Expected<MetricResult>
summarize(Metric metric, llvm::ArrayRef<RowScore> scores, bool hasLabels);

/// A warning of `who` if a perplexity is above that of a guess among all
/// classes, with what to do about it; else empty.
std::string describeGuess(llvm::StringRef who, double perplexity,
                          size_t classes, llvm::StringRef remedy);

} // namespace qcc

#endif // QCC_EVALUATE_METRICS_H
