//===- Emulation.cpp - AVX-512 kernels on lesser machines -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Emulation.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/bit.h"
#include <cmath>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

using namespace mlir;
using namespace qcc;
using namespace qcc::test;

/// True if this process may use the tile registers; asks for them.
static bool hasTiles() {
  constexpr int requestPermission = 0x1023, tileData = 18; // asm/prctl.h
  return __builtin_cpu_supports("amx-int8") &&
         syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

bool test::needsEmulation(const Capabilities &caps) {
  return (caps.hasAvx512 && !(__builtin_cpu_supports("avx512bw") &&
                              __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl"))) ||
         (caps.hasVnni && !__builtin_cpu_supports("avx512vnni")) ||
         (caps.hasAmx && !hasTiles());
}

namespace {
/// One call of an intrinsic, with its operands taken apart.
class Expansion {
public:
  explicit Expansion(LLVM::CallIntrinsicOp call)
      : b(call), loc(call.getLoc()), call(call) {}

  /// Each 32-bit sum and four products of unsigned by signed bytes.
  Value addProductsOfFour() {
    Value sum = call.getArgs()[0];
    for (unsigned i = 0; i < 4; ++i)
      sum = arith::AddIOp::create(b, loc, sum,
                                  product(1, 2, i, 4, b.getI32Type(), false));
    return sum;
  }

  /// Sums of two products of signed words.
  Value addPairsOfWords() {
    Type i32 = b.getI32Type();
    return arith::AddIOp::create(b, loc, product(0, 1, 0, 2, i32, true),
                                 product(0, 1, 1, 2, i32, true));
  }

  /// Sums of two products of unsigned by signed bytes, clamped to 16 bits.
  Value addPairsOfBytes() {
    Type i32 = b.getI32Type();
    Value sum = arith::AddIOp::create(b, loc, product(0, 1, 0, 2, i32, false),
                                      product(0, 1, 1, 2, i32, false));
    sum = arith::MaxSIOp::create(b, loc, sum, constant(sum, -32768));
    sum = arith::MinSIOp::create(b, loc, sum, constant(sum, 32767));
    return arith::TruncIOp::create(b, loc, call.getResult(0).getType(), sum);
  }

  /// Each element of a table of 16 at the index's lowest four bits: those of
  /// either half at the lowest three (`vpermps`), then one of the two by the
  /// fourth. Elements taken one by one would be right as well, but LLVM needs
  /// minutes for kernels with many such tables.
  Value permute() {
    Value table = call.getArgs()[0], at = call.getArgs()[1], whole[2];
    for (int64_t half = 0; half < 2; ++half) {
      Value entries = range(table, half * 8, 8), parts[2];
      for (int64_t i = 0; i < 2; ++i)
        parts[i] = LLVM::CallIntrinsicOp::create(
                       b, loc, entries.getType(),
                       b.getStringAttr("llvm.x86.avx2.permps"),
                       ValueRange{entries, range(at, i * 8, 8)})
                       .getResult(0);
      whole[half] =
          vector::ShuffleOp::create(b, loc, parts[0], parts[1],
                                    llvm::to_vector(llvm::seq<int64_t>(0, 16)));
    }
    Value fourth = arith::AndIOp::create(b, loc, at, constant(at, 8));
    Value isUpper = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne,
                                          fourth, constant(at, 0));
    return arith::SelectOp::create(b, loc, isUpper, whole[1], whole[0]);
  }

private:
  Value constant(Value like, int64_t value) {
    auto type = cast<VectorType>(like.getType());
    return arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::get(type,
                               b.getIntegerAttr(type.getElementType(), value)));
  }

  /// `length` elements from `first`.
  Value range(Value all, int64_t first, int64_t length) {
    return vector::ShuffleOp::create(
        b, loc, all, all,
        llvm::to_vector(llvm::seq<int64_t>(first, first + length)));
  }

  /// Elements `first`, `first` + `step`, ... of operand `operand`, widened.
  Value part(unsigned operand, int64_t first, int64_t step, Type element,
             bool isSigned) {
    Value all = call.getArgs()[operand];
    int64_t lanes = cast<VectorType>(all.getType()).getNumElements();
    SmallVector<int64_t> order;
    for (int64_t i = first; i < lanes; i += step)
      order.push_back(i);
    Value some = vector::ShuffleOp::create(b, loc, all, all, order);
    auto type = cast<VectorType>(some.getType()).clone(element);
    if (isSigned)
      return arith::ExtSIOp::create(b, loc, type, some);
    return arith::ExtUIOp::create(b, loc, type, some);
  }

  /// Products of such elements of two operands; those of `y` are signed.
  Value product(unsigned x, unsigned y, int64_t first, int64_t step,
                Type element, bool isSigned) {
    return arith::MulIOp::create(b, loc,
                                 part(x, first, step, element, isSigned),
                                 part(y, first, step, element, true));
  }

  OpBuilder b;
  Location loc;
  LLVM::CallIntrinsicOp call;
};
} // namespace

/// Single instructions on registers of 512 bits.
static LogicalResult expandAssembly(LLVM::InlineAsmOp op) {
  auto type = dyn_cast<VectorType>(op.getRes().getType());
  if (!type || type.getNumElements() * type.getElementTypeBitWidth() != 512)
    return success();
  OpBuilder b(op);
  StringRef text = op.getAsmString();
  Value first = op.getOperands()[0], result;
  unsigned bits = 0;
  if (text == "vpaddw $2, $1, $0" || text == "vpaddd $2, $1, $0")
    result = arith::AddIOp::create(b, op.getLoc(), first, op.getOperands()[1]);
  else if (text.consume_front("vpslld $$") && !text.consumeInteger(10, bits))
    result = arith::ShLIOp::create(
        b, op.getLoc(), first,
        arith::ConstantOp::create(
            b, op.getLoc(),
            DenseElementsAttr::get(type, b.getI32IntegerAttr(bits))));
  else
    return op.emitError() << "expected an instruction with an emulation";
  op.getRes().replaceAllUsesWith(result);
  op.erase();
  return success();
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

namespace {
/// A tile register: rows of 64 bytes.
using Tile = char[16][64];

void zeroTile(Tile tile) { std::memset(tile, 0, sizeof(Tile)); }

void loadTile(int16_t rows, int16_t bytes, const char *from, int64_t stride,
              Tile tile) {
  zeroTile(tile);
  for (int row = 0; row < rows; ++row)
    std::memcpy(tile[row], from + row * stride, bytes);
}

void storeTile(int16_t rows, int16_t bytes, char *to, int64_t stride,
               const Tile tile) {
  for (int row = 0; row < rows; ++row)
    std::memcpy(to + row * stride, tile[row], bytes);
}

/// c[m][n] += sum over k and i < 4 of a[m][4k + i] * b[k][4n + i].
template <typename A>
void addProducts(int16_t rows, int16_t columnBytes, int16_t innerBytes, Tile c,
                 const Tile a, const Tile b) {
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columnBytes / 4; ++n) {
      int32_t sum;
      std::memcpy(&sum, &c[m][4 * n], 4);
      for (int k = 0; k < innerBytes; ++k)
        sum += int32_t(A(a[m][k])) * int8_t(b[k / 4][4 * n + k % 4]);
      std::memcpy(&c[m][4 * n], &sum, 4);
    }
}

/// c[m][n] += sums over k of even and of odd products of bfloat16, each a
/// fused multiply-add; denormal operands and results count as 0.
void addHalfProducts(int16_t rows, int16_t columnBytes, int16_t innerBytes,
                     Tile c, const Tile a, const Tile b) {
  auto flush = [](float x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
  };
  auto read = [&](const char *from) {
    uint16_t half;
    std::memcpy(&half, from, 2);
    return flush(llvm::bit_cast<float>(uint32_t(half) << 16));
  };
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columnBytes / 4; ++n) {
      float parts[2] = {0, 0}, sum;
      for (int k = 0; k < innerBytes / 4; ++k)
        for (int i = 0; i < 2; ++i)
          parts[i] = flush(std::fma(read(&a[m][4 * k + 2 * i]),
                                    read(&b[k][4 * n + 2 * i]), parts[i]));
      std::memcpy(&sum, &c[m][4 * n], 4);
      sum = flush(flush(sum) + flush(parts[0] + parts[1]));
      std::memcpy(&c[m][4 * n], &sum, 4);
    }
}

/// Tiles in memory: each call that makes a tile has a buffer of its own for it,
/// whose pointer is the tile's value, and is done by a function of this
/// process. A sum is added to in place, so kernels must not use one again after
/// they added to it, nor a loaded tile after the next iteration's load.
class TileExpansion {
public:
  explicit TileExpansion(LLVM::CallIntrinsicOp call)
      : b(call), loc(call.getLoc()), call(call),
        pointer(LLVM::LLVMPointerType::get(b.getContext())) {}

  /// Replaces the call; false if it is none of tiles.
  bool run() {
    StringRef name = call.getIntrin();
    SmallVector<Value> args(call.getArgs());
    if (!name.consume_front("llvm.x86.") || !name.consume_back(".internal"))
      return false;
    if (name == "tilestored64") {
      invoke(reinterpret_cast<void *>(storeTile), args);
    } else if (name == "tilezero") {
      Value tile = makeTile();
      invoke(reinterpret_cast<void *>(zeroTile), {tile});
      call.getResult(0).replaceAllUsesWith(tile);
    } else if (name == "tileloadd64") {
      args.push_back(makeTile());
      invoke(reinterpret_cast<void *>(loadTile), args);
      call.getResult(0).replaceAllUsesWith(args.back());
    } else if (void *function = findProduct(name)) {
      invoke(function, args);
      call.getResult(0).replaceAllUsesWith(args[3]);
    } else {
      return false;
    }
    call.erase();
    return true;
  }

private:
  /// What adds products to a tile, or null.
  static void *findProduct(StringRef name) {
    if (name == "tdpbssd")
      return reinterpret_cast<void *>(addProducts<int8_t>);
    if (name == "tdpbusd")
      return reinterpret_cast<void *>(addProducts<uint8_t>);
    if (name == "tdpbf16ps")
      return reinterpret_cast<void *>(addHalfProducts);
    return nullptr;
  }

  Value makeTile() {
    OpBuilder::InsertionGuard restore(b);
    b.setInsertionPointToStart(&call->getParentOfType<FunctionOpInterface>()
                                    .getFunctionBody()
                                    .front());
    Value size = LLVM::ConstantOp::create(b, loc, b.getI64Type(), sizeof(Tile));
    return LLVM::AllocaOp::create(b, loc, pointer, b.getI8Type(), size,
                                  /*alignment=*/64);
  }

  void invoke(void *function, ArrayRef<Value> args) {
    Value address = LLVM::ConstantOp::create(
        b, loc, b.getI64Type(),
        b.getI64IntegerAttr(reinterpret_cast<intptr_t>(function)));
    SmallVector<Value> operands{
        LLVM::IntToPtrOp::create(b, loc, pointer, address)};
    llvm::append_range(operands, args);
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(b.getContext()),
        llvm::to_vector(ValueRange(args).getTypes()));
    LLVM::CallOp::create(b, loc, type, operands);
  }

  OpBuilder b;
  Location loc;
  LLVM::CallIntrinsicOp call;
  LLVM::LLVMPointerType pointer;
};
} // namespace

