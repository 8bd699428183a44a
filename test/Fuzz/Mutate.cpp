//===- Mutate.cpp - broken models from good ones ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Mutate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace qcc::fuzz {

uint64_t Random::next() {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

/// Numbers at which arithmetic on sizes goes wrong.
static constexpr int64_t kNumbers[] = {0,
                                       1,
                                       2,
                                       3,
                                       7,
                                       -1,
                                       -2,
                                       16,
                                       127,
                                       128,
                                       255,
                                       256,
                                       4096,
                                       65536,
                                       INT32_MAX,
                                       INT32_MIN,
                                       int64_t(1) << 32,
                                       int64_t(1) << 40,
                                       (int64_t(1) << 40) + 1,
                                       int64_t(1) << 61,
                                       int64_t(1) << 62,
                                       INT64_MAX,
                                       INT64_MIN,
                                       INT64_MIN + 1};

static uint64_t rareNumber(Random &random) {
  uint64_t number = kNumbers[random.below(std::size(kNumbers))];
  return random.oneIn(4) ? number + random.below(5) - 2 : number;
}

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

/// With `inPlace` the size stays, and with it most lengths of messages.
static void mutateOnce(std::string &bytes, Random &random,
                       bool inPlace = false) {
  if (bytes.empty()) {
    bytes.push_back(static_cast<char>(random.next()));
    return;
  }
  size_t at = random.below(bytes.size());
  size_t length = 1 + random.below(std::min<size_t>(bytes.size() - at, 32));
  switch (random.below(inPlace ? 4 : 8)) {
  case 0:
    bytes[at] ^= static_cast<char>(1 << random.below(8));
    break;
  case 1:
    bytes[at] = static_cast<char>(random.next());
    break;
  case 2:
    for (size_t i = at; i < at + length; ++i)
      bytes[i] = static_cast<char>(random.oneIn(2) ? 0xff : 0x80);
    break;
  case 3: {
    uint64_t number = rareNumber(random);
    std::memcpy(bytes.data() + at, &number, std::min<size_t>(length, 8));
    break;
  }
  case 4:
    bytes.insert(at, 1, static_cast<char>(random.next()));
    break;
  case 5:
    bytes.erase(at, length);
    break;
  case 6:
    bytes.insert(random.below(bytes.size()), bytes.substr(at, length));
    break;
  default:
    if (random.oneIn(4))
      bytes.resize(at);
    else
      bytes[at] += static_cast<char>(random.oneIn(2) ? 1 : -1);
  }
}

std::string mutateBytes(std::string bytes, Random &random) {
  bool inPlace = !random.oneIn(3);
  for (size_t i = 1 + random.below(8); i > 0; --i)
    mutateOnce(bytes, random, inPlace);
  return bytes;
}

//===----------------------------------------------------------------------===//
// Structure
//===----------------------------------------------------------------------===//

namespace {

/// Where a field lies: its message's fields and its position.
struct Place {
  std::vector<Field> *owner;
  size_t index;
  Field &field() const { return (*owner)[index]; }
};

void collect(std::vector<Field> &fields, std::vector<Place> &places) {
  for (size_t i = 0; i < fields.size(); ++i) {
    places.push_back({&fields, i});
    collect(fields[i].fields, places);
  }
}

const char *const kTexts[] = {"",
                              "ai.onnx",
                              "com.microsoft",
                              "SAME_UPPER",
                              "VALID",
                              "NOTSET",
                              "axis",
                              "axes",
                              "pads",
                              "strides",
                              "dilations",
                              "group",
                              "kernel_shape",
                              "perm",
                              "to",
                              "value",
                              "epsilon",
                              "mode",
                              "N",
                              "-1",
                              "18446744073709551615",
                              "\xff\xfe\x80",
                              "location",
                              "offset",
                              "length",
                              "../x",
                              "/dev/zero",
                              "ceil_mode",
                              "keepdims",
                              "block_size",
                              "split",
                              "num_outputs",
                              "equation",
                              "ij,jk->ik",
                              "linear",
                              "cubic",
                              "reduction",
                              "add",
                              "hidden_size",
                              "direction",
                              "bidirectional"};

class Mutation {
public:
  Mutation(std::vector<Field> &model, std::vector<Field> &donor,
           const std::vector<std::string> &ops, Random &random)
      : model(model), donor(donor), ops(ops), random(random) {}

  void run() {
    std::vector<Place> places;
    collect(model, places);
    if (places.empty())
      return;
    // Fields of graphs are what matters: of two, the one deeper in.
    Place place = places[random.below(places.size())];
    if (random.oneIn(3))
      changeTree(place, places);
    else
      changeValue(place.field(), places);
  }

private:
  /// A field of the same kind from `among`; null if there is none.
  const Field *pick(Kind kind, const std::vector<Place> &among) {
    std::vector<const Field *> found;
    for (const Place &place : among)
      if (place.field().kind == kind)
        found.push_back(&place.field());
    return found.empty() ? nullptr : found[random.below(found.size())];
  }

  void changeTree(Place place, const std::vector<Place> &places) {
    std::vector<Field> &owner = *place.owner;
    switch (random.below(5)) {
    case 0:
      owner.erase(owner.begin() + place.index);
      return;
    case 1: {
      Field copy = place.field();
      owner.insert(owner.begin() + random.below(owner.size() + 1), copy);
      return;
    }
    case 2:
      std::swap(place.field(), owner[random.below(owner.size())]);
      return;
    case 3: {
      // A donor's field in place of this one.
      std::vector<Place> foreign;
      collect(donor, foreign);
      if (const Field *field = pick(place.field().kind, foreign))
        put(place.field(), Field(*field));
      return;
    }
    default:
      // A field of this model in place of another: cycles, wrong types.
      if (const Field *field = pick(place.field().kind, places))
        put(place.field(), Field(*field));
    }
  }

  /// Keeps the tag: it says what the message takes the field for.
  static void put(Field &field, Field other) {
    if ((field.tag & 7) == (other.tag & 7))
      other.tag = field.tag;
    field = std::move(other);
  }

  void changeValue(Field &field, const std::vector<Place> &places) {
    if (isMessage(field.kind)) {
      if (!field.fields.empty())
        changeValue(field.fields[random.below(field.fields.size())], places);
      return;
    }
    if ((field.tag & 7) == 0) {
      field.number =
          field.kind == Kind::DataType ? random.below(29) : rareNumber(random);
      return;
    }
    switch (field.kind) {
    case Kind::Name:
      if (const Field *name = pick(Kind::Name, places); !random.oneIn(8))
        field.bytes = std::string(name->bytes);
      else
        field.bytes = changeText(field.bytes);
      return;
    case Kind::OpName:
      field.bytes = ops[random.below(ops.size())];
      return;
    case Kind::Text:
      field.bytes = changeText(field.bytes);
      return;
    case Kind::Float: {
      static constexpr float kFloats[] = {0,      -1,     1,        1e30f,
                                          -1e30f, 1e-40f, INFINITY, -INFINITY,
                                          NAN,    0.5f,   3e9f};
      float number = kFloats[random.below(std::size(kFloats))];
      field.bytes.assign(reinterpret_cast<const char *>(&number), 4);
      return;
    }
    default:
      changeData(field.bytes);
    }
  }

  std::string changeText(const std::string &text) {
    switch (random.below(8)) {
    case 0:
      return text + text;
    case 1:
      return std::string(random.oneIn(2) ? 300 : 70000, 'n');
    case 2: {
      std::string changed = text;
      mutateOnce(changed, random);
      return changed;
    }
    default:
      return kTexts[random.below(std::size(kTexts))];
    }
  }

  /// Data of tensors: elements replaced, fewer, more.
  void changeData(std::string &bytes) {
    switch (random.below(4)) {
    case 0:
      bytes.resize(random.below(bytes.size() + 1));
      return;
    case 1:
      bytes.append(1 + random.below(16), '\0');
      return;
    default:
      if (bytes.size() < 8)
        return mutateOnce(bytes, random);
      uint64_t number = rareNumber(random);
      size_t width = size_t(1) << random.below(4);
      size_t at = random.below(bytes.size() / width) * width;
      std::memcpy(bytes.data() + at, &number, width);
    }
  }

  std::vector<Field> &model, &donor;
  const std::vector<std::string> &ops;
  Random &random;
};

} // namespace

std::string mutateStructure(const std::string &bytes, const std::string &donor,
                            const std::vector<std::string> &ops,
                            Random &random) {
  std::vector<Field> model, other;
  if (!parseMessage(bytes, Kind::Model, model))
    return bytes;
  if (!parseMessage(donor, Kind::Model, other))
    other.clear();
  for (size_t i = 1 + random.below(4); i > 0; --i)
    Mutation(model, other, ops, random).run();
  std::string out;
  writeMessage(model, out);
  return out;
}

} // namespace qcc::fuzz
