//===- Lists.cpp - qcc targets, schemes, explain, verify --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Pipeline/AlgorithmList.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/StoredFloats.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// Rows of words as an array of objects.
static void writeRows(json::OStream &json, ArrayRef<StringRef> columns,
                      ArrayRef<std::vector<std::string>> rows) {
  json.array([&] {
    for (const std::vector<std::string> &row : rows)
      json.object([&] {
        for (auto [name, text] : zip_equal(columns, row))
          json.attribute(name, text);
      });
  });
}

/// Rows of words, aligned or as JSON.
static void printRows(const Session &session, ArrayRef<StringRef> columns,
                      ArrayRef<std::vector<std::string>> rows) {
  if (session.line.has(OPT_json)) {
    json::OStream json(outs(), /*IndentSize=*/1);
    writeRows(json, columns, rows);
    outs() << "\n";
    return;
  }
  std::vector<size_t> widths(columns.size(), 0);
  for (const std::vector<std::string> &row : rows)
    for (auto [width, text] : zip_equal(widths, row))
      width = std::max(width, text.size());
  for (const std::vector<std::string> &row : rows) {
    std::string line;
    for (auto [width, text] : zip_equal(widths, row))
      raw_string_ostream(line) << left_justify(text, width + 2);
    outs() << StringRef(line).rtrim() << "\n";
  }
}

Error runTargets(Session &session) {
  mlir::MLIRContext context(makeRegistry(session),
                            mlir::MLIRContext::Threading::DISABLED);
  const TargetRegistry &targets = getTargets(&context);
  std::vector<std::vector<std::string>> rows;
  for (const std::unique_ptr<Target> &target : targets.all())
    rows.push_back({target->getName().str(), target->getSummary().str()});
  std::string native = "not supported on this machine";
  if (auto found = targets.find("native"))
    native = "this machine: " + found->second.back().level;
  else
    consumeError(found.takeError());
  rows.push_back({"native", native});
  printRows(session, {"target", "summary"}, rows);
  return Error::success();
}

Error runSchemes(Session &session) {
  mlir::MLIRContext context(makeRegistry(session),
                            mlir::MLIRContext::Threading::DISABLED);
  context.getOrLoadDialect<QCCDialect>();
  // A target without kernels for a format computes with the weights that the
  // codes stand for.
  std::string targets;
  for (const std::unique_ptr<Target> &target : getTargets(&context).all())
    targets += (targets.empty() ? "" : ",") + target->getName().str();
  std::vector<std::vector<std::string>> rows = {
      {"f32", "32", "f32", targets, "32-bit floats, nothing is quantized", ""}};
  for (const Scheme *scheme : getSchemes(&context).all()) {
    std::string bits, parameters;
    bool hasScales = !isa<StoredFloatScheme>(scheme);
    if (hasScales)
      parameters = "gN channel tensor clip";
    raw_string_ostream(bits) << format("%.4g", getStoredBits(*scheme));
    for (StringRef grid : scheme->getGrids())
      parameters += " " + grid.str();
    if (hasScales && scheme->getTokenFormat() != TokenFormat::None)
      parameters += " token";
    bool integer = scheme->getCompute() == SchemeCompute::Integer;
    rows.push_back({scheme->getKey().str(), bits, integer ? "int8" : "f32",
                    targets, scheme->getSummary().str(), parameters});
  }
  rows.push_back(
      {"mixed", "", "", targets, ("for budgets: " + kMixedFormats).str(), ""});
  std::vector<std::vector<std::string>> algorithms;
  for (const AlgorithmInfo &algorithm : getAlgorithmList())
    algorithms.push_back({algorithm.name.str(), algorithm.parameter.str(),
                          algorithm.precisions.str(), targets,
                          algorithm.summary.str()});
  const StringRef schemeColumns[] = {"scheme",  "bits",    "compute",
                                     "targets", "summary", "parameters"};
  const StringRef algorithmColumns[] = {"algorithm", "parameter", "precisions",
                                        "targets", "summary"};
  if (session.line.has(OPT_json)) {
    json::OStream json(outs(), /*IndentSize=*/1);
    json.object([&] {
      json.attributeBegin("schemes");
      writeRows(json, schemeColumns, rows);
      json.attributeEnd();
      json.attributeBegin("algorithms");
      writeRows(json, algorithmColumns, algorithms);
      json.attributeEnd();
    });
    outs() << "\n";
    return Error::success();
  }
  outs() << "precisions (--precision): weights, bits with scales, computed in, "
            "targets, parameters\n";
  printRows(session, schemeColumns, rows);
  outs() << "\nalgorithms (--algo, with --calib): parameter, precisions, "
            "targets\n";
  printRows(session, algorithmColumns, algorithms);
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
  if (sys::fs::is_regular_file(*folder))
    return makeError(Diag::NoArtifact, *folder,
                     "expected the folder of an artifact, but got a file; name "
                     "the folder that qcc wrote");
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
