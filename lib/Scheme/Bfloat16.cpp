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
/// mantissa. A unit holds 4 rows of 16 words each.
class Bfloat16Scheme final : public StoredFloatScheme {
public:
  StringRef getKey() const override { return "bf16"; }
  StringRef getSummary() const override {
    return "bfloat16 weights, float activations";
  }
  unsigned getWeightBits() const override { return 16; }
  CodeUnit getUnit() const override { return {kRows, kRows * kRowBytes}; }

  /// Ties to the even mantissa; a carry out of it goes on into the exponent.
  float round(float weight) const override {
    auto bits = llvm::bit_cast<uint32_t>(weight);
    bits += 0x7fff + ((bits >> 16) & 1);
    return llvm::bit_cast<float>(bits & 0xffff0000u);
  }
  void store(ArrayRef<float> weights,
             MutableArrayRef<char> bytes) const override {
    for (auto [i, weight] : llvm::enumerate(weights))
      llvm::support::endian::write16le(
          bytes.data() + 2 * i,
          uint16_t(llvm::bit_cast<uint32_t>(weight) >> 16));
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override;

private:
  static constexpr unsigned kRows = 4;
  static constexpr unsigned kRowBytes = kSchemeColumns * 2;
};
} // namespace

SmallVector<Value> Bfloat16Scheme::decode(DecodeBuilder &b, Value bytes) const {
  auto halves = VectorType::get(kSchemeColumns, b.getI16Type());
  auto words = VectorType::get(kSchemeColumns, b.getI32Type());
  auto floats = VectorType::get(kSchemeColumns, b.getF32Type());
  SmallVector<Value> rows;
  for (int64_t row = 0; row < int64_t(kRows); ++row) {
    Value part = vector::ExtractStridedSliceOp::create(
        b, bytes, ArrayRef<int64_t>{row * int64_t(kRowBytes)},
        ArrayRef<int64_t>{int64_t(kRowBytes)}, ArrayRef<int64_t>{1});
    Value wide = arith::ExtUIOp::create(
        b, words, vector::BitCastOp::create(b, halves, part));
    wide = arith::ShLIOp::create(b, wide, b.splat(words, 16));
    rows.push_back(arith::BitcastOp::create(b, floats, wide));
  }
  return rows;
}

void qcc::registerBfloat16Scheme(DialectRegistry &registry) {
  registerScheme<Bfloat16Scheme>(registry);
}
