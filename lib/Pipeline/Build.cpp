//===- Build.cpp - kernels, weights and host program to an artifact -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "KernelModules.h"
#include "mlir/IR/Verifier.h"
#include "qcc/Codegen/HostEmitter.h"
#include "qcc/Codegen/KernelCompiler.h"
#include "qcc/Codegen/Lowering.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Package/Package.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Text that tells a person what a weight's bytes are.
static std::string describeWeight(Value value) {
  if (auto pack = value.getDefiningOp<PackOp>())
    return (pack.getLayout() + " " + llvm::Twine(pack.getNr())).str();
  if (auto encode = value.getDefiningOp<EncodeOp>())
    return encode.getFormat().getScheme().str();
  std::string text;
  llvm::raw_string_ostream(text)
      << cast<RankedTensorType>(value.getType()).getElementType();
  return text;
}

/// The parameter a weight is made from, for its name; "" for a constant.
static std::string getParameterName(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto param = dyn_cast<ParamOp>(op))
      return param.getKey().str();
    if (op->getNumOperands() == 0)
      return "";
    value = op->getOperand(0);
  }
  return "";
}

static ConstSource getSource(const ParameterStore &parameters) {
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters.getBytes(key); };
  source.encode = [](EncodeOp op, ArrayRef<ArrayRef<char>> operands,
                     MutableArrayRef<char> out) -> llvm::Error {
    StringRef key = op.getFormat().getScheme();
    const Scheme *scheme = getSchemes(op.getContext()).lookup(key);
    if (!scheme)
      return makeError(Diag::UnsupportedScheme, describeNode(op.getLoc()),
                       "expected a registered scheme, but got '" + key + "'");
    auto type = cast<RankedTensorType>(op.getWeight().getType());
    auto take = [&](Value operand) {
      ArrayRef<char> bytes;
      if (operand) {
        bytes = operands.front();
        operands = operands.drop_front();
      }
      return bytes;
    };
    WeightSource weight{type.getDimSize(0),   type.getDimSize(1),
                        take(op.getWeight()), take(op.getImportance()),
                        take(op.getScales()), take(op.getZeros())};
    auto write = [&]() -> llvm::Error {
      if (op.getResult().getType() != type)
        return encodeWeight(*scheme, weight, out);
      std::vector<float> rounded(type.getNumElements());
      if (llvm::Error error = roundWeight(*scheme, weight, rounded))
        return error;
      std::memcpy(out.data(), rounded.data(), out.size());
      return llvm::Error::success();
    };
    return llvm::handleErrors(
        write(), [&](const CodedError &coded) -> llvm::Error {
          return makeError(coded.getDiag(), describeNode(op.getLoc()),
                           coded.getText());
        });
  };
  return source;
}

/// The weights of a planned module, in the order and at the offsets that its
/// slots refer to.
static llvm::Expected<std::vector<PackedTensor>>
getWeights(ModuleOp module, const ConstSource &source) {
  std::vector<PackedTensor> weights;
  auto op = *module.getOps<host::WeightsOp>().begin();
  auto end = cast<host::EndOp>(op.getBody().front().getTerminator());
  if (llvm::Error error = checkConstantCost(end.getValues()))
    return std::move(error);
  for (auto [i, value] : llvm::enumerate(end.getValues())) {
    PackedTensor tensor;
    tensor.name = "w" + std::to_string(i);
    if (std::string parameter = getParameterName(value); !parameter.empty())
      tensor.name += "." + parameter;
    tensor.format = describeWeight(value);
    tensor.size = getTensorBytes(value.getType()).value_or(0);
    tensor.fill = [value = Value(value), &source](MutableArrayRef<char> bytes) {
      return evaluateConstant(value, source, bytes);
    };
    weights.push_back(std::move(tensor));
  }
  llvm::Expected<uint64_t> bytes = layoutWeights(weights);
  if (!bytes)
    return bytes.takeError();
  for (auto [weight, offset] : llvm::zip_equal(weights, op.getOffsets()))
    if (weight.offset != static_cast<uint64_t>(offset))
      return makeError(Diag::Internal, weight.name,
                       "expected a weight at offset " + llvm::Twine(offset) +
                           ", but got " + llvm::Twine(weight.offset));
  return std::move(weights);
}

//===----------------------------------------------------------------------===//
// Codegen, Emit, Package
//===----------------------------------------------------------------------===//

/// Node that a kernel is first launched for, by kernel name.
static llvm::StringMap<std::string> getNodes(ModuleOp module) {
  llvm::StringMap<std::string> nodes;
  module.walk([&](host::DispatchOp op) {
    StringRef node = getNodeName(op.getLoc());
    nodes.try_emplace(op.getKernel(),
                      node.empty() ? "" : ("node '" + node + "'").str());
  });
  return nodes;
}

llvm::Error Compilation::emitKernels() {
  ErrorCatcher catcher(&context);
  llvm::StringMap<std::string> nodes = getNodes(*module);
  std::vector<KernelJob> jobs;
  std::vector<std::string> names;
  for (const Capabilities &level : levels)
    for (auto kernel : module->getOps<KernelOp>()) {
      OwningOpRef<ModuleOp> code =
          buildKernelModule(kernel, *target, level, kKernelSymbol);
      if (!code)
        return catcher.take();
      names.push_back(getKernelSymbol(kernel.getSymName(), level.level));
      jobs.push_back(
          {nodes.lookup(kernel.getSymName()), serializeKernel(*code), level});
    }
  KernelCompilerOptions compilerOptions{options.jobs, options.cacheDir,
                                        options.workerProgram};
  auto compiled = compileKernels(jobs, compilerOptions);
  if (!compiled)
    return compiled.takeError();
  for (auto [name, bytes] : llvm::zip_equal(names, *compiled)) {
    llvm::Expected<std::string> object = nameKernel(bytes, name);
    if (!object)
      return makeError(Diag::Internal, name,
                       llvm::toString(object.takeError()));
    objects.push_back({name, std::move(*object)});
  }
  return llvm::Error::success();
}

