//===- Attention.cpp - scaled dot-product attention in f32 ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A task is a block of queries of one head. Keys are taken in blocks: the block
// is transposed to scratch, its scores are a tile product, rows of scores
// become weights by a running softmax (the largest score and the sum so far are
// carried from block to block), and a second tile product adds the weighted
// values. So scratch does not grow with the number of keys.
//
// Transposes of heads and positions around the operation cost nothing: operands
// and result are addressed by strides.
//
//===----------------------------------------------------------------------===//
#include "AttentionFrame.h"
#include "Emitters.h"
#include "Tiles.h"
#include "VectorUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Queries of a task and keys of a block.
constexpr int64_t kQueries = 64;
constexpr int64_t kKeys = 128;

int64_t getKeyBlock(AttentionOp op) {
  std::optional<int64_t> keys =
      getConstantSize(getDims(op.getKey().getType())[2]);
  return keys ? std::min<int64_t>(kKeys, llvm::alignTo(*keys, 16)) : kKeys;
}

/// Offsets of the parts of scratch, in elements.
struct ScratchLayout {
  ScratchLayout(int64_t keyBlock, int64_t depth, int64_t width)
      : widthPadded(llvm::alignTo(width, 16)), keys(0),
        scores(keys + depth * keyBlock), totals(scores + kQueries * keyBlock),
        largest(totals + kQueries * widthPadded), sums(largest + kQueries),
        decay(sums + kQueries), end(decay + kQueries) {}
  int64_t widthPadded, keys, scores, totals, largest, sums, decay, end;
};

class AttentionEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "attention.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class Attention final : public AttentionFrame {
public:
  Attention(KernelBuilder &b, const AttentionParts &parts);

private:
  void emitTask() override;
  void emitKeyBlock(Value keyBegin, Value keyCount);
  void packKeys(Value keyBegin, Value keyCount);
  void emitScores();
  void emitRow(Value row, Value keyBegin, Value keyCount);
  void emitWeighted(Value keyBegin, Value keyCount);
  Value part(int64_t offset) {
    return b.elementPointer(b.scratch(), f32, b.idx(offset));
  }

  int64_t keyBlock;
  ScratchLayout layout;
};

} // namespace

std::optional<KernelSchedule>
AttentionEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                        function_ref<bool(unsigned)>) const {
  std::optional<AttentionParts> parts =
      AttentionParts::find(dispatch.getBody().front());
  if (!parts || parts->op.getInt8() ||
      !AttentionFrame::areSizesKnown(parts->op, levels))
    return std::nullopt;
  AttentionOp op = parts->op;
  int64_t depth = op.getQuery().getType().getShape()[3],
          width = op.getValue().getType().getShape()[3];
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(op.getContext());
  schedule.tasks = AttentionFrame::countTasks(op, kQueries);
  schedule.scratchBytes = ScratchLayout(getKeyBlock(op), depth, width).end * 4;
  return schedule;
}

LogicalResult AttentionEmitter::emit(KernelBuilder &builder) const {
  std::optional<AttentionParts> parts =
      AttentionParts::find(builder.kernel().getBody().front());
  return parts ? Attention(builder, *parts).emit() : failure();
}

Attention::Attention(KernelBuilder &b, const AttentionParts &parts)
    : AttentionFrame(b, parts, b.caps().f32Lanes(), kQueries),
      keyBlock(getKeyBlock(op)), layout(keyBlock, depth, width) {}

void Attention::emitTask() {
  Value zero = b.constant(0, vec);
  b.forLoop(b.idx(0), b.mul(queryCount, b.idx(layout.widthPadded)),
            b.idx(lanes),
            [&](Value at) { b.store(zero, part(layout.totals), f32, at); });
  Value lowest = b.constant(-std::numeric_limits<double>::infinity(), f32);
  b.forLoop(b.idx(0), queryCount, b.idx(1), [&](Value row) {
    b.store(lowest, part(layout.largest), f32, row);
    b.store(b.constant(0, f32), part(layout.sums), f32, row);
  });
  forBlocks(keyBlock, [&](Value keyBegin, Value keyCount) {
    emitKeyBlock(keyBegin, keyCount);
  });
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) {
        emitResult(row, part(layout.totals), layout.widthPadded,
                   part(layout.sums));
      },
      KernelBuilder::LoopHint::NoUnroll);
}

