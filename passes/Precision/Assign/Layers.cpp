//===- Layers.cpp - products that get a format each -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Layers.h"
#include "../../Quantize/RoundToNearest/OwnCodes.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

static func::FuncOp getEntry(ModuleOp module) {
  return *module.getOps<func::FuncOp>().begin();
}

//===----------------------------------------------------------------------===//
// Rules
//===----------------------------------------------------------------------===//

/// True if a constant is made of codes: rounding it again loses more than the
/// format says.
static bool isQuantized(Value weight) {
  SmallVector<Value> work = {weight};
  for (size_t i = 0; i < work.size() && i < 64; ++i)
    if (Operation *op = work[i].getDefiningOp()) {
      if (isa<DequantizeOp>(op))
        return true;
      llvm::append_range(work, op->getOperands());
    }
  return false;
}

/// The scheme whose kernels run on the codes that the model has a layer's
/// weight in; null if it is computed in f32.
static const Scheme *findModelScheme(Operation *op) {
  if (isOfCodes(op))
    return getSchemes(op->getContext()).lookup("int8");
  std::string why;
  auto matmul = dyn_cast<MatMulOp>(op);
  return matmul ? findOwnScheme(matmul, /*target=*/nullptr, why) : nullptr;
}

/// True if the result becomes the judged output with no product in between.
static bool reachesOutput(MatMulOp op, unsigned output) {
  return anyReader(op.getResult(), [&](Operation *user, OpOperand &use) {
    return isa<func::ReturnOp>(user) && use.getOperandNumber() == output;
  });
}

static std::vector<Candidate> getCandidates(MatMulOp op,
                                            ArrayRef<const Scheme *> formats,
                                            unsigned minBits,
                                            std::string &obstacle) {
  std::vector<Candidate> result;
  for (const Scheme *scheme : formats) {
    if (scheme && scheme->getWeightBits() < minBits)
      continue;
    if (scheme)
      if (std::string why = getObstacle(op, *scheme); !why.empty()) {
        obstacle = why;
        continue;
      }
    Candidate candidate;
    candidate.scheme = scheme;
    if (scheme)
      candidate.key = scheme->getKey().str();
    result.push_back(candidate);
  }
  return result;
}

std::vector<Layer> assign::collectLayers(ModuleOp module,
                                         ArrayRef<const Scheme *> formats,
                                         const KeepRules &keep,
                                         unsigned output) {
  std::vector<Layer> layers;
  SmallVector<size_t> heads;
  getEntry(module).walk([&](MatMulOp op) {
    auto weight = cast<RankedTensorType>(op.getRhs().getType());
    if (!isConstantExpression(op.getRhs()) ||
        isConstantExpression(op.getResult()) || weight.getRank() != 2 ||
        !weight.hasStaticShape())
      return;
    Layer layer;
    layer.op = op;
    layer.node = getNodeName(op.getLoc()).str();
    layer.k = weight.getDimSize(op.getTransB() ? 1 : 0);
    layer.n = weight.getDimSize(op.getTransB() ? 0 : 1);
    std::string obstacle;
    if (std::string rule = keep.getReason(op); !rule.empty())
      layer.rule = rule;
    else if (isQuantized(op.getRhs()))
      layer.rule = "kept: quantized in the model";
    else
      layer.candidates = getCandidates(op, formats, 0, obstacle);
    if (layer.candidates.empty()) {
      if (layer.rule.empty())
        layer.rule = obstacle;
      Candidate &only = layer.candidates.emplace_back();
      layer.model = findModelScheme(op);
      if (layer.model)
        only.key = layer.model->getKey().str();
    }
    if (reachesOutput(op, output))
      heads.push_back(layers.size());
    layers.push_back(std::move(layer));
  });
  // Where several products add up to the output none of them is its head.
  if (heads.size() != 1 || layers.size() == 1)
    return layers;
  Layer &head = layers[heads.front()];
  std::string obstacle;
  if (!head.rule.empty())
    return layers;
  std::vector<Candidate> wide =
      getCandidates(head.op, formats, kHeadBits, obstacle);
  if (wide.size() == head.candidates.size())
    return layers;
  head.rule = "output head: " + std::to_string(kHeadBits) + " bits or more";
  if (wide.empty()) {
    head.rule = "kept: " + head.rule;
    wide.emplace_back();
  }
  head.candidates = std::move(wide);
  return layers;
}

