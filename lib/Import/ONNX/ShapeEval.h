//===- ShapeEval.h - computes with shapes while importing -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_SHAPEEVAL_H
#define QCC_LIB_IMPORT_ONNX_SHAPEEVAL_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// If the elements of all outputs follow from what is known of the inputs (rank
/// at most 1, at most 64 elements), sets the outputs to constants, or to
/// generics over `qcc.extent`, and remembers their elements. False if they do
/// not: the node's converter is asked then, which also reports what is wrong
/// with the node.
bool evaluateShape(NodeContext &node);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_SHAPEEVAL_H
