//===- ChosenWeights.cpp - weights chosen by the samples --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ChosenWeights.h"
#include "WeightMath.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/SchemeGrid.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

/// Weights per output whose inputs are correlated: the sums of more take longer
/// than a model's other layers together.
static constexpr int64_t kMaxGramRows = 2304;
/// Weights of all products together whose inputs are looked at: more are those
/// of language models, for which `--algo=gptq` can be asked for.
static constexpr int64_t kMaxProductWeights = int64_t(1) << 24;
/// Inputs that sums are made of, from all samples, and the fewest pixels of a
/// sample.
static constexpr int64_t kWantedRows = 16384, kLeastPixels = 64;
/// Every how many pixels are taken where the model does not state how many
/// there are.
static constexpr int64_t kUnknownStride = 2;
/// The schemes whose numbers weights of 4 and 8 bits have: one scale per
/// output.
static constexpr llvm::StringLiteral kNarrow = "w4a8:channel", kBytes = "int8";

static const Scheme &getScheme(ModuleOp module, unsigned bits,
                               StringRef parameters = "") {
  std::string key = (bits == 4 ? kNarrow : kBytes).str() + parameters.str();
  return *getSchemes(module.getContext()).lookup(key);
}

bool qcc::mayBeNarrow(Operation *layer) {
  return isa<ConvOp>(layer) && !isDepthwise(layer);
}

static RankedTensorType getWeightType(Operation *layer) {
  return cast<RankedTensorType>(layer->getOperand(1).getType());
}

/// The dimension of a weight that its outputs are.
static int64_t getOutputAxis(Operation *layer) {
  auto matmul = dyn_cast<MatMulOp>(layer);
  return matmul && !matmul.getTransB() ? 1 : 0;
}

static int64_t getOutputs(Operation *layer) {
  return getWeightType(layer).getDimSize(unsigned(getOutputAxis(layer)));
}

/// Weights per output.
static int64_t getRows(Operation *layer) {
  return getWeightType(layer).getNumElements() / getOutputs(layer);
}

/// Input channels of a group.
static int64_t getInputs(Operation *layer) {
  return isa<MatMulOp>(layer) ? getRows(layer)
                              : getWeightType(layer).getDimSize(1);
}

/// Every how many pixels, along each dimension, the inputs of a layer are
/// taken.
static int64_t getPixelStride(ConvOp conv, size_t samples) {
  SmallVector<AffineExpr> dims = getDims(conv.getResult().getType());
  std::optional<int64_t> pixels =
      getConstantSize(product(ArrayRef(dims).drop_front(2), conv.getContext()));
  int64_t wanted = std::max(
      kWantedRows / std::max<int64_t>(int64_t(samples), 1), kLeastPixels);
  if (!pixels)
    return kUnknownStride;
  if (*pixels <= wanted)
    return 1;
  double ratio = double(*pixels) / double(wanted),
         spatial = double(dims.size() - 2);
  return std::max<int64_t>(int64_t(std::pow(ratio, 1 / spatial)), 1);
}

/// What the outputs of a convolution without groups are sums of, [N, pixels...,
/// C * window] f32: a convolution whose weights are those of the unit matrix.
static Value createInputs(OpBuilder &b, ConvOp conv, Value unit,
                          int64_t pixelStride) {
  SmallVector<AffineExpr> dims = getDims(conv.getResult().getType());
  dims[1] = getAffineConstantExpr(getRows(conv), b.getContext());
  SmallVector<int64_t> strides(conv.getStrides()), order{0};
  for (size_t i = 0; i < strides.size(); ++i) {
    strides[i] *= pixelStride;
    dims[2 + i] = (dims[2 + i] - 1).floorDiv(pixelStride) + 1;
    order.push_back(int64_t(2 + i));
  }
  order.push_back(1);
  auto inputs = ConvOp::create(
      b, conv.getLoc(), makeTensorType(dims, b.getF32Type()), conv.getInput(),
      unit, strides, conv.getPads(), conv.getDilations(), /*groups=*/1);
  return permute(b, conv.getLoc(), inputs.getResult(), order).getResult();
}

/// Multiplies a weight [outputs, rows] by the scales of its input channels.
static void scaleWeight(std::vector<float> &weight, Operation *layer,
                        ArrayRef<float> scales) {
  if (scales.empty())
    return;
  auto conv = dyn_cast<ConvOp>(layer);
  int64_t rows = getRows(layer), inputs = getInputs(layer),
          taps = rows / inputs,
          perGroup = getOutputs(layer) / (conv ? int64_t(conv.getGroups()) : 1);
  for (size_t i = 0; i < weight.size(); ++i) {
    int64_t group = int64_t(i) / rows / perGroup;
    weight[i] *= scales[size_t(group * inputs + int64_t(i) / taps % inputs)];
  }
}

