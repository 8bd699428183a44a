//===- QCCOps.cpp - syntax, verifiers and folds of the qcc dialect -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/Builders.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

#define GET_OP_CLASSES
#include "qcc/Dialect/QCC/QCCOps.cpp.inc"

/// True if a generic reads, or its body or reduction asks, for a size that is
/// symbolic.
static bool usesSymbols(Operation *op) {
  auto generic = dyn_cast<GenericOp>(op);
  if (!generic)
    return false;
  if (generic.getOver() && generic.getOver()->getNumSymbols())
    return true;
  for (unsigned i = 0, e = generic.getInputs().size(); i < e; ++i)
    if (generic.getMap(i).getNumSymbols())
      return true;
  return generic.getBody()
      .walk([](ExtentOp extent) {
        return extent.getExpr().getNumSymbols() ? WalkResult::interrupt()
                                                : WalkResult::advance();
      })
      .wasInterrupted();
}

bool qcc::isConstantExpression(Value value) {
  SmallVector<Operation *> work{value.getDefiningOp()};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!work.empty()) {
    Operation *op = work.pop_back_val();
    if (!op || !isa<GenericOp, ReshapeOp, ConcatOp, ParamOp, ConstantOp, PackOp,
                    EncodeOp, QuantizeOp, DequantizeOp>(op))
      return false;
    if (!seen.insert(op).second)
      continue;
    // A constant expanded to a symbolic size is known only at run time.
    if (!isStatic(op->getResult(0).getType()) || usesSymbols(op))
      return false;
    for (Value operand : op->getOperands())
      work.push_back(operand.getDefiningOp());
  }
  return true;
}

//===----------------------------------------------------------------------===//
// GenericOp
//===----------------------------------------------------------------------===//

SmallVector<AffineExpr> GenericOp::getExtents() {
  SmallVector<AffineExpr> extents = getDims(getResult().getType());
  if (getOver())
    llvm::append_range(extents, getOver()->getResults());
  return extents;
}

Value GenericOp::getYielded() {
  return cast<YieldOp>(getBlock()->getTerminator()).getValues()[0];
}

bool GenericOp::isCopy() {
  return !isReduction() && getInputs().size() == 1 && getWhole().empty() &&
         getYielded() == getBlock()->getArgument(0);
}

/// ` ins(%a, %b : ta, tb)` under the given keyword; nothing for an empty list.
static void printOperandList(OpAsmPrinter &p, StringRef keyword,
                             OperandRange operands) {
  if (operands.empty())
    return;
  p << ' ' << keyword << '(';
  p.printOperands(operands);
  p << " : ";
  llvm::interleaveComma(operands.getTypes(), p);
  p << ')';
}

static ParseResult parseOperandList(OpAsmParser &p, StringRef keyword,
                                    OperationState &state, int32_t &count) {
  count = 0;
  if (failed(p.parseOptionalKeyword(keyword)))
    return success();
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  SmallVector<Type> types;
  SMLoc loc = p.getCurrentLocation();
  if (p.parseLParen() || p.parseOperandList(operands) ||
      p.parseColonTypeList(types) || p.parseRParen() ||
      p.resolveOperands(operands, types, loc, state.operands))
    return failure();
  count = operands.size();
  return success();
}

void GenericOp::print(OpAsmPrinter &p) {
  p << ' ' << stringifyCombiner(getCombiner());
  printOperandList(p, "ins", getInputs());
  p << " maps ";
  p.printAttribute(getMapsAttr());
  printOperandList(p, "whole", getWhole());
  if (getOver()) {
    p << " over ";
    p.printAttribute(getOverAttr());
  }
  p.printOptionalAttrDictWithKeyword(
      (*this)->getAttrs(),
      {"combiner", "maps", "over", getOperandSegmentSizeAttr()});
  p << ' ';
  p.printRegion(getBody());
  p << " -> " << getResult().getType();
}

