//===- Pack.h - weights in the order that kernels read ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the layouts of `qcc.pack` mean, for who schedules them (packedType) and
// for who evaluates them while the artifact is written (packWeight).
//
//   panel         [K, N] (or [N, K] if transposed) -> [ceil(N/nr), K, nr]
//   conv_panel:G  [O, I, kernel...] of a convolution with G groups
//                 -> [G, ceil(O/G/nr), I * kernel, nr]
//   conv_taps:G   the same with K in the order (place in the window, I)
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
//   pair, pair:G  codes that are widened as they are read, pairs of rows side
//                 by side:
//                 [G, ceil(O/G/16)] { i32 sums[16], i8 [rows/2][16][2] }
//                 where row `tap * I + i` is input `i` of a tap, and the last
//                 row is filled up with zeros where there is an odd number
//   dotfit, dotfit:G
//                 as dot, for codes of which in each pair of rows `2 j` and
//                 `2 j + 1` those of one sign add up to at most kMaxPairSum;
//                 refuses others. Rows are counted through all taps
//   quad, quad:G  such codes too, the taps side by side as in pair:
//                 [G, ceil(O/G/16)] { i32 sums[16], i8 [rows/4][16][4] }
//   flat, flat:G  the order of `quad`, of any codes
//   pairtaps:G, quadtaps:G, flattaps:G
//                 the same with the sums of each tap behind those of all:
//                 { i32 sums[16], i32 sums[taps][16], i8 ... }
//   dot4, dot4:G  i4 weights (an element in each byte of the source) in the
//                 order of `dot`, two codes in a byte: of each step's 64 codes
//                 byte `i` of 32 holds code `i` in its low half and code
//                 `i + 32` in its high one, in two's complement
//   quad4, quad4:G
//                 the same in the order of `quad`
//   tap           i8 or i16 [C, 1, kernel...] of a depthwise convolution
//                 widened to i32 [1 + taps, C up to a multiple of 16]; first
//                 the sums
//   tap4          the same of i8, and behind it i32 [ceil(taps/4), C so] of the
//                 codes of four taps each, one after another
//
// `nr` is 16 for all layouts of bytes.
//
// Columns past the last one are zero. The layout belongs to the weight: every
// feature level of an artifact reads the same bytes.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_PACK_H
#define QCC_DIALECT_QCC_PACK_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringRef.h"

namespace qcc {

/// Columns of a block of the layouts `dot` and `tap`.
inline constexpr int64_t kDotColumns = 16;
/// Rows that one step of an exact product of bytes takes.
inline constexpr int64_t kDotRows = 4;
/// Bytes before the codes of a block of `dot`: the sums.
inline constexpr int64_t kDotHeader = kDotColumns * 4;
/// Bytes of a step of `dot4` and `quad4`.
inline constexpr int64_t kDotStepNibbles = kDotColumns * kDotRows / 2;
/// The most that two codes of one sign may add up to for the sum of their
/// products with bytes without a sign to fit 16 bits: 255 * 128 < 2^15.
inline constexpr int32_t kMaxPairSum = 128;
/// On an `int_conv` or `int_matmul` with a constant weight, and on the
/// `quantize` that makes it: in each pair of rows the codes of one sign add up
/// to at most kMaxPairSum. Rows are counted as in `pair`; a last one alone is
/// any. Kernels rely on it, and packing checks it.
inline constexpr llvm::StringLiteral kPairsFitAttr = "qcc.pairs_fit";
/// On an `int_conv`, `int_matmul` or `dequantize` of a constant weight of bytes
/// with a zero point: all codes less their zero points fit signed bytes.
inline constexpr llvm::StringLiteral kZerosFitAttr = "qcc.zeros_fit";

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

/// True if signed bytes of a weight are as kPairsFitAttr says. `groups` are
/// those of a convolution's weight `[O, I/groups, kernel...]`, 0 for a matrix
/// `[K, N]`. False if the type is not one of these or `codes` has another size.
bool pairsFit(llvm::ArrayRef<char> codes, mlir::RankedTensorType weight,
              int64_t groups);

} // namespace qcc

#endif // QCC_DIALECT_QCC_PACK_H
