//===- main.cpp - runs, compares and times compiled models ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The program that needs only an artifact and its C interface: no compiler, no
// LLVM.
//===----------------------------------------------------------------------===//

#include "Batch.h"
#include "Ceilings.h"
#include "Npz.h"
#include "Observe.h"
#include "TestData.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

using namespace qcc::run;
using nlohmann::json;

namespace {

/// The command line.
struct Options {
  std::string artifact, entry, inputs, outputs, expect, testData, batch, trace,
      dump, dumpTo = "dump.npz", expectValues;
  std::vector<std::string> dims;
  OpenOptions open;
  Tolerance tolerance;
  bool bench = false, profile = false, ceilings = false, json = false,
       info = false, random = false, benchOnInput = false;
  uint64_t seed = 0;
  int64_t intMax = 1;
  int warmup = 3, runs = 20, steps = 1;
  unsigned timeout = 60;
};

} // namespace

static bool isSameFile(const std::string &a, const std::string &b) {
  std::error_code error; // there is none: it is another
  return !a.empty() && !b.empty() && std::filesystem::equivalent(a, b, error);
}

/// A whole number from `least` to `most`.
static CLI::Validator isNumber(int64_t least, int64_t most) {
  return CLI::Validator(
      [=](std::string &text) {
        int64_t value;
        if (CLI::detail::lexical_cast(text, value) && value >= least &&
            value <= most)
          return std::string();
        std::string range = "from " + std::to_string(least) + " on";
        if (most < std::numeric_limits<int>::max())
          range =
              "from " + std::to_string(least) + " to " + std::to_string(most);
        return "expected a number " + range + ", but got '" + text + "'";
      },
      "");
}

