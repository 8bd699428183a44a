//===- Api.cpp - the table of functions of a model --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Context.h"

#include <string.h>

using namespace qcc::runtime;

namespace {

/// Sends what a class of errors says to a caller that has no context.
class CallerText {
public:
  CallerText(char *to, uint64_t size) : to(to), size(size) {}
  ~CallerText() { error.copyTo(to, size); }

  ErrorText error;

private:
  char *to;
  uint64_t size;
};

} // namespace

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

static qcc_status open(const qcc_open_options *given, qcc_model **model) {
  qcc_open_options options;
  if (!model || !copyIn(&options, sizeof(options), given))
    return QCC_INVALID_ARGUMENT;
  *model = nullptr;
  CallerText text(options.error_text, options.error_text_size);
  return openModel(options, *model, text.error);
}

static qcc_status close(qcc_model *model) {
  if (!model)
    return QCC_OK;
  if (model->contexts.load(std::memory_order_acquire) != 0)
    return QCC_IN_USE;
  closeModel(model);
  return QCC_OK;
}

static qcc_status modelInfo(const qcc_model *model, qcc_model_info *info) {
  if (!model)
    return QCC_INVALID_ARGUMENT;
  const ProgramView &program = model->program;
  const qcc_program_v1 &header = program.header();
  qcc_model_info all{};
  all.name = program.text(header.model_name);
  all.producer = program.text(header.producer);
  all.level = program.text(program.level(model->level).name);
  all.num_entries = header.entries.count;
  all.num_symbols = header.symbols.count;
  all.num_states = header.states.count;
  all.num_sites = header.sites.count;
  all.weight_bytes = header.weights.bytes;
  all.source_sha256 = header.source_sha256;
  all.threads = model->maxWorkers;
  return copyOut(info, &all, sizeof(all)) ? QCC_OK : QCC_INVALID_ARGUMENT;
}

static qcc_status entryInfo(const qcc_model *model, uint32_t entry,
                            qcc_entry_info *info) {
  if (!model)
    return QCC_INVALID_ARGUMENT;
  const ProgramView &program = model->program;
  if (entry >= program.header().entries.count)
    return QCC_NOT_FOUND;
  const qcc_entry_rec &rec = program.entry(entry);
  qcc_entry_info all{sizeof(all), program.text(rec.name), rec.num_inputs,
                     rec.num_outputs};
  return copyOut(info, &all, sizeof(all)) ? QCC_OK : QCC_INVALID_ARGUMENT;
}

static qcc_status findEntry(const qcc_model *model, const char *name,
                            uint32_t *entry) {
  if (!model || !name || !entry)
    return QCC_INVALID_ARGUMENT;
  const ProgramView &program = model->program;
  for (uint32_t i = 0; i < program.header().entries.count; ++i) {
    if (strcmp(program.text(program.entry(i).name), name) != 0)
      continue;
    *entry = i;
    return QCC_OK;
  }
  return QCC_NOT_FOUND;
}

/// The record of a tensor, or null when there is none of that number.
static const qcc_tensor_rec *findTensor(const ProgramView &program,
                                        uint32_t entry, int32_t kind,
                                        uint32_t number) {
  if (kind == QCC_STATE)
    return number < program.header().states.count
               ? &program.tensor(program.state(number).tensor)
               : nullptr;
  if (entry >= program.header().entries.count)
    return nullptr;
  const qcc_entry_rec &rec = program.entry(entry);
  if (kind == QCC_INPUT && number < rec.num_inputs)
    return &program.tensor(rec.first_input + number);
  if (kind == QCC_OUTPUT && number < rec.num_outputs)
    return &program.tensor(rec.first_output + number);
  return nullptr;
}

