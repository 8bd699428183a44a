//===- X86Target.cpp - x86-64 with AVX2 and above ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Emitters.h"
#include "Levels.h"
#include "X86Costs.h"
#include "qcc/Codegen/Emitters.h"

using namespace qcc;

namespace {
class X86Target final : public Target {
public:
  X86Target() {
    emitters.push_back(x86::createGemmF32Emitter());
    emitters.push_back(x86::createBatchGemmF32Emitter());
    emitters.push_back(x86::createDepthwiseSmallF32Emitter());
    emitters.push_back(x86::createDepthwiseF32Emitter());
    emitters.push_back(x86::createConvF32Emitter());
    emitters.push_back(x86::createAttentionEmitter());
    emitters.push_back(x86::createByteAttentionEmitter());
    emitters.push_back(x86::createQMatMulEmitter());
    emitters.push_back(x86::createDecodeMatMulEmitter());
    emitters.push_back(x86::createQuantizeRowsEmitter());
    emitters.push_back(x86::createByteDotEmitter());
    emitters.push_back(x86::createBatchByteEmitter());
    emitters.push_back(x86::createDepthwiseByteEmitter());
    emitters.push_back(x86::createPoolByteEmitter());
    emitters.push_back(createRowEmitter());
    emitters.push_back(createPoolEmitter());
    emitters.push_back(createArgReduceEmitter());
    emitters.push_back(createConcatEmitter());
    emitters.push_back(createTableEmitter());
    emitters.push_back(createInterleaveEmitter());
    emitters.push_back(createTileEmitter());
    emitters.push_back(createProgramEmitter());
    emitters.push_back(createGenericEmitter());
  }
  llvm::StringRef getName() const override { return "x86"; }
  llvm::StringRef getSummary() const override {
    return "x86-64: avx2, avx512, avx512-vnni (cascadelake, icelake), amx "
           "(sapphirerapids), native, or several joined by +";
  }
  std::string getValues() const override {
    std::string values;
    for (const Capabilities &level : x86::getLevels())
      values += level.level + ", ";
    return values + "native";
  }
  llvm::SmallVector<Capabilities> parse(llvm::StringRef value) const override {
    return x86::parseLevels(value);
  }
  llvm::ArrayRef<std::unique_ptr<KernelEmitter>> getEmitters() const override {
    return emitters;
  }
  std::optional<double>
  estimateProduct(const ProductShape &shape, bool inIntegers,
                  const Capabilities &level) const override {
    return x86::estimateProduct(shape, inIntegers, level);
  }
  std::optional<double>
  estimateAttention(const AttentionShape &shape, bool inIntegers,
                    const Capabilities &level) const override {
    return x86::estimateAttention(shape, inIntegers, level);
  }
  double estimatePool(int64_t reads, bool inIntegers,
                      const Capabilities &level) const override {
    return x86::estimatePool(reads, inIntegers, level);
  }
  double estimateSampleCodes(int64_t elements, bool hasZero,
                             const Capabilities &level) const override {
    return x86::estimateSampleCodes(elements, hasZero, level);
  }
  double estimateBorder(int64_t elements, bool toCodes, bool permuted,
                        const Capabilities &level) const override {
    return x86::estimateBorder(elements, toCodes, permuted, level);
  }

private:
  std::vector<std::unique_ptr<KernelEmitter>> emitters;
};
} // namespace

void qcc::registerX86Target(TargetRegistry &registry) {
  registry.add(std::make_unique<X86Target>());
}
