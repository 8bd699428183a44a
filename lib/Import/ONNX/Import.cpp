//===- Import.cpp - a model file as a module --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Import/ONNX/Import.h"
#include "Importer.h"
#include "Sequences.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

using namespace mlir;

namespace qcc {
namespace onnx_import {

static constexpr int64_t kFirstOpset = 6, kLastOpset = 28;
/// Most symbolic dimensions of a model.
static constexpr size_t kMaxSymbols = 64;
/// Most inputs and most outputs of a model.
static constexpr size_t kMaxInputs = 4096;

Importer::Importer(const ModelFile &model, TensorReader reader,
                   const ImportOptions &options, MLIRContext &context,
                   ParameterStore &parameters, StringRef path)
    : model(model), reader(std::move(reader)), options(options),
      context(context), parameters(parameters), path(path.str()),
      builder(&context) {}

LogicalResult Importer::report(Diag id, const Twine &where, const Twine &text) {
  faults.push_back({id, where.str(), text.str()});
  faultyNodes.insert(faults.back().where);
  return failure();
}

LogicalResult Importer::report(llvm::Error error, const Twine &where) {
  llvm::handleAllErrors(std::move(error), [&](const CodedError &e) {
    (void)report(e.getDiag(), where, e.getText());
  });
  return failure();
}

llvm::Error Importer::takeFaults() {
  llvm::Error result = llvm::Error::success();
  for (Fault &fault : faults)
    result = llvm::joinErrors(std::move(result),
                              makeError(fault.id, fault.where, fault.text));
  faults.clear();
  return result;
}

LogicalResult Importer::readOpsets() {
  // Files of an IR version before 3 have none: their opset is 1.
  if (model.proto.ir_version() >= 3 && model.proto.opset_import().empty())
    return report(Diag::BadGraph, path,
                  "expected the model to import an opset, but it imports none");
  for (const onnx::OperatorSetIdProto &opset : model.proto.opset_import()) {
    StringRef domain =
        opset.domain() == "ai.onnx" ? StringRef() : StringRef(opset.domain());
    if (domain.empty() &&
        (opset.version() < kFirstOpset || opset.version() > kLastOpset))
      return report(Diag::UnsupportedOpset, path,
                    "expected opset " + Twine(kFirstOpset) + " to " +
                        Twine(kLastOpset) + ", but got " +
                        Twine(opset.version()));
  }
  for (const onnx::FunctionProto &body : model.proto.functions()) {
    StringRef domain =
        body.domain() == "ai.onnx" ? StringRef() : StringRef(body.domain());
    std::string key =
        (domain + "\n" + body.name() + "\n" + body.overload()).str();
    if (!functions.try_emplace(key, &body).second)
      return report(Diag::BadGraph, path,
                    "expected function '" + body.name() +
                        "' to be defined once");
  }
  return success();
}

int64_t Importer::getOpset(StringRef domain, const Scope &scope) const {
  for (const Scope *s = &scope; s; s = s->parent)
    if (auto found = s->opsets.find(domain); found != s->opsets.end())
      return found->second;
  return 1;
}

//===----------------------------------------------------------------------===//
// Types and sizes
//===----------------------------------------------------------------------===//

AffineExpr Importer::getSymbol(StringRef name) {
  namedDims.insert(name);
  // Equal names may form a chain, or a circle.
  for (size_t i = 0; i <= dimRules.size(); ++i) {
    auto rule = llvm::find_if(dimRules,
                              [&](const DimRule &r) { return r.name == name; });
    if (rule == dimRules.end())
      break;
    fixedDims.insert(name);
    if (rule->sizes.size() == 1)
      return getAffineConstantExpr(rule->sizes[0], &context);
    if (rule->same.empty())
      break;
    name = rule->same;
  }
  std::vector<std::string> &names = symbolContext.names;
  auto [found, isNew] = symbolPositions.try_emplace(name, names.size());
  if (isNew)
    names.push_back(name.str());
  return getAffineSymbolExpr(found->second, &context);
}

std::optional<AffineExpr>
Importer::importDim(const onnx::TensorShapeProto::Dimension &dim,
                    StringRef freshName) {
  if (dim.has_dim_value() && dim.dim_value() >= 0) {
    // --dim may also fix a size that has no name by its position, but never
    // change one that is stated.
    if (dim.dim_value() > (int64_t(1) << 40)) {
      (void)report(Diag::LimitReached, freshName,
                   "expected a size of at most 2^40, but got " +
                       Twine(dim.dim_value()));
      return std::nullopt;
    }
    return getAffineConstantExpr(dim.dim_value(), &context);
  }
  // Exporters write -1 for a size that they do not know.
  if (dim.has_dim_value() && dim.dim_value() < -1) {
    (void)report(Diag::BadShape, freshName,
                 "expected a size of 0 or more, but got " +
                     Twine(dim.dim_value()));
    return std::nullopt;
  }
  if (symbolContext.names.size() >= kMaxSymbols) {
    (void)report(Diag::LimitReached, freshName,
                 "expected at most " + Twine(kMaxSymbols) +
                     " symbolic dimensions");
    return std::nullopt;
  }
  return getSymbol(dim.dim_param().empty() ? freshName
                                           : StringRef(dim.dim_param()));
}

RankedTensorType Importer::importType(const onnx::TypeProto &type,
                                      StringRef name) {
  if (!type.has_tensor_type()) {
    (void)report(Diag::UnsupportedType, "input '" + name + "'",
                 "only tensors are supported");
    return {};
  }
  Type elementType = getElementType(type.tensor_type().elem_type(), &context);
  if (!elementType) {
    (void)report(Diag::UnsupportedType, "input '" + name + "'",
                 "element type " +
                     getDataTypeName(type.tensor_type().elem_type()) +
                     " is not supported");
    return {};
  }
  if (!type.tensor_type().has_shape()) {
    (void)report(
        Diag::UnsupportedShape, "input '" + name + "'",
        "expected a shape, but the rank is not known; export the model "
        "with the shape of the input (names for sizes that vary), or "
        "write one into it with onnx.helper.make_tensor_value_info");
    return {};
  }
  const auto &shape = type.tensor_type().shape();
  if (shape.dim_size() > 32) {
    (void)report(Diag::LimitReached, "input '" + name + "'",
                 "expected a rank of at most 32, but got " +
                     Twine(shape.dim_size()));
    return {};
  }
  Dims dims;
  for (int i = 0; i < shape.dim_size(); ++i) {
    std::optional<AffineExpr> dim =
        importDim(shape.dim(i), (name + ".dim" + Twine(i)).str());
    if (!dim)
      return {};
    dims.push_back(*dim);
  }
  RankedTensorType result = makeTensorType(dims, elementType);
  if (std::string excess = describeExcess(result); !excess.empty()) {
    (void)report(Diag::LimitReached, "input '" + name + "'", excess);
    return {};
  }
  return result;
}

const onnx::TypeProto *Importer::getDeclaredType(StringRef valueName) const {
  const onnx::TypeProto *type = nullptr;
  for (const Scope *s = current; s && !type; s = s->parent)
    type = s->types.lookup(valueName);
  return type;
}

std::optional<Dims> Importer::getDeclaredDims(StringRef valueName) {
  const onnx::TypeProto *type = getDeclaredType(valueName);
  if (!type || !type->has_tensor_type() || !type->tensor_type().has_shape())
    return std::nullopt;
  Dims dims;
  for (const auto &dim : type->tensor_type().shape().dim()) {
    if (dim.has_dim_value() && dim.dim_value() >= 0 &&
        dim.dim_value() <= (int64_t(1) << 40))
      dims.push_back(getAffineConstantExpr(dim.dim_value(), &context));
    else if (!dim.dim_param().empty() &&
             symbolPositions.contains(dim.dim_param()))
      dims.push_back(getSymbol(dim.dim_param()));
    else
      return std::nullopt;
  }
  return dims;
}

//===----------------------------------------------------------------------===//
// The graph
//===----------------------------------------------------------------------===//

LogicalResult Importer::declareGraph(const onnx::GraphProto &graph,
                                     Scope &scope) {
  for (const onnx::TensorProto &tensor : graph.initializer()) {
    if (!scope.initializers.try_emplace(tensor.name(), &tensor).second)
      return report(Diag::BadGraph, path,
                    "expected initializer '" + tensor.name() +
                        "' to be defined once");
    // Also when no node reads it: it is a sign of a broken file. Numbers that
    // are not known may be types of a newer ONNX.
    if (tensor.data_type() <= onnx::TensorProto::UNDEFINED)
      return report(Diag::BadTensor, "initializer '" + tensor.name() + "'",
                    "expected a data type, but got " +
                        Twine(tensor.data_type()));
  }
  for (const onnx::SparseTensorProto &tensor : graph.sparse_initializer()) {
    const std::string &name = tensor.values().name();
    if (scope.initializers.contains(name) ||
        !scope.sparseInitializers.try_emplace(name, &tensor).second)
      return report(Diag::BadGraph, path,
                    "expected initializer '" + name + "' to be defined once");
  }
  for (const onnx::ValueInfoProto &info : graph.value_info())
    scope.types.try_emplace(info.name(), &info.type());
  for (const onnx::ValueInfoProto &info : graph.output())
    scope.types.try_emplace(info.name(), &info.type());
  return success();
}

LogicalResult Importer::importInputs(const onnx::GraphProto &graph,
                                     Scope &scope) {
  SmallVector<Type> types;
  SmallVector<const onnx::ValueInfoProto *> inputs;
  bool bad = false;
  for (const onnx::ValueInfoProto &input : graph.input()) {
    // Before IR version 4 each initializer is an input as well; its value is
    // what the graph computes with. Since then it may be overridden, which
    // would leave nothing to fold or pack.
    if (scope.initializers.contains(input.name()) ||
        scope.sparseInitializers.contains(input.name())) {
      if (model.proto.ir_version() >= 4 && options.onConstantInput)
        options.onConstantInput(input.name());
      continue;
    }
    RankedTensorType type = importType(input.type(), input.name());
    if (!type && options.collectAll) {
      // What reads it is looked at without it.
      scope.values[input.name()] = Value();
      continue;
    }
    bad |= !type;
    types.push_back(type);
    inputs.push_back(&input);
  }
  if (bad)
    return failure();
  if (inputs.size() > kMaxInputs || graph.output_size() > int(kMaxInputs))
    return report(Diag::LimitReached, path,
                  "expected at most " + Twine(kMaxInputs) +
                      " inputs and outputs");
  // Inputs have named all sizes that are known when an entry starts.
  symbolContext.firstRuntime = symbolContext.names.size();
  function = func::FuncOp::create(builder, builder.getUnknownLoc(), "main",
                                  builder.getFunctionType(types, {}));
  Block *entry = function.addEntryBlock();
  builder.setInsertionPointToEnd(entry);
  for (auto [i, input] : llvm::enumerate(inputs)) {
    function.setArgAttr(i, "qcc.name", builder.getStringAttr(input->name()));
    if (failed(define(input->name(), entry->getArgument(i), scope,
                      "input '" + input->name() + "'")))
      return failure();
  }
  return success();
}

LogicalResult Importer::importOutputs(const onnx::GraphProto &graph,
                                      Scope &scope) {
  SmallVector<Value> values;
  for (const onnx::ValueInfoProto &output : graph.output()) {
    std::string where = "output '" + output.name() + "'";
    std::optional<Value> value = lookup(output.name(), scope);
    if (!value)
      return report(Diag::BadGraph, where, "expected a node that defines it");
    if (!*value) {
      auto reason = scope.missing.find(output.name());
      return reason == scope.missing.end()
                 ? failure()
                 : report(Diag::UnsupportedForm, reason->second,
                          "output '" + output.name() + "' is not supported");
    }
    if (isSequence(*value))
      return report(Diag::UnsupportedForm, where,
                    "expected a tensor as output, but got a sequence");
    if (output.type().has_tensor_type()) {
      Type declared =
          getElementType(output.type().tensor_type().elem_type(), &context);
      if (declared && declared != Emitter::elem(*value))
        return report(Diag::BadShape, where,
                      "expected an element type as declared, but the graph "
                      "computes another");
    }
    values.push_back(*value);
  }
  if (values.empty())
    return report(Diag::BadGraph, path, "expected at least one output");
  func::ReturnOp::create(builder, builder.getUnknownLoc(), values);
  SmallVector<Type> types = llvm::to_vector(ValueRange(values).getTypes());
  function.setType(builder.getFunctionType(function.getArgumentTypes(), types));
  for (int i = 0; i < graph.output_size(); ++i)
    function.setResultAttr(i, "qcc.name",
                           builder.getStringAttr(graph.output(i).name()));
  return success();
}

/// Removes what nothing uses: shapes that were computed with tensors, mostly.
/// One sweep from the end is enough, inner blocks before the ones around them.
static void eraseUnused(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
    if (isa<IfOp, LoopOp>(op))
      for (Region &region : op.getRegions())
        eraseUnused(region.front());
    if (isOpTriviallyDead(&op))
      op.erase();
  }
}

/// Bounds and lists of sizes, for those who come after.
void Importer::noteDimRules(ModuleOp module) {
  SmallVector<Attribute> bounds, sizes;
  for (const DimRule &rule : dimRules) {
    auto found = symbolPositions.find(rule.name);
    if (found == symbolPositions.end())
      continue;
    SmallVector<int64_t> values = {found->second};
    if (rule.sizes.size() > 1) {
      llvm::append_range(values, rule.sizes);
      sizes.push_back(builder.getDenseI64ArrayAttr(values));
    } else if (rule.min > 0 || rule.max != INT64_MAX) {
      llvm::append_values(values, rule.min, rule.max);
      bounds.push_back(builder.getDenseI64ArrayAttr(values));
    }
  }
  if (!bounds.empty())
    module->setAttr(kBoundsAttr, builder.getArrayAttr(bounds));
  if (!sizes.empty())
    module->setAttr(kSizesAttr, builder.getArrayAttr(sizes));
}

void Importer::finish(ModuleOp module) {
  eraseUnused(function.getBody().front());
  const std::vector<std::string> &symbols = symbolContext.names;
  SmallVector<StringRef> names(symbols.begin(), symbols.end());
  module->setAttr(kSymbolsAttr, builder.getStrArrayAttr(names));
  if (symbols.size() > symbolContext.firstRuntime)
    module->setAttr(kRuntimeFromAttr,
                    builder.getI64IntegerAttr(symbolContext.firstRuntime));
  module->setAttr("qcc.source",
                  builder.getStringAttr(llvm::sys::path::filename(path)));
  noteDimRules(module);
  SmallVector<Attribute> checks, nodes;
  llvm::SmallDenseSet<std::pair<AffineExpr, AffineExpr>> seen;
  for (const auto &[sizes, node] : symbolContext.checks)
    // The first node that needs it is the one to name.
    if (seen.insert({sizes.getResult(0), sizes.getResult(1)}).second) {
      checks.push_back(AffineMapAttr::get(sizes));
      nodes.push_back(builder.getStringAttr(node));
    }
  if (!checks.empty()) {
    function->setAttr(kChecksAttr, builder.getArrayAttr(checks));
    function->setAttr(kCheckNodesAttr, builder.getArrayAttr(nodes));
  }
}

/// What converters do not check themselves (a scale of integers, say) shows as
/// an operation that does not verify. It has the name of its node.
llvm::Error Importer::verifyModule(ModuleOp module) {
  std::string where, text;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (text.empty()) {
      where = getNodeName(diagnostic.getLocation()).str();
      text = diagnostic.str();
    }
    return success();
  });
  if (succeeded(mlir::verify(module)))
    return llvm::Error::success();
  return makeError(Diag::BadShape, "node '" + where + "'",
                   "its inputs do not fit the operator: " + text);
}

