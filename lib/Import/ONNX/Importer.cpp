//===- Importer.cpp - walks the graphs of a model ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Importer.h"
#include "ElementTypes.h"
#include "FunctionBody.h"
#include "NodeContext.h"
#include "NodeOrder.h"
#include "Registry.h"
#include "Sequences.h"
#include "ShapeEval.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Limits on what a file may ask for.
static constexpr uint64_t kMaxNodes = 10'000'000;
/// Nodes of inlined functions: a few functions that call each other ask for any
/// number of them.
static constexpr uint64_t kMaxInlinedNodes = 200'000;
static constexpr uint64_t kMaxInlinedBytes = uint64_t(64) << 20;
static constexpr unsigned kMaxGraphDepth = 32;
static constexpr size_t kMaxNameBytes = 65536;
static constexpr int kMaxValues = 16384;
static constexpr int64_t kMaxRank = 32, kMaxElements = int64_t(1) << 40;

static StringRef normalizeDomain(StringRef domain) {
  return domain == "ai.onnx" ? StringRef() : domain;
}

/// Names come from the file: what is not printable would garble a terminal.
static std::string printable(StringRef name) {
  std::string result = name.take_front(200).str();
  for (char &c : result)
    if (!llvm::isPrint(c))
      c = '?';
  return result;
}

static std::string describe(const onnx::NodeProto &node, StringRef name) {
  std::string domain = node.domain().empty() ? "" : node.domain() + "::";
  return printable("node '" + name.str() + "' (" + domain + node.op_type() +
                   ")");
}

LogicalResult Importer::reportInlined() {
  return report(Diag::LimitReached, path,
                "expected at most " + Twine(kMaxInlinedNodes) +
                    " nodes of functions");
}

LogicalResult Importer::importNodes(const NodeList &nodes, Scope &scope) {
  llvm::SaveAndRestore<Scope *> restore(current, &scope);
  // Only functions have no graph around them but a depth.
  bool failedAny = false, isInlined = scope.depth > 0 && !scope.parent;
  for (int i : orderNodes(nodes)) {
    if (++numNodes > kMaxNodes)
      return report(Diag::LimitReached, path,
                    "expected at most " + Twine(kMaxNodes) + " nodes");
    if (isInlined && ++numInlined > kMaxInlinedNodes)
      return reportInlined();
    if (failed(importNode(nodes[i], i, scope))) {
      // What a limit stops is not gone on with.
      bool isStopped = numNodes > kMaxNodes || numInlined > kMaxInlinedNodes ||
                       numInlinedBytes > kMaxInlinedBytes;
      if (!options.collectAll || isStopped)
        return failure();
      failedAny = true;
    }
  }
  return failure(failedAny);
}

std::optional<Value> Importer::lookup(StringRef name, const Scope &scope) {
  for (const Scope *s = &scope; s; s = s->parent) {
    if (auto found = s->values.find(name); found != s->values.end())
      return found->second;
    auto initializer = s->initializers.find(name);
    auto sparse = s->sparseInitializers.find(name);
    if (initializer == s->initializers.end() &&
        sparse == s->sparseInitializers.end())
      continue;
    // Constants stand at the start of the function, where all nodes see them.
    OpBuilder atStart(&context);
    atStart.setInsertionPointToStart(&function.getBody().front());
    Emitter emitter(atStart, NameLoc::get(StringAttr::get(&context, name)),
                    shapes, symbolContext);
    std::string key = s->prefix + name.str();
    Value value = initializer != s->initializers.end()
                      ? importTensor(*initializer->second, key, emitter)
                      : importTensor(*sparse->second, key, emitter);
    if (const std::optional<Problem> &problem = emitter.getProblem())
      (void)report(problem->id, "initializer '" + printable(name) + "'",
                   problem->text);
    const_cast<Scope *>(s)->values[name] = value;
    return value;
  }
  return std::nullopt;
}

LogicalResult Importer::define(StringRef name, Value value, Scope &scope,
                               StringRef where) {
  if (name.size() > kMaxNameBytes)
    return report(Diag::LimitReached, where,
                  "expected names of at most " + Twine(kMaxNameBytes) +
                      " bytes");
  if (scope.initializers.contains(name) ||
      scope.sparseInitializers.contains(name) ||
      !scope.values.try_emplace(name, value).second)
    return report(Diag::BadGraph, where,
                  "expected value '" + printable(name) +
                      "' to be defined once");
  return success();
}

