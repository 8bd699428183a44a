//===- Inspect.cpp - qcc check, qcc inspect ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "Problems.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Import/ONNX/Import.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Json.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"
#include <map>

using namespace mlir;
using llvm::Error;
using llvm::Expected;

namespace qcc::driver {

/// What is shown of a model.
namespace {
struct TensorLine {
  std::string name, type;
  std::vector<std::string> dims;
};
struct ModelFacts {
  std::vector<TensorLine> inputs, outputs;
  /// Inputs of the graph that are constants.
  std::vector<std::string> constantInputs;
  std::map<std::string, unsigned> ops;
  uint64_t parameters = 0, parameterBytes = 0;
};
} // namespace

//===----------------------------------------------------------------------===//
// Text of types
//===----------------------------------------------------------------------===//

static TensorLine describe(Type type, DictionaryAttr attributes,
                           llvm::ArrayRef<StringRef> names) {
  TensorLine line;
  if (attributes)
    if (auto name = attributes.getAs<StringAttr>("qcc.name"))
      line.name = name.str();
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return line;
  llvm::raw_string_ostream(line.type) << tensor.getElementType();
  for (AffineExpr dim : getDims(tensor))
    line.dims.push_back(printSize(dim, names));
  return line;
}

static ModelFacts collectFacts(ModuleOp module,
                               const ParameterStore &parameters) {
  ModelFacts facts;
  llvm::SmallVector<StringRef> names = getSymbolNames(module);
  if (auto main = module.lookupSymbol<func::FuncOp>("main")) {
    for (auto [index, type] : llvm::enumerate(main.getArgumentTypes()))
      facts.inputs.push_back(describe(type, main.getArgAttrDict(index), names));
    for (auto [index, type] : llvm::enumerate(main.getResultTypes()))
      facts.outputs.push_back(
          describe(type, main.getResultAttrDict(index), names));
    main.walk([&](Operation *op) {
      // What is computed; not the scalars inside and the weights.
      if (isa<QCCDialect>(op->getDialect()) && !isa<ParamOp, ConstantOp>(op) &&
          isa<func::FuncOp>(op->getParentOp()))
        ++facts.ops[op->getName().getStringRef().str()];
    });
  }
  for (const Parameter &parameter : parameters) {
    uint64_t count = 1;
    for (int64_t size : parameter.shape)
      count *= static_cast<uint64_t>(size);
    facts.parameters += count;
    facts.parameterBytes += parameter.bytes.size();
  }
  return facts;
}

//===----------------------------------------------------------------------===//
// Import
//===----------------------------------------------------------------------===//

/// Imports the model of the command line and calls `body` with it.
static Error withModel(Session &session, bool collectAll,
                       llvm::function_ref<void(const ModelFacts &)> body) {
  Expected<std::string> model = getOnlyPositional(session.line, "a model");
  if (!model)
    return model.takeError();
  Expected<CompileOptions> options =
      makeCompileOptions(session, *model, session.self);
  if (!options)
    return options.takeError();
  session.sink.setFile(*model);
  DialectRegistry registry = makeRegistry(session);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  session.sink.attach(context);
  ParameterStore parameters;
  ImportOptions importOptions;
  importOptions.dims = options->dims;
  importOptions.collectAll = collectAll;
  std::vector<std::string> constantInputs;
  importOptions.onConstantInput = [&](StringRef name) {
    constantInputs.push_back(name.str());
  };
  Expected<OwningOpRef<ModuleOp>> module =
      importOnnx(*model, importOptions, context, parameters);
  if (!module)
    return module.takeError();
  ModelFacts facts = collectFacts(**module, parameters);
  facts.constantInputs = std::move(constantInputs);
  body(facts);
  return Error::success();
}

static void printTensors(StringRef title, llvm::ArrayRef<TensorLine> tensors) {
  for (const TensorLine &tensor : tensors)
    llvm::outs() << llvm::left_justify(title, 8) << toPlainText(tensor.name)
                 << "  " << tensor.type << " ["
                 << toPlainText(llvm::join(tensor.dims, ", ")) << "]\n";
}

static void writeTensors(llvm::json::OStream &json, StringRef key,
                         llvm::ArrayRef<TensorLine> tensors) {
  json.attributeArray(key, [&] {
    for (const TensorLine &tensor : tensors)
      json.object([&] {
        json.attribute("name", llvm::json::fixUTF8(tensor.name));
        json.attribute("dtype", tensor.type);
        json.attribute("shape", llvm::json::Array(tensor.dims));
      });
  });
}

static void printJson(const ModelFacts &facts) {
  llvm::json::OStream json(llvm::outs(), /*IndentSize=*/1);
  json.object([&] {
    writeTensors(json, "inputs", facts.inputs);
    writeTensors(json, "outputs", facts.outputs);
    json.attributeArray("constant_inputs", [&] {
      for (const std::string &name : facts.constantInputs)
        json.value(llvm::json::fixUTF8(name));
    });
    json.attribute("parameters", facts.parameters);
    json.attribute("parameter_bytes", facts.parameterBytes);
    json.attributeObject("ops", [&] {
      for (const auto &[name, count] : facts.ops)
        json.attribute(name, count);
    });
  });
  llvm::outs() << "\n";
}

static void printText(const ModelFacts &facts) {
  printTensors("input", facts.inputs);
  printTensors("output", facts.outputs);
  if (size_t count = facts.constantInputs.size()) {
    constexpr size_t kShown = 5;
    std::string names =
        llvm::join(ArrayRef(facts.constantInputs).take_front(kShown), ", ");
    llvm::outs() << "inputs that have values and are constants: "
                 << toPlainText(names);
    if (count > kShown)
      llvm::outs() << " and " << count - kShown << " more";
    llvm::outs() << "\n";
  }
  llvm::outs() << facts.parameters << " parameters in " << facts.parameterBytes
               << " bytes\n";
  for (const auto &[name, count] : facts.ops)
    llvm::outs() << llvm::right_justify(std::to_string(count), 6) << "  "
                 << toPlainText(name) << "\n";
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

/// The tensors of a manifest's list; what is not as it should be is left out.
static std::vector<TensorLine> readTensors(const llvm::json::Array *list) {
  std::vector<TensorLine> tensors;
  if (!list)
    return tensors;
  for (const llvm::json::Value &value : *list) {
    const llvm::json::Object *object = value.getAsObject();
    if (!object)
      continue;
    TensorLine line;
    line.name = object->getString("name").value_or("").str();
    line.type = object->getString("dtype").value_or("").str();
    if (const llvm::json::Array *shape = object->getArray("shape"))
      for (const llvm::json::Value &dim : *shape)
        line.dims.push_back(dim.getAsString()
                                ? dim.getAsString()->str()
                                : llvm::formatv("{0}", dim).str());
    tensors.push_back(std::move(line));
  }
  return tensors;
}

/// The parts of a manifest that a person asks for.
static void printManifest(const llvm::json::Object &manifest) {
  auto text = [&](const llvm::json::Object *object, StringRef key) {
    return toPlainText(object ? object->getString(key).value_or("") : "");
  };
  const llvm::json::Object *options = manifest.getObject("options");
  llvm::outs() << "model   " << text(&manifest, "model") << "\n"
               << "made by qcc " << text(&manifest, "qcc") << " for "
               << text(options, "target") << " in "
               << text(options, "precision") << "\n";
  if (const llvm::json::Array *entries = manifest.getArray("entries"))
    for (const llvm::json::Value &value : *entries)
      if (const llvm::json::Object *entry = value.getAsObject()) {
        llvm::outs() << "entry   " << text(entry, "name") << "\n";
        printTensors("input", readTensors(entry->getArray("inputs")));
        printTensors("output", readTensors(entry->getArray("outputs")));
      }
  printTensors("state", readTensors(manifest.getArray("states")));
  if (const llvm::json::Array *levels = manifest.getArray("levels"))
    for (const llvm::json::Value &value : *levels)
      if (const llvm::json::Object *level = value.getAsObject())
        llvm::outs() << "level   " << text(level, "name") << "\n";
  if (const llvm::json::Object *memory = manifest.getObject("memory"))
    llvm::outs() << "weights " << memory->getInteger("weights").value_or(0)
                 << " bytes\n";
}

/// The manifest of an artifact, as it is or in short.
static Error inspectArtifact(Session &session, StringRef folder) {
  std::string path = (folder + "/manifest.json").str();
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  llvm::ArrayRef<char> bytes = (*file)->getBytes();
  StringRef text(bytes.data(), bytes.size());
  if (session.line.has(OPT_json)) {
    llvm::outs() << text;
    return Error::success();
  }
  Expected<llvm::json::Value> value = parseJson(text);
  if (!value)
    return makeError(Diag::BadArtifact, path, toString(value.takeError()));
  printManifest(*value->getAsObject());
  return Error::success();
}

Error runInspect(Session &session) {
  if (session.line.positionals.size() == 1 &&
      llvm::sys::fs::is_directory(session.line.positionals[0])) {
    StringRef folder = session.line.positionals[0];
    if (Error error = checkArtifact(folder))
      return error;
    return inspectArtifact(session, folder);
  }
  return withModel(session, /*collectAll=*/false, [&](const ModelFacts &facts) {
    if (session.line.has(OPT_json))
      printJson(facts);
    else
      printText(facts);
  });
}

/// Makes states of a model that can be imported.
static Error checkStates(Session &session) {
  Expected<CompileOptions> options = makeCompileOptions(
      session, session.line.positionals.front(), session.self);
  if (!options)
    return options.takeError();
  options->stopAfter = Stage::Import;
  options->extensions = &session.extensions;
  DialectRegistry registry = makeRegistry(session);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  return compile(*options, context, [](Stage, bool, StringRef) {}).takeError();
}

Error runCheck(Session &session) {
  if (session.line.has(OPT_list_ops)) {
    printSupportedOps(llvm::outs());
    return Error::success();
  }
  unsigned numOps = 0;
  Error error =
      withModel(session, /*collectAll=*/true, [&](const ModelFacts &facts) {
        for (const auto &[name, count] : facts.ops)
          numOps += count;
      });
  Problems problems;
  error = problems.add(std::move(error));
  if (!error && problems.empty() && session.line.has(OPT_state))
    if (Error failure = checkStates(session))
      return failure;
  if (session.line.has(OPT_json)) {
    llvm::json::OStream json(llvm::outs(), /*IndentSize=*/1);
    json.object([&] {
      json.attribute("supported", problems.empty());
      problems.write(json);
    });
    llvm::outs() << "\n";
  } else if (!problems.empty()) {
    problems.print(llvm::outs());
  } else if (!error) {
    llvm::outs() << "supported: " << numOps << " operations\n";
  }
  return llvm::joinErrors(std::move(error), problems.take());
}

} // namespace qcc::driver
