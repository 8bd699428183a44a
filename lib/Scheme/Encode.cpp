//===- Encode.cpp - weights to codes and to bytes ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/StoredFloats.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

int32_t qcc::roundCode(float value, int32_t low, int32_t high) {
  if (std::isnan(value))
    return 0;
  return int32_t(std::clamp(std::nearbyint(value), float(low), float(high)));
}

static llvm::APFloat toHalf(float value) {
  llvm::APFloat half(value);
  bool inexact;
  half.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven,
               &inexact);
  return half;
}

float qcc::roundToHalf(float value) {
  llvm::APFloat half = toHalf(value);
  if (half.isInfinity())
    half =
        llvm::APFloat::getLargest(llvm::APFloat::IEEEhalf(), half.isNegative());
  bool inexact;
  half.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven,
               &inexact);
  return half.convertToFloat();
}

void qcc::assignLinear(ArrayRef<float> weights, const GroupAffine &affine,
                       int32_t low, int32_t high,
                       MutableArrayRef<uint8_t> codes) {
  for (auto [w, code] : llvm::zip_equal(weights, codes)) {
    float q = affine.scale != 0 ? w / affine.scale : 0;
    code = uint8_t(roundCode(q, low - affine.zero, high - affine.zero) +
                   affine.zero);
  }
}

void Scheme::assign(ArrayRef<float> weights, const GroupAffine &affine,
                    MutableArrayRef<uint8_t> codes) const {
  for (auto [w, code] : llvm::zip_equal(weights, codes)) {
    code = uint8_t(affine.zero);
    if (affine.scale == 0)
      continue;
    float least = std::fabs(value(code, affine) - w);
    for (unsigned other = 0; other <= getMaxCode(); ++other) {
      float error = std::fabs(value(uint8_t(other), affine) - w);
      if (error < least) {
        least = error;
        code = uint8_t(other);
      }
    }
  }
}

float Scheme::value(uint8_t code, const GroupAffine &affine) const {
  return affine.scale * float(int32_t(code) - affine.zero);
}

//===----------------------------------------------------------------------===//
// Encoding
//===----------------------------------------------------------------------===//

namespace {
/// Map and codes of one column of a group after the other.
class ColumnEncoder {
public:
  ColumnEncoder(const Scheme &scheme, const EncodedLayout &layout,
                const WeightSource &source)
      : codes(std::min(source.k, layout.groupK)), scheme(scheme),
        layout(layout), source(source), column(codes.size()) {
    for (int64_t i = 0; !source.importance.empty() && i < source.k; ++i)
      importance.push_back(read<float>(source.importance, i));
  }

  /// Chooses the map of all columns, if they share one.
  llvm::Error begin();
  /// Finds the map and, in `codes`, a code for each row of the group.
  llvm::Error encode(int64_t at, int64_t group);
  GroupAffine affine;
  std::vector<uint8_t> codes;

private:
  template <typename T> static T read(ArrayRef<char> bytes, int64_t index) {
    T number;
    std::memcpy(&number, bytes.data() + index * sizeof(T), sizeof(T));
    return number;
  }
  llvm::Error takeGiven(int64_t at, int64_t group);
  llvm::Error checkChosen(int64_t at) const;
  llvm::Error checkAssigned(int64_t at) const;
  llvm::Error readColumn(int64_t at, int64_t group);

  const Scheme &scheme;
  const EncodedLayout &layout;
  const WeightSource &source;
  std::vector<float> column, importance;
  std::optional<GroupAffine> shared; ///< by all columns
};
} // namespace

llvm::Error ColumnEncoder::begin() {
  if (!scheme.isPerTensor() || !source.scales.empty())
    return llvm::Error::success();
  std::vector<float> all, weighting;
  for (int64_t at = 0; at < source.n; ++at) {
    if (llvm::Error error = readColumn(at, 0))
      return error;
    llvm::append_range(all, column);
    llvm::append_range(weighting, importance);
  }
  shared = scheme.choose(all, weighting);
  return llvm::Error::success();
}

