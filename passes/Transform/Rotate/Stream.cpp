//===- Stream.cpp - values that are rotated together ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Stream.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Calibration/ReadExtent.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::rotate;

/// Values of a stream, and operations between an attention and its values.
static constexpr size_t kMaxValues = 100000;
static constexpr unsigned kMaxDepth = 32;

static std::string describe(Operation *op) {
  if (isa<func::ReturnOp>(op))
    return "an output of the model";
  return ("'" + getNodeName(op->getLoc()) + "' (" +
          op->getName().getStringRef() + ")")
      .str();
}

static int64_t getLastSize(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() ? type.getDimSize(type.getRank() - 1) : -1;
}

/// The two inputs of an elementwise body of one operation; null if it has
/// another form.
static Operation *getBinary(GenericOp op, unsigned (&inputs)[2]) {
  Operation *body = op.getYielded().getDefiningOp();
  if (op.isReduction() || !op.getWhole().empty() || !body ||
      body->getNumOperands() != 2 || body->getPrevNode())
    return nullptr;
  for (unsigned i = 0; i < 2; ++i) {
    auto arg = dyn_cast<BlockArgument>(body->getOperand(i));
    if (!arg || arg.getOwner() != op.getBlock())
      return nullptr;
    inputs[i] = arg.getArgNumber();
  }
  return inputs[0] != inputs[1] ? body : nullptr;
}

namespace {
/// How an input of a generic is read along the last dimension of the result.
enum class LastRead { InOrder, Never, Other };
} // namespace

static LastRead getLastRead(GenericOp op, unsigned input) {
  unsigned last = op.getNumParallel() - 1;
  AffineMap map = op.getMap(input);
  unsigned rank = map.getNumResults(), uses = 0;
  for (AffineExpr expr : map.getResults())
    uses += expr.isFunctionOfDim(last);
  if (!uses)
    return LastRead::Never;
  auto dim = dyn_cast<AffineDimExpr>(map.getResult(rank - 1));
  Value value = op.getInputs()[input];
  return uses == 1 && dim && dim.getPosition() == last &&
                 getLastSize(value) == getLastSize(op.getResult())
             ? LastRead::InOrder
             : LastRead::Other;
}

/// True for a reshape that keeps the last dimension.
static bool keepsLast(ReshapeOp op) {
  return getLastSize(op.getInput()) == getLastSize(op.getResult()) &&
         getLastSize(op.getInput()) > 0;
}

/// The table whose rows a generic picks, each whole and in order.
static OpOperand *getTable(GenericOp op) {
  auto read = op.getYielded().getDefiningOp<ReadOp>();
  auto arg = read ? dyn_cast<BlockArgument>(read.getTensor()) : nullptr;
  if (op.isReduction() || !arg || arg.getOwner() != op.getBlock() ||
      arg.getArgNumber() < op.getInputs().size() || read.getIndices().empty())
    return nullptr;
  int64_t last = op.getNumParallel() - 1;
  auto column = read.getIndices().back().getDefiningOp<IndexOp>();
  if (!column || int64_t(column.getDim()) != last)
    return nullptr;
  for (Operation &inner : *op.getBlock())
    if (auto index = dyn_cast<IndexOp>(inner))
      if (int64_t(index.getDim()) == last &&
          !llvm::all_of(index->getUses(), [&](OpOperand &use) {
            return use.getOwner() == read &&
                   use.get() == read.getIndices().back() &&
                   use.getOperandNumber() + 1 == read->getNumOperands();
          }))
        return nullptr;
  for (unsigned i = 0; i < op.getInputs().size(); ++i)
    if (getLastRead(op, i) != LastRead::Never)
      return nullptr;
  OpOperand &table =
      op.getWholeMutable()[arg.getArgNumber() - op.getInputs().size()];
  return getLastSize(table.get()) == getLastSize(op.getResult()) ? &table
                                                                 : nullptr;
}

//===----------------------------------------------------------------------===//
// Streams
//===----------------------------------------------------------------------===//

namespace {
class Finder {
public:
  Stream run(Value value) {
    stream.channels = getLastSize(value);
    add(value);
    // An obstacle does not end the search: the products that read the stream
    // are told of it.
    for (size_t i = 0; i < stream.values.size(); ++i) {
      if (stream.values.size() > kMaxValues) {
        fail("it has too many values");
        break;
      }
      visit(stream.values[i]);
    }
    if (!stream.obstacle.empty())
      addFurtherReaders();
    return std::move(stream);
  }

private:
  void fail(const Twine &why) {
    if (stream.obstacle.empty())
      stream.obstacle = why.str();
  }

