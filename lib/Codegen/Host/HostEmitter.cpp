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
#include "llvm/ADT/TypeSwitch.h"
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
  void addChecks(host::EntryOp entry);
  void addStep(Operation &op);
  void addSteps(Region &region);
  void addDispatch(host::DispatchOp op, unsigned number);
  void addCopy(host::CopyOp op);
  void addObserve(host::ObserveOp op, unsigned number);
  void addRefusal(qcc_status_code status, StringRef node, qcc_size_rule rule,
                  Value got, Value wanted);
  void addReserve(host::ReserveOp op);
  void addBind(host::BindOp op);
  void addLet(host::LetOp op);
  /// Ends the run with `status`, naming the node, if `x` and `y` differ, the
  /// first two results of a map as in kChecksAttr.
  void addCheck(Value x, Value y, AffineMap sizes, qcc_status_code status,
                StringRef node);
  /// Address of a text that ends with a 0.
  Value getText(StringRef text);
  void addIf(host::IfOp op);
  void addLoop(host::LoopOp op);
  /// Binds a run-time symbol; the runtime's status.
  Value bind(int64_t symbol, Value value);
  /// Element of an integer tensor; -1 after a failure.
  Value readIndex(host::SlotAttr slot, int64_t element, Type elementType);
  /// An integer that is 1 if a boolean in memory is true, and not positive
  /// after a failure.
  Value readCondition(host::SlotAttr slot);
  /// Ends the entry if `status` is not 0.
  void returnIfFailed(Value status);
  Block *addBlock();
  /// Goes on in `to` if `condition` holds, else in the other block.
  void branch(Value condition, Block *to, Block *otherwise);
  /// Calls the runtime's function at `offset` of qcc_exec_table.
  Value call(size_t offset, ArrayRef<Value> args, Type result = {});
  Value constant(Type type, int64_t value) {
    return LLVM::ConstantOp::create(b, type, b.getIntegerAttr(type, value));
  }
  Value evaluate(AffineExpr expr);
  /// The same where sizes were not checked before: -1 on overflow or a division
  /// by what is not positive.
  Value evaluateChecked(AffineExpr expr);
  Value evaluateChecked(AffineExpr expr, Value &bad);
  Value divide(AffineExprKind kind, Value lhs, Value rhs);
  /// Space on the stack, reserved once however often the step runs.
  Value addLocal(int64_t count);
  Value getSlots(ArrayRef<Attribute> slots);
  Value getSizes(AffineMap map);

  ModuleOp planned;
  ArrayRef<ProgramLevel> levels;
  OwningOpRef<ModuleOp> module;
  ImplicitLocOpBuilder b;
  Type ptr, i64, i32;
  llvm::StringMap<unsigned> kernels;
  /// Names of the globals that hold texts.
  llvm::StringMap<std::string> texts;
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

Value HostBuilder::call(size_t offset, ArrayRef<Value> args, Type result) {
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
  auto type = LLVM::LLVMFunctionType::get(result ? result : i32, types);
  return LLVM::CallOp::create(b, type, operands).getResult();
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
  return divide(expr.getKind(), lhs, rhs);
}

/// Divisors are positive; dividends may be negative (a size minus a window).
Value HostBuilder::divide(AffineExprKind kind, Value lhs, Value rhs) {
  Value remainder = LLVM::SRemOp::create(b, lhs, rhs);
  Value zero = constant(i64, 0);
  Value negative =
      LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::slt, remainder, zero);
  if (kind == AffineExprKind::Mod)
    return LLVM::AddOp::create(b, remainder,
                               LLVM::SelectOp::create(b, negative, rhs, zero));
  Value quotient = LLVM::SDivOp::create(b, lhs, rhs);
  if (kind == AffineExprKind::FloorDiv)
    return LLVM::SubOp::create(b, quotient,
                               LLVM::ZExtOp::create(b, i64, negative));
  Value positive =
      LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::sgt, remainder, zero);
  return LLVM::AddOp::create(b, quotient,
                             LLVM::ZExtOp::create(b, i64, positive));
}

