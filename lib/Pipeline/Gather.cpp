//===- Gather.cpp - statistics of a model on samples ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CompiledHost.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"
#include "qcc/Calibration/Calibrator.h"
#include "qcc/Calibration/Range.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/Support/Threading.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

/// What samples must hold for `main`: its inputs, and the states, whose values
/// a sample has from the run before it.
static std::vector<SampleInput> getSampleInputs(ModuleOp module) {
  std::vector<SampleInput> inputs;
  auto bounds = getSymbolBounds(module);
  auto add = [&](StringRef name, Type type) {
    SampleInput input;
    input.name = name.str();
    for (AffineExpr dim : getDims(type))
      input.shape.push_back(getConstantSize(dim).value_or(-1));
    SmallVector<AffineExpr> dims = getDims(type);
    auto first = dyn_cast_if_present<AffineSymbolExpr>(
        dims.empty() ? AffineExpr() : dims.front());
    auto found = first ? bounds.find(first.getPosition()) : bounds.end();
    if (found != bounds.end()) {
      std::tie(input.leastRows, input.mostRows) = found->second;
      input.pieceRows =
          std::clamp(input.pieceRows, input.leastRows, input.mostRows);
    }
    inputs.push_back(std::move(input));
  };
  auto func = module.lookupSymbol<func::FuncOp>("main");
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    auto name = func.getArgAttrOfType<StringAttr>(i, "qcc.name");
    add(name ? name.getValue() : "", func.getArgument(i).getType());
  }
  for (StateOp state : module.getOps<StateOp>())
    add(state.getSymName(), state.getType());
  return inputs;
}

/// Leaves every `count`th sample.
static void takeShard(std::vector<Sample> &samples, Shard shard) {
  std::vector<Sample> own;
  for (size_t i = shard.number - 1; i < samples.size(); i += shard.count)
    own.push_back(std::move(samples[i]));
  samples = std::move(own);
}

/// What decides which values there are and which samples count.
static std::vector<std::string> describeOptions(const CompileOptions &options) {
  std::vector<std::string> list;
  for (const auto &[name, rule] : options.dims)
    list.push_back("dim " + name + "=" + rule);
  for (const auto &[input, output] : options.states)
    list.push_back("state " + input + "=" + output);
  list.push_back(("nan=" + getPolicyName(options.nonFinite)).str());
  return list;
}

/// An embedding takes any number and reads the nearest row: data of another
/// tokenizer calibrate, and nothing else would tell.
void Compilation::warnOfTokens(llvm::ArrayRef<Sample> samples) {
  for (const TokenTable &table : tokenTables) {
    uint64_t outside = 0, all = 0;
    int64_t found = 0;
    for (const Sample &sample : samples)
      if (const SampleArray *array = findArray(sample.arrays, table.input))
        for (int64_t token : getIntegers(*array)) {
          ++all;
          if (token >= 0 ? token < table.rows : token >= -table.rows)
            continue;
          ++outside;
          found = token;
        }
    if (outside)
      result.warnings.push_back(
          std::to_string(outside) + " of " + std::to_string(all) +
          " tokens in the calibration data are none of the model's " +
          std::to_string(table.rows) + " (" + std::to_string(found) + " of '" +
          table.input +
          "', say): they are taken as the nearest; check that the data come "
          "from the model's tokenizer");
  }
}

/// Names are given to what calibration observes once duplicates are gone, so
/// that they do not stand in the way of that later.
llvm::Error Compilation::nameObserved() {
  llvm::Error error = runPasses(Stage::Calibrate, [](OpPassManager &passes) {
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
  });
  if (!error)
    nameValues(*module);
  return error;
}

llvm::Expected<Statistics> Compilation::gatherStatistics(
    llvm::function_ref<void(size_t, size_t)> progress) {
  std::vector<SampleInput> inputs = getSampleInputs(*module);
  auto samples = readSamples(options.calibration, inputs);
  if (!samples)
    return samples.takeError();
  if (llvm::Error error = removeBadSamples(*samples, inputs, options.nonFinite,
                                           result.warnings))
    return std::move(error);
  warnOfTokens(*samples);
  if (llvm::Error error = openCheckpoints(samples->size()))
    return std::move(error);
  std::string data = hashSamples(*samples);
  takeShard(*samples, options.shard);
  auto gather = [&] { return runCalibrator(*samples, data, progress); };
  auto gathered = rounds ? gatherInRounds(gather) : gather();
  if (!gathered)
    return gathered.takeError();
  if (gathered->shard.isWhole())
    if (llvm::Error error =
            checkStatistics(*gathered, options.nonFinite, result.warnings))
      return std::move(error);
  return std::move(*gathered);
}

