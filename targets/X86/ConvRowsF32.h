//===- ConvRowsF32.h - tiles of convolutions over copied rows ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_CONVROWSF32_H
#define QCC_TARGETS_X86_CONVROWSF32_H

#include "ConvF32.h"
#include "qcc/Target/Target.h"

namespace qcc::x86 {

/// Scratch for the rows of a task, in bytes: most of half of the smallest L2 of
/// an AVX-512 core, a third of that of AVX2 cores.
constexpr int64_t getRowsScratch(bool avx512) {
  return avx512 ? 384 << 10 : 160 << 10;
}

/// A register tile: output channels, vectors of pixels.
struct RowsTile {
  int64_t channels, vectors;
};

/// The tiles of a level, whose sums fill its registers.
llvm::SmallVector<RowsTile> getRowsTiles(bool avx512);

/// The tile of ConvRowsF32.cpp for a group of `channels` outputs and rows of
/// `width` pixels, and the products of vectors that a row takes with it for
/// each input and tap; narrow rows share tiles. Tiles of few sums count as
/// more: these wait for each other.
struct RowsWork {
  RowsTile tile;
  double products;
};
RowsWork getRowsWork(int64_t channels, int64_t width, bool avx512);

/// What a schedule is free to choose: output channels of a panel of weights,
/// rows of a task.
struct RowsCut {
  int64_t channels, rows;
};

/// The schedule's parameter that tells it from that of a panel of pixels: rows
/// of a task.
inline constexpr llvm::StringLiteral kRowsParam = "rows";

/// How to compute a convolution over copied rows. None where it is not one of
/// known width, with a stride of at most 2, whose rows have room in scratch.
std::optional<RowsCut> chooseRowsCut(const ConvOperands &conv, bool avx512);
/// True if that is faster than a panel of pixels.
bool isFasterByRows(const ConvShape &shape, const Capabilities &level);
KernelSchedule scheduleConvRows(const ConvOperands &conv, const RowsCut &cut);
/// Builds the kernel of such a schedule.
mlir::LogicalResult emitConvRows(KernelBuilder &builder);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_CONVROWSF32_H
