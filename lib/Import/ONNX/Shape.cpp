//===- Shape.cpp - constants, shapes and reshapes ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Importer.h"
#include "Registry.h"
#include "qcc/Dialect/QCC/Symbols.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Sets an output to elements that are known, of rank 0 or 1.
LogicalResult setElements(NodeContext &node, const Dims &values, int64_t rank) {
  ShapeElements elements;
  for (AffineExpr value : values)
    elements.push_back({value});
  SmallVector<int64_t> shape(rank, static_cast<int64_t>(values.size()));
  Value result =
      node.materialize(elements, RankedTensorType::get(shape, node.i64()));
  if (result)
    node.shapes.set(result, elements);
  return node.set(0, result);
}

LogicalResult convertShape(NodeContext &node) {
  Dims dims = node.inDims(0);
  auto rank = static_cast<int64_t>(dims.size());
  auto bound = [&](int64_t value) {
    return std::clamp<int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  int64_t start = bound(node.attrInt("start", 0)),
          end = bound(node.attrInt("end", rank));
  return setElements(
      node,
      Dims(ArrayRef(dims).slice(start, std::max<int64_t>(0, end - start))), 1);
}

LogicalResult convertSize(NodeContext &node) {
  return setElements(node, {product(node.inDims(0), node.b.getContext())}, 0);
}

LogicalResult convertConstant(NodeContext &node) {
  if (node.hasAttr("value"))
    return node.set(0, node.getTensorAttr("value"));
  if (const onnx::AttributeProto *sparse = node.findAttr("sparse_value"))
    return node.set(0, node.importer.importTensor(
                           sparse->sparse_tensor(),
                           cast<NameLoc>(node.b.getLoc()).getName(), node));
  auto makeTensor = [&](ArrayRef<int64_t> shape, Type type,
                        ArrayRef<Attribute> values) {
    return node.set(0, node.constant(DenseElementsAttr::get(
                           RankedTensorType::get(shape, type), values)));
  };
  if (node.hasAttr("value_float"))
    return makeTensor({}, node.f32(),
                      {node.b.getF32FloatAttr(static_cast<float>(
                          node.attrFloat("value_float", 0)))});
  if (node.hasAttr("value_int"))
    return makeTensor({}, node.i64(),
                      {node.b.getI64IntegerAttr(node.attrInt("value_int", 0))});
  if (std::optional<SmallVector<int64_t>> values = node.attrInts("value_ints"))
    return node.set(0, node.constantInts(*values));
  if (std::optional<SmallVector<double>> values =
          node.attrFloats("value_floats")) {
    SmallVector<Attribute> numbers;
    for (double value : *values)
      numbers.push_back(node.b.getF32FloatAttr(static_cast<float>(value)));
    return makeTensor({static_cast<int64_t>(values->size())}, node.f32(),
                      numbers);
  }
  if (node.hasAttr("value_string") || node.hasAttr("value_strings"))
    return node.refuse(Diag::UnsupportedType,
                       "constants of strings are not supported");
  return node.refuse(Diag::UnsupportedForm,
                     "expected a tensor or numbers as the constant's value");
}

LogicalResult convertConstantOfShape(NodeContext &node) {
  std::optional<Dims> dims = node.readSizes(0, "the shape");
  if (!dims)
    return failure();
  for (AffineExpr dim : *dims)
    if (std::optional<int64_t> size = getConstantSize(dim); size && *size < 0)
      return node.refuse(Diag::BadShape,
                         "expected sizes of 0 or more, but got " +
                             Twine(*size));
  Value value = node.hasAttr("value") ? node.getTensorAttr("value")
                                      : node.scalar(0, node.f32());
  if (!value)
    return failure();
  if (getConstantSize(getNumElements(value.getType())) != 1)
    return node.refuse(Diag::BadAttribute,
                       "expected attribute 'value' with one element");
  return node.set(0, node.broadcastTo(node.reshape(value, {}), *dims));
}

/// The sizes that a reshape to a target read at run time gives. Zeros and -1
/// mean what they do in constants.
std::optional<Dims> computeReshape(NodeContext &node, bool allowZero) {
  auto type = cast<RankedTensorType>(node.in(1).getType());
  if (type.getRank() != 1 || !type.hasStaticShape() ||
      type.getDimSize(0) > 32) {
    (void)node.refuseDynamic(1, "the shape");
    return std::nullopt;
  }
  int64_t count = type.getDimSize(0);
  Dims from = node.inDims(0);
  Value sizes = node.computeInts(
      {node.in(1)},
      [&](Body &body, ValueRange x) {
        Value one = body.index(1), rest = one, total = one;
        SmallVector<Value> values, isFree;
        for (AffineExpr dim : from)
          total = body.mul(total, body.extent(dim));
        for (int64_t i = 0; i < count; ++i) {
          Value value = body.toIndex(body.read(x[0], body.index(i)));
          if (!allowZero && i < static_cast<int64_t>(from.size()))
            value = body.select(body.eq(value, body.index(0)),
                                body.extent(from[i]), value);
          isFree.push_back(body.eq(value, body.index(-1)));
          rest = body.mul(rest, body.select(isFree.back(), one, value));
          values.push_back(value);
        }
        rest = body.select(body.eq(rest, body.index(0)), one, rest);
        Value missing = arith::DivSIOp::create(body.b, total, rest);
        for (auto [value, free] : llvm::zip_equal(values, isFree))
          value = body.fromIndex(body.select(free, missing, value), node.i64());
        return values;
      },
      count);
  if (!sizes)
    return std::nullopt;
  Dims result;
  for (int64_t i = 0; i < count; ++i) {
    AffineExpr size = node.readElement(sizes, i);
    if (!size || !node.requireAtLeast(size, node.size(0), "sizes of a reshape"))
      return std::nullopt;
    result.push_back(size);
  }
  return result;
}

/// Ends the run where a target size that is known as an expression is 0, which
/// would stand for the input's size there, and that is another one.
void checkCopiedSize(NodeContext &node, AffineExpr want, AffineExpr from) {
  if (getConstantSize(want) || want == from)
    return;
  AffineExpr isZero = node.size(1).floorDiv(want + 1),
             copied = simplifyDim(from * isZero);
  if (node.symbols.nonNegative.insert(copied).second)
    node.check(copied, node.size(0), want, from);
}

LogicalResult convertReshape(NodeContext &node) {
  std::optional<Dims> target = node.getSizes(1);
  Dims from = node.inDims(0);
  bool allowZero = node.attrInt("allowzero", 0) != 0;
  if (!target) {
    // Of a target that is made of parts some are known.
    auto type = cast<RankedTensorType>(node.in(1).getType());
    Dims parts;
    bool isPartial = false;
    for (int64_t i = 0; type.getRank() == 1 && type.hasStaticShape() &&
                        i < std::min<int64_t>(type.getDimSize(0), 32);
         ++i) {
      AffineExpr part = node.traceKnown(node.in(1), i);
      isPartial |= part && getConstantSize(part) != -1;
      parts.push_back(part);
    }
    std::optional<Dims> sizes = computeReshape(node, allowZero);
    if (!sizes)
      return failure();
    for (size_t i = 0; isPartial && i < parts.size(); ++i)
      if (parts[i] && getConstantSize(parts[i]) != -1) {
        if (!allowZero && i < from.size())
          checkCopiedSize(node, parts[i], from[i]);
        (*sizes)[i] =
            getConstantSize(parts[i]) == 0 && !allowZero && i < from.size()
                ? from[i]
                : parts[i];
      }
    return node.set(0, node.reshape(node.in(0), *sizes));
  }
  AffineExpr known = node.size(1);
  std::optional<size_t> unknown;
  for (auto [i, dim] : llvm::enumerate(*target)) {
    std::optional<int64_t> size = getConstantSize(dim);
    if (size == 0 && !allowZero) {
      if (i >= from.size())
        return node.refuse(
            Diag::BadShape,
            "expected size 0 at a position of the input's rank " +
                Twine(from.size()));
      dim = from[i];
    } else if (size == -1) {
      if (unknown)
        return node.refuse(Diag::BadShape, "expected at most one size of -1");
      unknown = i;
      continue;
    } else if (size && *size < -1) {
      return node.refuse(Diag::BadShape,
                         "expected sizes of -1 or more, but got " +
                             Twine(*size));
    } else if (!allowZero && i < from.size()) {
      checkCopiedSize(node, dim, from[i]);
    }
    known = known * dim;
  }
  if (unknown) {
    known = simplifyDim(known);
    AffineExpr total = product(from, node.b.getContext());
    std::optional<AffineExpr> rest =
        getConstantSize(known) == 0 ? node.size(0) : divideDims(total, known);
    if (!rest)
      return node.refuse(
          Diag::BadShape,
          "expected a shape of as many elements as the input has");
    (*target)[*unknown] = *rest;
  }
  return node.set(0, node.reshape(node.in(0), *target));
}

LogicalResult convertFlatten(NodeContext &node) {
  Dims dims = node.inDims(0);
  auto rank = static_cast<int64_t>(dims.size());
  int64_t axis = node.attrInt("axis", 1);
  if (axis < -rank || axis > rank)
    return node.refuse(Diag::BadAttribute,
                       "expected an axis in [" + Twine(-rank) + ", " +
                           Twine(rank) + "], but got " + Twine(axis));
  axis += axis < 0 ? rank : 0;
  MLIRContext *context = node.b.getContext();
  ArrayRef<AffineExpr> all = dims;
  return node.set(
      0, node.reshape(node.in(0), {product(all.take_front(axis), context),
                                   product(all.drop_front(axis), context)}));
}

LogicalResult convertSqueeze(NodeContext &node) {
  Dims from = node.inDims(0), to;
  bool given;
  std::optional<SmallVector<int64_t>> axes;
  if (node.has(1) && !node.getInts(1)) {
    // Which axes depends on data, but not what comes out: sizes of 1 hold no
    // elements.
    std::optional<Dims> declared = node.getDeclaredDims(0);
    return declared ? node.set(0, node.reshape(node.in(0), *declared))
                    : node.refuseDynamic(1, "the axes");
  }
  axes = node.getAxes(1, from.size(), given);
  if (!axes)
    return failure();
  for (auto [i, dim] : llvm::enumerate(from)) {
    bool isOne = getConstantSize(dim) == 1;
    bool drop =
        given ? llvm::is_contained(*axes, static_cast<int64_t>(i)) : isOne;
    if (drop && !isOne &&
        !node.requireEqual(dim, node.size(1), "a squeezed dimension"))
      return failure();
    if (!drop)
      to.push_back(dim);
  }
  return node.set(0, node.reshape(node.in(0), to));
}

LogicalResult convertUnsqueeze(NodeContext &node) {
  Dims dims = node.inDims(0);
  std::optional<SmallVector<int64_t>> axes =
      node.has(1) ? node.getInts(1) : node.attrInts("axes");
  if (!axes) {
    std::optional<Dims> declared = node.getDeclaredDims(0);
    return declared ? node.set(0, node.reshape(node.in(0), *declared))
                    : node.refuseDynamic(1, "the axes");
  }
  int64_t rank = static_cast<int64_t>(dims.size() + axes->size());
  if (rank > 32)
    return node.refuse(Diag::LimitReached,
                       "expected a rank of at most 32, but got " + Twine(rank));
  SmallVector<bool> inserted(rank, false);
  for (int64_t axis : *axes) {
    std::optional<int64_t> normal = node.normalizeAxis(axis, rank);
    if (!normal)
      return failure();
    if (inserted[*normal])
      return node.refuse(Diag::BadAttribute,
                         "expected each axis once, but got " + Twine(*normal) +
                             " twice");
    inserted[*normal] = true;
  }
  Dims to;
  for (size_t next = 0; bool isNew : inserted)
    to.push_back(isNew ? node.size(1) : dims[next++]);
  return node.set(0, node.reshape(node.in(0), to));
}

LogicalResult convertExpand(NodeContext &node) {
  std::optional<Dims> target = node.readSizes(1, "the shape");
  if (!target)
    return failure();
  std::optional<Dims> result = node.broadcastDims({node.inDims(0), *target});
  return result ? node.set(0, node.broadcastTo(node.in(0), *result))
                : failure();
}

/// The number of elements of a range; null if it depends on data.
AffineExpr getRangeSize(NodeContext &node) {
  if (isa<FloatType>(node.inElem(0))) {
    std::optional<SmallVector<double>> start = node.getFloats(0),
                                       limit = node.getFloats(1),
                                       delta = node.getFloats(2);
    if (!start || !limit || !delta || start->size() != 1 ||
        limit->size() != 1 || delta->size() != 1 || (*delta)[0] == 0)
      return {};
    double count = std::ceil(((*limit)[0] - (*start)[0]) / (*delta)[0]);
    return count < 0x1p40
               ? node.size(std::max<int64_t>(0, static_cast<int64_t>(count)))
               : AffineExpr();
  }
  std::optional<Dims> start = node.getSizes(0), limit = node.getSizes(1),
                      delta = node.getSizes(2);
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1)
    return {};
  std::optional<int64_t> step = getConstantSize((*delta)[0]);
  if (!step || *step == 0)
    return {};
  AffineExpr span =
      *step > 0 ? (*limit)[0] - (*start)[0] : (*start)[0] - (*limit)[0];
  return simplifyDim(maxZero(span).ceilDiv(std::abs(*step)));
}

