//===- Recipe.cpp - the choices behind an artifact --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Recipe.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLTraits.h"

using namespace llvm;

namespace {

/// A pair as YAML shows it: `{name: batch, value: 1}`.
struct DimText {
  std::string name, value;
};
struct StateText {
  std::string input, output;
};

/// The recipe in the types that YAML's traits know.
struct RecipeText {
  std::string schema = "qcc-recipe/1";
  qcc::Recipe recipe;
  std::vector<DimText> dims;
  std::vector<StateText> states;
  std::string embed = "auto";
};

} // namespace

LLVM_YAML_IS_SEQUENCE_VECTOR(DimText)
LLVM_YAML_IS_SEQUENCE_VECTOR(StateText)

template <> struct llvm::yaml::MappingTraits<DimText> {
  static void mapping(IO &io, DimText &dim) {
    io.mapRequired("name", dim.name);
    io.mapRequired("rule", dim.value);
  }
};

template <> struct llvm::yaml::MappingTraits<StateText> {
  static void mapping(IO &io, StateText &state) {
    io.mapRequired("input", state.input);
    io.mapRequired("output", state.output);
  }
};

template <> struct llvm::yaml::MappingTraits<RecipeText> {
  static void mapping(IO &io, RecipeText &text) {
    io.mapRequired("schema", text.schema);
    auto map = [&](const char *key, auto &value) {
      // Written always, so that a reader sees what was left at its default.
      io.outputting() ? io.mapRequired(key, value) : io.mapOptional(key, value);
    };
    map("target", text.recipe.target);
    map("precision", text.recipe.precision);
    map("algorithms", text.recipe.algorithms);
    map("sequential", text.recipe.sequential);
    map("dims", text.dims);
    map("states", text.states);
    map("keep", text.recipe.keep);
    map("require_fused", text.recipe.requireFused);
    map("embed_weights", text.embed);
    map("calib_method", text.recipe.rangeMethod);
    map("calib_nan", text.recipe.nonFinite);
  }
};

namespace qcc {

std::string writeRecipe(const Recipe &recipe) {
  RecipeText text;
  text.recipe = recipe;
  for (const auto &[name, value] : recipe.dims)
    text.dims.push_back({name, value});
  for (const auto &[input, output] : recipe.states)
    text.states.push_back({input, output});
  if (recipe.embedWeights)
    text.embed = *recipe.embedWeights ? "yes" : "no";
  std::string result;
  raw_string_ostream os(result);
  yaml::Output output(os);
  output << text;
  return result;
}

Expected<Recipe> readRecipe(StringRef bytes, StringRef name) {
  std::string problem;
  auto keepFirst = [](const SMDiagnostic &diagnostic, void *context) {
    auto &text = *static_cast<std::string *>(context);
    if (text.empty())
      text = ("line " + Twine(diagnostic.getLineNo()) + ": " +
              diagnostic.getMessage())
                 .str();
  };
  RecipeText text;
  yaml::Input input(bytes, nullptr, keepFirst, &problem);
  input >> text;
  if (input.error())
    return makeError(Diag::Usage, name,
                     problem.empty() ? "expected a recipe in YAML" : problem);
  if (text.schema != "qcc-recipe/1")
    return makeError(Diag::Usage, name,
                     "expected the schema qcc-recipe/1, but got '" +
                         text.schema + "'");
  Recipe recipe = text.recipe;
  for (const DimText &dim : text.dims)
    recipe.dims.emplace_back(dim.name, dim.value);
  for (const StateText &state : text.states)
    recipe.states.emplace_back(state.input, state.output);
  if (text.embed == "yes" || text.embed == "no")
    recipe.embedWeights = text.embed == "yes";
  else if (text.embed != "auto")
    return makeError(Diag::Usage, name,
                     "expected embed_weights to be auto, yes or no, but got '" +
                         text.embed + "'");
  return recipe;
}

} // namespace qcc
