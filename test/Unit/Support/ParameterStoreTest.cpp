//===- ParameterStoreTest.cpp - mapped files and ranges of them -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/ParameterStore.h"
#include "qcc/Support/Diagnostics.h"
#include "gtest/gtest.h"
#include <cstdlib>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace qcc;

namespace {

/// A folder of its own for each test, removed with what it holds.
class ParameterStoreTest : public testing::Test {
protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/qcc-store-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { (void)std::system(("rm -r " + folder).c_str()); }

  std::string write(const std::string &name, const std::string &text) {
    std::ofstream(folder + "/" + name, std::ios::binary) << text;
    return folder + "/" + name;
  }
  std::shared_ptr<const MappedFile> map(const std::string &path) {
    llvm::Expected<std::shared_ptr<const MappedFile>> file =
        MappedFile::open(path);
    EXPECT_TRUE(static_cast<bool>(file));
    return file ? *file : nullptr;
  }
  static Diag getDiag(llvm::Error error) {
    Diag diag = Diag::Internal;
    llvm::handleAllErrors(std::move(error), [&](const CodedError &coded) {
      diag = coded.getDiag();
    });
    return diag;
  }

  std::string folder;
};

TEST_F(ParameterStoreTest, RangesOfAFile) {
  std::shared_ptr<const MappedFile> file = map(write("w", "0123456789"));
  ParameterStore store;
  ASSERT_FALSE(store.add("a", "i8", {3}, file, 1, 3));
  ASSERT_FALSE(store.add("b", "i8", {0}, file, 10, 0));
  EXPECT_EQ(llvm::StringRef(store.getBytes("a").data(), 3), "123");
  EXPECT_EQ(store.lookup("b")->bytes.size(), 0u);
  EXPECT_EQ(store.lookup("c"), nullptr);
  EXPECT_TRUE(store.getBytes("c").empty());
}

TEST_F(ParameterStoreTest, RefusesWhatIsOutOfRangeOrThere) {
  std::shared_ptr<const MappedFile> file = map(write("w", "0123456789"));
  ParameterStore store;
  EXPECT_EQ(getDiag(store.add("a", "i8", {11}, file, 0, 11)),
            Diag::BadExternalData);
  EXPECT_EQ(getDiag(store.add("a", "i8", {1}, file, UINT64_MAX, 2)),
            Diag::BadExternalData);
  EXPECT_EQ(store.size(), 0u);
  ASSERT_FALSE(store.add("a", "i8", {1}, file, 0, 1));
  EXPECT_EQ(getDiag(store.add("a", "i8", {1}, file, 0, 1)), Diag::BadGraph);
  EXPECT_EQ(store.makeUniqueKey("a"), "a_1");
  EXPECT_EQ(store.makeUniqueKey("b"), "b");
}

TEST_F(ParameterStoreTest, KeepsTheOrderAndTheFile) {
  ParameterStore store;
  {
    std::shared_ptr<const MappedFile> file = map(write("w", "0123456789"));
    for (const char *key : {"z", "a", "m"})
      ASSERT_FALSE(store.add(key, "i8", {1}, file, 5, 1));
  }
  std::string order;
  for (const Parameter &parameter : store)
    order += parameter.key + parameter.bytes[0];
  EXPECT_EQ(order, "z5a5m5");
}

TEST_F(ParameterStoreTest, ScratchIsZeroAndWritable) {
  ParameterStore store;
  llvm::Expected<llvm::MutableArrayRef<char>> bytes =
      store.addScratch("s", "f32", {1000}, 4000);
  ASSERT_TRUE(static_cast<bool>(bytes));
  EXPECT_TRUE(llvm::all_of(*bytes, [](char c) { return c == 0; }));
  (*bytes)[3999] = 7;
  EXPECT_EQ(store.getBytes("s")[3999], 7);
  EXPECT_EQ(getDiag(store.addScratch("s", "f32", {1}, 4).takeError()),
            Diag::BadGraph);
}

TEST_F(ParameterStoreTest, FolderStaysWithinItself) {
  write("w", "inside");
  std::string inner = folder + "/model";
  ASSERT_EQ(::mkdir(inner.c_str(), 0700), 0);
  std::ofstream(inner + "/data") << "data";
  ASSERT_EQ(::symlink("data", (inner + "/link").c_str()), 0);
  ASSERT_EQ(::symlink("..", (inner + "/up").c_str()), 0);
  ASSERT_EQ(::mkfifo((inner + "/pipe").c_str(), 0600), 0);
  llvm::Expected<Folder> opened = Folder::containing(inner + "/model.onnx");
  ASSERT_TRUE(static_cast<bool>(opened));
  llvm::Expected<std::shared_ptr<const MappedFile>> data = opened->open("data");
  ASSERT_TRUE(static_cast<bool>(data));
  EXPECT_EQ((*data)->getSize(), 4u);
  using namespace std::string_literals;
  for (const std::string &bad :
       {"../w"s, "up/w"s, "link"s, "pipe"s, "/etc/passwd"s, ""s, "."s,
        "data\0x"s, std::string(5000, 'a'), "missing"s, "data/x"s})
    EXPECT_EQ(getDiag(opened->open(bad).takeError()), Diag::BadExternalData)
        << bad;
}

TEST_F(ParameterStoreTest, FilesThatAreNone) {
  EXPECT_EQ(getDiag(MappedFile::open(folder).takeError()), Diag::BadModelFile);
  EXPECT_EQ(getDiag(MappedFile::open(folder + "/none").takeError()),
            Diag::BadModelFile);
  EXPECT_EQ(map(write("empty", ""))->getSize(), 0u);
}

} // namespace
