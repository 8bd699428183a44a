//===- Registry.cpp - schemes by name and parameters ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/DialectInterface.h"
#include "qcc/Scheme/StoredFloats.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

/// Rows of a group: more would not sum exactly in 32 bits.
static constexpr int64_t kMaxGroup = 1 << 16;

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

namespace {
/// What follows the key in a precision.
struct Parameters {
  std::optional<int64_t> group; ///< 0: the channel
  bool perTensor = false;
  StringRef grid;
  bool clip = false;
  bool tokens = false;     ///< activations are rounded too
  bool wideScales = false; ///< f32 where the scheme's own are halves
};

/// A scheme with parameters: what is the same for all schemes.
class ConfiguredScheme final : public Scheme {
public:
  /// `owned` is `base` or null: bases of the registry outlive this.
  ConfiguredScheme(const Scheme &base, std::unique_ptr<Scheme> owned,
                   const Parameters &parameters, std::string key)
      : base(base), owned(std::move(owned)), key(std::move(key)),
        group(parameters.perTensor
                  ? 0
                  : parameters.group.value_or(base.getGroup())),
        perTensor(parameters.perTensor || base.isPerTensor()),
        clip(parameters.clip), tokens(parameters.tokens),
        wideScales(parameters.wideScales) {}

  StringRef getKey() const override { return key; }
  StringRef getSummary() const override { return base.getSummary(); }
  unsigned getWeightBits() const override { return base.getWeightBits(); }
  SchemeCompute getCompute() const override { return base.getCompute(); }
  int64_t getGroup() const override { return group; }
  CodeUnit getUnit() const override { return base.getUnit(); }
  unsigned getMaxCode() const override { return base.getMaxCode(); }
  std::optional<int32_t> getZero() const override { return base.getZero(); }
  bool hasHalfScales() const override {
    return group && !wideScales && base.hasHalfScales();
  }
  bool isPerTensor() const override { return perTensor; }
  bool isLinear() const override { return base.isLinear(); }
  ArrayRef<StringRef> getGrids() const override { return base.getGrids(); }
  TokenFormat getTokenFormat() const override { return base.getTokenFormat(); }
  bool roundsTokens() const override { return tokens; }

  GroupAffine choose(ArrayRef<float> weights,
                     ArrayRef<float> importance) const override;
  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override {
    base.assign(weights, affine, codes);
  }
  float value(uint8_t code, const GroupAffine &affine) const override {
    return base.value(code, affine);
  }
  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    base.pack(codes, bytes);
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override {
    return base.decode(b, bytes);
  }

private:
  GroupAffine chooseStored(ArrayRef<float> weights,
                           ArrayRef<float> importance) const {
    GroupAffine affine = base.choose(weights, importance);
    if (hasHalfScales())
      affine.scale = roundToHalf(affine.scale);
    return affine;
  }
  double getError(ArrayRef<float> weights, ArrayRef<float> importance,
                  const GroupAffine &affine,
                  MutableArrayRef<uint8_t> codes) const;

  const Scheme &base;
  std::unique_ptr<Scheme> owned;
  std::string key;
  int64_t group;
  bool perTensor, clip, tokens, wideScales;
};
} // namespace

double ConfiguredScheme::getError(ArrayRef<float> weights,
                                  ArrayRef<float> importance,
                                  const GroupAffine &affine,
                                  MutableArrayRef<uint8_t> codes) const {
  base.assign(weights, affine, codes);
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    double error = double(base.value(codes[i], affine)) - weights[i];
    sum += error * error * (importance.empty() ? 1.0 : importance[i]);
  }
  return sum;
}

