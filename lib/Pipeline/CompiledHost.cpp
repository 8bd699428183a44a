//===- CompiledHost.cpp - the host executor ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CompiledHost.h"
#include "qcc/Runtime/qcc.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <dlfcn.h>

using namespace mlir;
using namespace qcc;

namespace {

/// A library loaded through its C interface.
class LoadedProgram final : public HostProgram {
public:
  ~LoadedProgram() override {
    if (model)
      api->close(model);
    if (library)
      dlclose(library);
  }

  llvm::Error load(const std::string &path);
  llvm::Error run(const Sample &sample, Observer observer) const override;

private:
  void *library = nullptr;
  const qcc_model_api *api = nullptr;
  qcc_model *model = nullptr;
  uint32_t numInputs = 0, numOutputs = 0;
};

/// A context of one run and the outputs it allocated.
struct Run {
  Run(const qcc_model_api *api, qcc_model *model) : api(api), model(model) {}
  ~Run() {
    for (DLTensor &output : outputs)
      if (output.data)
        api->free_tensor(model, &output);
    if (context)
      api->context_destroy(context);
  }
  const qcc_model_api *api;
  qcc_model *model;
  qcc_context *context = nullptr;
  std::vector<DLTensor> outputs;
};

/// What the observe callback needs.
struct Watch {
  const qcc_model_api *api;
  const qcc_model *model;
  HostProgram::Observer observer;
};

void observe(void *user, uint32_t site, const void *data, int64_t count,
             DLDataType) {
  auto *watch = static_cast<Watch *>(user);
  qcc_site_info info = {};
  info.struct_size = sizeof(info);
  if (watch->api->site_info(watch->model, site, &info) == QCC_OK)
    watch->observer(info.node, ArrayRef(static_cast<const float *>(data),
                                        static_cast<size_t>(count)));
}

} // namespace

llvm::Error LoadedProgram::load(const std::string &path) {
  auto fail = [](const llvm::Twine &text) {
    return makeError(Diag::Internal, "", text);
  };
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(dlerror());
  auto query = reinterpret_cast<qcc_model_query_fn>(
      dlsym(library, "qcc_model_query_v1"));
  api = query ? query(1, nullptr) : nullptr;
  if (!api)
    return fail("the calibration library has no interface");
  char text[512] = "";
  qcc_open_options options = {};
  options.struct_size = sizeof(options);
  // One thread: samples run in parallel instead.
  options.threads = 1;
  options.error_text = text;
  options.error_text_size = sizeof(text);
  if (api->open(&options, &model) != QCC_OK)
    return fail(text);
  qcc_entry_info entry = {};
  entry.struct_size = sizeof(entry);
  if (api->entry_info(model, 0, &entry) != QCC_OK)
    return fail("the calibration library has no entry");
  numInputs = entry.num_inputs;
  numOutputs = entry.num_outputs;
  return llvm::Error::success();
}

/// What a sample has, to be appended to a complaint.
static std::string listArrays(const Sample &sample) {
  std::string text;
  for (const SampleArray &array : sample.arrays)
    text += (text.empty() ? "; there are '" : ", '") + array.name + "'";
  return text;
}

llvm::Error LoadedProgram::run(const Sample &sample, Observer observer) const {
  auto refuse = [&](const llvm::Twine &text) {
    return makeError(Diag::BadCalibration, sample.name, text);
  };
  auto getInfo = [&](int32_t kind, uint32_t number) {
    qcc_tensor_info info = {};
    info.struct_size = sizeof(info);
    api->tensor_info(model, 0, kind, number, &info);
    return info;
  };
  std::vector<DLTensor> inputs(numInputs);
  std::vector<const DLTensor *> inputPointers;
  for (uint32_t i = 0; i < numInputs; ++i) {
    qcc_tensor_info info = getInfo(QCC_INPUT, i);
    auto found = llvm::find_if(sample.arrays, [&](const SampleArray &array) {
      return array.name == info.name;
    });
    if (found == sample.arrays.end())
      return refuse("there is no array for input '" + llvm::Twine(info.name) +
                    "'" + listArrays(sample));
    DLTensor &tensor = inputs[i];
    tensor = {};
    tensor.data = const_cast<char *>(found->bytes.data());
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int32_t>(found->shape.size());
    tensor.dtype = {found->code, found->bits, 1};
    tensor.shape = const_cast<int64_t *>(found->shape.data());
    inputPointers.push_back(&tensor);
  }
  Run current(api, model);
  if (api->context_create(model, nullptr, &current.context) != QCC_OK)
    return makeError(Diag::LimitReached, sample.name, "out of memory");
  std::vector<std::vector<int64_t>> shapes(numOutputs);
  std::vector<DLTensor *> outputPointers;
  current.outputs.resize(numOutputs);
  for (uint32_t i = 0; i < numOutputs; ++i) {
    shapes[i].resize(std::max(getInfo(QCC_OUTPUT, i).ndim, 1));
    current.outputs[i].shape = shapes[i].data();
    outputPointers.push_back(&current.outputs[i]);
  }
  Watch watch{api, model, observer};
  qcc_observer callbacks = {};
  callbacks.struct_size = sizeof(callbacks);
  callbacks.user = &watch;
  callbacks.observe = observe;
  api->set_observer(current.context, &callbacks);
  if (api->run(current.context, 0, inputPointers.data(), numInputs,
               outputPointers.data(), numOutputs) != QCC_OK)
    return refuse(api->last_error(current.context));
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<HostProgram>>
CompiledHost::compile(ModuleOp module) {
  llvm::SmallString<128> folder;
  if (std::error_code error =
          llvm::sys::fs::createUniqueDirectory("qcc-host", folder))
    return makeError(Diag::CannotWrite, folder, error.message());
  CompileOptions hostOptions;
  hostOptions.model = options.model;
  hostOptions.outputDir = (folder + "/model").str();
  hostOptions.jobs = options.jobs;
  hostOptions.cacheDir = options.cacheDir;
  hostOptions.workerProgram = options.workerProgram;
  hostOptions.extensions = options.extensions;
  Compilation compilation(hostOptions, context, [](Stage, bool, StringRef) {});
  auto result = compilation.runFrom(module.clone(), parameters);
  auto program = std::make_unique<LoadedProgram>();
  llvm::Error error =
      result ? program->load(hostOptions.outputDir + "/libmodel.so")
             : result.takeError();
  // What is mapped stays; nothing is left behind whatever happens next.
  llvm::sys::fs::remove_directories(folder);
  if (error)
    return std::move(error);
  return std::unique_ptr<HostProgram>(std::move(program));
}
