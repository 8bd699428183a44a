//===- PoolTest.cpp - every task once, whatever happens ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Pool.h"

#include <gtest/gtest.h>
#include <memory>
#include <sched.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace qcc::runtime;

namespace {

/// A pool that ends with its scope.
class PoolTest : public ::testing::Test {
protected:
  ~PoolTest() override {
    if (pool)
      pool->shutDown();
  }

  void start(uint32_t threads, bool pin = false) {
    pool = std::make_unique<Pool>();
    ASSERT_TRUE(pool->configure(threads, pin, Memory()));
  }

  /// Runs `tasks` tasks; true when each ran once with a valid worker.
  bool runOnce(int64_t tasks, uint32_t maxWorkers = 64) {
    struct Loop {
      std::vector<std::atomic<int>> counts;
      std::vector<std::atomic<int>> busy;
      std::atomic<bool> good{true};
    } loop{std::vector<std::atomic<int>>(size_t(tasks)),
           std::vector<std::atomic<int>>(64)};
    auto fn = [](void *arg, int64_t i, uint32_t worker) {
      auto &l = *static_cast<Loop *>(arg);
      if (worker >= l.busy.size() || l.busy[worker].fetch_add(1) != 0)
        l.good = false;
      l.counts[size_t(i)].fetch_add(1);
      l.busy[worker].fetch_sub(1);
    };
    pool->run(tasks, fn, &loop, maxWorkers, uint32_t(getpid()));
    for (auto &count : loop.counts)
      if (count != 1)
        return false;
    return loop.good;
  }

  std::unique_ptr<Pool> pool;
};

TEST_F(PoolTest, RunsEveryTaskOnce) {
  start(4);
  for (int64_t tasks : {0, 1, 2, 3, 16, 1000})
    EXPECT_TRUE(runOnce(tasks)) << tasks;
}

TEST_F(PoolTest, ManyShortLoops) {
  start(3);
  for (int i = 0; i < 3000; ++i)
    ASSERT_TRUE(runOnce(4)) << i;
}

TEST_F(PoolTest, WakesSleepers) {
  start(3);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(runOnce(50));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

/// CPUs that the worker of the only task that waits may run on.
cpu_set_t workersCpus(Pool &pool, int &callersCpu) {
  struct Loop {
    std::atomic<bool> done{false};
    cpu_set_t set;
    int callersCpu;
  } loop;
  CPU_ZERO(&loop.set);
  // The caller waits in its task until the worker has done the other one.
  auto fn = [](void *arg, int64_t, uint32_t worker) {
    auto &l = *static_cast<Loop *>(arg);
    if (worker == 0) {
      l.callersCpu = sched_getcpu();
      for (int i = 0; i < 2000 && !l.done; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    if (!l.done)
      sched_getaffinity(0, sizeof(l.set), &l.set);
    l.done = true;
  };
  callersCpu = sched_getcpu();
  pool.run(2, fn, &loop, 2, uint32_t(getpid()));
  // It may have moved before it woke the worker.
  callersCpu = callersCpu == loop.callersCpu ? callersCpu : -1;
  return loop.set;
}

TEST_F(PoolTest, WakesWorkersOnOtherCpus) {
  if (Pool::allowedCpus() < 2)
    GTEST_SKIP() << "one CPU";
  start(2);
  ASSERT_TRUE(runOnce(50));
  int seen = 0;
  for (int i = 0; i < 20 && seen < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    int cpu = -1;
    cpu_set_t set = workersCpus(*pool, cpu);
    if (cpu < 0 || CPU_COUNT(&set) == 0)
      continue;
    EXPECT_FALSE(CPU_ISSET(cpu, &set));
    EXPECT_EQ(uint32_t(CPU_COUNT(&set)), Pool::allowedCpus() - 1);
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

TEST_F(PoolTest, LeavesMoreThreadsThanCpusAsTheyAre) {
  start(Pool::allowedCpus() + 1);
  ASSERT_TRUE(runOnce(50));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  int cpu = -1;
  cpu_set_t set = workersCpus(*pool, cpu);
  EXPECT_EQ(uint32_t(CPU_COUNT(&set)), Pool::allowedCpus());
}

TEST_F(PoolTest, KeepsTheLimitOfWorkers) {
  start(4);
  std::atomic<uint32_t> highest{0};
  auto fn = [](void *arg, int64_t, uint32_t worker) {
    auto &most = *static_cast<std::atomic<uint32_t> *>(arg);
    for (uint32_t seen = most;
         seen < worker && !most.compare_exchange_weak(seen, worker);) {
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  };
  for (int i = 0; i < 20; ++i)
    pool->run(32, fn, &highest, 2, uint32_t(getpid()));
  EXPECT_LT(highest, 2u);
}

TEST_F(PoolTest, NestedLoopsRunInline) {
  start(4);
  struct Nest {
    Pool *pool;
    std::atomic<int> inner{0};
    std::atomic<int> foreign{0};
  } nest;
  nest.pool = pool.get();
  auto outer = [](void *arg, int64_t, uint32_t) {
    auto &n = *static_cast<Nest *>(arg);
    struct Inner {
      Nest *nest;
      std::thread::id self;
    } here{&n, std::this_thread::get_id()};
    auto fn = [](void *innerArg, int64_t, uint32_t worker) {
      auto &in = *static_cast<Inner *>(innerArg);
      in.nest->inner.fetch_add(1);
      if (worker != 0 || in.self != std::this_thread::get_id())
        in.nest->foreign.fetch_add(1);
    };
    n.pool->run(10, fn, &here, 64, uint32_t(getpid()));
  };
  pool->run(20, outer, &nest, 64, uint32_t(getpid()));
  EXPECT_EQ(nest.inner, 200);
  EXPECT_EQ(nest.foreign, 0);
}

TEST_F(PoolTest, ManyCallersShareIt) {
  start(3);
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i)
        if (!runOnce(16))
          bad.fetch_add(1);
    });
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(bad, 0);
}

TEST_F(PoolTest, PinnedThreadsWork) {
  start(2, true);
  EXPECT_TRUE(runOnce(100));
}

TEST_F(PoolTest, EndsWithoutHavingStarted) {
  start(8);
  pool->shutDown();
  pool.reset();
}

#if !defined(__SANITIZE_THREAD__) &&                                           \
    !(defined(__has_feature) && __has_feature(thread_sanitizer))
/// Runs `check` in a child process; true when it returned true in time.
template <typename Fn> bool inChild(Fn check) {
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(check() ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child &&
         WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(PoolTest, RestartsAfterFork) {
  start(3);
  ASSERT_TRUE(runOnce(100));
  EXPECT_TRUE(inChild([&] {
    bool good = runOnce(100) && runOnce(100);
    pool->shutDown();
    return good;
  }));
  EXPECT_TRUE(runOnce(100)) << "the parent's threads are not disturbed";
}

TEST_F(PoolTest, ForkWhileInUse) {
  start(3);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop)
      runOnce(64);
  });
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(inChild([&] { return runOnce(100); })) << i;
  stop = true;
  busy.join();
}
#endif

} // namespace
