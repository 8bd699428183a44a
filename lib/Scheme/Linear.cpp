//===- Linear.cpp - integer weights, float activations ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Schemes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Scheme/BitFields.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// How "symmetric" and "asymmetric" are meant: elsewhere the same words mean
/// different numbers. With b bits and A the largest magnitude:
enum class Grid {
  /// The range, extended to hold 0, on 2^b codes with a zero point.
  Asymmetric,
  /// The element of largest magnitude is exactly -2^(b-1) scales, also if it is
  /// positive (the scale is negative then): as ggml's Q4_0, AutoRound, NNCF.
  Full,
  /// Scale 2A / (2^b - 1): as GPTQ and compressed-tensors.
  Middle,
  /// Scale A / (2^(b-1) - 1): as AWQ, SmoothQuant, ModelOpt.
  Narrow,
};

constexpr StringRef kGridNames[] = {"asym", "sym", "sym-mid", "sym-narrow"};
/// The same, a symmetric one first.
constexpr StringRef kNarrowFirst[] = {"sym-narrow", "asym", "sym", "sym-mid"};

/// Codes of b bits and a scale; weights are multiplied with f32 activations.
class LinearScheme final : public Scheme {
public:
  LinearScheme(unsigned bits, int64_t group, StringRef summary, Grid grid,
               ArrayRef<StringRef> grids)
      : bits(bits), group(group), key("w" + std::to_string(bits) + "a16"),
        summary(summary), grid(grid), grids(grids), fields(bits) {}

  StringRef getKey() const override { return key; }
  StringRef getSummary() const override { return summary; }
  unsigned getWeightBits() const override { return bits; }
  SchemeCompute getCompute() const override { return SchemeCompute::Float; }
  int64_t getGroup() const override { return group; }
  CodeUnit getUnit() const override { return fields.getUnit(); }
  unsigned getMaxCode() const override { return (1u << bits) - 1; }
  std::optional<int32_t> getZero() const override {
    if (grid == Grid::Asymmetric)
      return std::nullopt;
    return 1 << (bits - 1);
  }
  bool hasHalfScales() const override { return true; }

  ArrayRef<StringRef> getGrids() const override { return grids; }
  std::unique_ptr<Scheme> withGrid(StringRef name) const override {
    const auto *at = llvm::find(kGridNames, name);
    if (at == std::end(kGridNames))
      return nullptr;
    return std::make_unique<LinearScheme>(
        bits, group, summary, Grid(at - std::begin(kGridNames)), grids);
  }

  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override;

  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override {
    assignLinear(weights, affine, 0, int32_t(getMaxCode()), codes);
  }

  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    fields.pack(codes, bytes);
  }

  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override {
    auto floats = VectorType::get(kSchemeColumns, b.getF32Type());
    SmallVector<Value> rows = fields.unpack(b, bytes);
    // Signed: codes are small, and AVX2 converts no unsigned integers.
    for (Value &row : rows)
      row = arith::SIToFPOp::create(b, floats, row);
    return rows;
  }

private:
  unsigned bits;
  int64_t group;
  std::string key, summary;
  Grid grid;
  ArrayRef<StringRef> grids;
  BitFields fields;
};
} // namespace

/// The smallest and the largest of weights and 0.
static std::pair<double, double> getRange(ArrayRef<float> weights) {
  double low = 0, high = 0;
  for (float w : weights) {
    low = std::min(low, double(w));
    high = std::max(high, double(w));
  }
  return {low, high};
}

GroupAffine qcc::chooseAsymmetric(ArrayRef<float> weights, unsigned maxCode) {
  auto [low, high] = getRange(weights);
  auto scale = float((high - low) / maxCode);
  // So small a range that no float divides it.
  if (scale == 0)
    return {0, 0};
  return {scale, roundCode(float(-low / scale), 0, int32_t(maxCode))};
}

GroupAffine LinearScheme::choose(ArrayRef<float> weights,
                                 ArrayRef<float>) const {
  auto [low, high] = getRange(weights);
  double codes = getMaxCode(), half = 1 << (bits - 1),
         largest = std::max(-low, high);
  int32_t zero = getZero().value_or(0);
  switch (grid) {
  case Grid::Full:
    return {float((-low >= high ? low : high) / -half), zero};
  case Grid::Middle:
    return {float(2 * largest / codes), zero};
  case Grid::Narrow:
    return {float(largest / (half - 1)), zero};
  case Grid::Asymmetric:
    break;
  }
  return chooseAsymmetric(weights, getMaxCode());
}

void qcc::registerLinearSchemes(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *, QCCDialect *dialect) {
    auto add = [&](unsigned bits, int64_t group, StringRef summary) {
      bool symmetric = bits == 8;
      getSchemes(*dialect).add(std::make_unique<LinearScheme>(
          bits, group, summary, symmetric ? Grid::Narrow : Grid::Asymmetric,
          symmetric ? ArrayRef(kNarrowFirst) : ArrayRef(kGridNames)));
    };
    add(8, 0, "int8 weights per channel, float activations");
    add(6, 128, "int6 weights in groups of 128, float activations");
    add(4, 128, "int4 weights in groups of 128, float activations");
    add(3, 128, "int3 weights in groups of 128, float activations");
    add(2, 64, "int2 weights in groups of 64, float activations");
  });
}
