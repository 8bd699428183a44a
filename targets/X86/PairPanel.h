//===- PairPanel.h - codes of 8 bits multiplied in pairs --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// vpmaddubsw multiplies bytes without a sign by bytes with one and adds two
// products in 16 bits, which saturate. With 128 added to the activations they
// do not where the codes of one sign in a pair of rows add up to at most 128
// (255 * 128 < 2^15), as most do: codes are large seldom, and two of one sign
// beside each other more seldom. So the steps (four rows of 16 columns) of a
// block are sorted while its panel is written:
//
//   fitting   codes w; the sum of w * (a + 128) is one of w * a too large by
//             128 times the sum of w
//   others    magnitudes |w| and masks m, -1 where w is negative:
//             |w| * (a ^ m) is w * a less |w| where w is negative, and two of
//             them are within [-2^15, 2 * 127 * 127]
//
// Both errors are numbers of a column. Sums are those of integers, exact and
// the same in any order.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_TARGETS_X86_PAIRPANEL_H
#define QCC_TARGETS_X86_PAIRPANEL_H

#include "IntegerDot.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc::x86 {

/// Exact sums of 8-bit codes less 128, times signed bytes, for levels of AVX2.
class PairPanel {
public:
  /// For a weight of `k` rows and one group. `codes` points to the activations
  /// [rows][k].
  PairPanel(KernelBuilder &b, const Scheme &scheme, int64_t k,
            mlir::Value codes);

  /// True if products of the scheme can be these at a level.
  static bool canMultiply(const Capabilities &caps, const Scheme &scheme);
  /// Bytes of scratch for a weight of `k` rows and `rows` rows of activations.
  static int64_t getBytes(const Scheme &scheme, int64_t k, int64_t rows);

  /// Copies the rows [begin, end) of the activations.
  void emitRows(mlir::Value begin, mlir::Value end);
  /// Sorts the codes of a block of 16 columns, which begin at `source`; what is
  /// `ahead` bytes behind them is brought to L2.
  void emitBlock(mlir::Value source, int64_t ahead);
  /// The sums of the block's columns, vector<16 x i32>, for `count` rows from
  /// `row` on.
  llvm::SmallVector<mlir::Value> emitSums(mlir::Value row, unsigned count);

private:
  using Values = llvm::SmallVector<mlir::Value>;
  /// What is known of the steps before: errors of the two halves of the columns
  /// and the number of those that fit.
  Values sortStep(mlir::Value step, mlir::Value index,
                  llvm::ArrayRef<mlir::Value> state);
  Values storeFitting(llvm::ArrayRef<mlir::Value> halves,
                      llvm::ArrayRef<mlir::Value> pairs, mlir::Value place,
                      llvm::ArrayRef<mlir::Value> state);
  Values storeOther(llvm::ArrayRef<mlir::Value> halves, mlir::Value place,
                    llvm::ArrayRef<mlir::Value> state);
  Values emitSteps(mlir::Value begin, mlir::Value end, bool fit,
                   llvm::ArrayRef<mlir::Value> pointers,
                   llvm::ArrayRef<mlir::Value> sums);
  mlir::Value getRow(mlir::Value row);

  KernelBuilder &b;
  const Scheme &scheme;
  IntegerDot dot;
  int64_t k, rowBytes, steps;
  mlir::Type i8, i32;
  mlir::Value codes, rows, panel, places;
  mlir::Value firstRow; ///< that was copied
  mlir::Value fitting;  ///< steps of the block that fit
  Values corrections;   ///< of the sums of its two halves
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_PAIRPANEL_H
