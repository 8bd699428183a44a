//===- Grids.cpp - grids that others were measured on -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Asymmetric integers of 4, 3 and 2 bits whose range is extended to hold 0,
// computed in float: scale (max - min) / (2^bits - 1), zero point round(-min /
// scale). Codes are stored in whole bytes: these precisions are for comparing
// accuracy, not size.
//
//===----------------------------------------------------------------------===//
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Plugin/Plugin.h"
#include "qcc/Scheme/Scheme.h"
#include <cmath>

using namespace mlir;

namespace {

template <unsigned Bits, int64_t Group> class Grid final : public qcc::Scheme {
public:
  Grid()
      : key("grid-w" + std::to_string(Bits) +
            (Group ? "-g" + std::to_string(Group) : "-channel")) {}
  llvm::StringRef getKey() const override { return key; }
  llvm::StringRef getSummary() const override {
    return "asymmetric integers with range extended to 0, in float";
  }
  unsigned getWeightBits() const override { return Bits; }
  qcc::SchemeCompute getCompute() const override {
    return qcc::SchemeCompute::Float;
  }
  int64_t getGroup() const override { return Group; }
  qcc::CodeUnit getUnit() const override { return {/*k=*/4, /*bytes=*/64}; }
  unsigned getMaxCode() const override { return (1u << Bits) - 1; }
  std::optional<int32_t> getZero() const override { return std::nullopt; }

  qcc::GroupAffine choose(llvm::ArrayRef<float> weights,
                          llvm::ArrayRef<float>) const override {
    float low = 0, high = 0;
    for (float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    float scale = (high - low) / static_cast<float>(getMaxCode());
    if (!(scale > 0))
      return {0, 0};
    return {scale, static_cast<int32_t>(std::nearbyint(-low / scale))};
  }
  void assign(llvm::ArrayRef<float> weights, const qcc::GroupAffine &affine,
              llvm::MutableArrayRef<uint8_t> codes) const override {
    qcc::assignLinear(weights, affine, 0, static_cast<int32_t>(getMaxCode()),
                      codes);
  }

  // Row-major, a byte each.
  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const override {
    for (unsigned i = 0; i < 64; ++i)
      bytes[i] = static_cast<char>(codes[i]);
  }

  llvm::SmallVector<Value> decode(qcc::DecodeBuilder &b,
                                  Value bytes) const override {
    llvm::SmallVector<Value> rows;
    auto floats = VectorType::get(16, b.getF32Type());
    for (int64_t row = 0; row < 4; ++row) {
      Value codes =
          vector::ExtractStridedSliceOp::create(b, bytes, 16 * row, 16, 1);
      rows.push_back(arith::UIToFPOp::create(b, floats, codes));
    }
    return rows;
  }

private:
  std::string key;
};

void registerGrids(DialectRegistry &registry) {
  qcc::registerScheme<Grid<4, 0>>(registry);
  qcc::registerScheme<Grid<3, 0>>(registry);
  qcc::registerScheme<Grid<3, 64>>(registry);
  qcc::registerScheme<Grid<2, 32>>(registry);
}

} // namespace

extern "C" qcc::PluginInfo qccGetPluginInfo() {
  return {qcc::kPluginApi, QCC_VERSION_STRING, "grids",
          [](qcc::Extensions &extensions) {
            extensions.addDialects(registerGrids);
          }};
}