LogicalResult Importer::gatherInputs(const onnx::NodeProto &node,
                                     const Scope &scope, StringRef where,
                                     SmallVectorImpl<Value> &inputs,
                                     bool &poisoned) {
  for (const std::string &name : node.input()) {
    if (name.empty()) {
      inputs.push_back({});
      continue;
    }
    std::optional<Value> value = lookup(name, scope);
    if (!value)
      return report(Diag::BadGraph, where,
                    "expected input '" + printable(name) +
                        "' to be defined before the node");
    if (!*value) {
      poisoned = true;
      for (const Scope *s = &scope; s; s = s->parent)
        if (auto reason = s->missing.find(name); reason != s->missing.end())
          return report(Diag::UnsupportedForm, reason->second,
                        "output '" + printable(name) +
                            "' is used, but it is not supported");
    }
    inputs.push_back(*value);
  }
  while (!inputs.empty() && !inputs.back())
    inputs.pop_back();
  return success();
}

static bool hasSymbol(AffineExpr expr) {
  bool found = false;
  expr.walk([&](AffineExpr e) { found |= isa<AffineSymbolExpr>(e); });
  return found;
}

std::string describeExcess(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return "";
  if (tensor.getRank() > kMaxRank)
    return ("expected a rank of at most " + Twine(kMaxRank) + ", but got " +
            Twine(tensor.getRank()))
        .str();
  int64_t count = 1;
  bool isEmpty = false, isTooLarge = false, isBeyond = false;
  for (AffineExpr dim : getDims(type)) {
    std::optional<int64_t> size = getConstantSize(dim);
    if (size && *size < 0)
      return ("expected sizes of 0 or more, but got " + Twine(*size)).str();
    isEmpty |= size == 0;
    // Such sizes would overflow in what is computed of them next.
    isBeyond |= size ? *size > kMaxElements : largestConstant(dim) > kMaxFactor;
    // Products stop at the limit, so that a size of 0 after it counts.
    isTooLarge |=
        size ? llvm::MulOverflow(count, std::max<int64_t>(*size, 1), count) ||
                   count > kMaxElements
             : !dim.isSymbolicOrConstant() || !hasSymbol(dim);
    if (isTooLarge)
      count = 1;
  }
  return isBeyond || (isTooLarge && !isEmpty)
             ? "expected tensors of at most 2^40 elements, but got more"
             : "";
}

LogicalResult Importer::checkSizes(Operation *before, NodeContext &node) {
  Block *block = builder.getInsertionBlock();
  Block::iterator first =
      before ? std::next(before->getIterator()) : block->begin();
  for (Operation &op : llvm::make_range(first, builder.getInsertionPoint())) {
    for (Type type : op.getResultTypes())
      if (std::string excess = describeExcess(type); !excess.empty())
        return node.refuse(StringRef(excess).contains("sizes of 0")
                               ? Diag::BadShape
                               : Diag::LimitReached,
                           excess);
    node.checkResultSizes(&op);
  }
  return success();
}

void Importer::foldConstants(Operation *before, NodeContext &node) {
  Block *block = builder.getInsertionBlock();
  Block::iterator first =
      before ? std::next(before->getIterator()) : block->begin();
  for (Operation &op : llvm::make_early_inc_range(
           llvm::make_range(first, builder.getInsertionPoint()))) {
    // Looked at here first: nearly all operations have an operand that varies.
    bool isConstant = llvm::all_of(op.getOperands(), [](Value operand) {
      return operand.getDefiningOp<ConstantOp>() != nullptr;
    });
    if (!isConstant || !isa<GenericOp, ReshapeOp, ConcatOp>(op))
      continue;
    DenseElementsAttr value = foldSmallConstant(&op);
    if (!value)
      continue;
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(&op);
    Value constant = ConstantOp::create(
        builder, op.getLoc(), cast<RankedTensorType>(value.getType()), value);
    node.replace(op.getResult(0), constant);
    op.getResult(0).replaceAllUsesWith(constant);
    shapes.forget(op.getResult(0));
    op.erase();
  }
}

