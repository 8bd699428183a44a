//===- KernelBuilder.cpp - building one kernel as MLIR ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Codegen/KernelBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;

/// What an element is in memory, as a type of the llvm dialect: booleans and
/// integers below a byte take one byte, signs do not matter.
static Type getStorageType(Type element) {
  MLIRContext *context = element.getContext();
  if (element.isIndex())
    return IntegerType::get(context, 64);
  if (auto integer = dyn_cast<IntegerType>(element))
    return IntegerType::get(context, std::max(8u, integer.getWidth()));
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 8)
    return IntegerType::get(context, 8);
  // Where the machine has no bf16, LLVM takes a masked load of it apart in f32
  // and calls compiler-rt to round what was never changed.
  if (element.isBF16())
    return IntegerType::get(context, 16);
  return element;
}

/// `type`, or a vector of `lanes` of it.
static Type liftType(Type type, unsigned lanes) {
  return lanes == 1 ? type : VectorType::get(lanes, type);
}

static unsigned getLanes(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector ? vector.getNumElements() : 1;
}

//===----------------------------------------------------------------------===//
// The function
//===----------------------------------------------------------------------===//

/// The exported function: loads the pointers from the binding table and calls
/// the body. The body is a function of its own, never inlined, because
/// `noalias` means most as an attribute of arguments.
static void buildEntry(ImplicitLocOpBuilder &b, StringRef name,
                       func::FuncOp body, unsigned numBindings) {
  Type ptr = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto entry = func::FuncOp::create(
      b, name, b.getFunctionType({ptr, ptr, i64, i64, ptr}, {}));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(entry.addEntryBlock());
  SmallVector<Value> args;
  for (unsigned i = 0; i < numBindings; ++i) {
    Value slot =
        LLVM::GEPOp::create(b, ptr, ptr, entry.getArgument(0),
                            ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    args.push_back(LLVM::LoadOp::create(b, ptr, slot));
  }
  args.push_back(entry.getArgument(1));
  for (unsigned i : {2u, 3u})
    args.push_back(
        arith::IndexCastOp::create(b, b.getIndexType(), entry.getArgument(i)));
  args.push_back(entry.getArgument(4));
  func::CallOp::create(b, body, args);
  func::ReturnOp::create(b);
}

KernelBuilder::KernelBuilder(ModuleOp module, StringRef name, KernelOp kernel,
                             const Capabilities &caps)
    : ImplicitLocOpBuilder(UnknownLoc::get(module.getContext()),
                           module.getContext()),
      capabilities(caps), kernelOp(kernel) {
  setInsertionPointToEnd(module.getBody());
  Block &block = kernel.getBody().front();
  unsigned numBindings =
      block.getNumArguments() + block.getTerminator()->getNumOperands();
  Type ptr = LLVM::LLVMPointerType::get(getContext());
  SmallVector<Type> types(numBindings + 1, ptr);
  llvm::append_values(types, Type(getIndexType()), Type(getIndexType()), ptr);
  auto body = func::FuncOp::create(*this, (name + ".body").str(),
                                   getFunctionType(types, {}));
  body.setPrivate();
  body->setAttr("llvm.linkage",
                LLVM::LinkageAttr::get(getContext(), LLVM::Linkage::Internal));
  body->setAttr("passthrough", getStrArrayAttr({"noinline"}));
  auto inPlace = kernel->getAttrOfType<IntegerAttr>(kInPlaceAttr);
  for (unsigned i = 0; i <= numBindings; ++i)
    if (!inPlace || (i != inPlace.getInt() && i != block.getNumArguments()))
      body.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(),
                      getUnitAttr());
  buildEntry(*this, name, body, numBindings);
  Block *entry = body.addEntryBlock();
  llvm::append_range(pointers, entry->getArguments().take_front(numBindings));
  dimsPtr = entry->getArgument(numBindings);
  begin = entry->getArgument(numBindings + 1);
  end = entry->getArgument(numBindings + 2);
  scratchPtr = entry->getArgument(numBindings + 3);
  setInsertionPointToStart(entry);
}

void KernelBuilder::finish() { func::ReturnOp::create(*this); }

Value KernelBuilder::pointer(BlockArgument arg) {
  // Also of a copy of the kernel that an emitter has transformed.
  assert(isa<KernelOp>(arg.getOwner()->getParentOp()) &&
         "expected an argument of a kernel");
  return pointers[arg.getArgNumber()];
}

Value KernelBuilder::resultPointer(unsigned index) {
  return pointers[kernelOp.getBody().front().getNumArguments() + index];
}

//===----------------------------------------------------------------------===//
// Index arithmetic
//===----------------------------------------------------------------------===//

Value KernelBuilder::idx(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}

