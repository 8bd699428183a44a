//===- BudgetUnits.cpp - what is chosen within budgets ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "BudgetUnits.h"
#include "Speed.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

namespace {
class Maker {
public:
  Maker(const BudgetRequest &request, ArrayRef<Activation> activations)
      : request(request), activations(activations) {
    for (const Scheme *format : request.formats) {
      hasFloats |= !format;
      hasBytes |= format && format != request.narrow.scheme;
    }
  }

  llvm::Expected<BudgetUnits> make() {
    for (auto [number, activation] : llvm::enumerate(activations)) {
      if (activation.layers.empty())
        addActivation(number);
      for (Operation *layer : activation.layers)
        addLayer(number, layer);
    }
    if (llvm::Error error = setTimes())
      return std::move(error);
    addProducts();
    return std::move(result);
  }

private:
  void addActivation(size_t number);
  void addLayer(size_t number, Operation *layer);
  void addProducts();
  llvm::Error setTimes();

  const BudgetRequest &request;
  ArrayRef<Activation> activations;
  bool hasFloats = false, hasBytes = false;
  BudgetUnits result;
};
} // namespace

static void addCandidate(BudgetUnit &unit, Level level, StringRef key,
                         uint64_t bytes) {
  unit.levels.push_back(level);
  Candidate &candidate = unit.candidates.emplace_back();
  candidate.key = key.str();
  candidate.bytes = bytes;
}

void Maker::addActivation(size_t number) {
  BudgetUnit unit;
  unit.activation = number;
  unit.node = getNodeName(activations[number].value.getLoc());
  unit.rule = "codes between layers";
  addCandidate(unit, Level::Floats, "f32", 0);
  addCandidate(unit, Level::Bytes, "int8", 0);
  result.units.push_back(std::move(unit));
}

void Maker::addLayer(size_t number, Operation *layer) {
  BudgetUnit unit;
  unit.activation = number;
  unit.layer = layer;
  unit.node = getNodeName(layer->getLoc());
  auto type = cast<RankedTensorType>(layer->getOperand(1).getType());
  auto matmul = dyn_cast<MatMulOp>(layer);
  unit.n = type.getDimSize(matmul && !matmul.getTransB() ? 1 : 0);
  unit.k = type.getNumElements() / unit.n;
  unit.inFloats.bytes = getFloatBytes(layer);
  bool mayBeNarrow = request.narrow.scheme && request.narrow.weights &&
                     request.narrow.weights->contains(layer);
  if (hasFloats)
    addCandidate(unit, Level::Floats, "f32", unit.inFloats.bytes);
  // What has no form of 4 bits runs in int8 where that is asked for.
  if (hasBytes || !mayBeNarrow)
    addCandidate(unit, Level::Bytes, "int8", getCodeBytes(layer, /*bits=*/8));
  if (mayBeNarrow)
    addCandidate(unit, Level::Narrow, request.narrow.scheme->getKey(),
                 getCodeBytes(layer, /*bits=*/4));
  if (unit.isFixed())
    unit.rule = "depthwise";
  result.units.push_back(std::move(unit));
}

llvm::Error Maker::setTimes() {
  SmallVector<Operation *> layers;
  for (const BudgetUnit &unit : result.units)
    if (unit.layer)
      layers.push_back(unit.layer);
  auto times = estimateTimes(request.module, layers, request.target,
                             request.level, request.workspace.getSamples());
  if (!times && !request.budgets.latency.empty())
    return makeError(Diag::Usage, "",
                     "expected a target with figures of how long layers take "
                     "for --max-latency, but '" +
                         request.target.getName() + "' has none");
  if (times && !request.narrow.scheme)
    result.goal = knapsack::Latency;
  double sum = 0;
  ArrayRef<LayerTimes> left;
  if (times)
    left = *times;
  for (BudgetUnit &unit : result.units) {
    if (!unit.layer || !times)
      continue;
    unit.inFloats.seconds = left.front().inFloats * 1e-9;
    sum += unit.inFloats.seconds;
    // Borders are not counted here, regions of layers were chosen by them.
    // Weights of 4 bits are expanded once for many pixels.
    double inCodes =
        std::min(left.front().inIntegers, 0.99 * left.front().inFloats) * 1e-9;
    for (auto [candidate, level] :
         llvm::zip_equal(unit.candidates, unit.levels))
      candidate.seconds =
          level == Level::Floats ? unit.inFloats.seconds : inCodes;
    left = left.drop_front();
  }
  // Floats between codes cost two conversions: a hundredth of all. Where it is
  // the size that is made least, codes have to be less there too.
  for (BudgetUnit &unit : result.units)
    if (!unit.layer) {
      unit.candidates.front().seconds = sum / 100;
      unit.candidates.front().bytes = result.goal == knapsack::Size ? 1 : 0;
    }
  return llvm::Error::success();
}

void Maker::addProducts() {
  std::vector<assign::Layer> products = request.narrow.products.vec(),
                             exact = products;
  for (assign::Layer &layer : exact)
    layer.candidates = {Candidate()};
  Rates rates = getRates(request.level.level);
  for (std::vector<assign::Layer> *layers : {&products, &exact})
    predictSeconds(request.module, *layers,
                   request.workspace.getSamples().front(), rates);
  for (auto [product, inFloats] : llvm::zip_equal(products, exact)) {
    BudgetUnit unit;
    static_cast<Choice &>(unit) = product;
    unit.layer = product.op;
    unit.inFloats = inFloats.candidates.front();
    for (const Candidate &candidate : unit.candidates)
      unit.levels.push_back(!candidate.scheme ? Level::Floats
                            : candidate.scheme == request.narrow.scheme
                                ? Level::Narrow
                                : Level::Bytes);
    result.units.push_back(std::move(unit));
  }
}

llvm::Expected<BudgetUnits>
BudgetUnits::make(const BudgetRequest &request,
                  ArrayRef<Activation> activations) {
  return Maker(request, activations).make();
}
