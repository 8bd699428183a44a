//===- Conv.cpp - convolutions ----------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Conv.h"
#include "Activation.h"
#include "Registry.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace qcc::onnx_import {

Value addChannelBias(NodeContext &node, Value result, Value bias) {
  if (!bias || !result)
    return result;
  if (node.rank(bias) != 1) {
    (void)node.refuse(Diag::BadShape, "expected a bias of rank 1");
    return {};
  }
  return node.add(result,
                  node.expandRank(bias, node.rank(result) - 1, /*atEnd=*/true));
}

std::optional<ConvShape> readConv(NodeContext &node, Value input,
                                  Value weight) {
  Dims in = node.dims(input), kernel = node.dims(weight);
  if (in.size() < 3 || in.size() > 5 || kernel.size() != in.size()) {
    (void)node.refuse(
        Diag::UnsupportedForm,
        "expected input and weight of one rank from 3 to 5, but got " +
            Twine(in.size()) + " and " + Twine(kernel.size()));
    return std::nullopt;
  }
  std::optional<SmallVector<int64_t>> sizes =
      getKernelSizes(node, ArrayRef(kernel).drop_front(2));
  if (!sizes)
    return std::nullopt;
  ConvShape conv;
  std::optional<SpatialWindow> window =
      readWindow(node, *sizes, ArrayRef(in).drop_front(2));
  conv.groups = node.attrInt("group", 1);
  if (!window)
    return std::nullopt;
  conv.window = std::move(*window);
  std::optional<int64_t> channels = getConstantSize(in[1]),
                         outputs = getConstantSize(kernel[0]);
  if (conv.groups < 1 || (channels && *channels % conv.groups) ||
      (outputs && *outputs % conv.groups)) {
    (void)node.refuse(
        Diag::BadAttribute,
        "expected a number of groups that divides the channels, but got " +
            Twine(conv.groups));
    return std::nullopt;
  }
  if (!node.requireEqual(in[1], simplifyDim(kernel[1] * conv.groups),
                         "the channels of input and weight"))
    return std::nullopt;
  std::optional<Dims> out =
      getWindowedDims(node, conv.window, ArrayRef(in).drop_front(2));
  if (!out)
    return std::nullopt;
  conv.result = {in[0], kernel[0]};
  llvm::append_range(conv.result, *out);
  return conv;
}

namespace {

LogicalResult convertConv(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  Value input = node.widen(node.in(0)), weight = node.widen(node.in(1));
  std::optional<ConvShape> conv = readConv(node, input, weight);
  if (!conv)
    return failure();
  // Layers are found by their channels, and those of a weight are known where
  // the shape before them says less: exporters trace `16 // n`.
  Dims in = node.dims(input);
  if (AffineExpr channels = simplifyDim(node.dims(weight)[1] * conv->groups);
      getConstantSize(channels) && in[1] != channels) {
    in[1] = channels;
    input =
        ReshapeOp::create(node.b, makeTensorType(in, node.elem(input)), input);
  }
  Value result = convolve(node, input, weight, *conv, node.widen(node.in(2)));
  return node.set(0, node.cast(result, node.inElem(0)));
}

/// com.microsoft: a convolution, a tensor that is added, an activation.
LogicalResult convertFusedConv(NodeContext &node) {
  Value addend = node.in(3);
  if (failed(convertConv(node)))
    return failure();
  Value result = node.getOutputs()[0];
  if (addend)
    result = node.add(result, addend);
  return node.set(0, applyFusedActivation(node, result));
}

/// Padding of a transposed convolution: what `output_shape` or `auto_pad` ask
/// for, in place.
bool padTransposed(NodeContext &node, SpatialWindow &window,
                   ArrayRef<AffineExpr> in, ArrayRef<int64_t> extra) {
  std::optional<SmallVector<int64_t>> wanted = node.attrInts("output_shape");
  std::string automatic = node.attrString("auto_pad", "NOTSET");
  bool same = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  size_t count = window.size();
  constexpr int64_t most = int64_t(1) << 40;
  if (wanted && wanted->size() == count + 2)
    wanted->erase(wanted->begin(), wanted->begin() + 2);
  if (wanted && wanted->size() != count) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected " + Twine(count) +
                          " elements of 'output_shape', but got " +
                          Twine(wanted->size()));
    return false;
  }
  for (size_t i = 0; (wanted || same) && i < count; ++i) {
    int64_t span = (window.kernel[i] - 1) * window.dilations[i] + 1,
            stride = window.strides[i];
    int64_t total = span + extra[i] - stride; // for a result of input * stride
    if (wanted) {
      std::optional<int64_t> extent = getConstantSize(in[i]);
      if (!extent) {
        (void)node.refuse(Diag::UnsupportedShape,
                          "output_shape needs an input of static shape: fix it "
                          "with --dim=NAME=VALUE");
        return false;
      }
      int64_t reach;
      if ((*wanted)[i] < 0 || (*wanted)[i] > most ||
          llvm::MulOverflow(*extent - 1, stride, reach) || reach > most) {
        (void)node.refuse(Diag::LimitReached,
                          "expected sizes of output_shape from 0 to 2^40, but "
                          "got " +
                              Twine((*wanted)[i]));
        return false;
      }
      total = reach + extra[i] + span - (*wanted)[i];
    }
    // Where the result is larger than the windows reach, zeros are added at the
    // end.
    int64_t half = total / 2;
    window.pads[i] = total < 0                   ? 0
                     : automatic == "SAME_UPPER" ? half
                                                 : total - half;
    window.pads[i + count] = total - window.pads[i];
  }
  return true;
}

