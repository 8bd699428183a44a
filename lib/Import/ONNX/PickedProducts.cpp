//===- PickedProducts.cpp - weights that data picks -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// As it is written, such a product copies a matrix for each row. Here one
// program sorts the rows by the matrix that they picked, each matrix is
// multiplied by its own rows in a branch that runs if there are any, and the
// results are joined and read in the rows' order again.
//
//===----------------------------------------------------------------------===//
#include "PickedProducts.h"
#include "Importer.h"
#include "Program.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace qcc::onnx_import {

namespace {

/// Fewer matrices than two are not picked from; of more a row finds its own
/// sooner by its index.
constexpr int64_t kMinMatrices = 2, kMaxMatrices = 512;
/// Least rows and columns of a matrix that is worth a branch.
constexpr int64_t kMinSize = 16;

/// `[batch..., A, B]`: matrix `pick(i...)` of `table` at each index of the
/// batch.
struct Picked {
  GenericOp gather;
  Value table; ///< a constant `[E, A, B]`, a whole operand of `gather`
  Value pick;  ///< in the body of `gather`, an index within the table
  bool isTransposed = false; ///< the operand's last two dimensions are `B, A`

  int64_t getSize(unsigned i) const {
    return cast<RankedTensorType>(table.getType()).getDimSize(i);
  }
};

/// True if `op` swaps the last two dimensions, all of them, and nothing else.
bool swapsMatrix(GenericOp op) {
  if (!op.isCopy() || op.getInputs().size() != 1 || !op.getWhole().empty())
    return false;
  AffineMap map = op.getMap(0);
  unsigned rank = map.getNumDims();
  if (rank < 2 || map.getNumResults() != rank)
    return false;
  auto swapped = llvm::to_vector(llvm::seq(0u, rank));
  std::swap(swapped[rank - 2], swapped[rank - 1]);
  Dims from = getDims(op.getInputs()[0].getType()),
       to = getDims(op.getResult().getType());
  for (unsigned i = 0; i < rank; ++i)
    if (from[swapped[i]] != to[i])
      return false;
  return map == AffineMap::getPermutationMap(swapped, op.getContext());
}

/// What `body` yields, behind a widening and narrowing.
Value getPlainYield(GenericOp op) {
  Value value = op.getYielded();
  while (Operation *def = value.getDefiningOp()) {
    if (!isa<arith::ExtFOp, arith::TruncFOp>(def))
      break;
    value = def->getOperand(0);
  }
  return value;
}

/// The gather of whole matrices that `op` is; none if it is something else.
std::optional<Picked> matchGather(GenericOp op) {
  if (op.isReduction())
    return std::nullopt;
  auto read = getPlainYield(op).getDefiningOp<ReadOp>();
  unsigned rank = op.getNumParallel();
  if (!read || rank < 3 || read.getIndices().size() != 3)
    return std::nullopt;
  for (unsigned i = 0; i < 2; ++i) {
    auto at = read.getIndices()[1 + i].getDefiningOp<IndexOp>();
    if (!at || at.getDim() != rank - 2 + i)
      return std::nullopt;
  }
  auto argument = dyn_cast<BlockArgument>(read.getTensor());
  if (!argument)
    return std::nullopt;
  Picked picked{op, op->getOperand(argument.getArgNumber()),
                read.getIndices()[0]};
  auto type = cast<RankedTensorType>(picked.table.getType());
  Dims dims = getDims(op.getResult().getType());
  for (unsigned i = 0; i < 2; ++i)
    if (type.isDynamicDim(1 + i) ||
        getConstantSize(dims[rank - 2 + i]) != type.getDimSize(1 + i))
      return std::nullopt;
  bool isWorth =
      type.getDimSize(0) >= kMinMatrices &&
      type.getDimSize(0) <= kMaxMatrices && type.getDimSize(1) >= kMinSize &&
      type.getDimSize(2) >= kMinSize && isa<FloatType>(type.getElementType());
  if (!isWorth || !isConstantExpression(picked.table))
    return std::nullopt;
  return picked;
}

/// Follows an operand through transposes of its matrices and reshapes of its
/// batch.
std::optional<Picked> findPicked(Value operand) {
  constexpr unsigned kMaxSteps = 8;
  bool isTransposed = false;
  for (unsigned i = 0; i < kMaxSteps && operand; ++i) {
    if (auto reshape = operand.getDefiningOp<ReshapeOp>()) {
      Dims from = getDims(reshape.getInput().getType()),
           to = getDims(operand.getType());
      if (from.size() < 3 || to.size() < 3 ||
          ArrayRef(from).take_back(2) != ArrayRef(to).take_back(2))
        return std::nullopt;
      operand = reshape.getInput();
      continue;
    }
    auto generic = operand.getDefiningOp<GenericOp>();
    if (!generic)
      return std::nullopt;
    if (swapsMatrix(generic)) {
      isTransposed = !isTransposed;
      operand = generic.getInputs()[0];
      continue;
    }
    std::optional<Picked> picked = matchGather(generic);
    if (picked)
      picked->isTransposed = isTransposed;
    return picked;
  }
  return std::nullopt;
}

/// True if an argument of the gather's body is the same for all elements of a
/// matrix and not the table.
bool isOfBatch(const Picked &picked, BlockArgument argument) {
  GenericOp gather = picked.gather;
  unsigned number = argument.getArgNumber(),
           numBatch = gather.getNumParallel() - 2;
  if (number >= gather.getInputs().size())
    return gather->getOperand(number) != picked.table;
  AffineMap map = gather.getMap(number);
  return map.getNumSymbols() == 0 && !map.isFunctionOfDim(numBatch) &&
         !map.isFunctionOfDim(numBatch + 1);
}

/// The operations of the body that `pick` is computed by, in their order; none
/// if it depends on more than where in the batch it is.
std::optional<SmallVector<Operation *>> slicePick(const Picked &picked) {
  GenericOp gather = picked.gather;
  Block *block = gather.getBlock();
  unsigned numBatch = gather.getNumParallel() - 2;
  DenseSet<Operation *> needed;
  SmallVector<Value> open = {picked.pick};
  while (!open.empty()) {
    Value value = open.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op) {
      if (!isOfBatch(picked, cast<BlockArgument>(value)))
        return std::nullopt;
      continue;
    }
    auto index = dyn_cast<IndexOp>(op);
    bool isOther = op->getNumRegions() != 0 || op->getBlock() != block ||
                   (index && index.getDim() >= numBatch);
    if (isOther)
      return std::nullopt;
    if (needed.insert(op).second)
      llvm::append_range(open, op->getOperands());
  }
  SmallVector<Operation *> ordered;
  for (Operation &op : *block)
    if (needed.contains(&op))
      ordered.push_back(&op);
  return ordered;
}