/// The same, computed at run time: max(ceil((limit - start) / delta), 0).
AffineExpr computeRangeSize(NodeContext &node) {
  for (unsigned i = 0; i < 3; ++i)
    if (getConstantSize(getNumElements(node.in(i).getType())) != 1) {
      (void)node.refuse(Diag::BadShape, "expected scalars");
      return {};
    }
  Type type = node.inElem(0);
  Value count = node.computeInts(
      {node.reshape(node.in(0), {}), node.reshape(node.in(1), {}),
       node.reshape(node.in(2), {})},
      [&](Body &body, ValueRange x) {
        Value start = body.read(x[0], {}), limit = body.read(x[1], {}),
              delta = body.read(x[2], {});
        Value zero = body.index(0), steps;
        if (isa<FloatType>(type)) {
          // Too many to count are too many to store.
          Type f = start.getType();
          Value quotient = body.ceil(body.div(body.sub(limit, start), delta));
          steps =
              body.clamp(quotient, body.number(0, f), body.number(0x1p40, f));
          steps = body.select(body.isNaN(quotient), body.number(0, f), steps);
          steps = body.select(body.eq(delta, body.number(0, f)),
                              body.number(kZeroStep, f), steps);
          steps = arith::FPToSIOp::create(body.b, node.i64(), steps);
          return SmallVector<Value>{steps};
        }
        bool isUnsigned = isUnsignedElement(type);
        start = body.toIndex(start, isUnsigned);
        limit = body.toIndex(limit, isUnsigned);
        delta = body.toIndex(delta, isUnsigned);
        // The distance and the step may be too large for a signed number.
        Value one = body.index(1), up = body.lt(zero, delta);
        Value from = body.select(up, start, limit),
              to = body.select(up, limit, start),
              step = body.select(up, delta, body.neg(delta));
        Value before = body.div(body.sub(body.sub(to, from), one), step,
                                /*isUnsigned=*/true);
        steps = body.select(body.lt(from, to), body.add(before, one), zero);
        steps = body.select(body.eq(delta, zero), body.index(kZeroStep), steps);
        return SmallVector<Value>{body.fromIndex(steps, node.i64())};
      },
      1);
  return count ? node.readElement(count, 0) : AffineExpr();
}

