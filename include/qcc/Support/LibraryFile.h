//===- LibraryFile.h - whether a library is there as a whole ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_LIBRARYFILE_H
#define QCC_SUPPORT_LIBRARYFILE_H

#include <string>

namespace qcc {

/// What is wrong with the file of a shared library that is about to be loaded,
/// or "". The dynamic loader maps what the header tells of: if the file ends
/// before that, the process dies of SIGBUS instead of getting an error. Needs
/// no LLVM, for qcc-run has none; reads two small pieces of the file.
std::string findLibraryFault(const std::string &path);

} // namespace qcc

#endif // QCC_SUPPORT_LIBRARYFILE_H
