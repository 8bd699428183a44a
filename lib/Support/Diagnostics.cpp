//===- Diagnostics.cpp - coded errors that users can cause ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace qcc {

static constexpr DiagInfo kDiags[] = {
#define QCC_DIAGNOSTIC(name, code, exitCode, summary, remedy)                  \
  {Diag::name, #name, code, exitCode, summary, remedy},
#include "qcc/Support/Diagnostics.def"
};

const DiagInfo &getDiagInfo(Diag id) { return kDiags[static_cast<size_t>(id)]; }

ArrayRef<DiagInfo> getAllDiags() { return kDiags; }

const DiagInfo *findDiag(StringRef code) {
  for (const DiagInfo &info : kDiags)
    if (info.code == code)
      return &info;
  return nullptr;
}

char CodedError::ID = 0;

void CodedError::log(llvm::raw_ostream &os) const {
  if (!where.empty())
    os << where << ": ";
  os << text << " [" << getDiagInfo(id).code << "]";
}

llvm::Error makeError(Diag id, llvm::Twine where, llvm::Twine text) {
  return llvm::make_error<CodedError>(id, where.str(), text.str());
}

InFlightDiagnostic emitCoded(Location loc, Diag id) {
  InFlightDiagnostic diagnostic = mlir::emitError(loc);
  diagnostic << "[" << getDiagInfo(id).code << "] ";
  return diagnostic;
}

StringRef getNodeName(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc))
    return name.getName();
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location inner : fused.getLocations())
      if (StringRef name = getNodeName(inner); !name.empty())
        return name;
  return "";
}

std::string describeNode(Location loc) {
  StringRef name = getNodeName(loc);
  return name.empty() ? "" : ("node '" + name + "'").str();
}

StringRef getDescribedNode(StringRef where) {
  return where.consume_front("node '") && where.consume_back("'") ? where : "";
}

} // namespace qcc
