//===- Tuning.h - which schedules were measured to be fast ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PACKAGE_TUNING_H
#define QCC_PACKAGE_TUNING_H

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace qcc {

/// A kernel whose schedules were timed.
struct TunedKernel {
  std::string work;     ///< SHA-256 of what it computes, at which levels
  std::string node;     ///< one of those that compute it, for people
  std::string schedule; ///< that was taken (describeSchedule)
  /// What was timed, the schedule of the cost model first, in seconds.
  std::vector<std::pair<std::string, double>> times;
};

/// The choices of `--tune`: a YAML file, schema `qcc-tuning/1`
/// (docs/tuning.md). It is an input of compiles that name it.
class Tuning {
public:
  /// Reads YAML. Errors: Usage, with `name` and the line; LimitReached (4 MiB).
  static llvm::Expected<Tuning> read(llvm::StringRef text,
                                     llvm::StringRef name);
  /// The same kernels in the same order give equal text.
  std::string write() const;

  bool empty() const { return kernels.empty(); }
  /// The kernel with this work, or null.
  const TunedKernel *find(llvm::StringRef work) const;
  /// Adds a kernel, or replaces the one with its work.
  void add(TunedKernel kernel);

private:
  std::vector<TunedKernel> kernels;
  llvm::StringMap<size_t> places; ///< by their work
};

} // namespace qcc

#endif // QCC_PACKAGE_TUNING_H
