//===- RoundToNearest.cpp - weights rounded to codes ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "OwnCodes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"

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
    const Scheme *target = nullptr;
    if (scheme != "f32")
      target = findScheme(getOperation().getLoc(), scheme);
    if (!target && scheme != "f32")
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
    for (Operation *op : work) {
      auto matmul = dyn_cast<MatMulOp>(op);
      bool isKept = matmul && keepCodes(matmul, target, rules);
      if (!isKept && target)
        visit(op, *target, rules);
    }
  }

  /// Why a product is not to be done in the scheme: a rule, or a pass before
  /// that had figures or samples to go by.
  std::string getKeepReason(Operation *op, const KeepRules &rules) {
    // Without a format there is nothing to keep it from.
    std::string rule = scheme == "f32" ? "" : rules.getReason(op);
    if (!rule.empty())
      return rule;
    auto reason = op->getAttrOfType<StringAttr>("qcc.reason");
    return reason && reason.getValue().starts_with("kept")
               ? reason.getValue().str()
               : "";
  }

  /// Leaves a weight in the model's own codes, if it has some and nothing else
  /// was chosen.
  bool keepCodes(MatMulOp op, const Scheme *target, const KeepRules &rules) {
    auto assigned = op->getAttrOfType<StringAttr>(kAssignedAttr);
    if (op->hasAttr(kAlgorithmAttr) || (assigned && assigned != "f32"))
      return false;
    std::string reason = getKeepReason(op, rules), why;
    if (assigned && reason.empty())
      reason = getReason(op).str();
    if (assigned || !reason.empty())
      target = nullptr;
    const Scheme *own = findOwnScheme(op, target, why);
    if (!own) {
      if (!target && reason.empty() && !why.empty() &&
          !op->hasAttr("qcc.reason"))
        noteOutcome(op, "f32", "f32", why);
      return false;
    }
    // Between conversions the model asks for a product of codes.
    std::string requested = scheme == "f32" ? own->getKey().str() : scheme;
    auto refused = op->getAttrOfType<StringAttr>("qcc.reason");
    if (reason.empty() && refused && scheme == "f32") {
      requested = op->getAttrOfType<StringAttr>("qcc.requested").str();
      reason = refused.str();
    }
    if (reason.empty())
      reason = "as in the model";
    OpBuilder b(op);
    OwnCodes codes = buildOwnCodes(b, op, *own);
    rewrite(op, *own, {codes.weight, codes.scales, codes.zeros},
            {requested, own->getKey(), reason});
    return true;
  }

  /// Why a convolution stays float that no pass before has said anything of.
  static std::string getConvReason(StringRef scheme) {
    if (scheme == "int8" || scheme.split(':').first == "w4a8")
      return "not supported: convolutions get codes by qcc-quantize-static "
             "alone";
    return ("not supported: convolutions have no kernel for '" + scheme + "'" +
            (scheme.starts_with("int8:") ? "; 'int8' has one" : ""))
        .str();
  }

  void visit(Operation *op, const Scheme &target, const KeepRules &rules) {
    if (std::string rule = rules.getReason(op); !rule.empty())
      return noteOutcome(op, scheme, "f32", rule);
    std::string kept = getKeepReason(op, rules);
    bool isMixed = getOperation()->hasAttr(kAssignmentAttr);
    if (target.getKey().starts_with("int8") && !isMixed &&
        (isOfCodes(op) || isOfWideCodes(op)))
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
      return noteOutcome(op, scheme, "f32", getConvReason(scheme));
    }
    if (!kept.empty())
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

  /// A weight [K, N] and the scales and zero points that were chosen for it, if
  /// some were.
  struct Weight {
    Value value, scales, zeros;
  };
  /// What the report says of a product.
  struct Outcome {
    StringRef requested, executed, reason;
  };

  /// What was asked for: a pass before may have kept a product at more bits.
  Outcome getOutcome(Operation *op, StringRef key) {
    StringRef reason = getReason(op);
    return {reason.starts_with("kept") ? StringRef(scheme) : key, key, reason};
  }

  /// The weight with the scales that an algorithm has chosen if one has.
  static Weight getWeight(OpBuilder &b, MatMulOp op, const Scheme &target) {
    Weight weight{op.getRhs(), {}, {}};
    if (op.getTransB())
      weight.value = permute(b, op.getLoc(), weight.value, {1, 0}).getResult();
    auto type = cast<RankedTensorType>(weight.value.getType());
    int64_t k = type.getDimSize(0), group = target.getGroup(),
            groups = group && group < k ? llvm::divideCeil(k, group) : 1;
    auto getParam = [&](StringRef attribute, Type element) -> Value {
      auto key = op->getAttrOfType<StringAttr>(attribute);
      if (!key)
        return {};
      return ParamOp::create(
          b, op.getLoc(),
          RankedTensorType::get({groups, type.getDimSize(1)}, element), key);
    };
    weight.scales = getParam(kScalesAttr, b.getF32Type());
    weight.zeros = getParam(kZerosAttr, b.getI32Type());
    return weight;
  }

  void rewrite(MatMulOp op, const Scheme &target) {
    StringRef key = op->hasAttr(kAssignedAttr) ? target.getKey() : scheme;
    OpBuilder b(op);
    Outcome outcome = getOutcome(op, key);
    rewrite(op, target, getWeight(b, op, target), outcome);
  }

  void rewrite(MatMulOp op, const Scheme &target, Weight weight,
               Outcome outcome) {
    OpBuilder b(op);
    Location loc = op.getLoc();
    auto type = cast<RankedTensorType>(weight.value.getType());
    int64_t k = type.getDimSize(0), n = type.getDimSize(1),
            group = target.getGroup() < k ? target.getGroup() : 0;
    auto format = FormatAttr::get(op.getContext(), target.getKey(), group,
                                  target.getZero().has_value());
    Value encoded = EncodeOp::create(
        b, loc, encodedType(target, type), weight.value,
        /*importance=*/Value(), weight.scales, weight.zeros, format);
    auto note = [&](Operation *part) {
      noteOutcome(part, outcome.requested, outcome.executed, outcome.reason);
    };
    if (target.getCompute() == SchemeCompute::Float) {
      auto multiply = [&](Value lhs) {
        return QMatMulOp::create(b, loc, op.getResult().getType(), lhs, encoded,
                                 format, n);
      };
      if (!target.roundsTokens()) {
        QMatMulOp product = multiply(op.getLhs());
        return replace(op, outcome, product, product.getResult());
      }
      if (target.getTokenFormat() == TokenFormat::BF16) {
        Value rounded = castTo(b, loc, op.getLhs(), b.getBF16Type());
        note(rounded.getDefiningOp());
        QMatMulOp product = multiply(rounded);
        return replace(op, outcome, product, product.getResult());
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
        note(part);
      return replace(op, outcome, product, scaled);
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
    note(rows);
    replace(op, outcome, product, product.getResult());
  }

  void replace(MatMulOp op, const Outcome &outcome, QMatMulOp product,
               Value result) {
    noteOutcome(product, outcome.requested, outcome.executed, outcome.reason);
    for (StringRef name : {kAlgorithmAttr, kErrorAttr, kErrorOfAttr,
                           kLayerErrorAttr, kTransformAttr})
      if (Attribute value = op->getAttr(name))
        product->setAttr(name, value);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }
};

} // namespace
