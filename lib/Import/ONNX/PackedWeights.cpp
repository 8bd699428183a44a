//===- PackedWeights.cpp - com.microsoft's weights of few bits --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MatMulNBits and GatherBlockQuantized. Codes are unpacked to tensors of their
// width and dequantized in blocks; both are constant expressions, as weights
// are constants.
//
//===----------------------------------------------------------------------===//
#include "Quantized.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

static Type getCodeType(NodeContext &node, int64_t bits) {
  return IntegerType::get(node.b.getContext(), static_cast<unsigned>(bits),
                          IntegerType::Unsigned);
}

Value unpackCodes(NodeContext &node, Value bytes, int64_t bits) {
  if (!bytes || bits == 8)
    return bytes;
  int64_t perByte = 8 / bits;
  Dims dims = node.dims(bytes), split = dims, joined = dims;
  auto rank = static_cast<unsigned>(dims.size());
  split.push_back(node.size(perByte));
  joined.back() = simplifyDim(joined.back() * perByte);
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < rank; ++i)
    reads.push_back(node.d(i));
  Type type = getCodeType(node, bits);
  Value codes =
      node.generic(split, type, bytes, node.makeMap(rank + 1, reads), {},
                   [&](Body &body, ValueRange x) {
                     Type i8 = body.b.getI8Type();
                     Value place = body.fromIndex(body.dim(rank), i8);
                     Value shift = body.mul(place, body.integer(bits, i8));
                     return Value(arith::TruncIOp::create(
                         body.b, getScalarType(type),
                         arith::ShRUIOp::create(body.b, x[0], shift)));
                   });
  return node.reshape(codes, joined);
}

int64_t readBlock(NodeContext &node, int64_t defaultValue) {
  int64_t block = node.attrInt("block_size", defaultValue);
  if (block >= 16 && block <= (1 << 24) && llvm::isPowerOf2_64(block))
    return block;
  (void)node.refuse(Diag::BadAttribute,
                    "expected a block_size that is a power of two of 16 or "
                    "more, but got " +
                        Twine(block));
  return 0;
}

namespace {

/// Bits of a code, 4 if nothing is stated.
std::optional<int64_t> readBits(NodeContext &node) {
  int64_t bits = node.attrInt("bits", 4);
  if (bits == 2 || bits == 4 || bits == 8)
    return bits;
  (void)node.refuse(Diag::UnsupportedForm,
                    "expected 2, 4 or 8 bits, but got " + Twine(bits));
  return std::nullopt;
}

/// Columns of a `[rows, blocks]` tensor by a list of indices, one per element.
Value pickColumns(NodeContext &node, Value table, Value indices) {
  if (!table || node.rank(table) == 0)
    return table;
  Dims dims = node.dims(table);
  return node.generic({dims[0], node.dims(indices)[0]}, node.elem(table),
                      indices, node.makeMap(2, node.d(1)), table,
                      [&](Body &body, ValueRange x) {
                        Value column = body.clampIndex(body.toIndex(x[0]),
                                                       body.extent(dims[1]));
                        return body.read(x[1], {body.dim(0), column});
                      });
}

/// The sizes of a product with a packed weight.
struct Packed {
  int64_t k, n, bits, block, numBlocks;
};

std::optional<Packed> readPacked(NodeContext &node) {
  std::optional<int64_t> bits = readBits(node);
  int64_t block = readBlock(node, 0);
  Packed packed = {node.attrInt("K", 0), node.attrInt("N", 0), bits.value_or(0),
                   block, 0};
  if (node.getProblem())
    return std::nullopt;
  constexpr int64_t kLargest = int64_t(1) << 31;
  if (packed.k < 1 || packed.n < 1 || packed.k > kLargest ||
      packed.n > kLargest) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected attributes 'K' and 'N' of 1 or more");
    return std::nullopt;
  }
  if (node.attrInt("weight_prepacked", 0)) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "weights packed for one device are not supported");
    return std::nullopt;
  }
  packed.numBlocks = llvm::divideCeil(packed.k, block);
  return packed;
}

