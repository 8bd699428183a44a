//===- ReferenceTarget.cpp - plain scalar loops of everything ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The oracle: every named operation is decomposed, loops are scalar, sums of
// f32 are kept in f64 and functions are those of libm in f64. What the kernels
// of other targets compute is compared with this.
//
//===----------------------------------------------------------------------===//
#include "qcc/Codegen/Emitters.h"
#include "qcc/Runtime/Program.h"

using namespace qcc;

namespace {
class ReferenceTarget final : public Target {
public:
  ReferenceTarget() {
    emitters.push_back(createProgramEmitter());
    emitters.push_back(createGenericEmitter());
  }

  llvm::StringRef getName() const override { return "reference"; }
  llvm::StringRef getSummary() const override {
    return "scalar loops in f64, slow: what other targets are compared with";
  }

  llvm::SmallVector<Capabilities> parse(llvm::StringRef value) const override {
    if (value != "reference")
      return {};
    Capabilities scalar;
    scalar.level = "scalar";
    scalar.llvmCpu = "x86-64";
    // Conversions of f16 would be calls into a compiler's runtime without it.
    scalar.llvmFeatures = "+f16c";
    scalar.cpuFeatures = uint64_t(1) << QCC_CPU_AVX | uint64_t(1)
                                                          << QCC_CPU_F16C;
    scalar.exactMath = true;
    return {scalar};
  }

  llvm::ArrayRef<std::unique_ptr<KernelEmitter>> getEmitters() const override {
    return emitters;
  }

private:
  std::vector<std::unique_ptr<KernelEmitter>> emitters;
};
} // namespace

void qcc::registerReferenceTarget(TargetRegistry &registry) {
  registry.add(std::make_unique<ReferenceTarget>());
}
