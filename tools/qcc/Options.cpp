//===- Options.cpp - the command line of qcc --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Options.h"
#include "Commands.h"
#include "qcc/Import/ONNX/Import.h"
#include "qcc/Pipeline/AlgorithmList.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/MappedFile.h"
#include "qcc/Support/Version.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace llvm::opt;

namespace qcc::driver {

namespace {

// Names that the generated table uses: a bit for each sub-command.
enum VerbVisibility {
  DefaultVis = 1,
  CompileVis = 2,
  CheckVis = 4,
  InspectVis = 8,
  CalibrateVis = 16,
  MergeStatsVis = 32,
  CompareVis = 64,
  EvalVis = 128,
  ReportVis = 256,
  VerifyVis = 512,
  TargetsVis = 1024,
  SchemesVis = 2048,
  ExplainVis = 4096
};

#define OPTTABLE_STR_TABLE_CODE
#include "Options.inc"
#undef OPTTABLE_STR_TABLE_CODE

#define OPTTABLE_PREFIXES_TABLE_CODE
#include "Options.inc"
#undef OPTTABLE_PREFIXES_TABLE_CODE

constexpr OptTable::Info kInfos[] = {
#define OPTION(...) LLVM_CONSTRUCT_OPT_INFO(__VA_ARGS__),
#include "Options.inc"
#undef OPTION
};

class Table : public GenericOptTable {
public:
  Table() : GenericOptTable(OptionStrTable, OptionPrefixesTable, kInfos) {}
};

struct VerbInfo {
  Verb verb;
  StringLiteral name;
  const char *usage, *title;
};

constexpr VerbInfo kVerbs[] = {
    {Verb::Compile, "compile", "qcc MODEL [flags]",
     "Compile an ONNX model to a native library."},
    {Verb::Check, "check", "qcc check MODEL [flags]",
     "Say everything of a model that is not supported."},
    {Verb::Inspect, "inspect", "qcc inspect MODEL|ARTIFACT [flags]",
     "Show inputs, outputs, sizes and operators."},
    {Verb::Calibrate, "calibrate",
     "qcc calibrate MODEL --calib=DATA [-o FILE] [flags]",
     "Write the statistics that quantization needs."},
    {Verb::MergeStats, "merge-stats", "qcc merge-stats FILE... -o FILE",
     "Join the statistics of `qcc calibrate --shard`."},
    {Verb::Compare, "compare", "qcc compare MODEL --inputs=NPZ [flags]",
     "Run a model on two targets and show the first node that differs."},
    {Verb::Eval, "eval",
     "qcc eval ARTIFACT... --reference=MODEL --data=DATA [flags]",
     "Measure artifacts against the float model."},
    {Verb::Report, "report", "qcc report ARTIFACT... [-o FILE] [flags]",
     "Write a page of what was compiled, and of what was measured."},
    {Verb::Verify, "verify", "qcc verify ARTIFACT",
     "Compare the files of an artifact with its manifest."},
    {Verb::Targets, "targets", "qcc targets", "List the targets."},
    {Verb::Schemes, "schemes", "qcc schemes",
     "List the precisions that a model can be compiled to."},
    {Verb::Explain, "explain", "qcc explain CODE",
     "Say what a code such as QCC-E301 means."},
};

const VerbInfo &getInfo(Verb verb) { return kVerbs[static_cast<size_t>(verb)]; }

Visibility getVisibility(Verb verb) {
  return Visibility(CompileVis << static_cast<unsigned>(verb));
}

Error usage(const Twine &where, const Twine &text) {
  return makeError(Diag::Usage, where, text);
}

/// The first word that is no flag of the sub-command, as an error.
Error checkKnown(const OptTable &table, const InputArgList &args, Verb verb) {
  for (const Arg *arg : args.filtered(OPT_UNKNOWN)) {
    StringRef text = arg->getSpelling();
    std::string nearest;
    unsigned distance = table.findNearest(text, nearest, getVisibility(verb));
    // Of a name with more wrong letters than right ones nothing is near.
    size_t length = text.ltrim('-').split('=').first.size();
    return usage("", "unknown flag '" + text + "'" +
                         (distance <= std::min<size_t>(length / 2, 3)
                              ? "; did you mean '" + nearest + "'?"
                              : std::string()));
  }
  return Error::success();
}

} // namespace

/// Refuses a first word that is nearly a sub-command and no file: it would be
/// taken as a model.
static Error checkVerb(StringRef word) {
  if (word.starts_with("-") || sys::fs::exists(word))
    return Error::success();
  for (const VerbInfo &info : drop_begin(kVerbs))
    if (word.edit_distance(info.name, /*AllowReplacements=*/true, 2) <= 2 &&
        word.size() > 3)
      return usage("", "expected a model or a sub-command, but got '" + word +
                           "'; did you mean '" + info.name + "'?");
  return Error::success();
}

/// The name of a flag, without the sign that its value follows.
static StringRef getName(const Arg &arg) {
  return arg.getSpelling().rtrim('=');
}

/// An empty value is that of a variable of a script that is not set.
static Error checkNoneEmpty(const CommandLine &line) {
  // What reads these says what it expects.
  constexpr OptionID kCheckedLater[] = {OPT_INPUT, OPT_algo, OPT_checkpoint,
                                        OPT_load_plugin, OPT_tune};
  for (const Arg *arg : line.args) {
    unsigned id = arg->getOption().getID();
    if (is_contained(kCheckedLater, id) || arg->getNumValues() != 1 ||
        *arg->getValue())
      continue;
    bool isWritten = id == OPT_output || id == OPT_report_file;
    return usage(getName(*arg),
                 isWritten ? "expected the name of what is written, but got an "
                             "empty word"
                           : "expected a value, but got an empty word");
  }
  return Error::success();
}

/// Flags of data and of results have one value: the last of two would win, and
/// nobody would miss the other's.
static Error checkOnce(const CommandLine &line) {
  for (auto [id, several] :
       {std::pair<OptionID, StringRef>{OPT_calib, "a folder holds several"},
        {OPT_data, "a folder holds several"},
        {OPT_inputs, "an .npz holds several"},
        {OPT_output, "a run writes one"},
        {OPT_report_file, "a run writes one"}}) {
    std::vector<std::string> values = line.args.getAllArgValues(id);
    for (const std::string &value : values)
      if (value != values[0])
        return usage(getName(*line.args.getLastArg(id)),
                     "expected one value, but got '" + values[0] + "' and '" +
                         value + "'; " + several);
  }
  return Error::success();
}

/// Of choices the last one wins, so that scripts can override, and that is
/// told.
static void warnOfRepeated(CommandLine &line) {
  // All values of these count.
  constexpr OptionID kSeveral[] = {
      OPT_keep,    OPT_load_plugin, OPT_dim,    OPT_state, OPT_drop_output,
      OPT_profile, OPT_algo,        OPT_metric, OPT_INPUT, OPT_UNKNOWN};
  for (const Arg *arg : line.args) {
    unsigned id = arg->getOption().getID();
    if (is_contained(kSeveral, id) || arg->getNumValues() != 1)
      continue;
    const Arg *last = line.args.getLastArg(OptSpecifier(id));
    StringRef given = arg->getValue(), taken = last->getValue();
    if (given != taken)
      line.warnings.push_back((getName(*arg) + "=" + given +
                               " changes nothing: '" + taken +
                               "' comes later and is taken")
                                  .str());
  }
}

Expected<CommandLine> parseCommandLine(ArrayRef<const char *> argv) {
  CommandLine line;
  bool hasVerb = false;
  if (!argv.empty())
    for (const VerbInfo &info : kVerbs)
      if (info.name == argv[0]) {
        line.verb = info.verb;
        hasVerb = true;
      }
  if (hasVerb)
    argv = argv.drop_front();
  else if (!argv.empty())
    if (Error error = checkVerb(argv[0]))
      return std::move(error);

  line.table = std::make_unique<Table>();
  unsigned missingIndex, missingCount;
  line.args = line.table->ParseArgs(argv, missingIndex, missingCount,
                                    getVisibility(line.verb));
  if (missingCount)
    return usage("", "expected a value after '" +
                         StringRef(argv[missingIndex]) + "'");
  if (Error error = checkKnown(*line.table, line.args, line.verb))
    return std::move(error);
  if (Error error = checkNoneEmpty(line))
    return std::move(error);
  if (Error error = checkOnce(line))
    return std::move(error);
  warnOfRepeated(line);
  line.positionals = line.args.getAllArgValues(OPT_INPUT);
  return line;
}

void printHelp(raw_ostream &os, Verb verb, bool advanced) {
  const VerbInfo &info = getInfo(verb);
  Table().printHelp(os, info.usage, info.title, advanced,
                    /*ShowAllAliases=*/false, getVisibility(verb));
  if (verb != Verb::Compile)
    return;
  os << "\nSUB-COMMANDS (qcc NAME --help shows their flags):\n";
  for (const VerbInfo &other : drop_begin(kVerbs))
    os << "  " << left_justify(other.name, 12) << other.title << "\n";
  os << "\nExit codes: 0 done, 1 internal error, 2 usage, 3 bad model, 4 not "
        "supported,\n5 calibration data, 6 accuracy, 7 limit of a resource, 8 "
        "cannot write,\n9 integrity, 130 interrupted.\n";
}

Expected<std::string> getOnlyPositional(const CommandLine &line,
                                        StringRef what) {
  if (line.positionals.size() == 1)
    return line.positionals[0];
  if (line.positionals.empty())
    return usage("", "expected " + what + ": " + getInfo(line.verb).usage);
  return usage("", "expected one " + what.split(' ').second + ", but got '" +
                       line.positionals[0] + "' and '" + line.positionals[1] +
                       "'");
}

Expected<NonFinitePolicy> readNonFinitePolicy(StringRef where, StringRef text) {
  for (NonFinitePolicy policy :
       {NonFinitePolicy::Tolerate, NonFinitePolicy::Refuse,
        NonFinitePolicy::Skip})
    if (getPolicyName(policy) == text)
      return policy;
  return usage(where,
               "expected tolerate, refuse or skip, but got '" + text + "'");
}

Expected<uint64_t> getNumber(const CommandLine &line, OptionID id,
                             uint64_t fallback) {
  const Arg *arg = line.args.getLastArg(id);
  if (!arg)
    return fallback;
  uint64_t value;
  if (StringRef(arg->getValue()).getAsInteger(10, value) ||
      value > INT64_MAX / 2)
    return usage(getName(*arg), "expected a number, but got '" +
                                    StringRef(arg->getValue()) + "'");
  return value;
}

Expected<unsigned> getJobs(const CommandLine &line) {
  constexpr uint64_t most = 4096;
  Expected<uint64_t> jobs = getNumber(line, OPT_jobs, 0);
  if (!jobs)
    return jobs.takeError();
  if (*jobs > most)
    return usage("--jobs", "expected a number up to " + Twine(most) +
                               ", but got " + Twine(*jobs));
  return static_cast<unsigned>(*jobs);
}

//===----------------------------------------------------------------------===//
// Compile options
//===----------------------------------------------------------------------===//

namespace {

Error setRangeMethod(StringRef text, CompileOptions &options) {
  auto method = readRangeMethod(text);
  if (!method)
    return method.takeError();
  std::tie(options.rangeMethod, options.rangeParameter) = *method;
  return Error::success();
}

Error setNonFinite(StringRef where, StringRef text, CompileOptions &options) {
  Expected<NonFinitePolicy> policy = readNonFinitePolicy(where, text);
  if (!policy)
    return policy.takeError();
  options.nonFinite = *policy;
  return Error::success();
}

/// Largest number of shards that is believed.
constexpr uint64_t kMaxShards = 1 << 20;

Error applyCalibration(const CommandLine &line, CompileOptions &options) {
  options.calibration = line.get(OPT_calib).str();
  options.statistics = line.get(OPT_stats).str();
  if (line.has(OPT_calib_method))
    if (Error error = setRangeMethod(line.get(OPT_calib_method), options))
      return error;
  if (line.has(OPT_calib_nan))
    if (Error error =
            setNonFinite("--calib-nan", line.get(OPT_calib_nan), options))
      return error;
  options.checkpoint = line.get(OPT_checkpoint).str();
  Expected<uint64_t> shards = getNumber(line, OPT_shards, 0);
  if (!shards)
    return shards.takeError();
  if (line.has(OPT_shards) && (*shards < 1 || *shards > kMaxShards))
    return usage("--shards", "expected a number from 1 to " +
                                 Twine(kMaxShards) + ", but got " +
                                 Twine(*shards));
  options.shards = static_cast<unsigned>(*shards);
  if (options.shards && options.checkpoint.empty())
    return usage("--shards", "expected --checkpoint=DIR, where shards write");
  if (line.has(OPT_checkpoint) && options.checkpoint.empty())
    return usage("--checkpoint", "expected a folder");
  if (!options.checkpoint.empty() && options.calibration.empty())
    return usage("--checkpoint", "expected --calib=DATA: without it there is "
                                 "no work to keep");
  if (!line.has(OPT_shard))
    return Error::success();
  auto [number, count] = line.get(OPT_shard).split('/');
  if (number.getAsInteger(10, options.shard.number) ||
      count.getAsInteger(10, options.shard.count) || !options.shard.number ||
      options.shard.number > options.shard.count ||
      options.shard.count > kMaxShards)
    return usage("--shard", "expected I/N with I from 1 to N, but got '" +
                                line.get(OPT_shard) + "'");
  return Error::success();
}

/// Compares the plugins that a recipe names with those of --load-plugin. What
/// it names is never loaded: a recipe may be somebody else's.
Error checkPlugins(StringRef path, const Recipe &recipe, Session &session) {
  ArrayRef<LoadedPlugin> loaded = session.extensions.getPlugins();
  for (const RecipePlugin &plugin : recipe.plugins) {
    auto found = [&](const LoadedPlugin &other) {
      return other.name == plugin.name;
    };
    if (none_of(loaded, found))
      return makeError(Diag::BadPlugin, path,
                       "expected the plugin '" + plugin.name +
                           "', but it is not loaded; load it with "
                           "--load-plugin=LIB");
    if (!plugin.hash.empty() && none_of(loaded, [&](const LoadedPlugin &other) {
          return found(other) && other.hash == plugin.hash;
        }))
      session.sink.warn(
          (path + ": the plugin '" + plugin.name +
           "' is another build than that of the recipe; results may differ")
              .str());
  }
  return Error::success();
}

/// Compares the tuning of a recipe with the file of --tune, "" if there is
/// none. Without it results are the same, so that this is no error.
void checkTuning(StringRef path, const Recipe &recipe, StringRef file,
                 Session &session) {
  if (recipe.tuning.empty())
    return;
  std::string problem =
      "the recipe has a tuning, but there is no --tune=FILE with it: the cost "
      "model chooses schedules";
  if (!file.empty()) {
    Expected<std::string> hash = sys::fs::exists(file) ? hashFile(file) : "";
    // One that cannot be read is refused later.
    if (!hash)
      return consumeError(hash.takeError());
    if (*hash == recipe.tuning)
      return;
    problem =
        ("the tuning " + file + " is another than that of the recipe").str();
  }
  session.sink.warn((path + ": " + problem +
                     "; results are the same, times and bytes of the library "
                     "may differ")
                        .str());
}

/// Refuses algorithms that a recipe names and that there are none of.
Error checkAlgorithms(StringRef path, const Recipe &recipe) {
  for (StringRef algorithm : recipe.algorithms) {
    StringRef name = algorithm.split(':').first;
    if (none_of(getAlgorithmList(),
                [&](const AlgorithmInfo &known) { return known.name == name; }))
      return usage(path, "expected a pass that `qcc schemes` lists, or "
                         "mixed_precision, but got '" +
                             name + "'");
  }
  return Error::success();
}

/// Takes the choices of a recipe over.
Error applyRecipe(StringRef path, Session &session, CompileOptions &options) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file) {
    // A flag names it, so the exit code is not that of a model's file.
    return handleErrors(file.takeError(), [&](const CodedError &coded) {
      return usage(path, "the recipe cannot be read: " + coded.getText());
    });
  }
  ArrayRef<char> bytes = (*file)->getBytes();
  Expected<Recipe> recipe =
      readRecipe(StringRef(bytes.data(), bytes.size()), path);
  if (!recipe)
    return recipe.takeError();
  if (Error error = checkPlugins(path, *recipe, session))
    return error;
  if (Error error = checkAlgorithms(path, *recipe))
    return error;
  // Nothing else has schedules.
  if (session.line.verb == Verb::Compile)
    checkTuning(path, *recipe, options.tuning, session);
  options.target = recipe->target;
  options.precision = recipe->precision;
  options.algorithms = recipe->algorithms;
  options.sequential = recipe->sequential;
  options.dims = recipe->dims;
  options.states = recipe->states;
  options.dropOutputs = recipe->dropOutputs;
  options.keep = recipe->keep;
  options.minCosine = recipe->minCosine;
  options.correctBias = recipe->correctBias;
  options.requireFused = recipe->requireFused;
  options.embedWeights = recipe->embedWeights;
  options.budgets = recipe->budgets;
  options.sensitivity = recipe->sensitivity;
  if (Error error = setRangeMethod(recipe->rangeMethod, options))
    return error;
  return setNonFinite(path, recipe->nonFinite, options);
}

