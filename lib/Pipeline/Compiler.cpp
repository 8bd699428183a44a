//===- Compiler.cpp - from a model file to an artifact ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Pipeline/Compiler.h"
#include "Compilation.h"
#include "States.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Transforms/Passes.h"
#include "qcc/Calibration/TokenInput.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Import/ONNX/Import.h"
#include "qcc/Package/Package.h"
#include "qcc/Pipeline/Passes.h"
#include "qcc/Pipeline/Verify.h"
#include "qcc/Plugin/Plugin.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// From MLIR diagnostics to coded errors
//===----------------------------------------------------------------------===//

static std::string describeWarning(Diagnostic &diagnostic) {
  std::string node = getNodeName(diagnostic.getLocation()).str();
  return (node.empty() ? "" : "node '" + node + "': ") + diagnostic.str();
}

ErrorCatcher::ErrorCatcher(MLIRContext *context)
    : ScopedDiagnosticHandler(context) {
  setHandler([this](Diagnostic &diagnostic) {
    std::string node = getNodeName(diagnostic.getLocation()).str();
    if (diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      warnings.push_back(describeWarning(diagnostic));
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
      return success();
    if (text.empty()) {
      text = diagnostic.str();
      where = std::move(node);
    }
    return success();
  });
}

llvm::Error ErrorCatcher::take(StringRef culprit) {
  Diag id = culprit.empty() ? Diag::Internal : Diag::BadPlugin;
  StringRef message = text;
  // emitCoded puts the code first.
  if (message.consume_front("[")) {
    auto [code, rest] = message.split("] ");
    if (const DiagInfo *info = findDiag(code)) {
      if (culprit.empty() || info->id != Diag::Internal)
        id = info->id;
      message = rest;
    }
  }
  if (message.empty())
    message = culprit.empty() ? "a pass failed without saying why"
                              : "it failed without saying why";
  return makeError(id, where.empty() ? "" : "node '" + where + "'",
                   culprit.empty() ? message : culprit + ": " + message);
}

namespace {
/// Notes which pass of those of plugins fails.
class PluginFailure : public PassInstrumentation {
public:
  PluginFailure(llvm::SmallPtrSet<Pass *, 4> passes, std::string &name)
      : passes(std::move(passes)), name(name) {}
  void runAfterPassFailed(Pass *pass, Operation *) override {
    if (!passes.contains(pass))
      return;
    // An argument is optional; a class always has a name.
    StringRef argument = pass->getArgument();
    name = (argument.empty() ? pass->getName() : argument).str();
  }

private:
  llvm::SmallPtrSet<Pass *, 4> passes;
  std::string &name;
};
} // namespace

llvm::Error
Compilation::runPasses(Stage stage,
                       llvm::function_ref<void(OpPassManager &)> add) {
  ErrorCatcher catcher(&context);
  PassManager passes(&context);
  add(passes);
  bool isExtended = options.extensions && options.extensions->hasPasses(stage);
  std::string name, culprit;
  if (isExtended) {
    size_t own = passes.size();
    options.extensions->buildPipeline(stage, passes);
    llvm::SmallPtrSet<Pass *, 4> added;
    for (Pass &pass : llvm::drop_begin(passes, own))
      added.insert(&pass);
    passes.addInstrumentation(
        std::make_unique<PluginFailure>(std::move(added), name));
  }
  LogicalResult ran = passes.run(*module);
  llvm::append_range(result.warnings, catcher.warnings);
  StringRef at = getStageName(stage);
  if (!name.empty())
    culprit = ("pass '" + name + "' of a plugin, at stage " + at).str();
  else if (isExtended && succeeded(ran))
    culprit = ("after passes of a plugin at stage " + at).str();
  if (failed(ran) || failed(verifyStage(*module, stage)) || catcher.hasError())
    return catcher.take(culprit);
  // Stages after this one look for the function `main`.
  if (isExtended && module->getBody()->empty())
    return makeError(Diag::BadPlugin, "",
                     culprit + ": expected a module with functions, but it is "
                               "empty");
  return llvm::Error::success();
}

/// Stages that have nothing to do in this compile still run what plugins add.
llvm::Error Compilation::runPluginPasses(Stage stage) {
  if (!options.extensions || !options.extensions->hasPasses(stage))
    return llvm::Error::success();
  return runPasses(stage, [](OpPassManager &) {});
}

llvm::Expected<bool>
Compilation::runStage(Stage stage, llvm::function_ref<llvm::Error()> body) {
  current = stage;
  observer(stage, /*done=*/false, "");
  auto start = std::chrono::steady_clock::now();
  if (llvm::Error error = body())
    return std::move(error);
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  timings.emplace_back(getStageName(stage).str(), seconds.count());
  observer(stage, /*done=*/true, describeStage(stage));
  return stage != options.stopAfter;
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

llvm::Error Compilation::import() {
  ImportOptions importOptions;
  importOptions.dims = options.dims;
  importOptions.keepsConvolutions = options.emitQdq;
  importOptions.onNode = [&](StringRef node, StringRef op) {
    if (modelNodeNames.insert(node).second)
      modelNodes.emplace_back(node, op);
  };
  // Warnings are a part of the result; what else is told goes on.
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    bool isWarning = diagnostic.getSeverity() == DiagnosticSeverity::Warning;
    if (isWarning)
      result.warnings.push_back(describeWarning(diagnostic));
    return success(isWarning);
  });
  auto imported =
      importOnnx(options.model, importOptions, context, *parameters);
  if (!imported)
    return imported.takeError();
  module = std::move(*imported);
  if (llvm::Error error = addStates(*module, options.states))
    return error;
  if (llvm::Error error = dropOutputs(*module, options.dropOutputs))
    return error;
  settleBudgets();
  if (llvm::Error error = checkSettledQdq())
    return error;
  warnOfIdleRules();
  if (module->getOperation()->removeAttr(kAllowsInt8Attr) && !isMixed &&
      basePrecision == "f32")
    result.notes.push_back("the model allows activations of int8 "
                           "(accuracy_level 4 of MatMulNBits): "
                           "--precision=w4a8 multiplies its codes so");
  if (llvm::Error error = runPasses(Stage::Import, [](OpPassManager &) {}))
    return error;
  auto entry = *module->getOps<func::FuncOp>().begin();
  Operation *end = entry.getBody().front().getTerminator();
  if (end->getNumOperands() > 0)
    for (std::string &name : findTokenInputs(entry, end->getOperand(0)))
      result.tokenInputs.push_back(std::move(name));
  if (options.checkTokens)
    if (llvm::Error error = options.checkTokens(result.tokenInputs))
      return error;
  tokenTables = findTokenTables(entry);
  return llvm::Error::success();
}

