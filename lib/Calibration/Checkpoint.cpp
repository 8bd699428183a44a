//===- Checkpoint.cpp - finished work of a calibration, on disk -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Checkpoint.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <fcntl.h>
#include <unistd.h>

using namespace qcc;
using llvm::StringRef;
namespace fs = llvm::sys::fs;

static constexpr StringRef kSchema = "qcc-checkpoint/1";
/// Longest line of a header.
static constexpr size_t kMaxLine = 4096;

//===----------------------------------------------------------------------===//
// Records
//===----------------------------------------------------------------------===//

void CheckpointRecord::setText(StringRef name, StringRef text) {
  for (auto &[known, value] : entries)
    if (known == name) {
      value = text.str();
      return;
    }
  entries.emplace_back(name.str(), text.str());
}

std::optional<StringRef> CheckpointRecord::getText(StringRef name) const {
  for (const auto &[known, value] : entries)
    if (known == name)
      return StringRef(value);
  return std::nullopt;
}

std::string CheckpointRecord::write(StringRef origin, StringRef key) const {
  std::string body;
  llvm::raw_string_ostream os(body);
  for (const auto &[name, value] : entries)
    os << value.size() << " " << name << "\n";
  os << "\n";
  for (const auto &[name, value] : entries)
    os << value;
  std::string header =
      (kSchema + "\n" + origin + "\n" + key + "\n" + hashBytes(body) + "\n")
          .str();
  return body.insert(0, header);
}

static llvm::Error refuse(const llvm::Twine &text) {
  return makeError(Diag::BadCalibration, "", text);
}

/// Takes the next line; false if there is none of a sane length.
static bool takeLine(StringRef &bytes, StringRef &line) {
  size_t end = bytes.take_front(kMaxLine).find('\n');
  if (end == StringRef::npos)
    return false;
  line = bytes.take_front(end);
  bytes = bytes.drop_front(end + 1);
  return true;
}

llvm::Expected<CheckpointRecord>
CheckpointRecord::read(StringRef bytes, StringRef origin, StringRef key) {
  StringRef schema, ofOrigin, ofKey, hash, line;
  if (!takeLine(bytes, schema) || schema != kSchema ||
      !takeLine(bytes, ofOrigin) || !takeLine(bytes, ofKey) ||
      !takeLine(bytes, hash))
    return refuse("expected a checkpoint of schema " + kSchema +
                  ", but got something else");
  if (ofOrigin != origin)
    return refuse("it is of another model, other data or options");
  if (ofKey != key)
    return refuse("expected the piece '" + key + "', but got another one");
  if (hashBytes(bytes) != hash)
    return refuse("its bytes have another hash than when they were written");
  std::vector<std::pair<std::string, uint64_t>> sizes;
  for (;;) {
    if (!takeLine(bytes, line))
      return refuse("its header is cut off");
    if (line.empty())
      break;
    auto [number, name] = line.split(' ');
    uint64_t size = 0;
    if (number.getAsInteger(10, size) || name.empty() ||
        sizes.size() >= kMaxEntries)
      return refuse("its header has a line that is not as qcc writes it");
    sizes.emplace_back(name.str(), size);
  }
  // Checked as a whole before anything is copied.
  uint64_t left = bytes.size();
  for (const auto &[name, size] : sizes) {
    if (size > left)
      return refuse("it is cut off");
    left -= size;
  }
  if (left)
    return refuse("there are more bytes than its header says");
  CheckpointRecord record;
  for (auto &[name, size] : sizes) {
    record.entries.emplace_back(std::move(name), bytes.take_front(size).str());
    bytes = bytes.drop_front(size);
  }
  return std::move(record);
}

//===----------------------------------------------------------------------===//
// The folder
//===----------------------------------------------------------------------===//

/// The file that says what the folder is of.
static constexpr StringRef kOriginFile = "origin";

static std::string writeOrigin(const CheckpointFolder::Origin &origin) {
  std::string text = (kSchema + "\n").str();
  for (const auto &[name, value] : origin)
    text += name + ": " + llvm::join(llvm::split(value, '\n'), " ") + "\n";
  return text;
}

