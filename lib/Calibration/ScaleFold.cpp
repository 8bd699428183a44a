//===- ScaleFold.cpp - scaling the inputs of products -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/ScaleFold.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Calibration/Sequence.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/SetVector.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace qcc;

/// Operations between an activation and the weights it is folded into.
static constexpr unsigned kMaxDepth = 32;
/// Outputs of the model may change by this much of their largest magnitude.
static constexpr double kTolerance = 1e-3;
/// How the reason of what is not linear ends.
static constexpr StringLiteral kNotLinear = " does not scale with its channels";
/// How the reason of a factor such as the half of GELU ends.
static constexpr StringLiteral kOneWeight = " has one weight for all channels";

LogicalResult qcc::checkSameOutputs(Workspace &workspace, ModuleOp before,
                                    ModuleOp after) {
  llvm::Expected<double> difference = workspace.compareOutputs(before, after);
  if (!difference)
    return qcc::emitError(after.getLoc(), difference.takeError());
  if (!(*difference <= kTolerance))
    return emitCoded(after.getLoc(), Diag::Internal)
           << "rewriting weights changed the float model's outputs by "
           << std::to_string(*difference) << " of the largest";
  return success();
}

//===----------------------------------------------------------------------===//
// Finding
//===----------------------------------------------------------------------===//

/// What an operation is called in a reason. Some are of no node: what returns
/// the outputs, or what a pass added.
static std::string describe(Operation *op) {
  if (StringRef node = getNodeName(op->getLoc()); !node.empty())
    return ("'" + node + "'").str();
  return isa<func::ReturnOp>(op) ? "an output of the model"
                                 : op->getName().getStringRef().str();
}

static std::string describeMaker(Value value) {
  Operation *op = value.getDefiningOp();
  return op ? describe(op) : "an input";
}

/// The input that a value of a body is; none if it is computed.
static std::optional<unsigned> getInput(GenericOp op, Value value) {
  auto arg = dyn_cast<BlockArgument>(value);
  return arg && arg.getArgNumber() < op.getInputs().size()
             ? std::optional<unsigned>(arg.getArgNumber())
             : std::nullopt;
}

/// True for a value of a body that is 0 wherever it is read.
static bool isZero(GenericOp op, Value value) {
  if (std::optional<unsigned> input = getInput(op, value)) {
    auto constant = op.getInputs()[*input].getDefiningOp<ConstantOp>();
    auto dense =
        constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
    return dense && dense.isSplat() && isa<FloatType>(dense.getElementType()) &&
           dense.getSplatValue<APFloat>().isZero();
  }
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto real = constant ? dyn_cast<FloatAttr>(constant.getValue()) : nullptr;
  return real && real.getValue().isZero();
}

ScaleFold::ScaleFold(const LinearGroup &group) {
  auto type = cast<RankedTensorType>(group.input.getType());
  int64_t last = type.getRank() - 1, k = type.getDimSize(last);
  Channels channels{{last}, {k}, std::vector<int64_t>(size_t(k))};
  std::iota(channels.at.begin(), channels.at.end(), 0);
  classes = channels.at;
  for (OpOperand &use : group.input.getUses())
    if (!group.reads(use)) {
      fail(describe(use.getOwner()) + " reads it too");
      return;
    }
  if (!trace(group.input, std::move(channels), 0))
    return;
  // The representative of a class is its first channel.
  for (size_t i = 0; i < classes.size(); ++i)
    while (classes[i] != classes[size_t(classes[i])])
      classes[i] = classes[size_t(classes[i])];
}

bool ScaleFold::fail(const Twine &why) {
  if (obstacle.empty())
    obstacle = why.str();
  return false;
}

/// Channels at one place must have one scale.
void ScaleFold::joinClasses(const Channels &channels) {
  llvm::DenseMap<int64_t, int64_t> first;
  auto find = [&](int64_t i) {
    while (classes[size_t(i)] != i)
      i = classes[size_t(i)];
    return i;
  };
  for (auto [i, at] : llvm::enumerate(channels.at)) {
    int64_t other = first.try_emplace(at, int64_t(i)).first->second,
            a = find(other), b = find(int64_t(i));
    classes[size_t(std::max(a, b))] = std::min(a, b);
  }
}

