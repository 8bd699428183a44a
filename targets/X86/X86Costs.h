//===- X86Costs.h - what kernels cost on x86 --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_X86COSTS_H
#define QCC_TARGETS_X86_X86COSTS_H

#include "qcc/Target/Target.h"

namespace qcc::x86 {

/// Nanoseconds, as in Target.
double estimateProduct(const ProductShape &shape, bool inIntegers,
                       const Capabilities &level);
/// Of a convolution in f32 that is not depthwise, by the kernels of ConvF32.cpp
/// and ConvRowsF32.cpp; infinite where rows have no room for the latter.
double estimateConvPanel(const ProductShape &shape, const Capabilities &level);
double estimateConvRows(const ProductShape &shape, const Capabilities &level);
double estimateAttention(const AttentionShape &shape, bool inIntegers,
                         const Capabilities &level);
double estimatePool(int64_t reads, bool inIntegers, const Capabilities &level);
double estimateSampleCodes(int64_t elements, bool hasZero,
                           const Capabilities &level);
double estimateBorder(int64_t elements, bool toCodes, bool permuted,
                      const Capabilities &level);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_X86COSTS_H
