//===- Skips.h - what a run need not compute --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_SKIPS_H
#define QCC_PASSES_QUANTIZE_STATICINT8_SKIPS_H

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

namespace qcc {

/// When the result of an operation is read: where the numbers at the positions
/// `on` of an input are above 0 and those at `off` are not.
struct ReadWhere {
  llvm::SmallVector<size_t, 2> on, off;
};

/// The operations of a model that computes layers in several ways of which a
/// run reads one. Most of the time of such a run would go to results that
/// nobody reads.
class Skips {
public:
  /// `op`, of one result, is read so. Of several calls for one operation
  /// all must hold.
  void add(mlir::Operation *op, const ReadWhere &where);

  /// Computes the operations only in runs that read them, or whose number at
  /// `always` is above 0; else their results are zeros. `numbers` is the input,
  /// f32 [n], of an entry that has the operations in its body or in loops.
  void apply(mlir::Value numbers, size_t always) const;

private:
  llvm::MapVector<mlir::Operation *, ReadWhere> wheres;
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_SKIPS_H
