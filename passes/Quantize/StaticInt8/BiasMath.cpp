//===- BiasMath.cpp - correcting the means of rounded layers ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "BiasMath.h"
#include <cassert>
#include <cmath>

using namespace qcc;

void ChannelErrors::add(llvm::ArrayRef<float> exact, llvm::ArrayRef<float> low,
                        size_t channels, size_t inner) {
  assert(exact.size() == low.size() && exact.size() % (channels * inner) == 0);
  differences.resize(channels);
  for (size_t at = 0, c = 0; at < exact.size();
       at += inner, c = c + 1 == channels ? 0 : c + 1) {
    double sum = 0;
    for (size_t i = at; i < at + inner; ++i) {
      double difference = double(exact[i]) - low[i];
      sum += difference;
      squares += difference * difference;
      magnitude += double(exact[i]) * exact[i];
    }
    differences[c] += sum;
  }
  perChannel += double(exact.size() / channels);
}

void ChannelErrors::add(const ChannelErrors &other) {
  if (other.differences.empty())
    return;
  differences.resize(other.differences.size());
  for (size_t c = 0; c < differences.size(); ++c)
    differences[c] += other.differences[c];
  squares += other.squares;
  magnitude += other.magnitude;
  perChannel += other.perChannel;
}

double ChannelErrors::getError(llvm::ArrayRef<float> correction) const {
  // The sum of (d - c)^2 is that of d^2, less 2 c d, and c^2 for each element.
  double sum = squares;
  for (size_t c = 0; c < correction.size(); ++c)
    sum += double(correction[c]) *
           (perChannel * correction[c] - 2 * differences[c]);
  sum = std::fmax(sum, 0);
  return sum == 0 ? 0 : std::sqrt(sum / magnitude);
}

/// The means of the channels' differences.
static std::vector<float> getMeans(const ChannelErrors &errors) {
  std::vector<float> means;
  for (double sum : errors.differences)
    means.push_back(float(sum / errors.perChannel));
  return means;
}

std::optional<Correction>
qcc::correctBias(llvm::ArrayRef<ChannelErrors> samples) {
  ChannelErrors all, first, second;
  bool isDivided = samples.size() >= kFewSamples;
  for (size_t i = 0; i < samples.size(); ++i) {
    all.add(samples[i]);
    (i % 2 ? second : first).add(samples[i]);
  }
  const ChannelErrors &source = isDivided ? first : all,
                      &judge = isDivided ? second : all;
  if (source.perChannel == 0 || judge.perChannel == 0 ||
      !std::isfinite(all.squares) || !std::isfinite(all.magnitude) ||
      !(judge.magnitude > 0))
    return std::nullopt;
  Correction result;
  result.before = judge.getError({});
  result.after = judge.getError(getMeans(source));
  if (!(result.after < result.before))
    return std::nullopt;
  result.values = getMeans(all);
  result.error = all.getError(result.values);
  for (float value : result.values)
    if (!std::isfinite(value))
      return std::nullopt;
  return result;
}
