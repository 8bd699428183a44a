//===- Reporting.cpp - what became of every operation -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include <map>

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

/// A size expression as people write it, with the symbols' names.
static std::string getSizeText(AffineMapAttr map, ArrayRef<StringRef> names) {
  if (!map)
    return "";
  std::string text, result;
  llvm::raw_string_ostream(text) << map.getValue().getResult(0);
  // In one go: a name may look like another symbol. No word of an expression
  // has a digit behind its s.
  for (StringRef rest = text; !rest.empty();) {
    StringRef digits = rest.drop_front().take_while(llvm::isDigit);
    size_t symbol;
    if (rest.front() == 's' && !digits.getAsInteger(10, symbol) &&
        symbol < names.size()) {
      result += names[symbol];
      rest = rest.drop_front(1 + digits.size());
    } else {
      result += rest.front();
      rest = rest.drop_front();
    }
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

/// All nodes that a location names, in order.
static void collectNames(Location loc, llvm::SetVector<StringRef> &names) {
  if (auto name = dyn_cast<NameLoc>(loc))
    names.insert(name.getName().getValue());
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location inner : fused.getLocations())
      collectNames(inner, names);
}

/// What a kernel's products are made of: "int8", or the type of its result.
static std::string getCompute(KernelOp kernel) {
  bool isInteger = false;
  std::string type;
  kernel.getBody().walk([&](Operation *op) {
    isInteger |= isa<IntMatMulOp, IntConvOp>(op);
    if (auto attention = dyn_cast<AttentionOp>(op))
      isInteger |= attention.getInt8();
    if (auto product = dyn_cast<QMatMulOp>(op)) {
      auto scheme =
          getSchemes(op->getContext()).find(product.getFormat().getScheme());
      if (!scheme)
        llvm::consumeError(scheme.takeError());
      else
        isInteger |= (*scheme)->getCompute() == SchemeCompute::Integer;
    }
    if (auto yield = dyn_cast<YieldOp>(op);
        yield && yield->getParentOp() == kernel && yield->getNumOperands())
      if (auto tensor =
              dyn_cast<RankedTensorType>(yield.getValues()[0].getType()))
        llvm::raw_string_ostream(type) << tensor.getElementType();
  });
  return isInteger ? "int8" : type;
}

namespace {

/// Makes the lines of a planned module.
class OpReporter {
public:
  /// `hasCodes`: tensors of 8 bits are codes of activations, not numbers of the
  /// model.
  OpReporter(ModuleOp module, StringRef precision, bool hasCodes,
             std::vector<int64_t> sizes)
      : precision(precision), hasCodes(hasCodes), names(getSymbolNames(module)),
        sizes(std::move(sizes)) {
    for (auto kernel : module.getOps<KernelOp>())
      computes[kernel.getSymName()] = getCompute(kernel);
    for (auto weights : module.getOps<host::WeightsOp>()) {
      auto end = cast<host::EndOp>(weights.getBody().front().getTerminator());
      for (auto [offset, value] :
           llvm::zip_equal(weights.getOffsets(), end.getValues()))
        weightBytes[offset] = getTensorBytes(value.getType()).value_or(0);
    }
  }

  OpReport report(host::DispatchOp op, StringRef entry, unsigned site) const;
  ArrayRef<StringRef> getNames() const { return names; }

private:
  uint64_t getWeightBytes(host::DispatchOp op) const;

  std::pair<StringRef, StringRef> describeOther(host::DispatchOp op,
                                                StringRef requested) const;

  StringRef precision;
  bool hasCodes;
  SmallVector<StringRef> names;
  std::vector<int64_t> sizes;
  llvm::StringMap<std::string> computes;
  std::map<uint64_t, uint64_t> weightBytes; ///< by offset
};

} // namespace

uint64_t OpReporter::getWeightBytes(host::DispatchOp op) const {
  uint64_t bytes = 0;
  llvm::SmallDenseSet<uint64_t> seen;
  for (auto slot : op.getSlots().getAsRange<host::SlotAttr>())
    if (slot.getSpace() == host::Space::Weight &&
        seen.insert(slot.getOffset()).second)
      if (auto found = weightBytes.find(slot.getOffset());
          found != weightBytes.end())
        bytes += found->second;
  return bytes;
}

/// For what the compiler does to an input before any node reads it.
static std::string getInputName(host::DispatchOp op) {
  auto inputs = op->getParentOfType<host::EntryOp>()
                    .getInputs()
                    .getAsRange<host::TensorAttr>();
  for (auto slot : op.getSlots().getAsRange<host::SlotAttr>())
    if (slot.getSpace() == host::Space::Input)
      for (auto [i, input] : llvm::enumerate(inputs))
        if (i == slot.getIndex())
          return (input.getName() + ".input").str();
  return "";
}

/// The precision, and the reason for it, of an operation of which quantization
/// says nothing: by the elements that it reads and makes.
std::pair<StringRef, StringRef>
OpReporter::describeOther(host::DispatchOp op, StringRef requested) const {
  if (requested == "f32")
    return {"f32", "as asked"};
  bool reads = hasCodes && op->hasAttr(kReadsCodesAttr);
  if (hasCodes && op->hasAttr(kMakesCodesAttr))
    return {"int8", reads ? "as asked: between operations on codes"
                          : "as asked: rounds to codes"};
  return {"f32", reads ? "kept: makes floats of codes" : kNotQuantized};
}

OpReport OpReporter::report(host::DispatchOp op, StringRef entry,
                            unsigned site) const {
  auto text = [&](StringRef attr, StringRef otherwise) {
    auto value = op->getAttrOfType<StringAttr>(attr);
    return (value ? value.getValue() : otherwise).str();
  };
  OpReport line;
  line.site = site;
  line.entry = entry.str();
  line.node = getNodeName(op.getLoc()).str();
  if (line.node.empty())
    line.node = getInputName(op);
  llvm::SetVector<StringRef> nodes;
  collectNames(op.getLoc(), nodes);
  line.nodes.assign(nodes.begin(), nodes.end());
  line.op = text("qcc.op", "qcc.generic");
  line.kernel = op.getKernel().str();
  line.requested = text("qcc.requested", precision);
  auto [executed, reason] = describeOther(op, line.requested);
  line.executed = text("qcc.executed", executed);
  line.reason = text("qcc.reason", line.requested == line.executed &&
                                           op->hasAttr("qcc.executed")
                                       ? "as asked"
                                       : reason);
  line.compute = computes.lookup(op.getKernel());
  line.algorithm = text("qcc.algorithm", "");
  line.errorOf = text(kErrorOfAttr, "");
  line.transform = text("qcc.transform", "");
  if (auto errors = op->getAttrOfType<ArrayAttr>("qcc.error");
      errors && errors.size() == 2) {
    auto get = [&](unsigned i) {
      auto value = dyn_cast<FloatAttr>(errors[i]);
      return value ? value.getValue().convertToFloat() : 0.0f;
    };
    line.errorNearest = get(0);
    line.errorChosen = get(1);
  }
  if (auto error = op->getAttrOfType<FloatAttr>(kLayerErrorAttr))
    line.layerError = error.getValue().convertToFloat();
  auto flops = op->getAttrOfType<AffineMapAttr>("qcc.flops"),
       bytes = op->getAttrOfType<AffineMapAttr>("qcc.bytes");
  line.flops = getSizeText(flops, names);
  line.bytes = getSizeText(bytes, names);
  // A number too large for 64 bits is not shown.
  auto getNumber = [&](AffineMapAttr map) {
    return double(evaluateSize(map.getValue().getResult(0), sizes).value_or(0));
  };
  if (flops)
    line.flopsAt = getNumber(flops);
  if (bytes)
    line.bytesAt = getNumber(bytes);
  line.weightBytes = getWeightBytes(op);
  return line;
}

std::vector<OpReport> Compilation::getOpReports() {
  std::vector<OpReport> report;
  OpReporter reporter(*module, options.precision, takesRanges(),
                      getReportedSizes());
  // As describeProgram counts sites.
  unsigned site = 0;
  for (auto entry : module->getOps<host::EntryOp>())
    entry.getBody().walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (auto dispatch = dyn_cast<host::DispatchOp>(op))
        report.push_back(reporter.report(dispatch, entry.getSymName(), site));
      ++site;
    });
  return report;
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

