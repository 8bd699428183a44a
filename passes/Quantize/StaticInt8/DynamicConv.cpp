//===- DynamicConv.cpp - convolutions with scales of samples ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels take one zero point for all samples. Where there are several, it is
// taken away after the sum, and padding is made of it before; where there is
// one sample, or no element is negative and zero points are 0, nothing of that
// is needed. The integers are the same.
//
//===----------------------------------------------------------------------===//
#include "DynamicConv.h"
#include "Activations.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

/// Operations and scalars that are looked at for a sign.
static constexpr unsigned kMaxVisited = 256;
/// How deep.
static constexpr unsigned kMaxDepth = 16;
/// Largest code of an activation.
static constexpr double kMaxCode = 255;
/// Least scale: it and its reciprocal are finite and normal.
static constexpr double kLeastScale = 0x1p-126;
/// Columns of SampleCodes::numbers.
enum Column : int64_t { Scale, Reciprocal, Zero };

//===----------------------------------------------------------------------===//
// Signs
//===----------------------------------------------------------------------===//

namespace {
/// Looks for a sign with an effort that is bounded.
class SignFinder {
public:
  bool isNeverNegative(Value value, unsigned depth = 0);

private:
  bool isNeverNegative(GenericOp op, Value scalar, unsigned depth);
  bool isLost(unsigned depth) {
    return depth > kMaxDepth || ++visited > kMaxVisited;
  }

  unsigned visited = 0;
};
} // namespace

/// The same of a scalar in a generic's body.
bool SignFinder::isNeverNegative(GenericOp op, Value scalar, unsigned depth) {
  if (isLost(depth))
    return false;
  if (auto argument = dyn_cast<BlockArgument>(scalar))
    return argument.getArgNumber() < op.getInputs().size() &&
           isNeverNegative(op.getInputs()[argument.getArgNumber()], depth + 1);
  APFloat number(0.0f);
  if (matchPattern(scalar, m_ConstantFloat(&number)))
    return number.isNaN() || number.isZero() || !number.isNegative();
  Operation *inner = scalar.getDefiningOp();
  auto holds = [&](Value operand) {
    return isNeverNegative(op, operand, depth + 1);
  };
  if (isa<arith::MaximumFOp>(inner))
    return llvm::any_of(inner->getOperands(), holds);
  // No quotients: that by a zero with a sign is below zero.
  if (isa<arith::MinimumFOp, arith::AddFOp, arith::MulFOp>(inner))
    return llvm::all_of(inner->getOperands(), holds);
  return isa<math::AbsFOp, math::ExpOp, math::SqrtOp>(inner);
}

bool SignFinder::isNeverNegative(Value value, unsigned depth) {
  Operation *op = value.getDefiningOp();
  if (!op || isLost(depth))
    return false;
  if (auto generic = dyn_cast<GenericOp>(op)) {
    Combiner combiner = generic.getCombiner();
    return (combiner == Combiner::None || combiner == Combiner::Sum) &&
           isNeverNegative(generic, generic.getYielded(), depth + 1);
  }
  return isa<PoolOp, ConcatOp, ReshapeOp>(op) &&
         llvm::all_of(op->getOperands(), [&](Value operand) {
           return isNeverNegative(operand, depth + 1);
         });
}

bool qcc::isNeverNegative(Value value) {
  return SignFinder().isNeverNegative(value);
}

//===----------------------------------------------------------------------===//
// Ranges
//===----------------------------------------------------------------------===//

namespace {
/// Scalars of a body.
struct Scalars {
  ImplicitLocOpBuilder &b;
  Type f32 = b.getF32Type(), i32 = b.getI32Type();

  Value real(double value) {
    return arith::ConstantOp::create(b, b.getF32FloatAttr(float(value)));
  }
  Value integer(int64_t value) {
    return arith::ConstantOp::create(b, b.getI32IntegerAttr(int32_t(value)));
  }
  /// The bits of floats below zero turned, so that their order as integers is
  /// that of the floats, with NaN at both ends; it undoes itself.
  Value order(Value bits) {
    Value sign = arith::ShRSIOp::create(b, bits, integer(31));
    return arith::XOrIOp::create(
        b, bits, arith::AndIOp::create(b, sign, integer(0x7fffffff)));
  }
  Value toFloat(Value bits) { return arith::BitcastOp::create(b, f32, bits); }
  /// Within two bounds, a NaN as the lower one: the conversion is defined.
  Value bound(Value x, Value low, Value high) {
    return arith::MinNumFOp::create(b, arith::MaxNumFOp::create(b, x, low),
                                    high);
  }
};
} // namespace

