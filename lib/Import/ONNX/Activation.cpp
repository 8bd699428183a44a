//===- Activation.cpp - activation functions --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Activation.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

Value geluTanh(Body &body, Value x) {
  Type type = x.getType();
  Value cube =
      body.mul(body.number(0.044715, type), body.mul(x, body.mul(x, x)));
  Value inner =
      body.mul(body.number(0.79788456080286535588, type), body.add(x, cube));
  return body.mul(body.mul(body.number(0.5, type), x),
                  body.add(body.number(1, type), body.tanh(inner)));
}

Value applyFusedActivation(NodeContext &node, Value input) {
  std::string name = node.attrString("activation", "");
  if (name.empty() || name == "Identity")
    return input;
  SmallVector<double> given =
      node.attrFloats("activation_params").value_or(SmallVector<double>());
  auto parameter = [&](size_t i, StringRef attribute, double otherwise) {
    return i < given.size() ? given[i] : node.attrFloat(attribute, otherwise);
  };
  double alpha = parameter(0, "activation_alpha", 0.01f),
         beta = parameter(1, "activation_beta", 0);
  return node.unary(input, [&](Body &body, Value x) -> Value {
    Type type = x.getType();
    auto number = [&](double value) { return body.number(value, type); };
    if (name == "Relu")
      return body.max(x, number(0));
    if (name == "Tanh")
      return body.tanh(x);
    if (name == "Sigmoid")
      return body.sigmoid(x);
    if (name == "LeakyRelu")
      return body.select(body.lt(x, number(0)), body.mul(x, number(alpha)), x);
    if (name == "Clip")
      return body.clamp(x, number(alpha), number(beta));
    if (name == "HardSigmoid")
      return body.clamp(body.add(body.mul(x, number(alpha)), number(beta)),
                        number(0), number(1));
    (void)node.refuse(Diag::BadAttribute,
                      "expected activation Relu, Tanh, Sigmoid, LeakyRelu, "
                      "Clip or HardSigmoid, but got '" +
                          name + "'");
    return x;
  });
}

namespace {

LogicalResult convertRelu(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.max(x, body.number(0, x.getType()));
  }));
}
LogicalResult convertSigmoid(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.sigmoid(x);
  }));
}

LogicalResult convertLeakyRelu(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 0.01f);
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Value zero = body.number(0, x.getType());
    return body.select(body.lt(x, zero),
                       body.mul(x, body.number(alpha, x.getType())), x);
  }));
}

LogicalResult convertPRelu(NodeContext &node) {
  // The slope broadcasts to the input only; before opset 9 a slope of rank 1
  // was per channel.
  Value slope = node.in(1);
  if (node.getOpset() < 9 && node.inRank(1) == 1 && node.inRank(0) > 2)
    slope = node.expandRank(slope, node.inRank(0) - 1, /*atEnd=*/true);
  return node.set(
      0, node.elementwise({node.in(0), slope}, node.inElem(0),
                          [](Body &body, ValueRange x) {
                            Value zero = body.number(0, x[0].getType());
                            return body.select(body.lt(x[0], zero),
                                               body.mul(x[0], x[1]), x[0]);
                          }));
}

LogicalResult convertThresholdedRelu(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 1);
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    return body.select(body.lt(body.number(alpha, x.getType()), x), x,
                       body.number(0, x.getType()));
  }));
}

/// `scale * (exp(x / divide) - 1)` for x < 0 (or <= 0), and `gain * x` above.
LogicalResult convertExponential(NodeContext &node, double gain, double scale,
                                 double divide) {
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Type type = x.getType();
    // The exponential is taken of the negative part, so that it cannot overflow
    // where it is not chosen.
    Value negative = body.min(x, body.number(0, type));
    if (divide != 1)
      negative = body.div(negative, body.number(divide, type));
    Value below = body.mul(body.number(scale, type),
                           body.sub(body.exp(negative), body.number(1, type)));
    Value above = gain == 1 ? x : body.mul(body.number(gain, type), x);
    return body.select(body.lt(x, body.number(0, type)), below, above);
  }));
}
LogicalResult convertElu(NodeContext &node) {
  return convertExponential(node, 1, node.attrFloat("alpha", 1), 1);
}
LogicalResult convertSelu(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 1.67326319217681884765625),
         gamma = node.attrFloat("gamma", 1.05070102214813232421875);
  return convertExponential(node, gamma, gamma * alpha, 1);
}
LogicalResult convertCelu(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 1);
  return convertExponential(node, 1, alpha, alpha);
}

