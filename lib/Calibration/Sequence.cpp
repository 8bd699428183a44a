//===- Sequence.cpp - activations one after the other -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Sequence.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"
#include <mutex>

using namespace mlir;
using namespace qcc;

/// Calls `body` for each value that an operation or what it contains reads
/// from outside of it.
static void forEachInput(Operation *op, llvm::function_ref<void(Value)> body) {
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      if (!op->isProperAncestor(operand.getParentRegion()->getParentOp()) &&
          operand.getParentRegion()->getParentOp() != op)
        body(operand);
  });
}

/// True for a check that only mentions sizes of arguments, which every piece
/// has.
static bool isOfArguments(CheckOp op) {
  auto firstRuntime =
      op->getParentOfType<ModuleOp>()->getAttrOfType<IntegerAttr>(
          kRuntimeFromAttr);
  return !firstRuntime ||
         llvm::none_of(op.getSizes().getResults(), [&](AffineExpr size) {
           return usesSymbolsFrom(size, size_t(firstRuntime.getInt()));
         });
}

Sequence::Sequence(Workspace &workspace, ModuleOp module)
    : workspace(workspace), module(module),
      entry(*module.getOps<func::FuncOp>().begin()) {
  entry.walk([&](Operation *op) {
    bool isInside = isa<MatMulOp, ConvOp, ConvTransposeOp>(op) &&
                    op->getParentOp() != entry;
    bool isBoundElsewhere = isa<CheckOp>(op) && op->getParentOp() == entry &&
                            !isOfArguments(cast<CheckOp>(op));
    if (obstacle.empty() && (isa<StateReadOp, StateWriteOp, BindOp>(op) ||
                             isInside || isBoundElsewhere))
      obstacle = (describeNode(op->getLoc()) + " (" +
                  op->getName().getStringRef() + ")")
                     .str();
  });
  if (!canSlice())
    return;
  for (const Sample &sample : workspace.getSamples()) {
    samples.emplace_back().name = sample.name;
    for (const SampleArray &array : sample.arrays) {
      SampleArray &view = samples.back().arrays.emplace_back();
      view.name = array.name;
      view.code = array.code;
      view.bits = array.bits;
      view.shape = array.shape;
      view.mapped = array.getBytes();
    }
  }
  for (Operation &op : entry.getBody().front()) {
    bool isHeavy = false;
    op.walk([&](Operation *inner) {
      isHeavy |= isa<MatMulOp, ConvOp, ConvTransposeOp, AttentionOp>(inner);
    });
    forEachInput(&op, [&](Value input) {
      isHeavy |= heavy.contains(input.getDefiningOp());
    });
    // Weights may have products in them too.
    if (isHeavy &&
        !(op.getNumResults() == 1 && isConstantExpression(op.getResult(0))))
      heavy.insert(&op);
  }
}

Sequence::Ops Sequence::getSlice(ArrayRef<Value> values) {
  Ops slice;
  SmallVector<Value> work(values);
  while (!work.empty()) {
    Value next = work.pop_back_val();
    Operation *op = next.getDefiningOp();
    if (!op || kept.contains(next) || !slice.insert(op))
      continue;
    forEachInput(op, [&](Value input) { work.push_back(input); });
  }
  return slice;
}

SmallVector<Value> Sequence::getResults(const Ops &slice) {
  SmallVector<Value> results;
  for (Operation *op : slice) {
    if (!heavy.contains(op))
      continue;
    for (Value result : op->getResults()) {
      auto type = dyn_cast<RankedTensorType>(result.getType());
      bool isRead = llvm::any_of(result.getUsers(), [&](Operation *user) {
        Operation *top = entry.getBody().front().findAncestorOpInBlock(*user);
        return !slice.contains(top);
      });
      if (type && type.getElementType().isF32() && isRead)
        results.push_back(result);
    }
  }
  return results;
}