ParseResult GenericOp::parse(OpAsmParser &p, OperationState &state) {
  StringRef keyword;
  SMLoc loc = p.getCurrentLocation();
  if (p.parseKeyword(&keyword))
    return failure();
  std::optional<Combiner> combiner = symbolizeCombiner(keyword);
  if (!combiner)
    return p.emitError(loc, "expected a combiner, but got '") << keyword << "'";
  Builder &b = p.getBuilder();
  state.addAttribute("combiner", CombinerAttr::get(b.getContext(), *combiner));
  int32_t numInputs = 0, numWhole = 0;
  ArrayAttr maps;
  AffineMapAttr over;
  if (parseOperandList(p, "ins", state, numInputs) || p.parseKeyword("maps") ||
      p.parseAttribute(maps, "maps", state.attributes) ||
      parseOperandList(p, "whole", state, numWhole))
    return failure();
  if (succeeded(p.parseOptionalKeyword("over")) &&
      p.parseAttribute(over, "over", state.attributes))
    return failure();
  Type resultType;
  if (p.parseOptionalAttrDictWithKeyword(state.attributes) ||
      p.parseRegion(*state.addRegion()) || p.parseArrow() ||
      p.parseType(resultType))
    return failure();
  state.addTypes(resultType);
  state.addAttribute(getOperandSegmentSizeAttr(),
                     b.getDenseI32ArrayAttr({numInputs, numWhole}));
  return success();
}

/// The bodies' arguments: scalars of the inputs, then the whole tensors as they
/// are.
static LogicalResult verifyArguments(GenericOp op) {
  Block *block = op.getBlock();
  size_t numInputs = op.getInputs().size();
  if (block->getNumArguments() != op->getNumOperands())
    return op.emitOpError("expected ")
           << op->getNumOperands() << " body arguments, but got "
           << block->getNumArguments();
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    Type expected = operand.getType();
    if (i < numInputs)
      expected =
          getScalarType(cast<RankedTensorType>(expected).getElementType());
    if (block->getArgument(i).getType() != expected)
      return op.emitOpError("expected body argument ")
             << i << " of type " << expected << ", but got "
             << block->getArgument(i).getType();
  }
  return success();
}

LogicalResult GenericOp::verify() {
  if (getMaps().size() != getInputs().size())
    return emitOpError("expected one map per input, ")
           << getInputs().size() << ", but got " << getMaps().size();
  for (unsigned i = 0, e = getInputs().size(); i < e; ++i) {
    AffineMap map = getMap(i);
    if (map.getNumDims() != getNumDims())
      return emitOpError("expected map ")
             << i << " over " << getNumDims() << " dimensions, but got "
             << map.getNumDims();
    int64_t rank = cast<RankedTensorType>(getInputs()[i].getType()).getRank();
    if (map.getNumResults() != rank)
      return emitOpError("expected map ")
             << i << " with " << rank << " results, but got "
             << map.getNumResults();
  }
  if (isReduction() != (getNumReduction() > 0))
    return emitOpError(
        "expected `over` exactly with a combiner other than none");
  if (getOver() && getOver()->getNumDims())
    return emitOpError("expected `over` without dimensions, but got ")
           << getOver()->getNumDims();
  if (failed(verifyArguments(*this)))
    return failure();
  auto yield = dyn_cast<YieldOp>(getBlock()->getTerminator());
  Type scalar = getScalarType(getResult().getType().getElementType());
  if (!yield || yield.getValues().size() != 1 ||
      yield.getValues()[0].getType() != scalar)
    return emitOpError("expected the body to yield one ") << scalar;
  WalkResult bad = getBody().walk([&](IndexOp index) {
    return index.getDim() < getNumDims() ? WalkResult::advance()
                                         : WalkResult::interrupt();
  });
  return bad.wasInterrupted()
             ? emitOpError("expected indices below ") << getNumDims()
             : success();
}

