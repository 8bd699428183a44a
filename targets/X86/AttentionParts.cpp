//===- AttentionParts.cpp - attention with transposes around it -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AttentionParts.h"
#include "Tiles.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

Value Operand::offset(KernelBuilder &b, ArrayRef<Value> indices) const {
  Value result = b.idx(0);
  for (auto [index, stride] : llvm::zip_equal(indices, strides))
    result = b.add(result, b.mul(index, stride));
  return result;
}

/// True for a copy that permutes the dimensions of a block argument.
static bool isPermutation(GenericOp op) {
  return op.isCopy() && op.getMap(0).isPermutation();
}

/// The permuting copy behind an operand, or null.
static GenericOp getCopy(Value operand) {
  auto copy = operand.getDefiningOp<GenericOp>();
  return copy && isPermutation(copy) && isa<BlockArgument>(copy.getInputs()[0])
             ? copy
             : GenericOp();
}

std::optional<AttentionParts> AttentionParts::find(Block &body) {
  AttentionParts parts;
  for (Operation &op : body.without_terminator())
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      if (parts.op)
        return std::nullopt;
      parts.op = attention;
    }
  if (!parts.op || body.getTerminator()->getNumOperands() != 1)
    return std::nullopt;
  size_t numOps = 2;
  MLIRContext *context = body.getParentOp()->getContext();
  for (Value operand : parts.op->getOperands()) {
    if (!isF32Tensor(operand.getType()))
      return std::nullopt;
    if (isa<BlockArgument>(operand))
      continue;
    if (operand == parts.op.getSink())
      return std::nullopt;
    GenericOp copy = getCopy(operand);
    // Vectors run along the last dimension.
    if (!copy || !copy->hasOneUse() ||
        copy.getMap(0).getResult(3) != getAffineDimExpr(3, context))
      return std::nullopt;
    ++numOps;
  }
  if (!isF32Tensor(parts.op.getResult().getType()))
    return std::nullopt;
  Value result = parts.op.getResult(),
        yielded = body.getTerminator()->getOperand(0);
  auto last = yielded.getDefiningOp<GenericOp>();
  if (last && last.getInputs().size() == 1 && !last.isReduction() &&
      last.getWhole().empty() && last.getMap(0).isPermutation() &&
      !last.getMap(0).isIdentity() && last.getInputs()[0] == result &&
      result.hasOneUse() &&
      last.getMap(0).getResult(3) == getAffineDimExpr(3, context)) {
    parts.permuted = last;
    parts.epilogue.rootResult = result;
    ++numOps;
  } else {
    FailureOr<Epilogue> epilogue = getEpilogue(parts.op);
    if (failed(epilogue))
      return std::nullopt;
    parts.epilogue = *epilogue;
    numOps += epilogue->chain.size();
  }
  if (size_t(std::distance(body.begin(), body.end())) != numOps)
    return std::nullopt;
  return parts;
}

Operand AttentionParts::getOperand(KernelBuilder &b, Value operand) const {
  Operand result;
  SmallVector<AffineExpr> dims = getDims(operand.getType());
  if (GenericOp copy = getCopy(operand)) {
    auto source = cast<BlockArgument>(copy.getInputs()[0]);
    SmallVector<Value> strides = b.strides(source.getType());
    result.pointer = b.pointer(source);
    result.strides.resize(4);
    for (auto [i, expr] : llvm::enumerate(copy.getMap(0).getResults()))
      result.strides[cast<AffineDimExpr>(expr).getPosition()] = strides[i];
  } else {
    result.pointer = b.pointer(cast<BlockArgument>(operand));
    result.strides = b.strides(operand.getType());
  }
  AttentionOp attention = op;
  if (operand == attention.getMask())
    for (unsigned i = 0; i < 4; ++i)
      if (getConstantSize(dims[i]) == 1) {
        result.strides[i] = b.idx(0);
        result.unit &= i != 3;
      }
  return result;
}

Operand AttentionParts::getResult(KernelBuilder &b) const {
  Operand result;
  result.pointer = b.resultPointer(0);
  if (!permuted) {
    AttentionOp attention = op;
    result.strides = b.strides(attention.getResult().getType());
    return result;
  }
  GenericOp copy = permuted;
  // The copy reads the attention's dimension i at its own dimension `expr`.
  SmallVector<Value> strides = b.strides(copy.getResult().getType());
  for (AffineExpr expr : copy.getMap(0).getResults())
    result.strides.push_back(strides[cast<AffineDimExpr>(expr).getPosition()]);
  return result;
}

LogicalResult AttentionParts::store(KernelBuilder &b, const Operand &result,
                                    Value value, ArrayRef<Value> indices,
                                    unsigned lanes, Value count) const {
  Type stored = getStoredType(b.kernel().getBody().front());
  Value offset = result.offset(b, indices);
  if (!permuted)
    return storeWithEpilogue(b, epilogue, value, indices, lanes, count,
                             result.pointer, stored, offset);
  GenericOp last = permuted;
  AttentionOp attention = op;
  auto compute = [&](Value element, ArrayRef<Value> at, unsigned width,
                     Value mask) {
    SmallVector<Value> own(at.size());
    for (auto [index, expr] : llvm::zip_equal(at, last.getMap(0).getResults()))
      own[cast<AffineDimExpr>(expr).getPosition()] = index;
    std::pair<Value, Value> computed(attention.getResult(), element);
    return computeGeneric(b, last, own, width, mask, computed);
  };
  return storeComputed(b, compute, value, indices, lanes, count, result.pointer,
                       stored, offset);
}
