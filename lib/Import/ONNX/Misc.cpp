//===- Misc.cpp - losses, image operators, operators of old exporters -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

//===----------------------------------------------------------------------===//
// Experimental operators of opset 7 and before, which style networks still hold
//===----------------------------------------------------------------------===//

LogicalResult convertCrop(NodeContext &node) {
  Dims in = node.inDims(0);
  std::optional<SmallVector<int64_t>> border = node.attrInts("border"),
                                      scale = node.attrInts("scale");
  if (in.size() != 4 || !border || border->size() != 4 ||
      (scale && scale->size() != 2))
    return node.refuse(Diag::BadAttribute,
                       "expected a tensor of rank 4 and 4 numbers of 'border'");
  // Left, top, right, bottom; or left, top and a size.
  auto crop = [&](Value input, int64_t axis, int64_t before, int64_t after,
                  std::optional<int64_t> size) -> Value {
    AffineExpr rest = simplifyDim(in[axis] - before - after);
    AffineExpr wanted = size ? node.size(*size) : rest;
    if (before < 0 || after < 0 ||
        !node.requireAtLeast(in[axis], simplifyDim(wanted + before),
                             "a cropped dimension") ||
        !node.requireAtLeast(wanted, node.size(0), "what cropping leaves"))
      return {};
    return node.slice(input, axis, node.size(before), wanted);
  };
  std::optional<int64_t> height, width;
  if (scale) {
    height = (*scale)[0];
    width = (*scale)[1];
  }
  Value rows = crop(node.in(0), 2, (*border)[1], (*border)[3], height);
  Value result =
      rows ? crop(rows, 3, (*border)[0], (*border)[2], width) : Value();
  return result ? node.set(0, result)
                : node.refuse(Diag::BadAttribute,
                              "expected borders within the image");
}

LogicalResult convertImageScaler(NodeContext &node) {
  double scale = node.attrFloat("scale", 1);
  SmallVector<double> bias =
      node.attrFloats("bias").value_or(SmallVector<double>());
  Value scaled = node.unary(node.in(0), [&](Body &body, Value x) {
    return body.mul(x, body.number(scale, x.getType()));
  });
  if (bias.empty())
    return node.set(0, scaled);
  SmallVector<Attribute> values;
  for (double value : bias)
    values.push_back(node.b.getFloatAttr(node.inElem(0), value));
  Value offsets = node.constant(DenseElementsAttr::get(
      RankedTensorType::get({static_cast<int64_t>(bias.size())},
                            node.inElem(0)),
      values));
  return node.set(
      0, node.add(scaled, node.expandRank(
                              offsets, std::max<int64_t>(1, node.inRank(0) - 1),
                              /*atEnd=*/true)));
}

LogicalResult convertAffine(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 1), beta = node.attrFloat("beta", 0);
  return node.set(0, node.unary(node.in(0), [&](Body &body, Value x) {
    return body.add(body.mul(x, body.number(alpha, x.getType())),
                    body.number(beta, x.getType()));
  }));
}

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

