//===- ScalarProgram.cpp - interpreter for bodies of generics ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ScalarProgram.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::scalar;

/// Regions nest at most this deep in a body.
static constexpr unsigned kMaxDepth = 32;

TensorView::TensorView(const char *data, RankedTensorType type)
    : data(data), elementType(type.getElementType()),
      elementBytes(getElementBytes(elementType)), shape(type.getShape()),
      strides(type.getRank(), 1) {
  for (int64_t i = type.getRank() - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * shape[i + 1];
}

//===----------------------------------------------------------------------===//
// Translation
//===----------------------------------------------------------------------===//

unsigned ScalarProgram::getRegister(Value value) {
  auto [entry, isNew] = registers.try_emplace(value, values.size());
  if (isNew)
    values.push_back(Scalar{});
  return entry->second;
}

llvm::Error ScalarProgram::compileOp(Operation &op, Block &out,
                                     unsigned depth) {
  Instruction inst;
  inst.op = &op;
  inst.code = getCode(op.getName().getStringRef());
  if (inst.code == Unknown)
    return makeError(Diag::Internal, "",
                     "cannot evaluate '" + op.getName().getStringRef() +
                         "' in a constant expression");
  if (inst.code == Read) {
    inst.immediate = tensors.lookup(cast<ReadOp>(op).getTensor());
    for (Value index : cast<ReadOp>(op).getIndices())
      inst.operands.push_back(getRegister(index));
  } else {
    for (Value operand : op.getOperands())
      inst.operands.push_back(getRegister(operand));
  }
  for (Value result : op.getResults())
    inst.results.push_back(getRegister(result));
  Type type = op.getNumOperands()
                  ? op.getOperand(op.getNumOperands() - 1).getType()
                  : op.getResult(0).getType();
  if (type.isIntOrIndexOrFloat()) {
    inst.bits = getBits(type);
    inst.isDouble = type.isF64();
  }
  if (inst.code == CmpF)
    inst.predicate = unsigned(cast<arith::CmpFOp>(op).getPredicate());
  if (inst.code == CmpI)
    inst.predicate = unsigned(cast<arith::CmpIOp>(op).getPredicate());
  if (inst.code >= ExtF && inst.code <= Bitcast) {
    inst.from = op.getOperand(0).getType();
    inst.to = op.getResult(0).getType();
  }
  if (inst.code == Index)
    inst.immediate = cast<IndexOp>(op).getDim();
  if (inst.code == Extent) {
    auto size = getConstantSize(cast<ExtentOp>(op).getExpr().getResult(0));
    if (!size)
      return makeError(Diag::Internal, "", "a constant of symbolic size");
    inst.immediate = *size;
  }
  if (auto loop = dyn_cast<scf::ForOp>(op))
    for (BlockArgument arg : loop.getBody()->getArguments())
      inst.arguments.push_back(getRegister(arg));
  for (Region &region : op.getRegions()) {
    inst.blocks.emplace_back();
    inst.yields.emplace_back();
    if (!region.empty())
      if (llvm::Error error = compileBlock(region.front(), inst.blocks.back(),
                                           inst.yields.back(), depth + 1))
        return error;
  }
  if (inst.code == Constant) {
    auto value = cast<arith::ConstantOp>(op).getValue();
    Scalar &s = values[inst.results[0]];
    if (auto real = dyn_cast<FloatAttr>(value)) {
      if (real.getType().isF64())
        s.d = real.getValueAsDouble();
      else
        s.f = static_cast<float>(real.getValueAsDouble());
    } else {
      s.i = cast<IntegerAttr>(value).getValue().getSExtValue();
    }
    return llvm::Error::success(); // its register never changes
  }
  out.push_back(std::move(inst));
  return llvm::Error::success();
}

llvm::Error ScalarProgram::compileBlock(mlir::Block &block, Block &out,
                                        std::vector<unsigned> &yields,
                                        unsigned depth) {
  if (depth > kMaxDepth)
    return makeError(Diag::LimitReached, "", "a body is nested too deeply");
  for (Operation &op : block.without_terminator())
    if (llvm::Error error = compileOp(op, out, depth))
      return error;
  for (Value value : block.getTerminator()->getOperands())
    yields.push_back(getRegister(value));
  return llvm::Error::success();
}

llvm::Expected<ScalarProgram> ScalarProgram::compile(GenericOp op) {
  ScalarProgram program;
  program.numInputs = op.getInputs().size();
  for (BlockArgument arg : op.getBlock()->getArguments()) {
    if (arg.getArgNumber() < program.numInputs)
      program.getRegister(arg);
    else
      program.tensors[arg] = arg.getArgNumber() - program.numInputs;
  }
  if (llvm::Error error = program.compileBlock(*op.getBlock(), program.body,
                                               program.yielded, 0))
    return std::move(error);
  return std::move(program);
}

//===----------------------------------------------------------------------===//
// Execution
//===----------------------------------------------------------------------===//

bool ScalarProgram::runRead(const Instruction &inst) {
  const TensorView &view = currentWhole[inst.immediate];
  int64_t offset = 0;
  for (auto [i, reg] : llvm::enumerate(inst.operands)) {
    int64_t index = values[reg].i;
    if (index < 0 || index >= view.shape[i])
      return false;
    offset += index * view.strides[i];
  }
  values[inst.results[0]] =
      loadScalar(view.data + offset * view.elementBytes, view.elementType);
  return true;
}

bool ScalarProgram::runLoop(const Instruction &inst) {
  int64_t lower = values[inst.operands[0]].i,
          upper = values[inst.operands[1]].i, step = values[inst.operands[2]].i;
  for (size_t i = 1; i < inst.arguments.size(); ++i)
    values[inst.arguments[i]] = values[inst.operands[i + 2]];
  llvm::SmallVector<Scalar, 4> next(inst.results.size());
  for (int64_t iv = lower; step > 0 && iv < upper; iv += step) {
    values[inst.arguments[0]].i = iv;
    if (!runBlock(inst.blocks[0]))
      return false;
    for (auto [i, reg] : llvm::enumerate(inst.yields[0]))
      next[i] = values[reg];
    for (auto [i, value] : llvm::enumerate(next))
      values[inst.arguments[i + 1]] = value;
  }
  for (auto [i, reg] : llvm::enumerate(inst.results))
    values[reg] = values[inst.arguments[i + 1]];
  return true;
}

bool ScalarProgram::runBlock(const Block &block) {
  for (const Instruction &inst : block) {
    auto operand = [&](unsigned i) {
      return i < inst.operands.size() ? values[inst.operands[i]] : Scalar{};
    };
    Scalar a = operand(0), b = operand(1), c = operand(2), r;
    r.i = 0;
    switch (inst.code) {
    case Index:
      r.i = currentPoint[inst.immediate];
      break;
    case Extent:
      r.i = inst.immediate;
      break;
    case Read:
      if (!runRead(inst))
        return false;
      continue;
    case If: {
      unsigned taken = a.i & 1 ? 0 : 1;
      if (!runBlock(inst.blocks[taken]))
        return false;
      for (auto [i, reg] : llvm::enumerate(inst.results))
        values[reg] = values[inst.yields[taken][i]];
      continue;
    }
    case For:
      if (!runLoop(inst))
        return false;
      continue;
    default:
      r = inst.run(a, b, c);
      break;
    }
    values[inst.results[0]] = r;
  }
  return true;
}

bool ScalarProgram::run(ArrayRef<Scalar> inputs, ArrayRef<TensorView> whole,
                        ArrayRef<int64_t> point, Scalar &result) {
  for (unsigned i = 0; i < numInputs; ++i)
    values[i] = inputs[i];
  currentWhole = whole;
  currentPoint = point;
  if (!runBlock(body))
    return false;
  result = values[yielded[0]];
  return true;
}

bool ScalarProgram::isStraight() const {
  return llvm::none_of(body, [](const Instruction &inst) {
    return inst.code == Read || inst.code == If || inst.code == For;
  });
}

const ScalarProgram::Batch &ScalarProgram::runBatch(ArrayRef<Batch> inputs,
                                                    ArrayRef<Batch> points,
                                                    int64_t count) {
  if (batches.empty()) {
    batches.resize(values.size());
    // Registers of constants never change.
    for (auto [batch, value] : llvm::zip_equal(batches, values))
      batch.fill(value);
  }
  llvm::copy(inputs, batches.begin());
  for (const Instruction &inst : body) {
    Batch &out = batches[inst.results[0]];
    if (inst.code == Index) {
      out = points[size_t(inst.immediate)];
      continue;
    }
    if (inst.code == Extent) {
      Scalar size;
      size.i = inst.immediate;
      out.fill(size);
      continue;
    }
    auto operand = [&](unsigned i) {
      return i < inst.operands.size() ? batches[inst.operands[i]].data()
                                      : nullptr;
    };
    inst.run(operand(0), operand(1), operand(2), count, out.data());
  }
  return batches[yielded[0]];
}
