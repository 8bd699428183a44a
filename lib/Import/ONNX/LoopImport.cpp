//===- LoopImport.cpp - building loops of any kind --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ControlFlow.h"
#include "Importer.h"
#include "Sequences.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Bodies of nested loops are imported again when sizes turn out to change; no
/// model needs many attempts.
static constexpr unsigned kMaxAttempts = 40;

void eraseBody(Region &region, ShapeTable &shapes) {
  region.walk([&](Operation *op) {
    for (Value result : op->getResults())
      shapes.forget(result);
    for (Region &inner : op->getRegions())
      for (Block &block : inner)
        for (BlockArgument argument : block.getArguments())
          shapes.forget(argument);
  });
  for (BlockArgument argument : region.front().getArguments())
    shapes.forget(argument);
  region.front().dropAllReferences();
  region.front().erase();
}

bool isBoolean(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getElementType().isInteger(1) && type.hasStaticShape() &&
         type.getNumElements() == 1;
}

std::optional<bool> getConstantCondition(NodeContext &node, Value value) {
  std::optional<ShapeElements> known =
      value ? node.shapes.lookup(value) : std::nullopt;
  if (!known || known->size() != 1)
    return std::nullopt;
  std::optional<int64_t> constant = (*known)[0].getInteger();
  return constant ? std::optional(*constant != 0) : std::nullopt;
}

LoopImport::LoopImport(NodeContext &node, SmallVector<Value> init)
    : node(node), init(std::move(init)) {
  for (Value value : this->init)
    dims.push_back(Emitter::dims(value));
}

AffineExpr LoopImport::getIteration() {
  if (!iteration)
    iteration = node.addRuntimeSymbol();
  return iteration;
}

/// Makes the sizes of carried value `i` that the body changes symbols; true if
/// there are new ones. None with a problem recorded if the types do not fit.
std::optional<bool> LoopImport::widen(unsigned i, Value next) {
  Dims yielded = Emitter::dims(next);
  if (Emitter::elem(next) != Emitter::elem(init[i]) ||
      yielded.size() != dims[i].size()) {
    (void)node.refuse(
        Emitter::elem(next) != Emitter::elem(init[i]) ? Diag::BadShape
                                                      : Diag::UnsupportedShape,
        "expected carried value " + Twine(i) + " to keep its type and rank");
    return std::nullopt;
  }
  bool changed = false;
  for (size_t d = 0; d < yielded.size(); ++d) {
    AffineExpr &have = dims[i][d];
    if (yielded[d] == have || llvm::is_contained(symbols, have))
      continue;
    have = node.addRuntimeSymbol();
    if (!have)
      return std::nullopt;
    symbols.push_back(have);
    changed = true;
  }
  return changed;
}

/// Imports the body with the carried values' current types; true if what it
/// yields has them.
std::optional<bool> LoopImport::importOnce(BodyImporter body, unsigned skip,
                                           Region &region,
                                           SmallVectorImpl<Value> &results) {
  OpBuilder &builder = node.importer.getBuilder();
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&region);
  SmallVector<Value> arguments;
  for (auto [value, shape] : llvm::zip_equal(init, dims))
    arguments.push_back(block->addArgument(
        makeTensorType(shape, Emitter::elem(value)), node.b.getLoc()));
  if (failed(body(arguments, results)))
    return std::nullopt;
  if (results.size() < init.size() + skip) {
    (void)node.refuse(Diag::BadGraph, "expected a body with at least " +
                                          Twine(init.size() + skip) +
                                          " outputs");
    return std::nullopt;
  }
  if (llvm::any_of(results, isSequence)) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "expected a body that gives tensors, but it gives a "
                      "sequence");
    return std::nullopt;
  }
  bool changed = false;
  for (unsigned i = 0; i < init.size(); ++i) {
    std::optional<bool> more = widen(i, results[i + skip]);
    if (!more)
      return std::nullopt;
    changed |= *more;
  }
  return !changed;
}

/// Sizes of a stacked element that are found inside the body have to be the
/// same in all iterations: symbols from outside get them.
std::optional<Dims> LoopImport::liftSizes(Value element, size_t firstInner,
                                          Region &region) {
  Dims result = Emitter::dims(element);
  for (AffineExpr &dim : result) {
    bool isInner = false;
    dim.walk([&](AffineExpr e) {
      auto symbol = dyn_cast<AffineSymbolExpr>(e);
      isInner |= symbol &&
                 (symbol.getPosition() >= firstInner || symbol == iteration ||
                  llvm::is_contained(symbols, AffineExpr(symbol)));
    });
    if (!isInner)
      continue;
    AffineExpr outer = node.addRuntimeSymbol();
    if (!outer)
      return std::nullopt;
    node.bind(outer, node.size(0));
    OpBuilder::InsertionGuard guard(node.b);
    node.b.setInsertionPointToEnd(&region.front());
    node.check(simplifyDim((dim - outer) * iteration), node.size(0), dim,
               outer);
    node.bind(outer, dim);
    dim = outer;
  }
  return result;
}

