//===- GPTQ.cpp - weights chosen by their effect on outputs -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/LinearGroup.h"
#include "qcc/Calibration/Sequence.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/LayerChoice.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/SchemeGrid.h"
#include "qcc/Support/Diagnostics.h"
#include <cmath>
#include <optional>

namespace qcc {
#define GEN_PASS_DECL_GPTQ
#define GEN_PASS_DEF_GPTQ
#include "qcc/passes/GPTQ.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

/// More than this part of a layer's inputs being idle is worth telling; a few
/// are in every model with rectifiers.
constexpr uint64_t kIdleShare = 20;

/// A layer's weights by the best method.
struct Choice : LayerChoice {
  /// Errors are those of weights that make up for what earlier layers lost.
  bool isCorrected = false;
};

struct GPTQPass : qcc::impl::GPTQBase<GPTQPass> {
  using GPTQBase::GPTQBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    ModuleOp module = getOperation();
    scheme_ = findScheme(module.getLoc(), scheme);
    if (!scheme_)
      return failure();
    for (StringRef method : methods)
      if (!llvm::is_contained({"clip", "gptq", "gptq-clip", "refine"}, method))
        return emitCoded(module.getLoc(), Diag::Usage)
               << "expected clip, gptq, gptq-clip or refine, but got '"
               << method << "'";
    KeepRules rules;
    if (failed(rules.parse(module.getLoc(), keep)))
      return failure();
    workspace = requireWorkspace(module, getAlgorithm());
    if (!workspace)
      return failure();
    auto take = [&](MatMulOp op) {
      return rules.getReason(op).empty() && getAssignedScheme(op, scheme_) &&
             getObstacle(op, *getAssignedScheme(op, scheme_)).empty();
    };
    groups = collectLinearGroups(*module.getOps<func::FuncOp>().begin(), take);
    if (correct > 0 && workspace->getRole() != Rounds::Role::Alone)
      return emitCoded(module.getLoc(), Diag::Usage)
             << "--algo=gptq-correct sums in the order of samples: expected "
                "one process, but got shards";
    PassCheckpoints checkpoints(*workspace, *this, module);
    finished = &checkpoints;
    if (llvm::Error error = sequential ? runSequential() : runAtOnce())
      return qcc::emitError(module.getLoc(), std::move(error));
    warnOfFewRows();
    warnOfIdleInputs();
    return success();
  }

private:
  /// The method that fits weights most closely to the data, for messages.
  StringRef getAlgorithm() const {
    return has("gptq") ? "gptq" : has("refine") ? "refine" : "clip";
  }

  /// Codes fit the rows that were seen. With fewer of them than a layer has
  /// inputs, there are directions of which nothing was seen; with fewer than
  /// twice as many, what is noise weighs more than what is gained.
  void warnOfFewRows() {
    if (scarce.empty())
      return;
    const auto &[node, rows, inputs] = scarce.front();
    bool isUncorrected =
        correct > 0 && llvm::any_of(scarce, [](const auto &layer) {
          return std::get<1>(layer) < uint64_t(std::get<2>(layer));
        });
    std::string text;
    llvm::raw_string_ostream(text)
        << getAlgorithm() << ": " << scarce.size()
        << " layers see fewer rows of data than twice their inputs (node '"
        << node << "' " << rows << " of " << 2 * inputs
        << "): codes fit these rows more than the model"
        << (isUncorrected
                ? ", and gptq-correct makes up for nothing where rows "
                  "are fewer than inputs"
                : "")
        << "; give more data";
    addWarning(getOperation(), text);
  }

  /// Nothing is known of the weights of inputs that are always 0: they become
  /// 0.
  void warnOfIdleInputs() {
    if (idle.empty())
      return;
    const auto &[node, count, inputs] = idle.front();
    addWarning(
        getOperation(),
        "gptq: " + Twine(idle.size()) +
            " layers have inputs that are 0 in all data (node '" + node + "' " +
            Twine(count) + " of " + Twine(inputs) +
            "): their weights become 0; give data in which they are not, "
            "if there are any");
  }

