//===- Gather.cpp - statistics of a model on samples ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CompiledHost.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Calibrator.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Threading.h"

using namespace mlir;
using namespace qcc;

/// What samples must hold for `main`.
static std::vector<SampleInput> getSampleInputs(ModuleOp module) {
  std::vector<SampleInput> inputs;
  auto func = module.lookupSymbol<func::FuncOp>("main");
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    SampleInput input;
    if (auto name = func.getArgAttrOfType<StringAttr>(i, "qcc.name"))
      input.name = name.getValue().str();
    for (AffineExpr dim : getDims(func.getArgument(i).getType()))
      input.shape.push_back(getConstantSize(dim).value_or(-1));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

llvm::Expected<Statistics> Compilation::gatherStatistics(
    llvm::function_ref<void(size_t, size_t)> progress) {
  auto samples = readSamples(options.calibration, getSampleInputs(*module));
  if (!samples)
    return samples.takeError();
  CompiledHost host(options, context, parameters);
  unsigned threads = options.jobs
                         ? options.jobs
                         : llvm::hardware_concurrency().compute_thread_count();
  Calibrator calibrator(host, threads);
  auto statistics = calibrator.run(*module, *samples, [&](size_t done) {
    progress(done, 2 * samples->size());
  });
  if (!statistics)
    return statistics.takeError();
  llvm::Expected<std::string> source = hashFile(options.model);
  if (!source)
    return source.takeError();
  statistics->source = std::move(*source);
  return std::move(*statistics);
}

/// Notes the range of each observed activation on its operation, for the
/// report and for schemes with static scales.
static void annotate(ModuleOp module, const Statistics &statistics) {
  Builder b(module.getContext());
  module.walk([&](Operation *op) {
    const TensorStatistics *t = statistics.lookup(getObservationName(op));
    if (t && t->count && op->getNumOperands() > 1)
      op->setAttr("qcc.range", b.getF32ArrayAttr({t->min, t->max}));
  });
}

llvm::Error Compilation::calibrate() {
  if (options.calibration.empty() && options.statistics.empty())
    return llvm::Error::success();
  if (!options.statistics.empty()) {
    auto buffer = llvm::MemoryBuffer::getFile(options.statistics);
    if (!buffer)
      return makeError(Diag::BadCalibration, options.statistics,
                       buffer.getError().message());
    auto statistics =
        Statistics::read((*buffer)->getBuffer(), options.statistics);
    if (!statistics)
      return statistics.takeError();
    llvm::Expected<std::string> source = hashFile(options.model);
    if (!source)
      return source.takeError();
    if (statistics->source != *source)
      return makeError(Diag::BadCalibration, options.statistics,
                       "expected statistics of this model, but got those of " +
                           statistics->source);
    annotate(*module, *statistics);
    return llvm::Error::success();
  }
  auto statistics = gatherStatistics([](size_t, size_t) {});
  if (!statistics)
    return statistics.takeError();
  annotate(*module, *statistics);
  return llvm::Error::success();
}

llvm::Expected<Statistics>
Compilation::gather(llvm::function_ref<void(size_t, size_t)> progress) {
  if (llvm::Error error = import())
    return std::move(error);
  return gatherStatistics(progress);
}

llvm::Expected<Statistics>
qcc::calibrate(const CompileOptions &options, MLIRContext &context,
               llvm::function_ref<void(size_t, size_t)> progress) {
  context.loadAllAvailableDialects();
  return Compilation(options, context, [](Stage, bool, StringRef) {})
      .gather(progress);
}
