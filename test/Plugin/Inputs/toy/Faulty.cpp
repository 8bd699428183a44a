//===- Faulty.cpp - a plugin that breaks rules ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The environment says which: FAULT of a scheme, PASS of a pass at STAGE, NULL
// in place of a function or a pass.
//
//===----------------------------------------------------------------------===//
#include "mlir/IR/BuiltinOps.h"
#include "qcc/Plugin/Plugin.h"
#include "qcc/Scheme/BitFields.h"
#include <cmath>
#include <cstdlib>

using namespace mlir;

static llvm::StringRef get(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

namespace {

constexpr float kNumbers[] = {-1.0f, -0.25f, 0.0f, 0.6f};

class Faulty : public qcc::Scheme {
public:
  llvm::StringRef getKey() const override {
    return fault.contains("key=") ? fault.split('=').second : "faulty";
  }
  llvm::StringRef getSummary() const override { return "four numbers"; }
  unsigned getWeightBits() const override { return 2; }
  qcc::SchemeCompute getCompute() const override {
    return qcc::SchemeCompute::Float;
  }
  int64_t getGroup() const override { return fault == "group" ? 12 : 32; }
  qcc::CodeUnit getUnit() const override { return fields.getUnit(); }
  unsigned getMaxCode() const override { return 3; }
  std::optional<int32_t> getZero() const override { return 2; }
  bool isLinear() const override { return fault == "linear"; }

  qcc::GroupAffine choose(llvm::ArrayRef<float> weights,
                          llvm::ArrayRef<float>) const override {
    float most = 0;
    for (float weight : weights)
      most = std::max(most, std::fabs(weight));
    return {most, 2};
  }
  float value(uint8_t code, const qcc::GroupAffine &affine) const override {
    return affine.scale * kNumbers[code & 3];
  }
  void pack(llvm::ArrayRef<uint8_t> codes,
            llvm::MutableArrayRef<char> bytes) const override {
    fields.pack(codes, bytes);
  }
  llvm::SmallVector<Value> decode(qcc::DecodeBuilder &b,
                                  Value bytes) const override {
    llvm::SmallVector<Value> rows = fields.unpack(b, bytes, /*clean=*/false);
    for (Value &row : rows)
      row = b.lookup(kNumbers, row);
    if (fault == "rows")
      rows.pop_back();
    return rows;
  }

private:
  qcc::BitFields fields{2};
  llvm::StringRef fault = get("FAULT");
};

struct Complain : PassWrapper<Complain, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Complain)
  llvm::StringRef getArgument() const override {
    return get("ARGUMENT").empty() ? "complain" : get("ARGUMENT");
  }
  void runOnOperation() override {
    llvm::StringRef how = get("PASS");
    if (how == "abort")
      std::abort();
    if (how == "erase")
      getOperation().getBody()->clear();
    if (how == "warn")
      getOperation().emitWarning("a thing to know");
    if (how == "error" || how == "go-on")
      getOperation().emitError("a thing that is not so");
    if (how == "error" || how == "fail")
      signalPassFailure();
  }
};

} // namespace

extern "C" qcc::PluginInfo qccGetPluginInfo() {
  return {qcc::kPluginApi, QCC_VERSION_STRING, "faulty",
          [](qcc::Extensions &extensions) {
            extensions.addDialects(qcc::registerScheme<Faulty>);
            if (get("NULL") == "dialects")
              extensions.addDialects(nullptr);
            std::optional<qcc::Stage> stage = qcc::parseStage(get("STAGE"));
            if (stage && get("NULL") == "factory")
              extensions.addPass(*stage, nullptr);
            else if (stage)
              extensions.addPass(*stage, [] {
                return get("NULL") == "pass" ? nullptr
                                             : std::make_unique<Complain>();
              });
          }};
}
