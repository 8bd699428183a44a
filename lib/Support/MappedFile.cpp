//===- MappedFile.cpp - files of strangers, opened with care ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/MappedFile.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Path.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace qcc {

// O_NONBLOCK: opening a pipe that poses as a model must not wait for its
// writer.
static constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

MappedFile::~MappedFile() {
  if (size)
    ::munmap(const_cast<char *>(data), size);
}

std::shared_ptr<const MappedFile>
MappedFile::map(std::string path, int descriptor, std::string &problem) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    problem = "expected a regular file";
    ::close(descriptor);
    return nullptr;
  }
  auto size = static_cast<uint64_t>(info.st_size);
  const char *data = nullptr;
  if (size) {
    void *memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (memory == MAP_FAILED) {
      problem = std::string("cannot map the file: ") + std::strerror(errno);
      ::close(descriptor);
      return nullptr;
    }
    data = static_cast<const char *>(memory);
  }
  // The mapping keeps the file; a model may have more files than a process may
  // have descriptors.
  ::close(descriptor);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::move(path), data, size));
}

llvm::Expected<std::shared_ptr<const MappedFile>>
MappedFile::open(llvm::StringRef path) {
  std::string name = path.str();
  // Looked at first: to open a device may do something.
  struct stat info;
  if (::stat(name.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return makeError(Diag::BadModelFile, path, "expected a regular file");
  int descriptor = ::open(name.c_str(), kOpenFlags);
  if (descriptor < 0)
    return makeError(Diag::BadModelFile, path,
                     llvm::Twine("cannot open the file: ") +
                         std::strerror(errno) +
                         (errno == ENOENT   ? "; check the name"
                          : errno == EACCES ? "; check its permissions"
                                            : ""));
  std::string problem;
  std::shared_ptr<const MappedFile> file =
      map(std::move(name), descriptor, problem);
  if (!file)
    return makeError(Diag::BadModelFile, path, problem);
  return file;
}

llvm::Expected<Folder> Folder::containing(llvm::StringRef filePath) {
  std::string folder = llvm::sys::path::parent_path(filePath).str();
  if (folder.empty())
    folder = ".";
  int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return makeError(Diag::BadModelFile, filePath,
                     llvm::Twine("cannot open its folder: ") +
                         std::strerror(errno));
  return Folder(std::move(folder), descriptor);
}

Folder::Folder(Folder &&other) noexcept
    : path(std::move(other.path)), descriptor(other.descriptor) {
  other.descriptor = -1;
}

Folder::~Folder() {
  if (descriptor >= 0)
    ::close(descriptor);
}

/// For kernels without `openat2`: each component is opened by itself, none may
/// be a link.
static int openComponents(int folder, llvm::StringRef relativePath,
                          int lastFlags) {
  llvm::SmallVector<llvm::StringRef> parts;
  relativePath.split(parts, '/', -1, /*KeepEmpty=*/false);
  int current = ::dup(folder);
  for (size_t i = 0; i < parts.size() && current >= 0; ++i) {
    int flags =
        i + 1 < parts.size() ? O_PATH | O_DIRECTORY | O_CLOEXEC : lastFlags;
    int next = ::openat(current, parts[i].str().c_str(), flags | O_NOFOLLOW);
    int error = errno;
    ::close(current);
    errno = error;
    current = next;
  }
  return current;
}

/// Resolves a path below a folder, following no link; -1 with errno.
static int openBeneath(int folder, const std::string &name, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  int file = static_cast<int>(
      ::syscall(SYS_openat2, folder, name.c_str(), &how, sizeof(how)));
  // EPERM: some container profiles refuse calls that they do not know.
  if (file < 0 && (errno == ENOSYS || errno == EPERM))
    file = openComponents(folder, name, flags);
  return file;
}

/// Why a file must not be used as external data; null if it may. A second name
/// of a file may lie anywhere: what it holds need not be the model's.
static const char *findFault(int file) {
  struct stat info;
  if (::fstat(file, &info) != 0)
    return "it cannot be looked at";
  if (S_ISLNK(info.st_mode))
    return "the path goes through a symbolic link";
  if (!S_ISREG(info.st_mode))
    return "expected a regular file";
  if (info.st_nlink > 1)
    return "expected a file with one name, but it has hard links; copy it";
  return nullptr;
}

/// True for a path with a component `..`.
static bool hasParent(llvm::StringRef path) {
  llvm::SmallVector<llvm::StringRef> parts;
  path.split(parts, '/');
  return llvm::is_contained(parts, "..");
}

/// What an error of the resolver means to the person who has the model.
static std::string describeOpenError(int error) {
  switch (error) {
  case EXDEV:
    return "the path leaves the model's folder";
  case ELOOP:
    return "the path goes through a symbolic link";
  default:
    return std::strerror(error);
  }
}

llvm::Expected<std::shared_ptr<const MappedFile>>
Folder::open(llvm::StringRef relativePath) const {
  std::string name = relativePath.str();
  if (name.empty() || name.size() > 4096 || relativePath.contains('\0') ||
      relativePath.starts_with("/") || hasParent(relativePath))
    return makeError(Diag::BadExternalData, path,
                     "expected a relative path of external data without '..', "
                     "but got '" +
                         name + "'");
  auto cannotOpen = [&] {
    return makeError(Diag::BadExternalData, path,
                     "cannot open external data '" + name +
                         "': " + describeOpenError(errno));
  };
  // Looked at before it is opened, since to open a pipe or a device may do
  // something, and again after it, since it may be another file by then.
  int look = openBeneath(descriptor, name, O_PATH | O_CLOEXEC);
  if (look < 0)
    return cannotOpen();
  const char *fault = findFault(look);
  ::close(look);
  int file = fault ? -1 : openBeneath(descriptor, name, kOpenFlags);
  if (!fault && file < 0)
    return cannotOpen();
  if (!fault && (fault = findFault(file)))
    ::close(file);
  std::string problem = fault ? fault : "";
  std::shared_ptr<const MappedFile> mapped =
      fault ? nullptr : MappedFile::map(path + "/" + name, file, problem);
  if (!mapped)
    return makeError(Diag::BadExternalData, path,
                     "cannot use external data '" + name + "': " + problem);
  return mapped;
}

} // namespace qcc
