//===- Workspace.cpp - data and weights for passes -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Workspace.h"
#include "GatheredRows.h"
#include "mlir/IR/DialectInterface.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/Parallel.h"
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

llvm::Error Workspace::forEachSample(const HostProgram &program,
                                     ArrayRef<Sample> onSamples,
                                     Listener body) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  llvm::Error failure = llvm::Error::success();
  auto work = [&] {
    for (size_t i; (i = next++) < onSamples.size();) {
      llvm::Error error = program.run(
          onSamples[i], [&](StringRef name, ArrayRef<float> values) {
            body(i, name, values);
          });
      if (!error)
        continue;
      next = onSamples.size();
      std::lock_guard<std::mutex> lock(mutex);
      failure = llvm::joinErrors(std::move(failure), std::move(error));
      return;
    }
  };
  std::vector<std::thread> pool;
  for (unsigned i = 1; i < std::min<size_t>(threads, onSamples.size()); ++i)
    pool.emplace_back(work);
  work();
  for (std::thread &thread : pool)
    thread.join();
  return failure;
}

/// The function that samples are for.
static func::FuncOp getEntry(ModuleOp module) {
  return *module.getOps<func::FuncOp>().begin();
}

/// Observes a value as `@number`.
static void addObservation(Value value, size_t number) {
  OpBuilder b(value.getContext());
  b.setInsertionPointAfterValue(value);
  std::string name = "@" + std::to_string(number);
  ObserveOp::create(b, NameLoc::get(b.getStringAttr(name)), value, name);
}

static size_t getNumber(StringRef name) {
  size_t number = 0;
  name.drop_front().getAsInteger(10, number);
  return number;
}

/// Leaves of a module what its observations need: no results, no states, no
/// other entries. What becomes dead goes when it is compiled.
static void keepObservations(ModuleOp module) {
  func::FuncOp entry = getEntry(module);
  entry.getBody().front().getTerminator()->setOperands({});
  (void)entry.eraseResults(llvm::BitVector(entry.getNumResults(), true));
  SmallVector<Operation *> dead;
  for (auto func : module.getOps<func::FuncOp>())
    if (func != entry)
      dead.push_back(func);
  module.walk([&](StateWriteOp op) { dead.push_back(op); });
  for (Operation *op : dead)
    op->erase();
}

/// A copy of a module with observations of `values`, ready to compile.
static OwningOpRef<ModuleOp> makeObserved(ModuleOp module,
                                          ArrayRef<Value> values) {
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  for (auto [i, value] : llvm::enumerate(values))
    addObservation(mapping.lookup(value), i);
  keepObservations(*copy);
  return copy;
}

//===----------------------------------------------------------------------===//
// Gathering
//===----------------------------------------------------------------------===//

static size_t getChannels(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return size_t(type.getDimSize(type.getRank() - 1));
}

/// Name for messages: of the node that computes a value.
static std::string describe(Value value) {
  std::string node = describeNode(value.getLoc());
  return node.empty() ? "an input" : node;
}

llvm::Expected<std::vector<InputRange>>
Workspace::gatherRanges(const HostProgram &program, ArrayRef<Value> values,
                        ArrayRef<Sample> onSamples, Poor poor, Taker take,
                        Listener other) {
  std::vector<InputRange> ranges;
  for (Value value : values)
    ranges.push_back({ChannelRange(getChannels(value)),
                      {std::vector<uint64_t>(onSamples.size())}});
  std::mutex mutex;
  if (llvm::Error error = forEachSample(
          program, onSamples,
          [&](size_t sample, StringRef name, ArrayRef<float> rows) {
            if (name.front() != '@')
              return other(sample, name, rows);
            size_t i = getNumber(name);
            std::vector<float> buffer;
            if (poor == Poor::LeftOut)
              rows = getFiniteRows(rows, getChannels(values[i]), buffer);
            ChannelRange part(getChannels(values[i]));
            part.add(rows);
            take(i, sample, rows);
            std::lock_guard<std::mutex> lock(mutex);
            ranges[i].range.merge(part);
            ranges[i].rows.ofSample[sample] += part.rows;
          }))
    return std::move(error);
  return std::move(ranges);
}

