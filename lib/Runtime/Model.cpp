//===- Model.cpp - opens and closes models ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Model.h"

#include "Cpu.h"

#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

using namespace qcc::runtime;

uint32_t qcc::runtime::chooseLevel(const ProgramView &program,
                                   uint64_t features, uint64_t &missing) {
  missing = 0;
  for (uint32_t i = program.header().levels.count; i-- > 0;) {
    missing = program.level(i).features & ~features;
    if (missing == 0)
      return i;
  }
  return QCC_NONE;
}

static void note(const qcc_host &host, int32_t level, const char *text) {
  if (host.log)
    host.log(host.user, level, text);
}

/// Picks the kernels for this machine, or says what it lacks.
static qcc_status selectLevel(qcc_model &model, ErrorText &error) {
  const ProgramView &program = model.program;
  uint32_t count = program.header().levels.count;
  uint64_t wanted = 0;
  for (uint32_t i = 0; i < count; ++i)
    wanted |= program.level(i).features;
  // The variable only takes features away; tests use it to run lower levels.
  uint64_t features =
      withoutFeatures(hostFeatures(wanted), getenv("QCC_CPU_FEATURES"));
  uint64_t missing;
  model.level = chooseLevel(program, features, missing);
  char names[256] = "";
  size_t used = 0;
  for (uint32_t i = 0; i < QCC_CPU_NUM_FEATURES; ++i)
    if ((missing >> i & 1) && used < sizeof(names))
      used += size_t(snprintf(names + used, sizeof(names) - used, "%s%s",
                              used == 0 ? "" : ", ", featureName(i)));
  if (model.level == QCC_NONE)
    return error.fail(QCC_UNSUPPORTED_HOST,
                      "expected a CPU with %s, but this one (or its operating "
                      "system) lacks it; compile with a lower "
                      "--target",
                      names);
  if (model.level + 1 != count) {
    char text[256];
    snprintf(text, sizeof(text),
             "using the kernels for %s: this CPU lacks what %s needs",
             program.text(program.level(model.level).name),
             program.text(program.level(count - 1).name));
    note(model.host, QCC_LOG_NOTE, text);
  }
  return QCC_OK;
}

/// Prepares what describes the model and sizes its contexts.
static bool describe(qcc_model &model) {
  const ProgramView &program = model.program;
  const qcc_program_v1 &header = program.header();
  model.dims = model.memory.array<int64_t>(header.dims.count);
  model.dimSymbols = model.memory.array<const char *>(header.dims.count);
  if (!model.dims || !model.dimSymbols)
    return false;
  for (uint32_t t = 0; t < header.tensors.count; ++t) {
    const qcc_tensor_rec &tensor = program.tensor(t);
    for (uint32_t d = 0; d < tensor.rank; ++d) {
      qcc_size size = program.dim(tensor, d);
      uint32_t symbol = program.plainSymbol(size);
      model.dims[tensor.first_dim + d] = size >= 0 ? size : -1;
      model.dimSymbols[tensor.first_dim + d] =
          symbol == QCC_NONE ? nullptr
                             : program.text(program.symbol(symbol).name);
    }
  }
  auto atLeast = [](auto &value, auto other) {
    value = value < other ? other : value;
  };
  for (uint32_t i = 0; i < header.kernels.count; ++i) {
    atLeast(model.maxBindings, program.kernel(i).num_bindings);
    atLeast(model.scratchBytes, program.kernel(i).scratch_bytes);
  }
  for (uint32_t i = 0; i < header.entries.count; ++i) {
    atLeast(model.maxInputs, program.entry(i).num_inputs);
    atLeast(model.maxOutputs, program.entry(i).num_outputs);
  }
  return true;
}

static qcc_status configureThreads(qcc_model &model,
                                   const qcc_open_options &options,
                                   ErrorText &error) {
  if (model.host.parallel_for) {
    model.maxWorkers = model.host.max_workers;
    if (model.maxWorkers < 1 || model.maxWorkers > 1024)
      return error.fail(QCC_INVALID_ARGUMENT,
                        "expected 1 to 1024 workers of the host, but got %u",
                        model.maxWorkers);
    return QCC_OK;
  }
  if (options.threads > 1024)
    return error.fail(QCC_INVALID_ARGUMENT,
                      "expected at most 1024 threads, but got %u",
                      options.threads);
  model.maxWorkers =
      options.threads != 0 ? options.threads : Pool::allowedCpus();
  if (!model.pool.configure(model.maxWorkers,
                            (options.flags & QCC_OPEN_PIN_THREADS) != 0,
                            model.memory))
    return error.fail(QCC_OUT_OF_MEMORY, "no memory for %u threads",
                      model.maxWorkers);
  return QCC_OK;
}

static qcc_status fill(qcc_model &model, const qcc_open_options &options,
                       ErrorText &error) {
  // The blob's own size bounds all that is read of it: it is in this library.
  uint32_t size;
  memcpy(&size, qcc_program_blob + offsetof(qcc_program_v1, total_size),
         sizeof(size));
  if (const char *text =
          ProgramView::open(qcc_program_blob, size, model.program))
    return error.fail(QCC_INTERNAL, "%s", text);
  qcc_status status = selectLevel(model, error);
  if (status == QCC_OK)
    status =
        model.weights.open(model.program, options, qcc_embedded_weights, error);
  if (status == QCC_OK)
    status = configureThreads(model, options, error);
  if (status == QCC_OK && !describe(model))
    status = error.fail(QCC_OUT_OF_MEMORY, "no memory to describe the model");
  return status;
}

qcc_status qcc::runtime::openModel(const qcc_open_options &options,
                                   qcc_model *&model, ErrorText &error) {
  qcc_host host;
  if (!copyIn(&host, sizeof(host), options.host) ||
      (host.allocate == nullptr) != (host.deallocate == nullptr))
    return error.fail(
        QCC_INVALID_ARGUMENT,
        "expected a host with struct_size and both or none of allocate and "
        "deallocate");
  constexpr uint32_t kKnown = QCC_OPEN_VERIFY_WEIGHTS | QCC_OPEN_PIN_THREADS;
  if ((options.flags & ~kKnown) != 0)
    return error.fail(QCC_INVALID_ARGUMENT,
                      "expected qcc_open_flags that this library knows, but "
                      "got 0x%x",
                      options.flags);
  void *memory = Memory(host).allocate(sizeof(qcc_model));
  if (!memory)
    return error.fail(QCC_OUT_OF_MEMORY, "no memory to open the model");
  auto *opened = new (memory) qcc_model();
  opened->host = host;
  opened->memory = Memory(opened->host);
  qcc_status status = fill(*opened, options, error);
  if (status != QCC_OK) {
    note(host, QCC_LOG_ERROR, error.text());
    closeModel(opened);
    return status;
  }
  model = opened;
  return QCC_OK;
}

void qcc::runtime::closeModel(qcc_model *model) {
  model->pool.shutDown();
  model->weights.close();
  if (model->program.isOpen()) {
    uint32_t dims = model->program.header().dims.count;
    model->memory.freeArray(model->dims, dims);
    model->memory.freeArray(model->dimSymbols, dims);
  }
  // The model holds the host whose functions free it.
  qcc_host host = model->host;
  Memory(host).free(model, sizeof(qcc_model));
}
