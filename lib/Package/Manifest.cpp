//===- Manifest.cpp - manifest.json, model.h, profile.json ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Writers.h"
#include "qcc/Runtime/qcc.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/JSON.h"

using namespace llvm;

namespace qcc {

//===----------------------------------------------------------------------===//
// manifest.json
//===----------------------------------------------------------------------===//

/// A size as a number where it is one.
static json::Value toJson(StringRef dim) {
  int64_t value;
  if (!dim.getAsInteger(10, value))
    return value;
  return json::fixUTF8(dim);
}

static void writeTensors(json::OStream &json, StringRef key,
                         ArrayRef<TensorText> tensors) {
  json.attributeArray(key, [&] {
    for (const TensorText &tensor : tensors)
      json.object([&] {
        json.attribute("name", json::fixUTF8(tensor.name));
        json.attribute("dtype", tensor.type);
        json.attributeArray("shape", [&] {
          for (const std::string &dim : tensor.dims)
            json.value(toJson(dim));
        });
      });
  });
}

static void writeProgram(json::OStream &json, const ProgramText &program) {
  json.attributeArray("entries", [&] {
    for (const EntryText &entry : program.entries)
      json.object([&] {
        json.attribute("name", json::fixUTF8(entry.name));
        writeTensors(json, "inputs", entry.inputs);
        writeTensors(json, "outputs", entry.outputs);
      });
  });
  writeTensors(json, "states", program.states);
  json.attributeArray("symbols", [&] {
    for (const SymbolText &symbol : program.symbols)
      json.object([&] {
        json.attribute("name", json::fixUTF8(symbol.name));
        json.attribute("min", symbol.min);
        if (symbol.max != INT64_MAX)
          json.attribute("max", symbol.max);
      });
  });
  json.attributeArray("levels", [&] {
    for (const LevelText &level : program.levels)
      json.object([&] {
        json.attribute("name", level.name);
        json.attribute("requires", json::Array(level.features));
      });
  });
}

static void writeRecipeJson(json::OStream &json, const Recipe &recipe) {
  json.attributeObject("options", [&] {
    json.attribute("target", recipe.target);
    json.attribute("precision", recipe.precision);
    json.attribute("algorithms", json::Array(recipe.algorithms));
    json.attributeObject("dims", [&] {
      for (const auto &[name, value] : recipe.dims)
        json.attribute(json::fixUTF8(name), value);
    });
    json.attributeObject("states", [&] {
      for (const auto &[input, output] : recipe.states)
        json.attribute(json::fixUTF8(input), json::fixUTF8(output));
    });
    if (!recipe.dropOutputs.empty())
      json.attribute("drop_outputs", json::Array(recipe.dropOutputs));
    json.attribute("keep", json::Array(recipe.keep));
    json.attribute("require_fused", recipe.requireFused);
    if (recipe.budgets.any())
      json.attributeObject("budgets", [&] {
        for (auto [name, text] :
             {std::pair("size", &recipe.budgets.size),
              std::pair("drop", &recipe.budgets.drop),
              std::pair("latency", &recipe.budgets.latency)})
          if (!text->empty())
            json.attribute(name, *text);
      });
  });
}

static void writeMemory(json::OStream &json, const PackageFacts &facts) {
  json.attributeObject("memory", [&] {
    json.attribute("weights", facts.result.weightBytes);
    json.attribute("scratch_per_worker", facts.program.scratchBytes);
    json.attributeObject("arena", [&] {
      for (const EntryText &entry : facts.program.entries)
        json.attribute(json::fixUTF8(entry.name),
                       entry.isStatic ? json::Value(entry.arenaBytes)
                                      : json::Value("depends on sizes"));
    });
  });
}

std::string writeManifest(const PackageFacts &facts, const FileHashes &files) {
  const PackageRequest &request = facts.request;
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os, /*IndentSize=*/1);
  json.object([&] {
    json.attribute("schema", "qcc-manifest/1");
    json.attribute("abi", QCC_ABI_VERSION);
    json.attribute("qcc", QCC_VERSION_STRING);
    json.attribute("llvm", LLVM_VERSION_STRING);
    json.attribute("model", json::fixUTF8(request.modelName));
    writeRecipeJson(json, request.recipe);
    writeProgram(json, facts.program);
    writeMemory(json, facts);
    json.attributeArray("sync_points", [&] {
      for (const std::string &node : request.syncPoints)
        json.value(json::fixUTF8(node));
    });
    json.attributeObject("sources", [&] {
      StringSet<> used;
      for (auto [source, hash] :
           llvm::zip_equal(request.sources, facts.sourceHashes)) {
        // Files of two folders may have one name.
        std::string name = json::fixUTF8(source.name);
        for (unsigned i = 2; !used.insert(name).second; ++i)
          name = json::fixUTF8(source.name) + "#" + std::to_string(i);
        json.attribute(name, hash);
      }
    });
    json.attributeObject("files", [&] {
      for (const auto &[name, hash] : files)
        json.attribute(name, hash);
    });
    json.attributeArray("ops", [&] {
      for (const OpReport &op : request.report.ops)
        json.object([&] {
          json.attribute("node", json::fixUTF8(op.node));
          json.attribute("op", op.op);
          json.attribute("kernel", op.kernel);
          json.attribute("format", op.executed);
        });
    });
  });
  os << '\n';
  return text;
}

