//===- ProgramDescription.cpp - the blob of a planned module ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ProgramDescription.h"
#include "qcc/Codegen/HostEmitter.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

SizeExpr qcc::toSizeExpr(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return SizeExpr::constant(constant.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return SizeExpr::symbol(symbol.getPosition());
  auto binary = cast<AffineBinaryOpExpr>(expr);
  qcc_expr_opcode op = QCC_EXPR_ADD;
  switch (expr.getKind()) {
  case AffineExprKind::Mul:
    op = QCC_EXPR_MUL;
    break;
  case AffineExprKind::FloorDiv:
    op = QCC_EXPR_FLOORDIV;
    break;
  case AffineExprKind::CeilDiv:
    op = QCC_EXPR_CEILDIV;
    break;
  case AffineExprKind::Mod:
    op = QCC_EXPR_MOD;
    break;
  default:
    break;
  }
  return SizeExpr::binary(op, toSizeExpr(binary.getLHS()),
                          toSizeExpr(binary.getRHS()));
}

std::pair<uint8_t, uint8_t> qcc::getDLType(Type type) {
  enum : uint8_t { Int = 0, UInt = 1, Float = 2, BFloat = 4, Bool = 6 };
  if (type.isInteger(1))
    return {Bool, 8};
  // Elements below a byte take one each (docs/numerics.md): outside they are
  // 8-bit integers.
  if (auto integer = dyn_cast<IntegerType>(type))
    return {integer.isUnsigned() ? UInt : Int,
            std::max(integer.getWidth(), 8u)};
  if (type.isBF16())
    return {BFloat, 16};
  // Codes of DLPack 1.1. Four bits take a byte here too, which DLPack has a
  // flag for that a plain DLTensor does not carry: they are said to have 8.
  if (isa<Float8E4M3FNType>(type))
    return {10, 8};
  if (isa<Float8E4M3FNUZType>(type))
    return {11, 8};
  if (isa<Float8E5M2Type>(type))
    return {12, 8};
  if (isa<Float8E5M2FNUZType>(type))
    return {13, 8};
  if (isa<Float8E8M0FNUType>(type))
    return {14, 8};
  if (isa<Float4E2M1FNType>(type))
    return {17, 8};
  return {Float, type.getIntOrFloatBitWidth()};
}

static TensorDesc getTensor(StringRef name, Type type) {
  TensorDesc desc;
  desc.name = name.str();
  std::tie(desc.code, desc.bits) =
      getDLType(cast<RankedTensorType>(type).getElementType());
  for (AffineExpr dim : getDims(type))
    desc.dims.push_back(toSizeExpr(dim));
  return desc;
}

static SizeExpr getSize(AffineMap map) { return toSizeExpr(map.getResult(0)); }

static EntryDesc getEntry(host::EntryOp entry) {
  EntryDesc desc;
  desc.name = entry.getSymName().str();
  for (auto input : entry.getInputs().getAsRange<host::TensorAttr>())
    desc.inputs.push_back(getTensor(input.getName(), input.getType()));
  for (auto output : entry.getOutputs().getAsRange<host::TensorAttr>())
    desc.outputs.push_back(getTensor(output.getName(), output.getType()));
  for (auto buffer : entry.getBuffers().getAsRange<host::BufferAttr>())
    desc.buffers.push_back({getSize(buffer.getBytes().getValue()),
                            buffer.getFirst(), buffer.getLast()});
  return desc;
}

static SiteDesc getSite(Operation &op, uint32_t entry,
                        const llvm::StringMap<uint32_t> &kernels) {
  SiteDesc desc;
  desc.entry = entry;
  desc.node = getNodeName(op.getLoc()).str();
  desc.op = op.getName().getStringRef().str();
  auto dispatch = dyn_cast<host::DispatchOp>(op);
  if (!dispatch)
    return desc;
  desc.kernel = kernels.lookup(dispatch.getKernel());
  if (auto name = op.getAttrOfType<StringAttr>("qcc.op"))
    desc.op = name.getValue().str();
  if (auto flops = op.getAttrOfType<AffineMapAttr>("qcc.flops"))
    desc.flops = getSize(flops.getValue());
  if (auto bytes = op.getAttrOfType<AffineMapAttr>("qcc.bytes"))
    desc.bytes = getSize(bytes.getValue());
  auto value = op.getAttrOfType<StringAttr>("qcc.value");
  StringRef valueName = value ? value.getValue() : StringRef(desc.node);
  uint32_t first = dispatch.getSlots().size() - dispatch.getResults().size();
  for (auto [i, type] :
       llvm::enumerate(dispatch.getResults().getAsValueRange<TypeAttr>()))
    desc.results.push_back(
        {getTensor(valueName, type), static_cast<uint32_t>(first + i)});
  return desc;
}

void qcc::describeProgram(ModuleOp planned, ArrayRef<ProgramLevel> levels,
                          ProgramWriter &writer) {
  for (const ProgramLevel &level : levels)
    writer.addLevel(level.name, level.features);
  // What is found at run time and out of this range is no size and no index.
  constexpr int64_t limit = int64_t(1) << 46;
  int64_t firstRuntime = INT64_MAX;
  if (auto from = planned->getAttrOfType<IntegerAttr>(kRuntimeFromAttr))
    firstRuntime = from.getInt();
  auto bounds = getSymbolBounds(planned);
  for (auto [i, name] : llvm::enumerate(getSymbolNames(planned))) {
    auto bound = bounds.find(i);
    if (bound != bounds.end()) {
      writer.addSymbol(std::string_view(name), bound->second.first,
                       bound->second.second);
      continue;
    }
    bool isRuntime = static_cast<int64_t>(i) >= firstRuntime;
    writer.addSymbol(std::string_view(name), 0, isRuntime ? limit : INT64_MAX,
                     isRuntime ? QCC_SYMBOL_RUNTIME : 0);
  }
  llvm::StringMap<uint32_t> kernels;
  for (auto kernel : planned.getOps<KernelOp>()) {
    auto scratch = kernel.getSchedule().getAs<IntegerAttr>("scratch");
    auto yield = cast<YieldOp>(kernel.getBody().front().getTerminator());
    kernels[kernel.getSymName()] = writer.addKernel(
        std::string_view(kernel.getSymName()), scratch ? scratch.getInt() : 0,
        kernel.getBody().getNumArguments() + yield.getValues().size(),
        collectSymbols(kernel).size());
  }
  for (auto state : planned.getOps<StateOp>())
    writer.addState(getTensor(state.getSymName(), state.getType()));
  for (auto entry : planned.getOps<host::EntryOp>()) {
    uint32_t number = writer.addEntry(getEntry(entry));
    // The host emitter counts steps in the same order.
    entry.getBody().walk<WalkOrder::PreOrder>(
        [&](Operation *op) { writer.addSite(getSite(*op, number, kernels)); });
  }
}
