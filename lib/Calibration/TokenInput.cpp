//===- TokenInput.cpp - which input has a model's tokens --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/TokenInput.h"
#include "qcc/Calibration/Samples.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/ADT/SetVector.h"
#include <cstring>

using namespace mlir;
using namespace qcc;

/// Operations between an input and the embedding that reads it: casts, views,
/// arithmetic of indices.
static constexpr size_t kMaxOps = 64;

/// True if a generic reads elements of a constant of floats with a dimension of
/// `classes`, where its inputs say.
static bool looksUp(GenericOp op, int64_t classes) {
  return llvm::any_of(op.getWhole(), [&](Value table) {
    auto type = cast<RankedTensorType>(table.getType());
    return isa<FloatType>(type.getElementType()) && type.getRank() >= 2 &&
           llvm::is_contained(type.getShape(), classes) &&
           isConstantExpression(table);
  });
}

/// True if an embedding of `classes` rows reads `input`, as integers.
static bool feedsEmbedding(Value input, int64_t classes) {
  llvm::SetVector<Value> values;
  values.insert(input);
  for (size_t i = 0; i < values.size() && i < kMaxOps; ++i)
    for (Operation *user : values[i].getUsers()) {
      auto generic = dyn_cast<GenericOp>(user);
      if (generic && looksUp(generic, classes))
        return true;
      bool follows = generic ? !generic.isReduction() : isa<ReshapeOp>(user);
      if (!follows)
        continue;
      auto type = cast<RankedTensorType>(user->getResult(0).getType());
      // Comparisons make masks.
      if (type.getElementType().isInteger() &&
          !type.getElementType().isInteger(1))
        values.insert(user->getResult(0));
    }
  return false;
}

SmallVector<std::string> qcc::findTokenInputs(func::FuncOp entry,
                                              Value logits) {
  SmallVector<AffineExpr> sizes = getDims(logits.getType());
  if (sizes.size() != 3)
    return {};
  int64_t classes = getConstantSize(sizes.back()).value_or(0);
  sizes.pop_back();
  SmallVector<std::string> all, read, fitting;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
    BlockArgument input = entry.getArgument(i);
    auto type = cast<RankedTensorType>(input.getType());
    auto name = entry.getArgAttrOfType<StringAttr>(i, "qcc.name");
    if (!name || type.getRank() != 2 || !type.getElementType().isInteger() ||
        type.getElementType().isInteger(1))
      continue;
    all.push_back(name.getValue().str());
    if (!feedsEmbedding(input, classes))
      continue;
    read.push_back(all.back());
    if (getDims(type) == sizes)
      fitting.push_back(all.back());
  }
  if (!fitting.empty())
    return fitting;
  if (!read.empty())
    return read;
  return all.size() == 1 ? all : SmallVector<std::string>();
}

/// True if an element of the result is one of the only input, maybe of another
/// width.
static bool keepsIntegers(GenericOp op) {
  if (op.isReduction() || op.getInputs().size() != 1 || !op.getWhole().empty())
    return false;
  Value value = op.getYielded();
  while (Operation *def = value.getDefiningOp()) {
    if (!isa<arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp>(def))
      return false;
    value = def->getOperand(0);
  }
  return value == op.getBlock()->getArgument(0);
}

/// True if `index` is `id`, counted from the end where it is negative and moved
/// into the table. Other arithmetic, a remainder say, takes ids that are no
/// rows.
static bool isRowOf(Value index, BlockArgument id) {
  llvm::SetVector<Value> values;
  values.insert(index);
  for (size_t i = 0; i < values.size(); ++i) {
    Operation *def = values[i].getDefiningOp();
    if (!def && values[i] != id)
      return false;
    if (!def)
      continue;
    if (!isa<arith::IndexCastOp, arith::AddIOp, arith::SubIOp, arith::CmpIOp,
             arith::SelectOp, arith::MinSIOp, arith::MaxSIOp, arith::ConstantOp,
             ExtentOp>(def))
      return false;
    values.insert(def->operand_begin(), def->operand_end());
  }
  return values.contains(id);
}

/// The fewest rows of the constants that `op` reads at the rows `ids`; none if
/// there are no such constants.
static std::optional<int64_t> getRowsRead(GenericOp op, Value ids) {
  std::optional<int64_t> least;
  unsigned numInputs = op.getInputs().size();
  for (ReadOp read : op.getBlock()->getOps<ReadOp>()) {
    auto argument = dyn_cast<BlockArgument>(read.getTensor());
    if (!argument || argument.getArgNumber() < numInputs)
      continue;
    Value table = op.getWhole()[argument.getArgNumber() - numInputs];
    auto type = cast<RankedTensorType>(table.getType());
    if (type.getRank() < 2 || !isConstantExpression(table))
      continue;
    for (auto [dim, index] : llvm::enumerate(read.getIndices()))
      for (unsigned i = 0; i < numInputs; ++i)
        if (op.getInputs()[i] == ids && !type.isDynamicDim(dim) &&
            isRowOf(index, op.getBlock()->getArgument(i)))
          least = std::min(least.value_or(type.getDimSize(dim)),
                           type.getDimSize(dim));
  }
  return least;
}

SmallVector<TokenTable> qcc::findTokenTables(func::FuncOp entry) {
  SmallVector<TokenTable> tables;
  for (unsigned i = 0; i < entry.getNumArguments(); ++i) {
    auto name = entry.getArgAttrOfType<StringAttr>(i, "qcc.name");
    auto type = cast<RankedTensorType>(entry.getArgument(i).getType());
    if (!name || !type.getElementType().isInteger())
      continue;
    std::optional<int64_t> least;
    llvm::SetVector<Value> values;
    values.insert(entry.getArgument(i));
    for (size_t at = 0; at < values.size() && at < kMaxOps; ++at)
      for (Operation *user : values[at].getUsers()) {
        auto generic = dyn_cast<GenericOp>(user);
        if (isa<ReshapeOp>(user) || (generic && keepsIntegers(generic)))
          values.insert(user->getResult(0));
        else if (generic)
          if (std::optional<int64_t> rows = getRowsRead(generic, values[at]))
            least = std::min(least.value_or(*rows), *rows);
      }
    if (least)
      tables.push_back({name.getValue().str(), *least});
  }
  return tables;
}

std::vector<int64_t> qcc::getIntegers(const SampleArray &array) {
  std::vector<int64_t> values;
  auto read = [&](auto element) {
    for (size_t at = 0; at + sizeof(element) <= array.bytes.size();
         at += sizeof(element)) {
      std::memcpy(&element, array.bytes.data() + at, sizeof(element));
      values.push_back(int64_t(element));
    }
  };
  constexpr uint8_t kInt = 0; // DLPack's
  if (array.code == kInt && array.bits == 64)
    read(int64_t());
  else if (array.code == kInt && array.bits == 32)
    read(int32_t());
  return values;
}

bool qcc::hasTokens(const Sample &sample, StringRef input, size_t elements,
                    int64_t classes) {
  const SampleArray *array = findArray(sample.arrays, input);
  std::vector<int64_t> ids =
      array ? getIntegers(*array) : std::vector<int64_t>();
  return !ids.empty() && ids.size() * size_t(classes) == elements &&
         llvm::all_of(ids, [&](int64_t id) { return id < classes; });
}
