//===- ControlFlow.cpp - If, Loop and Scan ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A condition or trip count that is known decides while importing; others
// become `qcc.if` and `qcc.loop`. The shapes of carried values are found by
// importing a body until what it yields has the shapes that it was imported
// with: sizes that change become run-time symbols.
//
//===----------------------------------------------------------------------===//
#include "ControlFlow.h"
#include "Importer.h"
#include "NodeContext.h"
#include "Registry.h"
#include "Sequences.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

const onnx::GraphProto *getGraph(NodeContext &node, StringRef name) {
  const onnx::AttributeProto *attribute = node.findAttr(name);
  if (attribute && attribute->has_g())
    return &attribute->g();
  (void)node.refuse(Diag::BadAttribute,
                    "expected a graph as attribute '" + name + "'");
  return nullptr;
}

//===----------------------------------------------------------------------===//
// If
//===----------------------------------------------------------------------===//

/// Imports a branch in a region of its own.
LogicalResult importBranch(NodeContext &node, const onnx::GraphProto &graph,
                           Region &region, SmallVectorImpl<Value> &results) {
  OpBuilder &builder = node.importer.getBuilder();
  OpBuilder::InsertionGuard guard(builder);
  builder.createBlock(&region);
  if (failed(node.importer.importSubgraph(node, graph, {}, results)))
    return failure();
  if (results.size() < node.numOutputs())
    return node.refuse(Diag::BadGraph,
                       "expected a branch with " + Twine(node.numOutputs()) +
                           " outputs, but got " + Twine(results.size()));
  results.resize(node.numOutputs());
  if (llvm::any_of(results, isSequence))
    return node.refuse(Diag::UnsupportedForm,
                       "expected a branch that gives tensors, but one gives a "
                       "sequence");
  return success();
}

/// The type of a result of two branches; sizes that differ are new symbols,
/// which both branches bind at their ends. Null with a problem recorded if the
/// branches do not fit.
Type joinTypes(NodeContext &node, Value yes, Value no, Region &thenRegion,
               Region &elseRegion) {
  if (yes.getType() == no.getType())
    return yes.getType();
  if (Emitter::elem(yes) != Emitter::elem(no)) {
    (void)node.refuse(Diag::BadShape,
                      "expected both branches to give one element type");
    return {};
  }
  Dims a = Emitter::dims(yes), c = Emitter::dims(no), joined;
  if (a.size() != c.size()) {
    (void)node.refuse(Diag::UnsupportedShape,
                      "expected both branches to give one rank, but got " +
                          Twine(a.size()) + " and " + Twine(c.size()));
    return {};
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == c[i]) {
      joined.push_back(a[i]);
      continue;
    }
    AffineExpr symbol = node.addRuntimeSymbol();
    if (!symbol)
      return {};
    OpBuilder::InsertionGuard guard(node.b);
    node.b.setInsertionPointToEnd(&thenRegion.front());
    node.bind(symbol, a[i]);
    node.b.setInsertionPointToEnd(&elseRegion.front());
    node.bind(symbol, c[i]);
    joined.push_back(symbol);
  }
  return makeTensorType(joined, Emitter::elem(yes));
}

/// The sizes that a condition compares, if it is true exactly for equal ones.
std::optional<std::pair<AffineExpr, AffineExpr>> getEquation(NodeContext &node,
                                                             Value condition) {
  auto generic = condition.getDefiningOp<GenericOp>();
  if (!generic || generic.isReduction() || generic.getInputs().size() != 2)
    return std::nullopt;
  auto compare = generic.getYielded().getDefiningOp<arith::CmpIOp>();
  if (!compare || compare.getPredicate() != arith::CmpIPredicate::eq)
    return std::nullopt;
  AffineExpr sides[2];
  for (unsigned i = 0; i < 2; ++i) {
    auto arg = dyn_cast<BlockArgument>(compare->getOperand(i));
    if (!arg || arg.getOwner() != generic.getBlock())
      return std::nullopt;
    Value input = generic.getInputs()[arg.getArgNumber()];
    if (getConstantSize(getNumElements(input.getType())) != 1)
      return std::nullopt;
    sides[i] = node.traceKnown(input, 0);
    if (!sides[i])
      return std::nullopt;
  }
  return std::pair(sides[0], sides[1]);
}

