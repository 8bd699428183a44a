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

Error writeResult(StringRef path, StringRef text) {
  if (path.empty() || path == "-") {
    outs() << text;
    outs().flush();
    if (outs().has_error()) {
      std::error_code error = outs().error();
      outs().clear_error();
      return makeError(Diag::CannotWrite, "stdout", error.message());
    }
    return Error::success();
  }
  Expected<sys::fs::TempFile> file =
      sys::fs::TempFile::create(path + ".tmp-%%%%%%");
  if (!file) {
    return makeError(Diag::CannotWrite, path, toString(file.takeError()));
  }
  raw_fd_ostream os(file->FD, /*shouldClose=*/false);
  os << text;
  os.flush();
  std::error_code error = os.error();
  os.clear_error();
  if (!error && fsync(file->FD) != 0)
    error = errnoAsErrorCode();
  if (error) {
    consumeError(file->discard());
    return makeError(Diag::CannotWrite, path, error.message());
  }
  if (Error failure = file->keep(path))
    return makeError(Diag::CannotWrite, path, toString(std::move(failure)));
  return Error::success();
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

static void printSummary(const Session &session, const CompileResult &result) {
  for (const std::string &warning :
       concat<const std::string>(result.notes, result.warnings))
    session.sink.warn(warning);
  if (session.line.has(OPT_verbose))
    printOps(result, /*all=*/true);
  unsigned kept = count_if(result.ops, [](const OpReport &op) {
    return op.requested != op.executed;
  });
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
      makeCompileOptions(session.line, *model, session.self);
  if (!options)
    return options.takeError();
  std::string output = options->outputDir;
  if (output.empty())
    options->outputDir = defaultOutput(*model);
  session.sink.setFile(*model);
  Expected<CompileResult> result = compileModel(session, *options);
  if (!result)
    return result.takeError();
  if (options->stopAfter != Stage::Package) {
    session.sink.setFile("");
    return writeResult(output, result->text);
  }
  if (line.has(OPT_json))
    printJson(*result);
  if (!line.has(OPT_quiet))
    printSummary(session, *result);
  return Error::success();
}

} // namespace qcc::driver
