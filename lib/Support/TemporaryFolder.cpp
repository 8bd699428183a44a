//===- TemporaryFolder.cpp - folders that do not outlive us -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/TemporaryFolder.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;

namespace qcc {

namespace {

/// The folders that are there. A signal concerns the whole process, so this
/// list does too.
struct OpenFolders {
  std::mutex mutex;
  std::set<std::string> paths;
  /// No name comes twice: the dynamic loader takes a name that it knows for the
  /// library that it has loaded from there, even if that file is gone.
  unsigned next = 0;
  bool refused = false;
};

OpenFolders &openFolders() {
  static OpenFolders folders;
  return folders;
}

/// Opens a folder of this user and locks it; -1 if it is locked or not there.
/// A link, or a folder of somebody else, is not touched: in a place that all
/// may write, its name could be a trap.
int lockFolder(const std::string &path) {
  int descriptor =
      open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0)
    return -1;
  struct stat status;
  // A folder without links was removed between open and lock.
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 &&
      fstat(descriptor, &status) == 0 && status.st_nlink > 0 &&
      status.st_uid == geteuid())
    return descriptor;
  close(descriptor);
  return -1;
}

/// Removes folders of killed processes: those that can be locked.
void removeStale(StringRef prefix) {
  StringRef parent = sys::path::parent_path(prefix);
  std::error_code error;
  for (sys::fs::directory_iterator it(parent.empty() ? "." : parent, error),
       end;
       !error && it != end; it.increment(error)) {
    if (!sys::path::filename(it->path())
             .starts_with(sys::path::filename(prefix)))
      continue;
    int descriptor = lockFolder(it->path());
    if (descriptor < 0)
      continue;
    removeFolder(it->path());
    close(descriptor);
  }
}

} // namespace

/// What stays is removed by the next one who makes a folder here.
void removeFolder(StringRef path) {
  // What a link leads to is somebody else's, and may be the new folder.
  if (sys::fs::is_symlink_file(path)) {
    (void)sys::fs::remove(path);
    return;
  }
  std::error_code ignored = sys::fs::remove_directories(path);
  (void)ignored;
}

Expected<std::unique_ptr<TemporaryFolder>> TemporaryFolder::create() {
  SmallString<128> prefix;
  sys::path::system_temp_directory(/*ErasedOnReboot=*/true, prefix);
  std::string where = prefix.str().str();
  sys::path::append(prefix, "qcc-tmp-");
  return create(prefix, 0700, where);
}

Expected<std::unique_ptr<TemporaryFolder>>
TemporaryFolder::create(StringRef prefix, unsigned mode, StringRef where) {
  removeStale(prefix);
  // The name is nobody's business.
  StringRef parent = sys::path::parent_path(prefix);
  std::string folder = parent.empty() ? "." : parent.str();
  OpenFolders &folders = openFolders();
  for (unsigned attempt = 0; attempt < 64; ++attempt) {
    std::lock_guard<std::mutex> guard(folders.mutex);
    if (folders.refused)
      break;
    std::string path =
        (prefix + Twine(getpid()) + "-" + Twine(folders.next++)).str();
    if (mkdir(path.c_str(), mode) != 0) {
      if (errno == EEXIST)
        continue;
      return makeError(Diag::CannotWrite, where,
                       "cannot make a folder in '" + folder +
                           "': " + strerror(errno));
    }
    int descriptor = lockFolder(path);
    if (descriptor < 0) // another process took it for a stale one
      continue;
    folders.paths.insert(path);
    return std::unique_ptr<TemporaryFolder>(
        new TemporaryFolder(std::move(path), descriptor));
  }
  return makeError(Diag::CannotWrite, where,
                   "cannot make a folder in '" + folder +
                       "': interrupted, or too many left there");
}

TemporaryFolder::~TemporaryFolder() {
  OpenFolders &folders = openFolders();
  std::lock_guard<std::mutex> guard(folders.mutex);
  if (!released)
    removeFolder(path);
  folders.paths.erase(path);
  close(descriptor);
}

Error TemporaryFolder::release(StringRef where, function_ref<Error()> move) {
  OpenFolders &folders = openFolders();
  std::lock_guard<std::mutex> guard(folders.mutex);
  if (folders.refused)
    return makeError(Diag::CannotWrite, where, "interrupted");
  if (Error failure = move())
    return failure;
  released = true;
  folders.paths.erase(path);
  return Error::success();
}

void TemporaryFolder::removeAll() {
  OpenFolders &folders = openFolders();
  std::lock_guard<std::mutex> guard(folders.mutex);
  folders.refused = true;
  for (const std::string &path : folders.paths)
    removeFolder(path);
  folders.paths.clear();
}

} // namespace qcc