/// Whether sums of an activation can be gathered.
static llvm::Error checkRange(Value value, const ChannelRange &range) {
  if (range.nonFinite)
    return makeError(Diag::BadCalibration, describe(value),
                     llvm::Twine(range.nonFinite) +
                         " values are NaN or infinite on the samples");
  if (range.rows > Gram::kMaxRows)
    return makeError(Diag::LimitReached, describe(value),
                     "expected at most " + llvm::Twine(Gram::kMaxRows) +
                         " rows of calibration data, but got " +
                         llvm::Twine(range.rows));
  return llvm::Error::success();
}

llvm::Expected<std::vector<InputData>>
Workspace::gatherSums(ArrayRef<Value> values, ArrayRef<InputRange> ranges,
                      llvm::function_ref<llvm::Error(Taker)> run) {
  Shard shard = getRole() == Rounds::Role::Shard ? rounds->getShard() : Shard();
  std::vector<InputData> data(values.size());
  std::vector<RowSampler> samplers;
  // Of each of these samples, the number of its next row among all rows:
  // several observations of a sample (in a loop) follow each other.
  std::vector<std::vector<uint64_t>> next(values.size());
  for (auto [i, value] : llvm::enumerate(values)) {
    data[i].range = ranges[i].range;
    data[i].gram = Gram(data[i].range);
    samplers.emplace_back(data[i].range.rows, getChannels(value),
                          data[i].sampled);
    uint64_t row = 0;
    for (auto [sample, rows] : llvm::enumerate(ranges[i].rows.ofSample)) {
      if (sample % shard.count == shard.number - 1)
        next[i].push_back(row);
      row += rows;
    }
  }
  if (llvm::Error error =
          run([&](size_t i, size_t sample, ArrayRef<float> rows) {
            data[i].gram.add(rows);
            samplers[i].add(next[i][sample], rows);
            next[i][sample] += rows.size() / getChannels(values[i]);
          }))
    return std::move(error);
  return std::move(data);
}

llvm::Error Workspace::observe(const HostProgram &program,
                               ArrayRef<Value> values,
                               ArrayRef<Sample> onSamples, Poor poor,
                               Taker take) {
  return forEachSample(
      program, onSamples,
      [&](size_t sample, StringRef name, ArrayRef<float> rows) {
        if (name.front() != '@')
          return;
        size_t i = getNumber(name);
        std::vector<float> buffer;
        if (poor == Poor::LeftOut)
          rows = getFiniteRows(rows, getChannels(values[i]), buffer);
        take(i, sample, rows);
      });
}

llvm::Error Workspace::contribute(ModuleOp module, StringRef request,
                                  ArrayRef<Value> values,
                                  ArrayRef<Sample> onSamples) {
  auto channels = llvm::map_to_vector(values, getChannels);
  auto ranges = rounds->readRanges(request, channels);
  std::string key = (request + (ranges ? ".sums" : ".range")).str();
  return rounds->contribute(key, [&]() -> llvm::Expected<CheckpointRecord> {
    auto program = executor.compile(module);
    if (!program)
      return program.takeError();
    if (!ranges) {
      auto own = gatherRanges(
          **program, values, onSamples, Poor::Refused,
          [](size_t, size_t, ArrayRef<float>) {},
          [](size_t, StringRef, ArrayRef<float>) {});
      if (!own)
        return own.takeError();
      return Rounds::writeRanges(*own);
    }
    auto own = gatherSums(values, *ranges, [&](Taker take) {
      return observe(**program, values, onSamples, Poor::Refused, take);
    });
    if (!own)
      return own.takeError();
    return Rounds::writeSums(*own);
  });
}

