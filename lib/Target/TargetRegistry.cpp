//===- TargetRegistry.cpp - targets by name ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/StringExtras.h"

using namespace qcc;

namespace {
/// Holds the registry of a context.
struct TargetInterface : mlir::DialectInterface::Base<TargetInterface> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(TargetInterface)
  TargetInterface(mlir::Dialect *dialect) : Base(dialect) {}
  TargetRegistry registry;
};
} // namespace

TargetRegistry &qcc::getTargets(QCCDialect &dialect) {
  if (!dialect.getRegisteredInterface<TargetInterface>())
    dialect.addInterface(std::make_unique<TargetInterface>(&dialect));
  // Interfaces are handed out const; the registry is the dialect's own.
  return const_cast<TargetInterface *>(
             dialect.getRegisteredInterface<TargetInterface>())
      ->registry;
}

const TargetRegistry &qcc::getTargets(mlir::MLIRContext *context) {
  return getTargets(*context->getOrLoadDialect<QCCDialect>());
}

std::string qcc::describeSchedule(const KernelSchedule &schedule) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::interleave(
      schedule.params, os,
      [&](mlir::NamedAttribute param) {
        os << param.getName().getValue() << "=";
        param.getValue().print(os, /*elideType=*/true);
      },
      " ");
  for (const PackRequest &pack : schedule.packs)
    os << " " << pack.layout << "/" << pack.nr;
  return text;
}

KernelChoices qcc::findKernel(const Target &target, DispatchOp dispatch,
                              llvm::ArrayRef<Capabilities> levels) {
  auto isConstant = [&](unsigned operand) {
    return isConstantExpression(dispatch.getInputs()[operand]);
  };
  for (const auto &emitter : target.getEmitters())
    if (auto first = emitter->match(dispatch, levels, isConstant)) {
      KernelChoices choices{emitter.get(), {std::move(*first)}};
      for (KernelSchedule &other :
           emitter->getAlternatives(dispatch, levels, isConstant))
        choices.schedules.push_back(std::move(other));
      return choices;
    }
  return {};
}

llvm::Expected<std::pair<const Target *, llvm::SmallVector<Capabilities>>>
TargetRegistry::find(llvm::StringRef value) const {
  for (const std::unique_ptr<Target> &target : targets) {
    llvm::SmallVector<Capabilities> levels = target->parse(value);
    if (!levels.empty())
      return std::make_pair(static_cast<const Target *>(target.get()),
                            std::move(levels));
  }
  std::string known =
      llvm::join(llvm::map_range(targets,
                                 [](const std::unique_ptr<Target> &target) {
                                   return target->getValues();
                                 }),
                 ", ");
  return makeError(Diag::Usage, "",
                   "expected a target of " + known + ", but got '" +
                       value.str() + "'; `qcc targets` lists them");
}