  void add(Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type || !type.getElementType().isF32() ||
        getLastSize(value) != stream.channels)
      return fail("it is no tensor of f32 channels");
    stream.values.insert(value);
  }

  /// A value, or a constant, that is added to the stream.
  void addOperand(OpOperand &operand) {
    if (!isConstantExpression(operand.get()))
      return add(operand.get());
    auto type = cast<RankedTensorType>(operand.get().getType());
    if (!type.getElementType().isF32())
      return fail("a weight of it is not f32");
    stream.makers.insert(&operand);
  }

  void visit(Value value) {
    if (Operation *maker = value.getDefiningOp())
      visitMaker(maker);
    else
      fail("it is an input");
    for (OpOperand &use : value.getUses())
      visitUse(use);
  }

  void visitMaker(Operation *op) {
    if (auto matmul = dyn_cast<MatMulOp>(op)) {
      auto rhs = cast<RankedTensorType>(matmul.getRhs().getType());
      if (!isConstantExpression(matmul.getRhs()) || rhs.getRank() != 2)
        return fail(describe(op) + ", which makes it, has no constant weight");
      return addOperand(matmul.getRhsMutable());
    }
    if (auto norm = dyn_cast<NormOp>(op))
      return visitNorm(norm);
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      if (!keepsLast(reshape))
        return fail(describe(op) + " splits its channels");
      return add(reshape.getInput());
    }
    if (auto generic = dyn_cast<GenericOp>(op))
      return visitGeneric(generic);
    fail(describe(op) + " makes it");
  }

  void visitNorm(NormOp op) {
    if (op.getKind() != NormKind::RMS)
      fail(describe(op) + " subtracts its mean");
    add(op.getInput());
    add(op.getResult());
  }

  /// A generic that makes a value of the stream or reads one, all of whose
  /// operands and whose result then belong to it.
  void visitGeneric(GenericOp op) {
    if (OpOperand *table = getTable(op)) {
      if (!isConstantExpression(table->get()))
        return fail(describe(op) + " picks from a table that is computed");
      return addOperand(*table);
    }
    auto refuse = [&] {
      fail(describe(op) + " does not commute with rotations");
    };
    if (op.isCopy()) {
      if (getLastRead(op, 0) != LastRead::InOrder)
        return refuse();
      add(op.getResult());
      return addOperand(op.getInputsMutable()[0]);
    }
    unsigned inputs[2];
    Operation *body = getBinary(op, inputs);
    if (!body)
      return refuse();
    LastRead reads[2] = {getLastRead(op, inputs[0]),
                         getLastRead(op, inputs[1])};
    if (isa<arith::AddFOp, arith::SubFOp>(body) &&
        reads[0] == LastRead::InOrder && reads[1] == LastRead::InOrder) {
      add(op.getResult());
      addOperand(op.getInputsMutable()[inputs[0]]);
      return addOperand(op.getInputsMutable()[inputs[1]]);
    }
    // A factor for all channels.
    for (unsigned i = 0; i < (isa<arith::MulFOp>(body) ? 2 : 1); ++i)
      if (isa<arith::MulFOp, arith::DivFOp>(body) &&
          reads[i] == LastRead::InOrder && reads[1 - i] == LastRead::Never) {
        add(op.getResult());
        return addOperand(op.getInputsMutable()[inputs[i]]);
      }
    for (unsigned i = 0; i < 2; ++i)
      if (isa<arith::MulFOp>(body) && reads[i] == LastRead::InOrder &&
          isConstantExpression(op.getInputs()[inputs[i]]))
        return fail("'" + getNodeName(op.getLoc()) +
                    "' is a gain per channel of what is added to the stream, "
                    "which does not commute with rotations");
    refuse();
  }

  void visitUse(OpOperand &use) {
    Operation *op = use.getOwner();
    if (op->getBlock() != use.get().getParentBlock())
      return fail(describe(op) + " reads it in a branch or a loop");
    if (auto matmul = dyn_cast<MatMulOp>(op))
      return visitReader(matmul, use, nullptr);
    if (auto norm = dyn_cast<NormOp>(op))
      return visitNorm(norm);
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      if (!keepsLast(reshape))
        return fail(describe(op) + " splits its channels");
      return add(reshape.getResult());
    }
    auto generic = dyn_cast<GenericOp>(op);
    if (!generic)
      return fail(describe(op) + " reads it");
    if (OpOperand *gain = getGain(generic, use)) {
      for (OpOperand &next : generic.getResult().getUses()) {
        if (auto reader = dyn_cast<MatMulOp>(next.getOwner())) {
          visitReader(reader, next, gain);
          continue;
        }
        fail(describe(next.getOwner()) + " reads it behind a gain");
      }
      return;
    }
    visitGeneric(generic);
  }

  /// Products behind whatever reads the stream are told of the obstacle, too.
  void addFurtherReaders() {
    llvm::SetVector<Value> work(stream.values.begin(), stream.values.end());
    for (size_t i = 0; i < work.size() && work.size() <= kMaxValues; ++i)
      for (Operation *op : work[i].getUsers())
        if (auto reader = dyn_cast<MatMulOp>(op)) {
          if (reader.getLhs() == work[i] &&
              isConstantExpression(reader.getRhs()))
            stream.readers.insert({reader, nullptr});
        } else if (isa<GenericOp, ReshapeOp, NormOp>(op)) {
          work.insert(op->getResult(0));
        }
  }

  void visitReader(MatMulOp op, OpOperand &use, OpOperand *gain) {
    auto rhs = cast<RankedTensorType>(op.getRhs().getType());
    if (use.getOperandNumber() != 0 || op.getTransA() || rhs.getRank() != 2 ||
        !isConstantExpression(op.getRhs()) || !rhs.getElementType().isF32())
      return fail(describe(op) + " reads it without a constant weight");
    stream.readers[op] = gain;
  }

  /// The operand [channels] that a generic multiplies a value of the stream
  /// with; null if it does something else.
  static OpOperand *getGain(GenericOp op, OpOperand &use) {
    unsigned inputs[2];
    Operation *body = getBinary(op, inputs);
    if (!body || !isa<arith::MulFOp>(body))
      return nullptr;
    unsigned own = use.getOperandNumber() == inputs[0] ? 0 : 1;
    OpOperand &other = op.getInputsMutable()[inputs[1 - own]];
    auto type = cast<RankedTensorType>(other.get().getType());
    bool isGain = isConstantExpression(other.get()) &&
                  type.getElementType().isF32() && type.hasStaticShape() &&
                  type.getNumElements() == getLastSize(op.getResult()) &&
                  getLastRead(op, inputs[1 - own]) == LastRead::InOrder &&
                  getLastRead(op, inputs[own]) == LastRead::InOrder;
    return isGain ? &other : nullptr;
  }

  Stream stream;
};
} // namespace

