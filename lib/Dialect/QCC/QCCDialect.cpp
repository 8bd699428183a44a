//===- QCCDialect.cpp - registration of the qcc dialect ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace qcc;

#include "qcc/Dialect/QCC/QCCDialect.cpp.inc"
#include "qcc/Dialect/QCC/QCCEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "qcc/Dialect/QCC/QCCAttrs.cpp.inc"

void QCCDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "qcc/Dialect/QCC/QCCAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "qcc/Dialect/QCC/QCCOps.cpp.inc"
      >();
}

Operation *QCCDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                           Type type, Location loc) {
  if (isa<IndexType>(type) && isa<IntegerAttr>(value))
    return arith::ConstantOp::create(builder, loc, cast<IntegerAttr>(value));
  if (auto elements = dyn_cast<ElementsAttr>(value))
    if (isa<RankedTensorType>(type))
      return ConstantOp::create(builder, loc, type, elements);
  return nullptr;
}