/// A misspelt name would keep nothing, and nothing else would tell.
void Compilation::warnOfIdleRules() {
  if (basePrecision == "f32")
    return;
  for (const std::string &pattern : options.keep) {
    llvm::Regex rule(pattern);
    if (rule.isValid() && llvm::none_of(modelNodes, [&](const auto &node) {
          return rule.match(node.first);
        }))
      result.warnings.push_back("--keep=" + pattern +
                                " matches the name of no node");
  }
}

/// Passes that find named operations, in copies for the sizes asked for.
static void addRecognition(OpPassManager &passes, bool specialize) {
  if (specialize)
    passes.addPass(createSpecialize());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createRecognize());
  passes.addPass(createCanonicalizerPass());
}

static void addAWQ(OpPassManager &passes, const Algorithms &algorithms,
                   const CompileOptions &options, StringRef precision,
                   bool onlyChanged) {
  AWQOptions awq;
  awq.scheme = precision.str();
  llvm::append_range(awq.keep, options.keep);
  awq.judge = algorithms.gptq ? "gptq" : "rtn";
  awq.onlyChanged = onlyChanged;
  passes.addPass(createAWQ(awq));
}

/// Passes that make a model easier to quantize without changing what it
/// computes in float. They see the model before copies for sizes are made.
static void addTransforms(OpPassManager &passes, const Algorithms &algorithms,
                          const CompileOptions &options, StringRef precision) {
  addRecognition(passes, /*specialize=*/false);
  if (algorithms.rotate)
    passes.addPass(createRotate());
  if (algorithms.smoothQuant) {
    SmoothQuantOptions smooth;
    smooth.scheme = precision.str();
    llvm::append_range(smooth.keep, options.keep);
    smooth.alpha = algorithms.alpha;
    smooth.divide = algorithms.divide;
    passes.addPass(createSmoothQuant(smooth));
  }
  if (algorithms.awq)
    addAWQ(passes, algorithms, options, precision, /*onlyChanged=*/false);
}

