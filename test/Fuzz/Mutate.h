//===- Mutate.h - broken models from good ones ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_FUZZ_MUTATE_H
#define QCC_TEST_FUZZ_MUTATE_H

#include "Wire.h"

namespace qcc::fuzz {

/// Numbers that depend on nothing but the seed (splitmix64).
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next();
  /// In [0, bound); 0 for a bound of 0.
  size_t below(size_t bound) { return bound ? next() % bound : 0; }
  bool oneIn(size_t n) { return below(n) == 0; }

private:
  uint64_t state;
};

/// Changes bytes without regard to what they mean: flips, insertions, removals,
/// copies, a cut.
std::string mutateBytes(std::string bytes, Random &random);

/// Changes the tree of a model so that it stays a well-formed message: fields
/// removed, doubled, exchanged, taken from `donor`; numbers, types, names,
/// operators and data replaced by ones that are rare. `ops` are names of
/// operators. Gives the bytes as they are if they are no model.
std::string mutateStructure(const std::string &bytes, const std::string &donor,
                            const std::vector<std::string> &ops,
                            Random &random);

} // namespace qcc::fuzz

#endif // QCC_TEST_FUZZ_MUTATE_H
