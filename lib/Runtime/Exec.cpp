//===- Exec.cpp - runs entries and answers their calls ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Context.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

using namespace qcc::runtime;

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

namespace {

struct Place {
  char *data;
  uint64_t bytes;
};

} // namespace

/// The memory that a binding is in; no data when there is none.
static Place findSpace(const qcc_exec &x, const qcc_binding &binding) {
  const qcc_context &context = *x.context;
  const ProgramView &program = context.model->program;
  const qcc_entry_rec &entry = program.entry(x.entry);
  uint32_t i = binding.index;
  switch (binding.space) {
  case QCC_SPACE_ARENA:
    if (i < entry.num_buffers)
      return {context.arena + x.layout->offsets[i], x.layout->sizes[i]};
    break;
  case QCC_SPACE_WEIGHT:
    if (i == 0)
      return {context.model->weights.data(), program.header().weights.bytes};
    break;
  case QCC_SPACE_INPUT:
    if (i < entry.num_inputs)
      return {context.inputs[i].data, context.inputs[i].bytes};
    break;
  case QCC_SPACE_OUTPUT:
    if (i < entry.num_outputs && context.outputs[i].ready)
      return {context.outputs[i].data, context.outputs[i].bytes};
    break;
  case QCC_SPACE_STATE:
    if (i < program.header().states.count)
      return {context.states[i].data, context.states[i].bytes};
    break;
  case QCC_SPACE_HOST:
    if (i < x.numBlocks)
      return {x.blocks[i].data, x.blocks[i].bytes};
    break;
  default:
    break;
  }
  return {nullptr, 0};
}

/// The address of `bytes` bytes at a binding. A fault of the compiler becomes
/// an error instead of a write somewhere. An empty place may have no address.
static bool resolve(const qcc_exec &x, const qcc_binding &binding,
                    uint64_t bytes, char *&address) {
  Place place = findSpace(x, binding);
  if (binding.offset > place.bytes || bytes > place.bytes - binding.offset)
    return false;
  if (!place.data &&
      (place.bytes != 0 || bytes != 0 || binding.space == QCC_SPACE_OUTPUT))
    return false;
  address = place.data ? place.data + binding.offset : nullptr;
  return true;
}

static qcc_status failBinding(qcc_exec &x, uint32_t site) {
  const ProgramView &program = x.context->model->program;
  const char *node = site < program.header().sites.count
                         ? program.text(program.site(site).node)
                         : "";
  return x.status = x.context->error.fail(
             QCC_INTERNAL,
             "node '%s': a binding leaves the memory that it refers to", node);
}

static bool isCancelled(qcc_exec &x) {
  if (x.context->cancelled.load(std::memory_order_relaxed) == 0)
    return false;
  x.status = x.context->error.fail(QCC_CANCELLED, "the run was cancelled");
  return true;
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {

/// A dispatch as its workers see it. Chunks divide the tasks evenly.
struct Dispatch {
  qcc_kernel_fn kernel;
  void *const *bindings;
  const int64_t *dims;
  int64_t tasks;
  int64_t chunks;
  char *scratch;
  uint64_t scratchStride;
};

} // namespace

/// Default rounding, no exceptions, denormals kept: what the numerics contract
/// says, whatever the host's threads have set.
static constexpr uint32_t kernelControl = 0x1f80;

static void runChunk(void *arg, int64_t chunk, uint32_t worker) {
  const auto &dispatch = *static_cast<const Dispatch *>(arg);
  int64_t each = dispatch.tasks / dispatch.chunks,
          rest = dispatch.tasks % dispatch.chunks;
  int64_t begin = chunk * each + (chunk < rest ? chunk : rest);
  int64_t end = begin + each + (chunk < rest ? 1 : 0);
  uint32_t control = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(kernelControl);
  dispatch.kernel(dispatch.bindings, dispatch.dims, begin, end,
                  dispatch.scratch
                      ? dispatch.scratch + worker * dispatch.scratchStride
                      : nullptr);
  __builtin_ia32_ldmxcsr(control);
}

static void runTasks(qcc_exec &x, Dispatch &dispatch) {
  qcc_context &context = *x.context;
  qcc_model &model = *context.model;
  if (dispatch.tasks <= 0)
    return;
  if (context.maxWorkers == 1 || dispatch.tasks == 1) {
    dispatch.chunks = 1;
    runChunk(&dispatch, 0, 0);
    return;
  }
  // Several chunks per worker: the last one to finish is waited for.
  int64_t chunks = int64_t(context.maxWorkers) * 4;
  dispatch.chunks = dispatch.tasks < chunks ? dispatch.tasks : chunks;
  if (model.host.parallel_for)
    model.host.parallel_for(model.host.user, dispatch.chunks, runChunk,
                            &dispatch);
  else
    model.pool.run(dispatch.chunks, runChunk, &dispatch, context.maxWorkers,
                   x.pid);
}

static uint64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return uint64_t(time.tv_sec) * 1000000000 + uint64_t(time.tv_nsec);
}

