//===- StatisticsFile.cpp - the file of qcc calibrate -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The number of bytes of a JSON header (8 bytes, little endian), the header,
// then 64-bit little-endian words, which the header says how to divide, then
// the SHA-256 of all of that. See docs/statistics-file.md.
//
//===----------------------------------------------------------------------===//
#include "qcc/Calibration/Statistics.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/Json.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FormatVariadic.h"
#include <bit>
#include <cmath>

using namespace qcc;
namespace json = llvm::json;
using llvm::StringRef;

/// A header is padded to whole words with spaces.
static constexpr size_t kWord = 8;
static constexpr uint64_t kMaxHeader = uint64_t(1) << 30;
static constexpr StringRef kSchema = "qcc-stats/3";

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

namespace {

/// Collects the header's entries and the words behind it.
class Writer {
public:
  json::Object write(const TensorStatistics &t);
  std::vector<uint64_t> words;

private:
  json::Array write(ExactSums sums) {
    sums.normalize();
    llvm::append_range(words, sums.getData());
    return json::Array{sums.getLow(), sums.getWords()};
  }
  /// The bins that are not empty: the first one and their number.
  json::Array write(llvm::ArrayRef<uint64_t> bins) {
    while (!bins.empty() && !bins.back())
      bins = bins.drop_back();
    size_t first = 0;
    while (first < bins.size() && !bins[first])
      ++first;
    bins = bins.drop_front(first);
    llvm::append_range(words, bins);
    return json::Array{int64_t(bins.empty() ? 0 : first), int64_t(bins.size())};
  }
};

} // namespace

/// The bytes that a file ends with.
static std::string getHash(StringRef content) {
  Digest digest = hashSha256({content.data(), content.size()});
  return {digest.begin(), digest.end()};
}

/// Two floats in a word, as their bits.
static uint64_t toWord(float min, float max) {
  return std::bit_cast<uint32_t>(min) | uint64_t(std::bit_cast<uint32_t>(max))
                                            << 32;
}

json::Object Writer::write(const TensorStatistics &t) {
  json::Object object{{"name", t.name},
                      {"count", int64_t(t.count)},
                      {"non_finite", int64_t(t.nonFinite)}};
  if (t.count) {
    object["min_bits"] = int64_t(std::bit_cast<uint32_t>(t.min));
    object["max_bits"] = int64_t(std::bit_cast<uint32_t>(t.max));
    // For readers of the file; what is computed with is exact.
    object["min"] = t.min;
    object["max"] = t.max;
    object["mean"] = t.getMean();
    object["mean_square"] = t.getMeanSquare();
  }
  object["sums"] =
      json::Array{write(t.positive), write(t.negative), write(t.squares)};
  const Histogram &h = t.histogram;
  object["histogram"] = json::Object{{"exponent", h.getExponent()},
                                     {"zeros", int64_t(h.getZeros())},
                                     {"negative", write(h.getNegative())},
                                     {"positive", write(h.getPositive())}};
  if (t.channels.empty())
    return object;
  const ChannelStatistics &c = t.channels;
  llvm::append_range(words, c.counts);
  for (size_t i = 0; i < c.size(); ++i)
    words.push_back(toWord(c.mins[i], c.maxs[i]));
  object["channels"] =
      json::Object{{"size", int64_t(c.size())},
                   {"sums", json::Array{write(c.positive), write(c.negative),
                                        write(c.squares)}}};
  return object;
}

