//===- MatMul.cpp - matrix products and Einstein sums -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "MatMul.h"
#include "Activation.h"
#include "BatchedProducts.h"
#include "PickedProducts.h"
#include "Registry.h"
#include <map>

using namespace mlir;

namespace qcc::onnx_import {

bool makeMatrices(NodeContext &node, Value &lhs, Value &rhs) {
  if (node.rank(lhs) == 1)
    lhs = node.expandRank(lhs, 2);
  if (node.rank(rhs) == 1)
    rhs = node.expandRank(rhs, 2, /*atEnd=*/true);
  if (lhs && rhs && node.rank(lhs) >= 2 && node.rank(rhs) >= 2)
    return true;
  (void)node.refuse(Diag::BadShape, "expected operands of rank 1 or more");
  return false;
}

Value multiplyExactly(NodeContext &node, Value lhs, Value rhs,
                      Type elementType) {
  bool dropRow = node.rank(lhs) == 1, dropColumn = node.rank(rhs) == 1;
  if (!makeMatrices(node, lhs, rhs))
    return {};
  Dims a = node.dims(lhs), c = node.dims(rhs);
  if (!node.requireEqual(a.back(), c[c.size() - 2],
                         "the inner dimensions of a matrix product"))
    return {};
  std::optional<Dims> result = node.broadcastDims(
      {Dims(ArrayRef(a).drop_back(2)), Dims(ArrayRef(c).drop_back(2))},
      /*assumeEqual=*/true);
  if (!result)
    return {};
  unsigned numBatch = result->size(), rank = numBatch + 2;
  llvm::append_values(*result, a[a.size() - 2], c.back());
  // Reads an operand at batch dimensions aligned at the end, then at row and
  // column.
  auto makeReads = [&](Value operand, AffineExpr row, AffineExpr column) {
    Dims dims = node.dims(operand);
    SmallVector<AffineExpr> at;
    for (unsigned i = 0; i < numBatch; ++i)
      at.push_back(node.d(i));
    llvm::append_values(at, row, column);
    SmallVector<AffineExpr> reads;
    for (size_t i = 0; i < dims.size(); ++i)
      reads.push_back(getConstantSize(dims[i]) == 1
                          ? node.size(0)
                          : at[at.size() - dims.size() + i]);
    return node.makeMap(rank + 1, reads);
  };
  AffineExpr m = node.d(numBatch), n = node.d(numBatch + 1), k = node.d(rank);
  SmallVector<Value> operands = {lhs, rhs};
  SmallVector<AffineMap> maps = {makeReads(lhs, m, k), makeReads(rhs, k, n)};
  Type lhsType = node.elem(lhs), rhsType = node.elem(rhs);
  Value product = node.reduction(
      Combiner::Sum, *result, getScalarType(elementType), operands, maps, {},
      {a.back()}, [&](Body &body, ValueRange x) {
        Value left = body.convert(x[0], lhsType, elementType),
              right = body.convert(x[1], rhsType, elementType);
        return body.mul(left, right);
      });
  product = node.cast(product, elementType);
  Dims squeezed = *result;
  if (dropColumn)
    squeezed.pop_back();
  if (dropRow)
    squeezed.erase(squeezed.begin() + numBatch);
  return node.reshape(product, squeezed);
}

namespace {

LogicalResult convertMatMul(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  Type type = node.inElem(0);
  if (isa<IntegerType>(type) || type.isF64())
    return node.set(0, multiplyExactly(node, node.in(0), node.in(1), type));
  if (std::optional<Value> product =
          multiplyPicked(node, node.in(0), node.in(1)))
    return node.set(0, *product);
  if (std::optional<Value> product =
          multiplyBatches(node, node.in(0), node.in(1)))
    return node.set(0, *product);
  return node.set(0, node.matmul(node.in(0), node.in(1)));
}

LogicalResult convertGemm(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  Type type = node.inElem(0);
  double alpha = node.attrFloat("alpha", 1), beta = node.attrFloat("beta", 1);
  bool transA = node.attrInt("transA", 0), transB = node.attrInt("transB", 0);
  if (node.inRank(0) != 2 || node.inRank(1) != 2)
    return node.refuse(Diag::BadShape, "expected matrices of rank 2");
  Value result;
  if (isa<IntegerType>(type) || type.isF64()) {
    Value a = transA ? node.transpose(node.in(0), {1, 0}) : node.in(0);
    Value c = transB ? node.transpose(node.in(1), {1, 0}) : node.in(1);
    result = multiplyExactly(node, a, c, type);
  } else {
    result = node.matmul(node.widen(node.in(0)), node.widen(node.in(1)), transA,
                         transB);
  }
  if (!node.has(2) && alpha == 1)
    return node.set(0, node.cast(result, type));
  bool hasBias = node.has(2) && beta != 0;
  SmallVector<Value> operands = {result};
  if (hasBias)
    operands.push_back(node.in(2));
  return node.set(
      0, node.elementwise(operands, type, [&](Body &body, ValueRange x) {
        Value value = alpha == 1
                          ? x[0]
                          : body.mul(x[0], body.number(alpha, x[0].getType()));
        if (!hasBias)
          return value;
        return body.add(
            value, beta == 1
                       ? x[1]
                       : body.mul(x[1], body.number(beta, x[1].getType())));
      }));
}

LogicalResult convertFusedGemm(NodeContext &node) {
  if (failed(convertGemm(node)))
    return failure();
  return node.set(0, applyFusedActivation(node, node.getOutputs()[0]));
}

LogicalResult convertGemmFastGelu(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  Value product = node.matmul(node.in(0), node.in(1));
  if (node.has(2))
    product = node.add(product, node.in(2));
  return node.set(0, node.unary(product, geluTanh));
}

/// com.microsoft: a product of operands that may be transposed, times a factor.
LogicalResult convertFusedMatMul(NodeContext &node) {
  if (node.attrInt("transBatchA", 0) || node.attrInt("transBatchB", 0))
    return node.refuse(Diag::UnsupportedForm,
                       "transposed batch dimensions are not supported");
  if (!node.requireSameTypes())
    return failure();
  double alpha = node.attrFloat("alpha", 1);
  Value result = node.matmul(node.in(0), node.in(1),
                             node.attrInt("transA", 0) && node.inRank(0) > 1,
                             node.attrInt("transB", 0) && node.inRank(1) > 1);
  if (alpha != 1)
    result = node.unary(result, [&](Body &body, Value x) {
      return body.mul(x, body.number(alpha, x.getType()));
    });
  return node.set(0, result);
}

/// An Einstein sum: dimensions by letter, those of the ellipsis by position
/// from its end.
struct Equation {
  SmallVector<std::string> inputs;
  std::string output;
};

std::optional<Equation> parseEquation(NodeContext &node) {
  std::string text = node.attrString("equation", "");
  llvm::erase(text, ' ');
  if (text.size() > 4096)
    return std::nullopt;
  Equation equation;
  auto [left, right] = StringRef(text).split("->");
  SmallVector<StringRef> parts;
  left.split(parts, ',');
  for (StringRef part : parts)
    equation.inputs.push_back(part.str());
  if (StringRef(text).contains("->")) {
    equation.output = right.str();
    return equation;
  }
  // Without an output: the ellipsis, then letters that occur once, in order.
  if (left.contains("..."))
    equation.output = "...";
  for (char c = 'A'; c <= 'z'; ++c)
    if (llvm::isAlpha(c) && left.count(c) == 1)
      equation.output += c;
  return equation;
}

/// Names of the dimensions of a term: letters, and negative numbers for those
/// of the ellipsis, -1 the last of them.
std::optional<SmallVector<int>> nameDims(StringRef term, int64_t rank) {
  size_t dots = term.find("...");
  int64_t letters =
      static_cast<int64_t>(term.size()) - (dots == StringRef::npos ? 0 : 3);
  int64_t extra = rank - letters;
  if (extra < 0 || (dots == StringRef::npos && extra != 0))
    return std::nullopt;
  SmallVector<int> names;
  for (size_t i = 0; i < term.size(); ++i) {
    if (i == dots) {
      for (int64_t k = extra; k > 0; --k)
        names.push_back(static_cast<int>(-k));
      i += 2;
    } else if (llvm::isAlpha(term[i])) {
      names.push_back(term[i]);
    } else {
      return std::nullopt;
    }
  }
  return names;
}

LogicalResult convertEinsum(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  std::optional<Equation> equation = parseEquation(node);
  if (!equation || equation->inputs.size() != node.numInputs())
    return node.refuse(Diag::BadAttribute,
                       "expected an equation with a term for each input");
  std::map<int, AffineExpr> sizes;
  SmallVector<SmallVector<int>> terms;
  int64_t ellipsis = 0;
  for (unsigned i = 0; i < node.numInputs(); ++i) {
    std::optional<SmallVector<int>> names =
        nameDims(equation->inputs[i], node.inRank(i));
    if (!names)
      return node.refuse(Diag::BadAttribute,
                         "expected a term of the rank of input " + Twine(i));
    for (auto [name, dim] : llvm::zip(*names, node.inDims(i))) {
      ellipsis = std::max<int64_t>(ellipsis, -name);
      AffineExpr &size = sizes[name];
      if (!size || getConstantSize(size) == 1)
        size = dim;
      else if (getConstantSize(dim) != 1 &&
               !node.requireEqual(size, dim, "dimensions of one letter"))
        return failure();
    }
    terms.push_back(std::move(*names));
  }
  int64_t letters = static_cast<int64_t>(equation->output.size()) -
                    (StringRef(equation->output).contains("...") ? 3 : 0);
  std::optional<SmallVector<int>> outputNames = nameDims(
      equation->output,
      letters + (StringRef(equation->output).contains("...") ? ellipsis : 0));
  std::map<int, unsigned> positions;
  Dims result, over;
  for (int name : outputNames.value_or(SmallVector<int>())) {
    if (!sizes.count(name) ||
        !positions.try_emplace(name, positions.size()).second)
      return node.refuse(
          Diag::BadAttribute,
          "expected each letter of the output once and in an input");
    result.push_back(sizes[name]);
  }
  if (!outputNames)
    return node.refuse(
        Diag::BadAttribute,
        "expected letters and an ellipsis as the output of the equation");
  for (auto [name, size] : sizes)
    if (positions.try_emplace(name, positions.size()).second)
      over.push_back(size);
  SmallVector<AffineMap> maps;
  for (auto [i, names] : llvm::enumerate(terms)) {
    SmallVector<AffineExpr> reads;
    for (auto [name, dim] : llvm::zip(names, node.inDims(i)))
      reads.push_back(getConstantSize(dim) == 1 ? node.size(0)
                                                : node.d(positions[name]));
    maps.push_back(node.makeMap(positions.size(), reads));
  }
  Type type = node.inElem(0), between = getComputeType(type);
  Value sum = node.reduction(Combiner::Sum, result, between, node.getInputs(),
                             maps, {}, over, [](Body &body, ValueRange x) {
                               Value product = x[0];
                               for (Value factor : x.drop_front())
                                 product = body.mul(product, factor);
                               return product;
                             });
  return node.set(0, node.cast(sum, type));
}

} // namespace

void registerMatMul(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"MatMul", 1, 2, 2, convertMatMul},
                                {"Gemm", 1, 2, 3, convertGemm},
                                {"Einsum", 12, 1, kAnyNumber, convertEinsum},
                            });
  registry.add(kMicrosoftDomain,
               {
                   {"FusedGemm", 1, 2, 3, convertFusedGemm},
                   {"GemmFastGelu", 1, 2, 3, convertGemmFastGelu},
                   {"FusedMatMul", 1, 2, 2, convertFusedMatMul,
                    "transposed batch dimensions"},
                   {"TransposeMatMul", 1, 2, 2, convertFusedMatMul,
                    "transposed batch dimensions"},
               });
}

} // namespace qcc::onnx_import
