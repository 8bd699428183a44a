//===- LibraryFileTest.cpp - libraries that are not whole -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/LibraryFile.h"
#include "gtest/gtest.h"
#include <cstring>
#include <elf.h>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace qcc;

namespace {

/// The smallest file that is taken: a header, one segment, the table of one
/// section.
struct Image {
  Elf64_Ehdr header = {};
  Elf64_Phdr segment = {};
  Elf64_Shdr section = {};

  Image() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = EM_X86_64;
    header.e_phoff = offsetof(Image, segment);
    header.e_phentsize = sizeof(segment);
    header.e_phnum = 1;
    header.e_shoff = offsetof(Image, section);
    header.e_shentsize = sizeof(section);
    header.e_shnum = 1;
    segment.p_type = PT_LOAD;
    segment.p_filesz = sizeof(Image);
  }

  std::string find(size_t size = sizeof(Image)) const {
    std::string path = testing::TempDir() + "/qcc-library-" +
                       std::to_string(::getpid()) + ".so";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(this), std::streamsize(size));
    std::string fault = findLibraryFault(path);
    ::unlink(path.c_str());
    return fault;
  }
};

constexpr const char *kOther =
    "expected a shared library of x86-64, but got another file";

TEST(LibraryFile, TakesWholeFiles) { EXPECT_EQ(Image().find(), ""); }

TEST(LibraryFile, RefusesEveryPart) {
  for (size_t size = SELFMAG; size < sizeof(Image); ++size)
    EXPECT_NE(Image().find(size).find("is cut short"), std::string::npos)
        << size;
  EXPECT_EQ(Image().find(0), kOther);
}

TEST(LibraryFile, RefusesOffsetsBeyondAllBytes) {
  auto expectCut = [](auto change) {
    Image image;
    change(image);
    EXPECT_NE(image.find().find("is cut short"), std::string::npos);
  };
  expectCut([](Image &i) { i.segment.p_filesz += 1; });
  expectCut([](Image &i) { i.segment.p_offset = UINT64_MAX; });
  expectCut([](Image &i) { i.segment.p_filesz = UINT64_MAX; });
  expectCut([](Image &i) { i.header.e_phoff = UINT64_MAX - 8; });
  expectCut([](Image &i) { i.header.e_shoff = UINT64_MAX - 8; });
  expectCut([](Image &i) { i.header.e_phnum = UINT16_MAX; });
}

TEST(LibraryFile, RefusesOtherFiles) {
  Image other;
  other.header.e_machine = EM_AARCH64;
  EXPECT_EQ(other.find(), kOther);
  Image program;
  program.header.e_type = ET_EXEC;
  EXPECT_EQ(program.find(), kOther);
  EXPECT_EQ(findLibraryFault(testing::TempDir()), kOther);
  EXPECT_EQ(findLibraryFault("/nothing.so"),
            "cannot be opened: No such file or directory");
}

/// A pipe that nobody writes to is not waited for.
TEST(LibraryFile, RefusesPipes) {
  std::string path =
      testing::TempDir() + "/qcc-library-pipe-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(findLibraryFault(path), kOther);
  ::unlink(path.c_str());
}

} // namespace
