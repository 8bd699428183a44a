//===- DecomposeWindow.cpp - convolutions and pooling as generics -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

/// A neutral value that padding contributes to a maximum.
static Value lowest(ImplicitLocOpBuilder &b, Type type, bool isUnsigned) {
  if (auto real = dyn_cast<FloatType>(type))
    return arith::ConstantOp::create(
        b, b.getFloatAttr(type, APFloat::getInf(real.getFloatSemantics(),
                                                /*Negative=*/true)));
  unsigned width = type.getIntOrFloatBitWidth();
  APInt value =
      isUnsigned ? APInt::getZero(width) : APInt::getSignedMinValue(width);
  return arith::ConstantOp::create(b, b.getIntegerAttr(type, value));
}

/// Dimensions: n, o, out..., c, k... . Reads outside the input count as zero.
LogicalResult decomposition::decomposeWindow(ConvOp op,
                                             RewriterBase &rewriter) {
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> x = getDims(op.getInput().getType()),
                          w = getDims(op.getWeight().getType());
  RankedTensorType type = op.getResult().getType();
  Type compute = getComputeType(type.getElementType());
  unsigned rank = type.getRank(), spatial = rank - 2;
  unsigned numDims = 2 * rank - 1;
  SmallVector<AffineExpr> over(w.begin() + 1, w.end());
  AffineExpr perGroup = w[0].floorDiv(op.getGroups());

  SmallVector<AffineExpr> weightExprs{getAffineDimExpr(1, context)};
  for (unsigned i = 0; i <= spatial; ++i)
    weightExprs.push_back(getAffineDimExpr(rank + i, context));
  AffineMap weightMap = makeMap(numDims, weightExprs, context);

  auto sum = createGeneric(
      rewriter, op.getLoc(), makeTensorType(getDims(type), compute),
      Combiner::Sum, op.getWeight(), weightMap, op.getInput(), over,
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Body body(b);
        Value channel = body.index(rank);
        if (op.getGroups() != 1) {
          Value group =
              arith::DivSIOp::create(b, body.index(1), body.extent(perGroup));
          Value base = arith::MulIOp::create(b, group, body.extent(w[1]));
          channel = arith::AddIOp::create(b, base, channel);
        }
        SmallVector<Value> at{body.index(0), channel};
        Value inside;
        for (unsigned i = 0; i < spatial; ++i) {
          Value start = body.affine(body.index(2 + i), op.getStrides()[i],
                                    -op.getPads()[i]);
          Value offset =
              body.affine(body.index(rank + 1 + i), op.getDilations()[i], 0);
          at.push_back(body.add(start, offset));
          if (op.getPads()[i] != 0 || op.getPads()[spatial + i] != 0)
            inside = body.inRange(inside, at.back(), body.extent(x[2 + i]));
        }
        Value zero = arith::ConstantOp::create(b, b.getZeroAttr(compute));
        return body.guarded(inside, zero, [&]() -> Value {
          Type element =
              getScalarType(op.getInput().getType().getElementType());
          Value read = ReadOp::create(b, element, args[1], at);
          Value a = body.widen(read, false, compute);
          Value c = body.widen(args[0], false, compute);
          if (isa<FloatType>(compute))
            return arith::MulFOp::create(b, a, c);
          return arith::MulIOp::create(b, a, c);
        });
      });
  rewriter.replaceOp(op,
                     castTo(rewriter, op.getLoc(), sum, type.getElementType()));
  return success();
}

