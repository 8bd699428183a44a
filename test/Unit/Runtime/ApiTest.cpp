//===- ApiTest.cpp - the C interface of a model -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Fixture.h"

#include <atomic>
#include <cstdlib>
#include <map>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <xmmintrin.h>

namespace {

TEST(Query, NegotiatesTheVersion) {
  void *library =
      dlopen(FAKE_MODELS "/embedded/libmodel.so", RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto query = reinterpret_cast<qcc_model_query_fn>(
      dlsym(library, "qcc_model_query_v1"));
  ASSERT_NE(query, nullptr);
  const qcc_model_api *api = query(QCC_ABI_VERSION, nullptr);
  ASSERT_NE(api, nullptr);
  EXPECT_GE(api->struct_size, sizeof(qcc_model_api));
  EXPECT_EQ(api->abi_version, 1u);
  EXPECT_EQ(query(1000, nullptr), api) << "a newer caller gets what there is";

  std::string said;
  qcc_host host{};
  host.struct_size = sizeof(host);
  host.user = &said;
  host.log = [](void *user, int32_t, const char *line) {
    *static_cast<std::string *>(user) = line;
  };
  EXPECT_EQ(query(0, &host), nullptr);
  EXPECT_NE(said.find("version 1"), std::string::npos) << said;
  EXPECT_EQ(dlsym(library, "qcc_program_blob"), nullptr)
      << "nothing else is exported";
}

TEST_F(ModelTest, DescribesItself) {
  qcc_model_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(api->model_info(model, &info), QCC_OK);
  EXPECT_STREQ(info.name, "fake");
  EXPECT_STREQ(info.level, "better");
  EXPECT_EQ(info.num_entries, 6u);
  EXPECT_EQ(info.num_states, 2u);
  EXPECT_EQ(info.threads, 2u);
  EXPECT_EQ(info.weight_bytes, 16u);

  uint32_t entry = 99;
  ASSERT_EQ(api->find_entry(model, "nonzero", &entry), QCC_OK);
  EXPECT_EQ(entry, uint32_t(NonZero));
  EXPECT_EQ(api->find_entry(model, "none", &entry), QCC_NOT_FOUND);

  qcc_tensor_info tensor{};
  tensor.struct_size = sizeof(tensor);
  ASSERT_EQ(api->tensor_info(model, Main, QCC_INPUT, 0, &tensor), QCC_OK);
  EXPECT_STREQ(tensor.name, "x");
  EXPECT_EQ(tensor.ndim, 2);
  EXPECT_EQ(tensor.dims[0], -1);
  EXPECT_STREQ(tensor.symbols[0], "batch");
  EXPECT_EQ(tensor.dims[1], 4);
  EXPECT_EQ(tensor.symbols[1], nullptr);
  EXPECT_EQ(api->tensor_info(model, Main, QCC_INPUT, 1, &tensor),
            QCC_NOT_FOUND);
  ASSERT_EQ(api->tensor_info(model, 0, QCC_STATE, 0, &tensor), QCC_OK);
  EXPECT_STREQ(tensor.name, "counter");

  qcc_symbol_info symbol{};
  symbol.struct_size = sizeof(symbol);
  ASSERT_EQ(api->symbol_info(model, 0, &symbol), QCC_OK);
  EXPECT_EQ(symbol.min, 1);
  EXPECT_EQ(symbol.max, 64);

  qcc_site_info site{};
  site.struct_size = sizeof(site);
  ASSERT_EQ(api->site_info(model, 1, &site), QCC_OK);
  EXPECT_STREQ(site.node, "Add_1");
  EXPECT_STREQ(site.kernel, "add_weight");
}

TEST_F(ModelTest, FillsNoMoreThanTheCallerKnows) {
  struct {
    qcc_entry_info info;
    uint64_t guard;
  } small{};
  small.info.struct_size = 16; // up to name
  small.info.num_inputs = 77;
  small.guard = 42;
  ASSERT_EQ(api->entry_info(model, Main, &small.info), QCC_OK);
  EXPECT_STREQ(small.info.name, "main");
  EXPECT_EQ(small.info.num_inputs, 77u);
  EXPECT_EQ(small.info.struct_size, 16u);
  EXPECT_EQ(small.guard, 42u);
}

TEST_F(ModelTest, RunsAllBatchSizes) {
  for (int64_t batch : {1, 2, 64, 3, 1}) {
    EXPECT_EQ(runMain(batch), QCC_OK) << error();
    api->state_reset(context);
  }
}

TEST_F(ModelTest, PlansManySizes) {
  for (int round = 0; round < 2; ++round)
    for (int64_t batch = 1; batch <= 64; ++batch) {
      ASSERT_EQ(runMain(batch), QCC_OK) << error();
      api->state_reset(context);
    }
}

// A state with symbolic dims has the size of the first run.
TEST_F(ModelTest, StateOfSymbolicSize) {
  std::vector<int64_t> shape(2);
  DLTensor value{};
  value.shape = shape.data();
  EXPECT_EQ(api->state_get(context, 1, &value), QCC_NOT_FOUND);
  ASSERT_EQ(runMain(3), QCC_OK);
  ASSERT_EQ(api->state_get(context, 1, &value), QCC_OK) << error();
  EXPECT_EQ(shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(static_cast<float *>(value.data)[11], 22);
  api->free_tensor(model, &value);
  EXPECT_EQ(value.data, nullptr);
}

TEST_F(ModelTest, AllocatesOutputs) {
  Floats x(kDLFloat, {2, 4}, iota(8));
  std::vector<int64_t> shape(2);
  DLTensor y{};
  y.shape = shape.data();
  ASSERT_EQ(run(Main, {&x.tensor}, {&y}), QCC_OK) << error();
  EXPECT_EQ(shape, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(y.ndim, 2);
  EXPECT_EQ(y.dtype.code, kDLFloat);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(y.data) % 64, 0u);
  EXPECT_EQ(static_cast<float *>(y.data)[7], 54);
  api->free_tensor(model, &y);
}

TEST_F(ModelTest, CountsInItsState) {
  Longs step(kDLInt, {}, {5}), total(kDLInt, {1}, {0});
  for (int64_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(run(Count, {&step.tensor}, {&total.tensor}), QCC_OK) << error();
    EXPECT_EQ(total.values[0], 5 * i);
  }
  Longs value(kDLInt, {1}, {0});
  ASSERT_EQ(api->state_get(context, 0, &value.tensor), QCC_OK);
  EXPECT_EQ(value.values[0], 15);
  value.values[0] = 100;
  ASSERT_EQ(api->state_set(context, 0, &value.tensor), QCC_OK);
  ASSERT_EQ(run(Count, {&step.tensor}, {&total.tensor}), QCC_OK);
  EXPECT_EQ(total.values[0], 105);
  ASSERT_EQ(api->state_reset(context), QCC_OK);
  ASSERT_EQ(run(Count, {&step.tensor}, {&total.tensor}), QCC_OK);
  EXPECT_EQ(total.values[0], 5);
}

TEST_F(ModelTest, ContextsHaveTheirOwnStates) {
  qcc_context *other = nullptr;
  ASSERT_EQ(api->context_create(model, nullptr, &other), QCC_OK);
  Longs step(kDLInt, {}, {5}), total(kDLInt, {1}, {0});
  ASSERT_EQ(run(Count, {&step.tensor}, {&total.tensor}), QCC_OK);
  const DLTensor *in = &step.tensor;
  DLTensor *out = &total.tensor;
  ASSERT_EQ(api->run(other, Count, &in, 1, &out, 1), QCC_OK);
  EXPECT_EQ(total.values[0], 5);
  EXPECT_EQ(api->close(model), QCC_IN_USE);
  api->context_destroy(other);
}

TEST_F(ModelTest, FindsShapesWhileItRuns) {
  Floats values(kDLFloat, {6}, {0, 1, 0, 3, 4, 0}),
      twice(kDLFloat, {12}, iota(12));
  int64_t shape[1] = {-1};
  DLTensor found{};
  found.shape = shape;
  ASSERT_EQ(run(NonZero, {&values.tensor, &twice.tensor}, {&found}), QCC_OK)
      << error();
  ASSERT_EQ(shape[0], 3);
  auto *indices = static_cast<int64_t *>(found.data);
  EXPECT_EQ(std::vector<int64_t>(indices, indices + 3),
            (std::vector<int64_t>{1, 3, 4}));
  api->free_tensor(model, &found);

  Floats none(kDLFloat, {0}, {}), noneTwice(kDLFloat, {0}, {});
  ASSERT_EQ(run(NonZero, {&none.tensor, &noneTwice.tensor}, {&found}), QCC_OK)
      << error();
  EXPECT_EQ(shape[0], 0);
  api->free_tensor(model, &found);
}

TEST_F(ModelTest, InfersShapes) {
  Floats x(kDLFloat, {7, 4}, {});
  int64_t shape[2] = {0, 0};
  DLTensor y{};
  y.shape = shape;
  const DLTensor *in = &x.tensor;
  DLTensor *out = &y;
  ASSERT_EQ(api->infer_shapes(context, Main, &in, 1, &out, 1), QCC_OK)
      << error();
  EXPECT_EQ(shape[0], 7);
  EXPECT_EQ(shape[1], 4);
  EXPECT_EQ(y.data, nullptr);
  Floats values(kDLFloat, {6}, {}), twice(kDLFloat, {12}, {});
  const DLTensor *two[] = {&values.tensor, &twice.tensor};
  EXPECT_EQ(api->infer_shapes(context, NonZero, two, 2, &out, 1),
            QCC_DATA_SHAPES);
}

TEST_F(ModelTest, TellsItsMemoryNeed) {
  Floats x(kDLFloat, {8, 4}, {});
  const DLTensor *in = &x.tensor;
  qcc_memory_info need{};
  need.struct_size = sizeof(need);
  ASSERT_EQ(
      api->memory_need(model, nullptr, Main, &in, 1, &need, text, sizeof(text)),
      QCC_OK)
      << text;
  EXPECT_EQ(need.arena_bytes, 256u);
  EXPECT_EQ(need.scratch_bytes, 256u);
  EXPECT_EQ(need.state_bytes, 8u + 128u);
  x.shape[0] = 65;
  EXPECT_EQ(
      api->memory_need(model, nullptr, Main, &in, 1, &need, text, sizeof(text)),
      QCC_BAD_SHAPE);
  EXPECT_STREQ(text,
               "input 'x': expected dim 0 ('batch') from 1 to 64, but got 65");
}

TEST_F(ModelTest, ShowsSitesAndValues) {
  struct Seen {
    std::vector<uint32_t> sites;
    std::map<std::string, float> lastValue;
    int64_t observed = 0;
    int64_t flops = 0;
  } seen;
  qcc_observer observer{};
  observer.struct_size = sizeof(observer);
  observer.user = &seen;
  observer.profile = [](void *user, const qcc_profile_event *event) {
    auto &s = *static_cast<Seen *>(user);
    s.sites.push_back(event->site);
    s.flops += event->flops;
    EXPECT_GE(event->end_ns, event->begin_ns);
  };
  observer.tensor = [](void *user, uint32_t, const char *name,
                       const DLTensor *value) {
    int64_t count = value->shape[0] * value->shape[1];
    static_cast<Seen *>(user)->lastValue[name] =
        static_cast<float *>(value->data)[count - 1];
  };
  observer.observe = [](void *user, uint32_t, const void *, int64_t count,
                        DLDataType dtype) {
    EXPECT_EQ(dtype.bits, 32);
    static_cast<Seen *>(user)->observed += count;
  };
  ASSERT_EQ(api->set_observer(context, &observer), QCC_OK);
  ASSERT_EQ(runMain(2), QCC_OK);
  EXPECT_EQ(seen.sites, (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(seen.lastValue,
            (std::map<std::string, float>{{"twice_0", 14}, {"y", 54}}));
  EXPECT_EQ(seen.observed, 8);
  EXPECT_EQ(seen.flops, 16);
  ASSERT_EQ(api->set_observer(context, nullptr), QCC_OK);
  ASSERT_EQ(runMain(2), QCC_OK);
  EXPECT_EQ(seen.sites.size(), 2u);
}

// Each call's error is its own: none keeps the words of one before.
TEST_F(ModelTest, SaysWhatWasWrongLast) {
  qcc_observer observer{};
  observer.struct_size = 1;
  EXPECT_EQ(api->set_observer(context, &observer), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(error(),
            "expected an observer whose struct_size is that of its fields");
  EXPECT_EQ(api->state_get(context, 0, nullptr), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(error(), "expected a tensor, but got NULL");
  ASSERT_EQ(api->set_observer(context, nullptr), QCC_OK);
  EXPECT_EQ(error(), "");
  EXPECT_EQ(api->state_set(context, 0, nullptr), QCC_INVALID_ARGUMENT);
  EXPECT_EQ(error(), "expected a tensor, but got NULL");
}

TEST_F(ModelTest, KernelsSeeTheirOwnRounding) {
  std::vector<int32_t> values(2);
  Tensor<int32_t> probed(kDLInt, {2}, {0, 0});
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040); // flush denormals
  qcc_status status = run(Probe, {}, {&probed.tensor});
  unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  ASSERT_EQ(status, QCC_OK) << error();
  EXPECT_EQ(probed.values[0] & 0xffc0, 0x1f80);
  EXPECT_EQ(after & 0x8040, 0x8040u) << "restored for the caller";
}

TEST_F(ModelTest, ManyThreadsRunOneModel) {
  std::atomic<int> bad{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      qcc_context *mine = nullptr;
      if (api->context_create(model, nullptr, &mine) != QCC_OK) {
        ++bad;
        return;
      }
      int64_t batch = 8 + t;
      Floats x(kDLFloat, {batch, 4}, iota(size_t(batch) * 4)),
          y(kDLFloat, {batch, 4}, iota(size_t(batch) * 4));
      const DLTensor *in = &x.tensor;
      DLTensor *out = &y.tensor;
      for (int i = 0; i < 300; ++i) {
        std::fill(y.values.begin(), y.values.end(), 0.0f);
        if (api->run(mine, Main, &in, 1, &out, 1) != QCC_OK)
          ++bad;
        for (size_t k = 0; k < y.values.size(); ++k)
          if (y.values[k] != 2 * float(k) + 10 * float(k % 4 + 1))
            ++bad;
      }
      api->context_destroy(mine);
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(bad, 0);
}

TEST_F(ModelTest, HostsReplaceMemoryAndThreads) {
  struct Host {
    std::atomic<int64_t> bytes{0};
    int loops = 0;
  } state;
  qcc_host host{};
  host.struct_size = sizeof(host);
  host.user = &state;
  host.allocate = [](void *user, uint64_t bytes, uint64_t alignment) {
    static_cast<Host *>(user)->bytes += int64_t(bytes);
    return aligned_alloc(alignment,
                         (bytes + alignment - 1) / alignment * alignment);
  };
  host.deallocate = [](void *user, void *memory, uint64_t bytes) {
    static_cast<Host *>(user)->bytes -= int64_t(bytes);
    free(memory);
  };
  host.parallel_for = [](void *user, int64_t tasks, qcc_task_fn fn, void *arg) {
    ++static_cast<Host *>(user)->loops;
    for (int64_t i = tasks; i-- > 0;)
      fn(arg, i, uint32_t(i % 3));
  };
  host.max_workers = 3;
  open(0, &host);
  EXPECT_EQ(runMain(17), QCC_OK) << error();
  EXPECT_EQ(state.loops, 2);
  EXPECT_GT(state.bytes, 0);
  close();
  EXPECT_EQ(state.bytes, 0) << "all is given back, with its size";
}

TEST_F(ModelTest, WorksAfterFork) {
  ASSERT_EQ(runMain(64), QCC_OK);
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    bool good = runMain(64) == QCC_OK && runMain(64) == QCC_OK;
    close();
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(runMain(64), QCC_OK);
}

} // namespace
