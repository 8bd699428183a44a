//===- Bias.h - adding corrections to layers --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_BIAS_H
#define QCC_PASSES_QUANTIZE_STATICINT8_BIAS_H

#include "mlir/IR/Builders.h"
#include "llvm/ADT/ArrayRef.h"

namespace qcc {

/// How the output channels of a product or convolution lie in its result:
/// `[..., channels, inner]`. `inner` is 0 where a size is not known.
struct ChannelPlaces {
  size_t channels = 0, inner = 0;
};
ChannelPlaces getChannelPlaces(mlir::Operation *layer);

/// `value`, which has the shape of a layer's result, with the elements of a
/// vector from `offset` on added to its output channels.
mlir::Value addNumbers(mlir::OpBuilder &b, mlir::Operation *layer,
                       mlir::Value value, mlir::Value numbers,
                       int64_t offset = 0);

/// Adds a number to each output channel of a layer: to the bias that is added
/// to it, if that is all that reads it, else behind it. The numbers are kept in
/// the layer's kCorrectionAttr too.
void addToChannels(mlir::Operation *layer, llvm::ArrayRef<float> values);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_BIAS_H
