//===- AttentionByte.cpp - attention with products of bytes -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A task is a block of queries of one head, with codes of its own. Keys are
// taken in the blocks that the operation defines: codes of keys and values go
// to two panels, and then a few queries at a time get scores, the codes of
// their weights, and weighted values, which all stay in L1.
//
// Codes of queries are stored 128 higher, as the instructions take one operand
// without a sign; 128 times the sum of a key's codes is taken off each score.
//
//===----------------------------------------------------------------------===//
#include "AttentionByte.h"
#include "Emitters.h"
#include "IntegerDot.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;
using namespace qcc::x86::attention;

namespace {

/// log2 of the largest code of a weight, 255.
constexpr double kLog2Codes = 7.994353436858858;
constexpr double kLog2E = 1.4426950408889634;
/// 2^x for |x| <= 1/2, by least squares whose weights follow the errors;
/// relative to it: 1.6e-07.
constexpr double kPowers[] = {1.0,
                              0.6931469440460205,
                              0.24022120237350464,
                              0.05550713092088699,
                              0.009675540961325169,
                              0.001327647129073739};
/// Added to a small number and taken off again, it leaves an integer, which
/// stands in the low bits of the sum.
constexpr double kRound = 0x1.8p23;

class ByteAttentionEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "attention.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

} // namespace

std::optional<KernelSchedule>
ByteAttentionEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                            function_ref<bool(unsigned)>) const {
  std::optional<AttentionParts> parts =
      AttentionParts::find(dispatch.getBody().front());
  if (!parts || !parts->op.getInt8() ||
      !AttentionFrame::areSizesKnown(parts->op, levels))
    return std::nullopt;
  AttentionOp op = parts->op;
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks = AttentionFrame::countTasks(op, kQueries);
  schedule.scratchBytes = ScratchLayout(op).bytes;
  return schedule;
}

LogicalResult ByteAttentionEmitter::emit(KernelBuilder &builder) const {
  std::optional<AttentionParts> parts =
      AttentionParts::find(builder.kernel().getBody().front());
  return parts ? ByteAttention(builder, *parts).emit() : failure();
}