LogicalResult convertHardSigmoid(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 0.2f),
         beta = node.attrFloat("beta", 0.5);
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Type type = x.getType();
    Value line = body.add(body.mul(body.number(alpha, type), x),
                          body.number(beta, type));
    return body.clamp(line, body.number(0, type), body.number(1, type));
  }));
}
LogicalResult convertHardSwish(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    Type type = x.getType();
    Value line =
        body.add(body.div(x, body.number(6, type)), body.number(0.5, type));
    return body.mul(
        x, body.clamp(line, body.number(0, type), body.number(1, type)));
  }));
}

/// log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|)).
Value softplus(Body &body, Value x) {
  Type type = x.getType();
  Value tail = body.log1p(body.exp(body.neg(body.abs(x))));
  return body.add(body.max(x, body.number(0, type)), tail);
}
LogicalResult convertSoftplus(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), softplus));
}
LogicalResult convertMish(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.mul(x, body.tanh(softplus(body, x)));
  }));
}
LogicalResult convertSoftsign(NodeContext &node) {
  return node.set(0, node.unary(node.in(0), [](Body &body, Value x) {
    return body.div(x, body.add(body.number(1, x.getType()), body.abs(x)));
  }));
}

Value geluErf(Body &body, Value x) {
  Type type = x.getType();
  Value half = body.mul(body.number(0.5, type), x);
  return body.mul(half,
                  body.add(body.number(1, type),
                           body.erf(body.mul(
                               x, body.number(0.70710678118654752440, type)))));
}
LogicalResult convertGelu(NodeContext &node) {
  bool approximate = node.attrString("approximate", "none") == "tanh";
  return node.set(0, node.unary(node.in(0), approximate ? geluTanh : geluErf));
}

/// com.microsoft: the bias is optional and added first.
template <Value (*gelu)(Body &, Value)>
LogicalResult convertBiasGelu(NodeContext &node) {
  SmallVector<Value> operands = {node.in(0)};
  if (node.has(1))
    operands.push_back(node.in(1));
  return node.set(
      0,
      node.elementwise(operands, node.inElem(0), [](Body &body, ValueRange x) {
        return gelu(body, x.size() > 1 ? body.add(x[0], x[1]) : x[0]);
      }));
}

/// x * sigmoid(alpha * x): Swish, and QuickGelu with another default.
LogicalResult convertSwishWith(NodeContext &node, double alpha) {
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    return body.mul(
        x, body.sigmoid(
               alpha == 1 ? x : body.mul(body.number(alpha, x.getType()), x)));
  }));
}
LogicalResult convertSwish(NodeContext &node) {
  return convertSwishWith(node, node.attrFloat("alpha", 1));
}
LogicalResult convertQuickGelu(NodeContext &node) {
  return convertSwishWith(node, node.attrFloat("alpha", 1.702f));
}

LogicalResult convertShrink(NodeContext &node) {
  double lambda = node.attrFloat("lambd", 0.5),
         bias = node.attrFloat("bias", 0);
  bool isUnsigned = isUnsignedElement(node.inElem(0));
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    Type type = x.getType();
    Value zero = body.number(0, type), offset = body.number(bias, type);
    Value above = body.select(body.lt(body.number(lambda, type), x, isUnsigned),
                              body.sub(x, offset), zero);
    if (isUnsigned)
      return above;
    return body.select(body.lt(x, body.number(-lambda, type)),
                       body.add(x, offset), above);
  }));
}

} // namespace

void registerActivation(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"Relu", 1, 1, 1, convertRelu},
                   {"Sigmoid", 1, 1, 1, convertSigmoid},
                   {"LeakyRelu", 1, 1, 1, convertLeakyRelu},
                   {"PRelu", 1, 2, 2, convertPRelu},
                   {"ThresholdedRelu", 1, 1, 1, convertThresholdedRelu},
                   {"Elu", 1, 1, 1, convertElu},
                   {"Selu", 1, 1, 1, convertSelu},
                   {"Celu", 12, 1, 1, convertCelu},
                   {"HardSigmoid", 1, 1, 1, convertHardSigmoid},
                   {"HardSwish", 14, 1, 1, convertHardSwish},
                   {"Softplus", 1, 1, 1, convertSoftplus},
                   {"Softsign", 1, 1, 1, convertSoftsign},
                   {"Mish", 18, 1, 1, convertMish},
                   {"Gelu", 20, 1, 1, convertGelu},
                   {"Swish", 24, 1, 1, convertSwish},
                   {"Shrink", 9, 1, 1, convertShrink},
               });
  registry.add(kMicrosoftDomain,
               {
                   {"Gelu", 1, 1, 1, convertBiasGelu<geluErf>},
                   {"BiasGelu", 1, 2, 2, convertBiasGelu<geluErf>},
                   {"FastGelu", 1, 1, 2, convertBiasGelu<geluTanh>},
                   {"QuickGelu", 1, 1, 1, convertQuickGelu},
               });
}

} // namespace qcc::onnx_import