static std::vector<TensorReport> describe(ArrayRef<TensorText> tensors) {
  std::vector<TensorReport> reports;
  for (const TensorText &tensor : tensors)
    reports.push_back(
        {tensor.name, tensor.type, "[" + join(tensor.dims, ", ") + "]"});
  return reports;
}

Report makeReport(const PackageFacts &facts) {
  const PackageRequest &request = facts.request;
  Report report = request.report;
  report.qcc = QCC_VERSION_STRING;
  report.model = request.modelName;
  report.target = request.recipe.target;
  report.precision = request.recipe.precision;
  report.algorithms = request.recipe.algorithms;
  report.libraryBytes = facts.result.libraryBytes;
  report.weightBytes = facts.result.weightBytes;
  report.weightsEmbedded = facts.result.weightsEmbedded;
  for (const EntryText &entry : facts.program.entries) {
    EntryReport text{entry.name, describe(entry.inputs),
                     describe(entry.outputs), std::nullopt};
    if (entry.isStatic)
      text.arenaBytes = entry.arenaBytes;
    report.entries.push_back(std::move(text));
  }
  return report;
}

std::string writeProfile(const PackageRequest &request) {
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os, /*IndentSize=*/1);
  json.object([&] {
    json.attribute("schema", "qcc-profile/1");
    json.attributeObject("seconds", [&] {
      for (const auto &[stage, seconds] : request.timings)
        json.attribute(stage, seconds);
    });
  });
  os << '\n';
  return text;
}

//===----------------------------------------------------------------------===//
// model.h
//===----------------------------------------------------------------------===//

/// A macro's name out of `prefix` and any text. It and the names made from it
/// with `suffixes` are new; names that would be equal get a number.
static std::string makeMacro(StringRef prefix, StringRef name,
                             ArrayRef<std::string> suffixes,
                             StringSet<> &used) {
  std::string base = prefix.str();
  for (char c : name)
    base += isAlnum(c) ? toUpper(c) : '_';
  for (unsigned i = 1;; ++i) {
    std::string macro = i == 1 ? base : (base + "_" + Twine(i)).str();
    auto isUsed = [&](const std::string &suffix) {
      return used.contains(macro + suffix);
    };
    if (isUsed("") || any_of(suffixes, isUsed))
      continue;
    used.insert(macro);
    for (const std::string &suffix : suffixes)
      used.insert(macro + suffix);
    return macro;
  }
}

/// A C string literal of any bytes.
static std::string quote(StringRef text) {
  std::string result = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\' || c == '?') // '?': trigraphs
      result += {'\\', static_cast<char>(c)};
    else if (isPrint(c))
      result += static_cast<char>(c);
    else
      result += "\\" + utostr(c / 64) + utostr(c / 8 % 8) + utostr(c % 8);
  }
  return result + "\"";
}

