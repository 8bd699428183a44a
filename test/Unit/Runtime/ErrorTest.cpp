//===- ErrorTest.cpp - what the C interface refuses, and how ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Fixture.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace {

TEST_F(ModelTest, NamesWhatIsWrongWithAnInput) {
  Floats x(kDLFloat, {2, 5}, iota(10)), y(kDLFloat, {2, 4}, iota(8));
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_BAD_SHAPE);
  EXPECT_EQ(error(), "input 'x': expected dim 1 to be 4, but got 5");
  Floats flat(kDLFloat, {8}, iota(8));
  EXPECT_EQ(run(Main, {&flat.tensor}, {&y.tensor}), QCC_BAD_SHAPE);
  EXPECT_EQ(error(), "input 'x': expected rank 2, but got 1");
  Floats none(kDLFloat, {0, 4}, {});
  EXPECT_EQ(run(Main, {&none.tensor}, {&y.tensor}), QCC_BAD_SHAPE);
  EXPECT_EQ(error(),
            "input 'x': expected dim 0 ('batch') from 1 to 64, but got 0");
  Floats typed(kDLInt, {2, 4}, iota(8));
  EXPECT_EQ(run(Main, {&typed.tensor}, {&y.tensor}), QCC_BAD_TYPE);
  EXPECT_EQ(run(Main, {}, {&y.tensor}), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(error(), "entry 'main': expected 1 inputs, but got 0");
  EXPECT_EQ(run(Main, {nullptr}, {&y.tensor}), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(run(99, {&x.tensor}, {&y.tensor}), QCC_NOT_FOUND);
}

TEST_F(ModelTest, ChecksDimsThatDependOnOthers) {
  Floats values(kDLFloat, {6}, iota(6)), twice(kDLFloat, {11}, iota(11));
  int64_t shape[1];
  DLTensor found{};
  found.shape = shape;
  EXPECT_EQ(run(NonZero, {&values.tensor, &twice.tensor}, {&found}),
            QCC_BAD_SHAPE);
  EXPECT_EQ(error(), "input 'double': expected dim 0 to be 12, but got 11");
  Floats negative(kDLFloat, {-6}, {});
  EXPECT_EQ(run(NonZero, {&negative.tensor, &twice.tensor}, {&found}),
            QCC_BAD_SHAPE);
}

TEST_F(ModelTest, ChecksLayout) {
  Floats x(kDLFloat, {2, 4}, iota(16)), y(kDLFloat, {2, 4}, iota(8));
  int64_t strided[] = {8, 1}, dense[] = {4, 1};
  x.tensor.strides = dense;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_OK) << error();
  x.tensor.strides = strided;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_BAD_LAYOUT);
  x.tensor.strides = nullptr;
  x.tensor.byte_offset = 2;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_BAD_LAYOUT);
  x.tensor.byte_offset = 4;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_OK) << error();
  EXPECT_EQ(y.values[0], 12) << "the offset counts";
  x.tensor.device.device_type = kDLCUDA;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_BAD_LAYOUT);
  x.tensor.device.device_type = kDLCPU;
  EXPECT_EQ(run(Main, {&x.tensor}, {&x.tensor}), QCC_BAD_LAYOUT)
      << "an output over an input";
  x.tensor.data = nullptr;
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_INVALID_ARGUMENT);
}

