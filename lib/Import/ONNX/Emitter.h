//===- Emitter.h - builds tensor operations with inferred types -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_EMITTER_H
#define QCC_LIB_IMPORT_ONNX_EMITTER_H

#include "Body.h"
#include "ShapeData.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"

namespace qcc::onnx_import {

/// Computes one element. The arguments are the scalars of the inputs (f16 and
/// bf16 widened to f32), then the whole tensors; the result is narrowed to the
/// tensor's element type.
using BodyFn = llvm::function_ref<mlir::Value(Body &, mlir::ValueRange)>;

/// The symbols of the module that is imported, and what is assumed of sizes.
struct SymbolContext {
  /// Names by position.
  std::vector<std::string> names;
  /// Symbols from this position on get their values while an entry runs.
  size_t firstRuntime = SIZE_MAX;
  /// What must hold when an entry starts: maps as in kChecksAttr, and the nodes
  /// that need it.
  llvm::SmallVector<std::pair<mlir::AffineMap, std::string>> checks;
  /// Expressions that are not negative, although their form does not show it.
  llvm::DenseSet<mlir::AffineExpr> nonNegative;

  /// True if a size is not known before an entry runs.
  bool isRuntime(mlir::AffineExpr expr) const;
};

/// Most symbols of a module, those found at run time included.
inline constexpr size_t kMaxModuleSymbols = 16384;

/// A fault of the model or a limit of the importer, found in a node.
struct Problem {
  Diag id;
  std::string text;
};

/// True if an expression of sizes cannot be negative: sizes never are, so
/// neither are sums, products and quotients of them.
bool isNonNegative(mlir::AffineExpr expr);

/// 1 for an expression between -2^40 and 2^40 that is 0 or more, else 0.
mlir::AffineExpr isAtLeastZero(mlir::AffineExpr expr);

/// The larger one of an expression between -2^40 and 2^40 and 0, as an
/// expression; the smaller one of a size and a constant.
mlir::AffineExpr maxZero(mlir::AffineExpr expr);
mlir::AffineExpr minSize(mlir::AffineExpr size, int64_t bound);

/// Emits operations at one location. A function that finds a fault records the
/// first one and returns a null value; values that are null may be passed on,
/// and give null again.
class Emitter {
public:
  Emitter(mlir::OpBuilder &builder, mlir::Location loc, ShapeTable &shapes,
          SymbolContext &symbols)
      : b(loc, builder), shapes(shapes), symbols(symbols) {}

  mlir::ImplicitLocOpBuilder b;
  ShapeTable &shapes;
  SymbolContext &symbols;

  /// Records a problem (the first one counts).
  mlir::LogicalResult refuse(Diag id, const llvm::Twine &text);
  const std::optional<Problem> &getProblem() const { return problem; }

  // Types.
  static Dims dims(mlir::Value value) { return getDims(value.getType()); }
  static mlir::Type elem(mlir::Value value) {
    return mlir::cast<mlir::RankedTensorType>(value.getType()).getElementType();
  }
  static int64_t rank(mlir::Value value) {
    return mlir::cast<mlir::RankedTensorType>(value.getType()).getRank();
  }
  mlir::AffineExpr size(int64_t value) {
    return mlir::getAffineConstantExpr(value, b.getContext());
  }
  mlir::AffineExpr d(unsigned position) {
    return mlir::getAffineDimExpr(position, b.getContext());
  }
  Dims sizes(llvm::ArrayRef<int64_t> values);
  mlir::Type f32() { return b.getF32Type(); }
  mlir::Type i64() { return b.getI64Type(); }

