//===- Epilogue.cpp - chains around a kernel's root -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "MathPasses.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/KernelBuilder.h"

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// How an address moves with the last index
//===----------------------------------------------------------------------===//

std::optional<int64_t> qcc::getDimStep(AffineExpr expr, unsigned dim) {
  if (!expr.isFunctionOfDim(dim))
    return 0;
  if (isa<AffineDimExpr>(expr))
    return 1;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return std::nullopt;
  std::optional<int64_t> lhs = getDimStep(binary.getLHS(), dim),
                         rhs = getDimStep(binary.getRHS(), dim);
  if (!lhs || !rhs)
    return std::nullopt;
  if (expr.getKind() == AffineExprKind::Add)
    return *lhs + *rhs;
  if (expr.getKind() == AffineExprKind::Mul)
    if (std::optional<int64_t> factor = getConstantSize(binary.getRHS()))
      return *lhs * *factor;
  return std::nullopt;
}

/// Offsets of the elements that a map reads when the last index runs over the
/// lanes, as a vector of index.
static Value laneOffsets(KernelBuilder &b, RankedTensorType type, AffineMap map,
                         ArrayRef<Value> indices, unsigned lanes,
                         unsigned last) {
  SmallVector<Value> steps = b.strides(type);
  auto vectorType = VectorType::get(lanes, b.getIndexType());
  Value stepped = vector::StepOp::create(b, vectorType);
  Value uniform = b.idx(0);
  Value offsets = b.constantInt(0, vectorType);
  for (auto [expr, stride] : llvm::zip_equal(map.getResults(), steps)) {
    std::optional<int64_t> step = getDimStep(expr, last);
    if (step) {
      uniform = b.add(uniform, b.mul(b.apply(expr, indices), stride));
      if (*step)
        offsets = arith::AddIOp::create(
            b, offsets,
            arith::MulIOp::create(b, stepped,
                                  b.splat(b.mul(stride, b.idx(*step)), lanes)));
      continue;
    }
    // Divisions and remainders: lane by lane.
    Value part = b.constantInt(0, vectorType);
    SmallVector<Value> at(indices);
    for (unsigned lane = 0; lane < lanes; ++lane) {
      at[last] = b.add(indices[last], b.idx(lane));
      part = vector::InsertOp::create(
          b, b.mul(b.apply(expr, at), stride), part,
          ArrayRef<int64_t>{static_cast<int64_t>(lane)});
    }
    offsets = arith::AddIOp::create(b, offsets, part);
  }
  return arith::AddIOp::create(b, offsets, b.splat(uniform, lanes));
}

//===----------------------------------------------------------------------===//
// Reading any tensor of a kernel
//===----------------------------------------------------------------------===//

/// The buffer that a value lies in, seeing through reshapes; null if it is
/// computed.
static BlockArgument getBuffer(Value tensor) {
  while (auto reshape = tensor.getDefiningOp<ReshapeOp>())
    tensor = reshape.getInput();
  auto arg = dyn_cast<BlockArgument>(tensor);
  return arg && isa<KernelOp, DispatchOp>(arg.getOwner()->getParentOp())
             ? arg
             : BlockArgument();
}

/// Pointer to the elements of a constant, as a private global of the module.
static Value constantPointer(KernelBuilder &b, ConstantOp op) {
  auto module = b.getInsertionBlock()->getParentOp();
  while (!isa<ModuleOp>(module))
    module = module->getParentOp();
  auto value = dyn_cast<DenseElementsAttr>(op.getValue());
  if (!value)
    return {};
  Type element = value.getElementType();
  // Floats of 8 bits are codes, which LLVM has no constants of.
  if (!element.isSignlessIntOrFloat() || element.getIntOrFloatBitWidth() < 8 ||
      (isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8))
    return {};
  auto flat = RankedTensorType::get({value.getNumElements()}, element);
  value = value.reshape(flat);
  auto body = cast<ModuleOp>(module).getBody();
  std::string name;
  for (auto global : body->getOps<LLVM::GlobalOp>())
    if (global.getValueOrNull() == value)
      name = global.getSymName();
  if (name.empty()) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(body);
    auto count = llvm::range_size(body->getOps<LLVM::GlobalOp>());
    name = "constant." + std::to_string(count);
    LLVM::GlobalOp::create(
        b, LLVM::LLVMArrayType::get(element, flat.getNumElements()),
        /*isConstant=*/true, LLVM::Linkage::Internal, name, value);
  }
  return LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext()), name);
}

