//===- Ceilings.h - what the machine can do ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_BENCHMARK_KERNELS_CEILINGS_H
#define QCC_TEST_BENCHMARK_KERNELS_CEILINGS_H

#include <ctime>

namespace qcc::bench {

/// Seconds of processor time of this thread: what others use does not count.
inline double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

/// Rates, in operations per second (a multiplication and an addition are two),
/// of loops that do nothing but independent fused multiply-adds of f32 with 256
/// or 512 bits, or `vpdpbusd` with 512 bits. About 6 ms each; 0 where the CPU
/// has no such instruction.
double measureFma(unsigned vectorBits);
double measureByteDot();

} // namespace qcc::bench

#endif // QCC_TEST_BENCHMARK_KERNELS_CEILINGS_H