  // Sizes.
  /// Says that two sizes are equal: true if they are, a run-time check if that
  /// is not known, BadShape if they are not.
  bool requireEqual(mlir::AffineExpr x, mlir::AffineExpr y,
                    const llvm::Twine &what);
  /// Says that `x` is not less than `y`, in the same way.
  bool requireAtLeast(mlir::AffineExpr x, mlir::AffineExpr y,
                      const llvm::Twine &what);
  /// A size times a number; null with LimitReached recorded if that is too
  /// large to be counted.
  mlir::AffineExpr scaled(mlir::AffineExpr dim, int64_t factor);
  /// Ends the run where the size of an operation's result is negative: of two
  /// such sizes the product would not be. To be called behind the operation.
  void checkResultSizes(mlir::Operation *op);
  /// Ends the run where two sizes differ: in an entry before its first step if
  /// that can be, else here. The error shows the sizes `got` and `wanted`,
  /// where they are given and short, in place of the two.
  void check(mlir::AffineExpr x, mlir::AffineExpr y, mlir::AffineExpr got = {},
             mlir::AffineExpr wanted = {});

  /// Ends the run where an operation computes elements, of which `space` has
  /// the sizes, and one of the sizes that its body reads from is 0; BadShape
  /// where that is known.
  mlir::LogicalResult requireElements(mlir::Operation *op,
                                      mlir::ValueRange sizes,
                                      const Dims &space);
  /// Ends the run here, by a message with the node's name, where two sizes
  /// differ.
  void checkHere(mlir::AffineExpr x, mlir::AffineExpr y);

  // Sizes found at run time.
  /// A new symbol, named after the node; null with a problem recorded if there
  /// are too many.
  mlir::AffineExpr addRuntimeSymbol();
  /// Element `i` (row-major) of an integer tensor as an expression: what is
  /// known of it, else a symbol that is bound to it where the tensor is
  /// defined. May be negative.
  mlir::AffineExpr readElement(mlir::Value tensor, int64_t i);
  /// What is known of that element without reading it; null if nothing is.
  mlir::AffineExpr traceKnown(mlir::Value tensor, int64_t i);
  /// Binds a symbol to an expression here.
  void bind(mlir::AffineExpr symbol, mlir::AffineExpr value);
  /// A symbol of its own for a size that may be 1 where it is broadcast, or
  /// that is too long to be written in others; null with a problem recorded if
  /// there are too many. Constants and symbols stay.
  mlir::AffineExpr nameSize(mlir::AffineExpr value);
  /// Ends the run here, by a message with the node's name, unless the condition
  /// holds that a body computes from whole tensors.
  mlir::LogicalResult
  checkValues(mlir::ValueRange whole,
              llvm::function_ref<mlir::Value(Body &, mlir::ValueRange)> holds);
  /// An i64 vector of values that a body computes from whole tensors.
  mlir::Value computeInts(mlir::ValueRange whole,
                          llvm::function_ref<llvm::SmallVector<mlir::Value>(
                              Body &, mlir::ValueRange)>
                              fn,
                          int64_t count);

  /// The dimensions that numpy's broadcasting gives. Of two different symbols
  /// one may be 1 at run time, a symbol where a computed size is not, and a
  /// computed size where a constant is not; of two different sizes of the same
  /// symbols (N and N - 1) either. With `assumeEqual`, and for other computed
  /// sizes, they are taken as equal, with a check.
  std::optional<Dims> broadcastDims(llvm::ArrayRef<Dims> operands,
                                    bool assumeEqual = false);
  /// How a tensor is read as one of a shape that it broadcasts to.
  mlir::AffineMap broadcastMap(const Dims &from, const Dims &to);
  /// The size that two sizes, neither of them known to be 1, broadcast to.
  mlir::AffineExpr broadcastPair(mlir::AffineExpr have, mlir::AffineExpr dim);
  /// An axis in [0, rank); BadAttribute otherwise.
  std::optional<int64_t> normalizeAxis(int64_t axis, int64_t rank);

