//===- DecomposeQuantized.cpp - quantized operations as generics *- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Dialect/QCC/SmallFloat.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

/// How a scale or zero point of `operand` dimensions is read for an element of
/// a tensor of rank `rank`: one for all, one per index of the axis, or one per
/// block of it.
static AffineMap getScaleMap(ArrayRef<AffineExpr> operand, unsigned rank,
                             unsigned axis, int64_t block,
                             MLIRContext *context) {
  SmallVector<AffineExpr> reads;
  bool single = llvm::all_of(
      operand, [](AffineExpr dim) { return getConstantSize(dim) == 1; });
  if (block == 0 || operand.empty()) {
    if (!operand.empty())
      reads.push_back(single ? getAffineConstantExpr(0, context)
                             : getAffineDimExpr(axis, context));
    return makeMap(rank, reads, context);
  }
  for (unsigned i = 0; i < operand.size(); ++i) {
    AffineExpr dim = getAffineDimExpr(i, context);
    reads.push_back(i == axis ? dim.floorDiv(block) : dim);
  }
  return makeMap(rank, reads, context);
}

namespace {
/// Floats and integers as f32 and i32 in a body.
struct Scalars {
  ImplicitLocOpBuilder &b;
  Type f32 = b.getF32Type(), i32 = b.getI32Type();

  /// An element of any type that is no wider than 32 bits as f32.
  Value real(Value x, Type elementType) {
    if (isSmallFloat(elementType))
      return decodeSmallFloat(b, x, elementType);
    return Body(b).widen(x, isUnsigned(elementType), f32);
  }
  Value integer(Value x, Type elementType) {
    return Body(b).widen(x, isUnsigned(elementType), i32);
  }
  static bool isUnsigned(Type elementType) {
    return elementType.isUnsignedInteger() || elementType.isInteger(1);
  }
  /// Rounds an f32 to `type` and back.
  Value through(Value x, Type type) {
    Body body(b);
    return type.isF32() ? x : body.widen(body.narrow(x, type), false, f32);
  }
};

/// The least and the largest integer of a type as f32.
std::pair<double, double> getRange(Type type) {
  unsigned width = type.getIntOrFloatBitWidth();
  if (type.isUnsignedInteger())
    return {0, std::ldexp(1.0, static_cast<int>(width)) - 1};
  double top = std::ldexp(1.0, static_cast<int>(width) - 1);
  return {-top, top - 1};
}
} // namespace

/// round(steps) + zero, saturated to an integer type; NaN gives the least. The
/// bounds are whole numbers, so saturating before rounding is the same.
static Value roundToInteger(Scalars scalars, Value steps, Value zero,
                            Type type) {
  ImplicitLocOpBuilder &b = scalars.b;
  Body body(b);
  auto [low, high] = getRange(type);
  Value least = body.real(scalars.f32, low),
        most = body.real(scalars.f32, high);
  if (zero) {
    Value shift = scalars.real(zero, type);
    least = arith::SubFOp::create(b, least, shift);
    most = arith::SubFOp::create(b, most, shift);
  }
  // maxnum and minnum give the bound for NaN: the conversion is defined.
  Value bounded = arith::MinNumFOp::create(
      b, arith::MaxNumFOp::create(b, steps, least), most);
  Value code = arith::FPToSIOp::create(b, scalars.i32,
                                       math::RoundEvenOp::create(b, bounded));
  if (zero)
    code = arith::AddIOp::create(b, code, scalars.integer(zero, type));
  return arith::TruncIOp::create(b, getScalarType(type), code);
}

/// `steps` plus a zero point that is mostly zero: adding one would lose the
/// sign of a zero.
static Value addSmallZero(Scalars scalars, Value steps, Value zero, Type type) {
  if (!zero)
    return steps;
  ImplicitLocOpBuilder &b = scalars.b;
  Value none = Body(b).real(scalars.f32, 0), shift = scalars.real(zero, type);
  Value isNone =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, shift, none);
  return arith::SelectOp::create(b, isNone, steps,
                                 arith::AddFOp::create(b, steps, shift));
}

LogicalResult decomposition::decomposeQuantized(QuantizeOp op,
                                                RewriterBase &rewriter) {
  RankedTensorType type = op.getResult().getType();
  unsigned rank = type.getRank();
  MLIRContext *context = op.getContext();
  Type element = type.getElementType(),
       from = op.getInput().getType().getElementType(),
       scaleType = op.getScale().getType().getElementType();
  Type precision = op.getPrecision().value_or(Float32Type::get(context));
  SmallVector<Value> inputs(op->getOperands());
  SmallVector<AffineMap> maps{rewriter.getMultiDimIdentityMap(rank)};
  for (Value operand : ArrayRef(inputs).drop_front())
    maps.push_back(getScaleMap(getDims(operand.getType()), rank, op.getAxis(),
                               op.getBlock(), context));
  rewriter.replaceOp(
      op,
      createGeneric(
          rewriter, op.getLoc(), type, Combiner::None, inputs, maps, {}, {},
          [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
            Scalars scalars{b};
            Value x = scalars.through(scalars.real(args[0], from), precision);
            Value scale =
                scalars.through(scalars.real(args[1], scaleType), precision);
            Value steps =
                scalars.through(arith::DivFOp::create(b, x, scale), precision);
            Value zero = op.getZero() ? args[2] : Value();
            if (!isSmallFloat(element))
              return roundToInteger(scalars, steps, zero, element);
            SmallFloatRounding rounding;
            rounding.saturate = !op.getOverflow();
            return encodeSmallFloat(b,
                                    addSmallZero(scalars, steps, zero, element),
                                    element, rounding);
          }));
  return success();
}

