//===- LevelsTest.cpp - values of --target on x86 ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::test;

static std::vector<std::string> names(const X86 &x86, const char *value) {
  std::vector<std::string> result;
  for (const Capabilities &caps : x86.parse(value))
    result.push_back(caps.level);
  return result;
}

TEST(LevelsTest, NamesAndAliases) {
  X86 x86;
  using List = std::vector<std::string>;
  EXPECT_EQ(names(x86, "avx2"), List{"avx2"});
  EXPECT_EQ(names(x86, "icelake"), List{"avx512-vnni"});
  EXPECT_EQ(names(x86, "cascadelake"), List{"avx512-vnni"});
  EXPECT_EQ(names(x86, "sapphirerapids"), List{"amx"});
}

TEST(LevelsTest, ListsAreSortedWithoutDuplicates) {
  X86 x86;
  EXPECT_EQ(names(x86, "amx+avx2+icelake+avx512-vnni"),
            (std::vector<std::string>{"avx2", "avx512-vnni", "amx"}));
}

TEST(LevelsTest, UnknownPartsAreRefused) {
  X86 x86;
  for (const char *value :
       {"", "avx", "avx2+", "avx2+sm_80", "AVX2", "avx2,amx"})
    EXPECT_TRUE(names(x86, value).empty()) << value;
}

TEST(LevelsTest, NativeIsOneLevelThatThisMachineRuns) {
  X86 x86;
  std::vector<std::string> native = names(x86, "native");
  if (x86.levels().empty()) {
    EXPECT_TRUE(native.empty());
    return;
  }
  ASSERT_EQ(native.size(), 1u);
  bool vnni = __builtin_cpu_supports("avx512vnni");
  EXPECT_EQ(native[0] == "avx512-vnni" || native[0] == "amx", vnni);
}
