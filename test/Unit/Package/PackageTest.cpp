//===- PackageTest.cpp - artifacts from objects and weights -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Package.h"
#include "TempFolder.h"
#include "qcc/Package/Link.h"
#include "qcc/Runtime/qcc.h"
#include "llvm/Support/JSON.h"
#include "gtest/gtest.h"
#include <cstring>
#include <dlfcn.h>

using namespace qcc;
using llvm::cantFail;

namespace {

/// A model that multiplies four numbers by four weights.
struct Fixture {
  explicit Fixture(const TempFolder &temp) {
    writeFile(temp.get("model.onnx"), "stands for a model");
    TensorDesc in{"x", kDLFloat, 32, {SizeExpr::constant(4)}};
    TensorDesc out{"y\"?", kDLFloat, 32, {SizeExpr::constant(4)}};
    program.addLevel("baseline", 0);
    program.addKernel("scale", 0, 3, 0);
    program.addEntry({"main", {in}, {out}, {}});
    SiteDesc site;
    site.kernel = 0;
    site.node = "mul";
    site.op = "qcc.generic";
    program.addSite(site);

    PackedTensor weight;
    weight.name = "w";
    weight.format = "f32";
    weight.size = 16;
    weight.fill = [](llvm::MutableArrayRef<char> bytes) {
      const float values[] = {1, 2, 3, 4};
      memcpy(bytes.data(), values, sizeof(values));
      return llvm::Error::success();
    };
    request.modelName = "model.onnx";
    request.sources = {{"model.onnx", temp.get("model.onnx")}};
    request.program = &program;
    request.objects = {{"model", readFile(MODEL_OBJECT)}};
    request.weights = {weight};
    cantFail(layoutWeights(request.weights).takeError());
    OpReport line;
    line.node = "mul";
    line.op = "qcc.generic";
    line.kernel = "scale";
    line.requested = line.executed = "f32";
    line.reason = "as asked";
    line.flops = "4";
    line.bytes = "48";
    request.report.ops = {line};
    request.recipe.target = "baseline";
    request.outputDir = temp.get("out");
  }

  ProgramWriter program;
  PackageRequest request;
};

/// Opens an artifact's library and runs it on 1, 2, 3, 4.
void expectRuns(const std::string &library) {
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  auto query =
      reinterpret_cast<qcc_model_query_fn>(dlsym(handle, "qcc_model_query_v1"));
  ASSERT_NE(query, nullptr);
  const qcc_model_api *api = query(QCC_ABI_VERSION, nullptr);
  ASSERT_NE(api, nullptr);
  qcc_open_options options = {};
  options.struct_size = sizeof(options);
  qcc_model *model = nullptr;
  ASSERT_EQ(api->open(&options, &model), QCC_OK);
  qcc_context *context = nullptr;
  ASSERT_EQ(api->context_create(model, nullptr, &context), QCC_OK);
  float in[] = {1, 2, 3, 4}, out[4] = {};
  int64_t shape[] = {4};
  DLTensor input = {}, output = {};
  input.device.device_type = output.device.device_type = kDLCPU;
  input.dtype = output.dtype = {kDLFloat, 32, 1};
  input.ndim = output.ndim = 1;
  input.shape = output.shape = shape;
  input.data = in;
  output.data = out;
  const DLTensor *inputs[] = {&input};
  DLTensor *outputs[] = {&output};
  EXPECT_EQ(api->run(context, 0, inputs, 1, outputs, 1), QCC_OK);
  EXPECT_EQ(std::vector<float>(out, out + 4),
            (std::vector<float>{1, 4, 9, 16}));
  api->context_destroy(context);
  api->close(model);
  dlclose(handle);
}

} // namespace

TEST(Package, EmbedsSmallWeights) {
  TempFolder temp;
  Fixture fixture(temp);
  PackageResult result = cantFail(writePackage(fixture.request));
  EXPECT_TRUE(result.weightsEmbedded);
  EXPECT_EQ(result.weightBytes, 64u);
  EXPECT_EQ(list(temp.get("out")),
            (std::set<std::string>{"libmodel.so", "manifest.json", "model.h",
                                   "profile.json", "recipe.yaml", "report.html",
                                   "report.json"}));
  expectRuns(temp.get("out/libmodel.so"));
  EXPECT_EQ(cantFail(verifyArtifact(temp.get("out"))), 5u);
}

TEST(Package, WritesWeightsBeside) {
  TempFolder temp;
  Fixture fixture(temp);
  fixture.request.recipe.embedWeights = false;
  PackageResult result = cantFail(writePackage(fixture.request));
  EXPECT_FALSE(result.weightsEmbedded);
  std::string weights = readFile(temp.get("out/weights.safetensors"));
  ASSERT_EQ(weights.size(), kWeightDataAlignment + 64);
  uint64_t headerSize;
  memcpy(&headerSize, weights.data(), sizeof(headerSize));
  EXPECT_EQ(headerSize + 8, kWeightDataAlignment);
  auto header = cantFail(
      llvm::json::parse(llvm::StringRef(weights).substr(8, headerSize)));
  const llvm::json::Object *tensor = header.getAsObject()->getObject("w");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(*tensor->get("data_offsets"), llvm::json::Value({0, 64}));
  expectRuns(temp.get("out/libmodel.so"));
}

