//===- LoadedModel.cpp - an artifact in this process ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Pipeline/LoadedModel.h"
#include "qcc/Runtime/qcc.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/LibraryFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <chrono>
#include <dlfcn.h>
#include <sys/resource.h>

using namespace qcc;

namespace {

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
    watch->observer(info.node, llvm::ArrayRef(static_cast<const float *>(data),
                                              static_cast<size_t>(count)));
}

} // namespace

static qcc_entry_info getEntry(const qcc_model_api *api, const qcc_model *model,
                               uint32_t entry) {
  qcc_entry_info info = {};
  info.struct_size = sizeof(info);
  api->entry_info(model, entry, &info);
  return info;
}

static qcc_tensor_info getTensor(const qcc_model_api *api,
                                 const qcc_model *model, uint32_t entry,
                                 int32_t kind, uint32_t number) {
  qcc_tensor_info info = {};
  info.struct_size = sizeof(info);
  api->tensor_info(model, entry, kind, number, &info);
  return info;
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

llvm::Expected<std::unique_ptr<LoadedModel>>
LoadedModel::open(llvm::StringRef path) {
  std::unique_ptr<LoadedModel> loaded(new LoadedModel);
  llvm::SmallString<128> file(path);
  if (llvm::sys::fs::is_directory(path))
    llvm::sys::path::append(file, "libmodel.so");
  llvm::sys::fs::make_absolute(file);
  if (llvm::Error error = loaded->load(file.str().str()))
    return std::move(error);
  return std::move(loaded);
}

LoadedModel::~LoadedModel() {
  if (model)
    api->close(model);
  if (library)
    dlclose(library);
}

llvm::Error LoadedModel::load(const std::string &path) {
  auto fail = [&](const llvm::Twine &text) {
    return makeError(Diag::BadArtifact, path, text);
  };
  if (!llvm::sys::fs::exists(path))
    return makeError(Diag::NoArtifact, path,
                     "expected an artifact, but found no library");
  if (std::string fault = findLibraryFault(path); !fault.empty())
    return fail(fault);
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    std::string problem = dlerror();
    // The loader does not say why; folders that no code may be run from give
    // the same text.
    rlimit limit;
    bool isLimited = getrlimit(RLIMIT_DATA, &limit) == 0 &&
                     limit.rlim_cur != RLIM_INFINITY &&
                     llvm::StringRef(problem).contains("failed to map");
    return isLimited ? makeError(Diag::LimitReached, path,
                                 "no memory is left to load it")
                     : fail(problem);
  }
  auto query = reinterpret_cast<qcc_model_query_fn>(
      dlsym(library, "qcc_model_query_v1"));
  api = query ? query(1, nullptr) : nullptr;
  if (!api)
    return fail("expected a compiled model, but it has no interface of one");
  char text[512] = "";
  qcc_open_options options = {};
  options.struct_size = sizeof(options);
  // Samples run in parallel instead.
  options.threads = 1;
  options.error_text = text;
  options.error_text_size = sizeof(text);
  if (qcc_status status = api->open(&options, &model); status != QCC_OK)
    return status == QCC_UNSUPPORTED_HOST
               ? makeError(Diag::UnsupportedTarget, path, text)
               : fail(text);
  qcc_entry_info entry = {};
  entry.struct_size = sizeof(entry);
  if (api->entry_info(model, 0, &entry) != QCC_OK)
    return fail("expected a compiled model, but it has no entry");
  return llvm::Error::success();
}

std::vector<SampleInput> LoadedModel::getInputs() const {
  std::vector<SampleInput> inputs;
  for (uint32_t i = 0; i < getEntry(api, model, 0).num_inputs; ++i) {
    qcc_tensor_info info = getTensor(api, model, 0, QCC_INPUT, i);
    inputs.push_back({info.name, {info.dims, info.dims + info.ndim}});
  }
  return inputs;
}

