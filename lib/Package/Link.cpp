//===- Link.cpp - linking a model's library ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Link.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Resources.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Object/Archive.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace llvm;
using namespace llvm::object;

namespace qcc {

static constexpr StringLiteral kQuerySymbol = "qcc_model_query_v1";

/// Libraries that an artifact may need, and their stubs in lib/qcc.
static constexpr StringLiteral kNeeded[] = {"libc.so.6", "libm.so.6"};

StringSet<> readAllowedSymbols(StringRef text) {
  StringSet<> allowed;
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    line = line.split('#').first.trim();
    // "library version name"; the stubs carry the first two.
    if (!line.empty())
      allowed.insert(line.substr(line.rfind(' ') + 1));
  }
  return allowed;
}

//===----------------------------------------------------------------------===//
// Symbols of objects
//===----------------------------------------------------------------------===//

namespace {

/// What the objects of a link define and need.
struct SymbolTable {
  StringSet<> defined;
  /// In the order in which they were met: object and symbol.
  std::vector<std::pair<std::string, std::string>> undefined;
};

Error badObject(StringRef name, Error error) {
  return makeError(Diag::Internal, name,
                   "expected an ELF object, but got: " +
                       toString(std::move(error)));
}

Error collectObject(StringRef name, MemoryBufferRef buffer,
                    SymbolTable &table) {
  Expected<std::unique_ptr<ObjectFile>> object =
      ObjectFile::createELFObjectFile(buffer);
  if (!object)
    return badObject(name, object.takeError());
  for (const SymbolRef &symbol : (*object)->symbols()) {
    Expected<uint32_t> flags = symbol.getFlags();
    if (!flags)
      return badObject(name, flags.takeError());
    Expected<StringRef> symbolName = symbol.getName();
    if (!symbolName)
      return badObject(name, symbolName.takeError());
    if (*flags & SymbolRef::SF_Undefined)
      table.undefined.emplace_back(name.str(), symbolName->str());
    else if (*flags & SymbolRef::SF_Global)
      table.defined.insert(*symbolName);
  }
  return Error::success();
}

Error collectArchive(StringRef name, MemoryBufferRef buffer,
                     SymbolTable &table) {
  Expected<std::unique_ptr<Archive>> archive = Archive::create(buffer);
  if (!archive)
    return badObject(name, archive.takeError());
  Error error = Error::success();
  for (const Archive::Child &child : (*archive)->children(error)) {
    Expected<MemoryBufferRef> member = child.getMemoryBufferRef();
    if (!member)
      return joinErrors(badObject(name, member.takeError()), std::move(error));
    std::string memberName =
        (name + "(" + member->getBufferIdentifier() + ")").str();
    if (Error failure = collectObject(memberName, *member, table))
      return joinErrors(std::move(failure), std::move(error));
  }
  return error ? badObject(name, std::move(error)) : Error::success();
}

} // namespace

Error checkSymbols(ArrayRef<LinkInput> inputs, const StringSet<> &allowed) {
  SymbolTable table;
  for (const LinkInput &input : inputs) {
    MemoryBufferRef buffer(input.bytes, input.name);
    bool isArchive = identify_magic(input.bytes) == file_magic::archive;
    if (Error error = isArchive ? collectArchive(input.name, buffer, table)
                                : collectObject(input.name, buffer, table))
      return error;
  }
  // What the linker itself defines.
  StringSet<> byLinker = {"_GLOBAL_OFFSET_TABLE_", "__dso_handle", "_DYNAMIC",
                          "__ehdr_start"};
  Error errors = Error::success();
  for (const auto &[object, symbol] : table.undefined) {
    if (symbol.empty() || table.defined.contains(symbol) ||
        allowed.contains(symbol) || byLinker.contains(symbol))
      continue;
    errors = joinErrors(
        std::move(errors),
        makeError(Diag::Internal, object,
                  "needs the symbol '" + symbol +
                      "', which an artifact may not need from its machine"));
  }
  return errors;
}

//===----------------------------------------------------------------------===//
// The linked library
//===----------------------------------------------------------------------===//

