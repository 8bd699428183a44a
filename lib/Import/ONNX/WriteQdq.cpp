//===- WriteQdq.cpp - a quantized model as ONNX -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "QdqWriter.h"
#include "TensorData.h"
#include "qcc/Support/Diagnostics.h"
#include <cstring>

using namespace qcc;
using llvm::StringRef;

/// Protobuf's own limit on the length of a message.
static constexpr uint64_t kMaxModelBytes = 0x7fffffff;
/// From this opset on the operators have an axis.
static constexpr int64_t kAxisOpset = 13;

llvm::Error qcc::refuseQdq(StringRef where, const llvm::Twine &text) {
  return makeError(Diag::UnsupportedForm, where,
                   text + "; leave it in float by --keep, or compile without "
                          "--emit=qdq-onnx");
}

/// True for a node whose output has all elements of its first input and no
/// others.
static bool movesAll(const onnx::NodeProto &node) {
  static constexpr StringRef views[] = {"Identity", "Reshape",   "Squeeze",
                                        "Flatten",  "Unsqueeze", "Transpose"};
  bool isView = llvm::is_contained(views, StringRef(node.op_type())) ||
                node.op_type() == "Split" ||
                (node.op_type() == "Concat" && node.input_size() == 1);
  return isView && node.input_size() > 0 && node.output_size() == 1;
}

void QdqWriter::readGraph() {
  for (const onnx::OperatorSetIdProto &import : model.opset_import())
    if (import.domain().empty() || import.domain() == "ai.onnx")
      opset = import.version();
  for (int i = 0; i < graph.node_size(); ++i) {
    const onnx::NodeProto &node = graph.node(i);
    std::string name = node.name().empty()
                           ? node.op_type() + "_" + std::to_string(i)
                           : node.name();
    nodes.try_emplace(name, i);
    names.insert(name);
    for (const std::string &output : node.output()) {
      makers.try_emplace(output, i);
      names.insert(output);
    }
    if (node.op_type() == "Identity" && node.input_size() == 1 &&
        node.output_size() == 1)
      copied[node.output(0)] = node.input(0);
    if (movesAll(node))
      moved[node.output(0)] = node.input(0);
    if (node.op_type() == "Cast" && FloatConstants::isWide(node) &&
        node.output_size() == 1)
      casts[node.output(0)] = node.input(0);
  }
  for (int i = 0; i < graph.initializer_size(); ++i) {
    initializers.try_emplace(graph.initializer(i).name(), i);
    names.insert(graph.initializer(i).name());
  }
  for (const onnx::ValueInfoProto &input : graph.input())
    names.insert(input.name());
  behind.resize(size_t(graph.node_size()));
}

const std::string &QdqWriter::getOutput(int node) const {
  if (auto found = narrowed.find(node); found != narrowed.end())
    return found->second.output;
  auto found = corrected.find(node);
  return found == corrected.end() ? graph.node(node).output(0) : found->second;
}

std::string QdqWriter::makeName(const llvm::Twine &base) {
  std::string name = base.str();
  for (unsigned i = 1; !names.insert(name).second; ++i)
    name = (base + "_" + llvm::Twine(i)).str();
  return name;
}

onnx::TensorProto &QdqWriter::addInitializer(const std::string &name,
                                             onnx::TensorProto::DataType type,
                                             llvm::ArrayRef<int64_t> shape,
                                             const void *bytes, size_t size) {
  onnx::TensorProto &tensor = *graph.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (int64_t dim : shape)
    tensor.add_dims(dim);
  tensor.set_raw_data(bytes, size);
  initializers.try_emplace(name, graph.initializer_size() - 1);
  return tensor;
}

std::vector<onnx::NodeProto> &QdqWriter::listBehind(const std::string &tensor) {
  auto maker = makers.find(tensor);
  return maker == makers.end() ? first : behind[size_t(maker->second)];
}

static void addInteger(onnx::NodeProto &node, const char *name, int64_t value) {
  onnx::AttributeProto &attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

onnx::NodeProto &QdqWriter::addNode(std::vector<onnx::NodeProto> &list,
                                    const char *op,
                                    llvm::ArrayRef<std::string> inputs,
                                    const std::string &output) {
  onnx::NodeProto &node = list.emplace_back();
  node.set_op_type(op);
  node.set_name(makeName(output + "/" + op));
  for (const std::string &name : inputs)
    node.add_input(name);
  node.add_output(output);
  return node;
}

void QdqWriter::addCast(std::vector<onnx::NodeProto> &list,
                        const std::string &input, const std::string &output,
                        onnx::TensorProto::DataType type) {
  addInteger(addNode(list, "Cast", {input}, output), "to", type);
}

void QdqWriter::addLinear(std::vector<onnx::NodeProto> &list, const char *op,
                          const std::string &input, const std::string &scale,
                          const std::string &zero, const std::string &output,
                          std::optional<int64_t> axis) {
  onnx::NodeProto &node = addNode(list, op, {input, scale, zero}, output);
  if (opset < kAxisOpset)
    node.set_domain("com.microsoft");
  if (axis)
    addInteger(node, "axis", *axis);
}

/// Replaces references to other files by the bytes.
llvm::Error QdqWriter::inlineExternalData() {
  uint64_t total = 0;
  for (onnx::TensorProto &tensor : *graph.mutable_initializer()) {
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL)
      continue;
    llvm::ArrayRef<char> bytes = parameters.getBytes(tensor.name());
    total += bytes.size();
    if (bytes.empty() || total > kMaxModelBytes)
      return makeError(bytes.empty() ? Diag::UnsupportedForm
                                     : Diag::LimitReached,
                       "initializer '" + tensor.name() + "'",
                       bytes.empty() ? "cannot be put in the file"
                                     : "expected a model of at most 2 GB");
    tensor.set_data_location(onnx::TensorProto::DEFAULT);
    tensor.clear_external_data();
    tensor.set_raw_data(bytes.data(), bytes.size());
  }
  return llvm::Error::success();
}