static qcc_status tensorInfo(const qcc_model *model, uint32_t entry,
                             int32_t kind, uint32_t number,
                             qcc_tensor_info *info) {
  if (!model)
    return QCC_INVALID_ARGUMENT;
  const qcc_tensor_rec *rec = findTensor(model->program, entry, kind, number);
  if (!rec)
    return QCC_NOT_FOUND;
  qcc_tensor_info all{};
  all.name = model->program.text(rec->name);
  all.dtype = {rec->code, rec->bits, rec->lanes};
  all.ndim = int32_t(rec->rank);
  all.dims = model->dims + rec->first_dim;
  all.symbols = model->dimSymbols + rec->first_dim;
  return copyOut(info, &all, sizeof(all)) ? QCC_OK : QCC_INVALID_ARGUMENT;
}

static qcc_status symbolInfo(const qcc_model *model, uint32_t number,
                             qcc_symbol_info *info) {
  if (!model)
    return QCC_INVALID_ARGUMENT;
  if (number >= model->program.header().symbols.count)
    return QCC_NOT_FOUND;
  const qcc_symbol_rec &rec = model->program.symbol(number);
  qcc_symbol_info all{sizeof(all), model->program.text(rec.name), rec.min,
                      rec.max};
  return copyOut(info, &all, sizeof(all)) ? QCC_OK : QCC_INVALID_ARGUMENT;
}

static qcc_status siteInfo(const qcc_model *model, uint32_t number,
                           qcc_site_info *info) {
  if (!model)
    return QCC_INVALID_ARGUMENT;
  const ProgramView &program = model->program;
  if (number >= program.header().sites.count)
    return QCC_NOT_FOUND;
  const qcc_site_rec &rec = program.site(number);
  const char *kernel = rec.kernel == QCC_NONE
                           ? ""
                           : program.text(program.kernel(rec.kernel).name);
  qcc_site_info all{sizeof(all),          rec.entry,
                    rec.num_results,      program.text(rec.node),
                    program.text(rec.op), kernel};
  return copyOut(info, &all, sizeof(all)) ? QCC_OK : QCC_INVALID_ARGUMENT;
}

/// Fills `info` for the sizes that `symbols` gives.
static qcc_status needOf(const qcc_model &model,
                         const qcc_context_options &options, uint32_t entry,
                         const int64_t *symbols, qcc_memory_info &info,
                         ErrorText &error) {
  const ProgramView &program = model.program;
  ArenaLayout layout{};
  if (qcc_status status = planLayout(model, entry, symbols, layout, error))
    return status;
  info.arena_bytes = layout.arenaBytes;
  freeLayout(model, layout);
  info.scratch_bytes = scratchStride(model) * contextWorkers(model, options);
  info.weight_bytes = program.header().weights.bytes;
  for (uint32_t i = 0; i < program.header().states.count; ++i) {
    uint64_t bytes;
    if (program.tensorBytes(program.tensor(program.state(i).tensor), symbols,
                            bytes))
      info.state_bytes += bytes;
  }
  return QCC_OK;
}

static qcc_status memoryNeed(const qcc_model *model,
                             const qcc_context_options *given, uint32_t entry,
                             const DLTensor *const *inputs, uint32_t numInputs,
                             qcc_memory_info *info, char *errorText,
                             uint64_t errorTextSize) {
  qcc_context_options options;
  if (!model || !info || !copyIn(&options, sizeof(options), given))
    return QCC_INVALID_ARGUMENT;
  CallerText text(errorText, errorTextSize);
  const uint32_t numSymbols = model->program.header().symbols.count;
  if (entry >= model->program.header().entries.count)
    return text.error.fail(QCC_NOT_FOUND, "the model has no entry %u", entry);
  auto *symbols = model->memory.array<int64_t>(numSymbols);
  if (!symbols)
    return text.error.fail(QCC_OUT_OF_MEMORY, "no memory for %u sizes",
                           numSymbols);
  qcc_memory_info all{};
  qcc_status status = bindInputs(*model, entry, inputs, numInputs, false,
                                 symbols, nullptr, text.error);
  if (status == QCC_OK)
    status = needOf(*model, options, entry, symbols, all, text.error);
  model->memory.freeArray(symbols, numSymbols);
  if (status == QCC_OK && !copyOut(info, &all, sizeof(all)))
    return QCC_INVALID_ARGUMENT;
  return status;
}

