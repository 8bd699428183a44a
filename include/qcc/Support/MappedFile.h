//===- MappedFile.h - files of strangers, opened with care ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The only code of the compiler that opens model files and what they refer to.
// Files are regular and mapped read-only; a path that comes from
// inside a model is resolved by the kernel below the model's folder.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SUPPORT_MAPPEDFILE_H
#define QCC_SUPPORT_MAPPEDFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>

namespace qcc {

/// A regular file mapped read-only as a whole. Its pages are file-backed: they
/// cost no anonymous memory.
class MappedFile {
public:
  /// Opens the file that a user named. Follows symbolic links. Errors:
  /// BadModelFile.
  static llvm::Expected<std::shared_ptr<const MappedFile>>
  open(llvm::StringRef path);

  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;
  ~MappedFile();

  llvm::StringRef getPath() const { return path; }
  llvm::ArrayRef<char> getBytes() const { return {data, size}; }
  uint64_t getSize() const { return size; }

private:
  friend class Folder;
  MappedFile(std::string path, const char *data, uint64_t size)
      : path(std::move(path)), data(data), size(size) {}
  /// Takes the descriptor over. `problem` says what is wrong if there is no
  /// file.
  static std::shared_ptr<const MappedFile> map(std::string path, int descriptor,
                                               std::string &problem);

  std::string path;
  const char *data;
  uint64_t size;
};

/// A folder that names from inside a model are resolved against.
class Folder {
public:
  /// The folder of a file that a user named. Errors: BadModelFile.
  static llvm::Expected<Folder> containing(llvm::StringRef filePath);

  Folder(Folder &&other) noexcept;
  Folder &operator=(Folder &&) = delete;
  ~Folder();

  /// Opens a regular file below the folder by a relative path, without
  /// following a link anywhere on the way and without leaving the folder
  /// (`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; component by
  /// component where the kernel is older). Refuses `..`, files with more than
  /// one hard link, and opens nothing but regular files. Errors:
  /// BadExternalData.
  llvm::Expected<std::shared_ptr<const MappedFile>>
  open(llvm::StringRef relativePath) const;

private:
  Folder(std::string path, int descriptor)
      : path(std::move(path)), descriptor(descriptor) {}
  std::string path;
  int descriptor;
};

} // namespace qcc

#endif // QCC_SUPPORT_MAPPEDFILE_H
