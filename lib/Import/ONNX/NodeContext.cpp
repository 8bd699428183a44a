//===- NodeContext.cpp - one ONNX node while it is converted ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "NodeContext.h"
#include "Importer.h"
#include "TensorData.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Most elements of an attribute list that are read.
static constexpr int kMaxAttributeElements = 1 << 24;

LogicalResult NodeContext::set(unsigned i, Value value) {
  if (!value)
    return problem ? failure()
                   : refuse(Diag::Internal, "the converter gave no value");
  // Sizes double where each is made of the one before twice (cut off,
  // broadcast).
  constexpr size_t limit = 200;
  size_t terms = 0;
  if (isa<RankedTensorType>(value.getType()))
    for (AffineExpr dim : dims(value))
      terms += countTerms(dim, limit);
  if (terms > limit)
    return refuse(
        Diag::LimitReached,
        "expected sizes of at most " + Twine(limit) +
            " terms, but got more (--dim=NAME=VALUE makes them short)");
  if (i < outputs.size())
    outputs[i] = value;
  return success();
}

std::optional<Dims> NodeContext::getDeclaredDims(unsigned output) {
  if (!wants(output))
    return std::nullopt;
  return importer.getDeclaredDims(node.output(output));
}

std::optional<int64_t> NodeContext::getDeclaredRank(unsigned output) {
  if (!wants(output))
    return std::nullopt;
  const onnx::TypeProto *type = importer.getDeclaredType(node.output(output));
  if (!type || !type->has_tensor_type() || !type->tensor_type().has_shape())
    return std::nullopt;
  return type->tensor_type().shape().dim_size();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

const onnx::AttributeProto *NodeContext::findAttr(StringRef name) const {
  for (const onnx::AttributeProto &attribute : node.attribute())
    if (attribute.name() == name)
      return &attribute;
  return nullptr;
}

const onnx::AttributeProto *
NodeContext::findAttr(StringRef name,
                      onnx::AttributeProto::AttributeType type) {
  const onnx::AttributeProto *attribute = findAttr(name);
  if (!attribute)
    return nullptr;
  // Files of the first IR version have no type.
  if (attribute->type() != type &&
      attribute->type() != onnx::AttributeProto::UNDEFINED) {
    (void)refuse(Diag::BadAttribute, "expected attribute '" + name +
                                         "' of type " + Twine(int(type)) +
                                         ", but got " +
                                         Twine(int(attribute->type())));
    return nullptr;
  }
  return attribute;
}

int64_t NodeContext::attrInt(StringRef name, int64_t defaultValue) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::INT);
  return attribute ? attribute->i() : defaultValue;
}

double NodeContext::attrFloat(StringRef name, double defaultValue) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::FLOAT);
  return attribute ? static_cast<double>(attribute->f()) : defaultValue;
}

std::string NodeContext::attrString(StringRef name, StringRef defaultValue) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::STRING);
  return attribute ? attribute->s() : defaultValue.str();
}

std::optional<SmallVector<int64_t>> NodeContext::attrInts(StringRef name) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::INTS);
  if (!attribute)
    return std::nullopt;
  if (attribute->ints_size() > kMaxAttributeElements) {
    (void)refuse(Diag::LimitReached,
                 "expected at most " + Twine(kMaxAttributeElements) +
                     " elements of attribute '" + name + "'");
    return std::nullopt;
  }
  return SmallVector<int64_t>(attribute->ints().begin(),
                              attribute->ints().end());
}

std::optional<SmallVector<double>> NodeContext::attrFloats(StringRef name) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::FLOATS);
  if (!attribute)
    return std::nullopt;
  if (attribute->floats_size() > kMaxAttributeElements) {
    (void)refuse(Diag::LimitReached,
                 "expected at most " + Twine(kMaxAttributeElements) +
                     " elements of attribute '" + name + "'");
    return std::nullopt;
  }
  return SmallVector<double>(attribute->floats().begin(),
                             attribute->floats().end());
}