static void addOptions(CLI::App &app, Options &o) {
  CLI::Validator isTolerance(
      [](std::string &text) {
        double value;
        bool isNumber = CLI::detail::lexical_cast(text, value) && value >= 0;
        return isNumber ? std::string()
                        : "expected a number from 0 on, but got '" + text + "'";
      },
      "");
  constexpr int kMost = std::numeric_limits<int>::max();
  constexpr int64_t kMostSeed = std::numeric_limits<int64_t>::max();
  app.add_option("DIR", o.artifact,
                 "artifact: a folder with libmodel.so, or the library");
  app.add_option("--inputs", o.inputs,
                 "inputs as .npz, members by tensor name");
  app.add_option("--outputs", o.outputs, "write the outputs to this .npz");
  app.add_option("--expect", o.expect, "compare with the outputs in this .npz");
  app.add_option("--test-data", o.testData,
                 "run and compare an ONNX test data set (a folder)");
  app.add_option("--rtol", o.tolerance.rtol, "relative tolerance of an element")
      ->check(isTolerance)
      ->capture_default_str();
  app.add_option("--atol", o.tolerance.atol, "absolute tolerance of an element")
      ->check(isTolerance)
      ->capture_default_str();
  app.add_option("--rel-max", o.tolerance.relMax,
                 "tolerance relative to the output's largest magnitude")
      ->check(isTolerance);
  app.add_option(
      "--entry", o.entry,
      "entry to run (default: the first that takes the inputs' sizes)");
  app.add_option("--threads", o.open.threads,
                 "threads (default: one per allowed CPU)")
      ->check(isNumber(0, 1024));
  app.add_flag("--pin", o.open.pin, "bind threads to CPUs");
  app.add_flag("--verify", o.open.verify, "compare the hash of all weights");
  auto *random = app.add_option("--random-inputs", o.seed,
                                "random inputs from this seed (default 0)");
  random->expected(0, 1)->default_str("0")->check(isNumber(0, kMostSeed));
  app.add_option("--int-max", o.intMax, "largest random integer")
      ->check(isNumber(0, kMostSeed))
      ->capture_default_str();
  app.add_option("--dim", o.dims, "NAME=VALUE: a size of random inputs");
  app.add_option("--steps", o.steps,
                 "run so many times, with states; inputs and outputs may be "
                 "stacked by step")
      ->check(isNumber(1, kMost));
  app.add_flag("--bench", o.bench, "time runs: median, least, 90th percentile");
  app.add_flag("--bench-on-input", o.benchOnInput,
               "time one run per line read from stdin, to interleave programs");
  app.add_option("--warmup", o.warmup, "runs before the clock starts")
      ->check(isNumber(0, kMost))
      ->capture_default_str();
  app.add_option("--runs", o.runs, "runs that are timed or profiled")
      ->check(isNumber(1, kMost))
      ->capture_default_str();
  auto *profile = app.add_option(
      "--profile", o.trace,
      "time per node; with a file also a trace for a browser's viewer");
  profile->expected(0, 1);
  app.add_flag("--ceilings", o.ceilings,
               "with --profile: also what this machine can do at most");
  app.add_option("--dump", o.dump,
                 "write the values or nodes whose name this expression finds");
  auto *dumpTo = app.add_option("--dump-to", o.dumpTo, "where --dump writes")
                     ->capture_default_str();
  app.add_option("--expect-values", o.expectValues,
                 "compare the values of --dump with this dump, in the order in "
                 "which they are computed");
  app.add_option("--batch", o.batch,
                 "run test data sets: lines of artifact, tab, folder");
  app.add_option("--timeout", o.timeout, "seconds per item of --batch")
      ->check(isNumber(0, kMost))
      ->capture_default_str();
  app.add_flag("--info", o.info, "describe the model");
  app.add_flag("--json", o.json, "results as JSON");
  app.add_flag("-q,--quiet", o.open.quiet, "no notes");
  app.callback([&o, random, profile, dumpTo] {
    o.random = random->count() > 0;
    o.profile = profile->count() > 0;
    if (o.artifact.empty() == o.batch.empty())
      throw CLI::ValidationError("expected an artifact or --batch");
    if (!o.testData.empty() &&
        (!o.inputs.empty() || !o.expect.empty() || o.random))
      throw CLI::ValidationError(
          "--test-data brings its own inputs and outputs");
    if (!o.inputs.empty() && o.random)
      throw CLI::ValidationError(
          "expected --inputs or --random-inputs, but got both");
    for (const std::string &written :
         {o.outputs, o.dump.empty() ? "" : o.dumpTo, o.trace})
      for (const std::string &read : {o.inputs, o.expect, o.expectValues})
        if (isSameFile(written, read))
          throw CLI::ValidationError(
              written + " is read: expected another name to write to");
    if (dumpTo->count() && o.dump.empty())
      throw CLI::ValidationError("--dump-to belongs to --dump");
    if (!o.expectValues.empty() && o.dump.empty())
      throw CLI::ValidationError("--expect-values compares what --dump finds");
    if (!o.dump.empty() && o.steps > 1)
      throw CLI::ValidationError("--dump writes the values of one run: "
                                 "expected no --steps beside it");
    if (o.ceilings && !o.profile)
      throw CLI::ValidationError("--ceilings belongs to --profile");
    if (!o.expect.empty() && (o.bench || o.benchOnInput))
      throw CLI::ValidationError(
          "--bench compares nothing: run --expect without it");
  });
}

