//===- ConstantVectors.cpp - values of decodes of constants -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "qcc/Scheme/SchemeCheck.h"

using namespace mlir;
using namespace qcc;

namespace {
/// Evaluates operations in order. Folders of arith and math do the numbers.
class VectorEvaluator {
public:
  explicit VectorEvaluator(MLIRContext *context) : builder(context) {}

  /// False if the operation cannot be evaluated.
  bool run(Operation &op);
  DenseElementsAttr get(Value value) const {
    return dyn_cast_or_null<DenseElementsAttr>(values.lookup(value));
  }

private:
  bool runMove(Operation &op);
  bool runWhole(Operation &op);
  bool runLanes(Operation &op);
  bool fold(Operation &op, ArrayRef<Attribute> operands, Attribute &result);
  /// Elements of operands, as many as the result has, in a new order.
  bool gather(Operation &op, ArrayRef<int64_t> order);

  OpBuilder builder;
  DenseMap<Value, Attribute> values;
};
} // namespace

bool VectorEvaluator::fold(Operation &op, ArrayRef<Attribute> operands,
                           Attribute &result) {
  SmallVector<OpFoldResult> results;
  if (op.getNumResults() != 1 || failed(op.fold(operands, results)) ||
      results.size() != 1)
    return false;
  if (auto value = dyn_cast<Value>(results[0])) {
    result = values.lookup(value);
    // One of the scalars of runLanes.
    if (!result)
      matchPattern(value, m_Constant(&result));
  } else {
    result = cast<Attribute>(results[0]);
  }
  return bool(result);
}

bool VectorEvaluator::gather(Operation &op, ArrayRef<int64_t> order) {
  SmallVector<Attribute> all, picked;
  for (Value operand : op.getOperands())
    llvm::append_range(all, get(operand).getValues<Attribute>());
  for (int64_t index : order) {
    if (index < 0 || index >= int64_t(all.size()))
      return false;
    picked.push_back(all[size_t(index)]);
  }
  auto type = cast<VectorType>(op.getResult(0).getType());
  values[op.getResult(0)] = DenseElementsAttr::get(type, picked);
  return true;
}

/// Operations that only move bits, which have no folders for all vectors.
bool VectorEvaluator::runMove(Operation &op) {
  if (isa<vector::BitCastOp, arith::BitcastOp>(op)) {
    auto type = dyn_cast<VectorType>(op.getResult(0).getType());
    DenseElementsAttr in = get(op.getOperand(0));
    if (!type || in.getElementType().isInteger(1) ||
        type.getElementType().isInteger(1))
      return false;
    SmallVector<char> bytes(in.getRawData());
    size_t one = bytes.size();
    for (int64_t i = 1; in.isSplat() && i < in.getNumElements(); ++i)
      bytes.append(bytes.begin(), bytes.begin() + one);
    values[op.getResult(0)] = DenseElementsAttr::getFromRawBuffer(type, bytes);
    return true;
  }
  if (auto shuffle = dyn_cast<vector::ShuffleOp>(op))
    return gather(op, shuffle.getMask());
  auto slice = dyn_cast<vector::ExtractStridedSliceOp>(op);
  if (!slice || slice.getSourceVectorType().getRank() != 1 ||
      slice.getOffsets().size() != 1)
    return false;
  int64_t offset = cast<IntegerAttr>(slice.getOffsets()[0]).getInt(),
          stride = cast<IntegerAttr>(slice.getStrides()[0]).getInt(),
          size = cast<IntegerAttr>(slice.getSizes()[0]).getInt();
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < size; ++i)
    order.push_back(offset + i * stride);
  return gather(op, order);
}

bool VectorEvaluator::runWhole(Operation &op) {
  SmallVector<Attribute> operands;
  for (Value operand : op.getOperands())
    operands.push_back(values.lookup(operand));
  Attribute result;
  if (!fold(op, operands, result) || !isa<DenseElementsAttr>(result))
    return false;
  values[op.getResult(0)] = result;
  return true;
}

/// Elementwise operations whose folders know scalars only.
bool VectorEvaluator::runLanes(Operation &op) {
  auto type = dyn_cast<VectorType>(op.getResult(0).getType());
  if (!type || !OpTrait::hasElementwiseMappableTraits(&op))
    return false;
  OwningOpRef<ModuleOp> scratch = ModuleOp::create(op.getLoc());
  builder.setInsertionPointToStart(scratch->getBody());
  SmallVector<Attribute> lanes;
  for (int64_t lane = 0; lane < type.getNumElements(); ++lane) {
    OperationState state(op.getLoc(), op.getName());
    SmallVector<Attribute> scalars;
    for (Value operand : op.getOperands()) {
      auto number =
          cast<TypedAttr>(get(operand).getValues<Attribute>()[size_t(lane)]);
      scalars.push_back(number);
      state.addOperands(
          arith::ConstantOp::create(builder, op.getLoc(), number).getResult());
    }
    state.addAttributes(op.getAttrs());
    state.addTypes(type.getElementType());
    Attribute result;
    if (!fold(*builder.create(state), scalars, result))
      return false;
    lanes.push_back(result);
  }
  values[op.getResult(0)] = DenseElementsAttr::get(type, lanes);
  return true;
}

bool VectorEvaluator::run(Operation &op) {
  if (op.getNumResults() != 1 || op.getNumRegions() != 0)
    return false;
  Attribute constant;
  if (matchPattern(&op, m_Constant(&constant))) {
    values[op.getResult(0)] = constant;
    return true;
  }
  // Scalars that are spread, say, are left to the folders.
  bool areVectors = llvm::all_of(
      op.getOperands(), [&](Value operand) { return bool(get(operand)); });
  return (areVectors && runMove(op)) || runWhole(op) ||
         (areVectors && runLanes(op));
}

std::optional<SmallVector<DenseElementsAttr>>
qcc::evaluateConstants(Block &block, ArrayRef<Value> results) {
  VectorEvaluator evaluator(block.getParentOp()->getContext());
  for (Operation &op : block)
    if (!evaluator.run(op))
      return std::nullopt;
  SmallVector<DenseElementsAttr> found;
  for (Value result : results) {
    found.push_back(evaluator.get(result));
    if (!found.back())
      return std::nullopt;
  }
  return found;
}
