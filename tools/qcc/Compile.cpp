//===- Compile.cpp - qcc MODEL -----------------------------------*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "qcc/Support/AtomicDirectory.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;

namespace qcc::driver {

mlir::DialectRegistry makeRegistry(const Session &session) {
  mlir::DialectRegistry registry;
  registerDialects(registry);
  session.extensions.registerDialects(registry);
  return registry;
}

Expected<CompileResult> compileModel(Session &session, CompileOptions options) {
  mlir::DialectRegistry registry = makeRegistry(session);
  // Kernels are what takes time, and they are compiled in other processes.
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  session.sink.attach(context);
  options.extensions = &session.extensions;
  Progress progress(session.progress, options.stopAfter);
  Expected<CompileResult> result =
      compile(options, context, [&](Stage stage, bool done, StringRef detail) {
        progress(stage, done, detail);
      });
  progress.clear();
  return result;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

static Error failToWrite(StringRef path, std::error_code error) {
  return makeError(Diag::CannotWrite, path, error.message());
}

/// True if a word of the command line other than where results go is the file.
static bool isRead(const CommandLine &line, StringRef path) {
  bool isSame = false;
  for (const opt::Arg *arg : line.args) {
    unsigned id = arg->getOption().getID();
    if (id == OPT_output || id == OPT_report_file)
      continue;
    for (const char *value : arg->getValues())
      isSame |= sys::fs::equivalent(value, path);
  }
  return isSame || any_of(line.positionals, [&](const std::string &word) {
           return sys::fs::equivalent(word, path);
         });
}

/// Writes all of a text and closes the descriptor.
static std::error_code writeAll(int descriptor, StringRef text, bool sync) {
  raw_fd_ostream os(descriptor, /*shouldClose=*/false);
  os << text;
  os.flush();
  std::error_code error = os.error();
  os.clear_error();
  if (!error && sync && fsync(descriptor) != 0)
    error = errnoAsErrorCode();
  return error;
}

static Error writeFile(StringRef path, StringRef text) {
  Expected<sys::fs::TempFile> file =
      sys::fs::TempFile::create(path + ".tmp-%%%%%%");
  if (!file)
    return makeError(Diag::CannotWrite, path, toString(file.takeError()));
  if (std::error_code error = writeAll(file->FD, text, /*sync=*/true)) {
    consumeError(file->discard());
    return failToWrite(path, error);
  }
  if (Error failure = file->keep(path))
    return makeError(Diag::CannotWrite, path, toString(std::move(failure)));
  return Error::success();
}

/// True for a file that is no result of this kind by its name: models and data,
/// which are not replaced by a page or a listing.
static bool isForeign(const CommandLine &line, StringRef path) {
  StringRef kind = sys::path::extension(path);
  if (kind == ".onnx" && line.get(OPT_emit) == "qdq-onnx")
    return false;
  return is_contained(
      {".onnx", ".npz", ".npy", ".pb", ".safetensors", ".gguf", ".data", ".so"},
      kind);
}

Error checkResultPath(const CommandLine &line, StringRef path) {
  if (path.empty() || path == "-")
    return Error::success();
  sys::fs::file_status status;
  if (sys::fs::status(path, status)) // there is none
    return checkParent(path);
  if (isRead(line, path))
    return makeError(Diag::CannotWrite, path,
                     "this command reads it, so it will not be replaced; "
                     "expected another name");
  if (sys::fs::is_regular_file(status) && isForeign(line, path))
    return makeError(Diag::CannotWrite, path,
                     "it is there and has the name of a model or data, so it "
                     "will not be replaced; expected another name");
  if (sys::fs::is_directory(status))
    return makeError(Diag::CannotWrite, path,
                     "expected a file, but got a folder; name a file in it");
  return Error::success();
}

Error writeResult(const CommandLine &line, StringRef path, StringRef text) {
  if (Error error = checkResultPath(line, path))
    return error;
  if (path.empty() || path == "-") {
    outs() << text;
    outs().flush();
    if (!outs().has_error())
      return Error::success();
    std::error_code error = outs().error();
    outs().clear_error();
    return failToWrite("stdout", error);
  }
  sys::fs::file_status status;
  if (sys::fs::status(path, status)) // there is none
    return writeFile(path, text);
  if (sys::fs::is_regular_file(status)) {
    // Where a link leads is what is replaced, not the link.
    SmallString<256> real;
    if (std::error_code error = sys::fs::real_path(path, real))
      return failToWrite(path, error);
    return writeFile(real, text);
  }
  int descriptor = -1;
  if (std::error_code error = sys::fs::openFileForWrite(
          path, descriptor, sys::fs::CD_OpenExisting, sys::fs::OF_None))
    return failToWrite(path, error);
  std::error_code error = writeAll(descriptor, text, /*sync=*/false);
  close(descriptor);
  return error ? failToWrite(path, error) : Error::success();
}

static std::string formatBytes(uint64_t bytes) {
  std::string text;
  raw_string_ostream os(text);
  if (bytes < (1 << 20))
    os << format("%.1f KiB", static_cast<double>(bytes) / (1 << 10));
  else
    os << format("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

/// The operations that do not run as they were asked to, or all of them.
static void printOps(const CompileResult &result, bool all) {
  for (const OpReport &op : result.ops)
    if (all || op.requested != op.executed)
      errs() << "  " << op.node << " (" << op.op << "): " << op.executed << ", "
             << op.reason << "\n";
}

static void printWarnings(const Session &session, const CompileResult &result) {
  for (const std::string &warning :
       concat<const std::string>(result.notes, result.warnings))
    session.sink.warn(warning);
}

static void printSummary(const Session &session, const CompileResult &result) {
  printWarnings(session, result);
  if (session.line.has(OPT_verbose))
    printOps(result, /*all=*/true);
  unsigned kept = count_if(
      result.ops, [](const OpReport &op) { return op.isNotAsAsked(); });
  errs() << "  " << result.ops.size() << " operations in " << result.kernels
         << " kernels, " << result.launches << " launches";
  if (kept)
    errs() << "; " << kept
           << " not in the precision asked for (see report.html)";
  errs() << "\n  weights " << formatBytes(result.weightBytes) << ", library "
         << formatBytes(result.libraryBytes) << "\nwrote " << result.artifact
         << "\n";
}

static void printJson(const CompileResult &result) {
  json::OStream json(outs(), /*IndentSize=*/1);
  json.object([&] {
    json.attribute("artifact", json::fixUTF8(result.artifact));
    json.attribute("ops", result.ops.size());
    json.attribute("kernels", result.kernels);
    json.attribute("launches", result.launches);
    json.attribute("weight_bytes", result.weightBytes);
    json.attribute("library_bytes", result.libraryBytes);
    json.attributeArray("warnings", [&] {
      for (const std::string &warning : result.warnings)
        json.value(json::fixUTF8(warning));
    });
  });
  outs() << "\n";
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

/// An artifact beside the model, named like it: `MODEL.qcc`.
static std::string defaultOutput(StringRef model) {
  SmallString<128> path(model);
  sys::path::replace_extension(path, "qcc");
  return path.str().str();
}

Error runCompile(Session &session) {
  const CommandLine &line = session.line;
  if (line.has(OPT_batch))
    return runBatch(session);
  Expected<std::string> model = getOnlyPositional(line, "a model");
  if (!model)
    return model.takeError();
  Expected<CompileOptions> options =
      makeCompileOptions(session, *model, session.self);
  if (!options)
    return options.takeError();
  std::string output = options->outputDir;
  if (output.empty())
    options->outputDir = defaultOutput(*model);
  if (options->stopAfter != Stage::Package) {
    if (Error error = checkResultPath(line, output))
      return error;
  } else if (output == "-") {
    return makeError(Diag::Usage, "-o",
                     "expected the folder of the artifact, but got '-', which "
                     "is stdout with --emit");
  }
  session.sink.setFile(*model);
  Expected<CompileResult> result = compileModel(session, *options);
  if (!result)
    return result.takeError();
  if (options->stopAfter != Stage::Package) {
    session.sink.setFile("");
    if (!line.has(OPT_quiet))
      printWarnings(session, *result);
    return writeResult(line, output, result->text);
  }
  if (line.has(OPT_json))
    printJson(*result);
  if (!line.has(OPT_quiet))
    printSummary(session, *result);
  return Error::success();
}

} // namespace qcc::driver
