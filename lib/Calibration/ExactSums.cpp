//===- ExactSums.cpp - sums without rounding --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/ExactSums.h"
#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

using namespace qcc;

void ExactSums::cover(int first, int last) {
  if (words && first >= low && last < low + words)
    return;
  int newLow = words ? std::min(low, first) : first,
      newEnd = words ? std::max(low + words, last + 1) : last + 1,
      newWords = newEnd - newLow;
  std::vector<uint64_t> wider(count * newWords);
  for (size_t i = 0; i < count; ++i)
    std::copy_n(data.begin() + i * words, words,
                wider.begin() + i * newWords + (low - newLow));
  low = newLow;
  words = newWords;
  data = std::move(wider);
}

void ExactSums::addWords(size_t index, int at, uint64_t lowWord,
                         uint64_t highWord) {
  cover(at, at + (highWord != 0));
  uint64_t carry = 0;
  for (int word = at; lowWord || highWord || carry; ++word) {
    if (word == low + words)
      cover(word, word);
    uint64_t &place = data[index * words + (word - low)];
    uint64_t sum = place + lowWord;
    uint64_t overflow = sum < lowWord;
    place = sum + carry;
    carry = overflow + (place < carry);
    lowWord = highWord;
    highWord = 0;
  }
}

void ExactSums::add(size_t index, double value) {
  assert(value >= 0 && std::isfinite(value) && index < count);
  auto bits = std::bit_cast<uint64_t>(value);
  auto exponent = static_cast<int>(bits >> 52);
  uint64_t mantissa = bits & ((uint64_t(1) << 52) - 1);
  if (!exponent && !mantissa)
    return;
  if (exponent)
    mantissa |= uint64_t(1) << 52;
  // The value is mantissa * 2^(position - kBias).
  int position = std::max(exponent, 1) - 1075 + kBias;
  int shift = position & 63;
  addWords(index, position >> 6, mantissa << shift,
           shift ? mantissa >> (64 - shift) : 0);
}

void ExactSums::merge(const ExactSums &other) {
  assert(other.count == count);
  if (!other.words)
    return;
  cover(other.low, other.low + other.words - 1);
  for (size_t i = 0; i < count; ++i)
    for (int w = 0; w < other.words; ++w)
      addWords(i, other.low + w, other.data[i * other.words + w], 0);
}

double ExactSums::get(size_t index) const {
  double sum = 0;
  for (int w = words; w-- > 0;)
    sum += std::ldexp(static_cast<double>(data[index * words + w]),
                      64 * (low + w) - kBias);
  return sum;
}

void ExactSums::normalize() {
  auto isZero = [&](int word) {
    for (size_t i = 0; i < count; ++i)
      if (data[i * words + word])
        return false;
    return true;
  };
  int first = 0, last = words;
  while (last > 0 && isZero(last - 1))
    --last;
  while (first < last && isZero(first))
    ++first;
  if (first == 0 && last == words)
    return;
  int newWords = last - first;
  std::vector<uint64_t> narrow(count * newWords);
  for (size_t i = 0; i < count; ++i)
    std::copy_n(data.begin() + i * words + first, newWords,
                narrow.begin() + i * newWords);
  low = newWords ? low + first : 0;
  words = newWords;
  data = std::move(narrow);
}

bool ExactSums::set(int newLow, int newWords,
                    llvm::ArrayRef<uint64_t> newData) {
  if (newLow < 0 || newWords < 0 || newWords > kMaxWords ||
      newLow > kMaxWords - newWords || newData.size() != count * newWords)
    return false;
  low = newLow;
  words = newWords;
  data.assign(newData.begin(), newData.end());
  return true;
}
