//===- Context.cpp - arena, scratch and states ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Context.h"

#include "qcc/Runtime/ArenaPlan.h"

#include <new>
#include <string.h>

using namespace qcc;
using namespace qcc::runtime;

uint32_t runtime::contextWorkers(const qcc_model &model,
                                 const qcc_context_options &options) {
  return options.max_workers != 0 && options.max_workers < model.maxWorkers
             ? options.max_workers
             : model.maxWorkers;
}

uint64_t runtime::scratchStride(const qcc_model &model) {
  return (model.scratchBytes + 127) / 128 * 128;
}

/// Everything of a new context whose size does not depend on inputs.
static bool fill(qcc_context &context) {
  const qcc_model &model = *context.model;
  const qcc_program_v1 &header = model.program.header();
  const Memory &memory = model.memory;
  context.scratchStride = scratchStride(model);
  context.states = memory.array<StateData>(header.states.count);
  context.symbols = memory.array<int64_t>(header.symbols.count);
  context.bindings = memory.array<void *>(model.maxBindings);
  context.inputs = memory.array<BoundTensor>(model.maxInputs);
  context.outputs = memory.array<BoundTensor>(model.maxOutputs);
  if (context.scratchStride != 0)
    context.scratch = static_cast<char *>(
        memory.allocate(context.scratchStride * context.maxWorkers, 4096));
  if (!context.states || !context.symbols || !context.bindings ||
      !context.inputs || !context.outputs ||
      (context.scratchStride != 0 && !context.scratch))
    return false;
  for (uint32_t i = 0; i < header.symbols.count; ++i)
    context.symbols[i] = -1;
  return prepareStates(context, context.symbols) == QCC_OK;
}

qcc_status runtime::createContext(qcc_model *model,
                                  const qcc_context_options &options,
                                  qcc_context *&context) {
  void *memory = model->memory.allocate(sizeof(qcc_context));
  if (!memory)
    return QCC_OUT_OF_MEMORY;
  auto *created = new (memory) qcc_context();
  created->model = model;
  created->maxWorkers = contextWorkers(*model, options);
  created->exec.context = created;
  model->contexts.fetch_add(1, std::memory_order_relaxed);
  if (!fill(*created)) {
    destroyContext(created);
    return QCC_OUT_OF_MEMORY;
  }
  context = created;
  return QCC_OK;
}

void runtime::destroyContext(qcc_context *context) {
  qcc_model *model = context->model;
  const qcc_program_v1 &header = model->program.header();
  const Memory &memory = model->memory;
  for (uint32_t i = 0; context->states && i < header.states.count; ++i)
    memory.free(context->states[i].data, context->states[i].allocated);
  for (ArenaLayout &layout : context->layouts)
    freeLayout(*model, layout);
  memory.free(context->arena, context->arenaBytes);
  memory.free(context->scratch, context->scratchStride * context->maxWorkers);
  memory.freeArray(context->states, header.states.count);
  memory.freeArray(context->symbols, header.symbols.count);
  memory.freeArray(context->bindings, model->maxBindings);
  memory.freeArray(context->inputs, model->maxInputs);
  memory.freeArray(context->outputs, model->maxOutputs);
  memory.freeArray(context->exec.blocks, context->exec.maxBlocks);
  memory.free(context, sizeof(qcc_context));
  model->contexts.fetch_sub(1, std::memory_order_release);
}

//===----------------------------------------------------------------------===//
// The arena
//===----------------------------------------------------------------------===//

/// Sizes of the buffers of an entry. QCC_OUT_OF_MEMORY when one is not known or
/// too large, QCC_BAD_SHAPE when one is negative, as behind windows that are
/// longer than an input.
static qcc_status bufferSizes(const ProgramView &program,
                              const qcc_entry_rec &entry,
                              const int64_t *symbols, ArenaBuffer *buffers) {
  for (uint32_t i = 0; i < entry.num_buffers; ++i) {
    const qcc_buffer_rec &rec = program.buffer(entry.first_buffer + i);
    int64_t bytes = 0;
    if (!program.evaluate(rec.bytes, symbols, bytes))
      return bytes < 0 ? QCC_BAD_SHAPE : QCC_OUT_OF_MEMORY;
    buffers[i] = {uint64_t(bytes), rec.first_step, rec.last_step, rec.offset};
  }
  return QCC_OK;
}

qcc_status runtime::planLayout(const qcc_model &model, uint32_t number,
                               const int64_t *symbols, ArenaLayout &layout,
                               ErrorText &error) {
  const ProgramView &program = model.program;
  const qcc_entry_rec &entry = program.entry(number);
  uint32_t count = entry.num_buffers,
           numSymbols = program.header().symbols.count;
  uint64_t kept = (numSymbols + 2 * uint64_t(count)) * 8;
  uint64_t working = count * (sizeof(ArenaBuffer) + sizeof(uint32_t));
  auto *block = static_cast<char *>(model.memory.allocate(kept));
  auto *buffers = static_cast<ArenaBuffer *>(model.memory.allocate(working));
  auto *order = reinterpret_cast<uint32_t *>(buffers + count);
  uint64_t arenaBytes = entry.arena_bytes;
  if (!block || !buffers) {
    model.memory.free(buffers, working);
    model.memory.free(block, kept);
    return error.fail(QCC_OUT_OF_MEMORY,
                      "no memory to plan the arena of entry '%s'",
                      program.text(entry.name));
  }
  qcc_status status = bufferSizes(program, entry, symbols, buffers);
  if (status == QCC_OK && !(entry.flags & QCC_ENTRY_STATIC) &&
      !planArena(buffers, count, order, arenaBytes))
    status = QCC_OUT_OF_MEMORY;
  if (status != QCC_OK) {
    model.memory.free(buffers, working);
    model.memory.free(block, kept);
    return error.fail(
        status,
        status == QCC_BAD_SHAPE
            ? "the inputs of entry '%s' are too short: a size that the model "
              "computes from theirs is negative"
            : "the arena of entry '%s' is too large for these shapes",
        program.text(entry.name));
  }
  auto *values = reinterpret_cast<int64_t *>(block);
  auto *offsets = reinterpret_cast<uint64_t *>(values + numSymbols);
  if (numSymbols != 0)
    memcpy(values, symbols, numSymbols * sizeof(int64_t));
  for (uint32_t i = 0; i < count; ++i) {
    offsets[i] = buffers[i].offset;
    offsets[count + i] = buffers[i].bytes;
  }
  model.memory.free(buffers, working);
  layout = {number, 0, arenaBytes, kept, values, offsets, offsets + count};
  return QCC_OK;
}

