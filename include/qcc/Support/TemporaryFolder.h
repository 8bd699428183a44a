//===- TemporaryFolder.h - folders that do not outlive us -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_TEMPORARYFOLDER_H
#define QCC_SUPPORT_TEMPORARYFOLDER_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>

namespace qcc {

/// A folder that is removed with everything in it. Its process holds a lock on
/// it; a process that is killed leaves a folder that nobody holds, and the next
/// one that makes a folder of such a name removes it. All errors are
/// CannotWrite.
class TemporaryFolder {
public:
  /// Makes `qcc-tmp-PID-N` where temporary files belong, for this user alone.
  static llvm::Expected<std::unique_ptr<TemporaryFolder>> create();
  /// Makes the folder `prefix` + `PID-N`. Errors name `where`.
  static llvm::Expected<std::unique_ptr<TemporaryFolder>>
  create(llvm::StringRef prefix, unsigned mode, llvm::StringRef where);

  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;
  ~TemporaryFolder();

  const std::string &getPath() const { return path; }

  /// Lets `move` give the folder another name, after which it stays. Errors
  /// that name `where`, also if folders were removed by then.
  llvm::Error release(llvm::StringRef where,
                      llvm::function_ref<llvm::Error()> move);

  /// Removes every folder of this process: what a program does before it ends
  /// because a user interrupted it. Folders made later are refused.
  static void removeAll();

private:
  TemporaryFolder(std::string path, int descriptor)
      : path(std::move(path)), descriptor(descriptor) {}

  std::string path;
  int descriptor;
  bool released = false;
};

/// Removes a folder as far as that goes.
void removeFolder(llvm::StringRef path);

} // namespace qcc

#endif // QCC_SUPPORT_TEMPORARYFOLDER_H
