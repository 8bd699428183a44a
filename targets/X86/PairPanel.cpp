//===- PairPanel.cpp - codes of 8 bits multiplied in pairs ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "PairPanel.h"
#include "ByteRows.h"
#include "Decoder.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Dialect/QCC/Pack.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Bytes of codes of one step, and of half of it: a register.
static constexpr int64_t kStepBytes = 64, kHalf = kStepBytes / 2;
/// Bytes of a step in the panel: the first ones of a step that fits.
static constexpr int64_t kSlotBytes = 2 * kStepBytes;

/// Padding of codes is zero and is multiplied with anything.
static int64_t getRowBytes(const Scheme &scheme, int64_t k) {
  return llvm::alignTo(k, scheme.getUnit().k);
}

bool PairPanel::canMultiply(const Capabilities &caps, const Scheme &scheme) {
  return !caps.hasAvx512 && scheme.getZero() == 128;
}

int64_t PairPanel::getBytes(const Scheme &scheme, int64_t k, int64_t rows) {
  int64_t rowBytes = getRowBytes(scheme, k), steps = rowBytes / 4;
  return steps * (kSlotBytes + int64_t(sizeof(int32_t))) + rows * rowBytes;
}

/// Rows of activations lie behind the panel and the places of its steps: their
/// number may not be known.
PairPanel::PairPanel(KernelBuilder &b, const Scheme &scheme, int64_t k,
                     Value codes)
    : b(b), scheme(scheme),
      dot(b.caps(), {/*codes=*/true, /*activations=*/true}, /*pairsFit=*/true),
      k(k), rowBytes(getRowBytes(scheme, k)), steps(rowBytes / 4),
      i8(b.getI8Type()), i32(b.getI32Type()), codes(codes), panel(b.scratch()) {
  assert(dot.getNumValues() == 2 && "a register is half a step");
  places = b.elementPointer(panel, i8, b.idx(steps * kSlotBytes));
  rows = b.elementPointer(places, i32, b.idx(steps));
}

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

Value PairPanel::getRow(Value row) {
  return b.elementPointer(rows, i8,
                          b.mul(b.sub(row, firstRow), b.idx(rowBytes)));
}