void runtime::freeLayout(const qcc_model &model, ArenaLayout &layout) {
  model.memory.free(const_cast<int64_t *>(layout.symbols), layout.allocated);
  layout = {};
}

const ArenaLayout *runtime::findLayout(qcc_context &context, uint32_t entry,
                                       const int64_t *symbols,
                                       qcc_status &status) {
  const uint64_t symbolBytes =
      context.model->program.header().symbols.count * sizeof(int64_t);
  ArenaLayout *oldest = context.layouts;
  ++context.uses;
  for (ArenaLayout &layout : context.layouts) {
    if (layout.symbols && layout.entry == entry &&
        memcmp(layout.symbols, symbols, symbolBytes) == 0) {
      layout.lastUse = context.uses;
      return &layout;
    }
    // Unused ones have 0, the least.
    if (layout.lastUse < oldest->lastUse)
      oldest = &layout;
  }
  freeLayout(*context.model, *oldest);
  status = planLayout(*context.model, entry, symbols, *oldest, context.error);
  if (status != QCC_OK)
    return nullptr;
  oldest->lastUse = context.uses;
  return oldest;
}

qcc_status runtime::growArena(qcc_context &context, uint64_t bytes) {
  if (bytes <= context.arenaBytes)
    return QCC_OK;
  const Memory &memory = context.model->memory;
  memory.free(context.arena, context.arenaBytes);
  context.arenaBytes = 0;
  context.arena = static_cast<char *>(memory.allocate(bytes, 4096));
  if (!context.arena)
    return context.error.fail(QCC_OUT_OF_MEMORY,
                              "no memory for an arena of %llu bytes",
                              (unsigned long long)bytes);
  context.arenaBytes = bytes;
  return QCC_OK;
}

bool runtime::growBlocks(qcc_exec &x, uint32_t number) {
  const Memory &memory = x.context->model->memory;
  if (number >= x.maxBlocks) {
    uint32_t count = x.maxBlocks < 8 ? 16 : 2 * x.maxBlocks;
    count = number < count ? count : number + 1;
    auto *blocks =
        number < (1u << 30) ? memory.array<HostBlock>(count) : nullptr;
    if (!blocks)
      return false;
    if (x.numBlocks != 0)
      memcpy(blocks, x.blocks, x.numBlocks * sizeof(HostBlock));
    memory.freeArray(x.blocks, x.maxBlocks);
    x.blocks = blocks;
    x.maxBlocks = count;
  }
  for (; x.numBlocks <= number; ++x.numBlocks)
    x.blocks[x.numBlocks] = {};
  return true;
}

//===----------------------------------------------------------------------===//
// States
//===----------------------------------------------------------------------===//

qcc_status runtime::prepareStates(qcc_context &context,
                                  const int64_t *symbols) {
  const ProgramView &program = context.model->program;
  for (uint32_t i = 0; i < program.header().states.count; ++i) {
    const qcc_tensor_rec &tensor = program.tensor(program.state(i).tensor);
    StateData &state = context.states[i];
    uint64_t bytes;
    if (!program.tensorBytes(tensor, symbols, bytes))
      continue; // Of another entry: its symbols are not bound.
    if (state.data && state.bytes != bytes)
      return context.error.fail(QCC_BAD_SHAPE,
                                "expected state '%s' to keep its %llu bytes, "
                                "but these inputs give it %llu: reset the "
                                "states first",
                                program.text(tensor.name),
                                (unsigned long long)state.bytes,
                                (unsigned long long)bytes);
    if (state.data)
      continue;
    state.data = static_cast<char *>(context.model->memory.allocate(bytes));
    if (!state.data)
      return context.error.fail(
          QCC_OUT_OF_MEMORY, "no memory for state '%s' of %llu bytes",
          program.text(tensor.name), (unsigned long long)bytes);
    memset(state.data, 0, bytes);
    state.bytes = state.allocated = bytes;
    evaluateShape(program, tensor, symbols, state.shape);
  }
  return QCC_OK;
}

void runtime::resetStates(qcc_context &context) {
  const ProgramView &program = context.model->program;
  for (uint32_t i = 0; i < program.header().states.count; ++i) {
    StateData &state = context.states[i];
    const qcc_tensor_rec &tensor = program.tensor(program.state(i).tensor);
    bool constant = true;
    for (uint32_t d = 0; d < tensor.rank; ++d)
      constant &= program.dim(tensor, d) >= 0;
    if (constant && state.data) {
      memset(state.data, 0, state.bytes);
      continue;
    }
    context.model->memory.free(state.data, state.allocated);
    state = {};
  }
}