void Compilation::takeWarnings() {
  if (auto texts = (*module)->getAttrOfType<ArrayAttr>(kWarningsAttr))
    for (StringAttr text : texts.getAsRange<StringAttr>())
      result.warnings.push_back(text.getValue().str());
  (*module)->removeAttr(kWarningsAttr);
}

/// A warning if a transform of inputs scaled none; else empty.
static std::string checkScaled(ModuleOp module, StringRef algorithm) {
  std::string first;
  bool scaled = false;
  module.walk([&](MatMulOp op) {
    auto note = op->getAttrOfType<StringAttr>(kTransformAttr);
    for (StringRef text : llvm::split(note ? note.getValue() : "", "; ")) {
      if (!text.consume_front(algorithm) || !text.consume_front(": "))
        continue;
      if (!text.consume_front("not scaled: "))
        scaled = true;
      else if (first.empty())
        first = ("node '" + getNodeName(op.getLoc()) + "': " + text).str();
    }
  });
  if (scaled || first.empty())
    return "";
  return ("--algo=" + algorithm + " scaled nothing: " + first).str();
}

/// A warning if `rotate` found nothing to rotate; else empty.
static std::string checkRotated(ModuleOp module) {
  bool rotated = false;
  std::string first;
  module.walk([&](MatMulOp op) {
    auto note = op->getAttrOfType<StringAttr>(kTransformAttr);
    StringRef text = note ? note.getValue() : "";
    if (text.contains("rotate: inputs") || text.contains("rotate: heads of"))
      rotated = true;
    else if (text.consume_front("rotate: ") && first.empty())
      first = text.split(';').first.str();
  });
  if (first.empty())
    first = "no product was found behind a norm or an attention";
  return rotated ? "" : "--algo=rotate changed nothing: " + first;
}

llvm::Error Compilation::transform() {
  if (llvm::Error error = makeWorkspace())
    return error;
  WorkspaceScope scope(&context, workspace.get());
  llvm::Error error = runPasses(Stage::Transform, [&](OpPassManager &passes) {
    if (algorithms.transforms())
      addTransforms(passes, algorithms, options, basePrecision);
    // Weights are chosen and scales tried on samples of any size, so before.
    addRecognition(passes, /*specialize=*/!algorithms.chooses() && !isMixed &&
                               !isStaticInt8() && !choosesAttentions());
  });
  if (error)
    return error;
  takeWarnings();
  std::string idle[] = {
      algorithms.rotate ? checkRotated(*module) : "",
      algorithms.smoothQuant ? checkScaled(*module, "smoothquant") : "",
      algorithms.awq ? checkScaled(*module, "awq") : ""};
  for (std::string &warning : idle)
    if (!warning.empty())
      result.warnings.push_back(std::move(warning));
  return llvm::Error::success();
}

llvm::Error Compilation::assign() {
  if (!options.emitQdq) {
    if (llvm::Error error = noteOwnCodes())
      return error;
    if (llvm::Error error = noteWords())
      return error;
  }
  noteFloatWeights();
  if (!isMixed)
    return runPluginPasses(Stage::Assign);
  WorkspaceScope scope(&context, workspace.get());
  if (algorithms.chooses())
    if (llvm::Error error = makeJudge())
      return error;
  AssignOptions assigning;
  assigning.formats = formats;
  llvm::append_range(assigning.keep, options.keep);
  assigning.maxSize = options.budgets.size;
  assigning.maxDrop = options.budgets.drop;
  assigning.maxLatency = options.budgets.latency;
  assigning.level = levels.front().level;
  assigning.sensitivity = options.sensitivity;
  assigning.areOwn = algorithms.chooses() || algorithms.awq;
  llvm::Error error = runPasses(Stage::Assign, [&](OpPassManager &passes) {
    passes.addPass(createAssign(assigning));
    // Scales that were searched for one format do not fit another.
    if (algorithms.awq)
      addAWQ(passes, algorithms, options, basePrecision, /*onlyChanged=*/true);
  });
  takeWarnings();
  if (auto text = (*module)->getAttrOfType<StringAttr>(kAssignmentAttr))
    result.assignment = text.getValue().str();
  return error;
}

