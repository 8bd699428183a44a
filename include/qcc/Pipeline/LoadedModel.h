//===- LoadedModel.h - an artifact in this process --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PIPELINE_LOADEDMODEL_H
#define QCC_PIPELINE_LOADEDMODEL_H

#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Calibration/Samples.h"

struct qcc_model;
struct qcc_model_api;

namespace qcc {

/// A library loaded through its C interface. Its code runs in this process.
/// Runs use one thread each and may go on at the same time.
class LoadedModel final : public HostProgram {
public:
  /// Opens an artifact: its folder or its library. Errors: BadArtifact, with
  /// the path.
  static llvm::Expected<std::unique_ptr<LoadedModel>>
  open(llvm::StringRef path);
  ~LoadedModel() override;

  /// Runs the entry that fits the sample's sizes, with states at zero; gives
  /// copies of the outputs, by name, if `outputs` is not null. Errors:
  /// BadCalibration, with the sample's name.
  llvm::Error run(const Sample &sample, Observer observer,
                  std::vector<SampleArray> *outputs) const;
  llvm::Error run(const Sample &sample, Observer observer) const override {
    return run(sample, observer, nullptr);
  }

  /// Times entries with the same inputs on one thread: all in turn, until
  /// `seconds` are over, kLeastRounds times at least and kMostRounds at most.
  /// Gives the seconds that each entry took in each round. `before` is called
  /// before each run. Errors: as run.
  llvm::Expected<std::vector<std::vector<double>>>
  time(const Sample &sample, double seconds,
       llvm::function_ref<void()> before) const;
  static constexpr unsigned kLeastRounds = 11, kMostRounds = 101;

  /// Inputs of the first entry.
  std::vector<SampleInput> getInputs() const;
  /// The same with the sizes alone that all entries have; others are -1.
  std::vector<SampleInput> getCommonInputs() const;
  /// Names of the outputs of the first entry.
  std::vector<std::string> getOutputs() const;
  /// Names of the inputs that have integers and as many dimensions.
  std::vector<std::string> findIntegerInputs(size_t rank) const;

private:
  LoadedModel() = default;
  llvm::Error load(const std::string &path);
  uint32_t findEntry(const Sample &sample) const;

  void *library = nullptr;
  const qcc_model_api *api = nullptr;
  qcc_model *model = nullptr;
};

} // namespace qcc

#endif // QCC_PIPELINE_LOADEDMODEL_H
