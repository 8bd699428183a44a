//===- WriteQdq.cpp - a quantized model as ONNX -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Import/ONNX/WriteQdq.h"
#include "FloatConstants.h"
#include "TensorData.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringMap.h"
#include <cstring>
#include <map>
#include <set>

using namespace qcc;
using llvm::StringRef;

/// Protobuf's own limit on the length of a message.
static constexpr uint64_t kMaxModelBytes = 0x7fffffff;
/// From this opset on the operators have an axis.
static constexpr int64_t kAxisOpset = 13;

namespace {
/// The result of a node that computes in f32 in place of a shorter type.
struct Narrow {
  std::string wide, output;
  onnx::TensorProto::DataType type;
};

class Writer {
public:
  Writer(onnx::ModelProto model, const ParameterStore &parameters)
      : model(std::move(model)), graph(*this->model.mutable_graph()),
        parameters(parameters), constants(graph, makers, initializers) {}

  llvm::Expected<std::string> run(llvm::ArrayRef<QdqActivation> activations,
                                  llvm::ArrayRef<QdqWeight> weights,
                                  llvm::ArrayRef<QdqCorrection> corrections);

private:
  void readGraph();
  llvm::Error inlineExternalData();
  llvm::Error quantize(const QdqWeight &weight);
  llvm::Error quantize(const QdqActivation &activation);
  llvm::Error foldNormalisation(const QdqWeight &weight, int conv);
  llvm::Error correct(const QdqCorrection &correction);
  /// Makes a node compute in f32 whose operands have a shorter type.
  void widen(int node, onnx::TensorProto::DataType type);
  /// Rounds the results of such nodes to their types.
  void narrow();
  /// Errors: UnsupportedForm: such a node has an input that is not f32.
  llvm::Error checkWide() const;
  void insertNodes();
  void removeUnread();

  StringRef findRoot(StringRef tensor) const;
  /// The nodes behind what makes a tensor.
  std::vector<onnx::NodeProto> &listBehind(const std::string &tensor);
  /// The only output of a node as the model calls it.
  const std::string &getOutput(int node) const;
  std::string makeName(const llvm::Twine &base);
  onnx::TensorProto &addInitializer(const std::string &name,
                                    onnx::TensorProto::DataType type,
                                    llvm::ArrayRef<int64_t> shape,
                                    const void *bytes, size_t size);
  /// Adds a node of one output to `nodes`.
  onnx::NodeProto &addNode(std::vector<onnx::NodeProto> &nodes, const char *op,
                           llvm::ArrayRef<std::string> inputs,
                           const std::string &output);
  void addCast(std::vector<onnx::NodeProto> &nodes, const std::string &input,
               const std::string &output, onnx::TensorProto::DataType type);
  /// Adds QuantizeLinear or DequantizeLinear to `nodes`.
  void addLinear(std::vector<onnx::NodeProto> &nodes, const char *op,
                 const std::string &input, const std::string &scale,
                 const std::string &zero, const std::string &output,
                 std::optional<int64_t> axis);

  onnx::ModelProto model;
  onnx::GraphProto &graph;
  const ParameterStore &parameters;
  FloatConstants constants;
  int64_t opset = 1;
  llvm::StringMap<int> nodes;          ///< position by name
  llvm::StringMap<int> makers;         ///< position by output
  llvm::StringMap<std::string> copied; ///< what an Identity gives again
  llvm::StringMap<std::string> casts;  ///< what a Cast makes f32
  llvm::StringMap<int> initializers;
  std::map<int, std::string> corrected; ///< outputs that an Add gives now
  std::map<int, Narrow> narrowed;       ///< nodes that compute in f32 now
  std::set<int> fed;                    ///< nodes that read codes
  std::set<int> removed;                ///< nodes that are not written
  llvm::StringSet<> names;
  std::vector<onnx::NodeProto> first;               ///< nodes at the start
  std::vector<std::vector<onnx::NodeProto>> behind; ///< behind each node
};
} // namespace

static llvm::Error refuse(StringRef where, const llvm::Twine &text) {
  return makeError(Diag::UnsupportedForm, where,
                   text + "; leave it in float by --keep, or compile without "
                          "--emit=qdq-onnx");
}

