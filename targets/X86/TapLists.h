//===- TapLists.h - the taps of a window that are multiplied ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_TAPLISTS_H
#define QCC_TARGETS_X86_TAPLISTS_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// Lists of the taps of a window that read the image for one of some pixels, in
/// memory: for each list the number of its taps, then these in their order, as
/// i32.
class TapLists {
public:
  /// At `base`, for windows of `taps`.
  TapLists(KernelBuilder &b, mlir::Value base, int64_t taps)
      : b(b), base(base), taps(taps) {}
  /// Bytes of `lists` of them.
  static int64_t getBytes(int64_t taps, int64_t lists) {
    return lists * (taps + 1) * 4;
  }

  /// Makes a list of the taps for which `isLive` gives 1 (index) and not 0.
  void fill(mlir::Value list,
            llvm::function_ref<mlir::Value(mlir::Value tap)> isLive);
  /// Runs `body(index, tap, carried)` for the taps of a list.
  llvm::SmallVector<mlir::Value>
  forTaps(mlir::Value list, llvm::ArrayRef<mlir::Value> init,
          llvm::function_ref<llvm::SmallVector<mlir::Value>(
              mlir::Value, mlir::Value, llvm::ArrayRef<mlir::Value>)>
              body);

private:
  mlir::Value load(mlir::Value at);
  void store(mlir::Value number, mlir::Value at);

  KernelBuilder &b;
  mlir::Value base;
  int64_t taps;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_TAPLISTS_H
