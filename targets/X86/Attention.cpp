//===- Attention.cpp - scaled dot-product attention in f32 ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A task is a block of queries of one head. Keys are taken in blocks: the block
// is transposed to scratch, its scores are a tile product, rows of scores
// become weights by a running softmax (the largest score and the sum so far are
// carried from block to block), and a second tile product adds the weighted
// values, copied to scratch as well. Both copies lie as the tiles read them,
// since rows of heads that alternate are far apart and would share few places
// in L1. So scratch does not grow with the number of keys.
//
// A few queries, as of a decoder's step, are not worth copies: a score is the
// sum of a vector of products, and values are read where they are.
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
/// Most queries of a task for which nothing is copied.
constexpr int64_t kFewQueries = 3;
/// Keys whose products with a query are added side by side.
constexpr unsigned kDotKeys = 8;
/// Vectors of scores that a step of softmax takes: they do not wait for each
/// other.
constexpr unsigned kStepVectors = 2;

/// Keys of a block: whole steps of softmax at all levels.
int64_t getKeyBlock(AttentionOp op) {
  std::optional<int64_t> keys =
      getConstantSize(getDims(op.getKey().getType())[2]);
  return keys
             ? std::min<int64_t>(kKeys, llvm::alignTo(*keys, kStepVectors * 16))
             : kKeys;
}

/// Offsets of the parts of scratch, in elements.
struct ScratchLayout {
  ScratchLayout(int64_t keyBlock, int64_t depth, int64_t width)
      : widthPadded(llvm::alignTo(width, 16)), keys(0),
        values(keys + depth * keyBlock),
        scores(values + widthPadded * keyBlock),
        totals(scores + kQueries * keyBlock),
        largest(totals + kQueries * widthPadded), sums(largest + kQueries),
        decay(sums + kQueries), end(decay + kQueries) {}
  int64_t widthPadded, keys, values, scores, totals, largest, sums, decay, end;
};

class AttentionEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "attention.f32"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// Columns of values that a tile multiplies by.
struct Panel {
  int64_t first, width;
};

/// State of one emission.
class Attention final : public AttentionFrame {
public:
  Attention(KernelBuilder &b, const AttentionParts &parts);

private:
  void emitTask() override;
  void emitKeyBlock(Value keyBegin, Value keyCount);
  void byCount(function_ref<void()> few, function_ref<void()> many);
  void forKeyPanels(Value keyCount,
                    function_ref<void(Value first, int64_t width)> body);
  void packKeys(Value keyBegin, Value keyCount);
  void packValues(Value keyBegin, Value keyCount);
  void emitScores(Value first, int64_t columns);
  void emitDots(Value keyBegin, Value keyCount);
  Value emitDot(Value row, Value firstKey);
  void emitRow(Value row, Value keyBegin, Value keyCount);
  void forPanels(int64_t vectors, function_ref<void(const Panel &)> body);
  void emitWeighted(const Panel &panel, unsigned maxRows, Value keyCount,
                    function_ref<Value(unsigned, Value)> load);
  Value loadValues(Value key, int64_t column);
  Value part(int64_t offset) {
    return b.elementPointer(b.scratch(), f32, b.idx(offset));
  }

