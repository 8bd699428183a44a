//===- Writers.h - the text files of an artifact ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PACKAGE_WRITERS_H
#define QCC_LIB_PACKAGE_WRITERS_H

#include "Describe.h"
#include "qcc/Package/Package.h"

namespace qcc {

/// What the writers know of a finished package.
struct PackageFacts {
  const PackageRequest &request;
  ProgramText program;
  PackageResult result;
  std::vector<std::string> sourceHashes; ///< one per source
  std::string libraryFile;               ///< "libmodel.so"
};

/// Name and hash of each file, in the order in which they were written.
using FileHashes = std::vector<std::pair<std::string, std::string>>;

/// `model.h`: names, numbers, types and sizes of inputs and outputs for C.
std::string writeHeader(const PackageFacts &facts);
/// `manifest.json`, schema qcc-manifest/1.
std::string writeManifest(const PackageFacts &facts, const FileHashes &files);
/// The report of the request and what packaging adds to it.
Report makeReport(const PackageFacts &facts);
/// `profile.json`: what was measured; not part of what is hashed.
std::string writeProfile(const PackageRequest &request);

} // namespace qcc

#endif // QCC_LIB_PACKAGE_WRITERS_H
