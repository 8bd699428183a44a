//===- Harness.h - kernels compiled and run in a test -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_NUMERICS_HARNESS_H
#define QCC_TEST_NUMERICS_HARNESS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "qcc/Target/Target.h"
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace qcc::test {

/// Levels that this machine can run, the scalar one first.
std::vector<Capabilities> getRunnableLevels();

/// Memory between two pages that fault. The data ends at the upper one or
/// begins at the lower one.
class GuardedBuffer {
public:
  GuardedBuffer(size_t size, bool atEnd);
  GuardedBuffer(const GuardedBuffer &) = delete;
  ~GuardedBuffer();
  char *data() const { return begin; }
  size_t size() const { return length; }

private:
  char *mapping, *begin;
  size_t mapped, length;
};

/// Bytes of an operand or result.
using Bytes = std::vector<char>;
template <typename T> Bytes toBytes(const std::vector<T> &values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <typename T> std::vector<T> fromBytes(const Bytes &bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// A kernel that was parsed from text, compiled for a level and loaded.
class LoadedKernel {
public:
  /// `text` is a module with one `qcc.kernel @k`; `emitter` builds it. The
  /// number of tasks is what the emitter's match says for the same region as a
  /// dispatch. Reports test failures and leaves `ok()` false on errors.
  LoadedKernel(llvm::StringRef text, const KernelEmitter &emitter,
               const Capabilities &caps);
  /// The same for the first emitter of `target` that takes the region, as it is
  /// before packing, at all of `levels`; the code is for the last one.
  /// `constants` are the operands with values known at compile time: where the
  /// schedule wants them packed, run() packs them. `extend` registers what a
  /// plugin would. `choice` is the schedule: 0 is the emitter's own, others
  /// are its alternatives.
  LoadedKernel(llvm::StringRef text, const Target &target,
               llvm::ArrayRef<Capabilities> levels,
               llvm::ArrayRef<unsigned> constants,
               void (*extend)(mlir::DialectRegistry &) = nullptr,
               size_t choice = 0);
  ~LoadedKernel();
  bool ok() const { return function != nullptr; }
  /// Name of the emitter that built the kernel.
  const std::string &getEmitter() const { return emitterName; }
  /// Schedules that the emitter has for the region, and the one taken
  /// (describeSchedule).
  size_t getNumChoices() const { return numChoices; }
  const std::string &getSchedule() const { return scheduleText; }

  /// Runs all tasks in `parts` calls, with the buffers at either end of their
  /// guarded memory; returns the results' bytes. `sizes` are those of the
  /// results in bytes.
  std::vector<Bytes> run(const std::vector<Bytes> &inputs,
                         const std::vector<size_t> &sizes,
                         const std::vector<int64_t> &dims, bool atEnd = true,
                         int64_t parts = 1) const;
  int64_t getTasks(const std::vector<int64_t> &dims) const;

  /// A callable that runs all tasks once on buffers of its own.
  std::function<void()> prepare(const std::vector<Bytes> &inputs,
                                const std::vector<size_t> &sizes,
                                const std::vector<int64_t> &dims) const;

private:
  using Function = void (*)(void *const *, const int64_t *, int64_t, int64_t,
                            void *);
  using Emitters = llvm::ArrayRef<const KernelEmitter *>;
  void load(llvm::StringRef text, Emitters emitters,
            llvm::ArrayRef<Capabilities> levels,
            llvm::ArrayRef<unsigned> constants,
            void (*extend)(mlir::DialectRegistry &));
  void packOperands(KernelOp kernel, llvm::ArrayRef<PackRequest> requests);
  Bytes pack(unsigned operand, const Bytes &bytes) const;

  struct Packing {
    PackRequest request;
    mlir::RankedTensorType from, to;
  };
  mlir::MLIRContext context;
  size_t choice = 0, numChoices = 0;
  std::string emitterName, scheduleText;
  std::vector<Packing> packings;
  mlir::AffineExpr tasks;
  int64_t scratchBytes = 0;
  void *library = nullptr;
  Function function = nullptr;
};

/// Distance of a result to the exact value in units of the last place of an
/// f32; 0 for equal NaN and infinities, huge where only one is.
double ulpError(float result, double exact);

/// Pseudo random numbers, the same on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 2 + 1) {}
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1DULL;
  }
  int64_t range(int64_t low, int64_t high) { // inclusive
    return low + static_cast<int64_t>((next() >> 16) % (high - low + 1));
  }
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>((next() >> 40) * 0x1p-24);
  }
  std::vector<float> floats(size_t count, float low, float high) {
    std::vector<float> values(count);
    for (float &value : values)
      value = uniform(low, high);
    return values;
  }

private:
  uint64_t state;
};

} // namespace qcc::test

#endif // QCC_TEST_NUMERICS_HARNESS_H
