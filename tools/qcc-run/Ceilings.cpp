//===- Ceilings.cpp - what this machine can do at most ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Ceilings.h"

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

/// Accumulators of a loop: enough to hide the latency of two units, and with
/// two operands no more than AVX2's 16 registers.
constexpr int kChains = 12;
constexpr long kRounds = 1 << 19;
/// Times a loop is run; the fastest counts, for others use the machine too.
constexpr int kRepeats = 9;
constexpr size_t kMemoryBytes = size_t(384) << 20;

volatile float sinkFloat;
volatile int sinkInt;

__attribute__((target("avx512f"), noinline)) void runFma512() {
  __m512 sums[kChains], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
  for (__m512 &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(sum, a, b);
  for (__m512 &sum : sums)
    sinkFloat = _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"), noinline)) void runFma256() {
  __m256 sums[kChains], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
  for (__m256 &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(sum, a, b);
  for (__m256 &sum : sums)
    sinkFloat = _mm256_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512vnni"), noinline)) void runDot512() {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (__m512i &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m512i &sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      asm volatile("" : "+v"(sum));
    }
  for (__m512i &sum : sums)
    sinkInt = _mm512_cvtsi512_si32(sum);
}

__attribute__((target("avx512f,avx512bw"), noinline)) void runPairs512() {
  __m512i sums[kChains], a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(5);
  for (__m512i &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m512i &sum : sums) {
      __m512i product = _mm512_madd_epi16(a, b);
      asm volatile("" : "+v"(product));
      sum = _mm512_add_epi32(sum, product);
    }
  for (__m512i &sum : sums)
    sinkInt = _mm512_cvtsi512_si32(sum);
}

__attribute__((target("avx2"), noinline)) void runPairs256() {
  __m256i sums[kChains], a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
  for (__m256i &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m256i &sum : sums) {
      __m256i product = _mm256_madd_epi16(a, b);
      asm volatile("" : "+x"(product));
      sum = _mm256_add_epi32(sum, product);
    }
  for (__m256i &sum : sums)
    sinkInt = _mm256_cvtsi256_si32(sum);
}

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

double measureLoop(unsigned threads, void (*loop)(), double operations) {
  double seconds = timeTogether(threads, [&](unsigned) { loop(); });
  return threads * double(kChains) * double(kRounds) * operations / seconds /
         1e9;
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
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    return ceilings;
  threads = std::clamp(threads, 1u, 1024u);
  bool isWide = level.starts_with("avx512") || level == "amx";
  isWide = isWide && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw");
  bool hasDot =
      isWide && level != "avx512" && __builtin_cpu_supports("avx512vnni");
  ceilings.f32 = isWide ? measureLoop(threads, runFma512, 2 * 16)
                        : measureLoop(threads, runFma256, 2 * 8);
  ceilings.int8 = hasDot   ? measureLoop(threads, runDot512, 8 * 16)
                  : isWide ? measureLoop(threads, runPairs512, 4 * 16)
                           : measureLoop(threads, runPairs256, 4 * 8);
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
