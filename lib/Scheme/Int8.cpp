//===- Int8.cpp - the int8 scheme: a scale per channel ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Schemes.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// Symmetric int8 weights in [-127, 127], one scale per output channel; int8
/// activations with one scale per row. Codes are stored plus 128: products of
/// unsigned by signed bytes need no correction per column then.
class Int8Scheme final : public Scheme {
public:
  StringRef getKey() const override { return "int8"; }
  StringRef getSummary() const override {
    return "int8 weights per channel, dynamic int8 activations per row";
  }
  unsigned getWeightBits() const override { return 8; }
  int64_t getGroup() const override { return 0; }
  CodeUnit getUnit() const override { return {4, 64}; }
  unsigned getMaxCode() const override { return 255; }
  std::optional<int32_t> getZero() const override { return 128; }

  GroupAffine quantize(ArrayRef<float> weights,
                       MutableArrayRef<uint8_t> codes) const override {
    float largest = 0;
    for (float w : weights)
      largest = std::max(largest, std::fabs(w));
    float scale = largest / 127;
    for (auto [w, code] : llvm::zip_equal(weights, codes)) {
      float q = scale > 0 ? w / scale : 0;
      code = uint8_t(roundCode(q, -127, 127) + 128);
    }
    return {scale, 128};
  }

  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t k = 0; k < 4; ++k)
      for (size_t j = 0; j < kSchemeColumns; ++j)
        bytes[j * 4 + k] = char(codes[k * kSchemeColumns + j]);
  }

  SmallVector<Value> decode(ImplicitLocOpBuilder &b,
                            Value bytes) const override {
    return {bytes};
  }
};
} // namespace

void qcc::registerInt8Scheme(DialectRegistry &registry) {
  registerScheme<Int8Scheme>(registry);
}
