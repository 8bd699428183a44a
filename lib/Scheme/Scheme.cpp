//===- Scheme.cpp - layout, encoding and registry of schemes ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Scheme.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace qcc;

Scheme::~Scheme() = default;

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

DecodeBuilder::~DecodeBuilder() = default;

Value DecodeBuilder::splat(VectorType type, double value) {
  Type element = type.getElementType();
  Attribute number = isa<FloatType>(element)
                         ? Attribute(getFloatAttr(element, value))
                         : Attribute(getIntegerAttr(element, int64_t(value)));
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(type, number));
}

/// A value per index, halved by one bit of it after the other.
Value DecodeBuilder::lookup(ArrayRef<float> table, Value indices) {
  auto type = cast<VectorType>(indices.getType());
  auto floats = type.clone(getF32Type());
  SmallVector<Value> values;
  for (float number : table)
    values.push_back(splat(floats, number));
  for (int64_t bit = 1; values.size() > 1; bit *= 2) {
    Value isOdd = arith::CmpIOp::create(
        *this, arith::CmpIPredicate::ne,
        arith::AndIOp::create(*this, indices, splat(type, double(bit))),
        splat(type, 0));
    for (size_t i = 0; i < values.size() / 2; ++i)
      values[i] = arith::SelectOp::create(*this, isOdd, values[2 * i + 1],
                                          values[2 * i]);
    values.resize(values.size() / 2);
  }
  return values[0];
}

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
  if (k < 1 || n < 1 || k > (int64_t(1) << 31) || n > (int64_t(1) << 31))
    return std::nullopt;
  if (group >= k)
    group = 0;
  EncodedLayout layout;
  layout.blocks = llvm::divideCeil(n, kSchemeColumns);
  layout.groups = group ? llvm::divideCeil(k, group) : 1;
  layout.groupK = group ? group : int64_t(llvm::alignTo(k, kChannelPadding));
  layout.zeroOffset = kSchemeColumns * (scheme.hasHalfScales() ? 2 : 4);
  layout.codeOffset =
      layout.zeroOffset + (scheme.getZero() ? 0 : kSchemeColumns);
  layout.groupBytes = layout.codeOffset + layout.groupK / unit.k * unit.bytes;
  if (llvm::MulOverflow(layout.groups, layout.groupBytes, layout.totalBytes) ||
      llvm::MulOverflow(layout.totalBytes, layout.blocks, layout.totalBytes))
    return std::nullopt;
  return layout;
}

double qcc::getStoredBits(const Scheme &scheme) {
  CodeUnit unit = scheme.getUnit();
  double bits = unit.bytes * 8.0 / (unit.k * double(kSchemeColumns));
  int64_t group = scheme.getGroup();
  if (!group)
    return bits;
  // One row more than a group, so that there are two.
  std::optional<EncodedLayout> layout =
      getEncodedLayout(scheme, group + 1, kSchemeColumns);
  return layout
             ? double(layout->groupBytes) * 8 / double(group * kSchemeColumns)
             : bits;
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
