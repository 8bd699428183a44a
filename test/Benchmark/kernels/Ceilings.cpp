//===- Ceilings.cpp - what the machine can do -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Ceilings.h"
#include <immintrin.h>

using namespace qcc::bench;

namespace {
/// Accumulators of a loop: enough to hide the latency of two units, and with
/// two operands no more than AVX2's 16 registers.
constexpr int kChains = 12;
constexpr long kRounds = 1 << 22;

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

__attribute__((target("avx512f,avx512vnni"), noinline)) void runByteDot() {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (__m512i &sum : sums)
    sum = a;
  for (long i = 0; i < kRounds; ++i)
#pragma clang loop unroll(full)
    for (__m512i &sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      asm volatile("" : "+v"(sum)); // products of constants are not folded
    }
  for (__m512i &sum : sums)
    sinkInt = _mm512_cvtsi512_si32(sum);
}

double measure(void (*loop)(), double operationsPerLane, double lanes) {
  double start = now();
  loop();
  return kChains * kRounds * operationsPerLane * lanes / (now() - start);
}
} // namespace

double qcc::bench::measureFma(unsigned vectorBits) {
  if (vectorBits == 512)
    return __builtin_cpu_supports("avx512f") ? measure(runFma512, 2, 16) : 0;
  return __builtin_cpu_supports("fma") ? measure(runFma256, 2, 8) : 0;
}

double qcc::bench::measureByteDot() {
  return __builtin_cpu_supports("avx512vnni") ? measure(runByteDot, 8, 16) : 0;
}
