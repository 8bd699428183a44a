//===- DecomposeProduct.cpp - matrix products as generics -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

/// Map of an operand of a product: leading dimensions broadcast, the last two
/// are `row` and `column`.
static AffineMap productMap(ArrayRef<AffineExpr> operand,
                            ArrayRef<AffineExpr> result, AffineExpr row,
                            AffineExpr column, bool transposed,
                            MLIRContext *context) {
  unsigned batch = operand.size() - 2, skip = result.size() - operand.size();
  SmallVector<AffineExpr> exprs;
  for (unsigned i = 0; i < batch; ++i) {
    bool one = getConstantSize(operand[i]) == 1 &&
               getConstantSize(result[skip + i]) != 1;
    exprs.push_back(one ? getAffineConstantExpr(0, context)
                        : getAffineDimExpr(skip + i, context));
  }
  exprs.push_back(transposed ? column : row);
  exprs.push_back(transposed ? row : column);
  return makeMap(result.size() + 1, exprs, context);
}

LogicalResult decomposition::decomposeProduct(MatMulOp op,
                                              RewriterBase &rewriter) {
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> a = getDims(op.getLhs().getType()),
                          b = getDims(op.getRhs().getType());
  RankedTensorType type = op.getResult().getType();
  SmallVector<AffineExpr> c = getDims(type);
  Type compute = getComputeType(type.getElementType());
  unsigned rank = c.size();
  AffineExpr m = getAffineDimExpr(rank - 2, context),
             n = getAffineDimExpr(rank - 1, context),
             k = getAffineDimExpr(rank, context);
  AffineExpr inner = a[a.size() - (op.getTransA() ? 2 : 1)];
  bool lhsUnsigned = op.getLhs().getType().getElementType().isUnsignedInteger();
  bool rhsUnsigned = op.getRhs().getType().getElementType().isUnsignedInteger();
  Value sum = createGeneric(
      rewriter, op.getLoc(), makeTensorType(c, compute), Combiner::Sum,
      {op.getLhs(), op.getRhs()},
      {productMap(a, c, m, k, op.getTransA(), context),
       productMap(b, c, k, n, op.getTransB(), context)},
      {}, inner, [&](ImplicitLocOpBuilder &builder, ValueRange args) -> Value {
        Body body(builder);
        Value x = body.widen(args[0], lhsUnsigned, compute);
        Value y = body.widen(args[1], rhsUnsigned, compute);
        if (isa<FloatType>(compute))
          return arith::MulFOp::create(builder, x, y);
        return arith::MulIOp::create(builder, x, y);
      });
  // What a report says of the product.
  sum.getDefiningOp()->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  rewriter.replaceOp(op,
                     castTo(rewriter, op.getLoc(), sum, type.getElementType()));
  return success();
}

/// A product with the weight that the bytes stand for; integer activations are
/// codes times the scale of their group.
LogicalResult decomposition::decomposeProduct(QMatMulOp op,
                                              RewriterBase &rewriter) {
  Location loc = op.getLoc();
  MLIRContext *context = op.getContext();
  auto encode = op.getWeight().getDefiningOp<EncodeOp>();
  if (!encode)
    return emitCoded(loc, Diag::Internal)
           << "a product without a kernel has no weight to decode";
  Value weight = EncodeOp::create(rewriter, loc, encode.getWeight().getType(),
                                  encode.getWeight(), encode.getImportance(),
                                  encode.getScales(), encode.getZeros(),
                                  encode.getFormat());
  Value input = op.getActivations()[0];
  if (op.getActivations().size() == 3) {
    auto codes = cast<RankedTensorType>(input.getType());
    unsigned rank = codes.getRank();
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i < rank; ++i)
      reads.push_back(getAffineDimExpr(i, context));
    int64_t group = op.getFormat().getGroup();
    reads.back() = group ? reads.back().floorDiv(group)
                         : getAffineConstantExpr(0, context);
    Type f32 = rewriter.getF32Type();
    input = createGeneric(
        rewriter, loc, makeTensorType(getDims(codes), f32), Combiner::None,
        {input, op.getActivations()[1]},
        {rewriter.getMultiDimIdentityMap(rank), makeMap(rank, reads, context)},
        {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
          return arith::MulFOp::create(
              b, arith::SIToFPOp::create(b, f32, args[0]), args[1]);
        });
  }
  input = castTo(rewriter, loc, input, rewriter.getF32Type());
  auto product = MatMulOp::create(rewriter, loc, op.getResult().getType(),
                                  input, weight, /*trans_a=*/false,
                                  /*trans_b=*/false);
  product->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  rewriter.replaceOp(op, product);
  rewriter.setInsertionPoint(product);
  return decomposeProduct(product, rewriter);
}