Value KernelBuilder::add(Value a, Value b) {
  return createOrFold<arith::AddIOp>(a, b);
}
Value KernelBuilder::sub(Value a, Value b) {
  return createOrFold<arith::SubIOp>(a, b);
}
Value KernelBuilder::mul(Value a, Value b) {
  return createOrFold<arith::MulIOp>(a, b);
}
Value KernelBuilder::divFloor(Value a, Value b) {
  return createOrFold<arith::DivUIOp>(a, b);
}
Value KernelBuilder::mod(Value a, Value b) {
  return createOrFold<arith::RemUIOp>(a, b);
}
Value KernelBuilder::minIdx(Value a, Value b) {
  return createOrFold<arith::MinSIOp>(a, b);
}
Value KernelBuilder::maxIdx(Value a, Value b) {
  return createOrFold<arith::MaxSIOp>(a, b);
}
Value KernelBuilder::less(Value a, Value b) {
  return createOrFold<arith::CmpIOp>(arith::CmpIPredicate::slt, a, b);
}

/// The value of symbol `position`, loaded once at the start of the function.
Value KernelBuilder::symbol(unsigned position) {
  if (symbols.size() <= position)
    symbols.resize(position + 1);
  if (!symbols[position]) {
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(begin.getParentBlock());
    Value slot = LLVM::GEPOp::create(
        *this, dimsPtr.getType(), getI64Type(), dimsPtr,
        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(position)});
    Value loaded = LLVM::LoadOp::create(*this, getI64Type(), slot);
    symbols[position] =
        arith::IndexCastOp::create(*this, getIndexType(), loaded);
  }
  return symbols[position];
}

/// True if an expression is not negative for dimensions and symbols that are
/// not.
static bool isNonNegative(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() >= 0;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  return !binary ||
         (isNonNegative(binary.getLHS()) && isNonNegative(binary.getRHS()));
}

/// Floor division by a positive divisor for a dividend of any sign.
static Value divideSigned(KernelBuilder &b, Value lhs, Value rhs) {
  Value minusOne = b.idx(-1);
  Value negative = b.less(lhs, b.idx(0));
  Value flipped = b.sub(minusOne, lhs);
  Value magnitude = b.createOrFold<arith::SelectOp>(negative, flipped, lhs);
  Value quotient = b.divFloor(magnitude, rhs);
  Value restored = b.sub(minusOne, quotient);
  return b.createOrFold<arith::SelectOp>(negative, restored, quotient);
}

Value KernelBuilder::apply(AffineExpr expr, ArrayRef<Value> dims) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return idx(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  if (auto sym = dyn_cast<AffineSymbolExpr>(expr))
    return symbol(sym.getPosition());
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Value lhs = apply(binary.getLHS(), dims), rhs = apply(binary.getRHS(), dims);
  bool plain = isNonNegative(binary.getLHS());
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return add(lhs, rhs);
  case AffineExprKind::Mul:
    return mul(lhs, rhs);
  case AffineExprKind::FloorDiv:
    return plain ? divFloor(lhs, rhs) : divideSigned(*this, lhs, rhs);
  case AffineExprKind::CeilDiv: {
    Value up = add(lhs, sub(rhs, idx(1)));
    return plain ? divFloor(up, rhs) : divideSigned(*this, up, rhs);
  }
  default:
    return plain ? mod(lhs, rhs)
                 : sub(lhs, mul(divideSigned(*this, lhs, rhs), rhs));
  }
}

Value KernelBuilder::size(AffineExpr expr) { return apply(expr, {}); }

SmallVector<Value> KernelBuilder::strides(Type tensorType) {
  SmallVector<AffineExpr> dims = getDims(tensorType);
  SmallVector<Value> result(dims.size());
  AffineExpr stride = mlir::getAffineConstantExpr(1, getContext());
  for (size_t i = dims.size(); i-- > 0;) {
    result[i] = size(stride);
    stride = simplifySize(stride * dims[i]);
  }
  return result;
}