/// Divides inputs by the same scales: rows and columns of a Gram matrix.
static void scaleGram(std::vector<double> &gram, int64_t rows, int64_t taps,
                      ArrayRef<float> scales) {
  if (scales.empty())
    return;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < rows; ++j)
      gram[size_t(i * rows + j)] /=
          double(scales[size_t(i / taps)]) * scales[size_t(j / taps)];
}

namespace {
/// A layer whose weight is chosen.
struct Layer {
  Operation *op; ///< a convolution or a product
  ArrayRef<float> inputScales;

  /// Whether what is known of its inputs is used.
  bool hasGram() const {
    auto conv = dyn_cast<ConvOp>(op);
    return (!conv || conv.getGroups() == 1) && getRows(op) <= kMaxGramRows;
  }
};
} // namespace

/// The layers of activations whose weights may be chosen: convolutions, with 8
/// bits products too, if all together are not too large.
static SmallVector<Layer> collectLayers(ArrayRef<Activation> activations,
                                        unsigned bits) {
  SmallVector<Layer> layers;
  int64_t inProducts = 0;
  for (const Activation &activation : activations)
    for (Operation *layer : activation.layers) {
      bool isProduct = bits == 8 && isa<MatMulOp>(layer) &&
                       layer->getOperand(1).getDefiningOp<ParamOp>();
      if (isProduct)
        inProducts += getWeightType(layer).getNumElements();
      if (isProduct || mayBeNarrow(layer))
        layers.push_back({layer, activation.scales});
    }
  if (inProducts > kMaxProductWeights)
    llvm::erase_if(layers, [](Layer layer) { return isa<MatMulOp>(layer.op); });
  return layers;
}

ChosenWeights ChosenWeights::round(ArrayRef<Activation> activations,
                                   bool pairsFit) {
  ChosenWeights result(pairsFit);
  for (Layer layer : collectLayers(activations, 4))
    result.entries[layer.op] = {"", "", "rtn", ""};
  return result;
}

/// Chooses weights in a copy of the module, in which it builds what their
/// inputs are observed by.
class ChosenWeights::Chooser {
public:
  Chooser(Workspace &workspace, ModuleOp module, WeightForm form)
      : workspace(workspace),
        copy(cast<ModuleOp>(module.getOperation()->clone(mapping))),
        b(copy->getContext()), grid(getScheme(module, form.bits)),
        clipped(getScheme(module, form.bits, ":clip")) {
    result.form = form;
  }

  llvm::Error takeLayers(ArrayRef<Layer> layers);
  llvm::Error takeProducts(ArrayRef<MatMulOp> products, const Scheme &scheme);
  /// Chooses those whose inputs are looked at.
  llvm::Error finish();

  ChosenWeights result;

private:
  /// A shard has not all samples; nothing after this pass asks it for more.
  bool hasAllSamples() const {
    return workspace.getRole() != Rounds::Role::Shard;
  }
  llvm::Error choose(Layer layer, std::vector<double> gram);
  llvm::Error choose(MatMulOp product, ArrayRef<double> gram);
  /// Adds a parameter of a layer and returns its key.
  template <typename T>
  llvm::Expected<std::string> add(Operation *layer, StringRef name,
                                  ArrayRef<T> values, ArrayRef<int64_t> shape);
  llvm::Expected<Value> createUnit(Layer layer);

  Workspace &workspace;
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy;
  OpBuilder b;
  SchemeGrid grid, clipped;
  std::optional<SchemeGrid> productGrid;
  bool hasZeros = false; ///< that grid
  /// Layers with inputs, and these: layers of activations before products of a
  /// scheme.
  SmallVector<Layer> known;
  SmallVector<MatMulOp> knownProducts;
  SmallVector<Value> inputs;
  /// Keys of unit matrices by their shape.
  std::map<std::string, std::string> units;
};

template <typename T>
llvm::Expected<std::string>
ChosenWeights::Chooser::add(Operation *layer, StringRef name,
                            ArrayRef<T> values, ArrayRef<int64_t> shape) {
  b.setInsertionPoint(mapping.lookup(layer));
  std::string key = (getNodeName(layer->getLoc()) + "." + name).str();
  auto param = workspace.addParameter(b, layer->getLoc(), key, values, shape);
  if (!param)
    return param.takeError();
  // Parameters are found by their keys: what defines them here is dropped.
  auto op = param->template getDefiningOp<ParamOp>();
  std::string unique = op.getKey().str();
  op.erase();
  return unique;
}

