//===- AtomicDirectoryTest.cpp - whole or not there -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/AtomicDirectory.h"
#include "TempFolder.h"
#include "gtest/gtest.h"
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qcc;
using llvm::cantFail;

static bool never(llvm::StringRef) { return false; }
static bool always(llvm::StringRef) { return true; }

TEST(AtomicDirectory, CommitsWhole) {
  TempFolder temp;
  auto folder = cantFail(AtomicDirectory::create(temp.get("out/"), never));
  cantFail(folder->write("a", "text"));
  EXPECT_FALSE(llvm::sys::fs::exists(temp.get("out")));
  cantFail(folder->commit());
  folder.reset();
  EXPECT_EQ(list(temp.getPath()), std::set<std::string>{"out"});
  EXPECT_EQ(readFile(temp.get("out/a")), "text");
}

TEST(AtomicDirectory, RemovesWhatIsNotCommitted) {
  TempFolder temp;
  auto folder = cantFail(AtomicDirectory::create(temp.get("out"), never));
  cantFail(folder->write("a", "text"));
  folder.reset();
  EXPECT_TRUE(list(temp.getPath()).empty());
}

TEST(AtomicDirectory, ReplacesWhatIsOurs) {
  TempFolder temp;
  for (const char *text : {"one", "two"}) {
    auto folder = cantFail(AtomicDirectory::create(temp.get("out"), always));
    cantFail(folder->write(text, text));
    cantFail(folder->commit());
  }
  EXPECT_EQ(list(temp.getPath()), std::set<std::string>{"out"});
  EXPECT_EQ(list(temp.get("out")), std::set<std::string>{"two"});
}

TEST(AtomicDirectory, RefusesWhatIsNotOurs) {
  TempFolder temp;
  ASSERT_FALSE(llvm::sys::fs::create_directory(temp.get("out")));
  writeFile(temp.get("out/thesis.txt"), "years of work");
  auto folder = AtomicDirectory::create(temp.get("out"), never);
  ASSERT_FALSE(static_cast<bool>(folder));
  EXPECT_NE(toString(folder.takeError()).find("will not be replaced"),
            std::string::npos);
  EXPECT_EQ(readFile(temp.get("out/thesis.txt")), "years of work");
}

TEST(AtomicDirectory, ReplacesWhereALinkLeads) {
  TempFolder temp;
  ASSERT_FALSE(llvm::sys::fs::create_directory(temp.get("real")));
  writeFile(temp.get("real/old"), "old");
  ASSERT_FALSE(llvm::sys::fs::create_link(temp.get("real"), temp.get("out")));
  auto folder = cantFail(AtomicDirectory::create(temp.get("out"), always));
  cantFail(folder->write("new", "new"));
  cantFail(folder->commit());
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(temp.get("out")));
  EXPECT_EQ(list(temp.get("real")), std::set<std::string>{"new"});
}

TEST(AtomicDirectory, FollowsNoLinkThatLooksLikeItsOwn) {
  TempFolder temp;
  ASSERT_FALSE(llvm::sys::fs::create_directory(temp.get("precious")));
  writeFile(temp.get("precious/file"), "text");
  ASSERT_FALSE(llvm::sys::fs::create_link(temp.get("precious"),
                                          temp.get(".out.tmp-1-0")));
  auto folder = cantFail(AtomicDirectory::create(temp.get("out"), never));
  cantFail(folder->commit());
  EXPECT_EQ(readFile(temp.get("precious/file")), "text");
}

TEST(AtomicDirectory, RefusesAFile) {
  TempFolder temp;
  writeFile(temp.get("out"), "text");
  auto folder = AtomicDirectory::create(temp.get("out"), always);
  ASSERT_FALSE(static_cast<bool>(folder));
  llvm::consumeError(folder.takeError());
}

TEST(AtomicDirectory, RefusesAMissingParent) {
  TempFolder temp;
  auto folder = AtomicDirectory::create(temp.get("none/out"), always);
  ASSERT_FALSE(static_cast<bool>(folder));
  EXPECT_NE(toString(folder.takeError()).find("QCC-E601"), std::string::npos);
}

TEST(AtomicDirectory, RemovesWhatAKilledProcessLeft) {
  TempFolder temp;
  pid_t pid = fork();
  if (pid == 0) {
    auto folder = cantFail(AtomicDirectory::create(temp.get("out"), never));
    cantFail(folder->write("a", "half"));
    raise(SIGKILL);
  }
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(list(temp.getPath()).size(), 1u);
  EXPECT_EQ(list(temp.getPath()).count("out"), 0u);

  auto folder = cantFail(AtomicDirectory::create(temp.get("out"), never));
  cantFail(folder->commit());
  EXPECT_EQ(list(temp.getPath()), std::set<std::string>{"out"});
}

TEST(AtomicDirectory, LeavesWhatALivingProcessWrites) {
  TempFolder temp;
  auto first = cantFail(AtomicDirectory::create(temp.get("out"), always));
  cantFail(first->write("a", "first"));
  auto second = cantFail(AtomicDirectory::create(temp.get("out"), always));
  cantFail(second->commit());
  cantFail(first->commit());
  EXPECT_EQ(readFile(temp.get("out/a")), "first");
}

TEST(AtomicDirectory, SaysThatTheDiskIsFull) {
  TempFolder temp;
  pid_t pid = fork();
  if (pid == 0) {
    // A file that may not grow stands for a disk that is full.
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit = {4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    auto folder = cantFail(AtomicDirectory::create(temp.get("out"), never));
    llvm::Error mapped = folder->writeMapped(
        "big", 1 << 20, [](llvm::MutableArrayRef<char> bytes) {
          std::fill(bytes.begin(), bytes.end(), 1);
          return llvm::Error::success();
        });
    llvm::Error written = folder->write("text", std::string(1 << 20, 'x'));
    bool failed =
        toString(std::move(mapped)).find("QCC-E601") != std::string::npos &&
        toString(std::move(written)).find("QCC-E601") != std::string::npos;
    folder.reset();
    _exit(failed && list(temp.getPath()).empty() ? 0 : 1);
  }
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}