static AffineMap getMap(MLIRContext *context, unsigned dims,
                        ArrayRef<AffineExpr> reads) {
  return AffineMap::get(dims, 0, reads, context);
}

/// A constant vector.
static Value createVector(OpBuilder &b, Location loc,
                          ArrayRef<int32_t> values) {
  auto type = RankedTensorType::get({int64_t(values.size())}, b.getI32Type());
  return ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, values));
}

/// Integers [N, 1 or 2] that are ordered as floats: of the largest element of
/// each sample, and the complement of that of the least one. One pass over the
/// elements gives both: rows of an image are in cache when they are read again.
static Value findExtremes(OpBuilder &b, Location loc, Value value,
                          bool isSigned) {
  MLIRContext *context = b.getContext();
  SmallVector<AffineExpr> dims = getDims(value.getType());
  auto rank = unsigned(dims.size());
  // Rows are tasks of their own. Maxima of integers do not depend on order.
  bool hasRows = rank == 4;
  SmallVector<AffineExpr> kept{dims[0]}, over, reads(rank);
  reads[0] = getAffineDimExpr(0, context);
  if (hasRows) {
    kept.push_back(dims[2]);
    reads[2] = getAffineDimExpr(1, context);
  }
  auto side = unsigned(kept.size());
  kept.push_back(getAffineConstantExpr(isSigned ? 2 : 1, context));
  for (unsigned i = 1; i < rank; ++i)
    if (!reads[i]) {
      reads[i] = getAffineDimExpr(unsigned(kept.size() + over.size()), context);
      over.push_back(dims[i]);
    }
  auto all = unsigned(kept.size() + over.size());
  SmallVector<Value> inputs{value};
  SmallVector<AffineMap> maps{getMap(context, all, reads)};
  if (isSigned) {
    inputs.push_back(createVector(b, loc, {0, -1}));
    maps.push_back(getMap(context, all, getAffineDimExpr(side, context)));
  }
  auto element = b.getI32Type();
  Value found =
      createGeneric(
          b, loc, makeTensorType(kept, element), Combiner::Max, inputs, maps,
          {}, over,
          [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
            Scalars s{body};
            Value bits = arith::BitcastOp::create(body, s.i32, args[0]);
            if (!isSigned)
              return arith::AndIOp::create(body, bits, s.integer(0x7fffffff));
            return arith::XOrIOp::create(body, s.order(bits), args[1]);
          })
          .getResult();
  if (!hasRows)
    return found;
  AffineExpr sample = getAffineDimExpr(0, context);
  return createGeneric(b, loc, makeTensorType({kept[0], kept[2]}, element),
                       Combiner::Max, found,
                       getMap(context, 3,
                              {sample, getAffineDimExpr(2, context),
                               getAffineDimExpr(1, context)}),
                       {}, dims[2],
                       [](ImplicitLocOpBuilder &, ValueRange args) -> Value {
                         return args[0];
                       })
      .getResult();
}

