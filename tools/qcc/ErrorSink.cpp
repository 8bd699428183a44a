//===- ErrorSink.cpp - errors as lines and an exit code ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ErrorSink.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/WithColor.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using llvm::StringRef;

namespace qcc::driver {

void ErrorSink::print(StringRef where, StringRef text, StringRef code) {
  const DiagInfo *info = findDiag(code);
  if (!info)
    info = &getDiagInfo(Diag::Internal);
  std::string line;
  llvm::raw_string_ostream os(line);
  if (!file.empty() && !where.starts_with(file))
    os << file << ": ";
  if (!where.empty())
    os << where << ": ";
  os << text;
  // A text that goes on after a semicolon has a remedy of its own.
  if (!text.contains("; "))
    os << "; " << info->remedy;
  os << " [" << info->code << "]";
  line = toPlainText(line);
  if (first.empty()) {
    first = line;
    exitCode = info->exitCode;
  }
  auto mode = useColor ? llvm::ColorMode::Enable : llvm::ColorMode::Disable;
  llvm::errs() << "qcc: ";
  llvm::WithColor(llvm::errs(), llvm::HighlightColor::Error, mode) << "error: ";
  llvm::errs() << line << "\n";
}

void ErrorSink::warn(StringRef text) {
  auto mode = useColor ? llvm::ColorMode::Enable : llvm::ColorMode::Disable;
  llvm::errs() << "qcc: ";
  llvm::WithColor(llvm::errs(), llvm::HighlightColor::Warning, mode)
      << "warning: ";
  llvm::errs() << toPlainText(text) << "\n";
}

void ErrorSink::report(llvm::Error error) {
  llvm::handleAllErrors(
      std::move(error),
      [&](const CodedError &coded) {
        print(coded.getWhere(), coded.getText(),
              getDiagInfo(coded.getDiag()).code);
      },
      [&](const llvm::ErrorInfoBase &other) {
        print("", other.message(), getDiagInfo(Diag::Internal).code);
      });
}

void ErrorSink::handle(Diagnostic &diagnostic) {
  std::string text = diagnostic.str();
  // `[QCC-E301] text`, as emitCoded writes it.
  StringRef rest = text, code;
  if (rest.consume_front("[")) {
    std::tie(code, rest) = rest.split("] ");
    if (!findDiag(code)) {
      rest = text;
      code = "";
    }
  }
  StringRef node = getNodeName(diagnostic.getLocation());
  std::string where = node.empty() ? "" : ("node '" + node + "'").str();
  if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
    print(where, rest, code);
  else if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
    warn(where.empty() ? rest.str() : where + ": " + rest.str());
}

DiagnosticEngine::HandlerID ErrorSink::attach(MLIRContext &context) {
  return context.getDiagEngine().registerHandler(
      [this](Diagnostic &diagnostic) {
        handle(diagnostic);
        return success();
      });
}

} // namespace qcc::driver
