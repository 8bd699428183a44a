//===- TileEmitter.cpp - elementwise work on transposed operands -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An operand that is contiguous along another dimension than the result is read
// in square tiles of vectors that are transposed in registers. Where the result
// is bytes, these are transposed instead: they are computed along the operand's
// dimension, which makes a fourth of the shuffles and reads whole cache lines.
//
// Planes are often a multiple of 4 KiB apart, where a few lines of them fill
// all ways of the cache: what is taken of one plane at a time is whole lines.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

/// Rows and columns of a block: some lines of each plane, one after the other.
static constexpr int64_t kBlock = 64;
/// Least extent along both dimensions.
static constexpr int64_t kMinExtent = 8;
/// Rows of a tile of bytes.
static constexpr int64_t kByteRows = 32;
/// Columns of a tile of bytes, or a smaller power of two at the edge. No more
/// than the ways of a cache of 32 KiB, where each may lie in the same ones.
static constexpr int64_t kByteColumns = 8;
/// Bytes of a register in which shuffles are cheap.
static constexpr int64_t kLaneBytes = 16;

/// How a map reads its operand when `last` is the result's last dimension.
namespace {
enum class Access { Direct, Transposed, Other };
} // namespace

/// How input `number` is read; `tileDim` becomes the dimension that runs along
/// its memory, for Transposed.
static Access classify(GenericOp root, unsigned number, unsigned &tileDim) {
  AffineMap map = root.getMap(number);
  SmallVector<AffineExpr> sizes = getDims(root.getInputs()[number].getType());
  bool direct = true, isInnermost = true;
  unsigned count = map.getNumResults(), last = root.getNumParallel() - 1;
  for (unsigned i = count; i-- > 0;) {
    std::optional<int64_t> step = getDimStep(map.getResult(i), last);
    // A bias per channel may have dimensions of one element behind it.
    direct &= step == 0 || (isInnermost && step == 1);
    if (!step)
      return Access::Other;
    isInnermost &= getConstantSize(sizes[i]) == 1;
  }
  if (direct)
    return Access::Direct;
  auto inner = dyn_cast<AffineDimExpr>(map.getResult(count - 1));
  if (!inner || inner.getPosition() == last)
    return Access::Other;
  for (AffineExpr expr : map.getResults().drop_back())
    if (expr.isFunctionOfDim(inner.getPosition()))
      return Access::Other;
  tileDim = inner.getPosition();
  return Access::Transposed;
}

/// The dimension to tile with the last one, if the nest profits from it.
static std::optional<unsigned> findTileDim(LoopNest &nest) {
  GenericOp root = nest.root;
  if (root.isReduction() || root.getNumParallel() < 2 || !canVectorize(root) ||
      !llvm::all_of(root.getInputs(), isInMemory))
    return std::nullopt;
  std::optional<unsigned> found;
  for (unsigned i = 0, e = root.getInputs().size(); i < e; ++i) {
    unsigned dim = 0;
    Access access = classify(root, i, dim);
    if (access == Access::Other ||
        (access == Access::Transposed && found && *found != dim))
      return std::nullopt;
    if (access == Access::Transposed)
      found = dim;
  }
  SmallVector<AffineExpr> extents = root.getExtents();
  auto isLong = [](AffineExpr extent) {
    std::optional<int64_t> size = getConstantSize(extent);
    return !size || *size >= kMinExtent;
  };
  return found && isLong(extents[*found]) && isLong(extents.back())
             ? found
             : std::nullopt;
}

