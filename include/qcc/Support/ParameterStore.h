//===- ParameterStore.h - where the bytes of weights are --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_PARAMETERSTORE_H
#define QCC_SUPPORT_PARAMETERSTORE_H

#include "qcc/Support/MappedFile.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include <deque>

namespace qcc {

/// One weight: a range of bytes of a mapped file, row-major, little-endian, of
/// any alignment.
struct Parameter {
  std::string key;
  /// As printed in the IR: `f32`, `ui8`, `bf16`, ... Sub-byte elements take one
  /// byte each.
  std::string elementType;
  llvm::SmallVector<int64_t> shape;
  llvm::ArrayRef<char> bytes;
  /// The file the bytes lie in and the offset of the first; null for a scratch
  /// entry.
  std::shared_ptr<const MappedFile> file;
  uint64_t offset = 0;
};

/// Weights by key, in the order they were added. Nothing is copied: entries are
/// ranges of mapped model files, or of unlinked scratch files, so that the
/// kernel may drop their pages at any time.
class ParameterStore {
public:
  ParameterStore() = default;
  ParameterStore(const ParameterStore &) = delete;
  ParameterStore &operator=(const ParameterStore &) = delete;
  ~ParameterStore();

  /// Adds `size` bytes at `offset` of a file. Errors: a key that is there
  /// already (BadGraph), a range outside of the file (BadExternalData).
  llvm::Error add(llvm::StringRef key, llvm::StringRef elementType,
                  llvm::ArrayRef<int64_t> shape,
                  std::shared_ptr<const MappedFile> file, uint64_t offset,
                  uint64_t size);

  /// Adds an entry of `size` zero bytes on disk, aligned to a page, for the
  /// caller to fill. The scratch file has no name and goes with the store.
  /// Errors: a key that is there already (BadGraph), no space (CannotWrite).
  llvm::Expected<llvm::MutableArrayRef<char>>
  addScratch(llvm::StringRef key, llvm::StringRef elementType,
             llvm::ArrayRef<int64_t> shape, uint64_t size);

  /// The entry of a key, or null. Pointers stay valid while the store lives.
  const Parameter *lookup(llvm::StringRef key) const;
  /// The bytes of a key; empty if there is none.
  llvm::ArrayRef<char> getBytes(llvm::StringRef key) const;
  /// `base`, or `base` with the lowest number that makes it unique.
  std::string makeUniqueKey(llvm::StringRef base) const;

  auto begin() const { return parameters.begin(); }
  auto end() const { return parameters.end(); }
  size_t size() const { return parameters.size(); }

private:
  Parameter &append(llvm::StringRef key, llvm::StringRef elementType,
                    llvm::ArrayRef<int64_t> shape);

  std::deque<Parameter> parameters;
  llvm::StringMap<size_t> indices;
  /// Mappings of scratch entries, to be unmapped.
  llvm::SmallVector<llvm::MutableArrayRef<char>> scratch;
};

} // namespace qcc

#endif // QCC_SUPPORT_PARAMETERSTORE_H