/// The same channels where dimension `dims[i]` is dimension `newDims[i]` of
/// another tensor, or -1 if it is not there: its channels share a place.
ScaleFold::Channels ScaleFold::remap(const Channels &channels,
                                     ArrayRef<int64_t> newDims) {
  SmallVector<size_t> order;
  for (size_t i = 0; i < newDims.size(); ++i)
    if (newDims[i] >= 0)
      order.push_back(i);
  llvm::sort(order,
             [&](size_t a, size_t b) { return newDims[a] < newDims[b]; });
  Channels result;
  for (size_t i : order) {
    result.dims.push_back(newDims[i]);
    result.sizes.push_back(channels.sizes[i]);
  }
  for (int64_t at : channels.at) {
    SmallVector<int64_t> index(newDims.size());
    for (size_t i = newDims.size(); i-- > 0; at /= channels.sizes[i])
      index[i] = at % channels.sizes[i];
    int64_t place = 0;
    for (size_t i : order)
      place = place * channels.sizes[i] + index[i];
    result.at.push_back(place);
  }
  return result;
}

/// The same channels in a tensor of which a part is read: `place` has the
/// dimensions of the channels and maybe more, `extents` where the part is.
ScaleFold::Channels ScaleFold::embed(const Channels &part, Channels place,
                                     ArrayRef<ReadExtent> extents) {
  for (int64_t at : part.at) {
    SmallVector<int64_t> index = llvm::map_to_vector(
        extents, [](const ReadExtent &extent) { return extent.start; });
    for (size_t i = part.dims.size(), j = index.size(); i-- > 0;
         at /= part.sizes[i]) {
      while (place.dims[--j] != part.dims[i])
        ;
      index[j] += at % part.sizes[i] * extents[j].stride;
    }
    int64_t result = 0;
    for (auto [i, size] : llvm::enumerate(place.sizes))
      result = result * size + index[i];
    place.at.push_back(result);
  }
  return place;
}

/// True if a use may read one of the channels: only a slice beside them does
/// not, as of the queries and keys that one product makes with the values.
bool ScaleFold::reads(OpOperand &use, const Channels &channels) {
  SmallVector<ReadExtent> extents;
  for (int64_t dim : channels.dims)
    extents.push_back(
        getReadExtent(use, dim).value_or(ReadExtent{0, INT64_MAX, -1}));
  return llvm::any_of(channels.at, [&](int64_t at) {
    bool isRead = true;
    for (size_t i = extents.size(); i-- > 0; at /= channels.sizes[i]) {
      int64_t index = at % channels.sizes[i] - extents[i].start;
      isRead &= index >= 0 && index % extents[i].stride == 0 &&
                index / extents[i].stride < extents[i].size;
    }
    return isRead;
  });
}

/// The operation on the way from an activation on that joins what another reads
/// of all of it with it, a few elementwise steps on: a value times what is
/// computed of it is no multiple of it. Null if there is none.
Operation *ScaleFold::findJoin(OpOperand &use) const {
  constexpr size_t kMaxSteps = 16;
  auto reader = dyn_cast<GenericOp>(use.getOwner());
  if (!reader || use.getOperandNumber() >= reader.getInputs().size() ||
      !reader.getMap(use.getOperandNumber()).isIdentity() ||
      getDims(reader.getResult().getType()) != getDims(use.get().getType()))
    return nullptr;
  llvm::SetVector<Operation *> work;
  work.insert(reader);
  for (size_t i = 0; i < work.size() && work.size() <= kMaxSteps; ++i) {
    if (path.contains(work[i]))
      return work[i];
    if (isa<GenericOp, ReshapeOp>(work[i]))
      work.insert(work[i]->user_begin(), work[i]->user_end());
  }
  return nullptr;
}

