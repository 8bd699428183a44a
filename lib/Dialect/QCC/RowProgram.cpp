//===- RowProgram.cpp - bodies of generics on rows of f32 -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RowProgram.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/DenseMap.h"
#include <cstring>

using namespace mlir;
using namespace qcc;

static bool isF32(Value value) {
  return getElementTypeOrSelf(value.getType()).isF32();
}

std::optional<RowProgram> RowProgram::compile(GenericOp op) {
  if (op.isReduction() || !op.getWhole().empty() || !isF32(op.getResult()) ||
      !llvm::all_of(op.getInputs(), isF32))
    return std::nullopt;
  RowProgram program;
  llvm::DenseMap<Value, unsigned> numbers;
  auto add = [&](Value value) {
    numbers[value] = unsigned(program.registers.size());
    program.registers.emplace_back();
    return numbers[value];
  };
  for (BlockArgument argument : op.getBlock()->getArguments())
    add(argument);
  program.numInputs = unsigned(program.registers.size());
  for (Operation &inner : op.getBlock()->without_terminator()) {
    if (auto constant = dyn_cast<arith::ConstantOp>(inner)) {
      auto value = dyn_cast<FloatAttr>(constant.getValue());
      if (!value || !value.getType().isF32())
        return std::nullopt;
      unsigned result = add(constant.getResult());
      program.registers[result].fill(float(value.getValueAsDouble()));
      continue;
    }
    unsigned code = scalar::getCode(inner.getName().getStringRef());
    if ((code < scalar::AddF || code > scalar::DivF) ||
        inner.getNumOperands() != 2 ||
        !llvm::all_of(inner.getOperands(), isF32))
      return std::nullopt;
    unsigned left = numbers.at(inner.getOperand(0)),
             right = numbers.at(inner.getOperand(1));
    program.body.push_back({code, left, right, add(inner.getResult(0))});
  }
  program.yielded = numbers.at(op.getYielded());
  return program;
}

template <typename T>
static void copyElements(const char *from, int64_t step, int64_t count,
                         char *out) {
  // Addresses need not be aligned: bytes are those of a file.
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(out + i * int64_t(sizeof(T)),
                from + i * step * int64_t(sizeof(T)), sizeof(T));
}

void qcc::copyRow(const char *from, int64_t step, int64_t count,
                  int64_t elementBytes, char *out) {
  switch (elementBytes) {
  case 1:
    return copyElements<uint8_t>(from, step, count, out);
  case 2:
    return copyElements<uint16_t>(from, step, count, out);
  case 4:
    return copyElements<uint32_t>(from, step, count, out);
  case 8:
    return copyElements<uint64_t>(from, step, count, out);
  default:
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(out + i * elementBytes, from + i * step * elementBytes,
                  size_t(elementBytes));
  }
}

template <typename Combine>
static void combine(const float *left, const float *right, int64_t count,
                    float *out, Combine body) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = body(left[i], right[i]);
}

/// Bytes of an element.
static constexpr int64_t kBytes = sizeof(float);

void RowProgram::run(ArrayRef<RowOperand> inputs, int64_t count, char *out) {
  for (int64_t first = 0; first < count; first += kElements) {
    int64_t part = std::min(kElements, count - first);
    for (auto [i, input] : llvm::enumerate(inputs)) {
      copyElements<float>(input.data + first * input.step * kBytes, input.step,
                          part, reinterpret_cast<char *>(registers[i].data()));
    }
    for (const Instruction &inst : body) {
      const float *left = registers[inst.left].data(),
                  *right = registers[inst.right].data();
      float *result = registers[inst.result].data();
      switch (inst.code) {
      case scalar::AddF:
        combine(left, right, part, result, std::plus<float>());
        break;
      case scalar::SubF:
        combine(left, right, part, result, std::minus<float>());
        break;
      case scalar::MulF:
        combine(left, right, part, result, std::multiplies<float>());
        break;
      default:
        combine(left, right, part, result, std::divides<float>());
        break;
      }
    }
    std::memcpy(out + first * kBytes, registers[yielded].data(),
                size_t(part * kBytes));
  }
}
