//===- ProgramView.h - checked access to a program's blob -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The reading half of Program.h. Nothing of a blob is used before open() has
// checked every number in it against every section, so the accessors can trust
// what they read. No allocation, no libstdc++.
//===----------------------------------------------------------------------===//
#ifndef QCC_RUNTIME_PROGRAMVIEW_H
#define QCC_RUNTIME_PROGRAMVIEW_H

#include "qcc/Runtime/Program.h"

#include <cstddef>
#include <cstdint>

namespace qcc::runtime {

/// Limits that a blob must keep.
inline constexpr uint32_t maxRank = 32;
inline constexpr uint32_t maxBindings = 1024;
inline constexpr uint64_t maxBytes = uint64_t(1) << 46;

/// A view of a blob that someone else keeps.
class ProgramView {
public:
  /// Checks `size` bytes at `data` (8-byte aligned). Returns null and sets
  /// `view` when they are a program, else what is wrong with them.
  static const char *open(const void *data, size_t size, ProgramView &view);

  bool isOpen() const { return head != nullptr; }
  const qcc_program_v1 &header() const { return *head; }
  const char *text(qcc_string string) const { return base + string.offset; }

  const qcc_symbol_rec &symbol(uint32_t i) const {
    return record<qcc_symbol_rec>(head->symbols, i);
  }
  const qcc_tensor_rec &tensor(uint32_t i) const {
    return record<qcc_tensor_rec>(head->tensors, i);
  }
  const qcc_buffer_rec &buffer(uint32_t i) const {
    return record<qcc_buffer_rec>(head->buffers, i);
  }
  const qcc_entry_rec &entry(uint32_t i) const {
    return record<qcc_entry_rec>(head->entries, i);
  }
  const qcc_state_rec &state(uint32_t i) const {
    return record<qcc_state_rec>(head->states, i);
  }
  const qcc_kernel_rec &kernel(uint32_t i) const {
    return record<qcc_kernel_rec>(head->kernels, i);
  }
  const qcc_result_rec &result(uint32_t i) const {
    return record<qcc_result_rec>(head->results, i);
  }
  const qcc_site_rec &site(uint32_t i) const {
    return record<qcc_site_rec>(head->sites, i);
  }
  const qcc_level_rec &level(uint32_t i) const {
    return record<qcc_level_rec>(head->levels, i);
  }
  /// Dim `i` of a tensor.
  qcc_size dim(const qcc_tensor_rec &tensor, uint32_t i) const {
    return record<qcc_size>(head->dims, tensor.first_dim + i);
  }

  /// The value of a size, given a value per symbol (negative: unknown). False
  /// on overflow, division by what is not positive, unknown symbols, and
  /// results below 0.
  bool evaluate(qcc_size size, const int64_t *symbols, int64_t &value) const;

  /// The symbol that a size is, when it is nothing else; else QCC_NONE.
  uint32_t plainSymbol(qcc_size size) const;

  /// Bytes of a dense tensor whose dims are the results of `evaluate`; types
  /// below a byte are packed and rounded up. False on overflow or unknown dims.
  bool tensorBytes(const qcc_tensor_rec &tensor, const int64_t *symbols,
                   uint64_t &bytes) const;

private:
  template <typename T>
  const T &record(const qcc_section &section, uint32_t i) const {
    return *reinterpret_cast<const T *>(base + section.offset +
                                        size_t(i) * section.stride);
  }

  const char *checkSections() const;
  const char *checkSizes() const;
  const char *checkTensors() const;
  const char *checkEntries() const;
  const char *checkCode() const;
  bool isText(qcc_string string) const;
  bool isSize(qcc_size size) const;
  bool isExpr(const qcc_expr_rec &expr) const;

  const char *base = nullptr;
  const qcc_program_v1 *head = nullptr;
};

/// Bytes of `count` elements of `bits` bits; false on overflow.
bool elementBytes(int64_t count, uint32_t bits, uint64_t &bytes);

} // namespace qcc::runtime

#endif // QCC_RUNTIME_PROGRAMVIEW_H