void Attention::emitKeyBlock(Value keyBegin, Value keyCount) {
  packKeys(keyBegin, keyCount);
  emitScores();
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) { emitRow(row, keyBegin, keyCount); },
      KernelBuilder::LoopHint::NoUnroll);
  emitWeighted(keyBegin, keyCount);
}

/// Writes the block of keys as [depth][keyBlock]. Keys past the last one repeat
/// it: their scores are never used.
void Attention::packKeys(Value keyBegin, Value keyCount) {
  Value lastKey = b.sub(numKeys, b.idx(1));
  Value vectors = b.divFloor(b.add(keyCount, b.idx(lanes - 1)), b.idx(lanes));
  b.forLoop(b.idx(0), b.mul(vectors, b.idx(lanes)), b.idx(lanes), [&](Value t) {
    for (int64_t d = 0; d < depth; d += lanes) {
      int64_t live = std::min<int64_t>(lanes, depth - d);
      Value lanesMask =
          live < lanes ? b.firstLanes(b.idx(live), lanes) : Value();
      SmallVector<Value> rows;
      for (unsigned i = 0; i < lanes; ++i) {
        Value at = b.add(b.add(keyBegin, t), b.idx(i));
        Value offset =
            key.offset(b, {batch, keyHead, b.minIdx(at, lastKey), b.idx(d)});
        rows.push_back(b.load(key.pointer, f32, offset, lanes, lanesMask));
      }
      transpose(b, rows);
      for (int64_t i = 0; i < live; ++i)
        b.store(rows[i], part(layout.keys), f32,
                b.add(b.idx((d + i) * keyBlock), t));
    }
  });
}

/// scores[row][key] for the whole block of keys.
void Attention::emitScores() {
  unsigned vectors = b.caps().hasAvx512 ? 4 : 2;
  auto columns = [&](Value begin, Value end, unsigned count) {
    b.forLoop(begin, end, b.idx(count * lanes), [&](Value t) {
      emitRowBlocks(
          b, b.idx(0), queryCount, getTileRows(b.caps(), count),
          [&](unsigned rows) {
            return needsRowBlock(getConstantSize(queries), kQueries,
                                 getTileRows(b.caps(), count), rows);
          },
          [&](Value row, unsigned rows) {
            Tile tile{rows, count, lanes};
            SmallVector<Value> pointers;
            for (unsigned r = 0; r < rows; ++r) {
              Value at = b.add(queryBegin, b.add(row, b.idx(r)));
              pointers.push_back(b.elementPointer(
                  query.pointer, f32,
                  query.offset(b, {batch, head, at, b.idx(0)})));
            }
            SmallVector<Value> sums = emitFmaLoop(
                b, tile, b.idx(depth), zeros(b, rows * count, lanes),
                [&](unsigned r, Value d) {
                  return b.load(pointers[r], f32, b.mul(d, query.strides[3]));
                },
                [&](unsigned v, Value d) {
                  Value at = b.add(b.mul(d, b.idx(keyBlock)),
                                   b.add(t, b.idx(v * lanes)));
                  return b.load(part(layout.keys), f32, at, lanes);
                });
            for (unsigned r = 0; r < rows; ++r)
              for (unsigned v = 0; v < count; ++v)
                b.store(sums[r * count + v], part(layout.scores), f32,
                        b.add(b.mul(b.add(row, b.idx(r)), b.idx(keyBlock)),
                              b.add(t, b.idx(v * lanes))));
          });
    });
  };
  int64_t whole = keyBlock / (vectors * lanes) * (vectors * lanes);
  columns(b.idx(0), b.idx(whole), vectors);
  columns(b.idx(whole), b.idx(keyBlock), 1);
}