static Sizes parseDims(const std::vector<std::string> &texts) {
  Sizes dims;
  for (const std::string &text : texts) {
    size_t equals = text.rfind('=');
    int64_t value = -1;
    try {
      value = equals == std::string::npos ? -1
                                          : std::stoll(text.substr(equals + 1));
    } catch (const std::exception &) {
      value = -1;
    }
    if (value < 0)
      throw RunError(Usage, "--dim: expected NAME=VALUE, but got " + text);
    dims.emplace_back(text.substr(0, equals), value);
  }
  return dims;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

/// The inputs of one step: of those that have one more dim than the model asks
/// for, the slice; of the others all.
static std::vector<Array> sliceStep(const std::vector<Array> &arrays,
                                    const std::vector<TensorSpec> &specs,
                                    int step, int steps) {
  std::vector<Array> result = arrays;
  for (Array &array : result)
    for (const TensorSpec &spec : specs) {
      if (spec.name != array.name ||
          array.shape.size() != spec.dims.size() + 1 || array.shape[0] != steps)
        continue;
      if (array.type->bits < 8)
        throw RunError(Unsupported,
                       "input '" + array.name +
                           "': packed types cannot be stacked by step");
      size_t size = array.bytes.size() / size_t(steps);
      auto from = array.bytes.begin() + ptrdiff_t(size) * step;
      array.bytes = std::vector<std::byte>(from, from + ptrdiff_t(size));
      array.shape.erase(array.shape.begin());
    }
  return result;
}

/// Refuses inputs that look as if they were stacked by step where one run is
/// asked for.
static void checkUnstacked(const std::vector<Array> &arrays,
                           const std::vector<TensorSpec> &specs) {
  for (const Array &array : arrays)
    for (const TensorSpec &spec : specs) {
      size_t rank = spec.dims.size();
      if (spec.name == array.name && array.shape.size() == rank + 1 &&
          array.shape[0] > 1)
        throw RunError(BadData, "input '" + array.name + "': expected rank " +
                                    std::to_string(rank) + ", but got " +
                                    std::to_string(rank + 1) +
                                    "; if it is stacked by step, --steps=" +
                                    std::to_string(array.shape[0]));
    }
}

/// Appends the outputs of a step; throws BadData when a shape changes.
static void stack(std::vector<Array> &stacked, std::vector<Array> outputs,
                  int step) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].shape.insert(outputs[i].shape.begin(), 1);
    if (step == 0) {
      stacked.push_back(std::move(outputs[i]));
      continue;
    }
    std::vector<int64_t> shape = stacked[i].shape;
    shape[0] = 1;
    if (shape != outputs[i].shape)
      throw RunError(BadData, "output '" + outputs[i].name +
                                  "' changes its shape between steps");
    ++stacked[i].shape[0];
    stacked[i].bytes.insert(stacked[i].bytes.end(), outputs[i].bytes.begin(),
                            outputs[i].bytes.end());
  }
}

