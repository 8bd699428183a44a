//===- Pool.h - the default threads of a model ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_POOL_H
#define QCC_LIB_RUNTIME_POOL_H

#include "Support.h"

#include <atomic>
#include <pthread.h>
#include <stdint.h>

namespace qcc::runtime {

/// Threads that share the tasks of one loop at a time.
///
/// Whoever finds the pool in use (another context, or a loop inside a task)
/// runs its loop alone; so no loop ever waits for another. Threads start at
/// the first loop, look for work for some microseconds after each, then sleep.
/// A child of fork() has none of the threads: the lock holds the process id of
/// its owner, by which the child sees that, and starts its own.
class Pool { // NOLINT(*-optin.performance.Padding): own cache lines
public:
  /// `threads` counts the caller of run; `pin` binds each other thread to one
  /// of the allowed CPUs. False when memory is out.
  bool configure(uint32_t threads, bool pin, const Memory &from);

  /// Ends the threads. No run may be in progress.
  void shutDown();

  /// Calls fn(arg, i, worker) for i below `tasks`; worker is below the smaller
  /// of `maxWorkers` and size(). `pid` is that of this process.
  void run(int64_t tasks, qcc_task_fn fn, void *arg, uint32_t maxWorkers,
           uint32_t pid);

  uint32_t size() const { return threads; }

  /// CPUs that this thread may run on, at least 1.
  static uint32_t allowedCpus();

private:
  struct Worker {
    Pool *pool;
    pthread_t thread;
    uint32_t number;
    uint32_t seen;
  };

  /// The loop in progress. Written while no worker is in it.
  struct Loop {
    qcc_task_fn fn;
    void *arg;
    int64_t tasks;
    uint32_t maxWorkers;
  };

  bool tryLock(uint32_t pid);
  void start(uint32_t pid, uint32_t wanted);
  void keepOffCaller();
  void work(uint32_t worker);
  void join(uint32_t worker);
  uint32_t waitForSignal(uint32_t seen);
  void waitForWorkers();
  static void *workerMain(void *arg);

  static constexpr uint64_t openBit = uint64_t(1) << 31;
  static constexpr uint64_t activeMask = openBit - 1;

  Memory memory;
  Worker *workers = nullptr;
  uint32_t threads = 1;
  bool pinned = false;

  // Owned by who holds the lock.
  std::atomic<uint32_t> owner{0};
  uint32_t startedPid = 0;
  uint32_t started = 0; // workers[0 .. started) run
  int callerCpu = -1;   // which they may not run on; -1: none
  Loop loop{};

  alignas(64) std::atomic<int64_t> next{0};
  // Bit 31: workers may join; below: how many are in the loop.
  alignas(64) std::atomic<uint64_t> ticket{0};
  std::atomic<uint32_t> callerSleeps{0};
  // Counts loops; workers sleep on it.
  alignas(64) std::atomic<uint32_t> signal{0};
  std::atomic<uint32_t> sleepers{0};
  std::atomic<uint32_t> stop{0};
};

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_POOL_H
