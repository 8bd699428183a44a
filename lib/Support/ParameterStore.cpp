//===- ParameterStore.cpp - where the bytes of weights are ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/ParameterStore.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/ScratchFile.h"
#include "llvm/ADT/Twine.h"

#include <sys/mman.h>

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

llvm::Expected<llvm::MutableArrayRef<char>>
ParameterStore::addScratch(llvm::StringRef key, llvm::StringRef elementType,
                           llvm::ArrayRef<int64_t> shape, uint64_t size) {
  if (indices.contains(key))
    return makeError(Diag::BadGraph, key,
                     "expected a unique name of a parameter");
  llvm::MutableArrayRef<char> bytes;
  if (size) {
    auto mapped = mapScratch(key, size);
    if (!mapped)
      return mapped.takeError();
    bytes = *mapped;
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
