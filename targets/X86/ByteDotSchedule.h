//===- ByteDotSchedule.h - how products of bytes are cut --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_BYTEDOTSCHEDULE_H
#define QCC_TARGETS_X86_BYTEDOTSCHEDULE_H

#include "IntegerDot.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Target/Target.h"

namespace qcc::x86 {

/// Sizes of a product: `rows` times `groups` of [taps * inputs, outputs].
struct DotSizes {
  mlir::AffineExpr rows;
  int64_t taps, inputs, outputs, groups;
  int64_t blocks() const { return llvm::divideCeil(outputs, kDotColumns); }
  /// Rows of the weight.
  int64_t terms() const { return taps * inputs; }
};

/// What the schedule of a product of bytes says.
struct DotSchedule {
  int64_t rows;   ///< of a task
  int64_t blocks; ///< of 16 columns of a task
  int64_t inputs; ///< channels of a group
  bool isWide;    ///< the weight's codes are multiplied as words
  bool pairsFit;  ///< they are bytes as kPairsFitAttr says
  bool isFlat;    ///< a task copies its rows: all taps lie side by side
  bool hasTiles;  ///< levels with AMX make products of 16 rows and more in it
  bool isNibble;  ///< the weight is stored in 4 bits and expanded in scratch
  bool listsTaps = false;            ///< a task has a list of taps (TapLists.h)
  llvm::SmallVector<int64_t> window; ///< of a convolution, else empty

  /// To and from the parameters of a KernelSchedule.
  mlir::DictionaryAttr toAttr(mlir::MLIRContext *context) const;
  static DotSchedule get(mlir::DictionaryAttr params);
};

/// Where in scratch the blocks of a weight of 4 bits are expanded, in bytes;
/// `cut.window` is empty for a product of matrices.
int64_t getPanelOffset(const DotSizes &sizes, const DotSchedule &cut);

/// Where the list of taps of a task is in scratch, in bytes.
int64_t getTapsOffset(const DotSizes &sizes, const DotSchedule &cut);

/// The product in a body that the emitter takes, or null.
mlir::Operation *findByteDot(mlir::Block &body);

/// How the bytes of a product are read.
DotSigns getDotSigns(mlir::Operation *op);

/// The schedule of a body with a product of bytes and a constant weight; none
/// if the emitter doesn't take it.
std::optional<KernelSchedule>
scheduleByteDot(mlir::Block &body, llvm::ArrayRef<Capabilities> levels,
                llvm::function_ref<bool(unsigned)> isConstant);

/// Schedules with tasks of other numbers of rows, or of columns where one task
/// has all rows.
llvm::SmallVector<KernelSchedule>
listByteDots(mlir::Block &body, llvm::ArrayRef<Capabilities> levels,
             llvm::function_ref<bool(unsigned)> isConstant);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_BYTEDOTSCHEDULE_H
