//===- Eval.cpp - qcc eval --------------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs artifacts and a reference on the same samples, in this process, one
// thread to a sample, and says how far apart their outputs are.
//
//===----------------------------------------------------------------------===//
#include "Commands.h"
#include "EvalReport.h"
#include "Report.h"
#include "qcc/Package/Package.h"
#include "qcc/Pipeline/LoadedModel.h"
#include "qcc/Support/Budget.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Parallel.h"
#include "qcc/Support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Threading.h"
#include <atomic>
#include <bit>
#include <cstring>

using namespace llvm;

namespace qcc::driver {

//===----------------------------------------------------------------------===//
// Options
//===----------------------------------------------------------------------===//

static Error addMetric(StringRef name, std::vector<Metric> &metrics) {
  std::optional<Metric> metric = parseMetric(name);
  if (!metric)
    return makeError(Diag::Usage, "--metric",
                     "expected cosine, sqnr, top1, perplexity or kl, but got "
                     "'" +
                         name + "'");
  if (!is_contained(metrics, *metric))
    metrics.push_back(*metric);
  return Error::success();
}

static Expected<EvalOptions> readOptions(const CommandLine &line) {
  EvalOptions options;
  options.reference = line.get(OPT_eval_reference).str();
  options.output = line.get(OPT_eval_output).str();
  options.labels = line.get(OPT_labels).str();
  options.tokens = line.get(OPT_tokens).str();
  for (const std::string &name : line.args.getAllArgValues(OPT_metric))
    if (Error error = addMetric(name, options.metrics))
      return std::move(error);
  if (options.metrics.empty())
    options.metrics = {Metric::Cosine, Metric::SQNR};
  if (line.has(OPT_min_cos)) {
    double value = 0;
    if (line.get(OPT_min_cos).getAsDouble(value) ||
        !(value >= -1 && value <= 1))
      return makeError(Diag::Usage, "--min-cos",
                       "expected a cosine, but got '" + line.get(OPT_min_cos) +
                           "'");
    options.minCosine = value;
    cantFail(addMetric("cosine", options.metrics));
  }
  if (line.has(OPT_max_drop)) {
    Expected<double> value = parseShare("--max-drop", line.get(OPT_max_drop));
    if (!value)
      return value.takeError();
    options.maxDrop = *value;
    if (!is_contained(options.metrics, Metric::Top1) &&
        !is_contained(options.metrics, Metric::Perplexity))
      return makeError(Diag::Usage, "--max-drop",
                       "expected --metric=top1 or --metric=perplexity to say "
                       "what may drop");
  }
  for (auto [id, metric, name] :
       {std::tuple<OptionID, Metric, StringRef>{OPT_labels, Metric::Top1,
                                                "top1"},
        {OPT_tokens, Metric::Perplexity, "perplexity"}})
    if (line.has(id) && !is_contained(options.metrics, metric))
      return makeError(Diag::Usage,
                       line.args.getLastArg(id)->getSpelling().drop_back(),
                       "expected --metric=" + name + ", which reads it");
  return options;
}

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

/// Opens an artifact whose files are as its manifest says, if it has one:
/// damaged weights would be measured, and a damaged library might crash.
static Expected<std::unique_ptr<LoadedModel>> openVerified(StringRef path) {
  StringRef folder = path;
  if (sys::path::filename(path) == "libmodel.so") {
    folder = sys::path::parent_path(path);
    if (folder.empty())
      folder = ".";
  }
  if (isArtifact(folder))
    if (Error error = verifyArtifact(folder, /*allowsOthers=*/true).takeError())
      return std::move(error);
  return LoadedModel::open(path);
}

/// Compiles a model in fp32 for this machine, and opens it; nothing is left on
/// disk. Artifacts must be whole. `checkTokens` is asked of the inputs
/// that may have token ids, before the model is compiled; of an artifact
/// nothing is known but their types.
static Expected<std::unique_ptr<LoadedModel>>
openReference(Session &session, StringRef path,
              const std::function<Error(ArrayRef<std::string>)> &checkTokens) {
  if (sys::fs::is_directory(path) || path.ends_with(".so")) {
    for (auto [id, flag] :
         {std::pair(OPT_dim, "--dim"), std::pair(OPT_state, "--state")})
      if (session.line.has(id))
        return makeError(Diag::Usage, flag,
                         "expected a model as --reference, which it is "
                         "compiled with, but got an artifact");
    auto opened = openVerified(path);
    if (opened)
      if (Error error = checkTokens((*opened)->findIntegerInputs(/*rank=*/2)))
        return std::move(error);
    return opened;
  }
  Expected<CompileOptions> options =
      makeCompileOptions(session, path, session.self);
  if (!options)
    return options.takeError();
  auto folder = TemporaryFolder::create();
  if (!folder)
    return folder.takeError();
  options->outputDir = (*folder)->getPath() + "/reference";
  options->checkTokens = checkTokens;
  session.sink.setFile(path);
  Expected<CompileResult> result = compileModel(session, *options);
  session.sink.setFile("");
  if (!result)
    return result.takeError();
  return LoadedModel::open(options->outputDir);
}

/// Checks that an artifact has the inputs of the reference: one of them may
/// carry as a state what the other reads from the data.
static Error checkInputs(StringRef path, const LoadedModel &artifact,
                         const LoadedModel &reference) {
  auto list = [](const LoadedModel &model) {
    std::vector<std::string> names;
    for (const SampleInput &input : model.getInputs())
      names.push_back(input.name);
    llvm::sort(names);
    return names;
  };
  std::vector<std::string> expected = list(reference), got = list(artifact);
  if (expected == got)
    return Error::success();
  return makeError(Diag::Usage, path,
                   "expected the reference's inputs (" + join(expected, ", ") +
                       "), but got (" + join(got, ", ") +
                       "); states are no inputs: give the reference the "
                       "--state flags that the artifact was compiled with");
}

/// Takes the sizes that are known of others.
static void takeSizes(ArrayRef<SampleInput> others,
                      std::vector<SampleInput> &inputs) {
  for (const SampleInput &other : others)
    for (SampleInput &input : inputs)
      if (input.name == other.name && input.shape.size() == other.shape.size())
        for (auto [size, fixed] : zip_equal(input.shape, other.shape))
          size = fixed >= 0 ? fixed : size;
}

/// Inputs of the first model, with the sizes that any model fixes: those that a
/// model has with every entry before one of several.
static std::vector<SampleInput>
joinInputs(ArrayRef<std::unique_ptr<LoadedModel>> models) {
  std::vector<SampleInput> inputs = models[0]->getInputs();
  for (const std::unique_ptr<LoadedModel> &model : models)
    takeSizes(model->getInputs(), inputs);
  for (const std::unique_ptr<LoadedModel> &model : models)
    takeSizes(model->getCommonInputs(), inputs);
  return inputs;
}

//===----------------------------------------------------------------------===//
// Arrays
//===----------------------------------------------------------------------===//

template <typename From, typename To>
static std::vector<To> convert(const SampleArray &array,
                               function_ref<To(From)> function) {
  std::vector<To> values(array.bytes.size() / sizeof(From));
  for (size_t i = 0; i < values.size(); ++i) {
    From value;
    std::memcpy(&value, array.bytes.data() + i * sizeof(From), sizeof(From));
    values[i] = function(value);
  }
  return values;
}

/// A half as a float: exact.
static float widenHalf(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
           fraction = bits & 1023;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent)
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  float magnitude = std::ldexp(float(fraction), -24);
  return sign ? -magnitude : magnitude;
}

