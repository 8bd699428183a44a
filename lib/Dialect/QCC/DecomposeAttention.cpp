//===- DecomposeAttention.cpp - attention as generics -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

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

  /// scale * Q K^T, capped, + mask, minus infinity where the query must not
  /// look.
  /// `tops` of queries and of keys, if there are, give a further factor.
  using Factor = llvm::function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;
  Value scores(Value query, Value key, Factor factor = {},
               ArrayRef<Value> tops = {});
  /// `exp(score - top)`; 0, not NaN, for a row that sees nothing.
  Value weight(ImplicitLocOpBuilder &b, Value score, Value top);
  /// The largest score of each row, the sink among them.
  Value largest(Value scores);
  /// The sum of the weights of each row, and `unit` times that of the sink.
  Value addSink(Value sum, Value tops, float unit = 1);
  /// `product / sum`, 0 where the sum is, as the operation's result.
  void finish(Value product, Value sum);

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

Value AttentionSteps::scores(Value query, Value key, Factor factor,
                             ArrayRef<Value> tops) {
  Value products = createGeneric(
      rewriter, loc, scoreType, Combiner::Sum, {query, key},
      {makeMap(5, {d[0], d[1], d[2], d[4]}, context),
       makeMap(5, {d[0], head, d[3], d[4]}, context)},
      {}, q[3], [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        return arith::MulFOp::create(b, body.widen(args[0], false, f32),
                                     body.widen(args[1], false, f32));
      });
  SmallVector<Value> inputs{products};
  SmallVector<AffineMap> maps{rewriter.getMultiDimIdentityMap(4)};
  llvm::append_range(inputs, tops);
  if (!tops.empty()) {
    maps.push_back(leading(4, 3, context));
    maps.push_back(makeMap(4, {d[0], head, d[3]}, context));
  }
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
        Value score = args[0];
        if (!tops.empty())
          score = arith::MulFOp::create(b, score, factor(b, args.slice(1, 2)));
        score = arith::MulFOp::create(b, score, scale);
        if (op.getSoftcap()) {
          Value cap = body.real(f32, op.getSoftcap()->convertToFloat());
          Value share = arith::DivFOp::create(b, score, cap);
          score = arith::MulFOp::create(b, math::TanhOp::create(b, share), cap);
        }
        if (op.getMask())
          score = arith::AddFOp::create(b, score,
                                        body.widen(args.back(), false, f32));
        if (!op.getCausal())
          return score;
        Value limit = body.add(body.index(2), body.extent(k[2] - q[2]));
        Value sees =
            body.compare(arith::CmpIPredicate::sle, body.index(3), limit);
        Value never = body.real(f32, -std::numeric_limits<double>::infinity());
        return arith::SelectOp::create(b, sees, score, never);
      });
}

Value AttentionSteps::weight(ImplicitLocOpBuilder &b, Value score, Value top) {
  Body body(b);
  Value never = body.real(f32, -std::numeric_limits<double>::infinity());
  Value empty = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, top, never);
  Value shift = arith::SelectOp::create(b, empty, body.real(f32, 0), top);
  return math::ExpOp::create(b, arith::SubFOp::create(b, score, shift));
}

Value AttentionSteps::largest(Value scores) {
  Value largest = createGeneric(
      rewriter, loc, rowType, Combiner::Max, scores,
      rewriter.getMultiDimIdentityMap(4), {}, k[2],
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
  if (!op.getSink())
    return largest;
  return createGeneric(
      rewriter, loc, rowType, Combiner::None, {largest, op.getSink()},
      {rewriter.getMultiDimIdentityMap(3), makeMap(3, {d[1]}, context)}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return arith::MaximumFOp::create(b, args[0],
                                         Body(b).widen(args[1], false, f32));
      });
}

Value AttentionSteps::addSink(Value sum, Value tops, float unit) {
  if (!op.getSink())
    return sum;
  AffineMap rows = rewriter.getMultiDimIdentityMap(3);
  return createGeneric(
      rewriter, loc, rowType, Combiner::None, {sum, tops, op.getSink()},
      {rows, rows, makeMap(3, {d[1]}, context)}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        Value own = weight(b, body.widen(args[2], false, f32), args[1]);
        own = arith::MulFOp::create(b, own, body.real(f32, unit));
        return arith::AddFOp::create(b, args[0], own);
      });
}

