//===- RegionCut.h - which operations run in integers -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_REGIONCUT_H
#define QCC_PASSES_QUANTIZE_STATICINT8_REGIONCUT_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace qcc {

/// Chooses for each operation of a graph between integers and floats so that
/// the time of all, that of conversions between the two included, is least. An
/// operation that is faster in integers may so stay float between float
/// neighbours, and one that is slower may be integer between integer ones.
///
/// It is a minimum cut: integers are the source's side, floats the sink's, and
/// a conversion is an edge between them (Greig, Porteous, Seheult 1989; the
/// cut by Dinic's algorithm). Of equal choices the one with the fewest integer
/// operations is taken.
class RegionCut {
public:
  using Node = unsigned;
  /// Time units are the caller's; they must not be negative, and the sum of all
  /// must fit 62 bits.
  using Time = int64_t;

  /// A new operation; it costs nothing either way until it is told.
  Node addNode();
  /// What an operation takes in integers and in floats, added up over calls.
  void addTime(Node node, Time inIntegers, Time inFloats);
  /// The operation has no integer form (or no float one).
  void forceFloat(Node node);
  void forceInteger(Node node);
  /// A value that `maker` makes and `readers` read. `enter` is paid once if the
  /// maker is float and a reader is not, `leave` once if the maker is integer
  /// and a reader is not.
  void addValue(Node maker, llvm::ArrayRef<Node> readers, Time enter,
                Time leave);

  /// For each operation whether it runs in integers. Call once.
  std::vector<bool> solve();
  /// The least time, after `solve`.
  Time getTime() const { return total; }

private:
  struct Edge {
    unsigned to;
    Time room; ///< what more may flow
  };
  /// The edge behind edge i is i ^ 1.
  void addEdge(unsigned from, unsigned to, Time room);
  bool findLevels();
  Time push();

  static constexpr Time kForced = Time(1) << 40;
  static constexpr unsigned kSource = 0, kSink = 1;

  std::vector<Edge> edges;
  std::vector<std::vector<unsigned>> leaving{{}, {}}; ///< of vertices
  std::vector<unsigned> vertices;                     ///< of operations
  std::vector<int> levels;
  std::vector<size_t> nextEdge;
  Time total = 0;
};

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_REGIONCUT_H
