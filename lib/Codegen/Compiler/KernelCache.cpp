//===- KernelCache.cpp - objects by what they were made from ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "KernelCache.h"
#include "qcc/Support/MappedFile.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"
#include <dlfcn.h>

using namespace qcc;

/// Changes when the layout of entries does.
static constexpr llvm::StringLiteral kSchema = "qcc kernel cache 2\n";

std::string qcc::getLevelKey(const Capabilities &caps) {
  return llvm::join_items("\n", caps.level, caps.llvmCpu, caps.llvmFeatures,
                          std::to_string(caps.vectorBits),
                          std::to_string(caps.hasFma * 1 + caps.hasAvx512 * 2 +
                                         caps.hasVnni * 4 + caps.hasAmx * 8 +
                                         caps.exactMath * 16));
}

std::optional<Capabilities> qcc::parseLevelKey(llvm::StringRef text) {
  llvm::SmallVector<llvm::StringRef> fields;
  text.split(fields, '\n');
  Capabilities caps;
  unsigned flags;
  if (fields.size() != 5 || fields[3].getAsInteger(10, caps.vectorBits) ||
      fields[4].getAsInteger(10, flags))
    return std::nullopt;
  caps.level = fields[0].str();
  caps.llvmCpu = fields[1].str();
  caps.llvmFeatures = fields[2].str();
  caps.hasFma = flags & 1;
  caps.hasAvx512 = flags & 2;
  caps.hasVnni = flags & 4;
  caps.hasAmx = flags & 8;
  caps.exactMath = flags & 16;
  return caps;
}

/// What tells this build from another of the same version: size and time of the
/// library that holds this code. It only decides whether an entry is found.
static std::string getBuild() {
  std::string build =
      (kSchema + QCC_VERSION_STRING "\n" LLVM_VERSION_STRING "\n").str();
  Dl_info info;
  llvm::sys::fs::file_status status;
  if (dladdr(reinterpret_cast<void *>(&getBuild), &info) && info.dli_fname &&
      !llvm::sys::fs::status(info.dli_fname, status))
    build += std::to_string(status.getSize()) + "\n" +
             std::to_string(
                 status.getLastModificationTime().time_since_epoch().count());
  return build;
}

KernelCache::KernelCache(llvm::StringRef dir) : folder(dir.str()) {
  if (!folder.empty())
    build = getBuild();
}

/// The hash of everything that decides the object.
std::string KernelCache::getKey(const KernelJob &job) const {
  llvm::SHA256 hash;
  for (const std::string &part : {build, getLevelKey(job.caps), job.code}) {
    hash.update(std::to_string(part.size()) + "\n");
    hash.update(part);
  }
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

std::string KernelCache::getPath(llvm::StringRef key) const {
  llvm::SmallString<128> path(folder);
  llvm::sys::path::append(path, key.take_front(2), key.drop_front(2) + ".o");
  return path.str().str();
}

/// Entries begin with the hash of their key and of the rest, so that a torn or
/// damaged one is noticed, and a whole one under the name of another.
static std::string getSeal(llvm::StringRef key, llvm::StringRef object) {
  llvm::SHA256 hash;
  hash.update(key);
  hash.update(object);
  return llvm::toHex(hash.final(), /*LowerCase=*/true) + "\n";
}

std::optional<std::string> KernelCache::lookup(const KernelJob &job) const {
  if (folder.empty())
    return std::nullopt;
  std::string key = getKey(job);
  // What is no regular file is no entry: a pipe would be waited for.
  auto file = MappedFile::open(getPath(key));
  if (!file) {
    llvm::consumeError(file.takeError());
    return std::nullopt;
  }
  llvm::StringRef bytes((*file)->getBytes().data(), (*file)->getBytes().size());
  constexpr size_t sealSize = 65;
  if (bytes.size() <= sealSize ||
      bytes.take_front(sealSize) != getSeal(key, bytes.drop_front(sealSize)))
    return std::nullopt;
  return bytes.drop_front(sealSize).str();
}

void KernelCache::insert(const KernelJob &job, llvm::StringRef object) const {
  if (folder.empty())
    return;
  std::string key = getKey(job), path = getPath(key);
  if (llvm::sys::fs::create_directories(llvm::sys::path::parent_path(path)))
    return;
  auto file = llvm::sys::fs::TempFile::create(path + ".%%%%%%%%");
  if (!file) {
    llvm::consumeError(file.takeError());
    return;
  }
  llvm::raw_fd_ostream os(file->FD, /*shouldClose=*/false);
  os << getSeal(key, object) << object;
  os.flush();
  bool written = !os.has_error();
  os.clear_error();
  llvm::consumeError(written ? file->keep(path) : file->discard());
}
