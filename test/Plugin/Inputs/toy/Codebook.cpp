//===- Codebook.cpp - a precision with numbers of its own -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights in 3 bits: eight numbers times a scale per column and 64 rows. The
// numbers are those that cost a normally distributed weight the least squared
// error (Max, "Quantizing for minimum distortion", 1960, for 8 levels).
//
//===----------------------------------------------------------------------===//
#include "Toy.h"
#include "qcc/Scheme/BitFields.h"
#include <cmath>

using namespace mlir;

namespace {

constexpr float kNumbers[] = {-2.152f, -1.344f, -0.756f, -0.2451f,
                              0.2451f, 0.756f,  1.344f,  2.152f};

class Codebook : public qcc::Scheme {
public:
  llvm::StringRef getKey() const override { return "toy-codebook3"; }
  llvm::StringRef getSummary() const override {
    return "one of eight numbers in 3 bits, a scale per 64 rows";
  }
  unsigned getWeightBits() const override { return 3; }
  qcc::SchemeCompute getCompute() const override {
    return qcc::SchemeCompute::Float;
  }
  int64_t getGroup() const override { return 64; }
  qcc::CodeUnit getUnit() const override { return fields.getUnit(); }
  unsigned getMaxCode() const override { return 7; }
  // There is no 0: a group of zeros has scale 0.
  std::optional<int32_t> getZero() const override { return 4; }
  bool hasHalfScales() const override { return true; }
  bool isLinear() const override { return false; }

  // The standard deviation of weights around 0.
  qcc::GroupAffine choose(llvm::ArrayRef<float> weights,
                          llvm::ArrayRef<float>) const override {
    double sum = 0;
    for (float weight : weights)
      sum += double(weight) * weight;
    return {float(std::sqrt(sum / double(weights.size()))), 4};
  }
  float value(uint8_t code, const qcc::GroupAffine &affine) const override {
    return affine.scale * kNumbers[code & 7];
  }

  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const override {
    fields.pack(codes, bytes);
  }
  llvm::SmallVector<Value> decode(qcc::DecodeBuilder &b,
                                  Value bytes) const override {
    llvm::SmallVector<Value> rows = fields.unpack(b, bytes, /*clean=*/false);
    for (Value &row : rows)
      row = b.lookup(kNumbers, row);
    return rows;
  }

private:
  qcc::BitFields fields{3};
};

} // namespace

void toy::registerCodebook(DialectRegistry &registry) {
  qcc::registerScheme<Codebook>(registry);
}
