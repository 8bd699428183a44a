//===- NodeOrder.cpp - nodes in an order that can be imported ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "NodeOrder.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include <queue>

namespace qcc::onnx_import {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

/// Calls `use` with each name that a node reads, subgraphs included. Names that
/// a subgraph defines are named too, which does no harm: they are unique. The
/// depth is that of the message, which protobuf limits to 100.
static void forEachUse(const onnx::NodeProto &node,
                       llvm::function_ref<void(const std::string &)> use) {
  for (const std::string &name : node.input())
    use(name);
  auto visitGraph = [&](const onnx::GraphProto &graph) {
    for (const onnx::NodeProto &inner : graph.node())
      forEachUse(inner, use);
    for (const onnx::ValueInfoProto &output : graph.output())
      use(output.name());
  };
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      visitGraph(attribute.g());
    for (const onnx::GraphProto &graph : attribute.graphs())
      visitGraph(graph);
  }
}

std::vector<int> orderNodes(const Nodes &nodes) {
  llvm::StringMap<int> producers;
  for (int i = 0; i < nodes.size(); ++i)
    for (const std::string &name : nodes[i].output())
      if (!name.empty())
        producers.try_emplace(name, i);
  std::vector<std::vector<int>> users(nodes.size());
  std::vector<int> waiting(nodes.size(), 0);
  for (int i = 0; i < nodes.size(); ++i)
    forEachUse(nodes[i], [&](const std::string &name) {
      auto producer = producers.find(name);
      // A node that reads itself is a cycle that no order resolves.
      if (producer == producers.end() || producer->second == i)
        return;
      users[producer->second].push_back(i);
      ++waiting[i];
    });
  // The lowest position that is ready comes first.
  std::priority_queue<int, std::vector<int>, std::greater<int>> ready;
  for (int i = 0; i < nodes.size(); ++i)
    if (!waiting[i])
      ready.push(i);
  std::vector<int> order;
  order.reserve(nodes.size());
  while (!ready.empty()) {
    int next = ready.top();
    ready.pop();
    order.push_back(next);
    for (int user : users[next])
      if (--waiting[user] == 0)
        ready.push(user);
  }
  for (int i = 0; i < nodes.size(); ++i)
    if (waiting[i])
      order.push_back(i);
  return order;
}

} // namespace qcc::onnx_import
