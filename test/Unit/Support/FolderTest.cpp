//===- FolderTest.cpp - what models may open --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/MappedFile.h"
#include "gtest/gtest.h"
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace qcc;

namespace {

/// From here on the kernel of this process has no openat2.
bool forgetOpenat2() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program = {static_cast<unsigned short>(std::size(filter)), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// A folder with files, links and a pipe, and a secret beside it.
class FolderTest : public testing::Test {
protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/qcc-folder-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
    folder = root + "/model";
    ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
    ASSERT_EQ(::mkdir((folder + "/sub").c_str(), 0700), 0);
    std::ofstream(root + "/secret") << "secret";
    std::ofstream(folder + "/plain") << "plain";
    std::ofstream(folder + "/sub/deep") << "deep";
    ASSERT_EQ(::symlink("plain", (folder + "/link").c_str()), 0);
    ASSERT_EQ(::symlink("..", (folder + "/up").c_str()), 0);
    ASSERT_EQ(::link((root + "/secret").c_str(), (folder + "/hard").c_str()),
              0);
    ASSERT_EQ(::mkfifo((folder + "/pipe").c_str(), 0600), 0);
  }
  void TearDown() override { (void)std::system(("rm -r " + root).c_str()); }

  /// What a path gives: the file's text, or the words of the refusal.
  std::string open(llvm::StringRef path) {
    llvm::Expected<Folder> opened = Folder::containing(folder + "/model.onnx");
    EXPECT_TRUE(static_cast<bool>(opened));
    llvm::Expected<std::shared_ptr<const MappedFile>> file = opened->open(path);
    if (file)
      return std::string((*file)->getBytes().data(), (*file)->getSize());
    std::string text;
    llvm::handleAllErrors(file.takeError(), [&](const CodedError &error) {
      EXPECT_EQ(error.getDiag(), Diag::BadExternalData);
      text = error.getText().str();
    });
    return text;
  }

  void checkAll() {
    EXPECT_EQ(open("plain"), "plain");
    EXPECT_EQ(open("./plain"), "plain");
    EXPECT_EQ(open("sub//deep"), "deep");
    for (const char *path : {"", "/etc/passwd", "../secret", "sub/../plain",
                             "sub/../../secret", "..", "link", "up/secret",
                             "hard", "pipe", "sub", ".", "none", "plain/x"}) {
      std::string text = open(path);
      EXPECT_TRUE(llvm::StringRef(text).contains("external data"))
          << path << ": " << text;
    }
    EXPECT_NE(open("link").find("symbolic link"), std::string::npos);
    EXPECT_NE(open("hard").find("hard links"), std::string::npos);
    EXPECT_NE(open("pipe").find("regular file"), std::string::npos);
    EXPECT_NE(open(llvm::StringRef("plain\0x", 7)).find("relative path"),
              std::string::npos);
  }

  std::string root, folder;
};

TEST_F(FolderTest, OpensOnlyRegularFilesBelow) { checkAll(); }

TEST_F(FolderTest, DoesSoWithoutOpenat2) {
  // A filter cannot be taken back: it is set in a process of its own.
  pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    if (!forgetOpenat2())
      ::_exit(77);
    checkAll();
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "seccomp is not permitted here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

} // namespace
