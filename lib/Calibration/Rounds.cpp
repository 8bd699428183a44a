//===- Rounds.cpp - calibration on several processes ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Rounds.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include <bit>
#include <cmath>

using namespace qcc;
using llvm::ArrayRef;
using llvm::StringRef;

uint64_t RowCount::before(size_t sample) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < sample; ++i)
    sum += ofSample[i];
  return sum;
}

static std::string name(const char *what, size_t i) {
  return what + std::to_string(i);
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

std::string Rounds::getPart(StringRef key, unsigned number) const {
  return (key + "." + llvm::Twine(number) + "-of-" + llvm::Twine(shard.count))
      .str();
}

llvm::Error Rounds::contribute(
    StringRef key,
    llvm::function_ref<llvm::Expected<CheckpointRecord>()> make) {
  std::string part = getPart(key, shard.number);
  // A shard that is started again has nothing left to do.
  if (!folder.read(part)) {
    llvm::Expected<CheckpointRecord> record = make();
    if (!record)
      return record.takeError();
    if (llvm::Error error = folder.write(part, *record))
      return error;
  }
  done = true;
  return makeError(Diag::BadCalibration, folder.getPath(),
                   "the part of this shard is written");
}

llvm::Error Rounds::collect(
    StringRef key,
    llvm::function_ref<llvm::Error(unsigned, const CheckpointRecord &)> take) {
  forget();
  std::vector<std::string> missing, parts;
  for (unsigned i = 1; i <= shard.count; ++i) {
    parts.push_back(getPart(key, i));
    if (!folder.has(parts.back()))
      missing.push_back(parts.back());
  }
  // Read one by one: parts of wide layers are large.
  for (unsigned i = 0; i < shard.count && missing.empty(); ++i) {
    std::optional<CheckpointRecord> record = folder.read(parts[i]);
    if (!record)
      missing.push_back(parts[i]); // and the shard writes it again
    else if (llvm::Error error = take(i, *record))
      return error;
  }
  if (missing.empty()) {
    used = std::move(parts);
    return llvm::Error::success();
  }
  CheckpointRecord wanted;
  wanted.setText("key", key);
  if (llvm::Error error = folder.write("wanted", wanted))
    return error;
  return makeError(Diag::BadCalibration, folder.getPath(),
                   "expected statistics of " + llvm::Twine(shard.count) +
                       " shards, but " + llvm::Twine(missing.size()) +
                       " are missing, the first is '" + missing[0] +
                       "'; run `qcc calibrate` with the same flags and "
                       "--shard=I/" +
                       llvm::Twine(shard.count) + ", then this again");
}

void Rounds::forget() {
  for (const std::string &key : used)
    folder.remove(key);
  used.clear();
}

//===----------------------------------------------------------------------===//
// Ranges
//===----------------------------------------------------------------------===//

CheckpointRecord Rounds::writeRanges(ArrayRef<InputRange> ranges) {
  CheckpointRecord record;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto &[range, rows] = ranges[i];
    record.set(name("largest", i), range.largest);
    record.set(name("count", i),
               std::vector<uint64_t>{range.rows, range.nonFinite});
    record.set(name("rows", i), rows.ofSample);
  }
  return record;
}

/// Reads the ranges of so many samples; none if the file holds others.
static std::optional<std::vector<InputRange>>
readRangesOf(const CheckpointRecord &record, ArrayRef<size_t> channels,
             size_t samples) {
  std::vector<InputRange> ranges;
  for (size_t i = 0; i < channels.size(); ++i) {
    auto largest = record.get<float>(name("largest", i), channels[i]);
    auto count = record.get<uint64_t>(name("count", i), 2);
    auto rows = record.get<uint64_t>(name("rows", i), samples);
    if (!largest || !count || !rows || !llvm::all_of(*largest, [](float x) {
          return std::isfinite(x) && x >= 0;
        }))
      return std::nullopt;
    InputRange result;
    result.range.largest = std::move(*largest);
    result.range.rows = (*count)[0];
    result.range.nonFinite = (*count)[1];
    result.rows.ofSample = std::move(*rows);
    ranges.push_back(std::move(result));
  }
  return ranges;
}

std::optional<std::vector<InputRange>>
Rounds::readRanges(StringRef request, ArrayRef<size_t> channels) const {
  auto record = folder.read((request + ".ranges").str());
  return record ? readRangesOf(*record, channels, samples) : std::nullopt;
}

