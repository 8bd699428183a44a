//===- LibraryFile.cpp - whether a library is there as a whole --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/LibraryFile.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

/// An open file of which ranges are asked for.
class File {
public:
  /// Does not wait for somebody to write if it is a pipe.
  explicit File(const std::string &path)
      : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (descriptor >= 0)
      ::close(descriptor);
  }
  File(const File &) = delete;

  bool isOpen() const { return descriptor >= 0; }

  /// The size, or 0 of what is no regular file.
  uint64_t getSize() const {
    struct stat status;
    return ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)
               ? uint64_t(status.st_size)
               : 0;
  }

  bool read(uint64_t offset, void *data, size_t size) const {
    auto *bytes = static_cast<char *>(data);
    while (size) {
      ssize_t count = ::pread(descriptor, bytes, size, off_t(offset));
      if (count < 0 && errno == EINTR)
        continue;
      if (count <= 0)
        return false;
      bytes += count;
      offset += uint64_t(count);
      size -= size_t(count);
    }
    return true;
  }

private:
  int descriptor;
};

} // namespace

/// True if the first bytes are those of a shared library for this CPU.
static bool isLibrary(const Elf64_Ehdr &header) {
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
         header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_type == ET_DYN &&
         header.e_machine == EM_X86_64 &&
         header.e_phentsize == sizeof(Elf64_Phdr);
}

/// The larger of `end` and where a range ends, which is the last byte there can
/// be if it ends beyond that.
static uint64_t extend(uint64_t end, uint64_t offset, uint64_t size) {
  return std::max(end, size > UINT64_MAX - offset ? UINT64_MAX : offset + size);
}

std::string qcc::findLibraryFault(const std::string &path) {
  File file(path);
  if (!file.isOpen())
    return std::string("cannot be opened: ") + std::strerror(errno);
  uint64_t size = file.getSize();
  Elf64_Ehdr header = {};
  if (!file.read(0, &header, std::min<uint64_t>(size, sizeof(header))) ||
      (size >= sizeof(header) && !isLibrary(header)) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return "expected a shared library of x86-64, but got another file";
  auto isCut = [&](uint64_t end) {
    return "the library is cut short: expected " + std::to_string(end) +
           " bytes or more, but got " + std::to_string(size);
  };
  uint64_t end = sizeof(header);
  if (size < end)
    return isCut(end);
  end = extend(end, header.e_shoff,
               uint64_t(header.e_shnum) * header.e_shentsize);
  end = extend(end, header.e_phoff,
               uint64_t(header.e_phnum) * sizeof(Elf64_Phdr));
  if (size < end)
    return isCut(end);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (!file.read(header.e_phoff, segments.data(),
                 segments.size() * sizeof(Elf64_Phdr)))
    return "its table of segments cannot be read";
  for (const Elf64_Phdr &segment : segments)
    if (segment.p_type == PT_LOAD)
      end = extend(end, segment.p_offset, segment.p_filesz);
  return size < end ? isCut(end) : "";
}
