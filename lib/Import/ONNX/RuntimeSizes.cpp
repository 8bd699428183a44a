//===- RuntimeSizes.cpp - sizes that are found at run time ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Emitter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace qcc::onnx_import {

bool SymbolContext::isRuntime(AffineExpr expr) const {
  return usesSymbolsFrom(expr, firstRuntime);
}

void Emitter::check(AffineExpr x, AffineExpr y, AffineExpr got,
                    AffineExpr wanted) {
  SmallVector<AffineExpr> sizes = {x, y};
  // An entry computes them all: those that take long are left out.
  constexpr size_t limit = 200;
  if (got && countTerms(got, limit) + countTerms(wanted, limit) <= limit)
    sizes.append({got, wanted});
  AffineMap map = makeSizeMap(sizes, b.getContext());
  // What holds in a branch or a loop need not hold where it does not run.
  Operation *parent = b.getInsertionBlock()->getParentOp();
  if (isa_and_nonnull<func::FuncOp>(parent) && !symbols.isRuntime(x) &&
      !symbols.isRuntime(y))
    symbols.checks.push_back({map, getNodeName(b.getLoc()).str()});
  else
    CheckOp::create(b, map);
}

void Emitter::checkHere(AffineExpr x, AffineExpr y) {
  CheckOp::create(b, makeSizeMap({x, y}, b.getContext()));
}

LogicalResult Emitter::requireElements(Operation *op, ValueRange sizes,
                                       const Dims &space) {
  if (sizes.empty())
    return success();
  auto isThere = [](AffineExpr size) { return isAtLeastZero(size - 1); };
  AffineExpr runs = size(1);
  for (AffineExpr dim : space)
    runs = runs * isThere(dim);
  runs = simplifyDim(runs);
  llvm::SmallSetVector<AffineExpr, 4> readFrom;
  for (Value value : sizes) {
    if (auto extent = value.getDefiningOp<ExtentOp>())
      readFrom.insert(simplifyDim(extent.getExpr().getResult(0)));
    else if (std::optional<int64_t> known = getConstantIntValue(value))
      readFrom.insert(size(*known));
  }
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(op);
  for (AffineExpr from : readFrom) {
    // Where it is one of the operation's own sizes nothing is computed.
    if (llvm::is_contained(space, from) || isNonNegative(simplifyDim(from - 1)))
      continue;
    AffineExpr fails = simplifyDim(runs * (1 - isThere(from)));
    std::optional<int64_t> known = getConstantSize(fails);
    if (known && *known != 0)
      return refuse(Diag::BadShape, "expected elements to read, but got a "
                                    "dimension of size 0");
    if (!known)
      checkHere(fails, size(0));
  }
  return success();
}

void Emitter::checkResultSizes(Operation *op) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(op);
  bool isEntry = isa_and_nonnull<func::FuncOp>(op->getParentOp());
  for (Type type : op->getResultTypes()) {
    if (!isa<RankedTensorType>(type))
      continue;
    for (AffineExpr dim : getDims(type)) {
      if (isNonNegative(dim) || symbols.nonNegative.contains(dim))
        continue;
      check(dim.floorDiv(kSizeRange), size(0), dim, size(0));
      // What an entry checks holds in all that it runs.
      if (isEntry)
        symbols.nonNegative.insert(dim);
    }
  }
}

AffineExpr Emitter::addRuntimeSymbol() {
  if (symbols.names.size() >= kMaxModuleSymbols) {
    (void)refuse(Diag::LimitReached, "expected at most " +
                                         Twine(kMaxModuleSymbols) +
                                         " sizes that are found at run time");
    return {};
  }
  size_t position = symbols.names.size();
  auto name = dyn_cast<NameLoc>(b.getLoc());
  symbols.names.push_back((name ? name.getName().getValue() : "size").str() +
                          "#" +
                          std::to_string(position - symbols.firstRuntime));
  return getAffineSymbolExpr(position, b.getContext());
}

