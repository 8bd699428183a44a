//===- Sensitivity.cpp - what int8 does to a model's outputs ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Sensitivity.h"
#include "../../Precision/Assign/Rounded.h"
#include "Skips.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Calibration/TokenInput.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Evaluate/Metrics.h"
#include "qcc/Support/Diagnostics.h"
#include <mutex>

using namespace mlir;
using namespace qcc;

/// Name of the input with the switches and the corrections: no model's, for
/// names of tensors that a model gives its inputs are its own to choose but
/// this is added behind them.
static constexpr llvm::StringLiteral kSwitches = "qcc.switches";
/// Most samples that are run; they are spread over all.
static constexpr size_t kMostSamples = 32;

/// True for what is compared of the results of the entry.
static bool isComparedOutput(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType().isF32() &&
         !isConstantExpression(value);
}

static void observe(OpBuilder &b, Value value, const Twine &name) {
  std::string text = name.str();
  ObserveOp::create(b, NameLoc::get(b.getStringAttr(text)), value, text);
}

/// `low` where the switch is on, else `high`.
static Value select(OpBuilder &b, Value low, Value high, Value switches,
                    size_t number) {
  auto type = cast<RankedTensorType>(low.getType());
  unsigned rank = type.getRank();
  MLIRContext *context = b.getContext();
  AffineMap same = b.getMultiDimIdentityMap(rank),
            place = AffineMap::get(
                rank, 0, getAffineConstantExpr(int64_t(number), context));
  return createGeneric(
             b, low.getLoc(), type, Combiner::None, {low, high, switches},
             {same, same, place}, {}, {},
             [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               Value zero =
                   arith::ConstantOp::create(body, body.getF32FloatAttr(0));
               Value on = arith::CmpFOp::create(body, arith::CmpFPredicate::OGT,
                                                args[2], zero);
               return arith::SelectOp::create(body, on, args[0], args[1]);
             })
      .getResult();
}

namespace {
/// What a layer's results are chosen by: positions among the numbers of the
/// input.
struct LayerSwitches {
  size_t layer, correction, narrow;
};
} // namespace

/// Observes an exact result as `=` and that of codes as `~`, and has readers
/// take the one that the switch `at` says, which is returned.
static Value switchResult(OpBuilder &b, Value exact, Value moved,
                          Value switches, size_t layerNumber, size_t at) {
  observe(b, exact, "=" + Twine(layerNumber));
  observe(b, moved, "~" + Twine(layerNumber));
  Value chosen = select(b, moved, exact, switches, at);
  exact.replaceUsesWithIf(chosen, [&](OpOperand &use) {
    return use.getOwner() != chosen.getDefiningOp() &&
           !isa<ObserveOp>(use.getOwner());
  });
  return chosen;
}

/// Computes a layer in all ways: observes the exact result as `=`, that of
/// codes as `~`, and gives the one that the switches say. `narrowWeight` may be
/// null.
static Value switchLayer(Operation *layer, Value input,
                         llvm::function_ref<Value(OpBuilder &)> wideWeight,
                         llvm::function_ref<Value(OpBuilder &)> narrowWeight,
                         Value switches, size_t layerNumber, LayerSwitches at,
                         Skips &skips) {
  OpBuilder b(layer->getContext());
  b.setInsertionPointAfter(layer);
  auto multiply = [&](Value weight, const ReadWhere &where) {
    Operation *low = b.clone(*layer);
    low->setOperand(0, input);
    low->setOperand(1, weight);
    skips.add(low, where);
    return low->getResult(0);
  };
  skips.add(layer, {{}, {at.layer}});
  ReadWhere isWide{{at.layer}, {}};
  if (narrowWeight)
    isWide.off.push_back(at.narrow);
  Value exact = layer->getResult(0), moved = multiply(wideWeight(b), isWide);
  if (narrowWeight)
    moved = select(b, multiply(narrowWeight(b), {{at.layer, at.narrow}, {}}),
                   moved, switches, at.narrow);
  if (getChannelPlaces(layer).channels)
    moved = addNumbers(b, layer, moved, switches, int64_t(at.correction));
  return switchResult(b, exact, moved, switches, layerNumber, at.layer);
}