llvm::Expected<Statistics>
Compilation::runCalibrator(ArrayRef<Sample> samples, StringRef data,
                           llvm::function_ref<void(size_t, size_t)> progress) {
  CompiledHost host(options, context, parameters);
  CalibratorOptions how;
  how.threads = options.jobs
                    ? options.jobs
                    : llvm::hardware_concurrency().compute_thread_count();
  Calibrator calibrator(host, how);
  auto gathered = calibrator.run(
      *module, samples, [&](size_t done) { progress(done, samples.size()); });
  if (!gathered)
    return gathered.takeError();
  gathered->data = data.str();
  gathered->options = describeOptions(options);
  gathered->shard = options.shard;
  llvm::Expected<std::string> source = hashModel();
  if (!source)
    return source.takeError();
  gathered->source = std::move(*source);
  return std::move(*gathered);
}

llvm::Error Compilation::makeWorkspace() {
  // Scales that calibration gives are tried on its samples.
  bool tries = !isMixed && takesRanges() && !options.calibration.empty();
  if (options.algorithms.empty() && !isMixed && !tries)
    return llvm::Error::success();
  if (options.calibration.empty())
    return llvm::Error::success(); // `rtn` needs none
  std::vector<SampleInput> inputs = getSampleInputs(*module);
  auto samples = readSamples(options.calibration, inputs);
  if (!samples)
    return samples.takeError();
  std::vector<std::string> seen; // told by the calibrator already
  if (llvm::Error error =
          removeBadSamples(*samples, inputs, options.nonFinite,
                           usesStatistics() ? seen : result.warnings))
    return error;
  if (!usesStatistics())
    warnOfTokens(*samples);
  if (!options.statistics.empty() && statistics &&
      hashSamples(*samples) != statistics->data)
    result.warnings.push_back(
        "--calib has other samples than --stats was made of: ranges are those "
        "of --stats, and choices are tried on --calib");
  if (llvm::Error error = openCheckpoints(samples->size()))
    return error;
  takeShard(*samples, options.shard);
  executor = std::make_unique<CompiledHost>(options, context, parameters);
  workspace = std::make_unique<Workspace>(
      *parameters, *executor, std::move(*samples),
      options.jobs ? options.jobs
                   : llvm::hardware_concurrency().compute_thread_count());
  workspace->setRounds(rounds.get());
  workspace->setReporter(
      [this](StringRef text) { observer(current, /*done=*/false, text); });
  return llvm::Error::success();
}

llvm::Expected<Statistics> Compilation::readStatistics() {
  llvm::Expected<std::shared_ptr<const MappedFile>> file =
      MappedFile::open(options.statistics);
  if (!file) {
    llvm::consumeError(file.takeError());
    return makeError(Diag::BadCalibration, options.statistics,
                     "expected a file of statistics that can be read, but "
                     "got none; check the path");
  }
  ArrayRef<char> bytes = (*file)->getBytes();
  auto read = Statistics::read(StringRef(bytes.data(), bytes.size()),
                               options.statistics);
  if (!read)
    return read.takeError();
  llvm::Expected<std::string> source = hashModel();
  if (!source)
    return source.takeError();
  if (read->source != *source)
    return makeError(Diag::BadCalibration, options.statistics,
                     "expected statistics of this model, but got those of " +
                         read->source);
  if (!read->shard.isWhole())
    return makeError(Diag::BadCalibration, options.statistics,
                     "expected statistics of all samples, but got a shard of "
                     "them; join the shards with qcc merge-stats");
  return std::move(*read);
}