/// Tiles become pointers, in results and arguments of blocks (of loops).
static LogicalResult emulateTiles(ModuleOp module) {
  auto pointer = LLVM::LLVMPointerType::get(module.getContext());
  auto convert = [&](Value value) {
    if (isa<LLVM::LLVMX86AMXType>(value.getType()))
      value.setType(pointer);
  };
  SmallVector<LLVM::CallIntrinsicOp> calls;
  module.walk([&](Operation *op) {
    llvm::for_each(op->getResults(), convert);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        llvm::for_each(block.getArguments(), convert);
    auto call = dyn_cast<LLVM::CallIntrinsicOp>(op);
    if (call && (call.getIntrin().starts_with("llvm.x86.tile") ||
                 call.getIntrin().starts_with("llvm.x86.tdp")))
      calls.push_back(call);
  });
  for (LLVM::CallIntrinsicOp call : calls)
    if (!TileExpansion(call).run())
      return call.emitError() << "expected an intrinsic with an emulation";
  return success();
}

LogicalResult test::emulateOnAvx2(ModuleOp module, Capabilities &caps) {
  if (failed(emulateTiles(module)))
    return failure();
  SmallVector<LLVM::InlineAsmOp> assembly;
  module.walk([&](LLVM::InlineAsmOp op) { assembly.push_back(op); });
  for (LLVM::InlineAsmOp op : assembly)
    if (failed(expandAssembly(op)))
      return failure();
  SmallVector<LLVM::CallIntrinsicOp> calls;
  module.walk([&](LLVM::CallIntrinsicOp call) {
    if (call.getIntrin().contains("avx512"))
      calls.push_back(call);
  });
  for (LLVM::CallIntrinsicOp call : calls) {
    Expansion expansion(call);
    StringRef name = call.getIntrin();
    Value result;
    if (name == "llvm.x86.avx512.vpdpbusd.512")
      result = expansion.addProductsOfFour();
    else if (name == "llvm.x86.avx512.pmaddw.d.512")
      result = expansion.addPairsOfWords();
    else if (name == "llvm.x86.avx512.pmaddubs.w.512")
      result = expansion.addPairsOfBytes();
    else if (name == "llvm.x86.avx512.permvar.sf.512")
      result = expansion.permute();
    else
      return call.emitError() << "expected an intrinsic with an emulation";
    call.getResult(0).replaceAllUsesWith(result);
    call.erase();
  }
  caps.llvmCpu = "haswell";
  return success();
}
