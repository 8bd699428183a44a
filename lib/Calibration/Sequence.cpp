//===- Sequence.cpp - activations one after the other -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Sequence.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include <mutex>

using namespace mlir;
using namespace qcc;

/// Calls `body` for each value that an operation or what it contains reads
/// from outside of it.
static void forEachInput(Operation *op, llvm::function_ref<void(Value)> body) {
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      if (!op->isProperAncestor(operand.getParentRegion()->getParentOp()) &&
          operand.getParentRegion()->getParentOp() != op)
        body(operand);
  });
}

Sequence::Sequence(Workspace &workspace, ModuleOp module)
    : workspace(workspace), module(module),
      entry(*module.getOps<func::FuncOp>().begin()) {
  entry.walk([&](Operation *op) {
    canSlice &= !isa<StateReadOp, StateWriteOp, BindOp, CheckOp>(op);
  });
  if (!canSlice)
    return;
  samples = workspace.getSamples().vec();
  for (Operation &op : entry.getBody().front()) {
    bool isHeavy = false;
    op.walk([&](Operation *inner) {
      isHeavy |= isa<MatMulOp, ConvOp, ConvTransposeOp, AttentionOp>(inner);
    });
    forEachInput(&op, [&](Value input) {
      isHeavy |= heavy.contains(input.getDefiningOp());
    });
    // Weights may have products in them too.
    if (isHeavy &&
        !(op.getNumResults() == 1 && isConstantExpression(op.getResult(0))))
      heavy.insert(&op);
  }
}

Sequence::Ops Sequence::getSlice(Value value) {
  Ops slice;
  SmallVector<Value> work = {value};
  while (!work.empty()) {
    Value next = work.pop_back_val();
    Operation *op = next.getDefiningOp();
    if (!op || kept.contains(next) || !slice.insert(op))
      continue;
    forEachInput(op, [&](Value input) { work.push_back(input); });
  }
  return slice;
}

SmallVector<Value> Sequence::getResults(const Ops &slice) {
  SmallVector<Value> results;
  for (Operation *op : slice) {
    if (!heavy.contains(op))
      continue;
    for (Value result : op->getResults()) {
      auto type = dyn_cast<RankedTensorType>(result.getType());
      bool isRead = llvm::any_of(result.getUsers(), [&](Operation *user) {
        Operation *top = entry.getBody().front().findAncestorOpInBlock(*user);
        return !slice.contains(top);
      });
      if (type && type.getElementType().isF32() && isRead)
        results.push_back(result);
    }
  }
  return results;
}

OwningOpRef<ModuleOp> Sequence::makeModule(const Ops &slice, Value value,
                                           ArrayRef<Value> results) {
  OpBuilder b(module.getContext());
  OwningOpRef<ModuleOp> part = ModuleOp::create(module.getLoc());
  (*part)->setAttrs(module->getAttrs());
  b.setInsertionPointToEnd(part->getBody());
  SmallVector<Type> types(entry.getArgumentTypes());
  for (const auto &[keptValue, name] : kept)
    types.push_back(keptValue.getType());
  auto func = func::FuncOp::create(b, entry.getLoc(), entry.getSymName(),
                                   b.getFunctionType(types, {}));
  Block *block = func.addEntryBlock();
  IRMapping mapping;
  for (auto [i, argument] : llvm::enumerate(entry.getArguments())) {
    mapping.map(argument, block->getArgument(unsigned(i)));
    if (DictionaryAttr attrs = entry.getArgAttrDict(unsigned(i)))
      func.setArgAttrs(unsigned(i), attrs);
  }
  unsigned next = entry.getNumArguments();
  for (const auto &[keptValue, name] : kept) {
    mapping.map(keptValue, block->getArgument(next));
    func.setArgAttr(next++, "qcc.name", b.getStringAttr(name));
  }
  b.setInsertionPointToEnd(block);
  for (Operation &op : entry.getBody().front())
    if (slice.contains(&op))
      b.clone(op, mapping);
  auto observe = [&](Value observed, const std::string &name) {
    ObserveOp::create(b, NameLoc::get(b.getStringAttr(name)),
                      mapping.lookup(observed), name);
  };
  observe(value, "@0");
  for (auto [i, result] : llvm::enumerate(results))
    observe(result, "#" + std::to_string(i));
  func::ReturnOp::create(b, entry.getLoc());
  return part;
}

