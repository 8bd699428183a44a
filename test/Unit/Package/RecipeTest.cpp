//===- RecipeTest.cpp - recipes as YAML -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Recipe.h"
#include "gtest/gtest.h"

using namespace qcc;
using llvm::cantFail;

TEST(Recipe, ReadsWhatItWrote) {
  Recipe recipe;
  recipe.target = "avx2+avx512-vnni";
  recipe.precision = "w4a8";
  recipe.algorithms = {"rtn"};
  recipe.dims = {{"batch", "4"}, {"a: odd 'name'", "1..7"}};
  recipe.states = {{"h_in", "h_out"}};
  recipe.keep = {"/lm_head.*", "^#x$"};
  recipe.requireFused = true;
  recipe.embedWeights = false;
  recipe.rangeMethod = "percentile:99.9";
  recipe.nonFinite = "skip";
  std::string text = writeRecipe(recipe);
  Recipe back = cantFail(readRecipe(text, "recipe.yaml"));
  EXPECT_EQ(back.target, recipe.target);
  EXPECT_EQ(back.precision, recipe.precision);
  EXPECT_EQ(back.algorithms, recipe.algorithms);
  EXPECT_EQ(back.dims, recipe.dims);
  EXPECT_EQ(back.states, recipe.states);
  EXPECT_EQ(back.keep, recipe.keep);
  EXPECT_EQ(back.requireFused, true);
  EXPECT_EQ(back.embedWeights, recipe.embedWeights);
  EXPECT_EQ(back.rangeMethod, recipe.rangeMethod);
  EXPECT_EQ(back.nonFinite, recipe.nonFinite);
  EXPECT_EQ(writeRecipe(back), text);
}

TEST(Recipe, HasDefaults) {
  Recipe recipe =
      cantFail(readRecipe("schema: qcc-recipe/1\ntarget: avx2\n", "r"));
  EXPECT_EQ(recipe.target, "avx2");
  EXPECT_EQ(recipe.precision, "f32");
  EXPECT_FALSE(recipe.embedWeights.has_value());
}

static std::string readProblem(llvm::StringRef text) {
  auto recipe = readRecipe(text, "r.yaml");
  return recipe ? "" : toString(recipe.takeError());
}

TEST(Recipe, RefusesWhatItDoesNotKnow) {
  std::string unknown =
      readProblem("schema: qcc-recipe/1\ntarget: avx2\ntypo: 1\n");
  EXPECT_NE(unknown.find("r.yaml: line 3: unknown key 'typo'"),
            std::string::npos)
      << unknown;
  EXPECT_NE(readProblem("schema: qcc-recipe/9\n").find("qcc-recipe/1"),
            std::string::npos);
  EXPECT_NE(readProblem("target: avx2\n"), "");
  EXPECT_NE(readProblem("schema: qcc-recipe/1\nembed_weights: perhaps\n"), "");
  EXPECT_NE(readProblem("schema: [qcc"), "");
  EXPECT_NE(readProblem(""), "");
}