/// Computes a product in all ways, as switchLayer. `narrowWeight` may be null.
static void switchProduct(MatMulOp product, const SwitchedProducts &formats,
                          llvm::function_ref<Value(OpBuilder &)> narrowWeight,
                          Value switches, size_t layerNumber, LayerSwitches at,
                          Skips &skips) {
  OpBuilder b(product.getContext());
  b.setInsertionPointAfter(product);
  Value exact = product.getResult(), moved;
  auto multiply = [&](Value input, Value weight,
                      const ReadWhere &where) -> Value {
    auto low = MatMulOp::create(b, product.getLoc(), exact.getType(), input,
                                weight, /*trans_a=*/false, /*trans_b=*/false);
    skips.add(low, where);
    return low;
  };
  auto round = [&](const Scheme *scheme) {
    Value input = product.getLhs();
    return scheme ? assign::roundActivation(b, input, *scheme, {}) : input;
  };
  skips.add(product, {{}, {at.layer}});
  ReadWhere isNarrow{{at.layer}, {}}, isWide = isNarrow;
  if (narrowWeight && formats.wide) {
    isNarrow.on.push_back(at.narrow);
    isWide.off.push_back(at.narrow);
  }
  if (narrowWeight)
    moved = multiply(round(formats.narrow), narrowWeight(b), isNarrow);
  if (formats.wide) {
    Value wide =
        multiply(round(formats.wide),
                 assign::roundWeight(b, product, *formats.wide), isWide);
    moved = moved ? select(b, moved, wide, switches, at.narrow) : wide;
  }
  switchResult(b, exact, moved, switches, layerNumber, at.layer);
}

/// Computes an attention in both ways, as switchLayer.
static void switchAttention(AttentionOp op, Value switches, size_t number,
                            size_t at, Skips &skips) {
  OpBuilder b(op.getContext());
  b.setInsertionPointAfter(op);
  auto low = cast<AttentionOp>(b.clone(*op));
  low.setInt8(true);
  skips.add(op, {{}, {at}});
  skips.add(low, {{at}, {}});
  switchResult(b, op.getResult(), low.getResult(), switches, number, at);
}

llvm::Expected<std::unique_ptr<SwitchedModel>> SwitchedModel::create(
    Workspace &workspace, ModuleOp module, ArrayRef<Activation> activations,
    const WeightChoices &weights, const SwitchedProducts &products) {
  std::unique_ptr<SwitchedModel> model(new SwitchedModel(workspace));
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  func::FuncOp entry = *copy->getOps<func::FuncOp>().begin();
  model->findTokens(entry);
  OpBuilder b(entry);
  model->numActivations = activations.size();
  size_t channels = 0;
  for (auto [number, activation] : llvm::enumerate(activations))
    for (Operation *layer : activation.layers) {
      model->groupOf.push_back(number);
      model->places.push_back(getChannelPlaces(layer));
      channels += model->places.back().channels;
    }
  for (size_t i = 0; i < products.ops.size(); ++i)
    model->groupOf.push_back(activations.size() + i);
  model->places.resize(model->groupOf.size());
  model->corrections.resize(channels);
  model->narrow.assign(model->places.size(), true);
  model->attentions.resize(products.attentions.size());
  size_t firstLayer = activations.size(),
         firstChannel = firstLayer + model->groupOf.size(),
         firstNarrow = firstChannel + channels,
         firstAttention = firstNarrow + model->places.size();
  size_t always = firstAttention + products.attentions.size();
  auto type = RankedTensorType::get({int64_t(always + 1)}, b.getF32Type());
  size_t offset = firstChannel;
  unsigned position = entry.getNumArguments();
  if (failed(entry.insertArgument(position, type,
                                  b.getDictionaryAttr(b.getNamedAttr(
                                      "qcc.name", b.getStringAttr(kSwitches))),
                                  entry.getLoc())))
    return makeError(Diag::Internal, kSwitches, "cannot add an input");
  Value switches = entry.getArgument(position);
  Skips skips;
  for (auto [number, activation] : llvm::enumerate(activations)) {
    Value value = mapping.lookup(activation.value);
    b.setInsertionPointAfterValue(value);
    ActivationCodes codes = createCodes(b, value, activation);
    Value chosen = select(b, codes.forOthers, value, switches, number);
    value.replaceUsesWithIf(chosen, [&](OpOperand &use) {
      Operation *user = use.getOwner();
      return user != codes.first && user != chosen.getDefiningOp() &&
             readsCodes(use);
    });
    for (Operation *layer : activation.layers) {
      Operation *own = mapping.lookup(layer);
      auto wide = [&](OpBuilder &at) {
        return weights.createBytes(at, layer, own, activation.scales);
      };
      auto chosenWeight = [&](OpBuilder &at) {
        return weights.narrow.create(at, layer, own, activation.scales);
      };
      llvm::function_ref<Value(OpBuilder &)> narrow;
      if (weights.narrow.contains(layer))
        narrow = chosenWeight;
      mapping.map(layer->getResult(0),
                  switchLayer(own, codes.forLayers, wide, narrow, switches,
                              model->layers,
                              {firstLayer + model->layers, offset,
                               firstNarrow + model->layers},
                              skips));
      offset += model->places[model->layers++].channels;
    }
  }
  for (MatMulOp original : products.ops) {
    size_t number = model->layers++;
    auto chosenWeight = [&](OpBuilder &at) {
      return weights.narrow.createProductWeight(at, original);
    };
    llvm::function_ref<Value(OpBuilder &)> narrow;
    if (weights.narrow.contains(original))
      narrow = chosenWeight;
    switchProduct(cast<MatMulOp>(mapping.lookup(original.getOperation())),
                  products, narrow, switches, number,
                  {firstLayer + number, /*correction=*/0, firstNarrow + number},
                  skips);
  }
  size_t attention = 0;
  for (AttentionOp original : products.attentions) {
    Operation *own = mapping.lookup(original.getOperation());
    switchAttention(cast<AttentionOp>(own), switches, model->layers + attention,
                    firstAttention + attention, skips);
    ++attention;
  }
  skips.apply(switches, always);
  Operation *end = entry.getBody().front().getTerminator();
  b.setInsertionPoint(end);
  for (Value value : end->getOperands())
    if (isComparedOutput(value))
      observe(b, value, "@" + Twine(model->outputs++));
  auto program = workspace.compile(*copy);
  if (!program)
    return program.takeError();
  model->program = std::move(*program);
  ArrayRef<Sample> all = workspace.getSamples();
  size_t count = std::min(all.size(), model->getMostSamples(all));
  for (size_t i = 0; i < count; ++i)
    model->samples.push_back(all[i * all.size() / count]);
  for (Sample &sample : model->samples)
    sample.arrays.emplace_back(); // the switches
  return std::move(model);
}

