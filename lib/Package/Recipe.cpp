//===- Recipe.cpp - the choices behind an artifact --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Recipe.h"
#include "Yaml.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc {

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// `[a, b]`.
static std::string writeList(ArrayRef<std::string> words) {
  return "[" +
         join(map_range(words, [](StringRef w) { return quoteYaml(w); }),
              ", ") +
         "]";
}

static std::string
writePairs(ArrayRef<std::pair<std::string, std::string>> pairs) {
  return "{" +
         join(map_range(pairs,
                        [](const auto &pair) {
                          return quoteYaml(pair.first) + ": " +
                                 quoteYaml(pair.second);
                        }),
              ", ") +
         "}";
}

/// As readPass reads it to the same text.
static std::string writeAlgorithm(StringRef algorithm) {
  auto [name, value] = algorithm.split(':');
  std::string text = quoteYaml(value);
  if (name == "smoothquant-explicit")
    return "smoothquant: {" + (value.empty() ? "" : "alpha: " + text + ", ") +
           "explicit: true}";
  if (name == "smoothquant" && !value.empty())
    return "smoothquant: {alpha: " + text + "}";
  if (name == "gptq-correct" && !value.empty())
    return "gptq: {correct: " + text + "}";
  return quoteYaml(algorithm);
}

static std::string writeMixed(const Recipe &recipe) {
  SmallVector<StringRef> formats;
  StringRef(recipe.precision).split(formats, ',');
  std::vector<std::pair<std::string, std::string>> budget;
  for (auto [name, text] : {std::pair("size", &recipe.budgets.size),
                            std::pair("drop", &recipe.budgets.drop),
                            std::pair("latency", &recipe.budgets.latency)})
    if (!text->empty())
      budget.emplace_back(name, *text);
  std::vector<std::string> words(formats.begin(), formats.end());
  return "mixed_precision: {candidates: " + writeList(words) +
         ", budget: " + writePairs(budget) +
         ", sensitivity: " + quoteYaml(recipe.sensitivity) + "}";
}

