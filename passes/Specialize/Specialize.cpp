//===- Specialize.cpp - an entry for each size ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"

namespace qcc {
#define GEN_PASS_DEF_SPECIALIZE
#include "qcc/passes/Specialize.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// More copies than that are a mistake.
static constexpr size_t kMaxEntries = 64;

/// Part of an entry's name: letters, digits and underscores.
static std::string toIdentifier(StringRef name) {
  std::string result = name.str();
  for (char &c : result)
    if (!llvm::isAlnum(c))
      c = '_';
  return result;
}

namespace {

/// A symbol and what it is to be.
struct Choice {
  unsigned position;
  ArrayRef<int64_t> sizes;
};

struct SpecializePass : qcc::impl::SpecializeBase<SpecializePass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto attr = module->getAttrOfType<ArrayAttr>(kSizesAttr);
    if (!attr)
      return;
    SmallVector<Choice> choices;
    size_t count = 1;
    for (auto entry : attr.getAsRange<DenseI64ArrayAttr>()) {
      ArrayRef<int64_t> values = entry.asArrayRef();
      choices.push_back(
          {static_cast<unsigned>(values[0]), values.drop_front()});
      count *= choices.back().sizes.size();
      if (count > kMaxEntries) {
        emitCoded(module.getLoc(), Diag::Usage)
            << "expected --dim to ask for at most " << kMaxEntries
            << " combinations of sizes";
        return signalPassFailure();
      }
    }
    module->removeAttr(kSizesAttr);
    if (failed(checkStates(module, choices)))
      return signalPassFailure();
    for (auto func :
         llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      for (size_t number = 0; number < count; ++number)
        if (failed(makeCopy(func, choices, number)))
          return signalPassFailure();
      func.erase();
    }
  }

  /// A state has one type for all entries.
  static LogicalResult checkStates(ModuleOp module, ArrayRef<Choice> choices) {
    for (auto state : module.getOps<StateOp>())
      for (unsigned symbol : collectSymbols(state))
        for (const Choice &choice : choices)
          if (choice.position == symbol)
            return emitCoded(state.getLoc(), Diag::Usage)
                   << "expected one size of '" << getSymbolNames(module)[symbol]
                   << "', which state '" << state.getSymName()
                   << "' has, but got several by --dim";
    return success();
  }

  /// The copy for combination `number`, in which the first symbol changes
  /// slowest.
  static LogicalResult makeCopy(func::FuncOp func, ArrayRef<Choice> choices,
                                size_t number) {
    auto module = func->getParentOfType<ModuleOp>();
    SmallVector<AffineExpr> replacement;
    std::string name = func.getSymName().str();
    std::string suffix;
    for (const Choice &choice : llvm::reverse(choices)) {
      int64_t size = choice.sizes[number % choice.sizes.size()];
      number /= choice.sizes.size();
      if (replacement.size() <= choice.position)
        replacement.resize(choice.position + 1);
      replacement[choice.position] =
          getAffineConstantExpr(size, func.getContext());
      suffix = "_" + toIdentifier(getSymbolNames(module)[choice.position]) +
               std::to_string(size) + suffix;
    }
    OpBuilder b(func);
    func::FuncOp copy = func.clone();
    copy.setSymName(name + suffix);
    b.insert(copy);
    substituteSymbols(copy, replacement);
    return simplifyChecks(copy);
  }

  /// Drops what holds for the copy's sizes.
  static LogicalResult simplifyChecks(func::FuncOp func) {
    auto checks = func->getAttrOfType<ArrayAttr>(kChecksAttr);
    if (!checks)
      return success();
    auto nodes = func->getAttrOfType<ArrayAttr>(kCheckNodesAttr);
    SmallVector<Attribute> left, leftNodes;
    for (auto [i, pair] : llvm::enumerate(checks.getAsRange<AffineMapAttr>())) {
      AffineExpr x = pair.getValue().getResult(0),
                 y = pair.getValue().getResult(1);
      if (x == y)
        continue;
      if (isa<AffineConstantExpr>(x) && isa<AffineConstantExpr>(y))
        return emitCoded(func.getLoc(), Diag::BadShape)
               << "the sizes given by --dim for '" << func.getSymName()
               << "' do not fit each other in the model";
      left.push_back(pair);
      if (nodes)
        leftNodes.push_back(nodes[i]);
    }
    if (nodes)
      func->setAttr(kCheckNodesAttr,
                    ArrayAttr::get(func.getContext(), leftNodes));
    func->setAttr(kChecksAttr, ArrayAttr::get(func.getContext(), left));
    return success();
  }
};

} // namespace
