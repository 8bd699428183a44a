//===- NibblePanel.h - weights of 4 bits, expanded --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_NIBBLEPANEL_H
#define QCC_TARGETS_X86_NIBBLEPANEL_H

#include "ByteDotSchedule.h"
#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// A few blocks of columns of a weight that is stored in 4 bits (layouts `dot4`
/// and `quad4`), in scratch as `dot` or `quad` has them: from there on a
/// product is that of bytes. All rows of a task read the blocks before the next
/// ones take their place, from L1 or L2.
class NibblePanel {
public:
  /// The most blocks that are expanded at once.
  static constexpr int64_t kSlots = 4;

  /// `base`: 64-byte aligned scratch of getBytes().
  NibblePanel(KernelBuilder &b, const DotSizes &sizes, const DotSchedule &cut,
              mlir::Value base);

  /// Bytes of a stored block with its header.
  static int64_t getStoredBytes(const DotSizes &sizes, const DotSchedule &cut);
  /// Bytes of scratch.
  static int64_t getBytes(const DotSizes &sizes, const DotSchedule &cut);

  /// Expands the stored block at `from` into a slot, its header included.
  void expand(mlir::Value from, unsigned slot);
  /// Where the block in a slot begins.
  mlir::Value getBlock(unsigned slot);

private:
  KernelBuilder &b;
  int64_t steps, blockBytes;
  mlir::Value base;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_NIBBLEPANEL_H
