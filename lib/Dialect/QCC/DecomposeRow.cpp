//===- DecomposeRow.cpp - row-wise operations as generics -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"
#include "qcc/Dialect/QCC/SmallFloat.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

namespace {
/// Generics over the rows (last dimension) of one tensor.
struct Rows {
  Rows(RewriterBase &rewriter, Location loc, Value input)
      : rewriter(rewriter), loc(loc), input(input),
        type(cast<RankedTensorType>(input.getType())), dims(getDims(type)),
        rank(dims.size()), compute(getComputeType(type.getElementType())),
        identity(rewriter.getMultiDimIdentityMap(rank)),
        rowMap(leading(rank, rank - 1, rewriter.getContext())),
        rowType(makeTensorType(ArrayRef(dims).drop_back(), compute)),
        computeType(makeTensorType(dims, compute)) {}

  using BodyFn = llvm::function_ref<Value(ImplicitLocOpBuilder &, ValueRange)>;

  /// Combines each row of `value`, which has the shape of the input; `rows`
  /// have one element per row.
  Value reduce(Combiner combiner, ValueRange values, ValueRange rows,
               BodyFn body) {
    return createGeneric(rewriter, loc, rowType, combiner, all(values, rows),
                         maps(values, rows), {}, dims.back(), body);
  }
  /// Computes a tensor of the input's shape.
  Value map(ValueRange values, ValueRange rows, BodyFn body) {
    return createGeneric(rewriter, loc, computeType, Combiner::None,
                         all(values, rows), maps(values, rows), {}, {}, body);
  }
  SmallVector<Value> all(ValueRange values, ValueRange rows) {
    SmallVector<Value> inputs(values);
    llvm::append_range(inputs, rows);
    return inputs;
  }
  SmallVector<AffineMap> maps(ValueRange values, ValueRange rows) {
    SmallVector<AffineMap> result(values.size(), identity);
    result.append(rows.size(), rowMap);
    return result;
  }
  /// The number of elements in a row, as a float.
  Value length(ImplicitLocOpBuilder &b) {
    Value size = Body(b).extent(dims.back());
    Value integer = arith::IndexCastOp::create(b, b.getI64Type(), size);
    return arith::SIToFPOp::create(b, compute, integer);
  }

  RewriterBase &rewriter;
  Location loc;
  Value input;
  RankedTensorType type;
  SmallVector<AffineExpr> dims;
  unsigned rank;
  Type compute;
  AffineMap identity, rowMap;
  RankedTensorType rowType, computeType;
};
} // namespace

/// Subtracts the maximum of the row first, so that exp cannot overflow.
LogicalResult decomposition::decomposeRow(SoftmaxOp op,
                                          RewriterBase &rewriter) {
  Location loc = op.getLoc();
  Rows rows(rewriter, loc, op.getInput());
  auto widened = [&](ImplicitLocOpBuilder &b, Value v) {
    return Body(b).widen(v, false, rows.compute);
  };
  Value max = rows.reduce(Combiner::Max, op.getInput(), {},
                          [&](ImplicitLocOpBuilder &b, ValueRange args) {
                            return widened(b, args[0]);
                          });
  auto shifted = [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
    return arith::SubFOp::create(b, widened(b, args[0]), args[1]);
  };
  Value sum =
      rows.reduce(Combiner::Sum, op.getInput(), max,
                  [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                    return math::ExpOp::create(b, shifted(b, args));
                  });
  Value result = rows.map(
      op.getInput(), {max, sum},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value x = shifted(b, args);
        if (op.getLog())
          return arith::SubFOp::create(b, x, math::LogOp::create(b, args[2]));
        return arith::DivFOp::create(b, math::ExpOp::create(b, x), args[2]);
      });
  rewriter.replaceOp(op, castTo(rewriter, loc, result,
                                op.getResult().getType().getElementType()));
  return success();
}

