//===- Parallel.cpp - steps on several threads ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Parallel.h"
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

llvm::Error qcc::runParallel(size_t count, unsigned threads,
                             llvm::function_ref<llvm::Error(size_t)> step,
                             llvm::function_ref<void(size_t)> progress) {
  std::atomic<size_t> next = 0;
  std::mutex mutex; // guards what follows
  size_t done = 0, failedStep = count;
  llvm::Error failure = llvm::Error::success();
  progress(0);

  auto work = [&] {
    for (size_t i; (i = next++) < count;) {
      llvm::Error error = step(i);
      std::lock_guard<std::mutex> lock(mutex);
      if (!error) {
        progress(++done);
        continue;
      }
      next = count;
      // Of several, the one that a single thread would have met.
      if (i < failedStep) {
        std::swap(failure, error);
        failedStep = i;
      }
      llvm::consumeError(std::move(error));
      return;
    }
  };

  std::vector<std::thread> pool;
  for (unsigned i = 1; i < std::min<size_t>(threads, count); ++i)
    pool.emplace_back(work);
  work();
  for (std::thread &thread : pool)
    thread.join();
  return failure;
}

void qcc::runParallel(size_t count, unsigned threads,
                      llvm::function_ref<void(size_t)> step) {
  llvm::cantFail(runParallel(
      count, threads,
      [&](size_t i) {
        step(i);
        return llvm::Error::success();
      },
      [](size_t) {}));
}
