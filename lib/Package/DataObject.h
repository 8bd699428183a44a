//===- DataObject.h - an ELF object that holds data -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The program's blob, embedded weights and the note are linked like code. They
// are written as an ELF64 relocatable object directly: through LLVM's IR they
// would be copied into constants first.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_PACKAGE_DATAOBJECT_H
#define QCC_LIB_PACKAGE_DATAOBJECT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <string>
#include <vector>

namespace qcc {

/// An object of read-only sections for x86-64. Add the sections, make a buffer
/// of `getFileSize()` bytes, call `writeFrame`, then fill `getPayload` of each
/// section.
class DataObject {
public:
  enum class Kind { Data, Note };

  /// Adds a section and returns its number. `symbol` names its first byte,
  /// global and hidden; "" for none. `align` is a power of two.
  unsigned addSection(llvm::StringRef name, Kind kind, llvm::StringRef symbol,
                      uint64_t align, uint64_t size);

  uint64_t getFileSize() const;
  /// Writes everything but the sections' bytes.
  void writeFrame(llvm::MutableArrayRef<char> file) const;
  llvm::MutableArrayRef<char> getPayload(llvm::MutableArrayRef<char> file,
                                         unsigned section) const {
    return file.slice(sections[section].offset, sections[section].size);
  }

private:
  struct Section {
    std::string name;
    Kind kind;
    std::string symbol;
    uint64_t align, size, offset;
  };
  /// Places of the tables behind the sections' bytes.
  struct Tail {
    uint64_t symbols, strings, sectionNames, headers, end;
    std::string stringTable, sectionNameTable;
    std::vector<uint32_t> symbolNames, sectionNameOffsets;
  };
  Tail layoutTail() const;

  std::vector<Section> sections;
  uint64_t dataEnd = 64; // behind the ELF header
};

} // namespace qcc

#endif // QCC_LIB_PACKAGE_DATAOBJECT_H