namespace {
/// Drops inputs and whole operands whose body argument has no use.
struct DropUnusedOperands : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    llvm::BitVector unused(op->getNumOperands());
    for (BlockArgument arg : op.getBlock()->getArguments())
      if (arg.use_empty())
        unused.set(arg.getArgNumber());
    if (unused.none())
      return failure();
    SmallVector<Value> inputs, whole;
    SmallVector<Attribute> maps;
    for (auto [i, value] : llvm::enumerate(op.getInputs()))
      if (!unused[i]) {
        inputs.push_back(value);
        maps.push_back(op.getMaps()[i]);
      }
    for (auto [i, value] : llvm::enumerate(op.getWhole()))
      if (!unused[op.getInputs().size() + i])
        whole.push_back(value);
    auto fresh = GenericOp::create(
        rewriter, op.getLoc(), op.getResult().getType(), op.getCombiner(),
        inputs, rewriter.getArrayAttr(maps), whole, op.getOverAttr());
    fresh->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    fresh.getBody().takeBody(op.getBody());
    fresh.getBlock()->eraseArguments(unused);
    rewriter.replaceOp(op, fresh);
    return success();
  }
};

/// A copy with the identity map is its operand.
struct FoldIdentityCopy : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.isCopy() || !op.getMap(0).isIdentity() ||
        op.getInputs()[0].getType() != op.getResult().getType())
      return failure();
    rewriter.replaceOp(op, op.getInputs()[0]);
    return success();
  }
};
} // namespace

void GenericOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                            MLIRContext *context) {
  patterns.add<DropUnusedOperands, FoldIdentityCopy>(context);
}

//===----------------------------------------------------------------------===//
// Body operations
//===----------------------------------------------------------------------===//

LogicalResult ExtentOp::verify() {
  if (getExpr().getNumDims() || getExpr().getNumResults() != 1)
    return emitOpError("expected a map without dimensions and with one result");
  return success();
}

OpFoldResult ExtentOp::fold(FoldAdaptor) {
  if (std::optional<int64_t> size = getConstantSize(getExpr().getResult(0)))
    return IntegerAttr::get(IndexType::get(getContext()), *size);
  return {};
}

/// One index per dimension, and an element of the tensor's scalar type.
static LogicalResult verifyAccess(Operation *op, RankedTensorType tensor,
                                  OperandRange indices, Type element) {
  if (static_cast<int64_t>(indices.size()) != tensor.getRank())
    return op->emitOpError("expected ")
           << tensor.getRank() << " indices, but got " << indices.size();
  Type scalar = getScalarType(tensor.getElementType());
  if (element != scalar)
    return op->emitOpError("expected an element of type ")
           << scalar << ", but got " << element;
  return success();
}

/// The program whose result a tensor is, if it is one.
static ProgramOp getWrittenBy(Value tensor) {
  auto arg = dyn_cast<BlockArgument>(tensor);
  auto program =
      arg ? dyn_cast<ProgramOp>(arg.getOwner()->getParentOp()) : ProgramOp();
  return program && arg.getArgNumber() >= program.getInputs().size()
             ? program
             : ProgramOp();
}

LogicalResult ReadOp::verify() {
  return verifyAccess(*this, getTensor().getType(), getIndices(),
                      getResult().getType());
}

void ReadOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  if (getWrittenBy(getTensor()))
    effects.emplace_back(MemoryEffects::Read::get());
}

LogicalResult WriteOp::verify() {
  if (!getWrittenBy(getTensor()))
    return emitOpError("expected a result of the enclosing program");
  return verifyAccess(*this, getTensor().getType(), getIndices(),
                      getValue().getType());
}

LogicalResult ProgramOp::verify() {
  Block *block = getBlock();
  SmallVector<Type> types(getInputs().getTypes());
  llvm::append_range(types, getResultTypes());
  if (!llvm::equal(block->getArgumentTypes(), types))
    return emitOpError(
        "expected body arguments of the operands' and results' types");
  if (getOver() && (getOver()->getNumDims() || getOver()->getNumResults() != 1))
    return emitOpError(
        "expected `over` without dimensions and with one result");
  auto yield = dyn_cast<YieldOp>(block->getTerminator());
  if (!yield || !yield.getValues().empty())
    return emitOpError("expected the body to end with an empty yield");
  WalkResult bad = getBody().walk([&](IndexOp index) {
    return index.getDim() == 0 && getOver() ? WalkResult::advance()
                                            : WalkResult::interrupt();
  });
  return bad.wasInterrupted()
             ? emitOpError("expected no index but that of `over`")
             : success();
}

