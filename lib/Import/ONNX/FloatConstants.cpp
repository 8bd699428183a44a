//===- FloatConstants.cpp - constants of a graph as f32 ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "FloatConstants.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"
#include <cstring>

using namespace qcc;
using llvm::ArrayRef;
using llvm::StringRef;
using onnx::TensorProto;

using Sizes = std::vector<int64_t>;

static const onnx::AttributeProto *findAttribute(const onnx::NodeProto &node,
                                                 StringRef name) {
  for (const onnx::AttributeProto &attribute : node.attribute())
    if (attribute.name() == name)
      return &attribute;
  return nullptr;
}

/// The elements of fewer than 32 bits, from bytes or from the field of numbers.
static std::vector<uint16_t> readHalves(const TensorProto &tensor) {
  if (!tensor.has_raw_data())
    return {tensor.int32_data().begin(), tensor.int32_data().end()};
  std::vector<uint16_t> bits(tensor.raw_data().size() / sizeof(uint16_t));
  std::memcpy(bits.data(), tensor.raw_data().data(),
              bits.size() * sizeof(uint16_t));
  return bits;
}

static std::optional<FloatConstant> readFloats(const TensorProto &tensor) {
  FloatConstant constant;
  constant.type = tensor.data_type();
  std::vector<float> &values = constant.values;
  switch (constant.type) {
  case TensorProto::FLOAT:
    values.assign(tensor.float_data().begin(), tensor.float_data().end());
    if (tensor.has_raw_data()) {
      values.resize(tensor.raw_data().size() / sizeof(float));
      std::memcpy(values.data(), tensor.raw_data().data(),
                  values.size() * sizeof(float));
    }
    return constant;
  case TensorProto::FLOAT16:
    for (uint16_t bits : readHalves(tensor))
      values.push_back(float(llvm::bit_cast<_Float16>(bits)));
    return constant;
  case TensorProto::BFLOAT16:
    for (uint16_t bits : readHalves(tensor))
      values.push_back(llvm::bit_cast<float>(uint32_t(bits) << 16));
    return constant;
  default:
    return std::nullopt;
  }
}

/// The order of the dimensions that a Transpose of a rank gives; empty if it
/// fits none.
static Sizes getOrder(const onnx::NodeProto &transpose, size_t rank) {
  Sizes order;
  if (const auto *attribute = findAttribute(transpose, "perm"))
    order.assign(attribute->ints().begin(), attribute->ints().end());
  else
    for (size_t i = rank; i-- > 0;)
      order.push_back(int64_t(i));
  Sizes sorted = order;
  llvm::sort(sorted);
  bool fits = order.size() == rank;
  for (size_t i = 0; fits && i < rank; ++i)
    fits = sorted[i] == int64_t(i);
  return fits ? order : Sizes();
}

static std::vector<float> transpose(ArrayRef<float> values,
                                    ArrayRef<int64_t> shape,
                                    ArrayRef<int64_t> order) {
  size_t rank = shape.size();
  Sizes strides(rank, 1), at(rank);
  for (size_t i = rank - 1; i-- > 0;)
    strides[i] = strides[i + 1] * shape[i + 1];
  std::vector<float> result(values.size());
  int64_t from = 0;
  for (float &value : result) {
    value = values[size_t(from)];
    for (size_t i = rank; i-- > 0;) {
      auto axis = size_t(order[i]);
      from += strides[axis];
      if (++at[i] < shape[axis])
        break;
      from -= strides[axis] * shape[axis];
      at[i] = 0;
    }
  }
  return result;
}

bool FloatConstants::isWide(const onnx::NodeProto &cast) {
  const auto *to = findAttribute(cast, "to");
  return to && to->i() == TensorProto::FLOAT;
}

bool FloatConstants::keepsOrder(StringRef op) {
  return op == "Identity" || op == "Reshape" || op == "Flatten" ||
         op == "Squeeze" || op == "Unsqueeze";
}

const TensorProto *
FloatConstants::findRoot(StringRef tensor,
                         std::vector<const onnx::NodeProto *> &chain) const {
  for (int i = 0; i <= graph.node_size(); ++i) {
    if (auto initializer = initializers.find(tensor);
        initializer != initializers.end())
      return &graph.initializer(initializer->second);
    auto maker = makers.find(tensor);
    if (maker == makers.end())
      return nullptr;
    const onnx::NodeProto &node = graph.node(maker->second);
    if (node.op_type() == "Constant") {
      const auto *value = findAttribute(node, "value");
      return value ? &value->t() : nullptr;
    }
    if (node.input_size() == 0)
      return nullptr;
    chain.push_back(&node);
    tensor = node.input(0);
  }
  return nullptr;
}

/// The shapes that each operator of a chain gives, as far as the last one's
/// tells; empty: not known.
static std::vector<Sizes> findShapes(ArrayRef<const onnx::NodeProto *> chain,
                                     ArrayRef<int64_t> last) {
  std::vector<Sizes> shapes;
  Sizes shape = last.vec();
  for (const onnx::NodeProto *node : chain) {
    shapes.push_back(shape);
    if (node->op_type() == "Transpose") {
      Sizes order = getOrder(*node, shape.size()), before(order.size());
      for (auto [i, axis] : llvm::enumerate(order))
        before[size_t(axis)] = shape[i];
      shape = std::move(before);
    } else if (node->op_type() != "Identity" && node->op_type() != "Cast") {
      shape.clear();
    }
  }
  return shapes;
}

std::optional<FloatConstant>
FloatConstants::read(StringRef tensor, ArrayRef<int64_t> last) const {
  std::vector<const onnx::NodeProto *> chain;
  const TensorProto *root = findRoot(tensor, chain);
  std::optional<FloatConstant> constant;
  if (root)
    constant = readFloats(*root);
  if (!constant)
    return std::nullopt;
  std::vector<Sizes> shapes = findShapes(chain, last);
  Sizes shape(root->dims().begin(), root->dims().end());
  for (size_t i = chain.size(); i-- > 0;) {
    const onnx::NodeProto &node = *chain[i];
    if (node.op_type() == "Transpose") {
      Sizes order = getOrder(node, shape.size());
      if (order.empty() || int64_t(constant->values.size()) !=
                               llvm::product_of(shape, int64_t(1)))
        return std::nullopt;
      constant->values = transpose(constant->values, shape, order);
      Sizes before = shape;
      for (auto [size, axis] : llvm::zip_equal(shape, order))
        size = before[size_t(axis)];
    } else if (node.op_type() == "Cast") {
      if (!isWide(node))
        return std::nullopt;
      constant->type = TensorProto::FLOAT;
    } else if (!keepsOrder(node.op_type())) {
      return std::nullopt;
    } else if (node.op_type() != "Identity") {
      shape = shapes[i];
    }
  }
  return constant;
}