std::optional<SmallVector<Value>> LoopImport::run(AffineExpr trip,
                                                  Value condition, bool first,
                                                  bool hasCondition,
                                                  BodyImporter body) {
  unsigned skip = hasCondition ? 1 : 0;
  if (!getIteration())
    return std::nullopt;
  size_t firstInner = node.symbols.names.size();
  Region region;
  SmallVector<Value> results;
  for (unsigned attempt = 0;; ++attempt) {
    if (attempt == kMaxAttempts) {
      (void)node.refuse(Diag::LimitReached,
                        "expected the shapes of carried values to settle");
      return std::nullopt;
    }
    firstInner = node.symbols.names.size();
    std::optional<bool> settled = importOnce(body, skip, region, results);
    if (!settled) {
      if (!region.empty())
        eraseBody(region, node.shapes);
      return std::nullopt;
    }
    if (*settled)
      break;
    eraseBody(region, node.shapes);
    results.clear();
  }
  return build(trip, condition, first, skip, firstInner, region, results);
}

/// Sizes of carried values that change: their first values, and what they get
/// at the end of an iteration.
AffineMapAttr LoopImport::bindSizes(unsigned skip, ArrayRef<Value> results,
                                    SmallVectorImpl<int64_t> &positions) {
  SmallVector<AffineExpr> next;
  for (unsigned i = 0; i < init.size(); ++i) {
    Dims first = Emitter::dims(init[i]),
         yielded = Emitter::dims(results[i + skip]);
    for (size_t d = 0; d < first.size(); ++d) {
      if (!llvm::is_contained(symbols, dims[i][d]))
        continue;
      node.bind(dims[i][d], first[d]);
      positions.push_back(cast<AffineSymbolExpr>(dims[i][d]).getPosition());
      next.push_back(yielded[d]);
    }
  }
  return next.empty()
             ? AffineMapAttr()
             : AffineMapAttr::get(makeSizeMap(next, node.b.getContext()));
}

std::optional<SmallVector<Value>>
LoopImport::build(AffineExpr trip, Value condition, bool first, unsigned skip,
                  size_t firstInner, Region &region, ArrayRef<Value> results) {
  MLIRContext *context = node.b.getContext();
  auto refuse = [&](Diag id, const Twine &text) {
    (void)node.refuse(id, text);
    return std::nullopt;
  };
  if (skip && !isBoolean(results[0]))
    return refuse(Diag::BadShape,
                  "expected the body to give a condition of one boolean");
  // A condition that is always true is none.
  bool isWhile = skip && !(first && getConstantCondition(node, results[0]) ==
                                        std::optional(true));
  if (!isWhile && !trip)
    return refuse(Diag::BadGraph,
                  "expected a loop that ends, but it has neither a trip "
                  "count nor a condition that changes");
  unsigned numCarried = init.size(), numResults = results.size() - skip;
  SmallVector<Dims> stacks;
  for (unsigned i = numCarried; i < numResults; ++i) {
    std::optional<Dims> element =
        liftSizes(results[i + skip], firstInner, region);
    if (!element)
      return std::nullopt;
    stacks.push_back(*element);
  }
  // How many slices a stack has is known before where nothing ends the loop
  // early.
  IntegerAttr count;
  AffineExpr steps = trip;
  bool mayBeNegative =
      skip && trip && !isa<AffineConstantExpr>(trip) &&
      (!isa<AffineSymbolExpr>(trip) || node.symbols.isRuntime(trip));
  if (!stacks.empty() && (isWhile || mayBeNegative)) {
    steps = node.addRuntimeSymbol();
    if (!steps)
      return std::nullopt;
    count =
        node.b.getI64IntegerAttr(cast<AffineSymbolExpr>(steps).getPosition());
  }
  SmallVector<Type> types;
  for (auto [value, shape] : llvm::zip_equal(init, dims))
    types.push_back(makeTensorType(shape, Emitter::elem(value)));
  for (auto [i, element] : llvm::enumerate(stacks)) {
    element.insert(element.begin(), steps);
    types.push_back(
        makeTensorType(element, Emitter::elem(results[numCarried + i + skip])));
  }
  SmallVector<int64_t> positions;
  AffineMapAttr next = bindSizes(skip, results, positions);
  if (isWhile && !condition)
    condition = node.scalar(1, node.b.getI1Type());
  {
    OpBuilder::InsertionGuard guard(node.b);
    node.b.setInsertionPointToEnd(&region.front());
    YieldOp::create(node.b, isWhile ? results : results.drop_front(skip));
  }
  auto loop = LoopOp::create(
      node.b, types, isWhile ? condition : Value(), init,
      trip ? AffineMapAttr::get(makeSizeMap({trip}, context)) : AffineMapAttr(),
      node.b.getI64IntegerAttr(cast<AffineSymbolExpr>(iteration).getPosition()),
      count, node.b.getDenseI64ArrayAttr(positions), next);
  loop.getBody().takeBody(region);
  return SmallVector<Value>(loop.getResults());
}

} // namespace qcc::onnx_import
