//===- FewBits.cpp - weights of fewer than 8 bits ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"

using namespace mlir;
using namespace qcc;

/// A constant in the order it has, each element made by `make`.
static Value convert(PatternRewriter &b, Value values, Type element,
                     function_ref<Value(ImplicitLocOpBuilder &, Value)> make) {
  auto type = cast<RankedTensorType>(values.getType());
  return createGeneric(
             b, values.getLoc(), type.clone(element), Combiner::None, values,
             b.getMultiDimIdentityMap(unsigned(type.getRank())), {}, {},
             [&](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
               return make(inner, args[0]);
             })
      .getResult();
}

namespace {

/// Gives a constant weight of fewer bits behind codes of 8 a form that kernels
/// take: signed codes of 4 bits where it has 8 as the zero point of codes
/// without a sign, else, of a convolution, codes of 8 bits with the same
/// numbers. A product is left as it is: its weight has a format of as few bits.
template <typename OpT> struct FormWeight : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;

  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    auto source = op->getOperand(1).template getDefiningOp<DequantizeOp>();
    if (!source || source.getBlock() != 0 || !getCodes(op->getOperand(0)) ||
        !isConstantExpression(op->getOperand(1)) || getWeightCodes(op))
      return failure();
    auto type =
        dyn_cast<IntegerType>(source.getInput().getType().getElementType());
    if (!type || type.getWidth() >= 8 ||
        (source.getZero() &&
         source.getZero().getType().getElementType() != type))
      return failure();
    Value codes = source.getInput(), zero = source.getZero();
    if (isCentered(op, type, zero)) {
      codes = convert(rewriter, codes, rewriter.getIntegerType(4),
                      [](ImplicitLocOpBuilder &b, Value code) -> Value {
                        Value high = arith::ConstantOp::create(
                            b, b.getIntegerAttr(code.getType(), -8));
                        return arith::XOrIOp::create(b, code, high);
                      });
      zero = {};
    } else if (isa<ConvOp>(op)) {
      codes = widen(rewriter, codes, type);
      zero = zero ? widen(rewriter, zero, type) : Value();
    } else {
      return failure();
    }
    rewriter.setInsertionPoint(op);
    Value weight = DequantizeOp::create(
        rewriter, source.getLoc(), source.getResult().getType(), codes,
        source.getScale(), zero, source.getAxis(), /*block=*/0);
    rewriter.modifyOpInPlace(op, [&] { op->setOperand(1, weight); });
    return success();
  }

private:
  /// True for codes without a sign that signed ones of 4 bits without a zero
  /// point can stand for, if kernels take these.
  static bool isCentered(OpT op, IntegerType type, Value zero) {
    if (type.getWidth() != 4 || !type.isUnsigned() || !zero ||
        getSplatInteger(zero) != 8)
      return false;
    auto weight = cast<RankedTensorType>(op->getOperand(1).getType());
    if constexpr (std::is_same_v<OpT, ConvOp>)
      return op.getGroups() == 1 || weight.getDimSize(1) > 1;
    else
      return weight.getRank() == 2;
  }

  /// The same numbers in 8 bits.
  static Value widen(PatternRewriter &rewriter, Value codes, IntegerType type) {
    auto byte =
        IntegerType::get(rewriter.getContext(), 8, type.getSignedness());
    return convert(
        rewriter, codes, byte, [&](ImplicitLocOpBuilder &b, Value code) {
          return extendCode(b, b.getI8Type(), code, !type.isUnsigned());
        });
  }
};

} // namespace

void qcc::populateFewBitsPatterns(RewritePatternSet &patterns) {
  patterns.add<FormWeight<ConvOp>, FormWeight<MatMulOp>>(patterns.getContext(),
                                                         /*benefit=*/2);
}
