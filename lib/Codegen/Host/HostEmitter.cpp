//===- HostEmitter.cpp - the native host program ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Codegen/HostEmitter.h"
#include "ProgramDescription.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Runtime/qcc.h"
#include "qcc/Support/Diagnostics.h"
#include <cstddef>

using namespace mlir;
using namespace qcc;

std::string qcc::getKernelSymbol(StringRef kernel, StringRef level) {
  std::string name = "qcc_" + kernel.str() + "_" + level.str();
  llvm::replace(name, '-', '_');
  return name;
}

namespace {

/// Builds the module of one program.
class HostBuilder {
public:
  HostBuilder(ModuleOp planned, ArrayRef<ProgramLevel> levels)
      : planned(planned), levels(levels),
        module(ModuleOp::create(UnknownLoc::get(planned.getContext()))),
        b(module->getLoc(), module->getBodyRegion()),
        ptr(LLVM::LLVMPointerType::get(planned.getContext())),
        i64(b.getI64Type()), i32(b.getI32Type()) {}

  OwningOpRef<ModuleOp> run();

private:
  void addBytes(StringRef name, ArrayRef<char> bytes, uint64_t alignment);
  void addTable(StringRef name, ArrayRef<std::string> functions);
  void addEntry(host::EntryOp entry, StringRef name);
  /// Ends the run where sizes that the importer took for equal are not.
  void addChecks();
  void addDispatch(host::DispatchOp op);
  void addCopy(host::CopyOp op);
  void addObserve(host::ObserveOp op);
  /// Calls the runtime's function at `offset` of qcc_exec_table.
  void call(size_t offset, ArrayRef<Value> args);
  Value constant(Type type, int64_t value) {
    return LLVM::ConstantOp::create(b, type, b.getIntegerAttr(type, value));
  }
  Value evaluate(AffineExpr expr);
  Value getSlots(ArrayRef<Attribute> slots);
  Value getSizes(AffineMap map);

  ModuleOp planned;
  ArrayRef<ProgramLevel> levels;
  OwningOpRef<ModuleOp> module;
  ImplicitLocOpBuilder b;
  Type ptr, i64, i32;
  llvm::StringMap<unsigned> kernels;
  Value table, exec, symbols;
  unsigned site = 0, numGlobals = 0;
};

} // namespace

/// A constant array of bytes.
void HostBuilder::addBytes(StringRef name, ArrayRef<char> bytes,
                           uint64_t alignment) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(module->getBody());
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), bytes.size());
  LLVM::GlobalOp::create(
      b, type, /*isConstant=*/true, LLVM::Linkage::Internal, name,
      b.getStringAttr(StringRef(bytes.data(), bytes.size())), alignment);
}

/// A constant array of function addresses; declares the functions that are not
/// in the module.
void HostBuilder::addTable(StringRef name, ArrayRef<std::string> functions) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(module->getBody());
  auto type = LLVM::LLVMArrayType::get(ptr, functions.size());
  auto global =
      LLVM::GlobalOp::create(b, type, /*isConstant=*/true,
                             LLVM::Linkage::External, name, Attribute(), 8);
  global.setVisibility_(LLVM::Visibility::Hidden);
  auto signature = LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(b.getContext()), {ptr, ptr, i64, i64, ptr});
  for (const std::string &function : functions)
    if (!module->lookupSymbol(function))
      LLVM::LLVMFuncOp::create(b, function, signature)
          .setVisibility_(LLVM::Visibility::Hidden);
  b.createBlock(&global.getInitializerRegion());
  Value array = LLVM::UndefOp::create(b, type);
  for (auto [i, function] : llvm::enumerate(functions)) {
    Value address = LLVM::AddressOfOp::create(b, ptr, function);
    array = LLVM::InsertValueOp::create(b, array, address, i);
  }
  LLVM::ReturnOp::create(b, array);
}

