//===- Rounds.h - calibration on several processes --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sequential calibration asks for statistics of one block's inputs after the
// other, each with the weights that were chosen before. Processes that share
// the samples answer together, in rounds: shards run what is asked for next on
// their samples and stop; a collector joins what they wrote, chooses weights
// until it asks for something that is not there, and stops too. All of them go
// through the same passes and take from the folder of checkpoints what is
// finished, so that no pass knows of this. Sums are exact: the joined
// statistics are those of one process to the bit.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_ROUNDS_H
#define QCC_CALIBRATION_ROUNDS_H

#include "qcc/Calibration/Checkpoint.h"
#include "qcc/Calibration/Gram.h"
#include "qcc/Calibration/Statistics.h"

namespace qcc {

/// Rows that are kept of each activation, and how many of so many are.
inline constexpr uint64_t kSampledRows = 512;
inline uint64_t countSampled(uint64_t rows) {
  return rows < kSampledRows ? rows : kSampledRows;
}

/// What is known of an activation's rows: its elements along the last
/// dimension, over all samples.
struct InputData {
  ChannelRange range;
  Gram gram;
  /// Some of the rows, evenly spaced, [n, channels]; at most kSampledRows.
  std::vector<float> sampled;
};

/// Rows of an activation by sample: which of all rows a sample's are.
struct RowCount {
  std::vector<uint64_t> ofSample;
  uint64_t before(size_t sample) const;
};

/// What a first run over samples tells of an activation.
struct InputRange {
  ChannelRange range;
  RowCount rows;
};

/// One process's part in the rounds.
class Rounds {
public:
  enum class Role {
    Alone,     ///< all samples; only finished work is shared
    Shard,     ///< some samples; stops when it has written its part
    Collector, ///< no runs; stops when parts are missing
  };

  /// `shard` says which of all `samples` this process has, or for a collector
  /// how many shards there are.
  Rounds(const CheckpointFolder &folder, Role role, Shard shard, size_t samples)
      : folder(folder), role(role), shard(shard), samples(samples) {
    if (role == Role::Collector)
      folder.remove("wanted");
  }
  /// Removes what has been joined and used.
  ~Rounds() { forget(); }
  Rounds(const Rounds &) = delete;
  Rounds &operator=(const Rounds &) = delete;

  const CheckpointFolder &getFolder() const { return folder; }
  Role getRole() const { return role; }
  Shard getShard() const { return shard; }
  /// All samples, those of other shards too.
  size_t countSamples() const { return samples; }
  /// True once this process has done its part: the error that it stops with is
  /// none.
  bool isDone() const { return done; }

  /// For a shard: writes its part of a piece unless it is there, made by
  /// `make`, and returns the error to stop with.
  llvm::Error
  contribute(llvm::StringRef key,
             llvm::function_ref<llvm::Expected<CheckpointRecord>()> make);
  /// For a collector: gives the parts of all shards, in order and one at a
  /// time, with the shard's position. Errors: BadCalibration if some are
  /// missing, which a file `wanted` in the folder says too, for what runs the
  /// rounds; those of `take`.
  llvm::Error collect(
      llvm::StringRef key,
      llvm::function_ref<llvm::Error(unsigned, const CheckpointRecord &)> take);

  /// The ranges of a request that a collector has joined, if it has. Sizes are
  /// those asked for: `channels` of each activation.
  std::optional<std::vector<InputRange>>
  readRanges(llvm::StringRef request, llvm::ArrayRef<size_t> channels) const;
  /// For a collector: joins ranges, then sums. Errors: as collect;
  /// BadCalibration for parts that do not fit; what checkRange says.
  llvm::Expected<std::vector<InputData>> collectData(
      llvm::StringRef request, llvm::ArrayRef<size_t> channels,
      llvm::function_ref<llvm::Error(size_t, const ChannelRange &)> checkRange);

  /// What a shard writes of its samples.
  static CheckpointRecord writeRanges(llvm::ArrayRef<InputRange> ranges);
  static CheckpointRecord writeSums(llvm::ArrayRef<InputData> data);

private:
  std::string getPart(llvm::StringRef key, unsigned number) const;
  llvm::Expected<std::vector<InputRange>>
  joinRanges(llvm::StringRef request, llvm::ArrayRef<size_t> channels);
  void forget();

  const CheckpointFolder &folder;
  Role role;
  Shard shard;
  size_t samples;
  bool done = false;
  /// Files of the last request that was answered.
  std::vector<std::string> used;
};

} // namespace qcc

#endif // QCC_CALIBRATION_ROUNDS_H