bool ScaleFold::traceOperand(OpOperand &operand, Channels channels,
                             unsigned depth) {
  Value value = operand.get();
  // What stands for an expert without tokens.
  if (auto generic = value.getDefiningOp<GenericOp>();
      generic && !generic.isReduction() &&
      isZero(generic, generic.getYielded()))
    return true;
  if (isConstantExpression(value)) {
    auto type = cast<RankedTensorType>(value.getType());
    if (!type.getElementType().isF32())
      return fail("its weight is not f32");
    joinClasses(channels);
    sinks.push_back({&operand, std::move(channels)});
    return true;
  }
  if (llvm::hasNItemsOrMore(value.getUses(), kMaxReaders + 1))
    return fail(describeMaker(value) + ", which makes it, is read elsewhere");
  for (OpOperand &use : value.getUses())
    if (&use != &operand && reads(use, channels)) {
      Operation *join = findJoin(use);
      return join ? fail(describe(join) + kNotLinear)
                  : fail(describeMaker(value) +
                         ", which makes it, is read elsewhere");
    }
  return trace(value, std::move(channels), depth);
}

bool ScaleFold::trace(Value value, Channels channels, unsigned depth) {
  if (depth > kMaxDepth)
    return fail("too many operations make it");
  Operation *op = value.getDefiningOp();
  if (!op)
    return fail("it is an input");
  path.insert(op);
  if (auto matmul = dyn_cast<MatMulOp>(op))
    return traceMatMul(matmul, std::move(channels), depth + 1);
  if (auto attention = dyn_cast<AttentionOp>(op))
    return traceAttention(attention, std::move(channels), depth + 1);
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    return traceReshape(reshape, std::move(channels), depth + 1);
  if (auto generic = dyn_cast<GenericOp>(op))
    return traceGeneric(generic, channels, depth + 1);
  if (auto concat = dyn_cast<ConcatOp>(op))
    return traceConcat(concat, channels, depth + 1);
  if (auto branch = dyn_cast<IfOp>(op))
    return traceIf(branch, cast<OpResult>(value).getResultNumber(), channels,
                   depth + 1);
  return fail(describe(op) + " (" + op->getName().getStringRef() +
              ") has no weight to fold into");
}

bool ScaleFold::traceMatMul(MatMulOp op, Channels channels, unsigned depth) {
  auto result = cast<RankedTensorType>(op.getResult().getType()),
       rhs = cast<RankedTensorType>(op.getRhs().getType());
  int64_t last = result.getRank() - 1;
  if (isConstantExpression(op.getRhs())) {
    if (channels.dims != SmallVector<int64_t>{last} || rhs.getRank() != 2)
      return fail("channels of " + describe(op) + " are not its columns");
    channels.dims = {op.getTransB() ? 0 : 1};
    return traceOperand(op.getRhsMutable(), std::move(channels), depth);
  }
  // Probabilities times values: heads are a dimension of both.
  if (op.getTransB() || rhs.getRank() != result.getRank() ||
      llvm::is_contained(channels.dims, last - 1))
    return fail(describe(op) + " has no constant weight");
  for (auto [dim, size] : llvm::zip_equal(channels.dims, channels.sizes))
    if (rhs.getDimSize(dim) != size)
      return fail(describe(op) + " broadcasts its channels");
  return traceOperand(op.getRhsMutable(), std::move(channels), depth);
}

/// Rows of several tensors, as those of all experts, one after the other.
bool ScaleFold::traceConcat(ConcatOp op, const Channels &channels,
                            unsigned depth) {
  if (llvm::is_contained(channels.dims, int64_t(op.getAxis())))
    return fail(describe(op) + " joins its channels with others");
  return llvm::all_of(op->getOpOperands(), [&](OpOperand &input) {
    return traceOperand(input, channels, depth);
  });
}

/// What an expert computes where it has tokens.
bool ScaleFold::traceIf(IfOp op, unsigned result, const Channels &channels,
                        unsigned depth) {
  return traceOperand(op.getYield(0)->getOpOperand(result), channels, depth) &&
         traceOperand(op.getYield(1)->getOpOperand(result), channels, depth);
}