LogicalResult convertRange(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  std::optional<SmallVector<double>> delta = node.getFloats(2);
  if (delta && llvm::is_contained(*delta, 0))
    return node.refuse(Diag::BadShape, "expected a step (input 2) other than "
                                       "0, but got 0");
  AffineExpr count = getRangeSize(node);
  if (!count)
    count = computeRangeSize(node);
  if (!count)
    return failure();
  Type type = node.inElem(0);
  Value start = node.reshape(node.in(0), {}),
        step = node.reshape(node.in(2), {});
  AffineMap scalar = node.makeMap(1, {});
  return node.set(
      0, node.generic(
             {count}, type, {start, step}, {scalar, scalar}, {},
             [&](Body &body, ValueRange x) {
               return body.add(
                   x[0], body.mul(x[1], body.fromIndex(body.dim(0),
                                                       getComputeType(type))));
             }));
}

} // namespace

void registerShape(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"Shape", 1, 1, 1, convertShape},
                   {"Size", 1, 1, 1, convertSize},
                   {"Constant", 1, 0, 0, convertConstant, "strings"},
                   {"ConstantOfShape", 9, 1, 1, convertConstantOfShape},
                   {"Reshape", 5, 2, 2, convertReshape},
                   {"Flatten", 1, 1, 1, convertFlatten},
                   {"Squeeze", 1, 1, 2, convertSqueeze},
                   {"Unsqueeze", 1, 1, 2, convertUnsqueeze},
                   {"Expand", 8, 2, 2, convertExpand},
                   {"Range", 11, 3, 3, convertRange},
               });
}

} // namespace qcc::onnx_import
