//===- ProgramWriter.h - builds the description of a program ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The compiler's half of Program.h: records in, blob out. Equal calls give
// equal bytes. Needs neither LLVM nor the runtime.
//===----------------------------------------------------------------------===//
#ifndef QCC_RUNTIME_PROGRAMWRITER_H
#define QCC_RUNTIME_PROGRAMWRITER_H

#include "qcc/Runtime/Program.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace qcc {

/// A size expression in postfix form, as Program.h defines it. Combining two
/// constants folds, so that a constant expression has one operation.
class SizeExpr {
public:
  static SizeExpr constant(int64_t value);
  static SizeExpr symbol(uint32_t number);
  /// `op` is one of the two-operand codes of qcc_expr_opcode.
  static SizeExpr binary(qcc_expr_opcode op, const SizeExpr &lhs,
                         const SizeExpr &rhs);

  bool isConstant() const {
    return ops.size() == 1 && ops[0].op == QCC_EXPR_CONST;
  }
  int64_t constantValue() const { return ops[0].value; }
  const std::vector<qcc_expr_op> &code() const { return ops; }

private:
  std::vector<qcc_expr_op> ops;
};

inline SizeExpr operator+(const SizeExpr &a, const SizeExpr &b) {
  return SizeExpr::binary(QCC_EXPR_ADD, a, b);
}
inline SizeExpr operator*(const SizeExpr &a, const SizeExpr &b) {
  return SizeExpr::binary(QCC_EXPR_MUL, a, b);
}

/// A tensor at the program's border. `code` and `bits` are DLPack's.
struct TensorDesc {
  std::string name;
  uint8_t code = 0;
  uint8_t bits = 0;
  std::vector<SizeExpr> dims;
};

/// A piece of an entry's arena; see qcc_buffer_rec.
struct BufferDesc {
  SizeExpr bytes = SizeExpr::constant(0);
  uint32_t firstStep = 0;
  uint32_t lastStep = 0;
};

/// An entry; buffers are bound by their position.
struct EntryDesc {
  std::string name;
  std::vector<TensorDesc> inputs;
  std::vector<TensorDesc> outputs;
  std::vector<BufferDesc> buffers;
};

/// A value that a dispatch computes, for dumps.
struct ResultDesc {
  TensorDesc tensor;
  uint32_t binding = 0;
};

/// A dispatch in the host program; see qcc_site_rec.
struct SiteDesc {
  uint32_t entry = 0;
  uint32_t kernel = QCC_NONE;
  std::string node;
  std::string op;
  SizeExpr flops = SizeExpr::constant(0);
  SizeExpr bytes = SizeExpr::constant(0);
  std::vector<ResultDesc> results;
};

/// Where the weights are; see qcc_weights_rec.
struct WeightsDesc {
  uint64_t bytes = 0;
  uint64_t dataOffset = 0;
  uint32_t alignment = 64;
  std::string file;
  std::array<uint8_t, 32> sha256{};
  std::array<uint8_t, 32> headerSha256{};
};

/// Collects a program and writes its blob. Every add returns the number by
/// which generated code refers to what was added: numbers count from 0 in the
/// order of the calls. Kernels and entries are in the order of
/// qcc_kernel_table and qcc_entry_table.
class ProgramWriter {
public:
  void setModel(std::string_view name, std::string_view producer,
                const std::array<uint8_t, 32> &sourceSha256);
  void setWeights(const WeightsDesc &desc) { weights = desc; }

  /// `max` INT64_MAX is unbounded; `flags` of qcc_symbol_flags.
  uint32_t addSymbol(std::string_view name, int64_t min, int64_t max,
                     uint32_t flags = 0);
  /// An entry whose buffers have constant sizes is planned here, others at run
  /// time.
  uint32_t addEntry(const EntryDesc &desc);
  /// A tensor of the context that starts as zeros.
  uint32_t addState(const TensorDesc &desc);
  uint32_t addKernel(std::string_view name, uint64_t scratchBytes,
                     uint32_t numBindings, uint32_t numDims);
  uint32_t addSite(const SiteDesc &desc);
  /// Levels go from the least to the most demanding; `features` has bits 1 <<
  /// qcc_cpu_feature.
  uint32_t addLevel(std::string_view name, uint64_t features);

  /// Bytes of the arena of an entry with constant sizes, else 0.
  uint64_t arenaBytes(uint32_t entry) const {
    return entries[entry].arena_bytes;
  }

  /// The blob, or an empty vector when it would exceed 2 GiB.
  std::vector<uint8_t> finish() const;

  /// False if a size has more operations than a program may hold; the bytes
  /// would be refused when they are loaded.
  bool fits() const { return !isTooLong; }

private:
  qcc_string addString(std::string_view text);
  qcc_size addSize(const SizeExpr &expr);
  uint32_t addTensor(const TensorDesc &desc);

  WeightsDesc weights;
  bool isTooLong = false;
  std::string modelName;
  std::string producer;
  std::array<uint8_t, 32> sourceSha256{};
  // Offsets of strings count from the pool's start until finish().
  std::string pool;
  std::map<std::string, qcc_string, std::less<>> pooled;
  std::map<std::vector<int64_t>, qcc_size> pooledExprs;
  std::vector<qcc_expr_rec> exprs;
  std::vector<qcc_expr_op> exprOps;
  std::vector<qcc_size> dims;
  std::vector<qcc_symbol_rec> symbols;
  std::vector<qcc_tensor_rec> tensors;
  std::vector<qcc_buffer_rec> buffers;
  std::vector<qcc_entry_rec> entries;
  std::vector<qcc_state_rec> states;
  std::vector<qcc_kernel_rec> kernels;
  std::vector<qcc_result_rec> results;
  std::vector<qcc_site_rec> sites;
  std::vector<qcc_level_rec> levels;
};

} // namespace qcc

#endif // QCC_RUNTIME_PROGRAMWRITER_H