bool ScaleFold::traceAttention(AttentionOp op, Channels channels,
                               unsigned depth) {
  int64_t groups =
      cast<RankedTensorType>(op.getValue().getType()).getDimSize(1);
  for (size_t i = 0; i < channels.dims.size(); ++i) {
    if (channels.dims[i] == 3)
      continue;
    if (channels.dims[i] != 1 || groups <= 0 || channels.sizes[i] % groups != 0)
      return fail("channels of " + describe(op) +
                  " are not those of its values");
    // Several query heads read one value head.
    int64_t share = channels.sizes[i] / groups;
    int64_t behind = 1;
    for (size_t j = i + 1; j < channels.sizes.size(); ++j)
      behind *= channels.sizes[j];
    for (int64_t &at : channels.at) {
      int64_t head = at / behind % channels.sizes[i],
              before = at / behind / channels.sizes[i];
      at = (before * groups + head / share) * behind + at % behind;
    }
    channels.sizes[i] = groups;
  }
  return traceOperand(op.getValueMutable(), std::move(channels), depth);
}

/// Reshapes keep row-major positions: runs of dimensions with equal products
/// replace each other, found from the last one.
bool ScaleFold::traceReshape(ReshapeOp op, Channels channels, unsigned depth) {
  SmallVector<AffineExpr> out = getDims(op.getResult().getType()),
                          in = getDims(op.getInput().getType());
  auto refuse = [&] {
    return fail(describe(op) + " spreads its channels over other dimensions");
  };
  SmallVector<int64_t> dims, sizes; // of the input, from the last
  size_t i = out.size(), j = in.size(), left = channels.dims.size();
  while (left) {
    if (i == 0 || j == 0)
      return refuse();
    size_t outEnd = i--, inEnd = j--;
    auto a = getConstantSize(out[i]), b = getConstantSize(in[j]);
    if (!a || !b) {
      // Not known, so it has no channels; it must be the same dimension.
      if (out[i] != in[j])
        return refuse();
      continue;
    }
    int64_t outSize = *a, inSize = *b;
    while (outSize != inSize) {
      std::optional<int64_t> more;
      if (outSize < inSize && i > 0 && (more = getConstantSize(out[i - 1])))
        outSize *= *more, --i;
      else if (inSize < outSize && j > 0 && (more = getConstantSize(in[j - 1])))
        inSize *= *more, --j;
      else
        return refuse();
      if (outSize > (int64_t(1) << 40) || inSize > (int64_t(1) << 40))
        return refuse();
    }
    int64_t covered = 1;
    while (left && channels.dims[left - 1] >= int64_t(i) &&
           channels.dims[left - 1] < int64_t(outEnd))
      covered *= channels.sizes[--left];
    if (covered == 1)
      continue;
    if (covered != outSize)
      return refuse();
    for (size_t d = inEnd; d-- > j;) {
      dims.push_back(int64_t(d));
      sizes.push_back(*getConstantSize(in[d]));
    }
  }
  channels.dims.assign(dims.rbegin(), dims.rend());
  channels.sizes.assign(sizes.rbegin(), sizes.rend());
  return traceOperand(op.getInputMutable(), std::move(channels), depth);
}

/// The channels as operand `input` of a generic holds them.
bool ScaleFold::traceRead(GenericOp op, unsigned input,
                          const Channels &channels, unsigned depth) {
  AffineMap map = op.getMap(input);
  auto type = cast<RankedTensorType>(op.getInputs()[input].getType());
  SmallVector<int64_t> newDims(channels.dims.size(), -1);
  auto refuse = [&] {
    return fail(describe(op) + " reads a part of its channels");
  };
  Channels place; // what is read of the dimensions that channels are in
  SmallVector<ReadExtent> extents;
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    std::optional<ReadExtent> extent = getReadExtent(op, expr);
    int64_t size = type.getDimSize(unsigned(i));
    size_t channel = channels.dims.size();
    for (size_t j = 0; j < channels.dims.size(); ++j)
      if (expr.isFunctionOfDim(unsigned(channels.dims[j])))
        channel = j;
    // An index into a dimension, or a slice of one, tells channels apart as
    // well.
    bool isIndex = channel == channels.dims.size() && extent &&
                   extent->size == 1 && size > 1;
    if (channel == channels.dims.size() && !isIndex)
      continue;
    if (!extent || ShapedType::isDynamic(size) || !extent->isWithin(size))
      return refuse();
    if (!isIndex && newDims[channel] >= 0)
      return refuse();
    if (!isIndex)
      newDims[channel] = int64_t(i);
    place.dims.push_back(int64_t(i));
    place.sizes.push_back(size);
    extents.push_back(*extent);
  }
  Channels part = remap(channels, newDims);
  if (part.dims.empty())
    return fail(describe(op) + kOneWeight);
  Channels read = embed(part, std::move(place), extents);
  return traceOperand(op.getInputsMutable()[input], std::move(read), depth);
}

