//===- KernelCache.h - objects by what they were made from ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_COMPILER_KERNELCACHE_H
#define QCC_LIB_CODEGEN_COMPILER_KERNELCACHE_H

#include "qcc/Codegen/KernelCompiler.h"

namespace qcc {

/// A folder of objects, each under the SHA-256 of its module, of the level and
/// of this build of qcc and LLVM. Several processes may use it at a time:
/// entries appear by rename. It may be deleted at any time. What goes wrong
/// with it (no space, no permission, an entry that is damaged or another's)
/// only means a compile more.
class KernelCache {
public:
  /// `folder` may be "": nothing is kept then.
  explicit KernelCache(llvm::StringRef folder);
  std::optional<std::string> lookup(const KernelJob &job) const;
  void insert(const KernelJob &job, llvm::StringRef object) const;

private:
  std::string getKey(const KernelJob &job) const;
  std::string getPath(llvm::StringRef key) const;
  std::string folder, build;
};

/// Everything of a level that decides the code, as text.
std::string getLevelKey(const Capabilities &caps);
/// The level that such a text describes; none if it is damaged.
std::optional<Capabilities> parseLevelKey(llvm::StringRef text);

} // namespace qcc

#endif // QCC_LIB_CODEGEN_COMPILER_KERNELCACHE_H
