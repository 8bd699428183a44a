//===- Checkpoint.h - finished work of a calibration, on disk ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A calibration that takes hours leaves what it has finished in a folder, a
// file for each piece. A run that was interrupted, or a process on another
// machine, takes it from there. Work belongs to one compile: whatever decides
// its bytes (the model, the data, the options, the compiler, the machine's
// instructions) is its origin, and work of another origin is refused.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_CHECKPOINT_H
#define QCC_CALIBRATION_CHECKPOINT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace qcc {

/// Arrays and texts by name: what a file of a checkpoint holds.
class CheckpointRecord {
public:
  /// Entries of a file.
  static constexpr size_t kMaxEntries = 1 << 20;

  void setText(llvm::StringRef name, llvm::StringRef text);
  /// Numbers are stored in the order and byte order of memory.
  template <typename T>
  void set(llvm::StringRef name, llvm::ArrayRef<T> numbers) {
    static_assert(std::is_arithmetic_v<T>);
    setText(name, {reinterpret_cast<const char *>(numbers.data()),
                   numbers.size() * sizeof(T)});
  }
  template <typename T>
  void set(llvm::StringRef name, const std::vector<T> &numbers) {
    set(name, llvm::ArrayRef<T>(numbers));
  }

  /// None if there is no such entry.
  std::optional<llvm::StringRef> getText(llvm::StringRef name) const;
  /// None if there is no such entry, or it has not `count` numbers.
  template <typename T>
  std::optional<std::vector<T>> get(llvm::StringRef name, size_t count) const {
    std::optional<llvm::StringRef> text = getText(name);
    // Divided, so that no product can overflow.
    if (!text || text->size() % sizeof(T) != 0 ||
        text->size() / sizeof(T) != count)
      return std::nullopt;
    std::vector<T> numbers(count);
    if (count)
      std::memcpy(numbers.data(), text->data(), text->size());
    return numbers;
  }

  /// The file of a record: lines of text (schema, origin, key, SHA-256 of what
  /// follows, size and name of each entry), an empty line, and the entries.
  std::string write(llvm::StringRef origin, llvm::StringRef key) const;
  /// Reads it; nothing is allocated but what the file has bytes for. The error
  /// says what is wrong, without a file's name.
  static llvm::Expected<CheckpointRecord>
  read(llvm::StringRef bytes, llvm::StringRef origin, llvm::StringRef key);

private:
  std::vector<std::pair<std::string, std::string>> entries;
};

/// A folder of such files.
class CheckpointFolder {
public:
  /// What decides the work, as pairs of a name for messages and a value.
  using Origin = std::vector<std::pair<std::string, std::string>>;
  /// Told why a file is not used.
  using Warn = std::function<void(const std::string &)>;

  /// Makes the folder, or opens one of the same origin. Errors: CannotWrite;
  /// BadCalibration with the first pair that differs, for a folder of another
  /// origin or one that holds other files.
  static llvm::Expected<std::unique_ptr<CheckpointFolder>>
  open(llvm::StringRef path, const Origin &origin, Warn warn);

  llvm::StringRef getPath() const { return path; }
  /// The record of a key (letters, digits, `-` and `.`), or none: a file that
  /// is there but cannot be used is told of, and its work is done again.
  std::optional<CheckpointRecord> read(llvm::StringRef key) const;
  bool has(llvm::StringRef key) const;
  /// Writes a record, whole or not at all. Errors: CannotWrite.
  llvm::Error write(llvm::StringRef key, const CheckpointRecord &record) const;
  /// Removes a record if it is there.
  void remove(llvm::StringRef key) const;

private:
  CheckpointFolder(std::string path, std::string origin, Warn warn)
      : path(std::move(path)), origin(std::move(origin)),
        warn(std::move(warn)) {}
  std::string getFile(llvm::StringRef key) const;
  llvm::Error writeFile(llvm::StringRef file, llvm::StringRef bytes) const;

  std::string path;
  std::string origin; ///< hash of all pairs
  Warn warn;
};

} // namespace qcc

#endif // QCC_CALIBRATION_CHECKPOINT_H
