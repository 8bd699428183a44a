//===- Yaml.cpp - small YAML files as values --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Yaml.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLParser.h"

using namespace llvm;

namespace qcc {

const Yaml *Yaml::find(StringRef key) const {
  for (const auto &[name, value] : zip_equal(keys, items))
    if (name == key)
      return &value;
  return nullptr;
}

Error makeYamlError(StringRef name, unsigned line, const Twine &text) {
  return makeError(Diag::Usage, name, "line " + Twine(line) + ": " + text);
}

Error refuseYamlKey(StringRef name, unsigned line, StringRef what,
                    StringRef key, ArrayRef<StringRef> known) {
  StringRef nearest;
  unsigned least = 5; // more changes are no slip
  for (StringRef word : known)
    if (unsigned distance = key.edit_distance(word); distance < least) {
      least = distance;
      nearest = word;
    }
  return makeYamlError(
      name, line,
      "unknown " + what + " '" + key + (nearest.empty() ? "', " : "'; ") +
          (nearest.empty() ? "expected one of " + join(known, ", ")
                           : "did you mean '" + nearest.str() + "'?"));
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {
/// LLVM's parser makes nodes as they are asked for, so that depth and number
/// are bounded here.
class Reader {
public:
  Reader(StringRef text, StringRef name)
      : text(text), name(name), stream(text, sources, /*ShowColors=*/false) {
    sources.setDiagHandler(
        [](const SMDiagnostic &diagnostic, void *context) {
          auto *reader = static_cast<Reader *>(context);
          if (reader->problem.empty()) {
            reader->problem = diagnostic.getMessage().str();
            reader->problemLine = unsigned(std::max(diagnostic.getLineNo(), 1));
          }
        },
        this);
  }

  Expected<Yaml> run() {
    yaml::document_iterator document = stream.begin();
    yaml::Node *root = document == stream.end() ? nullptr : document->getRoot();
    Expected<Yaml> value = read(root, 0);
    if (!value)
      return value.takeError();
    if (++document != stream.end() && !stream.failed())
      return makeYamlError(name, value->line, "expected one document");
    if (stream.failed() || !problem.empty())
      return fail();
    return value;
  }

private:
  Error fail() {
    std::string why = problem.empty() ? "" : ", but it is none: " + problem;
    return makeYamlError(name, std::max(problemLine, 1u),
                         "expected YAML" + why + "; correct the line");
  }

  /// Nodes come in the order of the text, so that each line is counted once.
  unsigned getLine(const yaml::Node *node) {
    const char *at = node->getSourceRange().Start.getPointer();
    if (at > counted && at <= text.end()) {
      line += unsigned(std::count(counted, at, '\n'));
      counted = at;
    }
    return line;
  }

  Expected<Yaml> read(yaml::Node *node, unsigned depth) {
    if (!node || stream.failed())
      return fail();
    Yaml value;
    value.line = getLine(node);
    if (depth > kMaxYamlDepth)
      return makeError(Diag::LimitReached, name,
                       "line " + Twine(value.line) + ": expected at most " +
                           Twine(kMaxYamlDepth) + " values inside each other");
    if (!node->getAnchor().empty() || isa<yaml::AliasNode>(node) ||
        !node->getRawTag().empty())
      return makeYamlError(name, value.line,
                           "expected plain values, but got an anchor, an "
                           "alias or a tag");
    SmallString<64> storage;
    if (auto *scalar = dyn_cast<yaml::ScalarNode>(node)) {
      value.text = scalar->getValue(storage).str();
    } else if (auto *block = dyn_cast<yaml::BlockScalarNode>(node)) {
      value.text = block->getValue().str();
    } else if (auto *list = dyn_cast<yaml::SequenceNode>(node)) {
      value.kind = Yaml::List;
      for (yaml::Node &item : *list) {
        Expected<Yaml> read_ = read(&item, depth + 1);
        if (!read_)
          return read_.takeError();
        value.items.push_back(std::move(*read_));
      }
    } else if (auto *map = dyn_cast<yaml::MappingNode>(node)) {
      value.kind = Yaml::Map;
      for (yaml::KeyValueNode &entry : *map)
        if (Error error = readEntry(entry, value, depth))
          return std::move(error);
    } else if (isa<yaml::NullNode>(node)) {
      value.text = "";
    } else {
      return makeYamlError(name, value.line, "expected a value");
    }
    if (stream.failed())
      return fail();
    return value;
  }

  Error readEntry(yaml::KeyValueNode &entry, Yaml &map, unsigned depth) {
    auto *key = dyn_cast_or_null<yaml::ScalarNode>(entry.getKey());
    if (!key)
      return stream.failed()
                 ? fail()
                 : makeYamlError(name, map.line, "expected a word as key");
    SmallString<64> storage;
    std::string word = key->getValue(storage).str();
    unsigned at = getLine(key);
    if (map.find(word))
      return makeYamlError(name, at, "key '" + word + "' comes twice");
    Expected<Yaml> value = read(entry.getValue(), depth + 1);
    if (!value)
      return value.takeError();
    value->line = at;
    map.keys.push_back(std::move(word));
    map.items.push_back(std::move(*value));
    return Error::success();
  }

  StringRef text, name;
  SourceMgr sources;
  yaml::Stream stream;
  const char *counted = text.begin();
  unsigned line = 1;
  std::string problem;
  unsigned problemLine = 0;
};
} // namespace

Expected<Yaml> readYaml(StringRef text, StringRef name, size_t maxBytes) {
  if (text.size() > maxBytes)
    return makeError(Diag::LimitReached, name,
                     "expected at most " + Twine(maxBytes) +
                         " bytes, but got " + Twine(text.size()));
  // Of an archive the parser would say what no user asked.
  if (any_of(text, [](char c) { return c >= 0 && c < ' ' && !isSpace(c); }))
    return makeError(Diag::Usage, name,
                     "expected text in YAML, but got a file of other bytes; "
                     "name another file");
  return Reader(text, name).run();
}

Error checkYamlSchema(const Yaml &root, StringRef name, StringRef schema) {
  if (root.kind != Yaml::Map)
    return makeYamlError(name, root.line, "expected a map of keys");
  const Yaml *found = root.find("schema");
  if (found && found->text == schema)
    return Error::success();
  return makeYamlError(
      name, found ? found->line : root.line,
      "expected schema: " + schema +
          (found ? ", but got '" + found->text + "'" : std::string()));
}

Error readYamlMap(StringRef name, const Yaml &map, StringRef what,
                  ArrayRef<YamlField> fields) {
  if (map.kind == Yaml::Scalar && map.text.empty())
    return Error::success();
  if (map.kind != Yaml::Map)
    return makeYamlError(name, map.line, "expected keys and values of " + what);
  std::vector<StringRef> known;
  for (const YamlField &field : fields)
    known.push_back(field.first);
  for (const auto &[key, value] : zip_equal(map.keys, map.items)) {
    const auto *field = find_if(
        fields, [&, &key = key](const YamlField &f) { return f.first == key; });
    if (field == fields.end())
      return refuseYamlKey(name, value.line, "key", key, known);
    if (Error error = field->second(value))
      return error;
  }
  return Error::success();
}

Error readYamlText(StringRef name, const Yaml &value, std::string &text) {
  if (value.kind != Yaml::Scalar || value.text.empty())
    return makeYamlError(name, value.line, "expected a word");
  text = value.text;
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

std::string quoteYaml(StringRef text) {
  auto isPlain = [](char c) { return isAlnum(c) || c == '_'; };
  bool plain = !text.empty() && isPlain(text.front()) &&
               isPlain(text.back() == '%' ? '_' : text.back()) &&
               all_of(text, [&](char c) {
                 return isPlain(c) || StringRef(".:+/%-").contains(c);
               });
  if (plain)
    return text.str();
  if (all_of(text, [](char c) { return isPrint(c); })) {
    std::string quoted = "'";
    for (char c : text)
      quoted += c == '\'' ? std::string("''") : std::string(1, c);
    return quoted + "'";
  }
  return "\"" + yaml::escape(text, /*EscapePrintable=*/false) + "\"";
}

} // namespace qcc
