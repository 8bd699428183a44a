//===- States.cpp - inputs that become states, and outputs ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "States.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace qcc;

/// Position of the argument or result whose `qcc.name` is `name`.
template <typename GetAttr>
static std::optional<unsigned> findName(unsigned count, StringRef name,
                                        GetAttr get) {
  for (unsigned i = 0; i < count; ++i)
    if (auto attr = get(i); attr && attr.getValue() == name)
      return i;
  return std::nullopt;
}

/// All names that findName would find, for an error.
template <typename GetAttr>
static std::string listNames(unsigned count, GetAttr get) {
  std::string names;
  for (unsigned i = 0; i < count; ++i)
    if (StringAttr attr = get(i))
      names += (names.empty() ? "" : ", ") + attr.str();
  return names.empty() ? "it has none" : names;
}

/// Two types with the names of sizes, and what would make them one.
static std::string describeDifference(ModuleOp module, Type input,
                                      Type output) {
  SmallVector<StringRef> names = getSymbolNames(module);
  auto print = [&](Type type) {
    std::string text;
    llvm::raw_string_ostream os(text);
    auto tensor = cast<RankedTensorType>(type);
    os << tensor.getElementType() << " [";
    llvm::interleaveComma(getDims(tensor), os, [&](AffineExpr size) {
      os << printSize(size, names);
    });
    os << "]";
    return text;
  };
  std::string text = print(input) + " and " + print(output);
  SmallVector<AffineExpr> sizes = getDims(input), others = getDims(output);
  if (sizes.size() != others.size())
    return text;
  for (auto [size, other] : llvm::zip_equal(sizes, others)) {
    // A sum is larger than what is in it, so nothing makes them equal.
    if (size != other && isa<AffineBinaryOpExpr>(other))
      return text + "; leave --state out: a cache that grows is an input and "
                    "an output, and the caller passes it on";
    bool mayFix = isa<AffineSymbolExpr>(size) &&
                  isa<AffineSymbolExpr, AffineConstantExpr>(other);
    if (size != other && mayFix)
      return text + "; try --dim=" + printSize(size, names) + "=" +
             printSize(other, names);
  }
  return text;
}

static llvm::Error addState(ModuleOp module, func::FuncOp func, StringRef input,
                            StringRef output) {
  auto getInput = [&](unsigned i) {
    return func.getArgAttrOfType<StringAttr>(i, "qcc.name");
  };
  std::optional<unsigned> arg =
      findName(func.getNumArguments(), input, getInput);
  if (!arg)
    return makeError(Diag::Usage, "--state",
                     "expected an input of the model (" +
                         listNames(func.getNumArguments(), getInput) +
                         ") that is no state yet, but got '" + input + "'");
  auto getOutput = [&](unsigned i) {
    return func.getResultAttrOfType<StringAttr>(i, "qcc.name");
  };
  std::optional<unsigned> result =
      findName(func.getNumResults(), output, getOutput);
  if (!result)
    return makeError(Diag::Usage, "--state",
                     "expected an output of the model (" +
                         listNames(func.getNumResults(), getOutput) +
                         "), but got '" + output + "'");
  auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  Value value = ret.getOperand(*result);
  BlockArgument old = func.getArgument(*arg);
  if (value.getType() != old.getType())
    return makeError(
        Diag::Usage, "--state",
        "expected input '" + input + "' and output '" + output +
            "' of one type, as a state keeps its size, but got " +
            describeDifference(module, old.getType(), value.getType()));
  OpBuilder b(func);
  Location loc = NameLoc::get(b.getStringAttr(input), old.getLoc());
  StateOp::create(b, loc, b.getStringAttr(input), TypeAttr::get(old.getType()));
  b.setInsertionPointToStart(&func.getBody().front());
  Value state = StateReadOp::create(b, loc, old.getType(), input);
  old.replaceAllUsesWith(state);
  b.setInsertionPoint(ret);
  StateWriteOp::create(b, ret.getLoc(), input, ret.getOperand(*result));
  if (failed(func.eraseArgument(*arg)))
    return makeError(Diag::Internal, "--state", "cannot drop an argument");
  return llvm::Error::success();
}