  // Generics.
  mlir::Value generic(const Dims &dims, mlir::Type elementType,
                      mlir::ValueRange inputs,
                      llvm::ArrayRef<mlir::AffineMap> maps,
                      mlir::ValueRange whole, BodyFn fn);
  mlir::Value reduction(Combiner combiner, const Dims &dims,
                        mlir::Type elementType, mlir::ValueRange inputs,
                        llvm::ArrayRef<mlir::AffineMap> maps,
                        mlir::ValueRange whole, const Dims &over, BodyFn fn);
  /// One element of the result per element of the broadcast operands.
  mlir::Value elementwise(mlir::ValueRange inputs, mlir::Type elementType,
                          BodyFn fn);
  /// As elementwise on one operand whose element type stays.
  mlir::Value unary(mlir::Value input,
                    llvm::function_ref<mlir::Value(Body &, mlir::Value)> fn);
  /// Reads `input` at the map's element; no arithmetic.
  mlir::Value copy(const Dims &dims, mlir::Value input, mlir::AffineMap map);
  /// A tensor made of nothing but its indices.
  mlir::Value generate(const Dims &dims, mlir::Type elementType,
                       llvm::function_ref<mlir::Value(Body &)> fn);

  // Movement.
  mlir::Value transpose(mlir::Value input, llvm::ArrayRef<int64_t> permutation);
  mlir::Value reshape(mlir::Value input, const Dims &dims);
  mlir::Value broadcastTo(mlir::Value input, const Dims &dims);
  /// `size` elements of an axis from `start` on, every `step`-th.
  mlir::Value slice(mlir::Value input, int64_t axis, mlir::AffineExpr start,
                    mlir::AffineExpr size, int64_t step = 1);
  mlir::Value concat(mlir::ValueRange inputs, int64_t axis);
  /// Inserts dimensions of size 1 so that the rank becomes `rank` with the
  /// dimensions at its end or its start.
  mlir::Value expandRank(mlir::Value input, int64_t rank, bool atEnd = false);

  // Arithmetic on tensors.
  mlir::Value cast(mlir::Value input, mlir::Type elementType,
                   SmallFloatRounding rounding = {});
  /// The same bits as another type of the same width.
  mlir::Value bitcast(mlir::Value input, mlir::Type elementType);
  /// f16 and bf16 as f32: named operations see no narrower floats.
  mlir::Value widen(mlir::Value input);
  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, mlir::Value y);
  /// Reduces axes; `fn` maps an element before it is combined (null: as it is).
  /// Unsigned and boolean elements are combined as i64, f16 and bf16 as f32,
  /// and `elementType` says what they become.
  mlir::Value
  reduce(Combiner combiner, mlir::Value input, llvm::ArrayRef<int64_t> axes,
         bool keepDims, mlir::Type elementType,
         llvm::function_ref<mlir::Value(Body &, mlir::Value)> fn = nullptr);
  /// Softmax over any axis.
  mlir::Value softmax(mlir::Value input, int64_t axis, bool log);
  /// Matrix product with numpy's rules for ranks 1 and more; floats narrower
  /// than f32 are widened, and narrowed after.
  mlir::Value matmul(mlir::Value lhs, mlir::Value rhs, bool transA = false,
                     bool transB = false);

  // Constants.
  mlir::Value constant(mlir::DenseElementsAttr value);
  mlir::Value scalar(double value, mlir::Type elementType);
  mlir::Value constantInts(llvm::ArrayRef<int64_t> values);
  mlir::Value filled(const Dims &dims, double value, mlir::Type elementType);
  /// A tensor of elements that are known as expressions.
  mlir::Value materialize(const ShapeElements &elements,
                          mlir::RankedTensorType type);

protected:
  mlir::Value build(Combiner combiner, const Dims &dims, mlir::Type elementType,
                    mlir::ValueRange inputs,
                    llvm::ArrayRef<mlir::AffineMap> maps,
                    mlir::ValueRange whole, const Dims &over, bool widenInputs,
                    BodyFn fn);
  mlir::AffineMap map(unsigned numDims,
                      llvm::ArrayRef<mlir::AffineExpr> results);

  std::optional<Problem> problem;

public:
  /// A map of `numDims` dimensions and as many symbols as its results use.
  mlir::AffineMap makeMap(unsigned numDims,
                          llvm::ArrayRef<mlir::AffineExpr> results) {
    return map(numDims, results);
  }
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_EMITTER_H