/// Exporters squeeze a dimension if its size is 1, with a branch for each case,
/// whose results have different ranks. A rank has to be known: that which the
/// model states, else that of a size of 1 where the size was computed (that of
/// a named one is rather a batch). What is assumed is checked when the model
/// runs. None if the condition is another one.
std::optional<LogicalResult> chooseRank(NodeContext &node,
                                        const onnx::GraphProto &yes,
                                        const onnx::GraphProto &no,
                                        ArrayRef<Value> thenValues,
                                        ArrayRef<Value> elseValues) {
  auto equation = getEquation(node, node.in(0));
  if (!equation)
    return std::nullopt;
  auto [x, y] = *equation;
  bool squeezes = !isa<AffineSymbolExpr>(x) && !isa<AffineSymbolExpr>(y);
  for (unsigned i = 0; i < node.numOutputs(); ++i) {
    int64_t thenRank = Emitter::rank(thenValues[i]),
            elseRank = Emitter::rank(elseValues[i]);
    std::optional<int64_t> stated = node.getDeclaredRank(i);
    if (thenRank != elseRank && (stated == thenRank || stated == elseRank))
      squeezes = stated == thenRank;
  }
  bool holds = squeezes ? node.requireEqual(x, y, "a squeezed dimension")
                        : node.requireAtLeast(simplifyDim(x - y), node.size(1),
                                              "a dimension that is kept");
  SmallVector<Value> results;
  if (!holds || failed(node.importer.importSubgraph(node, squeezes ? yes : no,
                                                    {}, results)))
    return failure();
  for (unsigned i = 0; i < node.numOutputs(); ++i)
    if (failed(node.set(i, results[i])))
      return failure();
  return success();
}

LogicalResult convertRuntimeIf(NodeContext &node, const onnx::GraphProto &yes,
                               const onnx::GraphProto &no) {
  if (!isBoolean(node.in(0)))
    return node.refuse(Diag::BadShape, "expected a condition of one boolean");
  Region thenRegion, elseRegion;
  SmallVector<Value> thenValues, elseValues;
  if (failed(importBranch(node, yes, thenRegion, thenValues)) ||
      failed(importBranch(node, no, elseRegion, elseValues)))
    return failure();
  SmallVector<Type> types;
  bool differ =
      llvm::any_of(llvm::zip_equal(thenValues, elseValues), [](auto v) {
        return Emitter::rank(std::get<0>(v)) != Emitter::rank(std::get<1>(v));
      });
  if (differ) {
    SmallVector<Value> kept(thenValues), other(elseValues);
    if (std::optional<LogicalResult> chosen =
            chooseRank(node, yes, no, kept, other)) {
      eraseBody(thenRegion, node.shapes);
      eraseBody(elseRegion, node.shapes);
      return *chosen;
    }
  }
  for (auto [a, c] : llvm::zip_equal(thenValues, elseValues)) {
    types.push_back(joinTypes(node, a, c, thenRegion, elseRegion));
    if (!types.back())
      return failure();
  }
  for (auto [region, values] : {std::pair(&thenRegion, &thenValues),
                                std::pair(&elseRegion, &elseValues)}) {
    OpBuilder::InsertionGuard guard(node.b);
    node.b.setInsertionPointToEnd(&region->front());
    YieldOp::create(node.b, *values);
  }
  auto branch = IfOp::create(node.b, types, node.in(0));
  branch.getThenRegion().takeBody(thenRegion);
  branch.getElseRegion().takeBody(elseRegion);
  for (auto [i, result] : llvm::enumerate(branch.getResults()))
    if (failed(node.set(i, result)))
      return failure();
  return success();
}