llvm::Error ChosenWeights::Chooser::choose(Layer layer,
                                           std::vector<double> gram) {
  auto weight = workspace.evaluate(layer.op->getOperand(1));
  if (!weight)
    return weight.takeError();
  int64_t outputs = getOutputs(layer.op), rows = getRows(layer.op),
          channels = getInputs(layer.op);
  bool isTransposed = getOutputAxis(layer.op) != 0;
  if (isTransposed)
    *weight = transposeWeight(*weight, rows, outputs);
  scaleWeight(*weight, layer.op, layer.inputScales);
  if (!gram.empty())
    scaleGram(gram, rows, rows / channels, layer.inputScales);
  bool isNarrow = result.form.bits == 4;
  std::vector<int64_t> kernelRows;
  if (result.form.pairsFit)
    kernelRows = getKernelRows(channels, rows / channels);
  ChosenValues chosen =
      chooseWeight(grid, clipped, *weight, outputs, gram,
                   {kernelRows, /*refine=*/isNarrow, workspace.getThreads()});
  if (!isNarrow && chosen.method == "rtn")
    return llvm::Error::success();
  if (isTransposed)
    chosen.values = transposeWeight(chosen.values, outputs, rows);
  auto values =
      add(layer.op, isNarrow ? "int4" : "int8", ArrayRef(chosen.values),
          getWeightType(layer.op).getShape());
  if (!values)
    return values.takeError();
  auto scales = add(layer.op, isNarrow ? "int4.scales" : "int8.scales",
                    ArrayRef(chosen.scales), outputs);
  if (!scales)
    return scales.takeError();
  result.entries[layer.op] = {*values, *scales, chosen.method, ""};
  return llvm::Error::success();
}

llvm::Error ChosenWeights::Chooser::choose(MatMulOp product,
                                           ArrayRef<double> gram) {
  auto weight = workspace.evaluate(product.getRhs());
  if (!weight)
    return weight.takeError();
  RankedTensorType type = getWeightType(product);
  int64_t k = type.getDimSize(product.getTransB() ? 1 : 0),
          n = type.getDimSize(product.getTransB() ? 0 : 1);
  if (product.getTransB())
    *weight = transposeWeight(*weight, n, k);
  RoundedChoice chosen =
      chooseRounded(*productGrid, {k, n, *weight}, gram,
                    {{}, /*refine=*/true, workspace.getThreads()});
  auto values = add(product, "int4", ArrayRef(chosen.weights.values), {k, n});
  if (!values)
    return values.takeError();
  std::vector<float> scaleNumbers;
  std::vector<int32_t> zeroNumbers;
  for (GridAffine affine : chosen.weights.affines) {
    scaleNumbers.push_back(affine.scale);
    zeroNumbers.push_back(affine.zero);
  }
  int64_t groups = countGroups(*productGrid, k);
  auto scales =
      add(product, "int4.scales", ArrayRef(scaleNumbers), {groups, n});
  if (!scales)
    return scales.takeError();
  Entry entry{*values, *scales,        chosen.method,
              "",      chosen.nearest, chosen.chosen};
  if (hasZeros) {
    auto zeros = add(product, "int4.zeros", ArrayRef(zeroNumbers), {groups, n});
    if (!zeros)
      return zeros.takeError();
    entry.zeros = *zeros;
  }
  result.entries[product] = std::move(entry);
  return llvm::Error::success();
}

/// The unit matrix as a weight of the layer's shape with an output for each
/// input of its sums.
llvm::Expected<Value> ChosenWeights::Chooser::createUnit(Layer layer) {
  int64_t rows = getRows(layer.op);
  SmallVector<int64_t> shape(getWeightType(layer.op).getShape());
  shape[0] = rows;
  std::string name;
  for (int64_t size : shape)
    name += "." + std::to_string(size);
  std::string &key = units[name];
  if (key.empty()) {
    std::vector<float> unit(size_t(rows * rows));
    for (int64_t i = 0; i < rows; ++i)
      unit[size_t(i * rows + i)] = 1;
    auto added = add(layer.op, "unit", ArrayRef(unit), shape);
    if (!added)
      return added.takeError();
    key = *added;
  }
  b.setInsertionPoint(mapping.lookup(layer.op));
  return ParamOp::create(b, layer.op->getLoc(),
                         RankedTensorType::get(shape, b.getF32Type()), key)
      .getResult();
}

llvm::Error ChosenWeights::Chooser::takeLayers(ArrayRef<Layer> layers) {
  for (Layer layer : layers) {
    if (!layer.hasGram() || !hasAllSamples()) {
      if (result.form.bits == 8)
        continue;
      if (llvm::Error error = choose(layer, {}))
        return error;
      continue;
    }
    known.push_back(layer);
    auto conv = dyn_cast<ConvOp>(mapping.lookup(layer.op));
    if (!conv) {
      inputs.push_back(mapping.lookup(layer.op->getOperand(0)));
      continue;
    }
    llvm::Expected<Value> unit = createUnit(layer);
    if (!unit)
      return unit.takeError();
    inputs.push_back(createInputs(
        b, conv, *unit, getPixelStride(conv, workspace.getSamples().size())));
  }
  return llvm::Error::success();
}

