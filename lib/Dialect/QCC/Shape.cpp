//===- Shape.cpp - symbolic shapes in tensor types --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace qcc {

SmallVector<AffineExpr> getDims(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  MLIRContext *context = type.getContext();
  if (auto map = dyn_cast_or_null<AffineMapAttr>(tensor.getEncoding()))
    return llvm::to_vector(map.getValue().getResults());
  SmallVector<AffineExpr> dims;
  for (int64_t size : tensor.getShape())
    dims.push_back(getAffineConstantExpr(size, context));
  return dims;
}

AffineExpr simplifySize(AffineExpr expr) {
  if (isa<AffineConstantExpr, AffineSymbolExpr>(expr))
    return expr;
  // The symbols in use are numbered from 0 for the time: what MLIR works with
  // grows with the highest number.
  llvm::SmallSetVector<unsigned, 4> found;
  expr.walk([&](AffineExpr e) {
    if (auto symbol = dyn_cast<AffineSymbolExpr>(e))
      found.insert(symbol.getPosition());
  });
  SmallVector<unsigned> used(found.getArrayRef());
  llvm::sort(used);
  MLIRContext *context = expr.getContext();
  SmallVector<AffineExpr> from, to;
  for (auto [i, position] : llvm::enumerate(used)) {
    from.resize(position + 1, getAffineConstantExpr(0, context));
    from[position] = getAffineSymbolExpr(i, context);
    to.push_back(getAffineSymbolExpr(position, context));
  }
  AffineExpr dense = expr.replaceSymbols(from);
  return simplifyAffineExpr(dense, 0, used.size()).replaceSymbols(to);
}

AffineMap makeSizeMap(ArrayRef<AffineExpr> exprs, MLIRContext *context) {
  unsigned numSymbols = 0;
  SmallVector<AffineExpr> simple;
  for (AffineExpr expr : exprs) {
    simple.push_back(simplifySize(expr));
    simple.back().walk([&](AffineExpr e) {
      if (auto symbol = dyn_cast<AffineSymbolExpr>(e))
        numSymbols = std::max(numSymbols, symbol.getPosition() + 1);
    });
  }
  return AffineMap::get(0, numSymbols, simple, context);
}

std::optional<int64_t> getConstantSize(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  return std::nullopt;
}

RankedTensorType makeTensorType(ArrayRef<AffineExpr> dims, Type elementType) {
  MLIRContext *context = elementType.getContext();
  AffineMap map = makeSizeMap(dims, context);
  SmallVector<int64_t> shape;
  bool dynamic = false;
  for (AffineExpr expr : map.getResults()) {
    std::optional<int64_t> size = getConstantSize(expr);
    dynamic |= !size;
    shape.push_back(size.value_or(ShapedType::kDynamic));
  }
  return RankedTensorType::get(shape, elementType,
                               dynamic ? Attribute(AffineMapAttr::get(map))
                                       : Attribute());
}

RankedTensorType makeTensorType(MLIRContext *context, ArrayRef<int64_t> dims,
                                Type elementType) {
  return RankedTensorType::get(dims, elementType);
}

bool isStatic(Type type) {
  return cast<RankedTensorType>(type).hasStaticShape();
}

AffineExpr product(ArrayRef<AffineExpr> exprs, MLIRContext *context) {
  // Constants apart: a product of them that overflows would wrap. It stays at
  // the largest number, which no limit on sizes allows.
  int64_t constant = 1;
  AffineExpr result = getAffineConstantExpr(1, context);
  for (AffineExpr expr : exprs) {
    std::optional<int64_t> size = getConstantSize(expr);
    if (!size)
      result = result * expr;
    else if (*size == 0 || constant == 0)
      constant = 0;
    else if (llvm::MulOverflow(constant, *size, constant))
      constant = INT64_MAX;
  }
  return simplifySize(result * constant);
}

AffineExpr getNumElements(Type type) {
  return product(getDims(type), type.getContext());
}

int64_t getElementBytes(Type elementType) {
  if (elementType.isIndex())
    return 8;
  return llvm::divideCeil(elementType.getIntOrFloatBitWidth(), 8);
}

