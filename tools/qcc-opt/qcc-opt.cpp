//===- qcc-opt.cpp - passes on text IR --------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "qcc/Pipeline/Compiler.h"
#include "qcc/Plugin/Plugin.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

/// For the parser of flags and for --help. Plugins are loaded before flags are
/// parsed, since they bring flags of their own.
static cl::list<std::string>
    loadPlugin("load-plugin", cl::value_desc("file"),
               cl::desc("Load a plugin of qcc: its dialects, its precisions "
                        "and its passes, each by its name and those of a "
                        "stage by --plugin-STAGE"));

static std::vector<std::string> findPlugins(ArrayRef<char *> words) {
  std::vector<std::string> files;
  for (size_t i = 0; i < words.size(); ++i) {
    StringRef word = words[i];
    if (!word.consume_front("--"))
      word.consume_front("-");
    if (word.consume_front("load-plugin="))
      files.push_back(word.str());
    else if (word == "load-plugin" && i + 1 < words.size())
      files.push_back(words[++i]);
  }
  return files;
}

static Error loadPlugins(ArrayRef<std::string> files,
                         qcc::Extensions &extensions,
                         mlir::DialectRegistry &registry) {
  for (const std::string &file : files)
    if (Error error = extensions.load(file, registry))
      return error;
  extensions.registerDialects(registry);
  return extensions.registerPasses();
}

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  qcc::registerDialects(registry);
  qcc::registerAllPasses();
  qcc::Extensions extensions;
  Error error = loadPlugins(findPlugins(ArrayRef(argv, size_t(argc))),
                            extensions, registry);
  int code = 0;
  handleAllErrors(std::move(error), [&](const qcc::CodedError &coded) {
    errs() << "qcc-opt: error: ";
    coded.log(errs());
    errs() << "\n";
    code = qcc::getDiagInfo(coded.getDiag()).exitCode;
  });
  return code != 0 ? code
                   : mlir::asMainReturnCode(mlir::MlirOptMain(
                         argc, argv, "qcc's passes on text IR\n", registry));
}
