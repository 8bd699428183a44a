//===- Observations.cpp - which values calibration looks at -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Observations.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace qcc;

static bool isF32(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32();
}

//===----------------------------------------------------------------------===//
// Channels
//===----------------------------------------------------------------------===//

/// The axis along which the first operand of a product or convolution with a
/// weight is summed.
static std::optional<unsigned> getChannelAxis(Operation *op) {
  if (op->getNumOperands() < 2 || !isF32(op->getOperand(0)) ||
      isConstantExpression(op->getOperand(0)) ||
      !isConstantExpression(op->getOperand(1)))
    return std::nullopt;
  auto rank = cast<RankedTensorType>(op->getOperand(0).getType()).getRank();
  if (isa<ConvOp, ConvTransposeOp>(op) && rank >= 2)
    return 1;
  if (auto product = dyn_cast<MatMulOp>(op)) {
    int64_t fromEnd = product.getTransA() && rank >= 2 ? 2 : 1;
    if (rank >= fromEnd)
      return static_cast<unsigned>(rank - fromEnd);
  }
  return std::nullopt;
}

/// Channels of a value for the first of its readers that has an axis.
static Observation describe(Value value) {
  Observation result;
  for (Operation *user : value.getUsers()) {
    if (user->getOperand(0) != value)
      continue;
    std::optional<unsigned> axis = getChannelAxis(user);
    if (!axis)
      continue;
    SmallVector<AffineExpr> dims = getDims(value.getType());
    std::optional<int64_t> size = getConstantSize(dims[*axis]);
    if (!size || *size < 1)
      continue;
    result.channels = *size;
    result.inner =
        product(ArrayRef(dims).drop_front(*axis + 1), value.getContext());
    break;
  }
  return result;
}

static bool isWeighted(Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    return user->getOperand(0) == value && getChannelAxis(user);
  });
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

/// Reshapes have the numbers of what they reshape; only where channels are
/// another axis than there, they are values of their own.
static bool isNamed(Operation *op) {
  if (isa<LoopOp>(op))
    return true;
  if (isa<ReshapeOp>(op) && !isWeighted(op->getResult(0)))
    return false;
  return llvm::any_of(op->getResults(), [](Value result) {
    return isF32(result) && !isConstantExpression(result);
  });
}

void qcc::nameValues(ModuleOp module) {
  llvm::MapVector<StringRef, SmallVector<Operation *>> nodes;
  module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    // Bodies of generics and the like compute elements, not tensors.
    if (auto read = dyn_cast<StateReadOp>(op)) // named as the input it was
      op->setAttr(kValueNameAttr, StringAttr::get(op->getContext(),
                                                  read.getState() + ".input"));
    else if (isa_and_nonnull<QCCDialect>(op->getDialect()) && isNamed(op))
      nodes[getNodeName(op->getLoc())].push_back(op);
  });
  Builder b(module.getContext());
  for (auto &[node, ops] : nodes)
    for (auto [number, op] : llvm::enumerate(ops)) {
      std::string name = (node + ".output").str();
      if (ops.size() > 1)
        name += "." + std::to_string(number + 1) + "of" +
                std::to_string(ops.size());
      op->setAttr(kValueNameAttr, b.getStringAttr(name));
    }
}

void qcc::dropValueNames(ModuleOp module) {
  module.walk([](Operation *op) { op->removeAttr(kValueNameAttr); });
}

static std::string nameArgument(BlockArgument argument) {
  Operation *parent = argument.getOwner()->getParentOp();
  if (auto func = dyn_cast<func::FuncOp>(parent)) {
    auto name =
        func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "qcc.name");
    return name ? name.getValue().str() + ".input" : "";
  }
  auto name = parent->getAttrOfType<StringAttr>(kValueNameAttr);
  if (!name)
    return "";
  return name.getValue().str() + ".carried." +
         std::to_string(argument.getArgNumber());
}

std::string qcc::getResultObservationName(Value value) {
  if (!isF32(value))
    return "";
  while (auto reshape = value.getDefiningOp<ReshapeOp>()) {
    if (reshape->hasAttr(kValueNameAttr))
      break;
    value = reshape->getOperand(0);
  }
  auto result = dyn_cast<OpResult>(value);
  if (!result)
    return nameArgument(cast<BlockArgument>(value));
  auto name = result.getOwner()->getAttrOfType<StringAttr>(kValueNameAttr);
  if (!name)
    return "";
  std::string text = name.getValue().str();
  if (result.getResultNumber())
    text += "#" + std::to_string(result.getResultNumber());
  return text;
}

std::string qcc::getObservationName(Operation *op) {
  return op->getNumOperands() ? getResultObservationName(op->getOperand(0))
                              : "";
}

//===----------------------------------------------------------------------===//
// Observing
//===----------------------------------------------------------------------===//

/// True for a value inside of a chain that is one loop in any case.
static bool isInterior(Value value) {
  if (!value.hasOneUse() || !value.getDefiningOp<GenericOp>())
    return false;
  auto reader = dyn_cast<GenericOp>(*value.getUsers().begin());
  return reader && reader.getCombiner() == Combiner::None &&
         llvm::all_of(reader->getOperands(), [&](Value operand) {
           return operand == value || isConstantExpression(operand);
         });
}

static bool isObserved(Value value, ObservationScope scope) {
  if (!isF32(value) || isConstantExpression(value) || value.use_empty())
    return false;
  if (isWeighted(value))
    return true;
  if (scope == ObservationScope::Weighted || isa<BlockArgument>(value) ||
      value.getDefiningOp<ReshapeOp>())
    return false;
  return !isInterior(value);
}

std::vector<Observation> qcc::insertObservations(ModuleOp module,
                                                 ObservationScope scope) {
  SmallVector<Value> values;
  auto consider = [&](Value value, bool isWanted) {
    if (isWanted && !getResultObservationName(value).empty())
      values.push_back(value);
  };
  module.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (auto func = dyn_cast<func::FuncOp>(op))
      for (Value argument : func.getArguments())
        consider(argument,
                 isF32(argument) && !argument.use_empty() &&
                     (scope == ObservationScope::All || isWeighted(argument)));
    if (auto loop = dyn_cast<LoopOp>(op))
      for (Value argument : loop->getRegion(0).getArguments())
        consider(argument, isObserved(argument, ObservationScope::Weighted));
    for (Value result : op->getResults())
      if (op->hasAttr(kValueNameAttr))
        consider(result, isObserved(result, scope));
  });
  std::vector<Observation> observations;
  for (Value value : values) {
    Observation observation = describe(value);
    observation.name = getResultObservationName(value);
    OpBuilder b(module.getContext());
    if (Operation *op = value.getDefiningOp()) {
      b.setInsertionPointAfter(op);
    } else {
      // Sizes of carried values may be bound at the start of the block.
      Operation *first = nullptr;
      Block *block = cast<BlockArgument>(value).getOwner();
      for (Operation *user : value.getUsers()) {
        Operation *inside = block->findAncestorOpInBlock(*user);
        if (inside && (!first || inside->isBeforeInBlock(first)))
          first = inside;
      }
      if (!first)
        continue;
      b.setInsertionPoint(first);
    }
    ObserveOp::create(b, NameLoc::get(b.getStringAttr(observation.name)), value,
                      observation.name);
    observations.push_back(std::move(observation));
  }
  return observations;
}