GroupAffine ConfiguredScheme::choose(ArrayRef<float> weights,
                                     ArrayRef<float> importance) const {
  GroupAffine best = chooseStored(weights, importance);
  if (!clip || best.scale == 0)
    return best;
  // The scales of shrunk weights are those of a clipped range: 1, 0.98, ... of
  // it (the grids of quantization.md 1.0, to the half that AWQ searches).
  constexpr int kSteps = 50, kCandidates = 25;
  std::vector<uint8_t> codes(weights.size());
  std::vector<float> shrunk(weights.size());
  double least = getError(weights, importance, best, codes);
  for (int step = 1; step <= kCandidates; ++step) {
    float part = 1 - float(step) / kSteps;
    for (size_t i = 0; i < weights.size(); ++i)
      shrunk[i] = weights[i] * part;
    GroupAffine affine = chooseStored(shrunk, importance);
    double error = getError(weights, importance, affine, codes);
    if (error < least) {
      least = error;
      best = affine;
    }
  }
  return best;
}

//===----------------------------------------------------------------------===//
// Registry
//===----------------------------------------------------------------------===//

/// What is wrong with the numbers of a scheme, or "".
static std::string checkBounds(const Scheme &scheme) {
  auto expected = [](StringRef what, auto got) {
    return ("expected " + what + ", but got " + llvm::Twine(got)).str();
  };
  CodeUnit unit = scheme.getUnit();
  int64_t group = scheme.getGroup();
  if (unit.k < 4 || unit.k > 64 || !llvm::isPowerOf2_32(unit.k))
    return expected("a unit of 4, 8, 16, 32 or 64 rows", unit.k);
  if (unit.bytes < 16 || unit.bytes > 256 || unit.bytes % 16 != 0)
    return expected("a unit of a multiple of 16 bytes, at most 256",
                    unit.bytes);
  if (group < 0 || group % unit.k != 0 || group > kMaxGroup)
    return expected("a group of 0 or a multiple of the unit's " +
                        std::to_string(unit.k) + " rows, at most " +
                        std::to_string(kMaxGroup),
                    group);
  if (scheme.getMaxCode() > 255)
    return expected("a largest code of at most 255", scheme.getMaxCode());
  std::optional<int32_t> zero = scheme.getZero();
  if (zero && (*zero < 0 || *zero > int32_t(scheme.getMaxCode())))
    return expected("a zero that is a code, from 0 to " +
                        std::to_string(scheme.getMaxCode()),
                    *zero);
  if (scheme.getWeightBits() < 1 || scheme.getWeightBits() > 32)
    return expected("weights of 1 to 32 bits", scheme.getWeightBits());
  return "";
}

/// What is wrong with the key of a scheme itself, or "".
static std::string checkKey(StringRef key) {
  bool isWord = !key.empty() && llvm::all_of(key, [](char c) {
    return llvm::isAlnum(c) || c == '-' || c == '_';
  });
  if (!isWord)
    return "expected a key of letters, digits, '-' and '_'";
  // What --precision and `qcc schemes` call other things.
  if (key == "f32" || key == "mixed")
    return "expected a key of its own, but this one is reserved";
  return "";
}

bool SchemeRegistry::add(std::unique_ptr<Scheme> scheme) {
  std::string problem = checkKey(scheme->getKey());
  if (problem.empty() && getBase(scheme->getKey()))
    problem = "expected a key of its own, but another scheme has it";
  if (problem.empty())
    problem = checkBounds(*scheme);
  if (!problem.empty()) {
    refused.push_back("scheme '" + scheme->getKey().str() + "': " + problem);
    return false;
  }
  std::string key = scheme->getKey().str();
  bases.push_back(std::move(scheme));
  if (isa<StoredFloatScheme>(*bases.back())) {
    defaults.push_back(bases.back().get());
    return true;
  }
  std::unique_ptr<Scheme> &whole = made[key];
  whole = std::make_unique<ConfiguredScheme>(*bases.back(), nullptr,
                                             Parameters(), key);
  defaults.push_back(whole.get());
  return true;
}

const Scheme *SchemeRegistry::getBase(StringRef key) const {
  for (const std::unique_ptr<Scheme> &scheme : bases)
    if (scheme->getKey() == key)
      return scheme.get();
  return nullptr;
}

