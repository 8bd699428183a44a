//===- VectorUtils.h - small pieces of vector code --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_VECTORUTILS_H
#define QCC_TARGETS_X86_VECTORUTILS_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// Lanes of the largest level: what is cut by them is the same at all.
inline constexpr int64_t kMostLanes = 16;

/// Transposes n vectors of n elements (n a power of two) in place.
void transpose(KernelBuilder &b, llvm::MutableArrayRef<mlir::Value> rows);

/// A vector whose element i is the sum of the elements of `rows[i]`, of n
/// vectors of n elements (n a power of two), each added in the same order.
mlir::Value sumRows(KernelBuilder &b, llvm::ArrayRef<mlir::Value> rows);

/// The larger of two numbers, `b` if one is NaN: one instruction.
mlir::Value maximum(KernelBuilder &builder, mlir::Value a, mlir::Value b);

/// The largest element; the sum of all, added in a tree of halves.
mlir::Value reduceMaximum(KernelBuilder &b, mlir::Value vector);
mlir::Value reduceSum(KernelBuilder &b, mlir::Value vector);

/// Bits of the magnitudes of f32, as integers: they are ordered as these are,
/// with NaN above all, so that a largest one takes one instruction per vector
/// and NaN propagates.
mlir::Value getMagnitudeBits(KernelBuilder &b, mlir::Value numbers);

/// Nearest integers of 16 f32, ties to even, as i32.
mlir::Value roundToIntegers(KernelBuilder &b, mlir::Value numbers);

/// Calls `body` with the first `count` elements in pieces whose sizes are
/// powers of two, each with its size and where it begins; a piece of one is a
/// scalar. Below AVX-512 that stores faster than a mask.
void forPieces(
    KernelBuilder &b, mlir::Value vector, int64_t count,
    llvm::function_ref<void(mlir::Value piece, unsigned size, int64_t first)>
        body);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_VECTORUTILS_H
