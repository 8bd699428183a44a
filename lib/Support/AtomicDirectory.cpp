//===- AtomicDirectory.cpp - a folder that is whole or not there -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/AtomicDirectory.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace llvm;

namespace qcc {

namespace {

/// linux/fs.h has these, but not in the C library's headers of every version.
constexpr unsigned kRenameNoReplace = 1, kRenameExchange = 2;

int renameAt2(const std::string &from, const std::string &to, unsigned flags) {
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from.c_str(),
                                  AT_FDCWD, to.c_str(), flags));
}

std::string folderOf(StringRef path) {
  StringRef parent = sys::path::parent_path(path);
  return parent.empty() ? "." : parent.str();
}

bool syncPath(const std::string &path, int flags) {
  int descriptor = open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0)
    return false;
  bool done = fsync(descriptor) == 0;
  return close(descriptor) == 0 && done;
}

/// Empty, not there, or accepted by the caller.
bool mayReplace(StringRef path, function_ref<bool(StringRef)> isReplaceable) {
  if (!sys::fs::exists(path))
    return true;
  if (!sys::fs::is_directory(path))
    return false;
  std::error_code error;
  bool empty =
      sys::fs::directory_iterator(path, error) == sys::fs::directory_iterator();
  return !error && (empty || isReplaceable(path));
}

} // namespace

Error checkParent(StringRef path) {
  std::string folder = folderOf(path);
  if (!sys::fs::exists(folder))
    return makeError(Diag::CannotWrite, path,
                     "there is no folder '" + folder + "'; make it first");
  if (!sys::fs::is_directory(folder))
    return makeError(Diag::CannotWrite, path,
                     "expected a folder, but '" + folder +
                         "' is none; name another place");
  if (std::error_code error =
          sys::fs::access(folder, sys::fs::AccessMode::Write))
    return makeError(Diag::CannotWrite, path,
                     "cannot write in the folder '" + folder +
                         "': " + error.message());
  return Error::success();
}

Error AtomicDirectory::fail(StringRef what) const {
  return makeError(Diag::CannotWrite, finalPath,
                   what + ": " + StringRef(strerror(errno)));
}

Expected<std::unique_ptr<AtomicDirectory>>
AtomicDirectory::create(StringRef requested,
                        function_ref<bool(StringRef)> isReplaceable) {
  SmallString<256> finalPath(requested);
  while (finalPath.size() > 1 && finalPath.back() == '/')
    finalPath.pop_back();
  // Where a link leads is what is replaced, not the link.
  SmallString<256> real;
  if (sys::fs::is_symlink_file(finalPath) &&
      !sys::fs::real_path(finalPath, real))
    finalPath = real;
  StringRef name = sys::path::filename(finalPath);
  if (name.empty() || name == "." || name == ".." || name == "/")
    return makeError(Diag::CannotWrite, requested,
                     "expected the name of a folder to make; NAME.qcc, for "
                     "example");
  if (!mayReplace(finalPath, isReplaceable))
    return makeError(Diag::CannotWrite, requested,
                     "is there already and is not an artifact of qcc; it will "
                     "not be replaced");
  if (Error error = checkParent(finalPath))
    return std::move(error);
  SmallString<256> prefix(folderOf(finalPath));
  sys::path::append(prefix, "." + name + ".tmp-");
  auto folder = TemporaryFolder::create(prefix, 0777, requested);
  if (!folder)
    return folder.takeError();
  return std::unique_ptr<AtomicDirectory>(
      new AtomicDirectory(finalPath.str().str(), std::move(*folder)));
}

std::string AtomicDirectory::getPath(StringRef file) const {
  SmallString<256> result(folder->getPath());
  sys::path::append(result, file);
  return result.str().str();
}

Error AtomicDirectory::write(StringRef file, StringRef bytes) {
  int out = open(getPath(file).c_str(),
                 O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (out < 0)
    return fail(file);
  while (!bytes.empty()) {
    ssize_t count = ::write(out, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0) {
      Error error = fail(file);
      close(out);
      return error;
    }
    bytes = bytes.drop_front(count);
  }
  return close(out) == 0 ? Error::success() : fail(file);
}

Error AtomicDirectory::writeMapped(
    StringRef file, uint64_t size,
    function_ref<Error(MutableArrayRef<char>)> fill) {
  int out =
      open(getPath(file).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (out < 0)
    return fail(file);
  llvm::scope_exit closeFile([&] { close(out); });
  if (size == 0)
    return fill({});
  if (int error = posix_fallocate(out, 0, static_cast<off_t>(size))) {
    errno = error;
    return fail(file);
  }
  void *data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
  if (data == MAP_FAILED)
    return fail(file);
  Error error = fill({static_cast<char *>(data), static_cast<size_t>(size)});
  munmap(data, size);
  return error;
}

Error AtomicDirectory::remove(StringRef file) {
  return unlink(getPath(file).c_str()) == 0 ? Error::success() : fail(file);
}

/// Moves the folder to its place. Where the file system cannot exchange two
/// folders, there is a moment with none, but never one with a part.
Error AtomicDirectory::publish() {
  const std::string &path = folder->getPath();
  if (renameAt2(path, finalPath, kRenameNoReplace) == 0)
    return Error::success();
  if (errno != EEXIST && errno != EINVAL && errno != ENOSYS)
    return fail("cannot be renamed");
  if (renameAt2(path, finalPath, kRenameExchange) == 0) {
    removeFolder(path);
    return Error::success();
  }
  std::string aside = path + "-old";
  if (rename(finalPath.c_str(), aside.c_str()) != 0 && errno != ENOENT)
    return fail("the older folder cannot be renamed");
  if (rename(path.c_str(), finalPath.c_str()) != 0)
    return fail("cannot be renamed");
  removeFolder(aside);
  return Error::success();
}

Error AtomicDirectory::commit() {
  const std::string &path = folder->getPath();
  std::error_code error;
  for (sys::fs::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error))
    if (!syncPath(it->path(), O_RDONLY))
      return fail(sys::path::filename(it->path()));
  if (error || !syncPath(path, O_RDONLY | O_DIRECTORY))
    return fail("cannot be made durable");
  if (Error failure = folder->release(finalPath, [&] { return publish(); }))
    return failure;
  // The result is in place; that its name is durable cannot be undone if it
  // fails, and is worth no error.
  (void)syncPath(folderOf(finalPath), O_RDONLY | O_DIRECTORY);
  return Error::success();
}

} // namespace qcc