LogicalResult Importer::convertNode(NodeContext &node, StringRef domain,
                                    StringRef where) {
  bool known = false;
  const Entry *entry =
      getRegistry().find(domain, node.getOp(), node.getOpset(), &known);
  if (!entry && known)
    return report(Diag::UnsupportedOpset, where,
                  "opset " + Twine(node.getOpset()) +
                      " of the operator is not supported");
  if (!entry)
    return report(Diag::UnsupportedOp, where,
                  "operator '" + printable(node.getOp()) +
                      "' is not supported");
  if (node.numInputs() < entry->minInputs ||
      node.numInputs() > entry->maxInputs)
    return report(Diag::BadGraph, where,
                  "expected " + Twine(entry->minInputs) +
                      (entry->maxInputs == entry->minInputs ? "" : " or more") +
                      " inputs, but got " + Twine(node.numInputs()));
  // What may be repeated may not be left out.
  unsigned numNeeded = entry->minInputs > 0 && entry->maxInputs == kAnyNumber
                           ? node.numInputs()
                           : entry->minInputs;
  llvm::StringSet<> attributes;
  for (const onnx::AttributeProto &attribute : node.node.attribute())
    if (!attributes.insert(attribute.name()).second)
      return report(Diag::BadAttribute, where,
                    "expected attribute '" + printable(attribute.name()) +
                        "' once");
  for (unsigned i = 0; i < numNeeded; ++i)
    if (!node.has(i))
      return report(Diag::BadGraph, where,
                    "expected input " + Twine(i) + ", but it is left out");
  // What takes no sequences takes tensors alone.
  bool hasSequences = false;
  for (unsigned i = 0; i < node.numInputs(); ++i) {
    hasSequences |= isSequence(node.in(i));
    if (isSequence(node.in(i)) &&
        (domain != kOnnxDomain || !takesSequence(node.getOp(), i)))
      return report(Diag::UnsupportedForm, where,
                    "expected a tensor as input " + Twine(i) +
                        ", but got a sequence");
  }
  for (unsigned i = 0; i < node.numInputs(); ++i)
    if (node.has(i) && !isSequence(node.in(i)) &&
        isSmallFloat(node.inElem(i)) && !takesSmallFloats(node.getOp()))
      return report(Diag::UnsupportedType, where,
                    "floats of 8 bits and less are only stored, moved and "
                    "converted: expected a Cast before input " +
                        Twine(i));
  DataTypes data = getDataTypes(domain, node.getOp());
  if (node.has(data.input) && !isSequence(node.in(data.input)) &&
      !(getTypeSet(node.inElem(data.input)) & data.types))
    return report(Diag::UnsupportedType, where,
                  "expected input " + Twine(data.input) + " of " +
                      describeTypes(data.types) + ", but got " +
                      describeTypes(getTypeSet(node.inElem(data.input))));
  LogicalResult result = success();
  Block *block = builder.getInsertionBlock();
  Operation *before = block->empty() ? nullptr : &block->back();
  if (hasSequences || !evaluateShape(node)) {
    result = entry->convert(node);
    if (succeeded(result) && !node.getProblem() &&
        succeeded(checkSizes(before, node)))
      foldConstants(before, node);
  }
  // A fault in reading an attribute does not stop the converter.
  if (node.getProblem())
    return report(node.getProblem()->id, where, node.getProblem()->text);
  if (failed(result))
    return report(Diag::Internal, where, "the operator could not be converted");
  return success();
}

namespace {
/// Nodes that are looked at without being imported.
struct Unreached {
  const NodeList *nodes;
  std::string prefix;
};
} // namespace

void Importer::checkUnreached(const onnx::NodeProto &node, StringRef name,
                              const Scope &scope) {
  std::vector<Unreached> pending;
  auto addNodesOf = [&](const onnx::NodeProto &outer, StringRef place) {
    std::string prefix = place.str() + "/";
    for (const onnx::AttributeProto &attribute : outer.attribute()) {
      if (attribute.has_g())
        pending.push_back({&attribute.g().node(), prefix});
      for (const onnx::GraphProto &graph : attribute.graphs())
        pending.push_back({&graph.node(), prefix});
    }
    const onnx::FunctionProto *body = findFunction(outer);
    if (body && checkedFunctions.insert(body).second)
      pending.push_back({&body->node(), prefix});
  };
  addNodesOf(node, name);
  while (!pending.empty()) {
    Unreached next = std::move(pending.back());
    pending.pop_back();
    for (auto [i, inner] : llvm::enumerate(*next.nodes)) {
      std::string place =
          next.prefix + (inner.name().empty()
                             ? inner.op_type() + "_" + std::to_string(i)
                             : inner.name());
      StringRef domain = normalizeDomain(inner.domain());
      addNodesOf(inner, place);
      if (findFunction(inner) ||
          getRegistry().find(domain, inner.op_type(), getOpset(domain, scope)))
        continue;
      std::string where = describe(inner, place);
      if (!faultyNodes.contains(where))
        (void)report(Diag::UnsupportedOp, where,
                     "operator '" + printable(inner.op_type()) +
                         "' is not supported");
    }
  }
}