void Writer::readGraph() {
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

/// The tensor that a chain of copies begins with.
StringRef Writer::findRoot(StringRef tensor) const {
  for (size_t i = 0; i <= copied.size(); ++i) {
    auto found = copied.find(tensor);
    if (found == copied.end())
      break;
    tensor = found->second;
  }
  return tensor;
}

const std::string &Writer::getOutput(int node) const {
  if (auto found = narrowed.find(node); found != narrowed.end())
    return found->second.output;
  auto found = corrected.find(node);
  return found == corrected.end() ? graph.node(node).output(0) : found->second;
}

std::string Writer::makeName(const llvm::Twine &base) {
  std::string name = base.str();
  for (unsigned i = 1; !names.insert(name).second; ++i)
    name = (base + "_" + llvm::Twine(i)).str();
  return name;
}

onnx::TensorProto &Writer::addInitializer(const std::string &name,
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

std::vector<onnx::NodeProto> &Writer::listBehind(const std::string &tensor) {
  auto maker = makers.find(tensor);
  return maker == makers.end() ? first : behind[size_t(maker->second)];
}

static void addInteger(onnx::NodeProto &node, const char *name, int64_t value) {
  onnx::AttributeProto &attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

onnx::NodeProto &Writer::addNode(std::vector<onnx::NodeProto> &list,
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

void Writer::addCast(std::vector<onnx::NodeProto> &list,
                     const std::string &input, const std::string &output,
                     onnx::TensorProto::DataType type) {
  addInteger(addNode(list, "Cast", {input}, output), "to", type);
}

void Writer::addLinear(std::vector<onnx::NodeProto> &list, const char *op,
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
llvm::Error Writer::inlineExternalData() {
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

/// Makes the shift of the normalisation behind a convolution its bias. The
/// convolution gives what the normalisation gave, and has its name too for what
/// follows.
llvm::Error Writer::foldNormalisation(const QdqWeight &weight, int conv) {
  std::string where = "node '" + weight.normalisation + "'";
  auto found = nodes.find(weight.normalisation);
  onnx::NodeProto &node = *graph.mutable_node(conv);
  if (found == nodes.end() || node.op_type() != "Conv" ||
      node.output_size() != 1 || found->second == conv)
    return refuse(where, "expected a node of the main graph behind a Conv");
  const onnx::NodeProto &norm = graph.node(found->second);
  auto isRead = [&](const onnx::NodeProto &other) {
    return &other != &norm && llvm::is_contained(other.input(), node.output(0));
  };
  if (norm.op_type() != "BatchNormalization" || norm.output_size() != 1 ||
      norm.input(0) != node.output(0) || llvm::any_of(graph.node(), isRead))
    return refuse(where,
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

llvm::Error Writer::correct(const QdqCorrection &correction) {
  std::string where = "node '" + correction.node + "'";
  auto found = nodes.find(correction.node);
  if (found == nodes.end() || graph.node(found->second).output_size() != 1)
    return refuse(where, "expected a node of the main graph with one output");
  onnx::NodeProto &node = *graph.mutable_node(found->second);
  int64_t channels = int64_t(correction.values.size());
  std::string output = node.output(0);
  if (node.op_type() == "Conv") {
    std::vector<float> bias = correction.values;
    if (node.input_size() > 2 && !node.input(2).empty()) {
      std::optional<FloatConstant> before = constants.read(node.input(2));
      if (!before || before->values.size() != bias.size())
        return refuse(where, "expected the bias to be a constant of the model");
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

void Writer::widen(int index, onnx::TensorProto::DataType type) {
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

void Writer::narrow() {
  for (const auto &[index, result] : narrowed)
    addCast(behind[size_t(index)], result.wide, result.output, result.type);
}

llvm::Error Writer::checkWide() const {
  for (const auto &[index, result] : narrowed)
    if (!fed.count(index))
      return refuse("node '" + graph.node(index).name() + "'",
                    "expected codes as its input in place of " +
                        onnx_import::getDataTypeName(result.type));
  return llvm::Error::success();
}

llvm::Error Writer::quantize(const QdqWeight &weight) {
  std::string where = "node '" + weight.node + "'";
  auto found = nodes.find(weight.node);
  if (found == nodes.end() || graph.node(found->second).input_size() < 2)
    return refuse(where, "expected a node of the main graph with a weight");
  onnx::NodeProto &node = *graph.mutable_node(found->second);
  if (node.op_type() != "Conv" && node.op_type() != "MatMul" &&
      node.op_type() != "Gemm")
    return refuse(where, "a weight of operator " + node.op_type() +
                             " has no form in ONNX as codes");
  std::optional<FloatConstant> floats =
      constants.read(node.input(1), weight.shape);
  if (!floats || floats->values.size() != weight.floats.size() ||
      std::memcmp(floats->values.data(), weight.floats.data(),
                  weight.floats.size() * sizeof(float)) != 0)
    return refuse(where, "expected the weight to be a constant of the model, "
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

llvm::Error Writer::quantize(const QdqActivation &activation) {
  std::string tensor = activation.tensor;
  if (tensor.empty()) {
    auto found = nodes.find(activation.node);
    if (found == nodes.end() || graph.node(found->second).output_size() != 1 ||
        !activation.isWhole)
      return refuse("node '" + activation.node + "'",
                    "expected a node of the main graph with one output, which "
                    "becomes codes");
    tensor = getOutput(found->second);
  }
  auto maker = makers.find(tensor);
  bool isInput = llvm::any_of(
      graph.input(), [&](const auto &input) { return input.name() == tensor; });
  if (maker == makers.end() && !isInput)
    return refuse("tensor '" + tensor + "'",
                  "expected a tensor of the main graph");
  std::string scale = makeName(tensor + "/scale"),
              zero = makeName(tensor + "/zero_point"),
              codes = makeName(tensor + "/quantized"),
              back = makeName(tensor + "/dequantized");
  addInitializer(scale, onnx::TensorProto::FLOAT, {}, &activation.scale,
                 sizeof(float));
  addInitializer(zero, onnx::TensorProto::UINT8, {}, &activation.zeroPoint, 1);
  std::vector<onnx::NodeProto> &list = listBehind(tensor);
  bool isRead = false;
  auto redirect = [&](const llvm::StringSet<> &readers,
                      const std::string &value) {
    for (const auto &reader : readers.keys()) {
      auto found = nodes.find(reader);
      if (found == nodes.end())
        continue; // part of a branch: it reads the tensor
      onnx::NodeProto &node = *graph.mutable_node(found->second);
      for (int i = 0; i < node.input_size(); ++i) {
        // What the codes stand for is f32.
        StringRef source = findRoot(node.input(i));
        auto cast = casts.find(source);
        bool isDirect = source == tensor &&
                        (!activation.isShort || narrowed.count(found->second));
        if (isDirect ||
            (cast != casts.end() && findRoot(cast->second) == tensor)) {
          node.set_input(i, value);
          fed.insert(found->second);
          isRead = true;
        }
      }
    }
  };
  auto multiply = [&](const std::string &value, const char *what,
                      llvm::ArrayRef<float> factors) {
    std::string factor = makeName(tensor + "/" + what),
                product = makeName(tensor + "/" + what + "_product");
    addInitializer(factor, onnx::TensorProto::FLOAT, activation.factorShape,
                   factors.data(), factors.size() * sizeof(float));
    addNode(list, "Mul", {value, factor}, product);
    return product;
  };
  redirect(activation.readers, back);
  std::string rounded = tensor;
  if (activation.isShort) {
    rounded = makeName(tensor + "/float");
    addCast(list, tensor, rounded, onnx::TensorProto::FLOAT);
  }
  if (!activation.factors.empty())
    rounded = multiply(rounded, "factors", activation.factors);
  addLinear(list, "QuantizeLinear", rounded, scale, zero, codes, std::nullopt);
  addLinear(list, "DequantizeLinear", codes, scale, zero, back, std::nullopt);
  if (!activation.unscaledReaders.empty())
    redirect(activation.unscaledReaders,
             multiply(back, "inverses", activation.inverses));
  if (!isRead)
    return refuse("tensor '" + tensor + "'",
                  "expected a node that reads its codes, but found none");
  return llvm::Error::success();
}

void Writer::insertNodes() {
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
void Writer::removeUnread() {
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
Writer::run(llvm::ArrayRef<QdqActivation> activations,
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
  return Writer(std::move(model), parameters)
      .run(activations, weights, corrections);
}
