//===- EqualizeMath.h - scales of channels before rounding ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZEMATH_H
#define QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZEMATH_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace qcc {

/// What calibration knows of the channels of an activation.
struct ChannelData {
  llvm::ArrayRef<float> mins, maxs, meanSquares;
};

/// A weight that reads the activation: element (o, c, t) of output, input of
/// the output's group and tap is at o * outputStride + c * inputStride + t.
struct ReadingWeight {
  int64_t outputs = 1, inputs = 1, taps = 1, groups = 1;
  int64_t outputStride = 1, inputStride = 1;
  llvm::ArrayRef<float> values;
};

/// Expected error of the layers' results in 8 bits, relative to the results'
/// power, mean over outputs and sum over layers, if channel c of the activation
/// is divided by scales[c] and the weights' inputs multiplied by it: rounding
/// errors are uniform and independent, activations have one grid and weights
/// one symmetric grid per output (model of Nagel et al. 2019, section 4).
double estimateError(const ChannelData &channels,
                     llvm::ArrayRef<ReadingWeight> weights,
                     llvm::ArrayRef<float> scales);

/// Scales of least estimated error among s = a^k / w^(1 - k) for k = 1/4 and
/// 1/2, where a is the largest magnitude of a channel and w that of the
/// weights that read it, each relative to its output's largest (SmoothQuant's
/// form of cross-layer equalisation; k = 1/2 is Nagel et al.'s). Empty if none
/// is better by a quarter.
std::vector<float> chooseScales(const ChannelData &channels,
                                llvm::ArrayRef<ReadingWeight> weights);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_EQUALIZEMATH_H