std::string Statistics::write() const {
  Writer writer;
  json::Array list;
  for (const TensorStatistics &t : tensors)
    list.push_back(writer.write(t));
  json::Object root{{"schema", kSchema},
                    {"source", source},
                    {"data", data},
                    {"options", json::Array(options)},
                    {"samples", int64_t(samples)},
                    {"tensors", std::move(list)}};
  if (!shard.isWhole())
    root["shard"] = json::Array{int64_t(shard.number), int64_t(shard.count)};
  std::string header;
  llvm::raw_string_ostream os(header);
  os << llvm::formatv("{0:1}", json::Value(std::move(root))) << "\n";
  header.resize(llvm::alignTo(header.size(), kWord), ' ');
  std::string text(kWord, '\0');
  llvm::support::endian::write64le(text.data(), header.size());
  text += header;
  size_t at = text.size();
  text.resize(at + writer.words.size() * kWord);
  for (uint64_t word : writer.words) {
    llvm::support::endian::write64le(text.data() + at, word);
    at += kWord;
  }
  text += getHash(text);
  return text;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {

/// Takes entries apart; everything is checked against the words that are there.
class Reader {
public:
  explicit Reader(StringRef data) {
    for (size_t at = 0; at + kWord <= data.size(); at += kWord)
      words.push_back(llvm::support::endian::read64le(data.data() + at));
  }
  bool read(const json::Object &object, TensorStatistics &t);
  bool isAtEnd() const { return next == words.size(); }

private:
  /// The next words, if there are as many.
  bool take(int64_t count, llvm::ArrayRef<uint64_t> &taken) {
    if (count < 0 || uint64_t(count) > words.size() - next)
      return false;
    taken = llvm::ArrayRef(words).slice(next, count);
    next += count;
    return true;
  }
  /// Three sums.
  bool read(const json::Array *list, ExactSums &a, ExactSums &b, ExactSums &c);
  bool read(const json::Value &value, ExactSums &sums);
  bool read(const json::Array *value, std::vector<uint64_t> &bins);
  bool read(const json::Object *object, Histogram &histogram);
  bool read(const json::Object *object, ChannelStatistics &channels);

  std::vector<uint64_t> words;
  size_t next = 0;
};

} // namespace

/// A list of two integers.
static bool readPair(const json::Array *list, int64_t &a, int64_t &b) {
  if (!list || list->size() != 2)
    return false;
  auto first = (*list)[0].getAsInteger(), second = (*list)[1].getAsInteger();
  if (!first || !second)
    return false;
  a = *first;
  b = *second;
  return true;
}

bool Reader::read(const json::Value &value, ExactSums &sums) {
  int64_t low = 0, count = 0;
  llvm::ArrayRef<uint64_t> taken;
  if (!readPair(value.getAsArray(), low, count) || low < 0 ||
      low > ExactSums::kMaxWords || count < 0 || count > ExactSums::kMaxWords)
    return false;
  return take(count * int64_t(sums.size()), taken) &&
         sums.set(int(low), int(count), taken);
}

bool Reader::read(const json::Array *list, ExactSums &a, ExactSums &b,
                  ExactSums &c) {
  return list && list->size() == 3 && read((*list)[0], a) &&
         read((*list)[1], b) && read((*list)[2], c);
}

bool Reader::read(const json::Array *value, std::vector<uint64_t> &bins) {
  int64_t first = 0, count = 0;
  llvm::ArrayRef<uint64_t> taken;
  if (!readPair(value, first, count) || first < 0 || count < 0 ||
      first > Histogram::kBins || count > Histogram::kBins - first ||
      !take(count, taken))
    return false;
  bins.assign(Histogram::kBins, 0);
  llvm::copy(taken, bins.begin() + first);
  return true;
}

bool Reader::read(const json::Object *object, Histogram &histogram) {
  if (!object)
    return false;
  auto exponent = object->getInteger("exponent"),
       zeros = object->getInteger("zeros");
  std::vector<uint64_t> negative, positive;
  if (!exponent || !zeros || *zeros < 0 || *exponent < -1000 ||
      *exponent > 1000 || !read(object->getArray("negative"), negative) ||
      !read(object->getArray("positive"), positive))
    return false;
  auto isZero = [](uint64_t count) { return count == 0; };
  if (*exponent == 0 && llvm::all_of(negative, isZero) &&
      llvm::all_of(positive, isZero))
    return histogram.set(0, *zeros, {}, {});
  return histogram.set(int(*exponent), *zeros, negative, positive);
}

bool Reader::read(const json::Object *object, ChannelStatistics &channels) {
  auto size = object->getInteger("size");
  llvm::ArrayRef<uint64_t> counts, extremes;
  if (!size || *size < 1 || !take(*size, counts) || !take(*size, extremes))
    return false;
  channels = ChannelStatistics(*size);
  channels.counts.assign(counts.begin(), counts.end());
  for (auto [i, word] : llvm::enumerate(extremes)) {
    channels.mins[i] = std::bit_cast<float>(uint32_t(word));
    channels.maxs[i] = std::bit_cast<float>(uint32_t(word >> 32));
    if (std::isnan(channels.mins[i]) || std::isnan(channels.maxs[i]) ||
        (counts[i] &&
         !(std::isfinite(channels.mins[i]) && std::isfinite(channels.maxs[i]) &&
           channels.mins[i] <= channels.maxs[i])))
      return false;
  }
  return read(object->getArray("sums"), channels.positive, channels.negative,
              channels.squares);
}

bool Reader::read(const json::Object &object, TensorStatistics &t) {
  auto count = object.getInteger("count"),
       nonFinite = object.getInteger("non_finite");
  if (!count || !nonFinite || *count < 0 || *nonFinite < 0)
    return false;
  t.count = *count;
  t.nonFinite = *nonFinite;
  if (t.count) {
    auto min = object.getInteger("min_bits"),
         max = object.getInteger("max_bits");
    if (!min || !max || *min < 0 || *max < 0 || *min > UINT32_MAX ||
        *max > UINT32_MAX)
      return false;
    t.min = std::bit_cast<float>(uint32_t(*min));
    t.max = std::bit_cast<float>(uint32_t(*max));
    if (!std::isfinite(t.min) || !std::isfinite(t.max) || t.min > t.max)
      return false;
  }
  if (!read(object.getArray("sums"), t.positive, t.negative, t.squares) ||
      !read(object.getObject("histogram"), t.histogram))
    return false;
  const json::Object *channels = object.getObject("channels");
  return !channels || read(channels, t.channels);
}

/// The schemas of older versions, whose files nothing guards.
static constexpr StringRef kOldSchemas[] = {"qcc-stats/1", "qcc-stats/2"};

/// Why a file is not one that was written here, from its header or the bytes
/// that might be one.
static std::string getObstacle(StringRef text) {
  for (StringRef old : kOldSchemas)
    if (text.contains(old))
      return ("expected statistics of schema " + kSchema + ", but got " + old +
              "; gather them again with qcc calibrate")
          .str();
  if (text.contains(kSchema))
    return "its bytes have another hash than when they were written: copy the "
           "file again, or gather it again with qcc calibrate";
  return "expected statistics of qcc calibrate, but got something else";
}

/// Takes the hash off the end of a file; false if it is of other bytes.
static bool takeHash(StringRef &text) {
  if (text.size() < sizeof(Digest))
    return false;
  StringRef content = text.drop_back(sizeof(Digest));
  if (getHash(content) != text.drop_front(content.size()))
    return false;
  text = content;
  return true;
}

/// Largest number of shards that is believed.
static constexpr int64_t kMaxShards = 1 << 20;

/// Reads what statistics are of.
static bool readOrigin(const json::Object &root, Statistics &statistics) {
  auto source = root.getString("source"), data = root.getString("data");
  auto samples = root.getInteger("samples");
  const json::Array *options = root.getArray("options");
  if (!source || !data || !samples || *samples < 0 || !options)
    return false;
  statistics.source = source->str();
  statistics.data = data->str();
  statistics.samples = *samples;
  for (const json::Value &option : *options) {
    auto text = option.getAsString();
    if (!text)
      return false;
    statistics.options.push_back(text->str());
  }
  if (!root.get("shard"))
    return true;
  int64_t number = 0, count = 0;
  if (!readPair(root.getArray("shard"), number, count) || number < 1 ||
      count < 2 || number > count || count > kMaxShards)
    return false;
  statistics.shard = {unsigned(number), unsigned(count)};
  return true;
}

llvm::Expected<Statistics> Statistics::read(StringRef text, StringRef name) {
  auto refuse = [&](const llvm::Twine &what) {
    return makeError(Diag::BadCalibration, name, what);
  };
  if (!takeHash(text))
    return refuse(getObstacle(text));
  uint64_t size = text.size() < kWord
                      ? kMaxHeader + 1
                      : llvm::support::endian::read64le(text.data());
  StringRef header = text.drop_front(std::min(kWord, text.size()));
  if (size > kMaxHeader || size % kWord != 0 || size > header.size())
    return refuse("its header is not as qcc calibrate writes it");
  StringRef words = header.drop_front(size);
  header = header.take_front(size);
  llvm::Expected<json::Value> parsed = parseJson(header);
  if (!parsed)
    return refuse(toString(parsed.takeError()));
  const json::Object *root = parsed->getAsObject();
  const json::Array *list = root ? root->getArray("tensors") : nullptr;
  if (!list || root->getString("schema") != kSchema)
    return refuse("expected statistics of schema " + kSchema.str());
  Statistics statistics;
  if (!readOrigin(*root, statistics))
    return refuse("its header is not as qcc calibrate writes it");
  Reader reader(words);
  for (const json::Value &value : *list) {
    const json::Object *object = value.getAsObject();
    auto tensorName = object ? object->getString("name") : std::nullopt;
    if (!tensorName || statistics.lookup(*tensorName) ||
        !reader.read(*object, statistics.get(*tensorName)))
      return refuse("a tensor's entry is not as qcc calibrate writes it");
  }
  if (!reader.isAtEnd() || words.size() % kWord != 0)
    return refuse("there are more bytes than its header says");
  return std::move(statistics);
}
