//===- Context.h - working memory and one run -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_CONTEXT_H
#define QCC_LIB_RUNTIME_CONTEXT_H

#include "Model.h"

namespace qcc::runtime {

/// Where the buffers of an entry lie for one tuple of sizes.
struct ArenaLayout {
  uint32_t entry;
  uint32_t lastUse;
  uint64_t arenaBytes;
  uint64_t allocated;
  /// Values of all symbols, then per buffer its offset and its size.
  const int64_t *symbols;
  const uint64_t *offsets;
  const uint64_t *sizes;
};

/// A state of the context; no data until its size is known.
struct StateData {
  char *data;
  uint64_t bytes;
  /// What was allocated, to free it.
  uint64_t allocated;
  int64_t shape[maxRank];
};

/// Memory that a run asked for while it ran: the bytes in use, and those that
/// were allocated.
struct HostBlock {
  char *data;
  uint64_t bytes;
  uint64_t allocated;
};

/// An input or output in this run.
struct BoundTensor {
  char *data;
  uint64_t bytes;
  /// Outputs: data is ours to free if the run fails.
  bool owned;
  /// Outputs: dims and data are set.
  bool ready;
};

inline constexpr uint32_t maxLayouts = 32;

} // namespace qcc::runtime

/// One run of an entry; lives in the context. `status` is the first failure.
struct qcc_exec {
  qcc_context *context;
  uint32_t entry;
  qcc_status status;
  const qcc::runtime::ArenaLayout *layout;
  DLTensor *const *outputTensors;
  qcc::runtime::HostBlock *blocks;
  uint32_t numBlocks;
  uint32_t maxBlocks;
  uint32_t pid;
  bool isTooShort; ///< inputs have failed; the entry says for which node
};

struct qcc_context {
  qcc_model *model;
  uint32_t maxWorkers;
  qcc::runtime::ErrorText error;
  std::atomic<uint32_t> cancelled;
  qcc_observer observer;

  char *arena;
  uint64_t arenaBytes;
  char *scratch;
  uint64_t scratchStride;
  qcc::runtime::StateData *states;
  qcc::runtime::ArenaLayout layouts[qcc::runtime::maxLayouts];
  uint32_t uses;

  int64_t *symbols;
  void **bindings;
  qcc::runtime::BoundTensor *inputs;
  qcc::runtime::BoundTensor *outputs;
  qcc_exec exec;
};

namespace qcc::runtime {

qcc_status createContext(qcc_model *model, const qcc_context_options &options,
                         qcc_context *&context);
void destroyContext(qcc_context *context);

/// Workers that a context with these options uses.
uint32_t contextWorkers(const qcc_model &model,
                        const qcc_context_options &options);
/// Bytes of scratch of one worker, a multiple of 128.
uint64_t scratchStride(const qcc_model &model);

/// The layout of an entry for the given symbols, from the cache or planned
/// now. Null when it fails, with the status in `status`.
const ArenaLayout *findLayout(qcc_context &context, uint32_t entry,
                              const int64_t *symbols, qcc_status &status);
/// Plans into `layout`, which then owns one allocation.
qcc_status planLayout(const qcc_model &model, uint32_t entry,
                      const int64_t *symbols, ArenaLayout &layout,
                      ErrorText &error);
void freeLayout(const qcc_model &model, ArenaLayout &layout);
qcc_status growArena(qcc_context &context, uint64_t bytes);
/// Makes block `number` exist in the run, empty if it is new; false when there
/// is no memory for it.
bool growBlocks(qcc_exec &x, uint32_t number);

/// Allocates the states whose sizes the symbols give, and checks the others.
qcc_status prepareStates(qcc_context &context, const int64_t *symbols);
void resetStates(qcc_context &context);

/// Gives `symbols` the values that the inputs' dims bind, and compares all
/// other dims. Reads only rank, shape and, when `withData`, all else; then
/// `bound` gets the addresses.
qcc_status bindInputs(const qcc_model &model, uint32_t entry,
                      const DLTensor *const *inputs, uint32_t count,
                      bool withData, int64_t *symbols, BoundTensor *bound,
                      ErrorText &error);

/// Dims of a tensor; false when they are not known.
bool evaluateShape(const ProgramView &program, const qcc_tensor_rec &tensor,
                   const int64_t *symbols, int64_t *shape);

/// Compares a caller's output with what it must be, or allocates it.
qcc_status bindOutput(qcc_context &context, uint32_t entry, uint32_t number,
                      DLTensor *output, BoundTensor &bound);

/// Compares type, device, strides and alignment of a tensor with `rec`, and
/// its shape with `shape`. `what` is as "input 'x'".
qcc_status checkTensor(const DLTensor &tensor, const qcc_tensor_rec &rec,
                       const int64_t *shape, const char *what,
                       ErrorText &error);

/// Fills all of `tensor` but its data from the record and the shape, which is
/// copied to tensor.shape.
void describeTensor(DLTensor &tensor, const qcc_tensor_rec &rec,
                    const int64_t *shape);

qcc_status runEntry(qcc_context &context, uint32_t entry,
                    const DLTensor *const *inputs, uint32_t numInputs,
                    DLTensor *const *outputs, uint32_t numOutputs);

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_CONTEXT_H
