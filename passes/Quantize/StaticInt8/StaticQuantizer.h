//===- StaticQuantizer.h - int8 with scales from calibration ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_STATICQUANTIZER_H
#define QCC_PASSES_QUANTIZE_STATICINT8_STATICQUANTIZER_H

#include "Budgeted.h"
#include "Measure.h"
#include "mlir/IR/BuiltinOps.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Budget.h"

namespace qcc {

/// What the pass's options say (StaticInt8.td).
struct StaticInt8Settings {
  std::vector<std::string> keep;
  std::string scheme, target;
  std::string formats; ///< with budgets, what is chosen from
  double minCosine;
  Budgets budgets;
  bool dynamic, pairsFit, correctBias, rowScales, onlyAttentions;
};

/// How an activation's layers read it: codes with the scale that is known,
/// codes with a scale per row that is found at run time (products), or floats.
enum class Reading { Codes, RowCodes, Floats };

/// The products that can find scales of rows for all that read an activation.
struct RowProducts {
  RowProducts() = default;
  RowProducts(llvm::ArrayRef<Activation> activations, const Scheme &scheme);

  llvm::SmallVector<MatMulOp> ops;
  llvm::SmallVector<size_t> activationOf; ///< of each product
  llvm::SmallVector<size_t> activationsRead;

  /// Switches of a model with them (SwitchedModel::getSwitches).
  std::vector<bool> getGroups(llvm::ArrayRef<Reading> readings) const;
};

/// What is measured, and how activations are read for the sake of the outputs.
struct Sensitive {
  Measured measured;
  RowProducts products; ///< none if that is not needed
  llvm::SmallVector<Reading> readings;
};

/// One run of the pass over a module: collects what may be quantized
/// (StaticQuantizer.cpp), leaves out what is slow, sensitive (KeepFloat.cpp,
/// RowCodes.cpp, Attentions.cpp) or not within budgets (WithinBudgets.cpp),
/// narrows weights for w4a8 (Narrow.cpp), and rewrites the rest.
class StaticQuantizer : StaticInt8Settings {
public:
  StaticQuantizer(mlir::ModuleOp module, StaticInt8Settings settings)
      : StaticInt8Settings(std::move(settings)), module(module),
        context(module.getContext()) {}

  mlir::LogicalResult run();

private:
  /// True if weights get 4 bits.
  bool isNarrow() const {
    return llvm::StringRef(scheme).split(':').first == "w4a8";
  }
  /// True if an operation with a weight may be quantized; else notes why not.
  bool choose(mlir::Operation *op, const KeepRules &rules);
  /// Leaves an operation with a weight in f32, whatever passes behind may do.
  void keepFloat(mlir::Operation *op, llvm::StringRef requested,
                 llvm::StringRef reason);
  /// The activations that become codes for the sake of the layers.
  llvm::SmallVector<Activation>
  collect(llvm::ArrayRef<mlir::Operation *> layers);
  /// Divides its channels if it was found to be better so.
  void takeEqualised(Activation &activation) const;
  /// Convolutions get codes of their inputs with scales of samples; those of
  /// one value read the same.
  void makeAllDynamic(llvm::ArrayRef<mlir::Operation *> layers);
  void replaceActivation(const Activation &activation);
  mlir::Value createWeight(mlir::OpBuilder &b, mlir::Operation *layer,
                           llvm::ArrayRef<float> scales);
  void noteWeight(mlir::Operation *layer);
  /// Kernels of equal work are shared whatever their ranges were.
  void dropRanges();