Type getScalarType(Type elementType) {
  if (auto integer = dyn_cast<IntegerType>(elementType);
      integer && !integer.isSignless())
    return IntegerType::get(elementType.getContext(), integer.getWidth());
  if (auto real = dyn_cast<FloatType>(elementType);
      real && real.getWidth() <= 8)
    return IntegerType::get(elementType.getContext(), real.getWidth());
  return elementType;
}

/// Floor division for a positive divisor, none otherwise.
static std::optional<int64_t> divide(int64_t a, int64_t b, bool ceil) {
  if (b <= 0)
    return std::nullopt;
  return ceil ? llvm::divideCeilSigned(a, b) : llvm::divideFloorSigned(a, b);
}

std::optional<int64_t> evaluateSize(AffineExpr expr,
                                    ArrayRef<int64_t> symbols) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    if (symbol.getPosition() >= symbols.size())
      return std::nullopt;
    return symbols[symbol.getPosition()];
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<int64_t> lhs = evaluateSize(binary.getLHS(), symbols),
                         rhs = evaluateSize(binary.getRHS(), symbols);
  if (!lhs || !rhs)
    return std::nullopt;
  int64_t result = 0;
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return llvm::AddOverflow(*lhs, *rhs, result) ? std::nullopt
                                                 : std::optional(result);
  case AffineExprKind::Mul:
    return llvm::MulOverflow(*lhs, *rhs, result) ? std::nullopt
                                                 : std::optional(result);
  case AffineExprKind::FloorDiv:
    return divide(*lhs, *rhs, /*ceil=*/false);
  case AffineExprKind::CeilDiv:
    return divide(*lhs, *rhs, /*ceil=*/true);
  case AffineExprKind::Mod:
    return *rhs > 0 ? std::optional(llvm::mod(*lhs, *rhs)) : std::nullopt;
  default:
    return std::nullopt;
  }
}

AffineExpr isOne(AffineExpr size) {
  if (std::optional<int64_t> known = getConstantSize(size))
    return getAffineConstantExpr(*known == 1, size.getContext());
  // 2 / (size + 1) is 2, 1, 0, 0, ... for sizes from 0 on.
  return getAffineConstantExpr(2, size.getContext()).floorDiv(size + 1) % 2;
}

/// Only broadcastSize makes remainders.
static bool isOfBroadcast(AffineExpr size) {
  return size
      .walk([](AffineExpr e) {
        return e.getKind() == AffineExprKind::Mod ? WalkResult::interrupt()
                                                  : WalkResult::advance();
      })
      .wasInterrupted();
}

bool mayBroadcast(AffineExpr size, AffineExpr resultSize) {
  if (size == resultSize || isa<AffineConstantExpr>(size))
    return false;
  return isa<AffineSymbolExpr>(size) || isOfBroadcast(size) ||
         isOfBroadcast(resultSize);
}

size_t countTerms(AffineExpr expr, size_t limit) {
  size_t count = 0;
  expr.walk([&](AffineExpr) {
    return ++count > limit ? WalkResult::interrupt() : WalkResult::advance();
  });
  return count;
}

AffineExpr broadcastSize(AffineExpr a, AffineExpr b) {
  return simplifySize(a + (b - 1) * isOne(a));
}

AffineMap getBroadcastMap(ArrayRef<AffineExpr> operandDims,
                          ArrayRef<AffineExpr> resultDims,
                          MLIRContext *context) {
  size_t rank = resultDims.size(), skip = rank - operandDims.size();
  SmallVector<AffineExpr> exprs;
  for (auto [i, dim] : llvm::enumerate(operandDims)) {
    AffineExpr at = getAffineDimExpr(skip + i, context);
    if (getConstantSize(dim) == 1 && getConstantSize(resultDims[skip + i]) != 1)
      at = getAffineConstantExpr(0, context);
    else if (mayBroadcast(dim, resultDims[skip + i]))
      at = at * (1 - isOne(dim));
    exprs.push_back(at);
  }
  unsigned numSymbols = 0;
  for (AffineExpr expr : exprs)
    expr.walk([&](AffineExpr e) {
      if (auto symbol = dyn_cast<AffineSymbolExpr>(e))
        numSymbols = std::max(numSymbols, symbol.getPosition() + 1);
    });
  return AffineMap::get(rank, numSymbols, exprs, context);
}

} // namespace qcc
