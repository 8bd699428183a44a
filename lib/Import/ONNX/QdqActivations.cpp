//===- QdqActivations.cpp - activations as codes ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "QdqWriter.h"
#include "qcc/Support/Diagnostics.h"

using namespace qcc;
using llvm::StringRef;

/// Where a chain begins of which each link says what is before it.
static StringRef follow(const llvm::StringMap<std::string> &before,
                        StringRef tensor) {
  for (size_t i = 0; i <= before.size(); ++i) {
    auto found = before.find(tensor);
    if (found == before.end())
      break;
    tensor = found->second;
  }
  return tensor;
}

/// The tensor that a chain of copies begins with.
StringRef QdqWriter::findRoot(StringRef tensor) const {
  return follow(copied, tensor);
}

/// The tensor whose elements, in any order and shape, a tensor has.
StringRef QdqWriter::findMoved(StringRef tensor) const {
  return follow(moved, tensor);
}

llvm::Expected<std::string>
QdqWriter::findTensor(const QdqActivation &activation) const {
  std::string tensor = activation.tensor;
  if (tensor.empty()) {
    auto found = nodes.find(activation.node);
    if (found == nodes.end() || graph.node(found->second).output_size() != 1)
      return refuseQdq("node '" + activation.node + "'",
                       "expected a node of the main graph with one output, "
                       "which becomes codes");
    if (!activation.isWhole)
      return refuseQdq("node '" + activation.node + "'",
                       "expected codes of a tensor of the model, but they are "
                       "of a value inside of the node");
    tensor = getOutput(found->second);
  }
  bool isInput = llvm::any_of(
      graph.input(), [&](const auto &input) { return input.name() == tensor; });
  if (!makers.contains(tensor) && !isInput)
    return refuseQdq("tensor '" + tensor + "'",
                     "expected a tensor of the main graph");
  return tensor;
}

QdqWriter::Pair QdqWriter::makePair(const QdqActivation &activation,
                                    const std::string &tensor) {
  Pair pair{tensor,
            makeName(tensor + "/scale"),
            makeName(tensor + "/zero_point"),
            makeName(tensor + "/dequantized"),
            {}};
  addInitializer(pair.scale, onnx::TensorProto::FLOAT, {}, &activation.scale,
                 sizeof(float));
  addInitializer(pair.zero, onnx::TensorProto::UINT8, {}, &activation.zeroPoint,
                 1);
  return pair;
}

void QdqWriter::addPair(std::vector<onnx::NodeProto> &list, const Pair &pair,
                        const std::string &input, const std::string &output) {
  std::string codes = makeName(input + "/quantized");
  addLinear(list, "QuantizeLinear", input, pair.scale, pair.zero, codes,
            std::nullopt);
  addLinear(list, "DequantizeLinear", codes, pair.scale, pair.zero, output,
            std::nullopt);
}

bool QdqWriter::readCodes(int index, const QdqActivation &activation,
                          const std::string &tensor, const std::string &value) {
  onnx::NodeProto &node = *graph.mutable_node(index);
  bool isRead = false;
  for (int i = 0; i < node.input_size(); ++i) {
    // What the codes stand for is f32.
    StringRef source = findRoot(node.input(i));
    auto cast = casts.find(source);
    bool isDirect =
        source == tensor && (!activation.isShort || narrowed.count(index));
    if (isDirect || (cast != casts.end() && findRoot(cast->second) == tensor)) {
      node.set_input(i, value);
      fed.insert(index);
      isRead = true;
    }
  }
  return isRead;
}

bool QdqWriter::readMovedCodes(int index, Pair &pair) {
  onnx::NodeProto &node = *graph.mutable_node(index);
  for (int i = 0; i < node.input_size(); ++i) {
    std::string source = node.input(i);
    if (findMoved(source) != findMoved(pair.tensor))
      continue;
    auto [output, isNew] = pair.behindMoves.try_emplace(source);
    if (isNew) {
      output->second = makeName(source + "/dequantized");
      addPair(listBehind(source), pair, source, output->second);
    }
    node.set_input(i, output->second);
    fed.insert(index);
    return true;
  }
  return false;
}

std::string QdqWriter::multiply(std::vector<onnx::NodeProto> &list,
                                const std::string &value,
                                const llvm::Twine &factor,
                                llvm::ArrayRef<int64_t> shape,
                                llvm::ArrayRef<float> factors) {
  std::string name = makeName(factor), product = makeName(name + "_product");
  addInitializer(name, onnx::TensorProto::FLOAT, shape, factors.data(),
                 factors.size() * sizeof(float));
  addNode(list, "Mul", {value, name}, product);
  return product;
}

llvm::Error QdqWriter::quantize(const QdqActivation &activation) {
  llvm::Expected<std::string> tensor = findTensor(activation);
  if (!tensor)
    return tensor.takeError();
  Pair pair = makePair(activation, *tensor);
  std::vector<onnx::NodeProto> &list = listBehind(*tensor);
  bool isRead = false, isReadMoved = false,
       isPlain = !activation.isShort && activation.factors.empty();
  auto redirect = [&](const llvm::StringSet<> &readers,
                      const std::string &value) {
    for (const auto &reader : readers.keys()) {
      auto found = nodes.find(reader);
      if (found == nodes.end())
        continue; // part of a branch: it reads the tensor
      if (readCodes(found->second, activation, *tensor, value))
        isRead = true;
      else if (isPlain && !fed.count(found->second))
        isReadMoved |= readMovedCodes(found->second, pair);
    }
  };
  redirect(activation.readers, pair.output);
  if (isReadMoved && !isRead)
    return llvm::Error::success();
  std::string rounded = *tensor;
  if (activation.isShort) {
    rounded = makeName(*tensor + "/float");
    addCast(list, *tensor, rounded, onnx::TensorProto::FLOAT);
  }
  if (!activation.factors.empty())
    rounded = multiply(list, rounded, *tensor + "/factors",
                       activation.factorShape, activation.factors);
  addPair(list, pair, rounded, pair.output);
  if (!activation.unscaledReaders.empty())
    redirect(activation.unscaledReaders,
             multiply(list, pair.output, *tensor + "/inverses",
                      activation.factorShape, activation.inverses));
  if (!isRead)
    return refuseQdq("tensor '" + *tensor + "'",
                     "expected a node that reads its codes, but found none");
  return llvm::Error::success();
}