Value HostBuilder::evaluateChecked(AffineExpr expr, Value &bad) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return evaluate(expr);
  Value lhs = evaluateChecked(binary.getLHS(), bad),
        rhs = evaluateChecked(binary.getRHS(), bad);
  auto note = [&](Value condition) {
    bad = bad ? LLVM::OrOp::create(b, bad, condition).getResult() : condition;
  };
  bool isAdd = expr.getKind() == AffineExprKind::Add;
  if (isAdd || expr.getKind() == AffineExprKind::Mul) {
    auto pair =
        LLVM::LLVMStructType::getLiteral(b.getContext(), {i64, b.getI1Type()});
    Value both =
        isAdd ? LLVM::SAddWithOverflowOp::create(b, pair, lhs, rhs).getResult()
              : LLVM::SMulWithOverflowOp::create(b, pair, lhs, rhs).getResult();
    note(LLVM::ExtractValueOp::create(b, both, ArrayRef<int64_t>{1}));
    return LLVM::ExtractValueOp::create(b, both, ArrayRef<int64_t>{0});
  }
  Value one = constant(i64, 1);
  Value wrong = LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::slt, rhs, one);
  note(wrong);
  return divide(expr.getKind(), lhs,
                LLVM::SelectOp::create(b, wrong, one, rhs));
}

Value HostBuilder::evaluateChecked(AffineExpr expr) {
  Value bad;
  Value value = evaluateChecked(expr, bad);
  return bad ? LLVM::SelectOp::create(b, bad, constant(i64, -1), value)
                   .getResult()
             : value;
}

Value HostBuilder::addLocal(int64_t count) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&b.getBlock()->getParent()->front());
  return LLVM::AllocaOp::create(b, ptr, i64, constant(i64, count), 8);
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
  Value array = addLocal(map.getNumResults());
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    Value address = LLVM::GEPOp::create(
        b, ptr, i64, array, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    LLVM::StoreOp::create(b, evaluate(expr), address);
  }
  return array;
}

/// The rule that a map of kChecksAttr stands for.
static qcc_size_rule getRule(AffineMap sizes) {
  auto quotient = dyn_cast<AffineBinaryOpExpr>(sizes.getResult(0));
  if (quotient && quotient.getKind() == AffineExprKind::FloorDiv &&
      quotient.getRHS() ==
          getAffineConstantExpr(kSizeRange, sizes.getContext()))
    return QCC_SIZES_AT_LEAST;
  return QCC_SIZES_EQUAL;
}

Value HostBuilder::getText(StringRef text) {
  std::string &name = texts[text];
  if (name.empty()) {
    name = "qcc_text_" + std::to_string(texts.size() - 1);
    SmallVector<char> bytes(text.begin(), text.end());
    bytes.push_back(0);
    addBytes(name, bytes, 1);
  }
  return LLVM::AddressOfOp::create(b, ptr, name);
}

/// Ends the run.
void HostBuilder::addRefusal(qcc_status_code status, StringRef node,
                             qcc_size_rule rule, Value got, Value wanted) {
  call(offsetof(qcc_exec_table, refuse), {constant(i32, status), getText(node),
                                          constant(i32, rule), got, wanted});
  LLVM::ReturnOp::create(b, constant(i32, status));
}

void HostBuilder::addCheck(Value x, Value y, AffineMap sizes,
                           qcc_status_code status, StringRef node) {
  Block *refuse = addBlock(), *proceed = addBlock();
  branch(LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne, x, y), refuse,
         proceed);
  b.setInsertionPointToStart(refuse);
  qcc_size_rule rule = getRule(sizes);
  Value got, wanted;
  if (sizes.getNumResults() == 4) {
    got = evaluateChecked(sizes.getResult(2));
    wanted = evaluateChecked(sizes.getResult(3));
  } else if (rule == QCC_SIZES_EQUAL &&
             getConstantSize(sizes.getResult(1)) != 0) {
    got = x;
    wanted = y;
  } else {
    // A product or the like that is to be 0 says nothing.
    rule = QCC_SIZES_FIT;
    got = wanted = constant(i64, 0);
  }
  addRefusal(status, node, rule, got, wanted);
  b.setInsertionPointToStart(proceed);
}

void HostBuilder::addChecks(host::EntryOp entry) {
  auto checks = entry->getAttrOfType<ArrayAttr>(kChecksAttr);
  auto nodes = entry->getAttrOfType<ArrayAttr>(kCheckNodesAttr);
  if (!checks)
    return;
  for (auto [i, sizes] :
       llvm::enumerate(checks.getAsValueRange<AffineMapAttr>()))
    addCheck(evaluate(sizes.getResult(0)), evaluate(sizes.getResult(1)), sizes,
             QCC_BAD_SHAPE,
             nodes ? cast<StringAttr>(nodes[i]).getValue() : StringRef());
}