llvm::Error ColumnEncoder::takeGiven(int64_t at, int64_t group) {
  int64_t index = group * source.n + at;
  affine.scale = read<float>(source.scales, index);
  std::optional<int32_t> common = scheme.getZero();
  affine.zero = source.zeros.empty() ? common.value_or(-1)
                                     : read<int32_t>(source.zeros, index);
  if (affine.zero < 0 || affine.zero > int32_t(scheme.getMaxCode()) ||
      (common && affine.zero != *common))
    return makeError(Diag::BadTensor, "",
                     "expected zero points that are codes of '" +
                         scheme.getKey() + "', but got " +
                         (source.zeros.empty() ? llvm::Twine("none")
                                               : llvm::Twine(affine.zero)));
  return llvm::Error::success();
}

/// A rule that the scheme breaks, whatever the weights are.
static llvm::Error blame(const Scheme &scheme, const llvm::Twine &text,
                         int64_t at) {
  return makeError(Diag::BadPlugin, "",
                   "scheme '" + scheme.getKey() + "': expected " + text +
                       " for column " + llvm::Twine(at));
}

llvm::Error ColumnEncoder::checkChosen(int64_t at) const {
  // Near the largest float differences of weights may be infinite.
  constexpr float kHuge = 1e30f;
  bool areHuge = llvm::any_of(
      column, [](float weight) { return std::fabs(weight) > kHuge; });
  if (std::isnan(affine.scale) || (std::isinf(affine.scale) && !areHuge))
    return blame(scheme,
                 llvm::Twine("choose() to give a finite scale, but got ") +
                     (std::isnan(affine.scale) ? "nan" : "infinity"),
                 at);
  std::optional<int32_t> common = scheme.getZero();
  int32_t low = common.value_or(0),
          high = common.value_or(int32_t(scheme.getMaxCode()));
  if (affine.zero < low || affine.zero > high)
    return blame(scheme,
                 "choose() to give a zero from " + llvm::Twine(low) + " to " +
                     llvm::Twine(high) + ", but got " +
                     llvm::Twine(affine.zero),
                 at);
  return llvm::Error::success();
}

llvm::Error ColumnEncoder::checkAssigned(int64_t at) const {
  uint8_t largest = 0;
  for (uint8_t code : codes)
    largest = std::max(largest, code);
  if (largest > scheme.getMaxCode())
    return blame(scheme,
                 "assign() to give codes of at most " +
                     llvm::Twine(scheme.getMaxCode()) + ", but got " +
                     llvm::Twine(unsigned(largest)),
                 at);
  return llvm::Error::success();
}

llvm::Error ColumnEncoder::readColumn(int64_t at, int64_t group) {
  int64_t first = group * layout.groupK,
          rows = std::min(source.k - first, layout.groupK);
  column.resize(rows);
  codes.resize(rows);
  for (int64_t i = 0; i < rows; ++i) {
    column[i] = read<float>(source.weights, (first + i) * source.n + at);
    if (!std::isfinite(column[i]))
      return makeError(
          Diag::BadTensor, "",
          "expected finite weights, but got " +
              llvm::Twine(std::isnan(column[i]) ? "NaN" : "infinity") +
              " in row " + llvm::Twine(first + i) + " of column " +
              llvm::Twine(at));
  }
  return llvm::Error::success();
}

llvm::Error ColumnEncoder::encode(int64_t at, int64_t group) {
  if (llvm::Error error = readColumn(at, group))
    return error;
  if (shared) {
    affine = *shared;
  } else if (!source.scales.empty()) {
    if (llvm::Error error = takeGiven(at, group))
      return error;
  } else {
    ArrayRef<float> weighting;
    if (!importance.empty())
      weighting =
          ArrayRef(importance).slice(group * layout.groupK, column.size());
    affine = scheme.choose(column, weighting);
  }
  if (source.scales.empty())
    if (llvm::Error error = checkChosen(at))
      return error;
  // A half that is too large saturates, so it must be below the largest.
  bool halves = scheme.hasHalfScales();
  float largest = halves ? 65504.0f : std::numeric_limits<float>::max();
  if (!(std::fabs(affine.scale) < largest) ||
      !std::isfinite(scheme.value(0, affine)) ||
      !std::isfinite(scheme.value(uint8_t(scheme.getMaxCode()), affine)))
    return makeError(Diag::BadTensor, "",
                     "expected a scale below " +
                         llvm::Twine(halves ? "65504" : "3.4e38 / codes") +
                         ", but the weights of column " + llvm::Twine(at) +
                         " are larger");
  if (scheme.hasHalfScales())
    affine.scale = roundToHalf(affine.scale);
  scheme.assign(column, affine, codes);
  return checkAssigned(at);
}