  /// Leaves the candidates that integers make faster, where size does not
  /// count.
  mlir::LogicalResult dropSlow(llvm::SmallVector<mlir::Operation *> &candidates,
                               bool isDynamic = false);
  /// Those that it would leave.
  mlir::FailureOr<llvm::SmallVector<mlir::Operation *>>
  findFaster(llvm::ArrayRef<mlir::Operation *> candidates, bool isDynamic);
  /// Leaves these; others say that they are not faster.
  void takeFaster(llvm::SmallVector<mlir::Operation *> &candidates,
                  llvm::SmallVector<mlir::Operation *> faster);
  /// Leaves the candidates with which the outputs on the calibration samples
  /// have the cosine that is asked for.
  mlir::LogicalResult
  keepSensitive(llvm::SmallVector<mlir::Operation *> &candidates);
  /// How near the outputs have to be on the samples: others are worse than
  /// those of which the ranges are.
  Closeness getCloseness() const {
    double rest = 1 - minCosine;
    return minCosine > 0 ? Closeness{1 - rest / 2, rest / 10} : Closeness();
  }
  /// The same of what floats are worth: other directions, not other chances.
  Closeness getCosine() const { return {getCloseness().leastCosine}; }
  /// True if the outputs are, with all in low bits.
  bool isNear(const Measured &measured) const {
    return !measured.whole || getCloseness().holds(*measured.whole);
  }
  /// Measures what codes do to the outputs. Channels are equalised where that
  /// makes them better and they are not good enough.
  llvm::Expected<Measured>
  measureBest(Workspace &workspace, llvm::SmallVector<Activation> &activations);
  /// How activations are read, by what their codes do to the outputs.
  llvm::Expected<Sensitive>
  findSensitive(Workspace &workspace,
                llvm::SmallVector<Activation> &activations);
  /// Has products find scales of the rows of their activations, as few as the
  /// outputs need, if that helps.
  llvm::Error chooseRowCodes(Measured &measured, const RowProducts &products,
                             llvm::ArrayRef<Activation> activations,
                             llvm::MutableArrayRef<Reading> readings);
  /// Has activations stay float, as few as the cosine of the outputs needs.
  /// Returns what their layers take longer by that.
  llvm::Expected<double> chooseFloats(Measured &measured,
                                      const RowProducts &products,
                                      llvm::ArrayRef<Activation> activations,
                                      llvm::MutableArrayRef<Reading> readings);
  /// Tells products to find scales of rows.
  void giveRowScales(const Sensitive &found);
  /// Collects the attentions whose products may be ones of codes.
  mlir::LogicalResult collectAttentions(const KeepRules &rules);
  /// Gives attentions products of codes, with layers switched so, where outputs
  /// have the cosine and chances of tokens change by no more than layers may
  /// change them besides.
  mlir::LogicalResult chooseAttentions(Sensitive &found,
                                       const Switches &layers);
  /// The same where no layer has a known range: products are quantized later,
  /// and outputs are those of the model with attentions alone in codes.
  mlir::LogicalResult chooseAttentions(Workspace &workspace);
  /// What the layers of each activation take longer in f32. Borders, and what
  /// has no layer, are a hundredth of all layers together.
  llvm::Expected<std::vector<double>>
  estimateCosts(llvm::ArrayRef<Activation> activations);
  /// What 8 bits do to the model, and the weights for that: chosen on the
  /// samples where all bits stay.
  llvm::Expected<std::pair<Measured, ChosenWeights>>
  measureBytes(Workspace &workspace, llvm::ArrayRef<Activation> activations);
  /// Keeps the error of each layer alone and its correction, of those that are
  /// concerned.
  void noteLayers(Measured &measured, llvm::ArrayRef<Activation> activations,
                  llvm::function_ref<bool(mlir::Operation *)> isConcerned);
  void noteError(mlir::Operation *layer, double error);

  mlir::LogicalResult checkBudgets();
  mlir::LogicalResult chooseNothing();
  std::vector<assign::Layer>
  collectProducts(llvm::ArrayRef<const Scheme *> known, const KeepRules &rules,
                  const OutputJudge &judge);
  /// Chooses weights of 4 bits and measures what these and codes do.
  llvm::Expected<Measured> measureNarrow(Workspace &workspace,
                                         llvm::ArrayRef<Activation> activations,
                                         llvm::ArrayRef<assign::Layer> products,
                                         const Scheme &format);
  /// Leaves the candidates that run in integers within the budgets, and tells
  /// products what they run in.
  mlir::LogicalResult
  keepWithinBudgets(llvm::SmallVector<mlir::Operation *> &candidates,
                    const KeepRules &rules);
  llvm::SmallVector<mlir::Operation *>
  takePlan(const BudgetedPlan &plan, llvm::ArrayRef<Activation> activations);
  void takeProducts(const BudgetedPlan &plan,
                    llvm::ArrayRef<assign::Layer> products,
                    const Measured &measured);
  bool takeReason(mlir::Operation *layer, const BudgetedPlan &plan, size_t at);

  /// Gives weights 4 bits where the outputs bear it.
  mlir::LogicalResult
  narrowWeights(llvm::ArrayRef<mlir::Operation *> candidates,
                const KeepRules &rules);
  /// Chooses weights of convolutions, and which of them and of the products
  /// have 8 bits: those that change the outputs most, if all together change
  /// them by more than int8 may besides what codes of activations do.
  llvm::Error chooseNarrow(Workspace &workspace,
                           llvm::ArrayRef<Activation> activations,
                           llvm::ArrayRef<MatMulOp> products,
                           const Scheme &format);
  /// Has layers and products run with weights of 4 bits or of 8, each with the
  /// corrections that belong to it.
  void setWeights(Measured &measured, llvm::ArrayRef<mlir::Operation *> layers,
                  const std::vector<bool> &narrow);
  /// Keeps a layer's weight at 8 bits because of the outputs.
  void keepInBytes(mlir::Operation *layer);
  /// Which layers' weights stay at 8 bits, with their corrections from before,
  /// by what 4 bits do to the outputs.
  llvm::Expected<std::vector<bool>>
  keepWide(Measured &measured, size_t activations,
           llvm::ArrayRef<mlir::Operation *> layers, double bound);

  mlir::ModuleOp module;
  mlir::MLIRContext *context;
  /// Why layers have codes within budgets.
  llvm::DenseMap<mlir::Operation *, std::string> assigned;
  /// Of the outputs on the samples, with the weights at 8 bits.
  double leastCosine = 1;
  /// Weights that the samples chose, and why others have 8 bits.
  WeightChoices chosen = WeightChoices(pairsFit);
  llvm::DenseMap<mlir::Operation *, std::string> wide;
  /// Those that are measured with products of codes.
  llvm::SmallVector<AttentionOp> attentions;
  /// Activations that stay float although integers give them.
  llvm::DenseSet<mlir::Value> keptFloat;
  /// Activations whose channels are divided.
  llvm::DenseMap<mlir::Value, Activation> equalised;
  /// What is added to the channels of layers that stay in int8, and what is
  /// told of it.
  llvm::DenseMap<mlir::Operation *, std::vector<float>> corrections;
  llvm::DenseMap<mlir::Operation *, std::string> notes;
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_STATICQUANTIZER_H