LogicalResult decomposition::decomposeRow(NormOp op, RewriterBase &rewriter) {
  Location loc = op.getLoc();
  Rows rows(rewriter, loc, op.getInput());
  bool layer = op.getKind() == NormKind::Layer;
  AffineMap identity = rewriter.getMultiDimIdentityMap(rows.rank - 1);
  auto perRow = [&](Value value, Rows::BodyFn body) -> Value {
    return createGeneric(rewriter, loc, rows.rowType, Combiner::None, value,
                         identity, {}, {}, body);
  };
  SmallVector<Value> mean;
  if (layer) {
    Value sum =
        rows.reduce(Combiner::Sum, op.getInput(), {},
                    [&](ImplicitLocOpBuilder &b, ValueRange args) {
                      return Body(b).widen(args[0], false, rows.compute);
                    });
    mean.push_back(
        perRow(sum, [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
          return arith::DivFOp::create(b, args[0], rows.length(b));
        }));
  }
  auto centred = [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
    Value x = Body(b).widen(args[0], false, rows.compute);
    return layer ? Value(arith::SubFOp::create(b, x, args[1])) : x;
  };
  Value squares =
      rows.reduce(Combiner::Sum, op.getInput(), mean,
                  [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                    Value x = centred(b, args);
                    return arith::MulFOp::create(b, x, x);
                  });
  Value deviation =
      perRow(squares, [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value square = arith::DivFOp::create(b, args[0], rows.length(b));
        Value epsilon =
            Body(b).real(rows.compute, op.getEpsilon().convertToFloat());
        return math::SqrtOp::create(b,
                                    arith::AddFOp::create(b, square, epsilon));
      });
  SmallVector<Value> factors(mean);
  factors.push_back(deviation);
  Value result =
      rows.map(op.getInput(), factors,
               [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                 return arith::DivFOp::create(b, centred(b, args), args.back());
               });
  rewriter.replaceOp(op, castTo(rewriter, loc, result,
                                op.getResult().getType().getElementType()));
  return success();
}

/// The first (or last) index of the best element; a NaN is better than all, as
/// in numpy.
LogicalResult decomposition::decomposeRow(ArgReduceOp op,
                                          RewriterBase &rewriter) {
  RankedTensorType inputType = op.getInput().getType();
  RankedTensorType type = op.getResult().getType();
  Type scalar = getScalarType(inputType.getElementType());
  bool isUnsigned = inputType.getElementType().isUnsignedInteger();
  unsigned axis = op.getAxis();
  AffineExpr size = getDims(inputType)[axis];

  /// True if `value` replaces `best`, which has a smaller index.
  auto better = [&](ImplicitLocOpBuilder &b, Value value, Value best) -> Value {
    bool less = op.getSmallest(), equal = op.getSelectLast();
    if (isa<FloatType>(scalar)) {
      auto predicate =
          less
              ? (equal ? arith::CmpFPredicate::OLE : arith::CmpFPredicate::OLT)
              : (equal ? arith::CmpFPredicate::OGE : arith::CmpFPredicate::OGT);
      Value wins = arith::CmpFOp::create(b, predicate, value, best);
      Value isNaN =
          arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, value, value);
      Value wasNaN =
          arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, best, best);
      Value notYet = arith::XOrIOp::create(
          b, wasNaN, arith::ConstantOp::create(b, b.getBoolAttr(true)));
      Value firstNaN = arith::AndIOp::create(b, isNaN, notYet);
      return arith::OrIOp::create(b, wins, firstNaN);
    }
    using P = arith::CmpIPredicate;
    P signedLess = equal ? P::sle : P::slt,
      signedMore = equal ? P::sge : P::sgt;
    P unsignedLess = equal ? P::ule : P::ult,
      unsignedMore = equal ? P::uge : P::ugt;
    P predicate = isUnsigned ? (less ? unsignedLess : unsignedMore)
                             : (less ? signedLess : signedMore);
    return arith::CmpIOp::create(b, predicate, value, best);
  };

  auto result = createGeneric(
      rewriter, op.getLoc(), type, Combiner::None, {}, {}, op.getInput(), {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        bool keeps = type.getRank() == inputType.getRank();
        SmallVector<Value> at;
        for (unsigned i = 0, o = 0; i < inputType.getRank(); ++i) {
          bool reduced = i == axis;
          at.push_back(reduced ? body.constant(0) : body.index(o));
          if (!reduced || keeps)
            ++o;
        }
        Value zero = body.constant(0), one = body.constant(1);
        Value first = ReadOp::create(b, scalar, args[0], at);
        auto loop = scf::ForOp::create(b, one, body.extent(size), one,
                                       ValueRange{first, zero});
        {
          OpBuilder::InsertionGuard guard(b);
          b.setInsertionPointToStart(loop.getBody());
          at[axis] = loop.getInductionVar();
          Value value = ReadOp::create(b, scalar, args[0], at);
          Value wins = better(b, value, loop.getRegionIterArg(0));
          Value best =
              arith::SelectOp::create(b, wins, value, loop.getRegionIterArg(0));
          Value index = arith::SelectOp::create(b, wins, loop.getInductionVar(),
                                                loop.getRegionIterArg(1));
          scf::YieldOp::create(b, ValueRange{best, index});
        }
        return arith::IndexCastOp::create(
            b, getScalarType(type.getElementType()), loop.getResult(1));
      });
  rewriter.replaceOp(op, result);
  return success();
}