void SwitchedModel::findTokens(func::FuncOp entry) {
  Operation *end = entry.getBody().front().getTerminator();
  auto output = llvm::find_if(end->getOperands(), isComparedOutput);
  if (output == end->operand_end())
    return;
  tokenInputs = findTokenInputs(entry, *output);
  if (!tokenInputs.empty())
    classes = getConstantSize(getDims((*output).getType()).back()).value_or(0);
}

/// How many samples are run: of a language model as many as have enough tokens.
size_t SwitchedModel::getMostSamples(ArrayRef<Sample> all) const {
  uint64_t most = 1;
  for (const std::string &input : tokenInputs)
    if (const SampleArray *array = findArray(all.front().arrays, input))
      most = std::max<uint64_t>(most, getIntegers(*array).size());
  return most == 1 ? kMostSamples
                   : std::clamp<size_t>(OutputJudge::kPositions / most,
                                        kRankedSamples, kMostSamples);
}

/// Leaves the inputs of which all samples have tokens for the output.
void SwitchedModel::checkTokens() {
  llvm::erase_if(tokenInputs, [&](const std::string &input) {
    return !llvm::all_of(llvm::enumerate(samples), [&](auto sample) {
      return hasTokens(sample.value(), input,
                       exact[sample.index()].front().size(), classes);
    });
  });
  if (tokenInputs.empty() || classes < 2)
    classes = 0;
}

Switches SwitchedModel::getSwitches(const std::vector<bool> &onOf) const {
  Switches switches;
  switches.activations.assign(onOf.begin(),
                              onOf.begin() + ptrdiff_t(numActivations));
  for (size_t group : groupOf)
    switches.layers.push_back(onOf[group]);
  return switches;
}

/// The numbers that the copy's further input has, in its order.
SampleArray SwitchedModel::makeInput(const Switches &switches,
                                     bool computesAll) const {
  std::vector<float> values(switches.activations.begin(),
                            switches.activations.end());
  values.insert(values.end(), switches.layers.begin(), switches.layers.end());
  values.insert(values.end(), corrections.begin(), corrections.end());
  values.insert(values.end(), narrow.begin(), narrow.end());
  values.insert(values.end(), attentions.begin(), attentions.end());
  values.push_back(computesAll);
  SampleArray array;
  array.name = kSwitches;
  array.code = 2; // DLPack's float
  array.bits = 32;
  array.shape = {int64_t(values.size())};
  auto *bytes = reinterpret_cast<const char *>(values.data());
  array.bytes.assign(bytes, bytes + values.size() * sizeof(float));
  return array;
}

