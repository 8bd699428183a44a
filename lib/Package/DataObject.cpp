//===- DataObject.cpp - an ELF object that holds data -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DataObject.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace llvm;

namespace qcc {

unsigned DataObject::addSection(StringRef name, Kind kind, StringRef symbol,
                                uint64_t align, uint64_t size) {
  uint64_t offset = alignTo(dataEnd, align);
  sections.push_back({name.str(), kind, symbol.str(), align, size, offset});
  dataEnd = offset + size;
  return sections.size() - 1;
}

DataObject::Tail DataObject::layoutTail() const {
  Tail tail;
  tail.stringTable = std::string(1, '\0');
  tail.sectionNameTable = std::string(1, '\0');
  auto intern = [](std::string &table, StringRef text) {
    uint32_t offset = table.size();
    table += text;
    table += '\0';
    return offset;
  };
  unsigned numSymbols = 1; // the null symbol
  for (const Section &section : sections) {
    tail.sectionNameOffsets.push_back(
        intern(tail.sectionNameTable, section.name));
    if (section.symbol.empty())
      continue;
    tail.symbolNames.push_back(intern(tail.stringTable, section.symbol));
    ++numSymbols;
  }
  for (StringRef name : {".symtab", ".strtab", ".shstrtab", ".note.GNU-stack"})
    tail.sectionNameOffsets.push_back(intern(tail.sectionNameTable, name));
  tail.symbols = alignTo(dataEnd, 8);
  tail.strings = tail.symbols + numSymbols * sizeof(ELF::Elf64_Sym);
  tail.sectionNames = tail.strings + tail.stringTable.size();
  tail.headers = alignTo(tail.sectionNames + tail.sectionNameTable.size(), 8);
  tail.end = tail.headers + (sections.size() + 5) * sizeof(ELF::Elf64_Shdr);
  return tail;
}

uint64_t DataObject::getFileSize() const { return layoutTail().end; }

void DataObject::writeFrame(MutableArrayRef<char> file) const {
  Tail tail = layoutTail();
  auto put = [&](uint64_t offset, const void *bytes, size_t size) {
    memcpy(file.data() + offset, bytes, size);
  };

  // Section numbers: 0 is the null section, then ours, then the tables.
  unsigned symtab = sections.size() + 1, strtab = symtab + 1,
           shstrtab = symtab + 2;
  ELF::Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELF::ElfMagic, 4);
  header.e_ident[ELF::EI_CLASS] = ELF::ELFCLASS64;
  header.e_ident[ELF::EI_DATA] = ELF::ELFDATA2LSB;
  header.e_ident[ELF::EI_VERSION] = ELF::EV_CURRENT;
  header.e_type = ELF::ET_REL;
  header.e_machine = ELF::EM_X86_64;
  header.e_version = ELF::EV_CURRENT;
  header.e_shoff = tail.headers;
  header.e_ehsize = sizeof(ELF::Elf64_Ehdr);
  header.e_shentsize = sizeof(ELF::Elf64_Shdr);
  header.e_shnum = sections.size() + 5;
  header.e_shstrndx = shstrtab;
  put(0, &header, sizeof(header));

  std::vector<ELF::Elf64_Shdr> headers(1);
  std::vector<ELF::Elf64_Sym> symbols(1);
  for (auto [index, section] : llvm::enumerate(sections)) {
    ELF::Elf64_Shdr entry = {};
    entry.sh_name = tail.sectionNameOffsets[index];
    entry.sh_type =
        section.kind == Kind::Note ? ELF::SHT_NOTE : ELF::SHT_PROGBITS;
    entry.sh_flags = ELF::SHF_ALLOC;
    entry.sh_offset = section.offset;
    entry.sh_size = section.size;
    entry.sh_addralign = section.align;
    headers.push_back(entry);
    if (section.symbol.empty())
      continue;
    ELF::Elf64_Sym symbol = {};
    symbol.st_name = tail.symbolNames[symbols.size() - 1];
    symbol.setBindingAndType(ELF::STB_GLOBAL, ELF::STT_OBJECT);
    symbol.st_other = ELF::STV_HIDDEN;
    symbol.st_shndx = index + 1;
    symbol.st_size = section.size;
    symbols.push_back(symbol);
  }
  auto addTable = [&](unsigned type, uint64_t offset, uint64_t size,
                      uint64_t align) -> ELF::Elf64_Shdr & {
    ELF::Elf64_Shdr entry = {};
    entry.sh_name = tail.sectionNameOffsets[headers.size() - 1];
    entry.sh_type = type;
    entry.sh_offset = offset;
    entry.sh_size = size;
    entry.sh_addralign = align;
    return headers.emplace_back(entry);
  };
  ELF::Elf64_Shdr &table = addTable(ELF::SHT_SYMTAB, tail.symbols,
                                    symbols.size() * sizeof(symbols[0]), 8);
  table.sh_link = strtab;
  table.sh_info = 1; // the first global symbol
  table.sh_entsize = sizeof(ELF::Elf64_Sym);
  addTable(ELF::SHT_STRTAB, tail.strings, tail.stringTable.size(), 1);
  addTable(ELF::SHT_STRTAB, tail.sectionNames, tail.sectionNameTable.size(), 1);
  addTable(ELF::SHT_PROGBITS, tail.strings, 0, 1); // no executable stack

  put(tail.symbols, symbols.data(), symbols.size() * sizeof(symbols[0]));
  put(tail.strings, tail.stringTable.data(), tail.stringTable.size());
  put(tail.sectionNames, tail.sectionNameTable.data(),
      tail.sectionNameTable.size());
  put(tail.headers, headers.data(), headers.size() * sizeof(headers[0]));
}

} // namespace qcc
