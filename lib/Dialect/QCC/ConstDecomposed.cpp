//===- ConstDecomposed.cpp - values of named operations ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ConstDecomposed.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

llvm::Error qcc::evaluateDecomposed(Operation *op,
                                    ArrayRef<ArrayRef<char>> operands,
                                    MutableArrayRef<char> out) {
  OwningOpRef<ModuleOp> module = ModuleOp::create(op->getLoc());
  IRRewriter rewriter(op->getContext());
  rewriter.setInsertionPointToStart(module->getBody());
  // Operands are parameters, with their numbers as keys.
  IRMapping mapping;
  for (auto [i, operand] : llvm::enumerate(op->getOperands()))
    mapping.map(operand,
                ParamOp::create(rewriter, op->getLoc(), operand.getType(),
                                rewriter.getStringAttr(std::to_string(i))));
  Operation *copy = rewriter.clone(*op, mapping);
  // Keeps hold of the result while what makes it is replaced.
  auto use = UnrealizedConversionCastOp::create(
      rewriter, op->getLoc(), copy->getResult(0).getType(), copy->getResult(0));
  rewriter.setInsertionPoint(copy);
  if (!isDecomposable(copy) || failed(decompose(copy, rewriter)))
    return makeError(Diag::Internal, "",
                     "cannot evaluate '" + op->getName().getStringRef() +
                         "' in a constant expression");
  ConstSource source;
  source.parameter = [&](StringRef key) {
    size_t number = operands.size();
    if (key.getAsInteger(10, number) || number >= operands.size())
      return ArrayRef<char>();
    return operands[number];
  };
  return evaluateConstant(use.getOperand(0), source, out);
}
