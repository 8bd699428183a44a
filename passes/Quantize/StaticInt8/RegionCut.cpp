//===- RegionCut.cpp - which operations run in integers ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RegionCut.h"
#include <algorithm>

using namespace qcc;

RegionCut::Node RegionCut::addNode() {
  vertices.push_back(unsigned(leaving.size()));
  leaving.emplace_back();
  return Node(vertices.size() - 1);
}

void RegionCut::addEdge(unsigned from, unsigned to, Time room) {
  if (room <= 0)
    return;
  leaving[from].push_back(unsigned(edges.size()));
  edges.push_back({to, room});
  leaving[to].push_back(unsigned(edges.size()));
  edges.push_back({from, 0});
}

void RegionCut::addTime(Node node, Time inIntegers, Time inFloats) {
  // The edge that is cut where the operation is on the other side.
  addEdge(kSource, vertices[node], inFloats);
  addEdge(vertices[node], kSink, inIntegers);
}

void RegionCut::forceFloat(Node node) {
  addEdge(vertices[node], kSink, kForced);
}

void RegionCut::forceInteger(Node node) {
  addEdge(kSource, vertices[node], kForced);
}

void RegionCut::addValue(Node maker, llvm::ArrayRef<Node> readers, Time enter,
                         Time leave) {
  if (readers.empty())
    return;
  // As codes: wanted if any reader is integer.
  if (enter > 0) {
    unsigned codes = unsigned(leaving.size());
    leaving.emplace_back();
    for (Node reader : readers)
      addEdge(vertices[reader], codes, kForced);
    addEdge(codes, vertices[maker], enter);
  }
  // As floats: wanted if any reader is float.
  if (leave > 0) {
    unsigned floats = unsigned(leaving.size());
    leaving.emplace_back();
    for (Node reader : readers)
      addEdge(floats, vertices[reader], kForced);
    addEdge(vertices[maker], floats, leave);
  }
}

/// Distances from the source along edges with room; false if the sink has none.
bool RegionCut::findLevels() {
  levels.assign(leaving.size(), -1);
  std::vector<unsigned> work{kSource};
  levels[kSource] = 0;
  for (size_t i = 0; i < work.size(); ++i)
    for (unsigned edge : leaving[work[i]])
      if (edges[edge].room > 0 && levels[edges[edge].to] < 0) {
        levels[edges[edge].to] = levels[work[i]] + 1;
        work.push_back(edges[edge].to);
      }
  return levels[kSink] >= 0;
}

/// Sends what fits along one shortest path that is left; 0 if none is.
RegionCut::Time RegionCut::push() {
  std::vector<unsigned> path;
  unsigned at = kSource;
  while (at != kSink) {
    size_t &next = nextEdge[at];
    while (next < leaving[at].size()) {
      const Edge &edge = edges[leaving[at][next]];
      if (edge.room > 0 && levels[edge.to] == levels[at] + 1)
        break;
      ++next;
    }
    if (next < leaving[at].size()) {
      path.push_back(leaving[at][next]);
      at = edges[path.back()].to;
      continue;
    }
    if (path.empty())
      return 0;
    // A dead end: not this way again.
    at = edges[path.back() ^ 1].to;
    path.pop_back();
    ++nextEdge[at];
  }
  Time flow = kForced;
  for (unsigned edge : path)
    flow = std::min(flow, edges[edge].room);
  for (unsigned edge : path) {
    edges[edge].room -= flow;
    edges[edge ^ 1].room += flow;
  }
  return flow;
}

std::vector<bool> RegionCut::solve() {
  while (findLevels()) {
    nextEdge.assign(leaving.size(), 0);
    while (Time flow = push())
      total += flow;
  }
  std::vector<bool> result;
  for (unsigned vertex : vertices)
    result.push_back(levels[vertex] >= 0);
  return result;
}
