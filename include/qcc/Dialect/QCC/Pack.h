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
// Columns past the last one are zero. The layout belongs to the weight: every
// feature level of an artifact reads the same bytes.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_PACK_H
#define QCC_DIALECT_QCC_PACK_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"

namespace qcc {

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