/// Elements of a float output.
static Expected<std::vector<float>> toFloats(const SampleArray &array) {
  constexpr uint8_t kFloat = 2, kBfloat = 4; // DLPack
  if (array.code == kFloat && array.bits == 32)
    return convert<float, float>(array, [](float v) { return v; });
  if (array.code == kFloat && array.bits == 64)
    return convert<double, float>(array, [](double v) { return float(v); });
  if (array.code == kFloat && array.bits == 16)
    return convert<uint16_t, float>(array, widenHalf);
  if (array.code == kBfloat && array.bits == 16)
    return convert<uint16_t, float>(array, [](uint16_t v) {
      return std::bit_cast<float>(uint32_t(v) << 16);
    });
  return makeError(Diag::BadCalibration, "output '" + array.name + "'",
                   "expected floats; --output=NAME chooses another one");
}

/// The array of labels or tokens in a sample. Errors: BadCalibration.
static Expected<const SampleArray *> getArray(const Sample &sample,
                                              StringRef name) {
  if (const SampleArray *array = findArray(sample.arrays, name))
    return array;
  std::string names =
      join(map_range(sample.arrays,
                     [](const SampleArray &a) { return "'" + a.name + "'"; }),
           ", ");
  return makeError(Diag::BadCalibration, sample.name,
                   "there is no array '" + name + "'; there are " + names);
}