/// codes = round-half-even(x * (127 / max|x|)), per group.
LogicalResult decomposition::decomposeRow(QuantizeRowsOp op,
                                          RewriterBase &rewriter) {
  Location loc = op.getLoc();
  MLIRContext *context = op.getContext();
  RankedTensorType codesType = op.getCodes().getType(),
                   scalesType = op.getScales().getType();
  SmallVector<AffineExpr> dims = getDims(op.getInput().getType());
  unsigned rank = dims.size();
  AffineExpr group = op.getGroup()
                         ? getAffineConstantExpr(op.getGroup(), context)
                         : dims.back();
  Type f32 = rewriter.getF32Type();

  // Reductions run over (..., group, element of the group).
  SmallVector<AffineExpr> exprs;
  for (unsigned i = 0; i + 1 < rank; ++i)
    exprs.push_back(getAffineDimExpr(i, context));
  SmallVector<AffineExpr> scaleExprs(exprs);
  AffineExpr last = getAffineDimExpr(rank - 1, context);
  AffineExpr within = getAffineDimExpr(rank, context);
  bool whole = op.getGroup() == 0;
  exprs.push_back(whole ? within : last * op.getGroup() + within);
  AffineMap inputMap = makeMap(rank + 1, exprs, context);
  scaleExprs.push_back(whole ? getAffineConstantExpr(0, context)
                             : last.floorDiv(op.getGroup()));
  AffineMap scaleMap = makeMap(rank, scaleExprs, context);

  // The last group may be shorter: what is not there counts as 0.
  std::optional<int64_t> length = getConstantSize(dims.back());
  bool ragged =
      !whole && (!length || *length % static_cast<int64_t>(op.getGroup()));
  auto reduce = [&](RankedTensorType type, Combiner combiner, Value input,
                    function_ref<Value(ImplicitLocOpBuilder &, Value)> body) {
    ValueRange operand(input), none;
    Type element = cast<RankedTensorType>(input.getType()).getElementType();
    return createGeneric(
        rewriter, loc, type, combiner, ragged ? none : operand,
        ragged ? ArrayRef<AffineMap>() : ArrayRef(inputMap),
        ragged ? operand : none, group,
        [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
          if (!ragged)
            return body(b, args[0]);
          Body at(b);
          SmallVector<Value> indices;
          for (unsigned i = 0; i + 1 < rank; ++i)
            indices.push_back(at.index(i));
          indices.push_back(at.add(
              at.affine(at.index(rank - 1), op.getGroup(), 0), at.index(rank)));
          Value inside = at.inRange({}, indices.back(), at.extent(dims.back()));
          Value zero = arith::ConstantOp::create(b, b.getZeroAttr(element));
          return body(b, at.guarded(inside, zero, [&]() -> Value {
            return ReadOp::create(b, element, args[0], indices);
          }));
        });
  };
  Value max =
      reduce(makeTensorType(getDims(scalesType), f32), Combiner::Max,
             op.getInput(), [&](ImplicitLocOpBuilder &b, Value x) -> Value {
               return math::AbsFOp::create(b, Body(b).widen(x, false, f32));
             });
  AffineMap identity = rewriter.getMultiDimIdentityMap(rank);
  Value scales = createGeneric(
      rewriter, loc, scalesType, Combiner::None, max, identity, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return arith::DivFOp::create(b, args[0], Body(b).real(f32, 127.0));
      });
  Value codes = createGeneric(
      rewriter, loc, codesType, Combiner::None, {op.getInput(), max},
      {identity, scaleMap}, {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Body body(b);
        Value zero = body.real(f32, 0.0);
        Value inverse =
            arith::DivFOp::create(b, body.real(f32, 127.0), args[1]);
        Value scaled =
            arith::MulFOp::create(b, body.widen(args[0], false, f32), inverse);
        Value isZero =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, args[1], zero);
        scaled = arith::SelectOp::create(b, isZero, zero, scaled);
        Value rounded = math::RoundEvenOp::create(b, scaled);
        Value code = arith::FPToSIOp::create(b, b.getI32Type(), rounded);
        return body.narrow(code, b.getI8Type());
      });
  Value sums = reduce(op.getSums().getType(), Combiner::Sum, codes,
                      [&](ImplicitLocOpBuilder &b, Value code) -> Value {
                        return arith::ExtSIOp::create(b, b.getI32Type(), code);
                      });
  rewriter.replaceOp(op, {codes, scales, sums});
  return success();
}