std::vector<SampleInput> LoadedModel::getCommonInputs() const {
  std::vector<SampleInput> inputs = getInputs();
  qcc_model_info all = {};
  all.struct_size = sizeof(all);
  api->model_info(model, &all);
  for (uint32_t entry = 1; entry < all.num_entries; ++entry)
    for (uint32_t i = 0; i < inputs.size(); ++i) {
      qcc_tensor_info info = getTensor(api, model, entry, QCC_INPUT, i);
      for (auto [d, size] : llvm::enumerate(inputs[i].shape))
        if (size != info.dims[d])
          size = -1;
    }
  return inputs;
}

std::vector<std::string> LoadedModel::getOutputs() const {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < getEntry(api, model, 0).num_outputs; ++i)
    names.push_back(getTensor(api, model, 0, QCC_OUTPUT, i).name);
  return names;
}

std::vector<std::string> LoadedModel::findIntegerInputs(size_t rank) const {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < getEntry(api, model, 0).num_inputs; ++i) {
    qcc_tensor_info info = getTensor(api, model, 0, QCC_INPUT, i);
    if (info.dtype.code == kDLInt && size_t(info.ndim) == rank)
      names.push_back(info.name);
  }
  return names;
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

/// What a sample has, to be appended to a complaint.
static std::string listArrays(const Sample &sample) {
  std::string text;
  for (const SampleArray &array : sample.arrays)
    text += (text.empty() ? "; there are '" : ", '") + array.name + "'";
  return text;
}

/// True if an array has the sizes of an input that are constant.
static bool fits(const qcc_tensor_info &info, const Sample &sample) {
  const SampleArray *array = findArray(sample.arrays, info.name);
  if (!array || array->shape.size() != size_t(info.ndim))
    return false;
  for (int32_t d = 0; d < info.ndim; ++d)
    if (info.dims[d] >= 0 && info.dims[d] != array->shape[d])
      return false;
  return true;
}

uint32_t LoadedModel::findEntry(const Sample &sample) const {
  qcc_model_info all = {};
  all.struct_size = sizeof(all);
  api->model_info(model, &all);
  for (uint32_t entry = 0; entry < all.num_entries; ++entry) {
    bool fitsAll = true;
    for (uint32_t i = 0; i < getEntry(api, model, entry).num_inputs; ++i)
      fitsAll &= fits(getTensor(api, model, entry, QCC_INPUT, i), sample);
    if (fitsAll)
      return entry;
  }
  return 0; // whose complaint is as good as any
}

static SampleArray copyTensor(llvm::StringRef name, const DLTensor &tensor) {
  SampleArray array;
  array.name = name.str();
  array.code = tensor.dtype.code;
  array.bits = tensor.dtype.bits;
  array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  size_t bytes = (tensor.dtype.bits + 7) / 8;
  for (int64_t size : array.shape)
    bytes *= size_t(size);
  if (bytes) {
    auto *data = static_cast<const char *>(tensor.data) + tensor.byte_offset;
    array.bytes.assign(data, data + bytes);
  }
  return array;
}

namespace {
/// A context and the tensors of an entry's runs. Each run frees the outputs of
/// the one before.
class Run {
public:
  Run(const qcc_model_api *api, qcc_model *model, uint32_t entry)
      : api(api), model(model), entry(entry),
        counts(getEntry(api, model, entry)) {}
  ~Run() {
    freeOutputs();
    if (context)
      api->context_destroy(context);
  }
  Run(const Run &) = delete;
  Run &operator=(const Run &) = delete;

  /// Takes the inputs from a sample, which has to live. Errors: BadCalibration,
  /// LimitReached, with the sample's name.
  llvm::Error prepare(const Sample &sample);
  void observe(const qcc_observer &callbacks) {
    api->set_observer(context, &callbacks);
  }
  bool execute() {
    freeOutputs();
    return api->run(context, entry, given.data(), counts.num_inputs,
                    made.data(), counts.num_outputs) == QCC_OK;
  }
  /// Why execute() failed.
  const char *getProblem() const { return api->last_error(context); }
  std::vector<SampleArray> copyOutputs() const {
    std::vector<SampleArray> copies;
    for (uint32_t i = 0; i < counts.num_outputs; ++i)
      copies.push_back(copyTensor(
          getTensor(api, model, entry, QCC_OUTPUT, i).name, outputs[i]));
    return copies;
  }

private:
  void freeOutputs() {
    for (DLTensor &output : outputs)
      if (output.data)
        api->free_tensor(model, &output);
  }

