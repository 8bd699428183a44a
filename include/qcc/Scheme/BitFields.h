//===- BitFields.h - codes of a few bits in words ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SCHEME_BITFIELDS_H
#define QCC_SCHEME_BITFIELDS_H

#include "qcc/Scheme/Scheme.h"

namespace qcc {

/// A storage of codes of 2, 3, 4, 6 or 8 bits that costs one shift and one mask
/// per 16 codes to read. The codes of a column lie in words of 32 bits, as many
/// as fit, the first row in the lowest bits; what is left over in the words of
/// a unit holds the codes of its last rows. Word d of column j is at byte
/// 64 * d + 4 * j.
class BitFields {
public:
  explicit BitFields(unsigned bits);

  CodeUnit getUnit() const { return {rows, words * 64}; }
  /// Scheme::pack.
  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const;
  /// The codes of each row of a unit: vector<16 x i32>. With `clean` false the
  /// bits above a code are whatever was there.
  llvm::SmallVector<mlir::Value> unpack(DecodeBuilder &b, mlir::Value bytes,
                                        bool clean = true) const;

private:
  /// `width` bits of a row's code: from `bit` of word `word`, to be put at bit
  /// `to` of the code.
  struct Piece {
    unsigned word, bit, width, to;
  };
  llvm::SmallVector<Piece> locate(unsigned row) const;

  unsigned bits, words, rows;
};

} // namespace qcc

#endif // QCC_SCHEME_BITFIELDS_H