void Compilation::noteViews() {
  module->walk([&](Operation *op) {
    if (!isa<ReshapeOp, StateReadOp, StateWriteOp>(op) ||
        (op->getNumResults() && isConstantExpression(op->getResult(0))))
      return;
    llvm::SetVector<StringRef> names;
    collectNames(op->getLoc(), names);
    for (StringRef name : names)
      views.insert(name);
  });
}

std::vector<IdleNode> Compilation::getIdleNodes(ArrayRef<OpReport> ops) {
  llvm::StringSet<> computed, host, constant;
  for (const OpReport &op : ops)
    for (const std::string &node : op.nodes)
      computed.insert(node);
  module->walk([&](Operation *op) {
    if (isa<host::DispatchOp>(op) || op->getParentOfType<KernelOp>())
      return;
    llvm::SetVector<StringRef> names;
    collectNames(op->getLoc(), names);
    for (StringRef name : names)
      (op->getParentOfType<host::WeightsOp>() ? constant : host).insert(name);
  });
  std::vector<IdleNode> idle;
  for (const auto &[node, op] : modelNodes) {
    if (computed.contains(node))
      continue;
    const char *reason = views.contains(node)      ? "view"
                         : host.contains(node)     ? "host"
                         : constant.contains(node) ? "constant"
                                                   : "merged";
    idle.push_back({node, op, reason});
  }
  return idle;
}