/// Sizes of a value for a sample: symbols are what the function's arguments
/// say.
SmallVector<int64_t> Sequence::getShape(Value value, const Sample &sample) {
  SmallVector<int64_t> symbols;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
    auto name = entry.getArgAttrOfType<StringAttr>(i, "qcc.name");
    auto found = llvm::find_if(sample.arrays, [&](const SampleArray &array) {
      return name && array.name == name.getValue();
    });
    if (found == sample.arrays.end())
      continue;
    for (auto [dim, size] :
         llvm::zip(getDims(entry.getArgument(i).getType()), found->shape))
      if (auto symbol = dyn_cast<AffineSymbolExpr>(dim)) {
        if (symbols.size() <= symbol.getPosition())
          symbols.resize(symbol.getPosition() + 1);
        symbols[symbol.getPosition()] = size;
      }
  }
  SmallVector<int64_t> shape;
  for (AffineExpr dim : getDims(value.getType()))
    shape.push_back(evaluateSize(dim, symbols).value_or(-1));
  return shape;
}

/// Drops kept values that only operations of slices read.
void Sequence::forget(const Ops &slice) {
  done.insert(slice.begin(), slice.end());
  SmallVector<Value> dead;
  for (const auto &[value, name] : kept)
    if (llvm::all_of(value.getUsers(), [&](Operation *user) {
          Operation *top = entry.getBody().front().findAncestorOpInBlock(*user);
          return done.contains(top) &&
                 llvm::all_of(top->getResultTypes(), [](Type type) {
                   auto tensor = dyn_cast<RankedTensorType>(type);
                   return tensor && tensor.getElementType().isF32();
                 });
        }))
      dead.push_back(value);
  for (Value value : dead) {
    for (Sample &sample : samples)
      llvm::erase_if(sample.arrays, [&](const SampleArray &array) {
        return array.name == kept[value];
      });
    kept.erase(value);
  }
}

llvm::Expected<InputData>
Sequence::next(Value value, std::vector<std::vector<float>> *rows) {
  InputData data;
  if (!canSlice && rows)
    return makeError(Diag::UnsupportedForm, getNodeName(value.getLoc()),
                     "expected a model without states and sizes found at run "
                     "time for gptq-correct");
  if (!canSlice) {
    if (llvm::Error error =
            workspace.gather(module, value, [&](size_t, InputData &gathered) {
              data = std::move(gathered);
              return llvm::Error::success();
            }))
      return std::move(error);
    return std::move(data);
  }
  Ops slice = getSlice(value);
  SmallVector<Value> results = getResults(slice), observed = results;
  if (rows) {
    rows->assign(samples.size(), {});
    observed.push_back(value);
  }
  OwningOpRef<ModuleOp> part = makeModule(slice, value, observed);
  std::vector<std::vector<SampleArray>> arrays(
      samples.size(), std::vector<SampleArray>(results.size()));
  std::mutex mutex;
  std::string problem;
  auto keep = [&](size_t sample, StringRef name, ArrayRef<float> values) {
    size_t i = 0;
    name.drop_front().getAsInteger(10, i);
    if (i == results.size()) {
      (*rows)[sample].assign(values.begin(), values.end());
      return;
    }
    SampleArray &array = arrays[sample][i];
    array.code = 2; // DLPack's float
    array.bits = 32;
    SmallVector<int64_t> shape = getShape(results[i], samples[sample]);
    array.shape.assign(shape.begin(), shape.end());
    auto *bytes = reinterpret_cast<const char *>(values.data());
    array.bytes.assign(bytes, bytes + values.size() * sizeof(float));
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    if (count == int64_t(values.size()))
      return;
    std::lock_guard<std::mutex> lock(mutex);
    problem = "expected " + std::to_string(count) + " elements, but got " +
              std::to_string(values.size());
  };
  std::vector<InputData> gathered;
  if (llvm::Error error =
          workspace.gatherObserved(*part, value, samples, gathered, keep))
    return std::move(error);
  if (!problem.empty())
    return makeError(Diag::Internal, getNodeName(value.getLoc()), problem);
  for (auto [i, result] : llvm::enumerate(results)) {
    std::string name = "#" + std::to_string(names++);
    kept[result] = name;
    for (size_t s = 0; s < samples.size(); ++s) {
      arrays[s][i].name = name;
      samples[s].arrays.push_back(std::move(arrays[s][i]));
    }
  }
  forget(slice);
  return std::move(gathered[0]);
}