OwningOpRef<ModuleOp> Sequence::makeModule(const Ops &slice,
                                           ArrayRef<Value> values,
                                           ArrayRef<Value> results) {
  OpBuilder b(module.getContext());
  OwningOpRef<ModuleOp> part = ModuleOp::create(module.getLoc());
  (*part)->setAttrs(module->getAttrs());
  b.setInsertionPointToEnd(part->getBody());
  SmallVector<Type> types(entry.getArgumentTypes());
  for (const auto &[keptValue, name] : kept)
    types.push_back(keptValue.getType());
  auto func = func::FuncOp::create(b, entry.getLoc(), entry.getSymName(),
                                   b.getFunctionType(types, {}));
  Block *block = func.addEntryBlock();
  IRMapping mapping;
  for (auto [i, argument] : llvm::enumerate(entry.getArguments())) {
    mapping.map(argument, block->getArgument(unsigned(i)));
    if (DictionaryAttr attrs = entry.getArgAttrDict(unsigned(i)))
      func.setArgAttrs(unsigned(i), attrs);
  }
  unsigned next = entry.getNumArguments();
  for (const auto &[keptValue, name] : kept) {
    mapping.map(keptValue, block->getArgument(next));
    func.setArgAttr(next++, "qcc.name", b.getStringAttr(name));
  }
  b.setInsertionPointToEnd(block);
  // Checks have no results by which a slice could find them. Each piece has all
  // of them, so that samples which break one end the run as in the whole model.
  for (StringRef name : {kChecksAttr, kCheckNodesAttr})
    if (Attribute checks = entry->getAttr(name))
      func->setAttr(name, checks);
  for (Operation &op : entry.getBody().front())
    if (slice.contains(&op) || isa<CheckOp>(op))
      b.clone(op, mapping);
  auto observe = [&](Value observed, const std::string &name) {
    ObserveOp::create(b, NameLoc::get(b.getStringAttr(name)),
                      mapping.lookup(observed), name);
  };
  for (auto [i, value] : llvm::enumerate(values))
    observe(value, "@" + std::to_string(i));
  for (auto [i, result] : llvm::enumerate(results))
    observe(result, "#" + std::to_string(i));
  func::ReturnOp::create(b, entry.getLoc());
  return part;
}

/// Sizes of a value for a sample: symbols are what the function's arguments
/// say.
SmallVector<int64_t> Sequence::getShape(Value value, const Sample &sample) {
  SmallVector<int64_t> symbols;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
    auto name = entry.getArgAttrOfType<StringAttr>(i, "qcc.name");
    auto found = llvm::find_if(sample.arrays, [&](const SampleArray &array) {
      return name && array.name == name.getValue();
    });
    if (found == sample.arrays.end())
      continue;
    for (auto [dim, size] :
         llvm::zip(getDims(entry.getArgument(i).getType()), found->shape))
      if (auto symbol = dyn_cast<AffineSymbolExpr>(dim)) {
        if (symbols.size() <= symbol.getPosition())
          symbols.resize(symbol.getPosition() + 1);
        symbols[symbol.getPosition()] = size;
      }
  }
  SmallVector<int64_t> shape;
  for (AffineExpr dim : getDims(value.getType()))
    shape.push_back(evaluateSize(dim, symbols).value_or(-1));
  return shape;
}

std::vector<std::string> Sequence::forget(const Ops &slice) {
  done.insert(slice.begin(), slice.end());
  SmallVector<Value> dead;
  for (const auto &[value, name] : kept)
    if (llvm::all_of(value.getUsers(), [&](Operation *user) {
          Operation *top = entry.getBody().front().findAncestorOpInBlock(*user);
          return done.contains(top) &&
                 llvm::all_of(top->getResultTypes(), [](Type type) {
                   auto tensor = dyn_cast<RankedTensorType>(type);
                   return tensor && tensor.getElementType().isF32();
                 });
        }))
      dead.push_back(value);
  std::vector<std::string> forgotten;
  for (Value value : dead) {
    forgotten.push_back(kept[value]);
    kept.erase(value);
  }
  return forgotten;
}