std::string writeRecipe(const Recipe &recipe) {
  std::string text;
  raw_string_ostream os(text);
  bool isMixed = recipe.budgets.any();
  os << "schema: qcc-recipe/1\n";
  if (!recipe.plugins.empty())
    os << "plugins:\n";
  for (const RecipePlugin &plugin : recipe.plugins)
    os << "  - " << writePairs({{"name", plugin.name}, {"hash", plugin.hash}})
       << "\n";
  if (!recipe.tuning.empty())
    os << "tuning: " << writePairs({{"hash", recipe.tuning}}) << "\n";
  os << "target: " << quoteYaml(recipe.target) << "\n";
  if (!isMixed)
    os << "precision: " << quoteYaml(recipe.precision) << "\n";
  os << "passes:" << (recipe.algorithms.empty() && !isMixed ? " []" : "")
     << "\n";
  for (StringRef algorithm : recipe.algorithms)
    os << "  - " << writeAlgorithm(algorithm) << "\n";
  if (isMixed)
    os << "  - " << writeMixed(recipe) << "\n";
  std::vector<std::string> ignore;
  for (const std::string &pattern : recipe.keep)
    ignore.push_back("re:" + pattern);
  os << "ignore: " << writeList(ignore) << "\n"
     << "calibration: {mode: "
     << (recipe.sequential ? "sequential" : "parallel")
     << ", method: " << quoteYaml(recipe.rangeMethod)
     << ", nan: " << quoteYaml(recipe.nonFinite);
  if (recipe.minCosine != Recipe().minCosine)
    os << ", min_cos: " << format("%.9g", recipe.minCosine);
  if (recipe.correctBias != Recipe().correctBias)
    os << ", correct_bias: " << (recipe.correctBias ? "true" : "false");
  os << "}\n"
     << "dims: " << writePairs(recipe.dims) << "\n"
     << "states: " << writePairs(recipe.states) << "\n";
  if (!recipe.dropOutputs.empty())
    os << "drop_outputs: " << writeList(recipe.dropOutputs) << "\n";
  os << "require_fused: " << (recipe.requireFused ? "true" : "false") << "\n"
     << "embed_weights: "
     << (!recipe.embedWeights   ? "auto"
         : *recipe.embedWeights ? "yes"
                                : "no")
     << "\n";
  return text;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {
class RecipeReader {
public:
  explicit RecipeReader(StringRef name) : name(name) {}

  Expected<Recipe> run(const Yaml &root) {
    if (Error error = checkYamlSchema(root, name, "qcc-recipe/1"))
      return std::move(error);
    if (Error error = readTop(root))
      return std::move(error);
    if (recipe.budgets.any() && !hasPrecision)
      recipe.precision = "mixed";
    return recipe;
  }

private:
  Error fail(const Yaml &at, const Twine &text) {
    return makeYamlError(name, at.line, text);
  }

  Error readMap(const Yaml &map, StringRef what, ArrayRef<YamlField> fields) {
    return readYamlMap(name, map, what, fields);
  }

  Error readText(const Yaml &value, std::string &text) {
    return readYamlText(name, value, text);
  }

  Error readChoice(const Yaml &value, ArrayRef<StringRef> words,
                   std::string &text) {
    if (Error error = readText(value, text))
      return error;
    if (is_contained(words, text))
      return Error::success();
    return fail(value, "expected one of " + join(words, ", ") + ", but got '" +
                           text + "'");
  }

  Error readBool(const Yaml &value, bool &flag) {
    std::string text;
    if (Error error = readChoice(value, {"true", "false", "yes", "no"}, text))
      return error;
    flag = text == "true" || text == "yes";
    return Error::success();
  }

  Error readWords(const Yaml &value, std::vector<std::string> &words) {
    if (value.kind == Yaml::Map)
      return fail(value, "expected a list of words");
    ArrayRef<Yaml> items = value;
    if (value.kind == Yaml::List)
      items = value.items;
    for (const Yaml &item : items)
      if (Error error = readText(item, words.emplace_back()))
        return error;
    return Error::success();
  }

  Error readFormats(const Yaml &value) {
    std::vector<std::string> words;
    if (Error error = readWords(value, words))
      return error;
    if (words.empty())
      return fail(value, "expected a precision");
    if (hasPrecision)
      return fail(value, "the precision is given already");
    hasPrecision = true;
    recipe.precision = join(words, ",");
    return Error::success();
  }

  Error readPairs(const Yaml &value,
                  std::vector<std::pair<std::string, std::string>> &pairs) {
    if (value.kind != Yaml::Map)
      return fail(value, "expected names and what they are");
    for (const auto &[key, entry] : zip_equal(value.keys, value.items)) {
      std::string text;
      if (Error error = readText(entry, text))
        return error;
      pairs.emplace_back(key, text);
    }
    return Error::success();
  }

  /// The items of a list; of anything else itself.
  static ArrayRef<Yaml> getItems(const Yaml &value) {
    return value.kind == Yaml::List ? ArrayRef<Yaml>(value.items)
                                    : ArrayRef<Yaml>(value);
  }

  /// Names and hashes, and no files: who wrote the recipe does not decide what
  /// is loaded.
  Error readPlugins(const Yaml &value) {
    if (value.kind == Yaml::Map)
      return fail(value, "expected a list of plugins");
    for (const Yaml &item : getItems(value)) {
      RecipePlugin &plugin = recipe.plugins.emplace_back();
      if (item.kind == Yaml::Scalar) {
        if (Error error = readText(item, plugin.name))
          return error;
        continue;
      }
      auto text = [&](std::string &to) {
        return [this, &to](const Yaml &v) { return readText(v, to); };
      };
      if (Error error = readMap(
              item, "a plugin",
              {{"name", text(plugin.name)}, {"hash", text(plugin.hash)}}))
        return error;
      if (plugin.name.empty())
        return fail(item, "expected the name of a plugin");
    }
    return Error::success();
  }

  Error readTuning(const Yaml &value) {
    if (value.kind != Yaml::Map)
      return fail(value, "expected the hash of a tuning");
    return readMap(value, "a tuning", {{"hash", [&](const Yaml &v) {
                                          return readText(v, recipe.tuning);
                                        }}});
  }

  /// A name of a node, or `re:` and a regular expression.
  Error readIgnore(const Yaml &value) {
    std::vector<std::string> words;
    if (Error error = readWords(value, words))
      return error;
    for (StringRef word : words)
      recipe.keep.push_back(word.consume_front("re:")
                                ? word.str()
                                : "^" + Regex::escape(word) + "$");
    return Error::success();
  }

  Error readCosine(const Yaml &value) {
    std::string text;
    if (Error error = readText(value, text))
      return error;
    double cosine = 0;
    if (StringRef(text).getAsDouble(cosine) || !(cosine >= 0 && cosine <= 1))
      return fail(value,
                  "expected a cosine from 0 to 1, but got '" + text + "'");
    recipe.minCosine = cosine;
    return Error::success();
  }

  Error readCalibration(const Yaml &value) {
    return readMap(
        value, "calibration",
        {{"mode",
          [&](const Yaml &v) {
            std::string mode;
            Error error = readChoice(v, {"sequential", "parallel"}, mode);
            recipe.sequential = mode != "parallel";
            return error;
          }},
         {"method",
          [&](const Yaml &v) { return readText(v, recipe.rangeMethod); }},
         {"nan", [&](const Yaml &v) { return readText(v, recipe.nonFinite); }},
         {"min_cos", [&](const Yaml &v) { return readCosine(v); }},
         {"correct_bias",
          [&](const Yaml &v) { return readBool(v, recipe.correctBias); }}});
  }

  Error readTop(const Yaml &root) {
    return readMap(
        root, "a recipe",
        {{"schema", [](const Yaml &) { return Error::success(); }},
         {"target", [&](const Yaml &v) { return readText(v, recipe.target); }},
         {"precision", [&](const Yaml &v) { return readFormats(v); }},
         {"passes", [&](const Yaml &v) { return readPasses(v); }},
         {"plugins", [&](const Yaml &v) { return readPlugins(v); }},
         {"tuning", [&](const Yaml &v) { return readTuning(v); }},
         {"ignore", [&](const Yaml &v) { return readIgnore(v); }},
         {"calibration", [&](const Yaml &v) { return readCalibration(v); }},
         {"dims", [&](const Yaml &v) { return readPairs(v, recipe.dims); }},
         {"states", [&](const Yaml &v) { return readPairs(v, recipe.states); }},
         {"drop_outputs",
          [&](const Yaml &v) { return readWords(v, recipe.dropOutputs); }},
         {"require_fused",
          [&](const Yaml &v) { return readBool(v, recipe.requireFused); }},
         {"embed_weights", [&](const Yaml &v) -> Error {
            std::string text;
            Error error =
                readChoice(v, {"auto", "yes", "no", "true", "false"}, text);
            if (text != "auto")
              recipe.embedWeights = text == "yes" || text == "true";
            return error;
          }}});
  }

  //===--------------------------------------------------------------------===//
  // Passes
  //===--------------------------------------------------------------------===//

  Error readPasses(const Yaml &value) {
    if (value.kind == Yaml::Map)
      return fail(value, "expected a list of passes");
    for (const Yaml &item : getItems(value)) {
      if (item.kind == Yaml::Scalar && !item.text.empty()) {
        recipe.algorithms.push_back(item.text);
        continue;
      }
      if (item.kind != Yaml::Map || item.items.size() != 1)
        return fail(item, "expected a pass: a name, or a name with a map of "
                          "its parameters");
      if (Error error = readPass(item.keys.front(), item.items.front()))
        return error;
    }
    return Error::success();
  }

  Error readPass(StringRef pass, const Yaml &parameters) {
    if (pass == "mixed_precision")
      return readMixed(parameters);
    if (pass == "smoothquant")
      return readSmoothQuant(parameters);
    if (pass == "gptq")
      return readGptq(parameters);
    // Names of algorithms are checked where they are known.
    if (pass.edit_distance("mixed_precision") < 5)
      return refuseYamlKey(name, parameters.line, "pass", pass,
                           {"mixed_precision"});
    recipe.algorithms.push_back(pass.str());
    return readMap(parameters, pass, {});
  }

  Error readMixed(const Yaml &value) {
    Budgets &budgets = recipe.budgets;
    // Refused here, each at its line.
    auto checked = [&](std::string &to, auto parse, StringRef what) {
      return [this, &to, parse, what](const Yaml &v) -> Error {
        if (Error error = readText(v, to))
          return error;
        auto limit = parse(what, to);
        if (limit)
          return Error::success();
        std::string problem;
        handleAllErrors(
            limit.takeError(),
            [&](const CodedError &e) { problem = e.getText().str(); },
            [&](const ErrorInfoBase &e) { problem = e.message(); });
        return fail(v, what.str() + ": " + problem);
      };
    };
    Error error = readMap(
        value, "mixed_precision",
        {{"candidates", [&](const Yaml &v) { return readFormats(v); }},
         {"budget",
          [&](const Yaml &v) {
            return readMap(
                v, "a budget",
                {{"size", checked(budgets.size, parseSizeLimit, "size")},
                 {"drop", checked(budgets.drop, parseShare, "drop")},
                 {"latency",
                  checked(budgets.latency, parseRatioLimit, "latency")}});
          }},
         {"sensitivity", [&](const Yaml &v) {
            return readChoice(v, {"auto", "measured", "estimated"},
                              recipe.sensitivity);
          }}});
    if (error)
      return error;
    if (!budgets.any())
      return fail(value, "expected a budget of mixed_precision: size, drop or "
                         "latency");
    return Error::success();
  }

  Error readSmoothQuant(const Yaml &value) {
    std::string alpha;
    bool isExplicit = false;
    if (Error error = readMap(
            value, "smoothquant",
            {{"alpha", [&](const Yaml &v) { return readText(v, alpha); }},
             {"explicit",
              [&](const Yaml &v) { return readBool(v, isExplicit); }}}))
      return error;
    recipe.algorithms.push_back(std::string("smoothquant") +
                                (isExplicit ? "-explicit" : "") +
                                (alpha.empty() ? "" : ":" + alpha));
    return Error::success();
  }

  /// `bits` and `group` are another way to say the precision.
  Error readGptq(const Yaml &value) {
    std::string correct, bits, group;
    bool actOrder = true;
    if (Error error = readMap(
            value, "gptq",
            {{"bits",
              [&](const Yaml &v) {
                return readChoice(v, {"2", "3", "4", "6", "8"}, bits);
              }},
             {"group", [&](const Yaml &v) { return readText(v, group); }},
             {"act_order",
              [&](const Yaml &v) { return readBool(v, actOrder); }},
             {"correct", [&](const Yaml &v) { return readText(v, correct); }}}))
      return error;
    if (!actOrder)
      return fail(value, "expected act_order: true, which costs nothing here: "
                         "groups keep their order");
    recipe.algorithms.push_back(correct.empty() ? "gptq"
                                                : "gptq-correct:" + correct);
    if (bits.empty())
      return group.empty() ? Error::success()
                           : fail(value, "expected bits beside group");
    Yaml precision;
    precision.line = value.line;
    precision.text = "w" + bits + "a16" +
                     (group.empty()   ? ""
                      : group == "-1" ? std::string(":channel")
                                      : ":g" + group);
    return readFormats(precision);
  }

  StringRef name;
  Recipe recipe;
  bool hasPrecision = false;
};
} // namespace

Expected<Recipe> readRecipe(StringRef text, StringRef name) {
  Expected<Yaml> root = readYaml(text, name);
  if (!root)
    return root.takeError();
  return RecipeReader(name).run(*root);
}

} // namespace qcc
