//===- Activations.h - codes of activations and weights ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_ACTIVATIONS_H
#define QCC_PASSES_QUANTIZE_STATICINT8_ACTIVATIONS_H

#include "mlir/IR/Builders.h"
#include "qcc/Calibration/Range.h"

namespace qcc {

/// An activation that becomes codes, and the products and convolutions for
/// whose sake it does: its first readers with a weight. None where it is a
/// summand or the input of a pooling.
struct Activation {
  mlir::Value value;
  Range range;
  llvm::SmallVector<mlir::Operation *> layers;
  /// Each channel is divided by one of these before it is rounded, and the
  /// weights that read it multiplied: the second dimension of what
  /// convolutions read, the last one of what products read. Empty: none. The
  /// range is that of the quotients.
  std::vector<float> scales = {};
};

/// Attribute of an operation or argument (array of f32): the minimum of each
/// channel, then the maxima, then the mean squares.
inline constexpr llvm::StringLiteral kChannelsAttr = "qcc.channels";

/// The range that calibration found for a value; none if it saw none.
std::optional<Range> getRange(mlir::Value value);

/// What codes of an activation are read as.
struct ActivationCodes {
  mlir::Operation *first; ///< the operation that reads the value itself
  mlir::Value forLayers;  ///< divided, as the weights expect it
  mlir::Value forOthers;
};

/// `value`, or its copy, as codes without a sign of a grid for the range.
ActivationCodes createCodes(mlir::OpBuilder &b, mlir::Value value,
                            const Activation &activation);

/// True for an operand of an operation that reads codes where the activation
/// has some.
bool readsCodes(mlir::OpOperand &use);

/// What the signed codes of a weight are.
struct WeightForm {
  unsigned bits = 8; ///< 8 or 4
  /// Codes of 8 bits fit in pairs (kPairsFitAttr), but for depthwise weights.
  bool pairsFit = false;
};

/// The rows of a weight that outputs are sums over, as kernels count them: for
/// each the place in a row-major [rows] of the layer's own order, inputs by
/// taps.
std::vector<int64_t> getKernelRows(int64_t inputs, int64_t taps);

/// The weight of a product or convolution, multiplied by the scales of its
/// inputs if there are any, as signed codes with a scale per output channel, a
/// constant expression, and the floats that these stand for.
mlir::Value quantizeWeight(mlir::OpBuilder &b, mlir::Operation *layer,
                           llvm::ArrayRef<float> scales, WeightForm form = {});

/// A weight as signed codes with the scales of an axis, and the floats that
/// these stand for. `form.pairsFit`: the scales are such that they do.
mlir::Value createWeightCodes(mlir::OpBuilder &b, mlir::Location loc,
                              mlir::Value weight, mlir::Value scale,
                              int64_t axis, WeightForm form);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_ACTIVATIONS_H
