//===- Ternary.cpp - a precision of a plugin --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights of -1, 0 or 1 times a scale per column and 32 rows, in 2 bits. The
// scale is that of Li et al., "Ternary weight networks" (2016): the mean of the
// magnitudes above 0.7 times the mean of all.
//
//===----------------------------------------------------------------------===//
#include "Toy.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Scheme/Scheme.h"
#include <cmath>

using namespace mlir;

namespace {

class Ternary : public qcc::Scheme {
public:
  llvm::StringRef getKey() const override { return "toy-ternary"; }
  llvm::StringRef getSummary() const override {
    return "weights of -1, 0 and 1 in 2 bits, a scale per 32 rows";
  }
  unsigned getWeightBits() const override { return 2; }
  int64_t getGroup() const override { return 32; }
  qcc::CodeUnit getUnit() const override { return {/*k=*/16, /*bytes=*/64}; }
  unsigned getMaxCode() const override { return 2; }
  std::optional<int32_t> getZero() const override { return 1; }

  // The mean magnitude of the weights that are not rounded to zero.
  qcc::GroupAffine choose(llvm::ArrayRef<float> weights,
                          llvm::ArrayRef<float>) const override {
    double sum = 0;
    for (float weight : weights)
      sum += std::fabs(weight);
    double threshold = 0.7 * sum / static_cast<double>(weights.size());
    double kept = 0;
    unsigned count = 0;
    for (float weight : weights)
      if (std::fabs(weight) > threshold) {
        kept += std::fabs(weight);
        ++count;
      }
    return {count ? static_cast<float>(kept / count) : 0.0f, 1};
  }
  void assign(llvm::ArrayRef<float> weights, const qcc::GroupAffine &affine,
              llvm::MutableArrayRef<uint8_t> codes) const override {
    qcc::assignLinear(weights, affine, 0, 2, codes);
  }

  // Byte 4 * column + j holds rows j, 4 + j, 8 + j and 12 + j, 2 bits each.
  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const override {
    for (unsigned column = 0; column < 16; ++column)
      for (unsigned j = 0; j < 4; ++j) {
        unsigned byte = 0;
        for (unsigned i = 0; i < 4; ++i)
          byte |= codes[(4 * i + j) * 16 + column] << (2 * i);
        bytes[4 * column + j] = static_cast<char>(byte);
      }
  }

  llvm::SmallVector<Value> decode(qcc::DecodeBuilder &b,
                                  Value bytes) const override {
    auto type = cast<VectorType>(bytes.getType());
    llvm::SmallVector<Value> rows;
    for (int64_t i = 0; i < 4; ++i) {
      Value shifted =
          i ? arith::ShRUIOp::create(b, bytes, b.splat(type, 2.0 * i))
                  .getResult()
            : bytes;
      rows.push_back(arith::AndIOp::create(b, shifted, b.splat(type, 3)));
    }
    return rows;
  }
};

} // namespace

void toy::registerTernary(DialectRegistry &registry) {
  qcc::registerScheme<Ternary>(registry);
}