/// The same as text; compiled in this process.
llvm::Error Compilation::listKernels() {
  ErrorCatcher catcher(&context);
  for (const Capabilities &level : levels)
    for (auto kernel : module->getOps<KernelOp>()) {
      OwningOpRef<ModuleOp> code =
          buildKernelModule(kernel, *target, level,
                            getKernelSymbol(kernel.getSymName(), level.level));
      SmallVector<char> bytes;
      if (!code || failed(verify(*code)) ||
          failed(lowerKernelModule(*code, level)) ||
          failed(emitCode(*code, level, bytes, CodeKind::Assembly)))
        return catcher.take();
      objects.push_back({getKernelSymbol(kernel.getSymName(), level.level),
                         std::string(bytes.begin(), bytes.end())});
    }
  return llvm::Error::success();
}

llvm::Error Compilation::emitObjects(bool assembly) {
  if (llvm::Error error = assembly ? listKernels() : emitKernels())
    return error;
  ErrorCatcher catcher(&context);
  std::vector<ProgramLevel> programLevels;
  for (const Capabilities &level : levels)
    programLevels.push_back({level.level, level.cpuFeatures});
  OwningOpRef<ModuleOp> host = buildHostModule(*module, programLevels);
  Capabilities baseline;
  baseline.level = "scalar";
  baseline.llvmCpu = "x86-64";
  SmallVector<char> bytes;
  if (failed(verify(*host)) ||
      failed(emitCode(*host, baseline, bytes,
                      assembly ? CodeKind::Assembly : CodeKind::Object)))
    return catcher.take();
  objects.push_back({"host", std::string(bytes.begin(), bytes.end())});
  return llvm::Error::success();
}

llvm::Error Compilation::printKernels() {
  ErrorCatcher catcher(&context);
  llvm::raw_string_ostream os(result.text);
  for (const Capabilities &level : levels)
    for (auto kernel : module->getOps<KernelOp>()) {
      OwningOpRef<ModuleOp> code =
          buildKernelModule(kernel, *target, level,
                            getKernelSymbol(kernel.getSymName(), level.level));
      if (!code)
        return catcher.take();
      code->print(os);
      os << "\n";
    }
  return llvm::Error::success();
}

/// Nodes whose results the host waits for: sizes and conditions that are read
/// while an entry runs.
static std::vector<std::string> getSyncPoints(ModuleOp module) {
  std::vector<std::string> nodes;
  module.walk([&](Operation *op) {
    auto loop = dyn_cast<host::LoopOp>(op);
    if (isa<host::BindOp, host::IfOp>(op) || (loop && loop.getCondition()))
      nodes.push_back(getNodeName(op->getLoc()).str());
  });
  llvm::sort(nodes);
  nodes.erase(llvm::unique(nodes), nodes.end());
  return nodes;
}

llvm::Error Compilation::package() {
  ConstSource source = getSource(*parameters);
  llvm::Expected<std::vector<PackedTensor>> weights =
      getWeights(*module, source);
  if (!weights)
    return weights.takeError();
  std::vector<ProgramLevel> programLevels;
  for (const Capabilities &level : levels)
    programLevels.push_back({level.level, level.cpuFeatures});
  ProgramWriter program;
  describeProgram(*module, programLevels, program);
  if (!program.fits())
    return makeError(Diag::LimitReached, options.model,
                     "expected sizes of at most " + Twine(QCC_EXPR_MAX_OPS) +
                         " operations, but got more (--dim=NAME=VALUE makes "
                         "them short)");

  llvm::Expected<std::string> tuned = hashTuning();
  if (!tuned)
    return tuned.takeError();
  PackageRequest request;
  request.outputDir = options.outputDir;
  request.kind = options.kind;
  request.symbolPrefix = options.symbolPrefix;
  request.modelName = llvm::sys::path::filename(options.model).str();
  request.sources = getSources();
  request.program = &program;
  request.objects = std::move(objects);
  request.weights = std::move(*weights);
  request.recipe = getRecipe();
  request.recipe.tuning = std::move(*tuned);
  request.report = getReport();
  request.report.assignment = result.assignment;
  result.ops = request.report.ops;
  request.syncPoints = getSyncPoints(*module);
  request.timings = timings;
  llvm::Expected<PackageResult> written = writePackage(request);
  if (!written)
    return written.takeError();
  result.artifact = options.outputDir;
  result.libraryBytes = written->libraryBytes;
  result.weightBytes = written->weightBytes;
  return llvm::Error::success();
}

llvm::Error Compilation::build() {
  if (llvm::Error error = checkFused())
    return error;
  result.kernels = llvm::range_size(module->getOps<KernelOp>());
  module->walk([&](host::DispatchOp) { ++result.launches; });
  // Codegen prints modules; objects need no text in between, so building and
  // compiling a kernel is one step otherwise.
  if (options.stopAfter == Stage::Codegen)
    return runStage(Stage::Codegen, [&] { return printKernels(); }).takeError();
  bool listing = options.stopAfter == Stage::Emit;
  llvm::Expected<bool> more =
      runStage(Stage::Emit, [&] { return emitObjects(listing); });
  if (!more)
    return more.takeError();
  if (listing) {
    for (const PackageObject &object : objects)
      result.text += object.bytes;
    return llvm::Error::success();
  }
  return runStage(Stage::Package, [&] { return package(); }).takeError();
}
