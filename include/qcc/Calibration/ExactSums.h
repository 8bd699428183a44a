//===- ExactSums.h - sums without rounding ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_EXACTSUMS_H
#define QCC_CALIBRATION_EXACTSUMS_H

#include "llvm/ADT/ArrayRef.h"
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qcc {

/// Sums of doubles that are not negative, kept as integers of as many bits as
/// the addends need: the result depends on what was added only, neither on the
/// order nor on how it was split. All sums of an object share one window of
/// 64-bit words, so that a thousand channels of similar size take a few words
/// each. Word `w` counts units of 2^(64 (low + w) - kBias).
class ExactSums {
public:
  /// Above 1074, so that the smallest denormal has a place.
  static constexpr int kBias = 1088;
  /// Words that the largest sum of 2^64 largest doubles can need.
  static constexpr int kMaxWords = 34;

  explicit ExactSums(size_t size = 1) : count(size) {}

  size_t size() const { return count; }
  /// Adds a finite value that is at least 0 to sum `index`.
  void add(size_t index, double value);
  /// Adds sums of the same size.
  void merge(const ExactSums &other);
  /// The sum, within 2 ulp.
  double get(size_t index) const;

  /// Shrinks the window to the words that are not 0 in all sums: equal sums
  /// have equal windows then.
  void normalize();
  int getLow() const { return low; }
  int getWords() const { return words; }
  /// The words of all sums, sum by sum, lowest word first.
  llvm::ArrayRef<uint64_t> getData() const { return data; }
  /// Takes what the three functions above gave. False if they cannot have.
  bool set(int newLow, int newWords, llvm::ArrayRef<uint64_t> newData);

private:
  /// Makes the window hold words `first` to `last`.
  void cover(int first, int last);
  /// Adds two words at an absolute word position, with carry.
  void addWords(size_t index, int at, uint64_t lowWord, uint64_t highWord);

  size_t count;
  int low = 0, words = 0;
  std::vector<uint64_t> data;
};

} // namespace qcc

#endif // QCC_CALIBRATION_EXACTSUMS_H