static void writeTensorMacros(raw_ostream &os, StringRef prefix,
                              ArrayRef<TensorText> tensors, StringSet<> &used) {
  for (auto [index, tensor] : llvm::enumerate(tensors)) {
    std::vector<std::string> suffixes = {"_NAME", "_TYPE", "_RANK"};
    for (size_t i = 0; i < tensor.dims.size(); ++i) {
      suffixes.push_back(("_DIM" + Twine(i)).str());
      suffixes.push_back(suffixes.back() + "_SIZE");
    }
    std::string macro = makeMacro(prefix, tensor.name, suffixes, used);
    os << "#define " << macro << " " << index << "\n";
    os << "#define " << macro << "_NAME " << quote(tensor.name) << "\n";
    os << "#define " << macro << "_TYPE " << quote(tensor.type) << "\n";
    os << "#define " << macro << "_RANK " << tensor.dims.size() << "\n";
    for (auto [dim, size] : llvm::enumerate(tensor.dims)) {
      int64_t value;
      bool isConstant = !StringRef(size).getAsInteger(10, value);
      os << "#define " << macro << "_DIM" << dim << " "
         << (isConstant ? size : "-1") << "\n";
      if (!isConstant)
        os << "#define " << macro << "_DIM" << dim << "_SIZE " << quote(size)
           << "\n";
    }
  }
}

/// qcc.h declares the name that has no prefix.
static void declareQuery(raw_ostream &os, StringRef prefix) {
  os << "\nstruct qcc_host;\nstruct qcc_model_api;\n"
        "#ifdef __cplusplus\nextern \"C\"\n#endif\n"
        "const struct qcc_model_api *"
     << prefix
     << "qcc_model_query_v1(\n"
        "    uint32_t max_abi, const struct qcc_host *host);\n";
}

std::string writeHeader(const PackageFacts &facts) {
  // Headers of several models may be part of one file.
  std::string start = StringRef(facts.request.symbolPrefix).upper() + "QCC_";
  std::string text;
  raw_string_ostream os(text);
  os << "/* Names, numbers and sizes of a model compiled by qcc "
     << QCC_VERSION_STRING
     << ", for use with qcc.h.\n"
        "   A dimension that is known only when the model runs is -1; _SIZE\n"
        "   says what it is. */\n"
        "#ifndef "
     << start << "MODEL_H\n#define " << start << "MODEL_H\n\n"
     << "#include <stdint.h>\n\n";
  os << "#define " << start << "MODEL_NAME " << quote(facts.request.modelName)
     << "\n";
  os << "#define " << start << "MODEL_ABI_VERSION " << QCC_ABI_VERSION << "\n";
  os << "#define " << start << "MODEL_WEIGHT_BYTES UINT64_C("
     << facts.result.weightBytes << ")\n";
  StringSet<> used;
  for (auto [index, entry] : llvm::enumerate(facts.program.entries)) {
    std::string prefix =
        makeMacro(start + "ENTRY_", entry.name,
                  {"_ENTRY_NAME", "_NUM_INPUTS", "_NUM_OUTPUTS"}, used);
    os << "\n#define " << prefix << " " << index << "\n";
    os << "#define " << prefix << "_ENTRY_NAME " << quote(entry.name) << "\n";
    os << "#define " << prefix << "_NUM_INPUTS " << entry.inputs.size() << "\n";
    os << "#define " << prefix << "_NUM_OUTPUTS " << entry.outputs.size()
       << "\n";
    writeTensorMacros(os, prefix + "_INPUT_", entry.inputs, used);
    writeTensorMacros(os, prefix + "_OUTPUT_", entry.outputs, used);
  }
  if (!facts.request.symbolPrefix.empty())
    declareQuery(os, facts.request.symbolPrefix);
  os << "\n#endif /* " << start << "MODEL_H */\n";
  return text;
}

} // namespace qcc