Type NodeContext::dataType(int64_t onnxType) {
  Type type = getElementType(static_cast<int32_t>(onnxType), b.getContext());
  if (!type)
    (void)refuse(Diag::UnsupportedType,
                 "element type " +
                     getDataTypeName(static_cast<int32_t>(onnxType)) +
                     " is not supported");
  return type;
}

Type NodeContext::attrType(StringRef name, Type defaultValue) {
  return hasAttr(name) ? dataType(attrInt(name, 0)) : defaultValue;
}

Value NodeContext::getTensorAttr(StringRef name) {
  const onnx::AttributeProto *attribute =
      findAttr(name, onnx::AttributeProto::TENSOR);
  if (!attribute) {
    (void)refuse(Diag::BadAttribute,
                 "expected a tensor as attribute '" + name + "'");
    return {};
  }
  return importer.importTensor(
      attribute->t(), cast<NameLoc>(b.getLoc()).getName().str(), *this);
}

bool NodeContext::requireSameTypes(unsigned first) {
  for (unsigned i = first + 1; i < inputs.size(); ++i)
    if (has(i) && has(first) && inElem(i) != inElem(first)) {
      (void)refuse(Diag::BadShape, "expected inputs " + Twine(first) + " and " +
                                       Twine(i) + " of one element type");
      return false;
    }
  return true;
}

//===----------------------------------------------------------------------===//
// What is known of inputs
//===----------------------------------------------------------------------===//

std::optional<Dims> NodeContext::getSizes(unsigned i) const {
  std::optional<ShapeElements> known = getKnown(i);
  if (!known)
    return std::nullopt;
  Dims result;
  for (const ShapeElement &element : *known) {
    if (element.denominator != 1)
      return std::nullopt;
    result.push_back(element.numerator);
  }
  return result;
}

std::optional<AffineExpr> NodeContext::getScalarSize(unsigned i,
                                                     StringRef what) {
  std::optional<Dims> sizes = readSizes(i, what, /*allowNegative=*/true);
  if (sizes && sizes->size() == 1)
    return (*sizes)[0];
  (void)refuseDynamic(i, what);
  return std::nullopt;
}

std::optional<Dims> NodeContext::readSizes(unsigned i, StringRef what,
                                           bool allowNegative) {
  if (std::optional<Dims> known = getSizes(i))
    return known;
  auto type =
      has(i) ? cast<RankedTensorType>(in(i).getType()) : RankedTensorType();
  if (!type || type.getRank() > 1 || !type.hasStaticShape() ||
      type.getNumElements() > kMaxShapeElements ||
      !isa<IntegerType>(type.getElementType())) {
    (void)refuseDynamic(i, what);
    return std::nullopt;
  }
  int64_t count = type.getNumElements();
  // Symbols are never negative: what may be is moved up by a constant.
  constexpr int64_t bias = int64_t(1) << 40;
  Value biased;
  if (allowNegative && count > 0)
    biased = computeInts(
        {in(i)},
        [&](Body &body, ValueRange x) {
          SmallVector<Value> values;
          for (int64_t k = 0; k < count; ++k) {
            SmallVector<Value> at(type.getRank(), body.index(k));
            Value value =
                body.toIndex(body.read(x[0], at), isUnsignedElement(inElem(i)));
            value = body.clamp(value, body.index(-bias), body.index(bias));
            values.push_back(
                body.fromIndex(body.add(value, body.index(bias)), i64()));
          }
          return values;
        },
        count);
  Dims result;
  for (int64_t k = 0; k < count; ++k) {
    AffineExpr element = traceKnown(in(i), k);
    if (!element && biased) {
      element = readElement(biased, k);
      element = element ? element - bias : element;
    } else if (!element) {
      element = readElement(in(i), k);
    }
    if (!element ||
        (!allowNegative && !requireAtLeast(element, size(0), what.str())))
      return std::nullopt;
    result.push_back(element);
  }
  return result;
}

