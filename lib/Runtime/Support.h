//===- Support.h - memory and error texts of the runtime --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_SUPPORT_H
#define QCC_LIB_RUNTIME_SUPPORT_H

#include "qcc/Runtime/qcc.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

namespace qcc::runtime {

/// The text of the last failure. Fixed size: reporting that memory is out must
/// not need memory.
class ErrorText {
public:
  /// Sets the text, printf style, and returns `status`.
  qcc_status fail(qcc_status status, const char *format, ...)
      __attribute__((format(printf, 3, 4)));

  void clear() { buffer[0] = 0; }
  const char *text() const { return buffer; }
  /// Copies the text, cut to `size` bytes with its zero byte.
  void copyTo(char *to, uint64_t size) const;

private:
  char buffer[1024] = {0};
};

/// Allocation through the host's functions, or the C library's.
class Memory {
public:
  Memory() = default;
  explicit Memory(const qcc_host &from) : host(&from) {}

  /// `bytes` bytes (at least one) aligned to `alignment`, a power of two of at
  /// least 64. Null when there are none.
  void *allocate(uint64_t bytes, uint64_t alignment = 64) const;
  /// Takes what allocate returned with the same size, or null.
  void free(void *memory, uint64_t bytes) const;

  /// `count` elements, zeroed. Null when there is no memory.
  template <typename T> T *array(uint64_t count) const {
    return static_cast<T *>(zeroed(count, sizeof(T)));
  }
  template <typename T> void freeArray(T *memory, uint64_t count) const {
    free(const_cast<void *>(static_cast<const void *>(memory)),
         count * sizeof(T));
  }

private:
  void *zeroed(uint64_t count, uint64_t size) const;

  const qcc_host *host = nullptr;
};

/// Copies a structure of the interface that starts with struct_size: as much
/// as both sides know. False when `from` has no valid size.
bool copyIn(void *to, uint64_t toSize, const void *from);
/// Copies out as much as `to`, whose struct_size is set, has room for; its
/// struct_size stays.
bool copyOut(void *to, const void *from, uint64_t fromSize);

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_SUPPORT_H
