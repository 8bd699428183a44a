//===- Options.h - the command line of qcc ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_OPTIONS_H
#define QCC_TOOLS_QCC_OPTIONS_H

#include "qcc/Package/Package.h"
#include "qcc/Pipeline/Compiler.h"
#include "llvm/Option/ArgList.h"
#include "llvm/Option/OptTable.h"

namespace qcc::driver {

/// The sub-commands, in the order of the visibilities of Options.td.
enum class Verb {
  Compile,
  Check,
  Inspect,
  Calibrate,
  MergeStats,
  Compare,
  Eval,
  Report,
  Verify,
  Targets,
  Schemes,
  Explain
};

enum OptionID {
  OPT_INVALID = 0,
#define OPTION(...) LLVM_MAKE_OPT_ID(__VA_ARGS__),
#include "Options.inc"
#undef OPTION
};

/// A command line that was understood.
struct CommandLine {
  Verb verb = Verb::Compile;
  std::unique_ptr<llvm::opt::OptTable> table; ///< what `args` refers to
  llvm::opt::InputArgList args;
  std::vector<std::string> positionals;
  std::vector<std::string> warnings; ///< of flags whose value is not taken

  bool has(OptionID id) const { return args.hasArg(id); }
  llvm::StringRef get(OptionID id, llvm::StringRef fallback = "") const {
    return args.getLastArgValue(id, fallback);
  }
};

/// Parses the words after the program's name. The first one may name a
/// sub-command; else it is a model to compile. Errors: Usage, with the nearest
/// flag if one is unknown.
llvm::Expected<CommandLine> parseCommandLine(llvm::ArrayRef<const char *> argv);

/// Prints the flags of a sub-command; hidden ones too if `advanced`.
void printHelp(llvm::raw_ostream &os, Verb verb, bool advanced);

/// The one positional word of a command. Errors: Usage.
llvm::Expected<std::string> getOnlyPositional(const CommandLine &line,
                                              llvm::StringRef what);

/// The policy of a name; `where` is who asks. Errors: Usage.
llvm::Expected<NonFinitePolicy> readNonFinitePolicy(llvm::StringRef where,
                                                    llvm::StringRef text);

/// The value of a numeric flag. Errors: Usage.
llvm::Expected<uint64_t> getNumber(const CommandLine &line, OptionID id,
                                   uint64_t fallback);

/// The value of --jobs; 0: all cores. Errors: Usage.
llvm::Expected<unsigned> getJobs(const CommandLine &line);

struct Session;

/// Compile options from recipe and flags. `self` is the path of this program,
/// which answers as a kernel compiler too. Errors: Usage; BadPlugin if a plugin
/// that the recipe names was not loaded.
llvm::Expected<CompileOptions> makeCompileOptions(Session &session,
                                                  llvm::StringRef model,
                                                  llvm::StringRef self);

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_OPTIONS_H
