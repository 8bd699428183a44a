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
///   vpmaddubsw   codes so small that no sum of 16 bits saturates over a group
///   vpmaddwd     on codes and activations widened to 16 bits
/// All give the same number.
class IntegerDot {
public:
  /// `groupK` rows are summed; codes are at most `maxCode`, activations within
  /// [-127, 127].
  IntegerDot(const Capabilities &caps, unsigned maxCode, int64_t groupK);
  /// For all bytes; `signs` says how they are read.
  IntegerDot(const Capabilities &caps, DotSigns signs);

  /// What is added to every activation before it is multiplied: the
  /// instruction takes one operand without a sign.
  int64_t getActivationOffset() const;

  /// Vector registers of one accumulator of 16 columns.
  unsigned getRegisters() const;
  /// Values of one accumulator.
  unsigned getNumValues() const;
  llvm::SmallVector<mlir::Value> zero(KernelBuilder &b) const;
  /// What the steps of one row of activations read: four bytes in an i32, in
  /// every lane.
  mlir::Value prepareActivation(KernelBuilder &b, mlir::Value word) const;
  /// What they read of 64 codes (vector<64 x i8> in order [16][4]).
  llvm::SmallVector<mlir::Value> prepareCodes(KernelBuilder &b,
                                              mlir::Value codes) const;
  /// Part `part` (of getNumValues()) of those codes alone: a loop over parts
  /// with rows inside holds one of them in a register, not all.
  mlir::Value prepareCodes(KernelBuilder &b, mlir::Value codes,
                           unsigned part) const;
  /// The same of codes that are stored as words, from `pointer` on. For levels
  /// without VNNI.
  mlir::Value loadWords(KernelBuilder &b, mlir::Value pointer,
                        unsigned part) const;
  /// Adds the products of a part of four rows to its sum.
  void stepPart(KernelBuilder &b, mlir::Value &sum, mlir::Value part,
                mlir::Value activation) const;
  /// Adds the products of four rows to an accumulator.
  void step(KernelBuilder &b, llvm::MutableArrayRef<mlir::Value> accumulator,
            llvm::ArrayRef<mlir::Value> codes, mlir::Value activation) const;
  /// The sums of 16 columns: vector<16 x i32>.
  mlir::Value finish(KernelBuilder &b,
                     llvm::ArrayRef<mlir::Value> accumulator) const;

  /// One vector of the elements of several, a power of two of them.
  static mlir::Value concatenate(KernelBuilder &b,
                                 llvm::ArrayRef<mlir::Value> parts);

private:
  enum class Kind { Vnni, Bytes, Words } kind;
  unsigned vectorBytes; ///< of a register
  DotSigns signs;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_INTEGERDOT_H