LogicalResult convertIf(NodeContext &node) {
  const onnx::GraphProto *yes = getGraph(node, "then_branch"),
                         *no = getGraph(node, "else_branch");
  if (!yes || !no)
    return failure();
  std::optional<SmallVector<int64_t>> condition = node.getInts(0);
  if (!condition || condition->size() != 1)
    return convertRuntimeIf(node, *yes, *no);
  // The branch that the condition chooses, in place.
  SmallVector<Value> results;
  if (failed(node.importer.importSubgraph(node, (*condition)[0] ? *yes : *no,
                                          {}, results)))
    return failure();
  if (results.size() < node.numOutputs())
    return node.refuse(Diag::BadGraph,
                       "expected a branch with " + Twine(node.numOutputs()) +
                           " outputs, but got " + Twine(results.size()));
  for (unsigned i = 0; i < node.numOutputs(); ++i)
    if (failed(node.set(i, results[i])))
      return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// Loop
//===----------------------------------------------------------------------===//

/// The number of iterations that input 0 allows; null if it sets no limit. None
/// with a problem recorded if it is no integer.
std::optional<AffineExpr> getTripCount(NodeContext &node) {
  if (!node.has(0))
    return AffineExpr();
  std::optional<Dims> trip =
      node.readSizes(0, "the trip count", /*allowNegative=*/true);
  if (!trip)
    return std::nullopt;
  if (trip->size() != 1) {
    (void)node.refuse(Diag::BadShape, "expected a trip count of one integer");
    return std::nullopt;
  }
  std::optional<int64_t> known = getConstantSize((*trip)[0]);
  if (known && *known >= int64_t(1) << 46)
    return AffineExpr();
  return known ? node.size(std::max<int64_t>(*known, 0)) : (*trip)[0];
}

LogicalResult convertLoop(NodeContext &node) {
  const onnx::GraphProto *graph = getGraph(node, "body");
  if (!graph)
    return failure();
  unsigned carried = node.numInputs() > 2 ? node.numInputs() - 2 : 0;
  for (unsigned i = 0; i < carried; ++i)
    if (!node.has(i + 2))
      return node.refuse(Diag::BadGraph, "expected initial value " + Twine(i) +
                                             ", but it is left out");
  if (graph->input_size() != static_cast<int>(carried + 2) ||
      graph->output_size() < static_cast<int>(carried + 1) ||
      node.numOutputs() > static_cast<unsigned>(graph->output_size() - 1))
    return node.refuse(Diag::BadGraph, "expected a body with " +
                                           Twine(carried + 2) +
                                           " inputs and at least " +
                                           Twine(carried + 1) + " outputs");
  std::optional<AffineExpr> trip = getTripCount(node);
  if (!trip)
    return failure();
  if (node.has(1) && !isBoolean(node.in(1)))
    return node.refuse(Diag::BadShape, "expected a condition of one boolean");

  CarriedSequences sequences(
      node, node.getInputs().drop_front(std::min(2u, node.numInputs())));
  LoopImport loop(node, sequences.getTensors());
  AffineExpr iteration = loop.getIteration();
  if (!iteration)
    return failure();
  auto body = [&](ArrayRef<Value> values, SmallVectorImpl<Value> &results) {
    // The position has the shape that the body states, one element at most.
    const onnx::TypeProto &type = graph->input(0).type();
    int64_t rank = type.has_tensor_type() && type.tensor_type().has_shape() &&
                           type.tensor_type().shape().dim_size() == 1
                       ? 1
                       : 0;
    SmallVector<int64_t> shape(rank, 1);
    Emitter emitter(node.importer.getBuilder(), node.b.getLoc(), node.shapes,
                    node.symbols);
    ShapeElements position = {{iteration}};
    Value number =
        emitter.materialize(position, RankedTensorType::get(shape, node.i64()));
    node.shapes.set(number, position);
    SmallVector<Value> arguments = {number,
                                    emitter.scalar(1, node.b.getI1Type())};
    sequences.addArguments(emitter, values, arguments);
    if (failed(node.importer.importSubgraph(node, *graph, arguments, results)))
      return failure();
    return sequences.takeResults(results);
  };
  std::optional<bool> first = getConstantCondition(node, node.in(1));
  std::optional<SmallVector<Value>> results =
      loop.run(*trip, node.in(1), first.value_or(!node.has(1)), true, body);
  if (!results)
    return failure();
  return sequences.setOutputs(*results);
}

//===----------------------------------------------------------------------===//
// Scan
//===----------------------------------------------------------------------===//

/// An attribute with one number for each of `count` tensors, 0 by default.
std::optional<SmallVector<int64_t>> getPerTensor(NodeContext &node,
                                                 StringRef name, size_t count) {
  SmallVector<int64_t> values =
      node.attrInts(name).value_or(SmallVector<int64_t>(count, 0));
  if (values.size() == count)
    return values;
  (void)node.refuse(Diag::BadAttribute,
                    "expected " + Twine(count) + " numbers as attribute '" +
                        name + "', but got " + Twine(values.size()));
  return std::nullopt;
}

/// A stack `[steps, ...]` with the steps at `axis`, in the other order if
/// `reverse`.
Value placeSteps(NodeContext &node, Value stack, int64_t axis, bool reverse) {
  int64_t rank = Emitter::rank(stack);
  std::optional<int64_t> to = node.normalizeAxis(axis, rank);
  if (!to)
    return {};
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(1, rank));
  order.insert(order.begin() + *to, 0);
  AffineExpr steps = Emitter::dims(stack)[0];
  if (reverse)
    stack = node.slice(stack, 0, simplifyDim(steps - 1), steps, -1);
  return *to == 0 ? stack : node.transpose(stack, order);
}