/// The negative log-likelihood `[N, d...]` of `[N, C, d...]` at `target`,
/// weighted by class, then reduced as the node says.
LogicalResult emitLikelihoodLoss(NodeContext &node, Value logs, Value target,
                                 Value weight) {
  Dims in = node.dims(logs), to = node.dims(target);
  if (in.size() < 2 || to.size() + 1 != in.size())
    return node.refuse(
        Diag::BadShape,
        "expected a target of the input's shape without its channels");
  if (weight && node.rank(weight) != 1)
    return node.refuse(Diag::BadShape, "expected a vector of weights");
  if (weight &&
      !node.requireEqual(node.dims(weight)[0], in[1], "weights and classes"))
    return failure();
  for (size_t i = 0; i < to.size(); ++i)
    if (!node.requireEqual(to[i], in[i == 0 ? 0 : i + 1], "the target"))
      return failure();
  std::string reduction = node.attrString("reduction", "mean");
  bool hasIgnored = node.hasAttr("ignore_index");
  int64_t ignored = node.attrInt("ignore_index", 0);
  Type type = node.elem(logs), compute = getComputeType(type);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(to.size(), node.b.getContext());
  SmallVector<Value> whole = {logs};
  if (weight)
    whole.push_back(weight);
  // The factor of an element: its class's weight, 0 where the class is to be
  // ignored.
  auto factor = [&](Body &body, Value index, Value classIndex, Value weights) {
    Value result =
        weights ? body.read(weights, classIndex) : body.number(1, compute);
    return hasIgnored ? body.select(body.eq(index, body.index(ignored)),
                                    body.number(0, compute), result)
                      : result;
  };
  auto emit = [&](bool withLoss) {
    return node.generic(
        to, compute, target, identity, whole, [&](Body &body, ValueRange x) {
          Value index = body.toIndex(x[0]),
                classIndex = body.clampIndex(index, body.extent(in[1]));
          Value scale =
              factor(body, index, classIndex, x.size() > 2 ? x[2] : Value());
          if (!withLoss)
            return scale;
          SmallVector<Value> at;
          for (unsigned i = 0; i < to.size(); ++i)
            at.push_back(body.dim(i));
          at.insert(at.begin() + 1, classIndex);
          Value loss = body.mul(body.neg(body.read(x[1], at)), scale);
          // What is ignored may be infinite.
          return hasIgnored ? body.select(body.eq(index, body.index(ignored)),
                                          body.number(0, compute), loss)
                            : loss;
        });
  };
  Value losses = emit(true);
  if (reduction == "none")
    return node.set(0, node.cast(losses, type));
  SmallVector<int64_t> all = llvm::to_vector(llvm::seq<int64_t>(0, to.size()));
  Value sum = node.reduce(Combiner::Sum, losses, all, false, compute);
  if (reduction == "mean") {
    Value total = node.reduce(Combiner::Sum, emit(false), all, false, compute);
    sum = node.elementwise({sum, total}, compute, [](Body &body, ValueRange x) {
      return body.div(x[0], x[1]);
    });
  } else if (reduction != "sum") {
    return node.refuse(Diag::BadAttribute,
                       "expected reduction none, sum or mean, but got '" +
                           reduction + "'");
  }
  return node.set(0, node.cast(sum, type));
}

LogicalResult convertLikelihoodLoss(NodeContext &node) {
  return emitLikelihoodLoss(node, node.in(0), node.in(1), node.in(2));
}

LogicalResult convertCrossEntropyLoss(NodeContext &node) {
  if (node.inRank(0) < 2)
    return node.refuse(Diag::BadShape, "expected scores of rank 2 or more");
  Value logs = node.softmax(node.in(0), 1, /*log=*/true);
  if (node.wants(1) && failed(node.set(1, logs)))
    return failure();
  return logs ? emitLikelihoodLoss(node, logs, node.in(1), node.in(2))
              : failure();
}

//===----------------------------------------------------------------------===//
// Windows, gates
//===----------------------------------------------------------------------===//

/// a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N), N one less unless the window
/// is periodic.
LogicalResult emitWindow(NodeContext &node, double a0, double a1, double a2) {
  std::optional<Dims> size = node.readSizes(0, "the size of the window");
  if (!size)
    return failure();
  if (size->size() != 1)
    return node.refuse(Diag::BadShape, "expected one size of the window");
  const Dims &to = *size;
  bool periodic = node.attrInt("periodic", 1) != 0;
  Type type = node.attrType("output_datatype", node.f32());
  if (!type || !isa<FloatType>(type))
    return node.refuse(Diag::UnsupportedType, "expected a float type");
  Type compute = getComputeType(type);
  constexpr double kTwoPi = 6.283185307179586476925;
  return node.set(0, node.generate(to, type, [&](Body &body) {
    Value n = body.fromIndex(body.dim(0), compute),
          count = body.fromIndex(body.extent(to[0]), compute);
    Value divisor = periodic ? count : body.sub(count, body.number(1, compute));
    Value angle = body.div(body.mul(n, body.number(kTwoPi, compute)), divisor);
    Value result =
        body.sub(body.number(a0, compute),
                 body.mul(body.number(a1, compute), body.cos(angle)));
    if (a2 == 0)
      return result;
    return body.add(result, body.mul(body.number(a2, compute),
                                     body.cos(body.add(angle, angle))));
  }));
}
LogicalResult convertHann(NodeContext &node) {
  return emitWindow(node, 0.5, 0.5, 0);
}
LogicalResult convertHamming(NodeContext &node) {
  return emitWindow(node, 25.0 / 46, 21.0 / 46, 0);
}
LogicalResult convertBlackman(NodeContext &node) {
  return emitWindow(node, 0.42, 0.5, 0.08);
}

