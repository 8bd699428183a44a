//===- Tiles.cpp - register tiles shared by the x86 kernels -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

Type x86::getStoredType(Block &body) {
  return cast<RankedTensorType>(body.getTerminator()->getOperand(0).getType())
      .getElementType();
}

bool x86::isF32Tensor(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getElementType().isF32();
}

bool x86::hasAvx512(ArrayRef<Capabilities> levels) {
  return llvm::any_of(levels,
                      [](const Capabilities &c) { return c.hasAvx512; });
}

unsigned x86::getTileRows(const Capabilities &caps, unsigned vectors) {
  // 24 accumulators of 32 registers, 12 of 16: one more row spills (a third of
  // the speed), and more than 12 rows are as many streams of scalars.
  unsigned accumulators = caps.hasAvx512 ? 24 : 12;
  return std::clamp(accumulators / vectors, 1u, 12u);
}

SmallVector<Value> x86::emitFmaLoop(KernelBuilder &b, const Tile &tile,
                                    Value count, ArrayRef<Value> init,
                                    TileLoad scalar, TileLoad vector) {
  // LLVM would unroll a short loop whole and spill the addresses.
  return b.forLoop(
      b.idx(0), count, b.idx(1), init,
      [&](Value k, ArrayRef<Value> carried) {
        SmallVector<Value> acc(carried), columns;
        for (unsigned v = 0; v < tile.vectors; ++v)
          columns.push_back(vector(v, k));
        for (unsigned r = 0; r < tile.rows; ++r) {
          Value a = scalar(r, k);
          if (!isa<VectorType>(a.getType()))
            a = b.splat(a, tile.lanes);
          for (unsigned v = 0; v < tile.vectors; ++v) {
            Value &sum = acc[r * tile.vectors + v];
            sum = b.fma(a, columns[v], sum);
          }
        }
        return acc;
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// `locality` 3 is L1, 2 is L2.
static void prefetch(KernelBuilder &b, Value pointer, Value offset,
                     unsigned locality) {
  constexpr unsigned read = 0, data = 1;
  LLVM::Prefetch::create(b, b.elementPointer(pointer, b.getI8Type(), offset),
                         read, locality, data);
}

void x86::prefetchToL1(KernelBuilder &b, Value pointer, Value offset) {
  prefetch(b, pointer, offset, 3);
}

void x86::prefetchToL2(KernelBuilder &b, Value pointer, Value offset) {
  prefetch(b, pointer, offset, 2);
}

SmallVector<Value> x86::zeros(KernelBuilder &b, unsigned count,
                              unsigned lanes) {
  Value zero = b.constant(0.0, VectorType::get(lanes, b.getF32Type()));
  return SmallVector<Value>(count, zero);
}

void x86::emitRowBlocks(KernelBuilder &b, Value begin, Value end,
                        unsigned maxRows, function_ref<bool(unsigned)> needed,
                        function_ref<void(Value, unsigned)> body) {
  Value row = begin;
  for (unsigned rows = maxRows; rows > 0;
       rows = rows == 1 ? 0 : llvm::bit_floor(rows - 1)) {
    if (!needed(rows))
      continue;
    Value blocks = b.divFloor(b.sub(end, row), b.idx(rows));
    Value stop = b.add(row, b.mul(blocks, b.idx(rows)));
    b.forLoop(
        row, stop, b.idx(rows), [&](Value i) { body(i, rows); },
        KernelBuilder::LoopHint::NoUnroll);
    row = stop;
  }
}

bool x86::needsRowBlock(std::optional<int64_t> total, int64_t grain,
                        unsigned maxRows, unsigned rows) {
  if (!total)
    return true;
  auto occurs = [&](int64_t range) {
    for (unsigned size = maxRows; size > 0;
         size = size == 1 ? 0 : llvm::bit_floor(size - 1)) {
      if (size == rows)
        return range >= int64_t(size);
      range %= size;
    }
    return false;
  };
  return (*total >= grain && occurs(grain)) || occurs(*total % grain);
}

LogicalResult x86::storeWithEpilogue(KernelBuilder &b, const Epilogue &epilogue,
                                     Value value, ArrayRef<Value> indices,
                                     unsigned lanes, Value count, Value pointer,
                                     Type stored, Value offset) {
  auto compute = [&](Value element, ArrayRef<Value> at, unsigned width,
                     Value mask) {
    return epilogue.apply(b, element, at, width, mask);
  };
  return storeComputed(b, compute, value, indices, lanes, count, pointer,
                       stored, offset, epilogue.laneDim);
}

LogicalResult x86::storeComputed(KernelBuilder &b, ElementComputation compute,
                                 Value value, ArrayRef<Value> indices,
                                 unsigned lanes, Value count, Value pointer,
                                 Type stored, Value offset,
                                 std::optional<unsigned> laneDim) {
  Value mask = count ? b.firstLanes(count, lanes) : Value();
  FailureOr<Value> result = compute(value, indices, lanes, mask);
  if (succeeded(result)) {
    b.store(*result, pointer, stored, offset, mask);
    return success();
  }
  // A body without a vector form: one lane after the other.
  LogicalResult status = success();
  auto storeLane = [&](unsigned lane) {
    Value scalar = vector::ExtractOp::create(b, value, int64_t(lane));
    SmallVector<Value> at(indices);
    Value &last = at[laneDim.value_or(at.size() - 1)];
    last = b.add(last, b.idx(lane));
    FailureOr<Value> one = compute(scalar, at, 1, Value());
    if (failed(one)) {
      status = failure();
      return;
    }
    b.store(*one, pointer, stored, b.add(offset, b.idx(lane)));
  };
  for (unsigned lane = 0; lane < lanes && succeeded(status); ++lane) {
    if (!count) {
      storeLane(lane);
      continue;
    }
    auto guard = scf::IfOp::create(b, b.less(b.idx(lane), count),
                                   /*withElseRegion=*/false);
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(guard.thenBlock());
    storeLane(lane);
  }
  return status;
}

LogicalResult x86::storeFirst(KernelBuilder &b, const Epilogue &epilogue,
                              Value value, int64_t count, Value pointer,
                              Type stored, const RunTarget &target) {
  auto lanes = unsigned(cast<VectorType>(value.getType()).getNumElements());
  bool isWhole = count == int64_t(lanes);
  if (isWhole || b.caps().hasAvx512)
    return storeWithEpilogue(b, epilogue, value, target.indices(0), lanes,
                             isWhole ? Value() : b.idx(count), pointer, stored,
                             target.offset(0));
  if (epilogue.hasFunctions()) {
    FailureOr<Value> result = epilogue.apply(b, value, target.indices(0), lanes,
                                             b.firstLanes(b.idx(count), lanes));
    if (succeeded(result)) {
      forPieces(b, *result, count, [&](Value piece, unsigned, int64_t lane) {
        b.store(piece, pointer, stored, target.offset(lane));
      });
      return success();
    }
  }
  LogicalResult status = success();
  forPieces(b, value, count, [&](Value piece, unsigned size, int64_t lane) {
    if (failed(storeWithEpilogue(b, epilogue, piece, target.indices(lane), size,
                                 Value(), pointer, stored,
                                 target.offset(lane))))
      status = failure();
  });
  return status;
}

/// The most accumulators of a tile, in elements: 8 rows of 64, and fewer of
/// more.
static constexpr int64_t kMaxSums = 512;

LogicalResult TileStore::store(const Tile &tile, ArrayRef<Value> sums,
                               const TileTarget &target) {
  unsigned width = tile.vectors * tile.lanes;
  if (epilogue.hasFunctions() && sums.size() > 1 &&
      int64_t(tile.rows) * width <= kMaxSums) {
    if (!buffer)
      buffer = b.stackBuffer(kMaxSums * 4);
    for (auto [i, sum] : llvm::enumerate(sums))
      b.store(sum, buffer, getElementTypeOrSelf(sum),
              b.idx(int64_t(i) * tile.lanes));
    return storeRows(tile, getElementTypeOrSelf(sums[0]), target);
  }
  for (unsigned r = 0; r < tile.rows; ++r)
    for (unsigned v = 0; v < tile.vectors; ++v) {
      Value row = b.idx(r), count;
      if (v + 1 == tile.vectors)
        count = target.lastCount;
      unsigned lane = v * tile.lanes;
      if (failed(storeWithEpilogue(b, epilogue, sums[r * tile.vectors + v],
                                   target.indices(row, lane), tile.lanes, count,
                                   pointer, stored, target.offset(row, lane))))
        return failure();
    }
  return success();
}

LogicalResult TileStore::storeRows(const Tile &tile, Type element,
                                   const TileTarget &target) {
  LogicalResult status = success();
  int64_t width = int64_t(tile.vectors) * tile.lanes;
  b.forLoop(
      b.idx(0), b.idx(tile.rows), b.idx(1),
      [&](Value row) {
        for (unsigned v = 0; v < tile.vectors;) {
          unsigned lane = v * tile.lanes,
                   vectors = std::min(2u, tile.vectors - v);
          v += vectors;
          Value count, at = b.add(b.mul(row, b.idx(width)), b.idx(lane));
          if (v == tile.vectors && target.lastCount)
            count = b.add(target.lastCount, b.idx((vectors - 1) * tile.lanes));
          Value sums = b.load(buffer, element, at, vectors * tile.lanes);
          if (failed(storeWithEpilogue(b, epilogue, sums,
                                       target.indices(row, lane),
                                       vectors * tile.lanes, count, pointer,
                                       stored, target.offset(row, lane))))
            status = failure();
        }
      },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

Value x86::getMatrixOffset(KernelBuilder &b, Type type,
                           ArrayRef<Value> batchIndex) {
  SmallVector<AffineExpr> dims = getDims(type);
  SmallVector<Value> strides = b.strides(type);
  size_t leading = dims.size() - 2, skip = batchIndex.size() - leading;
  Value result = b.idx(0);
  for (size_t i = 0; i < leading; ++i)
    if (getConstantSize(dims[i]) != 1)
      result = b.add(result, b.mul(batchIndex[skip + i], strides[i]));
  return result;
}

SmallVector<Value> x86::splitIndex(KernelBuilder &b, Value flat,
                                   ArrayRef<AffineExpr> dims) {
  SmallVector<Value> indices(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    bool leadingOnes = llvm::all_of(dims.take_front(i), [](AffineExpr dim) {
      return getConstantSize(dim) == 1;
    });
    if (getConstantSize(dims[i]) == 1) {
      indices[i] = b.idx(0);
    } else if (leadingOnes) {
      indices[i] = flat;
    } else {
      Value size = b.size(dims[i]);
      indices[i] = b.mod(flat, size);
      flat = b.divFloor(flat, size);
    }
  }
  return indices;
}
