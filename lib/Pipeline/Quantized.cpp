//===- Quantized.cpp - what was quantized, as ONNX --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Import/ONNX/WriteQdq.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

/// The one number of a constant.
template <typename T> static T getNumber(Value constant) {
  auto op = constant.getDefiningOp<ConstantOp>();
  auto dense = cast<DenseElementsAttr>(op.getValue());
  if constexpr (std::is_same_v<T, float>)
    return dense.getSplatValue<APFloat>().convertToFloat();
  else
    return T(dense.getSplatValue<APInt>().getZExtValue());
}

/// The product with a vector of factors that equalised channels are, if a value
/// is one.
static GenericOp getEqualised(Value value) {
  auto product = value.getDefiningOp<GenericOp>();
  return product && product->hasAttr(kEqualisedAttr) ? product : GenericOp();
}

static std::vector<float> getFactors(GenericOp product) {
  auto constant = product.getInputs()[1].getDefiningOp<ConstantOp>();
  auto values = cast<DenseElementsAttr>(constant.getValue()).getValues<float>();
  return std::vector<float>(values.begin(), values.end());
}

/// The cast of a tensor of f16 or bf16 to f32, if a value is one.
static GenericOp getWidened(Value value) {
  auto cast = value.getDefiningOp<GenericOp>();
  if (!cast || cast.getInputs().size() != 1 || cast.isReduction())
    return {};
  Type from = getElementTypeOrSelf(cast.getInputs()[0].getType());
  auto yielded = cast.getYielded().getDefiningOp<arith::ExtFOp>();
  bool isCast = yielded && isa<BlockArgument>(yielded.getIn()) &&
                cast.getMap(0).isIdentity() && (from.isF16() || from.isBF16());
  return isCast ? cast : GenericOp();
}

static QdqActivation describeActivation(QuantizeOp op) {
  QdqActivation activation;
  Value value = op.getInput();
  Operation *first = op;
  if (GenericOp product = getEqualised(value)) {
    activation.factors = getFactors(product);
    AffineMap map = product.getMap(1);
    activation.factorShape.assign(map.getNumDims(), 1);
    activation.factorShape[map.getDimPosition(0)] =
        int64_t(activation.factors.size());
    first = product;
    value = product.getInputs()[0];
  }
  if (GenericOp cast = getWidened(value)) {
    activation.isShort = true;
    first = cast;
    value = cast.getInputs()[0];
  }
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto func = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (func)
      if (auto name = func.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                        "qcc.name"))
        activation.tensor = name.getValue().str();
  } else {
    // The tensor is the node's output where no other operation that the node
    // became reads the value.
    StringRef node = getNodeName(value.getLoc());
    activation.node = node.str();
    activation.isWhole = llvm::none_of(value.getUsers(), [&](Operation *user) {
      return user != first && getNodeName(user->getLoc()) == node;
    });
  }
  activation.scale = getNumber<float>(op.getScale());
  if (op.getZero())
    activation.zeroPoint = getNumber<uint8_t>(op.getZero());
  for (Operation *user : op.getResult().getUsers())
    for (Operation *reader : user->getUsers()) {
      GenericOp product = reader->getNumResults() == 1
                              ? getEqualised(reader->getResult(0))
                              : GenericOp();
      if (!product) {
        activation.readers.insert(getNodeName(reader->getLoc()));
        continue;
      }
      activation.inverses = getFactors(product);
      for (Operation *other : product->getUsers())
        activation.unscaledReaders.insert(getNodeName(other->getLoc()));
    }
  // Codes that only a part of the same node reads are inside of it too.
  if (activation.tensor.empty())
    activation.isWhole &= !activation.readers.contains(activation.node) &&
                          !activation.unscaledReaders.contains(activation.node);
  return activation;
}

/// Rounds as `qcc.quantize` does what StaticInt8 gives it.
static void roundToBytes(QdqWeight &weight) {
  int64_t channels = weight.shape[size_t(weight.axis)], inner = 1;
  for (size_t i = size_t(weight.axis) + 1; i < weight.shape.size(); ++i)
    inner *= weight.shape[i];
  if (weight.scales.size() == 1)
    weight.scales.resize(size_t(channels), weight.scales[0]);
  auto channelOf = [&](size_t i) {
    return size_t(int64_t(i) / inner % channels);
  };
  for (auto [i, value] : llvm::enumerate(weight.floats))
    weight.codes.push_back(
        int8_t(std::nearbyint(value / weight.scales[channelOf(i)])));
}