/// True if two operations compute the same from the same.
bool isSame(Operation *a, Operation *b) {
  return a->getName() == b->getName() && a->getNumRegions() == 1 &&
         llvm::equal(a->getOperands(), b->getOperands()) &&
         llvm::equal(a->getResultTypes(), b->getResultTypes()) &&
         a->getAttrDictionary() == b->getAttrDictionary() &&
         OperationEquivalence::isRegionEquivalentTo(
             &a->getRegion(0), &b->getRegion(0),
             OperationEquivalence::IgnoreLocations);
}

/// An operation before `op`, which is erased, that computes the same, or `op`:
/// what several products pick by is found once.
Operation *reuse(Operation *op) {
  if (op->getNumOperands() == 0)
    return op;
  for (Operation *user : op->getOperand(0).getUsers())
    if (user != op && user->getBlock() == op->getBlock() &&
        user->isBeforeInBlock(op) && isSame(user, op)) {
      op->erase();
      return user;
    }
  return op;
}

/// Which matrix each row has, i64 `[P]` for a batch of P; null with a problem.
Value computePicks(NodeContext &node, const Picked &picked,
                   ArrayRef<Operation *> ops) {
  GenericOp gather = picked.gather;
  Dims batch = getDims(gather.getResult().getType());
  batch.resize(batch.size() - 2);
  Block *block = gather.getBlock();
  SmallVector<Value> inputs, whole;
  SmallVector<AffineMap> maps;
  SmallVector<BlockArgument> used;
  for (BlockArgument argument : block->getArguments()) {
    unsigned number = argument.getArgNumber();
    bool isNeeded = llvm::any_of(ops, [&](Operation *op) {
      return llvm::is_contained(op->getOperands(), argument);
    });
    if (!isNeeded)
      continue;
    used.push_back(argument);
    Value operand = gather->getOperand(number);
    if (number >= gather.getInputs().size()) {
      whole.push_back(operand);
      continue;
    }
    inputs.push_back(operand);
    maps.push_back(
        node.makeMap(batch.size(), gather.getMap(number).getResults()));
  }
  Value picks = node.generic(
      batch, node.i64(), inputs, maps, whole, [&](Body &body, ValueRange x) {
        IRMapping map;
        for (auto [argument, value] : llvm::zip(used, x))
          map.map(argument, value);
        for (Operation *op : ops)
          body.b.clone(*op, map);
        return body.fromIndex(map.lookup(picked.pick), node.i64());
      });
  AffineExpr rows = product(batch, node.b.getContext());
  if (!picks)
    return {};
  return node.reshape(reuse(picks.getDefiningOp())->getResult(0), {rows});
}

