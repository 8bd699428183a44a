//===- SensitivityMath.h - comparing outputs, choosing layers ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITYMATH_H
#define QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITYMATH_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <cmath>
#include <utility>
#include <vector>

namespace qcc {

/// Samples on which candidates are ranked.
inline constexpr size_t kRankedSamples = 4;

/// Sums over two arrays of numbers.
struct Products {
  double ab = 0, aa = 0, bb = 0;
  void add(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b);
  void add(const Products &other);
  /// Their cosine; 1 where both are zero, 0 where one is or is not finite.
  double getCosine() const;
  /// |a - b| / |a|; 0 where both are zero, infinite where only a is.
  double getError() const;
};

/// How near outputs are to exact ones: [sample][output].
class Agreement {
public:
  explicit Agreement(size_t samples, size_t outputs)
      : parts(samples, std::vector<Products>(outputs)) {}
  std::vector<std::vector<Products>> parts;

  /// The least of the cosines of all outputs of one sample together and of one
  /// output of all samples.
  double getLeastCosine() const;
  /// Mean over the samples of the squared error of all outputs.
  double getMeanError() const;

  /// Of an output that gives chances of tokens: of each sample the sum over
  /// positions of the Kullback-Leibler divergence in nats, and the positions.
  std::vector<std::pair<double, double>> divergences;
  /// Its mean over all positions: what the perplexity rises by as a share,
  /// where it is small. 0 where nothing gives chances.
  double getDivergence() const;
};

/// How near outputs have to be to exact ones.
struct Closeness {
  double leastCosine = -1;
  double divergence = HUGE_VAL; ///< most, of tokens
  bool holds(const Agreement &agreement) const;
};

/// Chooses which of `errors.size()` candidates to keep: the ones with the
/// largest errors, as few as `holds` needs, which is asked about the set of
/// those that are not kept; at least that everything is kept must hold, which
/// is not asked. Asks a number of times that grows with the logarithm.
llvm::Expected<std::vector<bool>> chooseKept(
    llvm::ArrayRef<double> errors,
    llvm::function_ref<llvm::Expected<bool>(const std::vector<bool> &)> holds);

/// Gives up keeping what need not be kept, since what others disturb may make
/// up for each other: asks `holds` about those that are not kept with half of
/// the kept ones, the smallest errors first, then quarters and so on, at most
/// `questions` times. What it answers holds, or is `kept` itself.
llvm::Expected<std::vector<bool>> releaseKept(
    llvm::ArrayRef<double> errors, std::vector<bool> kept, unsigned questions,
    llvm::function_ref<llvm::Expected<bool>(const std::vector<bool> &)> holds);

/// Which candidates to keep: those that alone change the outputs most for what
/// keeping them costs (time, size; one positive number each), as few as the
/// outputs of `samples` samples being so near needs. `run` takes which
/// candidates are not kept and the number of samples.
llvm::Expected<std::vector<bool>> keepWorst(
    llvm::ArrayRef<double> costs, size_t samples, const Closeness &closeness,
    llvm::function_ref<llvm::Expected<Agreement>(const std::vector<bool> &on,
                                                 size_t samples)>
        run);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_SENSITIVITYMATH_H
