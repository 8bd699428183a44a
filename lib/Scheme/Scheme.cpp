//===- Scheme.cpp - layout, encoding and registry of schemes ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Scheme.h"
#include "mlir/IR/DialectInterface.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;

Scheme::~Scheme() = default;

//===----------------------------------------------------------------------===//
// Layout
//===----------------------------------------------------------------------===//

/// Rows of a group that is the whole channel are padded to this: four vectors
/// of four rows, the height of a matrix tile.
static constexpr int64_t kChannelPadding = 64;

std::optional<EncodedLayout> qcc::getEncodedLayout(const Scheme &scheme,
                                                   int64_t k, int64_t n) {
  CodeUnit unit = scheme.getUnit();
  int64_t group = scheme.getGroup();
  if (k < 1 || n < 1 || k > (int64_t(1) << 31) || n > (int64_t(1) << 31) ||
      (group && k % group != 0))
    return std::nullopt;
  EncodedLayout layout;
  layout.blocks = llvm::divideCeil(n, kSchemeColumns);
  layout.groups = group ? k / group : 1;
  layout.groupK = group ? group : int64_t(llvm::alignTo(k, kChannelPadding));
  layout.zeroOffset = kSchemeColumns * (scheme.hasHalfScales() ? 2 : 4);
  layout.codeOffset =
      layout.zeroOffset + (scheme.getZero() ? 0 : kSchemeColumns * 4);
  layout.groupBytes = layout.codeOffset + layout.groupK / unit.k * unit.bytes;
  if (llvm::MulOverflow(layout.groups, layout.groupBytes, layout.totalBytes) ||
      llvm::MulOverflow(layout.totalBytes, layout.blocks, layout.totalBytes))
    return std::nullopt;
  return layout;
}

RankedTensorType qcc::encodedType(const Scheme &scheme,
                                  RankedTensorType weight) {
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return {};
  std::optional<EncodedLayout> layout =
      getEncodedLayout(scheme, weight.getDimSize(0), weight.getDimSize(1));
  if (!layout)
    return {};
  return RankedTensorType::get({layout->totalBytes},
                               IntegerType::get(weight.getContext(), 8));
}

//===----------------------------------------------------------------------===//
// Encoding
//===----------------------------------------------------------------------===//

int32_t qcc::roundCode(float value, int32_t low, int32_t high) {
  if (std::isnan(value))
    return 0;
  return int32_t(std::clamp(std::nearbyint(value), float(low), float(high)));
}

float qcc::roundToHalf(float value) {
  llvm::APFloat half(value);
  bool inexact;
  half.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven,
               &inexact);
  if (half.isInfinity())
    half =
        llvm::APFloat::getLargest(llvm::APFloat::IEEEhalf(), half.isNegative());
  half.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven,
               &inexact);
  return half.convertToFloat();
}

/// Bits of a number that is a half.
static uint16_t halfBits(float value) {
  llvm::APFloat half(value);
  bool inexact;
  half.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven,
               &inexact);
  return uint16_t(half.bitcastToAPInt().getZExtValue());
}

namespace {
/// Encodes the groups of one block of columns.
class BlockEncoder {
public:
  BlockEncoder(const Scheme &scheme, const EncodedLayout &layout, int64_t k,
               int64_t n, const char *weights)
      : scheme(scheme), layout(layout), unit(scheme.getUnit()), n(n),
        weights(weights), rows(layout.groups == 1 ? k : layout.groupK),
        column(rows), codes(rows), grid(layout.groupK * kSchemeColumns) {}

