//===- SharedWeights.h - products that read one weight ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_SHAREDWEIGHTS_H
#define QCC_PASSES_PRECISION_ASSIGN_SHAREDWEIGHTS_H

#include "Layers.h"

namespace qcc::assign {

/// Layers that read one weight (the steps of a recurrent layer, tied products)
/// and may get the same formats: they get one, for each format stores a copy of
/// its own. Every layer is in one group, most are alone there.
class SharedWeights {
public:
  explicit SharedWeights(llvm::ArrayRef<Layer> layers);

  /// Leaves the bytes of candidates with one layer of those that store the same
  /// copy; the others have none. With `areOwn` only f32 ones are the same:
  /// weights are chosen for each layer.
  void shareBytes(llvm::MutableArrayRef<Layer> layers, bool areOwn) const;
  /// What the candidates of each group cost: losses are added.
  std::vector<std::vector<knapsack::Costs>>
  addCosts(llvm::ArrayRef<Layer> layers) const;
  /// Gives each layer its group's pick.
  void take(llvm::ArrayRef<unsigned> picks,
            llvm::MutableArrayRef<Layer> layers) const;

private:
  std::vector<llvm::SmallVector<size_t, 1>> groups; ///< numbers of layers
  /// Of each layer: the first of those that read the weight in the same order
  /// of rows and columns.
  std::vector<size_t> firstOfCopy;
};

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_SHAREDWEIGHTS_H
