//===- ChosenWeights.h - weights chosen by the samples ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_CHOSENWEIGHTS_H
#define QCC_PASSES_QUANTIZE_STATICINT8_CHOSENWEIGHTS_H

#include "Activations.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc {

/// True for a convolution whose weight has a form of 4 bits: all but depthwise
/// ones.
bool mayBeNarrow(mlir::Operation *layer);

/// The weights of convolutions as codes of 4 or 8 bits, and of products of 8,
/// with a scale per output channel, chosen by what they change in the layer's
/// results on the calibration samples where these are finite: rounded to
/// nearest, with clipped ranges, by GPTQ, by GPTQ with clipped ranges,
/// whichever changes them least; with 4 bits refined (Refine.h). Nothing is
/// known of the inputs of layers with groups or more than 2304 weights per
/// output: with 4 bits they get the clipped ranges of least error in the
/// weights; with 8 bits they are left out, as are those that rounding to
/// nearest suits best. With 4 bits weights of products are chosen in the same
/// way, on a scheme's numbers. Where those of all products are more than 2^24,
/// they are rounded to nearest.
class ChosenWeights {
public:
  /// None. `pairsFit`: codes of 8 bits, of these layers and others, fit in
  /// pairs.
  explicit ChosenWeights(bool pairsFit = false) : form{4, pairsFit} {}
  /// Chooses codes of 4 bits for all layers of the activations that
  /// mayBeNarrow(), with the activations' scales of channels, and for products
  /// that the scheme can take. Errors: as Workspace::gatherHere and
  /// addParameter.
  static llvm::Expected<ChosenWeights>
  choose(Workspace &workspace, mlir::ModuleOp module,
         llvm::ArrayRef<Activation> activations,
         llvm::ArrayRef<MatMulOp> products, const Scheme &scheme,
         bool pairsFit);
  /// Chooses codes of 8 bits for convolutions, and for products whose weight is
  /// a parameter. Errors as above.
  static llvm::Expected<ChosenWeights>
  chooseBytes(Workspace &workspace, mlir::ModuleOp module,
              llvm::ArrayRef<Activation> activations, bool pairsFit);
  /// For the same layers as choose(), rounded to nearest while the artifact is
  /// written.
  static ChosenWeights round(llvm::ArrayRef<Activation> activations,
                             bool pairsFit);

  bool contains(mlir::Operation *layer) const {
    return entries.contains(layer);
  }
  bool empty() const { return entries.empty(); }
  /// Bits of codes of convolutions, 4 or 8.
  unsigned getBits() const { return form.bits; }
  /// What weights of 8 bits are, of layers that are not among these too.
  WeightForm getByteForm() const { return {8, form.pairsFit}; }
  /// Leaves this layer's weight at 8 bits.
  void drop(mlir::Operation *layer) { entries.erase(layer); }
  /// How the weight was chosen: `rtn`, `clip`, `gptq`, `gptq-clip` or `refine`.
  llvm::StringRef getMethod(mlir::Operation *layer) const {
    return entries.find(layer)->second.method;
  }
  /// The weight as the floats that its codes stand for, a constant expression
  /// at the builder's place; `inputScales` as for quantizeWeight. `original`
  /// is what choose() was given, `layer` it or its copy.
  mlir::Value create(mlir::OpBuilder &b, mlir::Operation *original,
                     mlir::Operation *layer,
                     llvm::ArrayRef<float> inputScales) const;

  /// The weight [K, N] of a product as the floats that its codes stand for.
  mlir::Value createProductWeight(mlir::OpBuilder &b, MatMulOp product) const;
  /// Gives a product this weight, with what RoundToNearest needs to store it.
  void apply(MatMulOp product) const;

private:
  class Chooser;
  struct Entry {
    std::string values, scales; ///< keys of parameters; "": not chosen by data
    std::string method;
    std::string zeros; ///< of a product whose scheme has zero points
    double nearest = 0, chosen = 0; ///< errors of a product
  };
  WeightForm form;
  llvm::DenseMap<mlir::Operation *, Entry> entries;
};

/// What is chosen for the layers of a model: those with both can run with
/// either.
struct WeightChoices {
  explicit WeightChoices(bool pairsFit = false)
      : bytes(pairsFit), narrow(pairsFit) {}

  ChosenWeights bytes;  ///< codes of 8 bits, of layers of activations
  ChosenWeights narrow; ///< codes of 4 bits, of products too

  /// The weight of 8 bits of a layer of an activation, as the samples chose it
  /// or rounded to nearest. Otherwise as ChosenWeights::create.
  mlir::Value createBytes(mlir::OpBuilder &b, mlir::Operation *original,
                          mlir::Operation *layer,
                          llvm::ArrayRef<float> inputScales) const;
  /// How the layer's weight was chosen, that of 4 bits if it has one; empty:
  /// rounded to nearest.
  llvm::StringRef getMethod(mlir::Operation *layer) const;
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_CHOSENWEIGHTS_H
