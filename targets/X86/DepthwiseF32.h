//===- DepthwiseF32.h - what both depthwise f32 kernels do ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_DEPTHWISEF32_H
#define QCC_TARGETS_X86_DEPTHWISEF32_H

#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc::x86 {

// Which of the two kernels is faster: DepthwiseSmallF32.cpp, and its costs.
/// Most output pixels whose channels are transposed at once, in a picture or a
/// band of its rows.
inline constexpr int64_t kBandPixels = 512;
/// Taps from which on vectors of channels are faster for rows that fill
/// vectors, too.
inline constexpr int64_t kManyTaps = 16;

/// The root of a dispatch or kernel, if it is a convolution in f32 with one
/// input channel per group, of operands in memory and a window that is known
/// and has at most 49 taps; else null.
ConvOp findDepthwiseF32(mlir::Block &body);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_DEPTHWISEF32_H
