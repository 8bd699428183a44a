//===- Artifact.h - a compiled model and its runs ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_ARTIFACT_H
#define QCC_TOOLS_QCC_RUN_ARTIFACT_H

#include "Array.h"

#include <filesystem>
#include <functional>
#include <optional>

namespace qcc::run {

/// How to open an artifact.
struct OpenOptions {
  uint32_t threads = 0;
  bool pin = false;
  bool verify = false;
  /// Notes of the runtime go to stderr.
  bool quiet = false;
};

/// A tensor as the model declares it; -1 for dims that are not constant.
struct TensorSpec {
  std::string name;
  const TypeInfo *type = nullptr;
  std::vector<int64_t> dims;
  std::vector<std::string> symbols; ///< "" where a dim is no plain symbol
};

/// Sizes by name, as `--dim` gives them.
using Sizes = std::vector<std::pair<std::string, int64_t>>;

/// One dispatch of the host program.
struct Site {
  uint32_t entry = 0;
  std::string node;
  std::string op;
  std::string kernel;
};

/// An open artifact: DIR, or its library.
class Artifact {
public:
  Artifact(const std::filesystem::path &path, const OpenOptions &options);
  ~Artifact();
  Artifact(const Artifact &) = delete;

  /// The entry of that name, or the first one for "". Throws Usage.
  uint32_t findEntry(const std::string &name) const;
  /// The first entry with the inputs of entry 0 whose sizes are those of these
  /// arrays, by name; 0 if there is none. Throws BadData where the artifact has
  /// entries for several sizes of a dim, and none for that of an array.
  uint32_t findEntryFor(const std::vector<Array> &arrays) const;
  /// The first entry that has these sizes or takes any: `--dim=N=1,8` of the
  /// compiler makes an entry for each. With `named` that one alone. Throws
  /// Usage if there is none.
  uint32_t findEntryFor(const Sizes &sizes,
                        std::optional<uint32_t> named = std::nullopt) const;
  std::vector<std::string> entryNames() const;
  std::vector<TensorSpec> inputs(uint32_t entry) const {
    return tensors(entry, QCC_INPUT);
  }
  std::vector<TensorSpec> outputs(uint32_t entry) const {
    return tensors(entry, QCC_OUTPUT);
  }
  std::vector<TensorSpec> states() const { return tensors(0, QCC_STATE); }
  std::vector<Site> sites() const;
  const qcc_model_info &info() const { return description; }
  /// The least and largest value of a symbol.
  std::pair<int64_t, int64_t> symbolRange(const std::string &name) const;

  const qcc_model_api *api = nullptr;
  qcc_model *model = nullptr;

private:
  std::vector<TensorSpec> tensors(uint32_t entry, qcc_tensor_kind kind) const;
  Sizes entrySizes(const std::string &name) const;
  void checkSizes(const std::vector<uint32_t> &entries,
                  const std::vector<Array> &arrays) const;

  void *library = nullptr;
  qcc_model_info description{};
};

/// Runs of one entry in one context.
class Runner {
public:
  Runner(const Artifact &artifact, uint32_t entry);
  ~Runner();
  Runner(const Runner &) = delete;

  /// Takes the inputs by name; more than the entry has are ignored. Throws
  /// BadData when one is missing. `byPosition`: the first array is the first
  /// input, whatever it is called.
  void setInputs(std::vector<Array> arrays, bool byPosition = false);

  /// Runs once. Throws what the status means.
  void run();

  /// Copies of the outputs of the last run.
  std::vector<Array> outputs() const;

  /// Starts or ends (null) observation.
  void observe(const qcc_observer *observer);
  /// Memory for these inputs.
  qcc_memory_info memory() const;

private:
  void freeOutputs();

  const Artifact &artifact;
  uint32_t entry;
  std::vector<TensorSpec> inputSpecs, outputSpecs;
  qcc_context *context = nullptr;
  std::vector<Array> arrays;
  std::vector<DLTensor> inputTensors, outputTensors;
  std::vector<std::vector<int64_t>> outputShapes;
  std::vector<const DLTensor *> inputPointers;
  std::vector<DLTensor *> outputPointers;
  /// Outputs keep their memory from run to run.
  bool keepOutputs = false;
};

/// The exit code that a status of the interface means.
ExitCode exitCodeOf(qcc_status status);

/// A tensor of the interface as an array with a copy of its data.
Array copyTensor(const std::string &name, const DLTensor &tensor);

/// Inputs with random values from a fixed generator: floats from -1 to 1,
/// integers from 0 to `intMax`. Sizes that are not constant take the value of
/// `dims`, else the least one that is not 0. Throws Unsupported for inputs
/// whose dims are expressions.
std::vector<Array> makeRandomInputs(const Artifact &artifact, uint32_t entry,
                                    const Sizes &dims, uint64_t seed,
                                    int64_t intMax);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_ARTIFACT_H