Error applyDims(const CommandLine &line, CompileOptions &options) {
  for (const std::string &text : line.args.getAllArgValues(OPT_dim)) {
    auto [name, value] = StringRef(text).rsplit('=');
    if (name.empty() || value.empty())
      return usage("--dim", "expected NAME=SIZE, NAME=SIZE,SIZE, NAME=MIN..MAX "
                            "or NAME=OTHER, but got '" +
                                text + "'");
    if (Expected<DimRule> rule = parseDimRule(name, value); !rule)
      return rule.takeError();
    // A flag has the last word over a recipe and over flags before it.
    erase_if(options.dims, [&](const auto &dim) { return dim.first == name; });
    options.dims.emplace_back(name.str(), value.str());
  }
  return Error::success();
}

Error applyStates(const CommandLine &line, CompileOptions &options) {
  for (const std::string &text : line.args.getAllArgValues(OPT_state)) {
    auto [input, output] = StringRef(text).split('=');
    if (input.empty() || output.empty())
      return usage("--state", "expected INPUT=OUTPUT, but got '" + text + "'");
    options.states.emplace_back(input.str(), output.str());
  }
  return Error::success();
}

/// Regexes are checked here, so that one that is wrong is an error of usage.
Error applyRegexes(const CommandLine &line, OptSpecifier option, StringRef flag,
                   std::vector<std::string> &regexes) {
  append_range(regexes, line.args.getAllArgValues(option));
  for (const std::string &text : regexes) {
    std::string problem;
    if (!Regex(text).isValid(problem))
      return usage(flag, "expected a regular expression, but got '" + text +
                             "': " + problem);
  }
  return Error::success();
}

