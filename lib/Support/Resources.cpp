//===- Resources.cpp - files that are installed with qcc --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Resources.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include <dlfcn.h>

using namespace llvm;

namespace qcc {

Expected<std::string> findResource(StringRef name) {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&findResource), &info))
    return makeError(Diag::Internal, name, "cannot tell where libQCC lies");
  SmallString<256> path;
  if (sys::fs::real_path(info.dli_fname, path))
    path = info.dli_fname;
  sys::path::remove_filename(path);
  sys::path::append(path, "qcc", name);
  if (!sys::fs::exists(path))
    return makeError(Diag::Internal, path,
                     "expected a file of the installation"
                     ", but it is not there");
  return path.str().str();
}

Expected<std::string> findLLVMProgram(StringRef name) {
  SmallString<256> path(QCC_LLVM_TOOLS_DIR);
  sys::path::append(path, name);
  if (sys::fs::can_execute(path))
    return path.str().str();
  std::string versioned = (name + "-" + Twine(LLVM_VERSION_MAJOR)).str();
  if (ErrorOr<std::string> found = sys::findProgramByName(versioned))
    return *found;
  return makeError(Diag::CannotLink, versioned,
                   "expected the program " + versioned +
                       ", but it is not on the PATH");
}

} // namespace qcc
