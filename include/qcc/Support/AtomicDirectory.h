//===- AtomicDirectory.h - a folder that is whole or not there --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An artifact is written in a folder beside its final place and renamed when
// every byte of it is on disk. Whatever ends the process before that, a signal
// that cannot be caught included, the final place holds what it held before.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SUPPORT_ATOMICDIRECTORY_H
#define QCC_SUPPORT_ATOMICDIRECTORY_H

#include "qcc/Support/TemporaryFolder.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>

namespace qcc {

/// Errors (CannotWrite, with the path) where nothing can be made at a path now:
/// the folder that it names is not there, or not to be written in.
llvm::Error checkParent(llvm::StringRef path);

/// A folder under construction, removed unless it is committed. All errors are
/// CannotWrite and name the final path.
class AtomicDirectory {
public:
  /// Makes `.NAME.tmp-PID-N` beside `finalPath`, holds a lock on it, and
  /// removes folders of that form that nobody holds (of processes that were
  /// killed). `isReplaceable` is asked about a folder that is there already and
  /// not empty: what is not ours is not replaced.
  static llvm::Expected<std::unique_ptr<AtomicDirectory>>
  create(llvm::StringRef finalPath,
         llvm::function_ref<bool(llvm::StringRef path)> isReplaceable);

  AtomicDirectory(const AtomicDirectory &) = delete;
  AtomicDirectory &operator=(const AtomicDirectory &) = delete;
  /// Path of a file in the folder under construction.
  std::string getPath(llvm::StringRef file) const;

  /// Writes a whole file.
  llvm::Error write(llvm::StringRef file, llvm::StringRef bytes);

  /// Makes a file of `size` bytes and has `fill` write them through a mapping:
  /// pages of the file, not anonymous memory. Space is reserved before, so
  /// that a full disk is an error and not a signal.
  llvm::Error writeMapped(
      llvm::StringRef file, uint64_t size,
      llvm::function_ref<llvm::Error(llvm::MutableArrayRef<char> bytes)> fill);

  /// Removes a file that is not part of the result.
  llvm::Error remove(llvm::StringRef file);

  /// Makes every file durable, then moves the folder to its place in one step
  /// (an older one is exchanged and removed) and makes that durable.
  llvm::Error commit();

private:
  AtomicDirectory(std::string finalPath,
                  std::unique_ptr<TemporaryFolder> folder)
      : finalPath(std::move(finalPath)), folder(std::move(folder)) {}
  llvm::Error fail(llvm::StringRef what) const;
  llvm::Error publish();

  std::string finalPath;
  std::unique_ptr<TemporaryFolder> folder;
};

} // namespace qcc

#endif // QCC_SUPPORT_ATOMICDIRECTORY_H
