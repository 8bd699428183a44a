//===- WordRows.h - the rows of a task as words -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_WORDROWS_H
#define QCC_TARGETS_X86_WORDROWS_H

#include "ByteRows.h"

namespace qcc::x86 {

/// The inputs that the rows of a task read, widened to 16 bits and side by side
/// through all taps: [rows][taps * inputs], each row up to a multiple of two.
/// What fills a row up may be any number.
class WordRows {
public:
  /// `scratchOffset`: bytes of scratch before it, a multiple of 64.
  WordRows(KernelBuilder &b, ByteRows &rows, int64_t taps, int64_t inputs,
           bool isSigned, int64_t scratchOffset);

  /// Bytes of a row of `terms` words, and of a task's rows with what is written
  /// behind the last one.
  static int64_t getRowBytes(int64_t terms);
  static int64_t getBytes(int64_t terms, int64_t rows);

  /// Fills it for the output pixels [firstRow, endRow), whose table is made.
  void emit(mlir::Value firstRow, mlir::Value endRow);
  /// The words of a row, counted from the task's first one.
  mlir::Value getPointer(mlir::Value row);

private:
  void emitTaps(mlir::Value row, mlir::Value firstRow, mlir::Value words);
  void emitInputs(mlir::Value from, mlir::Value to, int64_t count);

  KernelBuilder &b;
  ByteRows &rows;
  int64_t taps, inputs;
  bool isSigned;
  mlir::Value base;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_WORDROWS_H
