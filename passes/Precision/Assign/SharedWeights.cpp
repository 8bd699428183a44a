//===- SharedWeights.cpp - products that read one weight --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "SharedWeights.h"
#include <map>

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

/// Where a weight comes from, through transposes, and whether rows and columns
/// are exchanged on the way.
static std::pair<std::string, bool> findRoot(MatMulOp op) {
  Value value = op.getRhs();
  bool isExchanged = op.getTransB();
  while (auto copy = value.getDefiningOp<GenericOp>()) {
    if (!copy.isCopy() || copy.getInputs().size() != 1 ||
        copy.getMap(0).getNumResults() != 2 || !copy.getMap(0).isPermutation())
      break;
    isExchanged ^= !copy.getMap(0).isIdentity();
    value = copy.getInputs()[0];
  }
  if (auto param = value.getDefiningOp<ParamOp>())
    return {"param " + param.getKey().str(), isExchanged};
  std::string name;
  llvm::raw_string_ostream(name) << value.getAsOpaquePointer();
  return {name, isExchanged};
}

SharedWeights::SharedWeights(ArrayRef<Layer> layers) {
  // By the weight and the formats.
  std::map<std::string, size_t> groupOf;
  std::map<std::pair<std::string, bool>, size_t> copies;
  for (auto [i, layer] : llvm::enumerate(layers)) {
    auto root = findRoot(layer.op);
    std::string key = root.first;
    for (const Candidate &candidate : layer.candidates)
      key += "," + candidate.key;
    auto [found, isNew] = groupOf.try_emplace(key, groups.size());
    if (isNew)
      groups.emplace_back();
    groups[found->second].push_back(i);
    root.first = key; // other formats are other copies
    firstOfCopy.push_back(copies.try_emplace(root, i).first->second);
  }
}

void SharedWeights::shareBytes(MutableArrayRef<Layer> layers,
                               bool areOwn) const {
  for (auto [i, layer] : llvm::enumerate(layers))
    if (firstOfCopy[i] != i)
      for (Candidate &candidate : layer.candidates)
        if (!candidate.scheme || !areOwn)
          candidate.bytes = 0;
}

std::vector<std::vector<knapsack::Costs>>
SharedWeights::addCosts(ArrayRef<Layer> layers) const {
  std::vector<std::vector<knapsack::Costs>> costs;
  for (ArrayRef<size_t> group : groups) {
    costs.push_back(layers[group.front()].getCosts());
    for (size_t i : group.drop_front())
      for (auto [sum, own] :
           llvm::zip_equal(costs.back(), layers[i].getCosts()))
        for (unsigned cost = 0; cost < knapsack::kCosts; ++cost)
          sum[cost] += own[cost];
  }
  return costs;
}

void SharedWeights::take(ArrayRef<unsigned> picks,
                         MutableArrayRef<Layer> layers) const {
  for (auto [group, pick] : llvm::zip_equal(groups, picks))
    for (size_t i : group)
      layers[i].chosen = pick;
}
