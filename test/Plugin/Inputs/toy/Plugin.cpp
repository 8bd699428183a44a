//===- Plugin.cpp - what qcc asks the plugin for ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Plugin/Plugin.h"
#include "Toy.h"

extern "C" qcc::PluginInfo qccGetPluginInfo() {
  return {qcc::kPluginApi, QCC_VERSION_STRING, "toy",
          [](qcc::Extensions &extensions) {
            extensions.addPass(qcc::Stage::Import, toy::createCountOps);
            extensions.addDialects(toy::registerTernary);
            extensions.addDialects(toy::registerCodebook);
            extensions.addDialects(toy::registerTarget);
          }};
}
