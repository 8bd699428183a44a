//===- Resources.h - files that are installed with qcc ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_RESOURCES_H
#define QCC_SUPPORT_RESOURCES_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace qcc {

/// Path of a file of `lib/qcc`, the folder beside libQCC.so that holds the
/// runtime and the stub libraries; the same in a build tree and where qcc is
/// installed. Errors: Internal if it is not there.
llvm::Expected<std::string> findResource(llvm::StringRef name);

/// Path of a program of LLVM (`ld.lld`, ...) of the version qcc was built
/// with: where LLVM lay then, or `NAME-22` on the PATH. Errors: CannotLink.
llvm::Expected<std::string> findLLVMProgram(llvm::StringRef name);

} // namespace qcc

#endif // QCC_SUPPORT_RESOURCES_H
