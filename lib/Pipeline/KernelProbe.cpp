//===- KernelProbe.cpp - a dispatch as a model of its own -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "KernelProbe.h"
#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Codegen/HostEmitter.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "llvm/ADT/SmallSet.h"
#include <random>

using namespace mlir;
using namespace qcc;

/// Bytes of a tensor that is made to time a kernel at most.
static constexpr int64_t kMostTensorBytes = int64_t(1) << 30;

std::optional<int64_t> qcc::countBytes(Type type, ArrayRef<int64_t> sizes) {
  int64_t bytes =
      getElementBytes(cast<RankedTensorType>(type).getElementType());
  for (AffineExpr dim : getDims(type)) {
    std::optional<int64_t> size = evaluateSize(dim, sizes);
    if (!size || *size < 1 || llvm::MulOverflow(bytes, *size, bytes) ||
        bytes > kMostTensorBytes)
      return std::nullopt;
  }
  return bytes;
}

/// Adds a function that runs the dispatch: operands that are no constants are
/// its arguments.
void KernelProbe::addEntry(DispatchOp dispatch, StringRef name,
                           StringRef schedule) {
  OpBuilder b = OpBuilder::atBlockEnd(module->getBody());
  SetVector<Operation *> constants;
  SmallVector<Value> inputs;
  for (Value operand : dispatch.getInputs()) {
    if (!isConstantExpression(operand)) {
      if (!llvm::is_contained(inputs, operand))
        inputs.push_back(operand);
      continue;
    }
    BackwardSliceOptions options;
    options.inclusive = true;
    (void)getBackwardSlice(operand, &constants, options);
  }
  Location loc = dispatch.getLoc();
  auto func =
      func::FuncOp::create(b, loc, name,
                           b.getFunctionType(TypeRange(ValueRange(inputs)),
                                             dispatch.getResultTypes()));
  Block *body = func.addEntryBlock();
  IRMapping values;
  for (auto [i, input] : llvm::enumerate(inputs)) {
    func.setArgAttr(unsigned(i), "qcc.name",
                    b.getStringAttr("x" + llvm::Twine(i)));
    values.map(input, body->getArgument(unsigned(i)));
  }
  for (unsigned i = 0; i < dispatch.getNumResults(); ++i)
    func.setResultAttr(i, "qcc.name", b.getStringAttr("y" + llvm::Twine(i)));
  b.setInsertionPointToStart(body);
  for (Operation *op : topologicalSort(constants))
    b.clone(*op, values);
  Operation *copy = b.clone(*dispatch, values);
  copy->setAttr(kScheduleAttr, b.getStringAttr(schedule));
  func::ReturnOp::create(b, loc, copy->getResults());
}

/// Counts symbols from 0. False if one is not a dimension of an input.
bool KernelProbe::renumberSymbols(ArrayRef<int64_t> all) {
  MLIRContext *context = module->getContext();
  SmallVector<unsigned> symbols = collectSymbols(*module);
  if (!symbols.empty() && symbols.back() >= all.size())
    return false;
  SmallVector<AffineExpr> replacement(symbols.empty() ? 0 : symbols.back() + 1);
  SmallVector<Attribute> names;
  for (auto [i, symbol] : llvm::enumerate(symbols)) {
    replacement[symbol] = getAffineSymbolExpr(i, context);
    names.push_back(StringAttr::get(context, "size" + llvm::Twine(i)));
    sizes.push_back(all[symbol]);
  }
  substituteSymbols(*module, replacement);
  (*module)->setAttr("qcc.symbols", ArrayAttr::get(context, names));
  llvm::SmallSet<unsigned, 4> known;
  auto entry = *module->getOps<func::FuncOp>().begin();
  for (Type type : entry.getArgumentTypes())
    for (AffineExpr dim : getDims(type))
      if (auto symbol = dyn_cast<AffineSymbolExpr>(dim))
        known.insert(symbol.getPosition());
  return known.size() == symbols.size();
}

std::optional<KernelProbe>
KernelProbe::create(DispatchOp dispatch, ArrayRef<KernelSchedule> schedules,
                    ArrayRef<int64_t> sizes) {
  KernelProbe probe;
  probe.module = ModuleOp::create(dispatch.getLoc());
  (*probe.module)
      ->setAttr("qcc.source", StringAttr::get(dispatch.getContext(), "probe"));
  for (auto [i, schedule] : llvm::enumerate(schedules))
    probe.addEntry(dispatch, i ? "try" + std::to_string(i) : "main",
                   describeSchedule(schedule));
  if (!probe.renumberSymbols(sizes))
    return std::nullopt;
  auto entry = *probe.module->getOps<func::FuncOp>().begin();
  for (TypeRange types :
       {TypeRange(entry.getArgumentTypes()), TypeRange(entry.getResultTypes())})
    for (Type type : types)
      if (!countBytes(type, probe.sizes))
        return std::nullopt;
  return probe;
}

std::string KernelProbe::printWork() const {
  auto entry = *module.get().getOps<func::FuncOp>().begin();
  std::string text;
  llvm::raw_string_ostream os(text);
  for (auto op : entry.getOps<DispatchOp>()) {
    for (Value operand : op.getInputs())
      os << (isa<BlockArgument>(operand) ? "input" : "constant") << " "
         << operand.getType() << "\n";
    for (Operation &inner : op.getBody().front()) {
      inner.print(os, OpPrintingFlags().printGenericOpForm().useLocalScope());
      os << "\n";
    }
  }
  return text;
}

/// Elements of a tensor of random numbers: floats from -1 to 1, or bytes.
/// Others, whose values might matter, are zero.
static void fill(Type element, std::vector<char> &bytes) {
  std::minstd_rand random;
  if (element.isF32()) {
    std::uniform_real_distribution<float> numbers(-1, 1);
    for (size_t at = 0; at + 4 <= bytes.size(); at += 4) {
      float value = numbers(random);
      std::memcpy(&bytes[at], &value, 4);
    }
  } else if (element.isInteger(8)) {
    for (char &byte : bytes)
      byte = char(random() >> 8);
  }
}

Sample KernelProbe::makeSample() const {
  Sample sample;
  sample.name = "a kernel";
  auto entry = *module.get().getOps<func::FuncOp>().begin();
  for (auto [i, type] : llvm::enumerate(entry.getArgumentTypes())) {
    SampleArray &array = sample.arrays.emplace_back();
    array.name = "x" + std::to_string(i);
    Type element = cast<RankedTensorType>(type).getElementType();
    std::tie(array.code, array.bits) = getDLType(element);
    for (AffineExpr dim : getDims(type))
      array.shape.push_back(*evaluateSize(dim, sizes));
    array.bytes.resize(size_t(*countBytes(type, sizes)));
    fill(element, array.bytes);
  }
  return sample;
}