TEST(Package, IsTheSameInAnyFolder) {
  TempFolder first, second;
  for (TempFolder *temp : {&first, &second}) {
    Fixture fixture(*temp);
    fixture.request.timings = {{"import", temp == &first ? 1.0 : 2.0}};
    cantFail(writePackage(fixture.request).takeError());
  }
  for (const std::string &name : list(first.get("out")))
    if (name != "profile.json")
      EXPECT_EQ(readFile(first.get("out/" + name)),
                readFile(second.get("out/" + name)))
          << name;
}

TEST(Package, MakesObjectsForStaticLinking) {
  for (PackageKind kind : {PackageKind::Object, PackageKind::Archive}) {
    TempFolder temp;
    Fixture fixture(temp);
    fixture.request.kind = kind;
    cantFail(writePackage(fixture.request).takeError());
    bool isObject = kind == PackageKind::Object;
    std::string made = temp.get(isObject ? "out/model.o" : "out/libmodel.a");
    ASSERT_TRUE(llvm::sys::fs::exists(made));
    // Linked like a user would, it works.
    std::string library = temp.get("static.so");
    std::string command = "ld.lld-22 -shared --undefined=qcc_model_query_v1 " +
                          made + " -o " + library + " -lc -lm -L" +
                          "/usr/lib/x86_64-linux-gnu";
    ASSERT_EQ(system(command.c_str()), 0);
    expectRuns(library);
  }
}

TEST(Package, RefusesForbiddenSymbols) {
  TempFolder temp;
  Fixture fixture(temp);
  fixture.request.objects.push_back({"forbidden", readFile(FORBIDDEN_OBJECT)});
  auto result = writePackage(fixture.request);
  ASSERT_FALSE(static_cast<bool>(result));
  std::string text = toString(result.takeError());
  EXPECT_NE(text.find("part1.o: needs the symbol 'system'"), std::string::npos)
      << text;
  EXPECT_EQ(list(temp.getPath()), std::set<std::string>{"model.onnx"});
}

TEST(Package, RefusesWhatIsNoObject) {
  LinkInput input = {"text", "this is not an object"};
  llvm::Error error = checkSymbols(input, {});
  ASSERT_TRUE(static_cast<bool>(error));
  EXPECT_NE(toString(std::move(error)).find("expected an ELF object"),
            std::string::npos);
}

TEST(Package, ReadsTheListOfSymbols) {
  llvm::StringSet<> allowed =
      readAllowedSymbols("# comment\n\nlibc.so.6 GLIBC_2.14 memcpy\nlibm.so.6 "
                         "GLIBC_2.29 exp # x\n");
  EXPECT_EQ(allowed.size(), 2u);
  EXPECT_TRUE(allowed.contains("memcpy") && allowed.contains("exp"));
}

TEST(Package, NoticesChanges) {
  TempFolder temp;
  Fixture fixture(temp);
  cantFail(writePackage(fixture.request).takeError());
  writeFile(temp.get("out/report.json"), "{}");
  writeFile(temp.get("out/more.txt"), "x");
  ASSERT_FALSE(llvm::sys::fs::remove(temp.get("out/model.h")));
  auto count = verifyArtifact(temp.get("out"));
  ASSERT_FALSE(static_cast<bool>(count));
  std::string text = toString(count.takeError());
  EXPECT_NE(text.find("report.json: is not what"), std::string::npos) << text;
  EXPECT_NE(text.find("more.txt: is not in"), std::string::npos) << text;
  EXPECT_NE(text.find("model.h: is missing"), std::string::npos) << text;
}

TEST(Package, RefusesAManifestThatLeavesTheFolder) {
  TempFolder temp;
  writeFile(temp.get("manifest.json"),
            "{\"schema\": \"qcc-manifest/1\", \"files\": {\"../x\": \"\"}}");
  auto count = verifyArtifact(temp.getPath());
  ASSERT_FALSE(static_cast<bool>(count));
  EXPECT_NE(toString(count.takeError()).find("plain file name"),
            std::string::npos);
}

TEST(Package, FailsWhenAWeightFails) {
  TempFolder temp;
  Fixture fixture(temp);
  fixture.request.weights[0].fill = [](llvm::MutableArrayRef<char>) {
    return llvm::createStringError("no such weight");
  };
  auto result = writePackage(fixture.request);
  ASSERT_FALSE(static_cast<bool>(result));
  EXPECT_EQ(toString(result.takeError()), "no such weight");
  EXPECT_EQ(list(temp.getPath()), std::set<std::string>{"model.onnx"});
}

TEST(Package, HeaderIsC) {
  TempFolder temp;
  Fixture fixture(temp);
  cantFail(writePackage(fixture.request).takeError());
  writeFile(temp.get("use.c"),
            "#include <stdint.h>\n#include \"out/model.h\"\n"
            "_Static_assert(QCC_ENTRY_MAIN_INPUT_X_DIM0 == 4, \"\");\n"
            "_Static_assert(QCC_MODEL_WEIGHT_BYTES == 64, \"\");\n"
            "const char *name = QCC_ENTRY_MAIN_OUTPUT_Y___NAME;\n");
  std::string command = "clang-22 -std=c11 -Wall -Wextra -Werror -trigraphs "
                        "-fsyntax-only " +
                        temp.get("use.c");
  EXPECT_EQ(system(command.c_str()), 0);
}
