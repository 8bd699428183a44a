//===- ByteTiles.h - products of bytes in AMX tiles -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_BYTETILES_H
#define QCC_TARGETS_X86_BYTETILES_H

#include "ByteRows.h"

namespace qcc::x86 {

/// What tiles multiply: bytes of either sign by signed ones with sums in i32,
/// or bfloat16 with sums in f32 (Intel SDM volume 2: TDPBUSD, TDPBSSD,
/// TDPBF16PS; denormal bfloat16 count as 0).
enum class TileDot { Unsigned, Signed, Bfloat16 };

/// Products of the rows of a task with a weight in layout "dot", in tile
/// registers: 16 rows by 64 bytes of inputs times 64 by 16 columns. 64 rows of
/// the weight's layout are a tile as they lie, so it is the same memory that
/// VNNI kernels read. Pairs of bfloat16 lie as four bytes do: an input is two
/// bytes then, and all numbers of inputs here are numbers of bytes.
///
/// Tiles are loaded from where the inputs are if their rows are one distance
/// apart and there are whole tiles of them; else the rows of a task are copied
/// to scratch first, side by side through all taps.
class ByteTiles {
public:
  /// Rows of a tile, and tiles of rows (of columns) that are multiplied at
  /// once: four sums and four operands are the eight registers there are.
  static constexpr int64_t kRows = 16;
  static constexpr unsigned kAtOnce = 2;

  /// `scratchOffset`: bytes of scratch before it, a multiple of 64.
  ByteTiles(KernelBuilder &b, ByteRows &rows, int64_t taps, int64_t inputs,
            TileDot dot, int64_t scratchOffset);

  /// Bytes from one copied row to the next: an odd number of cache lines, so
  /// that the rows of a tile do not share a set of the cache.
  static int64_t getRowBytes(int64_t taps, int64_t inputs);
  /// Scratch for a task of `rows` rows, a multiple of kRows.
  static int64_t getBytes(int64_t taps, int64_t inputs, int64_t rows);

  /// Makes the output pixels [firstRow, endRow), whose table is made, ready.
  void emitRows(mlir::Value firstRow, mlir::Value endRow);

  /// Multiplies `rowTiles` tiles of rows, from tile `tile` of the task on, with
  /// blocks of 16 columns (pointers to their codes). For each row that exists
  /// `store` gets its number and for each block the sums, vector<16 x i32> (or
  /// x f32).
  void emitProduct(
      mlir::Value tile, unsigned rowTiles, llvm::ArrayRef<mlir::Value> blocks,
      llvm::function_ref<void(mlir::Value, llvm::ArrayRef<mlir::Value>)> store);

private:
  /// Where the rows of a task are, `stride` bytes apart; tiles begin `offset`
  /// bytes behind the beginning of a row.
  struct TileRows {
    mlir::Value base, stride, offset;
  };
  void findRows(llvm::function_ref<void()> copy);
  void copyRow(mlir::Value row);
  void copyTail(mlir::Value row);
  void emitStep(const TileRows &from, mlir::Value codesAt, int64_t steps,
                mlir::Value tile, unsigned rowTiles,
                llvm::ArrayRef<mlir::Value> blocks,
                llvm::MutableArrayRef<mlir::Value> sums);

  KernelBuilder &b;
  ByteRows &rows;
  int64_t taps, inputs;
  TileDot dot;
  mlir::Value buffer, copies; ///< of sums; of rows
  // Of the current task.
  mlir::Value firstRow, endRow, base, stride;
  mlir::Value apart; ///< bytes from one copied row to the next
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_BYTETILES_H
