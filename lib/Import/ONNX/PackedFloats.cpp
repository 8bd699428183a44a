//===- PackedFloats.cpp - com.microsoft's weights of floats -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MatMulBnb4: codes of 4 bits name numbers of a table (bitsandbytes' FP4, or
// NF4), which a scale per block multiplies. Weights are constants, so all of it
// is a constant expression; `qcc.generic` with the table of NF4 is what
// findNormalFloats (Scheme/Products.h) knows again.
//
//===----------------------------------------------------------------------===//
#include "Quantized.h"
#include "Registry.h"
#include "qcc/Support/NormalFloat.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// The sizes of a weight `[N, K]`, whose blocks may reach over its rows.
struct Table {
  int64_t k, n, block;
  bool isNormal;
};

std::optional<Table> readTable(NodeContext &node) {
  constexpr int64_t kLargest = int64_t(1) << 30;
  int64_t kind = node.attrInt("quant_type", -1), block = readBlock(node, 0);
  Table table = {node.attrInt("K", 0), node.attrInt("N", 0), block, kind == 1};
  if (!block)
    return std::nullopt;
  if (kind != 0 && kind != 1) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected quant_type 0 (FP4) or 1 (NF4), but got " +
                          Twine(kind));
    return std::nullopt;
  }
  if (table.k < 1 || table.n < 1 || table.k > kLargest || table.n > kLargest) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected attributes 'K' and 'N' from 1 to 2^30, but "
                      "got " +
                          Twine(table.k) + " and " + Twine(table.n));
    return std::nullopt;
  }
  return table;
}

/// The numbers that codes stand for. Those of FP4 are a sign, two bits of
/// exponent and one of mantissa, in units of the largest, 12.
Value makeNumbers(NodeContext &node, bool isNormal) {
  SmallVector<float> numbers(ArrayRef<float>{kNormalFloats});
  if (!isNormal) {
    constexpr float kMagnitudes[] = {0, 0.0625, 8, 12, 4, 6, 2, 3};
    for (unsigned code = 0; code < 16; ++code)
      numbers[code] = kMagnitudes[code % 8] / (code < 8 ? 12.0f : -12.0f);
  }
  auto type = RankedTensorType::get({16}, node.f32());
  return node.constant(DenseElementsAttr::get(type, ArrayRef(numbers)));
}

/// The codes `[N, K]` in bytes, first in the high bits. The last byte may have
/// one code only.
Value unpackHighFirst(NodeContext &node, const Table &table) {
  int64_t count = table.n * table.k, numBytes = llvm::divideCeil(count, 2);
  Value bytes = node.reshape(node.in(1), node.sizes({numBytes}));
  if (!bytes)
    return {};
  Type type = IntegerType::get(node.b.getContext(), 4, IntegerType::Unsigned);
  Value pairs = node.generic(
      node.sizes({numBytes, 2}), type, bytes, node.makeMap(2, node.d(0)), {},
      [&](Body &body, ValueRange x) {
        Type i8 = body.b.getI8Type();
        Value place =
            body.sub(body.integer(1, i8), body.fromIndex(body.dim(1), i8));
        Value shift = body.mul(place, body.integer(4, i8));
        return Value(arith::TruncIOp::create(
            body.b, getScalarType(type),
            arith::ShRUIOp::create(body.b, x[0], shift)));
      });
  Value flat = node.reshape(pairs, node.sizes({numBytes * 2}));
  if (count % 2 != 0)
    flat = node.slice(flat, 0, node.size(0), node.size(count));
  return node.reshape(flat, node.sizes({table.n, table.k}));
}

/// The weight `[N, K]` in f32, each number rounded once.
Value readWeight(NodeContext &node, const Table &table) {
  auto [k, n, block, isNormal] = table;
  Value codes = unpackHighFirst(node, table);
  // Blocks that end where rows do are those of a matrix.
  bool hasWhole = k % block == 0;
  Dims dims =
      hasWhole
          ? node.sizes({n, k / block})
          : node.sizes({static_cast<int64_t>(llvm::divideCeil(n * k, block))});
  Value scales = node.cast(node.reshape(node.in(2), dims), node.f32());
  if (!codes || !scales)
    return {};
  AffineExpr row = node.d(0), column = node.d(1);
  AffineMap blocks = hasWhole
                         ? node.makeMap(2, {row, column.floorDiv(block)})
                         : node.makeMap(2, (row * k + column).floorDiv(block));
  return node.generic(
      node.sizes({n, k}), node.f32(), {codes, scales},
      {AffineMap::getMultiDimIdentityMap(2, node.b.getContext()), blocks},
      makeNumbers(node, isNormal), [&](Body &body, ValueRange x) {
        Value code = body.convert(x[0], node.elem(codes), body.b.getI32Type());
        Value number = body.read(x[2], body.toIndex(code));
        return body.mul(number, x[1]);
      });
}

/// A, the packed weight, the largest magnitude of each block.
LogicalResult convertMatMulBnb4(NodeContext &node) {
  std::optional<Table> table = readTable(node);
  if (!table)
    return failure();
  Type type = node.inElem(0);
  if (!isa<FloatType>(type) || type.isF64())
    return node.refuse(Diag::UnsupportedType,
                       "expected a float tensor of 32 bits or less");
  if (!node.inElem(1).isUnsignedInteger(8))
    return node.refuse(Diag::UnsupportedType, "expected a weight of uint8");
  if (node.inElem(2) != type)
    return node.refuse(Diag::UnsupportedType,
                       "expected scales of the input's type");
  Value weight = readWeight(node, *table);
  if (!weight)
    return failure();
  bool isTurned = node.attrInt("transB", 1) != 0;
  Value product = node.matmul(node.widen(node.in(0)), weight, false, isTurned);
  return node.set(0, node.cast(product, type));
}

} // namespace

void registerPackedFloats(Registry &registry) {
  registry.add(kMicrosoftDomain, {{"MatMulBnb4", 1, 3, 3, convertMatMulBnb4}});
}

} // namespace qcc::onnx_import
