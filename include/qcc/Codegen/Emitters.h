//===- Emitters.h - kernel emitters that any CPU target can use -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CODEGEN_EMITTERS_H
#define QCC_CODEGEN_EMITTERS_H

#include "qcc/Target/Target.h"

namespace qcc {

/// Every dispatch that holds generics only, at most one of them a reduction:
/// the last resort of each target. With vectors, or scalar at a level without.
std::unique_ptr<KernelEmitter> createGenericEmitter();

/// `qcc.softmax` and `qcc.norm` in f32 over rows that stay in cache, with their
/// epilogue. For levels with vectors.
std::unique_ptr<KernelEmitter> createRowEmitter();

/// `qcc.pool` of f32 over one or two dimensions, maximum or average. For levels
/// with vectors.
std::unique_ptr<KernelEmitter> createPoolEmitter();

/// Elementwise generics with an operand that is contiguous along another
/// dimension than the result (transposes), in tiles. For levels with vectors.
std::unique_ptr<KernelEmitter> createTileEmitter();

/// Elementwise generics that map bytes of one tensor to bytes by a long body,
/// through a table of all results. For levels with vectors.
std::unique_ptr<KernelEmitter> createTableEmitter();

/// Elementwise generics whose last dimension has two to four elements (depth to
/// space), vectors along the one before it. For levels with vectors.
std::unique_ptr<KernelEmitter> createInterleaveEmitter();

/// `qcc.arg_reduce` of f32 over an axis of static size. For levels with
/// vectors.
std::unique_ptr<KernelEmitter> createArgReduceEmitter();

/// `qcc.concat` as copies of runs.
std::unique_ptr<KernelEmitter> createConcatEmitter();

/// `qcc.program`: its body in scalar code, a task per index of `over`. For all
/// levels.
std::unique_ptr<KernelEmitter> createProgramEmitter();

} // namespace qcc

#endif // QCC_CODEGEN_EMITTERS_H
