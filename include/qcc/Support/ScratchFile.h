//===- ScratchFile.h - memory that is a file without a name -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is large and seldom read lies in the folder for temporary files, mapped:
// the kernel may write its pages out and drop them, which it cannot do with
// anonymous memory. The file has no name, so that it is gone with the process
// however that ends.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SUPPORT_SCRATCHFILE_H
#define QCC_SUPPORT_SCRATCHFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <mutex>

namespace qcc {

/// Maps a new file of `size` zero bytes (more than 0), at the start of a page.
/// Space on disk is taken now: running out of it later would be a signal and
/// not an error. The caller unmaps it. Errors: CannotWrite, with `what`.
llvm::Expected<llvm::MutableArrayRef<char>> mapScratch(llvm::StringRef what,
                                                       uint64_t size);

/// Arrays in scratch files, which go together.
class ScratchArena {
public:
  ScratchArena() = default;
  ScratchArena(const ScratchArena &) = delete;
  ScratchArena &operator=(const ScratchArena &) = delete;
  ~ScratchArena();

  /// Room for `size` bytes, zero at first, aligned to 64. May be called by
  /// several threads at once. Errors: CannotWrite, with `what`.
  llvm::Expected<llvm::MutableArrayRef<char>> allocate(llvm::StringRef what,
                                                       uint64_t size);

private:
  std::mutex mutex;
  llvm::SmallVector<llvm::MutableArrayRef<char>> files;
  /// What is left of the last file.
  llvm::MutableArrayRef<char> rest;
};

} // namespace qcc

#endif // QCC_SUPPORT_SCRATCHFILE_H