static void reportProfile(qcc_exec &x, uint32_t number, uint64_t begin,
                          uint64_t end) {
  const qcc_context &context = *x.context;
  const ProgramView &program = context.model->program;
  const qcc_site_rec &site = program.site(number);
  qcc_profile_event event{sizeof(event), number, 0, begin, end, 0, 0};
  if (!program.evaluate(site.flops, context.symbols, event.flops))
    event.flops = 0;
  if (!program.evaluate(site.bytes, context.symbols, event.bytes))
    event.bytes = 0;
  context.observer.profile(context.observer.user, &event);
}

/// Shows what a dispatch computed.
static void reportTensors(qcc_exec &x, uint32_t number,
                          const qcc_binding *bindings) {
  const qcc_context &context = *x.context;
  const ProgramView &program = context.model->program;
  const qcc_site_rec &site = program.site(number);
  for (uint32_t r = 0; r < site.num_results; ++r) {
    const qcc_result_rec &result = program.result(site.first_result + r);
    const qcc_tensor_rec &rec = program.tensor(result.tensor);
    int64_t shape[maxRank];
    uint64_t bytes;
    char *data;
    if (!evaluateShape(program, rec, context.symbols, shape) ||
        !program.tensorBytes(rec, context.symbols, bytes) ||
        !resolve(x, bindings[result.binding], bytes, data))
      continue;
    DLTensor tensor;
    tensor.data = data;
    tensor.shape = shape;
    describeTensor(tensor, rec, shape);
    context.observer.tensor(context.observer.user, number,
                            program.text(rec.name), &tensor);
  }
}

static int32_t dispatchKernel(qcc_exec *x, uint32_t site, uint32_t kernel,
                              const qcc_binding *bindings, uint32_t numBindings,
                              const int64_t *dims, uint32_t numDims,
                              int64_t tasks) {
  if (x->status != QCC_OK || isCancelled(*x))
    return x->status;
  qcc_context &context = *x->context;
  const ProgramView &program = context.model->program;
  const qcc_program_v1 &header = program.header();
  if (kernel >= header.kernels.count || site >= header.sites.count ||
      program.kernel(kernel).num_bindings != numBindings ||
      program.kernel(kernel).num_dims != numDims ||
      program.site(site).kernel != kernel)
    return x->status = context.error.fail(
               QCC_INTERNAL, "a dispatch does not agree with its kernel");
  for (uint32_t i = 0; i < numBindings; ++i) {
    char *address;
    if (!resolve(*x, bindings[i], 0, address))
      return failBinding(*x, site);
    context.bindings[i] = address;
  }
  Dispatch dispatch{
      qcc_kernel_table[uint64_t(context.model->level) * header.kernels.count +
                       kernel],
      context.bindings,
      dims,
      tasks,
      1,
      context.scratch,
      context.scratchStride};
  if (!context.observer.profile) {
    runTasks(*x, dispatch);
  } else {
    uint64_t begin = now();
    runTasks(*x, dispatch);
    reportProfile(*x, site, begin, now());
  }
  if (context.observer.tensor)
    reportTensors(*x, site, bindings);
  return QCC_OK;
}

//===----------------------------------------------------------------------===//
// The other calls
//===----------------------------------------------------------------------===//

