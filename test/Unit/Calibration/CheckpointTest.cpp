//===- CheckpointTest.cpp - finished work of a calibration ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Checkpoint.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "llvm/Support/FileSystem.h"
#include "gtest/gtest.h"
#include <fstream>
#include <random>

using namespace qcc;
using llvm::StringRef;
namespace fs = llvm::sys::fs;

namespace {
CheckpointRecord makeRecord() {
  CheckpointRecord record;
  record.set("numbers", std::vector<float>{1.5f, -0.0f, 3e38f});
  record.set("sums", std::vector<int64_t>{-1, INT64_MAX});
  record.set("none", std::vector<float>{});
  record.setText("method", "gptq\nand more");
  return record;
}

std::string getProblem(llvm::Expected<CheckpointRecord> record) {
  std::string text;
  if (!record)
    llvm::handleAllErrors(record.takeError(), [&](const CodedError &error) {
      text = error.getText().str();
    });
  return text;
}

struct TempFolder {
  TempFolder() { EXPECT_FALSE(fs::createUniqueDirectory("qcc-test", path)); }
  ~TempFolder() { fs::remove_directories(path); }
  std::string get(StringRef name) const { return (path + "/" + name).str(); }
  llvm::SmallString<128> path;
};
} // namespace

TEST(CheckpointRecord, comesBackAsItWas) {
  std::string bytes = makeRecord().write("origin", "key");
  auto record = CheckpointRecord::read(bytes, "origin", "key");
  ASSERT_TRUE(bool(record));
  EXPECT_EQ(record->get<float>("numbers", 3),
            (std::vector<float>{1.5f, -0.0f, 3e38f}));
  EXPECT_EQ(record->get<int64_t>("sums", 2),
            (std::vector<int64_t>{-1, INT64_MAX}));
  EXPECT_EQ(record->get<float>("none", 0), std::vector<float>());
  EXPECT_EQ(record->getText("method"), StringRef("gptq\nand more"));
  EXPECT_EQ(record->write("origin", "key"), bytes);
}

TEST(CheckpointRecord, countsAreChecked) {
  CheckpointRecord record = makeRecord();
  EXPECT_FALSE(record.get<float>("numbers", 2));
  EXPECT_FALSE(record.get<float>("numbers", 4));
  EXPECT_FALSE(record.get<float>("numbers", SIZE_MAX / 4 + 4));
  EXPECT_FALSE(record.get<double>("numbers", 1));
  EXPECT_FALSE(record.get<float>("nothing", 0));
  EXPECT_FALSE(record.getText("nothing"));
}

TEST(CheckpointRecord, refusesWhatItDidNotWrite) {
  std::string bytes = makeRecord().write("origin", "key");
  EXPECT_EQ(getProblem(CheckpointRecord::read(bytes, "other", "key")),
            "it is of another model, other data or options");
  EXPECT_EQ(getProblem(CheckpointRecord::read(bytes, "origin", "key2")),
            "expected the piece 'key2', but got another one");
  EXPECT_EQ(getProblem(CheckpointRecord::read(bytes + "x", "origin", "key")),
            "its bytes have another hash than when they were written");
  // Every prefix, and every byte changed.
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_NE(getProblem(CheckpointRecord::read(StringRef(bytes).take_front(i),
                                                "origin", "key")),
              "")
        << i;
    std::string changed = bytes;
    changed[i] ^= 4;
    EXPECT_NE(getProblem(CheckpointRecord::read(changed, "origin", "key")), "")
        << i;
  }
}

/// A file with a body whose hash is right.
static std::string withBody(const std::string &body) {
  return "qcc-checkpoint/1\no\nk\n" + hashBytes(body) + "\n" + body;
}

TEST(CheckpointRecord, sizesOfAFileAreNotBelieved) {
  for (std::string lines :
       {"18446744073709551615 a\n\n", "99999999999999999999 a\n\n", "-1 a\n\n",
        "1\n\n", "x a\n\n", "9223372036854775807 a\n9223372036854775807 b\n\n",
        "4 a\n", "1 a\n\nbb", ""})
    EXPECT_NE(getProblem(CheckpointRecord::read(withBody(lines), "o", "k")), "")
        << lines;
  std::string text(1 << 20, 'x');
  EXPECT_NE(getProblem(CheckpointRecord::read(text, "o", "k")), "");
  EXPECT_NE(getProblem(CheckpointRecord::read(withBody(text), "o", "k")), "");
  EXPECT_EQ(getProblem(CheckpointRecord::read(withBody("1 a\n\nb"), "o", "k")),
            "");
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    text.clear();
    for (int j = 0; j < 20; ++j)
      text += "01 \na"[random() % 5];
    (void)getProblem(CheckpointRecord::read(withBody(text), "o", "k"));
  }
}

TEST(CheckpointFolder, belongsToOneOrigin) {
  TempFolder temp;
  std::string path = temp.get("checkpoints");
  CheckpointFolder::Origin origin = {{"model", "m"}, {"options", "a\nb"}};
  auto folder = CheckpointFolder::open(path, origin, {});
  ASSERT_TRUE(bool(folder));
  EXPECT_FALSE((*folder)->has("piece"));
  EXPECT_FALSE(bool((*folder)->write("piece", makeRecord())));
  std::string problem;
  auto again = CheckpointFolder::open(
      path, origin, [&](const std::string &text) { problem = text; });
  ASSERT_TRUE(bool(again));
  EXPECT_TRUE((*again)->read("piece"));
  EXPECT_FALSE((*again)->read("other"));
  EXPECT_EQ(problem, "");
  origin[0].second = "n";
  auto other = CheckpointFolder::open(path, origin, {});
  ASSERT_FALSE(bool(other));
  EXPECT_NE(llvm::toString(other.takeError())
                .find("its checkpoints are of other choices or data: expected "
                      "'model: n', but got 'model: m'; take another folder"),
            std::string::npos);
}

TEST(CheckpointFolder, takesNoFolderOfOthers) {
  TempFolder temp;
  std::ofstream(temp.get("thesis.txt")) << "text";
  auto folder = CheckpointFolder::open(temp.path, {}, {});
  ASSERT_FALSE(bool(folder));
  EXPECT_NE(llvm::toString(folder.takeError()).find("thesis.txt"),
            std::string::npos);
}

TEST(CheckpointFolder, brokenFilesAreToldAndLeft) {
  TempFolder temp;
  std::string problem;
  auto folder =
      CheckpointFolder::open(temp.get("c"), {{"model", "m"}},
                             [&](const std::string &text) { problem = text; });
  ASSERT_TRUE(bool(folder));
  EXPECT_FALSE(bool((*folder)->write("piece", makeRecord())));
  std::ofstream(temp.get("c/piece"), std::ios::app) << "more";
  EXPECT_FALSE((*folder)->read("piece"));
  EXPECT_NE(problem.find("another hash"), std::string::npos);
  // A folder is no file.
  fs::create_directory(temp.get("c/dir"));
  problem.clear();
  EXPECT_FALSE((*folder)->read("dir"));
  EXPECT_NE(problem, "");
  (*folder)->remove("piece");
  EXPECT_FALSE((*folder)->has("piece"));
}