/// True for a product of an input with what is computed of that input.
static bool isOfItself(GenericOp op, Operation *product) {
  std::optional<unsigned> left = getInput(op, product->getOperand(0)),
                          right = getInput(op, product->getOperand(1));
  if (!left || !right)
    return false;
  Value a = op.getInputs()[*left], b = op.getInputs()[*right];
  return llvm::is_contained(a.getUsers(), b.getDefiningOp()) ||
         llvm::is_contained(b.getUsers(), a.getDefiningOp());
}

bool ScaleFold::traceGeneric(GenericOp op, const Channels &channels,
                             unsigned depth) {
  if (op.isReduction())
    return fail(describe(op) + kNotLinear);
  if (!op.getWhole().empty()) {
    OpOperand *rows = getMovedRows(op);
    if (!rows || channels.dims != SmallVector<int64_t>{op.getNumParallel() - 1})
      return fail(describe(op) + kNotLinear);
    Channels picked = channels;
    auto type = cast<RankedTensorType>(rows->get().getType());
    picked.dims = {type.getRank() - 1};
    return traceOperand(*rows, std::move(picked), depth);
  }
  return traceBody(op, op.getYielded(), channels, depth, /*level=*/0);
}

/// Goes on from a value of a body to the inputs that it scales with: a norm's
/// gain and shift, say, are a sum of a product. What is divided is read once,
/// so nothing else in the body depends on it.
bool ScaleFold::traceBody(GenericOp op, Value value, const Channels &channels,
                          unsigned depth, unsigned level) {
  auto refuse = [&] { return fail(describe(op) + kNotLinear); };
  // Of a body, not of a model: longer ones are no norms.
  constexpr unsigned maxLevel = 8;
  if (level > maxLevel || !value.hasOneUse())
    return refuse();
  if (std::optional<unsigned> input = getInput(op, value))
    return traceRead(op, *input, channels, depth);
  Operation *body = value.getDefiningOp();
  auto trace = [&](unsigned operand) {
    return traceBody(op, body->getOperand(operand), channels, depth, level + 1);
  };
  if (!body)
    return refuse();
  if (isa<arith::NegFOp, arith::DivFOp>(body))
    return trace(0);
  // A rectifier scales with positive factors.
  if (isa<arith::MaximumFOp, arith::MaxNumFOp>(body))
    for (unsigned i = 0; i < 2; ++i)
      if (isZero(op, body->getOperand(1 - i)))
        return trace(i);
  if (isa<arith::AddFOp>(body))
    for (unsigned i = 0; i < 2; ++i)
      if (isZero(op, body->getOperand(1 - i)))
        return trace(i);
  if (isa<arith::AddFOp, arith::SubFOp>(body))
    return trace(0) && trace(1);
  if (!isa<arith::MulFOp>(body))
    return refuse();
  // Either factor may be divided; weights first.
  std::optional<unsigned> left = getInput(op, body->getOperand(0));
  unsigned first = !left || !isConstantExpression(op.getInputs()[*left]);
  std::vector<int64_t> classesBefore = classes;
  size_t sinksBefore = sinks.size();
  if (trace(first))
    return true;
  std::string why = std::exchange(obstacle, "");
  classes = std::move(classesBefore);
  sinks.resize(sinksBefore);
  if (trace(1 - first))
    return true;
  // What could have been scaled is the reason that helps: not the sigmoid of a
  // gate, but what is the matter with the other factor. A value times what is
  // computed of it, as in SiLU, can never be.
  bool isOther = StringRef(why).ends_with(kOneWeight) ||
                 (StringRef(why).ends_with(kNotLinear) !=
                      StringRef(obstacle).ends_with(kNotLinear) &&
                  StringRef(why).ends_with(kNotLinear) != isOfItself(op, body));
  if (!isOther)
    obstacle = std::move(why);
  return false;
}

