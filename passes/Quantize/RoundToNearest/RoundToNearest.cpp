//===- RoundToNearest.cpp - weights rounded to codes ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Regex.h"

namespace qcc {
#define GEN_PASS_DECL_ROUNDTONEAREST
#define GEN_PASS_DEF_ROUNDTONEAREST
#include "qcc/passes/RoundToNearest.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Weights with fewer rows stay float: quantizing the activations costs as much
/// as the product saves.
static constexpr int64_t kMinRows = 16;
/// Products of bytes over more rows may not fit 32 bits.
static constexpr int64_t kMaxGroup = 1 << 16;

/// Notes what became of an operation.
static void note(Operation *op, StringRef requested, StringRef executed,
                 const Twine &reason) {
  Builder b(op->getContext());
  op->setAttr("qcc.requested", b.getStringAttr(requested));
  op->setAttr("qcc.executed", b.getStringAttr(executed));
  op->setAttr("qcc.reason", b.getStringAttr(reason));
}

/// Why a product cannot or should not be done in the scheme; empty if it can.
static std::string getObstacle(MatMulOp op, const Scheme &scheme) {
  auto weight = cast<RankedTensorType>(op.getRhs().getType());
  auto lhs = cast<RankedTensorType>(op.getLhs().getType());
  if (!isConstantExpression(op.getRhs()))
    return "kept: both operands are activations";
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return "not supported: the weight is not a matrix";
  if (!weight.getElementType().isF32() || !lhs.getElementType().isF32())
    return "not supported: operands are not f32";
  if (op.getTransA())
    return "not supported: the activation is transposed";
  int64_t k = weight.getDimSize(op.getTransB() ? 1 : 0),
          n = weight.getDimSize(op.getTransB() ? 0 : 1);
  bool integer = scheme.getCompute() == SchemeCompute::Integer;
  std::optional<EncodedLayout> layout = getEncodedLayout(scheme, k, n);
  if (!layout || (integer && layout->groupK > kMaxGroup))
    return "not supported: the weight is too large";
  return k < kMinRows ? "kept: not faster" : "";
}

namespace {

struct RoundToNearestPass : qcc::impl::RoundToNearestBase<RoundToNearestPass> {
  using RoundToNearestBase::RoundToNearestBase;

  void runOnOperation() override {
    llvm::Expected<const Scheme *> found =
        getSchemes(&getContext()).find(scheme);
    if (!found) {
      llvm::handleAllErrors(found.takeError(), [&](const CodedError &error) {
        emitCoded(getOperation().getLoc(), error.getDiag()) << error.getText();
      });
      return signalPassFailure();
    }
    SmallVector<llvm::Regex> rules;
    for (const std::string &pattern : keep) {
      std::string problem;
      if (!rules.emplace_back(pattern).isValid(problem)) {
        emitCoded(getOperation().getLoc(), Diag::Usage)
            << "expected a regular expression, but got '" << pattern
            << "': " << problem;
        return signalPassFailure();
      }
    }
    SmallVector<Operation *> work;
    getOperation().walk([&](Operation *op) {
      if (isa<MatMulOp, ConvOp, ConvTransposeOp>(op) &&
          !isConstantExpression(op->getResult(0)))
        work.push_back(op);
    });
    for (Operation *op : work)
      visit(op, **found, rules);
  }

  void visit(Operation *op, const Scheme &target,
             MutableArrayRef<llvm::Regex> rules) {
    StringRef name = getNodeName(op->getLoc());
    for (auto [rule, text] : llvm::zip_equal(rules, keep))
      if (rule.match(name))
        return note(op, scheme, "f32", "kept: matches --keep=" + text);
    auto matmul = dyn_cast<MatMulOp>(op);
    if (!matmul) {
      // A pass before may know better.
      if (!op->hasAttr("qcc.reason"))
        note(op, scheme, "f32",
             "not supported: convolutions have no kernel for '" + scheme +
                 "' without calibration data");
      return;
    }
    std::string obstacle = getObstacle(matmul, target);
    if (!obstacle.empty())
      return note(op, scheme, "f32", obstacle);
    rewrite(matmul, target);
  }

  void rewrite(MatMulOp op, const Scheme &target) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    Value weight = op.getRhs();
    auto type = cast<RankedTensorType>(weight.getType());
    if (op.getTransB()) {
      type = RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)},
                                   type.getElementType());
      weight = transpose(b, loc, weight, type);
    }
    int64_t k = type.getDimSize(0), n = type.getDimSize(1),
            group = target.getGroup() < k ? target.getGroup() : 0;
    auto format = FormatAttr::get(op.getContext(), target.getKey(), group,
                                  target.getZero().has_value());
    Value encoded =
        EncodeOp::create(b, loc, encodedType(target, type), weight, format);
    if (target.getCompute() == SchemeCompute::Float)
      return replace(op, QMatMulOp::create(b, loc, op.getResult().getType(),
                                           op.getLhs(), encoded, format, n));
    SmallVector<AffineExpr> dims = getDims(op.getLhs().getType());
    auto activation = [&](Type element, int64_t last) {
      dims.back() = getAffineConstantExpr(last, op.getContext());
      return makeTensorType(dims, element);
    };
    int64_t groups = group ? llvm::divideCeil(k, group) : 1;
    auto rows = QuantizeRowsOp::create(b, loc, activation(b.getI8Type(), k),
                                       activation(b.getF32Type(), groups),
                                       activation(b.getI32Type(), groups),
                                       op.getLhs(), group);
    auto product = QMatMulOp::create(b, loc, op.getResult().getType(),
                                     rows.getResults(), encoded, format, n);
    note(rows, scheme, scheme, "as asked");
    replace(op, product);
  }

  void replace(MatMulOp op, QMatMulOp product) {
    note(product, scheme, scheme, "as asked");
    op.getResult().replaceAllUsesWith(product.getResult());
    op.erase();
  }

  /// The weight with its dimensions swapped, a constant expression.
  static Value transpose(OpBuilder &b, Location loc, Value weight,
                         RankedTensorType type) {
    MLIRContext *context = b.getContext();
    AffineMap swap = AffineMap::get(
        2, 0, {getAffineDimExpr(1, context), getAffineDimExpr(0, context)},
        context);
    auto copy = GenericOp::create(
        b, loc, type, Combiner::None, ValueRange{weight},
        b.getAffineMapArrayAttr({swap}), ValueRange{}, AffineMapAttr());
    OpBuilder::InsertionGuard guard(b);
    Block *block = b.createBlock(&copy.getBody());
    Value element = block->addArgument(type.getElementType(), loc);
    YieldOp::create(b, loc, element);
    return copy.getResult();
  }
};

} // namespace
