//===- Pool.cpp - the default threads of a model ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace qcc::runtime;

/// Sleeps while `*word` is `value`; wakes early for any reason.
static void futexWait(void *word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

static void futexWake(void *word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

/// One step of waiting without sleeping, the `i`-th: some tens of nanoseconds
/// while the wait is short, then the CPU is offered to others.
static void pauseOnce(uint32_t i) {
  if (i % 64 == 63) {
    sched_yield();
    return;
  }
  for (int k = 0; k < 8; ++k)
    __builtin_ia32_pause();
}

/// Steps before a worker sleeps, 50 to 100 microseconds: longer than the gaps
/// between the dispatches of a run.
static constexpr uint32_t spinSteps = 1024;

/// CPU_COUNT, of which a C library has a function of its own.
static uint32_t count(const cpu_set_t &set) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < CPU_SETSIZE; ++i)
    result += CPU_ISSET(i, &set) ? 1 : 0;
  return result;
}

uint32_t Pool::allowedCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0)
    return 1;
  uint32_t cpus = count(set);
  return cpus == 0 ? 1 : cpus;
}

bool Pool::configure(uint32_t count, bool pin, const Memory &from) {
  memory = from;
  threads = count;
  pinned = pin;
  if (count > 1)
    workers = memory.array<Worker>(count - 1);
  return count <= 1 || workers;
}

void Pool::shutDown() {
  if (started != 0 && startedPid == uint32_t(getpid())) {
    stop.store(1, std::memory_order_relaxed);
    signal.fetch_add(1, std::memory_order_seq_cst);
    futexWake(&signal, INT_MAX);
    for (uint32_t i = 0; i < started; ++i)
      pthread_join(workers[i].thread, nullptr);
  }
  started = 0;
  memory.freeArray(workers, threads - 1);
  workers = nullptr;
}

//===----------------------------------------------------------------------===//
// The caller's side
//===----------------------------------------------------------------------===//

bool Pool::tryLock(uint32_t pid) {
  uint32_t holder = owner.load(std::memory_order_relaxed);
  // Of another process: it was held when this one was forked off.
  if (holder == pid)
    return false;
  return owner.compare_exchange_strong(holder, pid, std::memory_order_acquire,
                                       std::memory_order_relaxed);
}

/// Binds a thread to the n-th CPU that this one may run on.
static void pinTo(pthread_t thread, uint32_t n) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
    return;
  for (uint32_t i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &allowed) || n-- != 0)
      continue;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    pthread_setaffinity_np(thread, sizeof(one), &one);
    return;
  }
}

void Pool::start(uint32_t pid, uint32_t wanted) {
  if (startedPid != pid) {
    startedPid = pid;
    started = 0;
    ticket.store(0, std::memory_order_relaxed);
    sleepers.store(0, std::memory_order_relaxed);
    callerSleeps.store(0, std::memory_order_relaxed);
  }
  if (started >= wanted)
    return;
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (started < wanted) {
    Worker &worker = workers[started];
    worker = {this, {}, started + 1, signal.load(std::memory_order_relaxed)};
    if (pthread_create(&worker.thread, nullptr, workerMain, &worker) != 0)
      break; // Fewer threads do the same work.
    if (pinned)
      pinTo(worker.thread, worker.number);
    ++started;
    callerCpu = -1;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

/// Lets workers that are about to wake run on any CPU but the caller's. Linux
/// may wake a thread on the CPU of who wakes it though another one is idle, as
/// seen in a virtual machine after 0.1 s without work. It then waits there for
/// several milliseconds, as long as the caller works.
void Pool::keepOffCaller() {
  int cpu = sched_getcpu();
  cpu_set_t set;
  if (pinned || cpu < 0 || cpu == callerCpu ||
      sched_getaffinity(0, sizeof(set), &set) != 0)
    return;
  // With more threads than CPUs each has its share of all of them.
  if (!CPU_ISSET(cpu, &set) || count(set) < threads)
    return;
  CPU_CLR(cpu, &set);
  for (uint32_t i = 0; i < started; ++i)
    pthread_setaffinity_np(workers[i].thread, sizeof(set), &set);
  callerCpu = cpu;
}

void Pool::run(int64_t tasks, qcc_task_fn fn, void *arg, uint32_t maxWorkers,
               uint32_t pid) {
  uint32_t limit = maxWorkers < threads ? maxWorkers : threads;
  if (tasks <= 1 || limit <= 1 || !tryLock(pid)) {
    for (int64_t i = 0; i < tasks; ++i)
      fn(arg, i, 0);
    return;
  }
  start(pid, limit - 1);
  loop = {fn, arg, tasks, limit};
  next.store(0, std::memory_order_relaxed);
  ticket.store(openBit, std::memory_order_release);
  signal.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0) {
    keepOffCaller();
    futexWake(&signal, INT_MAX);
  }
  work(0);
  waitForWorkers();
  owner.store(0, std::memory_order_release);
}

void Pool::waitForWorkers() {
  // From here on nobody joins; who is in still has a task.
  ticket.fetch_and(~openBit, std::memory_order_acq_rel);
  for (uint32_t i = 0;
       (ticket.load(std::memory_order_acquire) & activeMask) != 0; ++i) {
    if (i < spinSteps) {
      pauseOnce(i);
      continue;
    }
    callerSleeps.store(1, std::memory_order_seq_cst);
    uint64_t now = ticket.load(std::memory_order_seq_cst);
    if ((now & activeMask) != 0)
      futexWait(&ticket, uint32_t(now)); // the low half, on this byte order
    callerSleeps.store(0, std::memory_order_relaxed);
  }
}

//===----------------------------------------------------------------------===//
// The workers' side
//===----------------------------------------------------------------------===//

void Pool::work(uint32_t worker) {
  for (int64_t i;
       (i = next.fetch_add(1, std::memory_order_relaxed)) < loop.tasks;)
    loop.fn(loop.arg, i, worker);
}

void Pool::join(uint32_t worker) {
  uint64_t now = ticket.load(std::memory_order_relaxed);
  do {
    if ((now & openBit) == 0)
      return;
  } while (!ticket.compare_exchange_weak(
      now, now + 1, std::memory_order_acquire, std::memory_order_relaxed));
  if (worker < loop.maxWorkers)
    work(worker);
  uint64_t left = ticket.fetch_sub(1, std::memory_order_seq_cst) - 1;
  if (left == 0 && callerSleeps.load(std::memory_order_seq_cst) != 0)
    futexWake(&ticket, 1);
}

uint32_t Pool::waitForSignal(uint32_t seen) {
  for (uint32_t i = 0;; ++i) {
    uint32_t now = signal.load(std::memory_order_acquire);
    if (now != seen)
      return now;
    if (i < spinSteps) {
      pauseOnce(i);
      continue;
    }
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    futexWait(&signal, seen);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
}

void *Pool::workerMain(void *arg) {
  auto *worker = static_cast<Worker *>(arg);
  Pool *pool = worker->pool;
  for (uint32_t seen = worker->seen;;) {
    seen = pool->waitForSignal(seen);
    if (pool->stop.load(std::memory_order_relaxed) != 0)
      return nullptr;
    pool->join(worker->number);
  }
}
