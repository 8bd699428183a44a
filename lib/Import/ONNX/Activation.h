//===- Activation.h - activations that other operators end with -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_ACTIVATION_H
#define QCC_LIB_IMPORT_ONNX_ACTIVATION_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
mlir::Value geluTanh(Body &body, mlir::Value x);

/// The activation of the attribute `activation` of ONNX Runtime's fused
/// operators; its parameters are alpha, beta, gamma or those given by name.
/// Nothing is applied without the attribute; BadAttribute for unknown names.
mlir::Value applyFusedActivation(NodeContext &node, mlir::Value input);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_ACTIVATION_H