  llvm::Error runAtOnce() {
    // Data are those of the module as it is now.
    IRMapping mapping;
    OwningOpRef<ModuleOp> original =
        cast<ModuleOp>(getOperation()->clone(mapping));
    SmallVector<bool> isLeft;
    for (size_t i = 0; i < groups.size(); ++i) {
      llvm::Expected<bool> done = resume(i);
      if (!done)
        return done.takeError();
      isLeft.push_back(!*done);
    }
    if (!llvm::is_contained(isLeft, true))
      return llvm::Error::success();
    auto inputs = llvm::map_to_vector(groups, [&](const LinearGroup &group) {
      return mapping.lookup(group.input);
    });
    return Sequence(*workspace, *original)
        .gather(
            inputs, [&](size_t i) { return isLeft[i]; },
            [&](size_t i, InputData &data) { return solve(i, data, {}); });
  }

  /// Group after group, on the module as it has become.
  llvm::Error runSequential() {
    IRMapping mapping;
    OwningOpRef<ModuleOp> original =
        cast<ModuleOp>(getOperation()->clone(mapping));
    SmallVector<Value> inputs;
    for (const LinearGroup &group : groups)
      inputs.push_back(group.input);
    Sequence sequence(*workspace, getOperation()), exact(*workspace, *original);
    bool corrects = correct > 0;
    for (size_t i = 0; i < groups.size(); ++i) {
      llvm::Expected<bool> done = resume(i);
      if (!done)
        return done.takeError();
      if (*done) {
        sequence.skip(inputs[i], corrects);
        exact.skip(mapping.lookup(inputs[i]), corrects);
        continue;
      }
      std::vector<std::vector<float>> rows, exactRows;
      llvm::Expected<InputData> data =
          sequence.next(inputs[i], corrects ? &rows : nullptr);
      if (!data)
        return data.takeError();
      std::vector<double> cross;
      if (corrects) {
        llvm::Expected<InputData> exactData =
            exact.next(mapping.lookup(inputs[i]), &exactRows);
        if (!exactData)
          return exactData.takeError();
        size_t k = data->range.largest.size();
        cross.resize(k * k);
        for (auto [y, x] : llvm::zip_equal(rows, exactRows))
          addCrossProducts(y, x, k, cross);
        for (double &sum : cross)
          sum /= double(std::max<uint64_t>(data->range.rows, 1));
      }
      if (llvm::Error error = solve(i, *data, cross))
        return error;
    }
    return llvm::Error::success();
  }

  /// Keeps what warnings tell of a group's data, also where a run before saw
  /// them: a resumed run has the same bytes, and warnings are among them.
  void noteData(size_t group, uint64_t rows, uint64_t dead) {
    for (MatMulOp layer : groups[group].layers) {
      int64_t k = getWeightRows(layer);
      std::string node = getNodeName(layer.getLoc()).str();
      if ((has("gptq") || has("refine")) && rows < 2 * uint64_t(k))
        scarce.push_back({node, rows, k});
      if (has("gptq") && dead * kIdleShare > uint64_t(k))
        idle.push_back({node, dead, k});
    }
  }

  /// Chooses the weights of a group's layers.
  llvm::Error solve(size_t group, InputData &data, ArrayRef<double> cross) {
    ArrayRef<MatMulOp> own = groups[group].layers;
    workspace->report("weights " + Twine(group + 1) + " of " +
                      Twine(groups.size()));
    std::vector<double> gram = data.gram.getMeans();
    data.gram = Gram();
    gptq::Options options;
    options.damping = damping;
    int64_t k = getWeightRows(own.front());
    // With fewer rows than inputs there are weights that give any result on
    // them, and something else on all others.
    if (data.range.rows < uint64_t(k))
      cross = {};
    uint64_t dead = llvm::count_if(llvm::seq<int64_t>(0, k), [&](int64_t i) {
      return gram[size_t(i * (k + 1))] == 0;
    });
    noteData(group, data.range.rows, dead);
    std::optional<gptq::Factor> factor;
    if (has("gptq") || has("gptq-clip"))
      factor.emplace(gram, k, options, ArrayRef<float>(),
                     workspace->getThreads());
    std::vector<std::vector<float>> weights, corrected;
    std::vector<SchemeGrid> grids;
    for (MatMulOp layer : own) {
      auto values = readWeight(*workspace, layer);
      if (!values)
        return values.takeError();
      weights.push_back(std::move(*values));
      grids.emplace_back(*getAssignedScheme(layer, scheme_));
      // Where earlier errors are made up for, the target is another one: its
      // distance, measured with the inputs as they are, is the error up to what
      // no weights can change.
      if (!cross.empty())
        corrected.push_back(
            gptq::correctTarget({k, getWeightColumns(layer), weights.back()},
                                gram, cross, correct, damping));
    }
    std::vector<LayerProblem> problems;
    for (auto [i, layer] : llvm::enumerate(own))
      problems.push_back(
          {grids[i],
           {k, getWeightColumns(layer), weights[i]},
           cross.empty() ? weights[i] : corrected[i],
           gram,
           factor ? &*factor : nullptr,
           {has("clip"), has("gptq"), has("gptq-clip"), has("refine")},
           damping});
    std::vector<LayerChoice> choices =
        chooseLayers(problems, workspace->getThreads());
    CheckpointRecord record;
    record.set("data",
               ArrayRef<double>({double(data.range.rows), double(dead)}));
    for (auto [i, layer] : llvm::enumerate(own)) {
      Choice chosen{std::move(choices[i]), !cross.empty()};
      save(record, i, *getAssignedScheme(layer, scheme_),
           getWeightColumns(layer), chosen);
      if (llvm::Error error = replace(layer, chosen))
        return error;
    }
    return finished->write(group, record);
  }