/// The tensor and element that element `i` of `tensor` is a copy of.
static std::pair<Value, int64_t> traceElement(Value tensor, int64_t i) {
  while (Operation *op = tensor.getDefiningOp()) {
    auto type = cast<RankedTensorType>(tensor.getType());
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      tensor = reshape.getInput();
      continue;
    }
    auto concat = dyn_cast<ConcatOp>(op);
    if (concat && type.getRank() == 1) {
      int64_t at = i;
      Value found;
      for (Value input : concat.getInputs()) {
        auto part = cast<RankedTensorType>(input.getType());
        if (!part.hasStaticShape())
          break;
        if (at < part.getNumElements()) {
          found = input;
          break;
        }
        at -= part.getNumElements();
      }
      if (!found)
        break;
      tensor = found;
      i = at;
      continue;
    }
    // A slice with constant bounds.
    auto generic = dyn_cast<GenericOp>(op);
    if (!generic || !generic.isCopy() || type.getRank() > 1)
      break;
    AffineMap map = generic.getMap(0);
    if (map.getNumResults() != 1)
      break;
    AffineExpr at = map.getResult(0);
    if (type.getRank() == 1)
      at = at.replace(getAffineDimExpr(0, tensor.getContext()),
                      getAffineConstantExpr(i, tensor.getContext()));
    std::optional<int64_t> known = getConstantSize(at);
    if (!known)
      break;
    tensor = generic.getInputs()[0];
    i = *known;
  }
  return {tensor, i};
}

AffineExpr Emitter::traceKnown(Value tensor, int64_t i) {
  auto lookup = [&](Value value, int64_t at) -> AffineExpr {
    std::optional<ShapeElements> known = shapes.lookup(value);
    if (known && at < static_cast<int64_t>(known->size()) &&
        (*known)[at].denominator == 1)
      return (*known)[at].numerator;
    return shapes.lookupBound(value, at);
  };
  if (AffineExpr found = lookup(tensor, i))
    return found;
  std::tie(tensor, i) = traceElement(tensor, i);
  if (AffineExpr found = lookup(tensor, i))
    return found;
  if (auto constant = tensor.getDefiningOp<ConstantOp>())
    if (auto dense = dyn_cast<DenseIntElementsAttr>(constant.getValue())) {
      APInt value = dense.getValues<APInt>()[i];
      return size(isUnsignedElement(elem(tensor))
                      ? static_cast<int64_t>(value.getZExtValue())
                      : value.getSExtValue());
    }
  return {};
}

AffineExpr Emitter::readElement(Value tensor, int64_t i) {
  if (AffineExpr known = traceKnown(tensor, i))
    return known;
  std::tie(tensor, i) = traceElement(tensor, i);
  AffineExpr symbol = addRuntimeSymbol();
  if (!symbol)
    return {};
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointAfterValue(tensor);
  BindOp::create(b, cast<AffineSymbolExpr>(symbol).getPosition(), tensor, i,
                 AffineMapAttr());
  shapes.setBound(tensor, i, symbol);
  return symbol;
}

void Emitter::bind(AffineExpr symbol, AffineExpr value) {
  BindOp::create(b, cast<AffineSymbolExpr>(symbol).getPosition(), Value(), 0,
                 AffineMapAttr::get(makeSizeMap({value}, b.getContext())));
}

AffineExpr Emitter::nameSize(AffineExpr value) {
  if (getConstantSize(value) || isa<AffineSymbolExpr>(value))
    return value;
  AffineExpr symbol = addRuntimeSymbol();
  if (symbol)
    bind(symbol, value);
  return symbol;
}

LogicalResult
Emitter::checkValues(ValueRange whole,
                     llvm::function_ref<Value(Body &, ValueRange)> holds) {
  Value fault = computeInts(
      whole,
      [&](Body &body, ValueRange x) {
        return SmallVector<Value>{body.select(
            holds(body, x), body.integer(0, i64()), body.integer(1, i64()))};
      },
      1);
  AffineExpr read = fault ? readElement(fault, 0) : AffineExpr();
  if (!read)
    return failure();
  checkHere(read, size(0));
  return success();
}

Value Emitter::computeInts(
    ValueRange whole,
    llvm::function_ref<SmallVector<Value>(Body &, ValueRange)> fn,
    int64_t count) {
  return generic({size(count)}, i64(), {}, {}, whole,
                 [&](Body &body, ValueRange x) {
                   SmallVector<Value> values = fn(body, x);
                   Value result = values.back();
                   for (int64_t i = count - 1; i-- > 0;)
                     result = body.select(body.eq(body.dim(0), body.index(i)),
                                          values[i], result);
                   return result;
                 });
}

} // namespace qcc::onnx_import