llvm::Error SwitchedModel::runSamples(const Switches &switches, size_t count,
                                      Workspace::Listener listener,
                                      bool computesAll) {
  workspace.report("measuring choices, run " + Twine(++runs));
  for (Sample &sample : samples)
    sample.arrays.back() = makeInput(switches, computesAll);
  return workspace.runSamples(*program, ArrayRef(samples).take_front(count),
                              listener);
}

static size_t getNumber(StringRef name) {
  size_t number = 0;
  name.drop_front().getAsInteger(10, number);
  return number;
}

llvm::Expected<std::vector<double>> SwitchedModel::measureLayers() {
  exact.assign(samples.size(), std::vector<std::vector<float>>(outputs));
  // A layer in a loop gives several pairs.
  std::vector<std::vector<float>> pending(samples.size());
  size_t all = layers + attentions.size();
  std::vector<std::vector<Products>> ofLayers(samples.size(),
                                              std::vector<Products>(all));
  channelErrors.assign(layers, std::vector<ChannelErrors>(samples.size()));
  corrections.assign(corrections.size(), 0);
  if (llvm::Error error = runSamples(
          {std::vector<bool>(numActivations), std::vector<bool>(layers)},
          samples.size(),
          [&](size_t sample, StringRef name, ArrayRef<float> values) {
            size_t number = getNumber(name);
            if (name.front() == '@')
              exact[sample][number] = values.vec();
            else if (name.front() == '=')
              pending[sample] = values.vec();
            else {
              ofLayers[sample][number].add(pending[sample], values);
              auto [channels, inner] =
                  number < layers ? places[number] : ChannelPlaces();
              if (channels && inner)
                channelErrors[number][sample].add(pending[sample], values,
                                                  channels, inner);
            }
          },
          /*computesAll=*/true))
    return std::move(error);
  if (outputs)
    checkTokens();
  std::vector<double> errors;
  for (size_t layer = 0; layer < all; ++layer) {
    Products sum;
    for (const std::vector<Products> &sample : ofLayers)
      sum.add(sample[layer]);
    errors.push_back(sum.getError());
  }
  return std::move(errors);
}

std::vector<std::optional<Correction>> SwitchedModel::findCorrections() const {
  std::vector<std::optional<Correction>> result;
  for (const std::vector<ChannelErrors> &samplesOfLayer : channelErrors)
    result.push_back(correctBias(samplesOfLayer));
  return result;
}

void SwitchedModel::setCorrections(
    ArrayRef<std::optional<Correction>> newCorrections) {
  corrections.clear();
  for (auto [place, correction] : llvm::zip_equal(places, newCorrections))
    if (correction)
      llvm::append_range(corrections, correction->values);
    else
      corrections.resize(corrections.size() + place.channels);
}

/// The Kullback-Leibler divergence of all positions of logits, summed, and
/// their number.
static std::pair<double, double>
diverge(ArrayRef<float> exact, ArrayRef<float> values, size_t classes) {
  int64_t shape[] = {int64_t(exact.size() / classes), int64_t(classes)};
  auto rows = scoreRows(Metric::KL, OutputView(exact, shape),
                        OutputView(values, shape), {});
  if (!rows) {
    llvm::consumeError(rows.takeError());
    return {HUGE_VAL, 1};
  }
  std::pair<double, double> sum;
  for (const RowScore &row : *rows) {
    sum.first += row.candidate;
    sum.second += row.count;
  }
  return sum;
}

llvm::Expected<Agreement> SwitchedModel::run(const Switches &switches,
                                             size_t count) {
  count = std::min(count, samples.size());
  Agreement agreement(count, outputs);
  agreement.divergences.resize(classes ? count : 0);
  if (llvm::Error error = runSamples(
          switches, count,
          [&](size_t sample, StringRef name, ArrayRef<float> values) {
            if (name.front() != '@')
              return;
            size_t output = getNumber(name);
            ArrayRef<float> reference = exact[sample][output];
            agreement.parts[sample][output].add(reference, values);
            if (classes && output == 0)
              agreement.divergences[sample] =
                  diverge(reference, values, size_t(classes));
          }))
    return std::move(error);
  return std::move(agreement);
}

llvm::Expected<OutputScore> SwitchedModel::score(const OutputJudge &judge,
                                                 const Switches &switches,
                                                 size_t count) const {
  // A judge takes the first output of f32, as outputs are numbered here.
  return judge.score(*program, {makeInput(switches)}, "@0", count);
}
