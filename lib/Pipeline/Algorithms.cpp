//===- Algorithms.cpp - what --algo asks for --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Algorithms.h"
#include "qcc/Pipeline/AlgorithmList.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace qcc;
using llvm::StringRef;

static constexpr AlgorithmInfo kAlgorithms[] = {
    {"rtn", "", "all", "rounds weights to nearest; needs no data"},
    {"rotate", "", "all", "spreads channels by Hadamard matrices in weights"},
    {"clip", "", "scaled", "scales of clipped weights, by the outputs' error"},
    {"awq", "", "scaled", "scales inputs so that weights round better"},
    {"gptq", "", "scaled", "makes up for each row's rounding in later rows"},
    {"gptq-correct", "SHARE", "scaled",
     "makes up for earlier layers' errors too"},
    {"refine", "", "scaled", "moves codes and scales to where they cost less"},
    {"smoothquant", "ALPHA", "integer", "moves large activations into weights"},
    {"smoothquant-explicit", "ALPHA", "integer",
     "the same, by a division where nothing can be folded"}};

llvm::ArrayRef<AlgorithmInfo> qcc::getAlgorithmList() { return kAlgorithms; }

static std::vector<StringRef> getNames() {
  std::vector<StringRef> names;
  for (const AlgorithmInfo &algorithm : kAlgorithms)
    names.push_back(algorithm.name);
  return names;
}

std::vector<std::string> Algorithms::getMethods() const {
  std::vector<std::string> methods;
  if (clip || awq)
    methods.push_back("clip");
  if (gptq)
    methods.push_back("gptq");
  if (gptq && (clip || awq))
    methods.push_back("gptq-clip");
  if (refine)
    methods.push_back("refine");
  return methods;
}

static llvm::Error refuse(StringRef name) {
  // Of a name with more wrong letters than right ones nothing is near.
  StringRef nearest;
  unsigned least = unsigned(std::min<size_t>(name.size() / 2 + 1, 4));
  for (StringRef known : getNames())
    if (unsigned distance = name.edit_distance(known); distance < least) {
      least = distance;
      nearest = known;
    }
  std::string hint =
      nearest.empty() ? "" : "; did you mean '" + nearest.str() + "'?";
  return makeError(Diag::Usage, "--algo",
                   "expected " + llvm::join(getNames(), ", ") + ", but got '" +
                       name + "'" + hint);
}

/// Of a parameter behind a name that takes none.
static llvm::Error refuseParameter(StringRef name, StringRef given) {
  std::vector<std::string> others;
  for (const AlgorithmInfo &algorithm : kAlgorithms)
    if (!algorithm.parameter.empty())
      others.push_back((algorithm.name + ":" + algorithm.parameter).str());
  return makeError(Diag::Usage, "--algo",
                   "expected " + name + " without a parameter, but got '" +
                       given + "'; those with one are " +
                       llvm::join(others, ", "));
}

/// A number from 0 to 1 behind the name; `otherwise` if there is none.
static llvm::Expected<double> getShare(StringRef name, StringRef text,
                                       double otherwise) {
  double value = otherwise;
  if (!text.empty() && (text.getAsDouble(value) || !(value >= 0 && value <= 1)))
    return makeError(Diag::Usage, "--algo=" + name,
                     "expected a number from 0 to 1, but got '" + text + "'");
  return value;
}

llvm::Expected<Algorithms>
qcc::parseAlgorithms(llvm::ArrayRef<std::string> names) {
  Algorithms result;
  llvm::StringSet<> seen;
  for (StringRef given : names) {
    auto [name, text] = given.split(':');
    const AlgorithmInfo *info =
        llvm::find_if(kAlgorithms, [&](const AlgorithmInfo &algorithm) {
          return algorithm.name == name;
        });
    if (info == std::end(kAlgorithms))
      return refuse(given);
    if (given.contains(':') && info->parameter.empty())
      return refuseParameter(name, given);
    if (given.ends_with(':'))
      return makeError(
          Diag::Usage, "--algo=" + name,
          "expected a number from 0 to 1 behind the colon, but got "
          "none");
    if (!seen.insert(name).second)
      return makeError(Diag::Usage, "--algo",
                       "expected each algorithm once, but got '" + name +
                           "' twice");
    bool correct = name == "gptq-correct";
    llvm::Expected<double> number = getShare(name, text, correct ? 1 : -1);
    if (!number)
      return number.takeError();
    result.rotate |= name == "rotate";
    result.clip |= name == "clip";
    result.awq |= name == "awq";
    result.refine |= name == "refine";
    result.gptq |= name == "gptq" || correct;
    if (correct)
      result.correct = *number;
    if (name.starts_with("smoothquant")) {
      result.smoothQuant = true;
      result.divide = name == "smoothquant-explicit";
      result.alpha = *number;
    }
  }
  return result;
}