  const qcc_model_api *api;
  qcc_model *model;
  uint32_t entry;
  qcc_entry_info counts;
  qcc_context *context = nullptr;
  std::vector<DLTensor> inputs, outputs;
  std::vector<const DLTensor *> given;
  std::vector<DLTensor *> made;
  std::vector<std::vector<int64_t>> shapes; ///< of outputs
};
} // namespace

llvm::Error Run::prepare(const Sample &sample) {
  inputs.resize(counts.num_inputs);
  for (uint32_t i = 0; i < counts.num_inputs; ++i) {
    const char *name = getTensor(api, model, entry, QCC_INPUT, i).name;
    const SampleArray *array = findArray(sample.arrays, name);
    if (!array)
      return makeError(Diag::BadCalibration, sample.name,
                       "there is no array for input '" + llvm::Twine(name) +
                           "'" + listArrays(sample));
    DLTensor &tensor = inputs[i];
    tensor = {};
    tensor.data = const_cast<char *>(array->getBytes().data());
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int32_t>(array->shape.size());
    tensor.dtype = {array->code, array->bits, 1};
    tensor.shape = const_cast<int64_t *>(array->shape.data());
    given.push_back(&tensor);
  }
  if (api->context_create(model, nullptr, &context) != QCC_OK)
    return makeError(Diag::LimitReached, sample.name, "out of memory");
  shapes.resize(counts.num_outputs);
  outputs.resize(counts.num_outputs);
  for (uint32_t i = 0; i < counts.num_outputs; ++i) {
    shapes[i].resize(
        std::max(getTensor(api, model, entry, QCC_OUTPUT, i).ndim, 1));
    outputs[i] = {};
    outputs[i].shape = shapes[i].data();
    made.push_back(&outputs[i]);
  }
  return llvm::Error::success();
}

llvm::Error LoadedModel::run(const Sample &sample, Observer observer,
                             std::vector<SampleArray> *outputs) const {
  Run current(api, model, findEntry(sample));
  if (llvm::Error error = current.prepare(sample))
    return error;
  Watch watch{api, model, observer};
  qcc_observer callbacks = {};
  callbacks.struct_size = sizeof(callbacks);
  callbacks.user = &watch;
  callbacks.observe = observe;
  current.observe(callbacks);
  if (!current.execute())
    return makeError(Diag::BadCalibration, sample.name, current.getProblem());
  if (outputs)
    *outputs = current.copyOutputs();
  return llvm::Error::success();
}

llvm::Expected<std::vector<std::vector<double>>>
LoadedModel::time(const Sample &sample, double seconds,
                  llvm::function_ref<void()> before) const {
  using Clock = std::chrono::steady_clock;
  qcc_model_info all = {};
  all.struct_size = sizeof(all);
  api->model_info(model, &all);
  std::vector<std::unique_ptr<Run>> runs;
  std::vector<std::vector<double>> times(all.num_entries);
  for (uint32_t entry = 0; entry < all.num_entries; ++entry) {
    runs.push_back(std::make_unique<Run>(api, model, entry));
    if (llvm::Error error = runs.back()->prepare(sample))
      return std::move(error);
  }
  std::chrono::duration<double> length(seconds);
  auto start = Clock::now();
  for (unsigned round = 0; round < kMostRounds; ++round) {
    if (round >= kLeastRounds && Clock::now() - start > length)
      break;
    for (auto [run, entryTimes] : llvm::zip_equal(runs, times)) {
      before();
      auto begin = Clock::now();
      if (!run->execute())
        return makeError(Diag::BadCalibration, sample.name, run->getProblem());
      entryTimes.push_back(
          std::chrono::duration<double>(Clock::now() - begin).count());
    }
  }
  return times;
}