//===----------------------------------------------------------------------===//
// Sizes found at run time, branches and loops
//===----------------------------------------------------------------------===//

LogicalResult BindOp::verify() {
  if (bool(getValue()) == bool(getExpr()))
    return emitOpError("expected either a tensor or an expression");
  if (getExpr() && (getExpr()->getNumDims() || getExpr()->getNumResults() != 1))
    return emitOpError("expected a map without dimensions and with one result");
  if (getValue() && !isa<IntegerType>(getValue().getType().getElementType()))
    return emitOpError("expected a tensor of integers");
  return success();
}

LogicalResult CheckOp::verify() {
  unsigned count = getSizes().getNumResults();
  if (getSizes().getNumDims() || (count != 2 && count != 4))
    return emitOpError(
        "expected a map without dimensions and with two or four results");
  return success();
}

static bool isCondition(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getElementType().isInteger(1) && isStatic(tensor) &&
         tensor.getNumElements() == 1;
}

YieldOp IfOp::getYield(unsigned region) {
  return cast<YieldOp>((*this)->getRegion(region).front().getTerminator());
}

LogicalResult IfOp::verify() {
  if (!isCondition(getCondition().getType()))
    return emitOpError("expected a condition that is one boolean");
  for (Region &region : (*this)->getRegions()) {
    auto yield = dyn_cast<YieldOp>(region.front().getTerminator());
    if (!yield || yield.getValues().size() != getNumResults())
      return emitOpError("expected branches that yield ")
             << getNumResults() << " values";
    for (auto [value, result] :
         llvm::zip_equal(yield.getValues(), getResults())) {
      auto have = cast<RankedTensorType>(value.getType()),
           want = cast<RankedTensorType>(result.getType());
      if (have.getRank() != want.getRank() ||
          have.getElementType() != want.getElementType())
        return emitOpError("expected branches to yield ")
               << want << ", but got " << have;
    }
  }
  return success();
}

void LoopOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  // The count is a symbol that others may need where no result is used.
  if (getCount())
    effects.emplace_back(MemoryEffects::Write::get());
}

YieldOp LoopOp::getYield() {
  return cast<YieldOp>(getBody().front().getTerminator());
}

Value LoopOp::getYielded(unsigned i) {
  return getYield().getValues()[i + (getCondition() ? 1 : 0)];
}

LogicalResult LoopOp::verify() {
  Block &block = getBody().front();
  unsigned carried = getInit().size(), skip = getCondition() ? 1 : 0;
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (getNumResults() < carried || block.getNumArguments() != carried ||
      !yield || yield.getValues().size() != getNumResults() + skip)
    return emitOpError("expected the body to take the carried values and to "
                       "yield one value per result");
  if (!getTrip() && !getCondition())
    return emitOpError("expected a trip count or a condition");
  if (getTrip() && (getTrip()->getNumDims() || getTrip()->getNumResults() != 1))
    return emitOpError("expected a map without dimensions and with one result");
  if ((getNext() ? getNext()->getNumResults() : 0) != getSizes().size())
    return emitOpError("expected a next value for each symbol of `sizes`");
  if (skip && !isCondition(yield.getValues()[0].getType()))
    return emitOpError("expected the body to yield a condition first");
  if (getCondition() && !isCondition(getCondition().getType()))
    return emitOpError("expected a condition that is one boolean");
  for (unsigned i = 0; i < carried; ++i) {
    auto want = cast<RankedTensorType>(getResult(i).getType());
    auto first = cast<RankedTensorType>(getInit()[i].getType());
    auto next = cast<RankedTensorType>(getYielded(i).getType());
    if (block.getArgument(i).getType() != want ||
        first.getRank() != want.getRank() || next.getRank() != want.getRank() ||
        first.getElementType() != want.getElementType() ||
        next.getElementType() != want.getElementType())
      return emitOpError("expected carried value ")
             << i << " to keep its type " << want;
  }
  for (unsigned i = carried; i < getNumResults(); ++i)
    if (cast<RankedTensorType>(getResult(i).getType()).getRank() !=
        cast<RankedTensorType>(getYielded(i).getType()).getRank() + 1)
      return emitOpError("expected result ")
             << i << " to be a stack of what the body yields";
  return success();
}

