//===- FunctionBody.cpp - the nodes of a model-local function for one call -*-
// C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "FunctionBody.h"

namespace qcc::onnx_import {
namespace {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

class Instantiation {
public:
  Instantiation(const onnx::FunctionProto &function,
                const onnx::NodeProto &call,
                llvm::function_ref<bool(llvm::StringRef)> isAbsent)
      : function(function), call(call), isAbsent(isAbsent) {}

  // Depth is bounded by that of the parsed message, which protobuf limits to
  // 100.
  void rewrite(Nodes &nodes) {
    for (onnx::NodeProto &node : nodes) {
      for (std::string &input : *node.mutable_input())
        if (isAbsent(input))
          input.clear();
      Attributes attributes;
      attributes.Swap(node.mutable_attribute());
      for (onnx::AttributeProto &attribute : attributes)
        if (resolve(attribute))
          node.add_attribute()->Swap(&attribute);
    }
  }

private:
  using Attributes = google::protobuf::RepeatedPtrField<onnx::AttributeProto>;

  static const onnx::AttributeProto *find(const Attributes &attributes,
                                          const std::string &name) {
    for (const onnx::AttributeProto &attribute : attributes)
      if (attribute.name() == name)
        return &attribute;
    return nullptr;
  }

  /// False if the attribute refers to one that is not given and has no default.
  bool resolve(onnx::AttributeProto &attribute) {
    if (!attribute.ref_attr_name().empty()) {
      const onnx::AttributeProto *value =
          find(call.attribute(), attribute.ref_attr_name());
      if (!value)
        value = find(function.attribute_proto(), attribute.ref_attr_name());
      if (!value)
        return false;
      std::string name = attribute.name();
      attribute = *value;
      attribute.set_name(name);
      return true;
    }
    if (attribute.has_g())
      rewrite(*attribute.mutable_g()->mutable_node());
    for (onnx::GraphProto &graph : *attribute.mutable_graphs())
      rewrite(*graph.mutable_node());
    return true;
  }

  const onnx::FunctionProto &function;
  const onnx::NodeProto &call;
  llvm::function_ref<bool(llvm::StringRef)> isAbsent;
};

} // namespace

Nodes instantiateFunction(const onnx::FunctionProto &function,
                          const onnx::NodeProto &call,
                          llvm::function_ref<bool(llvm::StringRef)> isAbsent) {
  Nodes nodes = function.node();
  Instantiation(function, call, isAbsent).rewrite(nodes);
  return nodes;
}

} // namespace qcc::onnx_import