/// Turns a row of scores into weights relative to the largest score so far, and
/// notes by how much what was summed before must shrink.
void Attention::emitRow(Value row, Value keyBegin, Value keyCount) {
  double infinity = std::numeric_limits<double>::infinity();
  SmallVector<Value> scores;
  Value largest = b.constant(-infinity, vec);
  for (int64_t t = 0; t < keyBlock; t += lanes) {
    Value raw = b.load(part(layout.scores), f32,
                       b.add(b.mul(row, b.idx(keyBlock)), b.idx(t)), lanes);
    Value score = arith::MulFOp::create(
        b, raw, b.constant(op.getScale().convertToDouble(), vec));
    scores.push_back(maskScores(score, row, keyBegin, keyCount, b.idx(t)));
    largest = maximum(b, largest, scores.back());
  }
  Value before = b.load(part(layout.largest), f32, row);
  Value now = maximum(b, reduceMaximum(b, largest), before);
  Value base = toFinite(now);
  Value shift = b.splat(base, lanes), sum = b.constant(0, vec);
  for (auto [i, score] : llvm::enumerate(scores)) {
    Value weight =
        math::ExpOp::create(b, arith::SubFOp::create(b, score, shift));
    sum = arith::AddFOp::create(b, sum, weight);
    b.store(weight, part(layout.scores), f32,
            b.add(b.mul(row, b.idx(keyBlock)), b.idx(i * lanes)));
  }
  Value decay = math::ExpOp::create(b, arith::SubFOp::create(b, before, base));
  Value total =
      b.fma(b.load(part(layout.sums), f32, row), decay, reduceSum(b, sum));
  b.store(now, part(layout.largest), f32, row);
  b.store(total, part(layout.sums), f32, row);
  b.store(decay, part(layout.decay), f32, row);
}

/// totals = totals * decay + weights * values
void Attention::emitWeighted(Value keyBegin, Value keyCount) {
  unsigned step = b.caps().hasAvx512 ? 4 : 2;
  int64_t vectors = llvm::divideCeil(width, lanes);
  for (int64_t first = 0; first < vectors; first += step) {
    unsigned count = std::min<int64_t>(step, vectors - first);
    unsigned maxRows = getTileRows(b.caps(), count);
    auto needed = [&](unsigned rows) {
      return needsRowBlock(getConstantSize(queries), kQueries, maxRows, rows);
    };
    emitRowBlocks(
        b, b.idx(0), queryCount, maxRows, needed,
        [&](Value row, unsigned rows) {
          Tile tile{rows, count, lanes};
          auto totalAt = [&](unsigned r, unsigned v) {
            return b.add(b.mul(b.add(row, b.idx(r)), b.idx(layout.widthPadded)),
                         b.idx((first + v) * lanes));
          };
          SmallVector<Value> sums;
          for (unsigned r = 0; r < rows; ++r) {
            Value decay = b.splat(
                b.load(part(layout.decay), f32, b.add(row, b.idx(r))), lanes);
            for (unsigned v = 0; v < count; ++v)
              sums.push_back(arith::MulFOp::create(
                  b, b.load(part(layout.totals), f32, totalAt(r, v), lanes),
                  decay));
          }
          sums = emitFmaLoop(
              b, tile, keyCount, sums,
              [&](unsigned r, Value t) {
                return b.load(
                    part(layout.scores), f32,
                    b.add(b.mul(b.add(row, b.idx(r)), b.idx(keyBlock)), t));
              },
              [&](unsigned v, Value t) {
                int64_t column = (first + v) * lanes;
                int64_t live = std::min<int64_t>(lanes, width - column);
                Value at = value.offset(
                    b, {batch, keyHead, b.add(keyBegin, t), b.idx(column)});
                return b.load(value.pointer, f32, at, lanes,
                              live < lanes ? b.firstLanes(b.idx(live), lanes)
                                           : Value());
              });
          for (unsigned r = 0; r < rows; ++r)
            for (unsigned v = 0; v < count; ++v)
              b.store(sums[r * count + v], part(layout.totals), f32,
                      totalAt(r, v));
        });
  }
}

std::unique_ptr<KernelEmitter> x86::createAttentionEmitter() {
  return std::make_unique<AttentionEmitter>();
}
