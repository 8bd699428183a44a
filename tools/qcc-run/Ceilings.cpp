//===- Ceilings.cpp - what this machine can do at most ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Ceilings.h"
#include "PeakLoops.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <immintrin.h>
#include <memory>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace qcc::run;

namespace {

constexpr long kRounds = 1 << 19;
/// Times a loop is run; the fastest counts, for others use the machine too.
constexpr int kRepeats = 9;
constexpr size_t kMemoryBytes = size_t(384) << 20;

volatile int sinkInt;

/// Reads `bytes` (a multiple of 256) at an address aligned to 64.
__attribute__((target("avx2"), noinline)) void readAll(const char *data,
                                                       size_t bytes) {
  __m256i sums[8] = {};
  for (size_t at = 0; at < bytes; at += 256)
#pragma clang loop unroll(full)
    for (int i = 0; i < 8; ++i)
      sums[i] = _mm256_xor_si256(
          sums[i], _mm256_load_si256(
                       reinterpret_cast<const __m256i *>(data + at + 32 * i)));
  for (__m256i &sum : sums)
    sinkInt = _mm256_cvtsi256_si32(sum);
}

/// Seconds that all threads take for one call each, at the same time; the
/// least of kRepeats.
double timeTogether(unsigned threads,
                    const std::function<void(unsigned)> &body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds(kRepeats);
  std::barrier<> meet(threads);
  auto work = [&](unsigned number) {
    for (double &time : seconds) {
      meet.arrive_and_wait();
      Clock::time_point begin = Clock::now();
      body(number);
      meet.arrive_and_wait();
      if (number == 0)
        time = std::chrono::duration<double>(Clock::now() - begin).count();
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(threads - 1);
    for (unsigned i = 1; i < threads; ++i)
      others.emplace_back(work, i);
    work(0);
  }
  return *std::min_element(seconds.begin(), seconds.end());
}

double measureLoop(unsigned threads, PeakLoop loop) {
  double operations = 0;
  double seconds = timeTogether(threads, [&](unsigned number) {
    double done = runPeakLoop(loop, kRounds);
    if (number == 0)
      operations = done;
  });
  return threads * operations / seconds / 1e9;
}

double measureReads(unsigned threads, size_t bytesEach, int times) {
  struct Free {
    void operator()(char *data) const { std::free(data); }
  };
  std::vector<std::unique_ptr<char, Free>> buffers(threads);
  for (auto &buffer : buffers) {
    buffer.reset(static_cast<char *>(std::aligned_alloc(4096, bytesEach)));
    if (!buffer)
      return 0;
  }
  // Pages belong to the thread that writes them first.
  double seconds = 0;
  auto fill = [&](unsigned i) {
    std::fill_n(buffers[i].get(), bytesEach, char(1));
  };
  {
    std::vector<std::jthread> fillers;
    for (unsigned i = 0; i < threads; ++i)
      fillers.emplace_back(fill, i);
  }
  seconds = timeTogether(threads, [&](unsigned i) {
    for (int k = 0; k < times; ++k)
      readAll(buffers[i].get(), bytesEach);
  });
  return double(threads) * double(bytesEach) * times / seconds / 1e9;
}

} // namespace

Ceilings qcc::run::measureCeilings(const std::string &level, unsigned threads) {
  Ceilings ceilings;
  if (!canRun(PeakLoop::Fma256))
    return ceilings;
  threads = std::clamp(threads, 1u, 1024u);
  bool isWide = (level.starts_with("avx512") || level == "amx") &&
                canRun(PeakLoop::Pairs512);
  bool hasDot = isWide && level == "avx512-vnni" && canRun(PeakLoop::Dot512);
  ceilings.f32 =
      measureLoop(threads, isWide ? PeakLoop::Fma512 : PeakLoop::Fma256);
  if (level != "amx")
    ceilings.int8 = measureLoop(threads, hasDot   ? PeakLoop::Dot512
                                         : isWide ? PeakLoop::Pairs512
                                                  : PeakLoop::Pairs256);
  long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  ceilings.cacheBytes =
      cache >= 65536 && cache <= (1 << 28) ? uint64_t(cache) : 512 << 10;
  size_t half = ceilings.cacheBytes / 2 / 4096 * 4096;
  ceilings.cache =
      measureReads(threads, half, int(std::max<size_t>((32 << 20) / half, 1)));
  size_t each = std::max<size_t>(kMemoryBytes / threads, 1 << 20) / 4096 * 4096;
  ceilings.memory = measureReads(threads, each, 1);
  return ceilings;
}