/// The rows by what they picked: row `order[starts[e] + i]` is the i-th of
/// matrix e, which has `counts[e]`; row p is at `places[p]` of `order`.
struct Order {
  Value order, places, starts, counts;
};

std::optional<Order> sortRows(NodeContext &node, Value picks, int64_t number) {
  if (!picks)
    return std::nullopt;
  Type i64 = node.i64();
  AffineExpr rows = node.dims(picks)[0];
  RankedTensorType perRow = makeTensorType({rows}, i64),
                   perMatrix = makeTensorType({node.size(number)}, i64);
  SmallVector<Value> results = emitProgram(
      node, {perRow, perRow, perMatrix, perMatrix, perMatrix}, picks, {},
      [&](ProgramBody &body, ValueRange x) {
        Value order = x[1], places = x[2], starts = x[3], counts = x[4],
              next = x[5], one = body.integer(1, i64);
        Value numMatrices = body.index(number), numRows = body.extent(rows);
        auto readPick = [&](Value row) {
          return body.toIndex(body.read(x[0], row));
        };
        body.repeat(numMatrices, [&](Value e) {
          body.write(body.integer(0, i64), counts, e);
        });
        body.repeat(numRows, [&](Value row) {
          Value pick = readPick(row);
          body.write(body.add(body.read(counts, pick), one), counts, pick);
        });
        body.loop(numMatrices, body.integer(0, i64), [&](Value e, Value start) {
          body.write(start, starts, e);
          body.write(start, next, e);
          return body.add(start, body.read(counts, e));
        });
        body.repeat(numRows, [&](Value row) {
          Value pick = readPick(row), place = body.read(next, pick);
          body.write(place, places, row);
          body.write(body.fromIndex(row, i64), order, body.toIndex(place));
          body.write(body.add(place, one), next, pick);
        });
      });
  if (results.empty())
    return std::nullopt;
  Operation *program = reuse(results[0].getDefiningOp());
  return Order{program->getResult(0), program->getResult(1),
               program->getResult(2), program->getResult(3)};
}

/// The rows `[P, K]` that picked matrix `e`, times it: `[count, N]`, in a
/// branch that runs if there are any.
Value multiplyOwn(NodeContext &node, const Picked &picked, bool transB,
                  Value rows, const Order &sorted, int64_t e) {
  AffineExpr count = node.readElement(sorted.counts, e), number = node.size(e);
  Value isNeeded =
      node.generic({}, node.b.getI1Type(), sorted.counts,
                   node.makeMap(0, number), {}, [](Body &body, ValueRange x) {
                     return body.lt(body.integer(0, x[0].getType()), x[0]);
                   });
  if (!count || !isNeeded)
    return {};
  AffineExpr all = node.dims(rows)[0];
  Dims own = {count, node.size(picked.getSize(transB ? 1 : 2))};
  auto branch = IfOp::create(node.b, TypeRange{makeTensorType(own, node.f32())},
                             isNeeded);
  OpBuilder::InsertionGuard guard(node.b);
  node.b.createBlock(&branch.getThenRegion());
  Value mine = node.generic(
      {count, node.dims(rows)[1]}, node.f32(), sorted.starts,
      node.makeMap(2, number), {sorted.order, rows},
      [&](Body &body, ValueRange x) {
        Value place = body.add(body.toIndex(x[0]), body.dim(0));
        Value row = body.read(x[1], body.clampIndex(place, body.extent(all)));
        Value index = body.clampIndex(body.toIndex(row), body.extent(all));
        return body.read(x[2], {index, body.dim(1)});
      });
  Value product = node.matmul(mine, node.widen(node.takePart(picked.table, e)),
                              /*transA=*/false, transB);
  if (!product)
    return {};
  YieldOp::create(node.b, product);
  node.b.createBlock(&branch.getElseRegion());
  Value none = node.filled(own, 0, node.f32());
  if (!none)
    return {};
  YieldOp::create(node.b, none);
  return branch.getResult(0);
}