Error applyKeep(const CommandLine &line, CompileOptions &options) {
  return applyRegexes(line, OPT_keep, "--keep", options.keep);
}

Error applyDropOutput(const CommandLine &line, CompileOptions &options) {
  return applyRegexes(line, OPT_drop_output, "--drop-output",
                      options.dropOutputs);
}

Error applyMinCosine(const CommandLine &line, CompileOptions &options) {
  if (!line.has(OPT_min_cos))
    return Error::success();
  double value = 0;
  if (line.get(OPT_min_cos).getAsDouble(value) || !(value >= 0 && value <= 1))
    return usage("--min-cos", "expected a cosine from 0 to 1, but got '" +
                                  line.get(OPT_min_cos) + "'");
  options.minCosine = value;
  return Error::success();
}

Error applyEmit(const CommandLine &line, CompileOptions &options) {
  const Arg *arg = line.args.getLastArg(OPT_emit);
  if (!arg)
    return Error::success();
  StringRef name = arg->getValue();
  if (name == "qdq-onnx") {
    options.emitQdq = true;
    options.stopAfter = Stage::Quantize;
    return Error::success();
  }
  if (name == "obj" || name == "a") {
    options.kind = name == "a" ? PackageKind::Archive : PackageKind::Object;
    if (options.embedWeights == false && line.has(OPT_no_embed_weights))
      return usage("--no-embed-weights",
                   "expected no --emit=" + name +
                       ", whose weights are always inside");
    // A recipe may be that of a library.
    options.embedWeights = std::nullopt;
    return Error::success();
  }
  std::optional<Stage> stage = parseStage(name);
  if (!stage) {
    std::string names;
    for (Stage known : getAllStages())
      (names += getStageName(known)) += ", ";
    return usage("--emit", "expected one of " + names +
                               "obj, a, qdq-onnx, but got '" + name + "'");
  }
  options.stopAfter = *stage;
  return Error::success();
}

