//===- Diagnostics.h - coded errors that users can cause --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_DIAGNOSTICS_H
#define QCC_SUPPORT_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// Every diagnostic of Diagnostics.def.
enum class Diag {
#define QCC_DIAGNOSTIC(name, code, exitCode, summary, remedy) name,
#include "qcc/Support/Diagnostics.def"
};

/// What is known of a diagnostic: stable code, exit code of the program, one
/// line of summary and of remedy.
struct DiagInfo {
  Diag id;
  llvm::StringRef name, code;
  int exitCode;
  llvm::StringRef summary, remedy;
};
const DiagInfo &getDiagInfo(Diag id);
llvm::ArrayRef<DiagInfo> getAllDiags();
/// Looks a code such as `QCC-E301` up; null if there is none.
const DiagInfo *findDiag(llvm::StringRef code);

/// An error with a diagnostic's identity. `where` names file, node or flag; it
/// may be empty.
class CodedError : public llvm::ErrorInfo<CodedError> {
public:
  static char ID;
  CodedError(Diag id, std::string where, std::string text)
      : id(id), where(std::move(where)), text(std::move(text)) {}
  void log(llvm::raw_ostream &os) const override;
  std::error_code convertToErrorCode() const override {
    return llvm::inconvertibleErrorCode();
  }
  Diag getDiag() const { return id; }
  llvm::StringRef getText() const { return text; }
  llvm::StringRef getWhere() const { return where; }

private:
  Diag id;
  std::string where, text;
};

/// Makes a CodedError: `return makeError(Diag::BadShape, nodeName, "expected 4
/// inputs, but got 3")`.
llvm::Error makeError(Diag id, llvm::Twine where, llvm::Twine text);

/// Emits an MLIR error at `loc` whose text ends with the code: `text
/// [QCC-E301]`. The driver finds the exit code from it (`exitCodeOf`).
mlir::InFlightDiagnostic emitCoded(mlir::Location loc, Diag id);

/// Name of the innermost NameLoc of a location (the ONNX node), or "".
llvm::StringRef getNodeName(mlir::Location loc);

/// Text out of files as a terminal may be given it: what is no UTF-8 as U+FFFD,
/// a space for each control character (C0, DEL, C1) and for marks that change
/// the direction of what follows.
std::string toPlainText(llvm::StringRef text);

/// `node 'NAME'`, as errors say where they are, or "".
std::string describeNode(mlir::Location loc);
/// The name in `node 'NAME'`, or "" of a file, a flag or a value.
llvm::StringRef getDescribedNode(llvm::StringRef where);

} // namespace qcc

#endif // QCC_SUPPORT_DIAGNOSTICS_H
