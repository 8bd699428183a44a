//===- CopiedRows.cpp - rows of a picture with their padding ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CopiedRows.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Most floats of a plane of a copied row, and vectors (of kMostLanes) of one
/// that are copied without a loop.
static constexpr int64_t kMaxPlane = 1024, kMaxRowVectors = 32;

std::optional<CopiedRows> CopiedRows::get(const ConvShape &shape,
                                          int64_t taskRows, int64_t maxBytes) {
  int64_t stride = shape.strideWidth;
  constexpr int64_t mostReach = 256;
  std::optional<int64_t> width = getConstantSize(shape.outWidth);
  if (stride > 2 || (width && *width <= 0) || shape.padLeft < 0 ||
      shape.padLeft > mostReach || shape.dilationWidth > mostReach ||
      shape.dilationHeight > mostReach || shape.strideHeight > mostReach)
    return std::nullopt;
  CopiedRows copy;
  copy.width = shape.outWidth;
  copy.reach = (shape.kernelWidth - 1) * shape.dilationWidth / stride + 1;
  copy.rows = (taskRows - 1) * shape.strideHeight +
              (shape.kernelHeight - 1) * shape.dilationHeight + 1;
  copy.planes = stride;
  int64_t most = std::min(kMaxPlane, maxBytes / 4 / (copy.rows * stride)) /
                 kMostLanes * kMostLanes;
  // Rows that are a multiple of a page apart would share a few sets of L1.
  copy.plane = most - kMostLanes;
  if (width && getConstantSize(shape.inWidth)) {
    int64_t needed = llvm::alignTo(
        llvm::alignTo(*width, kMostLanes) + copy.reach, kMostLanes);
    if (needed > most)
      return std::nullopt;
    copy.plane = needed;
    copy.isUnrolled = needed <= kMaxRowVectors * kMostLanes;
  }
  return copy.plane > 0 ? std::optional(copy) : std::nullopt;
}

void RowCopier::copyRows(Value base, Value firstRow, Value endRow, Value to) {
  Value top =
      b.sub(b.mul(firstRow, b.idx(shape.strideHeight)), b.idx(shape.padTop));
  int64_t reach = (shape.kernelHeight - 1) * shape.dilationHeight + 1;
  Value count = b.add(b.mul(b.sub(b.sub(endRow, firstRow), b.idx(1)),
                            b.idx(shape.strideHeight)),
                      b.idx(reach));
  b.forLoop(
      b.idx(0), count, b.idx(1),
      [&](Value r) {
        copyRow(base, b.add(top, r),
                b.elementPointer(to, b.getF32Type(),
                                 b.mul(r, b.idx(copy.getRowFloats()))));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// A row of the input, which is 0 outside of the image.
void RowCopier::copyRow(Value base, Value y, Value to) {
  Type f32 = b.getF32Type();
  Value isInside = arith::AndIOp::create(b, b.less(b.idx(-1), y),
                                         b.less(y, b.size(shape.inHeight)));
  auto branch = scf::IfOp::create(b, isInside, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  auto store = [&](Value vector, int64_t plane, Value at) {
    b.store(vector, to, f32, b.add(b.idx(plane * copy.plane), at));
  };
  int64_t stride = copy.planes;
  b.setInsertionPointToStart(branch.thenBlock());
  Value from = b.elementPointer(base, f32, b.mul(y, b.size(shape.inWidth)));
  forColumns([&](Value at) {
    SmallVector<Value> columns = loadColumns(
        from, b.sub(b.mul(at, b.idx(stride)), b.idx(shape.padLeft)));
    if (stride == 1)
      return store(columns[0], 0, at);
    SmallVector<int64_t> even, odd;
    for (int64_t i = 0; i < int64_t(lanes); ++i) {
      even.push_back(2 * i);
      odd.push_back(2 * i + 1);
    }
    for (auto [plane, order] : {std::pair(0, even), std::pair(1, odd)})
      store(vector::ShuffleOp::create(b, columns[0], columns[1], order), plane,
            at);
  });
  b.setInsertionPointToStart(branch.elseBlock());
  Value zero = zeros(b, 1, lanes)[0];
  forColumns([&](Value at) {
    for (int64_t plane = 0; plane < stride; ++plane)
      store(zero, plane, at);
  });
}

/// Vectors of what a row's copy holds: one after the other where the width is
/// known, so that most need no mask.
void RowCopier::forColumns(function_ref<void(Value at)> body) {
  if (!copy.isUnrolled) {
    b.forLoop(b.idx(0), b.size(copy.getUsed(lanes)), b.idx(lanes), body,
              KernelBuilder::LoopHint::NoUnroll);
    return;
  }
  int64_t used = *getConstantSize(copy.getUsed(lanes));
  for (int64_t at = 0; at < used; at += lanes)
    body(b.idx(at));
}

/// The columns of a row from `column` on, 0 where there is none: a vector per
/// plane of a copy.
SmallVector<Value> RowCopier::loadColumns(Value row, Value column) {
  Type f32 = b.getF32Type();
  int64_t count = copy.planes * lanes;
  Value width = b.size(shape.inWidth);
  auto load = [&](bool isMasked) {
    SmallVector<Value> vectors;
    for (int64_t i = 0; i < copy.planes; ++i) {
      Value first = b.add(column, b.idx(i * lanes));
      vectors.push_back(b.load(row, f32, first, lanes,
                               isMasked ? getInside(first, width) : Value()));
    }
    return vectors;
  };
  std::optional<int64_t> begin = getConstantIntValue(column),
                         end = getConstantIntValue(width);
  if (begin && end)
    return load(/*isMasked=*/*begin < 0 || *begin + count > *end);
  Value isInside =
      arith::AndIOp::create(b, b.less(b.idx(-1), column),
                            b.less(b.add(column, b.idx(count - 1)), width));
  SmallVector<Type> types(copy.planes, VectorType::get(lanes, f32));
  auto branch = scf::IfOp::create(b, types, isInside, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, load(/*isMasked=*/false));
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, load(/*isMasked=*/true));
  return SmallVector<Value>(branch.getResults());
}

/// The lanes that are columns of a row, of those from `first` on.
Value RowCopier::getInside(Value first, Value width) {
  // Below 0 is a large number without a sign.
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                               b.indicesFrom(first, lanes),
                               b.splat(width, lanes));
}
