//===- Matrix.cpp - determinants and inverses -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Largest matrix: each step of the elimination is an operation of its own.
constexpr int64_t kMaxMatrixSize = 64;

/// A batch of matrices `[N, m, w]`, their first m columns being those that are
/// left to eliminate.
struct Elimination {
  Value matrices;
  /// The pivots of the steps done, `[N]` each, negative where rows were
  /// exchanged.
  SmallVector<Value> pivots;
};

/// The row of the largest element of a column: `[N, 1, 1]`.
Value findPivot(NodeContext &node, Value matrices, int64_t step) {
  Dims in = node.dims(matrices);
  Value column = node.slice(matrices, 2, node.size(step), node.size(1));
  Value rows = node.unary(
      node.slice(column, 1, node.size(step), simplifyDim(in[1] - step)),
      [](Body &body, Value x) { return body.abs(x); });
  if (!rows)
    return {};
  Dims to = {in[0], node.size(1), node.size(1)};
  return ArgReduceOp::create(node.b, makeTensorType(to, node.i64()), rows, 1);
}

/// One step of Gauss's algorithm with partial pivoting: the rows `step` and
/// that of the pivot change places, then the column is cleared in the rows
/// below, or in all others.
void eliminate(NodeContext &node, Elimination &state, int64_t step,
               bool clearsAll) {
  Value matrices = state.matrices, pivotRow = findPivot(node, matrices, step);
  if (!pivotRow)
    return;
  Dims in = node.dims(matrices);
  Type type = node.elem(matrices);
  AffineMap perMatrix =
      node.makeMap(3, {node.d(0), node.size(0), node.size(0)});
  Value swapped = node.generic(
      in, type, pivotRow, perMatrix, matrices, [&](Body &body, ValueRange x) {
        Value here = body.dim(1), first = body.index(step);
        Value chosen = body.add(body.toIndex(x[0]), first);
        Value row =
            body.select(body.eq(here, first), chosen,
                        body.select(body.eq(here, chosen), first, here));
        return body.read(x[1],
                         {body.dim(0), body.clampIndex(row, body.extent(in[1])),
                          body.dim(2)});
      });
  Value pivot =
      node.slice(node.slice(swapped, 1, node.size(step), node.size(1)), 2,
                 node.size(step), node.size(1));
  state.pivots.push_back(node.elementwise(
      {node.reshape(pivot, {in[0]}), node.reshape(pivotRow, {in[0]})}, type,
      [](Body &body, ValueRange x) {
        Value isSame = body.eq(x[1], body.integer(0, x[1].getType()));
        return body.select(isSame, x[0], body.neg(x[0]));
      }));
  state.matrices =
      node.generic(in, type, {}, {}, swapped, [&](Body &body, ValueRange x) {
        Value first = body.index(step), row = body.dim(1), column = body.dim(2),
              batch = body.dim(0);
        Value self = body.read(x[0], {batch, row, column}),
              head = body.read(x[0], {batch, row, first}),
              top = body.read(x[0], {batch, first, column}),
              corner = body.read(x[0], {batch, first, first});
        Value zero = body.number(0, type);
        // A column of zeros has nothing to clear.
        Value factor =
            body.select(body.eq(corner, zero), zero, body.div(head, corner));
        Value cleared = body.sub(self, body.mul(factor, top));
        Value isCleared = clearsAll ? body.ne(row, first) : body.lt(first, row);
        return body.select(isCleared, cleared, self);
      });
}

/// The matrices of the first input as `[N, m, m]` in the type that arithmetic
/// is done in.
std::optional<Value> readMatrices(NodeContext &node, int64_t &size) {
  Dims in = node.inDims(0);
  if (in.size() < 2 || !isa<FloatType>(node.inElem(0))) {
    (void)node.refuse(Diag::BadShape, "expected float matrices");
    return std::nullopt;
  }
  AffineExpr rows = in[in.size() - 2], columns = in.back();
  if (!node.requireEqual(rows, columns, "rows and columns"))
    return std::nullopt;
  std::optional<int64_t> known = getConstantSize(rows);
  if (!known)
    known = getConstantSize(columns);
  if (!known || *known > kMaxMatrixSize) {
    (void)node.refuse(Diag::UnsupportedForm, "expected matrices of at most " +
                                                 Twine(kMaxMatrixSize) +
                                                 " rows, known when compiling");
    return std::nullopt;
  }
  size = *known;
  AffineExpr count = product(ArrayRef(in).drop_back(2), node.b.getContext());
  return node.reshape(node.widen(node.in(0)),
                      {count, node.size(size), node.size(size)});
}

/// The product of the pivots.
LogicalResult convertDet(NodeContext &node) {
  int64_t size = 0;
  std::optional<Value> matrices = readMatrices(node, size);
  if (!matrices || !*matrices)
    return failure();
  Elimination state{*matrices, {}};
  for (int64_t step = 0; step < size && !node.getProblem(); ++step)
    eliminate(node, state, step, /*clearsAll=*/false);
  Dims outer(ArrayRef(node.inDims(0)).drop_back(2));
  Type type = node.inElem(0), compute = getComputeType(type);
  if (state.pivots.empty())
    return node.set(0, node.filled(outer, 1, type));
  Value result =
      node.elementwise(state.pivots, compute, [](Body &body, ValueRange x) {
        Value product = x[0];
        for (Value pivot : x.drop_front())
          product = body.mul(product, pivot);
        return product;
      });
  return node.set(0, node.cast(node.reshape(result, outer), type));
}

/// Gauss and Jordan's algorithm on the matrices with unit matrices beside them.
LogicalResult convertInverse(NodeContext &node) {
  int64_t size = 0;
  std::optional<Value> matrices = readMatrices(node, size);
  if (!matrices || !*matrices)
    return failure();
  Dims in = node.dims(*matrices);
  Type type = node.elem(*matrices);
  Value unit = node.generate(in, type, [&](Body &body) {
    return body.select(body.eq(body.dim(1), body.dim(2)), body.number(1, type),
                       body.number(0, type));
  });
  Elimination state{node.concat({*matrices, unit}, 2), {}};
  for (int64_t step = 0; step < size && !node.getProblem(); ++step)
    eliminate(node, state, step, /*clearsAll=*/true);
  Value result = node.generic(
      in, type, {}, {}, state.matrices, [&](Body &body, ValueRange x) {
        Value batch = body.dim(0), row = body.dim(1);
        Value value = body.read(
            x[0], {batch, row, body.add(body.dim(2), body.index(size))});
        return body.div(value, body.read(x[0], {batch, row, row}));
      });
  return node.set(
      0, node.cast(node.reshape(result, node.inDims(0)), node.inElem(0)));
}

} // namespace

void registerMatrix(Registry &registry) {
  constexpr const char *kSmall = "matrices of more than 64 rows";
  registry.add(kOnnxDomain, {{"Det", 11, 1, 1, convertDet, kSmall}});
  registry.add(kMicrosoftDomain,
               {{"Inverse", 1, 1, 1, convertInverse, kSmall}});
}

} // namespace qcc::onnx_import
