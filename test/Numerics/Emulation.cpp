//===- Emulation.cpp - AVX-512 kernels on lesser machines -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Emulation.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::test;

bool test::needsEmulation(const Capabilities &caps) {
  return (caps.hasAvx512 && !(__builtin_cpu_supports("avx512bw") &&
                              __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl"))) ||
         (caps.hasVnni && !__builtin_cpu_supports("avx512vnni"));
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

  /// Element by element, the table's at the index's lowest four bits.
  Value permute() {
    Value table = call.getArgs()[0], at = call.getArgs()[1];
    at = arith::AndIOp::create(b, loc, at, constant(at, 15));
    Value result = table;
    for (int64_t i = 0; i < 16; ++i) {
      Value index = vector::ExtractOp::create(b, loc, at, i);
      index = arith::IndexCastOp::create(b, loc, b.getIndexType(), index);
      Value element = vector::ExtractOp::create(b, loc, table,
                                                ArrayRef<OpFoldResult>{index});
      result = vector::InsertOp::create(b, loc, element, result, i);
    }
    return result;
  }

private:
  Value constant(Value like, int64_t value) {
    auto type = cast<VectorType>(like.getType());
    return arith::ConstantOp::create(
        b, loc,
        DenseElementsAttr::get(type,
                               b.getIntegerAttr(type.getElementType(), value)));
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

LogicalResult test::emulateOnAvx2(ModuleOp module, Capabilities &caps) {
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
