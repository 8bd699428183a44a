//===- ArenaPlan.h - places buffers in one arena ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one planning algorithm: the compiler runs it for entries whose sizes are
// constants, the runtime for the others once per tuple of sizes, and both give
// the same places. No allocation, no library: the runtime has neither.
//===----------------------------------------------------------------------===//
#ifndef QCC_RUNTIME_ARENAPLAN_H
#define QCC_RUNTIME_ARENAPLAN_H

#include <cstdint>

namespace qcc {

/// Every buffer starts at a multiple of this, and so does the arena.
inline constexpr uint64_t arenaAlignment = 64;
/// No arena may be larger: sums of sizes then cannot overflow.
inline constexpr uint64_t arenaLimit = uint64_t(1) << 46;

/// A buffer to place: its size and the steps in which it is live, both ends
/// included. `offset` is the result.
struct ArenaBuffer {
  uint64_t bytes;
  uint32_t firstStep;
  uint32_t lastStep;
  uint64_t offset;
};

namespace detail {

inline bool placedBefore(const ArenaBuffer *buffers, uint32_t a, uint32_t b) {
  if (buffers[a].bytes != buffers[b].bytes)
    return buffers[a].bytes > buffers[b].bytes;
  return a < b;
}

/// Heap sort of `order`: no recursion, no memory, total order so that the
/// result does not depend on the algorithm.
inline void sortBySize(const ArenaBuffer *buffers, uint32_t *order,
                       uint32_t count) {
  auto sift = [&](uint32_t root, uint32_t end) {
    for (uint32_t child; (child = 2 * root + 1) < end; root = child) {
      if (child + 1 < end &&
          placedBefore(buffers, order[child], order[child + 1]))
        ++child;
      if (!placedBefore(buffers, order[root], order[child]))
        return;
      uint32_t swapped = order[root];
      order[root] = order[child];
      order[child] = swapped;
    }
  };
  for (uint32_t i = count / 2; i-- > 0;)
    sift(i, count);
  for (uint32_t end = count; end-- > 1;) {
    uint32_t swapped = order[0];
    order[0] = order[end];
    order[end] = swapped;
    sift(0, end);
  }
}

} // namespace detail

/// Greedy by size, first fit: the largest buffer first, each at the lowest
/// offset where it meets no buffer that is live at the same time. `order` is
/// scratch for `count` numbers. Sets the offsets and `arenaBytes`; false when
/// the arena would exceed arenaLimit. O(count^2).
inline bool planArena(ArenaBuffer *buffers, uint32_t count, uint32_t *order,
                      uint64_t &arenaBytes) {
  arenaBytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (buffers[i].bytes > arenaLimit)
      return false;
    order[i] = i;
  }
  detail::sortBySize(buffers, order, count);
  // order[0..i) becomes the placed buffers by offset, order[i..count) are those
  // to place.
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t current = order[i];
    ArenaBuffer &buffer = buffers[current];
    uint64_t bytes =
        (buffer.bytes + arenaAlignment - 1) / arenaAlignment * arenaAlignment;
    uint64_t offset = 0;
    for (uint32_t p = 0; p < i; ++p) {
      const ArenaBuffer &other = buffers[order[p]];
      if (other.firstStep > buffer.lastStep ||
          other.lastStep < buffer.firstStep)
        continue;
      if (other.offset >= offset + bytes)
        break;
      uint64_t end = other.offset + (other.bytes + arenaAlignment - 1) /
                                        arenaAlignment * arenaAlignment;
      offset = end > offset ? end : offset;
    }
    if (offset + bytes > arenaLimit)
      return false;
    buffer.offset = offset;
    arenaBytes = offset + bytes > arenaBytes ? offset + bytes : arenaBytes;
    uint32_t slot = i;
    for (; slot > 0 && buffers[order[slot - 1]].offset > offset; --slot)
      order[slot] = order[slot - 1];
    order[slot] = current;
  }
  return true;
}

} // namespace qcc

#endif // QCC_RUNTIME_ARENAPLAN_H
