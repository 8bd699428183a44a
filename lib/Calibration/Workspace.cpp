//===- Workspace.cpp - data and weights for passes that need them -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Workspace.h"
#include "mlir/IR/DialectInterface.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
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
static void observe(Value value, size_t number) {
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
    observe(mapping.lookup(value), i);
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
  StringRef name = getNodeName(value.getLoc());
  return name.empty() ? "an input" : ("node '" + name + "'").str();
}

namespace {
/// Rows by sample: which of all rows a sample's are is known after a first run.
struct RowCount {
  std::vector<uint64_t> ofSample;
  uint64_t before(size_t sample) const {
    uint64_t sum = 0;
    for (size_t i = 0; i < sample; ++i)
      sum += ofSample[i];
    return sum;
  }
};

/// Keeps every n-th row of an activation in its place.
class RowSampler {
public:
  RowSampler(uint64_t rows, size_t channels, std::vector<float> &out)
      : rows(rows), channels(channels),
        kept(std::min(rows, Workspace::kSampledRows)), out(out) {
    out.assign(kept * channels, 0.0f);
  }
  /// Rows from number `first` on. Rows of several threads have own places.
  void add(uint64_t first, ArrayRef<float> values) {
    if (!kept)
      return;
    for (uint64_t r = 0; r < values.size() / channels; ++r) {
      uint64_t row = first + r, place = row * kept / rows;
      // The first row of each place.
      if (row >= rows || (row > 0 && (row - 1) * kept / rows == place))
        continue;
      std::copy_n(values.begin() + r * channels, channels,
                  out.begin() + place * channels);
    }
  }

private:
  uint64_t rows;
  size_t channels;
  uint64_t kept;
  std::vector<float> &out;
};
} // namespace

namespace {
/// Keeps what is observed while it is little, so that samples run once.
class KeptRows {
public:
  KeptRows(size_t values, size_t samples)
      : arrays(values, std::vector<std::vector<float>>(samples)) {}
  /// Several arrays of a sample (in a loop) follow each other. Samples have
  /// own places.
  void add(size_t value, size_t sample, ArrayRef<float> rows) {
    if ((bytes += rows.size() * sizeof(float)) <= Workspace::kKeptBytes)
      llvm::append_range(arrays[value][sample], rows);
  }
  bool areAll() const { return bytes <= Workspace::kKeptBytes; }
  ArrayRef<float> get(size_t value, size_t sample) const {
    return arrays[value][sample];
  }

private:
  std::vector<std::vector<std::vector<float>>> arrays;
  std::atomic<uint64_t> bytes = 0;
};
} // namespace

llvm::Error Workspace::gatherObserved(ModuleOp module, ArrayRef<Value> values,
                                      ArrayRef<Sample> onSamples,
                                      std::vector<InputData> &data,
                                      Listener other) {
  auto program = executor.compile(module);
  if (!program)
    return program.takeError();
  std::vector<RowCount> counts(
      values.size(), RowCount{std::vector<uint64_t>(onSamples.size())});
  data.resize(values.size());
  for (auto [i, value] : llvm::enumerate(values))
    data[i].range = ChannelRange(getChannels(value));
  auto kept = std::make_unique<KeptRows>(values.size(), onSamples.size());
  std::mutex mutex;
  if (llvm::Error error = forEachSample(
          **program, onSamples,
          [&](size_t sample, StringRef name, ArrayRef<float> rows) {
            if (name.front() != '@')
              return other(sample, name, rows);
            size_t i = getNumber(name);
            ChannelRange part(getChannels(values[i]));
            part.add(rows);
            kept->add(i, sample, rows);
            std::lock_guard<std::mutex> lock(mutex);
            data[i].range.merge(part);
            counts[i].ofSample[sample] += part.rows;
          }))
    return error;
  std::vector<RowSampler> samplers;
  for (auto [i, value] : llvm::enumerate(values)) {
    const ChannelRange &range = data[i].range;
    if (range.nonFinite)
      return makeError(Diag::BadCalibration, describe(value),
                       llvm::Twine(range.nonFinite) +
                           " values are NaN or infinite on the samples");
    if (range.rows > Gram::kMaxRows)
      return makeError(Diag::LimitReached, describe(value),
                       "expected at most " + llvm::Twine(Gram::kMaxRows) +
                           " rows of calibration data, but got " +
                           llvm::Twine(range.rows));
    data[i].gram = Gram(range);
    samplers.emplace_back(range.rows, getChannels(value), data[i].sampled);
  }
  // Several observations of a sample (in a loop) follow each other.
  std::vector<RowCount> seen = counts;
  for (RowCount &count : seen)
    std::fill(count.ofSample.begin(), count.ofSample.end(), 0);
  auto add = [&](size_t i, size_t sample, ArrayRef<float> rows) {
    data[i].gram.add(rows);
    uint64_t &done = seen[i].ofSample[sample];
    samplers[i].add(counts[i].before(sample) + done, rows);
    done += rows.size() / getChannels(values[i]);
  };
  if (kept->areAll())
    return runParallel(
        onSamples.size(), threads,
        [&](size_t sample) {
          for (size_t i = 0; i < values.size(); ++i)
            add(i, sample, kept->get(i, sample));
          return llvm::Error::success();
        },
        [](size_t) {});
  kept.reset();
  return forEachSample(
      **program, onSamples,
      [&](size_t sample, StringRef name, ArrayRef<float> rows) {
        if (name.front() == '@')
          add(getNumber(name), sample, rows);
      });
}

llvm::Error Workspace::gather(ModuleOp module, ArrayRef<Value> values,
                              Receiver receive) {
  // All copies are made of the module as it is now: `receive` may change it.
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  SmallVector<Value> copied;
  for (Value value : values)
    copied.push_back(mapping.lookup(value));
  for (size_t first = 0; first < copied.size();) {
    uint64_t bytes = 0;
    size_t count = 0;
    while (first + count < copied.size()) {
      uint64_t channels = getChannels(copied[first + count]);
      bytes += channels * channels * 4;
      if (count && bytes > kGramBytes)
        break;
      ++count;
    }
    ArrayRef<Value> batch = ArrayRef(copied).slice(first, count);
    OwningOpRef<ModuleOp> observed = makeObserved(*copy, batch);
    std::vector<InputData> data;
    if (llvm::Error error =
            gatherObserved(*observed, batch, samples, data,
                           [](size_t, StringRef, ArrayRef<float>) {}))
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
        Location at = coded.getWhere().empty()
                          ? loc
                          : NameLoc::get(StringAttr::get(loc.getContext(),
                                                         coded.getWhere()));
        emitCoded(at, coded.getDiag()) << coded.getText();
      },
      [&](const llvm::ErrorInfoBase &other) {
        emitCoded(loc, Diag::Internal) << other.message();
      });
  return failure();
}
