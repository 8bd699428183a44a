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

namespace {
/// The steps of attention over the dimensions b, h, s, t and one more.
struct AttentionSteps {
  AttentionSteps(AttentionOp op, RewriterBase &rewriter)
      : op(op), rewriter(rewriter), loc(op.getLoc()), context(op.getContext()),
        q(getDims(op.getQuery().getType())), k(getDims(op.getKey().getType())),
        f32(getComputeType(op.getQuery().getType().getElementType())) {
    for (unsigned i = 0; i < 5; ++i)
      d.push_back(getAffineDimExpr(i, context));
    // Several query heads share a key head.
    AffineExpr repeat = simplifySize(q[1].floorDiv(k[1]));
    head = q[1] == k[1] ? d[1] : d[1].floorDiv(repeat);
    scoreType = makeTensorType({q[0], q[1], q[2], k[2]}, f32);
    rowType = makeTensorType({q[0], q[1], q[2]}, f32);
  }

  Value scores();

  AttentionOp op;
  RewriterBase &rewriter;
  Location loc;
  MLIRContext *context;
  SmallVector<AffineExpr> q, k, d;
  AffineExpr head;
  Type f32;
  RankedTensorType scoreType, rowType;
};
} // namespace

/// scale * Q K^T + mask, minus infinity where the query must not look.
Value AttentionSteps::scores() {
  Value products = createGeneric(
      rewriter, loc, scoreType, Combiner::Sum, {op.getQuery(), op.getKey()},
      {makeMap(5, {d[0], d[1], d[2], d[4]}, context),
       makeMap(5, {d[0], head, d[3], d[4]}, context)},
      {}, q[3], [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        return arith::MulFOp::create(b, body.widen(args[0], false, f32),
                                     body.widen(args[1], false, f32));
      });
  SmallVector<Value> inputs{products};
  SmallVector<AffineMap> maps{rewriter.getMultiDimIdentityMap(4)};
  if (op.getMask()) {
    inputs.push_back(op.getMask());
    maps.push_back(getBroadcastMap(getDims(op.getMask().getType()),
                                   getDims(scoreType), context));
  }
  return createGeneric(
      rewriter, loc, scoreType, Combiner::None, inputs, maps, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        Value scale = body.real(f32, op.getScale().convertToFloat());
        Value score = arith::MulFOp::create(b, args[0], scale);
        if (op.getMask())
          score =
              arith::AddFOp::create(b, score, body.widen(args[1], false, f32));
        if (!op.getCausal())
          return score;
        Value limit = body.add(body.index(2), body.extent(k[2] - q[2]));
        Value sees =
            body.compare(arith::CmpIPredicate::sle, body.index(3), limit);
        Value never = body.real(f32, -std::numeric_limits<double>::infinity());
        return arith::SelectOp::create(b, sees, score, never);
      });
}

LogicalResult decomposition::decomposeProduct(AttentionOp op,
                                              RewriterBase &rewriter) {
  AttentionSteps steps(op, rewriter);
  MLIRContext *context = op.getContext();
  Location loc = op.getLoc();
  ArrayRef<AffineExpr> d = steps.d;
  Type f32 = steps.f32;
  Value scores = steps.scores();
  AffineMap identity = rewriter.getMultiDimIdentityMap(4);
  AffineMap rowOf4 = leading(4, 3, context);
  AffineExpr keys = steps.k[2];
  Value max = createGeneric(
      rewriter, loc, steps.rowType, Combiner::Max, scores, identity, {}, keys,
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
  auto weight = [&](ImplicitLocOpBuilder &b, Value score, Value top) -> Value {
    // A row that sees nothing has weights 0, not NaN.
    Body body(b);
    Value never = body.real(f32, -std::numeric_limits<double>::infinity());
    Value empty =
        arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, top, never);
    Value shift = arith::SelectOp::create(b, empty, body.real(f32, 0), top);
    return math::ExpOp::create(b, arith::SubFOp::create(b, score, shift));
  };
  Value sum = createGeneric(rewriter, loc, steps.rowType, Combiner::Sum,
                            {scores, max}, {identity, rowOf4}, {}, keys,
                            [&](ImplicitLocOpBuilder &b, ValueRange args) {
                              return weight(b, args[0], args[1]);
                            });
  // Dimensions b, h, s, e and the reduction over t.
  AffineMap scoreMap = makeMap(5, {d[0], d[1], d[2], d[4]}, context);
  AffineMap valueMap = makeMap(5, {d[0], steps.head, d[4], d[3]}, context);
  AffineMap rowMap = leading(5, 3, context);
  RankedTensorType type = op.getResult().getType();
  Value product = createGeneric(
      rewriter, loc, makeTensorType(getDims(type), f32), Combiner::Sum,
      {scores, op.getValue(), max}, {scoreMap, valueMap, rowMap}, {}, keys,
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value v = Body(b).widen(args[1], false, f32);
        return arith::MulFOp::create(b, weight(b, args[0], args[2]), v);
      });
  Value result = createGeneric(
      rewriter, loc, makeTensorType(getDims(type), f32), Combiner::None,
      {product, sum}, {identity, rowOf4}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value zero = Body(b).real(f32, 0);
        Value empty =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, args[1], zero);
        Value quotient = arith::DivFOp::create(b, args[0], args[1]);
        return arith::SelectOp::create(b, empty, zero, quotient);
      });
  rewriter.replaceOp(op, castTo(rewriter, loc, result, type.getElementType()));
  return success();
}
