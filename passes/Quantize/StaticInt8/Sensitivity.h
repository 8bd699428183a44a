//===- Sensitivity.h - what int8 does to a model's outputs ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITY_H
#define QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITY_H

#include "Activations.h"
#include "Bias.h"
#include "BiasMath.h"
#include "ChosenWeights.h"
#include "SensitivityMath.h"
#include "qcc/Calibration/OutputJudge.h"
#include "qcc/Calibration/Workspace.h"
#include "llvm/ADT/MapVector.h"

namespace qcc {

/// What a run reads in codes; the rest is read in float.
struct Switches {
  /// Of each activation, for readers that are no layers.
  std::vector<bool> activations;
  /// Of each layer: those of the activations in their order, then products.
  std::vector<bool> layers;
};

/// Products that read floats and have a switch as layers have. Their results in
/// codes are those of the weights that samples chose, on float activations:
/// what rounding these changes is far less. With formats it is those of the
/// format, with its activations: of `narrow` where samples chose a weight of 4
/// bits, of `wide` with 8 rounded to nearest.
struct SwitchedProducts {
  SwitchedProducts(llvm::ArrayRef<MatMulOp> ops = {},
                   const Scheme *narrow = nullptr, const Scheme *wide = nullptr)
      : ops(ops), narrow(narrow), wide(wide) {}

  llvm::ArrayRef<MatMulOp> ops;
  const Scheme *narrow, *wide; ///< may be null
  /// Attentions that are computed in f32 and with products of codes; they have
  /// switches of their own (SwitchedModel::setAttentions).
  llvm::ArrayRef<AttentionOp> attentions;
};

/// Runs a model with any of its activations in int8 and the others in float,
/// without a compile for each choice: a copy of it can compute each layer both
/// ways, and an input says which result is read.
class SwitchedModel {
public:
  /// Compiles the copy. `activations` are values of `module`, which is not
  /// changed; they and their layers have switches. Layers with a weight of 4
  /// bits are computed with 8 as well. `products` count as layers behind those
  /// of the activations. Errors: what compiling gives.
  static llvm::Expected<std::unique_ptr<SwitchedModel>>
  create(Workspace &workspace, mlir::ModuleOp module,
         llvm::ArrayRef<Activation> activations,
         const WeightChoices &weights = WeightChoices(),
         const SwitchedProducts &products = {});

  /// True if the model has outputs of f32, so that there is something to
  /// compare.
  bool hasOutputs() const { return outputs > 0; }
  /// Samples that are run.
  size_t getNumSamples() const { return samples.size(); }
  /// The relative error of each layer alone, in the order of activations and
  /// their layers, products, attentions, on exact inputs: of a run in float.
  /// Also keeps its outputs to compare with, and what `findCorrections` needs.
  /// Without corrections.
  llvm::Expected<std::vector<double>> measureLayers();
  /// What to add to the output channels of each layer; none where that does not
  /// help. Layers whose number of pixels is not known have none. After
  /// measureLayers.
  std::vector<std::optional<Correction>> findCorrections() const;
  /// Runs add these to the layers in int8 from now on.
  void setCorrections(llvm::ArrayRef<std::optional<Correction>> corrections);
  /// Of each layer: whether runs take the weight of 4 bits where it has one;
  /// all do at first.
  void setNarrow(const std::vector<bool> &newNarrow) { narrow = newNarrow; }
  /// Of each attention: whether runs compute it with products of codes; none do
  /// at first.
  void setAttentions(const std::vector<bool> &inCodes) { attentions = inCodes; }
  /// Switches of activations with all of their layers: one for each activation,
  /// then one for each product.
  Switches getSwitches(const std::vector<bool> &groups) const;
  /// How near the outputs are to those in float, on the first `count` samples.
  /// Of a language model the divergence counts too. After measureLayers.
  llvm::Expected<Agreement> run(const Switches &switches, size_t count);
  /// The same, by getSwitches.
  llvm::Expected<Agreement> run(const std::vector<bool> &groups, size_t count) {
    return run(getSwitches(groups), count);
  }
  /// What a judge says of its output, on the first `count` of its samples.
  llvm::Expected<OutputScore>
  score(const OutputJudge &judge, const Switches &switches, size_t count) const;

private:
  SwitchedModel(Workspace &workspace) : workspace(workspace) {}
  void findTokens(mlir::func::FuncOp entry);
  void checkTokens();
  size_t getMostSamples(llvm::ArrayRef<Sample> all) const;
  llvm::Error runSamples(const Switches &switches, size_t count,
                         Workspace::Listener listener,
                         bool computesAll = false);
  SampleArray makeInput(const Switches &switches,
                        bool computesAll = false) const;

  Workspace &workspace;
  std::unique_ptr<HostProgram> program;
  std::vector<Sample> samples;
  size_t outputs = 0, layers = 0, numActivations = 0;
  size_t runs = 0;             ///< so far
  std::vector<size_t> groupOf; ///< of each layer: its switch in getSwitches
  std::vector<std::vector<std::vector<float>>> exact; ///< [sample][output]
  std::vector<ChannelPlaces> places;                  ///< of each layer
  std::vector<bool> narrow;                           ///< of each layer
  std::vector<bool> attentions;   ///< of each: whether it is in codes
  std::vector<float> corrections; ///< of all layers' channels, one by one
  /// Of the first output, if it may give chances of tokens: their number, and
  /// the inputs that may have the tokens; 0 once samples say otherwise.
  int64_t classes = 0;
  llvm::SmallVector<std::string> tokenInputs;
  std::vector<std::vector<ChannelErrors>> channelErrors; ///< [layer][sample]
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITY_H
