//===- Ceilings.h - what this machine can do at most ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_CEILINGS_H
#define QCC_TOOLS_QCC_RUN_CEILINGS_H

#include <cstdint>
#include <string>

namespace qcc::run {

/// Rates in 10^9 per second of all threads together; 0 if the CPU lacks the
/// instruction or the memory could not be had.
struct Ceilings {
  double f32 = 0;  ///< operations: fused multiply-adds count as two
  double int8 = 0; ///< operations of products of bytes
  double cache = 0, memory = 0; ///< bytes read
  uint64_t cacheBytes = 0;      ///< size of the cache that was read
};

/// Measures with as many threads as the model has, in about a second. `level`
/// is the level that the model runs at: it decides on the width of vectors and
/// on how bytes are multiplied (vpdpbusd, or vpmaddwd of bytes widened; tiles
/// of AMX are not measured, so int8 is 0 there).
/// Memory is read through 384 MiB, the cache through half of its size (L2), by
/// each thread.
Ceilings measureCeilings(const std::string &level, unsigned threads);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_CEILINGS_H
