//===- Pack.h - weights in the order that kernels read ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the layouts of `qcc.pack` mean, for who schedules them (packedType) and
// for who evaluates them while the artifact is written (packWeight).
//
//   panel         [K, N] (or [N, K] if transposed) -> [ceil(N/nr), K, nr]
//   conv_panel:G  [O, I, kernel...] of a convolution with G groups
//                 -> [G, ceil(O/G/nr), I * kernel, nr]
//   conv_transpose_panel:G
//                 the same from [I * G, O/G, kernel...] of a transposed
//                 convolution, each window turned round
//
//   dot, dot:G    i8 [K, N] (or [N, K] if transposed), or [O, I, kernel...]
//                 of a convolution with G groups, as exact products of bytes
//                 read them, in blocks of 16 columns:
//                 [G, ceil(O/G/16)] { i32 sums[16], i8 [taps][I/4][16][4] }
//                 with the sum of each column, `I` filled up to a multiple of
//                 4 per tap; a tap is a place in the window, of [K, N] the one
//   dot16, dot16:G
//                 the same with codes widened to i16, for levels that multiply
//                 words only
//   pair16, pair16:G
//                 as words too, for activations that are words already, pairs
//                 of rows side by side:
//                 [G, ceil(O/G/16)] { i32 sums[16], i16 [rows/2][16][2] }
//                 where row `tap * I + i` is input `i` of a tap, and the last
//                 row is filled up with zeros where there is an odd number
//   dot4, dot4:G  i4 weights (an element in each byte of the source) in the
//                 order of `dot`, two codes in a byte: of each step's 64 codes
//                 byte `i` of 32 holds code `i` in its low half and code
//                 `i + 32` in its high one, in two's complement
//   pair4, pair4:G
//                 the same in the order of `pair16`: of each pair's 32 codes
//                 byte `i` of 16 holds the codes `i` and `i + 16`
//   tap           i8 [C, 1, kernel...] of a depthwise convolution widened to
//                 i32 [1 + taps, C up to a multiple of 16]; first the sums
//
// `nr` is 16 for `dot`, `dot16`, `pair16`, `dot4`, `pair4` and `tap`.
//
// Columns past the last one are zero. The layout belongs to the weight: every
// feature level of an artifact reads the same bytes.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_PACK_H
#define QCC_DIALECT_QCC_PACK_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"

namespace qcc {

/// Columns of a block of the layouts `dot` and `tap`.
inline constexpr int64_t kDotColumns = 16;
/// Rows that one step of an exact product of bytes takes.
inline constexpr int64_t kDotRows = 4;
/// Bytes before the codes of a block of `dot`: the sums.
inline constexpr int64_t kDotHeader = kDotColumns * 4;
/// Bytes of a step of `dot4` and of a pair of rows of `pair4`.
inline constexpr int64_t kDotStepNibbles = kDotColumns * kDotRows / 2;
inline constexpr int64_t kPairNibbles = kDotColumns;

/// The type that a weight of static type `weight` has in a layout; null if the
/// layout is not known or does not fit the weight (rank, groups, a size that
/// overflows).
mlir::RankedTensorType packedType(mlir::RankedTensorType weight,
                                  llvm::StringRef layout, int64_t nr,
                                  bool transposed);

/// Writes the packed form of `in`, row-major elements of type `weight` at any
/// alignment, to `out`, which has the size of packedType(). Fails where that
/// has no type or a size does not match.
mlir::LogicalResult packWeight(llvm::ArrayRef<char> in,
                               mlir::RankedTensorType weight,
                               llvm::StringRef layout, int64_t nr,
                               bool transposed,
                               llvm::MutableArrayRef<char> out);

} // namespace qcc

#endif // QCC_DIALECT_QCC_PACK_H