/// The zero points `[N, blocks]`: packed as the weight is, bytes by name of u8,
/// or floats; the middle of the range if there are none.
Value readZeros(NodeContext &node, const Packed &packed) {
  Type type = getCodeType(node, packed.bits);
  if (!node.has(3))
    return node.scalar(std::ldexp(1.0, static_cast<int>(packed.bits) - 1),
                       type);
  if (!node.inElem(3).isUnsignedInteger(8)) {
    if (isa<FloatType>(node.inElem(3)))
      return node.reshape(node.in(3), node.sizes({packed.n, packed.numBlocks}));
    (void)node.refuse(Diag::UnsupportedType,
                      "expected zero points of uint8 or floats");
    return {};
  }
  int64_t bytes = llvm::divideCeil(packed.numBlocks * packed.bits, 8);
  Value rows = node.reshape(node.in(3), node.sizes({packed.n, bytes}));
  return node.slice(unpackCodes(node, rows, packed.bits), 1, node.size(0),
                    node.size(packed.numBlocks));
}

/// A, the packed weight `[N, blocks, bytes]`, scales, zero points, groups,
/// bias.
LogicalResult convertMatMulNBits(NodeContext &node) {
  std::optional<Packed> packed = readPacked(node);
  if (!packed)
    return failure();
  if (!node.inElem(1).isUnsignedInteger(8))
    return node.refuse(Diag::UnsupportedType, "expected a weight of uint8");
  auto [k, n, bits, block, numBlocks] = *packed;
  Value bytes =
      node.reshape(node.in(1), node.sizes({n, numBlocks * (block * bits / 8)}));
  Value codes =
      node.slice(unpackCodes(node, bytes, bits), 1, node.size(0), node.size(k));
  Value scales = node.reshape(node.in(2), node.sizes({n, numBlocks}));
  Value zeros = readZeros(node, *packed);
  if (!codes || !scales || !zeros)
    return failure();
  Granularity granularity = {1, block};
  if (node.has(4)) {
    // The block of each row, where rows are out of order.
    if (!isa<IntegerType>(node.inElem(4)) || node.inRank(4) != 1 ||
        !node.requireEqual(node.inDims(4)[0], node.size(k),
                           "groups and rows of the weight"))
      return node.refuse(Diag::BadShape, "expected a group per row");
    scales = pickColumns(node, scales, node.in(4));
    zeros = pickColumns(node, zeros, node.in(4));
    granularity.block = 1;
  }
  Value weight =
      dequantize(node, codes, scales, zeros, node.f32(), granularity);
  Type type = node.inElem(0);
  if (!isa<FloatType>(type) || type.isF64())
    return node.refuse(Diag::UnsupportedType,
                       "expected a float tensor of 32 bits or less");
  if (constexpr int64_t inInt8 = 4;
      bits == 4 && node.attrInt("accuracy_level", 0) == inInt8)
    node.b.getInsertionBlock()
        ->getParentOp()
        ->getParentOfType<ModuleOp>()
        ->setAttr(kAllowsInt8Attr, node.b.getUnitAttr());
  Value product =
      node.matmul(node.widen(node.in(0)), weight, false, /*transB=*/true);
  if (node.has(5))
    product = node.add(product, node.widen(node.in(5)));
  return node.set(0, node.cast(product, type));
}

/// Elements of `data` at `indices` of an axis.
Value gatherAlong(NodeContext &node, Value data, Value indices, int64_t axis) {
  if (!data)
    return data;
  Dims dims = node.dims(data), picked = node.dims(indices),
       result(ArrayRef(dims).take_front(axis));
  auto numPicked = static_cast<unsigned>(picked.size());
  llvm::append_range(result, picked);
  llvm::append_range(result, ArrayRef(dims).drop_front(axis + 1));
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < numPicked; ++i)
    reads.push_back(node.d(static_cast<unsigned>(axis) + i));
  return node.generic(
      result, node.elem(data), indices,
      node.makeMap(static_cast<unsigned>(result.size()), reads), data,
      [&](Body &body, ValueRange x) {
        Value size = body.extent(dims[axis]), index = body.toIndex(x[0]);
        index = body.select(body.lt(index, body.index(0)),
                            body.add(index, size), index);
        SmallVector<Value> at;
        for (unsigned i = 0; i < dims.size(); ++i) {
          bool after = i > static_cast<unsigned>(axis);
          at.push_back(i == static_cast<unsigned>(axis)
                           ? body.clampIndex(index, size)
                           : body.dim(after ? i + numPicked - 1 : i));
        }
        return body.read(x[1], at, /*widenResult=*/false);
      });
}