/// Prints all of a module, names of nodes too.
static void printModule(ModuleOp module, llvm::raw_ostream &os) {
  module.print(os, OpPrintingFlags().enableDebugInfo().useLocalScope());
}

/// A request's name: equal for equal work. The module holds everything that the
/// origin of the checkpoints does not decide.
static std::string getRequest(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  printModule(module, os);
  return "data-" + hashBytes(text).substr(7, 16);
}

llvm::Error Workspace::gatherObserved(ModuleOp module, ArrayRef<Value> values,
                                      ArrayRef<Sample> onSamples,
                                      std::vector<InputData> &data,
                                      Listener other) {
  auto check = [&](size_t i, const ChannelRange &range) {
    return checkRange(values[i], range);
  };
  if (getRole() == Rounds::Role::Shard)
    return contribute(module, getRequest(module), values, onSamples);
  if (getRole() == Rounds::Role::Collector) {
    auto collected = rounds->collectData(
        getRequest(module), llvm::map_to_vector(values, getChannels), check);
    if (!collected)
      return collected.takeError();
    data = std::move(*collected);
    return llvm::Error::success();
  }
  return gatherAlone(module, values, onSamples, Poor::Refused, data, other);
}

llvm::Error Workspace::gatherAlone(ModuleOp module, ArrayRef<Value> values,
                                   ArrayRef<Sample> onSamples, Poor poor,
                                   std::vector<InputData> &data,
                                   Listener other) {
  auto program = executor.compile(module);
  if (!program)
    return program.takeError();
  auto kept = std::make_unique<KeptRows>(values.size(), onSamples.size());
  auto ranges = gatherRanges(
      **program, values, onSamples, poor,
      [&](size_t i, size_t sample, ArrayRef<float> rows) {
        kept->add(i, sample, rows);
      },
      other);
  if (!ranges)
    return ranges.takeError();
  for (auto [i, range] : llvm::enumerate(*ranges))
    if (llvm::Error error = checkRange(values[i], range.range))
      return error;
  if (!kept->areAll())
    kept.reset();
  auto gathered = gatherSums(values, *ranges, [&](Taker take) {
    if (!kept)
      return observe(**program, values, onSamples, poor, take);
    return runParallel(
        onSamples.size(), threads,
        [&](size_t sample) {
          for (size_t i = 0; i < values.size(); ++i)
            kept->forEach(i, sample,
                          [&](ArrayRef<float> rows) { take(i, sample, rows); });
          return llvm::Error::success();
        },
        [](size_t) {});
  });
  if (!gathered)
    return gathered.takeError();
  data = std::move(*gathered);
  return llvm::Error::success();
}

size_t Workspace::countAtOnce(ArrayRef<Value> values) {
  uint64_t bytes = 0;
  size_t count = 0;
  for (Value value : values) {
    uint64_t channels = getChannels(value);
    bytes += channels * channels * 4;
    if (count && bytes > kGramBytes)
      break;
    ++count;
  }
  return count;
}

llvm::Error Workspace::gather(ModuleOp module, ArrayRef<Value> values,
                              Receiver receive) {
  auto ignore = [](size_t, StringRef, ArrayRef<float>) {};
  return forEachBatch(
      module, values, receive,
      [&](ModuleOp observed, ArrayRef<Value> batch, auto &data) {
        return gatherObserved(observed, batch, samples, data, ignore);
      });
}

llvm::Error Workspace::gatherHere(ModuleOp module, ArrayRef<Value> values,
                                  Receiver receive) {
  auto ignore = [](size_t, StringRef, ArrayRef<float>) {};
  return forEachBatch(
      module, values, receive,
      [&](ModuleOp observed, ArrayRef<Value> batch, auto &data) {
        return gatherAlone(observed, batch, samples, Poor::LeftOut, data,
                           ignore);
      });
}

