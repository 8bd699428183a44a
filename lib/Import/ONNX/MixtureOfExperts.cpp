//===- MixtureOfExperts.cpp - com.microsoft's MoE and QMoE ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What their attributes and inputs are, and their weights; Experts.h says what
// is computed.
//
//===----------------------------------------------------------------------===//
#include "Experts.h"
#include "Quantized.h"
#include "Registry.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Each expert has code of its own.
constexpr int64_t kMaxExperts = 1024;

std::optional<ExpertActivation> readActivation(NodeContext &node) {
  std::string name = node.attrString("activation_type", "relu");
  std::optional<ExpertActivation> found =
      llvm::StringSwitch<std::optional<ExpertActivation>>(name)
          .Case("relu", ExpertActivation::Relu)
          .Case("gelu", ExpertActivation::Gelu)
          .Case("silu", ExpertActivation::Silu)
          .Case("identity", ExpertActivation::Identity)
          .Case("swiglu", ExpertActivation::SwiGLU)
          .Default(std::nullopt);
  if (!found)
    (void)node.refuse(Diag::BadAttribute,
                      "expected activation_type relu, gelu, silu, identity or "
                      "swiglu, but got another name");
  else if (found == ExpertActivation::SwiGLU &&
           node.attrInt("swiglu_fusion", 0) != 1) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "expected swiglu_fusion 1, gates and values in turn, but "
                      "got " +
                          Twine(node.attrInt("swiglu_fusion", 0)));
    return std::nullopt;
  }
  return found;
}

/// Checks sizes: weights `[E, N, K]` (codes `[E, N, K * bits / 8]`), biases
/// `[E, N]`, the router `[tokens, E]`.
bool checkSizes(NodeContext &node, Mixture &mixture, AffineExpr tokens,
                int64_t bitsOfCode) {
  unsigned first = mixture.firstWeight, second = mixture.secondWeight;
  if (node.inRank(1) != 2 || node.inRank(first) != 3 ||
      node.inRank(second) != 3) {
    (void)node.refuse(Diag::BadShape, "expected a router of rank 2 and weights "
                                      "of rank 3");
    return false;
  }
  Dims router = node.inDims(1), up = node.inDims(first),
       down = node.inDims(second);
  std::optional<int64_t> experts = getConstantSize(router[1]);
  if (!experts || *experts > kMaxExperts || mixture.chosen < 1 ||
      mixture.chosen > *experts) {
    (void)node.refuse(
        experts && *experts > kMaxExperts ? Diag::LimitReached
                                          : Diag::BadAttribute,
        "expected a number of experts from 1 to " + Twine(kMaxExperts) +
            " and attribute 'k' from 1 to it, but got " +
            Twine(experts.value_or(0)) + " and " + Twine(mixture.chosen));
    return false;
  }
  mixture.numExperts = *experts;
  mixture.wide = up[1];
  mixture.inner = mixture.activation == ExpertActivation::SwiGLU
                      ? simplifyDim(up[1].floorDiv(2))
                      : up[1];
  auto stored = [&](AffineExpr size) {
    return simplifyDim((size * bitsOfCode).ceilDiv(8));
  };
  bool fits = node.requireEqual(router[0], tokens, "the router and tokens") &&
              node.requireEqual(up[0], router[1], "experts") &&
              node.requireEqual(down[0], router[1], "experts") &&
              node.requireEqual(up[2], stored(mixture.hidden),
                                "rows of the first weight") &&
              node.requireEqual(down[1], mixture.hidden,
                                "columns of the second weight") &&
              node.requireEqual(down[2], stored(mixture.inner),
                                "rows of the second weight");
  for (auto [bias, size] : {std::pair(mixture.firstBias, mixture.wide),
                            std::pair(mixture.secondBias, mixture.hidden)}) {
    if (!fits || !node.has(bias))
      continue;
    if (node.inRank(bias) != 2) {
      (void)node.refuse(Diag::BadShape, "expected biases of rank 2");
      return false;
    }
    fits = node.requireEqual(node.inDims(bias)[0], router[1], "experts") &&
           node.requireEqual(node.inDims(bias)[1], size, "biases and weights");
  }
  return fits;
}

