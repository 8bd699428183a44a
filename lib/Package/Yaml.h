//===- Yaml.h - small YAML files as values ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PACKAGE_YAML_H
#define QCC_LIB_PACKAGE_YAML_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace qcc {

/// A value of a YAML document: a scalar, a list or a map in the file's order.
struct Yaml {
  enum Kind { Scalar, List, Map };
  Kind kind = Scalar;
  unsigned line = 0;             ///< from 1
  std::string text;              ///< of a scalar, unescaped
  std::vector<Yaml> items;       ///< of a list, or the values of a map
  std::vector<std::string> keys; ///< of a map, one for each item

  /// The entry of a key, or null.
  const Yaml *find(llvm::StringRef key) const;
};

/// Largest file, where no other is said, and deepest nesting that are read.
inline constexpr size_t kMaxYamlBytes = 1 << 16;
inline constexpr unsigned kMaxYamlDepth = 16;

/// Reads one document. `name` is for messages. Errors: Usage, with the line:
/// what is no YAML, anchors and tags, keys that come twice; LimitReached.
llvm::Expected<Yaml> readYaml(llvm::StringRef text, llvm::StringRef name,
                              size_t maxBytes = kMaxYamlBytes);

/// A scalar as it stands in YAML, quoted where it has to be. Read back it is
/// the same text.
std::string quoteYaml(llvm::StringRef text);

/// Usage, at a line of a file.
llvm::Error makeYamlError(llvm::StringRef name, unsigned line,
                          const llvm::Twine &text);

/// Refuses an unknown word with the nearest that is known.
llvm::Error refuseYamlKey(llvm::StringRef name, unsigned line,
                          llvm::StringRef what, llvm::StringRef key,
                          llvm::ArrayRef<llvm::StringRef> known);

/// Refuses a document that is no map, or whose `schema` is another. Errors:
/// Usage, with the line.
llvm::Error checkYamlSchema(const Yaml &root, llvm::StringRef name,
                            llvm::StringRef schema);

/// A key and what reads its value.
using YamlField =
    std::pair<llvm::StringRef, std::function<llvm::Error(const Yaml &)>>;

/// Reads the entries of a map, each by the field of its key; nothing is an
/// empty one. `what` is for messages. Errors: those of the fields; Usage, with
/// the line: a key that none has.
llvm::Error readYamlMap(llvm::StringRef name, const Yaml &map,
                        llvm::StringRef what, llvm::ArrayRef<YamlField> fields);

/// A scalar that is not empty. Errors: Usage, with the line.
llvm::Error readYamlText(llvm::StringRef name, const Yaml &value,
                         std::string &text);

} // namespace qcc

#endif // QCC_LIB_PACKAGE_YAML_H
