//===- Bfloat16.cpp - weights in the upper half of an f32 -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Schemes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Scheme/StoredFloats.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"

using namespace mlir;
using namespace qcc;

namespace {
/// A bfloat16 is the upper 16 bits of an f32: 8 bits of exponent, 7 of
/// mantissa. A unit holds 2 pairs of rows: for each pair and column the word of
/// the even row and that of the odd one, which is how dot products of bfloat16
/// read them (Intel SDM volume 2, TDPBF16PS), and what costs least to widen.
class Bfloat16Scheme : public StoredFloatScheme {
public:
  explicit Bfloat16Scheme(bool activations) : activations(activations) {}

  StringRef getKey() const override { return activations ? "bf16a16" : "bf16"; }
  StringRef getSummary() const override {
    return activations ? "bfloat16 weights and activations, what bf16 is "
                         "for targets with AMX"
                       : "bfloat16 weights, float activations";
  }
  unsigned getWeightBits() const override { return 16; }
  CodeUnit getUnit() const override { return {2 * kPairs, kPairs * kLine}; }
  TokenFormat getTokenFormat() const override {
    return activations ? TokenFormat::BF16 : TokenFormat::None;
  }
  bool roundsTokens() const override { return activations; }

  /// Ties to the even mantissa; a carry out of it goes on into the exponent.
  float round(float weight) const override {
    auto bits = llvm::bit_cast<uint32_t>(weight);
    bits += 0x7fff + ((bits >> 16) & 1);
    return llvm::bit_cast<float>(bits & 0xffff0000u);
  }
  void store(ArrayRef<float> weights,
             MutableArrayRef<char> bytes) const override {
    for (auto [i, weight] : llvm::enumerate(weights)) {
      size_t row = i / kSchemeColumns, column = i % kSchemeColumns;
      llvm::support::endian::write16le(
          bytes.data() + row / 2 * kLine + 4 * column + 2 * (row % 2),
          uint16_t(llvm::bit_cast<uint32_t>(weight) >> 16));
    }
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override;

private:
  static constexpr unsigned kPairs = 2;
  static constexpr unsigned kLine = kSchemeColumns * 4; ///< bytes of a pair

  bool activations; ///< are rounded too
};

struct RoundedWeights final : Bfloat16Scheme {
  RoundedWeights() : Bfloat16Scheme(false) {}
};
struct RoundedOperands final : Bfloat16Scheme {
  RoundedOperands() : Bfloat16Scheme(true) {}
};
} // namespace

SmallVector<Value> Bfloat16Scheme::decode(DecodeBuilder &b, Value bytes) const {
  auto words = VectorType::get(kSchemeColumns, b.getI32Type());
  auto floats = VectorType::get(kSchemeColumns, b.getF32Type());
  SmallVector<Value> rows;
  for (int64_t pair = 0; pair < int64_t(kPairs); ++pair) {
    Value part = vector::ExtractStridedSliceOp::create(
        b, bytes, ArrayRef<int64_t>{pair * int64_t(kLine)},
        ArrayRef<int64_t>{int64_t(kLine)}, ArrayRef<int64_t>{1});
    Value both = vector::BitCastOp::create(b, words, part);
    Value even = arith::ShLIOp::create(b, both, b.splat(words, 16));
    Value odd = arith::AndIOp::create(b, both, b.splat(words, -65536));
    for (Value row : {even, odd})
      rows.push_back(arith::BitcastOp::create(b, floats, row));
  }
  return rows;
}

void qcc::registerBfloat16Schemes(DialectRegistry &registry) {
  registerScheme<RoundedWeights>(registry);
  registerScheme<RoundedOperands>(registry);
}