std::optional<Mixture> readMixture(NodeContext &node, bool isCoded,
                                   AffineExpr tokens, int64_t bits) {
  Mixture mixture;
  mixture.isCoded = isCoded;
  mixture.firstWeight = 2;
  mixture.firstBias = isCoded ? 4 : 3;
  mixture.secondWeight = isCoded ? 5 : 4;
  mixture.secondBias = isCoded ? 7 : 5;
  mixture.hidden = node.inDims(0).back();
  mixture.chosen = node.attrInt("k", 1);
  mixture.alpha = node.attrFloat("activation_alpha", 1);
  mixture.beta = node.attrFloat("activation_beta", 0);
  mixture.limit =
      node.attrFloat("swiglu_limit", std::numeric_limits<double>::infinity());
  for (unsigned i : {mixture.firstWeight, mixture.secondWeight})
    if (!node.has(i)) {
      (void)node.refuse(Diag::BadGraph,
                        "expected input " + Twine(i) + ", but it is left out");
      return std::nullopt;
    }
  if (node.attrInt("use_sparse_mixer", 0)) {
    (void)node.refuse(Diag::UnsupportedForm,
                      "use_sparse_mixer is not supported; export the model "
                      "with softmax routing");
    return std::nullopt;
  }
  std::optional<ExpertActivation> activation = readActivation(node);
  if (!activation)
    return std::nullopt;
  mixture.activation = *activation;
  if (!checkSizes(node, mixture, tokens, bits))
    return std::nullopt;
  return mixture;
}

/// The number of tokens of an input `[..., H]` of rank 2 or 3.
AffineExpr countTokens(NodeContext &node) {
  Dims in = node.inDims(0);
  if (in.size() != 2 && in.size() != 3) {
    (void)node.refuse(Diag::BadShape, "expected an input of rank 2 or 3, but "
                                      "got rank " +
                                          Twine(in.size()));
    return {};
  }
  AffineExpr tokens = in.size() == 2 ? in[0] : mulDims(in[0], in[1]);
  if (!tokens)
    (void)node.refuse(Diag::LimitReached,
                      "expected sizes of at most 2^40, but got more");
  return tokens;
}

LogicalResult convertMoE(NodeContext &node) {
  AffineExpr tokens = countTokens(node);
  if (!tokens)
    return failure();
  constexpr unsigned thirdWeight = 6, thirdBias = 7;
  if (node.has(thirdWeight) || node.has(thirdBias))
    return node.refuse(Diag::UnsupportedForm,
                       "a third weight of experts is not supported; fuse it "
                       "with the first (swiglu_fusion 1)");
  std::optional<Mixture> mixture = readMixture(node, false, tokens, /*bits=*/8);
  if (!mixture)
    return failure();
  return emitMixture(node, *mixture, tokens,
                     [&](unsigned input, int64_t expert) {
                       return node.widen(node.takePart(node.in(input), expert));
                     });
}

//===----------------------------------------------------------------------===//
// Weights in codes
//===----------------------------------------------------------------------===//

/// Refuses what ONNX Runtime has for other devices only.
LogicalResult checkCodedForm(NodeContext &node, int64_t bits) {
  if (node.attrString("quant_type", "int") != "int")
    return node.refuse(Diag::UnsupportedForm,
                       "expected quant_type int; other types of weights are "
                       "not supported");
  for (StringRef name : {"fc1_expert_weight_bits", "fc2_expert_weight_bits"})
    if (node.attrInt(name, bits) != bits)
      return node.refuse(Diag::UnsupportedForm,
                         "expected as many bits for all weights, but got "
                         "'" +
                             name + "'");
  if (node.attrInt("weights_prepacked", -1) == 1)
    return node.refuse(Diag::UnsupportedForm,
                       "weights packed for one device are not supported");
  constexpr unsigned thirds[] = {8, 9, 10, 13}, firstScale = 15, lastScale = 20;
  for (unsigned i : thirds)
    if (node.has(i))
      return node.refuse(Diag::UnsupportedForm,
                         "a third weight of experts is not supported; fuse it "
                         "with the first (swiglu_fusion 1)");
  for (unsigned i = firstScale; i <= lastScale; ++i)
    if (node.has(i))
      return node.refuse(Diag::UnsupportedForm,
                         "scales of experts and activations are not "
                         "supported");
  return success();
}

