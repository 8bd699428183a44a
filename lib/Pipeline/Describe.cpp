//===- Describe.cpp - what a stage did, in a few words ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Products.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include <map>

using namespace mlir;
using namespace qcc;

static std::string formatMiB(uint64_t bytes) {
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

/// Operations of the model: those of its functions, without constants.
static unsigned countOperations(ModuleOp module) {
  unsigned count = 0;
  for (auto func : module.getOps<func::FuncOp>())
    for (Operation &op : func.getBody().front().without_terminator())
      count += !isa<ParamOp, ConstantOp>(op);
  return count;
}

/// In how many products each algorithm changed something, of those that it
/// looked at: ", awq in 24 of 28 products".
static std::string describeTransforms(ModuleOp module) {
  struct Count {
    unsigned changed = 0, all = 0;
  };
  std::map<StringRef, Count> counts;
  module.walk([&](MatMulOp op) {
    auto note = op->getAttrOfType<StringAttr>(kTransformAttr);
    std::map<StringRef, bool> isChanged;
    for (StringRef text : llvm::split(note ? note.getValue() : "", "; "))
      if (auto [algorithm, what] = text.split(": "); !what.empty())
        isChanged[algorithm] |=
            !what.starts_with("not ") && !what.starts_with("heads not ");
    for (auto [algorithm, changed] : isChanged) {
      ++counts[algorithm].all;
      counts[algorithm].changed += changed;
    }
  });
  std::string text;
  for (const auto &[algorithm, count] : counts)
    text += (", " + algorithm + " in " + Twine(count.changed) + " of " +
             Twine(count.all) + " products")
                .str();
  return text;
}

std::string Compilation::describeStage(Stage stage) {
  std::string text;
  llvm::raw_string_ostream os(text);
  switch (stage) {
  case Stage::Import: {
    uint64_t bytes = 0;
    for (const Parameter &parameter : *parameters)
      bytes += parameter.bytes.size();
    os << countOperations(*module) << " operations, " << formatMiB(bytes)
       << " of weights";
    break;
  }
  case Stage::Transform:
    os << countOperations(*module) << " operations"
       << describeTransforms(*module);
    break;
  case Stage::Assign:
  case Stage::Quantize: {
    // By format; those that stay float are told of while they are assigned.
    std::map<std::string, unsigned> products;
    module->walk([&](Operation *op) {
      if (auto product = dyn_cast<QMatMulOp>(op))
        ++products[product.getFormat().getScheme().str()];
      else if (auto key = op->getAttrOfType<StringAttr>(kAssignedAttr))
        ++products[key.getValue().str()];
    });
    llvm::interleave(
        products, os,
        [&](const auto &pair) {
          os << pair.second << " products in " << pair.first;
        },
        ", ");
    break;
  }
  case Stage::Fuse: {
    unsigned dispatches = 0;
    module->walk([&](DispatchOp) { ++dispatches; });
    os << dispatches << " dispatches";
    break;
  }
  case Stage::Schedule:
    os << llvm::range_size(module->getOps<KernelOp>()) << " kernels for "
       << llvm::join(llvm::map_range(
                         levels,
                         [](const Capabilities &level) { return level.level; }),
                     ", ");
    if (!options.tuning.empty())
      os << ", " << tunedKernels << " as tuned";
    break;
  case Stage::Package:
    os << "library " << formatMiB(result.libraryBytes) << ", weights "
       << formatMiB(result.weightBytes);
    break;
  default:
    break;
  }
  return text;
}
