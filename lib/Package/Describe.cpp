//===- Describe.cpp - a program's interface as text -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Describe.h"
#include "qcc/Runtime/Program.h"
#include "qcc/Runtime/qcc.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include <cassert>
#include <cstring>

using namespace llvm;

namespace qcc {

namespace {

constexpr const char *kFeatureNames[QCC_CPU_NUM_FEATURES] = {
    "sse4.2",     "popcnt",     "movbe",      "lzcnt",       "bmi",
    "bmi2",       "avx",        "f16c",       "fma",         "avx2",
    "avxvnni",    "avx512f",    "avx512cd",   "avx512bw",    "avx512dq",
    "avx512vl",   "avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512bf16",
    "avx512fp16", "amx-tile",   "amx-int8",   "amx-bf16"};

std::string getTypeName(unsigned code, unsigned bits) {
  switch (code) {
  case kDLBool:
    return "bool";
  case kDLInt:
    return ("i" + Twine(bits)).str();
  case kDLUInt:
    return ("u" + Twine(bits)).str();
  case kDLBfloat:
    return ("bf" + Twine(bits)).str();
  case kDLFloat:
    return ("f" + Twine(bits)).str();
  case kDLFloat8_e4m3fn:
    return "f8e4m3fn";
  case kDLFloat8_e5m2:
    return "f8e5m2";
  default:
    return ("type" + Twine(code) + "." + Twine(bits)).str();
  }
}

/// Access to the records of a blob.
class Reader {
public:
  explicit Reader(ArrayRef<uint8_t> blob) : blob(blob), head() {
    assert(blob.size() >= sizeof(head) && "not a blob");
    memcpy(&head, blob.data(), sizeof(head));
  }

  template <typename Record>
  Record get(const qcc_section &section, uint32_t index) const {
    Record record = {};
    memcpy(&record, blob.data() + section.offset + index * section.stride,
           std::min<size_t>(sizeof(record), section.stride));
    return record;
  }

  std::string getString(qcc_string text) const {
    return StringRef(reinterpret_cast<const char *>(blob.data()) + text.offset,
                     text.length)
        .str();
  }

  std::string getSize(qcc_size size) const;
  TensorText getTensor(uint32_t index) const;
  EntryText getEntry(uint32_t index) const;
  const qcc_program_v1 &getHead() const { return head; }

private:
  ArrayRef<uint8_t> blob;
  qcc_program_v1 head;
};

/// Infix text of a size; operands that are sums are put in parentheses.
std::string Reader::getSize(qcc_size size) const {
  if (size >= 0)
    return std::to_string(size);
  auto expr = get<qcc_expr_rec>(head.exprs, static_cast<uint32_t>(~size));
  struct Part {
    std::string text;
    bool isAtom;
  };
  std::vector<Part> stack;
  auto wrap = [](const Part &part) {
    return part.isAtom ? part.text : "(" + part.text + ")";
  };
  for (uint32_t i = 0; i < expr.count; ++i) {
    auto op = get<qcc_expr_op>(head.expr_ops, expr.first + i);
    if (op.op == QCC_EXPR_CONST) {
      stack.push_back({std::to_string(op.value), op.value >= 0});
      continue;
    }
    if (op.op == QCC_EXPR_SYMBOL) {
      auto symbol = get<qcc_symbol_rec>(head.symbols, op.symbol);
      stack.push_back({getString(symbol.name), true});
      continue;
    }
    assert(stack.size() >= 2 && "the writer makes whole expressions");
    Part right = stack.back();
    stack.pop_back();
    Part left = stack.back();
    stack.pop_back();
    if (op.op == QCC_EXPR_MAX || op.op == QCC_EXPR_MIN) {
      stack.push_back({(op.op == QCC_EXPR_MAX ? "max(" : "min(") + left.text +
                           ", " + right.text + ")",
                       true});
      continue;
    }
    const char *sign = op.op == QCC_EXPR_ADD        ? " + "
                       : op.op == QCC_EXPR_MUL      ? " * "
                       : op.op == QCC_EXPR_FLOORDIV ? " floordiv "
                       : op.op == QCC_EXPR_CEILDIV  ? " ceildiv "
                                                    : " mod ";
    stack.push_back({wrap(left) + sign + wrap(right), false});
  }
  return stack.empty() ? "" : stack.back().text;
}

TensorText Reader::getTensor(uint32_t index) const {
  auto tensor = get<qcc_tensor_rec>(head.tensors, index);
  TensorText text{
      getString(tensor.name), getTypeName(tensor.code, tensor.bits), {}};
  for (uint32_t i = 0; i < tensor.rank; ++i)
    text.dims.push_back(
        getSize(get<qcc_size>(head.dims, tensor.first_dim + i)));
  return text;
}

EntryText Reader::getEntry(uint32_t index) const {
  auto entry = get<qcc_entry_rec>(head.entries, index);
  EntryText text;
  text.name = getString(entry.name);
  text.isStatic = entry.flags & QCC_ENTRY_STATIC;
  text.arenaBytes = entry.arena_bytes;
  for (uint32_t i = 0; i < entry.num_inputs; ++i)
    text.inputs.push_back(getTensor(entry.first_input + i));
  for (uint32_t i = 0; i < entry.num_outputs; ++i)
    text.outputs.push_back(getTensor(entry.first_output + i));
  return text;
}

} // namespace

ProgramText describeProgram(ArrayRef<uint8_t> blob) {
  Reader reader(blob);
  const qcc_program_v1 &head = reader.getHead();
  ProgramText text;
  for (uint32_t i = 0; i < head.entries.count; ++i)
    text.entries.push_back(reader.getEntry(i));
  for (uint32_t i = 0; i < head.states.count; ++i)
    text.states.push_back(
        reader.getTensor(reader.get<qcc_state_rec>(head.states, i).tensor));
  for (uint32_t i = 0; i < head.symbols.count; ++i) {
    auto symbol = reader.get<qcc_symbol_rec>(head.symbols, i);
    text.symbols.push_back(
        {reader.getString(symbol.name), symbol.min, symbol.max});
  }
  for (uint32_t i = 0; i < head.levels.count; ++i) {
    auto level = reader.get<qcc_level_rec>(head.levels, i);
    LevelText entry{reader.getString(level.name), {}};
    for (unsigned bit = 0; bit < QCC_CPU_NUM_FEATURES; ++bit)
      if (level.features >> bit & 1)
        entry.features.push_back(kFeatureNames[bit]);
    if (i == 0)
      text.lowestFeatures = level.features;
    text.levels.push_back(std::move(entry));
  }
  text.numKernels = head.kernels.count;
  text.numSites = head.sites.count;
  for (uint32_t i = 0; i < head.kernels.count; ++i)
    text.scratchBytes =
        std::max(text.scratchBytes,
                 reader.get<qcc_kernel_rec>(head.kernels, i).scratch_bytes);
  return text;
}

} // namespace qcc