//===----------------------------------------------------------------------===//
// Size
//===----------------------------------------------------------------------===//

uint64_t assign::alignWeight(uint64_t bytes) {
  return llvm::alignTo(bytes, 64);
}

/// Rows and columns of the weight of a product or convolution as a matrix.
static std::pair<uint64_t, uint64_t> getMatrix(Operation *layer) {
  auto type = cast<RankedTensorType>(layer->getOperand(1).getType());
  auto matmul = dyn_cast<MatMulOp>(layer);
  int64_t n = type.getDimSize(matmul && !matmul.getTransB() ? 1 : 0);
  return {uint64_t(type.getNumElements() / std::max<int64_t>(n, 1)),
          uint64_t(n)};
}

uint64_t assign::getFloatBytes(Operation *layer) {
  if (auto known = layer->getAttrOfType<IntegerAttr>(kFloatBytesAttr))
    return alignWeight(uint64_t(known.getInt()));
  auto [rows, columns] = getMatrix(layer);
  // Most kernels of convolutions of floats take six outputs at once.
  uint64_t outputs = isa<MatMulOp>(layer)
                         ? llvm::alignTo(columns, kSchemeColumns)
                         : llvm::alignTo(columns, 6);
  return alignWeight(rows * outputs * 4);
}

uint64_t assign::getCodeBytes(Operation *layer, unsigned bits) {
  auto [rows, outputs] = getMatrix(layer);
  uint64_t columns = llvm::alignTo(outputs, kDotColumns);
  uint64_t codes = llvm::alignTo(rows, kDotRows) * columns;
  if (bits == 4)
    codes = llvm::alignTo(rows, 2 * kDotRows) * columns / 2;
  else if (isDepthwise(layer)) // taps lie in words, ready for pairs
    codes = rows * columns * 4;
  else if (layer->hasAttr(kWordsAttr))
    codes *= 2;
  return alignWeight(codes) + 2 * alignWeight(columns * 4);
}

/// Bytes of a layer's weight in a scheme.
static uint64_t getBytes(Operation *layer, const Scheme &scheme) {
  auto [rows, columns] = getMatrix(layer);
  if (scheme.getKey() == "int8" && isOfCodes(layer))
    return getCodeBytes(layer, /*bits=*/8);
  auto layout = getEncodedLayout(scheme, int64_t(rows), int64_t(columns));
  return layout ? alignWeight(uint64_t(layout->totalBytes))
                : getFloatBytes(layer);
}

OtherBytes assign::getOtherBytes(ModuleOp module, const LayerSet &layers) {
  llvm::MapVector<Value, OtherBytes> constants;
  getEntry(module).walk([&](Operation *op) {
    if (op->getNumResults() == 1 && isConstantExpression(op->getResult(0)))
      return;
    for (OpOperand &use : op->getOpOperands()) {
      Value operand = use.get();
      if (!isConstantExpression(operand) ||
          (layers.contains(op) && operand == op->getOperand(1)))
        continue;
      OtherBytes &bytes = constants[operand];
      bytes.inFloats = bytes.stored =
          alignWeight(getTensorBytes(operand.getType()).value_or(0));
      if (const Scheme *scheme =
              use.getOperandNumber() == 1 ? findModelScheme(op) : nullptr)
        bytes.stored = getBytes(op, *scheme);
    }
  });
  OtherBytes sum;
  for (const auto &[constant, bytes] : constants) {
    sum.stored += bytes.stored;
    sum.inFloats += bytes.inFloats;
  }
  return sum;
}

//===----------------------------------------------------------------------===//
// Time
//===----------------------------------------------------------------------===//

namespace {
/// Sizes of tensors for one sample.
class Sizes {
public:
  Sizes(func::FuncOp entry, const Sample &sample) {
    for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
      auto name = entry.getArgAttrOfType<StringAttr>(i, "qcc.name");
      for (const SampleArray &array : sample.arrays)
        if (name && array.name == name.getValue())
          bind(getDims(entry.getArgument(i).getType()), array.shape);
    }
  }

