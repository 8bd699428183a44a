//===- Schedule.cpp - choosing kernels --------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/StringMap.h"

namespace qcc {
#define GEN_PASS_DECL_SCHEDULE
#define GEN_PASS_DEF_SCHEDULE
#include "qcc/passes/Schedule.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Bytes of the tensors that a dispatch reads and writes.
static AffineExpr getTraffic(DispatchOp dispatch) {
  AffineExpr bytes = getAffineConstantExpr(0, dispatch.getContext());
  auto count = [&](TypeRange types) {
    for (Type type : types)
      bytes = bytes + getNumElements(type) *
                          getElementBytes(
                              cast<RankedTensorType>(type).getElementType());
  };
  count(dispatch.getInputs().getTypes());
  count(dispatch.getResultTypes());
  return bytes;
}

/// Arithmetic of the root: multiplications and additions of a product or
/// window, one operation per element or reduced element otherwise.
static AffineExpr getArithmetic(Operation *root) {
  AffineExpr result = getNumElements(root->getResult(0).getType());
  if (auto matmul = dyn_cast<MatMulOp>(root)) {
    SmallVector<AffineExpr> a = getDims(matmul.getLhs().getType());
    return result * a[a.size() - (matmul.getTransA() ? 2 : 1)] * 2;
  }
  if (auto matmul = dyn_cast<QMatMulOp>(root))
    return result * getDims(matmul.getActivations()[0].getType()).back() * 2;
  if (auto matmul = dyn_cast<IntMatMulOp>(root))
    return result * getDims(matmul.getLhs().getType()).back() * 2;
  if (isa<ConvOp, ConvTransposeOp, IntConvOp>(root)) {
    SmallVector<AffineExpr> w = getDims(root->getOperand(1).getType());
    return result * product(ArrayRef(w).drop_front(), root->getContext()) * 2;
  }
  if (auto attention = dyn_cast<AttentionOp>(root)) {
    SmallVector<AffineExpr> q = getDims(attention.getQuery().getType());
    AffineExpr keys = getDims(attention.getKey().getType())[2];
    return product(q, root->getContext()) * keys * 4;
  }
  if (auto generic = dyn_cast<GenericOp>(root))
    return product(generic.getExtents(), root->getContext());
  return result;
}

/// The operation that a dispatch is named after: its named one, else the first.
static Operation *getRoot(DispatchOp dispatch) {
  Block &block = dispatch.getBody().front();
  for (Operation &op : block.without_terminator())
    if (!isa<GenericOp>(op))
      return &op;
  return &block.front();
}

/// True if one of the values, constants aside, has elements of 8 bits.
static bool haveBytes(ValueRange values) {
  return llvm::any_of(values, [](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type && type.getElementType().isInteger(8) &&
           !isConstantExpression(value);
  });
}

/// Notes what profiles and the report say of a launch.
static void describe(LaunchOp launch, StringAttr root, AffineExpr flops,
                     AffineExpr bytes) {
  MLIRContext *context = launch.getContext();
  launch->setAttr("qcc.op", root);
  launch->setAttr("qcc.flops",
                  AffineMapAttr::get(makeSizeMap({flops}, context)));
  if (haveBytes(launch->getOperands()))
    launch->setAttr(kReadsCodesAttr, UnitAttr::get(context));
  if (haveBytes(launch->getResults()))
    launch->setAttr(kMakesCodesAttr, UnitAttr::get(context));
  launch->setAttr("qcc.bytes",
                  AffineMapAttr::get(makeSizeMap({bytes}, context)));
}

namespace {

/// Turns dispatches into launches of shared kernels.
class Scheduler {
public:
  Scheduler(ModuleOp module, const Target &target,
            ArrayRef<Capabilities> levels)
      : module(module), target(target), levels(levels),
        rewriter(module.getContext()) {}

