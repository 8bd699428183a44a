//===- IntegerDot.h - exact dot products of bytes ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_INTEGERDOT_H
#define QCC_TARGETS_X86_INTEGERDOT_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// What the bytes of a product are.
struct DotSigns {
  bool codes = false;      ///< codes are signed
  bool activations = true; ///< activations are signed
};

/// Sums over rows of `code * activation` for 16 columns at once, in int32 and
/// exact, with the best instructions of a level:
///   vpdpbusd     AVX-512 VNNI
///   vpmaddubsw   codes so small that sums of 16 bits do not saturate over some
///                rows, after which they are widened; or codes of which two in
///                a pair are that small together, widened at once
///   vpmaddwd     on codes and activations widened to 16 bits
/// All give the same number.
class IntegerDot {
public:
  /// Codes are at most `maxCode` and come in units of `unitK` rows; activations
  /// are within [-127, 127].
  IntegerDot(const Capabilities &caps, unsigned maxCode, int64_t unitK);
  /// For all bytes; `signs` says how they are read. `pairsFit`: codes are
  /// signed and fit as kPairsFitAttr says.
  IntegerDot(const Capabilities &caps, DotSigns signs, bool pairsFit = false);

  /// What is added to every activation before it is multiplied: the
  /// instruction takes one operand without a sign.
  int64_t getActivationOffset() const;

  /// Vector registers of one accumulator of 16 columns.
  unsigned getRegisters() const;
  /// Values of one accumulator.
  unsigned getNumValues() const;
  /// True if codes are multiplied as words (loadWords) and not as bytes.
  bool needsWords() const { return kind == Kind::Words; }
  /// Rows that an accumulator may sum before it has to be widened: whole units.
  int64_t getChunkRows() const { return chunkRows; }
  llvm::SmallVector<mlir::Value> zero(KernelBuilder &b) const;
  /// What the steps of one row of activations read: four bytes in an i32, in
  /// every lane.
  mlir::Value prepareActivation(KernelBuilder &b, mlir::Value word) const;
  /// Part `part` (of getNumValues()) of what they read of 64 codes (vector<64 x
  /// i8> in order [16][4]): a loop over parts with rows inside holds one of
  /// them in a register, not all.
  mlir::Value prepareCodes(KernelBuilder &b, mlir::Value codes,
                           unsigned part) const;
  /// The same of codes that are stored as words, from `pointer` on. For levels
  /// without VNNI.
  mlir::Value loadWords(KernelBuilder &b, mlir::Value pointer,
                        unsigned part) const;
  /// Part `part` of the codes at `pointer`: words for needsWords(), else bytes.
  mlir::Value loadPart(KernelBuilder &b, mlir::Value pointer,
                       unsigned part) const;
  /// Adds the products of a part of four rows to its sum; a null sum is 0.
  void stepPart(KernelBuilder &b, mlir::Value &sum, mlir::Value part,
                mlir::Value activation) const;
  /// An accumulator as sums of 32 bits, as many values.
  llvm::SmallVector<mlir::Value>
  widen(KernelBuilder &b, llvm::ArrayRef<mlir::Value> accumulator) const;
  /// The sums of 16 columns of widened ones: vector<16 x i32>.
  mlir::Value finish(KernelBuilder &b,
                     llvm::ArrayRef<mlir::Value> widened) const;

  /// One vector of the elements of several, a power of two of them.
  static mlir::Value concatenate(KernelBuilder &b,
                                 llvm::ArrayRef<mlir::Value> parts);

private:
  enum class Kind { Vnni, Bytes, Pairs, Words } kind;
  unsigned vectorBytes; ///< of a register
  DotSigns signs;
  int64_t chunkRows = INT64_MAX;
  /// Sums are added in the order in which steps are emitted. LLVM would make
  /// trees of the chains of an unrolled loop, or finish one row after the
  /// other: products or codes wait in registers then, and there are too few.
  bool isOrdered = false;
};

/// `value << bits` for a vector of i32 that is one number in all lanes: LLVM
/// would shift the scalar and move it to a vector, which costs twice as much as
/// a broadcast from memory and a shift.
mlir::Value shiftSplat(KernelBuilder &b, mlir::Value value, unsigned bits);

/// The i32 at `pointer[step]` (index) in every lane of a register of AVX2. LLVM
/// leaves the load where it is: it would load those of all rows first, which
/// takes registers that sums need.
mlir::Value broadcastInOrder(KernelBuilder &b, mlir::Value pointer,
                             mlir::Value step);

/// Sums of two words each: half as many i32.
mlir::Value sumPairs(KernelBuilder &b, mlir::Value words);

/// Sums of two products each of bytes without a sign and with one, in words
/// that saturate.
mlir::Value multiplyBytes(KernelBuilder &b, mlir::Value plain,
                          mlir::Value other);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_INTEGERDOT_H