void Importer::warn(Location loc, const Twine &text) {
  std::string warning = text.str();
  if (warned.insert(getNodeName(loc).str() + ": " + warning).second)
    emitWarning(loc) << warning;
}

/// The symbolic dimensions that are left, each with the first place that has
/// it: exporters give them names such as s77, which say nothing.
std::vector<std::string> Importer::listDims() const {
  llvm::StringMap<std::string> places;
  for (const onnx::ValueInfoProto &input : model.proto.graph().input()) {
    const auto &shape = input.type().tensor_type().shape();
    for (int i = 0; i < shape.dim_size(); ++i)
      places.try_emplace(shape.dim(i).dim_param(), " (" + input.name() +
                                                       ", axis " +
                                                       std::to_string(i) + ")");
  }
  std::vector<std::string> dims;
  for (const std::string &name :
       ArrayRef(symbolContext.names).take_front(symbolContext.firstRuntime))
    dims.push_back(name + places.lookup(name));
  return dims;
}

llvm::Error Importer::checkFixedDims() const {
  for (const DimRule &rule : dimRules)
    if (!rule.same.empty() && !namedDims.contains(rule.same))
      return makeError(Diag::Usage, "--dim",
                       "expected '" + rule.name +
                           "' to equal a symbolic dimension of the model, but "
                           "got '" +
                           rule.same + "'");
  std::vector<std::string> names = listDims();
  for (const auto &[name, size] : options.dims)
    if (!fixedDims.contains(name))
      return makeError(
          Diag::Usage, "--dim",
          "expected a symbolic dimension of the model (" +
              (names.empty() ? "it has none left" : llvm::join(names, ", ")) +
              "), but got '" + name + "'");
  return llvm::Error::success();
}