namespace {
/// True if the result is bytes and vectors can run along `tileDim` instead.
static bool canTransposeBytes(GenericOp root, unsigned tileDim) {
  if (!root.getResult().getType().getElementType().isInteger(8) ||
      !root.getWhole().empty())
    return false;
  for (unsigned i = 0, e = root.getInputs().size(); i < e; ++i) {
    unsigned dim = 0;
    if (classify(root, i, dim) != Access::Transposed &&
        root.getMap(i).isFunctionOfDim(tileDim))
      return false;
  }
  std::optional<int64_t> rows = getConstantSize(root.getExtents()[tileDim]);
  return !rows || *rows >= kByteRows;
}

/// The iteration space with the tiled dimension in blocks.
struct TileSpace {
  TileSpace(GenericOp root, unsigned tileDim) {
    SmallVector<AffineExpr> extents = root.getExtents();
    for (unsigned d = 0; d + 1 < extents.size(); ++d)
      if (d != tileDim)
        rows.push_back(extents[d]);
    rows.push_back(simplifySize(extents[tileDim].ceilDiv(kBlock)));
    SmallVector<AffineExpr> all(rows);
    all.push_back(extents.back());
    grain =
        getGrain(all, mlir::getAffineConstantExpr(kBlock, root.getContext()));
  }
  SmallVector<AffineExpr> rows;
  Grain grain;
};

class TileKernel {
public:
  TileKernel(KernelBuilder &b, LoopNest &nest, unsigned tileDim)
      : b(b), root(nest.root), tileDim(tileDim), lanes(b.caps().f32Lanes()) {
    // No tile of more lanes fits a side that is shorter.
    for (AffineExpr side :
         {root.getExtents()[tileDim], root.getExtents().back()})
      while (getConstantSize(side).value_or(lanes) < lanes)
        lanes /= 2;
  }
  LogicalResult run();

private:
  SmallVector<Value> at(Value row, Value column);
  bool runsDown();
  void emitBlock(Value row, Value rowEnd, Value column, Value columnEnd);
  void emitTiles(Value row, Value rowEnd, Value column, Value columnEnd);
  void emitBytes(Value row, Value rowEnd, Value column, Value columnEnd);
  void emitByteTile(Value row, Value column, unsigned columns);
  void prefetch(ArrayRef<Value> indices, int64_t count);
  void emitTile(Value row, Value column);
  void emitPoint(Value row, Value column);
  SmallVector<Value> loadTransposed(unsigned input, Value row, Value column);
  void finish(ArrayRef<Value> args, ArrayRef<Value> indices, unsigned width);

  KernelBuilder &b;
  GenericOp root;
  unsigned tileDim, lanes;
  SmallVector<Value> outer;
  bool broken = false;
};
} // namespace

/// All indices, those of the tiled and of the last dimension given.
SmallVector<Value> TileKernel::at(Value row, Value column) {
  SmallVector<Value> indices(outer);
  indices.insert(indices.begin() + tileDim, row);
  indices.push_back(column);
  return indices;
}

/// Vectors along the last dimension for `lanes` indices of the tiled one.
SmallVector<Value> TileKernel::loadTransposed(unsigned input, Value row,
                                              Value column) {
  auto type = cast<RankedTensorType>(root.getInputs()[input].getType());
  Value pointer = getTensorPointer(b, root.getInputs()[input]);
  SmallVector<Value> v;
  for (unsigned i = 0; i < lanes; ++i) {
    SmallVector<Value> indices = at(row, b.add(column, b.idx(i))), place;
    for (AffineExpr expr : root.getMap(input).getResults())
      place.push_back(b.apply(expr, indices));
    v.push_back(
        b.load(pointer, type.getElementType(), b.offset(type, place), lanes));
  }
  // Blocks of 1, 2, 4, ... beside the diagonal change places.
  for (unsigned step = 1; step < lanes; step *= 2)
    for (unsigned i = 0; i < lanes; ++i) {
      if (i & step)
        continue;
      SmallVector<int64_t> low, high;
      for (unsigned k = 0; k < lanes; ++k) {
        low.push_back(k & step ? lanes + k - step : k);
        high.push_back(k & step ? lanes + k : k + step);
      }
      Value first = vector::ShuffleOp::create(b, v[i], v[i + step], low);
      v[i + step] = vector::ShuffleOp::create(b, v[i], v[i + step], high);
      v[i] = first;
    }
  return v;
}

void TileKernel::finish(ArrayRef<Value> args, ArrayRef<Value> indices,
                        unsigned width) {
  auto wholePointer = [&](unsigned whole) {
    return getTensorPointer(b, root.getWhole()[whole]);
  };
  FailureOr<Value> value =
      b.inlineBody(root, args, indices, width, wholePointer);
  if (failed(value)) {
    broken = true;
    return;
  }
  RankedTensorType type = root.getResult().getType();
  b.store(*value, b.resultPointer(0), type.getElementType(),
          b.offset(type, indices));
}

void TileKernel::emitTile(Value row, Value column) {
  unsigned count = root.getInputs().size(), unused = 0;
  SmallVector<SmallVector<Value>> transposed(count);
  for (unsigned i = 0; i < count; ++i)
    if (classify(root, i, unused) == Access::Transposed)
      transposed[i] = loadTransposed(i, row, column);
  for (unsigned r = 0; r < lanes; ++r) {
    SmallVector<Value> indices = at(b.add(row, b.idx(r)), column), args;
    for (unsigned i = 0; i < count; ++i) {
      FailureOr<Value> arg = transposed[i].empty()
                                 ? readTensor(b, root.getInputs()[i],
                                              root.getMap(i), indices, lanes)
                                 : FailureOr<Value>(transposed[i][r]);
      if (failed(arg)) {
        broken = true;
        return;
      }
      args.push_back(*arg);
    }
    finish(args, indices, lanes);
  }
}