LogicalResult convertScan(NodeContext &node) {
  const onnx::GraphProto *graph = getGraph(node, "body");
  if (!graph)
    return failure();
  int64_t scanned = node.attrInt("num_scan_inputs", 0);
  auto inputs = static_cast<int64_t>(node.numInputs());
  if (scanned < 1 || scanned > inputs || graph->input_size() != inputs)
    return node.refuse(Diag::BadAttribute,
                       "expected 1 to " + Twine(inputs) +
                           " scan inputs and a body with as many inputs");
  int64_t carried = inputs - scanned, stacked = graph->output_size() - carried;
  if (stacked < 0 || node.numOutputs() > unsigned(graph->output_size()))
    return node.refuse(Diag::BadGraph, "expected a body with at least " +
                                           Twine(carried) + " outputs");
  for (int64_t i = 0; i < inputs; ++i)
    if (!node.has(i))
      return node.refuse(Diag::BadGraph,
                         "expected input " + Twine(i) + ", but it is left out");
  auto inAxes = getPerTensor(node, "scan_input_axes", scanned),
       inDirections = getPerTensor(node, "scan_input_directions", scanned),
       outAxes = getPerTensor(node, "scan_output_axes", stacked),
       outDirections = getPerTensor(node, "scan_output_directions", stacked);
  if (!inAxes || !inDirections || !outAxes || !outDirections)
    return failure();
  AffineExpr steps;
  for (int64_t i = 0; i < scanned; ++i) {
    std::optional<int64_t> axis =
        node.normalizeAxis((*inAxes)[i], node.inRank(carried + i));
    if (!axis)
      return failure();
    (*inAxes)[i] = *axis;
    AffineExpr dim = node.inDims(carried + i)[*axis];
    if (steps && !node.requireEqual(steps, dim, "scanned axes"))
      return failure();
    steps = dim;
  }
  LoopImport loop(node,
                  SmallVector<Value>(node.getInputs().take_front(carried)));
  AffineExpr iteration = loop.getIteration();
  if (!iteration)
    return failure();
  auto body = [&](ArrayRef<Value> values, SmallVectorImpl<Value> &results) {
    Emitter emitter(node.importer.getBuilder(), node.b.getLoc(), node.shapes,
                    node.symbols);
    SmallVector<Value> arguments(values);
    for (int64_t i = 0; i < scanned; ++i) {
      int64_t axis = (*inAxes)[i];
      AffineExpr at =
          (*inDirections)[i] ? simplifyDim(steps - 1 - iteration) : iteration;
      Value slice = emitter.slice(node.in(carried + i), axis, at, node.size(1));
      Dims dims = Emitter::dims(slice);
      dims.erase(dims.begin() + axis);
      arguments.push_back(emitter.reshape(slice, dims));
    }
    return node.importer.importSubgraph(node, *graph, arguments, results);
  };
  std::optional<SmallVector<Value>> results =
      loop.run(steps, {}, true, false, body);
  if (!results)
    return failure();
  for (auto [i, result] : llvm::enumerate(*results)) {
    int64_t stack = static_cast<int64_t>(i) - carried;
    if (stack >= 0)
      result = placeSteps(node, result, (*outAxes)[stack],
                          (*outDirections)[stack] != 0);
    if (failed(node.set(i, result)))
      return failure();
  }
  return success();
}

} // namespace

void registerControlFlow(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"If", 1, 1, 1, convertIf,
                                 "branches that give different ranks"},
                                {"Loop", 1, 0, kAnyNumber, convertLoop,
                                 "carried values that change their rank; "
                                 "sequences but for appending one "
                                 "tensor in each iteration"},
                                {"Scan", 9, 1, kAnyNumber, convertScan},
                            });
}

} // namespace qcc::onnx_import
