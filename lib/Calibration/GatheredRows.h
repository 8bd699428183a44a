//===- GatheredRows.h - rows of activations while they come -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What Workspace does with the rows [n, channels] that a run observes: a sample
// of them, all of them for a second look, those that are finite.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_CALIBRATION_GATHEREDROWS_H
#define QCC_LIB_CALIBRATION_GATHEREDROWS_H

#include "qcc/Calibration/Workspace.h"
#include "qcc/Support/ScratchFile.h"
#include <atomic>
#include <cmath>
#include <cstring>

namespace qcc {

/// Keeps every n-th row of an activation in its place.
class RowSampler {
public:
  RowSampler(uint64_t rows, size_t channels, std::vector<float> &out)
      : rows(rows), channels(channels), kept(countSampled(rows)), out(out) {
    out.assign(kept * channels, 0.0f);
  }
  /// Rows from number `first` on. Rows of several threads have own places.
  void add(uint64_t first, llvm::ArrayRef<float> values) {
    if (!kept)
      return;
    for (uint64_t r = 0; r < values.size() / channels; ++r) {
      uint64_t row = first + r, place = row * kept / rows;
      // The first row of each place.
      if (row >= rows || (row > 0 && (row - 1) * kept / rows == place))
        continue;
      std::copy_n(values.begin() + r * channels, channels,
                  out.begin() + place * channels);
    }
  }

private:
  uint64_t rows;
  size_t channels;
  uint64_t kept;
  std::vector<float> &out;
};

/// Keeps what is observed while it is little, so that samples run once.
class KeptRows {
public:
  KeptRows(size_t values, size_t samples)
      : arrays(values, std::vector<llvm::SmallVector<Rows, 1>>(samples)) {}
  /// Several arrays of a sample (in a loop) follow each other. Samples have
  /// own places.
  void add(size_t value, size_t sample, llvm::ArrayRef<float> rows) {
    uint64_t size = rows.size() * sizeof(float), before = bytes.fetch_add(size);
    Rows &kept = arrays[value][sample].emplace_back();
    if (before + size <= Workspace::kKeptBytes) {
      kept.own.assign(rows.begin(), rows.end());
      kept.rows = kept.own;
    } else if (areAll()) {
      addToFile(rows, kept);
    }
  }
  /// Whether there was room for everything.
  bool areAll() const { return bytes <= kMaxBytes && !isFull; }
  /// Calls `take` for the arrays of a sample.
  void forEach(size_t value, size_t sample,
               llvm::function_ref<void(llvm::ArrayRef<float>)> take) const {
    for (const Rows &kept : arrays[value][sample])
      take(kept.rows);
  }

private:
  /// Running the model again is as good as files of this size.
  static constexpr uint64_t kMaxBytes = uint64_t(16) << 30;
  struct Rows {
    std::vector<float> own;
    llvm::ArrayRef<float> rows;
  };

  void addToFile(llvm::ArrayRef<float> rows, Rows &kept) {
    auto room = file.allocate("calibration", rows.size() * sizeof(float));
    if (!room) {
      // Without space the model is run again, which is no error.
      llvm::consumeError(room.takeError());
      isFull = true;
      return;
    }
    std::memcpy(room->data(), rows.data(), room->size());
    kept.rows = {reinterpret_cast<const float *>(room->data()), rows.size()};
  }

  std::vector<std::vector<llvm::SmallVector<Rows, 1>>> arrays;
  ScratchArena file;
  std::atomic<uint64_t> bytes = 0;
  std::atomic<bool> isFull = false;
};

/// Rows [n, channels] without those in which an element is not finite; `buffer`
/// holds them where some are left out.
inline llvm::ArrayRef<float> getFiniteRows(llvm::ArrayRef<float> rows,
                                           size_t channels,
                                           std::vector<float> &buffer) {
  auto isFinite = [](float element) { return std::isfinite(element); };
  if (llvm::all_of(rows, isFinite))
    return rows;
  for (; !rows.empty(); rows = rows.drop_front(channels))
    if (llvm::all_of(rows.take_front(channels), isFinite))
      llvm::append_range(buffer, rows.take_front(channels));
  return buffer;
}

} // namespace qcc

#endif // QCC_LIB_CALIBRATION_GATHEREDROWS_H
