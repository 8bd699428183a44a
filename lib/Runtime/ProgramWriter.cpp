//===- ProgramWriter.cpp - builds the description of a program --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "qcc/Runtime/ProgramWriter.h"

#include "qcc/Runtime/ArenaPlan.h"

#include <algorithm>
#include <cstring>

using namespace qcc;

//===----------------------------------------------------------------------===//
// Size expressions
//===----------------------------------------------------------------------===//

SizeExpr SizeExpr::constant(int64_t value) {
  SizeExpr expr;
  expr.ops.push_back({QCC_EXPR_CONST, 0, value});
  return expr;
}

SizeExpr SizeExpr::symbol(uint32_t number) {
  SizeExpr expr;
  expr.ops.push_back({QCC_EXPR_SYMBOL, number, 0});
  return expr;
}

/// Folds what cannot fail; the rest is left to be refused where it is used.
static bool foldConstants(qcc_expr_opcode op, int64_t a, int64_t b,
                          int64_t &result) {
  switch (op) {
  case QCC_EXPR_ADD:
    return !__builtin_add_overflow(a, b, &result);
  case QCC_EXPR_MUL:
    return !__builtin_mul_overflow(a, b, &result);
  case QCC_EXPR_MAX:
    result = std::max(a, b);
    return true;
  case QCC_EXPR_MIN:
    result = std::min(a, b);
    return true;
  case QCC_EXPR_FLOORDIV:
  case QCC_EXPR_CEILDIV:
  case QCC_EXPR_MOD: {
    if (b <= 0)
      return false;
    int64_t floor = a / b - (a % b < 0);
    int64_t mod = a - floor * b;
    result = op == QCC_EXPR_MOD        ? mod
             : op == QCC_EXPR_FLOORDIV ? floor
                                       : floor + (mod != 0);
    return true;
  }
  default:
    return false;
  }
}

SizeExpr SizeExpr::binary(qcc_expr_opcode op, const SizeExpr &lhs,
                          const SizeExpr &rhs) {
  int64_t folded;
  if (lhs.isConstant() && rhs.isConstant() &&
      foldConstants(op, lhs.constantValue(), rhs.constantValue(), folded))
    return constant(folded);
  SizeExpr expr = lhs;
  expr.ops.insert(expr.ops.end(), rhs.ops.begin(), rhs.ops.end());
  expr.ops.push_back({static_cast<uint32_t>(op), 0, 0});
  return expr;
}

//===----------------------------------------------------------------------===//
// Records
//===----------------------------------------------------------------------===//

qcc_string ProgramWriter::addString(std::string_view text) {
  auto it = pooled.find(text);
  if (it != pooled.end())
    return it->second;
  qcc_string string{static_cast<uint32_t>(pool.size()),
                    static_cast<uint32_t>(text.size())};
  pool.append(text);
  pool.push_back('\0');
  pooled.emplace(text, string);
  return string;
}

qcc_size ProgramWriter::addSize(const SizeExpr &expr) {
  // A negative constant is kept as an expression, whose evaluation fails.
  if (expr.isConstant() && expr.constantValue() >= 0)
    return expr.constantValue();
  std::vector<int64_t> key;
  for (const qcc_expr_op &op : expr.code())
    key.insert(key.end(), {op.op, op.symbol, op.value});
  auto [it, inserted] =
      pooledExprs.try_emplace(key, QCC_SIZE_EXPR(exprs.size()));
  if (inserted) {
    uint32_t depth = 0, deepest = 0;
    for (const qcc_expr_op &op : expr.code()) {
      depth += op.op == QCC_EXPR_CONST || op.op == QCC_EXPR_SYMBOL ? 1 : -1;
      deepest = std::max(deepest, depth);
    }
    isTooLong |=
        expr.code().size() > QCC_EXPR_MAX_OPS || deepest > QCC_EXPR_MAX_DEPTH;
    exprs.push_back({static_cast<uint32_t>(exprOps.size()),
                     static_cast<uint32_t>(expr.code().size())});
    exprOps.insert(exprOps.end(), expr.code().begin(), expr.code().end());
  }
  return it->second;
}

