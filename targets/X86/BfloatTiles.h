//===- BfloatTiles.h - products of bfloat16 in AMX tiles --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_BFLOATTILES_H
#define QCC_TARGETS_X86_BFLOATTILES_H

#include "qcc/Codegen/KernelBuilder.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc::x86 {

/// A product of bfloat16 activations with a weight of bfloat16, and how it is
/// cut into tasks: chunks of `blocks` blocks of 16 columns, each with all of
/// its chunks of `rows` rows one after the other.
struct BfloatProduct {
  QMatMulOp op;
  EncodedLayout layout; ///< of the weight, one group
  int64_t k;
  int64_t rows, blocks; ///< of a task
};

/// Scratch of a worker for tasks of up to `rows` rows, in bytes.
int64_t getBfloatTileBytes(int64_t k, int64_t rows);

/// Emits the product in tile registers, at a level that has them. Any number of
/// rows, also one, is multiplied in tiles: a row's bits do not depend on how
/// many there are. Sums of even and of odd inputs of each 32 are added to the
/// sum of those before.
mlir::LogicalResult emitBfloatTiles(KernelBuilder &b,
                                    const BfloatProduct &product,
                                    Epilogue epilogue);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_BFLOATTILES_H
