//===- Experts.h - tokens through the experts of a mixture ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_EXPERTS_H
#define QCC_LIB_IMPORT_ONNX_EXPERTS_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// What an expert does between its two products. The first of SwiGLU gives
/// gates and values in turn.
enum class ExpertActivation { Relu, Gelu, Silu, Identity, SwiGLU };

/// What both operators have; places of inputs are those of the operator.
struct Mixture {
  int64_t numExperts = 0, chosen = 0; ///< how many there are, and of a token
  /// Sizes of a token, of an expert's first product and between the two.
  mlir::AffineExpr hidden, wide, inner;
  ExpertActivation activation = ExpertActivation::Relu;
  double alpha = 1, beta = 0, limit = 0; ///< of SwiGLU
  unsigned firstWeight = 0, firstBias = 0, secondWeight = 0, secondBias = 0;
  bool isCoded = false; ///< QMoE, which routes in its own way
};

/// The weight `[N, K]` of an expert, the one that is input `input`, in f32.
using WeightReader =
    llvm::function_ref<mlir::Value(unsigned input, int64_t expert)>;

/// The output of MoE or QMoE for `tokens` rows, from inputs that were checked:
/// each token goes through the experts that its row of the router (input 1, and
/// for QMoE perhaps input 14) chooses, and each expert computes with its tokens
/// alone.
mlir::LogicalResult emitMixture(NodeContext &node, const Mixture &mixture,
                                mlir::AffineExpr tokens, WeightReader read);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_EXPERTS_H
