//===- WriteQdq.h - a quantized model as ONNX -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_IMPORT_ONNX_WRITEQDQ_H
#define QCC_IMPORT_ONNX_WRITEQDQ_H

#include "qcc/Support/ParameterStore.h"
#include "llvm/ADT/StringSet.h"
#include <string>
#include <vector>

namespace qcc {

/// A tensor that is rounded to codes without a sign.
struct QdqActivation {
  /// Name of an input; empty: the output of node `node`, the only one.
  std::string tensor, node;
  /// False for a value inside of what the node is made of.
  bool isWhole = true;
  /// False for a tensor of f32, true for one of f16 or bf16.
  bool isShort = false;
  float scale = 1;
  uint8_t zeroPoint = 0;
  /// Nodes that read what the codes stand for; others read the tensor.
  llvm::StringSet<> readers;
  /// What the tensor is multiplied by before it is rounded, with the sizes that
  /// broadcast to it; and what the codes stand for is multiplied by for
  /// `unscaledReaders`. Empty: nothing.
  std::vector<float> factors, inverses;
  std::vector<int64_t> factorShape;
  llvm::StringSet<> unscaledReaders;
};

/// The second input of a node, rounded to signed codes with a scale per index
/// of `axis`.
struct QdqWeight {
  std::string node;
  std::vector<int64_t> shape;
  std::vector<int8_t> codes; ///< row-major
  std::vector<float> scales; ///< of shape[axis]
  int64_t axis = 0;
  std::vector<float> floats; ///< must be the model's weight, made f32
  /// The BatchNormalization behind a Conv whose scales the codes have: it goes,
  /// and `shift`, of shape[0], becomes the bias. Empty: none.
  std::string normalisation;
  std::vector<float> shift;
};

/// What is added to each output channel of a node.
struct QdqCorrection {
  std::string node;
  std::vector<float> values;
};

/// The model of a file with QuantizeLinear and DequantizeLinear behind the
/// activations and codes in place of the weights, as bytes of ONNX. Before
/// opset 13 the two operators are those of com.microsoft, which have scales per
/// axis at any opset. Weights may be behind a Transpose, a Reshape, a Cast to
/// float and the like, which go with them; nodes whose weights are f16 or bf16
/// compute in f32 then, between a Cast and a Cast. Corrections are part of the
/// bias of Conv, and an Add behind other nodes. Constants that nothing reads
/// any more are left out. External data become part of the file; `parameters`
/// are the weights as imported. Nodes are named as Import names them. Errors:
/// UnsupportedForm with the node or tensor: what is rounded is not a tensor of
/// the main graph, the weight is not the one of the file, a node has other
/// operands; LimitReached: more than 2 GB.
llvm::Expected<std::string> writeQdq(llvm::StringRef path,
                                     const ParameterStore &parameters,
                                     llvm::ArrayRef<QdqActivation> activations,
                                     llvm::ArrayRef<QdqWeight> weights,
                                     llvm::ArrayRef<QdqCorrection> corrections);

} // namespace qcc

#endif // QCC_IMPORT_ONNX_WRITEQDQ_H