uint32_t ProgramWriter::addTensor(const TensorDesc &desc) {
  qcc_tensor_rec rec{};
  rec.name = addString(desc.name);
  rec.code = desc.code;
  rec.bits = desc.bits;
  rec.lanes = 1;
  rec.rank = static_cast<uint32_t>(desc.dims.size());
  rec.first_dim = static_cast<uint32_t>(dims.size());
  for (const SizeExpr &dim : desc.dims)
    dims.push_back(addSize(dim));
  tensors.push_back(rec);
  return static_cast<uint32_t>(tensors.size() - 1);
}

void ProgramWriter::setModel(std::string_view name,
                             std::string_view producerText,
                             const std::array<uint8_t, 32> &sourceHash) {
  modelName = name;
  producer = producerText;
  sourceSha256 = sourceHash;
}

uint32_t ProgramWriter::addSymbol(std::string_view name, int64_t min,
                                  int64_t max, uint32_t flags) {
  symbols.push_back({addString(name), min, max, flags, 0});
  return static_cast<uint32_t>(symbols.size() - 1);
}

uint32_t ProgramWriter::addEntry(const EntryDesc &desc) {
  qcc_entry_rec rec{};
  rec.name = addString(desc.name);
  rec.first_input = static_cast<uint32_t>(tensors.size());
  rec.num_inputs = static_cast<uint32_t>(desc.inputs.size());
  for (const TensorDesc &input : desc.inputs)
    addTensor(input);
  rec.first_output = static_cast<uint32_t>(tensors.size());
  rec.num_outputs = static_cast<uint32_t>(desc.outputs.size());
  for (const TensorDesc &output : desc.outputs)
    addTensor(output);
  rec.first_buffer = static_cast<uint32_t>(buffers.size());
  rec.num_buffers = static_cast<uint32_t>(desc.buffers.size());

  std::vector<ArenaBuffer> planned;
  for (const BufferDesc &buffer : desc.buffers) {
    buffers.push_back({addSize(buffer.bytes), QCC_NO_OFFSET, buffer.firstStep,
                       buffer.lastStep, 0, 0});
    if (buffers.back().bytes >= 0)
      planned.push_back({static_cast<uint64_t>(buffers.back().bytes),
                         buffer.firstStep, buffer.lastStep, 0});
  }
  std::vector<uint32_t> order(planned.size());
  uint64_t arenaBytes = 0;
  if (planned.size() == desc.buffers.size() &&
      planArena(planned.data(), static_cast<uint32_t>(planned.size()),
                order.data(), arenaBytes)) {
    rec.flags = QCC_ENTRY_STATIC;
    rec.arena_bytes = arenaBytes;
    for (size_t i = 0; i < planned.size(); ++i)
      buffers[rec.first_buffer + i].offset = planned[i].offset;
  }
  entries.push_back(rec);
  return static_cast<uint32_t>(entries.size() - 1);
}

uint32_t ProgramWriter::addState(const TensorDesc &desc) {
  states.push_back({addTensor(desc), QCC_STATE_ZERO});
  return static_cast<uint32_t>(states.size() - 1);
}

uint32_t ProgramWriter::addKernel(std::string_view name, uint64_t scratchBytes,
                                  uint32_t numBindings, uint32_t numDims) {
  kernels.push_back({addString(name), scratchBytes, numBindings, numDims});
  return static_cast<uint32_t>(kernels.size() - 1);
}

uint32_t ProgramWriter::addSite(const SiteDesc &desc) {
  qcc_site_rec rec{};
  rec.entry = desc.entry;
  rec.kernel = desc.kernel;
  rec.node = addString(desc.node);
  rec.op = addString(desc.op);
  rec.flops = addSize(desc.flops);
  rec.bytes = addSize(desc.bytes);
  rec.first_result = static_cast<uint32_t>(results.size());
  rec.num_results = static_cast<uint32_t>(desc.results.size());
  for (const ResultDesc &result : desc.results)
    results.push_back({addTensor(result.tensor), result.binding});
  sites.push_back(rec);
  return static_cast<uint32_t>(sites.size() - 1);
}

