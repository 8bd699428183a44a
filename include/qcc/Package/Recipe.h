//===- Recipe.h - the choices behind an artifact ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PACKAGE_RECIPE_H
#define QCC_PACKAGE_RECIPE_H

#include "qcc/Support/Budget.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace qcc {

/// A plugin that took part: its name, and the hash of its library, "" if any
/// will do. Nothing is loaded because a recipe names it.
struct RecipePlugin {
  std::string name, hash;
};

/// Everything but the input files that decides the bytes of an artifact:
/// `recipe.yaml`, schema `qcc-recipe/1` (docs/recipes.md). What is written
/// holds no path, so that it is the same wherever it was written.
struct Recipe {
  std::string target = "native";
  /// One precision, or with budgets several, joined by commas.
  std::string precision = "f32";
  std::vector<std::string> algorithms; ///< as --algo takes them
  bool sequential = true; ///< algorithms see inputs of quantized layers
  /// What is known of symbolic dimensions: name and rule (parseDimRule).
  std::vector<std::pair<std::string, std::string>> dims;
  /// Inputs that are fed by an output of the run before.
  std::vector<std::pair<std::string, std::string>> states;
  std::vector<std::string> dropOutputs; ///< regexes of outputs
  std::vector<std::string> keep;        ///< regexes of nodes that stay float
  double minCosine = 0.99;              ///< --min-cos
  bool correctBias = true;              ///< --no-correct-bias
  bool requireFused = false;
  std::optional<bool> embedWeights;   ///< none: by size
  std::string rangeMethod = "minmax"; ///< --calib-method
  std::string nonFinite = "tolerate"; ///< --calib-nan
  Budgets budgets;                    ///< of mixed precision
  std::string sensitivity = "auto";   ///< --sensitivity
  std::vector<RecipePlugin> plugins;  ///< in the order they were loaded in
  /// Hash of the file of --tune that schedules were taken from; "": none.
  std::string tuning;
};

/// The recipe as YAML. Equal recipes give equal text; every key is written.
std::string writeRecipe(const Recipe &recipe);

/// Reads YAML. Every key but `schema` is optional, an unknown one is an error
/// that names the nearest. Errors: Usage, with `name` and the line;
/// LimitReached (64 KiB, 16 values inside each other).
llvm::Expected<Recipe> readRecipe(llvm::StringRef text, llvm::StringRef name);

} // namespace qcc

#endif // QCC_PACKAGE_RECIPE_H