static bool hasAttention(ModuleOp module) {
  return module.walk([](AttentionOp) { return WalkResult::interrupt(); })
      .wasInterrupted();
}

bool Compilation::choosesAttentions() const {
  return !isStaticInt8() && !isMixed &&
         (basePrecision == "int8" || isNarrow()) && workspace &&
         workspace->hasSamples() && workspace->getRole() != Rounds::Role::Shard;
}

llvm::Error Compilation::quantize() {
  // Ranges are those of the model before algorithms changed it.
  bool isStatic = isStaticInt8(),
       isDynamic =
           !isStatic && !isMixed && (basePrecision == "int8" || isNarrow());
  // Attentions are chosen by it where algorithms choose weights, too.
  if (!isStatic && !(choosesAttentions() && hasAttention(*module)) &&
      options.minCosine != CompileOptions().minCosine)
    result.warnings.push_back(
        "--min-cos changes nothing: layers stay float by it in int8 and w4a8, "
        "with --calib or --stats and without --algo, attentions in both with "
        "--calib; `qcc eval --min-cos` measures an artifact");
  if (!isStatic && !options.correctBias)
    result.warnings.push_back("--no-correct-bias changes nothing: biases are "
                              "corrected in int8 and w4a8, with --calib or "
                              "--stats and without --algo");
  if (isStatic) {
    if (llvm::Error error = checkWeights())
      return error;
    if (llvm::Error error = noteRanges())
      return error;
  }
  if (options.emitQdq) {
    markOwnCodes();
    markParts();
    unquantized = module->clone();
  } else {
    if (llvm::Error error = noteZeroPoints())
      return error;
  }
  WorkspaceScope scope(&context, workspace.get());
  llvm::Error error = runPasses(Stage::Quantize, [&](OpPassManager &passes) {
    StaticInt8Options settings;
    llvm::append_range(settings.keep, options.keep);
    settings.scheme = basePrecision;
    settings.target = options.target;
    settings.minCosine = options.minCosine;
    if (isStatic || isDynamic) {
      settings.formats = formats;
      settings.maxSize = options.budgets.size;
      settings.maxDrop = options.budgets.drop;
      settings.maxLatency = options.budgets.latency;
      settings.correctBias = options.correctBias;
      // A QDQ graph has known scales; without any nothing is tried here.
      settings.rowScales = isStatic && !options.emitQdq;
      settings.dynamic = isDynamic;
      settings.pairsFit = llvm::any_of(
          levels, [](const Capabilities &level) { return !level.hasVnni; });
      passes.addPass(createStaticInt8(settings));
    }
    if (options.emitQdq)
      return;
    if (isStatic && (*module)->hasAttr(kSizesAttr))
      addRecognition(passes, /*specialize=*/true);
    // What a model says in quantize and dequantize nodes holds at any
    // precision.
    passes.addPass(createFormInteger());
    bool isFloat = basePrecision == "f32";
    if (algorithms.chooses() && !isFloat) {
      GPTQOptions choosing;
      choosing.scheme = basePrecision;
      llvm::append_range(choosing.keep, options.keep);
      llvm::append_range(choosing.methods, algorithms.getMethods());
      choosing.sequential = options.sequential;
      choosing.correct = algorithms.correct;
      passes.addPass(createGPTQ(choosing));
    }
    if (choosesAttentions()) {
      // Behind the algorithms, which are the same with and without shards.
      settings.onlyAttentions = true;
      passes.addPass(createStaticInt8(settings));
    }
    if ((algorithms.chooses() && !isFloat) || isMixed || choosesAttentions())
      addRecognition(passes, /*specialize=*/true);
    RoundToNearestOptions rounding;
    rounding.scheme = basePrecision;
    llvm::append_range(rounding.keep, options.keep);
    passes.addPass(createRoundToNearest(rounding));
    passes.addPass(createCSEPass());
  });
  takeWarnings();
  if (auto text = (*module)->getAttrOfType<StringAttr>(kAssignmentAttr))
    result.assignment = text.getValue().str();
  (*module)->removeAttr(kAssignmentAttr);
  module->walk([](ConvOp conv) { conv->removeAttr(kFloatBytesAttr); });
  if (!error && judge)
    error = checkChosenLoss();
  if (!error && !options.emitQdq)
    error = notePairs();
  // Equal work of different layers shares kernels from here on.
  dropValueNames(*module);
  return error;
}

