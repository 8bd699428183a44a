//===- BitFields.cpp - codes of a few bits in words -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/BitFields.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;

static constexpr unsigned kWordBits = 32, kWordBytes = 64;

BitFields::BitFields(unsigned bits)
    : bits(bits), words(kWordBits % bits ? 3 : 1),
      rows(words * kWordBits / bits) {
  assert((bits == 2 || bits == 3 || bits == 4 || bits == 6 || bits == 8) &&
         "no storage for codes of so many bits");
}

SmallVector<BitFields::Piece> BitFields::locate(unsigned row) const {
  unsigned perWord = kWordBits / bits;
  if (row < words * perWord)
    return {{row / perWord, row % perWord * bits, bits, 0}};
  // The left over bits of all words, one after the other.
  unsigned left = kWordBits % bits, first = (row - words * perWord) * bits;
  SmallVector<Piece> pieces;
  for (unsigned done = 0; done < bits;) {
    unsigned at = first + done, width = std::min(left - at % left, bits - done);
    pieces.push_back({at / left, perWord * bits + at % left, width, done});
    done += width;
  }
  return pieces;
}

void BitFields::pack(ArrayRef<uint8_t> codes,
                     MutableArrayRef<char> bytes) const {
  for (size_t column = 0; column < kSchemeColumns; ++column) {
    uint32_t word[3] = {0, 0, 0};
    for (unsigned row = 0; row < rows; ++row) {
      uint32_t code = codes[row * kSchemeColumns + column];
      for (const Piece &piece : locate(row)) {
        uint32_t part = code >> piece.to & ((1u << piece.width) - 1);
        word[piece.word] |= part << piece.bit;
      }
    }
    for (unsigned d = 0; d < words; ++d)
      for (unsigned byte = 0; byte < 4; ++byte)
        bytes[d * kWordBytes + column * 4 + byte] =
            char(word[d] >> (8 * byte) & 255);
  }
}

SmallVector<Value> BitFields::unpack(DecodeBuilder &b, Value bytes,
                                     bool clean) const {
  auto type = VectorType::get(kSchemeColumns, b.getI32Type());
  SmallVector<Value> word;
  for (int64_t d = 0; d < int64_t(words); ++d) {
    Value part = bytes;
    if (words > 1)
      part = vector::ExtractStridedSliceOp::create(
          b, bytes, ArrayRef<int64_t>{d * kWordBytes},
          ArrayRef<int64_t>{kWordBytes}, ArrayRef<int64_t>{1});
    word.push_back(vector::BitCastOp::create(b, type, part));
  }
  SmallVector<Value> codes;
  for (unsigned row = 0; row < rows; ++row) {
    SmallVector<Piece> pieces = locate(row);
    Value code;
    for (const Piece &piece : pieces) {
      Value part = word[piece.word];
      if (piece.bit)
        part = arith::ShRUIOp::create(b, part, b.splat(type, piece.bit));
      bool isTop = piece.bit + piece.width == kWordBits;
      if ((clean || pieces.size() > 1) && !isTop)
        part = arith::AndIOp::create(
            b, part, b.splat(type, double((1u << piece.width) - 1)));
      if (piece.to)
        part = arith::ShLIOp::create(b, part, b.splat(type, piece.to));
      code = code ? arith::OrIOp::create(b, code, part).getResult() : part;
    }
    codes.push_back(code);
  }
  return codes;
}
