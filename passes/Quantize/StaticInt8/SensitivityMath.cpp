//===- SensitivityMath.cpp - comparing outputs, choosing layers -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "SensitivityMath.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>
#include <deque>
#include <numeric>

using namespace qcc;

void Products::add(llvm::ArrayRef<float> a, llvm::ArrayRef<float> b) {
  for (auto [x, y] : llvm::zip_equal(a, b)) {
    // A mask, or what an infinite input made: codes are not to blame.
    if (!std::isfinite(x))
      continue;
    ab += double(x) * double(y);
    aa += double(x) * double(x);
    bb += double(y) * double(y);
  }
}

void Products::add(const Products &other) {
  ab += other.ab;
  aa += other.aa;
  bb += other.bb;
}

double Products::getCosine() const {
  if (aa == 0 && bb == 0)
    return 1;
  double cosine = ab / std::sqrt(aa * bb);
  return std::isfinite(cosine) ? cosine : 0;
}

double Products::getError() const {
  double square = aa - 2 * ab + bb;
  if (!std::isfinite(square))
    return HUGE_VAL;
  if (square <= 0)
    return 0;
  return aa > 0 ? std::sqrt(square / aa) : HUGE_VAL;
}

double Agreement::getLeastCosine() const {
  double least = 1;
  std::vector<Products> ofOutput(parts.empty() ? 0 : parts[0].size());
  for (const std::vector<Products> &sample : parts) {
    Products all;
    for (auto [output, part] : llvm::enumerate(sample)) {
      all.add(part);
      ofOutput[output].add(part);
    }
    least = std::min(least, all.getCosine());
  }
  for (const Products &output : ofOutput)
    least = std::min(least, output.getCosine());
  return least;
}

double Agreement::getMeanError() const {
  double sum = 0;
  for (const std::vector<Products> &sample : parts) {
    Products all;
    for (const Products &part : sample)
      all.add(part);
    sum += all.getError() * all.getError();
  }
  return parts.empty() ? 0 : sum / double(parts.size());
}

double Agreement::getDivergence() const {
  double sum = 0, positions = 0;
  for (auto [ofSample, count] : divergences) {
    sum += ofSample;
    positions += count;
  }
  return positions > 0 ? sum / positions : 0;
}

bool Closeness::holds(const Agreement &agreement) const {
  // What is not a number is not near.
  return agreement.getLeastCosine() >= leastCosine &&
         agreement.getDivergence() <= divergence;
}

llvm::Expected<std::vector<bool>> qcc::chooseKept(
    llvm::ArrayRef<double> errors,
    llvm::function_ref<llvm::Expected<bool>(const std::vector<bool> &)> holds) {
  std::vector<size_t> order(errors.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order, [&](size_t a, size_t b) {
    return errors[a] != errors[b] ? errors[a] > errors[b] : a < b;
  });
  auto keep = [&](size_t count) {
    std::vector<bool> kept(errors.size());
    for (size_t i : llvm::ArrayRef(order).take_front(count))
      kept[i] = true;
    return kept;
  };
  // Steps that double, then halves between the last two.
  size_t below = 0, enough = errors.size();
  for (size_t step = 1; below + step < enough; step *= 2) {
    auto kept = keep(below + step);
    kept.flip();
    llvm::Expected<bool> answer = holds(kept);
    if (!answer)
      return answer.takeError();
    if (*answer)
      enough = below + step;
    else
      below += step;
    if (*answer)
      break;
  }
  while (enough - below > 1) {
    size_t middle = below + (enough - below) / 2;
    auto kept = keep(middle);
    kept.flip();
    llvm::Expected<bool> answer = holds(kept);
    if (!answer)
      return answer.takeError();
    (*answer ? enough : below) = middle;
  }
  return keep(enough);
}

llvm::Expected<std::vector<bool>> qcc::releaseKept(
    llvm::ArrayRef<double> errors, std::vector<bool> kept, unsigned questions,
    llvm::function_ref<llvm::Expected<bool>(const std::vector<bool> &)> holds) {
  std::vector<size_t> order;
  for (size_t i = 0; i < kept.size(); ++i)
    if (kept[i])
      order.push_back(i);
  llvm::sort(order, [&](size_t a, size_t b) {
    return errors[a] != errors[b] ? errors[a] < errors[b] : a < b;
  });
  using Part = std::pair<size_t, size_t>;
  std::deque<Part> parts;
  auto addHalves = [&](Part part) {
    size_t middle = part.first + (part.second - part.first + 1) / 2;
    parts.push_back({part.first, middle});
    if (middle < part.second)
      parts.push_back({middle, part.second});
  };
  // That all of them may be given up was found not to hold.
  if (!order.empty())
    addHalves({0, order.size()});
  for (; !parts.empty() && questions; --questions) {
    auto [begin, end] = parts.front();
    parts.pop_front();
    std::vector<bool> fewer(kept);
    for (size_t i : llvm::ArrayRef(order).slice(begin, end - begin))
      fewer[i] = false;
    std::vector<bool> on(fewer);
    on.flip();
    llvm::Expected<bool> answer = holds(on);
    if (!answer)
      return answer.takeError();
    if (*answer)
      kept = std::move(fewer);
    else if (end - begin > 1)
      addHalves({begin, end});
  }
  return kept;
}

llvm::Expected<std::vector<bool>> qcc::keepWorst(
    llvm::ArrayRef<double> costs, size_t samples, const Closeness &closeness,
    llvm::function_ref<llvm::Expected<Agreement>(const std::vector<bool> &on,
                                                 size_t samples)>
        run) {
  // What each does to the outputs alone, beside what is done to them anyway,
  // for what it would cost to keep it.
  std::vector<double> alone;
  size_t count = costs.size();
  llvm::Expected<Agreement> none =
      run(std::vector<bool>(count), kRankedSamples);
  if (!none)
    return none.takeError();
  for (size_t i = 0; i < count; ++i) {
    std::vector<bool> one(count);
    one[i] = true;
    llvm::Expected<Agreement> agreement = run(one, kRankedSamples);
    if (!agreement)
      return agreement.takeError();
    double harm = agreement->getMeanError() - none->getMeanError();
    alone.push_back(std::max(harm, 0.0) / costs[i]);
  }
  auto holds = [&](const std::vector<bool> &on) -> llvm::Expected<bool> {
    llvm::Expected<Agreement> agreement = run(on, samples);
    if (!agreement)
      return agreement.takeError();
    return closeness.holds(*agreement);
  };
  llvm::Expected<std::vector<bool>> kept = chooseKept(alone, holds);
  if (!kept)
    return kept.takeError();
  // As long again as the ranking took, within limits.
  size_t questions =
      std::clamp<size_t>(kRankedSamples * count / samples, 8, 24);
  return releaseKept(alone, std::move(*kept), questions, holds);
}
