//===- HostDialect.cpp - the host program -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/Host/HostDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace qcc::host;

#include "qcc/Dialect/Host/HostDialect.cpp.inc"
#include "qcc/Dialect/Host/HostEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "qcc/Dialect/Host/HostAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "qcc/Dialect/Host/HostOps.cpp.inc"

void HostDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "qcc/Dialect/Host/HostAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "qcc/Dialect/Host/HostOps.cpp.inc"
      >();
}

static LogicalResult verifySlots(EntryOp entry, DispatchOp dispatch) {
  for (Attribute attr : dispatch.getSlots()) {
    auto slot = dyn_cast<SlotAttr>(attr);
    if (!slot)
      return dispatch.emitOpError("expected slots");
    size_t limit = slot.getSpace() == Space::Arena   ? entry.getBuffers().size()
                   : slot.getSpace() == Space::Input ? entry.getInputs().size()
                   : slot.getSpace() == Space::Output
                       ? entry.getOutputs().size()
                       : SIZE_MAX;
    if (slot.getIndex() >= limit)
      return dispatch.emitOpError("expected a slot index below ")
             << limit << ", but got " << slot.getIndex();
  }
  return success();
}

LogicalResult EntryOp::verify() {
  auto all = [](ArrayAttr array, auto isKind) {
    return llvm::all_of(array, isKind);
  };
  auto isTensor = [](Attribute a) { return isa<TensorAttr>(a); };
  if (!all(getInputs(), isTensor) || !all(getOutputs(), isTensor))
    return emitOpError("expected inputs and outputs to be tensors");
  if (!all(getBuffers(), [](Attribute a) { return isa<BufferAttr>(a); }))
    return emitOpError("expected buffers");
  // A slot must name something that exists.
  WalkResult result = getBody().walk([&](DispatchOp dispatch) {
    return succeeded(verifySlots(*this, dispatch)) ? WalkResult::advance()
                                                   : WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

LogicalResult WeightsOp::verify() {
  auto end = dyn_cast<EndOp>(getBody().front().getTerminator());
  if (!end || end.getValues().size() != getOffsets().size())
    return emitOpError("expected as many values as offsets, ")
           << getOffsets().size();
  return success();
}
