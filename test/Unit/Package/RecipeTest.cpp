//===- RecipeTest.cpp - recipes as YAML -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Recipe.h"
#include "gtest/gtest.h"

using namespace qcc;
using llvm::cantFail;

static void expectSame(const Recipe &a, const Recipe &b) {
  EXPECT_EQ(a.target, b.target);
  EXPECT_EQ(a.precision, b.precision);
  EXPECT_EQ(a.algorithms, b.algorithms);
  EXPECT_EQ(a.sequential, b.sequential);
  EXPECT_EQ(a.dims, b.dims);
  EXPECT_EQ(a.states, b.states);
  EXPECT_EQ(a.keep, b.keep);
  EXPECT_EQ(a.minCosine, b.minCosine);
  EXPECT_EQ(a.correctBias, b.correctBias);
  EXPECT_EQ(a.requireFused, b.requireFused);
  EXPECT_EQ(a.embedWeights, b.embedWeights);
  EXPECT_EQ(a.rangeMethod, b.rangeMethod);
  EXPECT_EQ(a.nonFinite, b.nonFinite);
  EXPECT_EQ(a.budgets.size, b.budgets.size);
  EXPECT_EQ(a.budgets.drop, b.budgets.drop);
  EXPECT_EQ(a.budgets.latency, b.budgets.latency);
  EXPECT_EQ(a.sensitivity, b.sensitivity);
  EXPECT_EQ(a.tuning, b.tuning);
  ASSERT_EQ(a.plugins.size(), b.plugins.size());
  for (size_t i = 0; i < a.plugins.size(); ++i) {
    EXPECT_EQ(a.plugins[i].name, b.plugins[i].name);
    EXPECT_EQ(a.plugins[i].hash, b.plugins[i].hash);
  }
}

static void expectRoundTrip(const Recipe &recipe) {
  std::string text = writeRecipe(recipe);
  Recipe back = cantFail(readRecipe(text, "recipe.yaml"));
  expectSame(recipe, back);
  EXPECT_EQ(writeRecipe(back), text);
}

TEST(Recipe, ReadsWhatItWrote) {
  Recipe recipe;
  expectRoundTrip(recipe);
  recipe.target = "avx2+avx512-vnni";
  recipe.precision = "w4a8";
  recipe.algorithms = {"rtn",
                       "smoothquant",
                       "smoothquant:0.5",
                       "smoothquant-explicit",
                       "smoothquant-explicit:0.25",
                       "gptq",
                       "gptq-correct",
                       "gptq-correct:0.5",
                       "awq"};
  recipe.sequential = false;
  recipe.dims = {{"batch", "4"}, {"a: odd 'name'", "1..7"}, {"- x", "y: "}};
  recipe.states = {{"h_in", "h_out"}, {"two\nlines\x01", "\"quoted\""}};
  recipe.keep = {"/lm_head.*", "^#x$", "a, [b]: {c}", "back\\slash"};
  recipe.requireFused = true;
  recipe.embedWeights = false;
  recipe.rangeMethod = "percentile:99.9";
  recipe.nonFinite = "skip";
  recipe.minCosine = 0.95;
  recipe.correctBias = false;
  recipe.plugins = {{"toy", "sha256:00"}, {"a: 'b'", "sha256:01"}};
  recipe.tuning = "sha256:02";
  expectRoundTrip(recipe);
}

TEST(Recipe, ReadsWhatItWroteOfMixedPrecision) {
  Recipe recipe;
  recipe.precision = "w4a16:g64,w8a16";
  recipe.budgets = {"0.3x", "1%", "0.5x"};
  recipe.sensitivity = "estimated";
  expectRoundTrip(recipe);
  recipe.precision = "mixed";
  recipe.budgets = {"120MB", "", ""};
  recipe.algorithms = {"gptq"};
  expectRoundTrip(recipe);
}

TEST(Recipe, HasDefaults) {
  Recipe recipe =
      cantFail(readRecipe("schema: qcc-recipe/1\ntarget: avx2\n", "r"));
  Recipe expected;
  expected.target = "avx2";
  expectSame(recipe, expected);
}

TEST(Recipe, ReadsWhatPeopleWrite) {
  Recipe recipe = cantFail(readRecipe(R"(
# a comment
schema: qcc-recipe/1
target: avx2
passes:
  - smoothquant: {alpha: 0.5}
  - gptq:
      bits: 4
      group: 128
      act_order: true
  - awq
  - clip:
ignore: ["lm.head", "re:.*router.*"]
)",
                                      "r"));
  EXPECT_EQ(recipe.precision, "w4a16:g128");
  EXPECT_EQ(recipe.algorithms, (std::vector<std::string>{
                                   "smoothquant:0.5", "gptq", "awq", "clip"}));
  EXPECT_EQ(recipe.keep,
            (std::vector<std::string>{"^lm\\.head$", ".*router.*"}));
  recipe = cantFail(readRecipe(
      "schema: qcc-recipe/1\npasses: [mixed_precision: {candidates: [fp8, "
      "int8, f32], budget: {size: 0.55x, drop: 0.5%}}]\nignore: lm_head\n",
      "r"));
  EXPECT_EQ(recipe.precision, "fp8,int8,f32");
  EXPECT_EQ(recipe.budgets.size, "0.55x");
  EXPECT_EQ(recipe.budgets.drop, "0.5%");
  EXPECT_EQ(recipe.keep, std::vector<std::string>{"^lm_head$"});
  recipe = cantFail(
      readRecipe("schema: qcc-recipe/1\nprecision: [w4a16, w8a16]\npasses: "
                 "[mixed_precision: {budget: {latency: 0.5x}}]\n",
                 "r"));
  EXPECT_EQ(recipe.precision, "w4a16,w8a16");
  recipe = cantFail(readRecipe("schema: qcc-recipe/1\npasses: "
                               "[mixed_precision: {budget: {size: 9MB}}]\n",
                               "r"));
  EXPECT_EQ(recipe.precision, "mixed");
}