void QdqWriter::insertNodes() {
  google::protobuf::RepeatedPtrField<onnx::NodeProto> all;
  for (const onnx::NodeProto &node : first)
    *all.Add() = node;
  for (int i = 0; i < graph.node_size(); ++i) {
    // The names that reports and --keep know.
    onnx::NodeProto &node = *graph.mutable_node(i);
    if (node.name().empty())
      node.set_name(node.op_type() + "_" + std::to_string(i));
    if (!removed.count(i))
      *all.Add() = node;
    for (const onnx::NodeProto &added : behind[size_t(i)])
      *all.Add() = added;
  }
  graph.mutable_node()->Swap(&all);
  if (opset < kAxisOpset && llvm::none_of(
                                model.opset_import(),
                                [](const auto &import) {
                                  return import.domain() == "com.microsoft";
                                })) {
    onnx::OperatorSetIdProto &import = *model.add_opset_import();
    import.set_domain("com.microsoft");
    import.set_version(1);
  }
  // Before version 4 every initializer has to be an input too.
  model.set_ir_version(std::max<int64_t>(model.ir_version(), 4));
}

/// Adds what a node and its branches read. As deep as the parser of messages
/// goes.
static void addReads(const onnx::NodeProto &node, llvm::StringSet<> &reads) {
  for (const std::string &input : node.input())
    reads.insert(input);
  auto addGraph = [&](const onnx::GraphProto &branch) {
    for (const onnx::ValueInfoProto &output : branch.output())
      reads.insert(output.name());
    for (const onnx::NodeProto &inner : branch.node())
      addReads(inner, reads);
  };
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    addGraph(attribute.g());
    for (const onnx::GraphProto &branch : attribute.graphs())
      addGraph(branch);
  }
}

/// Removes constants, and the nodes that move them, that nothing reads now
/// that codes have taken their place.
void QdqWriter::removeUnread() {
  llvm::StringSet<> reads;
  for (const onnx::ValueInfoProto &output : graph.output())
    reads.insert(output.name());
  std::vector<bool> isUnread(size_t(graph.node_size()));
  // Nodes stand behind those whose results they read.
  for (int i = graph.node_size(); i-- > 0;) {
    const onnx::NodeProto &node = graph.node(i);
    bool moves = node.op_type() == "Constant" || node.op_type() == "Cast" ||
                 node.op_type() == "Transpose" ||
                 FloatConstants::keepsOrder(node.op_type());
    isUnread[size_t(i)] =
        moves && llvm::none_of(node.output(), [&](StringRef name) {
          return reads.contains(name);
        });
    if (!isUnread[size_t(i)])
      addReads(node, reads);
  }
  google::protobuf::RepeatedPtrField<onnx::NodeProto> kept;
  for (int i = 0; i < graph.node_size(); ++i)
    if (!isUnread[size_t(i)])
      kept.Add()->Swap(graph.mutable_node(i));
  graph.mutable_node()->Swap(&kept);
  auto drop = [&](auto &tensors) {
    tensors.erase(llvm::remove_if(tensors,
                                  [&](const auto &tensor) {
                                    return initializers.count(tensor.name()) &&
                                           !reads.contains(tensor.name());
                                  }),
                  tensors.end());
  };
  drop(*graph.mutable_input());
  drop(*graph.mutable_initializer());
}

llvm::Expected<std::string>
QdqWriter::run(llvm::ArrayRef<QdqActivation> activations,
               llvm::ArrayRef<QdqWeight> weights,
               llvm::ArrayRef<QdqCorrection> corrections) {
  readGraph();
  if (llvm::Error error = inlineExternalData())
    return std::move(error);
  for (const QdqWeight &weight : weights)
    if (llvm::Error error = quantize(weight))
      return std::move(error);
  // Before their results are rounded.
  for (const QdqCorrection &correction : corrections)
    if (llvm::Error error = correct(correction))
      return std::move(error);
  narrow();
  for (const QdqActivation &activation : activations)
    if (llvm::Error error = quantize(activation))
      return std::move(error);
  if (llvm::Error error = checkWide())
    return std::move(error);
  insertNodes();
  removeUnread();
  std::string bytes;
  if (model.ByteSizeLong() > kMaxModelBytes || !model.SerializeToString(&bytes))
    return makeError(Diag::LimitReached, "--emit=qdq-onnx",
                     "expected a model of at most 2 GB");
  return std::move(bytes);
}

llvm::Expected<std::string>
qcc::writeQdq(StringRef path, const ParameterStore &parameters,
              llvm::ArrayRef<QdqActivation> activations,
              llvm::ArrayRef<QdqWeight> weights,
              llvm::ArrayRef<QdqCorrection> corrections) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  llvm::ArrayRef<char> bytes = (*file)->getBytes();
  onnx::ModelProto model;
  if (bytes.size() > kMaxModelBytes ||
      !model.ParseFromArray(bytes.data(), int(bytes.size())))
    return makeError(Diag::BadModelFile, path, "expected an ONNX model");
  return QdqWriter(std::move(model), parameters)
      .run(activations, weights, corrections);
}