Error applySymbolPrefix(const CommandLine &line, CompileOptions &options) {
  const Arg *arg = line.args.getLastArg(OPT_symbol_prefix);
  if (!arg)
    return Error::success();
  StringRef prefix = arg->getValue();
  if (options.kind == PackageKind::Library)
    return usage("--symbol-prefix",
                 "expected --emit=obj or --emit=a, whose symbol it names");
  if (prefix.empty() || isDigit(prefix[0]) ||
      !all_of(prefix, [](char c) { return isAlnum(c) || c == '_'; }))
    return usage("--symbol-prefix",
                 "expected the beginning of a name in C, of letters, digits "
                 "and _, but got '" +
                     prefix + "'");
  options.symbolPrefix = prefix.str();
  return Error::success();
}

/// Where compiled kernels are kept between compiles.
std::string getCacheDir(const CommandLine &line) {
  if (line.has(OPT_no_cache))
    return "";
  if (line.has(OPT_cache_dir))
    return line.get(OPT_cache_dir).str();
  if (std::optional<std::string> set = sys::Process::GetEnv("QCC_CACHE_DIR"))
    return *set;
  SmallString<128> path;
  if (!sys::path::cache_directory(path))
    return "";
  sys::path::append(path, "qcc");
  return path.str().str();
}

} // namespace