static llvm::Error checkSizes(const Scheme &scheme, const WeightSource &source,
                              const EncodedLayout &layout) {
  auto has = [&](ArrayRef<char> bytes, int64_t count) {
    return int64_t(bytes.size()) / 4 == count && bytes.size() % 4 == 0;
  };
  auto hasOrNone = [&](ArrayRef<char> bytes, int64_t count) {
    return bytes.empty() || has(bytes, count);
  };
  int64_t maps = layout.groups * source.n;
  if (has(source.weights, source.k * source.n) &&
      hasOrNone(source.importance, source.k) &&
      hasOrNone(source.scales, maps) && hasOrNone(source.zeros, maps))
    return llvm::Error::success();
  return makeError(
      Diag::BadTensor, "",
      "expected " + llvm::Twine(source.k) + " x " + llvm::Twine(source.n) +
          " weights, importance of " + llvm::Twine(source.k) + " rows and " +
          llvm::Twine(layout.groups) + " groups of scales and zero points");
}

/// Writes scales, zeros and units of a block of columns of a group. `grid` is
/// [groupK][16].
static void writeGroup(const Scheme &scheme, const EncodedLayout &layout,
                       ArrayRef<GroupAffine> maps, ArrayRef<uint8_t> grid,
                       MutableArrayRef<char> out) {
  for (auto [j, affine] : llvm::enumerate(maps)) {
    if (scheme.hasHalfScales()) {
      auto bits =
          uint16_t(toHalf(affine.scale).bitcastToAPInt().getZExtValue());
      std::memcpy(out.data() + j * 2, &bits, 2);
    } else {
      std::memcpy(out.data() + j * 4, &affine.scale, 4);
    }
    if (!scheme.getZero())
      out[layout.zeroOffset + j] = char(affine.zero);
  }
  CodeUnit unit = scheme.getUnit();
  size_t perUnit = size_t(unit.k) * kSchemeColumns;
  for (int64_t u = 0; u < layout.groupK / unit.k; ++u)
    scheme.pack(grid.slice(u * perUnit, perUnit),
                out.slice(layout.codeOffset + u * unit.bytes, unit.bytes));
}

/// The rounded weights of a scheme that stores floats, row-major [k, n].
static llvm::Error roundFloats(const StoredFloatScheme &scheme,
                               const WeightSource &source,
                               MutableArrayRef<float> out) {
  if (!source.scales.empty() || !source.zeros.empty())
    return makeError(Diag::BadTensor, "",
                     "expected no scales, as '" + scheme.getKey() +
                         "' has none");
  for (auto [i, rounded] : llvm::enumerate(out)) {
    float weight;
    std::memcpy(&weight, source.weights.data() + i * sizeof(float),
                sizeof(float));
    rounded = std::isfinite(weight) ? scheme.round(weight) : weight;
    if (!std::isfinite(rounded))
      return makeError(Diag::BadTensor, "",
                       "expected finite weights that '" + scheme.getKey() +
                           "' can hold, but got " +
                           (std::isnan(weight) ? "NaN"
                            : std::isinf(weight)
                                ? "infinity"
                                : "one that rounds to infinity") +
                           " in row " + llvm::Twine(int64_t(i) / source.n) +
                           " of column " + llvm::Twine(int64_t(i) % source.n));
  }
  return llvm::Error::success();
}

