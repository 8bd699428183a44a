//===- PackBytes.cpp - the layouts of exact products of bytes ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "PackBytes.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/Support/MathExtras.h"
#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace qcc;

namespace {
/// A weight of bytes as `groups` times `outputs` columns of `taps` by `inputs`
/// rows; the strides lead from one to the next.
struct ByteWeight {
  int64_t groups, outputs, taps, inputs;
  int64_t groupStride, outputStride, tapStride, inputStride;

  int64_t blocks() const { return llvm::divideCeil(outputs, kDotColumns); }
  int64_t steps() const { return llvm::divideCeil(inputs, kDotRows); }
};
} // namespace

static bool isTapLayout(StringRef layout) {
  return layout == "tap" || layout == "tap4";
}

/// Sums of each tap behind those of all.
static bool hasTapSums(StringRef layout) {
  StringRef name = layout.take_until([](char c) { return c == ':'; });
  return layout.contains(':') &&
         (name == "pairtaps" || name == "quadtaps" || name == "flattaps");
}

bool qcc::isByteLayout(StringRef layout) {
  if (isTapLayout(layout))
    return true;
  StringRef name = layout.take_until([](char c) { return c == ':'; });
  return name == "dot" || name == "dotfit" || name == "quad" ||
         name == "dot16" || name == "pair" || name == "dot4" ||
         name == "quad4" || name == "flat" || hasTapSums(layout);
}

/// Rows that lie side by side counted through all taps; 0: those of a tap.
static int64_t getFlatRows(StringRef layout) {
  if (layout.starts_with("pair"))
    return 2;
  return layout.starts_with("quad") || layout.starts_with("flat") ? kDotRows
                                                                  : 0;
}

/// Two codes in a byte.
static bool isNibble(StringRef layout) {
  return layout.starts_with("dot4") || layout.starts_with("quad4");
}

/// Codes as kPairsFitAttr says, those of 4 bits anyway.
static bool needsFit(StringRef layout) {
  return layout.starts_with("dotfit") || layout.starts_with("quad");
}

/// Bytes of a stored code.
static int64_t getCodeBytes(StringRef layout) {
  return layout.starts_with("dot16") ? 2 : 1;
}

/// Code `at` of a weight of bytes, of words or of i4 in bytes.
static int16_t readCode(ArrayRef<char> codes, int64_t at, bool isWord,
                        bool isHalf) {
  if (isWord) {
    int16_t word;
    std::memcpy(&word, codes.data() + 2 * at, 2);
    return word;
  }
  int16_t code = int8_t(codes[at]);
  // What a byte of i4 has above its lowest bits is open.
  return isHalf ? int16_t(((code & 15) ^ 8) - 8) : code;
}

/// Writes the code that `dot` or `quad` has at `at` as half a byte.
static void storeNibble(char *codes, int64_t at, int8_t code) {
  int64_t step = at / (2 * kDotStepNibbles), place = at % (2 * kDotStepNibbles);
  char &byte = codes[step * kDotStepNibbles + place % kDotStepNibbles];
  byte = char(byte | (code & 15) << (place < kDotStepNibbles ? 0 : 4));
}

namespace {
/// Codes of one sign of a pair of rows.
class PairSums {
public:
  /// False if with this code, which follows the one before, they exceed
  /// kMaxPairSum.
  bool add(int32_t code, int64_t row) {
    if (row % 2 == 0)
      positive = negative = 0;
    (code > 0 ? positive : negative) += std::abs(code);
    return std::max(positive, negative) <= kMaxPairSum;
  }

private:
  int32_t positive = 0, negative = 0;
};
} // namespace

/// Bytes before the codes of a block.
static int64_t getHeader(StringRef layout, int64_t taps) {
  return kDotHeader * (hasTapSums(layout) ? 1 + taps : 1);
}

/// Product of sizes that are at least 1, none on overflow.
static std::optional<int64_t> multiply(ArrayRef<int64_t> sizes) {
  int64_t product = 1;
  for (int64_t size : sizes)
    if (size < 1 || llvm::MulOverflow(product, size, product))
      return std::nullopt;
  return product;
}

static std::optional<ByteWeight> viewBytes(ArrayRef<int64_t> shape,
                                           StringRef layout, bool transposed) {
  if (!multiply(shape))
    return std::nullopt;
  if (!isTapLayout(layout) && !layout.contains(':')) {
    if (shape.size() != 2)
      return std::nullopt;
    if (transposed)
      return ByteWeight{1, shape[0], 1, shape[1], 0, shape[1], 0, 1};
    return ByteWeight{1, shape[1], 1, shape[0], 0, 1, 0, shape[1]};
  }
  if (shape.size() < 3)
    return std::nullopt;
  int64_t taps = *multiply(shape.drop_front(2)), row = shape[1] * taps;
  if (isTapLayout(layout)) {
    if (shape[1] != 1)
      return std::nullopt;
    return ByteWeight{1, shape[0], taps, 1, 0, row, 1, taps};
  }
  int64_t groups = 0;
  if (layout.split(':').second.getAsInteger(10, groups) || groups < 1 ||
      shape[0] % groups != 0)
    return std::nullopt;
  int64_t outputs = shape[0] / groups;
  return ByteWeight{groups,        outputs, taps, shape[1],
                    outputs * row, row,     1,    taps};
}