llvm::Error Workspace::forEachBatch(ModuleOp module, ArrayRef<Value> values,
                                    Receiver receive, BatchGatherer gatherIt) {
  // All copies are made of the module as it is now: `receive` may change it.
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  SmallVector<Value> copied;
  for (Value value : values)
    copied.push_back(mapping.lookup(value));
  for (size_t first = 0; first < copied.size();) {
    size_t count = countAtOnce(ArrayRef(copied).drop_front(first));
    ArrayRef<Value> batch = ArrayRef(copied).slice(first, count);
    OwningOpRef<ModuleOp> observed = makeObserved(*copy, batch);
    std::vector<InputData> data;
    if (llvm::Error error = gatherIt(*observed, batch, data))
      return error;
    for (size_t i = 0; i < count; ++i) {
      if (llvm::Error error = receive(first + i, data[i]))
        return error;
      data[i] = InputData();
    }
    first += count;
  }
  return llvm::Error::success();
}

llvm::Expected<double> Workspace::compareOutputs(ModuleOp before,
                                                 ModuleOp after) {
  // The collector sees to it.
  if (getRole() == Rounds::Role::Shard)
    return 0.0;
  std::vector<std::vector<float>> outputs[2];
  for (auto [i, module] : llvm::enumerate(std::array{before, after})) {
    Operation *end = getEntry(module).getBody().front().getTerminator();
    SmallVector<Value> floats;
    for (Value value : end->getOperands())
      if (cast<RankedTensorType>(value.getType()).getElementType().isF32() &&
          !isConstantExpression(value) && !llvm::is_contained(floats, value))
        floats.push_back(value);
    outputs[i].resize(floats.size());
    if (floats.empty() || samples.empty())
      continue;
    OwningOpRef<ModuleOp> observed = makeObserved(module, floats);
    auto program = executor.compile(*observed);
    if (!program)
      return program.takeError();
    if (llvm::Error error =
            (*program)->run(samples.front(),
                            [&, i = i](StringRef name, ArrayRef<float> values) {
                              outputs[i][getNumber(name)] = values.vec();
                            }))
      return std::move(error);
  }
  double difference = 0, largest = 0;
  for (auto [a, b] : llvm::zip_equal(outputs[0], outputs[1]))
    for (auto [x, y] : llvm::zip_equal(a, b)) {
      if (std::isfinite(x))
        largest = std::fmax(largest, std::fabs(double(x)));
      if (std::isfinite(x) != std::isfinite(y))
        return HUGE_VAL;
      if (std::isfinite(x))
        difference = std::fmax(difference, std::fabs(double(x) - double(y)));
    }
  return largest > 0 ? difference / largest : difference;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

llvm::Expected<std::vector<float>> Workspace::evaluate(Value constant) {
  std::optional<uint64_t> bytes = getTensorBytes(constant.getType());
  if (!bytes || !isConstantExpression(constant) ||
      !cast<RankedTensorType>(constant.getType()).getElementType().isF32())
    return makeError(Diag::Internal, describe(constant),
                     "expected a constant of f32");
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters.getBytes(key); };
  std::vector<float> values(*bytes / sizeof(float));
  if (llvm::Error error = evaluateConstant(
          constant, source,
          {reinterpret_cast<char *>(values.data()), size_t(*bytes)}))
    return std::move(error);
  return std::move(values);
}

llvm::Expected<Value> Workspace::addBytes(OpBuilder &b, Location loc,
                                          StringRef key, Type element,
                                          StringRef elementName,
                                          ArrayRef<char> bytes,
                                          ArrayRef<int64_t> shape) {
  std::string unique = parameters.makeUniqueKey(key);
  auto room = parameters.addScratch(unique, elementName, shape, bytes.size());
  if (!room)
    return room.takeError();
  std::memcpy(room->data(), bytes.data(), bytes.size());
  return ParamOp::create(b, loc, RankedTensorType::get(shape, element), unique)
      .getResult();
}

template <typename T> static ArrayRef<char> toBytes(ArrayRef<T> values) {
  return {reinterpret_cast<const char *>(values.data()),
          values.size() * sizeof(T)};
}

