//===- Problems.cpp - what of a model is not supported, in short *- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Problems.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// Most groups, and most nodes that are named of each.
static constexpr size_t kMaxGroups = 200, kMaxNames = 10;

/// `node 'NAME' (OP)` as name and operator; anything else as it is.
static std::pair<StringRef, StringRef> splitWhere(StringRef where) {
  StringRef rest = where;
  if (!rest.consume_front("node '") || !rest.consume_back(")"))
    return {where, ""};
  auto [name, op] = rest.rsplit("' (");
  return {name, op};
}

Error Problems::add(Error error) {
  return handleErrors(std::move(error), [&](const CodedError &coded) {
    ++numNodes;
    auto [name, op] = splitWhere(coded.getWhere());
    std::string key =
        (getDiagInfo(coded.getDiag()).code + "\n" + op + "\n" + coded.getText())
            .str();
    auto found = indices.find(key);
    if (found == indices.end()) {
      if (groups.size() == kMaxGroups) {
        ++numLeftOut;
        return;
      }
      found = indices.try_emplace(key, groups.size()).first;
      Group group;
      group.id = coded.getDiag();
      group.op = op.str();
      group.where = coded.getWhere().str();
      group.text = coded.getText().str();
      groups.push_back(std::move(group));
    }
    Group &group = groups[found->second];
    ++group.count;
    if (group.nodes.size() < kMaxNames)
      group.nodes.push_back(name.str());
  });
}

Error Problems::take() const {
  Error result = Error::success();
  for (const Group &group : groups) {
    std::string text = group.text;
    if (group.count > 1) {
      std::string more =
          " (and " + std::to_string(group.count - 1) +
          " more: " + join(ArrayRef(group.nodes).drop_front(), ", ") +
          (group.count > group.nodes.size() ? ", ...)" : ")");
      // Before a remedy, which follows a semicolon.
      text.insert(std::min(text.find("; "), text.size()), more);
    }
    result =
        joinErrors(std::move(result), makeError(group.id, group.where, text));
  }
  return result;
}

void Problems::print(raw_ostream &os) const {
  os << "not supported: " << numNodes << (numNodes == 1 ? " fault" : " faults")
     << "\n";
  for (const Group &group : groups)
    os << right_justify(std::to_string(group.count), 8) << "  "
       << toPlainText((group.op.empty() ? group.where : group.op) + ": " +
                      group.text)
       << " [" << getDiagInfo(group.id).code << "]\n";
  if (numLeftOut)
    os << right_justify(std::to_string(numLeftOut), 8) << "  more, of other "
       << "kinds\n";
}

void Problems::write(json::OStream &json) const {
  json.attributeArray("problems", [&] {
    for (const Group &group : groups)
      json.object([&] {
        const DiagInfo &info = getDiagInfo(group.id);
        json.attribute("code", info.code);
        json.attribute("op", json::fixUTF8(group.op));
        json.attribute("count", group.count);
        json.attributeArray("nodes", [&] {
          for (const std::string &node : group.nodes)
            json.value(json::fixUTF8(node));
        });
        json.attribute("reason", json::fixUTF8(group.text));
        json.attribute("remedy", info.remedy);
        json.attribute("text", json::fixUTF8(group.where + ": " + group.text));
      });
  });
  json.attribute("faults", numNodes);
  json.attribute("left_out", numLeftOut);
}

} // namespace qcc::driver
