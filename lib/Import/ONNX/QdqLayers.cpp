//===- QdqLayers.cpp - layers with codes as weights -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "QdqWriter.h"
#include "TensorData.h"
#include "qcc/Support/Diagnostics.h"
#include <cstring>

using namespace qcc;
using llvm::StringRef;

/// Makes the shift of the normalisation behind a convolution its bias. The
/// convolution gives what the normalisation gave, and has its name too for what
/// follows.
llvm::Error QdqWriter::foldNormalisation(const QdqWeight &weight, int conv) {
  std::string where = "node '" + weight.normalisation + "'";
  auto found = nodes.find(weight.normalisation);
  onnx::NodeProto &node = *graph.mutable_node(conv);
  if (found == nodes.end() || node.op_type() != "Conv" ||
      node.output_size() != 1 || found->second == conv)
    return refuseQdq(where, "expected a node of the main graph behind a Conv");
  const onnx::NodeProto &norm = graph.node(found->second);
  auto isRead = [&](const onnx::NodeProto &other) {
    return &other != &norm && llvm::is_contained(other.input(), node.output(0));
  };
  if (norm.op_type() != "BatchNormalization" || norm.output_size() != 1 ||
      norm.input(0) != node.output(0) || llvm::any_of(graph.node(), isRead))
    return refuseQdq(where,
                     "expected a BatchNormalization that alone reads node '" +
                         weight.node + "'");
  std::string bias = makeName(norm.output(0) + "/bias");
  addInitializer(bias, onnx::TensorProto::FLOAT, int64_t(weight.shift.size()),
                 weight.shift.data(), weight.shift.size() * sizeof(float));
  while (node.input_size() < 3)
    node.add_input();
  node.set_input(2, bias);
  node.set_output(0, norm.output(0));
  makers[norm.output(0)] = conv;
  removed.insert(found->second);
  found->second = conv;
  return llvm::Error::success();
}

llvm::Error QdqWriter::correct(const QdqCorrection &correction) {
  std::string where = "node '" + correction.node + "'";
  auto found = nodes.find(correction.node);
  if (found == nodes.end() || graph.node(found->second).output_size() != 1)
    return refuseQdq(where,
                     "expected a node of the main graph with one output");
  onnx::NodeProto &node = *graph.mutable_node(found->second);
  int64_t channels = int64_t(correction.values.size());
  std::string output = node.output(0);
  if (node.op_type() == "Conv") {
    std::vector<float> bias = correction.values;
    if (node.input_size() > 2 && !node.input(2).empty()) {
      std::optional<FloatConstant> before = constants.read(node.input(2));
      if (!before || before->values.size() != bias.size())
        return refuseQdq(where,
                         "expected the bias to be a constant of the model");
      for (size_t i = 0; i < bias.size(); ++i)
        bias[i] += before->values[i];
    }
    std::string name = makeName(output + "/bias");
    addInitializer(name, onnx::TensorProto::FLOAT, channels, bias.data(),
                   bias.size() * sizeof(float));
    while (node.input_size() < 3)
      node.add_input();
    node.set_input(2, name);
    return llvm::Error::success();
  }
  std::string name = makeName(output + "/correction"),
              before = makeName(output + "/uncorrected");
  addInitializer(name, onnx::TensorProto::FLOAT, channels,
                 correction.values.data(), size_t(channels) * sizeof(float));
  node.set_output(0, before);
  corrected[found->second] = output;
  addNode(behind[size_t(found->second)], "Add", {before, name}, output);
  return llvm::Error::success();
}

void QdqWriter::widen(int index, onnx::TensorProto::DataType type) {
  onnx::NodeProto &node = *graph.mutable_node(index);
  for (int i = 2; i < node.input_size(); ++i) {
    std::string input = node.input(i);
    if (input.empty())
      continue;
    std::string wide = makeName(input + "/float");
    node.set_input(i, wide);
    // A bias may get a correction.
    std::optional<FloatConstant> constant;
    if (node.op_type() == "Conv")
      constant = constants.read(input);
    if (constant)
      addInitializer(wide, onnx::TensorProto::FLOAT,
                     int64_t(constant->values.size()), constant->values.data(),
                     constant->values.size() * sizeof(float));
    else
      addCast(listBehind(input), input, wide, onnx::TensorProto::FLOAT);
  }
  std::string output = node.output(0), wide = makeName(output + "/float");
  node.set_output(0, wide);
  narrowed.try_emplace(index, Narrow{wide, output, type});
}

void QdqWriter::narrow() {
  for (const auto &[index, result] : narrowed)
    addCast(behind[size_t(index)], result.wide, result.output, result.type);
}

llvm::Error QdqWriter::checkWide() const {
  for (const auto &[index, result] : narrowed)
    if (!fed.count(index))
      return refuseQdq("node '" + graph.node(index).name() + "'",
                       "expected codes as its input in place of " +
                           onnx_import::getDataTypeName(result.type));
  return llvm::Error::success();
}

llvm::Error QdqWriter::quantize(const QdqWeight &weight) {
  std::string where = "node '" + weight.node + "'";
  auto found = nodes.find(weight.node);
  if (found == nodes.end() || graph.node(found->second).input_size() < 2)
    return refuseQdq(where, "expected a node of the main graph with a weight");
  onnx::NodeProto &node = *graph.mutable_node(found->second);
  if (node.op_type() != "Conv" && node.op_type() != "MatMul" &&
      node.op_type() != "Gemm")
    return refuseQdq(where, "a weight of operator " + node.op_type() +
                                " has no form in ONNX as codes");
  std::optional<FloatConstant> floats =
      constants.read(node.input(1), weight.shape);
  if (!floats || floats->values.size() != weight.floats.size() ||
      std::memcmp(floats->values.data(), weight.floats.data(),
                  weight.floats.size() * sizeof(float)) != 0)
    return refuseQdq(where,
                     "expected the weight to be a constant of the model, "
                     "at most cast to float or moved by Transpose, "
                     "Reshape and the like");
  std::string base = node.input(1);
  std::string codes = makeName(base + "/codes"),
              scale = makeName(base + "/scale"),
              zero = makeName(base + "/zero_point"),
              back = makeName(base + "/dequantized");
  addInitializer(codes, onnx::TensorProto::INT8, weight.shape,
                 weight.codes.data(), weight.codes.size());
  int64_t channels = int64_t(weight.scales.size());
  addInitializer(scale, onnx::TensorProto::FLOAT, channels,
                 weight.scales.data(), weight.scales.size() * sizeof(float));
  std::vector<int8_t> zeros(weight.scales.size());
  addInitializer(zero, onnx::TensorProto::INT8, channels, zeros.data(),
                 zeros.size());
  addLinear(first, "DequantizeLinear", codes, scale, zero, back, weight.axis);
  node.set_input(1, back);
  if (floats->type != onnx::TensorProto::FLOAT)
    widen(found->second, onnx::TensorProto::DataType(floats->type));
  return weight.normalisation.empty()
             ? llvm::Error::success()
             : foldNormalisation(weight, found->second);
}