LogicalResult Importer::importNode(const onnx::NodeProto &node, size_t index,
                                   Scope &scope) {
  std::string name =
      scope.prefix + (node.name().empty()
                          ? node.op_type() + "_" + std::to_string(index)
                          : node.name());
  std::string where = describe(node, name);
  if (node.input_size() > kMaxValues || node.output_size() > kMaxValues)
    return report(Diag::LimitReached, where,
                  "expected at most " + Twine(kMaxValues) +
                      " inputs and outputs of a node");
  SmallVector<Value> inputs, outputs(node.output_size());
  bool poisoned = false;
  LogicalResult result = gatherInputs(node, scope, where, inputs, poisoned);
  StringRef domain = normalizeDomain(node.domain());
  if (succeeded(result) && poisoned) {
    // Its inputs are missing for a reason that has been reported; only its own
    // operator is checked.
    bool known =
        findFunction(node) ||
        getRegistry().find(domain, node.op_type(), getOpset(domain, scope));
    result = known ? success()
                   : report(Diag::UnsupportedOp, where,
                            "operator '" + printable(node.op_type()) +
                                "' is not supported");
  } else if (succeeded(result)) {
    Location loc = NameLoc::get(StringAttr::get(&context, name));
    if (const onnx::FunctionProto *body = findFunction(node)) {
      result = inlineFunction(*body, node, inputs, name, scope, outputs);
    } else {
      if (options.onNode)
        options.onNode(name, node.op_type());
      NodeContext nodeContext(*this, builder, loc, shapes, symbolContext, node,
                              inputs, getOpset(domain, scope));
      result = convertNode(nodeContext, domain, where);
      if (succeeded(result))
        outputs.assign(nodeContext.getOutputs().begin(),
                       nodeContext.getOutputs().end());
    }
  }
  if (options.collectAll && (poisoned || failed(result)))
    checkUnreached(node, name, scope);
  for (auto [output, value] : llvm::zip(node.output(), outputs)) {
    if (output.empty())
      continue;
    if (!value && succeeded(result) && !poisoned)
      scope.missing[output] = where;
    if (failed(define(output, value, scope, where)))
      return failure();
  }
  return result;
}

const onnx::FunctionProto *
Importer::findFunction(const onnx::NodeProto &node) const {
  auto found = functions.find((normalizeDomain(node.domain()) + "\n" +
                               node.op_type() + "\n" + node.overload())
                                  .str());
  return found == functions.end() ? nullptr : found->second;
}

uint64_t Importer::countNodes(const onnx::FunctionProto &body, unsigned depth) {
  // Too deep nests are refused where they are inlined.
  if (depth > kMaxGraphDepth)
    return 0;
  auto [found, isNew] = functionNodes.try_emplace(&body, 0);
  if (!isNew)
    return found->second;
  uint64_t count = body.node_size();
  for (const onnx::NodeProto &node : body.node()) {
    if (count > kMaxInlinedNodes)
      break;
    if (const onnx::FunctionProto *called = findFunction(node))
      count += countNodes(*called, depth + 1);
  }
  return functionNodes[&body] = count;
}

LogicalResult Importer::inlineFunction(const onnx::FunctionProto &body,
                                       const onnx::NodeProto &node,
                                       ArrayRef<Value> inputs, StringRef name,
                                       const Scope &scope,
                                       SmallVectorImpl<Value> &outputs) {
  std::string where = describe(node, name);
  if (scope.depth >= kMaxGraphDepth)
    return report(Diag::LimitReached, where,
                  "expected functions and subgraphs nested at most " +
                      Twine(kMaxGraphDepth) + " deep");
  if (static_cast<int>(inputs.size()) > body.input_size() ||
      node.output_size() > body.output_size())
    return report(Diag::BadGraph, where,
                  "expected at most " + Twine(body.input_size()) +
                      " inputs and " + Twine(body.output_size()) +
                      " outputs of the function");
  // Known before any of them is imported, which takes seconds at the limit.
  if (numInlined + countNodes(body, scope.depth) > kMaxInlinedNodes) {
    numInlined = kMaxInlinedNodes + 1;
    return reportInlined();
  }
  Scope inner;
  inner.depth = scope.depth + 1;
  inner.prefix = name.str() + "/";
  for (const onnx::OperatorSetIdProto &opset : body.opset_import())
    inner.opsets[normalizeDomain(opset.domain())] = opset.version();
  for (auto [i, input] : llvm::enumerate(body.input()))
    if (i < inputs.size() && inputs[i])
      inner.values[input] = inputs[i];
  llvm::StringSet<> absent;
  for (const std::string &input : body.input())
    if (!inner.values.contains(input))
      absent.insert(input);
  // The nodes are copied.
  numInlinedBytes += body.ByteSizeLong();
  if (numInlinedBytes > kMaxInlinedBytes)
    return report(Diag::LimitReached, where,
                  "expected at most " + Twine(kMaxInlinedBytes) +
                      " bytes of functions in all calls");
  // Optional inputs that are not given are written as empty names, references
  // to attributes as their values.
  NodeList nodes = instantiateFunction(
      body, node, [&](StringRef input) { return absent.contains(input); });
  if (failed(importNodes(nodes, inner)))
    return failure();
  for (int i = 0; i < node.output_size(); ++i) {
    std::optional<Value> value = lookup(body.output(i), inner);
    if (value)
      outputs[i] = *value;
    else if (!node.output(i).empty())
      return report(Diag::BadGraph, where,
                    "expected the function to define its output '" +
                        printable(body.output(i)) + "'");
  }
  return success();
}