  void encode(int64_t block, int64_t group, MutableArrayRef<char> out) {
    for (int64_t j = 0; j < kSchemeColumns; ++j) {
      GroupAffine affine = encodeColumn(block * kSchemeColumns + j, group, j);
      if (scheme.hasHalfScales()) {
        uint16_t bits = halfBits(affine.scale);
        std::memcpy(out.data() + j * 2, &bits, 2);
      } else {
        std::memcpy(out.data() + j * 4, &affine.scale, 4);
      }
      if (!scheme.getZero())
        std::memcpy(out.data() + layout.zeroOffset + j * 4, &affine.zero, 4);
    }
    size_t perUnit = size_t(unit.k) * kSchemeColumns;
    for (int64_t u = 0; u < layout.groupK / unit.k; ++u)
      scheme.pack(ArrayRef(grid).slice(u * perUnit, perUnit),
                  out.slice(layout.codeOffset + u * unit.bytes, unit.bytes));
  }

private:
  /// Quantizes one column of a group into column `j` of the grid. Columns past
  /// the last one have scale 0.
  GroupAffine encodeColumn(int64_t at, int64_t group, int64_t j) {
    GroupAffine affine;
    affine.zero = scheme.getZero().value_or(0);
    bool live = at < n;
    if (live) {
      for (int64_t i = 0; i < rows; ++i)
        std::memcpy(&column[i], weights + ((group * rows + i) * n + at) * 4, 4);
      affine = scheme.quantize(column, codes);
    }
    for (int64_t i = 0; i < layout.groupK; ++i)
      grid[i * kSchemeColumns + j] =
          live && i < rows ? codes[i] : uint8_t(affine.zero);
    return affine;
  }

  const Scheme &scheme;
  const EncodedLayout &layout;
  CodeUnit unit;
  int64_t n;
  const char *weights;
  int64_t rows;
  std::vector<float> column;
  std::vector<uint8_t> codes, grid;
};
} // namespace

LogicalResult qcc::encodeWeight(const Scheme &scheme, int64_t k, int64_t n,
                                ArrayRef<char> weights,
                                MutableArrayRef<char> out) {
  std::optional<EncodedLayout> layout = getEncodedLayout(scheme, k, n);
  if (!layout || int64_t(weights.size()) / 4 / n != k ||
      int64_t(out.size()) != layout->totalBytes)
    return failure();
  BlockEncoder encoder(scheme, *layout, k, n, weights.data());
  for (int64_t block = 0; block < layout->blocks; ++block)
    for (int64_t group = 0; group < layout->groups; ++group) {
      int64_t at = (block * layout->groups + group) * layout->groupBytes;
      encoder.encode(block, group, out.slice(at, layout->groupBytes));
    }
  return success();
}

//===----------------------------------------------------------------------===//
// Registry
//===----------------------------------------------------------------------===//

bool SchemeRegistry::add(std::unique_ptr<Scheme> scheme) {
  CodeUnit unit = scheme->getUnit();
  int64_t group = scheme->getGroup();
  bool keyed =
      !scheme->getKey().empty() && llvm::all_of(scheme->getKey(), [](char c) {
        return llvm::isAlnum(c) || c == '-' || c == '_';
      });
  bool sized = unit.k >= 4 && unit.k <= 64 && llvm::isPowerOf2_32(unit.k) &&
               unit.bytes >= 16 && unit.bytes <= 256 && unit.bytes % 16 == 0 &&
               group >= 0 && group % unit.k == 0 && group <= 1 << 16 &&
               scheme->getMaxCode() <= 255;
  if (!keyed || !sized || lookup(scheme->getKey()))
    return false;
  schemes.push_back(std::move(scheme));
  return true;
}

const Scheme *SchemeRegistry::lookup(StringRef key) const {
  for (const std::unique_ptr<Scheme> &scheme : schemes)
    if (scheme->getKey() == key)
      return scheme.get();
  return nullptr;
}

namespace {
/// Holds the registry of a context.
struct SchemeInterface : DialectInterface::Base<SchemeInterface> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SchemeInterface)
  SchemeInterface(Dialect *dialect) : Base(dialect) {}
  SchemeRegistry registry;
};
} // namespace

SchemeRegistry &qcc::getSchemes(QCCDialect &dialect) {
  if (!dialect.getRegisteredInterface<SchemeInterface>())
    dialect.addInterface(std::make_unique<SchemeInterface>(&dialect));
  // Interfaces are handed out const; the registry is the dialect's own.
  return const_cast<SchemeInterface *>(
             dialect.getRegisteredInterface<SchemeInterface>())
      ->registry;
}

const SchemeRegistry &qcc::getSchemes(MLIRContext *context) {
  return getSchemes(*context->getOrLoadDialect<QCCDialect>());
}
