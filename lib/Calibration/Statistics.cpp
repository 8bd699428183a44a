//===- Statistics.cpp - what calibration knows of a tensor ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/APInt.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/JSON.h"
#include <bit>
#include <cmath>

using namespace qcc;

/// Elements are below 2^kFractionBits units, so that a square is below 2^80 and
/// 2^47 of them fit 128 bits.
static constexpr int kFractionBits = 40;

void TensorStatistics::addExtremes(llvm::ArrayRef<float> values) {
  for (float value : values) {
    if (!std::isfinite(value)) {
      ++nonFinite;
      continue;
    }
    ++count;
    min = value < min ? value : min;
    max = value > max ? value : max;
  }
  // Zero has one sign, whatever the order.
  min += 0.0f;
  max += 0.0f;
}

void TensorStatistics::chooseExponent() {
  float largest = count ? std::fmax(std::fabs(min), std::fabs(max)) : 0.0f;
  exponent = largest > 0 ? std::ilogb(largest) + 1 - kFractionBits : 0;
}

void TensorStatistics::addSums(llvm::ArrayRef<float> values) {
  for (float value : values) {
    if (!std::isfinite(value))
      continue;
    auto units = static_cast<int64_t>(
        std::nearbyint(std::ldexp(double(value), -exponent)));
    sum += units;
    auto magnitude = static_cast<unsigned __int128>(units < 0 ? -units : units);
    sumOfSquares += magnitude * magnitude;
  }
}

double TensorStatistics::getMean() const {
  return count ? std::ldexp(double(sum) / double(count), exponent) : 0;
}

double TensorStatistics::getMeanSquare() const {
  return count ? std::ldexp(double(sumOfSquares) / double(count), 2 * exponent)
               : 0;
}

bool TensorStatistics::merge(const TensorStatistics &other) {
  if (other.exponent != exponent)
    return false;
  count += other.count;
  nonFinite += other.nonFinite;
  min = std::fmin(min, other.min);
  max = std::fmax(max, other.max);
  sum += other.sum;
  sumOfSquares += other.sumOfSquares;
  return true;
}

TensorStatistics &Statistics::get(llvm::StringRef name) {
  auto [entry, isNew] = indices.try_emplace(name, tensors.size());
  if (isNew) {
    tensors.emplace_back();
    tensors.back().name = name.str();
  }
  return tensors[entry->second];
}

const TensorStatistics *Statistics::lookup(llvm::StringRef name) const {
  auto entry = indices.find(name);
  return entry == indices.end() ? nullptr : &tensors[entry->second];
}

//===----------------------------------------------------------------------===//
// The file
//===----------------------------------------------------------------------===//

/// 128-bit integers as decimal text: JSON numbers are doubles for many readers.
static std::string toText(unsigned __int128 value, bool isNegative) {
  uint64_t words[] = {uint64_t(value), uint64_t(value >> 64)};
  llvm::SmallString<48> text;
  llvm::APInt(128, words).toString(text, 10, /*Signed=*/false);
  return ((isNegative ? "-" : "") + text).str();
}

static bool fromText(llvm::StringRef text, unsigned __int128 &value,
                     bool &isNegative) {
  isNegative = text.consume_front("-");
  llvm::APInt parsed;
  if (text.empty() || text.size() > 39 || text.getAsInteger(10, parsed) ||
      parsed.getActiveBits() > 128)
    return false;
  parsed = parsed.zextOrTrunc(128);
  value = (static_cast<unsigned __int128>(parsed.extractBitsAsZExtValue(64, 64))
           << 64) |
          parsed.extractBitsAsZExtValue(64, 0);
  return true;
}

/// Floats as their bits: exact, and NaN never occurs.
static int64_t toBits(float value) { return std::bit_cast<uint32_t>(value); }

std::string Statistics::write() const {
  llvm::json::Array list;
  for (const TensorStatistics &t : tensors) {
    bool negative = t.sum < 0;
    auto magnitude = static_cast<unsigned __int128>(negative ? -t.sum : t.sum);
    list.push_back(
        llvm::json::Object{{"name", t.name},
                           {"count", int64_t(t.count)},
                           {"non_finite", int64_t(t.nonFinite)},
                           {"min_bits", toBits(t.min)},
                           {"max_bits", toBits(t.max)},
                           {"exponent", t.exponent},
                           {"sum", toText(magnitude, negative)},
                           {"sum_of_squares", toText(t.sumOfSquares, false)},
                           {"mean", t.getMean()},
                           {"mean_square", t.getMeanSquare()}});
  }
  llvm::json::Value root = llvm::json::Object{{"schema", "qcc-stats/1"},
                                              {"source", source},
                                              {"samples", int64_t(samples)},
                                              {"tensors", std::move(list)}};
  std::string text;
  llvm::raw_string_ostream os(text);
  os << llvm::formatv("{0:2}", root) << "\n";
  return text;
}

/// Reads one tensor; false if a field is missing or wrong.
static bool readTensor(const llvm::json::Object &object, TensorStatistics &t) {
  auto count = object.getInteger("count"),
       nonFinite = object.getInteger("non_finite"),
       min = object.getInteger("min_bits"), max = object.getInteger("max_bits"),
       exponent = object.getInteger("exponent");
  auto sum = object.getString("sum"),
       squares = object.getString("sum_of_squares");
  if (!count || !nonFinite || !min || !max || !exponent || !sum || !squares ||
      *count < 0 || *nonFinite < 0 || *exponent < -1000 || *exponent > 1000)
    return false;
  unsigned __int128 magnitude = 0;
  bool negative = false, ignored = false;
  if (!fromText(*sum, magnitude, negative) ||
      !fromText(*squares, t.sumOfSquares, ignored) || ignored)
    return false;
  t.count = *count;
  t.nonFinite = *nonFinite;
  t.min = std::bit_cast<float>(uint32_t(*min));
  t.max = std::bit_cast<float>(uint32_t(*max));
  t.exponent = int(*exponent);
  t.sum = negative ? -static_cast<__int128>(magnitude)
                   : static_cast<__int128>(magnitude);
  return !std::isnan(t.min) && !std::isnan(t.max);
}

llvm::Expected<Statistics> Statistics::read(llvm::StringRef text,
                                            llvm::StringRef name) {
  auto refuse = [&](llvm::StringRef what) {
    return makeError(Diag::BadCalibration, name, what);
  };
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return refuse("expected statistics of qcc calibrate, but got no JSON");
  }
  const llvm::json::Object *root = parsed->getAsObject();
  const llvm::json::Array *list = root ? root->getArray("tensors") : nullptr;
  if (!list || root->getString("schema") != "qcc-stats/1")
    return refuse("expected schema qcc-stats/1");
  Statistics statistics;
  statistics.source = root->getString("source").value_or("").str();
  statistics.samples = root->getInteger("samples").value_or(0);
  for (const llvm::json::Value &value : *list) {
    const llvm::json::Object *object = value.getAsObject();
    auto tensorName = object ? object->getString("name") : std::nullopt;
    if (!tensorName || statistics.lookup(*tensorName) ||
        !readTensor(*object, statistics.get(*tensorName)))
      return refuse("a tensor's entry is not as qcc calibrate writes it");
  }
  return std::move(statistics);
}