/// SampleCodes::numbers of a sample's extremes. Those of nothing are the least
/// integers, which count as 0 like all that does not reach it.
static Value createNumbers(OpBuilder &b, Location loc, Value extremes,
                           bool isSigned) {
  MLIRContext *context = b.getContext();
  AffineExpr samples = getDims(extremes.getType())[0],
             sample = getAffineDimExpr(0, context);
  auto column = [&](int64_t index) {
    return getMap(context, 2, {sample, getAffineConstantExpr(index, context)});
  };
  SmallVector<Value> inputs{extremes};
  SmallVector<AffineMap> maps{column(0)};
  if (isSigned) {
    inputs.push_back(extremes);
    maps.push_back(column(1));
  }
  auto type = makeTensorType(
      {samples, getAffineConstantExpr(isSigned ? 3 : 2, context)},
      b.getF32Type());
  return createGeneric(
             b, loc, type, Combiner::None, inputs, maps, {}, {},
             [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               Scalars s{body};
               Value top = s.real(kMaxCode);
               Value high = s.toFloat(
                   arith::MaxSIOp::create(body, args[0], s.integer(0)));
               Value scale = arith::DivFOp::create(body, high, top), low;
               if (isSigned) {
                 Value least =
                     arith::MaxSIOp::create(body, args[1], s.integer(-1));
                 low = s.toFloat(s.order(
                     arith::XOrIOp::create(body, least, s.integer(-1))));
                 scale = arith::SubFOp::create(
                     body, scale, arith::DivFOp::create(body, low, top));
               }
               scale =
                   arith::MaximumFOp::create(body, scale, s.real(kLeastScale));
               Value reciprocal = arith::DivFOp::create(body, s.real(1), scale);
               auto isColumn = [&](int64_t index) -> Value {
                 return arith::CmpIOp::create(
                     body, arith::CmpIPredicate::eq,
                     IndexOp::create(body, body.getIndexType(), 1),
                     arith::ConstantIndexOp::create(body, index));
               };
               Value last = reciprocal;
               if (isSigned) {
                 Value steps = arith::MulFOp::create(
                     body, arith::NegFOp::create(body, low), reciprocal);
                 Value zero = math::RoundEvenOp::create(
                     body, s.bound(steps, s.real(0), top));
                 last = arith::SelectOp::create(body, isColumn(Reciprocal),
                                                reciprocal, zero);
               }
               return arith::SelectOp::create(body, isColumn(Scale), scale,
                                              last);
             })
      .getResult();
}

SampleCodes qcc::createSampleCodes(OpBuilder &b, Value value) {
  Location loc = value.getLoc();
  MLIRContext *context = b.getContext();
  bool isSigned = !isNeverNegative(value);
  SampleCodes result;
  result.hasZero = isSigned;
  result.numbers =
      createNumbers(b, loc, findExtremes(b, loc, value, isSigned), isSigned);
  SmallVector<AffineExpr> dims = getDims(value.getType());
  auto rank = unsigned(dims.size());
  auto column = [&](int64_t index) {
    return getMap(
        context, rank,
        {getAffineDimExpr(0, context), getAffineConstantExpr(index, context)});
  };
  SmallVector<Value> inputs{value, result.numbers};
  SmallVector<AffineMap> maps{b.getMultiDimIdentityMap(rank),
                              column(Reciprocal)};
  if (isSigned) {
    inputs.push_back(result.numbers);
    maps.push_back(column(Zero));
  }
  auto code = b.getIntegerType(8, /*isSigned=*/false);
  result.codes =
      createGeneric(b, loc, makeTensorType(dims, code), Combiner::None, inputs,
                    maps, {}, {},
                    [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                      Scalars s{body};
                      Value steps =
                          arith::MulFOp::create(body, args[0], args[1]);
                      Value low = s.real(0), high = s.real(kMaxCode);
                      if (isSigned) {
                        low = arith::SubFOp::create(body, low, args[2]);
                        high = arith::SubFOp::create(body, high, args[2]);
                      }
                      Value whole = math::RoundEvenOp::create(
                          body, s.bound(steps, low, high));
                      if (isSigned)
                        whole = arith::AddFOp::create(body, whole, args[2]);
                      return arith::TruncIOp::create(
                          body, body.getI8Type(),
                          arith::FPToSIOp::create(body, s.i32, whole));
                    })
          .getResult();
  return result;
}

//===----------------------------------------------------------------------===//
// Convolutions
//===----------------------------------------------------------------------===//