static int32_t observe(qcc_exec *x, uint32_t site, const qcc_binding *value,
                       int64_t count, uint32_t type) {
  if (x->status != QCC_OK || isCancelled(*x))
    return x->status;
  const qcc_observer &observer = x->context->observer;
  if (!observer.observe)
    return QCC_OK;
  DLDataType dtype = {uint8_t(type), uint8_t(type >> 8), uint16_t(type >> 16)};
  uint64_t bytes;
  char *data;
  if (!elementBytes(count, dtype.bits, bytes) ||
      !resolve(*x, *value, bytes, data))
    return failBinding(*x, site);
  observer.observe(observer.user, site, data, count, dtype);
  return QCC_OK;
}

static int32_t copyBytes(qcc_exec *x, const qcc_binding *to,
                         const qcc_binding *from, int64_t bytes) {
  if (x->status != QCC_OK || isCancelled(*x))
    return x->status;
  char *target, *source;
  if (bytes < 0 || !resolve(*x, *to, uint64_t(bytes), target) ||
      !resolve(*x, *from, uint64_t(bytes), source))
    return failBinding(*x, QCC_NONE);
  if (bytes != 0)
    memmove(target, source, size_t(bytes));
  return QCC_OK;
}

static int32_t failRun(qcc_exec *x, int32_t status, uint32_t site) {
  if (x->status != QCC_OK)
    return x->status;
  const ProgramView &program = x->context->model->program;
  const char *node = site < program.header().sites.count
                         ? program.text(program.site(site).node)
                         : "";
  const char *reason = status == QCC_BAD_DATA
                           ? "a value of its inputs is out of range"
                           : "it could not be computed";
  return x->status =
             x->context->error.fail(status == QCC_OK ? QCC_INTERNAL : status,
                                    "node '%s': %s", node, reason);
}

static int32_t refuseSizes(qcc_exec *x, int32_t status, const char *node,
                           uint32_t rule, int64_t got, int64_t wanted) {
  bool isTooShort = x->isTooShort && status == QCC_BAD_SHAPE;
  if (x->status != QCC_OK && !isTooShort)
    return x->status;
  ErrorText &error = x->context->error;
  if (status == QCC_OK)
    status = QCC_INTERNAL;
  // Sizes of the inputs of the entry, or what the node's own inputs say.
  const char *cause = isTooShort ? "the inputs are too short for it"
                      : status == QCC_BAD_SHAPE
                          ? "the shapes of the inputs do not fit each other"
                          : "its inputs do not fit each other";
  x->isTooShort = false;
  const char *start = *node ? "node '" : "", *end = *node ? "': " : "";
  switch (rule) {
  case QCC_SIZES_EQUAL:
    error.fail(status, "%s%s%s%s: expected equal sizes, but got %lld and %lld",
               start, node, end, cause, (long long)got, (long long)wanted);
    break;
  case QCC_SIZES_AT_LEAST:
    error.fail(status, "%s%s%s%s: expected %lld or more, but got %lld", start,
               node, end, cause, (long long)wanted, (long long)got);
    break;
  case QCC_SIZES_COUNTED:
    error.fail(status,
               "%s%s%sexpected a size that can be counted, but its inputs give "
               "one that is negative or too large",
               start, node, end);
    break;
  default:
    // What is checked here besides sizes is values.
    error.fail(status, "%s%s%s%s", start, node, end,
               status == QCC_BAD_SHAPE
                   ? cause
                   : "a value of its inputs is out of range");
  }
  return x->status = status;
}

/// Larger than anything that can be allocated: sums cannot overflow.
static constexpr int64_t blockLimit = int64_t(1) << 46;

static int32_t reserveBlock(qcc_exec *x, uint32_t number, int64_t bytes,
                            int32_t keep) {
  if (x->status != QCC_OK)
    return x->status;
  ErrorText &error = x->context->error;
  if (bytes < 0)
    return x->status = error.fail(
               QCC_BAD_DATA, "a size that was found at run time is negative or "
                             "too large to be counted");
  const Memory &memory = x->context->model->memory;
  bool exists = bytes <= blockLimit && growBlocks(*x, number);
  HostBlock *block = exists ? &x->blocks[number] : nullptr;
  if (block && uint64_t(bytes) <= block->allocated && block->data) {
    block->bytes = uint64_t(bytes);
    return QCC_OK;
  }
  uint64_t wanted = uint64_t(bytes);
  if (block && keep && wanted < block->allocated + block->allocated / 2)
    wanted = block->allocated + block->allocated / 2;
  void *data = block ? memory.allocate(wanted) : nullptr;
  if (!data)
    return x->status = error.fail(QCC_OUT_OF_MEMORY,
                                  "no memory for a value of %lld bytes",
                                  (long long)bytes);
  if (keep && block->bytes != 0)
    memcpy(data, block->data, block->bytes);
  memory.free(block->data, block->allocated);
  *block = {static_cast<char *>(data), uint64_t(bytes), wanted};
  return QCC_OK;
}