void TileKernel::emitPoint(Value row, Value column) {
  SmallVector<Value> indices = at(row, column), args;
  for (unsigned i = 0, e = root.getInputs().size(); i < e; ++i) {
    FailureOr<Value> arg =
        readTensor(b, root.getInputs()[i], root.getMap(i), indices, 1);
    if (failed(arg)) {
      broken = true;
      return;
    }
    args.push_back(*arg);
  }
  finish(args, indices, 1);
}

/// Interleaves n vectors of bytes, n a power of two, so that together they hold
/// n bytes for each lane, lanes in order within each 16 bytes. One step turns
/// the bits of a byte's place (vector, lane) to the left.
static void interleaveBytes(KernelBuilder &b, MutableArrayRef<Value> v) {
  constexpr int64_t half = 8; // of the 16 bytes in which shuffles are cheap
  SmallVector<int64_t> low, high;
  for (int64_t i = 0; i < kByteRows; ++i) {
    int64_t place =
        i / (2 * half) * (2 * half) + i % (2 * half) / 2 + (i % 2) * kByteRows;
    low.push_back(place);
    high.push_back(place + half);
  }
  for (size_t step = 1; step < v.size(); step *= 2) {
    SmallVector<Value> next;
    for (size_t i = 0, n = v.size() / 2; i < n; ++i) {
      next.push_back(vector::ShuffleOp::create(b, v[i], v[i + n], low));
      next.push_back(vector::ShuffleOp::create(b, v[i], v[i + n], high));
    }
    llvm::copy(next, v.begin());
  }
}

/// Fetches `count` elements along the tiled dimension of every transposed
/// operand, those of the next block: there are more planes than the hardware
/// follows by itself.
void TileKernel::prefetch(ArrayRef<Value> indices, int64_t count) {
  constexpr int64_t lineBytes = 64;
  unsigned unused = 0;
  for (unsigned i = 0, e = root.getInputs().size(); i < e; ++i) {
    if (classify(root, i, unused) != Access::Transposed)
      continue;
    auto type = cast<RankedTensorType>(root.getInputs()[i].getType());
    SmallVector<Value> place;
    for (AffineExpr expr : root.getMap(i).getResults())
      place.push_back(b.apply(expr, indices));
    Value pointer = getTensorPointer(b, root.getInputs()[i]);
    Value from = b.add(b.offset(type, place), b.idx(kBlock));
    int64_t perLine = lineBytes / getElementBytes(type.getElementType());
    for (int64_t k = 0; k < count; k += perLine)
      b.prefetch(pointer, type.getElementType(), b.add(from, b.idx(k)));
  }
}

/// `kByteRows` rows of `columns` bytes, a power of two.
void TileKernel::emitByteTile(Value row, Value column, unsigned columns) {
  SmallVector<Value> v;
  for (unsigned c = 0; c < columns; ++c) {
    SmallVector<Value> indices = at(row, b.add(column, b.idx(c)));
    prefetch(indices, kByteRows);
    FailureOr<Value> value =
        computeGeneric(b, root, indices, kByteRows, {}, {}, tileDim);
    if (failed(value)) {
      broken = true;
      return;
    }
    v.push_back(b.splat(*value, kByteRows));
  }
  interleaveBytes(b, v);
  RankedTensorType type = root.getResult().getType();
  int64_t perLane = kLaneBytes / columns; // rows in 16 bytes of a vector
  for (int64_t r = 0; r < kByteRows; ++r) {
    Value from = v[r % kLaneBytes / perLane];
    int64_t place = r / kLaneBytes * kLaneBytes + r % perLane * columns;
    Value bytes = columns > 1
                      ? Value(vector::ExtractStridedSliceOp::create(
                            b, from, ArrayRef<int64_t>{place},
                            ArrayRef<int64_t>{columns}, ArrayRef<int64_t>{1}))
                      : Value(vector::ExtractOp::create(b, from, place));
    b.store(bytes, b.resultPointer(0), type.getElementType(),
            b.offset(type, at(b.add(row, b.idx(r)), column)));
  }
}

/// A block of at least `kByteRows` rows, or of none.
void TileKernel::emitBytes(Value row, Value rowEnd, Value column,
                           Value columnEnd) {
  using Hint = KernelBuilder::LoopHint;
  Value height = b.idx(kByteRows), last = b.sub(rowEnd, height);
  std::optional<int64_t> width = getConstantSize(root.getExtents().back());
  for (unsigned columns = kByteColumns; columns > 0; columns /= 2) {
    // Tasks begin at multiples of more than a tile.
    if (columns < kByteColumns && width && !(*width & columns))
      continue;
    Value step = b.idx(columns);
    Value whole =
        b.add(column, b.mul(b.divFloor(b.sub(columnEnd, column), step), step));
    b.forLoop(
        column, whole, step,
        [&](Value c) {
          b.forLoop(
              row, rowEnd, height,
              [&](Value r) { emitByteTile(b.minIdx(r, last), c, columns); },
              Hint::NoUnroll);
        },
        Hint::NoUnroll);
    column = whole;
  }
}

