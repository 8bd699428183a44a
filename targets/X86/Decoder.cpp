//===- Decoder.cpp - decodes of schemes on x86 ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Decoder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include <numeric>

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Elements of a register of f32.
static constexpr int64_t kYmm = 8, kZmm = 16;

/// A table of at most one register: vpermps on each register of indices, which
/// ignores the bits above.
Value Decoder::permute(ArrayRef<float> table, Value indices) {
  int64_t lanes = avx512 ? kZmm : kYmm,
          count = cast<VectorType>(indices.getType()).getNumElements();
  SmallVector<float> numbers;
  for (int64_t i = 0; i < lanes; ++i)
    numbers.push_back(table[i % table.size()]);
  auto type = VectorType::get(lanes, getF32Type());
  Value values = arith::ConstantOp::create(
      *this, DenseElementsAttr::get(type, ArrayRef<float>(numbers)));
  SmallVector<Value> parts;
  for (int64_t at = 0; at < count; at += lanes) {
    Value part = indices;
    if (count != lanes)
      part = vector::ExtractStridedSliceOp::create(
          *this, indices, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{lanes},
          ArrayRef<int64_t>{1});
    SmallVector<Value> operands = {values, part};
    parts.push_back(LLVM::CallIntrinsicOp::create(
                        *this, Type(type),
                        getStringAttr(avx512 ? "llvm.x86.avx512.permvar.sf.512"
                                             : "llvm.x86.avx2.permps"),
                        operands)
                        .getResult(0));
  }
  if (parts.size() == 1)
    return parts[0];
  SmallVector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  return vector::ShuffleOp::create(*this, parts[0], parts[1], order);
}

Value Decoder::lookup(ArrayRef<float> table, Value indices) {
  auto type = cast<VectorType>(indices.getType());
  int64_t lanes = avx512 ? kZmm : kYmm, count = type.getNumElements();
  if (count != lanes && count != 2 * lanes)
    return DecodeBuilder::lookup(table, indices);
  if (int64_t(table.size()) <= lanes)
    return permute(table, indices);
  // The highest bit of an index chooses the half; as the sign it costs a shift.
  size_t half = table.size() / 2;
  Value low = lookup(table.take_front(half), indices);
  Value high = lookup(table.drop_front(half), indices);
  unsigned bit = llvm::Log2_64(half);
  Value top = arith::ShLIOp::create(*this, indices, splat(type, 31 - bit));
  Value isHigh = arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, top,
                                       splat(type, 0));
  return arith::SelectOp::create(*this, isHigh, high, low);
}

/// Converts the bits of a code where they are in a word, if `value` is a code
/// that was moved to the lowest bits, masked and converted. Returns how far it
/// is from there. A multiple of a power of two of few bits is exact in f32.
static unsigned convertInPlace(Decoder &b, Value &value) {
  auto convert = value.getDefiningOp<arith::SIToFPOp>();
  auto clean =
      convert ? convert.getIn().getDefiningOp<arith::AndIOp>() : nullptr;
  auto move = clean ? clean.getLhs().getDefiningOp<arith::ShRUIOp>() : nullptr;
  APInt bits, shift;
  if (!move || !matchPattern(clean.getRhs(), m_ConstantInt(&bits)) ||
      !matchPattern(move.getRhs(), m_ConstantInt(&shift)) ||
      bits.getBitWidth() != 32 || bits.getActiveBits() > 24 ||
      // The sign of a word must stay 0.
      shift.getZExtValue() + bits.getActiveBits() > 31)
    return 0;
  auto type = cast<VectorType>(clean.getType());
  Value mask =
      b.splat(type, double(bits.getZExtValue() << shift.getZExtValue()));
  Value code = arith::AndIOp::create(b, move.getLhs(), mask);
  value = arith::SIToFPOp::create(b, value.getType(), code);
  return unsigned(shift.getZExtValue());
}

DecodedUnit::DecodedUnit(KernelBuilder &b, const Scheme &scheme, Value bytes,
                         bool inPlace) {
  Operation *before = bytes.getDefiningOp();
  assert(before && before->getBlock() == b.getInsertionBlock() &&
         "bytes are loaded where they are decoded");
  // What is built now stands between the load and the insertion point.
  llvm::SmallPtrSet<Operation *, 32> old;
  for (auto it = std::next(before->getIterator()); it != b.getInsertionPoint();
       ++it)
    old.insert(&*it);
  Decoder decoder(b);
  results = scheme.decode(decoder, bytes);
  for (Value &result : results)
    shifts.push_back(inPlace ? convertInPlace(decoder, result) : 0);
  for (auto it = std::next(before->getIterator()); it != b.getInsertionPoint();
       ++it)
    if (!old.contains(&*it)) {
      built.push_back(&*it);
      waiting.insert(&*it);
    }
}

void DecodedUnit::finish() {
  // They stand before operands that were moved.
  for (Operation *op : llvm::reverse(built))
    if (waiting.contains(op))
      op->erase();
  waiting.clear();
}

Value DecodedUnit::take(KernelBuilder &b, unsigned i) {
  // Operands first; decodes are short, the stack is explicit all the same.
  SmallVector<Operation *> stack;
  if (Operation *op = results[i].getDefiningOp())
    stack.push_back(op);
  while (!stack.empty()) {
    Operation *op = stack.back();
    if (!waiting.contains(op)) {
      stack.pop_back();
      continue;
    }
    size_t before = stack.size();
    for (Value operand : op->getOperands())
      if (Operation *def = operand.getDefiningOp(); waiting.contains(def))
        stack.push_back(def);
    if (stack.size() != before)
      continue;
    waiting.erase(op);
    op->moveBefore(b.getInsertionBlock(), b.getInsertionPoint());
    stack.pop_back();
  }
  return results[i];
}