/// States are made before the first run, from sizes that inputs give.
static llvm::Error checkStateSizes(ModuleOp module, func::FuncOp func) {
  llvm::SmallDenseSet<AffineExpr> given;
  for (Type type : func.getArgumentTypes())
    given.insert_range(getDims(type));
  SmallVector<StringRef> names = getSymbolNames(module);
  for (auto state : module.getOps<StateOp>()) {
    AffineExpr unknown;
    for (AffineExpr size : getDims(state.getType()))
      size.walk([&](AffineExpr e) {
        if (isa<AffineSymbolExpr>(e) && !given.contains(e))
          unknown = e;
      });
    if (!unknown)
      continue;
    std::string name = printSize(unknown, names);
    return makeError(Diag::Usage, "--state",
                     "expected the sizes of state '" + state.getSymName() +
                         "' to be known before its first run, but '" + name +
                         "' is a size of no other input; try --dim=" + name +
                         "=2, or the size that it has");
  }
  return llvm::Error::success();
}

llvm::Error
qcc::addStates(ModuleOp module,
               ArrayRef<std::pair<std::string, std::string>> states) {
  auto func = module.lookupSymbol<func::FuncOp>("main");
  for (const auto &[input, output] : states)
    if (llvm::Error error = addState(module, func, input, output))
      return error;
  return checkStateSizes(module, func);
}

llvm::Error qcc::dropOutputs(ModuleOp module, ArrayRef<std::string> regexes) {
  auto func = module.lookupSymbol<func::FuncOp>("main");
  auto getOutput = [&](unsigned i) {
    return func.getResultAttrOfType<StringAttr>(i, "qcc.name");
  };
  unsigned count = func.getNumResults();
  llvm::BitVector dropped(count);
  for (const std::string &text : regexes) {
    llvm::Regex regex(text);
    bool isUsed = false;
    for (unsigned i = 0; i < count; ++i)
      if (StringAttr name = getOutput(i);
          name && regex.match(name.getValue())) {
        dropped.set(i);
        isUsed = true;
      }
    if (!isUsed)
      return makeError(Diag::Usage, "--drop-output",
                       "expected a regular expression of an output (" +
                           listNames(count, getOutput) + "), but got '" + text +
                           "'");
  }
  if (count > 0 && dropped.all())
    return makeError(Diag::Usage, "--drop-output",
                     "expected an output to be left of " +
                         listNames(count, getOutput));
  func.getBody().front().getTerminator()->eraseOperands(dropped);
  if (failed(func.eraseResults(dropped)))
    return makeError(Diag::Internal, "--drop-output", "cannot drop a result");
  return llvm::Error::success();
}

void qcc::turnStatesIntoInputs(ModuleOp module) {
  auto func = module.lookupSymbol<func::FuncOp>("main");
  OpBuilder b(module.getContext());
  for (StateOp state : llvm::make_early_inc_range(module.getOps<StateOp>())) {
    Type type = state.getType();
    SmallVector<Operation *> dead;
    unsigned number = func.getNumArguments();
    (void)func.insertArgument(
        number, type,
        b.getDictionaryAttr(b.getNamedAttr("qcc.name", state.getSymNameAttr())),
        state.getLoc());
    module.walk([&](Operation *op) {
      if (auto read = dyn_cast<StateReadOp>(op);
          read && read.getState() == state.getSymName()) {
        read.getResult().replaceAllUsesWith(func.getArgument(number));
        dead.push_back(op);
      } else if (auto write = dyn_cast<StateWriteOp>(op);
                 write && write.getState() == state.getSymName()) {
        dead.push_back(op);
      }
    });
    for (Operation *op : dead)
      op->erase();
    state.erase();
  }
}