//===----------------------------------------------------------------------===//
// Applying
//===----------------------------------------------------------------------===//

void ScaleFold::apply(ArrayRef<float> scales) const {
  for (const Sink &sink : sinks) {
    int64_t count =
        std::accumulate(sink.channels.sizes.begin(), sink.channels.sizes.end(),
                        int64_t(1), std::multiplies<>());
    std::vector<float> factors(size_t(count), 1.0f);
    for (auto [channel, at] : llvm::enumerate(sink.channels.at))
      factors[size_t(at)] = scales[channel];
    OpBuilder b(sink.operand->getOwner());
    sink.operand->set(scaleChannels(b, sink.operand->get(), sink.channels.dims,
                                    sink.channels.sizes, factors,
                                    /*divide=*/true));
  }
}

//===----------------------------------------------------------------------===//
// Groups of a module
//===----------------------------------------------------------------------===//

CheckpointRecord qcc::toRecord(const ScaleChoice &choice) {
  CheckpointRecord record;
  record.set("scales", choice.scales);
  record.setText("note", choice.note);
  return record;
}

std::optional<ScaleChoice> qcc::readScaleChoice(const CheckpointRecord &record,
                                                size_t channels) {
  auto note = record.getText("note");
  auto scales = record.get<float>("scales", 0);
  if (!scales)
    scales = record.get<float>("scales", channels);
  if (!note || !scales || !llvm::all_of(*scales, [](float scale) {
        return std::isfinite(scale) && scale > 0;
      }))
    return std::nullopt;
  return ScaleChoice{std::move(*scales), note->str()};
}

llvm::Error qcc::scaleGroups(
    Workspace &workspace, Pass &pass, ModuleOp module,
    ArrayRef<LinearGroup> groups,
    llvm::function_ref<llvm::Expected<ScaleChoice>(const LinearGroup &,
                                                   InputData &)>
        find,
    llvm::function_ref<void(const LinearGroup &, const ScaleChoice &)> apply) {
  PassCheckpoints checkpoints(workspace, pass, module);
  // Groups change each other's weights, so they are always changed in order;
  // their data are those of the module before.
  IRMapping mapping;
  OwningOpRef<ModuleOp> original =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  auto inputs = llvm::map_to_vector(groups, [&](const LinearGroup &group) {
    return mapping.lookup(group.input);
  });
  size_t first = 0;
  for (; first < groups.size(); ++first) {
    std::optional<CheckpointRecord> record = checkpoints.read(first);
    if (!record)
      break;
    const LinearGroup &group = groups[first];
    auto type = cast<RankedTensorType>(group.input.getType());
    auto choice = readScaleChoice(*record, size_t(type.getShape().back()));
    if (!choice)
      return makeError(Diag::BadCalibration,
                       describeNode(MatMulOp(group.layers.front()).getLoc()),
                       "expected a checkpoint of this layer, but its sizes or "
                       "numbers are others");
    apply(group, *choice);
  }
  if (first == groups.size())
    return llvm::Error::success();
  return Sequence(workspace, *original)
      .gather(
          inputs, [&](size_t i) { return i >= first; },
          [&](size_t i, InputData &data) -> llvm::Error {
            llvm::Expected<ScaleChoice> choice = find(groups[i], data);
            if (!choice)
              return choice.takeError();
            apply(groups[i], *choice);
            return checkpoints.write(i, toRecord(*choice));
          });
}