/// A product of picked matrices and vectors, one for each: a row on the left
/// of it, or a column on the right.
struct PickedProduct {
  Picked picked;
  SmallVector<Operation *> ops; ///< of the gather's body, that pick
  Value vectors;
  bool isRow;
  Dims batch; ///< of the matrices
  AffineExpr k;
};

/// The product that is such; none if it is something else or a check fails.
std::optional<PickedProduct> matchProduct(NodeContext &node, Value lhs,
                                          Value rhs) {
  if (node.rank(lhs) < 3 || node.rank(rhs) != node.rank(lhs))
    return std::nullopt;
  std::optional<Picked> picked = findPicked(rhs);
  bool isRow = picked.has_value();
  if (!picked)
    picked = findPicked(lhs);
  std::optional<SmallVector<Operation *>> ops;
  if (picked)
    ops = slicePick(*picked);
  Dims left = node.dims(lhs), right = node.dims(rhs);
  size_t rank = left.size();
  if (!ops || getConstantSize(isRow ? left[rank - 2] : right[rank - 1]) != 1)
    return std::nullopt;
  PickedProduct found{*picked, *ops, isRow ? lhs : rhs, isRow, {}, {}};
  found.batch.assign(isRow ? right.begin() : left.begin(),
                     isRow ? right.end() - 2 : left.end() - 2);
  found.k = isRow ? right[rank - 2] : left[rank - 1];
  // Vectors may be shared by several matrices, not the other way round.
  Dims others(ArrayRef(isRow ? left : right).drop_back(2));
  std::optional<Dims> all =
      node.broadcastDims({found.batch, others}, /*assumeEqual=*/true);
  bool fits = all && *all == found.batch &&
              node.requireEqual(left[rank - 1], right[rank - 2],
                                "the inner dimensions of a matrix product");
  return fits ? std::optional(found) : std::nullopt;
}

/// The results `[P, N]` of a product, in the order of its rows; null if there
/// are too many symbols, or with a problem recorded.
Value emitProduct(NodeContext &node, const PickedProduct &product) {
  int64_t number = product.picked.getSize(0);
  std::optional<Order> sorted =
      sortRows(node, computePicks(node, product.picked, product.ops), number);
  if (!sorted)
    return {};
  bool isNew = !node.traceKnown(sorted->counts, 0);
  if (isNew && node.symbols.names.size() + number > kMaxModuleSymbols)
    return {};
  Dims full = product.batch;
  llvm::append_values(full, product.isRow ? node.size(1) : product.k,
                      product.isRow ? product.k : node.size(1));
  AffineExpr all = qcc::product(product.batch, node.b.getContext());
  Value rows = node.reshape(node.broadcastTo(node.widen(product.vectors), full),
                            {all, product.k});
  if (!rows)
    return {};
  // A column on the right is multiplied by its matrix's rows.
  bool transB = product.isRow == product.picked.isTransposed;
  SmallVector<Value> parts;
  for (int64_t e = 0; e < number; ++e) {
    parts.push_back(
        multiplyOwn(node, product.picked, transB, rows, *sorted, e));
    if (!parts.back() || node.getProblem())
      return {};
  }
  Value joined = node.concatMany(parts, 0);
  if (!joined)
    return {};
  return node.generic(
      {all, node.dims(joined)[1]}, node.f32(), sorted->places,
      node.makeMap(2, node.d(0)), joined, [&](Body &body, ValueRange x) {
        return body.read(x[1], {body.toIndex(x[0]), body.dim(1)});
      });
}

} // namespace

std::optional<Value> multiplyPicked(NodeContext &node, Value lhs, Value rhs) {
  std::optional<PickedProduct> product = matchProduct(node, lhs, rhs);
  if (node.getProblem())
    return Value();
  if (!product || !node.importer.countParts(product->picked.getSize(0)))
    return std::nullopt;
  Value result = emitProduct(node, *product);
  if (!result)
    return node.getProblem() ? std::optional(Value()) : std::nullopt;
  Dims shape = product->batch;
  AffineExpr n = node.dims(result)[1], one = node.size(1);
  llvm::append_values(shape, product->isRow ? one : n,
                      product->isRow ? n : one);
  return node.cast(node.reshape(result, shape), node.elem(lhs));
}

} // namespace qcc::onnx_import
