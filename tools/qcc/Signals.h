//===- Signals.h - how the program ends early -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_SIGNALS_H
#define QCC_TOOLS_QCC_SIGNALS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace qcc::driver {

/// On SIGINT, SIGTERM or SIGHUP the program removes what it was writing and
/// ends with 130.
void handleInterrupts();

/// A crash, a fatal error of LLVM or the end of memory is one line and exit
/// code 1 or 7. With QCC_BACKTRACE set the stack is printed too.
void handleCrashes();

/// A crash from here on may be that of a plugin of these. Called once.
void notePlugins(llvm::ArrayRef<std::string> paths);

/// The end of memory alone, for workers: one line and exit code 7.
void handleOutOfMemory();

/// Bounds the memory that this process and those it starts may allocate.
llvm::Error limitMemory(uint64_t mebibytes);

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_SIGNALS_H
