//===- PeakLoops.cpp - loops of nothing but arithmetic ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "PeakLoops.h"
#include <immintrin.h>

using namespace qcc::run;

namespace {

/// Accumulators of a loop: enough to hide the latency of two units, and with
/// two operands no more than AVX2's 16 registers.
constexpr int kChains = 12;

volatile float sinkFloat;
volatile int sinkInt;

__attribute__((target("avx512f"), noinline)) void runFma512(long rounds) {
  __m512 sums[kChains], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(1e-3f);
  for (__m512 &sum : sums)
    sum = a;
  for (long i = 0; i < rounds; ++i)
#pragma clang loop unroll(full)
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(sum, a, b);
  for (__m512 &sum : sums)
    sinkFloat = _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"), noinline)) void runFma256(long rounds) {
  __m256 sums[kChains], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(1e-3f);
  for (__m256 &sum : sums)
    sum = a;
  for (long i = 0; i < rounds; ++i)
#pragma clang loop unroll(full)
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(sum, a, b);
  for (__m256 &sum : sums)
    sinkFloat = _mm256_cvtss_f32(sum);
}

// Products of constants must not be folded, hence the `asm` below.

__attribute__((target("avx512f,avx512vnni"), noinline)) void
runDot512(long rounds) {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (__m512i &sum : sums)
    sum = a;
  for (long i = 0; i < rounds; ++i)
#pragma clang loop unroll(full)
    for (__m512i &sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      asm volatile("" : "+v"(sum));
    }
  for (__m512i &sum : sums)
    sinkInt = _mm512_cvtsi512_si32(sum);
}

__attribute__((target("avx512f,avx512bw"), noinline)) void
runPairs512(long rounds) {
  __m512i sums[kChains], a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(5);
  for (__m512i &sum : sums)
    sum = a;
  for (long i = 0; i < rounds; ++i)
#pragma clang loop unroll(full)
    for (__m512i &sum : sums) {
      __m512i product = _mm512_madd_epi16(a, b);
      asm volatile("" : "+v"(product));
      sum = _mm512_add_epi32(sum, product);
    }
  for (__m512i &sum : sums)
    sinkInt = _mm512_cvtsi512_si32(sum);
}

__attribute__((target("avx2"), noinline)) void runPairs256(long rounds) {
  __m256i sums[kChains], a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
  for (__m256i &sum : sums)
    sum = a;
  for (long i = 0; i < rounds; ++i)
#pragma clang loop unroll(full)
    for (__m256i &sum : sums) {
      __m256i product = _mm256_madd_epi16(a, b);
      asm volatile("" : "+x"(product));
      sum = _mm256_add_epi32(sum, product);
    }
  for (__m256i &sum : sums)
    sinkInt = _mm256_cvtsi256_si32(sum);
}

} // namespace

bool qcc::run::canRun(PeakLoop loop) {
  switch (loop) {
  case PeakLoop::Fma256:
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  case PeakLoop::Pairs256:
    return __builtin_cpu_supports("avx2");
  case PeakLoop::Fma512:
    return __builtin_cpu_supports("avx512f");
  case PeakLoop::Pairs512:
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw");
  case PeakLoop::Dot512:
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512vnni");
  }
  return false;
}

double qcc::run::runPeakLoop(PeakLoop loop, long rounds) {
  double instructions = double(kChains) * double(rounds);
  switch (loop) {
  case PeakLoop::Fma256:
    runFma256(rounds);
    return instructions * 8 * 2;
  case PeakLoop::Fma512:
    runFma512(rounds);
    return instructions * 16 * 2;
  case PeakLoop::Pairs256:
    runPairs256(rounds);
    return instructions * 8 * 4;
  case PeakLoop::Pairs512:
    runPairs512(rounds);
    return instructions * 16 * 4;
  case PeakLoop::Dot512:
    runDot512(rounds);
    return instructions * 16 * 8;
  }
  return 0;
}