/// Scales `[E, N]`, or `[E, N, blocks]`, and zero points, which are packed
/// along the last dimension.
LogicalResult checkCodes(NodeContext &node, unsigned weight, unsigned zero,
                         int64_t block, int64_t bits) {
  unsigned scale = weight + 1;
  if (!node.has(scale))
    return node.refuse(Diag::BadGraph, "expected input " + Twine(scale) +
                                           ", but it is left out");
  if (!node.inElem(weight).isUnsignedInteger(8) ||
      !isa<FloatType>(node.inElem(scale)) ||
      (node.has(zero) && !node.inElem(zero).isUnsignedInteger(8)))
    return node.refuse(Diag::UnsupportedType,
                       "expected weights and zero points of uint8 and scales "
                       "of floats");
  int64_t rank = block ? 3 : 2;
  if (node.inRank(scale) != rank ||
      (node.has(zero) && node.inRank(zero) != rank))
    return node.refuse(Diag::BadShape,
                       "expected scales and zero points of rank " +
                           Twine(rank) + (block ? ", one per block" : ""));
  Dims scales = node.inDims(scale), weights = node.inDims(weight);
  if (!node.requireEqual(scales[0], weights[0], "experts"))
    return failure();
  if (!node.has(zero))
    return success();
  Dims zeros = node.inDims(zero);
  // ONNX Runtime reads such zero points as if they had rank 2.
  if (block && bits < 8 && getConstantSize(scales[2]) == 1)
    return node.refuse(Diag::UnsupportedForm,
                       "expected zero points of more than one block per row");
  return success(
      node.requireEqual(zeros[0], weights[0], "experts") &&
      (!block || node.requireEqual(zeros[1], weights[1], "zero points")) &&
      node.requireEqual(zeros.back(),
                        simplifyDim((scales.back() * bits).ceilDiv(8)),
                        "zero points and scales"));
}

/// The weight `[N, K]` of an expert, dequantized: a constant expression.
Value readCodes(NodeContext &node, unsigned input, AffineExpr rows,
                unsigned zeroInput, int64_t bits, int64_t block,
                int64_t expert) {
  Value codes = unpackCodes(node, node.takePart(node.in(input), expert), bits);
  Value scales = node.takePart(node.in(input + 1), expert), zeros;
  if (!codes || !scales)
    return {};
  codes = node.slice(codes, 1, node.size(0), rows);
  if (node.has(zeroInput)) {
    zeros = unpackCodes(node, node.takePart(node.in(zeroInput), expert), bits);
    int64_t last = node.rank(scales) - 1;
    zeros = node.slice(zeros, last, node.size(0), node.dims(scales)[last]);
  } else {
    zeros = node.scalar(std::ldexp(1.0, static_cast<int>(bits) - 1),
                        node.elem(codes));
  }
  return dequantize(node, codes, scales, zeros, node.f32(),
                    {block ? 1 : 0, block});
}

LogicalResult convertQMoE(NodeContext &node) {
  AffineExpr tokens = countTokens(node);
  int64_t bits = node.attrInt("expert_weight_bits", 4);
  if (bits != 2 && bits != 4 && bits != 8)
    return node.refuse(Diag::UnsupportedForm,
                       "expected 2, 4 or 8 bits, but got " + Twine(bits));
  int64_t block = node.attrInt("block_size", 0) ? readBlock(node, 0) : 0;
  if (!tokens || node.getProblem() || failed(checkCodedForm(node, bits)))
    return failure();
  std::optional<Mixture> mixture = readMixture(node, true, tokens, bits);
  if (!mixture)
    return failure();
  constexpr unsigned zeros = 11, routerWeights = 14;
  if (failed(checkCodes(node, mixture->firstWeight, zeros, block, bits)) ||
      failed(checkCodes(node, mixture->secondWeight, zeros + 1, block, bits)))
    return failure();
  if (node.has(routerWeights) &&
      (node.inRank(routerWeights) != 2 ||
       !node.requireEqual(node.inDims(routerWeights)[0], node.inDims(1)[0],
                          "router_weights and tokens") ||
       !node.requireEqual(node.inDims(routerWeights)[1], node.inDims(1)[1],
                          "router_weights and experts")))
    return node.refuse(Diag::BadShape,
                       "expected router_weights of the router's shape");
  return emitMixture(
      node, *mixture, tokens, [&](unsigned input, int64_t expert) {
        bool isFirst = input == mixture->firstWeight;
        return readCodes(node, input,
                         isFirst ? mixture->hidden : mixture->inner,
                         isFirst ? zeros : zeros + 1, bits, block, expert);
      });
}

} // namespace

void registerMixtureOfExperts(Registry &registry) {
  registry.add(kMicrosoftDomain,
               {
                   {"MoE", 1, 3, 8, convertMoE,
                    "a third weight, sparse mixers, swiglu_fusion 0 and 2"},
                   {"QMoE", 1, 3, 21, convertQMoE,
                    "weights of floats or packed for a device, a third weight, "
                    "sparse mixers, swiglu_fusion 0 and 2"},
               });
}

} // namespace qcc::onnx_import