//===----------------------------------------------------------------------===//
// Contexts
//===----------------------------------------------------------------------===//

static qcc_status contextCreate(qcc_model *model,
                                const qcc_context_options *given,
                                qcc_context **context) {
  qcc_context_options options;
  if (!model || !context || !copyIn(&options, sizeof(options), given))
    return QCC_INVALID_ARGUMENT;
  *context = nullptr;
  return createContext(model, options, *context);
}

static void contextDestroy(qcc_context *context) {
  if (context)
    destroyContext(context);
}

static const char *lastError(const qcc_context *context) {
  return context ? context->error.text() : "";
}

/// What every call that names an entry starts with.
static qcc_status begin(qcc_context *context, uint32_t entry) {
  if (!context)
    return QCC_INVALID_ARGUMENT;
  context->error.clear();
  if (entry >= context->model->program.header().entries.count)
    return context->error.fail(QCC_NOT_FOUND, "the model has no entry %u",
                               entry);
  return QCC_OK;
}

static qcc_status inferShapes(qcc_context *context, uint32_t entry,
                              const DLTensor *const *inputs, uint32_t numInputs,
                              DLTensor *const *outputs, uint32_t numOutputs) {
  if (qcc_status status = begin(context, entry))
    return status;
  const ProgramView &program = context->model->program;
  const qcc_entry_rec &rec = program.entry(entry);
  if (numOutputs != rec.num_outputs || (numOutputs != 0 && !outputs))
    return context->error.fail(
        QCC_INVALID_ARGUMENT, "entry '%s': expected %u outputs, but got %u",
        program.text(rec.name), rec.num_outputs, outputs ? numOutputs : 0);
  if (qcc_status status =
          bindInputs(*context->model, entry, inputs, numInputs, false,
                     context->symbols, nullptr, context->error))
    return status;
  for (uint32_t i = 0; i < numOutputs; ++i) {
    const qcc_tensor_rec &tensor = program.tensor(rec.first_output + i);
    int64_t shape[maxRank];
    if (!outputs[i] || (tensor.rank != 0 && !outputs[i]->shape))
      return context->error.fail(
          QCC_INVALID_ARGUMENT,
          "output '%s': expected room for its shape, but got NULL",
          program.text(tensor.name));
    if (!evaluateShape(program, tensor, context->symbols, shape))
      return context->error.fail(
          QCC_DATA_SHAPES,
          "output '%s': its shape depends on values of the inputs",
          program.text(tensor.name));
    void *data = outputs[i]->data;
    describeTensor(*outputs[i], tensor, shape);
    outputs[i]->data = data;
  }
  return QCC_OK;
}

static qcc_status run(qcc_context *context, uint32_t entry,
                      const DLTensor *const *inputs, uint32_t numInputs,
                      DLTensor *const *outputs, uint32_t numOutputs) {
  if (qcc_status status = begin(context, entry))
    return status;
  return runEntry(*context, entry, inputs, numInputs, outputs, numOutputs);
}

static void freeTensor(qcc_model *model, DLTensor *tensor) {
  if (!model || !tensor)
    return;
  int64_t count = 1;
  for (int32_t i = 0; i < tensor->ndim; ++i)
    count *= tensor->shape[i];
  uint64_t bytes = 0;
  elementBytes(count, tensor->dtype.bits, bytes);
  model->memory.free(tensor->data, bytes);
  tensor->data = nullptr;
}

static void cancel(qcc_context *context) {
  if (context)
    context->cancelled.store(1, std::memory_order_relaxed);
}

//===----------------------------------------------------------------------===//
// States and observers
//===----------------------------------------------------------------------===//