  /// Takes the weights of a group's layers that a run before has chosen, if it
  /// got there.
  llvm::Expected<bool> resume(size_t group) {
    std::optional<CheckpointRecord> record = finished->read(group);
    if (!record)
      return false;
    std::vector<Choice> choices;
    for (auto [i, layer] : llvm::enumerate(groups[group].layers)) {
      std::optional<Choice> choice = load(*record, i, layer);
      if (!choice)
        return makeError(Diag::BadCalibration, describeNode(layer.getLoc()),
                         "expected a checkpoint of this layer, but its sizes "
                         "or numbers are others");
      choices.push_back(std::move(*choice));
    }
    auto seen = record->get<double>("data", 2);
    if (!seen ||
        !llvm::all_of(*seen, [](double x) { return x >= 0 && x < 1e18; }))
      return makeError(Diag::BadCalibration, "",
                       "expected a checkpoint with the number of its rows");
    noteData(group, uint64_t((*seen)[0]), uint64_t((*seen)[1]));
    for (auto [layer, choice] : llvm::zip_equal(groups[group].layers, choices))
      if (llvm::Error error = replace(layer, choice))
        return std::move(error);
    return true;
  }

  /// Codes of weights that lie on the grid, [k, n].
  static std::vector<uint8_t> getCodes(const Scheme &scheme, int64_t n,
                                       const RoundedWeights &weights) {
    std::vector<uint8_t> codes(weights.values.size());
    int64_t k = int64_t(codes.size()) / n;
    forEachWeight(scheme, k, n, [&](size_t at, size_t affine) {
      GridAffine map = weights.affines[affine];
      scheme.assign(weights.values[at], {map.scale, map.zero}, codes[at]);
    });
    return codes;
  }

