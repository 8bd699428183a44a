//===- Routers.cpp - products that choose experts ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace qcc;

static bool isProduct(Operation *op) {
  return isa<MatMulOp, QMatMulOp, IntMatMulOp, ConvOp, IntConvOp,
             ConvTransposeOp, AttentionOp>(op);
}

bool qcc::anyReader(Value value,
                    llvm::function_ref<bool(Operation *, OpOperand &)> visit) {
  constexpr size_t kMaxValues = 4096;
  llvm::SetVector<Value> reached;
  reached.insert(value);
  for (size_t i = 0; i < reached.size() && i < kMaxValues; ++i)
    for (OpOperand &use : reached[i].getUses()) {
      Operation *user = use.getOwner();
      if (visit(user, use))
        return true;
      if (!isProduct(user) && !isa<IfOp, LoopOp>(user))
        reached.insert(user->result_begin(), user->result_end());
    }
  return false;
}

/// True if a program that finds places or lists says what other products
/// compute.
static bool listsForProducts(ProgramOp program) {
  auto isInteger = [](Value result) {
    return getElementTypeOrSelf(result.getType()).isInteger();
  };
  auto reachesProduct = [](Value result) {
    return anyReader(
        result, [](Operation *user, OpOperand &) { return isProduct(user); });
  };
  return llvm::any_of(program.getResults(), isInteger) &&
         llvm::any_of(program.getResults(), reachesProduct);
}

bool qcc::isRouter(MatMulOp op) {
  constexpr int64_t kMaxExperts = 512;
  if (StringRef(getNodeName(op.getLoc())).contains_insensitive("router"))
    return true;
  int64_t columns =
      cast<RankedTensorType>(op.getResult().getType()).getShape().back();
  return !ShapedType::isDynamic(columns) && columns <= kMaxExperts &&
         isConstantExpression(op.getRhs()) &&
         anyReader(op.getResult(), [](Operation *user, OpOperand &) {
           auto program = dyn_cast<ProgramOp>(user);
           return program && listsForProducts(program);
         });
}
