//===- RoundToNearest.cpp - weights rounded to codes ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringSwitch.h"

namespace qcc {
#define GEN_PASS_DECL_ROUNDTONEAREST
#define GEN_PASS_DEF_ROUNDTONEAREST
#include "qcc/passes/RoundToNearest.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

struct RoundToNearestPass : qcc::impl::RoundToNearestBase<RoundToNearestPass> {
  using RoundToNearestBase::RoundToNearestBase;

  void runOnOperation() override {
    const Scheme *target = findScheme(getOperation().getLoc(), scheme);
    if (!target)
      return signalPassFailure();
    KeepRules rules;
    if (failed(rules.parse(getOperation().getLoc(), keep)))
      return signalPassFailure();
    SmallVector<Operation *> work;
    getOperation().walk([&](Operation *op) {
      if (isa<MatMulOp, ConvOp, ConvTransposeOp>(op) &&
          !isConstantExpression(op->getResult(0)))
        work.push_back(op);
    });
    for (Operation *op : work)
      visit(op, *target, rules);
  }

  /// When a scheme has no kernel for convolutions that has one otherwise.
  static StringRef getCondition(StringRef scheme) {
    if (scheme.starts_with("int8:"))
      return "; 'int8' has one";
    return llvm::StringSwitch<StringRef>(scheme.split(':').first)
        .Case("int8", " without calibration data")
        .Case("w4a8", " without calibration data, or with --algo")
        .Default("");
  }

  void visit(Operation *op, const Scheme &target, const KeepRules &rules) {
    StringRef rule = rules.match(getNodeName(op->getLoc()));
    if (!rule.empty())
      return noteOutcome(op, scheme, "f32", "kept: matches --keep=" + rule);
    bool isMixed = getOperation()->hasAttr(kAssignmentAttr);
    if (target.getKey().starts_with("int8") && !isMixed && isOfCodes(op))
      return;
    auto matmul = dyn_cast<MatMulOp>(op);
    if (!matmul) {
      // A pass before may know better.
      if (op->hasAttr("qcc.reason"))
        return;
      if (isMixed)
        return noteOutcome(op, scheme, "f32",
                           "kept: budgets choose among products; convolutions "
                           "take part with int8 and w4a8 alone");
      return noteOutcome(op, scheme, "f32",
                         "not supported: convolutions have no kernel for '" +
                             scheme + "'" + getCondition(scheme));
    }
    // A pass before had figures or samples to go by.
    auto reason = op->getAttrOfType<StringAttr>("qcc.reason");
    if (reason && reason.getValue().starts_with("kept"))
      return;
    const Scheme *assigned = getAssignedScheme(matmul, &target);
    if (!assigned) {
      StringRef why = getReason(op);
      // What was chosen among others is as it should be, a rule is not.
      bool isChoice = why.starts_with("assigned");
      return noteOutcome(op, isChoice ? StringRef("f32") : StringRef(scheme),
                         "f32", why);
    }
    std::string obstacle = getObstacle(matmul, *assigned);
    if (!obstacle.empty())
      return noteOutcome(op, scheme, "f32", obstacle);
    rewrite(matmul, *assigned);
  }

  /// Why a product has its precision.
  static StringRef getReason(Operation *op) {
    auto reason = op->getAttrOfType<StringAttr>(kAssignedReasonAttr);
    return reason ? reason.getValue() : "as asked";
  }

  /// What was asked for: a pass before may have kept a product at more bits.
  StringRef getRequested(Operation *op, StringRef key) {
    return getReason(op).starts_with("kept") ? StringRef(scheme) : key;
  }

  void rewrite(MatMulOp op, const Scheme &target) {
    StringRef key = op->hasAttr(kAssignedAttr) ? target.getKey() : scheme;
    OpBuilder b(op);
    Location loc = op.getLoc();
    Value weight = op.getRhs();
    auto type = cast<RankedTensorType>(weight.getType());
    if (op.getTransB()) {
      type = RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)},
                                   type.getElementType());
      weight = permute(b, loc, weight, {1, 0}).getResult();
    }
    int64_t k = type.getDimSize(0), n = type.getDimSize(1),
            group = target.getGroup() < k ? target.getGroup() : 0;
    auto format = FormatAttr::get(op.getContext(), target.getKey(), group,
                                  target.getZero().has_value());
    Value encoded = encode(b, op, encodedType(target, type), weight, format);
    if (target.getCompute() == SchemeCompute::Float) {
      auto multiply = [&](Value lhs) {
        return QMatMulOp::create(b, loc, op.getResult().getType(), lhs, encoded,
                                 format, n);
      };
      if (!target.roundsTokens()) {
        QMatMulOp product = multiply(op.getLhs());
        return replace(op, key, product, product.getResult());
      }
      if (target.getTokenFormat() == TokenFormat::BF16) {
        Value rounded = castTo(b, loc, op.getLhs(), b.getBF16Type());
        noteOutcome(rounded.getDefiningOp(), getRequested(op, key), key,
                    getReason(op));
        QMatMulOp product = multiply(rounded);
        return replace(op, key, product, product.getResult());
      }
      RoundedTokens tokens = roundTokens(b, loc, op.getLhs(),
                                         getTokenType(target, op.getContext()));
      QMatMulOp product = multiply(tokens.values);
      Value scaled = scaleTokens(b, loc, product.getResult(), tokens.scales);
      // What finds scales and applies them belongs to it.
      Operation *scales = tokens.scales.getDefiningOp();
      for (Operation *part :
           {scales->getOperand(0).getDefiningOp(), scales,
            tokens.values.getDefiningOp(), scaled.getDefiningOp()})
        noteOutcome(part, getRequested(op, key), key, getReason(op));
      return replace(op, key, product, scaled);
    }
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
    noteOutcome(rows, getRequested(op, key), key, getReason(op));
    replace(op, key, product, product.getResult());
  }

  void replace(MatMulOp op, StringRef key, QMatMulOp product, Value result) {
    noteOutcome(product, getRequested(op, key), key, getReason(op));
    for (StringRef name :
         {kAlgorithmAttr, kErrorAttr, kLayerErrorAttr, kTransformAttr})
      if (Attribute value = op->getAttr(name))
        product->setAttr(name, value);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }

  /// The weight in the scheme's storage, with the scales that an algorithm has
  /// chosen if one has.
  static Value encode(OpBuilder &b, MatMulOp op, Type result, Value weight,
                      FormatAttr format) {
    auto type = cast<RankedTensorType>(weight.getType());
    int64_t k = type.getDimSize(0), group = format.getGroup();
    auto getParam = [&](StringRef attribute, Type element) -> Value {
      auto key = op->getAttrOfType<StringAttr>(attribute);
      if (!key)
        return {};
      int64_t groups = group ? llvm::divideCeil(k, group) : 1;
      return ParamOp::create(
          b, op.getLoc(),
          RankedTensorType::get({groups, type.getDimSize(1)}, element), key);
    };
    Value scales = getParam(kScalesAttr, b.getF32Type()),
          zeros = getParam(kZerosAttr, b.getI32Type());
    return EncodeOp::create(b, op.getLoc(), result, weight,
                            /*importance=*/Value(), scales, zeros, format);
  }
};

} // namespace