/// Exported symbols and needed libraries of a shared library.
static Error readDynamic(const ELF64LEFile &file,
                         SmallVectorImpl<StringRef> &needed,
                         SmallVectorImpl<StringRef> &exported) {
  Expected<ELF64LEFile::Elf_Shdr_Range> sections = file.sections();
  if (!sections)
    return sections.takeError();
  for (const ELF64LE::Shdr &section : *sections) {
    if (section.sh_type != ELF::SHT_DYNSYM &&
        section.sh_type != ELF::SHT_DYNAMIC)
      continue;
    Expected<const ELF64LE::Shdr *> link = file.getSection(section.sh_link);
    if (!link)
      return link.takeError();
    Expected<StringRef> strings = file.getStringTable(**link);
    if (!strings)
      return strings.takeError();
    if (section.sh_type == ELF::SHT_DYNSYM) {
      Expected<ELF64LE::SymRange> symbols = file.symbols(&section);
      if (!symbols)
        return symbols.takeError();
      for (const ELF64LE::Sym &symbol : *symbols) {
        if (symbol.st_shndx == ELF::SHN_UNDEF)
          continue;
        Expected<StringRef> name = symbol.getName(*strings);
        if (!name)
          return name.takeError();
        exported.push_back(*name);
      }
      continue;
    }
    auto entries = file.getSectionContentsAsArray<ELF64LE::Dyn>(section);
    if (!entries)
      return entries.takeError();
    for (const ELF64LE::Dyn &entry : *entries)
      if (entry.d_tag == ELF::DT_NEEDED && entry.getVal() < strings->size())
        needed.push_back(strings->drop_front(entry.getVal()).split('\0').first);
  }
  return Error::success();
}