uint32_t ProgramWriter::addLevel(std::string_view name, uint64_t features) {
  levels.push_back({addString(name), features});
  return static_cast<uint32_t>(levels.size() - 1);
}

//===----------------------------------------------------------------------===//
// The blob
//===----------------------------------------------------------------------===//

namespace {

/// Lays sections one after another and copies them.
class BlobBuilder {
public:
  explicit BlobBuilder(size_t headerSize) : blob(headerSize) {}

  template <typename T> qcc_section add(const std::vector<T> &records) {
    static_assert(alignof(T) <= 8 && sizeof(T) % 8 == 0);
    qcc_section section{static_cast<uint32_t>(blob.size()),
                        static_cast<uint32_t>(records.size()), sizeof(T), 0};
    append(records.data(), records.size() * sizeof(T));
    return section;
  }

  void append(const void *data, size_t size) {
    size_t start = blob.size();
    blob.resize((start + size + 7) / 8 * 8);
    if (size != 0)
      std::memcpy(blob.data() + start, data, size);
  }

  std::vector<uint8_t> blob;
};

} // namespace

std::vector<uint8_t> ProgramWriter::finish() const {
  ProgramWriter all = *this;
  qcc_program_v1 header{};
  header.model_name = all.addString(modelName);
  header.producer = all.addString(producer);
  header.weights.file = all.addString(weights.file);

  // The strings follow the header, so their place is known before the records
  // are copied.
  constexpr uint32_t base = sizeof(qcc_program_v1);
  auto move = [](qcc_string &string) { string.offset += base; };
  for (qcc_string *string :
       {&header.model_name, &header.producer, &header.weights.file})
    move(*string);
  for (qcc_symbol_rec &rec : all.symbols)
    move(rec.name);
  for (qcc_tensor_rec &rec : all.tensors)
    move(rec.name);
  for (qcc_entry_rec &rec : all.entries)
    move(rec.name);
  for (qcc_kernel_rec &rec : all.kernels)
    move(rec.name);
  for (qcc_level_rec &rec : all.levels)
    move(rec.name);
  for (qcc_site_rec &rec : all.sites) {
    move(rec.node);
    move(rec.op);
  }

  BlobBuilder builder(base);
  builder.append(all.pool.data(), all.pool.size());
  header.exprs = builder.add(all.exprs);
  header.expr_ops = builder.add(all.exprOps);
  header.dims = builder.add(all.dims);
  header.symbols = builder.add(all.symbols);
  header.tensors = builder.add(all.tensors);
  header.buffers = builder.add(all.buffers);
  header.entries = builder.add(all.entries);
  header.states = builder.add(all.states);
  header.kernels = builder.add(all.kernels);
  header.results = builder.add(all.results);
  header.sites = builder.add(all.sites);
  header.levels = builder.add(all.levels);
  if (builder.blob.size() > INT32_MAX)
    return {};

  header.magic = QCC_PROGRAM_MAGIC;
  header.version = QCC_PROGRAM_VERSION;
  header.header_size = sizeof(header);
  header.total_size = static_cast<uint32_t>(builder.blob.size());
  std::copy(sourceSha256.begin(), sourceSha256.end(), header.source_sha256);
  header.weights.bytes = weights.bytes;
  header.weights.data_offset = weights.dataOffset;
  header.weights.alignment = weights.alignment;
  std::copy(weights.sha256.begin(), weights.sha256.end(),
            header.weights.sha256);
  std::copy(weights.headerSha256.begin(), weights.headerSha256.end(),
            header.weights.header_sha256);
  std::memcpy(builder.blob.data(), &header, sizeof(header));
  return std::move(builder.blob);
}