Value KernelBuilder::offset(Type tensorType, ArrayRef<Value> indices) {
  SmallVector<Value> steps = strides(tensorType);
  Value result = idx(0);
  for (auto [index, step] : llvm::zip_equal(indices, steps))
    result = add(result, mul(index, step));
  return result;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

static Value makeAddress(KernelBuilder &b, Value pointer, Type element,
                         Value offset, LLVM::GEPNoWrapFlags flags) {
  Value position = arith::IndexCastOp::create(b, b.getI64Type(), offset);
  return LLVM::GEPOp::create(b, pointer.getType(), getStorageType(element),
                             pointer, ArrayRef<LLVM::GEPArg>{position}, flags);
}

/// Where a vector begins: with a mask that may be outside of the tensor.
static Value makeVectorAddress(KernelBuilder &b, Value pointer, Type element,
                               Value offset, Value mask) {
  return makeAddress(b, pointer, element, offset,
                     mask ? LLVM::GEPNoWrapFlags::none
                          : LLVM::GEPNoWrapFlags::inbounds);
}

Value KernelBuilder::elementPointer(Value pointer, Type element, Value offset) {
  return makeAddress(*this, pointer, element, offset,
                     LLVM::GEPNoWrapFlags::inbounds);
}

Value KernelBuilder::fromStorage(Value value, Type element) {
  unsigned lanes = getLanes(value.getType());
  if (element.isIndex())
    return arith::IndexCastOp::create(*this, liftType(getIndexType(), lanes),
                                      value);
  if (element.isInteger(1))
    return arith::CmpIOp::create(*this, arith::CmpIPredicate::ne, value,
                                 constantInt(0, value.getType()));
  if (element.isIntOrFloat() && element.getIntOrFloatBitWidth() < 8)
    return arith::TruncIOp::create(
        *this, liftType(getScalarType(element), lanes), value);
  if (element.isBF16())
    return arith::BitcastOp::create(*this, liftType(element, lanes), value);
  return value;
}

Value KernelBuilder::toStorage(Value value, Type element) {
  unsigned lanes = getLanes(value.getType());
  Type stored = liftType(getStorageType(element), lanes);
  if (element.isIndex())
    return arith::IndexCastOp::create(*this, stored, value);
  if (value.getType() == stored)
    return value;
  if (element.isBF16())
    return arith::BitcastOp::create(*this, stored, value);
  if (element.isInteger(1) || element.isUnsignedInteger() ||
      isa<FloatType>(element))
    return arith::ExtUIOp::create(*this, stored, value);
  return arith::ExtSIOp::create(*this, stored, value);
}

Value KernelBuilder::load(Value pointer, Type element, Value offset,
                          unsigned lanes, Value mask) {
  Type type = liftType(getStorageType(element), lanes);
  Value address = makeVectorAddress(*this, pointer, element, offset, mask);
  unsigned align = getElementBytes(element);
  Value value;
  if (mask)
    value = LLVM::MaskedLoadOp::create(*this, type, address, mask,
                                       constant(0, type), align);
  else
    value = LLVM::LoadOp::create(*this, type, address, align);
  return fromStorage(value, element);
}

Value KernelBuilder::gather(Value pointer, Type element, Value offsets,
                            Value mask) {
  unsigned lanes = getLanes(offsets.getType());
  Type type = liftType(getStorageType(element), lanes);
  Value wide =
      arith::IndexCastOp::create(*this, liftType(getI64Type(), lanes), offsets);
  Value addresses = LLVM::GEPOp::create(
      *this, VectorType::get(lanes, pointer.getType()), getStorageType(element),
      pointer, ArrayRef<LLVM::GEPArg>{wide}, LLVM::GEPNoWrapFlags::inbounds);
  if (!mask)
    mask = constantInt(1, liftType(getI1Type(), lanes));
  Value value = LLVM::masked_gather::create(
      *this, type, addresses, mask, ValueRange{constant(0, type)},
      static_cast<uint32_t>(getElementBytes(element)));
  return fromStorage(value, element);
}

void KernelBuilder::store(Value value, Value pointer, Type element,
                          Value offset, Value mask) {
  Value stored = toStorage(value, element);
  Value address = makeVectorAddress(*this, pointer, element, offset, mask);
  unsigned align = getElementBytes(element);
  if (mask)
    LLVM::MaskedStoreOp::create(*this, stored, address, mask, align);
  else
    LLVM::StoreOp::create(*this, stored, address, align);
}

/// A number that LLVM knows nothing of. With a mask that it knows to be of the
/// first lane alone, LLVM 22 stores four bytes of an integer that was truncated
/// to one or two at AVX-512, beyond the end of the buffer.
static Value hide(KernelBuilder &b, Value number) {
  Value wide = arith::IndexCastOp::create(b, b.getI64Type(), number);
  auto hidden = LLVM::InlineAsmOp::create(
      b, wide.getType(), wide, /*asm_string=*/"", /*constraints=*/"=r,0",
      /*has_side_effects=*/false, /*is_align_stack=*/false,
      LLVM::TailCallKind::None, /*asm_dialect=*/LLVM::AsmDialectAttr(),
      /*operand_attrs=*/ArrayAttr());
  return arith::IndexCastOp::create(b, b.getIndexType(), hidden.getResult(0));
}

Value KernelBuilder::indicesFrom(Value first, unsigned lanes) {
  auto type = VectorType::get(lanes, getIndexType());
  return arith::AddIOp::create(*this, splat(first, lanes),
                               vector::StepOp::create(*this, type));
}

Value KernelBuilder::firstLanes(Value count, unsigned lanes) {
  if (caps().hasAvx512)
    count = hide(*this, count);
  return vector::CreateMaskOp::create(
      *this, VectorType::get(lanes, getI1Type()), count);
}

Value KernelBuilder::stackBuffer(int64_t bytes) {
  OpBuilder::InsertionGuard guard(*this);
  Operation *function = getInsertionBlock()->getParentOp();
  while (!isa<FunctionOpInterface>(function))
    function = function->getParentOp();
  setInsertionPointToStart(&function->getRegion(0).front());
  Value count =
      LLVM::ConstantOp::create(*this, getI64Type(), getI64IntegerAttr(bytes));
  return LLVM::AllocaOp::create(*this, LLVM::LLVMPointerType::get(getContext()),
                                getI8Type(), count, /*alignment=*/64);
}

void KernelBuilder::prefetch(Value pointer, Type element, Value offset) {
  // Read, into all cache levels, data.
  LLVM::Prefetch::create(*this, elementPointer(pointer, element, offset), 0u,
                         3u, 1u);
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Value KernelBuilder::constant(double value, Type type) {
  Type element = getElementTypeOrSelf(type);
  auto floating = dyn_cast<FloatType>(element);
  if (!floating)
    return constantInt(static_cast<int64_t>(value), type);
  TypedAttr attr = getFloatAttr(element, value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(*this, attr);
}

Value KernelBuilder::constantInt(int64_t value, Type type) {
  Type element = getElementTypeOrSelf(type);
  if (isa<FloatType>(element))
    return constant(static_cast<double>(value), type);
  // The bits are taken modulo the width: -1 and 255 are the same i8.
  TypedAttr attr = IntegerAttr::get(
      element, element.isIndex()
                   ? APInt(64, value, /*isSigned=*/true)
                   : APInt(element.getIntOrFloatBitWidth(), value,
                           /*isSigned=*/true, /*implicitTrunc=*/true));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(*this, attr);
}

Value KernelBuilder::splat(Value scalar, unsigned lanes) {
  if (lanes == 1 || isa<VectorType>(scalar.getType()))
    return scalar;
  return vector::BroadcastOp::create(
      *this, VectorType::get(lanes, scalar.getType()), scalar);
}

Value KernelBuilder::fma(Value a, Value b, Value c) {
  return math::FmaOp::create(*this, a, b, c);
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

/// Loop metadata of a hint; null for none.
static LLVM::LoopAnnotationAttr getAnnotation(MLIRContext *context,
                                              KernelBuilder::LoopHint hint) {
  using Hint = KernelBuilder::LoopHint;
  if (hint == Hint::None)
    return {};
  Builder b(context);
  LLVM::LoopVectorizeAttr vectorize;
  LLVM::LoopUnrollAttr unroll;
  if (hint == Hint::NoUnroll)
    unroll = LLVM::LoopUnrollAttr::get(context, b.getBoolAttr(true), {}, {}, {},
                                       {}, {}, {});
  // Loops without a hint of their own are left to LLVM; NoUnroll loops hold
  // vector code already.
  if (hint != Hint::None)
    vectorize = LLVM::LoopVectorizeAttr::get(
        context, b.getBoolAttr(hint != Hint::Vectorize), {}, {}, {}, {}, {},
        {});
  return LLVM::LoopAnnotationAttr::get(context, {}, vectorize, {}, unroll, {},
                                       {}, {}, {}, {}, {}, {}, {}, {}, {}, {});
}

SmallVector<Value> KernelBuilder::forLoop(
    Value lower, Value upper, Value step, ArrayRef<Value> init,
    llvm::function_ref<SmallVector<Value>(Value, ArrayRef<Value>)> body,
    LoopHint hint) {
  auto loop = scf::ForOp::create(*this, lower, upper, step, init);
  if (auto annotation = getAnnotation(getContext(), hint))
    loop->setAttr("loop_annotation", annotation);
  OpBuilder::InsertionGuard guard(*this);
  Block *block = loop.getBody();
  if (init.empty())
    setInsertionPoint(block->getTerminator());
  else
    setInsertionPointToStart(block);
  SmallVector<Value> carried(loop.getRegionIterArgs());
  SmallVector<Value> next = body(loop.getInductionVar(), carried);
  if (!init.empty())
    scf::YieldOp::create(*this, next);
  return SmallVector<Value>(loop.getResults());
}

void KernelBuilder::forLoop(Value lower, Value upper, Value step,
                            llvm::function_ref<void(Value)> body,
                            LoopHint hint) {
  forLoop(
      lower, upper, step, {},
      [&](Value index, ArrayRef<Value>) {
        body(index);
        return SmallVector<Value>();
      },
      hint);
}

void KernelBuilder::emitEither(Value condition, llvm::function_ref<void()> then,
                               llvm::function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(*this, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  then();
  setInsertionPointToStart(branch.elseBlock());
  otherwise();
}
