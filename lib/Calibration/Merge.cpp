//===- Merge.cpp - statistics of shards joined ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"

using namespace qcc;

/// Why a part is none of the same calibration as the first one; empty if it is.
static std::string getDifference(const Statistics &first,
                                 llvm::StringRef firstName,
                                 const Statistics &other) {
  auto differ = [&](llvm::StringRef what, const llvm::Twine &wanted,
                    const llvm::Twine &got) {
    return ("expected " + what + " " + wanted + " as in " + firstName +
            ", but got " + got)
        .str();
  };
  auto write = [](const Statistics &s) {
    return "'" + llvm::join(s.options, " ") + "'";
  };
  if (other.source != first.source)
    return differ("statistics of the model", first.source, other.source);
  if (other.data != first.data)
    return differ("the data", first.data, other.data);
  if (other.options != first.options)
    return differ("the options", write(first), write(other));
  if (other.shard.count != first.shard.count)
    return differ("shards out of", llvm::Twine(first.shard.count),
                  llvm::Twine(other.shard.count));
  if (other.all().size() != first.all().size())
    return differ("statistics of", llvm::Twine(first.all().size()) + " values",
                  llvm::Twine(other.all().size()));
  for (auto [a, b] : llvm::zip_equal(first.all(), other.all()))
    if (a.name != b.name)
      return differ("the value", "'" + a.name + "'", "'" + b.name + "'");
  return "";
}

static std::string toText(Shard shard) {
  return std::to_string(shard.number) + "/" + std::to_string(shard.count);
}

llvm::Expected<Statistics>
qcc::mergeShards(llvm::MutableArrayRef<Statistics> parts,
                 llvm::ArrayRef<std::string> names) {
  if (parts.empty())
    return makeError(Diag::BadCalibration, "", "there are no statistics");
  std::vector<int> owners(parts[0].shard.count, -1);
  for (size_t i = 0; i < parts.size(); ++i) {
    Shard shard = parts[i].shard;
    if (shard.isWhole())
      return makeError(Diag::BadCalibration, names[i],
                       "expected a shard, but got statistics of all samples");
    std::string problem = getDifference(parts[0], names[0], parts[i]);
    if (!problem.empty())
      return makeError(Diag::BadCalibration, names[i], problem);
    int &owner = owners[shard.number - 1];
    if (owner >= 0)
      return makeError(Diag::BadCalibration, names[i],
                       "expected each shard once, but " + toText(shard) +
                           " is in " + names[owner] + " too");
    owner = int(i);
  }
  for (size_t i = 0; i < owners.size(); ++i)
    if (owners[i] < 0)
      return makeError(Diag::BadCalibration, names[0],
                       "expected all shards, but " +
                           toText({unsigned(i + 1), unsigned(owners.size())}) +
                           " is missing");
  Statistics &whole = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    whole.samples += parts[i].samples;
    for (auto [a, b] : llvm::zip_equal(whole.all(), parts[i].all()))
      if (!a.merge(b))
        return makeError(Diag::BadCalibration, names[i],
                         "expected other numbers of channels of '" + a.name +
                             "'");
  }
  whole.shard = {};
  return std::move(whole);
}