/// Elements of labels or tokens.
static Expected<std::vector<int64_t>> toIntegers(const Sample &sample,
                                                 StringRef name) {
  Expected<const SampleArray *> found = getArray(sample, name);
  if (!found)
    return found.takeError();
  const SampleArray *array = *found;
  constexpr uint8_t kInt = 0, kUInt = 1; // DLPack
  auto widen = [](auto value) { return static_cast<int64_t>(value); };
  if (array->code == kInt && array->bits == 64)
    return convert<int64_t, int64_t>(*array, widen);
  if (array->code == kInt && array->bits == 32)
    return convert<int32_t, int64_t>(*array, widen);
  if (array->code == kUInt && array->bits == 8)
    return convert<uint8_t, int64_t>(*array, widen);
  return makeError(Diag::BadCalibration, sample.name,
                   "expected int64, int32 or uint8 in '" + name + "'");
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

static Error refuseOutput(StringRef name, const LoadedModel &model) {
  return makeError(Diag::Usage, "--output",
                   "expected one of " + join(model.getOutputs(), ", ") +
                       ", but got '" + name + "'");
}

namespace {

/// Scores of all samples: by artifact, metric and sample.
using Scores = std::vector<std::vector<std::vector<std::vector<RowScore>>>>;

class Evaluation {
public:
  /// The first model is the reference.
  Evaluation(const EvalOptions &options,
             ArrayRef<std::unique_ptr<LoadedModel>> models,
             ArrayRef<Sample> samples)
      : options(options), models(models), samples(samples),
        scores(models.size() - 1,
               {options.metrics.size(),
                std::vector<std::vector<RowScore>>(samples.size())}) {}

  Error run(unsigned threads, function_ref<void(size_t)> progress) {
    return runParallel(
        samples.size(), threads, [&](size_t i) { return runSample(i); },
        progress);
  }

  /// Classes of the reference's output.
  size_t getClasses() const { return classes; }

  /// Scores of a metric, sample by sample.
  std::vector<RowScore> get(size_t artifact, size_t metric) const {
    std::vector<RowScore> all;
    for (const std::vector<RowScore> &sample : scores[artifact][metric])
      append_range(all, sample);
    return all;
  }

private:
  Error runSample(size_t number);
  Error score(size_t artifact, size_t number, const OutputView &reference,
              const OutputView &candidate);
  /// The output that is measured, and its elements.
  Error runModel(const LoadedModel &model, const Sample &sample,
                 SampleArray &output, std::vector<float> &values) const;

  const EvalOptions &options;
  ArrayRef<std::unique_ptr<LoadedModel>> models;
  ArrayRef<Sample> samples;
  Scores scores;
  std::atomic<size_t> classes = 0;
};

} // namespace

Error Evaluation::runModel(const LoadedModel &model, const Sample &sample,
                           SampleArray &output,
                           std::vector<float> &values) const {
  std::vector<SampleArray> outputs;
  auto ignore = [](StringRef, ArrayRef<float>) {};
  if (Error error = model.run(sample, ignore, &outputs))
    return error;
  const SampleArray *found = options.output.empty()
                                 ? outputs.data()
                                 : findArray(outputs, options.output);
  if (!found || outputs.empty())
    return refuseOutput(options.output, model);
  output = *found;
  Expected<std::vector<float>> floats = toFloats(output);
  if (!floats)
    return floats.takeError();
  values = std::move(*floats);
  return Error::success();
}

/// Says which artifact or sample an error is of.
static Error nameSource(StringRef artifact, Error error) {
  return handleErrors(std::move(error), [&](const CodedError &coded) {
    if (coded.getWhere() == artifact) // named already
      return makeError(coded.getDiag(), artifact, coded.getText());
    return makeError(coded.getDiag(), artifact,
                     coded.getWhere().empty()
                         ? coded.getText()
                         : coded.getWhere() + ": " + coded.getText());
  });
}

Error Evaluation::score(size_t artifact, size_t number,
                        const OutputView &reference,
                        const OutputView &candidate) {
  for (auto [i, metric] : enumerate(options.metrics)) {
    std::string name = metric == Metric::Perplexity ? options.tokens
                       : metric == Metric::Top1     ? options.labels
                                                    : "";
    std::vector<int64_t> targets;
    if (!name.empty()) {
      Expected<std::vector<int64_t>> found = toIntegers(samples[number], name);
      if (!found)
        return found.takeError();
      targets = std::move(*found);
    }
    auto rows = scoreRows(metric, reference, candidate, targets);
    if (!rows)
      return rows.takeError();
    scores[artifact][i][number] = std::move(*rows);
  }
  return Error::success();
}

Error Evaluation::runSample(size_t number) {
  const Sample &sample = samples[number];
  SampleArray expected, output;
  std::vector<float> expectedValues, values;
  if (Error error = runModel(*models[0], sample, expected, expectedValues))
    return nameSource(options.reference, std::move(error));
  OutputView reference(expectedValues, expected.shape);
  classes = reference.classes;
  for (size_t i = 0; i + 1 < models.size(); ++i) {
    Error error = runModel(*models[i + 1], sample, output, values);
    if (!error)
      error = score(i, number, reference, OutputView(values, output.shape));
    if (error)
      return nameSource(options.artifacts[i],
                        nameSource(sample.name, std::move(error)));
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Command
//===----------------------------------------------------------------------===//

/// Which array has the tokens, if perplexity is asked for.
static Error findTokens(ArrayRef<std::string> candidates,
                        EvalOptions &options) {
  if (!is_contained(options.metrics, Metric::Perplexity) ||
      !options.tokens.empty())
    return Error::success();
  if (candidates.size() == 1) {
    options.tokens = candidates.front();
    return Error::success();
  }
  std::string several;
  for (const std::string &name : candidates)
    several += (several.empty() ? ": '" : ", '") + name + "'";
  return makeError(Diag::Usage, "--metric=perplexity",
                   "expected --tokens=NAME to say which array has the token "
                   "ids [batch, sequence]" +
                       several);
}

/// Checks names of outputs and arrays against the artifacts and the first
/// sample: wrong ones are told before the reference is compiled.
static Error checkNames(StringRef data, const EvalOptions &options,
                        ArrayRef<std::unique_ptr<LoadedModel>> artifacts) {
  for (auto [path, artifact] : zip_equal(options.artifacts, artifacts))
    if (!options.output.empty() &&
        !is_contained(artifact->getOutputs(), options.output))
      return nameSource(path, refuseOutput(options.output, *artifact));
  if (options.labels.empty() && options.tokens.empty())
    return Error::success();
  auto samples = readSamples(data, joinInputs(artifacts));
  if (!samples)
    return samples.takeError();
  for (StringRef name : {options.labels, options.tokens})
    if (!name.empty())
      if (auto array = getArray(samples->front(), name); !array)
        return array.takeError();
  return Error::success();
}

/// Warns of a perplexity above that of a guess among all classes.
static void warnOfGuesses(Session &session, const EvalOptions &options,
                          ArrayRef<std::vector<MetricResult>> results,
                          size_t classes) {
  auto warn = [&](StringRef who, double value, StringRef remedy) {
    std::string text = describeGuess(who, value, classes, remedy);
    if (!text.empty())
      session.sink.warn(text);
    return !text.empty();
  };
  bool isReferenceTold = false;
  for (auto [artifact, list] : zip_equal(options.artifacts, results))
    for (const MetricResult &r : list) {
      if (r.metric != Metric::Perplexity || !r.reference)
        continue;
      if (!isReferenceTold)
        isReferenceTold =
            warn(options.reference, *r.reference,
                 "see whether --data and --tokens are those of the model");
      if (*r.reference <= double(classes))
        warn(artifact, r.value.value, "it has lost what the model knows");
    }
}

Error runEval(Session &session) {
  const CommandLine &line = session.line;
  if (line.positionals.empty() || !line.has(OPT_eval_reference) ||
      !line.has(OPT_data))
    return makeError(Diag::Usage, "",
                     "expected artifacts, --reference=MODEL and --data=DATA; "
                     "`qcc eval --help` shows the flags");
  Expected<EvalOptions> options = readOptions(line);
  if (!options)
    return options.takeError();
  options->artifacts = line.positionals;
  if (line.has(OPT_report_file))
    if (Error error =
            checkPagePath(line, line.get(OPT_report_file), options->artifacts))
      return error;
  Expected<unsigned> jobs = getJobs(line);
  if (!jobs)
    return jobs.takeError();
  // Artifacts first: a wrong path is known before the reference is compiled.
  std::vector<std::unique_ptr<LoadedModel>> models(1);
  for (const std::string &path : options->artifacts) {
    auto opened = openVerified(path);
    if (!opened)
      return opened.takeError();
    models.push_back(std::move(*opened));
  }
  if (Error error = checkNames(line.get(OPT_data), *options,
                               ArrayRef(models).drop_front()))
    return error;
  auto reference = openReference(session, options->reference,
                                 [&](ArrayRef<std::string> tokens) {
                                   return findTokens(tokens, *options);
                                 });
  if (!reference)
    return reference.takeError();
  models[0] = std::move(*reference);
  for (auto [i, path] : enumerate(options->artifacts))
    if (Error error = checkInputs(path, *models[i + 1], *models[0]))
      return error;
  auto samples = readSamples(line.get(OPT_data), joinInputs(models));
  if (!samples)
    return samples.takeError();

  unsigned threads =
      *jobs ? *jobs : hardware_concurrency().compute_thread_count();
  Evaluation evaluation(*options, models, *samples);
  CountProgress progress(session.progress, "eval");
  Error failure = evaluation.run(
      threads, [&](size_t done) { progress.update(done, samples->size()); });
  progress.clear();
  if (failure)
    return failure;
  std::vector<std::vector<MetricResult>> results(options->artifacts.size());
  for (auto [i, list] : enumerate(results))
    for (auto [k, metric] : enumerate(options->metrics)) {
      auto result = summarize(metric, evaluation.get(i, k),
                              /*hasLabels=*/!options->labels.empty());
      if (!result)
        return nameSource(options->artifacts[i], result.takeError());
      list.push_back(*result);
    }
  warnOfGuesses(session, *options, results, evaluation.getClasses());
  if (line.has(OPT_json))
    outs() << writeJson(*options, results);
  else
    printTable(*options, results);
  if (line.has(OPT_report_file)) {
    Error error = writeReportPage(line, line.get(OPT_report_file),
                                  options->artifacts, /*profiles=*/{},
                                  {"results", writeJson(*options, results)});
    if (error)
      return error;
  }
  return checkGates(*options, results);
}

} // namespace qcc::driver
