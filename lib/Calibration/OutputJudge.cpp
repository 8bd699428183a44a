//===- OutputJudge.cpp - what rounding does to a model's output -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/OutputJudge.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Calibration/TokenInput.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Evaluate/Metrics.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Parallel.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;

/// Elements of float outputs that are kept: 256 MiB.
static constexpr uint64_t kMaxElements = uint64_t(1) << 26;

static func::FuncOp getEntry(ModuleOp module) {
  return *module.getOps<func::FuncOp>().begin();
}

//===----------------------------------------------------------------------===//
// What is compared
//===----------------------------------------------------------------------===//

llvm::StringRef OutputJudge::getDivergenceName() const {
  return kind == Kind::Numbers ? "error" : "kl";
}

llvm::StringRef OutputJudge::getDropName() const {
  switch (kind) {
  case Kind::Tokens:
    return "perplexity";
  case Kind::Classes:
    return "top1";
  case Kind::Numbers:
    break;
  }
  return "error";
}

llvm::Error OutputJudge::chooseOutput(func::FuncOp entry) {
  Operation *end = entry.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(end->getOperands())) {
    auto type = cast<RankedTensorType>(value.getType());
    if (!type.getElementType().isF32() || isConstantExpression(value))
      continue;
    output = unsigned(i);
    if (type.getRank() >= 2)
      classes = getConstantSize(getDims(type).back()).value_or(0);
    return llvm::Error::success();
  }
  return makeError(Diag::UnsupportedForm, "",
                   "expected a model with an output of f32 to measure what "
                   "rounding costs");
}

/// True if each sample has ids below the number of classes, one for each
/// position of its output.
bool OutputJudge::hasTokens(StringRef input) const {
  return llvm::all_of(llvm::enumerate(references), [&](auto reference) {
    return qcc::hasTokens(workspace->getSamples()[reference.index()], input,
                          reference.value().size(), classes);
  });
}

llvm::Error OutputJudge::chooseKind(func::FuncOp entry) {
  Value value = entry.getBody().front().getTerminator()->getOperand(output);
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  if (classes < 2 || rank > 3)
    return llvm::Error::success();
  if (rank == 2) {
    kind = Kind::Classes;
    return llvm::Error::success();
  }
  SmallVector<std::string> inputs = findTokenInputs(entry, value);
  llvm::erase_if(inputs,
                 [&](const std::string &name) { return !hasTokens(name); });
  if (inputs.empty())
    return llvm::Error::success();
  kind = inputs.size() == 1 ? Kind::Tokens : Kind::Classes;
  for (size_t i = 0; i < references.size() && kind == Kind::Tokens; ++i) {
    const SampleArray *array =
        findArray(workspace->getSamples()[i].arrays, inputs.front());
    tokens.push_back(getIntegers(*array));
    tokenShapes.push_back(array->shape);
  }
  return llvm::Error::success();
}

