//===- Commands.h - the sub-commands of qcc ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_COMMANDS_H
#define QCC_TOOLS_QCC_COMMANDS_H

#include "ErrorSink.h"
#include "Options.h"
#include "Progress.h"
#include "mlir/IR/DialectRegistry.h"
#include "qcc/Plugin/Plugin.h"

namespace qcc::driver {

/// What every sub-command gets. Errors go to `sink`, which knows the exit code
/// then; results go to stdout.
struct Session {
  const CommandLine &line;
  ErrorSink &sink;
  std::string self;      ///< path of this program
  Extensions extensions; ///< what --load-plugin brought
  Progress::Mode progress = Progress::Mode::None;
};

llvm::Error runCompile(Session &session);
llvm::Error runBatch(Session &session);
llvm::Error runCalibrate(Session &session);
llvm::Error runMergeStats(Session &session);
llvm::Error runCheck(Session &session);
llvm::Error runInspect(Session &session);
llvm::Error runCompare(Session &session);
llvm::Error runEval(Session &session);
llvm::Error runReport(Session &session);
llvm::Error runVerify(Session &session);
llvm::Error runTargets(Session &session);
llvm::Error runSchemes(Session &session);
llvm::Error runExplain(Session &session);

/// The dialects of the compiler and of the plugins.
mlir::DialectRegistry makeRegistry(const Session &session);

/// Compiles with a context of its own and prints progress. Errors of MLIR go
/// to the sink.
llvm::Expected<CompileResult> compileModel(Session &session,
                                           CompileOptions options);

/// Errors (CannotWrite) where writeResult could not write now, to be asked
/// before the work: no folder, a folder, a file that the command reads.
llvm::Error checkResultPath(const CommandLine &line, llvm::StringRef path);

/// Writes a result of `--emit` or `calibrate`: to a file, whole or not at all,
/// to what is no file (a pipe, a device), or to stdout. Errors: CannotWrite,
/// also where the command reads the file.
llvm::Error writeResult(const CommandLine &line, llvm::StringRef path,
                        llvm::StringRef text);

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_COMMANDS_H