  LogicalResult run() {
    SmallVector<DispatchOp> dispatches;
    module.walk([&](DispatchOp op) { dispatches.push_back(op); });
    for (DispatchOp dispatch : dispatches)
      if (failed(schedule(dispatch)))
        return failure();
    return success();
  }

private:
  LogicalResult schedule(DispatchOp dispatch);
  const KernelSchedule *choose(DispatchOp dispatch, const KernelChoices &found);
  void splitEpilogue(DispatchOp dispatch, SmallVectorImpl<DispatchOp> &parts);
  DispatchOp pack(DispatchOp dispatch, ArrayRef<PackRequest> requests);
  void outline(DispatchOp dispatch, StringRef emitter,
               const KernelSchedule &schedule, AffineExpr flops);
  StringAttr getKernel(DispatchOp dispatch, ArrayRef<unsigned> symbols,
                       StringRef emitter, DictionaryAttr params);

  ModuleOp module;
  const Target &target;
  ArrayRef<Capabilities> levels;
  IRRewriter rewriter;
  llvm::StringMap<StringAttr> kernels; // printed kernel -> name
};

} // namespace

LogicalResult Scheduler::schedule(DispatchOp dispatch) {
  KernelChoices found = findKernel(target, dispatch, levels);
  if (found.emitter) {
    const KernelSchedule *schedule = choose(dispatch, found);
    if (!schedule)
      return failure();
    AffineExpr flops = getArithmetic(getRoot(dispatch));
    outline(pack(dispatch, schedule->packs), found.emitter->getName(),
            *schedule, flops);
    return success();
  }
  SmallVector<DispatchOp> parts;
  splitEpilogue(dispatch, parts);
  if (parts.size() < 2)
    return emitCoded(dispatch.getLoc(), Diag::Internal)
           << "no kernel of target '" << target.getName()
           << "' takes this operation";
  for (DispatchOp part : parts)
    if (failed(schedule(part)))
      return failure();
  return success();
}

/// The schedule that the dispatch asks for, the first if it asks for none.
const KernelSchedule *Scheduler::choose(DispatchOp dispatch,
                                        const KernelChoices &found) {
  auto asked =
      dyn_cast_or_null<StringAttr>(dispatch->removeAttr(kScheduleAttr));
  if (!asked)
    return &found.schedules.front();
  for (const KernelSchedule &schedule : found.schedules)
    if (describeSchedule(schedule) == asked.getValue())
      return &schedule;
  emitCoded(dispatch.getLoc(), Diag::Usage)
      << "expected a schedule of kernel '" << found.emitter->getName()
      << "', such as '" << describeSchedule(found.schedules.front())
      << "', but got '" << asked.getValue() << "'";
  return nullptr;
}

/// Gives every operation of the dispatch a dispatch of its own.
void Scheduler::splitEpilogue(DispatchOp dispatch,
                              SmallVectorImpl<DispatchOp> &parts) {
  Block &block = dispatch.getBody().front();
  if (llvm::range_size(block.without_terminator()) < 2)
    return;
  IRMapping values;
  for (auto [arg, input] :
       llvm::zip_equal(block.getArguments(), dispatch.getInputs()))
    values.map(arg, input);
  rewriter.setInsertionPoint(dispatch);
  for (Operation &op : block.without_terminator()) {
    SmallVector<Value> inputs;
    for (Value operand : op.getOperands())
      inputs.push_back(values.lookup(operand));
    OpBuilder::InsertionGuard guard(rewriter);
    auto part =
        DispatchOp::create(rewriter, op.getLoc(), op.getResultTypes(), inputs);
    Block *body = rewriter.createBlock(&part.getBody());
    IRMapping inner;
    for (Value operand : op.getOperands())
      inner.map(operand, body->addArgument(operand.getType(), op.getLoc()));
    Operation *clone = rewriter.clone(op, inner);
    YieldOp::create(rewriter, op.getLoc(), clone->getResults());
    values.map(op.getResults(), part.getResults());
    parts.push_back(part);
  }
  SmallVector<Value> results;
  for (Value yielded : block.getTerminator()->getOperands())
    results.push_back(values.lookup(yielded));
  rewriter.replaceOp(dispatch, results);
}

/// Replaces the operands that the schedule wants packed.
DispatchOp Scheduler::pack(DispatchOp dispatch,
                           ArrayRef<PackRequest> requests) {
  rewriter.setInsertionPoint(dispatch);
  for (const PackRequest &request : requests) {
    OpOperand &operand = dispatch->getOpOperand(request.operand);
    auto type = cast<RankedTensorType>(operand.get().getType());
    RankedTensorType packed =
        packedType(type, request.layout, request.nr, request.transposed);
    Value value =
        PackOp::create(rewriter, operand.get().getLoc(), packed, operand.get(),
                       request.layout, request.nr, request.transposed);
    BlockArgument arg = dispatch.getBody().front().getArgument(request.operand);
    rewriter.modifyOpInPlace(dispatch, [&] {
      operand.set(value);
      arg.setType(packed);
      for (Operation *user : arg.getUsers())
        user->setAttr(kPackedAttr, rewriter.getUnitAttr());
    });
  }
  return dispatch;
}

/// The kernel for the dispatch's region: an existing equal one or a new one.
StringAttr Scheduler::getKernel(DispatchOp dispatch, ArrayRef<unsigned> symbols,
                                StringRef emitter, DictionaryAttr params) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPointToEnd(module.getBody());
  NamedAttrList schedule(params);
  schedule.set("kernel", rewriter.getStringAttr(emitter));
  Location unknown = rewriter.getUnknownLoc();
  auto kernel = KernelOp::create(rewriter, unknown, "kernel",
                                 schedule.getDictionary(module.getContext()));
  rewriter.cloneRegionBefore(dispatch.getBody(), kernel.getBody(),
                             kernel.getBody().end());
  kernel->walk([&](Operation *op) { op->setLoc(unknown); });
  SmallVector<AffineExpr> replacement(symbols.empty() ? 0 : symbols.back() + 1,
                                      AffineExpr());
  for (auto [i, symbol] : llvm::enumerate(symbols))
    replacement[symbol] = getAffineSymbolExpr(i, module.getContext());
  substituteSymbols(kernel, replacement);