llvm::Error Compilation::noteRanges() {
  Builder b(&context);
  llvm::Error failure = llvm::Error::success();
  auto findChannels = [&](Value value) -> Attribute {
    const TensorStatistics *found =
        statistics->lookup(getResultObservationName(value));
    // Ranges of channels are those that were seen.
    if (!found || found->channels.empty() ||
        options.rangeMethod != RangeMethod::MinMax)
      return {};
    const ChannelStatistics &channels = found->channels;
    std::vector<float> data(3 * channels.size());
    for (size_t c = 0; c < channels.size(); ++c) {
      if (!channels.getCount(c))
        return {};
      data[c] = channels.getMin(c);
      data[channels.size() + c] = channels.getMax(c);
      data[2 * channels.size() + c] = float(channels.getMeanSquare(c));
    }
    return b.getDenseF32ArrayAttr(data);
  };
  auto find = [&](Value value) -> ArrayAttr {
    const TensorStatistics *found =
        statistics->lookup(getResultObservationName(value));
    // A branch that no sample took has values without a range.
    if (!found || !found->count || failure)
      return {};
    auto range = chooseRange(*found, options.rangeMethod, /*bits=*/8,
                             /*isSymmetric=*/false, options.rangeParameter);
    if (!range) {
      failure = llvm::joinErrors(std::move(failure), range.takeError());
      return {};
    }
    return b.getF32ArrayAttr({range->min, range->max});
  };
  module->walk([&](Operation *op) {
    if (auto func = dyn_cast<func::FuncOp>(op))
      for (unsigned i = 0; i < func.getNumArguments(); ++i)
        if (ArrayAttr range = find(func.getArgument(i))) {
          func.setArgAttr(i, "qcc.range", range);
          if (Attribute channels = findChannels(func.getArgument(i)))
            func.setArgAttr(i, "qcc.channels", channels);
        }
    if (op->getNumResults() == 1 && op->hasAttr(kValueNameAttr))
      if (ArrayAttr range = find(op->getResult(0))) {
        op->setAttr("qcc.range", range);
        if (Attribute channels = findChannels(op->getResult(0)))
          op->setAttr("qcc.channels", channels);
      }
  });
  return failure;
}

llvm::Error Compilation::checkWeights() {
  KeepRules rules;
  ErrorCatcher catcher(&context);
  if (failed(rules.parse(module->getLoc(), options.keep)))
    return catcher.take();
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  module->walk([&](Operation *op) {
    if (!isa<MatMulOp, ConvOp, ConvTransposeOp>(op) ||
        !rules.getReason(op).empty())
      return WalkResult::advance();
    Value weight = op->getOperand(1);
    auto type = cast<RankedTensorType>(weight.getType());
    std::optional<uint64_t> bytes = getTensorBytes(type);
    if (!bytes || !type.getElementType().isF32() ||
        !isConstantExpression(weight))
      return WalkResult::advance();
    std::vector<float> values(*bytes / sizeof(float));
    failure = evaluateConstant(
        weight, source,
        {reinterpret_cast<char *>(values.data()), size_t(*bytes)});
    for (float value : values)
      if (!failure && !std::isfinite(value))
        failure = makeError(
            Diag::BadTensor, "node '" + getNodeName(op->getLoc()) + "'",
            "expected finite weights, but got " +
                llvm::Twine(std::isnan(value) ? "NaN" : "infinity"));
    return failure ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure;
}

/// Algorithms and budgets gather what they need themselves, of the model as it
/// is then; `rtn` needs nothing.
bool Compilation::usesStatistics() const {
  return !isMixed && options.algorithms.empty();
}

llvm::Error Compilation::calibrate() {
  if (options.calibration.empty() && options.statistics.empty())
    return llvm::Error::success();
  if (llvm::Error error = nameObserved())
    return error;
  if (!usesStatistics() && options.statistics.empty())
    return llvm::Error::success();
  RemainingTime remaining;
  auto report = [&](size_t done, size_t all) {
    observer(Stage::Calibrate, /*done=*/false, remaining.describe(done, all));
  };
  auto found =
      options.statistics.empty() ? gatherStatistics(report) : readStatistics();
  if (!found)
    return found.takeError();
  statistics = std::move(*found);
  return llvm::Error::success();
}

llvm::Expected<Statistics>
Compilation::gather(llvm::function_ref<void(size_t, size_t)> progress) {
  if (llvm::Error error = import())
    return std::move(error);
  if (llvm::Error error = nameObserved())
    return std::move(error);
  return gatherStatistics(progress);
}

llvm::Expected<Statistics>
qcc::calibrate(const CompileOptions &options, MLIRContext &context,
               llvm::function_ref<void(size_t, size_t)> progress,
               std::vector<std::string> &warnings) {
  context.loadAllAvailableDialects();
  Compilation compilation(options, context, [](Stage, bool, StringRef) {});
  auto statistics = compilation.gather(progress);
  llvm::append_range(warnings, compilation.getWarnings());
  return statistics;
}