/// True if the operand's lines are farther apart than the result's.
bool TileKernel::runsDown() {
  SmallVector<AffineExpr> extents = root.getExtents();
  std::optional<int64_t> rows = getConstantSize(extents[tileDim]),
                         columns = getConstantSize(extents.back());
  return !rows || (columns && *rows >= *columns);
}

/// Whole tiles of the block, along the side whose lines are farther apart. The
/// last ones overlap those before; where there is none, points.
void TileKernel::emitTiles(Value row, Value rowEnd, Value column,
                           Value columnEnd) {
  using Hint = KernelBuilder::LoopHint;
  Value step = b.idx(lanes), one = b.idx(1);
  Value lastRow = b.sub(rowEnd, step), lastColumn = b.sub(columnEnd, step);
  auto fits = [&](Value from, Value last, Value to) -> Value {
    Value none = b.less(last, from);
    return b.createOrFold<arith::SelectOp>(none, from, to);
  };
  Value rowWhole = fits(row, lastRow, rowEnd),
        columnWhole = fits(column, lastColumn, columnEnd);
  auto tile = [&](Value r, Value c) {
    emitTile(b.minIdx(r, lastRow), b.minIdx(c, lastColumn));
  };
  auto loop = [&](Value from, Value to, Value by,
                  llvm::function_ref<void(Value)> body) {
    b.forLoop(from, to, by, body, Hint::NoUnroll);
  };
  if (runsDown())
    loop(column, columnWhole, step, [&](Value c) {
      loop(row, rowWhole, step, [&](Value r) { tile(r, c); });
    });
  else
    loop(column, columnWhole, b.idx(kBlock), [&](Value first) {
      Value end = b.minIdx(b.add(first, b.idx(kBlock)), columnWhole);
      loop(row, rowWhole, step, [&](Value r) {
        loop(first, end, step, [&](Value c) { tile(r, c); });
      });
    });
  auto points = [&](Value r0, Value r1, Value c0, Value c1) {
    loop(r0, r1, one, [&](Value r) {
      loop(c0, c1, one, [&](Value c) { emitPoint(r, c); });
    });
  };
  points(row, rowWhole, columnWhole, columnEnd);
  points(rowWhole, rowEnd, column, columnEnd);
}

void TileKernel::emitBlock(Value row, Value rowEnd, Value column,
                           Value columnEnd) {
  if (canTransposeBytes(root, tileDim)) {
    Value few = b.less(b.sub(rowEnd, row), b.idx(kByteRows));
    Value bytesEnd = b.createOrFold<arith::SelectOp>(few, row, rowEnd);
    emitBytes(row, bytesEnd, column, columnEnd);
    row = bytesEnd;
    std::optional<int64_t> rows = getConstantSize(root.getExtents()[tileDim]);
    if (rows && (*rows % kBlock == 0 || *rows % kBlock >= kByteRows))
      return;
  }
  emitTiles(row, rowEnd, column, columnEnd);
}

LogicalResult TileKernel::run() {
  TileSpace space(root, tileDim);
  Value height = b.size(root.getExtents()[tileDim]);
  forEachRow(b, space.grain, space.rows,
             [&](ArrayRef<Value> indices, Value begin, Value end) {
               outer = SmallVector<Value>(indices);
               Value first = b.mul(outer.pop_back_val(), b.idx(kBlock));
               Value stop = b.minIdx(b.add(first, b.idx(kBlock)), height);
               emitBlock(first, stop, begin, end);
             });
  return failure(broken);
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

namespace {
class TileEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "tile"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    if (!haveVectors(levels))
      return std::nullopt;
    FailureOr<CollapsedNest> collapsed = collapseCopy(dispatch);
    if (failed(collapsed))
      return std::nullopt;
    LoopNest &nest = collapsed->nest;
    std::optional<unsigned> tileDim = findTileDim(nest);
    if (!tileDim)
      return std::nullopt;
    Grain grain = TileSpace(nest.root, *tileDim).grain;
    return makeSchedule(grain);
  }

  LogicalResult emit(KernelBuilder &b) const override {
    FailureOr<CollapsedNest> collapsed = collapseCopy(b.kernel());
    if (failed(collapsed))
      return failure();
    LoopNest &nest = collapsed->nest;
    std::optional<unsigned> tileDim = findTileDim(nest);
    return tileDim ? TileKernel(b, nest, *tileDim).run() : failure();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createTileEmitter() {
  return std::make_unique<TileEmitter>();
}