/// 128 more of a byte is its highest bit turned.
void PairPanel::emitRows(Value begin, Value end) {
  firstRow = begin;
  int64_t whole = k / kHalf * kHalf;
  auto turn = [&](Value value) -> Value {
    int32_t bits = value.getType() == i32 ? int32_t(0x80808080) : -128;
    return arith::XOrIOp::create(b, value,
                                 b.constantInt(bits, value.getType()));
  };
  b.forLoop(
      begin, end, b.idx(1),
      [&](Value row) {
        Value from = b.elementPointer(codes, i8, b.mul(row, b.idx(k))),
              to = getRow(row);
        b.forLoop(
            b.idx(0), b.idx(whole), b.idx(kHalf),
            [&](Value at) {
              b.store(turn(b.load(from, i8, at, kHalf)), to, i8, at);
            },
            KernelBuilder::LoopHint::NoUnroll);
        for (int64_t at = whole; at < k; at += 4) {
          int64_t live = std::min<int64_t>(4, k - at);
          b.store(turn(loadWord(b, from, b.idx(at), live)), to, i32,
                  b.idx(at / 4));
        }
      },
      KernelBuilder::LoopHint::NoUnroll);
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

static Value magnitude(KernelBuilder &b, Value value) {
  Value zero = b.constantInt(0, value.getType());
  return arith::MaxSIOp::create(b, value,
                                arith::SubIOp::create(b, zero, value));
}

void PairPanel::emitBlock(Value source, int64_t ahead) {
  CodeUnit unit = scheme.getUnit();
  Values init(2, b.constantInt(0, VectorType::get(8, i32)));
  init.push_back(b.idx(0));
  Values last = b.forLoop(
      b.idx(0), b.idx(steps * 4 / unit.k), b.idx(1), init,
      [&](Value index, ArrayRef<Value> carried) {
        Values state(carried);
        Value offset = b.mul(index, b.idx(unit.bytes)),
              first = b.mul(index, b.idx(unit.k / 4));
        prefetchToL2(b, source, b.add(offset, b.idx(ahead)));
        Value stored = b.load(source, i8, offset, unit.bytes);
        Decoder decoder(b);
        for (auto [s, step] : llvm::enumerate(scheme.decode(decoder, stored)))
          state = sortStep(step, b.add(first, b.idx(int64_t(s))), state);
        return state;
      },
      KernelBuilder::LoopHint::NoUnroll);
  corrections.assign(last.begin(), last.begin() + 2);
  fitting = last[2];
}

/// Puts step `index`, codes as they are decoded, behind those that fit or
/// before those that do not.
PairPanel::Values PairPanel::sortStep(Value step, Value index,
                                      ArrayRef<Value> state) {
  auto type = VectorType::get(kHalf, i8);
  Value ones = b.constantInt(1, type), largest;
  Values halves, pairs;
  for (int64_t half = 0; half < 2; ++half) {
    Value stored = vector::ExtractStridedSliceOp::create(
        b, step, ArrayRef<int64_t>{half * kHalf}, ArrayRef<int64_t>{kHalf},
        ArrayRef<int64_t>{1});
    halves.push_back(
        arith::XOrIOp::create(b, stored, b.constantInt(-128, type)));
    pairs.push_back(multiplyBytes(b, ones, halves.back()));
    // Codes of two signs add up to less than either.
    Value sum = magnitude(b, pairs.back());
    largest =
        largest ? arith::MaxSIOp::create(b, largest, sum).getResult() : sum;
  }
  Value isTooLarge = vector::ReductionOp::create(
      b, vector::CombiningKind::OR,
      arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, largest,
                            b.constantInt(kMaxPairSum, largest.getType())));
  Value before = state[2],
        others = b.sub(b.idx(steps - 1), b.sub(index, before));
  Value place = arith::SelectOp::create(b, isTooLarge, others, before);
  Value row = arith::IndexCastOp::create(b, i32, b.mul(index, b.idx(4)));
  b.store(row, places, i32, place);
  SmallVector<Type> types(
      llvm::map_range(state, [](Value value) { return value.getType(); }));
  auto branch =
      scf::IfOp::create(b, types, isTooLarge, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard restore(b);
  b.setInsertionPointToStart(&branch.getThenRegion().front());
  scf::YieldOp::create(b, storeOther(halves, place, state));
  b.setInsertionPointToStart(&branch.getElseRegion().front());
  scf::YieldOp::create(b, storeFitting(halves, pairs, place, state));
  return branch.getResults();
}

PairPanel::Values PairPanel::storeFitting(ArrayRef<Value> halves,
                                          ArrayRef<Value> pairs, Value place,
                                          ArrayRef<Value> state) {
  Values result;
  Value at = b.mul(place, b.idx(kStepBytes));
  for (unsigned half = 0; half < 2; ++half) {
    b.store(halves[half], panel, i8, b.add(at, b.idx(half * kHalf)));
    Value sum = sumPairs(b, pairs[half]);
    Value error =
        arith::ShLIOp::create(b, sum, b.constantInt(7, sum.getType()));
    result.push_back(arith::SubIOp::create(b, state[half], error));
  }
  result.push_back(b.add(state[2], b.idx(1)));
  return result;
}

PairPanel::Values PairPanel::storeOther(ArrayRef<Value> halves, Value place,
                                        ArrayRef<Value> state) {
  Values result;
  Value at = b.mul(place, b.idx(kSlotBytes));
  for (unsigned half = 0; half < 2; ++half) {
    Value factors = halves[half], sizes = magnitude(b, factors);
    Type type = factors.getType();
    Value isNegative = arith::CmpIOp::create(b, arith::CmpIPredicate::slt,
                                             factors, b.constantInt(0, type));
    Value mask = arith::ExtSIOp::create(b, type, isNegative);
    // 128 was added to activations: they are turned back by the same mask.
    Value turned = arith::XOrIOp::create(b, mask, b.constantInt(-128, type));
    b.store(sizes, panel, i8, b.add(at, b.idx(half * kStepBytes)));
    b.store(turned, panel, i8, b.add(at, b.idx(half * kStepBytes + kHalf)));
    Value negative = arith::AndIOp::create(b, sizes, mask);
    Value sum = sumPairs(b, multiplyBytes(b, negative, b.constantInt(1, type)));
    result.push_back(arith::AddIOp::create(b, state[half], sum));
  }
  result.push_back(state[2]);
  return result;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

PairPanel::Values PairPanel::emitSums(Value row, unsigned count) {
  Values pointers;
  for (unsigned r = 0; r < count; ++r)
    pointers.push_back(getRow(b.add(row, b.idx(r))));
  Values sums;
  for (unsigned r = 0; r < count; ++r)
    llvm::append_range(sums, corrections);
  sums = emitSteps(b.idx(0), fitting, /*fit=*/true, pointers, sums);
  sums = emitSteps(fitting, b.idx(steps), /*fit=*/false, pointers, sums);
  Values result;
  for (unsigned r = 0; r < count; ++r)
    result.push_back(dot.concatenate(b, ArrayRef(sums).slice(r * 2, 2)));
  return result;
}

/// Adds the products of the sorted steps [begin, end).
PairPanel::Values PairPanel::emitSteps(Value begin, Value end, bool fit,
                                       ArrayRef<Value> pointers,
                                       ArrayRef<Value> sums) {
  int64_t stride = fit ? kStepBytes : kSlotBytes, half = stride / 2;
  return b.forLoop(
      begin, end, b.idx(1), sums,
      [&](Value place, ArrayRef<Value> carried) {
        Values next(carried), factors, masks;
        Value at = b.mul(place, b.idx(stride));
        for (unsigned h = 0; h < 2; ++h) {
          factors.push_back(
              b.load(panel, i8, b.add(at, b.idx(h * half)), kHalf));
          if (!fit)
            masks.push_back(
                b.load(panel, i8, b.add(at, b.idx(h * half + kHalf)), kHalf));
        }
        Value first = arith::IndexCastOp::create(b, b.getIndexType(),
                                                 b.load(places, i32, place));
        for (auto [r, pointer] : llvm::enumerate(pointers)) {
          Value word = b.splat(loadWord(b, pointer, first, /*live=*/4), 8);
          Value activation =
              vector::BitCastOp::create(b, VectorType::get(kHalf, i8), word);
          for (unsigned h = 0; h < 2; ++h) {
            Value &sum = next[r * 2 + h];
            if (fit)
              dot.stepPart(b, sum, factors[h], activation);
            else
              dot.stepPart(b, sum,
                           arith::XOrIOp::create(b, activation, masks[h]),
                           factors[h]);
          }
        }
        return next;
      },
      KernelBuilder::LoopHint::NoUnroll);
}
