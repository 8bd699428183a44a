//===- Lists.cpp - qcc targets, schemes, explain, verify --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// Rows of two words, aligned or as JSON.
static void printRows(const Session &session, StringRef first, StringRef second,
                      ArrayRef<std::pair<std::string, std::string>> rows) {
  if (session.line.has(OPT_json)) {
    json::OStream json(outs(), /*IndentSize=*/1);
    json.array([&] {
      for (const auto &[name, text] : rows)
        json.object([&, &name = name, &text = text] {
          json.attribute(first, name);
          json.attribute(second, text);
        });
    });
    outs() << "\n";
    return;
  }
  size_t width = 0;
  for (const auto &[name, text] : rows)
    width = std::max(width, name.size());
  for (const auto &[name, text] : rows)
    outs() << left_justify(name, width + 2) << text << "\n";
}

Error runTargets(Session &session) {
  mlir::MLIRContext context(makeRegistry(session),
                            mlir::MLIRContext::Threading::DISABLED);
  const TargetRegistry &targets = getTargets(&context);
  std::vector<std::pair<std::string, std::string>> rows;
  for (const std::unique_ptr<Target> &target : targets.all())
    rows.emplace_back(target->getName(), target->getSummary());
  std::string native = "not supported on this machine";
  if (auto found = targets.find("native"))
    native = "this machine: " + found->second.back().level;
  else
    consumeError(found.takeError());
  rows.emplace_back("native", native);
  printRows(session, "target", "summary", rows);
  return Error::success();
}

Error runSchemes(Session &session) {
  mlir::MLIRContext context(makeRegistry(session),
                            mlir::MLIRContext::Threading::DISABLED);
  context.getOrLoadDialect<QCCDialect>();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"f32", "32-bit floats, nothing is quantized"}};
  for (const std::unique_ptr<Scheme> &scheme : getSchemes(&context).all())
    rows.emplace_back(scheme->getKey(), scheme->getSummary());
  printRows(session, "scheme", "summary", rows);
  return Error::success();
}

Error runExplain(Session &session) {
  Expected<std::string> code = getOnlyPositional(session.line, "a code");
  if (!code)
    return code.takeError();
  std::string name = StringRef(*code).upper();
  if (!StringRef(name).starts_with("QCC-"))
    name = "QCC-" + name;
  const DiagInfo *info = findDiag(name);
  if (!info)
    return makeError(Diag::Usage, "",
                     "expected a code such as QCC-E301, but got '" + *code +
                         "'");
  if (session.line.has(OPT_json)) {
    json::OStream json(outs(), /*IndentSize=*/1);
    json.object([&] {
      json.attribute("code", info->code);
      json.attribute("name", info->name);
      json.attribute("exit_code", info->exitCode);
      json.attribute("summary", info->summary);
      json.attribute("remedy", info->remedy);
    });
    outs() << "\n";
    return Error::success();
  }
  outs() << info->code << ": " << info->summary << "\n"
         << "remedy: " << info->remedy << "\n"
         << "exit code: " << info->exitCode << "\n";
  return Error::success();
}

Error runVerify(Session &session) {
  Expected<std::string> folder = getOnlyPositional(session.line, "an artifact");
  if (!folder)
    return folder.takeError();
  Expected<unsigned> count = verifyArtifact(*folder);
  if (!count)
    return count.takeError();
  if (session.line.has(OPT_json))
    outs() << "{\"verified\": " << *count << "}\n";
  else
    outs() << *count << " files are as manifest.json says\n";
  return Error::success();
}

} // namespace qcc::driver