/// Reads one parameter; false if the scheme has none of that name.
static bool readParameter(const Scheme &scheme, StringRef word,
                          Parameters &parameters) {
  if (llvm::is_contained(scheme.getGrids(), word)) {
    bool first = parameters.grid.empty();
    parameters.grid = word;
    return first;
  }
  if (word == "clip") {
    parameters.clip = true;
    return true;
  }
  if (word == "token" && scheme.getTokenFormat() != TokenFormat::None) {
    bool first = !parameters.tokens;
    parameters.tokens = true;
    return first;
  }
  if (word == "f32-scales" && scheme.hasHalfScales()) {
    bool first = !parameters.wideScales;
    parameters.wideScales = true;
    return first;
  }
  if (parameters.group || parameters.perTensor)
    return false;
  if (word == "tensor") {
    parameters.perTensor = true;
    return true;
  }
  int64_t group = 0;
  if (word != "channel" &&
      (!word.consume_front("g") || word.getAsInteger(10, group) || group < 1 ||
       group > kMaxGroup || group % scheme.getUnit().k != 0))
    return false;
  parameters.group = group;
  return true;
}

/// Why a parameter that was not read is no group, if it is a number of rows.
static std::string explainGroup(const Scheme &scheme, StringRef word,
                                const Parameters &parameters) {
  int64_t rows;
  if (parameters.group || parameters.perTensor || !word.consume_front("g") ||
      word.getAsInteger(10, rows))
    return "";
  return ", which is no multiple of " + std::to_string(scheme.getUnit().k) +
         " up to " + std::to_string(kMaxGroup);
}

static std::string getCanonicalKey(const Scheme &scheme,
                                   const Parameters &parameters) {
  std::string key = scheme.getKey().str();
  if (parameters.perTensor)
    key += ":tensor";
  else if (parameters.group && *parameters.group != scheme.getGroup())
    key += *parameters.group ? ":g" + std::to_string(*parameters.group)
                             : ":channel";
  if (!parameters.grid.empty() && parameters.grid != scheme.getGrids().front())
    key += ":" + parameters.grid.str();
  // Those of channels and tensors are f32 in any case.
  if (parameters.wideScales && !parameters.perTensor &&
      parameters.group.value_or(scheme.getGroup()))
    key += ":f32-scales";
  return key + (parameters.tokens ? ":token" : "") +
         (parameters.clip ? ":clip" : "");
}

/// The bits that a name speaks of, and whether they are those of a float:
/// `int4`, `w4a16`, `q4_0` and `4bit` all say 4. 0 bits for other names.
static std::pair<unsigned, bool> readBits(StringRef name) {
  static constexpr StringRef floats[] = {"f",  "fp",     "float", "nf",
                                         "bf", "bfloat", "mxfp",  "nvfp"};
  static constexpr StringRef integers[] = {"w", "q",   "i",   "u",
                                           "s", "int", "uint"};
  std::string lower = name.lower();
  StringRef rest = lower,
            word = rest.take_while([](char c) { return llvm::isAlpha(c); });
  rest = rest.drop_front(word.size());
  bool isFloat = llvm::is_contained(floats, word);
  unsigned bits = 0;
  if (rest.consumeInteger(10, bits) ||
      !(isFloat || llvm::is_contained(integers, word) ||
        (word.empty() && rest.ltrim("-_").starts_with("bit"))))
    return {0, false};
  return {bits, isFloat};
}

/// Of the keys those that a name may mean: what other tools call `int4` has no
/// letters in common with `w4a16`, but its bits.
static SmallVector<StringRef> getMeant(ArrayRef<StringRef> keys,
                                       StringRef name) {
  SmallVector<StringRef> meant;
  auto kind = readBits(name);
  for (StringRef key : keys)
    if (kind.first != 0 && readBits(key) == kind)
      meant.push_back(key);
  bool isOfBits = !meant.empty();
  // Of a name with more wrong letters than right ones nothing is near, and more
  // than three are no slip.
  size_t least = std::min<size_t>((name.size() + 1) / 2, isOfBits ? 2 : 3) * 2;
  SmallVector<StringRef> nearest;
  for (StringRef key : isOfBits ? ArrayRef<StringRef>(meant) : keys) {
    // Of equally near keys the one of the same length.
    size_t distance = 2 * name.edit_distance(key) + (name.size() != key.size());
    if (distance <= least - (nearest.empty() ? 0 : 1) &&
        !(isOfBits && name.size() != key.size())) {
      least = distance;
      nearest = {key};
    }
  }
  return isOfBits && nearest.empty() ? meant : nearest;
}

