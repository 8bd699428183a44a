//===- Equalize.cpp - dividing channels before they are rounded -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Equalize.h"
#include "EqualizeMath.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Observations.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

using namespace mlir;
using namespace qcc;

/// [minimum, maximum, mean square] of each channel; empty if nothing is known.
static ArrayRef<float> getChannels(Value value) {
  DenseF32ArrayAttr found;
  if (auto arg = dyn_cast<BlockArgument>(value)) {
    auto func = dyn_cast<func::FuncOp>(arg.getOwner()->getParentOp());
    if (func)
      found = func.getArgAttrOfType<DenseF32ArrayAttr>(arg.getArgNumber(),
                                                       kChannelsAttr);
  } else {
    found =
        value.getDefiningOp()->getAttrOfType<DenseF32ArrayAttr>(kChannelsAttr);
  }
  return found ? found.asArrayRef() : ArrayRef<float>();
}

/// The channels that a layer sums over.
static ReadingWeight describe(Operation *layer) {
  auto type = cast<RankedTensorType>(layer->getOperand(1).getType());
  ReadingWeight weight;
  if (auto matmul = dyn_cast<MatMulOp>(layer)) {
    bool isTurned = matmul.getTransB();
    weight.outputs = type.getDimSize(isTurned ? 0 : 1);
    weight.inputs = type.getDimSize(isTurned ? 1 : 0);
    weight.outputStride = isTurned ? weight.inputs : 1;
    weight.inputStride = isTurned ? 1 : weight.outputs;
    return weight;
  }
  weight.outputs = type.getDimSize(0);
  weight.inputs = type.getDimSize(1);
  weight.groups = int64_t(cast<ConvOp>(layer).getGroups());
  for (int64_t size : type.getShape().drop_front(2))
    weight.taps *= size;
  weight.inputStride = weight.taps;
  weight.outputStride = weight.inputs * weight.taps;
  return weight;
}

llvm::Expected<unsigned>
qcc::equalizeChannels(Workspace &workspace,
                      MutableArrayRef<Activation> activations) {
  unsigned count = 0;
  for (Activation &activation : activations) {
    // Maxima of windows are found among codes of one scale.
    if (activation.layers.empty() || activation.value.getDefiningOp<PoolOp>())
      continue;
    ArrayRef<float> data = getChannels(activation.value);
    size_t channels = data.size() / 3;
    std::vector<std::vector<float>> values;
    std::vector<ReadingWeight> weights;
    bool fits = channels > 1;
    for (Operation *layer : activation.layers) {
      ReadingWeight weight = describe(layer);
      fits &= isa<MatMulOp>(layer) == isa<MatMulOp>(activation.layers[0]) &&
              size_t(weight.inputs * weight.groups) == channels;
      if (!fits)
        break;
      auto read = workspace.evaluate(layer->getOperand(1));
      if (!read)
        return read.takeError();
      values.push_back(std::move(*read));
      weight.values = values.back();
      weights.push_back(weight);
    }
    if (!fits)
      continue;
    ChannelData found{data.take_front(channels), data.slice(channels, channels),
                      data.take_back(channels)};
    activation.scales = chooseScales(found, weights);
    if (activation.scales.empty())
      continue;
    ++count;
    activation.range = {0, 0};
    for (size_t c = 0; c < channels; ++c) {
      float scale = activation.scales[c];
      activation.range.min =
          std::min(activation.range.min, found.mins[c] / scale);
      activation.range.max =
          std::max(activation.range.max, found.maxs[c] / scale);
    }
  }
  return count;
}
