//===- TileEmitter.cpp - elementwise work on transposed operands -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An operand that is contiguous along another dimension than the result is read
// in square tiles of vectors that are transposed in registers.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

/// Rows of a tile; a multiple of the lanes of every level.
static constexpr int64_t kTileRows = 16;

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
    return !size || *size >= kTileRows;
  };
  return found && isLong(extents[*found]) && isLong(extents.back())
             ? found
             : std::nullopt;
}

namespace {
/// The iteration space with the tiled dimension in blocks.
struct TileSpace {
  TileSpace(GenericOp root, unsigned tileDim) {
    SmallVector<AffineExpr> extents = root.getExtents();
    for (unsigned d = 0; d + 1 < extents.size(); ++d)
      if (d != tileDim)
        rows.push_back(extents[d]);
    rows.push_back(simplifySize(extents[tileDim].ceilDiv(kTileRows)));
    SmallVector<AffineExpr> all(rows);
    all.push_back(extents.back());
    grain = getGrain(all,
                     mlir::getAffineConstantExpr(kTileRows, root.getContext()));
  }
  SmallVector<AffineExpr> rows;
  Grain grain;
};

class TileKernel {
public:
  TileKernel(KernelBuilder &b, LoopNest &nest, unsigned tileDim)
      : b(b), root(nest.root), tileDim(tileDim), lanes(b.caps().f32Lanes()) {}
  LogicalResult run();

private:
  SmallVector<Value> at(Value row, Value column);
  void emitBlock(Value row, Value rowEnd, Value column, Value columnEnd);
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

/// Tiles of the block as far as they are whole, then its edges.
void TileKernel::emitBlock(Value row, Value rowEnd, Value column,
                           Value columnEnd) {
  using Hint = KernelBuilder::LoopHint;
  Value step = b.idx(lanes), one = b.idx(1);
  auto wholeEnd = [&](Value from, Value to) {
    Value length = b.maxIdx(b.sub(to, from), b.idx(0));
    return b.add(from, b.mul(b.divFloor(length, step), step));
  };
  Value rowWhole = wholeEnd(row, rowEnd),
        columnWhole = wholeEnd(column, columnEnd);
  auto points = [&](Value r0, Value r1, Value c0, Value c1) {
    b.forLoop(r0, r1, one, [&](Value r) {
      b.forLoop(c0, c1, one, [&](Value c) { emitPoint(r, c); }, Hint::NoUnroll);
    });
  };
  b.forLoop(column, columnWhole, step, [&](Value c) {
    b.forLoop(
        row, rowWhole, step, [&](Value r) { emitTile(r, c); }, Hint::NoUnroll);
  });
  points(row, rowWhole, columnWhole, columnEnd);
  points(rowWhole, rowEnd, column, columnEnd);
}

LogicalResult TileKernel::run() {
  TileSpace space(root, tileDim);
  Value height = b.size(root.getExtents()[tileDim]);
  forEachRow(b, space.grain, space.rows,
             [&](ArrayRef<Value> indices, Value begin, Value end) {
               outer = SmallVector<Value>(indices);
               Value first = b.mul(outer.pop_back_val(), b.idx(kTileRows));
               Value stop = b.minIdx(b.add(first, b.idx(kTileRows)), height);
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
    bool vectors = llvm::all_of(
        levels, [](const Capabilities &c) { return c.vectorBits > 0; });
    if (!vectors)
      return std::nullopt;
    // Collapsing rewrites.
    OwningOpRef<DispatchOp> copy = dispatch.clone();
    FailureOr<LoopNest> nest = getLoopNest(copy->getBody().front());
    if (failed(nest))
      return std::nullopt;
    collapseDims(*nest);
    std::optional<unsigned> tileDim = findTileDim(*nest);
    if (!tileDim)
      return std::nullopt;
    Grain grain = TileSpace(nest->root, *tileDim).grain;
    KernelSchedule schedule;
    schedule.params = DictionaryAttr::get(dispatch.getContext());
    schedule.tasks = simplifySize(grain.rowTasks * grain.colTasks);
    return schedule;
  }

  LogicalResult emit(KernelBuilder &b) const override {
    OwningOpRef<KernelOp> copy = b.kernel().clone();
    FailureOr<LoopNest> nest = getLoopNest(copy->getBody().front());
    if (failed(nest))
      return failure();
    collapseDims(*nest);
    std::optional<unsigned> tileDim = findTileDim(*nest);
    return tileDim ? TileKernel(b, *nest, *tileDim).run() : failure();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createTileEmitter() {
  return std::make_unique<TileEmitter>();
}