/// Codes with the channels last, and zero points around each image.
static Value padWithZeros(OpBuilder &b, Location loc, Value codes,
                          Value numbers, ArrayRef<int64_t> pads) {
  MLIRContext *context = b.getContext();
  SmallVector<AffineExpr> dims = getDims(codes.getType()), padded(dims);
  size_t spatial = pads.size() / 2;
  for (size_t i = 0; i < spatial; ++i)
    padded[i + 1] = simplifySize(dims[i + 1] + pads[i] + pads[spatial + i]);
  auto rank = unsigned(dims.size());
  auto type = makeTensorType(
      padded, cast<RankedTensorType>(codes.getType()).getElementType());
  return createGeneric(
             b, loc, type, Combiner::None, numbers,
             getMap(context, rank,
                    {getAffineDimExpr(0, context),
                     getAffineConstantExpr(Zero, context)}),
             codes, {},
             [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               Scalars s{body};
               Value zero = arith::TruncIOp::create(
                   body, body.getI8Type(),
                   arith::FPToSIOp::create(body, s.i32, args[0]));
               SmallVector<Value> at;
               Value inside, none = arith::ConstantIndexOp::create(body, 0);
               for (unsigned i = 0; i < rank; ++i) {
                 Value place = IndexOp::create(body, body.getIndexType(), i);
                 bool isPadded = i > 0 && i <= spatial &&
                                 (pads[i - 1] || pads[spatial + i - 1]);
                 if (isPadded) {
                   place = arith::SubIOp::create(
                       body, place,
                       arith::ConstantIndexOp::create(body, pads[i - 1]));
                   Value size = body.createOrFold<ExtentOp>(
                       body.getIndexType(),
                       AffineMapAttr::get(makeSizeMap({dims[i]}, context)));
                   auto compare = [&](arith::CmpIPredicate predicate,
                                      Value other) -> Value {
                     return arith::CmpIOp::create(body, predicate, place,
                                                  other);
                   };
                   Value within = arith::AndIOp::create(
                       body, compare(arith::CmpIPredicate::sge, none),
                       compare(arith::CmpIPredicate::slt, size));
                   inside =
                       inside
                           ? Value(arith::AndIOp::create(body, inside, within))
                           : within;
                   // What is read of the padding is not used, but must exist.
                   Value last = arith::SubIOp::create(
                       body, size, arith::ConstantIndexOp::create(body, 1));
                   place = arith::MaxSIOp::create(
                       body, arith::MinSIOp::create(body, place, last), none);
                 }
                 at.push_back(place);
               }
               Value code = ReadOp::create(body, body.getI8Type(), args[1], at);
               return arith::SelectOp::create(body, inside, code, zero);
             })
      .getResult();
}

/// The sums of each output channel's codes [O], a constant expression.
static Value sumCodes(OpBuilder &b, Location loc, Value codes) {
  auto type = cast<RankedTensorType>(codes.getType());
  SmallVector<AffineExpr> over;
  for (int64_t size : type.getShape().drop_front())
    over.push_back(getAffineConstantExpr(size, b.getContext()));
  auto channels = RankedTensorType::get({type.getDimSize(0)}, b.getI32Type());
  return createGeneric(
             b, loc, channels, Combiner::Sum, codes,
             b.getMultiDimIdentityMap(unsigned(type.getRank())), {}, over,
             [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               return arith::ExtSIOp::create(body, body.getI32Type(), args[0]);
             })
      .getResult();
}

/// The zero point of the only sample, a scalar.
static Value createZeroPoint(OpBuilder &b, Location loc, Value numbers) {
  MLIRContext *context = b.getContext();
  auto code = b.getIntegerType(8, /*isSigned=*/false);
  return createGeneric(
             b, loc, RankedTensorType::get({}, code), Combiner::None, numbers,
             getMap(context, 0,
                    {getAffineConstantExpr(0, context),
                     getAffineConstantExpr(Zero, context)}),
             {}, {},
             [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               return arith::TruncIOp::create(
                   body, body.getI8Type(),
                   arith::FPToSIOp::create(body, body.getI32Type(), args[0]));
             })
      .getResult();
}