TEST_F(ModelTest, ChecksOutputs) {
  Floats x(kDLFloat, {2, 4}, iota(8)), y(kDLFloat, {3, 4}, iota(12));
  EXPECT_EQ(run(Main, {&x.tensor}, {&y.tensor}), QCC_BAD_SHAPE);
  EXPECT_EQ(error(), "output 'y': expected dim 0 to be 2, but got 3");
  EXPECT_EQ(run(Main, {&x.tensor}, {nullptr}), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(run(Main, {&x.tensor}, {}), QCC_INVALID_ARGUMENT);
  DLTensor shapeless{};
  EXPECT_EQ(run(Main, {&x.tensor}, {&shapeless}), QCC_INVALID_ARGUMENT);
}

TEST_F(ModelTest, KeepsTheSizeOfAState) {
  ASSERT_EQ(runMain(2), QCC_OK);
  EXPECT_EQ(runMain(3), QCC_BAD_SHAPE);
  EXPECT_EQ(error(), "expected state 'history' to keep its 32 bytes, but these "
                     "inputs give it 48: reset the states "
                     "first");
  ASSERT_EQ(api->state_reset(context), QCC_OK);
  EXPECT_EQ(runMain(3), QCC_OK);
}

TEST_F(ModelTest, NamesTheNodeThatFails) {
  EXPECT_EQ(run(Refuse, {}, {}), QCC_BAD_DATA);
  EXPECT_EQ(error(), "node 'Gather_7': a value of its inputs is out of range");
}

TEST_F(ModelTest, StopsBindingsThatLeaveTheirMemory) {
  int64_t shape[1];
  DLTensor never{};
  never.shape = shape;
  EXPECT_EQ(run(Wild, {}, {&never}), QCC_INTERNAL);
  EXPECT_EQ(never.data, nullptr) << "what was allocated is freed";
}

TEST_F(ModelTest, CancelsTheNextRun) {
  api->cancel(context);
  EXPECT_EQ(runMain(2), QCC_CANCELLED);
  EXPECT_EQ(error(), "the run was cancelled");
  EXPECT_EQ(runMain(2), QCC_OK);
}

TEST_F(ModelTest, RefusesBadCalls) {
  qcc_model *other = nullptr;
  EXPECT_EQ(api->open(nullptr, nullptr), QCC_INVALID_ARGUMENT);
  qcc_open_options empty{};
  EXPECT_EQ(api->open(&empty, &other), QCC_INVALID_ARGUMENT)
      << "no struct_size";
  qcc_open_options options{};
  options.struct_size = sizeof(options);
  options.threads = 5000;
  options.error_text = text;
  options.error_text_size = 10;
  EXPECT_EQ(api->open(&options, &other), QCC_INVALID_ARGUMENT);
  EXPECT_STREQ(text, "expected ") << "cut to its size";
  EXPECT_EQ(other, nullptr);
  EXPECT_EQ(api->model_info(nullptr, nullptr), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(api->model_info(model, nullptr), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(api->close(nullptr), QCC_OK);
  api->context_destroy(nullptr);
  EXPECT_STREQ(api->last_error(nullptr), "");
}

//===----------------------------------------------------------------------===//
// Levels and weights
//===----------------------------------------------------------------------===//

TEST_F(ModelTest, TakesALowerLevel) {
  setenv("QCC_CPU_FEATURES", "-sse4_2", 1);
  std::string said;
  qcc_host host{};
  host.struct_size = sizeof(host);
  host.user = &said;
  host.log = [](void *user, int32_t, const char *line) {
    *static_cast<std::string *>(user) = line;
  };
  open(1, &host);
  unsetenv("QCC_CPU_FEATURES");
  EXPECT_EQ(said,
            "using the kernels for base: this CPU lacks what better needs");
  Tensor<int32_t> probed(kDLInt, {2}, {-1, -1});
  ASSERT_EQ(run(Probe, {}, {&probed.tensor}), QCC_OK);
  EXPECT_EQ(probed.values[1], 0);
}

TEST(Levels, MissingFeaturesAreNamed) {
  const qcc_model_api *api = loadApi("demanding");
  ASSERT_NE(api, nullptr);
  char text[512] = "";
  qcc_open_options options{};
  options.struct_size = sizeof(options);
  options.error_text = text;
  options.error_text_size = sizeof(text);
  qcc_model *model = nullptr;
  ASSERT_EQ(api->open(&options, &model), QCC_OK) << text;
  EXPECT_EQ(api->close(model), QCC_OK);
  setenv("QCC_CPU_FEATURES", "-sse4_2,-popcnt", 1);
  EXPECT_EQ(api->open(&options, &model), QCC_UNSUPPORTED_HOST);
  unsetenv("QCC_CPU_FEATURES");
  EXPECT_STREQ(text, "expected a CPU with sse4_2, popcnt, but this one (or its "
                     "operating system) lacks it; compile "
                     "with a lower --target");
}

/// Opening the model whose weights lie in a file.
class WeightsTest : public ::testing::Test {
protected:
  void SetUp() override {
    api = loadApi("external");
    ASSERT_NE(api, nullptr);
    options.struct_size = sizeof(options);
    options.error_text = text;
    options.error_text_size = sizeof(text);
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
    ASSERT_EQ(bytes.size(), 4112u);
  }

  /// Opens and closes; returns the status of opening.
  qcc_status open() {
    qcc_model *model = nullptr;
    qcc_status status = api->open(&options, &model);
    api->close(model);
    return status;
  }

  /// Opens with weights of these bytes in a file.
  qcc_status openBytes(const std::string &content) {
    std::string file =
        testing::TempDir() + "weights-" + std::to_string(getpid());
    std::ofstream(file, std::ios::binary) << content;
    options.weights_path = file.c_str();
    qcc_status status = open();
    options.weights_path = nullptr;
    std::filesystem::remove(file);
    return status;
  }

  const std::string path = FAKE_MODELS "/external/weights.safetensors";
  const qcc_model_api *api = nullptr;
  qcc_open_options options{};
  std::string bytes;
  char text[512] = "";
};

TEST_F(WeightsTest, AreFoundBesideTheLibrary) {
  EXPECT_EQ(open(), QCC_OK) << text;
  options.flags = QCC_OPEN_VERIFY_WEIGHTS;
  EXPECT_EQ(open(), QCC_OK) << text;
}

TEST_F(WeightsTest, ComeByPathDescriptorOrPointer) {
  options.weights_path = path.c_str();
  EXPECT_EQ(open(), QCC_OK) << text;
  options.weights_path = nullptr;
  int fd = ::open(path.c_str(), O_RDONLY);
  options.weights_fd_plus_1 = fd + 1;
  EXPECT_EQ(open(), QCC_OK) << text;
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 0) << "still open";
  ::close(fd);
  options.weights_fd_plus_1 = 0;
  void *memory = aligned_alloc(64, 8192);
  memcpy(memory, bytes.data(), bytes.size());
  options.weights_data = memory;
  options.weights_bytes = bytes.size();
  EXPECT_EQ(open(), QCC_OK) << text;
  options.weights_bytes = bytes.size() - 1;
  EXPECT_EQ(open(), QCC_BAD_WEIGHTS);
  options.weights_bytes = bytes.size();
  options.weights_path = path.c_str();
  EXPECT_EQ(open(), QCC_INVALID_ARGUMENT) << "two at once";
  free(memory);
}

TEST_F(WeightsTest, OfOthersAreRefused) {
  EXPECT_EQ(openBytes(bytes), QCC_OK) << text;
  EXPECT_EQ(openBytes(bytes.substr(0, 4111)), QCC_BAD_WEIGHTS);
  EXPECT_NE(std::string(text).find("expected 4112 bytes"), std::string::npos)
      << text;
  std::string header = bytes, data = bytes;
  header[17] ^= 1;
  EXPECT_EQ(openBytes(header), QCC_BAD_WEIGHTS);
  EXPECT_STREQ(text, "the weights are not those of this model (fake)");
  data[4100] ^= 1;
  EXPECT_EQ(openBytes(data), QCC_OK) << "only looked at on request";
  options.flags = QCC_OPEN_VERIFY_WEIGHTS;
  EXPECT_EQ(openBytes(data), QCC_BAD_WEIGHTS);
  options.flags = 0;
  options.weights_path = "/nonexistent/weights";
  EXPECT_EQ(open(), QCC_BAD_WEIGHTS);
  options.weights_path = "/dev/zero";
  EXPECT_EQ(open(), QCC_BAD_WEIGHTS) << "not a regular file";
}

TEST_F(ModelTest, EmbeddedWeightsNeedNoFile) {
  qcc_open_options options{};
  options.struct_size = sizeof(options);
  options.weights_path = "/dev/null";
  qcc_model *other = nullptr;
  EXPECT_EQ(api->open(&options, &other), QCC_INVALID_ARGUMENT);
  options.weights_path = nullptr;
  options.flags = QCC_OPEN_VERIFY_WEIGHTS;
  EXPECT_EQ(api->open(&options, &other), QCC_OK);
  EXPECT_EQ(api->close(other), QCC_OK);
}

// A caller of a newer header learns what this library does not do.
TEST_F(ModelTest, OptionsOfNoMeaning) {
  char text[128] = "";
  qcc_open_options options{};
  options.struct_size = sizeof(options);
  options.error_text = text;
  options.error_text_size = sizeof(text);
  options.flags = 0x80000001u;
  qcc_model *other = nullptr;
  EXPECT_EQ(api->open(&options, &other), QCC_INVALID_ARGUMENT);
  EXPECT_STREQ(text, "expected qcc_open_flags that this library knows, but got "
                     "0x80000001");
  options.flags = 0;
  options.weights_bytes = 8;
  EXPECT_EQ(api->open(&options, &other), QCC_INVALID_ARGUMENT);
  EXPECT_STREQ(text, "expected weights_data for the 8 bytes of weights_bytes, "
                     "but got NULL");
}

} // namespace