Stream rotate::findStream(Value value) { return Finder().run(value); }

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

namespace {
/// Follows the channels of an attention's values to what makes them. Positions
/// are not followed: the last dimension of a value is made of whole heads in
/// order, which reshapes and transposes of the leading dimensions keep, or a
/// part of it is, of which a slice is read.
class HeadFinder {
public:
  explicit HeadFinder(Heads &heads) : heads(heads) {}

  void trace(OpOperand &operand, unsigned depth) {
    trace(operand, {0, getLastSize(operand.get())}, depth);
  }

private:
  /// Channels of a last dimension.
  struct Part {
    int64_t first, count;
  };

  void trace(OpOperand &operand, Part part, unsigned depth) {
    Value value = operand.get();
    Operation *op = value.getDefiningOp();
    if (depth > kMaxDepth)
      return fail("too many operations make its values");
    if (!op)
      return fail("its values are an input");
    if (isReadElsewhere(operand, part))
      return fail(describe(op) + ", which makes its values, is read elsewhere");
    if (auto matmul = dyn_cast<MatMulOp>(op))
      return traceMatMul(matmul, part);
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      bool keepsPart = part.count == getLastSize(value) || keepsLast(reshape);
      if (!keepsPart || !hasWholeHeads(reshape.getInput()) ||
          !hasWholeHeads(reshape.getResult()))
        return fail(describe(op) + " splits its heads");
      if (!keepsLast(reshape))
        part = {0, getLastSize(reshape.getInput())};
      return trace(reshape.getInputMutable(), part, depth + 1);
    }
    auto generic = dyn_cast<GenericOp>(op);
    if (generic && generic.isCopy())
      if (std::optional<Part> read = getPart(generic, part))
        return trace(generic.getInputsMutable()[0], *read, depth + 1);
    unsigned inputs[2];
    Operation *body = generic ? getBinary(generic, inputs) : nullptr;
    if (!body || !isa<arith::AddFOp>(body))
      return fail(describe(op) + " does not commute with rotations");
    for (unsigned input : inputs) {
      OpOperand &next = generic.getInputsMutable()[input];
      if (getLastRead(generic, input) != LastRead::InOrder)
        return fail(describe(op) + " does not commute with rotations");
      if (isConstantExpression(next.get()))
        addMaker(next,
                 cast<RankedTensorType>(next.get().getType()).getRank() - 1,
                 part);
      else
        trace(next, part, depth + 1);
    }
  }

