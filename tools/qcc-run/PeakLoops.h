//===- PeakLoops.h - loops of nothing but arithmetic ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_PEAKLOOPS_H
#define QCC_TOOLS_QCC_RUN_PEAKLOOPS_H

namespace qcc::run {

/// Independent instructions of one kind in registers: as many operations per
/// second as a core can do. Qcc-run measures ceilings of profiles with them,
/// the benchmark of kernels those of its table.
enum class PeakLoop {
  Fma256,   ///< fused multiply-adds of f32
  Fma512,   ///< the same with 512 bits
  Pairs256, ///< `vpmaddwd` and an addition: products of bytes that were widened
  Pairs512, ///< the same with 512 bits
  Dot512    ///< `vpdpbusd` with 512 bits
};

/// True if this CPU has the loop's instructions.
bool canRun(PeakLoop loop);

/// Runs it `rounds` times around; returns the number of operations, where a
/// multiplication and an addition are two. 2^19 rounds take about 1 to 3 ms.
/// Only if `canRun`.
double runPeakLoop(PeakLoop loop, long rounds);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_PEAKLOOPS_H