void AttentionSteps::finish(Value product, Value sum) {
  RankedTensorType type = op.getResult().getType();
  Value result = createGeneric(
      rewriter, loc, makeTensorType(getDims(type), f32), Combiner::None,
      {product, sum},
      {rewriter.getMultiDimIdentityMap(4), leading(4, 3, context)}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value zero = Body(b).real(f32, 0);
        Value empty =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, args[1], zero);
        Value quotient = arith::DivFOp::create(b, args[0], args[1]);
        return arith::SelectOp::create(b, empty, zero, quotient);
      });
  rewriter.replaceOp(op, castTo(rewriter, loc, result, type.getElementType()));
}

namespace {
/// The steps with products of codes. Codes are integers in f32: sums of up to
/// 1040 products of them are exact there, and no kernel takes more.
struct ByteAttentionSteps : AttentionSteps {
  ByteAttentionSteps(AttentionOp op, RewriterBase &rewriter)
      : AttentionSteps(op, rewriter), block(AttentionOp::kBlockKeys),
        blocks(k[2].ceilDiv(block)), blockOf(d[3].floorDiv(block)) {}

  void run();

private:
  Value largestOfRows(Value input);
  Value largestOfBlocks(Value scores);
  Value largestOfColumns();
  Value
  reduceBlocks(RankedTensorType type, Value input, bool alongLast,
               llvm::function_ref<Value(ImplicitLocOpBuilder &, Value)> body);
  Value codes(Value input, Value largest, AffineMap scaleMap);
  Value scale(ImplicitLocOpBuilder &b, Value top);

  int64_t block;
  AffineExpr blocks, blockOf;
};
} // namespace

/// The largest magnitude of each query or key.
Value ByteAttentionSteps::largestOfRows(Value input) {
  SmallVector<AffineExpr> dims = getDims(input.getType());
  return createGeneric(
      rewriter, loc, makeTensorType({dims[0], dims[1], dims[2]}, f32),
      Combiner::Max, input, rewriter.getMultiDimIdentityMap(4), {}, dims[3],
      [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return math::AbsFOp::create(b, args[0]);
      });
}

/// The largest of `body(element)` over the keys of each block, where keys are
/// the last dimension of `input` or the one before it.
Value ByteAttentionSteps::reduceBlocks(
    RankedTensorType type, Value input, bool alongLast,
    llvm::function_ref<Value(ImplicitLocOpBuilder &, Value)> body) {
  return createGeneric(
      rewriter, loc, type, Combiner::Max, {}, {}, input,
      getAffineConstantExpr(block, context),
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body at(b);
        unsigned place = alongLast ? 3 : 2;
        SmallVector<Value> indices;
        for (unsigned i = 0; i < 4; ++i)
          indices.push_back(at.index(i));
        indices[place] =
            at.add(at.affine(indices[place], block, 0), at.index(4));
        Value inside = at.inRange({}, indices[place], at.extent(k[2]));
        Value never = at.real(f32, -std::numeric_limits<double>::infinity());
        return at.guarded(inside, never, [&]() -> Value {
          return body(b, ReadOp::create(b, f32, args[0], indices));
        });
      });
}

Value ByteAttentionSteps::largestOfBlocks(Value scores) {
  return reduceBlocks(makeTensorType({q[0], q[1], q[2], blocks}, f32), scores,
                      /*alongLast=*/true,
                      [](ImplicitLocOpBuilder &, Value x) { return x; });
}

Value ByteAttentionSteps::largestOfColumns() {
  SmallVector<AffineExpr> v = getDims(op.getValue().getType());
  return reduceBlocks(makeTensorType({v[0], v[1], blocks, v[3]}, f32),
                      op.getValue(), /*alongLast=*/false,
                      [](ImplicitLocOpBuilder &b, Value x) -> Value {
                        return math::AbsFOp::create(b, x);
                      });
}

/// The scale of codes of numbers with this largest magnitude.
Value ByteAttentionSteps::scale(ImplicitLocOpBuilder &b, Value top) {
  Body body(b);
  Value tiny = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, top,
                                     body.real(f32, AttentionOp::kTiny));
  Value scale = arith::DivFOp::create(b, top, body.real(f32, 127));
  return arith::SelectOp::create(b, tiny, body.real(f32, 0), scale);
}