Block *HostBuilder::addBlock() {
  OpBuilder::InsertionGuard guard(b);
  return b.createBlock(b.getBlock()->getParent());
}

void HostBuilder::branch(Value condition, Block *to, Block *otherwise) {
  LLVM::CondBrOp::create(b, condition, to, otherwise);
}

void HostBuilder::returnIfFailed(Value status) {
  Block *leave = addBlock(), *proceed = addBlock();
  Value failed = LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne, status,
                                      constant(i32, 0));
  branch(failed, leave, proceed);
  b.setInsertionPointToStart(leave);
  LLVM::ReturnOp::create(b, status);
  b.setInsertionPointToStart(proceed);
}

void HostBuilder::addDispatch(host::DispatchOp op, unsigned number) {
  Value slots = getSlots(op.getSlots().getValue());
  Value dims = getSizes(op.getDims());
  call(offsetof(qcc_exec_table, dispatch),
       {constant(i32, number), constant(i32, kernels.lookup(op.getKernel())),
        slots, constant(i32, op.getSlots().size()), dims,
        constant(i32, op.getDims().getNumResults()),
        evaluate(op.getTasks().getResult(0))});
}

void HostBuilder::addCopy(host::CopyOp op) {
  Value to = getSlots(Attribute(op.getTo()));
  if (op.getAt()) {
    // A copy of the slot with another offset, its second 8 bytes.
    Value place = addLocal(2);
    auto word = [&](Value base, int32_t i) {
      return LLVM::GEPOp::create(b, ptr, i64, base, ArrayRef<LLVM::GEPArg>{i});
    };
    Value head = LLVM::LoadOp::create(b, i64, word(to, 0));
    LLVM::StoreOp::create(b, head, word(place, 0));
    Value at = LLVM::AddOp::create(
        b, evaluateChecked(op.getAt()->getResult(0)),
        constant(i64, static_cast<int64_t>(op.getTo().getOffset())));
    LLVM::StoreOp::create(b, at, word(place, 1));
    to = place;
  }
  call(offsetof(qcc_exec_table, copy),
       {to, getSlots(Attribute(op.getFrom())),
        evaluateChecked(op.getBytes().getResult(0))});
}

void HostBuilder::addObserve(host::ObserveOp op, unsigned number) {
  auto [code, bits] =
      getDLType(cast<RankedTensorType>(op.getType()).getElementType());
  int64_t type = code | bits << 8 | 1 << 16;
  call(offsetof(qcc_exec_table, observe),
       {constant(i32, number), getSlots(Attribute(op.getSlot())),
        evaluate(getNumElements(op.getType())), constant(i32, type)});
}

void HostBuilder::addReserve(host::ReserveOp op) {
  Value bytes = evaluateChecked(op.getBytes().getResult(0));
  // The runtime, which would refuse it, does not know the node.
  if (!op.getBytes().isConstant()) {
    Block *refuse = addBlock(), *proceed = addBlock();
    branch(LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::slt, bytes,
                                constant(i64, 0)),
           refuse, proceed);
    b.setInsertionPointToStart(refuse);
    addRefusal(QCC_BAD_DATA, getNodeName(op.getLoc()), QCC_SIZES_COUNTED, bytes,
               constant(i64, 0));
    b.setInsertionPointToStart(proceed);
  }
  // What follows computes with the sizes that this has checked.
  returnIfFailed(call(offsetof(qcc_exec_table, reserve),
                      {constant(i32, op.getSlot().getIndex()), bytes,
                       constant(i32, op.getKeep())}));
}

Value HostBuilder::bind(int64_t symbol, Value value) {
  static_assert(kZeroStep == QCC_ZERO_STEP);
  return call(offsetof(qcc_exec_table, bind_symbol),
              {constant(i32, symbol), value});
}

Value HostBuilder::readIndex(host::SlotAttr slot, int64_t element,
                             Type elementType) {
  auto [code, bits] = getDLType(elementType);
  return call(offsetof(qcc_exec_table, read_index),
              {getSlots(Attribute(slot)), constant(i64, element),
               constant(i32, code | bits << 8 | 1 << 16)},
              i64);
}

Value HostBuilder::readCondition(host::SlotAttr slot) {
  Value value = readIndex(slot, 0, b.getI1Type());
  return LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::sgt, value,
                              constant(i64, 0));
}

