//===- Target.cpp - a target of a plugin ------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// x86-64 with AVX2 and FMA in generic loops only: the public emitters under
// another name.
//
//===----------------------------------------------------------------------===//
#include "Toy.h"
#include "qcc/Codegen/Emitters.h"
#include "qcc/Runtime/Program.h"

namespace {
class ToyTarget final : public qcc::Target {
public:
  ToyTarget() { emitters.push_back(qcc::createGenericEmitter()); }

  llvm::StringRef getName() const override { return "toy"; }
  llvm::StringRef getSummary() const override { return "loops for AVX2"; }

  llvm::SmallVector<qcc::Capabilities>
  parse(llvm::StringRef value) const override {
    if (value != "toy")
      return {};
    qcc::Capabilities level;
    level.level = "toy";
    level.llvmCpu = "haswell";
    level.vectorBits = 256;
    level.hasFma = true;
    for (unsigned feature :
         {QCC_CPU_AVX, QCC_CPU_AVX2, QCC_CPU_FMA, QCC_CPU_F16C, QCC_CPU_BMI,
          QCC_CPU_BMI2, QCC_CPU_LZCNT, QCC_CPU_MOVBE})
      level.cpuFeatures |= uint64_t(1) << feature;
    return {level};
  }

  llvm::ArrayRef<std::unique_ptr<qcc::KernelEmitter>>
  getEmitters() const override {
    return emitters;
  }

private:
  std::vector<std::unique_ptr<qcc::KernelEmitter>> emitters;
};
} // namespace

void toy::registerTarget(mlir::DialectRegistry &registry) {
  qcc::registerTarget<ToyTarget>(registry);
}