/// Of a QuantizeOp that the model has: its file says it already.
static constexpr StringLiteral kOwnCodesAttr = "qcc.own_codes";

void Compilation::markOwnCodes() {
  module->walk([&](QuantizeOp op) {
    op->setAttr(kOwnCodesAttr, UnitAttr::get(&context));
  });
}

void Compilation::markParts() {
  llvm::MapVector<StringRef, SmallVector<MatMulOp>> byNode;
  module->walk([&](MatMulOp op) {
    if (isConstantExpression(op.getRhs()) &&
        !isConstantExpression(op.getResult()))
      byNode[getNodeName(op.getLoc())].push_back(op);
  });
  for (auto &[node, products] : byNode) {
    if (products.size() == 1)
      continue;
    for (MatMulOp product : products)
      product->setAttr(kPartAttr, UnitAttr::get(&context));
    result.warnings.push_back(("--emit=qdq-onnx leaves node '" + node +
                               "' in float: it has " + Twine(products.size()) +
                               " weights, which no QDQ graph can have")
                                  .str());
  }
}

llvm::Expected<std::string> Compilation::writeQuantized() {
  std::vector<QdqActivation> activations;
  std::vector<QdqWeight> weights;
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  llvm::StringMap<GenericOp> sums; // what normalisations left, by convolution
  module->walk([&](GenericOp op) {
    if (auto conv = op->getAttrOfType<StringAttr>(kShiftOfAttr))
      sums[conv] = op;
  });
  llvm::StringMap<Value> modelWeights; // by layer
  unquantized->walk([&](Operation *op) {
    if (isa<MatMulOp, ConvOp>(op) && isConstantExpression(op->getOperand(1)))
      modelWeights[getNodeName(op->getLoc())] =
          getModelWeight(op->getOperand(1));
  });
  bool hasOwn = false;
  module->walk([&](QuantizeOp op) {
    hasOwn |= op->hasAttr(kOwnCodesAttr);
    if (failure || op->hasAttr(kOwnCodesAttr))
      return;
    if (!isConstantExpression(op.getResult())) {
      activations.push_back(describeActivation(op));
      return;
    }
    for (Operation *back : op.getResult().getUsers())
      for (Operation *layer : back->getUsers()) {
        QdqWeight weight;
        weight.node = getNodeName(layer->getLoc()).str();
        auto type = cast<RankedTensorType>(op.getInput().getType());
        weight.shape.assign(type.getShape().begin(), type.getShape().end());
        weight.axis = int64_t(op.getAxis());
        auto read = [&](Value constant) {
          std::vector<float> values(size_t(
              cast<RankedTensorType>(constant.getType()).getNumElements()));
          auto *bytes = reinterpret_cast<char *>(values.data());
          failure = llvm::joinErrors(
              std::move(failure),
              evaluateConstant(constant, source,
                               {bytes, values.size() * sizeof(float)}));
          return values;
        };
        // What is rounded may be the model's weight times scales.
        weight.floats = read(op.getInput());
        weight.scales = read(op.getScale());
        if (failure)
          return;
        roundToBytes(weight);
        // Algorithms may have chosen other floats.
        Value before = modelWeights.lookup(weight.node);
        weight.floats = read(before ? before : getModelWeight(op.getInput()));
        if (GenericOp sum = sums.lookup(weight.node)) {
          weight.normalisation = getNodeName(sum.getLoc()).str();
          weight.shift = read(sum.getInputs()[1]);
        }
        weights.push_back(std::move(weight));
      }
  });
  if (failure)
    return std::move(failure);
  std::vector<QdqCorrection> corrections;
  module->walk([&](Operation *op) {
    // Shifts have the corrections in them.
    if (auto values = op->getAttrOfType<DenseF32ArrayAttr>(kCorrectionAttr);
        values && !sums.contains(getNodeName(op->getLoc())))
      corrections.push_back({getNodeName(op->getLoc()).str(),
                             std::vector<float>(values.asArrayRef())});
  });
  if (hasOwn && activations.empty() && weights.empty())
    result.warnings.push_back("--emit=qdq-onnx adds nothing to the codes that "
                              "the model has already");
  return writeQdq(options.model, *parameters, activations, weights,
                  corrections);
}
