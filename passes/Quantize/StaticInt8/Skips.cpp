//===- Skips.cpp - what a run need not compute ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Skips.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

using namespace mlir;
using namespace qcc;

void Skips::add(Operation *op, const ReadWhere &where) {
  ReadWhere &all = wheres[op];
  all.on.append(where.on);
  all.off.append(where.off);
}

/// Whether a run reads what is read so: a boolean [].
static Value createCondition(OpBuilder &b, Location loc, Value numbers,
                             const ReadWhere &where, size_t always) {
  SmallVector<size_t> places(where.on.begin(), where.on.end());
  places.append(where.off);
  places.push_back(always);
  SmallVector<AffineMap> maps;
  for (size_t place : places)
    maps.push_back(AffineMap::get(
        0, 0, getAffineConstantExpr(int64_t(place), b.getContext())));
  return createGeneric(
             b, loc, RankedTensorType::get({}, b.getI1Type()), Combiner::None,
             SmallVector<Value>(places.size(), numbers), maps, {}, {},
             [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               auto is = [&](arith::CmpFPredicate predicate, Value number) {
                 Value zero =
                     arith::ConstantOp::create(body, body.getF32FloatAttr(0));
                 return arith::CmpFOp::create(body, predicate, number, zero);
               };
               Value all =
                   arith::ConstantOp::create(body, body.getBoolAttr(true));
               for (auto [i, number] : llvm::enumerate(args.drop_back()))
                 all = arith::AndIOp::create(body, all,
                                             is(i < where.on.size()
                                                    ? arith::CmpFPredicate::OGT
                                                    : arith::CmpFPredicate::OLE,
                                                number));
               return arith::OrIOp::create(
                   body, all, is(arith::CmpFPredicate::OGT, args.back()));
             })
      .getResult();
}

static Value createZeros(OpBuilder &b, Location loc, RankedTensorType type) {
  return createGeneric(b, loc, type, Combiner::None, ValueRange(), {}, {}, {},
                       [](ImplicitLocOpBuilder &body, ValueRange) -> Value {
                         return arith::ConstantOp::create(
                             body, body.getF32FloatAttr(0));
                       })
      .getResult();
}

void Skips::apply(Value numbers, size_t always) const {
  for (auto &[op, where] : wheres) {
    OpBuilder b(op);
    Location loc = op->getLoc();
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    Value condition = createCondition(b, loc, numbers, where, always);
    auto branch = IfOp::create(b, loc, TypeRange(type), condition);
    op->getResult(0).replaceAllUsesWith(branch.getResult(0));
    b.createBlock(&branch.getThenRegion());
    op->moveBefore(b.getInsertionBlock(), b.getInsertionPoint());
    YieldOp::create(b, loc, op->getResult(0));
    b.createBlock(&branch.getElseRegion());
    YieldOp::create(b, loc, createZeros(b, loc, type));
  }
}