Expected<CompileOptions> makeCompileOptions(Session &session, StringRef model,
                                            StringRef self) {
  const CommandLine &line = session.line;
  CompileOptions options;
  options.tuning = line.get(OPT_tune).str();
  if (line.has(OPT_tune) && options.tuning.empty())
    return usage("--tune", "expected a file");
  if (line.has(OPT_recipe))
    if (Error error = applyRecipe(line.get(OPT_recipe), session, options))
      return std::move(error);
  options.model = model.str();
  options.outputDir = line.get(OPT_output).str();
  options.target = line.get(OPT_target, options.target).str();
  options.precision = line.get(OPT_precision, options.precision).str();
  if (line.has(OPT_algo)) {
    options.algorithms = line.args.getAllArgValues(OPT_algo);
    if (options.algorithms.empty())
      return usage("--algo", "expected names of algorithms, but got none; "
                             "--algo=rtn is none, `qcc schemes` lists them");
  }
  if (line.has(OPT_calib_mode)) {
    StringRef mode = line.get(OPT_calib_mode);
    if (mode != "sequential" && mode != "parallel")
      return makeError(Diag::Usage, "--calib-mode",
                       "expected sequential or parallel, but got '" + mode +
                           "'");
    options.sequential = mode == "sequential";
  }
  bool hadBudgets = options.budgets.any();
  // Elsewhere --max-drop is a gate.
  if (line.verb == Verb::Compile) {
    Budgets &budgets = options.budgets;
    budgets.size = line.get(OPT_max_size, budgets.size).str();
    budgets.drop = line.get(OPT_max_drop, budgets.drop).str();
    budgets.latency = line.get(OPT_max_latency, budgets.latency).str();
  }
  options.sensitivity = line.get(OPT_sensitivity, options.sensitivity).str();
  if (!is_contained({"auto", "measured", "estimated"}, options.sensitivity))
    return usage("--sensitivity",
                 "expected auto, measured or estimated, but got '" +
                     options.sensitivity + "'");
  // A budget alone asks for any precisions that meet it; a recipe with budgets
  // says itself which.
  if (options.budgets.any() && !hadBudgets && options.precision == "f32" &&
      !line.has(OPT_precision))
    options.precision = "mixed";
  options.requireFused |= line.has(OPT_require_fused);
  if (const Arg *arg =
          line.args.getLastArg(OPT_embed_weights, OPT_no_embed_weights))
    options.embedWeights = arg->getOption().matches(OPT_embed_weights);
  if (const Arg *arg =
          line.args.getLastArg(OPT_correct_bias, OPT_no_correct_bias))
    options.correctBias = arg->getOption().matches(OPT_correct_bias);
  options.cacheDir = getCacheDir(line);
  options.workerProgram = self.str();
  options.plugins = line.args.getAllArgValues(OPT_load_plugin);
  Expected<unsigned> jobs = getJobs(line);
  if (!jobs)
    return jobs.takeError();
  options.jobs = *jobs;
  for (auto apply : {applyCalibration, applyDims, applyStates, applyDropOutput,
                     applyKeep, applyMinCosine, applyEmit, applySymbolPrefix})
    if (Error error = apply(line, options))
      return std::move(error);
  return options;
}

} // namespace qcc::driver
