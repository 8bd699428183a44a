//===- Weights.h - weights as a file or as an object ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PACKAGE_WEIGHTS_H
#define QCC_LIB_PACKAGE_WEIGHTS_H

#include "qcc/Package/Package.h"
#include "llvm/ADT/ArrayRef.h"

namespace qcc {

/// Bytes from the first weight to the end of the last, padded.
uint64_t getWeightBytes(llvm::ArrayRef<PackedTensor> weights);

/// The header of weights.safetensors: length, JSON and spaces up to a multiple
/// of `kWeightDataAlignment`. Tensors are opaque U8, padding belongs to them
/// (the format allows no holes).
std::string makeWeightHeader(llvm::ArrayRef<PackedTensor> weights);

/// Produces all tensors in `bytes` (of `getWeightBytes`); padding is zero.
llvm::Error fillWeights(llvm::ArrayRef<PackedTensor> weights,
                        llvm::MutableArrayRef<char> bytes);

} // namespace qcc

#endif // QCC_LIB_PACKAGE_WEIGHTS_H