//===----------------------------------------------------------------------===//
// Constants, shape and movement
//===----------------------------------------------------------------------===//

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

LogicalResult ConstantOp::verify() {
  auto type = cast<RankedTensorType>(getResult().getType());
  auto value = cast<ShapedType>(getValue().getType());
  if (value.getShape() != type.getShape() ||
      value.getElementType() != type.getElementType())
    return emitOpError("expected a value of type ")
           << type << ", but got " << value;
  return success();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (getInput().getType() == getResult().getType())
    return getInput();
  if (auto producer = getInput().getDefiningOp<ReshapeOp>()) {
    getInputMutable().assign(producer.getInput());
    return getResult();
  }
  return {};
}

LogicalResult ReshapeOp::verify() {
  if (getInput().getType().getElementType() !=
      getResult().getType().getElementType())
    return emitOpError("expected equal element types");
  std::optional<int64_t> from =
      getConstantSize(getNumElements(getInput().getType()));
  std::optional<int64_t> to =
      getConstantSize(getNumElements(getResult().getType()));
  if (from && to && *from != *to)
    return emitOpError("expected ") << *from << " elements, but got " << *to;
  return success();
}

OpFoldResult ConcatOp::fold(FoldAdaptor) {
  if (getInputs().size() == 1 &&
      getInputs()[0].getType() == getResult().getType())
    return getInputs()[0];
  return {};
}

LogicalResult ConcatOp::verify() {
  int64_t rank = getResult().getType().getRank();
  if (getInputs().empty() || static_cast<int64_t>(getAxis()) >= rank)
    return emitOpError("expected at least one input and an axis below ")
           << rank;
  for (Value input : getInputs())
    if (cast<RankedTensorType>(input.getType()).getRank() != rank)
      return emitOpError("expected inputs of rank ") << rank;
  return success();
}

//===----------------------------------------------------------------------===//
// Named computations
//===----------------------------------------------------------------------===//

/// Text of a size expression for diagnostics.
static std::string str(AffineExpr expr) {
  std::string text;
  llvm::raw_string_ostream(text) << expr;
  return text;
}

/// True if two sizes are equal or not both known.
static bool mayEqual(AffineExpr a, AffineExpr b) {
  std::optional<int64_t> x = getConstantSize(a), y = getConstantSize(b);
  return !x || !y || *x == *y;
}

/// In a kernel a weight has the type its packing gave it: only the schedule
/// knows what it was.
static bool isScheduled(Operation *op) {
  return op->getParentOfType<KernelOp>() != nullptr;
}

LogicalResult MatMulOp::verify() {
  if ((*this)->hasAttr(kPackedAttr))
    return success();
  if (isScheduled(*this))
    return success();
  SmallVector<AffineExpr> a = getDims(getLhs().getType()),
                          b = getDims(getRhs().getType()),
                          c = getDims(getResult().getType());
  if (a.size() < 2 || b.size() < 2 || c.size() != std::max(a.size(), b.size()))
    return emitOpError(
        "expected operands of rank 2 or more and a result of the larger rank");
  AffineExpr m = a[a.size() - (getTransA() ? 1 : 2)],
             ka = a[a.size() - (getTransA() ? 2 : 1)];
  AffineExpr kb = b[b.size() - (getTransB() ? 1 : 2)],
             n = b[b.size() - (getTransB() ? 2 : 1)];
  if (!mayEqual(ka, kb))
    return emitOpError("expected equal inner sizes, but got ")
           << str(ka) << " and " << str(kb);
  if (!mayEqual(m, c[c.size() - 2]) || !mayEqual(n, c.back()))
    return emitOpError("expected a result of ") << str(m) << " by " << str(n);
  return success();
}