Sequence::Piece Sequence::advance(ArrayRef<Value> values, bool observeRows) {
  Ops slice = getSlice(values);
  Piece piece;
  piece.results = getResults(slice);
  SmallVector<Value> observed = piece.results;
  if (observeRows)
    llvm::append_range(observed, values);
  piece.module = makeModule(slice, values, observed);
  for (Value result : piece.results) {
    piece.names.push_back("#" + std::to_string(names++));
    kept[result] = piece.names.back();
  }
  piece.dropped = forget(slice);
  return piece;
}

//===----------------------------------------------------------------------===//
// What is kept
//===----------------------------------------------------------------------===//

/// Takes what is observed of a piece's results, from several threads.
class Sequence::Keeper {
public:
  Keeper(const Piece &piece, size_t samples, uint64_t inMemory)
      : left(kMemoryBytes - std::min(kMemoryBytes, inMemory)) {
    arrays.resize(piece.results.size());
    for (auto &[file, ofSample] : arrays)
      ofSample.resize(samples);
  }

  void keep(size_t sample, size_t result, ArrayRef<float> values) {
    auto &[file, ofSample] = arrays[result];
    SampleArray &array = ofSample[sample];
    ArrayRef<char> bytes(reinterpret_cast<const char *>(values.data()),
                         values.size() * sizeof(float));
    std::unique_lock<std::mutex> lock(mutex);
    if (bytes.size() <= left) {
      left -= bytes.size();
      lock.unlock();
      array.bytes.assign(bytes.begin(), bytes.end());
      return;
    }
    if (!file)
      file = std::make_unique<ScratchArena>();
    auto room = file->allocate("calibration", bytes.size());
    if (!room) {
      fail(room.takeError());
      return;
    }
    lock.unlock();
    llvm::copy(bytes, room->begin());
    array.mapped = *room;
  }

  ~Keeper() { llvm::consumeError(std::move(failure)); }
  Keeper(const Keeper &) = delete;
  Keeper &operator=(const Keeper &) = delete;

  /// The first error that `keep` could not return.
  llvm::Error takeError() { return std::move(failure); }

  struct Arrays {
    std::unique_ptr<ScratchArena> file;
    std::vector<SampleArray> ofSample;
  };
  std::vector<Arrays> arrays;

private:
  void fail(llvm::Error error) {
    if (failure)
      llvm::consumeError(std::move(error));
    else
      failure = std::move(error);
  }

  std::mutex mutex;
  uint64_t left; ///< of the bytes in memory
  llvm::Error failure = llvm::Error::success();
};

llvm::Error Sequence::store(const Piece &piece, Keeper &keeper) {
  if (llvm::Error error = keeper.takeError())
    return error;
  for (auto [i, result] : llvm::enumerate(piece.results)) {
    auto &[file, ofSample] = keeper.arrays[i];
    for (auto [sample, array] : llvm::zip_equal(samples, ofSample)) {
      array.name = piece.names[i];
      array.code = 2; // DLPack's float
      array.bits = 32;
      SmallVector<int64_t> shape = getShape(result, sample);
      array.shape.assign(shape.begin(), shape.end());
      int64_t count = 1;
      for (int64_t size : shape)
        count *= size;
      int64_t got = int64_t(array.getBytes().size() / sizeof(float));
      if (count != got)
        return makeError(Diag::Internal, describeNode(result.getLoc()),
                         "expected " + llvm::Twine(count) +
                             " elements, but got " + llvm::Twine(got));
      inMemory += array.bytes.size();
      sample.arrays.push_back(std::move(array));
    }
    if (file)
      files[piece.names[i]] = std::move(file);
  }
  for (const std::string &name : piece.dropped) {
    for (Sample &sample : samples)
      llvm::erase_if(sample.arrays, [&](const SampleArray &array) {
        inMemory -= array.name == name ? array.bytes.size() : 0;
        return array.name == name;
      });
    files.erase(name);
  }
  return llvm::Error::success();
}

