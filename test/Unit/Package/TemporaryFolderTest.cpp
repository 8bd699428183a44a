//===- TemporaryFolderTest.cpp - folders that do not stay -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/TemporaryFolder.h"
#include "TempFolder.h"
#include "gtest/gtest.h"
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

using namespace qcc;
using llvm::cantFail;

/// Makes a folder with a file in it.
static std::unique_ptr<TemporaryFolder> make(const TempFolder &temp) {
  auto folder =
      cantFail(TemporaryFolder::create(temp.get("t-"), 0700, "a test"));
  writeFile(folder->getPath() + "/a", "text");
  return folder;
}

TEST(TemporaryFolder, IsGoneBehindItsUser) {
  TempFolder temp;
  auto folder = make(temp);
  EXPECT_EQ(list(temp.getPath()).size(), 1u);
  folder.reset();
  EXPECT_TRUE(list(temp.getPath()).empty());
}

/// The dynamic loader would take the second library for the first one.
TEST(TemporaryFolder, HasANameOfItsOwn) {
  TempFolder temp;
  std::string first = make(temp)->getPath();
  EXPECT_NE(make(temp)->getPath(), first);
}

TEST(TemporaryFolder, IsForItsUserAlone) {
  auto folder = cantFail(TemporaryFolder::create());
  llvm::sys::fs::file_status status;
  ASSERT_FALSE(llvm::sys::fs::status(folder->getPath(), status));
  EXPECT_EQ(status.permissions(), llvm::sys::fs::owner_all);
}

TEST(TemporaryFolder, RemovesWhatAKilledProcessLeft) {
  TempFolder temp;
  pid_t pid = fork();
  if (pid == 0) {
    auto folder = make(temp);
    raise(SIGKILL);
  }
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_EQ(list(temp.getPath()).size(), 1u);
  make(temp);
  EXPECT_TRUE(list(temp.getPath()).empty());
}

TEST(TemporaryFolder, LeavesThoseOfLivingProcessesAndOthers) {
  TempFolder temp;
  writeFile(temp.get("t-file"), "text");
  ASSERT_FALSE(llvm::sys::fs::create_directory(temp.get("other")));
  auto first = make(temp);
  make(temp);
  EXPECT_EQ(list(temp.getPath()).size(), 3u);
  EXPECT_EQ(readFile(first->getPath() + "/a"), "text");
}

TEST(TemporaryFolder, SaysWhereItCannotBeMade) {
  TempFolder temp;
  auto folder = TemporaryFolder::create(temp.get("none/t-"), 0700, "a test");
  ASSERT_FALSE(static_cast<bool>(folder));
  std::string text = toString(folder.takeError());
  EXPECT_NE(text.find("a test: cannot make a folder"), std::string::npos);
  EXPECT_NE(text.find("QCC-E601"), std::string::npos);
}
