//===- Symbols.cpp - replacing size symbols in IR ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/Symbols.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;

namespace qcc {

bool usesSymbolsFrom(AffineExpr expr, size_t first) {
  return expr
      .walk([&](AffineExpr e) {
        auto symbol = dyn_cast<AffineSymbolExpr>(e);
        return symbol && symbol.getPosition() >= first ? WalkResult::interrupt()
                                                       : WalkResult::advance();
      })
      .wasInterrupted();
}

AffineMap composeSizeMaps(AffineMap outer, AffineMap inner) {
  assert(outer.getNumDims() == inner.getNumResults() &&
         "a dimension for each result");
  SmallVector<AffineExpr> results;
  for (AffineExpr expr : outer.getResults())
    results.push_back(expr.replaceDims(inner.getResults()));
  return simplifyAffineMap(
      AffineMap::get(inner.getNumDims(),
                     std::max(outer.getNumSymbols(), inner.getNumSymbols()),
                     results, outer.getContext()));
}

void substituteSymbols(Operation *root, ArrayRef<AffineExpr> replacement) {
  MLIRContext *context = root->getContext();
  auto replaceMap = [&](AffineMap map) -> AffineMap {
    if (map.getNumSymbols() == 0)
      return map;
    SmallVector<AffineExpr> dims, symbols, results;
    for (unsigned i = 0; i < map.getNumDims(); ++i)
      dims.push_back(getAffineDimExpr(i, context));
    for (unsigned i = 0; i < map.getNumSymbols(); ++i)
      symbols.push_back(i < replacement.size() && replacement[i]
                            ? replacement[i]
                            : getAffineSymbolExpr(i, context));
    for (AffineExpr expr : map.getResults())
      results.push_back(expr.replaceDimsAndSymbols(dims, symbols));
    if (map.getNumDims() == 0)
      return makeSizeMap(results, context);
    unsigned numSymbols = 0;
    for (AffineExpr expr : results)
      expr.walk([&](AffineExpr e) {
        if (auto symbol = dyn_cast<AffineSymbolExpr>(e))
          numSymbols = std::max(numSymbols, symbol.getPosition() + 1);
      });
    return simplifyAffineMap(
        AffineMap::get(map.getNumDims(), numSymbols, results, context));
  };
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](AffineMapAttr attr) {
    return std::make_pair(
        Attribute(AffineMapAttr::get(replaceMap(attr.getValue()))),
        WalkResult::skip());
  });
  replacer.addReplacement(
      [&](RankedTensorType type) -> std::pair<Type, WalkResult> {
        auto map = dyn_cast_or_null<AffineMapAttr>(type.getEncoding());
        if (!map)
          return {type, WalkResult::skip()};
        AffineMap replaced = replaceMap(map.getValue());
        return {makeTensorType(replaced.getResults(), type.getElementType()),
                WalkResult::skip()};
      });
  replacer.recursivelyReplaceElementsIn(root, /*replaceAttrs=*/true,
                                        /*replaceLocs=*/false,
                                        /*replaceTypes=*/true);
}

SmallVector<unsigned> collectSymbols(Operation *root) {
  llvm::SmallBitVector used;
  auto note = [&](AffineMap map) {
    map.walkExprs([&](AffineExpr expr) {
      if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
        if (used.size() <= symbol.getPosition())
          used.resize(symbol.getPosition() + 1);
        used.set(symbol.getPosition());
      }
    });
  };
  AttrTypeWalker walker;
  walker.addWalk([&](AffineMapAttr attr) { note(attr.getValue()); });
  root->walk([&](Operation *op) {
    walker.walk(op->getAttrDictionary());
    for (Type type : op->getResultTypes())
      walker.walk(type);
    for (Type type : op->getOperandTypes())
      walker.walk(type);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (Type type : block.getArgumentTypes())
          walker.walk(type);
  });
  return llvm::to_vector(llvm::map_range(
      used.set_bits(), [](int bit) { return static_cast<unsigned>(bit); }));
}

std::string printSize(AffineExpr expr, ArrayRef<StringRef> names) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return std::to_string(constant.getValue());
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr)) {
    unsigned position = symbol.getPosition();
    return position < names.size() ? names[position].str()
                                   : "s" + std::to_string(position);
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return "?";
  const char *sign = "";
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    sign = " + ";
    break;
  case AffineExprKind::Mul:
    sign = " * ";
    break;
  case AffineExprKind::FloorDiv:
    sign = " floordiv ";
    break;
  case AffineExprKind::CeilDiv:
    sign = " ceildiv ";
    break;
  default:
    sign = " mod ";
  }
  return "(" + printSize(binary.getLHS(), names) + sign +
         printSize(binary.getRHS(), names) + ")";
}

SmallVector<StringRef> getSymbolNames(ModuleOp module) {
  SmallVector<StringRef> names;
  if (auto array = module->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    for (Attribute name : array)
      names.push_back(cast<StringAttr>(name).getValue());
  return names;
}

} // namespace qcc

llvm::DenseMap<int64_t, std::pair<int64_t, int64_t>>
qcc::getSymbolBounds(ModuleOp module) {
  llvm::DenseMap<int64_t, std::pair<int64_t, int64_t>> bounds;
  if (auto all = module->getAttrOfType<ArrayAttr>(kBoundsAttr))
    for (auto bound : all.getAsRange<DenseI64ArrayAttr>())
      if (bound.size() == 3)
        bounds[bound[0]] = {bound[1], bound[2]};
  return bounds;
}