  int64_t keyBlock;
  ScratchLayout layout;
  int64_t tileVectors; ///< of many queries' tiles
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
      keyBlock(getKeyBlock(op)), layout(keyBlock, depth, width),
      tileVectors(b.caps().hasAvx512 ? 4 : 2) {}

void Attention::emitTask() {
  Value zero = b.constant(0, vec);
  b.forLoop(b.idx(0), b.mul(queryCount, b.idx(layout.widthPadded)),
            b.idx(lanes),
            [&](Value at) { b.store(zero, part(layout.totals), f32, at); });
  Value largest = getSinkScore(), sum = getSinkWeight();
  b.forLoop(b.idx(0), queryCount, b.idx(lanes), [&](Value row) {
    b.store(largest, part(layout.largest), f32, row);
    b.store(sum, part(layout.sums), f32, row);
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

/// Emits what is done with the task's queries, few or many.
void Attention::byCount(function_ref<void()> few, function_ref<void()> many) {
  std::optional<int64_t> known = getConstantSize(queries);
  if (known && *known <= kFewQueries)
    return few();
  if (known) {
    int64_t rest = *known % kQueries;
    if (rest == 0 || rest > kFewQueries)
      return many();
  }
  auto branch = scf::IfOp::create(b, b.less(queryCount, b.idx(kFewQueries + 1)),
                                  /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  few();
  b.setInsertionPointToStart(branch.elseBlock());
  many();
}

void Attention::emitKeyBlock(Value keyBegin, Value keyCount) {
  byCount([&] { emitDots(keyBegin, keyCount); },
          [&] {
            packKeys(keyBegin, keyCount);
            packValues(keyBegin, keyCount);
            forKeyPanels(keyCount, [&](Value first, int64_t columns) {
              emitScores(first, columns);
            });
          });
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) { emitRow(row, keyBegin, keyCount); },
      KernelBuilder::LoopHint::NoUnroll);
  byCount(
      [&] {
        // As many sums as hide the latency of adding to each.
        forPanels(kDotKeys, [&](const Panel &panel) {
          emitWeighted(panel, /*maxRows=*/1, keyCount,
                       [&](unsigned v, Value t) {
                         return loadValues(b.add(keyBegin, t),
                                           panel.first + int64_t(v) * lanes);
                       });
        });
      },
      [&] {
        forPanels(tileVectors, [&](const Panel &panel) {
          Value base = part(layout.values + panel.first * keyBlock);
          emitWeighted(panel,
                       getTileRows(b.caps(), unsigned(panel.width / lanes)),
                       keyCount, [&](unsigned v, Value t) {
                         Value at = b.add(b.mul(t, b.idx(panel.width)),
                                          b.idx(int64_t(v) * lanes));
                         return b.load(base, f32, at, lanes);
                       });
        });
      });
}

/// Calls `body` with the first key of each panel of a block: those as wide as a
/// tile of scores, then those of one vector.
void Attention::forKeyPanels(
    Value keyCount, function_ref<void(Value first, int64_t width)> body) {
  int64_t wide = tileVectors * lanes;
  Value whole = b.mul(b.divFloor(keyCount, b.idx(wide)), b.idx(wide));
  auto forRange = [&](Value begin, Value end, int64_t width) {
    b.forLoop(
        begin, end, b.idx(width), [&](Value first) { body(first, width); },
        KernelBuilder::LoopHint::NoUnroll);
  };
  forRange(b.idx(0), whole, wide);
  forRange(whole, keyCount, lanes);
}

/// Writes the block of keys as panels `[depth][width]`, one after the other.
/// Keys past the last one repeat it: their scores are never used.
void Attention::packKeys(Value keyBegin, Value keyCount) {
  Value lastKey = b.sub(numKeys, b.idx(1));
  auto packVector = [&](Value firstKey, Value target, int64_t width) {
    for (int64_t d = 0; d < depth; d += lanes) {
      int64_t live = std::min<int64_t>(lanes, depth - d);
      Value lanesMask =
          live < lanes ? b.firstLanes(b.idx(live), lanes) : Value();
      SmallVector<Value> rows;
      for (unsigned i = 0; i < lanes; ++i) {
        Value at = b.minIdx(b.add(firstKey, b.idx(i)), lastKey);
        Value offset = key.offset(b, {batch, keyHead, at, b.idx(d)});
        rows.push_back(b.load(key.pointer, f32, offset, lanes, lanesMask));
      }
      transpose(b, rows);
      for (int64_t i = 0; i < live; ++i)
        b.store(rows[i], part(layout.keys), f32,
                b.add(target, b.idx((d + i) * width)));
    }
  };
  forKeyPanels(keyCount, [&](Value first, int64_t width) {
    Value panel = b.mul(first, b.idx(depth));
    b.forLoop(
        b.idx(0), b.idx(width), b.idx(lanes),
        [&](Value at) {
          packVector(b.add(b.add(keyBegin, first), at), b.add(panel, at),
                     width);
        },
        KernelBuilder::LoopHint::NoUnroll);
  });
}

/// Calls `body` with the panels of all values, of at most so many vectors.
void Attention::forPanels(int64_t vectors,
                          function_ref<void(const Panel &)> body) {
  int64_t columns = llvm::alignTo(width, lanes);
  for (int64_t first = 0; first < columns; first += vectors * lanes)
    body({first, std::min<int64_t>(vectors * lanes, columns - first)});
}

/// Values of a key from `column` on, zeros behind the last.
Value Attention::loadValues(Value keyIndex, int64_t column) {
  int64_t live = std::min<int64_t>(lanes, width - column);
  Value at = value.offset(b, {batch, keyHead, keyIndex, b.idx(column)});
  return b.load(value.pointer, f32, at, lanes,
                live < lanes ? b.firstLanes(b.idx(live), lanes) : Value());
}

/// Copies the block of values to panels.
void Attention::packValues(Value keyBegin, Value keyCount) {
  b.forLoop(
      b.idx(0), keyCount, b.idx(1),
      [&](Value t) {
        forPanels(tileVectors, [&](const Panel &panel) {
          Value target = b.add(b.idx(panel.first * keyBlock),
                               b.mul(t, b.idx(panel.width)));
          for (int64_t at = 0; at < panel.width; at += lanes)
            b.store(loadValues(b.add(keyBegin, t), panel.first + at),
                    part(layout.values), f32, b.add(target, b.idx(at)));
        });
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// scores[row][key] of the panel of `columns` keys from `first` on.
void Attention::emitScores(Value first, int64_t columns) {
  auto count = unsigned(columns / lanes);
  unsigned maxRows = getTileRows(b.caps(), count);
  Value panel =
      b.elementPointer(part(layout.keys), f32, b.mul(first, b.idx(depth)));
  emitRowBlocks(
      b, b.idx(0), queryCount, maxRows,
      [&](unsigned rows) {
        return needsRowBlock(getConstantSize(queries), kQueries, maxRows, rows);
      },
      [&](Value row, unsigned rows) {
        SmallVector<Value> pointers;
        for (unsigned r = 0; r < rows; ++r) {
          Value at = b.add(queryBegin, b.add(row, b.idx(r)));
          pointers.push_back(
              b.elementPointer(query.pointer, f32,
                               query.offset(b, {batch, head, at, b.idx(0)})));
        }
        SmallVector<Value> sums = emitFmaLoop(
            b, Tile{rows, count, lanes}, b.idx(depth),
            zeros(b, rows * count, lanes),
            [&](unsigned r, Value d) {
              return b.load(pointers[r], f32, b.mul(d, query.strides[3]));
            },
            [&](unsigned v, Value d) {
              Value at = b.add(b.mul(d, b.idx(columns)), b.idx(v * lanes));
              return b.load(panel, f32, at, lanes);
            });
        for (unsigned r = 0; r < rows; ++r)
          for (unsigned v = 0; v < count; ++v)
            b.store(sums[r * count + v], part(layout.scores), f32,
                    b.add(b.mul(b.add(row, b.idx(r)), b.idx(keyBlock)),
                          b.add(first, b.idx(v * lanes))));
      });
}

/// scores[row][key] of a few queries, with keys where they are. Keys past the
/// last one repeat it.
void Attention::emitDots(Value keyBegin, Value keyCount) {
  b.forLoop(
      b.idx(0), queryCount, b.idx(1),
      [&](Value row) {
        b.forLoop(
            b.idx(0), keyCount, b.idx(lanes),
            [&](Value t) {
              b.store(emitDot(row, b.add(keyBegin, t)), part(layout.scores),
                      f32, b.add(b.mul(row, b.idx(keyBlock)), t));
            },
            KernelBuilder::LoopHint::NoUnroll);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// The products of a query with a vector of keys.
Value Attention::emitDot(Value row, Value firstKey) {
  Value lastKey = b.sub(numKeys, b.idx(1));
  Value from = b.elementPointer(
      query.pointer, f32,
      query.offset(b, {batch, head, b.add(queryBegin, row), b.idx(0)}));
  SmallVector<Value> all;
  for (unsigned first = 0; first < lanes; first += kDotKeys) {
    SmallVector<Value> pointers;
    for (unsigned i = 0; i < kDotKeys; ++i) {
      Value at = b.minIdx(b.add(firstKey, b.idx(first + i)), lastKey);
      pointers.push_back(b.elementPointer(
          key.pointer, f32, key.offset(b, {batch, keyHead, at, b.idx(0)})));
    }
    auto addProducts = [&](Value d, ArrayRef<Value> sums, Value mask) {
      Value part = b.load(from, f32, d, lanes, mask);
      SmallVector<Value> next;
      for (auto [pointer, sum] : llvm::zip_equal(pointers, sums))
        next.push_back(b.fma(part, b.load(pointer, f32, d, lanes, mask), sum));
      return next;
    };
    int64_t whole = depth / lanes * lanes;
    SmallVector<Value> sums = b.forLoop(
        b.idx(0), b.idx(whole), b.idx(lanes), zeros(b, kDotKeys, lanes),
        [&](Value d, ArrayRef<Value> carried) {
          return addProducts(d, carried, Value());
        },
        KernelBuilder::LoopHint::NoUnroll);
    if (whole < depth)
      sums = addProducts(b.idx(whole), sums,
                         b.firstLanes(b.idx(depth - whole), lanes));
    llvm::append_range(all, sums);
  }
  return sumRows(b, all);
}

/// Turns a row of scores into weights relative to the largest score so far, and
/// notes by how much what was summed before must shrink.
void Attention::emitRow(Value row, Value keyBegin, Value keyCount) {
  Value lowest = b.constant(-std::numeric_limits<double>::infinity(), vec),
        scale = b.constant(op.getScale().convertToDouble(), vec),
        scores = b.elementPointer(part(layout.scores), f32,
                                  b.mul(row, b.idx(keyBlock)));
  int64_t step = int64_t(kStepVectors) * lanes;
  Value steps = b.divFloor(b.add(keyCount, b.idx(step - 1)), b.idx(step)),
        end = b.mul(steps, b.idx(step));
  auto forScores = [&](Value init,
                       function_ref<Value(Value at, Value carried)> body) {
    return b.forLoop(
        b.idx(0), end, b.idx(step), SmallVector<Value>(kStepVectors, init),
        [&](Value t, ArrayRef<Value> carried) {
          SmallVector<Value> next;
          for (auto [i, one] : llvm::enumerate(carried))
            next.push_back(body(b.add(t, b.idx(int64_t(i) * lanes)), one));
          return next;
        },
        KernelBuilder::LoopHint::NoUnroll);
  };
  SmallVector<Value> tops = forScores(lowest, [&](Value t, Value top) {
    Value raw = b.load(scores, f32, t, lanes);
    Value score = maskScores(arith::MulFOp::create(b, raw, scale), row,
                             keyBegin, keyCount, t);
    b.store(score, scores, f32, t);
    return maximum(b, top, score);
  });
  Value top = tops[0];
  for (Value other : llvm::drop_begin(tops))
    top = maximum(b, top, other);
  Value before = b.load(part(layout.largest), f32, row);
  Value now = maximum(b, reduceMaximum(b, top), before);
  Value base = toFinite(now);
  Value shift = b.splat(base, lanes);
  // What is next to 0 is 0.
  auto power = [&](Value x) -> Value {
    return math::ExpOp::create(b, x, arith::FastMathFlags::afn);
  };
  SmallVector<Value> sums =
      forScores(b.constant(0, vec), [&](Value t, Value sum) -> Value {
        Value weight = power(
            arith::SubFOp::create(b, b.load(scores, f32, t, lanes), shift));
        b.store(weight, scores, f32, t);
        return arith::AddFOp::create(b, sum, weight);
      });
  Value sum = sums[0];
  for (Value other : llvm::drop_begin(sums))
    sum = arith::AddFOp::create(b, sum, other);
  Value decay = power(arith::SubFOp::create(b, before, base));
  Value total =
      b.fma(b.load(part(layout.sums), f32, row), decay, reduceSum(b, sum));
  b.store(now, part(layout.largest), f32, row);
  b.store(total, part(layout.sums), f32, row);
  b.store(decay, part(layout.decay), f32, row);
}

/// totals = totals * decay + weights * values, of the columns of a panel;
/// `load` gives the values of key `t` in vector `v` of them.
void Attention::emitWeighted(const Panel &panel, unsigned maxRows,
                             Value keyCount,
                             function_ref<Value(unsigned v, Value t)> load) {
  auto count = unsigned(panel.width / lanes);
  emitRowBlocks(
      b, b.idx(0), queryCount, maxRows,
      [&](unsigned rows) {
        return needsRowBlock(getConstantSize(queries), kQueries, maxRows, rows);
      },
      [&](Value row, unsigned rows) {
        auto totalAt = [&](unsigned r, unsigned v) {
          return b.add(b.mul(b.add(row, b.idx(r)), b.idx(layout.widthPadded)),
                       b.idx(panel.first + int64_t(v) * lanes));
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
            b, Tile{rows, count, lanes}, keyCount, sums,
            [&](unsigned r, Value t) {
              return b.load(
                  part(layout.scores), f32,
                  b.add(b.mul(b.add(row, b.idx(r)), b.idx(keyBlock)), t));
            },
            load);
        for (unsigned r = 0; r < rows; ++r)
          for (unsigned v = 0; v < count; ++v)
            b.store(sums[r * count + v], part(layout.totals), f32,
                    totalAt(r, v));
      });
}

std::unique_ptr<KernelEmitter> x86::createAttentionEmitter() {
  return std::make_unique<AttentionEmitter>();
}