static llvm::Error makeUnknownKey(ArrayRef<const Scheme *> schemes,
                                  StringRef key) {
  SmallVector<StringRef> known = {"f32"};
  for (const Scheme *scheme : schemes)
    known.push_back(scheme->getKey());
  SmallVector<StringRef> meant = getMeant(known, key);
  return makeError(
      Diag::Usage, "",
      "expected a precision (" + llvm::join(known, ", ") + "), but got '" +
          key + "'; " +
          (meant.empty()
               ? "`qcc schemes` lists them"
               : "did you mean '" + llvm::join(meant, "' or '") + "'?"));
}

llvm::Expected<const Scheme *> SchemeRegistry::find(StringRef precision) const {
  SmallVector<StringRef> words;
  precision.split(words, ':');
  const Scheme *base = getBase(words[0]);
  if (!base && words[0] == "f32")
    return makeError(Diag::UnsupportedScheme, "",
                     "expected no parameters of f32, which has no scales, but "
                     "got '" +
                         precision + "'");
  if (!base)
    return makeUnknownKey(defaults, words[0]);
  // Without scales there is nothing that parameters could change.
  if (isa<StoredFloatScheme>(base)) {
    if (words.size() > 1)
      return makeError(Diag::UnsupportedScheme, "",
                       "expected no parameters, as '" + base->getKey() +
                           "' has no scales, but got '" + words[1] + "'");
    return base;
  }
  Parameters parameters;
  for (StringRef word : ArrayRef(words).drop_front())
    if (!readParameter(*base, word, parameters)) {
      std::string known = "gN with N a multiple of " +
                          std::to_string(base->getUnit().k) +
                          ", channel, tensor, clip";
      for (StringRef grid : base->getGrids())
        known += ", " + grid.str();
      if (base->hasHalfScales())
        known += ", f32-scales";
      if (base->getTokenFormat() != TokenFormat::None)
        known += ", token";
      return makeError(Diag::UnsupportedScheme, "",
                       "expected each parameter of '" + base->getKey() +
                           "' at most once (" + known + "), but got '" + word +
                           "'" + explainGroup(*base, word, parameters));
    }
  std::string key = getCanonicalKey(*base, parameters);
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Scheme> &scheme = made[key];
  if (!scheme) {
    std::unique_ptr<Scheme> owned;
    if (!parameters.grid.empty())
      owned = base->withGrid(parameters.grid);
    const Scheme &gridded = owned ? *owned : *base;
    scheme = std::make_unique<ConfiguredScheme>(gridded, std::move(owned),
                                                parameters, key);
  }
  return scheme.get();
}

const Scheme *SchemeRegistry::lookup(StringRef precision) const {
  llvm::Expected<const Scheme *> found = find(precision);
  if (found)
    return *found;
  llvm::consumeError(found.takeError());
  return nullptr;
}

namespace {
/// Holds the registry of a context.
struct SchemeInterface : DialectInterface::Base<SchemeInterface> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SchemeInterface)
  SchemeInterface(Dialect *dialect) : Base(dialect) {}
  SchemeRegistry registry;
};
} // namespace

SchemeRegistry &qcc::getSchemes(QCCDialect &dialect) {
  if (!dialect.getRegisteredInterface<SchemeInterface>())
    dialect.addInterface(std::make_unique<SchemeInterface>(&dialect));
  // Interfaces are handed out const; the registry is the dialect's own.
  return const_cast<SchemeInterface *>(
             dialect.getRegisteredInterface<SchemeInterface>())
      ->registry;
}

const SchemeRegistry &qcc::getSchemes(MLIRContext *context) {
  return getSchemes(*context->getOrLoadDialect<QCCDialect>());
}
