//===- Decompose.cpp - the meaning of named operations ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "DecomposeDetail.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::decomposition;

GenericOp qcc::createGeneric(
    OpBuilder &builder, Location loc, RankedTensorType type, Combiner combiner,
    ValueRange inputs, ArrayRef<AffineMap> maps, ValueRange whole,
    ArrayRef<AffineExpr> over,
    llvm::function_ref<Value(ImplicitLocOpBuilder &, ValueRange)> body) {
  MLIRContext *context = builder.getContext();
  AffineMapAttr overAttr;
  if (!over.empty())
    overAttr = AffineMapAttr::get(makeSizeMap(over, context));
  auto op =
      GenericOp::create(builder, loc, type, combiner, inputs,
                        builder.getAffineMapArrayAttr(maps), whole, overAttr);
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&op.getBody());
  for (Value input : inputs)
    block->addArgument(
        getScalarType(cast<RankedTensorType>(input.getType()).getElementType()),
        loc);
  for (Value tensor : whole)
    block->addArgument(tensor.getType(), loc);
  ImplicitLocOpBuilder inner(loc, builder);
  YieldOp::create(inner, body(inner, block->getArguments()));
  return op;
}

//===----------------------------------------------------------------------===//
// Helpers of bodies
//===----------------------------------------------------------------------===//

Value Body::affine(Value value, int64_t scale, int64_t offset) {
  if (scale != 1)
    value = arith::MulIOp::create(b, value, constant(scale));
  if (offset != 0)
    value = arith::AddIOp::create(b, value, constant(offset));
  return value;
}

Value Body::inRange(Value condition, Value value, Value size) {
  Value low = compare(arith::CmpIPredicate::sge, value, constant(0));
  Value high = compare(arith::CmpIPredicate::slt, value, size);
  return both(both(condition, low), high);
}

Value Body::guarded(Value condition, Value otherwise,
                    llvm::function_ref<Value()> inside) {
  if (!condition)
    return inside();
  auto branch = scf::IfOp::create(b, TypeRange{otherwise.getType()}, condition,
                                  /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, inside());
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, otherwise);
  return branch.getResult(0);
}

Value Body::widen(Value value, bool isUnsigned, Type type) {
  if (value.getType() == type)
    return value;
  if (isa<FloatType>(type)) {
    if (isa<FloatType>(value.getType()))
      return arith::ExtFOp::create(b, type, value);
    if (isUnsigned)
      return arith::UIToFPOp::create(b, type, value);
    return arith::SIToFPOp::create(b, type, value);
  }
  if (isUnsigned)
    return arith::ExtUIOp::create(b, type, value);
  return arith::ExtSIOp::create(b, type, value);
}

Value Body::narrow(Value value, Type type) {
  if (value.getType() == type)
    return value;
  if (isa<FloatType>(type))
    return arith::TruncFOp::create(b, type, value);
  return arith::TruncIOp::create(b, type, value);
}

Type decomposition::getComputeType(Type elementType) {
  if (auto type = dyn_cast<FloatType>(getScalarType(elementType));
      type && type.getWidth() < 32)
    return Float32Type::get(elementType.getContext());
  return getScalarType(elementType);
}

AffineMap decomposition::makeMap(unsigned numDims, ArrayRef<AffineExpr> exprs,
                                 MLIRContext *context) {
  return AffineMap::get(numDims, 0, exprs, context);
}

AffineMap decomposition::leading(unsigned numDims, unsigned results,
                                 MLIRContext *context) {
  SmallVector<AffineExpr> exprs;
  for (unsigned i = 0; i < results; ++i)
    exprs.push_back(getAffineDimExpr(i, context));
  return makeMap(numDims, exprs, context);
}

Value qcc::castTo(OpBuilder &builder, Location loc, Value value,
                  Type elementType) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getElementType() == elementType)
    return value;
  AffineMap identity = builder.getMultiDimIdentityMap(type.getRank());
  return createGeneric(
      builder, loc, makeTensorType(getDims(type), elementType), Combiner::None,
      value, identity, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Type to = getScalarType(elementType);
        bool isWider =
            isa<FloatType>(to) && args[0].getType().getIntOrFloatBitWidth() <
                                      to.getIntOrFloatBitWidth();
        return isWider ? Body(b).widen(args[0], /*isUnsigned=*/false, to)
                       : Body(b).narrow(args[0], to);
      });
}