static std::vector<Array> runSteps(Runner &runner, const Artifact &artifact,
                                   uint32_t entry,
                                   const std::vector<Array> &inputs,
                                   int steps) {
  std::vector<TensorSpec> specs = artifact.inputs(entry);
  std::vector<Array> stacked;
  for (int step = 0; step < steps; ++step) {
    runner.setInputs(sliceStep(inputs, specs, step, steps));
    runner.run();
    stack(stacked, runner.outputs(), step);
  }
  return stacked;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

static json toJson(const TensorSpec &spec) {
  json dims = json::array();
  for (size_t i = 0; i < spec.dims.size(); ++i)
    dims.push_back(spec.dims[i] >= 0
                       ? json(spec.dims[i])
                       : json(spec.symbols[i].empty() ? "?" : spec.symbols[i]));
  return {{"name", spec.name}, {"type", spec.type->name}, {"shape", dims}};
}

static json describeModel(const Artifact &artifact) {
  const qcc_model_info &info = artifact.info();
  json entries = json::array(), states = json::array();
  std::vector<std::string> names = artifact.entryNames();
  for (uint32_t i = 0; i < names.size(); ++i) {
    json entry = {{"name", names[i]},
                  {"inputs", json::array()},
                  {"outputs", json::array()}};
    for (const TensorSpec &spec : artifact.inputs(i))
      entry["inputs"].push_back(toJson(spec));
    for (const TensorSpec &spec : artifact.outputs(i))
      entry["outputs"].push_back(toJson(spec));
    entries.push_back(entry);
  }
  for (const TensorSpec &spec : artifact.states())
    states.push_back(toJson(spec));
  return {{"model", info.name},
          {"producer", info.producer},
          {"level", info.level},
          {"threads", info.threads},
          {"weight_bytes", info.weight_bytes},
          {"entries", entries},
          {"states", states}};
}

static std::string specText(const json &spec) {
  std::string text = "  " + spec["name"].get<std::string>() + ": " +
                     spec["type"].get<std::string>() + "[";
  for (size_t i = 0; i < spec["shape"].size(); ++i)
    text += (i == 0 ? "" : ", ") + (spec["shape"][i].is_string()
                                        ? spec["shape"][i].get<std::string>()
                                        : spec["shape"][i].dump());
  return text + "]\n";
}

static void printModel(const json &model) {
  std::cout << model["model"].get<std::string>() << " by "
            << model["producer"].get<std::string>() << ", level "
            << model["level"].get<std::string>() << ", " << model["threads"]
            << " threads, " << model["weight_bytes"] << " bytes of weights\n";
  for (const json &entry : model["entries"]) {
    std::cout << "entry " << entry["name"].get<std::string>() << "\n inputs\n";
    for (const json &spec : entry["inputs"])
      std::cout << specText(spec);
    std::cout << " outputs\n";
    for (const json &spec : entry["outputs"])
      std::cout << specText(spec);
  }
  if (!model["states"].empty())
    std::cout << "states\n";
  for (const json &spec : model["states"])
    std::cout << specText(spec);
}

/// The name of a value without the number that it has where several of a run
/// share a name (dumpValues).
static std::string getBaseName(const std::string &name) {
  size_t mark = name.rfind('#');
  bool isNumber =
      mark != std::string::npos && mark + 1 < name.size() &&
      name.find_first_not_of("0123456789", mark + 1) == std::string::npos;
  return isNumber ? name.substr(0, mark) : name;
}

/// The value among those of another program that is the same as this one: of
/// its name, or else the only one of that name without its number. One program
/// may compute in several steps of one name what the other does in one.
static const Array *findSame(const Array &value,
                             const std::vector<Array> &dumped,
                             const std::vector<Array> &expected) {
  auto isSame = [&](const Array &other, const std::string &name) {
    return other.type == value.type && other.shape == value.shape &&
           other.name == name;
  };
  for (const Array &other : expected)
    if (isSame(other, value.name))
      return &other;
  std::string base = getBaseName(value.name);
  auto isAlike = [&](const Array &other) {
    return isSame(other, other.name) && getBaseName(other.name) == base;
  };
  if (std::count_if(dumped.begin(), dumped.end(), isAlike) != 1 ||
      std::count_if(expected.begin(), expected.end(), isAlike) != 1)
    return nullptr;
  return &*std::find_if(expected.begin(), expected.end(), isAlike);
}

/// Compares the values that both programs dumped: what only one has was fused
/// away in the other, what has another type was quantized in one.
static std::vector<Comparison> compareValues(const std::vector<Array> &dumped,
                                             const std::string &path,
                                             const Tolerance &tolerance) {
  std::vector<Array> expected = readNpz(path);
  std::vector<Comparison> comparisons;
  for (const Array &value : dumped)
    if (const Array *other = findSame(value, dumped, expected))
      comparisons.push_back(compare(value, *other, tolerance));
  if (comparisons.empty())
    throw RunError(BadData, path + ": expected values that --dump finds, of "
                                   "the same type and shape, but got none");
  return comparisons;
}

/// Compares outputs with those of a file, and tells which it lacks.
static std::vector<Comparison> compareOutputs(const std::vector<Array> &outputs,
                                              const Options &o) {
  std::vector<Array> expected = readNpz(o.expect);
  if (expected.empty())
    throw RunError(BadData, o.expect + ": expected outputs, but got none");
  for (const Array &output : outputs)
    if (!o.open.quiet &&
        std::none_of(expected.begin(), expected.end(), [&](const Array &other) {
          return other.name == output.name;
        }))
      std::cerr << "qcc-run: note: " << o.expect << " has no output '"
                << output.name << "': it is not compared\n";
  return compareAll(outputs, expected, false, o.tolerance);
}

/// Adds the outputs that an expression finds to what was dumped: values are
/// named after nodes.
static void addOutputs(const std::vector<Array> &outputs,
                       const std::regex &pattern, std::vector<Array> &dumped) {
  for (const Array &output : outputs)
    if (std::regex_search(output.name, pattern) &&
        std::none_of(dumped.begin(), dumped.end(), [&](const Array &other) {
          return other.name == output.name;
        }))
      dumped.push_back(output);
}

/// Adds comparisons to the result; Missed when one did not pass.
static ExitCode report(const std::vector<Comparison> &comparisons, bool asJson,
                       json &result) {
  ExitCode code = Ok;
  json list = json::array();
  for (const Comparison &c : comparisons) {
    // Infinities are no JSON numbers: dump() writes null for them.
    list.push_back({{"output", c.name},
                    {"passed", c.passed},
                    {"max_error", c.maxError},
                    {"max_expected", c.maxExpected},
                    {"cosine", c.cosine},
                    {"mismatches", c.mismatches},
                    {"problem", c.problem}});
    if (!asJson)
      std::printf("%s output '%s': max error %.3g, largest expected %.3g, "
                  "cosine %.8f%s%s\n",
                  c.passed ? "ok  " : "FAIL", c.name.c_str(), c.maxError,
                  c.maxExpected, c.cosine, c.problem.empty() ? "" : ": ",
                  c.problem.c_str());
    if (!c.passed)
      code = Missed;
  }
  result["compare"] = list;
  return code;
}

static void printArray(const Array &array) {
  std::string values;
  uint64_t count = array.count();
  for (uint64_t i = 0; i < std::min<uint64_t>(count, 6); ++i) {
    char text[32];
    std::snprintf(text, sizeof(text), "%s%.6g", i == 0 ? "" : ", ",
                  array.at(i));
    values += text;
  }
  std::cout << array.name << ": " << describe(array.type, array.shape) << " = "
            << values << (count > 6 ? ", ..." : "") << "\n";
}

//===----------------------------------------------------------------------===//
// What to do
//===----------------------------------------------------------------------===//

static std::vector<Array> loadInputs(const Options &o, const Artifact &artifact,
                                     uint32_t entry) {
  if (!o.inputs.empty())
    return readNpz(o.inputs);
  bool timing = o.bench || o.profile || o.benchOnInput;
  if (!o.random && !timing && !artifact.inputs(entry).empty())
    throw RunError(Usage, "expected --inputs, --test-data or --random-inputs");
  return makeRandomInputs(artifact, entry, parseDims(o.dims), o.seed, o.intMax);
}

/// One run and its time in nanoseconds for each line read, until the end.
static void benchOnInput(Runner &runner, int warmup) {
  bench(runner, warmup, 0);
  std::cout << "ready" << "\n" << std::flush;
  for (std::string line; std::getline(std::cin, line);)
    std::cout << int64_t(bench(runner, 0, 1).quantile(0) * 1e6) << "\n"
              << std::flush;
}

/// Adds to the result what the machine can do at the model's level.
static void addCeilings(const Artifact &artifact, bool asJson, json &result) {
  Ceilings c = measureCeilings(artifact.info().level, artifact.info().threads);
  result["ceilings"] = {
      {"level", "measured"},    {"f32_gops", c.f32},
      {"int8_gops", c.int8},    {"cache_gbs", c.cache},
      {"memory_gbs", c.memory}, {"cache_bytes", c.cacheBytes}};
  if (!asJson)
    std::printf("ceilings: f32 %.1f and int8 %.1f Gop/s, cache %.1f and memory "
                "%.1f GB/s\n",
                c.f32, c.int8, c.cache, c.memory);
}

/// What is measured, after the inputs are set.
static void measure(const Options &o, const Artifact &artifact, Runner &runner,
                    json &result) {
  if (o.benchOnInput)
    benchOnInput(runner, o.warmup);
  if (o.bench) {
    Times times = bench(runner, o.warmup, o.runs);
    result["bench"] = times.toJson();
    if (!o.json)
      std::printf("median %.3f ms, least %.3f ms, 90 %% below %.3f ms (%d "
                  "runs, %u threads, level %s)\n",
                  times.quantile(0.5), times.quantile(0), times.quantile(0.9),
                  o.runs, artifact.info().threads, artifact.info().level);
  }
  if (o.profile) {
    Profiler profiler(artifact);
    profiler.profile(runner, o.runs);
    result["profile"] = profiler.toJson();
    result["level"] = artifact.info().level;
    result["threads"] = artifact.info().threads;
    if (std::string hash = findLibraryHash(o.artifact); !hash.empty())
      result["library"] = hash;
    if (!o.trace.empty())
      profiler.writeTrace(o.trace);
    if (!o.json)
      std::cout << profiler.table();
    if (o.ceilings)
      addCeilings(artifact, o.json, result);
  }
}

static ExitCode runModel(const Options &o, json &result) {
  Artifact artifact(o.artifact, o.open);
  uint32_t entry = artifact.findEntry(o.entry);
  if (o.info) {
    result = describeModel(artifact);
    if (!o.json)
      printModel(result);
    return Ok;
  }
  std::optional<uint32_t> named;
  if (!o.entry.empty())
    named = entry;
  if (!o.testData.empty())
    return report(runTestData(artifact, named, o.testData, o.tolerance), o.json,
                  result);
  if (o.inputs.empty())
    entry = artifact.findEntryFor(parseDims(o.dims), named);
  std::vector<Array> inputs = loadInputs(o, artifact, entry);
  if (o.entry.empty() && !o.inputs.empty())
    entry = artifact.findEntryFor(inputs);
  Runner runner(artifact, entry);
  if (o.bench || o.profile || o.benchOnInput) {
    runner.setInputs(std::move(inputs));
    measure(o, artifact, runner, result);
    return Ok;
  }
  std::vector<Array> outputs, dumped;
  if (o.steps > 1) {
    outputs = runSteps(runner, artifact, entry, inputs, o.steps);
  } else {
    checkUnstacked(inputs, artifact.inputs(entry));
    runner.setInputs(std::move(inputs));
    if (!o.dump.empty())
      dumped = dumpValues(artifact, runner, std::regex(o.dump));
    else
      runner.run();
    outputs = runner.outputs();
  }
  if (!o.dump.empty()) {
    addOutputs(outputs, std::regex(o.dump), dumped);
    if (dumped.empty())
      throw RunError(Usage,
                     "--dump: expected an expression that finds the name "
                     "of a value or node, but got '" +
                         o.dump + "', which finds none; --profile lists nodes");
    writeNpz(o.dumpTo, dumped);
    if (!o.open.quiet)
      std::cerr << "wrote " << dumped.size() << " values to " << o.dumpTo
                << "\n";
  }
  if (!o.outputs.empty())
    writeNpz(o.outputs, outputs);
  if (!o.expectValues.empty())
    return report(compareValues(dumped, o.expectValues, o.tolerance), o.json,
                  result);
  if (!o.expect.empty())
    return report(compareOutputs(outputs, o), o.json, result);
  for (const Array &array : outputs) {
    result["outputs"].push_back({{"name", array.name},
                                 {"type", array.type->name},
                                 {"shape", array.shape}});
    if (!o.json && o.outputs.empty())
      printArray(array);
  }
  return Ok;
}

static ExitCode run(const Options &o) {
  if (!o.batch.empty())
    return runBatch(o.batch, o.open, o.tolerance, o.timeout);
  json result = json::object();
  ExitCode code = runModel(o, result);
  if (o.json)
    std::cout << result.dump(1, ' ', false, json::error_handler_t::replace)
              << "\n";
  return code;
}

/// What is wrong with the command line, in the words of qcc.
static RunError describe(const CLI::ParseError &error) {
  std::string text = error.what();
  constexpr const char *unexpected[] = {
      "The following argument was not expected: ",
      "The following arguments were not expected: "};
  for (const char *start : unexpected)
    if (text.rfind(start, 0) == 0) {
      std::string word = text.substr(std::string(start).size());
      text = word.rfind("-", 0) == 0
                 ? "unknown flag '" + word + "'"
                 : "expected one artifact, but got '" + word + "' besides";
    }
  return RunError(Usage, text + "; `qcc-run --help` shows the flags");
}

static void printError(const std::string &text, ExitCode code) {
  std::cerr << "qcc-run: error: " << text << " [" << getDiagnosticCode(code)
            << "]\n";
}

static int parseAndRun(int argc, char **argv) {
  Options options;
  CLI::App app("Runs, compares, times and profiles a model that qcc compiled.",
               "qcc-run");
  addOptions(app, options);
  std::signal(SIGPIPE, SIG_DFL);
  // A file that may not grow any more is an error of writing, told as such.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0) // help
      return app.exit(error);
    throw describe(error);
  }
  int code = run(options);
  std::fflush(stdout);
  if (!std::cout.flush() || std::ferror(stdout))
    throw RunError(CannotWrite, "cannot write to stdout");
  return code;
}

int main(int argc, char **argv) {
  auto fail = [](const std::string &text, ExitCode code) {
    printError(text, code);
    return code;
  };
  try {
    return parseAndRun(argc, argv);
  } catch (const RunError &error) {
    return fail(error.what(), error.code());
  } catch (const std::regex_error &error) {
    return fail(
        std::string("--dump: expected a regular expression, but got one "
                    "that is none: ") +
            error.what(),
        Usage);
  } catch (const std::bad_alloc &) {
    return fail("out of memory", Resources);
  } catch (const std::exception &error) {
    return fail(error.what(), Internal);
  }
}