Value qcc::getTensorPointer(KernelBuilder &b, Value tensor) {
  if (BlockArgument arg = getBuffer(tensor))
    return b.pointer(arg);
  while (auto reshape = tensor.getDefiningOp<ReshapeOp>())
    tensor = reshape.getInput();
  if (auto op = tensor.getDefiningOp<ConstantOp>())
    return constantPointer(b, op);
  return {};
}

/// A splat constant's value, if it is one.
static Value splatValue(KernelBuilder &b, Value tensor) {
  while (auto reshape = tensor.getDefiningOp<ReshapeOp>())
    tensor = reshape.getInput();
  auto op = tensor.getDefiningOp<ConstantOp>();
  auto dense = op ? dyn_cast<DenseElementsAttr>(op.getValue()) : nullptr;
  if (!dense || !dense.isSplat())
    return {};
  Type element = dense.getElementType();
  if (isa<FloatType>(getScalarType(element)))
    return arith::ConstantOp::create(
        b, cast<TypedAttr>(dense.getSplatValue<Attribute>()));
  if (isa<FloatType>(element))
    return b.constantInt(
        dense.getSplatValue<APFloat>().bitcastToAPInt().getSExtValue(),
        getScalarType(element));
  return b.constantInt(dense.getSplatValue<APInt>().getSExtValue(),
                       getScalarType(element));
}

/// Reads a buffer; `last` is the dimension that runs over the lanes.
static Value readBuffer(KernelBuilder &b, Value pointer, RankedTensorType type,
                        AffineMap map, ArrayRef<Value> indices, unsigned lanes,
                        Value mask, unsigned last) {
  Type element = type.getElementType();
  auto base = [&] {
    SmallVector<Value> at;
    for (AffineExpr expr : map.getResults())
      at.push_back(b.apply(expr, indices));
    return b.offset(type, at);
  };
  if (lanes == 1)
    return b.load(pointer, element, base());
  bool uniform = true, contiguous = true, isInnermost = true;
  SmallVector<AffineExpr> sizes = getDims(type);
  for (unsigned i = map.getNumResults(); i-- > 0;) {
    std::optional<int64_t> step = getDimStep(map.getResult(i), last);
    uniform &= step == 0;
    // Dimensions of one element may follow the one that runs.
    contiguous &= step == 0 || (step == 1 && isInnermost);
    isInnermost &= getConstantSize(sizes[i]) == 1;
  }
  // With a mask there is at least one lane that is on, and its element is that
  // of the others.
  if (uniform)
    return b.load(pointer, element, base());
  if (contiguous)
    return b.load(pointer, element, base(), lanes, mask);
  return b.gather(pointer, element,
                  laneOffsets(b, type, map, indices, lanes, last), mask);
}

/// The map of a read through a reshape that only adds or drops dimensions of
/// size 1, onto the reshape's input; null for others.
static AffineMap throughReshape(ReshapeOp reshape, AffineMap map) {
  SmallVector<AffineExpr> from = getDims(reshape.getInput().getType()),
                          to = getDims(reshape.getResult().getType());
  SmallVector<AffineExpr> exprs;
  size_t j = 0;
  for (AffineExpr dim : from) {
    if (getConstantSize(dim) == 1) {
      exprs.push_back(getAffineConstantExpr(0, map.getContext()));
      continue;
    }
    while (j < to.size() && getConstantSize(to[j]) == 1)
      ++j;
    if (j == to.size() || to[j] != dim)
      return {};
    exprs.push_back(map.getResult(j++));
  }
  for (; j < to.size(); ++j)
    if (getConstantSize(to[j]) != 1)
      return {};
  return AffineMap::get(map.getNumDims(), map.getNumSymbols(), exprs,
                        map.getContext());
}

/// A producer is computed where it is read. For a vector of it, its own last
/// index must run with the lanes, or none of its indices.
static FailureOr<Value> readProducer(KernelBuilder &b, GenericOp generic,
                                     AffineMap map, ArrayRef<Value> indices,
                                     unsigned lanes, Value mask,
                                     ComputedValues computed, unsigned last) {
  bool uniform = true, contiguous = true;
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    std::optional<int64_t> step = getDimStep(expr, last);
    uniform &= step == 0;
    contiguous &= step == (i + 1 == map.getNumResults() ? 1 : 0);
  }
  if (lanes > 1 && !uniform && !contiguous)
    return failure();
  SmallVector<Value> at;
  for (AffineExpr expr : map.getResults())
    at.push_back(b.apply(expr, indices));
  if (uniform)
    return computeGeneric(b, generic, at, 1, {}, computed);
  return computeGeneric(b, generic, at, lanes, mask, computed);
}

