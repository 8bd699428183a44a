//===- Tensors.cpp - binds and checks inputs and outputs --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Context.h"

#include <stdio.h>
#include <string.h>

using namespace qcc::runtime;

//===----------------------------------------------------------------------===//
// One tensor
//===----------------------------------------------------------------------===//

bool qcc::runtime::evaluateShape(const ProgramView &program,
                                 const qcc_tensor_rec &tensor,
                                 const int64_t *symbols, int64_t *shape) {
  for (uint32_t i = 0; i < tensor.rank; ++i)
    if (!program.evaluate(program.dim(tensor, i), symbols, shape[i]))
      return false;
  return true;
}

void qcc::runtime::describeTensor(DLTensor &tensor, const qcc_tensor_rec &rec,
                                  const int64_t *shape) {
  tensor.device = {kDLCPU, 0};
  tensor.ndim = int32_t(rec.rank);
  tensor.dtype = {rec.code, rec.bits, rec.lanes};
  tensor.strides = nullptr;
  tensor.byte_offset = 0;
  if (rec.rank != 0 && tensor.shape != shape)
    memcpy(tensor.shape, shape, rec.rank * sizeof(int64_t));
}

/// Whether the elements lie one after another in row-major order.
static bool isDense(const DLTensor &tensor) {
  if (!tensor.strides)
    return true;
  for (int32_t i = 0; i < tensor.ndim; ++i)
    if (tensor.shape[i] == 0)
      return true;
  int64_t expected = 1;
  for (int32_t i = tensor.ndim; i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected)
      return false;
    if (__builtin_mul_overflow(expected, tensor.shape[i], &expected))
      return false;
  }
  return true;
}

static char *dataOf(const DLTensor &tensor) {
  return static_cast<char *>(tensor.data) + tensor.byte_offset;
}

/// Compares rank and pointers of the shape, which all else reads through.
static qcc_status checkRank(const DLTensor *tensor, const qcc_tensor_rec &rec,
                            const char *what, ErrorText &error) {
  if (!tensor)
    return error.fail(QCC_INVALID_ARGUMENT,
                      "%s: expected a tensor, but got NULL", what);
  if (tensor->ndim != int32_t(rec.rank))
    return error.fail(QCC_BAD_SHAPE, "%s: expected rank %u, but got %d", what,
                      rec.rank, int(tensor->ndim));
  if (rec.rank != 0 && !tensor->shape)
    return error.fail(QCC_INVALID_ARGUMENT,
                      "%s: expected a shape, but got NULL", what);
  return QCC_OK;
}

/// An element type in words: `float32`; types without a common name by their
/// number.
struct TypeText {
  explicit TypeText(DLDataType type) {
    static const char *const names[] = {"int",    "uint",    "float", "handle",
                                        "bfloat", "complex", "bool"};
    bool isKnown = type.code < sizeof(names) / sizeof(names[0]);
    const char *name = isKnown ? names[type.code] : "DLPack type ";
    if (type.lanes != 1)
      snprintf(text, sizeof(text), "%u lanes of DLPack type %u, %u bits",
               unsigned(type.lanes), unsigned(type.code), unsigned(type.bits));
    else if (type.code == kDLBool)
      snprintf(text, sizeof(text), "%s", name);
    else if (!isKnown)
      snprintf(text, sizeof(text), "%s%u of %u bits", name, unsigned(type.code),
               unsigned(type.bits));
    else
      snprintf(text, sizeof(text), "%s%u", name, unsigned(type.bits));
  }
  char text[64];
};

/// Compares everything but the shape; `bytes` is what the data must have.
static qcc_status checkData(const DLTensor &tensor, const qcc_tensor_rec &rec,
                            uint64_t bytes, const char *what,
                            ErrorText &error) {
  if (tensor.dtype.code != rec.code || tensor.dtype.bits != rec.bits ||
      tensor.dtype.lanes != rec.lanes)
    return error.fail(QCC_BAD_TYPE, "%s: expected %s, but got %s", what,
                      TypeText({rec.code, rec.bits, rec.lanes}).text,
                      TypeText(tensor.dtype).text);
  if (tensor.device.device_type != kDLCPU &&
      tensor.device.device_type != kDLCUDAHost)
    return error.fail(QCC_BAD_LAYOUT,
                      "%s: expected host memory, but got device type %d", what,
                      int(tensor.device.device_type));
  if (!isDense(tensor))
    return error.fail(
        QCC_BAD_LAYOUT,
        "%s: expected dense row-major strides: make it contiguous", what);
  if (bytes != 0 && !tensor.data)
    return error.fail(QCC_INVALID_ARGUMENT, "%s: expected data, but got NULL",
                      what);
  uint64_t element = rec.bits < 16 ? 1 : rec.bits / 8;
  if (bytes != 0 && reinterpret_cast<uintptr_t>(dataOf(tensor)) % element != 0)
    return error.fail(QCC_BAD_LAYOUT,
                      "%s: expected data aligned to its elements of %llu bytes",
                      what, (unsigned long long)element);
  return QCC_OK;
}