//===----------------------------------------------------------------------===//
// Joining
//===----------------------------------------------------------------------===//

/// Every element asks which input it comes from.
static LogicalResult decomposeConcat(ConcatOp op, RewriterBase &rewriter) {
  RankedTensorType type = op.getResult().getType();
  unsigned axis = op.getAxis();
  MLIRContext *context = op.getContext();
  auto generic = createGeneric(
      rewriter, op.getLoc(), type, Combiner::None, {}, {}, op.getInputs(), {},
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        Body body(b);
        SmallVector<Value> at;
        for (int64_t i = 0; i < type.getRank(); ++i)
          at.push_back(body.index(i));
        Value position = at[axis];
        Value zero = arith::ConstantOp::create(
            b, b.getZeroAttr(getScalarType(type.getElementType())));
        // The last input first: each earlier one, if it holds the position,
        // replaces what was found.
        AffineExpr start = getAffineConstantExpr(0, context);
        SmallVector<AffineExpr> starts;
        for (Value input : op.getInputs()) {
          starts.push_back(start);
          start = start + getDims(input.getType())[axis];
        }
        Value found = zero;
        for (auto [i, tensor] : llvm::enumerate(args)) {
          Value local =
              arith::SubIOp::create(b, position, body.extent(starts[i]));
          Value size = body.extent(getDims(tensor.getType())[axis]);
          Value inside = body.inRange({}, local, size);
          SmallVector<Value> indices(at);
          indices[axis] = local;
          found = body.guarded(inside, found, [&]() -> Value {
            return ReadOp::create(b, zero.getType(), tensor, indices);
          });
        }
        return found;
      });
  rewriter.replaceOp(op, generic);
  return success();
}

GenericOp qcc::permute(OpBuilder &builder, Location loc, Value input,
                       ArrayRef<int64_t> permutation) {
  MLIRContext *context = builder.getContext();
  auto type = cast<RankedTensorType>(input.getType());
  SmallVector<AffineExpr> from = getDims(type), dims, reads(from.size());
  for (auto [i, source] : llvm::enumerate(permutation)) {
    dims.push_back(from[source]);
    reads[source] = getAffineDimExpr(i, context);
  }
  return createGeneric(
      builder, loc, makeTensorType(dims, type.getElementType()), Combiner::None,
      input, AffineMap::get(reads.size(), 0, reads, context), {}, {},
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
}

bool qcc::isDecomposable(Operation *op) {
  // Also where they are constant: expressions are evaluated as generics.
  if (isa<QuantizeOp, DequantizeOp, IntMatMulOp, IntConvOp>(op))
    return true;
  return isa<MatMulOp, ConvOp, ConvTransposeOp, PoolOp, SoftmaxOp, NormOp,
             AttentionOp, ConcatOp, ArgReduceOp, QuantizeRowsOp, QMatMulOp>(
             op) &&
         !isConstantExpression(op->getResult(0));
}

LogicalResult qcc::decompose(Operation *op, RewriterBase &rewriter) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(op);
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case<MatMulOp, QMatMulOp, AttentionOp>(
          [&](auto named) { return decomposeProduct(named, rewriter); })
      .Case<QuantizeOp, DequantizeOp, IntMatMulOp, IntConvOp>(
          [&](auto named) { return decomposeQuantized(named, rewriter); })
      .Case<ConvOp, ConvTransposeOp, PoolOp>(
          [&](auto named) { return decomposeWindow(named, rewriter); })
      .Case<SoftmaxOp, NormOp, ArgReduceOp, QuantizeRowsOp>(
          [&](auto named) { return decomposeRow(named, rewriter); })
      .Case([&](ConcatOp concat) { return decomposeConcat(concat, rewriter); })
      .Default([](Operation *other) {
        return emitCoded(other->getLoc(), Diag::Internal)
               << "'" << other->getName() << "' has no decomposition";
      });
}
