//===- Observe.h - time per site, dumps of values ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_OBSERVE_H
#define QCC_TOOLS_QCC_RUN_OBSERVE_H

#include "Artifact.h"

#include <nlohmann/json_fwd.hpp>
#include <regex>

namespace qcc::run {

/// Times of a number of runs, in milliseconds, sorted.
struct Times {
  std::vector<double> sorted;

  explicit Times(std::vector<double> times);
  /// The value below which a share of `q` lies, by linear interpolation.
  double quantile(double q) const;
  nlohmann::json toJson() const;
};

/// Runs `warmup` times, then `runs` times with a clock.
Times bench(Runner &runner, int warmup, int runs);

/// The hash of the library in the manifest of an artifact, a folder or its
/// libmodel.so; "" if there is none.
std::string findLibraryHash(const std::filesystem::path &artifact);

/// Sums time per site over runs.
class Profiler {
public:
  explicit Profiler(const Artifact &artifact);

  /// Profiles `runs` runs.
  void profile(Runner &runner, int runs);

  /// A table, the slowest site first.
  std::string table() const;
  nlohmann::json toJson() const;
  /// The events of the first run in the form of Chrome's trace viewer.
  void writeTrace(const std::filesystem::path &path) const;

private:
  struct Row {
    std::vector<uint64_t> times; ///< nanoseconds of each call
    double flops = 0;
    double bytes = 0;
  };

  /// What a run spends at a site: the median of its calls, so that what else
  /// the machine did meanwhile does not count.
  double nanosecondsPerRun(const Row &row) const;

  static void onEvent(void *user, const qcc_profile_event *event);
  std::vector<size_t> order() const;

  std::vector<Site> sites;
  std::vector<Row> rows;
  std::vector<qcc_profile_event> trace;
  bool tracing = true;
  int runs = 0;
};

/// Runs once and collects the values whose name, or whose node's name, the
/// expression finds.
std::vector<Array> dumpValues(const Artifact &artifact, Runner &runner,
                              const std::regex &pattern);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_OBSERVE_H
