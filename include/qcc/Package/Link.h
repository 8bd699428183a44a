//===- Link.h - linking a model's library -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PACKAGE_LINK_H
#define QCC_PACKAGE_LINK_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Error.h"
#include <string>

namespace qcc {

/// An object or archive in memory, with a name for messages.
struct LinkInput {
  llvm::StringRef name, bytes;
};

/// Names of the symbols that a library may need from the C library and libm.
/// A line of the list holds library, version and name; `#` begins a comment.
llvm::StringSet<> readAllowedSymbols(llvm::StringRef text);

/// Fails if an input has an undefined symbol that no input defines and that is
/// not allowed: a call that slipped in (a libstdc++ function, a builtin of
/// compiler-rt) would make the library fail on the machine where it serves.
/// Weak undefined symbols are checked too. Errors: Internal, with object and
/// symbol; also for an input that is no ELF object.
llvm::Error checkSymbols(llvm::ArrayRef<LinkInput> inputs,
                         const llvm::StringSet<> &allowed);

/// Links objects with the runtime against the stub libraries: one exported
/// symbol (qcc_model_query_v1), read-only relocations, no executable stack, a
/// build id that is a hash of the content. Symbols are checked before, needed
/// libraries and exports after. Errors: CannotLink, CannotWrite, Internal.
llvm::Error linkLibrary(llvm::ArrayRef<std::string> objectPaths,
                        llvm::StringRef folder, llvm::StringRef outputPath);

/// Links the same inputs to one relocatable object that defines
/// qcc_model_query_v1, with `prefix` in front, and nothing else that others
/// see.
llvm::Error linkObject(llvm::ArrayRef<std::string> objectPaths,
                       llvm::StringRef prefix, llvm::StringRef outputPath);

/// Checks a linked library: what it needs (libc.so.6 and libm.so.6 at most)
/// and what it exports. Errors: Internal.
llvm::Error checkLibrary(llvm::StringRef path);

} // namespace qcc

#endif // QCC_PACKAGE_LINK_H