void OutputJudge::keepOutput(ModuleOp copy) const {
  func::FuncOp entry = getEntry(copy);
  Operation *end = entry.getBody().front().getTerminator();
  Value value = end->getOperand(output);
  OpBuilder b(end);
  ObserveOp::create(b, NameLoc::get(b.getStringAttr(kObserved)), value,
                    kObserved);
  end->setOperands({});
  (void)entry.eraseResults(llvm::BitVector(entry.getNumResults(), true));
  SmallVector<Operation *> dead;
  for (auto func : copy.getOps<func::FuncOp>())
    if (func != entry)
      dead.push_back(func);
  copy.walk([&](StateWriteOp op) { dead.push_back(op); });
  for (Operation *op : dead)
    op->erase();
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

llvm::Expected<std::vector<float>> OutputJudge::run(const HostProgram &program,
                                                    size_t sample,
                                                    ArrayRef<SampleArray> more,
                                                    StringRef observed) const {
  Sample joined = workspace->getSamples()[sample];
  llvm::append_range(joined.arrays, more);
  std::vector<float> values;
  if (llvm::Error error =
          program.run(joined, [&](StringRef name, ArrayRef<float> elements) {
            if (name == observed)
              values = elements.vec();
          }))
    return std::move(error);
  return values;
}

llvm::Expected<OutputJudge> OutputJudge::make(Workspace &workspace,
                                              ModuleOp module,
                                              uint64_t maxPositions) {
  OutputJudge judge(workspace);
  if (llvm::Error error = judge.chooseOutput(getEntry(module)))
    return std::move(error);
  OwningOpRef<ModuleOp> copy = module.clone();
  judge.keepOutput(*copy);
  auto program = workspace.getExecutor().compile(*copy);
  if (!program)
    return program.takeError();
  size_t available = workspace.getSamples().size(), count = 1;
  // The first sample says how many are enough.
  for (size_t done = 0; done < std::min(count, available);) {
    size_t wanted = std::min(count, available);
    judge.references.resize(wanted);
    if (llvm::Error error = runParallel(
            wanted - done, workspace.getThreads(),
            [&](size_t i) -> llvm::Error {
              auto values = judge.run(**program, done + i, {}, kObserved);
              if (!values)
                return values.takeError();
              if (!llvm::all_of(*values,
                                [](float v) { return std::isfinite(v); }))
                return makeError(Diag::BadCalibration,
                                 workspace.getSamples()[done + i].name,
                                 "the float model's output is not finite");
              judge.references[done + i] = std::move(*values);
              return llvm::Error::success();
            },
            [](size_t) {}))
      return std::move(error);
    if (done == 0) {
      uint64_t elements = std::max<uint64_t>(judge.references[0].size(), 1),
               each =
                   judge.classes > 1 ? elements / uint64_t(judge.classes) : 1;
      count = size_t(std::min(maxPositions / std::max<uint64_t>(each, 1),
                              kMaxElements / elements));
    }
    done = wanted;
  }
  if (llvm::Error error = judge.chooseKind(getEntry(module)))
    return std::move(error);
  for (const std::vector<float> &values : judge.references)
    judge.positions +=
        judge.kind == Kind::Numbers ? 1 : values.size() / size_t(judge.classes);
  return judge;
}

llvm::Expected<OutputScore> OutputJudge::score(const HostProgram &program,
                                               ArrayRef<SampleArray> more,
                                               StringRef observed,
                                               size_t count) const {
  // Sums of each sample: divergence and loss.
  std::vector<std::pair<RowScore, RowScore>> sums(
      std::min(count, references.size()));
  auto compare = [&](size_t i) -> llvm::Error {
    auto values = run(program, i, more, observed);
    if (!values)
      return values.takeError();
    std::vector<int64_t> shape;
    if (kind == Kind::Tokens)
      shape = {tokenShapes[i][0], tokenShapes[i][1], classes};
    else if (kind == Kind::Classes)
      shape = {int64_t(references[i].size()) / classes, classes};
    OutputView exact(references[i], shape), changed(*values, shape);
    auto add = [&](Metric metric, ArrayRef<int64_t> targets,
                   RowScore &sum) -> llvm::Error {
      auto rows = scoreRows(metric, exact, changed, targets);
      if (!rows)
        return rows.takeError();
      for (const RowScore &row : *rows) {
        sum.candidate += row.candidate;
        sum.reference += row.reference;
        sum.count += row.count;
      }
      return llvm::Error::success();
    };
    bool isNumbers = kind == Kind::Numbers;
    if (llvm::Error error =
            add(isNumbers ? Metric::SQNR : Metric::KL, {}, sums[i].first))
      return error;
    if (isNumbers)
      return llvm::Error::success();
    return kind == Kind::Tokens
               ? add(Metric::Perplexity, tokens[i], sums[i].second)
               : add(Metric::Top1, {}, sums[i].second);
  };
  if (llvm::Error error = runParallel(sums.size(), workspace->getThreads(),
                                      compare, [](size_t) {}))
    return std::move(error);
  RowScore divergence, drop;
  for (const auto &[d, l] : sums)
    for (auto [sum, part] :
         {std::pair(&divergence, &d), std::pair(&drop, &l)}) {
      sum->candidate += part->candidate;
      sum->reference += part->reference;
      sum->count += part->count;
    }
  OutputScore score;
  if (kind == Kind::Numbers) {
    score.divergence = divergence.reference > 0
                           ? divergence.candidate / divergence.reference
                           : divergence.candidate;
    score.drop = score.divergence;
    return score;
  }
  score.divergence = divergence.candidate / std::max(divergence.count, 1.0);
  double rows = std::max(drop.count, 1.0);
  score.drop = kind == Kind::Tokens
                   ? std::expm1((drop.candidate - drop.reference) / rows)
                   : (drop.reference - drop.candidate) / rows;
  return score;
}

llvm::Expected<std::string> OutputJudge::describeGuess() const {
  if (kind != Kind::Tokens)
    return std::string();
  RowScore all;
  for (auto [values, ids, shape] :
       llvm::zip_equal(references, tokens, tokenShapes)) {
    OutputView view(values, {shape[0], shape[1], classes});
    auto rows = scoreRows(Metric::Perplexity, view, view, ids);
    if (!rows)
      return rows.takeError();
    for (const RowScore &row : *rows) {
      all.reference += row.reference;
      all.count += row.count;
    }
  }
  return qcc::describeGuess(
      "the float model", std::exp(all.reference / std::max(all.count, 1.0)),
      size_t(classes),
      "--max-drop limits its rise, which says little: see whether --calib is "
      "data of the model");
}