FailureOr<Value> qcc::readTensor(KernelBuilder &b, Value tensor, AffineMap map,
                                 ArrayRef<Value> indices, unsigned lanes,
                                 Value mask, ComputedValues computed,
                                 std::optional<unsigned> laneDim) {
  for (auto [known, value] : computed)
    if (known == tensor)
      return value;
  unsigned last = laneDim.value_or(map.getNumDims() ? map.getNumDims() - 1 : 0);
  if (Value value = splatValue(b, tensor))
    return value;
  if (Value pointer = getTensorPointer(b, tensor))
    return readBuffer(b, pointer, cast<RankedTensorType>(tensor.getType()), map,
                      indices, lanes, mask, last);
  if (auto reshape = tensor.getDefiningOp<ReshapeOp>()) {
    AffineMap inner = throughReshape(reshape, map);
    return inner ? readTensor(b, reshape.getInput(), inner, indices, lanes,
                              mask, computed, last)
                 : FailureOr<Value>(failure());
  }
  auto generic = tensor.getDefiningOp<GenericOp>();
  if (!generic || generic.isReduction())
    return failure();
  return readProducer(b, generic, map, indices, lanes, mask, computed, last);
}

FailureOr<Value> qcc::computeGeneric(KernelBuilder &b, GenericOp generic,
                                     ArrayRef<Value> indices, unsigned lanes,
                                     Value mask, ComputedValues computed,
                                     std::optional<unsigned> laneDim) {
  SmallVector<Value> args;
  for (auto [i, input] : llvm::enumerate(generic.getInputs())) {
    FailureOr<Value> arg = readTensor(b, input, generic.getMap(i), indices,
                                      lanes, mask, computed, laneDim);
    if (failed(arg))
      return failure();
    args.push_back(*arg);
  }
  auto wholePointer = [&](unsigned whole) {
    return getTensorPointer(b, generic.getWhole()[whole]);
  };
  return b.inlineBody(generic, args, indices, lanes, wholePointer, mask,
                      laneDim);
}

//===----------------------------------------------------------------------===//
// Epilogues
//===----------------------------------------------------------------------===//

FailureOr<Value> Epilogue::apply(KernelBuilder &b, Value value,
                                 ArrayRef<Value> indices, unsigned lanes,
                                 Value mask) const {
  if (chain.empty())
    return value;
  SmallVector<std::pair<Value, Value>> computed{{rootResult, value}};
  for (GenericOp generic : chain) {
    FailureOr<Value> next =
        computeGeneric(b, generic, indices, lanes, mask, computed, laneDim);
    if (failed(next))
      return failure();
    computed.push_back({generic.getResult(), *next});
  }
  return computed.back().second;
}

bool Epilogue::hasFunctions() const {
  return llvm::any_of(chain, computesFunctions);
}

/// True if a generic reads `value` by identity only and is elementwise.
static bool continuesChain(GenericOp generic, Value value) {
  if (generic.isReduction() || llvm::is_contained(generic.getWhole(), value))
    return false;
  for (auto [i, input] : llvm::enumerate(generic.getInputs()))
    if (input == value && !generic.getMap(i).isIdentity())
      return false;
  return getDims(generic.getResult().getType()) == getDims(value.getType());
}

FailureOr<Epilogue> qcc::getEpilogue(Operation *root) {
  if (root->getNumResults() != 1)
    return failure();
  Epilogue epilogue;
  epilogue.rootResult = root->getResult(0);
  Value current = epilogue.rootResult;
  while (true) {
    // All uses are one operation's.
    llvm::SmallPtrSet<Operation *, 4> users(current.getUsers().begin(),
                                            current.getUsers().end());
    if (users.size() != 1)
      return failure();
    Operation *user = *users.begin();
    if (isa<YieldOp>(user))
      return epilogue;
    // A reshape of the last value is the same memory.
    if (auto reshape = dyn_cast<ReshapeOp>(user)) {
      if (!reshape->hasOneUse() || !isa<YieldOp>(*reshape->getUsers().begin()))
        return failure();
      return epilogue;
    }
    auto generic = dyn_cast<GenericOp>(user);
    if (!generic || !continuesChain(generic, current))
      return failure();
    epilogue.chain.push_back(generic);
    current = generic.getResult();
  }
}