  std::string text;
  llvm::raw_string_ostream os(text);
  kernel.print(os, OpPrintingFlags().printGenericOpForm().useLocalScope());
  auto [entry, isNew] = kernels.try_emplace(text);
  if (!isNew) {
    rewriter.eraseOp(kernel);
    return entry->second;
  }
  entry->second =
      rewriter.getStringAttr("k" + llvm::Twine(kernels.size() - 1) + "_" +
                             StringRef(emitter).split('.').first);
  kernel.setSymName(entry->second);
  return entry->second;
}

void Scheduler::outline(DispatchOp dispatch, StringRef emitter,
                        const KernelSchedule &schedule, AffineExpr flops) {
  MLIRContext *context = module.getContext();
  AffineExpr bytes = getTraffic(dispatch);
  StringAttr root = getRoot(dispatch)->getName().getIdentifier();
  SmallVector<unsigned> symbols = collectSymbols(dispatch);
  NamedAttrList params(schedule.params);
  if (schedule.scratchBytes)
    params.set("scratch", rewriter.getI64IntegerAttr(schedule.scratchBytes));
  StringAttr name =
      getKernel(dispatch, symbols, emitter, params.getDictionary(context));
  SmallVector<AffineExpr> dims;
  for (unsigned symbol : symbols)
    dims.push_back(getAffineSymbolExpr(symbol, context));
  rewriter.setInsertionPoint(dispatch);
  auto launch =
      LaunchOp::create(rewriter, dispatch.getLoc(), dispatch.getResultTypes(),
                       name, dispatch.getInputs(), makeSizeMap(dims, context),
                       makeSizeMap({schedule.tasks}, context));
  launch->setDiscardableAttrs(dispatch->getDiscardableAttrDictionary());
  describe(launch, root, flops, bytes);
  rewriter.replaceOp(dispatch, launch.getResults());
}

namespace {
struct SchedulePass : qcc::impl::ScheduleBase<SchedulePass> {
  using ScheduleBase::ScheduleBase;
  void runOnOperation() override {
    auto found = getTargets(&getContext()).find(target);
    if (!found) {
      emitError(UnknownLoc::get(&getContext()), toString(found.takeError()));
      return signalPassFailure();
    }
    if (failed(Scheduler(getOperation(), *found->first, found->second).run()))
      signalPassFailure();
  }
};
} // namespace
