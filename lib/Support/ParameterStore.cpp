//===- ParameterStore.cpp - where the bytes of weights are ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/ParameterStore.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Path.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace qcc {

ParameterStore::~ParameterStore() {
  for (llvm::MutableArrayRef<char> mapping : scratch)
    ::munmap(mapping.data(), mapping.size());
}

Parameter &ParameterStore::append(llvm::StringRef key,
                                  llvm::StringRef elementType,
                                  llvm::ArrayRef<int64_t> shape) {
  indices[key] = parameters.size();
  Parameter &parameter = parameters.emplace_back();
  parameter.key = key.str();
  parameter.elementType = elementType.str();
  parameter.shape.assign(shape.begin(), shape.end());
  return parameter;
}

llvm::Error ParameterStore::add(llvm::StringRef key,
                                llvm::StringRef elementType,
                                llvm::ArrayRef<int64_t> shape,
                                std::shared_ptr<const MappedFile> file,
                                uint64_t offset, uint64_t size) {
  if (indices.contains(key))
    return makeError(Diag::BadGraph, key,
                     "expected a unique name of a parameter");
  if (offset > file->getSize() || size > file->getSize() - offset)
    return makeError(Diag::BadExternalData, key,
                     "expected a range within the " +
                         llvm::Twine(file->getSize()) + " bytes of '" +
                         file->getPath() + "', but got " + llvm::Twine(size) +
                         " bytes at " + llvm::Twine(offset));
  Parameter &parameter = append(key, elementType, shape);
  parameter.bytes = file->getBytes().slice(offset, size);
  parameter.offset = offset;
  parameter.file = std::move(file);
  return llvm::Error::success();
}

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

llvm::Expected<llvm::MutableArrayRef<char>>
ParameterStore::addScratch(llvm::StringRef key, llvm::StringRef elementType,
                           llvm::ArrayRef<int64_t> shape, uint64_t size) {
  if (indices.contains(key))
    return makeError(Diag::BadGraph, key,
                     "expected a unique name of a parameter");
  llvm::MutableArrayRef<char> bytes;
  if (size) {
    int file = openUnnamedFile();
    // Space is taken now: running out of it later would be a signal, not an
    // error.
    int error =
        file < 0 ? errno : ::posix_fallocate(file, 0, static_cast<off_t>(size));
    void *memory = MAP_FAILED;
    if (!error) {
      memory =
          ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      error = memory == MAP_FAILED ? errno : 0;
    }
    if (file >= 0)
      ::close(file);
    if (error)
      return makeError(Diag::CannotWrite, key,
                       "cannot make a scratch file of " + llvm::Twine(size) +
                           " bytes: " + std::strerror(error));
    bytes = {static_cast<char *>(memory), size};
    scratch.push_back(bytes);
  }
  append(key, elementType, shape).bytes = bytes;
  return bytes;
}

const Parameter *ParameterStore::lookup(llvm::StringRef key) const {
  auto found = indices.find(key);
  return found == indices.end() ? nullptr : &parameters[found->second];
}

llvm::ArrayRef<char> ParameterStore::getBytes(llvm::StringRef key) const {
  const Parameter *parameter = lookup(key);
  return parameter ? parameter->bytes : llvm::ArrayRef<char>();
}

std::string ParameterStore::makeUniqueKey(llvm::StringRef base) const {
  std::string key = base.str();
  for (size_t number = 1; indices.contains(key); ++number)
    key = (base + "_" + llvm::Twine(number)).str();
  return key;
}

} // namespace qcc
