//===- Problems.h - what of a model is not supported, in short --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_PROBLEMS_H
#define QCC_TOOLS_QCC_PROBLEMS_H

#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"
#include <vector>

namespace qcc::driver {

/// The errors of an import, grouped: one entry for all nodes of an operator
/// that are refused for the same reason, in the order of the first of each.
/// What is kept and printed is bounded, whatever the model.
class Problems {
public:
  /// Takes the coded errors out of `error`; gives what is left.
  llvm::Error add(llvm::Error error);
  bool empty() const { return groups.empty(); }

  /// An error for each group, which names the first nodes and counts the rest.
  llvm::Error take() const;
  /// Lines with the count of nodes, the operator and the reason.
  void print(llvm::raw_ostream &os) const;
  /// The attribute `problems`: code, operator, reason, count and the first
  /// nodes of each group.
  void write(llvm::json::OStream &json) const;

private:
  struct Group {
    Diag id;
    std::string op, where, text;
    uint64_t count = 0;
    std::vector<std::string> nodes;
  };
  std::vector<Group> groups;
  llvm::StringMap<size_t> indices;
  uint64_t numNodes = 0, numLeftOut = 0;
};

} // namespace qcc::driver

#endif // QCC_TOOLS_QCC_PROBLEMS_H