  /// Elements; 1 where a size is known only at run time.
  double getElements(Type type) const {
    double count = 1;
    for (AffineExpr dim : getDims(type))
      count *= getSize(dim);
    return count;
  }
  double getSize(AffineExpr dim) const {
    return double(std::max<int64_t>(evaluateSize(dim, symbols).value_or(1), 1));
  }
  double getBytes(Type type) const {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor ? getElements(type) *
                        double(getElementBytes(tensor.getElementType()))
                  : 0;
  }

private:
  void bind(ArrayRef<AffineExpr> dims, ArrayRef<int64_t> shape) {
    for (auto [dim, size] : llvm::zip(dims, shape))
      if (auto symbol = dyn_cast<AffineSymbolExpr>(dim)) {
        if (symbols.size() <= symbol.getPosition())
          symbols.resize(symbol.getPosition() + 1, 1);
        symbols[symbol.getPosition()] = size;
      }
  }
  SmallVector<int64_t> symbols;
};
} // namespace

/// f32 operations of an operation that is no layer.
static double countOperations(Operation *op, const Sizes &sizes) {
  double results = 0;
  for (Type type : op->getResultTypes())
    if (isa<RankedTensorType>(type))
      results += sizes.getElements(type);
  if (auto matmul = dyn_cast<MatMulOp>(op)) {
    auto dims = getDims(matmul.getLhs().getType());
    return 2 * results *
           sizes.getSize(dims[dims.size() - (matmul.getTransA() ? 2 : 1)]);
  }
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    auto query = getDims(attention.getQuery().getType()),
         key = getDims(attention.getKey().getType());
    return 4 * sizes.getElements(attention.getQuery().getType()) *
           sizes.getSize(key[key.size() - 2]);
  }
  if (isa<ConvOp, ConvTransposeOp>(op) && op->getNumOperands() >= 2) {
    auto weight = getDims(op->getOperand(1).getType());
    return 2 * results * sizes.getElements(op->getOperand(1).getType()) /
           sizes.getSize(weight[0]);
  }
  return results;
}

static Decoding getDecoding(const Scheme *scheme) {
  if (!scheme)
    return Decoding::None;
  if (scheme->isLinear())
    return Decoding::Fields;
  return scheme->getWeightBits() >= 8 ? Decoding::SmallFloat : Decoding::Tables;
}

static Rounding getRounding(const Scheme *scheme) {
  if (!scheme)
    return Rounding::None;
  if (scheme->getCompute() == SchemeCompute::Integer)
    return Rounding::Integers;
  if (!scheme->roundsTokens())
    return Rounding::None;
  return scheme->getTokenFormat() == TokenFormat::BF16 ? Rounding::Halves
                                                       : Rounding::SmallFloats;
}

void assign::predictSeconds(ModuleOp module, MutableArrayRef<Layer> layers,
                            const Sample &sample, const Rates &rates) {
  Sizes sizes(getEntry(module), sample);
  for (Layer &layer : layers) {
    double rows = sizes.getElements(layer.op.getLhs().getType()) /
                  double(std::max<int64_t>(layer.k, 1));
    for (Candidate &candidate : layer.candidates) {
      const Scheme *scheme = candidate.key == "f32" ? nullptr
                             : candidate.scheme     ? candidate.scheme
                                                    : layer.model;
      candidate.bytes =
          scheme ? getBytes(layer.op, *scheme) : getFloatBytes(layer.op);
      candidate.seconds = getProductSeconds(
          rates, rows, double(layer.k), double(layer.n),
          double(candidate.bytes), getDecoding(scheme), getRounding(scheme));
    }
  }
}

double assign::predictOtherSeconds(ModuleOp module, const LayerSet &layers,
                                   const Sample &sample, const Rates &rates) {
  Sizes sizes(getEntry(module), sample);
  double others = 0;
  getEntry(module).walk([&](Operation *op) {
    if (layers.contains(op) || !isa<QCCDialect>(op->getDialect()) ||
        isa<ReshapeOp, YieldOp, IfOp, LoopOp>(op) ||
        op->getParentOfType<GenericOp>() || op->getParentOfType<ProgramOp>() ||
        (op->getNumResults() == 1 && isConstantExpression(op->getResult(0))))
      return;
    double bytes = 0;
    for (Type type : op->getOperandTypes())
      bytes += sizes.getBytes(type);
    for (Type type : op->getResultTypes())
      bytes += sizes.getBytes(type);
    // Most are fused with their neighbours: a result stays in the cache.
    others += getOtherSeconds(rates, bytes / 4, countOperations(op, sizes));
  });
  return others;
}
