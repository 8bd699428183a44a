//===- Requests.cpp - what a compile is asked for ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What options say by themselves and against each other: told before a model is
// read, as calibration may take minutes.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/StoredFloats.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace qcc;

llvm::Error Compilation::readRequest() {
  auto found = getTargets(&context).find(options.target);
  if (!found)
    return found.takeError();
  target = found->first;
  levels = std::move(found->second);
  auto parsed = parseAlgorithms(options.algorithms);
  if (!parsed)
    return parsed.takeError();
  algorithms = *parsed;
  if (llvm::Error error = readPrecision())
    return error;
  return checkRequest();
}

/// The precisions asked for as the levels compute them: with AMX bfloat16 is
/// that of activations too, and all levels of an artifact round alike.
static std::string getPrecisionFor(ArrayRef<Capabilities> levels,
                                   StringRef asked) {
  if (llvm::none_of(levels, [](const Capabilities &c) { return c.hasAmx; }))
    return asked.str();
  SmallVector<StringRef> words;
  asked.split(words, ',');
  for (StringRef &word : words)
    if (word == "bf16")
      word = "bf16a16";
  return llvm::join(words, ",");
}

/// What was asked for and decides nothing.
void Compilation::warnOfIdleFlags() {
  StringRef drop = options.budgets.drop;
  if (!drop.empty() && llvm::cantFail(parseShare("--max-drop", drop)) >= 1)
    result.warnings.push_back(
        ("--max-drop=" + drop +
         " limits little: of classes and of squared errors it is everything; a "
         "limit such as 1% is usual")
            .str());
  bool hasData = !options.calibration.empty() || !options.statistics.empty();
  if (!hasData && options.rangeMethod != CompileOptions().rangeMethod)
    result.warnings.push_back(
        "--calib-method changes nothing: ranges are found "
        "in --calib=DATA or --stats=FILE");
  if (hasData && basePrecision == "f32")
    result.warnings.push_back(
        (options.calibration.empty() ? "--stats" : "--calib") +
        std::string(" changes nothing: in f32 nothing is quantized; "
                    "--precision=int8, for example, uses it"));
  if (!hasData || isMixed || basePrecision == "f32" ||
      basePrecision == "int8" || isNarrow() || algorithms.transforms() ||
      algorithms.chooses())
    return;
  // Ranges are for activations, which these precisions leave or round by
  // themselves.
  auto known = findFormats(&context, basePrecision);
  if (!known)
    return llvm::consumeError(known.takeError());
  bool isChosen = llvm::none_of(*known, [](const Scheme *scheme) {
    return scheme && (isa<StoredFloatScheme>(scheme) || scheme->isPerTensor());
  });
  // Algorithms read samples.
  StringRef flag = options.calibration.empty() ? "--stats" : "--calib",
            user = isChosen ? "--algo=gptq,clip" : "--precision=int8",
            used = isChosen && options.calibration.empty() ? "--calib" : "it";
  result.warnings.push_back(
      (flag + " decides nothing: without --algo weights of " + basePrecision +
       " are rounded by themselves; " + user + ", for example, uses " + used)
          .str());
}

llvm::Error Compilation::readPrecision() {
  std::string precision = getPrecisionFor(levels, options.precision);
  auto known = findFormats(&context, precision);
  if (!known)
    return known.takeError();
  if (llvm::Error error = checkBudgets(options.budgets))
    return error;
  for (const Scheme *scheme : *known)
    if (scheme && isa<StoredFloatScheme>(scheme) && algorithms.chooses())
      return makeError(Diag::UnsupportedScheme, "--precision",
                       "awq, clip, gptq and refine choose scales and codes: "
                       "expected a precision that has them, but got '" +
                           scheme->getKey().str() + "'");
  for (const Scheme *scheme : *known)
    if (scheme && scheme->isPerTensor() && algorithms.chooses())
      return makeError(Diag::UnsupportedScheme, "--precision",
                       "algorithms choose a scale for each column or group: "
                       "expected no 'tensor', but got '" +
                           scheme->getKey().str() + "'");
  isMixed = options.budgets.any();
  basePrecision = "f32";
  const Scheme *base = nullptr;
  for (const Scheme *scheme : *known)
    base = base ? base : scheme;
  if (base)
    basePrecision = base->getKey().str();
  if (known->size() > 1 && !isMixed)
    return makeError(Diag::Usage, "--precision",
                     "expected a budget (--max-size, --max-drop or "
                     "--max-latency) to choose between several precisions by");
  if (isMixed && basePrecision == "f32")
    return makeError(Diag::Usage, "--precision",
                     "expected precisions to choose from beside f32");
  if (algorithms.smoothQuant && base &&
      base->getCompute() != SchemeCompute::Integer)
    return makeError(Diag::UnsupportedScheme, "--algo=smoothquant",
                     "expected a precision that rounds activations (integer "
                     "compute), but got '" +
                         basePrecision + "'");
  // With a single one the choice is which products have it.
  formats = precision + (known->size() > 1 ? "" : ",f32");
  if (known->size() == 1 && !isMixed)
    basePrecision = precision;
  warnOfIdleFlags();
  return llvm::Error::success();
}