/// The convolution of codes. Without `takesZero` zero points count as 0, but
/// padding holds them.
static IntConvOp convolve(OpBuilder &b, ConvOp conv, const SampleCodes &input,
                          Value weight, bool takesZero) {
  Location loc = conv.getLoc();
  SmallVector<AffineExpr> dims = getDims(conv.getResult().getType());
  Value zero;
  if (takesZero)
    zero = createZeroPoint(b, loc, input.numbers);
  auto create = [&](Value codes, ArrayRef<int64_t> pads, bool channelsLast) {
    return IntConvOp::create(b, loc, makeTensorType(dims, b.getI32Type()),
                             codes, weight, zero, /*weight_zero=*/Value(),
                             conv.getStrides(), pads, conv.getDilations(),
                             conv.getGroups(), channelsLast);
  };
  ArrayRef<int64_t> pads = conv.getPads();
  bool isPadded = llvm::any_of(pads, [](int64_t pad) { return pad != 0; });
  if (!input.hasZero || takesZero || !isPadded)
    return create(input.codes, pads, /*channelsLast=*/false);
  auto rank = int64_t(dims.size());
  SmallVector<int64_t> last{0};
  for (int64_t i = 2; i < rank; ++i)
    last.push_back(i);
  last.push_back(1);
  Value codes =
      padWithZeros(b, loc, permute(b, loc, input.codes, last).getResult(),
                   input.numbers, pads);
  std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  SmallVector<int64_t> none(pads.size(), 0);
  return create(codes, none, /*channelsLast=*/true);
}

/// Sums of codes as floats: less the zero points where `weight` is given, times
/// the scales of sample and channel.
static Value scaleSums(OpBuilder &b, Location loc, Value sums, Value numbers,
                       Value scale, Value weight) {
  MLIRContext *context = b.getContext();
  SmallVector<AffineExpr> dims = getDims(sums.getType());
  auto rank = unsigned(dims.size());
  AffineExpr sample = getAffineDimExpr(0, context);
  AffineMap channel = getMap(context, rank, getAffineDimExpr(1, context));
  auto column = [&](int64_t index) {
    return getMap(context, rank,
                  {sample, getAffineConstantExpr(index, context)});
  };
  SmallVector<Value> inputs{sums, scale, numbers};
  SmallVector<AffineMap> maps{b.getMultiDimIdentityMap(rank), channel,
                              column(Scale)};
  if (weight) {
    llvm::append_values(inputs, numbers, sumCodes(b, loc, weight));
    llvm::append_values(maps, column(Zero), channel);
  }
  return createGeneric(
             b, loc, makeTensorType(dims, b.getF32Type()), Combiner::None,
             inputs, maps, {}, {},
             [&](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
               Scalars s{body};
               Value sum = args[0];
               if (weight) {
                 Value zero = arith::FPToSIOp::create(body, s.i32, args[3]);
                 sum = arith::SubIOp::create(
                     body, sum, arith::MulIOp::create(body, zero, args[4]));
               }
               Value factor = arith::MulFOp::create(body, args[1], args[2]);
               return arith::MulFOp::create(
                   body, arith::SIToFPOp::create(body, s.f32, sum), factor);
             })
      .getResult();
}

IntConvOp qcc::makeDynamic(ConvOp conv, const SampleCodes &input,
                           bool pairsFit) {
  OpBuilder b(conv);
  Location loc = conv.getLoc();
  auto floats =
      quantizeWeight(b, conv, {}, {8, pairsFit}).getDefiningOp<DequantizeOp>();
  Value weight = floats.getInput(), scale = floats.getScale();
  floats.erase();
  bool takesZero = input.hasZero &&
                   getConstantSize(getDims(conv.getInput().getType())[0]) == 1;
  IntConvOp convolved = convolve(b, conv, input, weight, takesZero);
  if (weight.getDefiningOp()->hasAttr(kPairsFitAttr))
    convolved->setAttr(kPairsFitAttr, b.getUnitAttr());
  Value sums = convolved.getResult();
  if (convolved.getChannelsLast()) {
    auto rank = int64_t(conv.getResult().getType().getRank());
    SmallVector<int64_t> second{0, rank - 1};
    for (int64_t i = 1; i + 1 < rank; ++i)
      second.push_back(i);
    sums = permute(b, loc, sums, second).getResult();
  }
  bool subtracts = input.hasZero && !takesZero;
  conv.getResult().replaceAllUsesWith(scaleSums(
      b, loc, sums, input.numbers, scale, subtracts ? weight : Value()));
  conv.erase();
  return convolved;
}