  /// Calls `body` for each weight with its position and that of its scale.
  template <typename Body>
  static void forEachWeight(const Scheme &scheme, int64_t k, int64_t n,
                            Body body) {
    int64_t rows = getGroupRows(SchemeGrid(scheme), k);
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < n; ++j)
        body(size_t(i * n + j), size_t(i / rows * n + j));
  }

  static void save(CheckpointRecord &record, size_t i, const Scheme &scheme,
                   int64_t n, const Choice &choice) {
    std::string number = std::to_string(i);
    record.setText("method" + number, choice.method);
    record.setText("error_of" + number,
                   choice.isCorrected ? "corrected" : "weights");
    record.set("errors" + number,
               ArrayRef<double>({choice.nearest, choice.error, choice.power}));
    std::vector<float> scales;
    std::vector<int32_t> zeros;
    for (GridAffine affine : choice.weights.affines) {
      scales.push_back(affine.scale);
      zeros.push_back(affine.zero);
    }
    record.set("scales" + number, scales);
    record.set("zeros" + number, zeros);
    record.set("codes" + number, getCodes(scheme, n, choice.weights));
  }

  /// None for numbers that no choice for this layer can have.
  std::optional<Choice> load(const CheckpointRecord &record, size_t i,
                             MatMulOp layer) {
    std::string number = std::to_string(i);
    const Scheme &scheme = *getAssignedScheme(layer, scheme_);
    int64_t k = getWeightRows(layer), n = getWeightColumns(layer);
    auto count = size_t(countGroups(SchemeGrid(scheme), k) * n);
    auto method = record.getText("method" + number),
         errorOf = record.getText("error_of" + number);
    auto errors = record.get<double>("errors" + number, 3);
    auto scales = record.get<float>("scales" + number, count);
    auto zeros = record.get<int32_t>("zeros" + number, count);
    auto codes = record.get<uint8_t>("codes" + number, size_t(k * n));
    auto isFinite = [](auto x) { return std::isfinite(x); };
    if (!method || !errorOf || !errors || !scales || !zeros || !codes ||
        !(*method == "rtn" || llvm::is_contained(methods, *method)) ||
        !llvm::all_of(*scales, isFinite))
      return std::nullopt;
    Choice choice;
    choice.method = method->str();
    choice.isCorrected = *errorOf == "corrected";
    choice.nearest = (*errors)[0];
    choice.error = (*errors)[1];
    choice.power = (*errors)[2];
    for (auto [scale, zero] : llvm::zip_equal(*scales, *zeros))
      choice.weights.affines.push_back({scale, zero});
    choice.weights.values.resize(codes->size());
    bool isGood = true;
    forEachWeight(scheme, k, n, [&](size_t at, size_t affine) {
      float &value = choice.weights.values[at];
      value = scheme.value((*codes)[at], {(*scales)[affine], (*zeros)[affine]});
      isGood &= (*codes)[at] <= scheme.getMaxCode() && std::isfinite(value);
    });
    return isGood ? std::optional(std::move(choice)) : std::nullopt;
  }

  bool has(StringRef method) const {
    return llvm::is_contained(methods, method);
  }

  /// Puts the chosen weights in place of the layer's.
  llvm::Error replace(MatMulOp layer, const Choice &choice) {
    OpBuilder b(layer);
    int64_t k = getWeightRows(layer), n = getWeightColumns(layer);
    Location loc = layer.getRhs().getLoc();
    std::string key = getNodeName(layer.getLoc()).str();
    auto values = workspace->addParameter(b, loc, key + "." + choice.method,
                                          choice.weights.values, {k, n});
    if (!values)
      return values.takeError();
    const Scheme *current = getAssignedScheme(layer, scheme_);
    int64_t groupCount = countGroups(SchemeGrid(*current), k);
    std::vector<float> scales;
    std::vector<int32_t> zeros;
    for (GridAffine affine : choice.weights.affines) {
      scales.push_back(affine.scale);
      zeros.push_back(affine.zero);
    }
    // Only keys stay in the module: the parameters are read when the weight is
    // encoded.
    auto store = [&](StringRef attribute, StringRef suffix,
                     auto array) -> llvm::Error {
      auto param = workspace->addParameter(b, loc, key + suffix.str(), array,
                                           {groupCount, n});
      if (!param)
        return param.takeError();
      auto op = param->template getDefiningOp<ParamOp>();
      layer->setAttr(attribute, op.getKeyAttr());
      op.erase();
      return llvm::Error::success();
    };
    if (llvm::Error error = store(kScalesAttr, ".scales", ArrayRef(scales)))
      return error;
    if (!current->getZero())
      if (llvm::Error error = store(kZerosAttr, ".zeros", ArrayRef(zeros)))
        return error;
    layer.getRhsMutable().set(*values);
    layer.setTransB(false);
    auto relative = [&](double error) {
      double ratio = choice.power > 0 ? error / choice.power : 0;
      return std::isfinite(ratio) ? float(ratio) : 0.0f;
    };
    layer->setAttr(kAlgorithmAttr, b.getStringAttr(choice.method));
    layer->setAttr(kErrorAttr, b.getF32ArrayAttr({relative(choice.nearest),
                                                  relative(choice.error)}));
    if (choice.isCorrected)
      layer->setAttr(kErrorOfAttr, b.getStringAttr("corrected"));
    return llvm::Error::success();
  }

  const Scheme *scheme_ = nullptr;
  Workspace *workspace = nullptr;
  const PassCheckpoints *finished = nullptr;
  SmallVector<LinearGroup> groups;
  /// Layers that few rows are known of: name, rows, inputs.
  std::vector<std::tuple<std::string, uint64_t, int64_t>> scarce, idle;
};

} // namespace
