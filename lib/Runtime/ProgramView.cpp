//===- ProgramView.cpp - checks and reads a program's blob ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "qcc/Runtime/ProgramView.h"

#include "qcc/Runtime/ArenaPlan.h"

#include <string.h>

using namespace qcc;
using namespace qcc::runtime;

bool runtime::elementBytes(int64_t count, uint32_t bits, uint64_t &bytes) {
  uint64_t total;
  if (count < 0 ||
      __builtin_mul_overflow(uint64_t(count), uint64_t(bits), &total))
    return false;
  bytes = total / 8 + (total % 8 != 0);
  return bytes <= maxBytes;
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

const char *ProgramView::open(const void *data, size_t size,
                              ProgramView &view) {
  if (!data || reinterpret_cast<uintptr_t>(data) % 8 != 0)
    return "the program is not aligned to 8 bytes";
  if (size < sizeof(qcc_program_v1))
    return "the program is shorter than its header";
  ProgramView opened;
  opened.base = static_cast<const char *>(data);
  opened.head = static_cast<const qcc_program_v1 *>(data);
  const qcc_program_v1 &header = *opened.head;
  if (header.magic != QCC_PROGRAM_MAGIC)
    return "the program has no QCCP mark";
  if (header.version != QCC_PROGRAM_VERSION)
    return "the program has another version than the runtime";
  if (header.total_size > size || header.header_size < sizeof(qcc_program_v1) ||
      header.header_size > header.total_size)
    return "the program's size is not that of its bytes";
  // Sections first: the others read through them.
  if (const char *text = opened.checkSections())
    return text;
  if (const char *text = opened.checkSizes())
    return text;
  if (const char *text = opened.checkTensors())
    return text;
  if (const char *text = opened.checkEntries())
    return text;
  if (const char *text = opened.checkCode())
    return text;
  view = opened;
  return nullptr;
}

static bool inRange(uint32_t first, uint32_t count,
                    const qcc_section &section) {
  return first <= section.count && count <= section.count - first;
}

bool ProgramView::isText(qcc_string string) const {
  return string.offset < head->total_size &&
         string.length < head->total_size - string.offset &&
         memchr(base + string.offset, 0, size_t(string.length) + 1) ==
             base + string.offset + string.length;
}

bool ProgramView::isSize(qcc_size size) const {
  return size >= 0 || uint64_t(~size) < head->exprs.count;
}

const char *ProgramView::checkSections() const {
  struct {
    const qcc_section &section;
    size_t recordSize;
  } const sections[] = {{head->exprs, sizeof(qcc_expr_rec)},
                        {head->expr_ops, sizeof(qcc_expr_op)},
                        {head->dims, sizeof(qcc_size)},
                        {head->symbols, sizeof(qcc_symbol_rec)},
                        {head->tensors, sizeof(qcc_tensor_rec)},
                        {head->buffers, sizeof(qcc_buffer_rec)},
                        {head->entries, sizeof(qcc_entry_rec)},
                        {head->states, sizeof(qcc_state_rec)},
                        {head->kernels, sizeof(qcc_kernel_rec)},
                        {head->results, sizeof(qcc_result_rec)},
                        {head->sites, sizeof(qcc_site_rec)},
                        {head->levels, sizeof(qcc_level_rec)}};
  for (const auto &[section, recordSize] : sections)
    if (section.offset % 8 != 0 || section.stride % 8 != 0 ||
        section.stride < recordSize || section.offset > head->total_size ||
        uint64_t(section.count) * section.stride >
            head->total_size - section.offset)
      return "a section of the program leaves its bytes";
  if (!isText(head->model_name) || !isText(head->producer) ||
      !isText(head->weights.file))
    return "a name of the program is not text";
  return nullptr;
}

bool ProgramView::isExpr(const qcc_expr_rec &expr) const {
  if (!inRange(expr.first, expr.count, head->expr_ops) ||
      expr.count > QCC_EXPR_MAX_OPS)
    return false;
  uint32_t depth = 0;
  for (uint32_t i = 0; i < expr.count; ++i) {
    const auto &op = record<qcc_expr_op>(head->expr_ops, expr.first + i);
    if (op.op == QCC_EXPR_SYMBOL && op.symbol >= head->symbols.count)
      return false;
    if (op.op == QCC_EXPR_CONST || op.op == QCC_EXPR_SYMBOL)
      ++depth;
    else if (op.op <= QCC_EXPR_MIN && depth >= 2)
      --depth;
    else
      return false;
    if (depth > QCC_EXPR_MAX_DEPTH)
      return false;
  }
  return depth == 1;
}

const char *ProgramView::checkSizes() const {
  for (uint32_t i = 0; i < head->exprs.count; ++i)
    if (!isExpr(record<qcc_expr_rec>(head->exprs, i)))
      return "a size expression of the program is malformed";
  for (uint32_t i = 0; i < head->dims.count; ++i)
    if (!isSize(record<qcc_size>(head->dims, i)))
      return "a dim of the program is no size";
  for (uint32_t i = 0; i < head->symbols.count; ++i)
    if (!isText(symbol(i).name) || symbol(i).min < 0 ||
        symbol(i).max < symbol(i).min)
      return "a symbol of the program is malformed";
  return nullptr;
}

const char *ProgramView::checkTensors() const {
  for (uint32_t i = 0; i < head->tensors.count; ++i) {
    const qcc_tensor_rec &rec = tensor(i);
    if (!isText(rec.name) || rec.lanes != 1 || rec.bits == 0 ||
        rec.bits > 128 || rec.rank > maxRank ||
        !inRange(rec.first_dim, rec.rank, head->dims))
      return "a tensor of the program is malformed";
  }
  for (uint32_t i = 0; i < head->states.count; ++i)
    if (state(i).tensor >= head->tensors.count ||
        state(i).init != QCC_STATE_ZERO)
      return "a state of the program is malformed";
  const qcc_weights_rec &weights = head->weights;
  bool aligned = weights.alignment >= 64 && weights.alignment <= 4096 &&
                 (weights.alignment & (weights.alignment - 1)) == 0 &&
                 weights.data_offset % 4096 == 0;
  const char *file = text(weights.file);
  if (!aligned || weights.bytes > maxBytes || weights.data_offset > maxBytes ||
      strchr(file, '/') || strcmp(file, ".") == 0 || strcmp(file, "..") == 0)
    return "the weights of the program are malformed";
  return nullptr;
}

const char *ProgramView::checkEntries() const {
  for (uint32_t i = 0; i < head->buffers.count; ++i) {
    const qcc_buffer_rec &rec = buffer(i);
    bool placed = rec.offset != QCC_NO_OFFSET;
    if (!isSize(rec.bytes) || rec.first_step > rec.last_step ||
        (placed && (rec.bytes < 0 || rec.offset % arenaAlignment != 0)))
      return "a buffer of the program is malformed";
  }
  if (head->entries.count == 0)
    return "the program has no entry";
  for (uint32_t i = 0; i < head->entries.count; ++i) {
    const qcc_entry_rec &rec = entry(i);
    if (!isText(rec.name) ||
        !inRange(rec.first_input, rec.num_inputs, head->tensors) ||
        !inRange(rec.first_output, rec.num_outputs, head->tensors) ||
        !inRange(rec.first_buffer, rec.num_buffers, head->buffers) ||
        rec.arena_bytes > arenaLimit)
      return "an entry of the program is malformed";
    for (uint32_t b = 0; b < rec.num_buffers && (rec.flags & QCC_ENTRY_STATIC);
         ++b) {
      const qcc_buffer_rec &placed = buffer(rec.first_buffer + b);
      if (placed.offset == QCC_NO_OFFSET || placed.offset > rec.arena_bytes ||
          uint64_t(placed.bytes) > rec.arena_bytes - placed.offset)
        return "a buffer of the program leaves its arena";
    }
  }
  return nullptr;
}

const char *ProgramView::checkCode() const {
  for (uint32_t i = 0; i < head->kernels.count; ++i)
    if (!isText(kernel(i).name) || kernel(i).scratch_bytes > maxBytes / 1024 ||
        kernel(i).num_bindings > maxBindings ||
        kernel(i).num_dims > maxBindings)
      return "a kernel of the program is malformed";
  for (uint32_t i = 0; i < head->results.count; ++i)
    if (result(i).tensor >= head->tensors.count)
      return "a result of the program is no tensor";
  for (uint32_t i = 0; i < head->sites.count; ++i) {
    const qcc_site_rec &rec = site(i);
    if (rec.entry >= head->entries.count ||
        (rec.kernel != QCC_NONE && rec.kernel >= head->kernels.count) ||
        !isText(rec.node) || !isText(rec.op) || !isSize(rec.flops) ||
        !isSize(rec.bytes) ||
        !inRange(rec.first_result, rec.num_results, head->results))
      return "a site of the program is malformed";
    uint32_t bindings =
        rec.kernel == QCC_NONE ? 0 : kernel(rec.kernel).num_bindings;
    for (uint32_t r = 0; r < rec.num_results; ++r)
      if (result(rec.first_result + r).binding >= bindings)
        return "a result of the program has no binding";
  }
  if (head->levels.count == 0)
    return "the program has no level";
  for (uint32_t i = 0; i < head->levels.count; ++i)
    if (!isText(level(i).name) ||
        level(i).features >> QCC_CPU_NUM_FEATURES != 0)
      return "a level of the program is malformed";
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// One operation on two numbers; false when it has no result.
static bool apply(uint32_t op, int64_t a, int64_t b, int64_t &result) {
  switch (op) {
  case QCC_EXPR_ADD:
    return !__builtin_add_overflow(a, b, &result);
  case QCC_EXPR_MUL:
    return !__builtin_mul_overflow(a, b, &result);
  case QCC_EXPR_MAX:
    result = a > b ? a : b;
    return true;
  case QCC_EXPR_MIN:
    result = a < b ? a : b;
    return true;
  default:
    break;
  }
  if (b <= 0)
    return false;
  int64_t floor = a / b - (a % b < 0);
  int64_t mod = a % b < 0 ? a % b + b : a % b;
  result = op == QCC_EXPR_MOD        ? mod
           : op == QCC_EXPR_FLOORDIV ? floor
                                     : floor + (mod != 0);
  return true;
}

bool ProgramView::evaluate(qcc_size size, const int64_t *symbols,
                           int64_t &value) const {
  if (size >= 0) {
    value = size;
    return true;
  }
  const auto &expr = record<qcc_expr_rec>(head->exprs, uint32_t(~size));
  int64_t stack[QCC_EXPR_MAX_DEPTH] = {0};
  uint32_t depth = 0;
  for (uint32_t i = 0; i < expr.count; ++i) {
    const auto &op = record<qcc_expr_op>(head->expr_ops, expr.first + i);
    // isExpr has seen to it that neither happens.
    bool push = op.op == QCC_EXPR_CONST || op.op == QCC_EXPR_SYMBOL;
    if (push ? depth >= QCC_EXPR_MAX_DEPTH : depth < 2)
      return false;
    if (op.op == QCC_EXPR_CONST) {
      stack[depth++] = op.value;
    } else if (op.op == QCC_EXPR_SYMBOL) {
      if (symbols[op.symbol] < 0)
        return false;
      stack[depth++] = symbols[op.symbol];
    } else {
      --depth;
      if (!apply(op.op, stack[depth - 1], stack[depth], stack[depth - 1]))
        return false;
    }
  }
  value = stack[0];
  return value >= 0;
}

uint32_t ProgramView::plainSymbol(qcc_size size) const {
  if (size >= 0)
    return QCC_NONE;
  const auto &expr = record<qcc_expr_rec>(head->exprs, uint32_t(~size));
  const auto &op = record<qcc_expr_op>(head->expr_ops, expr.first);
  return expr.count == 1 && op.op == QCC_EXPR_SYMBOL ? op.symbol : QCC_NONE;
}

bool ProgramView::tensorBytes(const qcc_tensor_rec &rec, const int64_t *symbols,
                              uint64_t &bytes) const {
  int64_t count = 1;
  bool empty = false;
  for (uint32_t i = 0; i < rec.rank; ++i) {
    int64_t value;
    if (!evaluate(dim(rec, i), symbols, value))
      return false;
    empty |= value == 0;
    // A zero elsewhere makes an overflow of the product harmless.
    if (value != 0 && __builtin_mul_overflow(count, value, &count))
      count = INT64_MAX;
  }
  return elementBytes(empty ? 0 : count, rec.bits, bytes);
}
