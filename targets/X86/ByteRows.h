//===- ByteRows.h - where the inputs of a product of bytes are --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_BYTEROWS_H
#define QCC_TARGETS_X86_BYTEROWS_H

#include "ConvShape.h"

namespace qcc::x86 {

/// The rows that a product of bytes reads: those of a matrix, or for each
/// output pixel of a convolution with the channels last and each tap of its
/// window the input channels there. A row that falls in the padding holds the
/// input's zero point, for a pooling the least code.
///
/// A row may be read up to a multiple of four inputs: what follows the last
/// pixel of all is not memory of the tensor, so a table names a copy of that
/// row instead. Rows without a table end where they end (isPadded).
///
/// Scratch of a worker: the row of zero points, the copy of the last row, and
/// the table of pointers of the current task, [rows][taps].
class ByteRows {
public:
  /// Inputs from which on each tap is a run of its own.
  static constexpr int64_t kFewInputs = 16;

  /// `op` is a qcc.int_matmul, or a qcc.int_conv or qcc.pool with its shape;
  /// `inputs` are the channels of a row (of one group). Or it is a qcc.qmatmul
  /// of bfloat16: its inputs are counted in bytes, two of each. `readsWords`:
  /// rows are read in words of four inputs.
  ByteRows(KernelBuilder &b, mlir::Operation *op,
           std::optional<ConvShape> shape, int64_t inputs, bool readsWords);

  /// Scratch that rows of `inputs` channels and a table of `entries` take.
  static int64_t getScratchBytes(int64_t inputs, int64_t entries);

  /// The input's zero point as i32; 0 where there is none. Of a pooling, the
  /// least code.
  mlir::Value getZero() const { return zero; }
  /// True if bytes behind a row may be read, up to a multiple of four: no row
  /// but the last one then ends beyond the tensor.
  bool isPadded() const {
    return readsWords && needsTable() &&
           int64_t(llvm::alignTo(inputs, 4)) - inputs <= width;
  }
  /// True if the rows are those of a matrix in memory, getWidth() bytes apart,
  /// and not found through the table.
  bool isInPlace() const { return !needsTable(); }
  int64_t getWidth() const { return width; }
  /// Fills the row of zero points; once, before the first task.
  void emitZeroRow();
  /// Fills the table for the output pixels [firstRow, endRow), counted through
  /// all images, and the channels from `group` times `inputs` on.
  void emitTable(mlir::Value group, mlir::Value firstRow, mlir::Value endRow);
  /// Taps of a row of the window whose inputs lie side by side: all of the row
  /// where there are few inputs, else 1.
  int64_t getRun() const;
  /// True (i1) if none of the `getRun()` taps from `tap` on, the first of a row
  /// of the window, falls in the padding or is read from a copy: their inputs
  /// then follow that of `tap`.
  mlir::Value isRun(mlir::Value row, mlir::Value firstRow, mlir::Value tap);
  /// Says that of a run only the first tap is asked for, and the last one by
  /// isRun(): the table then lacks the others.
  void readRuns() { readsRuns = true; }
  /// True if the word at the end of `count` inputs, of a tap or a run, may be
  /// read whole.
  bool isPadded(int64_t count) const {
    return isPadded() && int64_t(llvm::alignTo(count, 4)) - count <= width;
  }
  /// True (i1) if the tap of an output pixel lies in the image; there is a
  /// table.
  mlir::Value isInImage(mlir::Value row, mlir::Value firstRow, mlir::Value tap);
  /// The row of an output pixel and a tap.
  mlir::Value getPointer(mlir::Value row, mlir::Value firstRow,
                         mlir::Value tap);

private:
  bool needsTable() const { return shape && !isDirect; }
  void emitLastRow();
  /// An output pixel: its image, and where its window begins in it, which may
  /// be before the first row or column.
  struct Window {
    mlir::Value image, top, left;
  };
  mlir::Value isInside(mlir::Value at, mlir::Value size);
  mlir::Value getPixel(const Window &window, int64_t kh, int64_t kw);
  mlir::Value isWhole(const Window &window);
  void emitWholeEntries(mlir::Value entry, const Window &window);
  void emitEntries(mlir::Value entry, const Window &window);
  void storeEntry(mlir::Value entry, int64_t tap, mlir::Value pointer);

  KernelBuilder &b;
  std::optional<ConvShape> shape;
  int64_t inputs, width; ///< channels of a group, and of all
  bool readsWords, readsRuns = false;
  bool isDirect; ///< an output pixel reads the pixel of its own place
  mlir::Value input, zero, table, first;
  mlir::Value last, lastCopy; ///< null where no row is read beyond its end
};

/// A zero point, an argument of the kernel with one byte, as i32.
mlir::Value loadZeroPoint(KernelBuilder &b, mlir::Value point);

/// Four bytes as an i32; of the last ones only `live`, zero beyond.
mlir::Value loadWord(KernelBuilder &b, mlir::Value pointer, mlir::Value offset,
                     int64_t live);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_BYTEROWS_H