/// Data, indices, scales, zero points: the rows that the indices name,
/// dequantized. An index that names none gives zeros.
LogicalResult convertGatherBlockQuantized(NodeContext &node) {
  Value data = node.in(0), indices = node.in(1), scales = node.in(2),
        zeros = node.in(3);
  int64_t rank = node.inRank(0);
  std::optional<int64_t> gatherAxis =
      node.normalizeAxis(node.attrInt("gather_axis", 0), rank);
  std::optional<int64_t> quantizeAxis =
      node.normalizeAxis(node.attrInt("quantize_axis", 1), rank);
  int64_t block = readBlock(node, 128);
  std::optional<int64_t> bits = readBits(node);
  if (!gatherAxis || !quantizeAxis || !block || !bits)
    return failure();
  if (*gatherAxis == *quantizeAxis)
    return node.refuse(Diag::UnsupportedForm,
                       "expected a gather_axis that is not the quantize_axis");
  if (!isa<IntegerType>(node.inElem(0)) || !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::UnsupportedType,
                       "expected data and indices of integers");
  if (node.inElem(0).isUnsignedInteger(8)) {
    data = unpackCodes(node, data, *bits);
    zeros = zeros ? unpackCodes(node, zeros, *bits)
                  : node.scalar(std::ldexp(1.0, static_cast<int>(*bits) - 1),
                                getCodeType(node, *bits));
    // Blocks that do not fill a byte leave codes that are none.
    if (zeros && node.rank(zeros) == rank && node.rank(scales) == rank)
      zeros = node.slice(zeros, rank - 1, node.size(0),
                         node.dims(scales)[rank - 1]);
  }
  if (node.rank(scales) != rank ||
      (zeros && node.rank(zeros) != 0 && node.rank(zeros) != rank))
    return node.refuse(Diag::BadShape,
                       "expected scales and zero points of the data's rank");
  // What is not there must not be read as something else.
  for (Value table : {scales, zeros})
    if (table && node.rank(table) != 0 &&
        !node.requireEqual(node.dims(table)[*gatherAxis],
                           node.dims(data)[*gatherAxis],
                           "scales and the axis that is gathered"))
      return failure();
  data = gatherAlong(node, data, indices, *gatherAxis);
  scales = gatherAlong(node, scales, indices, *gatherAxis);
  if (zeros && node.rank(zeros) != 0)
    zeros = gatherAlong(node, zeros, indices, *gatherAxis);
  int64_t axis = *quantizeAxis < *gatherAxis
                     ? *quantizeAxis
                     : *quantizeAxis + node.rank(indices) - 1;
  Value real =
      dequantize(node, data, scales, zeros, node.inElem(2), {axis, block});
  if (!real)
    return failure();
  Dims dims = node.dims(real);
  auto resultRank = static_cast<unsigned>(dims.size());
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < node.rank(indices); ++i)
    reads.push_back(node.d(static_cast<unsigned>(*gatherAxis) + i));
  AffineExpr size = node.inDims(0)[*gatherAxis];
  return node.set(
      0,
      node.generic(
          dims, node.elem(real), {real, indices},
          {AffineMap::getMultiDimIdentityMap(resultRank, node.b.getContext()),
           node.makeMap(resultRank, reads)},
          {}, [&](Body &body, ValueRange x) {
            Value index = body.toIndex(x[1]), extent = body.extent(size);
            Value inside =
                body.both(body.lt(index, extent),
                          body.le(body.sub(body.index(0), extent), index));
            return body.select(inside, x[0], body.number(0, x[0].getType()));
          }));
}

} // namespace

void registerPackedWeights(Registry &registry) {
  registry.add(
      kMicrosoftDomain,
      {
          {"MatMulNBits", 1, 3, 6, convertMatMulNBits,
           "3, 5, 6 and 7 bits, weights packed for a device"},
          {"GatherBlockQuantized", 1, 3, 4, convertGatherBlockQuantized,
           "float8 and float4 data, a gather_axis that is the "
           "quantize_axis"},
      });
}

} // namespace qcc::onnx_import
