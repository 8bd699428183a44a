//===- Parallel.h - steps on several threads --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_PARALLEL_H
#define QCC_SUPPORT_PARALLEL_H

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// Calls `step` for 0 to `count` - 1 on up to `threads` threads, this one among
/// them. `progress` is told how many are done, 0 at first, by one thread at a
/// time. An error ends it once the steps that run are done; of several it is
/// that of the first step.
llvm::Error runParallel(size_t count, unsigned threads,
                        llvm::function_ref<llvm::Error(size_t)> step,
                        llvm::function_ref<void(size_t done)> progress);

/// The same for steps that cannot fail.
void runParallel(size_t count, unsigned threads,
                 llvm::function_ref<void(size_t)> step);

} // namespace qcc

#endif // QCC_SUPPORT_PARALLEL_H
