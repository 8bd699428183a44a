//===- QGemmTiles.cpp - tiles of products of codes --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ByteRows.h"
#include "Decoder.h"
#include "QGemm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// The codes of a group of a block.
Value QGemm::getCodes(Value block, Value group) {
  Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                     b.idx(layout.groupBytes));
  return b.elementPointer(weight, i8, b.add(base, b.idx(layout.codeOffset)));
}

void QGemm::emitTile(const Place &at) {
  SmallVector<Value> totals = zeros(b, at.rows * at.blocks, kColumns);
  int64_t group = layout.groups == 1 ? k : layout.groupK, whole = k / group,
          left = k % group;
  if (whole == 1)
    totals = emitGroup(at, b.idx(0), group, totals);
  else
    totals = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(1), totals,
        [&](Value index, ArrayRef<Value> carried) {
          return emitGroup(at, index, group, carried);
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (left)
    totals = emitGroup(at, b.idx(whole), left, totals);
  emitStores(at, totals);
}

/// Adds the scaled sums of one group, of `rows` rows, to the totals.
SmallVector<Value> QGemm::emitGroup(const Place &at, Value group, int64_t rows,
                                    ArrayRef<Value> totals) {
  SmallVector<Value> result(totals);
  auto ints = VectorType::get(kColumns, i32);
  auto floats = VectorType::get(kColumns, f32);
  if (at.rows == 1 && layout.groups > 1)
    prefetchActivations(at.row, group);
  Sums partial = emitGroupSums(at, group, rows);
  for (unsigned v = 0; v < at.blocks; ++v) {
    Value block = b.add(at.block, b.idx(v));
    Value base = b.mul(b.add(b.mul(block, b.idx(layout.groups)), group),
                       b.idx(layout.groupBytes));
    Value header = b.elementPointer(weight, i8, base);
    Type scaleType = scheme.hasHalfScales() ? Type(b.getF16Type()) : f32;
    Value columnScales = b.load(header, scaleType, b.idx(0), kColumns);
    if (scheme.hasHalfScales())
      columnScales = arith::ExtFOp::create(b, floats, columnScales);
    if (layout.groups > 1 && !at.panel)
      prefetchCodes(at, header, b.idx(0));
    std::optional<int32_t> common = scheme.getZero();
    Value zero;
    if (!common)
      zero = arith::ExtUIOp::create(
          b, ints, b.load(header, i8, b.idx(layout.zeroOffset), kColumns));
    for (unsigned r = 0; r < at.rows; ++r) {
      Value rowGroup =
          b.add(b.mul(b.add(at.row, b.idx(r)), b.idx(layout.groups)), group);
      Value rowSum = b.splat(b.load(sums, i32, rowGroup), kColumns);
      Value rowScale = b.splat(b.load(scales, f32, rowGroup), kColumns);
      Value offset;
      if (!common)
        offset = arith::MulIOp::create(b, zero, rowSum);
      else if (llvm::isPowerOf2_32(*common))
        offset = shiftSplat(b, rowSum, llvm::Log2_32(*common));
      else
        offset = arith::MulIOp::create(b, b.constantInt(*common, ints), rowSum);
      Value sum = dot.finish(b, partial[r * at.blocks + v]);
      Value exact = arith::SubIOp::create(b, sum, offset);
      Value number = arith::SIToFPOp::create(b, floats, exact);
      Value scale = arith::MulFOp::create(b, columnScales, rowScale);
      Value &total = result[r * at.blocks + v];
      total = layout.groups == 1
                  ? arith::MulFOp::create(b, number, scale).getResult()
                  : b.fma(number, scale, total);
    }
  }
  return result;
}

/// A tile of one block with its sorted panel: what emitGroup does with the only
/// group.
void QGemm::emitPairTile(const Place &at, PairPanel &pairs) {
  Type scaleType = scheme.hasHalfScales() ? Type(b.getF16Type()) : f32;
  auto floats = VectorType::get(kColumns, f32);
  Value header =
      b.elementPointer(weight, i8, b.mul(at.block, b.idx(layout.groupBytes)));
  Value columnScales = b.load(header, scaleType, b.idx(0), kColumns);
  if (scheme.hasHalfScales())
    columnScales = arith::ExtFOp::create(b, floats, columnScales);
  SmallVector<Value> totals;
  for (auto [r, sum] : llvm::enumerate(pairs.emitSums(at.row, at.rows))) {
    Value rowScale =
        b.splat(b.load(scales, f32, b.add(at.row, b.idx(r))), kColumns);
    Value number = arith::SIToFPOp::create(b, floats, sum);
    Value scale = arith::MulFOp::create(b, columnScales, rowScale);
    totals.push_back(arith::MulFOp::create(b, number, scale));
  }
  emitStores(at, totals);
}

/// The widened sums of the first `rows` rows of a group.
QGemm::Sums QGemm::emitGroupSums(const Place &at, Value group, int64_t rows) {
  int64_t chunk = std::min(dot.getChunkRows(), rows), whole = rows / chunk,
          left = rows % chunk;
  unsigned width = dot.getNumValues();
  Sums result;
  auto add = [&](MutableArrayRef<Value> total, ArrayRef<Value> part) {
    for (auto [sum, value] : llvm::zip_equal(total, part))
      sum = sum ? Value(arith::AddIOp::create(b, sum, value)) : value;
  };
  SmallVector<Value> flat(size_t(at.rows) * at.blocks * width);
  int64_t unrolled = whole <= kUnrolledChunks ? whole : 1;
  for (int64_t c = 0; c < unrolled; ++c)
    add(flat, emitChunk(at, {group, b.idx(c * chunk), chunk}));
  if (unrolled < whole)
    flat = b.forLoop(
        b.idx(unrolled), b.idx(whole), b.idx(1), flat,
        [&](Value index, ArrayRef<Value> carried) {
          SmallVector<Value> next(carried);
          add(next, emitChunk(at, {group, b.mul(index, b.idx(chunk)), chunk}));
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  if (left)
    add(flat, emitChunk(at, {group, b.idx(whole * chunk), left}));
  for (size_t i = 0; i < size_t(at.rows) * at.blocks; ++i)
    result.emplace_back(ArrayRef(flat).slice(i * width, width));
  return result;
}

/// Units in turn that are summed apart: the products of one row with one block
/// would wait for each other.
unsigned QGemm::getWays(const Place &at) const {
  return at.rows == 1 && at.blocks == 1 ? 4 : 1;
}

/// Where the units of some rows lie, of each block: codes, or the panel.
SmallVector<Value> QGemm::getUnits(const Place &at, const Range &range) {
  Value firstUnit = b.divFloor(range.skip, b.idx(unit.k));
  SmallVector<Value> pointers;
  for (unsigned v = 0; v < at.blocks; ++v) {
    if (!at.panel) {
      pointers.push_back(
          b.elementPointer(getCodes(b.add(at.block, b.idx(v)), range.group), i8,
                           b.mul(firstUnit, b.idx(unit.bytes))));
      continue;
    }
    Value row = b.add(b.mul(b.add(range.group, b.idx(v * layout.groups)),
                            b.idx(layout.groupK)),
                      range.skip);
    pointers.push_back(b.elementPointer(
        at.panel, i8, b.mul(b.divFloor(row, b.idx(4)), b.idx(stepBytes))));
  }
  return pointers;
}

/// The widened sums of some rows, [row][block][value]: a loop over whole units,
/// and the rows that are left where K is no multiple of a unit.
SmallVector<Value> QGemm::emitChunk(const Place &at, const Range &range) {
  unsigned width = dot.getNumValues(), ways = getWays(at);
  size_t count = size_t(at.rows) * at.blocks * width;
  SmallVector<Value> pointers = getUnits(at, range);
  int64_t whole = range.rows / unit.k, left = range.rows % unit.k;
  Value firstK = b.add(b.mul(range.group, b.idx(layout.groupK)), range.skip);
  SmallVector<Value> flat(ways * count);
  auto emitSome = [&](Value first, unsigned units, int64_t live,
                      MutableArrayRef<Value> into) {
    for (unsigned u = 0; u < units; ++u) {
      Value index = b.add(first, b.idx(u));
      emitUnit(at, pointers, index, b.add(firstK, b.mul(index, b.idx(unit.k))),
               live, into.slice(u % ways * count, count));
    }
  };
  int64_t unrolled = at.rows == 1 ? kUnrolledOfOneRow : kUnrolledUnits;
  int64_t looped = whole <= unrolled ? 0 : whole / ways * ways;
  if (looped) {
    for (size_t i = 0; i < flat.size(); i += width)
      llvm::copy(dot.zero(b), flat.begin() + i);
    flat = b.forLoop(
        b.idx(0), b.idx(looped), b.idx(ways), flat,
        [&](Value first, ArrayRef<Value> carried) {
          SmallVector<Value> next(carried);
          emitSome(first, ways, unit.k, next);
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  }
  emitSome(b.idx(looped), unsigned(whole - looped), unit.k, flat);
  if (left)
    emitSome(b.idx(whole), 1, left, flat);
  // Sums of codes are exact, in any order.
  for (size_t i = count; i < flat.size(); ++i)
    if (flat[i])
      flat[i % count] = arith::AddIOp::create(b, flat[i % count], flat[i]);
  SmallVector<Value> result;
  for (size_t i = 0; i < count; i += width)
    llvm::append_range(result, dot.widen(b, ArrayRef(flat).slice(i, width)));
  return result;
}

/// Brings what follows the codes at `offset` nearer. One row reads them as fast
/// as memory gives them: L1 a little ahead is what keeps most reads under way.
/// Two pages: fewer were up to 15 % slower on Zen 4, others the same.
void QGemm::prefetchCodes(const Place &at, Value pointer, Value offset) {
  constexpr int64_t kSoon = 8192;
  if (at.rows == 1)
    prefetchToL1(b, pointer, b.add(offset, b.idx(kSoon)));
  else
    prefetchToL2(b, pointer, b.add(offset, b.idx(at.ahead)));
}

/// Brings a group's activations, a little ahead, back to L1: where a block's
/// codes fill it, they push out what the next block multiplies with.
void QGemm::prefetchActivations(Value row, Value group) {
  constexpr int64_t kSoon = 256;
  Value first = b.add(b.mul(row, b.idx(k)), b.mul(group, b.idx(layout.groupK)));
  for (int64_t line = 0; line < layout.groupK; line += 64)
    prefetchToL1(b, codes, b.add(first, b.idx(kSoon + line)));
}

/// The products of the first `liveK` rows of a unit.
void QGemm::emitUnit(const Place &at, ArrayRef<Value> pointers, Value index,
                     Value firstK, int64_t liveK, MutableArrayRef<Value> flat) {
  unsigned steps = llvm::divideCeil(liveK, 4);
  std::vector<SmallVector<Value>> decoded;
  for (Value pointer : pointers) {
    if (at.panel)
      break;
    Value offset = b.mul(index, b.idx(unit.bytes));
    prefetchCodes(at, pointer, offset);
    Value bytes = b.load(pointer, i8, offset, unit.bytes);
    Decoder decoder(b);
    decoded.push_back(scheme.decode(decoder, bytes));
  }
  auto getPart = [&](unsigned v, unsigned s, unsigned part) -> Value {
    if (!at.panel)
      return dot.prepareCodes(b, decoded[v][s], part);
    Value step = b.add(b.mul(index, b.idx(unit.k / 4)), b.idx(s));
    return dot.loadPart(
        b, b.elementPointer(pointers[v], i8, b.mul(step, b.idx(stepBytes))),
        part);
  };
  for (unsigned s = 0; s < steps; ++s) {
    SmallVector<Value> words;
    for (unsigned r = 0; r < at.rows; ++r)
      words.push_back(dot.prepareActivation(
          b,
          loadActivation(b.add(at.row, b.idx(r)), b.add(firstK, b.idx(4 * s)),
                         std::min<int64_t>(4, liveK - 4 * s))));
    for (unsigned v = 0; v < at.blocks; ++v)
      for (unsigned part = 0; part < dot.getNumValues(); ++part) {
        Value factor = getPart(v, s, part);
        for (unsigned r = 0; r < at.rows; ++r)
          dot.stepPart(b, flat[(r * at.blocks + v) * dot.getNumValues() + part],
                       factor, words[r]);
      }
  }
}

/// Activations k to k + 3 of a row as the bytes of an i32; only `live` of them
/// are there, the others are zero.
Value QGemm::loadActivation(Value row, Value firstK, int64_t live) {
  return loadWord(b, b.elementPointer(codes, i8, b.mul(row, b.idx(k))), firstK,
                  live);
}

void QGemm::emitStores(const Place &at, ArrayRef<Value> totals) {
  SmallVector<AffineExpr> leading = getDims(op.getResult().getType());
  leading.pop_back();
  for (unsigned r = 0; r < at.rows; ++r) {
    Value row = b.add(at.row, b.idx(r));
    SmallVector<Value> indices = splitIndex(b, row, leading);
    indices.push_back({});
    for (unsigned v = 0; v < at.blocks; ++v) {
      Value column = b.mul(b.add(at.block, b.idx(v)), b.idx(kSchemeColumns));
      indices.back() = column;
      Value live = n % kSchemeColumns
                       ? b.minIdx(b.sub(b.idx(n), column), b.idx(kColumns))
                       : Value();
      if (failed(storeWithEpilogue(b, epilogue, totals[r * at.blocks + v],
                                   indices, kColumns, live, out, stored,
                                   b.add(b.mul(row, b.idx(n)), column))))
        status = failure();
    }
  }
}
