//===- Emitters.h - the kernel emitters of the x86 target -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_EMITTERS_H
#define QCC_TARGETS_X86_EMITTERS_H

#include "qcc/Target/Target.h"

namespace qcc::x86 {

/// `[..., M, K] x constant [K, N]` in f32.
std::unique_ptr<KernelEmitter> createGemmF32Emitter();
/// `[..., M, K] x [..., K, N]` of two activations in f32.
std::unique_ptr<KernelEmitter> createBatchGemmF32Emitter();
/// Convolution with one or two spatial dimensions and constant f32 weights.
std::unique_ptr<KernelEmitter> createConvF32Emitter();
/// Convolution with one input and one output channel per group, f32, whose
/// pictures are small or whose windows are large.
std::unique_ptr<KernelEmitter> createDepthwiseSmallF32Emitter();
/// Convolution with one input channel per group, f32.
std::unique_ptr<KernelEmitter> createDepthwiseF32Emitter();
/// `qcc.qmatmul` of any scheme with integer compute.
std::unique_ptr<KernelEmitter> createQMatMulEmitter();
/// `qcc.qmatmul` of any scheme with float compute.
std::unique_ptr<KernelEmitter> createDecodeMatMulEmitter();
/// `qcc.quantize_rows`, after an elementwise prologue if there is one.
std::unique_ptr<KernelEmitter> createQuantizeRowsEmitter();
/// `qcc.int_matmul` with a constant i8 weight and `qcc.int_conv` with the
/// channels last and more than one input channel per group.
std::unique_ptr<KernelEmitter> createByteDotEmitter();
/// `qcc.int_matmul` of two activations, of 8 bits with a zero point each.
std::unique_ptr<KernelEmitter> createBatchByteEmitter();
/// `qcc.int_conv` with the channels last and one input channel per group.
std::unique_ptr<KernelEmitter> createDepthwiseByteEmitter();
/// The maximum of windows of bytes with the channels last.
std::unique_ptr<KernelEmitter> createPoolByteEmitter();

/// `qcc.attention` in f32, with permuting copies before and after it.
std::unique_ptr<KernelEmitter> createAttentionEmitter();
/// The same with products of codes (`int8`).
std::unique_ptr<KernelEmitter> createByteAttentionEmitter();

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_EMITTERS_H