llvm::Expected<OwningOpRef<ModuleOp>> Importer::run() {
  for (const auto &[name, text] : options.dims) {
    llvm::Expected<DimRule> rule = parseDimRule(name, text);
    if (!rule)
      return rule.takeError();
    dimRules.push_back(std::move(*rule));
  }
  const onnx::GraphProto &graph = model.proto.graph();
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder.getUnknownLoc());
  builder.setInsertionPointToStart(module->getBody());
  Scope scope;
  for (const onnx::OperatorSetIdProto &opset : model.proto.opset_import())
    scope.opsets[opset.domain() == "ai.onnx" ? "" : opset.domain()] =
        opset.version();
  bool ok = succeeded(readOpsets()) && succeeded(declareGraph(graph, scope)) &&
            succeeded(importInputs(graph, scope)) &&
            succeeded(importNodes(graph.node(), scope)) &&
            succeeded(importOutputs(graph, scope));
  if (!ok || !faults.empty())
    return takeFaults();
  if (llvm::Error error = checkFixedDims())
    return std::move(error);
  finish(*module);
  if (llvm::Error error = verifyModule(*module))
    return error;
  return module;
}

} // namespace onnx_import

/// A bound that may be left out.
static bool parseBound(StringRef text, int64_t &value) {
  return text.empty() || (!text.getAsInteger(10, value) && value >= 0);
}