Error checkLibrary(StringRef path) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer =
      MemoryBuffer::getFile(path, /*IsText=*/false,
                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return makeError(Diag::Internal, path, buffer.getError().message());
  Expected<ELF64LEFile> file = ELF64LEFile::create((*buffer)->getBuffer());
  SmallVector<StringRef> needed, exported;
  Error error = file ? readDynamic(*file, needed, exported) : file.takeError();
  if (error)
    return badObject(path, std::move(error));
  for (StringRef library : needed)
    if (!is_contained(kNeeded, library))
      return makeError(Diag::Internal, sys::path::filename(path),
                       "needs the library '" + library +
                           "', but expected at most libc and libm");
  if (exported.size() != 1 || exported[0] != kQuerySymbol)
    return makeError(Diag::Internal, sys::path::filename(path),
                     "expected one exported symbol, " + kQuerySymbol +
                         ", but got: " + join(exported, ", "));
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Running the linker
//===----------------------------------------------------------------------===//

/// Removes a file that is not part of the result; one that stays is found when
/// the folder is checked.
static void removeQuietly(StringRef path) {
  std::error_code ignored = sys::fs::remove(path);
  (void)ignored;
}

/// The environment, and what keeps LLVM's programs from leaving files in
/// TMPDIR when they crash.
static std::vector<StringRef> getEnvironment() {
  std::vector<StringRef> result;
  for (char **variable = environ; *variable; ++variable)
    result.emplace_back(*variable);
  result.emplace_back("LLVM_DISABLE_SYMBOLIZATION=1");
  return result;
}

/// Runs a program of LLVM that writes `outputPath`, and fails with the first
/// line that it said.
static Error runProgram(StringRef name, ArrayRef<std::string> arguments,
                        StringRef outputPath) {
  Expected<std::string> program = findLLVMProgram(name);
  if (!program)
    return program.takeError();
  SmallVector<StringRef> argv = {*program};
  llvm::append_range(argv, arguments);
  // What it says is kept in memory: a full disk has no room for it.
  int said = ::memfd_create("qcc-log", MFD_CLOEXEC);
  llvm::scope_exit closeLog([&] { ::close(said); });
  std::string log = said < 0 ? "" : "/proc/self/fd/" + std::to_string(said);
  std::optional<StringRef> redirects[] = {StringRef(), StringRef(log),
                                          StringRef(log)};
  std::string problem;
  int status =
      sys::ExecuteAndWait(*program, argv, getEnvironment(), redirects,
                          /*SecondsToWait=*/0, /*MemoryLimit=*/0, &problem);
  if (status == 0)
    return Error::success();
  if (auto text = MemoryBuffer::getFile(log); text && problem.empty())
    problem = (*text)->getBuffer().split('\n').first.str();
  // LLVM's words; the limit on memory holds for the linker too.
  if (StringRef(problem).contains("out of memory"))
    return makeError(Diag::LimitReached, name,
                     "out of memory; raise --max-memory, or make the model "
                     "smaller");
  // The linker maps its output: where the disk has no room for a page of it,
  // the system ends it with SIGBUS.
  std::error_code full = std::make_error_code(std::errc::no_space_on_device);
  if (StringRef(problem).contains(full.message()) ||
      StringRef(problem).starts_with("Bus error"))
    return makeError(Diag::CannotWrite, sys::path::filename(outputPath),
                     full.message());
  return makeError(Diag::CannotLink, name,
                   problem.empty() ? "exit status " + Twine(status)
                                   : Twine(problem));
}

/// Symbols of all inputs, the runtime's archive included, against the list.
static Error checkInputs(ArrayRef<std::string> paths) {
  Expected<std::string> listPath = findResource("AllowedSymbols.txt");
  if (!listPath)
    return listPath.takeError();
  std::vector<std::unique_ptr<MemoryBuffer>> buffers;
  std::vector<LinkInput> inputs;
  auto read = [&](StringRef path) -> Error {
    auto buffer = MemoryBuffer::getFile(path, /*IsText=*/false,
                                        /*RequiresNullTerminator=*/false);
    if (!buffer)
      return makeError(Diag::CannotLink, path, buffer.getError().message());
    buffers.push_back(std::move(*buffer));
    return Error::success();
  };
  if (Error error = read(*listPath))
    return error;
  StringSet<> allowed = readAllowedSymbols(buffers[0]->getBuffer());
  for (const std::string &path : paths) {
    if (Error error = read(path))
      return error;
    inputs.push_back({sys::path::filename(path), buffers.back()->getBuffer()});
  }
  return checkSymbols(inputs, allowed);
}

/// Writes a small file beside the objects.
static Error writeText(StringRef path, StringRef text) {
  std::error_code error;
  raw_fd_ostream os(path, error);
  if (!error) {
    os << text;
    os.close();
    error = os.error();
  }
  os.clear_error();
  return error ? makeError(Diag::CannotWrite, path, error.message())
               : Error::success();
}

Error linkLibrary(ArrayRef<std::string> objectPaths, StringRef folder,
                  StringRef outputPath) {
  std::vector<std::string> inputs = objectPaths.vec();
  Expected<std::string> runtime = findResource("libqcc_rt.a");
  if (!runtime)
    return runtime.takeError();
  inputs.push_back(*runtime);
  if (Error error = checkInputs(inputs))
    return error;

  SmallString<256> exports(folder);
  sys::path::append(exports, "exports.map");
  if (Error error = writeText(exports, "{ global: " + kQuerySymbol.str() +
                                           "; local: *; };\n"))
    return error;
  llvm::scope_exit removeExports([&] { removeQuietly(exports); });

  // Everything that could differ between machines is said here.
  std::vector<std::string> arguments = {"-shared",
                                        "-m",
                                        "elf_x86_64",
                                        "-soname=libmodel.so",
                                        "--no-undefined",
                                        "--undefined=" + kQuerySymbol.str(),
                                        "--gc-sections",
                                        "--as-needed",
                                        "--build-id=sha1",
                                        "--hash-style=gnu",
                                        "-znoexecstack",
                                        "-zrelro",
                                        "-znow",
                                        "-O1",
                                        "--strip-debug",
                                        "--no-dependent-libraries",
                                        "--threads=1",
                                        "--version-script=" +
                                            exports.str().str(),
                                        "-o",
                                        outputPath.str()};
  llvm::append_range(arguments, inputs);
  for (StringRef library : kNeeded) {
    Expected<std::string> stub = findResource(("stubs/" + library).str());
    if (!stub)
      return stub.takeError();
    arguments.push_back(*stub);
  }
  if (Error error = runProgram("ld.lld", arguments, outputPath))
    return error;
  return checkLibrary(outputPath);
}

Error linkObject(ArrayRef<std::string> objectPaths, StringRef prefix,
                 StringRef outputPath) {
  std::vector<std::string> inputs = objectPaths.vec();
  Expected<std::string> runtime = findResource("libqcc_rt.a");
  if (!runtime)
    return runtime.takeError();
  inputs.push_back(*runtime);
  if (Error error = checkInputs(inputs))
    return error;
  std::vector<std::string> arguments = {
      "-r",         "-m",
      "elf_x86_64", "--undefined=" + kQuerySymbol.str(),
      "-o",         outputPath.str()};
  llvm::append_range(arguments, inputs);
  if (Error error = runProgram("ld.lld", arguments, outputPath))
    return error;
  // Hidden symbols of two models in one program would clash: make them local.
  arguments = {"--keep-global-symbol=" + kQuerySymbol.str(), "--strip-debug"};
  if (!prefix.empty())
    arguments.push_back(
        ("--redefine-sym=" + kQuerySymbol + "=" + prefix + kQuerySymbol).str());
  arguments.push_back(outputPath.str());
  return runProgram("llvm-objcopy", arguments, outputPath);
}

} // namespace qcc
