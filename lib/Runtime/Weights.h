//===- Weights.h - finds, maps and checks weights ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_WEIGHTS_H
#define QCC_LIB_RUNTIME_WEIGHTS_H

#include "Support.h"

#include "qcc/Runtime/ProgramView.h"

namespace qcc::runtime {

/// The weights of an open model: in the library, in a mapped file, or in the
/// host's memory.
class Weights {
public:
  /// Finds them as `options` say and compares them with the program.
  /// `embedded` is what the library carries.
  qcc_status open(const ProgramView &program, const qcc_open_options &options,
                  const void *embedded, ErrorText &error);
  void close();

  /// The first weight.
  char *data() const { return bytes; }

private:
  qcc_status openFile(const char *path, uint64_t size, ErrorText &error);
  qcc_status map(int fd, const char *path, uint64_t size, ErrorText &error);
  qcc_status check(const ProgramView &program, const char *file, bool whole,
                   ErrorText &error) const;

  char *bytes = nullptr;
  void *mapped = nullptr;
  uint64_t mappedBytes = 0;
};

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_WEIGHTS_H