/// As a gather: output y receives input i with weight k where
/// y = i * stride - pad + k * dilation.
LogicalResult decomposition::decomposeWindow(ConvTransposeOp op,
                                             RewriterBase &rewriter) {
  SmallVector<AffineExpr> x = getDims(op.getInput().getType()),
                          w = getDims(op.getWeight().getType());
  RankedTensorType type = op.getResult().getType();
  Type compute = getComputeType(type.getElementType());
  unsigned rank = type.getRank(), spatial = rank - 2;
  AffineExpr channelsPerGroup = x[1].floorDiv(op.getGroups());
  SmallVector<AffineExpr> over{channelsPerGroup};
  over.append(w.begin() + 2, w.end());

  auto sum = createGeneric(
      rewriter, op.getLoc(), makeTensorType(getDims(type), compute),
      Combiner::Sum, {}, {}, {op.getInput(), op.getWeight()}, over,
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Body body(b);
        Value output = body.index(1), channel = body.index(rank);
        Value perGroup = body.extent(w[1]);
        Value group = arith::DivSIOp::create(b, output, perGroup);
        Value within = arith::RemSIOp::create(b, output, perGroup);
        Value base =
            arith::MulIOp::create(b, group, body.extent(channelsPerGroup));
        channel = arith::AddIOp::create(b, base, channel);
        SmallVector<Value> at{body.index(0), channel},
            weightAt{channel, within};
        Value inside;
        for (unsigned i = 0; i < spatial; ++i) {
          Value k = body.index(rank + 1 + i);
          weightAt.push_back(k);
          Value scaled = arith::SubIOp::create(
              b, body.affine(body.index(2 + i), 1, op.getPads()[i]),
              body.affine(k, op.getDilations()[i], 0));
          Value stride = body.constant(op.getStrides()[i]);
          if (op.getStrides()[i] != 1) {
            Value rest = arith::RemSIOp::create(b, scaled, stride);
            inside = body.both(inside, body.compare(arith::CmpIPredicate::eq,
                                                    rest, body.constant(0)));
            scaled = arith::FloorDivSIOp::create(b, scaled, stride);
          }
          at.push_back(scaled);
          inside = body.inRange(inside, scaled, body.extent(x[2 + i]));
        }
        Value zero = arith::ConstantOp::create(b, b.getZeroAttr(compute));
        return body.guarded(inside, zero, [&]() -> Value {
          auto read = [&](unsigned i, ArrayRef<Value> indices) {
            Type element = getScalarType(
                cast<RankedTensorType>(args[i].getType()).getElementType());
            Value value = ReadOp::create(b, element, args[i], indices);
            return body.widen(value, false, compute);
          };
          return arith::MulFOp::create(b, read(0, at), read(1, weightAt));
        });
      });
  rewriter.replaceOp(op,
                     castTo(rewriter, op.getLoc(), sum, type.getElementType()));
  return success();
}

/// Number of window positions of dimension `i` that count in an average.
static Value countPositions(Body &body, PoolOp op, unsigned i,
                            ArrayRef<AffineExpr> x) {
  ImplicitLocOpBuilder &b = body.b;
  unsigned spatial = x.size() - 2;
  int64_t d = op.getDilations()[i];
  Value start =
      body.affine(body.index(2 + i), op.getStrides()[i], -op.getPads()[i]);
  Value kernel = body.constant(op.getKernel()[i]);
  Value size = body.extent(x[2 + i]), zero = body.constant(0);
  Value low = zero;
  if (op.getCountIncludePad()) {
    size = body.affine(size, 1, op.getPads()[spatial + i]);
  } else {
    Value missing = arith::SubIOp::create(b, zero, start);
    low = arith::MaxSIOp::create(
        b, arith::CeilDivSIOp::create(b, missing, body.constant(d)), zero);
  }
  Value room = arith::SubIOp::create(b, size, start);
  Value high = arith::MinSIOp::create(
      b, arith::CeilDivSIOp::create(b, room, body.constant(d)), kernel);
  return arith::SubIOp::create(b, high, low);
}

