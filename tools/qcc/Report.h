//===- Report.h - pages of artifacts ----------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_REPORT_H
#define QCC_TOOLS_QCC_REPORT_H

#include "Options.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <utility>

namespace qcc::driver {

/// Errors (CannotWrite) where a page of artifacts could not be written now, or
/// would be a part of one of them.
llvm::Error checkPagePath(const CommandLine &line, llvm::StringRef path,
                          llvm::ArrayRef<std::string> artifacts);

/// Writes a page of artifacts (folders) to a file, as writeResult. `profiles`
/// are files of `qcc-run --profile --json`, one for each artifact or none;
/// `measurement` is the name and the text of what `qcc eval --json` prints, or
/// "". Errors: BadArtifact, BadModelFile (no such file), CannotWrite, Usage.
llvm::Error writeReportPage(const CommandLine &line, llvm::StringRef path,
                            llvm::ArrayRef<std::string> artifacts,
                            llvm::ArrayRef<std::string> profiles,
                            std::pair<std::string, std::string> measurement);

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_REPORT_H