static int32_t releaseBlock(qcc_exec *x, uint32_t number) {
  if (x->status != QCC_OK || number >= x->numBlocks)
    return x->status;
  HostBlock &block = x->blocks[number];
  x->context->model->memory.free(block.data, block.allocated);
  block = {};
  return QCC_OK;
}

static int64_t readIndex(qcc_exec *x, const qcc_binding *value, int64_t element,
                         uint32_t type) {
  if (x->status != QCC_OK)
    return -1;
  uint32_t code = type & 0xff, bits = type >> 8 & 0xff;
  bool isInteger = code == kDLInt || code == kDLUInt || code == kDLBool;
  bool isWhole = bits == 8 || bits == 16 || bits == 32 || bits == 64;
  uint64_t start;
  char *data;
  qcc_binding at = *value;
  if (!isInteger || !isWhole || !elementBytes(element, bits, start) ||
      __builtin_add_overflow(at.offset, start, &at.offset) ||
      !resolve(*x, at, bits / 8, data)) {
    failBinding(*x, QCC_NONE);
    return -1;
  }
  uint64_t raw = 0;
  memcpy(&raw, data, bits / 8);
  // Signed ones are extended from their top bit.
  return code == kDLInt ? int64_t(raw << (64 - bits)) >> (64 - bits)
                        : int64_t(raw);
}

/// Symbols that are found at run time are named after their node, with a number
/// behind it (`Reshape_3#0`) that says nothing to a user.
static int32_t refuseValue(qcc_exec &x, const qcc_symbol_rec &symbol,
                           int64_t value) {
  const char *name = x.context->model->program.text(symbol.name);
  const char *mark = strrchr(name, '#');
  int length = int(mark ? mark - name : strlen(name));
  ErrorText &error = x.context->error;
  if (value == QCC_ZERO_STEP)
    return x.status = error.fail(
               QCC_BAD_DATA,
               "node '%.*s': expected a step other than 0, but got 0", length,
               name);
  // -1 also stands for sums that overflow and quotients of 0.
  return x.status =
             value < symbol.min
                 ? error.fail(QCC_BAD_DATA,
                              "node '%.*s': expected a size of %lld or more, "
                              "but its inputs give %lld, or none that can be "
                              "computed",
                              length, name, (long long)symbol.min,
                              (long long)value)
                 : error.fail(QCC_BAD_DATA,
                              "node '%.*s': expected a size of at most %lld, "
                              "but its inputs give %lld",
                              length, name, (long long)symbol.max,
                              (long long)value);
}

static int32_t bindSymbol(qcc_exec *x, uint32_t number, int64_t value) {
  if (x->status != QCC_OK)
    return x->status;
  qcc_context &context = *x->context;
  const ProgramView &program = context.model->program;
  if (number >= program.header().symbols.count ||
      !(program.symbol(number).flags & QCC_SYMBOL_RUNTIME))
    return x->status = context.error.fail(
               QCC_INTERNAL,
               "only sizes found at run time are bound by entries");
  const qcc_symbol_rec &symbol = program.symbol(number);
  if (value < symbol.min || value > symbol.max)
    return refuseValue(*x, symbol, value);
  context.symbols[number] = value;
  return QCC_OK;
}

static int32_t prepareOutput(qcc_exec *x, uint32_t number) {
  if (x->status != QCC_OK)
    return x->status;
  qcc_context &context = *x->context;
  if (number >= context.model->program.entry(x->entry).num_outputs)
    return x->status = context.error.fail(QCC_INTERNAL,
                                          "an entry has no output %u", number);
  if (!context.outputs[number].ready)
    x->status = bindOutput(context, x->entry, number, x->outputTensors[number],
                           context.outputs[number]);
  return x->status;
}