llvm::Expected<DimRule> parseDimRule(StringRef name, StringRef text) {
  DimRule rule;
  rule.name = name.str();
  auto refuse = [&](const Twine &why) {
    return makeError(Diag::Usage, "--dim",
                     why + ", but got '" + name + "=" + text + "'");
  };
  if (text.contains("..")) {
    auto [low, high] = text.split("..");
    if (!parseBound(low, rule.min) || !parseBound(high, rule.max))
      return refuse("expected bounds MIN..MAX of 0 or more");
    if (rule.max < rule.min)
      return refuse("expected bounds MIN..MAX with MIN at most MAX");
    return rule;
  }
  if (!text.empty() && !llvm::isDigit(text.front()) && text.front() != '-') {
    rule.same = text.str();
    return rule;
  }
  SmallVector<StringRef> parts;
  text.split(parts, ',');
  for (StringRef part : parts) {
    int64_t size;
    if (part.getAsInteger(10, size) || size < 1 || size > (int64_t(1) << 40) ||
        llvm::is_contained(rule.sizes, size))
      return refuse("expected different sizes from 1 to 2^40");
    rule.sizes.push_back(size);
  }
  return rule;
}

llvm::Expected<OwningOpRef<ModuleOp>> importOnnx(StringRef path,
                                                 const ImportOptions &options,
                                                 MLIRContext &context,
                                                 ParameterStore &parameters) {
  context.loadDialect<QCCDialect, arith::ArithDialect, func::FuncDialect,
                      math::MathDialect, scf::SCFDialect>();
  llvm::Expected<std::unique_ptr<onnx_import::ModelFile>> model =
      onnx_import::loadModelFile(path);
  if (!model)
    return model.takeError();
  llvm::Expected<Folder> folder = Folder::containing(path);
  if (!folder)
    return folder.takeError();
  onnx_import::TensorReader reader(**model, std::move(*folder));
  return onnx_import::Importer(**model, std::move(reader), options, context,
                               parameters, path)
      .run();
}

} // namespace qcc