llvm::Error ChosenWeights::Chooser::takeProducts(ArrayRef<MatMulOp> products,
                                                 const Scheme &scheme) {
  productGrid.emplace(scheme);
  hasZeros = !scheme.getZero();
  int64_t all = 0;
  for (MatMulOp product : products)
    all += getWeightType(product).getNumElements();
  for (MatMulOp product : products) {
    Value input = mapping.lookup(product.getLhs());
    std::optional<int64_t> rows =
        getConstantSize(getDims(input.getType()).back());
    if (all > kMaxProductWeights || !rows || *rows > kMaxGramRows ||
        !hasAllSamples()) {
      if (llvm::Error error = choose(product, {}))
        return error;
      continue;
    }
    knownProducts.push_back(product);
    inputs.push_back(input);
  }
  return llvm::Error::success();
}

llvm::Error ChosenWeights::Chooser::finish() {
  if (inputs.empty())
    return llvm::Error::success();
  return workspace.gatherHere(*copy, inputs, [&](size_t i, InputData &data) {
    workspace.report("weights of layer " + Twine(i + 1) + " of " +
                     Twine(inputs.size()));
    if (i < known.size())
      return choose(known[i], data.gram.getMeans());
    return choose(knownProducts[i - known.size()], data.gram.getMeans());
  });
}

llvm::Expected<ChosenWeights> ChosenWeights::choose(
    Workspace &workspace, ModuleOp module, ArrayRef<Activation> activations,
    ArrayRef<MatMulOp> products, const Scheme &scheme, bool pairsFit) {
  Chooser chooser(workspace, module, {4, pairsFit});
  if (llvm::Error error = chooser.takeLayers(collectLayers(activations, 4)))
    return std::move(error);
  if (llvm::Error error = chooser.takeProducts(products, scheme))
    return std::move(error);
  if (llvm::Error error = chooser.finish())
    return std::move(error);
  return std::move(chooser.result);
}

llvm::Expected<ChosenWeights>
ChosenWeights::chooseBytes(Workspace &workspace, ModuleOp module,
                           ArrayRef<Activation> activations, bool pairsFit) {
  Chooser chooser(workspace, module, {8, pairsFit});
  if (llvm::Error error = chooser.takeLayers(collectLayers(activations, 8)))
    return std::move(error);
  if (llvm::Error error = chooser.finish())
    return std::move(error);
  return std::move(chooser.result);
}

Value ChosenWeights::create(OpBuilder &b, Operation *original, Operation *layer,
                            ArrayRef<float> inputScales) const {
  const Entry &entry = entries.find(original)->second;
  if (entry.values.empty())
    return quantizeWeight(b, layer, inputScales, form);
  Location loc = layer->getLoc();
  auto param = [&](ArrayRef<int64_t> shape, StringRef key) -> Value {
    return ParamOp::create(b, loc, RankedTensorType::get(shape, b.getF32Type()),
                           key);
  };
  RankedTensorType type = getWeightType(original);
  return createWeightCodes(b, loc, param(type.getShape(), entry.values),
                           param(getOutputs(original), entry.scales),
                           getOutputAxis(original), form);
}

Value ChosenWeights::createProductWeight(OpBuilder &b, MatMulOp product) const {
  RankedTensorType type = getWeightType(product);
  SmallVector<int64_t> shape(type.getShape());
  if (product.getTransB())
    std::swap(shape[0], shape[1]);
  return ParamOp::create(b, product.getLoc(), type.clone(shape),
                         entries.find(product)->second.values);
}

void ChosenWeights::apply(MatMulOp product) const {
  const Entry &entry = entries.find(product)->second;
  OpBuilder b(product);
  Value weight = createProductWeight(b, product);
  product.getRhsMutable().assign(weight);
  product.setTransB(false);
  product->setAttr(kScalesAttr, b.getStringAttr(entry.scales));
  if (!entry.zeros.empty())
    product->setAttr(kZerosAttr, b.getStringAttr(entry.zeros));
  product->setAttr(kAlgorithmAttr, b.getStringAttr(entry.method));
  if (entry.chosen > 0)
    product->setAttr(kErrorAttr, b.getF32ArrayAttr({float(entry.nearest),
                                                    float(entry.chosen)}));
}

Value WeightChoices::createBytes(OpBuilder &b, Operation *original,
                                 Operation *layer,
                                 ArrayRef<float> inputScales) const {
  return bytes.contains(original)
             ? bytes.create(b, original, layer, inputScales)
             : quantizeWeight(b, layer, inputScales, bytes.getByteForm());
}

StringRef WeightChoices::getMethod(Operation *layer) const {
  if (narrow.contains(layer))
    return narrow.getMethod(layer);
  return bytes.contains(layer) ? bytes.getMethod(layer) : "";
}