static const qcc_exec_table execTable = {sizeof(qcc_exec_table),
                                         dispatchKernel,
                                         observe,
                                         copyBytes,
                                         failRun,
                                         reserveBlock,
                                         readIndex,
                                         bindSymbol,
                                         prepareOutput,
                                         releaseBlock,
                                         refuseSizes};

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

/// Outputs whose dims are known now; the others wait for prepare_output.
static qcc_status bindOutputs(qcc_context &context, uint32_t entry,
                              DLTensor *const *outputs) {
  const ProgramView &program = context.model->program;
  const qcc_entry_rec &rec = program.entry(entry);
  int64_t shape[maxRank];
  for (uint32_t i = 0; i < rec.num_outputs; ++i) {
    if (!evaluateShape(program, program.tensor(rec.first_output + i),
                       context.symbols, shape))
      continue;
    if (qcc_status status =
            bindOutput(context, entry, i, outputs[i], context.outputs[i]))
      return status;
  }
  return QCC_OK;
}

/// Shapes have no layout. An entry that has failed already does nothing but
/// look at its checks, the first of which that is not kept names its node.
static qcc_status nameTooShort(qcc_context &context, uint32_t entry) {
  qcc_exec &x = context.exec;
  x.entry = entry;
  x.status = QCC_BAD_SHAPE;
  x.isTooShort = true;
  (void)qcc_entry_table[entry](&execTable, &x, context.symbols);
  x.isTooShort = false;
  return qcc_status(x.status);
}

static qcc_status callEntry(qcc_context &context, uint32_t entry,
                            DLTensor *const *outputs) {
  const qcc_entry_rec &rec = context.model->program.entry(entry);
  qcc_exec &x = context.exec;
  qcc_status status = prepareStates(context, context.symbols);
  if (status == QCC_OK)
    status = bindOutputs(context, entry, outputs);
  if (status != QCC_OK)
    return status;
  x.layout = findLayout(context, entry, context.symbols, status);
  if (status == QCC_BAD_SHAPE)
    return nameTooShort(context, entry);
  if (status == QCC_OK)
    status = growArena(context, x.layout->arenaBytes);
  if (status != QCC_OK)
    return status;
  x.entry = entry;
  x.status = QCC_OK;
  x.outputTensors = outputs;
  x.numBlocks = 0;
  x.pid = uint32_t(getpid());
  status = qcc_entry_table[entry](&execTable, &x, context.symbols);
  if (x.status != QCC_OK)
    status = x.status;
  for (uint32_t i = 0; i < x.numBlocks; ++i)
    context.model->memory.free(x.blocks[i].data, x.blocks[i].allocated);
  x.numBlocks = 0;
  for (uint32_t i = 0; status == QCC_OK && i < rec.num_outputs; ++i)
    if (!context.outputs[i].ready)
      status =
          context.error.fail(QCC_INTERNAL, "output %u was not computed", i);
  return status;
}

qcc_status qcc::runtime::runEntry(qcc_context &context, uint32_t entry,
                                  const DLTensor *const *inputs,
                                  uint32_t numInputs, DLTensor *const *outputs,
                                  uint32_t numOutputs) {
  const ProgramView &program = context.model->program;
  const qcc_entry_rec &rec = program.entry(entry);
  if (numOutputs != rec.num_outputs || (numOutputs != 0 && !outputs))
    return context.error.fail(
        QCC_INVALID_ARGUMENT, "entry '%s': expected %u outputs, but got %u",
        program.text(rec.name), rec.num_outputs, outputs ? numOutputs : 0);
  qcc_status status =
      bindInputs(*context.model, entry, inputs, numInputs, true,
                 context.symbols, context.inputs, context.error);
  if (status == QCC_OK) {
    for (uint32_t i = 0; i < numOutputs; ++i)
      context.outputs[i] = {};
    status = callEntry(context, entry, outputs);
    for (uint32_t i = 0; status != QCC_OK && i < numOutputs; ++i) {
      if (!context.outputs[i].owned)
        continue;
      context.model->memory.free(context.outputs[i].data,
                                 context.outputs[i].bytes);
      outputs[i]->data = nullptr;
    }
  }
  context.cancelled.store(0, std::memory_order_relaxed);
  return status;
}