std::string Compilation::print() {
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os);
  return text;
}

llvm::Expected<CompileResult> Compilation::run() {
  return runStages(Stage::Import);
}

llvm::Expected<CompileResult>
Compilation::runFrom(OwningOpRef<ModuleOp> imported,
                     std::shared_ptr<ParameterStore> weights) {
  module = std::move(imported);
  parameters = std::move(weights);
  // Weights that are encoded have no place before.
  bool isQuantized =
      module->walk([](EncodeOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  return runStages(isQuantized ? Stage::Quantize : Stage::Transform);
}

llvm::Expected<CompileResult> Compilation::runStages(Stage first) {
  if (llvm::Error error = readRequest())
    return std::move(error);
  // What cannot be written is told before the work.
  if (options.stopAfter == Stage::Package)
    if (llvm::Error error = checkArtifactPath(options.outputDir))
      return std::move(error);
  if (llvm::Error error = openTuning())
    return std::move(error);
  auto addFuse = [&](OpPassManager &passes) {
    LowerOptions lower;
    lower.target = options.target;
    passes.addPass(createLower(lower));
    passes.addPass(createLayout());
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
    passes.addPass(createFuse());
  };
  auto addSchedule = [&](OpPassManager &passes) {
    ScheduleOptions schedule;
    schedule.target = options.target;
    passes.addPass(createSchedule(schedule));
    passes.addPass(createCSEPass());
  };
  auto addPlan = [&](OpPassManager &passes) { passes.addPass(createPlan()); };

  struct Step {
    Stage stage;
    std::function<llvm::Error()> body;
  };
  const Step steps[] = {
      {Stage::Import, [&] { return import(); }},
      {Stage::Calibrate,
       [&] {
         llvm::Error error = calibrate();
         return error ? std::move(error) : runPluginPasses(Stage::Calibrate);
       }},
      {Stage::Transform, [&] { return transform(); }},
      {Stage::Assign, [&] { return assign(); }},
      {Stage::Quantize, [&] { return quantize(); }},
      {Stage::Fuse, [&] { return runPasses(Stage::Fuse, addFuse); }},
      {Stage::Schedule,
       [&] {
         llvm::Error error = tune();
         return error ? std::move(error)
                      : runPasses(Stage::Schedule, addSchedule);
       }},
      {Stage::Plan,
       [&] {
         noteViews();
         return runPasses(Stage::Plan, addPlan);
       }},
  };
  for (const Step &step : steps) {
    if (step.stage < first)
      continue;
    llvm::Expected<bool> more = runStage(step.stage, step.body);
    if (!more && rounds && rounds->isDone()) {
      // A shard ends where it has done its part.
      llvm::consumeError(more.takeError());
      return std::move(result);
    }
    if (!more)
      return more.takeError();
    if (!*more) {
      if (!options.emitQdq) {
        result.text = print();
        return std::move(result);
      }
      llvm::Expected<std::string> model = writeQuantized();
      if (!model)
        return model.takeError();
      result.text = std::move(*model);
      return std::move(result);
    }
  }
  if (llvm::Error error = build())
    return std::move(error);
  return std::move(result);
}

llvm::Expected<CompileResult> qcc::compile(const CompileOptions &options,
                                           MLIRContext &context,
                                           StageObserver observer) {
  // Stages build operations of dialects that no stage before them has used.
  context.loadAllAvailableDialects();
  return Compilation(options, context, observer).run();
}