llvm::Expected<Value> Workspace::addParameter(OpBuilder &b, Location loc,
                                              StringRef key,
                                              ArrayRef<float> values,
                                              ArrayRef<int64_t> shape) {
  return addBytes(b, loc, key, b.getF32Type(), "f32", toBytes(values), shape);
}

llvm::Expected<Value> Workspace::addParameter(OpBuilder &b, Location loc,
                                              StringRef key,
                                              ArrayRef<int32_t> values,
                                              ArrayRef<int64_t> shape) {
  return addBytes(b, loc, key, b.getI32Type(), "i32", toBytes(values), shape);
}

//===----------------------------------------------------------------------===//
// Checkpoints
//===----------------------------------------------------------------------===//

PassCheckpoints::PassCheckpoints(const Workspace &workspace, Pass &pass,
                                 ModuleOp module)
    : rounds(workspace.getRounds()) {
  if (!rounds)
    return;
  std::string text;
  llvm::raw_string_ostream os(text);
  pass.printAsTextualPipeline(os);
  os << "\n";
  printModule(module, os);
  work = (pass.getArgument() + "-" + hashBytes(text).substr(7, 16)).str();
}

std::string PassCheckpoints::getKey(size_t piece) const {
  std::string number = std::to_string(piece);
  return work + "-" + std::string(6 - std::min<size_t>(number.size(), 6), '0') +
         number;
}

std::optional<CheckpointRecord> PassCheckpoints::read(size_t piece) const {
  return rounds ? rounds->getFolder().read(getKey(piece)) : std::nullopt;
}

llvm::Error PassCheckpoints::write(size_t piece,
                                   const CheckpointRecord &record) const {
  return rounds ? rounds->getFolder().write(getKey(piece), record)
                : llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Of a context
//===----------------------------------------------------------------------===//

namespace {
/// Holds the workspace of a context.
struct WorkspaceInterface : DialectInterface::Base<WorkspaceInterface> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(WorkspaceInterface)
  WorkspaceInterface(Dialect *dialect) : Base(dialect) {}
  mutable Workspace *workspace = nullptr;
};
} // namespace

static Workspace *&getSlot(MLIRContext *context) {
  auto *dialect = context->getOrLoadDialect<QCCDialect>();
  if (!dialect->getRegisteredInterface<WorkspaceInterface>())
    dialect->addInterface(std::make_unique<WorkspaceInterface>(dialect));
  return dialect->getRegisteredInterface<WorkspaceInterface>()->workspace;
}

Workspace *qcc::getWorkspace(MLIRContext *context) { return getSlot(context); }

WorkspaceScope::WorkspaceScope(MLIRContext *context, Workspace *workspace)
    : context(context), before(getSlot(context)) {
  getSlot(context) = workspace;
}

WorkspaceScope::~WorkspaceScope() { getSlot(context) = before; }

Workspace *qcc::requireWorkspace(ModuleOp module, StringRef algorithm) {
  Workspace *workspace = getWorkspace(module.getContext());
  if (workspace && workspace->hasSamples())
    return workspace;
  emitCoded(module.getLoc(), Diag::Usage)
      << "--algo=" << algorithm
      << " chooses by data: expected --calib=DATA, but got none";
  return nullptr;
}

LogicalResult qcc::emitError(Location loc, llvm::Error error) {
  llvm::handleAllErrors(
      std::move(error),
      [&](const CodedError &coded) {
        // The name of a location is a node's; files and flags are told.
        StringRef where = coded.getWhere(), node = getDescribedNode(where);
        if (node.empty())
          emitCoded(loc, coded.getDiag())
              << where << (where.empty() ? "" : ": ") << coded.getText();
        else
          emitCoded(NameLoc::get(StringAttr::get(loc.getContext(), node)),
                    coded.getDiag())
              << coded.getText();
      },
      [&](const llvm::ErrorInfoBase &other) {
        emitCoded(loc, Diag::Internal) << other.message();
      });
  return failure();
}