//===----------------------------------------------------------------------===//
// Machines
//===----------------------------------------------------------------------===//

/// What one core of a level does at 3 GHz, for reports without measured
/// ceilings. Two vector units for f32; products of bytes: `vpdpbusd` in both
/// (8 operations per lane), or `vpmaddwd` of widened bytes and an addition (4
/// per lane), which share three ports at 256 bits and two at 512; AMX: tiles of
/// 16 x 16 sums of 64 products in 16 cycles. Reads: 32 bytes per cycle from L2,
/// 15 * 10^9 per second from memory, as server cores reach alone.
static Ceilings getModelledCeilings(const Capabilities &level) {
  constexpr double kGigahertz = 3;
  Ceilings ceilings;
  ceilings.level = level.level;
  if (level.vectorBits) {
    double lanes = level.vectorBits / 32.0,
           pairs = level.vectorBits > 256 ? 1 : 1.5;
    ceilings.f32 = kGigahertz * 2 * lanes * 2;
    if (level.hasAmx)
      ceilings.int8 = kGigahertz * 2 * 16 * 16 * 64 / 16;
    else
      ceilings.int8 = kGigahertz * lanes * (level.hasVnni ? 2 * 8 : pairs * 4);
  } else {
    ceilings.f32 = ceilings.int8 = kGigahertz * 2;
  }
  ceilings.cache = kGigahertz * 32;
  ceilings.memory = 15;
  ceilings.cacheBytes = level.l2Bytes;
  return ceilings;
}

/// The parameters of a kernel's schedule as a person reads them.
static KernelReport describeKernel(KernelOp kernel) {
  KernelReport report;
  report.name = kernel.getSymName().str();
  for (NamedAttribute attr : kernel.getSchedule()) {
    if (attr.getName() == "kernel") {
      if (auto name = dyn_cast<StringAttr>(attr.getValue()))
        report.emitter = name.getValue().str();
      continue;
    }
    auto flag = dyn_cast<BoolAttr>(attr.getValue());
    if (flag && !flag.getValue())
      continue;
    if (!report.schedule.empty())
      report.schedule += ", ";
    report.schedule += attr.getName().str();
    if (flag)
      continue;
    llvm::raw_string_ostream os(report.schedule);
    if (auto number = dyn_cast<IntegerAttr>(attr.getValue()))
      os << " = " << number.getValue();
    else if (auto numbers = dyn_cast<DenseI64ArrayAttr>(attr.getValue()))
      os << " = "
         << llvm::join(llvm::map_range(numbers.asArrayRef(),
                                       [](int64_t number) {
                                         return std::to_string(number);
                                       }),
                       "x");
    else if (!isa<UnitAttr>(attr.getValue()))
      os << " = " << attr.getValue();
  }
  return report;
}

//===----------------------------------------------------------------------===//
// Channels
//===----------------------------------------------------------------------===//

/// What a report tells of an activation's channels.
static ActivationReport describeChannels(const TensorStatistics &tensor) {
  constexpr size_t kMaxChannels = 16;
  ActivationReport report;
  report.value = tensor.name;
  report.channels = tensor.channels.size();
  report.largest = tensor.getAbsMax();
  std::vector<std::pair<uint64_t, float>> maxima;
  for (size_t i = 0; i < tensor.channels.size(); ++i)
    if (float largest = tensor.channels.getAbsMax(i); largest > 0)
      maxima.emplace_back(i, largest);
  if (maxima.empty())
    return report;
  llvm::sort(maxima, [](const auto &a, const auto &b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  report.median = maxima[maxima.size() / 2].second;
  for (const auto &channel : maxima) {
    if (!(channel.second > kOutlierRatio * report.median))
      break;
    if (report.outliers++ < kMaxChannels)
      report.channelMaxima.push_back(channel);
  }
  return report;
}

Report Compilation::getReport() {
  Report report;
  report.ops = getOpReports();
  report.idle = getIdleNodes(report.ops);
  report.warnings = result.warnings;
  for (auto [name, size] :
       llvm::zip_equal(getSymbolNames(*module), getReportedSizes()))
    report.sizes.emplace_back(name, size);
  for (const Capabilities &level : levels)
    report.ceilings.push_back(getModelledCeilings(level));
  for (auto kernel : module->getOps<KernelOp>())
    report.kernels.push_back(describeKernel(kernel));
  std::map<std::string, uint64_t> steps;
  for (auto entry : module->getOps<host::EntryOp>())
    entry.getBody().walk([&](Operation *op) {
      if (!isa<host::DispatchOp>(op))
        ++steps[op->getName().stripDialect().str()];
    });
  report.hostSteps.assign(steps.begin(), steps.end());
  if (statistics)
    for (const TensorStatistics &tensor : statistics->all())
      if (!tensor.channels.empty())
        report.activations.push_back(describeChannels(tensor));
  return report;
}