LogicalResult convertConvTranspose(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  Value input = node.widen(node.in(0)), weight = node.widen(node.in(1));
  Dims in = node.dims(input), kernel = node.dims(weight);
  if (in.size() < 3 || in.size() > 5 || kernel.size() != in.size())
    return node.refuse(Diag::UnsupportedForm,
                       "expected input and weight of one rank from 3 to 5");
  std::optional<SmallVector<int64_t>> sizes =
      getKernelSizes(node, ArrayRef(kernel).drop_front(2));
  if (!sizes)
    return failure();
  // Automatic padding means another thing here: it is worked out below,
  // from strides and kernels alone.
  std::optional<SpatialWindow> window = readWindow(
      node, *sizes, ArrayRef(in).drop_front(2), /*isTransposed=*/true);
  if (!window)
    return failure();
  SmallVector<int64_t> extra =
      node.attrInts("output_padding")
          .value_or(SmallVector<int64_t>(window->size(), 0));
  int64_t groups = node.attrInt("group", 1);
  if (extra.size() != window->size() || groups < 1 ||
      llvm::any_of(extra, [](int64_t e) { return e < 0 || e > (1 << 24); }))
    return node.refuse(Diag::BadAttribute,
                       "expected output_padding of 0 or more per spatial "
                       "dimension and 1 or more groups");
  if (!padTransposed(node, *window, ArrayRef(in).drop_front(2), extra) ||
      !node.requireEqual(in[1], kernel[0], "the channels of input and weight"))
    return failure();
  Dims result = {in[0], node.scaled(kernel[1], groups)};
  for (size_t i = 0; i < window->size(); ++i) {
    int64_t span = (window->kernel[i] - 1) * window->dilations[i] + 1;
    int64_t added =
        extra[i] + span - window->pads[i] - window->pads[i + window->size()];
    AffineExpr reach =
        node.scaled(simplifyDim(in[i + 2] - 1), window->strides[i]);
    if (!reach || !result[1])
      return failure();
    result.push_back(simplifyDim(reach + added));
    if (std::optional<int64_t> known = getConstantSize(result.back());
        known && *known < 0)
      return node.refuse(
          Diag::BadShape,
          "expected a result of 0 or more elements, but the pads leave none");
  }
  Value bias = node.widen(node.in(2)),
        out = convolveTransposed(node, input, weight, {*window, groups, result},
                                 extra, bias);
  if (!out && !node.getProblem())
    out = addChannelBias(node,
                         ConvTransposeOp::create(
                             node.b, makeTensorType(result, node.elem(input)),
                             input, weight, window->strides, window->pads,
                             window->dilations, groups),
                         bias);
  return node.set(0, node.cast(out, node.inElem(0)));
}

} // namespace

void registerConv(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"Conv", 1, 2, 3, convertConv, kConvNote},
                                {"ConvTranspose", 1, 2, 3, convertConvTranspose,
                                 "more than 3 spatial dimensions"},
                            });
  registry.add(kMicrosoftDomain,
               {
                   {"FusedConv", 1, 2, 4, convertFusedConv, kConvNote},
               });
}

} // namespace qcc::onnx_import
