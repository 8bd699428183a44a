//===- ScratchFile.cpp - memory that is a file without a name ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/ScratchFile.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Path.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace qcc {

/// Small arrays share a file of this size: a process may have only so many
/// mappings.
static constexpr uint64_t kFileBytes = uint64_t(32) << 20;
static constexpr uint64_t kAlignment = 64;

/// A descriptor of a file without a name in the folder for temporary files, or
/// -1.
static int openUnnamedFile() {
  llvm::SmallString<128> folder;
  llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, folder);
  int file =
      ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (file >= 0)
    return file;
  llvm::sys::path::append(folder, "qcc-scratch-XXXXXX");
  std::string name = folder.str().str();
  file = ::mkostemp(name.data(), O_CLOEXEC);
  if (file >= 0)
    ::unlink(name.c_str());
  return file;
}

llvm::Expected<llvm::MutableArrayRef<char>> mapScratch(llvm::StringRef what,
                                                       uint64_t size) {
  int file = openUnnamedFile();
  int error =
      file < 0 ? errno : ::posix_fallocate(file, 0, static_cast<off_t>(size));
  void *memory = MAP_FAILED;
  if (!error) {
    memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    error = memory == MAP_FAILED ? errno : 0;
  }
  if (file >= 0)
    ::close(file);
  if (error)
    return makeError(Diag::CannotWrite, what,
                     "cannot make a scratch file of " + llvm::Twine(size) +
                         " bytes: " + std::strerror(error));
  return llvm::MutableArrayRef<char>(static_cast<char *>(memory), size);
}

ScratchArena::~ScratchArena() {
  for (llvm::MutableArrayRef<char> file : files)
    ::munmap(file.data(), file.size());
}

llvm::Expected<llvm::MutableArrayRef<char>>
ScratchArena::allocate(llvm::StringRef what, uint64_t size) {
  if (size > UINT64_MAX - kAlignment)
    return makeError(Diag::CannotWrite, what, "too many bytes");
  uint64_t padded = (size + kAlignment - 1) / kAlignment * kAlignment;
  std::lock_guard<std::mutex> lock(mutex);
  if (padded > rest.size()) {
    auto file = mapScratch(what, std::max(padded, kFileBytes));
    if (!file)
      return file.takeError();
    files.push_back(*file);
    rest = *file;
  }
  llvm::MutableArrayRef<char> result = rest.take_front(size);
  rest = rest.drop_front(padded);
  return result;
}

} // namespace qcc