/// Divides window sums by the number of elements each has.
static Value divideByCount(PoolOp op, Value sum, RewriterBase &rewriter) {
  auto type = cast<RankedTensorType>(sum.getType());
  SmallVector<AffineExpr> x = getDims(op.getInput().getType());
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  return createGeneric(
      rewriter, op.getLoc(), type, Combiner::None, sum, identity, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Body body(b);
        Value count = body.constant(1);
        for (unsigned i = 0; i + 2 < x.size(); ++i)
          count =
              arith::MulIOp::create(b, count, countPositions(body, op, i, x));
        Value integer = arith::IndexCastOp::create(b, b.getI64Type(), count);
        Value real = arith::SIToFPOp::create(b, args[0].getType(), integer);
        return arith::DivFOp::create(b, args[0], real);
      });
}

/// The p-th root of window sums of p-th powers.
static Value takeRoot(PoolOp op, Value sum, RewriterBase &rewriter) {
  auto type = cast<RankedTensorType>(sum.getType());
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  return createGeneric(
      rewriter, op.getLoc(), type, Combiner::None, sum, identity, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        if (op.getP() == 1)
          return args[0];
        if (op.getP() == 2)
          return math::SqrtOp::create(b, args[0]);
        Value inverse = Body(b).real(args[0].getType(), 1.0 / op.getP());
        return math::PowFOp::create(b, args[0], inverse);
      });
}

LogicalResult decomposition::decomposeWindow(PoolOp op,
                                             RewriterBase &rewriter) {
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> x = getDims(op.getInput().getType());
  RankedTensorType type = op.getResult().getType();
  Type element = op.getInput().getType().getElementType();
  bool isUnsigned = element.isUnsignedInteger();
  PoolKind kind = op.getKind();
  Type compute =
      kind == PoolKind::Max ? getScalarType(element) : getComputeType(element);
  unsigned rank = type.getRank();
  SmallVector<AffineExpr> over;
  for (int64_t size : op.getKernel())
    over.push_back(getAffineConstantExpr(size, context));
  // A maximum keeps the element type, so that unsigned compares as such.
  Type resultElement = kind == PoolKind::Max ? element : compute;
  auto window = createGeneric(
      rewriter, op.getLoc(), makeTensorType(getDims(type), resultElement),
      kind == PoolKind::Max ? Combiner::Max : Combiner::Sum, {}, {},
      op.getInput(), over, [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Body body(b);
        SmallVector<Value> at{body.index(0)};
        unsigned first = op.getChannelsLast() ? 1 : 2;
        if (!op.getChannelsLast())
          at.push_back(body.index(1));
        Value inside;
        for (unsigned i = 0; i + 2 < rank; ++i) {
          Value start = body.affine(body.index(first + i), op.getStrides()[i],
                                    -op.getPads()[i]);
          Value offset =
              body.affine(body.index(rank + i), op.getDilations()[i], 0);
          at.push_back(body.add(start, offset));
          inside = body.inRange(inside, at.back(), body.extent(x[first + i]));
        }
        if (op.getChannelsLast())
          at.push_back(body.index(rank - 1));
        Value neutral =
            kind == PoolKind::Max
                ? lowest(b, compute, isUnsigned)
                : Value(arith::ConstantOp::create(b, b.getZeroAttr(compute)));
        return body.guarded(inside, neutral, [&]() -> Value {
          Value value = ReadOp::create(b, getScalarType(element), args[0], at);
          value = body.widen(value, isUnsigned, compute);
          if (kind != PoolKind::Lp)
            return value;
          Value magnitude = math::AbsFOp::create(b, value);
          Value power = magnitude;
          for (uint64_t i = 1; i < op.getP(); ++i)
            power = arith::MulFOp::create(b, power, magnitude);
          return power;
        });
      });
  Value result = window;
  if (kind == PoolKind::Average)
    result = divideByCount(op, result, rewriter);
  else if (kind == PoolKind::Lp)
    result = takeRoot(op, result, rewriter);
  rewriter.replaceOp(
      op, castTo(rewriter, op.getLoc(), result, type.getElementType()));
  return success();
}
