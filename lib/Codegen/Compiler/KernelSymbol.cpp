//===- KernelSymbol.cpp - the name of a kernel in its object ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Codegen/KernelCompiler.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ObjCopy/ConfigManager.h"
#include "llvm/ObjCopy/ObjCopy.h"
#include "llvm/Object/ObjectFile.h"

using namespace qcc;

llvm::Expected<std::string> qcc::nameKernel(llvm::StringRef object,
                                            llvm::StringRef symbol) {
  auto file = llvm::object::ObjectFile::createELFObjectFile(
      llvm::MemoryBufferRef(object, symbol));
  if (!file)
    return file.takeError();
  llvm::objcopy::ConfigManager config;
  // The configuration keeps references.
  std::vector<std::pair<std::string, std::string>> renamed;
  for (const auto &found : (*file)->symbols()) {
    llvm::Expected<llvm::StringRef> name = found.getName();
    if (!name)
      return name.takeError();
    llvm::StringRef rest = *name;
    if (rest.consume_front(kKernelSymbol))
      renamed.push_back({name->str(), (symbol + rest).str()});
  }
  for (const auto &[from, to] : renamed)
    config.Common.SymbolsToRename[from] = to;
  std::string result;
  llvm::raw_string_ostream os(result);
  if (llvm::Error error =
          llvm::objcopy::executeObjcopyOnBinary(config, **file, os))
    return std::move(error);
  return result;
}
