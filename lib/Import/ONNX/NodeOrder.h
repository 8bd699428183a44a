//===- NodeOrder.h - nodes in an order that can be imported -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_NODEORDER_H
#define QCC_LIB_IMPORT_ONNX_NODEORDER_H

#include "onnx-ml.pb.h"
#include <vector>

namespace qcc::onnx_import {

/// Positions of the nodes so that each stands behind those whose values it (or
/// a subgraph of it) uses. ONNX asks files to be in such an order; some are
/// not, and runtimes sort them too. The order of a sorted list is kept. Nodes
/// of a cycle come last, in the order of the file.
std::vector<int>
orderNodes(const google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_NODEORDER_H