/// The number in an observation's name.
static size_t getNumber(StringRef name) {
  size_t number = 0;
  name.drop_front().getAsInteger(10, number);
  return number;
}

llvm::Error Sequence::catchUp() {
  for (Piece &piece : skipped) {
    auto program = workspace.compile(*piece.module);
    if (!program)
      return program.takeError();
    Keeper keeper(piece, samples.size(), inMemory);
    if (llvm::Error error = workspace.runSamples(
            **program, samples,
            [&](size_t sample, StringRef name, ArrayRef<float> values) {
              if (name.front() == '#' && getNumber(name) < piece.results.size())
                keeper.keep(sample, getNumber(name), values);
            }))
      return error;
    if (llvm::Error error = store(piece, keeper))
      return error;
  }
  skipped.clear();
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

void Sequence::skip(Value value, bool rows) {
  if (canSlice())
    skipped.push_back(advance(value, rows));
}

llvm::Expected<std::vector<InputData>>
Sequence::gatherPiece(ArrayRef<Value> values,
                      std::vector<std::vector<float>> *rows) {
  bool collects = workspace.getRole() == Rounds::Role::Collector;
  if (!collects)
    if (llvm::Error error = catchUp())
      return std::move(error);
  Piece piece = advance(values, rows != nullptr);
  if (rows)
    rows->assign(samples.size(), {});
  Keeper keeper(piece, samples.size(), inMemory);
  std::vector<InputData> gathered;
  if (llvm::Error error = workspace.gatherObserved(
          *piece.module, values, samples, gathered,
          [&](size_t sample, StringRef name, ArrayRef<float> elements) {
            size_t i = getNumber(name);
            if (i < piece.results.size())
              keeper.keep(sample, i, elements);
            else
              (*rows)[sample].assign(elements.begin(), elements.end());
          }))
    return std::move(error);
  if (collects)
    skipped.push_back(std::move(piece));
  else if (llvm::Error error = store(piece, keeper))
    return std::move(error);
  return std::move(gathered);
}

llvm::Expected<InputData>
Sequence::next(Value value, std::vector<std::vector<float>> *rows) {
  InputData data;
  if (!canSlice() && rows)
    return makeError(Diag::UnsupportedForm, describeNode(value.getLoc()),
                     "expected a model without states, loops over products and "
                     "sizes found at run time for gptq-correct, but got " +
                         obstacle + "; gptq takes it");
  if (!canSlice()) {
    if (llvm::Error error =
            workspace.gather(module, value, [&](size_t, InputData &gathered) {
              data = std::move(gathered);
              return llvm::Error::success();
            }))
      return std::move(error);
    return std::move(data);
  }
  auto gathered = gatherPiece(value, rows);
  if (!gathered)
    return gathered.takeError();
  return std::move(gathered->front());
}

llvm::Error Sequence::gather(ArrayRef<Value> values,
                             llvm::function_ref<bool(size_t)> wants,
                             Workspace::Receiver receive) {
  if (!canSlice()) {
    auto wanted = llvm::to_vector(
        llvm::make_filter_range(llvm::seq(values.size()), wants));
    return workspace.gather(
        module,
        llvm::map_to_vector(wanted, [&](size_t i) { return values[i]; }),
        [&](size_t i, InputData &data) { return receive(wanted[i], data); });
  }
  size_t first = 0;
  while (first < values.size()) {
    // What is computed together does not depend on what is wanted.
    size_t begin = first;
    first += Workspace::countAtOnce(values.drop_front(begin));
    ArrayRef<Value> together = values.slice(begin, first - begin);
    if (!llvm::any_of(llvm::seq(begin, first), wants)) {
      skipped.push_back(advance(together, false));
      continue;
    }
    auto gathered = gatherPiece(together, nullptr);
    if (!gathered)
      return gathered.takeError();
    for (size_t i = begin; i < first; ++i) {
      InputData data = std::move((*gathered)[i - begin]);
      if (!wants(i))
        continue;
      if (llvm::Error error = receive(i, data))
        return error;
    }
  }
  return llvm::Error::success();
}
