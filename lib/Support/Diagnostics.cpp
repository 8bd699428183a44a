//===- Diagnostics.cpp - coded errors that users can cause ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/Support/JSON.h"
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

/// Bytes of the control character or mark of direction that a valid UTF-8 text
/// begins with, 0 if it begins with something else.
static size_t getControl(llvm::StringRef text) {
  auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  if (at(0) < 0x20 || at(0) == 0x7f)
    return 1;
  if (at(0) == 0xc2 && at(1) < 0xa0) // U+0080 to U+009F
    return 2;
  // U+202A to U+202E, U+2066 to U+2069
  bool isMark =
      at(0) == 0xe2 && ((at(1) == 0x80 && at(2) >= 0xaa && at(2) <= 0xae) ||
                        (at(1) == 0x81 && at(2) >= 0xa6 && at(2) <= 0xa9));
  return isMark ? 3 : 0;
}

std::string toPlainText(llvm::StringRef text) {
  std::string valid = llvm::json::fixUTF8(text), result;
  for (llvm::StringRef rest = valid; !rest.empty();) {
    size_t control = getControl(rest);
    result += control ? ' ' : rest.front();
    rest = rest.drop_front(std::max<size_t>(control, 1));
  }
  return result;
}

} // namespace qcc