LogicalResult convertSwiGLU(NodeContext &node) {
  double alpha = node.attrFloat("alpha", 1);
  return node.set(
      0, node.elementwise(
             node.getInputs(), node.inElem(0), [&](Body &body, ValueRange x) {
               Value gate = body.sigmoid(
                   alpha == 1
                       ? x[0]
                       : body.mul(body.number(alpha, x[0].getType()), x[0]));
               return body.mul(body.mul(x[0], gate), x[1]);
             }));
}

/// The grid of an affine transformation, `[N, H, W, 2]` or `[N, D, H, W, 3]`,
/// from `theta [N, k, k + 1]`.
LogicalResult convertAffineGrid(NodeContext &node) {
  if (node.inRank(0) != 3)
    return node.refuse(Diag::BadShape, "expected transformations of rank 3");
  std::optional<Dims> size = node.readSizes(1, "the size of the grid");
  if (!size)
    return failure();
  if (size->size() != 4 && size->size() != 5)
    return node.refuse(Diag::BadShape,
                       "expected 4 or 5 sizes, but got " + Twine(size->size()));
  unsigned spatial = size->size() - 2;
  bool corners = node.attrInt("align_corners", 0) != 0;
  Dims to = {(*size)[0]};
  to.append(size->begin() + 2, size->end());
  to.push_back(node.size(spatial));
  Type type = node.inElem(0), compute = getComputeType(type);
  return node.set(
      0,
      node.generic(to, type, {}, {}, node.in(0), [&](Body &body, ValueRange x) {
        Value row = body.dim(spatial + 1), one = body.number(1, compute),
              two = body.number(2, compute), sum;
        for (unsigned i = 0; i < spatial; ++i) {
          // Coordinates go from the last dimension to the first: x, y, z.
          unsigned dim = spatial - i;
          Value index = body.fromIndex(body.dim(dim), compute),
                count = body.fromIndex(body.extent(to[dim]), compute);
          Value place;
          if (corners) {
            Value steps = body.max(body.sub(count, one), one);
            place = body.sub(body.div(body.mul(two, index), steps), one);
          } else {
            place = body.sub(
                body.div(body.add(body.mul(two, index), one), count), one);
          }
          Value term = body.mul(
              body.read(x[0], {body.dim(0), row, body.index(i)}), place);
          sum = sum ? body.add(sum, term) : term;
        }
        return body.add(
            sum, body.read(x[0], {body.dim(0), row, body.index(spatial)}));
      }));
}

} // namespace

void registerMisc(Registry &registry) {
  constexpr const char *kOld = "an experimental operator of old exporters";
  registry.add(
      kOnnxDomain,
      {
          {"Crop", 1, 1, 1, convertCrop, kOld},
          {"ImageScaler", 1, 1, 1, convertImageScaler, kOld},
          {"Affine", 1, 1, 1, convertAffine, kOld},
          {"NegativeLogLikelihoodLoss", 12, 2, 3, convertLikelihoodLoss},
          {"SoftmaxCrossEntropyLoss", 12, 2, 3, convertCrossEntropyLoss},
          {"HannWindow", 17, 1, 1, convertHann},
          {"HammingWindow", 17, 1, 1, convertHamming},
          {"BlackmanWindow", 17, 1, 1, convertBlackman},
          {"SwiGLU", 28, 2, 2, convertSwiGLU},
          {"AffineGrid", 20, 2, 2, convertAffineGrid},
      });
}

} // namespace qcc::onnx_import
