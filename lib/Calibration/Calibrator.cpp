//===- Calibrator.cpp - statistics of activations ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Calibrator.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"
#include <atomic>
#include <mutex>
#include <thread>

using namespace mlir;
using namespace qcc;

std::string qcc::getObservationName(Operation *op) {
  return (getNodeName(op->getLoc()) + ".input").str();
}

unsigned qcc::insertObservations(ModuleOp module) {
  unsigned count = 0;
  module.walk([&](Operation *op) {
    if (!isa<MatMulOp, ConvOp>(op) ||
        !isConstantExpression(op->getOperand(1)) ||
        !cast<RankedTensorType>(op->getOperand(0).getType())
             .getElementType()
             .isF32())
      return;
    OpBuilder b(op);
    std::string name = getObservationName(op);
    ObserveOp::create(b, NameLoc::get(b.getStringAttr(name)), op->getOperand(0),
                      name);
    ++count;
  });
  return count;
}

llvm::Error Calibrator::runPass(Pass pass, const HostProgram &program,
                                ArrayRef<Sample> samples,
                                Statistics &statistics,
                                llvm::function_ref<void(size_t)> progress) {
  std::atomic<size_t> next = 0;
  std::mutex mutex; // guards what follows
  size_t done = 0;
  llvm::Error failure = llvm::Error::success();
  bool failed = false;

  auto work = [&] {
    // A part of its own, merged at the end: sums are integers, so the order in
    // which threads end does not matter.
    Statistics part;
    for (const TensorStatistics &t : statistics.all())
      part.get(t.name).exponent = t.exponent;
    for (size_t i; (i = next++) < samples.size();) {
      llvm::Error error =
          program.run(samples[i], [&](StringRef name, ArrayRef<float> values) {
            TensorStatistics &t = part.get(name);
            if (pass == Pass::Extremes)
              t.addExtremes(values);
            else
              t.addSums(values);
          });
      std::lock_guard<std::mutex> lock(mutex);
      if (error) {
        next = samples.size();
        if (failed)
          llvm::consumeError(std::move(error));
        else
          failure = std::move(error);
        failed = true;
        return;
      }
      progress(++done);
    }
    std::lock_guard<std::mutex> lock(mutex);
    for (const TensorStatistics &t : part.all())
      statistics.get(t.name).merge(t);
  };

  std::vector<std::thread> pool;
  for (unsigned i = 1; i < std::min<size_t>(threads, samples.size()); ++i)
    pool.emplace_back(work);
  work();
  for (std::thread &thread : pool)
    thread.join();
  return failure;
}

/// Names of the module's observations in program order: the order of the file.
static void declareObservations(ModuleOp module, Statistics &statistics) {
  module.walk([&](ObserveOp op) { statistics.get(op.getName()); });
}

llvm::Expected<Statistics>
Calibrator::run(ModuleOp module, ArrayRef<Sample> samples,
                llvm::function_ref<void(size_t)> progress) {
  if (samples.empty())
    return makeError(Diag::BadCalibration, "--calib", "there are no samples");
  OwningOpRef<ModuleOp> observed = module.clone();
  insertObservations(*observed);
  Statistics statistics;
  declareObservations(*observed, statistics);
  auto program = executor.compile(*observed);
  if (!program)
    return program.takeError();
  if (llvm::Error error =
          runPass(Pass::Extremes, **program, samples, statistics, progress))
    return std::move(error);
  for (TensorStatistics &t : statistics.all()) {
    if (t.nonFinite)
      return makeError(Diag::BadCalibration, t.name,
                       llvm::Twine(t.nonFinite) +
                           " values are NaN or infinite on the samples");
    t.chooseExponent();
  }
  if (llvm::Error error =
          runPass(Pass::Sums, **program, samples, statistics,
                  [&](size_t done) { progress(samples.size() + done); }))
    return std::move(error);
  statistics.samples = samples.size();
  return std::move(statistics);
}