void HostBuilder::call(size_t offset, ArrayRef<Value> args) {
  Value address =
      LLVM::GEPOp::create(b, ptr, b.getI8Type(), table,
                          ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(offset)});
  Value function = LLVM::LoadOp::create(b, ptr, address);
  SmallVector<Type> types{ptr};
  SmallVector<Value> operands{function, exec};
  for (Value arg : args) {
    types.push_back(arg.getType());
    operands.push_back(arg);
  }
  LLVM::CallOp::create(b, LLVM::LLVMFunctionType::get(i32, types), operands);
}

/// Value of a size expression. Sizes are checked by the runtime before an
/// entry runs: nothing here can overflow or divide by zero.
Value HostBuilder::evaluate(AffineExpr expr) {
  if (auto c = dyn_cast<AffineConstantExpr>(expr))
    return constant(i64, c.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    Value address = LLVM::GEPOp::create(
        b, ptr, i64, symbols,
        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(symbol.getPosition())});
    return LLVM::LoadOp::create(b, i64, address);
  }
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Value lhs = evaluate(binary.getLHS()), rhs = evaluate(binary.getRHS());
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return LLVM::AddOp::create(b, lhs, rhs);
  case AffineExprKind::Mul:
    return LLVM::MulOp::create(b, lhs, rhs);
  default:
    break;
  }
  // Divisors are positive; dividends may be negative (a size minus a window).
  Value remainder = LLVM::SRemOp::create(b, lhs, rhs);
  Value zero = constant(i64, 0);
  Value negative =
      LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::slt, remainder, zero);
  if (expr.getKind() == AffineExprKind::Mod)
    return LLVM::AddOp::create(b, remainder,
                               LLVM::SelectOp::create(b, negative, rhs, zero));
  Value quotient = LLVM::SDivOp::create(b, lhs, rhs);
  if (expr.getKind() == AffineExprKind::FloorDiv)
    return LLVM::SubOp::create(b, quotient,
                               LLVM::ZExtOp::create(b, i64, negative));
  Value positive =
      LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::sgt, remainder, zero);
  return LLVM::AddOp::create(b, quotient,
                             LLVM::ZExtOp::create(b, i64, positive));
}

/// Address of a constant array of qcc_binding: {u32 space, u32 index, u64
/// offset} each, as bytes.
Value HostBuilder::getSlots(ArrayRef<Attribute> slots) {
  SmallVector<char> bytes;
  auto put = [&](uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
      bytes.push_back(static_cast<char>(value >> (8 * i)));
  };
  for (Attribute attr : slots) {
    auto slot = cast<host::SlotAttr>(attr);
    put(static_cast<uint32_t>(slot.getSpace()), 4);
    put(slot.getIndex(), 4);
    put(slot.getOffset(), 8);
  }
  static_assert(sizeof(qcc_binding) == 16 &&
                offsetof(qcc_binding, offset) == 8);
  std::string name = "qcc_slots_" + std::to_string(numGlobals++);
  addBytes(name, bytes, 8);
  return LLVM::AddressOfOp::create(b, ptr, name);
}

/// Address of the values of a size map's results.
Value HostBuilder::getSizes(AffineMap map) {
  if (map.getNumResults() == 0)
    return LLVM::ZeroOp::create(b, ptr);
  Value array = LLVM::AllocaOp::create(b, ptr, i64,
                                       constant(i64, map.getNumResults()), 8);
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    Value address = LLVM::GEPOp::create(
        b, ptr, i64, array, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    LLVM::StoreOp::create(b, evaluate(expr), address);
  }
  return array;
}