qcc_status qcc::runtime::checkTensor(const DLTensor &tensor,
                                     const qcc_tensor_rec &rec,
                                     const int64_t *shape, const char *what,
                                     ErrorText &error) {
  if (qcc_status status = checkRank(&tensor, rec, what, error))
    return status;
  int64_t count = 1;
  for (uint32_t i = 0; i < rec.rank; ++i) {
    if (tensor.shape[i] != shape[i])
      return error.fail(QCC_BAD_SHAPE,
                        "%s: expected dim %u to be %lld, but got %lld", what, i,
                        (long long)shape[i], (long long)tensor.shape[i]);
    // Sizes were checked when the shape was computed.
    count *= shape[i];
  }
  return checkData(tensor, rec, count == 0 ? 0 : 1, what, error);
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

namespace {

/// Binds the inputs of one run.
struct InputBinder {
  const qcc_model &model;
  const qcc_entry_rec &entry;
  int64_t *symbols;
  ErrorText &error;
  char what[256] = "";

  const qcc_tensor_rec &record(uint32_t i) {
    return model.program.tensor(entry.first_input + i);
  }

  void name(uint32_t i) {
    snprintf(what, sizeof(what), "input '%s'",
             model.program.text(record(i).name));
  }

  /// Dims that are a symbol alone give it its value.
  qcc_status bindSymbols(uint32_t i, const DLTensor &tensor) {
    const ProgramView &program = model.program;
    for (uint32_t d = 0; d < record(i).rank; ++d) {
      int64_t got = tensor.shape[d];
      uint32_t number = program.plainSymbol(program.dim(record(i), d));
      if (got < 0)
        return error.fail(QCC_BAD_SHAPE,
                          "%s: expected dim %u to be at least 0, but got %lld",
                          what, d, (long long)got);
      if (number == QCC_NONE)
        continue;
      const qcc_symbol_rec &symbol = program.symbol(number);
      const char *symbolName = program.text(symbol.name);
      if (symbols[number] >= 0 && symbols[number] != got)
        return error.fail(
            QCC_BAD_SHAPE,
            "%s: expected dim %u ('%s') to be %lld as elsewhere, but got %lld",
            what, d, symbolName, (long long)symbols[number], (long long)got);
      if (got < symbol.min || got > symbol.max) {
        if (symbol.max == INT64_MAX)
          return error.fail(
              QCC_BAD_SHAPE,
              "%s: expected dim %u ('%s') to be at least %lld, but got %lld",
              what, d, symbolName, (long long)symbol.min, (long long)got);
        return error.fail(
            QCC_BAD_SHAPE,
            "%s: expected dim %u ('%s') from %lld to %lld, but got %lld", what,
            d, symbolName, (long long)symbol.min, (long long)symbol.max,
            (long long)got);
      }
      symbols[number] = got;
    }
    return QCC_OK;
  }

  /// All other dims are compared with what they must be.
  qcc_status checkDims(uint32_t i, const DLTensor &tensor, uint64_t &bytes) {
    const ProgramView &program = model.program;
    for (uint32_t d = 0; d < record(i).rank; ++d) {
      int64_t expected;
      if (!program.evaluate(program.dim(record(i), d), symbols, expected))
        return error.fail(QCC_BAD_SHAPE,
                          "%s: dim %u has no valid size for these inputs", what,
                          d);
      if (tensor.shape[d] != expected)
        return error.fail(QCC_BAD_SHAPE,
                          "%s: expected dim %u to be %lld, but got %lld", what,
                          d, (long long)expected, (long long)tensor.shape[d]);
    }
    if (!program.tensorBytes(record(i), symbols, bytes))
      return error.fail(QCC_BAD_SHAPE, "%s: the shape has too many elements",
                        what);
    return QCC_OK;
  }
};

} // namespace

qcc_status qcc::runtime::bindInputs(const qcc_model &model, uint32_t entry,
                                    const DLTensor *const *inputs,
                                    uint32_t count, bool withData,
                                    int64_t *symbols, BoundTensor *bound,
                                    ErrorText &error) {
  InputBinder binder{model, model.program.entry(entry), symbols, error};
  if (count != binder.entry.num_inputs || (count != 0 && !inputs))
    return error.fail(QCC_INVALID_ARGUMENT,
                      "entry '%s': expected %u inputs, but got %u",
                      model.program.text(binder.entry.name),
                      binder.entry.num_inputs, inputs ? count : 0);
  for (uint32_t i = 0; i < model.program.header().symbols.count; ++i)
    symbols[i] = -1;
  for (uint32_t i = 0; i < count; ++i) {
    binder.name(i);
    qcc_status status =
        checkRank(inputs[i], binder.record(i), binder.what, error);
    if (status == QCC_OK)
      status = binder.bindSymbols(i, *inputs[i]);
    if (status != QCC_OK)
      return status;
  }
  for (uint32_t i = 0; i < count; ++i) {
    binder.name(i);
    uint64_t bytes = 0;
    qcc_status status = binder.checkDims(i, *inputs[i], bytes);
    if (status == QCC_OK && withData)
      status =
          checkData(*inputs[i], binder.record(i), bytes, binder.what, error);
    if (status != QCC_OK)
      return status;
    if (withData)
      bound[i] = {dataOf(*inputs[i]), bytes, false, true};
  }
  return QCC_OK;
}

//===----------------------------------------------------------------------===//
// Outputs
//===----------------------------------------------------------------------===//

static bool overlap(const BoundTensor &a, const BoundTensor &b) {
  return a.bytes != 0 && b.bytes != 0 && a.data < b.data + b.bytes &&
         b.data < a.data + a.bytes;
}

/// Outputs of the caller must not lie in what is read, or be written twice.
static qcc_status checkOverlap(qcc_context &context, const qcc_entry_rec &entry,
                               const BoundTensor &bound, const char *what) {
  for (uint32_t i = 0; i < entry.num_inputs; ++i)
    if (overlap(bound, context.inputs[i]))
      return context.error.fail(QCC_BAD_LAYOUT, "%s overlaps input %u", what,
                                i);
  for (uint32_t i = 0; i < entry.num_outputs; ++i)
    if (context.outputs[i].ready && overlap(bound, context.outputs[i]))
      return context.error.fail(QCC_BAD_LAYOUT, "%s overlaps output %u", what,
                                i);
  return QCC_OK;
}

qcc_status qcc::runtime::bindOutput(qcc_context &context, uint32_t number,
                                    uint32_t i, DLTensor *output,
                                    BoundTensor &bound) {
  const ProgramView &program = context.model->program;
  const qcc_entry_rec &entry = program.entry(number);
  const qcc_tensor_rec &rec = program.tensor(entry.first_output + i);
  char what[256];
  snprintf(what, sizeof(what), "output '%s'", program.text(rec.name));
  int64_t shape[maxRank];
  uint64_t bytes;
  if (!evaluateShape(program, rec, context.symbols, shape) ||
      !program.tensorBytes(rec, context.symbols, bytes))
    return context.error.fail(QCC_BAD_SHAPE,
                              "%s: has no valid size for these inputs", what);
  if (!output)
    return context.error.fail(QCC_INVALID_ARGUMENT,
                              "%s: expected a tensor, but got NULL", what);
  if (output->data) {
    if (qcc_status status =
            checkTensor(*output, rec, shape, what, context.error))
      return status;
    bound = {dataOf(*output), bytes, false, false};
    if (qcc_status status = checkOverlap(context, entry, bound, what))
      return status;
    bound.ready = true;
    return QCC_OK;
  }
  if (rec.rank != 0 && !output->shape)
    return context.error.fail(QCC_INVALID_ARGUMENT,
                              "%s: expected room for its shape, but got NULL",
                              what);
  void *data = context.model->memory.allocate(bytes);
  if (!data)
    return context.error.fail(QCC_OUT_OF_MEMORY, "%s: no memory for %llu bytes",
                              what, (unsigned long long)bytes);
  describeTensor(*output, rec, shape);
  output->data = data;
  bound = {static_cast<char *>(data), bytes, true, true};
  return QCC_OK;
}