void HostBuilder::addBind(host::BindOp op) {
  Type element = cast<RankedTensorType>(op.getType()).getElementType();
  returnIfFailed(
      bind(op.getSymbol(), readIndex(op.getSlot(), op.getElement(), element)));
}

void HostBuilder::addLet(host::LetOp op) {
  SmallVector<Value> values;
  for (AffineExpr expr : op.getValues().getResults())
    values.push_back(evaluateChecked(expr));
  for (auto [symbol, value] : llvm::zip_equal(op.getSymbols(), values))
    returnIfFailed(bind(symbol, value));
}

void HostBuilder::addIf(host::IfOp op) {
  Block *yes = addBlock(), *no = addBlock(), *after = addBlock();
  branch(readCondition(op.getCondition()), yes, no);
  for (auto [block, region] : {std::pair(yes, &op.getThenRegion()),
                               std::pair(no, &op.getElseRegion())}) {
    b.setInsertionPointToStart(block);
    addSteps(*region);
    LLVM::BrOp::create(b, ValueRange{}, after);
  }
  b.setInsertionPointToStart(after);
}

void HostBuilder::addLoop(host::LoopOp op) {
  Value counter = addLocal(1);
  LLVM::StoreOp::create(b, constant(i64, 0), counter);
  Block *head = addBlock(), *body = addBlock(), *after = addBlock();
  LLVM::BrOp::create(b, ValueRange{}, head);
  // Each block leaves the loop unless the next one may go on.
  b.setInsertionPointToStart(head);
  Value iteration = LLVM::LoadOp::create(b, i64, counter);
  if (op.getTrip()) {
    Block *allowed = addBlock();
    branch(LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::slt, iteration,
                                evaluateChecked(op.getTrip()->getResult(0))),
           allowed, after);
    b.setInsertionPointToStart(allowed);
  }
  if (op.getCondition()) {
    Block *allowed = addBlock();
    branch(readCondition(*op.getCondition()), allowed, after);
    b.setInsertionPointToStart(allowed);
  }
  LLVM::BrOp::create(b, ValueRange{}, body);
  b.setInsertionPointToStart(body);
  // After a failure this is what ends the loop.
  returnIfFailed(bind(op.getIteration(), iteration));
  addSteps(op.getBody());
  Value next = LLVM::AddOp::create(b, iteration, constant(i64, 1));
  LLVM::StoreOp::create(b, next, counter);
  LLVM::BrOp::create(b, ValueRange{}, head);
  b.setInsertionPointToStart(after);
  if (op.getCount())
    returnIfFailed(bind(*op.getCount(), LLVM::LoadOp::create(b, i64, counter)));
}

void HostBuilder::addStep(Operation &op) {
  // Numbered as ProgramDescription numbers sites: outer steps first.
  unsigned number = site++;
  llvm::TypeSwitch<Operation *>(&op)
      .Case([&](host::DispatchOp dispatch) { addDispatch(dispatch, number); })
      .Case([&](host::CopyOp copy) { addCopy(copy); })
      .Case([&](host::ObserveOp observe) { addObserve(observe, number); })
      .Case([&](host::ReserveOp reserve) { addReserve(reserve); })
      .Case([&](host::ReleaseOp release) {
        call(offsetof(qcc_exec_table, release),
             {constant(i32, release.getSlot().getIndex())});
      })
      .Case([&](host::PrepareOp prepare) {
        call(offsetof(qcc_exec_table, prepare_output),
             {constant(i32, prepare.getSlot().getIndex())});
      })
      .Case([&](host::BindOp bindOp) { addBind(bindOp); })
      .Case([&](host::LetOp let) { addLet(let); })
      .Case([&](host::CheckOp check) {
        AffineMap sizes = check.getSizes();
        addCheck(evaluateChecked(sizes.getResult(0)),
                 evaluateChecked(sizes.getResult(1)), sizes, QCC_BAD_DATA,
                 getNodeName(check.getLoc()));
      })
      .Case([&](host::IfOp branchOp) { addIf(branchOp); })
      .Case([&](host::LoopOp loop) { addLoop(loop); })
      .Default([](Operation *) {
        llvm_unreachable("Plan makes no other operation");
      });
}

void HostBuilder::addSteps(Region &region) {
  for (Operation &op : region.front())
    addStep(op);
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
  addChecks(entry);
  addSteps(entry.getBody());
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