void ByteAttention::emitTask() {
  packQueries();
  if (!isOneBlock)
    clear();
  forBlocks(kKeys, [&](Value keyBegin, Value keyCount) {
    emitKeyBlock(keyBegin, keyCount);
  });
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) {
        emitResult(row, part(layout.totals), layout.columns, part(layout.sums));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Nothing but the sink is seen so far.
void ByteAttention::clear() {
  Value zero = b.constant(0, vec), largest = getSinkScore(),
        sum = getSinkWeight(/*unit=*/255);
  b.forLoop(b.idx(0), b.mul(queryCount, b.idx(layout.columns)), b.idx(kLanes),
            [&](Value at) { b.store(zero, part(layout.totals), f32, at); });
  b.forLoop(b.idx(0), queryCount, b.idx(kLanes), [&](Value row) {
    b.store(largest, part(layout.largest), f32, row);
    b.store(sum, part(layout.sums), f32, row);
  });
}

void ByteAttention::emitKeyBlock(Value keyBegin, Value keyCount) {
  packKeys(keyBegin, keyCount);
  int64_t vectors = layout.columns / kLanes;
  for (int64_t first = 0; first < vectors; first += 4)
    packValues(keyBegin, keyCount, first,
               std::min<int64_t>(4, vectors - first));
  b.forLoop(
      b.idx(0), queryCount, b.idx(kRows),
      [&](Value begin) {
        Value end = b.minIdx(b.add(begin, b.idx(kRows)), queryCount);
        emitRows(begin, end, keyBegin, keyCount);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

void ByteAttention::emitRows(Value begin, Value end, Value keyBegin,
                             Value keyCount) {
  emitScores(begin, end, keyCount);
  b.forLoop(
      begin, end, b.idx(1),
      [&](Value row) {
        emitWeights(row, b.sub(row, begin), keyBegin, keyCount);
      },
      KernelBuilder::LoopHint::NoUnroll);
  if (!isOneBlock)
    b.forLoop(
        begin, end, b.idx(kLanes),
        [&](Value row) {
          emitFactors(row, b.firstLanes(b.sub(end, row), kLanes));
        },
        KernelBuilder::LoopHint::NoUnroll);
  emitWeighted(begin, end, keyCount);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Exact sums of `word(row, step)`, four bytes without signs, times
/// `codes(vector, step)`, a pointer to 64 with signs, as i32: row by row.
SmallVector<Value>
ByteAttention::multiply(const Tile &tile, Value steps,
                        function_ref<Value(unsigned, Value)> word,
                        function_ref<Value(unsigned, Value)> codes) {
  unsigned values = dot.getNumValues();
  SmallVector<Value> init;
  for (unsigned i = 0; i < tile.rows * tile.vectors; ++i)
    llvm::append_range(init, dot.zero(b));
  SmallVector<Value> sums = b.forLoop(
      b.idx(0), steps, b.idx(1), init,
      [&](Value step, ArrayRef<Value> carried) {
        SmallVector<Value> next(carried), columns;
        for (unsigned v = 0; v < tile.vectors; ++v)
          columns.push_back(b.load(codes(v, step), i8, b.idx(0), kStepBytes));
        for (unsigned r = 0; r < tile.rows; ++r) {
          Value activation = dot.prepareActivation(b, word(r, step));
          for (unsigned v = 0; v < tile.vectors; ++v)
            for (unsigned p = 0; p < values; ++p)
              dot.stepPart(b, next[(r * tile.vectors + v) * values + p],
                           dot.prepareCodes(b, columns[v], p), activation);
        }
        return next;
      },
      KernelBuilder::LoopHint::NoUnroll);
  SmallVector<Value> results;
  for (unsigned i = 0; i < tile.rows * tile.vectors; ++i)
    results.push_back(
        dot.finish(b, dot.widen(b, ArrayRef(sums).slice(i * values, values))));
  return results;
}

void ByteAttention::forRows(Value begin, Value end, unsigned vectors,
                            function_ref<void(Value, const Tile &)> body) {
  emitRowBlocks(
      b, begin, end, most.rows,
      [&](unsigned rows) {
        // Tasks have whole blocks of rows but for the last one.
        std::optional<int64_t> total = getConstantSize(queries);
        if (!total)
          return true;
        return needsRowBlock(*total % kQueries, kRows, most.rows, rows) ||
               (*total >= kQueries &&
                needsRowBlock(kQueries, kRows, most.rows, rows));
      },
      [&](Value row, unsigned rows) {
        body(row, Tile{rows, vectors, kLanes});
      });
}

/// Scaled scores of queries [begin, end) and the block of keys.
void ByteAttention::emitScores(Value begin, Value end, Value keyCount) {
  Value scale = b.constant(op.getScale().convertToDouble(), f32);
  Value steps = b.idx(llvm::divideCeil(depth, kStep));
  b.forLoop(
      b.idx(0), keyCount, b.idx(scoreVectors * kLanes),
      [&](Value t) {
        forRows(begin, end, scoreVectors, [&](Value row, const Tile &tile) {
          SmallVector<Value> sums = multiply(
              tile, steps,
              [&](unsigned r, Value step) {
                Value at = b.mul(b.add(row, b.idx(r)),
                                 b.idx(layout.codeBytes / kStep));
                return b.load(part(layout.queries), i32, b.add(at, step));
              },
              [&](unsigned v, Value step) {
                Value at = b.add(b.mul(step, b.idx(blockKeys)),
                                 b.add(t, b.idx(v * kLanes)));
                return b.elementPointer(part(layout.keys), i32, at);
              });
          for (unsigned v = 0; v < tile.vectors; ++v) {
            Value at = b.add(t, b.idx(v * kLanes));
            Value offset = b.load(part(layout.keyOffsets), i32, at, kLanes),
                  keyScale = b.load(part(layout.keyScales), f32, at, kLanes);
            for (unsigned r = 0; r < tile.rows; ++r) {
              Value own = b.add(row, b.idx(r));
              Value factor = arith::MulFOp::create(
                  b, b.load(part(layout.queryScales), f32, own), scale);
              Value sum =
                  arith::AddIOp::create(b, sums[r * tile.vectors + v], offset);
              Value score = arith::MulFOp::create(
                  b, arith::SIToFPOp::create(b, vec, sum), keyScale);
              score = arith::MulFOp::create(b, score, b.splat(factor, kLanes));
              b.store(score, part(layout.scores), f32,
                      b.add(b.mul(b.sub(own, begin), b.idx(blockKeys)), at));
            }
          }
        });
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// `rint(255 exp(x))` for x <= 0: an exponential of any x takes twice as long.
Value ByteAttention::toCodes(Value x) {
  Value exponent =
      b.fma(x, b.constant(kLog2E, vec), b.constant(kLog2Codes, vec));
  // Code 0, also where there is nothing to see.
  exponent = maximum(b, exponent, b.constant(-20, vec));
  Value round = b.constant(kRound, vec),
        sum = arith::AddFOp::create(b, exponent, round),
        rest = arith::SubFOp::create(b, exponent,
                                     arith::SubFOp::create(b, sum, round));
  Value power = b.constant(kPowers[std::size(kPowers) - 1], vec);
  for (double c : llvm::reverse(ArrayRef(kPowers).drop_back()))
    power = b.fma(power, rest, b.constant(c, vec));
  Value whole = arith::ShLIOp::create(
      b, vector::BitCastOp::create(b, ints, sum), b.constantInt(23, ints));
  Value bits = arith::AddIOp::create(
      b, vector::BitCastOp::create(b, ints, power), whole);
  return roundToIntegers(b, vector::BitCastOp::create(b, vec, bits));
}

/// Turns the scores of a query, row `own` of those at hand, into codes of
/// weights relative to the largest of the block.
void ByteAttention::emitWeights(Value row, Value own, Value keyBegin,
                                Value keyCount) {
  double infinity = std::numeric_limits<double>::infinity();
  Value first = b.mul(own, b.idx(blockKeys));
  SmallVector<Value> scores;
  Value largest = b.constant(-infinity, vec);
  for (int64_t t = 0; t < blockKeys; t += kLanes) {
    Value score =
        b.load(part(layout.scores), f32, b.add(first, b.idx(t)), kLanes);
    scores.push_back(maskScores(score, row, keyBegin, keyCount, b.idx(t)));
    largest = maximum(b, largest, scores.back());
  }
  Value now = reduceMaximum(b, largest);
  Value shift = b.splat(toFinite(now), kLanes);
  Value sum = b.constantInt(0, ints);
  for (auto [i, score] : llvm::enumerate(scores)) {
    Value code = toCodes(arith::SubFOp::create(b, score, shift));
    sum = arith::AddIOp::create(b, sum, code);
    b.store(arith::TruncIOp::create(b, VectorType::get(kLanes, i8), code),
            part(layout.weights), i8, b.add(first, b.idx(i * kLanes)));
  }
  Value total = vector::ReductionOp::create(b, vector::CombiningKind::ADD, sum);
  b.store(arith::SIToFPOp::create(b, f32, total),
          part(isOneBlock ? layout.sums : layout.blockSums), f32, row);
  if (!isOneBlock)
    b.store(now, part(layout.blockLargest), f32, row);
}

/// Of up to 16 queries: what the block's weights and those before it count, now
/// that weights are relative to the largest so far.
void ByteAttention::emitFactors(Value row, Value rowMask) {
  auto load = [&](int64_t offset) {
    return b.load(part(offset), f32, row, kLanes, rowMask);
  };
  Value before = load(layout.largest), block = load(layout.blockLargest);
  Value now = maximum(b, before, block), base = toFinite(now);
  Value decay = math::ExpOp::create(b, arith::SubFOp::create(b, before, base));
  Value factor = math::ExpOp::create(b, arith::SubFOp::create(b, block, base));
  Value sum = b.fma(load(layout.sums), decay,
                    arith::MulFOp::create(b, load(layout.blockSums), factor));
  b.store(now, part(layout.largest), f32, row, rowMask);
  b.store(sum, part(layout.sums), f32, row, rowMask);
  b.store(decay, part(layout.decays), f32, row, rowMask);
  b.store(factor, part(layout.factors), f32, row, rowMask);
}

/// totals = totals * decay + weights * values * factor of queries [begin, end)
void ByteAttention::emitWeighted(Value begin, Value end, Value keyCount) {
  Value steps = b.divFloor(b.add(keyCount, b.idx(kStep - 1)), b.idx(kStep));
  int64_t vectors = layout.columns / kLanes;
  auto emitColumns = [&](int64_t first, Value row, const Tile &tile) {
    SmallVector<Value> sums = multiply(
        tile, steps,
        [&](unsigned r, Value step) {
          Value own = b.sub(b.add(row, b.idx(r)), begin);
          return b.load(part(layout.weights), i32,
                        b.add(b.mul(own, b.idx(blockKeys / kStep)), step));
        },
        [&](unsigned v, Value step) {
          Value at = b.add(b.mul(step, b.idx(layout.columns)),
                           b.idx((first + v) * kLanes));
          return b.elementPointer(part(layout.values), i32, at);
        });
    for (unsigned r = 0; r < tile.rows; ++r) {
      Value own = b.add(row, b.idx(r));
      for (unsigned v = 0; v < tile.vectors; ++v) {
        Value column = b.idx((first + v) * kLanes);
        Value at = b.add(b.mul(own, b.idx(layout.columns)), column);
        Value sum = arith::MulFOp::create(
            b, arith::SIToFPOp::create(b, vec, sums[r * tile.vectors + v]),
            b.load(part(layout.valueScales), f32, column, kLanes));
        if (!isOneBlock) {
          Value before = arith::MulFOp::create(
              b, b.load(part(layout.totals), f32, at, kLanes),
              b.splat(b.load(part(layout.decays), f32, own), kLanes));
          sum = b.fma(sum,
                      b.splat(b.load(part(layout.factors), f32, own), kLanes),
                      before);
        }
        b.store(sum, part(layout.totals), f32, at);
      }
    }
  };
  for (int64_t first = 0; first < vectors; first += most.vectors) {
    unsigned count = std::min<int64_t>(most.vectors, vectors - first);
    forRows(begin, end, count, [&](Value row, const Tile &tile) {
      emitColumns(first, row, tile);
    });
  }
}

std::unique_ptr<KernelEmitter> x86::createByteAttentionEmitter() {
  return std::make_unique<ByteAttentionEmitter>();
}
