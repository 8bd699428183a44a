//===- ErrorSink.h - errors as lines and an exit code -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_ERRORSINK_H
#define QCC_TOOLS_QCC_ERRORSINK_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace qcc::driver {

/// Prints each error as one line, `qcc: error: FILE: node 'NAME': text; remedy
/// [QCC-E301]`, and knows the exit code: that of the first error.
class ErrorSink {
public:
  /// Colours are used if `useColor`.
  explicit ErrorSink(bool useColor) : useColor(useColor) {}

  /// The file that errors are about, unless they name one.
  void setFile(llvm::StringRef path) { file = path.str(); }

  /// Errors of MLIR go here while the handler lives.
  mlir::DiagnosticEngine::HandlerID attach(mlir::MLIRContext &context);

  void report(llvm::Error error);
  void warn(llvm::StringRef text);

  /// What others have reported ended with this code.
  void takeExitCode(int code) {
    if (exitCode == 0)
      exitCode = code;
  }

  /// 0 if there was no error. An error without a code is internal.
  int getExitCode() const { return exitCode; }
  /// The first line printed, for the table of a batch.
  llvm::StringRef getFirst() const { return first; }

private:
  void handle(mlir::Diagnostic &diagnostic);
  void print(llvm::StringRef where, llvm::StringRef text, llvm::StringRef code);

  bool useColor;
  std::string file, first;
  int exitCode = 0;
};

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_ERRORSINK_H