static llvm::Error refuse(StringRef folder, StringRef request) {
  return makeError(Diag::BadCalibration, folder,
                   "expected parts that shards of this calibration wrote, but "
                   "those of '" +
                       request + "' have other sizes");
}

llvm::Expected<std::vector<InputRange>>
Rounds::joinRanges(StringRef request, ArrayRef<size_t> channels) {
  std::vector<InputRange> all;
  for (size_t count : channels) {
    all.push_back({ChannelRange(count), {}});
    all.back().rows.ofSample.resize(samples);
  }
  auto take = [&](unsigned s, const CheckpointRecord &part) -> llvm::Error {
    // Every count-th sample is in a shard.
    size_t own = s < samples ? (samples - s - 1) / shard.count + 1 : 0;
    auto ranges = readRangesOf(part, channels, own);
    if (!ranges)
      return refuse(folder.getPath(), request);
    for (size_t i = 0; i < channels.size(); ++i) {
      all[i].range.merge((*ranges)[i].range);
      for (size_t j = 0; j < own; ++j)
        all[i].rows.ofSample[s + j * shard.count] =
            (*ranges)[i].rows.ofSample[j];
    }
    return llvm::Error::success();
  };
  if (llvm::Error error = collect((request + ".range").str(), take))
    return std::move(error);
  return std::move(all);
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

CheckpointRecord Rounds::writeSums(ArrayRef<InputData> data) {
  CheckpointRecord record;
  for (size_t i = 0; i < data.size(); ++i) {
    const Gram &gram = data[i].gram;
    record.set(name("sums", i), gram.getSums());
    record.set(name("abs", i), gram.getAbsSums());
    record.set(name("count", i),
               std::vector<uint64_t>{gram.getRows(), gram.getOutliers()});
    record.set(name("sampled", i), data[i].sampled);
  }
  return record;
}

/// Adds a shard's sums. Rows that others sampled are zeros in its part, so that
/// their bits can be joined.
static bool addSums(const CheckpointRecord &part, size_t i, InputData &data) {
  auto sums = part.get<int64_t>(name("sums", i), data.gram.getSums().size());
  auto abs = part.get<int64_t>(name("abs", i), data.gram.getAbsSums().size());
  auto count = part.get<uint64_t>(name("count", i), 2);
  auto sampled = part.get<float>(name("sampled", i), data.sampled.size());
  if (!sums || !abs || !count || !sampled ||
      !data.gram.merge(*sums, *abs, (*count)[0], (*count)[1]))
    return false;
  for (auto [to, from] : llvm::zip_equal(data.sampled, *sampled))
    to = std::bit_cast<float>(std::bit_cast<uint32_t>(to) |
                              std::bit_cast<uint32_t>(from));
  return true;
}

llvm::Expected<std::vector<InputData>> Rounds::collectData(
    StringRef request, ArrayRef<size_t> channels,
    llvm::function_ref<llvm::Error(size_t, const ChannelRange &)> checkRange) {
  auto ranges = readRanges(request, channels);
  if (!ranges) {
    auto joined = joinRanges(request, channels);
    if (!joined)
      return joined.takeError();
    for (size_t i = 0; i < joined->size(); ++i)
      if (llvm::Error error = checkRange(i, (*joined)[i].range))
        return std::move(error);
    if (llvm::Error error =
            folder.write((request + ".ranges").str(), writeRanges(*joined)))
      return std::move(error);
    ranges = std::move(*joined);
  }
  std::vector<InputData> data(channels.size());
  for (size_t i = 0; i < data.size(); ++i) {
    data[i].range = std::move((*ranges)[i].range);
    data[i].gram = Gram(data[i].range);
    data[i].sampled.assign(countSampled(data[i].range.rows) * channels[i], 0);
  }
  auto take = [&](unsigned, const CheckpointRecord &part) -> llvm::Error {
    for (size_t i = 0; i < data.size(); ++i)
      if (!addSums(part, i, data[i]))
        return refuse(folder.getPath(), request);
    return llvm::Error::success();
  };
  if (llvm::Error error = collect((request + ".sums").str(), take))
    return std::move(error);
  used.push_back((request + ".ranges").str());
  for (const InputData &input : data)
    if (input.gram.getRows() != input.range.rows)
      return refuse(folder.getPath(), request);
  return std::move(data);
}