//===----------------------------------------------------------------------===//
// Floats of 8 bits
//===----------------------------------------------------------------------===//

/// The map of a row's place to its scale.
static AffineMap getScaleMap(unsigned rank, MLIRContext *context) {
  SmallVector<AffineExpr> read;
  for (unsigned i = 0; i + 1 < rank; ++i)
    read.push_back(getAffineDimExpr(i, context));
  read.push_back(getAffineConstantExpr(0, context));
  return AffineMap::get(rank, 0, read, context);
}

RoundedTokens qcc::roundTokens(OpBuilder &builder, Location loc, Value input,
                               FloatType format) {
  MLIRContext *context = builder.getContext();
  auto type = cast<RankedTensorType>(input.getType());
  SmallVector<AffineExpr> dims = getDims(type);
  unsigned rank = unsigned(dims.size());
  AffineMap identity = builder.getMultiDimIdentityMap(rank),
            row = leading(rank, rank - 1, context);
  Type real = builder.getF32Type();
  Value largest = createGeneric(
      builder, loc, makeTensorType(ArrayRef(dims).drop_back(), real),
      Combiner::Max, input, identity, {}, dims.back(),
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return math::AbsFOp::create(b, args[0]);
      });
  SmallVector<AffineExpr> scaleDims = dims;
  scaleDims.back() = getAffineConstantExpr(1, context);
  double top =
      APFloat::getLargest(format.getFloatSemantics()).convertToDouble();
  Value scales = createGeneric(
      builder, loc, makeTensorType(scaleDims, real), Combiner::None, largest,
      row, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value scale =
            arith::DivFOp::create(b, args[0], Body(b).real(real, top));
        Value isZero = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ,
                                             scale, Body(b).real(real, 0));
        return arith::SelectOp::create(b, isZero, Body(b).real(real, 1), scale);
      });
  Value values =
      createGeneric(builder, loc, type, Combiner::None, {input, scales},
                    {identity, getScaleMap(rank, context)}, {}, {},
                    [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                      Value unit = arith::DivFOp::create(b, args[0], args[1]);
                      return decodeSmallFloat(
                          b, encodeSmallFloat(b, unit, format, {}), format);
                    });
  return {values, scales};
}

Value qcc::scaleTokens(OpBuilder &builder, Location loc, Value values,
                       Value scales) {
  auto type = cast<RankedTensorType>(values.getType());
  unsigned rank = unsigned(type.getRank());
  return createGeneric(builder, loc, type, Combiner::None, {values, scales},
                       {builder.getMultiDimIdentityMap(rank),
                        getScaleMap(rank, builder.getContext())},
                       {}, {},
                       [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                         return arith::MulFOp::create(b, args[0], args[1]);
                       });
}