/// Codes of rank 4, as numbers.
Value ByteAttentionSteps::codes(Value input, Value largest,
                                AffineMap scaleMap) {
  return createGeneric(
      rewriter, loc, makeTensorType(getDims(input.getType()), f32),
      Combiner::None, {input, largest},
      {rewriter.getMultiDimIdentityMap(4), scaleMap}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        Value tiny =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, args[1],
                                  body.real(f32, AttentionOp::kTiny));
        Value inverse = arith::DivFOp::create(b, body.real(f32, 127), args[1]);
        Value code = math::RoundEvenOp::create(
            b, arith::MulFOp::create(b, args[0], inverse));
        return arith::SelectOp::create(b, tiny, body.real(f32, 0), code);
      });
}

void ByteAttentionSteps::run() {
  AffineMap rowOf4 = leading(4, 3, context);
  Value queryTops = largestOfRows(op.getQuery()),
        keyTops = largestOfRows(op.getKey()), valueTops = largestOfColumns();
  Value query = codes(op.getQuery(), queryTops, rowOf4),
        key = codes(op.getKey(), keyTops, rowOf4),
        value = codes(
            op.getValue(), valueTops,
            makeMap(4, {d[0], d[1], d[2].floorDiv(block), d[3]}, context));
  Value scores = this->scores(
      query, key,
      [&](ImplicitLocOpBuilder &b, ValueRange tops) -> Value {
        return arith::MulFOp::create(b, scale(b, tops[0]), scale(b, tops[1]));
      },
      {queryTops, keyTops});
  Value blockTops = largestOfBlocks(scores), tops = largest(scores);
  AffineMap blockMap = makeMap(4, {d[0], d[1], d[2], blockOf}, context);
  // What the code of a weight stands for, relative to the largest of all.
  Value weights = createGeneric(
      rewriter, loc, scoreType, Combiner::None, {scores, blockTops, tops},
      {rewriter.getMultiDimIdentityMap(4), blockMap, rowOf4}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value exact = weight(b, args[0], args[1]);
        Value code = math::RoundEvenOp::create(
            b, arith::MulFOp::create(b, exact, Body(b).real(f32, 255)));
        return arith::MulFOp::create(b, code, weight(b, args[1], args[2]));
      });
  Value sum = createGeneric(
      rewriter, loc, rowType, Combiner::Sum, weights,
      rewriter.getMultiDimIdentityMap(4), {}, k[2],
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
  sum = addSink(sum, tops, /*unit=*/255);
  RankedTensorType type = op.getResult().getType();
  Value product = createGeneric(
      rewriter, loc, makeTensorType(getDims(type), f32), Combiner::Sum,
      {weights, value, valueTops},
      {makeMap(5, {d[0], d[1], d[2], d[4]}, context),
       makeMap(5, {d[0], head, d[4], d[3]}, context),
       makeMap(5, {d[0], head, d[4].floorDiv(block), d[3]}, context)},
      {}, k[2], [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value number = arith::MulFOp::create(b, args[1], scale(b, args[2]));
        return arith::MulFOp::create(b, args[0], number);
      });
  finish(product, sum);
}

LogicalResult decomposition::decomposeProduct(AttentionOp op,
                                              RewriterBase &rewriter) {
  if (op.getInt8()) {
    ByteAttentionSteps(op, rewriter).run();
    return success();
  }
  AttentionSteps steps(op, rewriter);
  MLIRContext *context = op.getContext();
  Location loc = op.getLoc();
  ArrayRef<AffineExpr> d = steps.d;
  Value scores = steps.scores(op.getQuery(), op.getKey());
  Value max = steps.largest(scores);
  Value sum = createGeneric(
      rewriter, loc, steps.rowType, Combiner::Sum, {scores, max},
      {rewriter.getMultiDimIdentityMap(4), leading(4, 3, context)}, {},
      steps.k[2], [&](ImplicitLocOpBuilder &b, ValueRange args) {
        return steps.weight(b, args[0], args[1]);
      });
  sum = steps.addSink(sum, max);
  // Dimensions b, h, s, e and the reduction over t.
  AffineMap scoreMap = makeMap(5, {d[0], d[1], d[2], d[4]}, context);
  AffineMap valueMap = makeMap(5, {d[0], steps.head, d[4], d[3]}, context);
  AffineMap rowMap = leading(5, 3, context);
  Value product = createGeneric(
      rewriter, loc,
      makeTensorType(getDims(op.getResult().getType()), steps.f32),
      Combiner::Sum, {scores, op.getValue(), max}, {scoreMap, valueMap, rowMap},
      {}, steps.k[2], [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value v = Body(b).widen(args[1], false, steps.f32);
        return arith::MulFOp::create(b, steps.weight(b, args[0], args[2]), v);
      });
  steps.finish(product, sum);
  return success();
}
