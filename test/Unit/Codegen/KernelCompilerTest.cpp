//===- KernelCompilerTest.cpp - workers, crashes, the cache -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Codegen/KernelCompiler.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"
#include "qcc/Codegen/Lowering.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

#include <sys/stat.h>

using namespace qcc;

static std::string programPath;

namespace {
Capabilities getScalar() {
  Capabilities caps;
  caps.level = "scalar";
  caps.llvmCpu = "x86-64";
  return caps;
}

/// A job whose function returns `value`.
KernelJob makeJob(int value) {
  mlir::DialectRegistry registry;
  registerCodegenDialects(registry);
  mlir::MLIRContext context(registry);
  std::string text = "func.func @k() -> i32 {\n  %c = arith.constant " +
                     std::to_string(value) + " : i32\n  return %c : i32\n}";
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  return {"node 'n" + std::to_string(value) + "'", serializeKernel(*module),
          getScalar()};
}

std::vector<KernelJob> makeJobs(int count) {
  std::vector<KernelJob> jobs;
  for (int i = 0; i < count; ++i)
    jobs.push_back(makeJob(i));
  return jobs;
}

/// A folder that goes with the test.
struct TempFolder {
  TempFolder() { llvm::sys::fs::createUniqueDirectory("qcc-test", path); }
  ~TempFolder() { llvm::sys::fs::remove_directories(path); }
  std::string file(llvm::StringRef name) const {
    llvm::SmallString<128> full(path);
    llvm::sys::path::append(full, name);
    return full.str().str();
  }
  llvm::SmallString<128> path;
};

std::string writeScript(const TempFolder &folder, llvm::StringRef body) {
  std::string path = folder.file("worker");
  std::error_code error;
  llvm::raw_fd_ostream(path, error) << "#!/bin/sh\n" << body << "\n";
  llvm::sys::fs::setPermissions(path, llvm::sys::fs::all_all);
  return path;
}

std::vector<std::string> listFiles(llvm::StringRef folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (llvm::sys::fs::recursive_directory_iterator at(folder, error), end;
       at != end && !error; at.increment(error))
    if (at->type() == llvm::sys::fs::file_type::regular_file)
      files.push_back(at->path());
  return files;
}
} // namespace

TEST(KernelCompilerTest, GivesTheSameBytesForAnyNumberOfWorkers) {
  std::vector<KernelJob> jobs = makeJobs(9);
  auto here = compileKernels(jobs, {});
  ASSERT_TRUE(static_cast<bool>(here)) << toString(here.takeError());
  EXPECT_NE((*here)[0], (*here)[1]);
  for (unsigned workers : {1u, 2u, 5u}) {
    size_t last = 0;
    auto there = compileKernels(jobs, {workers, "", programPath},
                                [&](size_t done) { last = done; });
    ASSERT_TRUE(static_cast<bool>(there)) << toString(there.takeError());
    EXPECT_EQ(*here, *there);
    EXPECT_EQ(last, jobs.size());
  }
}

TEST(KernelCompilerTest, NamesTheNodeOfACrash) {
  TempFolder folder;
  std::string crash = writeScript(folder, "echo 'LLVM ERROR: broken' >&2\n"
                                          "kill -ABRT $$");
  auto result = compileKernels(makeJobs(5), {2, "", crash});
  ASSERT_FALSE(static_cast<bool>(result));
  std::string text = toString(result.takeError());
  EXPECT_NE(text.find("node 'n0'"), std::string::npos) << text;
  EXPECT_NE(text.find("signal 6: LLVM ERROR: broken"), std::string::npos)
      << text;
}

TEST(KernelCompilerTest, ReportsTheFirstBadJob) {
  std::vector<KernelJob> jobs = makeJobs(6);
  jobs[2].code = jobs[4].code = "not a module";
  for (std::string program : {std::string(), programPath}) {
    auto result = compileKernels(jobs, {3, "", program});
    ASSERT_FALSE(static_cast<bool>(result));
    std::string text = toString(result.takeError());
    EXPECT_NE(text.find("node 'n2'"), std::string::npos) << text;
  }
}

TEST(KernelCompilerTest, SaysThatAWorkerCannotStart) {
  auto result = compileKernels(makeJobs(1), {1, "", "/nonexistent/qcc"});
  ASSERT_FALSE(static_cast<bool>(result));
  EXPECT_NE(toString(result.takeError()).find("cannot start a kernel worker"),
            std::string::npos);
}

TEST(KernelCompilerTest, TakesObjectsFromTheCache) {
  TempFolder folder;
  std::string cache = folder.file("cache");
  std::vector<KernelJob> jobs = makeJobs(4);
  auto first = compileKernels(jobs, {1, cache, ""});
  ASSERT_TRUE(static_cast<bool>(first));
  EXPECT_EQ(listFiles(cache).size(), 4u);
  // With all in the cache no worker is started.
  auto second = compileKernels(jobs, {1, cache, "/nonexistent/qcc"});
  ASSERT_TRUE(static_cast<bool>(second)) << toString(second.takeError());
  EXPECT_EQ(*first, *second);
  // Another level is another object.
  KernelJob other = jobs[0];
  other.caps.llvmCpu = "haswell";
  auto third = compileKernels(other, {1, cache, ""});
  ASSERT_TRUE(static_cast<bool>(third));
  EXPECT_EQ(listFiles(cache).size(), 5u);
}

/// Compiles `count` kernels, lets `damage` change their entries, and expects
/// the same objects again.
static void
expectSameAfter(unsigned count,
                llvm::function_ref<void(llvm::ArrayRef<std::string>)> damage) {
  TempFolder folder;
  std::string cache = folder.file("cache");
  std::vector<KernelJob> jobs = makeJobs(count);
  auto first = compileKernels(jobs, {1, cache, ""});
  ASSERT_TRUE(static_cast<bool>(first));
  std::vector<std::string> files = listFiles(cache);
  ASSERT_EQ(files.size(), count);
  damage(files);
  auto second = compileKernels(jobs, {1, cache, ""});
  ASSERT_TRUE(static_cast<bool>(second));
  EXPECT_EQ(*first, *second);
}

TEST(KernelCompilerTest, NoticesDamagedEntries) {
  expectSameAfter(1, [](llvm::ArrayRef<std::string> files) {
    std::error_code error;
    llvm::raw_fd_ostream(files[0], error) << "torn";
    ASSERT_FALSE(error);
  });
}

TEST(KernelCompilerTest, NoticesEntriesOfOthers) {
  expectSameAfter(2, [](llvm::ArrayRef<std::string> files) {
    ASSERT_FALSE(llvm::sys::fs::copy_file(files[0], files[1]));
  });
}

TEST(KernelCompilerTest, DoesNotWaitForPipes) {
  expectSameAfter(1, [](llvm::ArrayRef<std::string> files) {
    ASSERT_FALSE(llvm::sys::fs::remove(files[0]));
    ASSERT_EQ(::mkfifo(files[0].c_str(), 0600), 0);
  });
}

int main(int argc, char **argv) {
  if (argc == 2 && llvm::StringRef(argv[1]) == "--worker")
    return runKernelWorker();
  programPath = llvm::sys::fs::getMainExecutable(
      argv[0], reinterpret_cast<void *>(&makeJob));
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