static std::string readProblem(llvm::StringRef body) {
  auto recipe = readRecipe("schema: qcc-recipe/1\n" + body.str(), "r.yaml");
  return recipe ? "" : toString(recipe.takeError());
}

static void expectProblem(llvm::StringRef body, llvm::StringRef words) {
  std::string problem = readProblem(body);
  EXPECT_NE(problem.find(words), std::string::npos) << "of\n"
                                                    << body.str() << "\n"
                                                    << problem;
}

TEST(Recipe, NamesTheNearestOfWhatItDoesNotKnow) {
  expectProblem("target: avx2\nprcision: int8\n",
                "r.yaml: line 3: unknown key 'prcision'; did you mean "
                "'precision'?");
  expectProblem("passes:\n  - smoothquant: {alhpa: 1}\n",
                "line 3: unknown key 'alhpa'; did you mean 'alpha'?");
  expectProblem("calibration: {modus: x}\n", "did you mean 'mode'?");
  expectProblem("passes: [mixed_precision: {budget: {sise: 1x}}]\n",
                "did you mean 'size'?");
  expectProblem("passes: [mixed_precison: {}]\n",
                "unknown pass 'mixed_precison'; did you mean "
                "'mixed_precision'?");
  expectProblem("completely_different: 1\n", "expected one of schema, target");
  expectProblem("passes: [awq: {bits: 4}]\n", "unknown key 'bits'");
}

TEST(Recipe, RefusesWrongValues) {
  expectProblem("embed_weights: perhaps\n", "expected one of auto, yes, no");
  expectProblem("require_fused: 3\n", "expected one of true, false");
  expectProblem("target: [a]\n", "expected a word");
  expectProblem("target:\n", "expected a word");
  expectProblem("ignore: {a: b}\n", "expected a list of words");
  expectProblem("dims: [a]\n", "expected names");
  expectProblem("passes: {a: b}\n", "expected a list of passes");
  expectProblem("passes: [{a: {}, b: {}}]\n", "expected a pass");
  expectProblem("passes: [[a]]\n", "expected a pass");
  expectProblem("passes: [gptq: {act_order: false}]\n", "act_order: true");
  expectProblem("passes: [gptq: {group: 64}]\n", "expected bits");
  expectProblem("passes: [gptq: {bits: 5}]\n", "expected one of 2, 3");
  expectProblem("passes: [mixed_precision: {}]\n", "expected a budget");
  expectProblem("precision: int8\npasses: [gptq: {bits: 4}]\n",
                "given already");
  expectProblem("precision: []\n", "expected a precision");
  expectProblem("plugins: {toy: {}}\n", "expected a list of plugins");
  expectProblem("plugins: [{hash: x}]\n", "expected the name of a plugin");
  expectProblem("plugins: [{name: toy, file: toy.so}]\n", "unknown key 'file'");
  expectProblem("plugins:\n", "expected a word");
  expectProblem("tuning: sha256:00\n", "expected the hash of a tuning");
  expectProblem("tuning: {file: t.yaml}\n", "unknown key 'file'");
  expectProblem("calibration: sequential\n", "expected keys and values");
}

TEST(Recipe, RefusesWhatIsNoRecipe) {
  auto problem = [](llvm::StringRef text) {
    auto recipe = readRecipe(text, "r.yaml");
    return recipe ? "" : toString(recipe.takeError());
  };
  EXPECT_NE(problem("schema: qcc-recipe/9\n").find("qcc-recipe/1"),
            std::string::npos);
  for (llvm::StringRef text :
       {"", "target: avx2\n", "schema: [qcc", "- a\n- b\n", "just words",
        "schema: qcc-recipe/1\ntarget: 'open\n", "\t\tx: [", "%YAML 9\n---\n",
        "schema: qcc-recipe/1\n---\nschema: qcc-recipe/1\n", ": : :",
        "schema: qcc-recipe/1\n? [a]\n: b\n", "\xff\xfe\xff", "{", "&a", "*a"})
    EXPECT_NE(problem(text), "") << text.str();
}

TEST(Recipe, BoundsHostileFiles) {
  expectProblem("target: &x avx2\n", "anchor");
  expectProblem("target: !!str avx2\n", "tag");
  expectProblem("target: avx2\ntarget: avx2\n", "comes twice");
  EXPECT_NE(readProblem("target: *x\n"), "");
  EXPECT_NE(readProblem("a: &x [b, b]\nc: [*x, *x, *x]\n"), "");
  for (llvm::StringRef open : {"[", "{a: ", "- ", "? "}) {
    std::string deep = "passes:\n  ";
    for (unsigned i = 0; i < 20000 && deep.size() < 60000; ++i)
      deep += open;
    EXPECT_NE(readProblem(deep), "") << open.str();
  }
  expectProblem("x: " + std::string(1 << 17, 'x') + "\n", "bytes");
}
