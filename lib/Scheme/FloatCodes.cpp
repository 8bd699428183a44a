//===- FloatCodes.cpp - weights in floats of 8 and 4 bits -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Schemes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Scheme/BitFields.h"
#include "qcc/Support/NormalFloat.h"
#include <algorithm>
#include <array>
#include <cmath>

using namespace mlir;
using namespace qcc;

static float getLargest(ArrayRef<float> weights) {
  float largest = 0;
  for (float w : weights)
    largest = std::max(largest, std::fabs(w));
  return largest;
}

namespace {
/// Weights in floats of 8 bits (OCP 8-bit floating point specification, 2023):
/// a sign, 4 or 5 bits of exponent and 3 or 2 of mantissa. A unit holds 4 rows:
/// 16 words of 16 bits with rows 0 (low byte) and 1, then rows 2 and 3.
///
/// Both become halves by moving bits, and the machine widens halves exactly,
/// subnormal ones too. The exponent of E4M3 has another bias than that of
/// halves: its halves are 2^-8 times the number, and scales 2^8 times as large.
class Float8Scheme final : public Scheme {
public:
  /// `top` is the largest finite number, `one` the exponent field of 1.
  Float8Scheme(StringRef key, StringRef summary, unsigned mantissa, int one,
               float top);

  StringRef getKey() const override { return key; }
  StringRef getSummary() const override { return summary; }
  unsigned getWeightBits() const override { return 8; }
  SchemeCompute getCompute() const override { return SchemeCompute::Float; }
  int64_t getGroup() const override { return 0; }
  CodeUnit getUnit() const override { return {4, 64}; }
  unsigned getMaxCode() const override { return 255; }
  std::optional<int32_t> getZero() const override { return 0; }
  bool hasHalfScales() const override { return true; }
  bool isLinear() const override { return false; }
  TokenFormat getTokenFormat() const override {
    return mantissa == 3 ? TokenFormat::E4M3 : TokenFormat::E5M2;
  }

  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    return {getLargest(weights) / magnitudes[count - 1], 0};
  }
  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override;
  float value(uint8_t code, const GroupAffine &affine) const override {
    float magnitude = magnitudes[code & 127];
    return affine.scale * (code & 128 ? -magnitude : magnitude);
  }

  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t row = 0; row < 4; ++row)
      for (size_t j = 0; j < kSchemeColumns; ++j)
        bytes[row / 2 * 32 + j * 2 + row % 2] =
            char(codes[row * kSchemeColumns + j]);
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override;

private:
  std::string key, summary;
  unsigned mantissa;
  std::array<float, 128> magnitudes; ///< as decoded
  unsigned count = 0;                ///< of finite ones
};
} // namespace

Float8Scheme::Float8Scheme(StringRef key, StringRef summary, unsigned mantissa,
                           int one, float top)
    : key(key), summary(summary), mantissa(mantissa) {
  constexpr int halfBias = 15;
  for (unsigned code = 0; code < magnitudes.size(); ++code) {
    unsigned exponent = code >> mantissa, steps = code & ((1u << mantissa) - 1);
    if (exponent)
      steps += 1u << mantissa;
    int shift = int(std::max(exponent, 1u)) - int(mantissa);
    if (std::ldexp(float(steps), shift - one) <= top)
      count = code + 1;
    magnitudes[code] = std::ldexp(float(steps), shift - halfBias);
  }
}

/// The nearest float, ties to the even code, saturated at the largest.
void Float8Scheme::assign(ArrayRef<float> weights, const GroupAffine &affine,
                          MutableArrayRef<uint8_t> codes) const {
  ArrayRef<float> finite = ArrayRef(magnitudes).take_front(count);
  for (auto [w, code] : llvm::zip_equal(weights, codes)) {
    code = 0;
    if (affine.scale == 0 || std::isnan(w))
      continue;
    float q = w / affine.scale, size = std::fabs(q);
    auto above = unsigned(llvm::lower_bound(finite, size) - finite.begin());
    unsigned nearest = std::min(above, count - 1);
    if (above > 0 && above < count) {
      float down = size - finite[above - 1], up = finite[above] - size;
      if (down < up || (down == up && above % 2))
        nearest = above - 1;
    }
    code = uint8_t(nearest | (std::signbit(q) && nearest ? 128 : 0));
  }
}

SmallVector<Value> Float8Scheme::decode(DecodeBuilder &b, Value bytes) const {
  auto words = VectorType::get(kSchemeColumns, b.getI16Type());
  auto halves = VectorType::get(kSchemeColumns, b.getF16Type());
  auto floats = VectorType::get(kSchemeColumns, b.getF32Type());
  SmallVector<Value> rows;
  for (int64_t row = 0; row < 4; ++row) {
    Value pair = vector::BitCastOp::create(
        b, words,
        vector::ExtractStridedSliceOp::create(
            b, bytes, ArrayRef<int64_t>{row / 2 * 32}, ArrayRef<int64_t>{32},
            ArrayRef<int64_t>{1}));
    if (row % 2 == 0)
      pair = arith::ShLIOp::create(b, pair, b.splat(words, 8));
    int16_t keep = -0x0100; // the high byte
    if (mantissa == 3) {
      // One bit down, for an exponent of five; the sign stays.
      pair = arith::ShRSIOp::create(b, pair, b.splat(words, 1));
      keep = -0x4080;
    }
    pair = arith::AndIOp::create(b, pair, b.splat(words, keep));
    Value half = arith::BitcastOp::create(b, halves, pair);
    rows.push_back(arith::ExtFOp::create(b, floats, half));
  }
  return rows;
}

namespace {
/// NF4, whose numbers are kNormalFloats.
class NormalFloatScheme final : public Scheme {
public:
  StringRef getKey() const override { return "nf4"; }
  StringRef getSummary() const override {
    return "4-bit NormalFloat weights in groups of 64, float activations";
  }
  unsigned getWeightBits() const override { return 4; }
  SchemeCompute getCompute() const override { return SchemeCompute::Float; }
  int64_t getGroup() const override { return 64; }
  CodeUnit getUnit() const override { return fields.getUnit(); }
  unsigned getMaxCode() const override { return 15; }
  std::optional<int32_t> getZero() const override { return 7; }
  bool hasHalfScales() const override { return true; }
  bool isLinear() const override { return false; }

  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    return {getLargest(weights), 7};
  }
  float value(uint8_t code, const GroupAffine &affine) const override {
    return affine.scale * kNormalFloats[code & 15];
  }
  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    fields.pack(codes, bytes);
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override {
    SmallVector<Value> rows = fields.unpack(b, bytes, /*clean=*/false);
    for (Value &row : rows)
      row = b.lookup(kNormalFloats, row);
    return rows;
  }

private:
  BitFields fields{4};
};
} // namespace

void qcc::registerFloatSchemes(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *, QCCDialect *dialect) {
    getSchemes(*dialect).add(std::make_unique<Float8Scheme>(
        "fp8", "E4M3 weights per channel, float activations", /*mantissa=*/3,
        /*one=*/7, /*top=*/448.0f));
    getSchemes(*dialect).add(std::make_unique<Float8Scheme>(
        "fp8-e5m2", "E5M2 weights per channel, float activations",
        /*mantissa=*/2, /*one=*/15, /*top=*/57344.0f));
  });
  registerScheme<NormalFloatScheme>(registry);
}
