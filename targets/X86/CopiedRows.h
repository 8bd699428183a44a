//===- CopiedRows.h - rows of a picture with their padding ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_COPIEDROWS_H
#define QCC_TARGETS_X86_COPIEDROWS_H

#include "ConvShape.h"

namespace qcc::x86 {

/// The rows of a channel that some rows of the output are computed from, copied
/// to scratch: [rows][planes][plane] floats, where plane i has every column i
/// modulo the stride, from the padding on. Each tap of consecutive pixels is a
/// plain load.
struct CopiedRows {
  int64_t rows, planes, plane;
  int64_t reach;          ///< floats of a plane beyond the width that are read
  mlir::AffineExpr width; ///< of the output
  /// The width is known, and that of the input, and few vectors fill a row.
  bool isUnrolled = false;

  /// The copy for `taskRows` rows of the output in at most `maxBytes`. None
  /// for strides above 2 and where rows are known to be too long.
  static std::optional<CopiedRows> get(const ConvShape &shape, int64_t taskRows,
                                       int64_t maxBytes);
  /// Floats of a plane that are read, for the last pixels by vectors of
  /// `lanes`.
  mlir::AffineExpr getUsed(int64_t lanes) const {
    return width.ceilDiv(lanes) * lanes + reach;
  }
  int64_t getRowFloats() const { return planes * plane; }
  int64_t getBytes() const { return rows * getRowFloats() * 4; }
  /// Where the first pixel of the first row reads a tap, in floats.
  int64_t getTapOffset(const ConvShape &shape, int64_t kh, int64_t kw) const {
    int64_t x = kw * shape.dilationWidth;
    return kh * shape.dilationHeight * getRowFloats() + x % planes * plane +
           x / planes;
  }
};

/// Emits copies of rows by vectors of `lanes`.
class RowCopier {
public:
  RowCopier(KernelBuilder &b, const ConvShape &shape, const CopiedRows &copy,
            unsigned lanes)
      : b(b), shape(shape), copy(copy), lanes(lanes) {}
  /// Copies all that the rows [firstRow, endRow) of the output read of the
  /// channel at `base` to `to`.
  void copyRows(mlir::Value base, mlir::Value firstRow, mlir::Value endRow,
                mlir::Value to);

private:
  void copyRow(mlir::Value base, mlir::Value y, mlir::Value to);
  void forColumns(llvm::function_ref<void(mlir::Value at)> body);
  llvm::SmallVector<mlir::Value> loadColumns(mlir::Value row,
                                             mlir::Value column);
  mlir::Value getInside(mlir::Value first, mlir::Value width);

  KernelBuilder &b;
  const ConvShape &shape;
  const CopiedRows &copy;
  unsigned lanes;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_COPIEDROWS_H
