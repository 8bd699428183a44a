//===- Weights.cpp - finds, maps and checks weights -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Weights.h"

#include "Sha256.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace qcc::runtime;

/// The path of `file` in the folder of the library that this code is in.
static bool besideLibrary(const char *file, char (&path)[PATH_MAX]) {
  Dl_info info;
  if (!dladdr(reinterpret_cast<const void *>(&besideLibrary), &info) ||
      !info.dli_fname)
    return false;
  const char *slash = strrchr(info.dli_fname, '/');
  int folder = slash ? int(slash - info.dli_fname + 1) : 0;
  int length =
      snprintf(path, sizeof(path), "%.*s%s", folder, info.dli_fname, file);
  return length > 0 && size_t(length) < sizeof(path);
}

qcc_status Weights::open(const ProgramView &program,
                         const qcc_open_options &options, const void *embedded,
                         ErrorText &error) {
  const qcc_weights_rec &rec = program.header().weights;
  bool whole = (options.flags & QCC_OPEN_VERIFY_WEIGHTS) != 0;
  const char *name = program.text(rec.file);
  int given = (options.weights_path != nullptr) +
              (options.weights_fd_plus_1 != 0) +
              (options.weights_data != nullptr);
  if (given > 1)
    return error.fail(
        QCC_INVALID_ARGUMENT,
        "expected weights by path, fd or pointer, but got %d of them", given);
  if (options.weights_bytes != 0 && !options.weights_data)
    return error.fail(QCC_INVALID_ARGUMENT,
                      "expected weights_data for the %llu bytes of "
                      "weights_bytes, but got NULL",
                      (unsigned long long)options.weights_bytes);
  if (*name == 0) {
    if (given != 0)
      return error.fail(
          QCC_INVALID_ARGUMENT,
          "the weights lie in the library: give no path, fd or pointer");
    bytes = static_cast<char *>(const_cast<void *>(embedded));
    return check(program, nullptr, whole, error);
  }

  uint64_t size = rec.data_offset + rec.bytes;
  const char *file;
  if (options.weights_data) {
    if (options.weights_bytes < size)
      return error.fail(
          QCC_BAD_WEIGHTS, "expected %llu bytes of weights, but got %llu",
          (unsigned long long)size, (unsigned long long)options.weights_bytes);
    file = static_cast<const char *>(options.weights_data);
    if (reinterpret_cast<uintptr_t>(file) % rec.alignment != 0)
      return error.fail(QCC_BAD_LAYOUT, "expected weights aligned to %u bytes",
                        rec.alignment);
  } else {
    char path[PATH_MAX];
    if (options.weights_path)
      snprintf(path, sizeof(path), "%s", options.weights_path);
    else if (options.weights_fd_plus_1 == 0 && !besideLibrary(name, path))
      return error.fail(
          QCC_BAD_WEIGHTS,
          "the folder of the library is not known: give the path of %s", name);
    qcc_status status =
        options.weights_fd_plus_1 != 0
            ? map(options.weights_fd_plus_1 - 1, name, size, error)
            : openFile(path, size, error);
    if (status != QCC_OK)
      return status;
    file = static_cast<const char *>(mapped);
  }
  bytes = const_cast<char *>(file) + rec.data_offset;
  qcc_status status = check(program, file, whole, error);
  if (status != QCC_OK)
    close();
  return status;
}

void Weights::close() {
  if (mapped)
    munmap(mapped, mappedBytes);
  mapped = nullptr;
  bytes = nullptr;
}

qcc_status Weights::openFile(const char *path, uint64_t size,
                             ErrorText &error) {
  // A pipe must not wait for somebody to write: map refuses it.
  int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return error.fail(QCC_BAD_WEIGHTS,
                      "cannot open the weights %s: error %d; keep the file "
                      "beside the library itself, or name it in the options "
                      "of open",
                      path, errno);
  qcc_status status = map(fd, path, size, error);
  ::close(fd);
  return status;
}

qcc_status Weights::map(int fd, const char *path, uint64_t size,
                        ErrorText &error) {
  // The system call: the name fstat came to glibc's libc.so.6 with 2.33 only.
  struct stat info;
  if (syscall(SYS_fstat, fd, &info) != 0 || !S_ISREG(info.st_mode))
    return error.fail(QCC_BAD_WEIGHTS,
                      "expected a regular file of weights, but %s is none",
                      path);
  if (uint64_t(info.st_size) < size)
    return error.fail(
        QCC_BAD_WEIGHTS, "expected %llu bytes in the weights %s, but got %llu",
        (unsigned long long)size, path, (unsigned long long)info.st_size);
  mappedBytes = size == 0 ? 1 : size;
  void *memory = mmap(nullptr, mappedBytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (memory == MAP_FAILED)
    return error.fail(QCC_OUT_OF_MEMORY, "cannot map the weights %s: error %d",
                      path, errno);
  mapped = memory;
  return QCC_OK;
}

qcc_status Weights::check(const ProgramView &program, const char *file,
                          bool whole, ErrorText &error) const {
  const qcc_weights_rec &rec = program.header().weights;
  uint8_t digest[32];
  if (file && rec.data_offset != 0) {
    sha256(file, rec.data_offset, digest);
    if (memcmp(digest, rec.header_sha256, sizeof(digest)) != 0)
      return error.fail(QCC_BAD_WEIGHTS,
                        "the weights are not those of this model (%s)",
                        program.text(program.header().model_name));
  }
  if (whole) {
    sha256(bytes, rec.bytes, digest);
    if (memcmp(digest, rec.sha256, sizeof(digest)) != 0)
      return error.fail(
          QCC_BAD_WEIGHTS,
          "the weights are damaged: their hash is not that of this model (%s)",
          program.text(program.header().model_name));
  }
  return QCC_OK;
}