void HostBuilder::addChecks() {
  auto checks = planned->getAttrOfType<ArrayAttr>(kChecksAttr);
  if (!checks)
    return;
  Value bad;
  for (Attribute attr : checks) {
    AffineMap pair = cast<AffineMapAttr>(attr).getValue();
    Value differs = LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne,
                                         evaluate(pair.getResult(0)),
                                         evaluate(pair.getResult(1)));
    bad = bad ? LLVM::OrOp::create(b, bad, differs).getResult() : differs;
  }
  if (!bad)
    return;
  Block *entry = b.getBlock();
  Block *refuse = b.createBlock(entry->getParent());
  Block *proceed = b.createBlock(entry->getParent());
  b.setInsertionPointToEnd(entry);
  LLVM::CondBrOp::create(b, bad, refuse, proceed);
  b.setInsertionPointToStart(refuse);
  call(offsetof(qcc_exec_table, fail),
       {constant(i32, QCC_BAD_SHAPE), constant(i32, QCC_NONE)});
  LLVM::ReturnOp::create(b, constant(i32, QCC_BAD_SHAPE));
  b.setInsertionPointToStart(proceed);
}

void HostBuilder::addDispatch(host::DispatchOp op) {
  Value slots = getSlots(op.getSlots().getValue());
  Value dims = getSizes(op.getDims());
  call(offsetof(qcc_exec_table, dispatch),
       {constant(i32, site), constant(i32, kernels.lookup(op.getKernel())),
        slots, constant(i32, op.getSlots().size()), dims,
        constant(i32, op.getDims().getNumResults()),
        evaluate(op.getTasks().getResult(0))});
}

void HostBuilder::addCopy(host::CopyOp op) {
  call(offsetof(qcc_exec_table, copy),
       {getSlots(Attribute(op.getTo())), getSlots(Attribute(op.getFrom())),
        evaluate(op.getBytes().getResult(0))});
}

void HostBuilder::addObserve(host::ObserveOp op) {
  auto [code, bits] =
      getDLType(cast<RankedTensorType>(op.getType()).getElementType());
  int64_t type = code | bits << 8 | 1 << 16;
  call(offsetof(qcc_exec_table, observe),
       {constant(i32, site), getSlots(Attribute(op.getSlot())),
        evaluate(getNumElements(op.getType())), constant(i32, type)});
}

void HostBuilder::addEntry(host::EntryOp entry, StringRef name) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(module->getBody());
  auto func = LLVM::LLVMFuncOp::create(
      b, name, LLVM::LLVMFunctionType::get(i32, {ptr, ptr, ptr}));
  func.setVisibility_(LLVM::Visibility::Hidden);
  Block *block = func.addEntryBlock(b);
  b.setInsertionPointToStart(block);
  table = block->getArgument(0);
  exec = block->getArgument(1);
  symbols = block->getArgument(2);
  addChecks();
  for (Operation &op : entry.getBody().front()) {
    if (auto dispatch = dyn_cast<host::DispatchOp>(op))
      addDispatch(dispatch);
    else if (auto copy = dyn_cast<host::CopyOp>(op))
      addCopy(copy);
    else
      addObserve(cast<host::ObserveOp>(op));
    ++site;
  }
  // Failures stay with the run: after one, every call returns at once.
  LLVM::ReturnOp::create(b, constant(i32, 0));
}

OwningOpRef<ModuleOp> HostBuilder::run() {
  std::vector<std::string> names, entries;
  for (auto kernel : planned.getOps<KernelOp>())
    kernels.try_emplace(kernel.getSymName(), kernels.size());
  for (const ProgramLevel &level : levels)
    for (auto kernel : planned.getOps<KernelOp>())
      names.push_back(getKernelSymbol(kernel.getSymName(), level.name));
  for (auto entry : planned.getOps<host::EntryOp>()) {
    entries.push_back("qcc_entry_" + std::to_string(entries.size()));
    addEntry(entry, entries.back());
  }
  addTable("qcc_kernel_table", names);
  addTable("qcc_entry_table", entries);
  return std::move(module);
}

OwningOpRef<ModuleOp> qcc::buildHostModule(ModuleOp planned,
                                           ArrayRef<ProgramLevel> levels) {
  return HostBuilder(planned, levels).run();
}
