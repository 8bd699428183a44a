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

  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    float largest = 0;
    for (float w : weights)
      largest = std::max(largest, std::fabs(w));
    return {largest / 127, 128};
  }

  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override {
    assignLinear(weights, affine, 1, 255, codes);
  }

  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    for (size_t k = 0; k < 4; ++k)
      for (size_t j = 0; j < kSchemeColumns; ++j)
        bytes[j * 4 + k] = char(codes[k * kSchemeColumns + j]);
  }

  SmallVector<Value> decode(DecodeBuilder &, Value bytes) const override {
    return {bytes};
  }
};
} // namespace

void qcc::registerInt8Scheme(DialectRegistry &registry) {
  registerScheme<Int8Scheme>(registry);
}