/// The one format of weights with 4 bits among those that budgets of static
/// int8 choose from, else int8; empty if others are among them.
static StringRef findStaticFormat(StringRef formats) {
  StringRef found;
  for (StringRef format : llvm::split(formats, ',')) {
    bool isNarrow = format.split(':').first == "w4a8";
    if (!isNarrow && format != "int8" && format != "f32")
      return {};
    if (isNarrow && !found.empty() && found != "int8")
      return {};
    if (isNarrow || (found.empty() && format == "int8"))
      found = format;
  }
  return found;
}

StringRef Compilation::findSettledPrecision() const {
  if (!isMixed || !options.algorithms.empty() || options.calibration.empty() ||
      options.sensitivity == "estimated")
    return {};
  return findStaticFormat(formats);
}

void Compilation::settleBudgets() {
  StringRef format = findSettledPrecision();
  if (format.empty())
    return;
  isMixed = !(*module)
                 ->walk([](ConvOp conv) {
                   return isConstantExpression(conv.getWeight())
                              ? WalkResult::interrupt()
                              : WalkResult::advance();
                 })
                 .wasInterrupted();
  if (!isMixed)
    basePrecision = format.str();
}

//===----------------------------------------------------------------------===//
// What does not go together
//===----------------------------------------------------------------------===//

llvm::Error Compilation::checkQdq() const {
  auto refuse = [](const llvm::Twine &got) {
    return makeError(Diag::Usage, "--emit=qdq-onnx",
                     "expected --precision=int8 with --calib or --stats and "
                     "without --algo, but got " +
                         got);
  };
  if (!options.algorithms.empty())
    return refuse("--algo=" + llvm::join(options.algorithms, ","));
  std::string settled = findSettledPrecision().str();
  // Whether int8 can meet budgets depends on the model, too.
  if (isMixed ? settled != "int8" : basePrecision != "int8")
    return refuse("--precision=" + options.precision +
                  (isMixed ? " with a budget" : ""));
  if (options.calibration.empty() && options.statistics.empty())
    return refuse("neither --calib nor --stats");
  return llvm::Error::success();
}

llvm::Error Compilation::checkSettledQdq() const {
  if (!options.emitQdq || !isMixed)
    return llvm::Error::success();
  return makeError(Diag::Usage, "--emit=qdq-onnx",
                   "expected a model with convolutions, which budgets of int8 "
                   "are for, but got one without; leave the budget out");
}

/// Algorithms that choose by data, which all but `rtn` do.
static std::string listChoosing(ArrayRef<std::string> algorithms) {
  return llvm::join(
      llvm::make_filter_range(
          algorithms, [](const std::string &name) { return name != "rtn"; }),
      ",");
}

llvm::Error Compilation::checkRequest() const {
  if (options.emitQdq)
    if (llvm::Error error = checkQdq())
      return error;
  bool choosesByData = algorithms.transforms() || algorithms.chooses();
  if (basePrecision == "f32" && choosesByData)
    return makeError(Diag::Usage, "--algo",
                     "expected a --precision to quantize to, but got f32");
  if (algorithms.correct > 0 && !options.sequential)
    return makeError(Diag::Usage, "--algo=gptq-correct",
                     "expected --calib-mode=sequential, but got parallel: "
                     "inputs of the float model have nothing to make up for");
  if (options.calibration.empty() && choosesByData)
    return makeError(Diag::Usage, "--algo=" + listChoosing(options.algorithms),
                     "chooses by data: expected --calib=DATA, but got none");
  if (options.calibration.empty() && isMixed)
    return makeError(Diag::Usage, "",
                     "mixed precision chooses by data: expected --calib=DATA, "
                     "but got none");
  if (options.budgets.any() && (options.isShard || options.shards))
    return makeError(Diag::Usage, "--checkpoint",
                     "expected no budget: losses are measured by one process "
                     "on all samples, not by shards");
  return llvm::Error::success();
}