/// Checks shared by both convolutions: ranks, attribute lengths, positive
/// strides.
template <typename ConvLike>
static LogicalResult verifyConvolution(ConvLike op) {
  int64_t rank = op.getInput().getType().getRank(), spatial = rank - 2;
  if (spatial < 1 || spatial > 3 ||
      op.getWeight().getType().getRank() != rank ||
      op.getResult().getType().getRank() != rank)
    return op.emitOpError(
        "expected input, weight and result of one rank from 3 to 5");
  auto size = [](ArrayRef<int64_t> v) {
    return static_cast<int64_t>(v.size());
  };
  if (size(op.getStrides()) != spatial || size(op.getDilations()) != spatial ||
      size(op.getPads()) != 2 * spatial)
    return op.emitOpError("expected strides and dilations of ")
           << spatial << " elements and twice as many pads";
  if (llvm::any_of(op.getStrides(), [](int64_t s) { return s < 1; }) ||
      llvm::any_of(op.getDilations(), [](int64_t d) { return d < 1; }) ||
      static_cast<int64_t>(op.getGroups()) < 1)
    return op.emitOpError("expected positive strides, dilations and groups");
  return success();
}

LogicalResult ConvOp::verify() {
  if (isScheduled(*this))
    return success();
  if (failed(verifyConvolution(*this)))
    return failure();
  AffineExpr channels = getDims(getInput().getType())[1],
             perGroup = getDims(getWeight().getType())[1];
  if (!mayEqual(channels, perGroup * getGroups()))
    return emitOpError("expected ")
           << str(perGroup * getGroups()) << " input channels, but got "
           << str(channels);
  return success();
}

LogicalResult ConvTransposeOp::verify() {
  if ((*this)->hasAttr(kPackedAttr))
    return success();
  return verifyConvolution(*this);
}

LogicalResult PoolOp::verify() {
  size_t spatial = getInput().getType().getRank() - 2;
  if (getInput().getType().getRank() < 3 || getKernel().size() != spatial ||
      getStrides().size() != spatial || getDilations().size() != spatial ||
      getPads().size() != 2 * spatial)
    return emitOpError("expected kernel, strides and dilations per spatial "
                       "dimension and twice as many pads");
  if (getChannelsLast() && getKind() != PoolKind::Max)
    return emitOpError("expected a maximum with the channels last");
  return success();
}

LogicalResult AttentionOp::verify() {
  if (getQuery().getType().getRank() != 4 ||
      getKey().getType().getRank() != 4 || getValue().getType().getRank() != 4)
    return emitOpError("expected query, key and value of rank 4");
  if (getMask() && getMask().getType().getRank() != 4)
    return emitOpError("expected a mask of rank 4, but got rank ")
           << getMask().getType().getRank();
  if (getSink() && (getSink().getType().getRank() != 1 ||
                    !mayEqual(getDims(getSink().getType())[0],
                              getDims(getQuery().getType())[1])))
    return emitOpError(
               "expected a sink with an element for each head, but got ")
           << getSink().getType();
  if (getSoftcap() &&
      !(getSoftcap()->isFiniteNonZero() && !getSoftcap()->isNegative()))
    return emitOpError("expected a finite softcap above 0, but got ")
           << getSoftcapAttr();
  for (Value operand : {getQuery(), getKey(), getValue()})
    if (getInt8() &&
        !cast<RankedTensorType>(operand.getType()).getElementType().isF32())
      return emitOpError("expected operands of f32 with int8, but got ")
             << operand.getType();
  return success();
}

LogicalResult ArgReduceOp::verify() {
  if (static_cast<int64_t>(getAxis()) >= getInput().getType().getRank())
    return emitOpError("expected an axis below ")
           << getInput().getType().getRank() << ", but got " << getAxis();
  return success();
}

LogicalResult DispatchOp::verify() {
  Block &block = getBody().front();
  if (!llvm::equal(block.getArgumentTypes(), getInputs().getTypes()))
    return emitOpError("expected body arguments of the operands' types");
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || !llvm::equal(yield.getOperandTypes(), getResultTypes()))
    return emitOpError("expected the body to yield the results");
  return success();
}
