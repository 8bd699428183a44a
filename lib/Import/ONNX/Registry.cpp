//===- Registry.cpp - which function converts which operator ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"
#include "ElementTypes.h"
#include "llvm/Support/raw_ostream.h"

namespace qcc {
namespace onnx_import {

static std::string makeKey(llvm::StringRef domain, llvm::StringRef op) {
  return (domain + "\n" + op).str();
}

Registry::Registry() {
  registerElementwise(*this);
  registerActivation(*this);
  registerControlFlow(*this);
  registerShape(*this);
  registerMovement(*this);
  registerSlice(*this);
  registerIndexing(*this);
  registerRecurrent(*this);
  registerReduction(*this);
  registerConv(*this);
  registerPool(*this);
  registerNorm(*this);
  registerMatMul(*this);
  registerAttention(*this);
  registerResize(*this);
  registerQuantized(*this);
  registerMisc(*this);
  registerSampling(*this);
  registerScatter(*this);
  registerSignal(*this);
  registerRegions(*this);
  registerUnpool(*this);
  registerFusedAttention(*this);
  registerGroupQueryAttention(*this);
  registerMixtureOfExperts(*this);
  registerForest(*this);
  registerLearning(*this);
  registerSelection(*this);
  registerSequences(*this);
  registerSorting(*this);
  registerMatrix(*this);
  registerLinearAttention(*this);
  llvm::sort(support, [](const OpSupport &a, const OpSupport &b) {
    return std::tie(a.domain, a.op, a.sinceOpset) <
           std::tie(b.domain, b.op, b.sinceOpset);
  });
}

void Registry::add(llvm::StringRef domain, std::initializer_list<Entry> list) {
  for (const Entry &entry : list) {
    std::vector<Entry> &versions = entries[makeKey(domain, entry.op)];
    versions.push_back(entry);
    llvm::sort(versions, [](const Entry &a, const Entry &b) {
      return a.sinceOpset < b.sinceOpset;
    });
    // What has no inputs has no types.
    std::string types =
        entry.maxInputs ? describeTypes(getDataTypes(domain, entry.op).types)
                        : "";
    support.push_back({domain, entry.op, entry.sinceOpset, types, entry.notes});
  }
}

const Entry *Registry::find(llvm::StringRef domain, llvm::StringRef op,
                            int64_t opset, bool *known) const {
  auto found = entries.find(makeKey(domain, op));
  if (known)
    *known = found != entries.end();
  if (found == entries.end())
    return nullptr;
  const Entry *best = nullptr;
  for (const Entry &entry : found->second)
    if (entry.sinceOpset <= opset)
      best = &entry;
  return best;
}

bool takesSmallFloats(llvm::StringRef op) {
  static constexpr llvm::StringLiteral kOps[] = {"BitCast",
                                                 "Cast",
                                                 "CastLike",
                                                 "Concat",
                                                 "DepthToSpace",
                                                 "Expand",
                                                 "Flatten",
                                                 "Gather",
                                                 "GatherElements",
                                                 "GatherND",
                                                 "Identity",
                                                 "If",
                                                 "Loop",
                                                 "QLinearMatMul",
                                                 "QuantizeLinear",
                                                 "Reshape",
                                                 "Scan",
                                                 "Shape",
                                                 "Size",
                                                 "Slice",
                                                 "SpaceToDepth",
                                                 "Split",
                                                 "Squeeze",
                                                 "Tile",
                                                 "Transpose",
                                                 "Unsqueeze",
                                                 "DequantizeLinear",
                                                 "SequenceConstruct",
                                                 "SequenceInsert",
                                                 "SplitToSequence"};
  return llvm::is_contained(kOps, op);
}

const Registry &getRegistry() {
  static const Registry registry;
  return registry;
}

} // namespace onnx_import

llvm::ArrayRef<OpSupport> getSupportedOps() {
  return onnx_import::getRegistry().getSupport();
}

void printSupportedOps(llvm::raw_ostream &os) {
  os << "# ONNX operators\n\nMade by `qcc check --list-ops`; do not edit. "
        "Models from opset 6 to 28 are read. An operator that "
        "is not listed is refused with QCC-E301, which names the node; `qcc "
        "check MODEL` lists all of them. Element types are those of the input "
        "that is computed with; a node with another type is refused with "
        "QCC-E302. Floats are float16, bfloat16, float and double.\n\n"
        "An initializer that is an input of the graph as well, as IR version 4 "
        "and later allow for values that may be overridden, is a constant: the "
        "artifact has no such input, and `qcc inspect MODEL` names them. Take "
        "the initializer out of the model for an input.\n\n"
        "| domain | operator | from opset | element types | what is not "
        "supported, and notes |\n|---|---|---|---|---|\n";
  for (const OpSupport &op : getSupportedOps())
    os << "| " << (op.domain.empty() ? "ai.onnx" : op.domain) << " | " << op.op
       << " | " << op.sinceOpset << " | " << op.types << " | " << op.notes
       << " |\n";
}

} // namespace qcc