static qcc_status stateReset(qcc_context *context) {
  if (!context)
    return QCC_INVALID_ARGUMENT;
  context->error.clear();
  resetStates(*context);
  return QCC_OK;
}

/// The state and its record, or null with the error set.
static StateData *findState(qcc_context &context, uint32_t number,
                            const qcc_tensor_rec *&rec) {
  const ProgramView &program = context.model->program;
  context.error.clear();
  rec = findTensor(program, 0, QCC_STATE, number);
  if (!rec || !context.states[number].data) {
    context.error.fail(
        QCC_NOT_FOUND,
        "state %u does not exist, or has no size before the first run", number);
    return nullptr;
  }
  return &context.states[number];
}

static char *dataOf(const DLTensor &tensor) {
  return static_cast<char *>(tensor.data) + tensor.byte_offset;
}

static qcc_status stateGet(qcc_context *context, uint32_t number,
                           DLTensor *value) {
  if (!context)
    return QCC_INVALID_ARGUMENT;
  context->error.clear();
  if (!value)
    return context->error.fail(QCC_INVALID_ARGUMENT,
                               "expected a tensor, but got NULL");
  const qcc_tensor_rec *rec;
  StateData *state = findState(*context, number, rec);
  if (!state)
    return QCC_NOT_FOUND;
  if (value->data) {
    if (qcc_status status = checkTensor(*value, *rec, state->shape,
                                        "value of the state", context->error))
      return status;
  } else {
    if (rec->rank != 0 && !value->shape)
      return context->error.fail(
          QCC_INVALID_ARGUMENT,
          "value of the state: expected room for its shape");
    value->data = context->model->memory.allocate(state->bytes);
    if (!value->data)
      return context->error.fail(QCC_OUT_OF_MEMORY, "no memory for %llu bytes",
                                 (unsigned long long)state->bytes);
    describeTensor(*value, *rec, state->shape);
  }
  memcpy(dataOf(*value), state->data, state->bytes);
  return QCC_OK;
}

static qcc_status stateSet(qcc_context *context, uint32_t number,
                           const DLTensor *value) {
  if (!context)
    return QCC_INVALID_ARGUMENT;
  context->error.clear();
  if (!value)
    return context->error.fail(QCC_INVALID_ARGUMENT,
                               "expected a tensor, but got NULL");
  const qcc_tensor_rec *rec;
  StateData *state = findState(*context, number, rec);
  if (!state)
    return QCC_NOT_FOUND;
  if (qcc_status status = checkTensor(*value, *rec, state->shape,
                                      "value of the state", context->error))
    return status;
  if (state->bytes != 0)
    memcpy(state->data, dataOf(*value), state->bytes);
  return QCC_OK;
}

static qcc_status setObserver(qcc_context *context,
                              const qcc_observer *observer) {
  if (!context)
    return QCC_INVALID_ARGUMENT;
  context->error.clear();
  if (!copyIn(&context->observer, sizeof(qcc_observer), observer))
    return context->error.fail(
        QCC_INVALID_ARGUMENT,
        "expected an observer whose struct_size is that of its fields");
  return QCC_OK;
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

static const qcc_model_api api = {
    sizeof(qcc_model_api),
    1,
    0,
    open,
    close,
    modelInfo,
    entryInfo,
    findEntry,
    tensorInfo,
    symbolInfo,
    siteInfo,
    memoryNeed,
    contextCreate,
    contextDestroy,
    lastError,
    inferShapes,
    run,
    freeTensor,
    cancel,
    stateReset,
    stateGet,
    stateSet,
    setObserver,
};

const qcc_model_api *qcc_model_query_v1(uint32_t maxAbi, const qcc_host *host) {
  if (maxAbi >= api.abi_version)
    return &api;
  qcc_host copied;
  if (copyIn(&copied, sizeof(copied), host) && copied.log)
    copied.log(copied.user, QCC_LOG_ERROR,
               "expected a caller of interface version 1 or newer");
  return nullptr;
}