std::optional<SmallVector<int64_t>> NodeContext::getInts(unsigned i) const {
  if (!has(i))
    return std::nullopt;
  SmallVector<int64_t> result;
  // Constants may be larger or of a higher rank than what is followed as a
  // shape.
  if (auto constant = in(i).getDefiningOp<ConstantOp>();
      constant && isa<IntegerType>(inElem(i))) {
    bool isUnsigned = isUnsignedElement(inElem(i));
    if (auto elements = dyn_cast<DenseElementsAttr>(constant.getValue())) {
      for (const APInt &element : elements.getValues<APInt>())
        result.push_back(isUnsigned
                             ? static_cast<int64_t>(element.getZExtValue())
                             : element.getSExtValue());
      return result;
    }
  }
  std::optional<Dims> known = getSizes(i);
  if (!known)
    return std::nullopt;
  for (AffineExpr expr : *known) {
    std::optional<int64_t> value = getConstantSize(expr);
    if (!value)
      return std::nullopt;
    result.push_back(*value);
  }
  return result;
}

std::optional<SmallVector<double>> NodeContext::getFloats(unsigned i) const {
  if (!has(i))
    return std::nullopt;
  SmallVector<double> result;
  if (!isa<FloatType>(inElem(i))) {
    std::optional<SmallVector<int64_t>> ints = getInts(i);
    if (!ints)
      return std::nullopt;
    llvm::append_range(result, *ints);
    return result;
  }
  if (auto constant = in(i).getDefiningOp<ConstantOp>())
    if (auto elements = dyn_cast<DenseElementsAttr>(constant.getValue())) {
      for (APFloat element : elements.getValues<APFloat>()) {
        bool losesInfo;
        element.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                        &losesInfo);
        result.push_back(element.convertToDouble());
      }
      return result;
    }
  std::optional<ShapeElements> known = getKnown(i);
  if (!known)
    return std::nullopt;
  for (const ShapeElement &element : *known) {
    std::optional<int64_t> value = getConstantSize(element.numerator);
    if (!value)
      return std::nullopt;
    result.push_back(static_cast<double>(*value) /
                     static_cast<double>(element.denominator));
  }
  return result;
}

Value NodeContext::takePart(Value tensor, int64_t index) {
  if (!tensor)
    return {};
  Dims rest = dims(tensor);
  rest.erase(rest.begin());
  return reshape(slice(tensor, 0, size(index), size(1)), rest);
}

Value NodeContext::concatMany(ArrayRef<Value> tensors, int64_t axis) {
  constexpr size_t kMost = 32;
  SmallVector<Value> parts(tensors);
  while (parts.size() > 1) {
    SmallVector<Value> joined;
    for (size_t i = 0; i < parts.size(); i += kMost)
      joined.push_back(concat(
          ArrayRef(parts).slice(i, std::min(kMost, parts.size() - i)), axis));
    parts = std::move(joined);
  }
  return parts[0];
}

void NodeContext::warn(const Twine &text) { importer.warn(b.getLoc(), text); }

LogicalResult NodeContext::refuseDynamic(unsigned input, StringRef what) {
  return refuse(Diag::UnsupportedShape,
                "expected " + what + " (input " + Twine(input) +
                    ") to be known when compiling, or a vector of at most " +
                    Twine(kMaxShapeElements) + " integers");
}

std::optional<SmallVector<int64_t>>
NodeContext::getAxes(unsigned input, int64_t rank, bool &given) {
  std::optional<SmallVector<int64_t>> axes;
  given = true;
  if (has(input)) {
    axes = getInts(input);
    if (!axes) {
      (void)refuseDynamic(input, "the axes");
      return std::nullopt;
    }
  } else {
    axes = attrInts("axes");
    given = axes.has_value();
  }
  SmallVector<int64_t> result;
  for (int64_t axis : axes.value_or(SmallVector<int64_t>())) {
    std::optional<int64_t> normal = normalizeAxis(axis, rank);
    if (!normal)
      return std::nullopt;
    if (llvm::is_contained(result, *normal)) {
      (void)refuse(Diag::BadAttribute, "expected each axis once, but got " +
                                           Twine(*normal) + " twice");
      return std::nullopt;
    }
    result.push_back(*normal);
  }
  llvm::sort(result);
  return result;
}

} // namespace qcc::onnx_import
