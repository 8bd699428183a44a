//===- W4A8.cpp - the w4a8 scheme: int4 weights in groups of 32 -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Schemes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
constexpr StringRef kGrids[] = {"sym", "asym"};

/// Int4 weights, symmetric in [-8, 7] or with a zero point of their own, with a
/// half-precision scale per 32 rows and column; int8 activations with a scale
/// per row and 32 elements. A unit of 64 bytes holds 8 rows: the low nibbles
/// are rows 0 to 3, the high ones rows 4 to 7, each in the order of int8's
/// units.
class W4A8Scheme final : public Scheme {
public:
  explicit W4A8Scheme(bool symmetric = true) : symmetric(symmetric) {}

  StringRef getKey() const override { return "w4a8"; }
  StringRef getSummary() const override {
    return "int4 weights and int8 activations, a scale per 32 elements";
  }
  unsigned getWeightBits() const override { return 4; }
  int64_t getGroup() const override { return 32; }
  CodeUnit getUnit() const override { return {8, 64}; }
  unsigned getMaxCode() const override { return 15; }
  std::optional<int32_t> getZero() const override {
    return symmetric ? std::optional(8) : std::nullopt;
  }
  bool hasHalfScales() const override { return true; }

  ArrayRef<StringRef> getGrids() const override { return kGrids; }
  std::unique_ptr<Scheme> withGrid(StringRef grid) const override {
    if (!llvm::is_contained(kGrids, grid))
      return nullptr;
    return std::make_unique<W4A8Scheme>(grid == "sym");
  }

  /// Symmetric: the element of largest magnitude becomes -8, on the side with
  /// one code more.
  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    if (!symmetric)
      return chooseAsymmetric(weights, getMaxCode());
    float extreme = 0;
    for (float w : weights)
      if (std::fabs(w) > std::fabs(extreme))
        extreme = w;
    return {extreme / -8, 8};
  }

  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override {
    assignLinear(weights, affine, 0, 15, codes);
  }

  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t k = 0; k < 4; ++k)
      for (size_t j = 0; j < kSchemeColumns; ++j) {
        unsigned low = codes[k * kSchemeColumns + j],
                 high = codes[(k + 4) * kSchemeColumns + j];
        bytes[j * 4 + k] = char(low | high << 4);
      }
  }

  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override {
    auto type = cast<VectorType>(bytes.getType());
    auto words = VectorType::get(type.getNumElements() / 2, b.getI16Type());
    Value mask = b.splat(type, 15), four = b.splat(words, 4);
    Value low = arith::AndIOp::create(b, bytes, mask);
    // Bytes have no shift of their own; what crosses is masked away.
    Value shifted = arith::ShRUIOp::create(
        b, vector::BitCastOp::create(b, words, bytes), four);
    Value high = arith::AndIOp::create(
        b, vector::BitCastOp::create(b, type, shifted), mask);
    return {low, high};
  }

private:
  bool symmetric;
};
} // namespace

void qcc::registerW4A8Scheme(DialectRegistry &registry) {
  registerScheme<W4A8Scheme>(registry);
}

void qcc::registerSchemes(DialectRegistry &registry) {
  registerInt8Scheme(registry);
  registerW4A8Scheme(registry);
  registerLinearSchemes(registry);
  registerFloatSchemes(registry);
  registerBfloat16Schemes(registry);
}
