//===- FloatConstants.h - constants of a graph as f32 -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_FLOATCONSTANTS_H
#define QCC_LIB_IMPORT_ONNX_FLOATCONSTANTS_H

#include "onnx-ml.pb.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <vector>

namespace qcc {

/// Elements of FLOAT, FLOAT16 or BFLOAT16, row-major, as f32.
struct FloatConstant {
  std::vector<float> values;
  /// What the model has them in.
  int32_t type = onnx::TensorProto::FLOAT;
};

/// Reads initializers and values of Constant behind operators that move them or
/// make them wider.
class FloatConstants {
public:
  /// The maps give positions in the graph: of nodes by their outputs, and of
  /// initializers by their names.
  FloatConstants(const onnx::GraphProto &graph,
                 const llvm::StringMap<int> &makers,
                 const llvm::StringMap<int> &initializers)
      : graph(graph), makers(makers), initializers(initializers) {}

  /// The elements of a tensor; none if it is no such constant. `shape` is its
  /// shape if a Transpose may be behind a Reshape, else empty.
  std::optional<FloatConstant> read(llvm::StringRef tensor,
                                    llvm::ArrayRef<int64_t> shape = {}) const;

  /// True for a Cast to FLOAT.
  static bool isWide(const onnx::NodeProto &cast);
  /// True for operators whose first input has the same elements in the same
  /// order.
  static bool keepsOrder(llvm::StringRef op);

private:
  /// The constant that a chain of operators, the last of which comes first,
  /// begins with; null if there is none.
  const onnx::TensorProto *
  findRoot(llvm::StringRef tensor,
           std::vector<const onnx::NodeProto *> &chain) const;

  const onnx::GraphProto &graph;
  const llvm::StringMap<int> &makers, &initializers;
};

} // namespace qcc

#endif // QCC_LIB_IMPORT_ONNX_FLOATCONSTANTS_H
