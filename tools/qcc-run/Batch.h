//===- Batch.h - many test data sets in one call ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_BATCH_H
#define QCC_TOOLS_QCC_RUN_BATCH_H

#include "Artifact.h"
#include "Compare.h"

namespace qcc::run {

/// Runs a test data set once; returns how its outputs compare. Without an entry
/// it is that of the inputs' sizes.
std::vector<Comparison> runTestData(const Artifact &artifact,
                                    std::optional<uint32_t> entry,
                                    const std::filesystem::path &folder,
                                    const Tolerance &tolerance);

/// Each line of `list` is an artifact, a tab, a folder of test data. Prints one
/// line per item: exit code, both, a reason, with tabs between. Every item runs
/// in a process of its own, at most `seconds` long: a crash is one failure, its
/// exit code 128 + the signal. Returns Ok or Missed.
ExitCode runBatch(const std::filesystem::path &list, const OpenOptions &options,
                  const Tolerance &tolerance, unsigned seconds);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_BATCH_H
