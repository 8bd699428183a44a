//===- EvalReport.h - what qcc eval found -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_EVALREPORT_H
#define QCC_TOOLS_QCC_EVALREPORT_H

#include "qcc/Evaluate/Metrics.h"
#include <string>

namespace qcc::driver {

/// What to compare, by what, and what must hold.
struct EvalOptions {
  std::vector<std::string> artifacts;
  std::string reference;
  std::vector<Metric> metrics;
  std::string output; ///< name of the output; "": the first
  std::string labels; ///< array with labels for Top1; "": none
  std::string tokens; ///< array with token ids for Perplexity
  std::optional<double> minCosine, maxDrop;
};

/// Results by artifact and metric, to stdout.
void printTable(const EvalOptions &options,
                llvm::ArrayRef<std::vector<MetricResult>> results);
/// The same as JSON; an infinite number is null.
std::string writeJson(const EvalOptions &options,
                      llvm::ArrayRef<std::vector<MetricResult>> results);
/// AccuracyMissed for each artifact and gate that does not hold.
llvm::Error checkGates(const EvalOptions &options,
                       llvm::ArrayRef<std::vector<MetricResult>> results);

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_EVALREPORT_H