RankedTensorType qcc::packedByteType(RankedTensorType weight, StringRef layout,
                                     bool transposed) {
  std::optional<ByteWeight> w =
      viewBytes(weight.getShape(), layout, transposed);
  Type element = weight.getElementType();
  if (!w || !(element.isSignlessInteger(isNibble(layout) ? 4 : 8) ||
              (layout == "tap" && element.isSignlessInteger(16))))
    return {};
  // All that follows fits: nothing is larger than 256 times the weight and its
  // columns.
  if (!multiply({weight.getNumElements(), 64 * kDotHeader}))
    return {};
  MLIRContext *context = weight.getContext();
  if (isTapLayout(layout)) {
    int64_t fours = layout == "tap4" ? llvm::divideCeil(w->taps, kDotRows) : 0;
    return RankedTensorType::get(
        {1 + w->taps + fours, w->blocks() * kDotColumns},
        IntegerType::get(context, 32));
  }
  int64_t together = getFlatRows(layout);
  int64_t codes = together ? llvm::alignTo(w->taps * w->inputs, together)
                           : w->taps * w->steps() * kDotRows;
  int64_t header = getHeader(layout, w->taps);
  int64_t block =
      header + (isNibble(layout) ? codes * kDotColumns / 2
                                 : codes * kDotColumns * getCodeBytes(layout));
  return RankedTensorType::get({w->groups, w->blocks(), block},
                               IntegerType::get(context, 8));
}

LogicalResult qcc::packBytes(ArrayRef<char> in, RankedTensorType weight,
                             StringRef layout, bool transposed,
                             RankedTensorType packed,
                             MutableArrayRef<char> out) {
  std::optional<ByteWeight> w =
      viewBytes(weight.getShape(), layout, transposed);
  int64_t size =
      packed.getNumElements() * getElementBytes(packed.getElementType());
  bool hasWords = weight.getElementType().isInteger(16);
  if (!w || int64_t(in.size()) != weight.getNumElements() * (hasWords + 1) ||
      int64_t(out.size()) != size)
    return failure();
  std::memset(out.data(), 0, out.size());
  bool isTap = isTapLayout(layout), nibbles = isNibble(layout);
  int64_t codeBytes = getCodeBytes(layout), together = getFlatRows(layout);
  int64_t width = w->blocks() * kDotColumns,
          header = getHeader(layout, w->taps),
          block = isTap ? 0 : packed.getDimSize(2);
  for (int64_t g = 0; g < w->groups; ++g)
    for (int64_t o = 0; o < w->outputs; ++o) {
      int64_t first = g * w->groupStride + o * w->outputStride;
      int64_t lane = o % kDotColumns;
      char *target = out.data() + (g * w->blocks() + o / kDotColumns) * block;
      int32_t sum = 0;
      PairSums pair;
      for (int64_t t = 0; t < w->taps; ++t) {
        int32_t before = sum;
        for (int64_t i = 0; i < w->inputs; ++i) {
          int64_t from = first + t * w->tapStride + i * w->inputStride;
          int16_t code = readCode(in, from, hasWords, nibbles);
          sum += code;
          if (isTap) {
            int32_t wide = code;
            std::memcpy(out.data() + ((1 + t) * width + o) * 4, &wide, 4);
            if (layout == "tap4")
              out[size_t(((1 + w->taps + t / kDotRows) * width + o) * 4 +
                         t % kDotRows)] = char(code);
            continue;
          }
          int64_t step = t * w->steps() + i / kDotRows;
          int64_t at = (step * kDotColumns + lane) * kDotRows + i % kDotRows;
          int64_t row = t * w->inputs + i;
          if (together)
            at = (row / together * kDotColumns + lane) * together +
                 row % together;
          if (!pair.add(code, row) && needsFit(layout))
            return failure();
          if (nibbles) {
            storeNibble(target + header, at, int8_t(code));
            continue;
          }
          if (codeBytes == 1) {
            target[header + at] = char(code);
            continue;
          }
          std::memcpy(target + header + 2 * at, &code, 2);
        }
        before = sum - before;
        if (hasTapSums(layout))
          std::memcpy(target + kDotHeader * (1 + t) + lane * 4, &before, 4);
      }
      std::memcpy(isTap ? out.data() + o * 4 : target + lane * 4, &sum, 4);
    }
  return success();
}

bool qcc::pairsFit(ArrayRef<char> codes, RankedTensorType weight,
                   int64_t groups) {
  std::string layout = "pair";
  if (groups)
    layout += ":" + std::to_string(groups);
  std::optional<ByteWeight> w =
      viewBytes(weight.getShape(), layout, /*transposed=*/false);
  if (!w || int64_t(codes.size()) != weight.getNumElements())
    return false;
  for (int64_t column = 0; column < w->groups * w->outputs; ++column) {
    const char *first = codes.data() + column / w->outputs * w->groupStride +
                        column % w->outputs * w->outputStride;
    PairSums pair;
    for (int64_t row = 0; row < w->taps * w->inputs; ++row)
      if (!pair.add(int8_t(first[row / w->inputs * w->tapStride +
                                 row % w->inputs * w->inputStride]),
                    row))
        return false;
  }
  return true;
}