/// The first line in which two origins differ.
static llvm::Error getDifference(StringRef path, StringRef wanted,
                                 StringRef found) {
  while (!wanted.empty() || !found.empty()) {
    auto [a, restA] = wanted.split('\n');
    auto [b, restB] = found.split('\n');
    if (a != b)
      return makeError(Diag::BadCalibration, path,
                       "its checkpoints are of other choices or data: "
                       "expected '" +
                           a.trim() + "', but got '" +
                           b.take_front(500).trim() + "'; take another folder");
    wanted = restA;
    found = restB;
  }
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<CheckpointFolder>>
CheckpointFolder::open(StringRef path, const Origin &origin, Warn warn) {
  std::string text = writeOrigin(origin);
  std::unique_ptr<CheckpointFolder> folder(
      new CheckpointFolder(path.str(), hashBytes(text), std::move(warn)));
  if (std::error_code error = fs::create_directories(path))
    return makeError(Diag::CannotWrite, path, error.message());
  llvm::SmallString<128> file(path);
  llvm::sys::path::append(file, kOriginFile);
  if (!fs::exists(file)) {
    std::error_code error;
    fs::directory_iterator first(path, error);
    if (error)
      return makeError(Diag::CannotWrite, path, error.message());
    // Processes that start at the same time write the same bytes here.
    if (first != fs::directory_iterator() &&
        !llvm::sys::path::filename(first->path()).starts_with(kOriginFile))
      return makeError(Diag::BadCalibration, path,
                       "expected an empty folder or one of checkpoints, but "
                       "got '" +
                           llvm::sys::path::filename(first->path()) + "'");
    if (llvm::Error failure = folder->writeFile(file, text))
      return std::move(failure);
    return std::move(folder);
  }
  auto mapped = MappedFile::open(file);
  if (!mapped) {
    llvm::consumeError(mapped.takeError());
    return makeError(Diag::BadCalibration, file, "it cannot be read");
  }
  llvm::ArrayRef<char> bytes = (*mapped)->getBytes();
  if (llvm::Error error =
          getDifference(path, text, StringRef(bytes.data(), bytes.size())))
    return std::move(error);
  return std::move(folder);
}

std::string CheckpointFolder::getFile(StringRef key) const {
  llvm::SmallString<128> file(path);
  llvm::sys::path::append(file, key);
  return file.str().str();
}

bool CheckpointFolder::has(StringRef key) const {
  return fs::exists(getFile(key));
}

std::optional<CheckpointRecord> CheckpointFolder::read(StringRef key) const {
  std::string file = getFile(key);
  if (!fs::exists(file))
    return std::nullopt;
  auto tell = [&](const std::string &problem) {
    if (warn)
      warn("checkpoint '" + file + "' is not used: " + problem);
    return std::nullopt;
  };
  auto mapped = MappedFile::open(file);
  if (!mapped)
    return tell(llvm::toString(mapped.takeError()));
  llvm::ArrayRef<char> bytes = (*mapped)->getBytes();
  auto record = CheckpointRecord::read(StringRef(bytes.data(), bytes.size()),
                                       origin, key);
  if (record)
    return std::move(*record);
  std::string problem;
  llvm::handleAllErrors(record.takeError(), [&](const CodedError &error) {
    problem = error.getText().str();
  });
  return tell(problem);
}

llvm::Error CheckpointFolder::writeFile(StringRef file, StringRef bytes) const {
  auto fail = [&](const std::string &what) {
    return makeError(Diag::CannotWrite, file, what);
  };
  llvm::Expected<fs::TempFile> temp =
      fs::TempFile::create(file + ".tmp-%%%%%%%%");
  if (!temp)
    return fail(llvm::toString(temp.takeError()));
  std::error_code error;
  {
    llvm::raw_fd_ostream os(temp->FD, /*shouldClose=*/false);
    os << bytes;
    os.flush();
    error = os.error();
    os.clear_error();
  }
  // On disk before it has its name: a name without bytes would look finished.
  if (!error && ::fsync(temp->FD) != 0)
    error = llvm::errnoAsErrorCode();
  if (error) {
    llvm::consumeError(temp->discard());
    return fail(error.message());
  }
  if (llvm::Error failure = temp->keep(file))
    return fail(llvm::toString(std::move(failure)));
  // And the name itself. A folder that cannot be synced (a network's) is fine.
  if (int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      folder >= 0) {
    (void)::fsync(folder);
    ::close(folder);
  }
  return llvm::Error::success();
}

llvm::Error CheckpointFolder::write(StringRef key,
                                    const CheckpointRecord &record) const {
  return writeFile(getFile(key), record.write(origin, key));
}

void CheckpointFolder::remove(StringRef key) const {
  (void)fs::remove(getFile(key));
}
