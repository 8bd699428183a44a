//===- Support.cpp - memory and error texts of the runtime ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

using namespace qcc::runtime;

qcc_status ErrorText::fail(qcc_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  return status;
}

void ErrorText::copyTo(char *to, uint64_t size) const {
  if (!to || size == 0)
    return;
  uint64_t length = strlen(buffer);
  length = length < size ? length : size - 1;
  memcpy(to, buffer, length);
  to[length] = 0;
}

void *Memory::allocate(uint64_t bytes, uint64_t alignment) const {
  // Large blocks on huge pages: an arena is written in full by each run.
  constexpr uint64_t hugePage = uint64_t(2) << 20;
  if (bytes > (uint64_t(1) << 46))
    return nullptr;
  if (bytes == 0)
    bytes = 1;
  if (host && host->allocate)
    return host->allocate(host->user, bytes, alignment);
  bool huge = bytes >= 2 * hugePage;
  if (huge) {
    alignment = hugePage;
    bytes = (bytes + hugePage - 1) / hugePage * hugePage;
  }
  void *memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0)
    return nullptr;
  if (huge)
    madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void Memory::free(void *memory, uint64_t bytes) const {
  if (!memory)
    return;
  if (host && host->allocate)
    host->deallocate(host->user, memory, bytes == 0 ? 1 : bytes);
  else
    ::free(memory);
}

void *Memory::zeroed(uint64_t count, uint64_t size) const {
  uint64_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes))
    return nullptr;
  void *memory = allocate(bytes);
  if (memory)
    memset(memory, 0, bytes);
  return memory;
}

bool qcc::runtime::copyIn(void *to, uint64_t toSize, const void *from) {
  memset(to, 0, toSize);
  if (!from)
    return true;
  uint64_t size;
  memcpy(&size, from, sizeof(size));
  if (size < sizeof(size))
    return false;
  memcpy(to, from, size < toSize ? size : toSize);
  return true;
}

bool qcc::runtime::copyOut(void *to, const void *from, uint64_t fromSize) {
  if (!to)
    return false;
  uint64_t size;
  memcpy(&size, to, sizeof(size));
  if (size < sizeof(size))
    return false;
  uint64_t copied = size < fromSize ? size : fromSize;
  memcpy(static_cast<char *>(to) + sizeof(size),
         static_cast<const char *>(from) + sizeof(size), copied - sizeof(size));
  return true;
}
