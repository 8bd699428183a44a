//===- FlatRows.h - the rows of a task side by side -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_FLATROWS_H
#define QCC_TARGETS_X86_FLATROWS_H

#include "ByteRows.h"
#include "TapLists.h"

namespace qcc::x86 {

/// What a row holds of each input.
enum class RowForm {
  Words,      ///< its value in 16 bits
  Bytes,      ///< its byte
  OffsetBytes ///< its byte with 128 added to the value
};

/// The inputs that the rows of a task read, side by side through all taps:
/// [rows][taps * inputs], each row up to a multiple of four bytes. What fills a
/// row up may be any number.
class FlatRows {
public:
  /// `scratchOffset`: bytes of scratch before it, a multiple of 64. Words are
  /// those of signed bytes if `isSigned`.
  FlatRows(KernelBuilder &b, ByteRows &rows, int64_t taps, int64_t inputs,
           RowForm form, bool isSigned, int64_t scratchOffset);

  /// Bytes of a row of `terms` inputs, and of a task's rows with what is
  /// written behind the last one.
  static int64_t getRowBytes(int64_t terms, bool hasWords);
  static int64_t getBytes(int64_t terms, int64_t rows, bool hasWords);

  /// Says that only the taps of list 0 are read, and each is a run of its own.
  void setTaps(TapLists &lists) { tapLists = &lists; }
  /// Fills it for the output pixels [firstRow, endRow), whose table is made.
  void emit(mlir::Value firstRow, mlir::Value endRow);
  /// Where a row begins, counted from the task's first one.
  mlir::Value getPointer(mlir::Value row);

private:
  void emitTaps(mlir::Value row, mlir::Value firstRow, mlir::Value to);
  void emitInputs(mlir::Value from, mlir::Value to, int64_t count);
  mlir::Value convert(mlir::Value bytes);

  KernelBuilder &b;
  ByteRows &rows;
  int64_t taps, inputs;
  RowForm form;
  TapLists *tapLists = nullptr;
  bool isSigned;
  mlir::Type element;
  mlir::Value base;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_FLATROWS_H
