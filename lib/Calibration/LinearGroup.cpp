//===- LinearGroup.cpp - products of the same activation --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/LinearGroup.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

SmallVector<LinearGroup>
qcc::collectLinearGroups(func::FuncOp func,
                         llvm::function_ref<bool(MatMulOp)> take) {
  llvm::MapVector<Value, LinearGroup> groups;
  func.walk([&](MatMulOp op) {
    if (isConstantExpression(op.getResult()) || !take(op))
      return;
    LinearGroup &group = groups[op.getLhs()];
    group.input = op.getLhs();
    group.layers.push_back(op);
  });
  return llvm::map_to_vector(groups.takeVector(),
                             [](auto &entry) { return entry.second; });
}

int64_t qcc::getWeightRows(MatMulOp layer) {
  return cast<RankedTensorType>(layer.getRhs().getType())
      .getDimSize(layer.getTransB() ? 1 : 0);
}

int64_t qcc::getWeightColumns(MatMulOp layer) {
  return cast<RankedTensorType>(layer.getRhs().getType())
      .getDimSize(layer.getTransB() ? 0 : 1);
}

llvm::Expected<std::vector<float>> qcc::readWeight(Workspace &workspace,
                                                   MatMulOp layer) {
  auto values = workspace.evaluate(layer.getRhs());
  if (!values)
    return values;
  // Algorithms take what is not finite as 0, which would hide a broken model.
  for (float value : *values)
    if (!std::isfinite(value))
      return makeError(Diag::BadTensor, describeNode(layer.getLoc()),
                       "expected finite weights, but got " +
                           llvm::Twine(std::isnan(value) ? "NaN" : "infinity"));
  if (!layer.getTransB())
    return values;
  int64_t k = getWeightRows(layer), n = getWeightColumns(layer);
  std::vector<float> turned(values->size());
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      turned[size_t(i * n + j)] = (*values)[size_t(j * k + i)];
  return std::move(turned);
}

Value qcc::scaleChannels(OpBuilder &b, Value value, ArrayRef<int64_t> dims,
                         ArrayRef<int64_t> sizes, ArrayRef<float> factors,
                         bool divide) {
  MLIRContext *context = b.getContext();
  auto type = cast<RankedTensorType>(value.getType());
  auto factorType = RankedTensorType::get(sizes, b.getF32Type());
  Location loc = value.getLoc();
  Value factor = ConstantOp::create(
      b, loc, factorType, DenseElementsAttr::get(factorType, factors));
  unsigned rank = unsigned(type.getRank());
  SmallVector<AffineExpr> read;
  for (int64_t dim : dims)
    read.push_back(getAffineDimExpr(unsigned(dim), context));
  auto generic = GenericOp::create(
      b, loc, type, Combiner::None, ValueRange{value, factor},
      b.getAffineMapArrayAttr({AffineMap::getMultiDimIdentityMap(rank, context),
                               AffineMap::get(rank, 0, read, context)}),
      ValueRange{}, AffineMapAttr());
  OpBuilder::InsertionGuard guard(b);
  Block *block = b.createBlock(&generic.getBody());
  Value x = block->addArgument(b.getF32Type(), loc),
        y = block->addArgument(b.getF32Type(), loc);
  Value result = divide ? Value(arith::DivFOp::create(b, loc, x, y))
                        : Value(arith::MulFOp::create(b, loc, x, y));
  YieldOp::create(b, loc, result);
  return generic.getResult();
}

void qcc::scaleWeightRows(MatMulOp layer, ArrayRef<float> scales) {
  OpBuilder b(layer);
  layer.getRhsMutable().set(scaleChannels(b, layer.getRhs(),
                                          {layer.getTransB() ? 1 : 0},
                                          {int64_t(scales.size())}, scales,
                                          /*divide=*/false));
}

void qcc::divideInput(const LinearGroup &group, ArrayRef<float> scales) {
  OpBuilder b(group.layers.front());
  auto type = cast<RankedTensorType>(group.input.getType());
  Value divided =
      scaleChannels(b, group.input, {type.getRank() - 1},
                    {int64_t(scales.size())}, scales, /*divide=*/true);
  for (MatMulOp layer : group.layers)
    layer.getLhsMutable().set(divided);
}
