//===- Fixture.h - the hand-written model, opened ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_UNIT_RUNTIME_FIXTURE_H
#define QCC_TEST_UNIT_RUNTIME_FIXTURE_H

#include "qcc/Runtime/qcc.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <numeric>
#include <string>
#include <vector>

/// A dense tensor with its own memory.
template <typename T> class Tensor {
public:
  Tensor(DLDataTypeCode code, std::vector<int64_t> dims, std::vector<T> data)
      : shape(std::move(dims)), values(std::move(data)) {
    tensor.data = values.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = int32_t(shape.size());
    tensor.dtype = {uint8_t(code), uint8_t(sizeof(T) * 8), 1};
    tensor.shape = shape.data();
  }
  Tensor(const Tensor &) = delete;

  std::vector<int64_t> shape;
  std::vector<T> values;
  DLTensor tensor{};
};

using Floats = Tensor<float>;
using Longs = Tensor<int64_t>;

inline std::vector<float> iota(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

/// Entries of the model, in order.
enum Entry : uint32_t { Main, Count, NonZero, Refuse, Probe, Wild };

/// The library that a test uses. It stays loaded: sanitizers and coverage want
/// its code at the end.
inline const qcc_model_api *loadApi(const char *name = "embedded") {
  std::string path = std::string(FAKE_MODELS "/") + name + "/libmodel.so";
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    ADD_FAILURE() << dlerror();
    return nullptr;
  }
  auto query = reinterpret_cast<qcc_model_query_fn>(
      dlsym(library, "qcc_model_query_v1"));
  return query ? query(QCC_ABI_VERSION, nullptr) : nullptr;
}

/// A test with an open model and a context.
class ModelTest : public ::testing::Test {
protected:
  void SetUp() override {
    api = loadApi();
    ASSERT_NE(api, nullptr);
    open(2);
  }

  void open(uint32_t threads, const qcc_host *host = nullptr) {
    close();
    qcc_open_options options{};
    options.struct_size = sizeof(options);
    options.threads = threads;
    options.host = host;
    options.error_text = text;
    options.error_text_size = sizeof(text);
    ASSERT_EQ(api->open(&options, &model), QCC_OK) << text;
    ASSERT_EQ(api->context_create(model, nullptr, &context), QCC_OK);
  }

  void close() {
    if (context)
      api->context_destroy(context);
    context = nullptr;
    if (model)
      EXPECT_EQ(api->close(model), QCC_OK);
    model = nullptr;
  }

  void TearDown() override {
    if (api)
      close();
  }

  qcc_status run(uint32_t entry, std::vector<const DLTensor *> inputs,
                 std::vector<DLTensor *> outputs) {
    return api->run(context, entry, inputs.data(), uint32_t(inputs.size()),
                    outputs.data(), uint32_t(outputs.size()));
  }

  /// Runs main on `batch` rows and compares; returns the status.
  qcc_status runMain(int64_t batch) {
    Floats x(kDLFloat, {batch, 4}, iota(size_t(batch) * 4)),
        y(kDLFloat, {batch, 4}, iota(size_t(batch) * 4));
    qcc_status status = run(Main, {&x.tensor}, {&y.tensor});
    for (size_t i = 0; status == QCC_OK && i < y.values.size(); ++i)
      EXPECT_EQ(y.values[i], 2 * float(i) + 10 * float(i % 4 + 1));
    return status;
  }

  std::string error() const { return api->last_error(context); }

  const qcc_model_api *api = nullptr;
  qcc_model *model = nullptr;
  qcc_context *context = nullptr;
  char text[512] = "";
};

#endif // QCC_TEST_UNIT_RUNTIME_FIXTURE_H