static llvm::Error encodeFloats(const StoredFloatScheme &scheme,
                                const WeightSource &source,
                                const EncodedLayout &layout,
                                MutableArrayRef<char> out) {
  std::vector<float> rounded(size_t(source.k * source.n));
  if (llvm::Error error = roundFloats(scheme, source, rounded))
    return error;
  CodeUnit unit = scheme.getUnit();
  std::vector<float> grid(size_t(unit.k * kSchemeColumns));
  for (int64_t block = 0; block < layout.blocks; ++block) {
    MutableArrayRef<char> bytes =
        out.slice(block * layout.groupBytes, layout.groupBytes);
    for (int64_t j = 0; j < kSchemeColumns; ++j) {
      float one = 1;
      std::memcpy(bytes.data() + j * sizeof(one), &one, sizeof(one));
    }
    for (int64_t u = 0; u < layout.groupK / unit.k; ++u) {
      for (auto [i, weight] : llvm::enumerate(grid)) {
        int64_t row = u * unit.k + int64_t(i) / kSchemeColumns,
                at = block * kSchemeColumns + int64_t(i) % kSchemeColumns;
        weight = row < source.k && at < source.n
                     ? rounded[size_t(row * source.n + at)]
                     : 0.0f;
      }
      scheme.store(grid,
                   bytes.slice(layout.codeOffset + u * unit.bytes, unit.bytes));
    }
  }
  return llvm::Error::success();
}

llvm::Error qcc::encodeWeight(const Scheme &scheme, const WeightSource &source,
                              MutableArrayRef<char> out) {
  std::optional<EncodedLayout> layout =
      getEncodedLayout(scheme, source.k, source.n);
  if (!layout || int64_t(out.size()) != layout->totalBytes)
    return makeError(Diag::BadTensor, "",
                     "cannot be stored as '" + scheme.getKey() + "'");
  if (llvm::Error error = checkSizes(scheme, source, *layout))
    return error;
  if (const auto *floats = dyn_cast<StoredFloatScheme>(&scheme))
    return encodeFloats(*floats, source, *layout, out);
  ColumnEncoder encoder(scheme, *layout, source);
  if (llvm::Error error = encoder.begin())
    return error;
  std::vector<uint8_t> grid(layout->groupK * kSchemeColumns);
  std::vector<GroupAffine> maps(kSchemeColumns);
  for (int64_t block = 0; block < layout->blocks; ++block)
    for (int64_t group = 0; group < layout->groups; ++group) {
      for (int64_t j = 0; j < kSchemeColumns; ++j) {
        // Columns past the last one have scale 0.
        int64_t at = block * kSchemeColumns + j, rows = 0;
        maps[j] = {0, scheme.getZero().value_or(0)};
        if (at < source.n) {
          if (llvm::Error error = encoder.encode(at, group))
            return error;
          maps[j] = encoder.affine;
          rows = int64_t(encoder.codes.size());
        }
        for (int64_t i = 0; i < layout->groupK; ++i)
          grid[i * kSchemeColumns + j] =
              i < rows ? encoder.codes[i] : uint8_t(maps[j].zero);
      }
      int64_t at = (block * layout->groups + group) * layout->groupBytes;
      writeGroup(scheme, *layout, maps, grid,
                 out.slice(at, layout->groupBytes));
    }
  return llvm::Error::success();
}

llvm::Error qcc::roundWeight(const Scheme &scheme, const WeightSource &source,
                             MutableArrayRef<float> out) {
  std::optional<EncodedLayout> layout =
      getEncodedLayout(scheme, source.k, source.n);
  if (!layout || int64_t(out.size()) != source.k * source.n)
    return makeError(Diag::BadTensor, "",
                     "cannot be stored as '" + scheme.getKey() + "'");
  if (llvm::Error error = checkSizes(scheme, source, *layout))
    return error;
  if (const auto *floats = dyn_cast<StoredFloatScheme>(&scheme))
    return roundFloats(*floats, source, out);
  ColumnEncoder encoder(scheme, *layout, source);
  if (llvm::Error error = encoder.begin())
    return error;
  for (int64_t group = 0; group < layout->groups; ++group)
    for (int64_t at = 0; at < source.n; ++at) {
      if (llvm::Error error = encoder.encode(at, group))
        return error;
      for (auto [i, code] : llvm::enumerate(encoder.codes))
        out[(group * layout->groupK + int64_t(i)) * source.n + at] =
            scheme.value(code, encoder.affine);
    }
  return llvm::Error::success();
}