LogicalResult decomposition::decomposeQuantized(DequantizeOp op,
                                                RewriterBase &rewriter) {
  RankedTensorType type = op.getResult().getType();
  unsigned rank = type.getRank();
  MLIRContext *context = op.getContext();
  Type from = op.getInput().getType().getElementType(),
       scaleType = op.getScale().getType().getElementType();
  SmallVector<Value> inputs(op->getOperands());
  SmallVector<AffineMap> maps{rewriter.getMultiDimIdentityMap(rank)};
  for (Value operand : ArrayRef(inputs).drop_front())
    maps.push_back(getScaleMap(getDims(operand.getType()), rank, op.getAxis(),
                               op.getBlock(), context));
  rewriter.replaceOp(
      op,
      createGeneric(rewriter, op.getLoc(), type, Combiner::None, inputs, maps,
                    {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange args) {
                      Scalars scalars{b};
                      Value steps;
                      Type zeroType =
                          op.getZero() ? op.getZero().getType().getElementType()
                                       : Type();
                      if (isa<IntegerType>(from) &&
                          (!zeroType || isa<IntegerType>(zeroType))) {
                        steps = scalars.integer(args[0], from);
                        if (zeroType)
                          steps = arith::SubIOp::create(
                              b, steps, scalars.integer(args[2], zeroType));
                        steps = arith::SIToFPOp::create(b, scalars.f32, steps);
                      } else {
                        steps = scalars.real(args[0], from);
                        if (zeroType)
                          steps = arith::SubFOp::create(
                              b, steps, scalars.real(args[2], zeroType));
                      }
                      Value value = arith::MulFOp::create(
                          b, steps, scalars.real(args[1], scaleType));
                      return Body(b).narrow(value, type.getElementType());
                    }));
  return success();
}

/// What passes noted for the report of an operation holds of the sums that take
/// its place.
static void keepNotes(Operation *from, Operation *to) {
  for (StringRef name : {"qcc.requested", "qcc.executed", "qcc.reason"})
    if (Attribute note = from->getAttr(name))
      to->setAttr(name, note);
}

/// How an operand of a product (or its zero point) is read: dimensions of size
/// 1 broadcast, the others are aligned at the end with batch, row and column.
static AffineMap getProductMap(Value operand, unsigned rank, AffineExpr row,
                               AffineExpr column) {
  MLIRContext *context = operand.getContext();
  SmallVector<AffineExpr> at;
  for (unsigned i = 0; i + 2 < rank; ++i)
    at.push_back(getAffineDimExpr(i, context));
  llvm::append_values(at, row, column);
  SmallVector<AffineExpr> dims = getDims(operand.getType()), reads;
  for (size_t i = 0; i < dims.size(); ++i)
    reads.push_back(getConstantSize(dims[i]) == 1
                        ? getAffineConstantExpr(0, context)
                        : at[at.size() - dims.size() + i]);
  return makeMap(rank + 1, reads, context);
}

/// An element as i32, less its zero point where there is one.
static Value subtractZero(ImplicitLocOpBuilder &b, Value x, Type type,
                          Value zero) {
  Scalars scalars{b};
  Value wide = scalars.integer(x, type);
  return zero ? Value(
                    arith::SubIOp::create(b, wide, scalars.integer(zero, type)))
              : wide;
}

LogicalResult decomposition::decomposeQuantized(IntMatMulOp op,
                                                RewriterBase &rewriter) {
  RankedTensorType type = op.getResult().getType();
  unsigned rank = type.getRank();
  MLIRContext *context = op.getContext();
  AffineExpr m = getAffineDimExpr(rank - 2, context),
             n = getAffineDimExpr(rank - 1, context),
             k = getAffineDimExpr(rank, context);
  SmallVector<Value> inputs{op.getLhs(), op.getRhs()};
  SmallVector<AffineMap> maps{getProductMap(op.getLhs(), rank, m, k),
                              getProductMap(op.getRhs(), rank, k, n)};
  if (Value zero = op.getLhsZero()) {
    inputs.push_back(zero);
    maps.push_back(getProductMap(zero, rank, m, k));
  }
  if (Value zero = op.getRhsZero()) {
    inputs.push_back(zero);
    maps.push_back(getProductMap(zero, rank, k, n));
  }
  AffineExpr inner = getDims(op.getLhs().getType()).back();
  auto sums = createGeneric(
      rewriter, op.getLoc(), type, Combiner::Sum, inputs, maps, {}, inner,
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value left =
            subtractZero(b, args[0], op.getLhs().getType().getElementType(),
                         op.getLhsZero() ? args[2] : Value());
        Value right =
            subtractZero(b, args[1], op.getRhs().getType().getElementType(),
                         op.getRhsZero() ? args.back() : Value());
        return arith::MulIOp::create(b, left, right);
      });
  keepNotes(op, sums);
  rewriter.replaceOp(op, sums);
  return success();
}