LogicalResult Importer::importSubgraph(NodeContext &node,
                                       const onnx::GraphProto &graph,
                                       ArrayRef<Value> arguments,
                                       SmallVectorImpl<Value> &results) {
  if (current->depth >= kMaxGraphDepth)
    return node.refuse(Diag::LimitReached,
                       "expected subgraphs nested at most " +
                           Twine(kMaxGraphDepth) + " deep");
  Scope inner;
  inner.parent = current;
  inner.depth = current->depth + 1;
  inner.prefix = cast<NameLoc>(node.b.getLoc()).getName().str() + "/";
  if (static_cast<size_t>(graph.input_size()) < arguments.size())
    return node.refuse(Diag::BadGraph,
                       "expected a subgraph with " + Twine(arguments.size()) +
                           " inputs, but got " + Twine(graph.input_size()));
  for (auto [i, argument] : llvm::enumerate(arguments))
    inner.values[graph.input(static_cast<int>(i)).name()] = argument;
  size_t before = faults.size();
  if (failed(declareGraph(graph, inner)) ||
      failed(importNodes(graph.node(), inner))) {
    // The faults are those of the inner nodes; the outer node has none of its
    // own.
    Fault fault = faults.back();
    if (faults.size() == before + 1)
      faults.pop_back();
    return node.refuse(fault.id, fault.where + ": " + fault.text);
  }
  for (const onnx::ValueInfoProto &output : graph.output()) {
    std::optional<Value> value = lookup(output.name(), inner);
    // Its node was refused, which has been reported.
    if (value && !*value)
      return node.refuse(Diag::UnsupportedForm,
                         "a subgraph holds what is not supported");
    if (!value)
      return node.refuse(Diag::BadGraph,
                         "expected the branch to define its output '" +
                             printable(output.name()) + "'");
    results.push_back(*value);
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

/// Small tensors are kept in the text, where folding sees them; weights are
/// not, whatever their size.
static bool isInline(const TensorData &data) {
  if (data.numElements <= 1)
    return true;
  if (isa<IntegerType>(data.elementType))
    return data.numElements <= 4096;
  return data.shape.size() <= 1 && data.numElements <= kMaxShapeElements;
}

Value Importer::importTensor(const onnx::TensorProto &tensor, StringRef key,
                             Emitter &emitter) {
  return importTensor(reader.read(tensor, key, &context), key, emitter);
}

Value Importer::importTensor(const onnx::SparseTensorProto &tensor,
                             StringRef key, Emitter &emitter) {
  return importTensor(reader.readSparse(tensor, key, &context), key, emitter);
}

Value Importer::importTensor(llvm::Expected<TensorData> data, StringRef key,
                             Emitter &emitter) {
  auto fail = [&](llvm::Error error) {
    llvm::handleAllErrors(std::move(error), [&](const CodedError &e) {
      (void)emitter.refuse(e.getDiag(), e.getText());
    });
    return Value();
  };
  if (!data)
    return fail(data.takeError());
  if (isInline(*data))
    return emitter.constant(data->toAttribute());
  std::string unique = parameters.makeUniqueKey(key);
  std::string typeName;
  llvm::raw_string_ostream(typeName) << data->elementType;
  if (data->file) {
    if (llvm::Error error =
            parameters.add(unique, typeName, data->shape, data->file,
                           data->offset, data->numBytes))
      return fail(std::move(error));
  } else {
    llvm::Expected<llvm::MutableArrayRef<char>> bytes =
        parameters.addScratch(unique, typeName, data->shape, data->numBytes);
    if (!bytes)
      return fail(bytes.takeError());
    llvm::copy(data->getBytes(), bytes->begin());
  }
  return ParamOp::create(
      emitter.b, RankedTensorType::get(data->shape, data->elementType), unique);
}

} // namespace qcc::onnx_import