  void fail(const Twine &why) {
    if (heads.obstacle.empty())
      heads.obstacle = why.str();
  }

  bool hasWholeHeads(Value value) const {
    int64_t last = getLastSize(value);
    return last > 0 && last % heads.size == 0;
  }

  /// Where the input of a copy holds a part of its result: whole heads of its
  /// last dimension, which is read in order; none if it does not.
  std::optional<Part> getPart(GenericOp op, Part part) const {
    if (getLastRead(op, 0) == LastRead::InOrder)
      return part;
    AffineMap map = op.getMap(0);
    unsigned last = op.getNumParallel() - 1, uses = 0;
    for (AffineExpr expr : map.getResults())
      uses += expr.isFunctionOfDim(last);
    Value input = op.getInputs()[0];
    auto read = getReadExtent(op, map.getResult(map.getNumResults() - 1));
    if (uses != 1 || !read || read->dim != int64_t(last) || read->stride != 1 ||
        !read->isWithin(getLastSize(input)) || read->start % heads.size != 0 ||
        !hasWholeHeads(input))
      return std::nullopt;
    return Part{part.first + read->start, part.count};
  }

  /// True unless all other readers take slices beside the part.
  static bool isReadElsewhere(OpOperand &operand, Part part) {
    Value value = operand.get();
    int64_t last = cast<RankedTensorType>(value.getType()).getRank() - 1;
    if (llvm::hasNItemsOrMore(value.getUses(), kMaxReaders + 1))
      return true;
    return llvm::any_of(value.getUses(), [&](OpOperand &use) {
      if (&use == &operand)
        return false;
      std::optional<ReadExtent> read = getReadExtent(use, last);
      return !read || read->stride != 1 ||
             (read->start < part.first + part.count &&
              part.first < read->start + read->size);
    });
  }

  void traceMatMul(MatMulOp op, Part part) {
    auto rhs = cast<RankedTensorType>(op.getRhs().getType());
    if (!isConstantExpression(op.getRhs()) || rhs.getRank() != 2)
      return fail(describe(op) + ", which makes its values, has no constant "
                                 "weight");
    addMaker(op.getRhsMutable(), op.getTransB() ? 0 : 1, part);
  }

  void addMaker(OpOperand &operand, int64_t dim, Part part) {
    auto type = cast<RankedTensorType>(operand.get().getType());
    if (!type.getElementType().isF32() ||
        type.getDimSize(dim) % heads.size != 0)
      return fail("a weight of its values is not f32 of whole heads");
    heads.makers.push_back({&operand, dim, part.first, part.count});
  }

  Heads &heads;
};
} // namespace

std::optional<Heads> rotate::findHeads(MatMulOp reader) {
  auto rhs = cast<RankedTensorType>(reader.getRhs().getType());
  if (!isConstantExpression(reader.getRhs()) || rhs.getRank() != 2 ||
      reader.getTransA() || !rhs.getElementType().isF32())
    return std::nullopt;
  Heads heads;
  heads.reader = reader;
  // From the product back to the attention, then from its values on.
  Value value = reader.getLhs();
  SmallVector<Value> between;
  for (unsigned depth = 0; depth < kMaxDepth; ++depth) {
    between.push_back(value);
    Operation *op = value.getDefiningOp();
    if (auto attention = dyn_cast_or_null<AttentionOp>(op)) {
      heads.size = getLastSize(attention.getResult());
      if (heads.size <= 0)
        return std::nullopt;
      for (Value other : between)
        if (!other.hasOneUse()) {
          heads.obstacle = "the attention's result is read elsewhere";
          return heads;
        } else if (getLastSize(other) <= 0 ||
                   getLastSize(other) % heads.size != 0) {
          heads.obstacle = "heads are not whole in the product's input";
          return heads;
        }
      HeadFinder(heads).trace(attention.getValueMutable(), 0);
      return heads;
    }
    if (auto reshape = dyn_cast_or_null<ReshapeOp>(op)) {
      value = reshape.getInput();
      continue;
    }
    auto generic = dyn_cast_or_null<GenericOp>(op);
    if (!generic || !generic.isCopy() ||
        getLastRead(generic, 0) != LastRead::InOrder)
      return std::nullopt;
    value = generic.getInputs()[0];
  }
  return std::nullopt;
}
