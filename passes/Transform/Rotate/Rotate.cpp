//===- Rotate.cpp - rotations folded into weights ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RotateMath.h"
#include "Stream.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/ScaleFold.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"

namespace qcc {
#define GEN_PASS_DECL_ROTATE
#define GEN_PASS_DEF_ROTATE
#include "qcc/passes/Rotate.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;
using rotate::Rotation;

namespace {

struct RotatePass : qcc::impl::RotateBase<RotatePass> {
  using RotateBase::RotateBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    ModuleOp module = getOperation();
    workspace = requireWorkspace(module, "rotate");
    if (!workspace)
      return failure();
    OwningOpRef<ModuleOp> before = module.clone();
    auto func = *module.getOps<func::FuncOp>().begin();
    bool changed = false;
    if (stream)
      if (llvm::Error error = rotateStreams(func, changed))
        return qcc::emitError(module.getLoc(), std::move(error));
    if (heads)
      if (llvm::Error error = rotateHeads(func, changed))
        return qcc::emitError(module.getLoc(), std::move(error));
    if (!changed)
      return success();
    noteOthers(func);
    return checkSameOutputs(*workspace, *before, module);
  }

private:
  /// Products that nothing was told of have inputs of another kind.
  static void noteOthers(func::FuncOp func) {
    func.walk([](MatMulOp op) {
      if (!op->hasAttr(kTransformAttr) && isConstantExpression(op.getRhs()))
        addTransformNote(op, "rotate: not rotated: neither a norm nor an "
                             "attention makes its inputs");
    });
  }

  llvm::Error rotateStreams(func::FuncOp func, bool &changed) {
    llvm::DenseSet<Value> seen;
    llvm::DenseSet<Operation *> told;
    SmallVector<NormOp> norms;
    func.walk([&](NormOp op) { norms.push_back(op); });
    for (NormOp norm : norms) {
      if (seen.contains(norm.getInput()))
        continue;
      rotate::Stream found = rotate::findStream(norm.getInput());
      seen.insert(found.values.begin(), found.values.end());
      std::optional<Rotation> rotation;
      if (found.obstacle.empty()) {
        rotation = Rotation::make(found.channels, seed);
        if (!rotation)
          found.obstacle = "there is no rotation of " +
                           std::to_string(found.channels) + " channels";
      }
      // Of a product behind several streams the first obstacle is enough.
      for (const auto &[reader, gain] : found.readers)
        if (rotation || told.insert(reader).second)
          addTransformNote(reader,
                           rotation ? "rotate: inputs"
                                    : "rotate: not rotated: " + found.obstacle);
      if (!rotation)
        continue;
      changed = true;
      if (llvm::Error error = rotateStream(found, *rotation))
        return error;
    }
    return llvm::Error::success();
  }

  llvm::Error rotateStream(const rotate::Stream &found,
                           const Rotation &rotation) {
    for (auto [reader, gain] : found.readers) {
      std::vector<float> gains;
      if (gain) {
        auto values = workspace->evaluate(gain->get());
        if (!values)
          return values.takeError();
        gains = std::move(*values);
      }
      if (llvm::Error error = rotateRows(reader, rotation, gains))
        return error;
    }
    for (const auto &[reader, gain] : found.readers)
      if (gain)
        setToOne(*gain);
    for (OpOperand *maker : found.makers) {
      auto matmul = dyn_cast<MatMulOp>(maker->getOwner());
      int64_t last =
          cast<RankedTensorType>(maker->get().getType()).getRank() - 1;
      if (llvm::Error error = rotateConstant(
              *maker, matmul && matmul.getTransB() ? 0 : last, rotation))
        return error;
    }
    return llvm::Error::success();
  }

  llvm::Error rotateHeads(func::FuncOp func, bool &changed) {
    SmallVector<MatMulOp> readers;
    func.walk([&](MatMulOp op) { readers.push_back(op); });
    for (MatMulOp reader : readers) {
      std::optional<rotate::Heads> found = rotate::findHeads(reader);
      if (!found)
        continue;
      std::optional<Rotation> rotation;
      if (found->obstacle.empty()) {
        rotation = Rotation::make(found->size, seed + 1);
        if (!rotation)
          found->obstacle = "there is no rotation of heads of " +
                            std::to_string(found->size) + " channels";
      }
      addTransformNote(reader, rotation ? "rotate: heads of its inputs"
                                        : "rotate: heads not rotated: " +
                                              found->obstacle);
      if (!rotation)
        continue;
      changed = true;
      if (llvm::Error error = rotateRows(reader, *rotation, {}))
        return error;
      for (rotate::Heads::Maker maker : found->makers)
        if (llvm::Error error = rotateConstant(
                *maker.operand, maker.dim, *rotation, maker.first, maker.count))
          return error;
    }
    return llvm::Error::success();
  }

  /// Rotates the rows of a layer's weight, which its inputs are multiplied
  /// with, after multiplying them with `gains`.
  llvm::Error rotateRows(MatMulOp layer, const Rotation &rotation,
                         ArrayRef<float> gains) {
    auto values = readWeight(*workspace, layer);
    if (!values)
      return values.takeError();
    int64_t k = getWeightRows(layer), n = getWeightColumns(layer);
    rotation.applyToColumns(*values, k, n, gains);
    OpBuilder b(layer);
    auto param = workspace->addParameter(
        b, layer.getRhs().getLoc(),
        getNodeName(layer.getLoc()).str() + ".rotated", *values, {k, n});
    if (!param)
      return param.takeError();
    layer.getRhsMutable().set(*param);
    layer.setTransB(false);
    return llvm::Error::success();
  }

  /// Rotates a constant along its first (of two) or last dimension: `count`
  /// channels from `first` on, or all of them.
  llvm::Error rotateConstant(OpOperand &operand, int64_t dim,
                             const Rotation &rotation, int64_t first = 0,
                             int64_t count = -1) {
    auto type = cast<RankedTensorType>(operand.get().getType());
    if (count < 0)
      count = type.getDimSize(dim);
    auto values = workspace->evaluate(operand.get());
    if (!values)
      return values.takeError();
    int64_t last = type.getDimSize(type.getRank() - 1),
            rows = last ? type.getNumElements() / last : 0;
    MutableArrayRef<float> all(*values);
    if (dim != type.getRank() - 1)
      rotation.applyToColumns(all.slice(first * last, count * last), count,
                              last);
    else
      for (int64_t row = 0; row < rows; ++row)
        rotation.applyToRows(all.slice(row * last + first, count), 1, count);
    Operation *owner = operand.getOwner();
    OpBuilder b(owner);
    auto param =
        workspace->addParameter(b, operand.get().getLoc(),
                                getNodeName(owner->getLoc()).str() + ".rotated",
                                *values, type.getShape());
    if (!param)
      return param.takeError();
    operand.set(*param);
    return llvm::Error::success();
  }

  /// What was multiplied into the weights behind it. Stays a constant of its
  /// own, so that scales can still be folded into it.
  static void setToOne(OpOperand &gain) {
    OpBuilder b(gain.getOwner());
    auto type = cast<RankedTensorType>(gain.get().getType());
    gain.set(ConstantOp::create(b, gain.get().getLoc(), type,
                                DenseElementsAttr::get(type, 1.0f)));
  }

  Workspace *workspace = nullptr;
};

} // namespace