/// A convolution with the channels last as one with them second, between
/// copies.
static LogicalResult moveChannels(IntConvOp op, RewriterBase &rewriter) {
  auto rank = op.getInput().getType().getRank();
  SmallVector<int64_t> second{0, rank - 1}, last{0};
  for (int64_t i = 1; i < rank - 1; ++i) {
    second.push_back(i);
    last.push_back(i + 1);
  }
  last.push_back(1);
  Location loc = op.getLoc();
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType()), moved;
  for (int64_t i : second)
    moved.push_back(dims[i]);
  Value input = permute(rewriter, loc, op.getInput(), second).getResult();
  auto conv = IntConvOp::create(
      rewriter, loc, makeTensorType(moved, rewriter.getI32Type()), input,
      op.getWeight(), op.getInputZero(), op.getWeightZero(), op.getStrides(),
      op.getPads(), op.getDilations(), op.getGroups(),
      /*channels_last=*/false);
  keepNotes(op, conv);
  rewriter.replaceOp(op, permute(rewriter, loc, conv.getResult(), last));
  return decomposition::decomposeQuantized(conv, rewriter);
}

/// Dimensions: n, o, out..., c, k... . Reads outside the input count as its
/// zero point, which is nothing.
LogicalResult decomposition::decomposeQuantized(IntConvOp op,
                                                RewriterBase &rewriter) {
  if (op.getChannelsLast())
    return moveChannels(op, rewriter);
  rewriter.setInsertionPoint(op);
  MLIRContext *context = op.getContext();
  SmallVector<AffineExpr> x = getDims(op.getInput().getType()),
                          w = getDims(op.getWeight().getType());
  RankedTensorType type = op.getResult().getType();
  unsigned rank = type.getRank(), spatial = rank - 2, numDims = 2 * rank - 1;
  SmallVector<AffineExpr> over(w.begin() + 1, w.end()),
      weightReads{getAffineDimExpr(1, context)};
  for (unsigned i = 0; i <= spatial; ++i)
    weightReads.push_back(getAffineDimExpr(rank + i, context));
  SmallVector<Value> inputs{op.getWeight()};
  SmallVector<AffineMap> maps{makeMap(numDims, weightReads, context)};
  if (Value zero = op.getInputZero()) {
    inputs.push_back(zero);
    maps.push_back(makeMap(numDims, {}, context));
  }
  if (TypedValue<RankedTensorType> zero = op.getWeightZero()) {
    inputs.push_back(zero);
    SmallVector<AffineExpr> reads;
    if (zero.getType().getRank() == 1)
      reads.push_back(getAffineDimExpr(1, context));
    maps.push_back(makeMap(numDims, reads, context));
  }
  AffineExpr perGroup = w[0].floorDiv(op.getGroups());
  Type inputType = op.getInput().getType().getElementType(),
       weightType = op.getWeight().getType().getElementType();
  auto sum = createGeneric(
      rewriter, op.getLoc(), type, Combiner::Sum, inputs, maps, op.getInput(),
      over, [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        Value channel = body.index(rank);
        if (op.getGroups() != 1) {
          Value group =
              arith::DivSIOp::create(b, body.index(1), body.extent(perGroup));
          channel = body.add(arith::MulIOp::create(b, group, body.extent(w[1])),
                             channel);
        }
        SmallVector<Value> at{body.index(0), channel};
        Value inside, zero = body.constant(0);
        for (unsigned i = 0; i < spatial; ++i) {
          Value position = body.add(
              body.affine(body.index(2 + i), op.getStrides()[i],
                          -op.getPads()[i]),
              body.affine(body.index(rank + 1 + i), op.getDilations()[i], 0));
          Value size = body.extent(x[2 + i]);
          if (op.getPads()[i] != 0 || op.getPads()[spatial + i] != 0) {
            inside = body.inRange(inside, position, size);
            Value last = arith::SubIOp::create(b, size, body.constant(1));
            position = arith::MaxSIOp::create(
                b, arith::MinSIOp::create(b, position, last), zero);
          }
          at.push_back(position);
        }
        Value read =
            ReadOp::create(b, getScalarType(inputType), args.back(), at);
        Value left = subtractZero(b, read, inputType,
                                  op.getInputZero() ? args[1] : Value());
        Value right = subtractZero(
            b, args[0], weightType,
            op.getWeightZero() ? args[op.getInputZero() ? 2 : 1] : Value());
        Value product = arith::MulIOp::create(b, left, right);
        if (!inside)
          return product;
        Value nothing =
            arith::ConstantOp::create(b, b.getZeroAttr(b.getI32Type()));
        return arith::SelectOp::create(b, inside, product, nothing);
      });
  keepNotes(op, sum);
  rewriter.replaceOp(op, sum);
  return success();
}
