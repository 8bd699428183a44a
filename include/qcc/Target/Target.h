//===- Target.h - what a target offers to the compiler ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGET_TARGET_H
#define QCC_TARGET_TARGET_H

#include "qcc/Codegen/KernelBuilder.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// A constant operand that the kernel wants in another order.
struct PackRequest {
  unsigned operand;   ///< index of the dispatch's operand
  std::string layout; ///< of qcc.pack
  int64_t nr;         ///< panel width in elements
  bool transposed = false;
};

/// How one dispatch will be done.
struct KernelSchedule {
  mlir::DictionaryAttr params; ///< emitter parameters, part of the kernel's key
  mlir::AffineExpr
      tasks; ///< number of independent tasks (symbols of the dispatch)
  llvm::SmallVector<PackRequest> packs;
  int64_t scratchBytes = 0; ///< per worker
};

/// One way of making kernels for some class of dispatches.
class KernelEmitter {
public:
  virtual ~KernelEmitter() = default;
  virtual llvm::StringRef getName() const = 0;
  /// What the emitter would do for this dispatch at every one of `levels`, or
  /// none if it is not for it. `isConstant` tells which operands are constant
  /// expressions. Layouts must be readable at all levels.
  virtual std::optional<KernelSchedule>
  match(DispatchOp dispatch, llvm::ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned operand)> isConstant) const = 0;
  /// Builds the kernel's body for one level. After packing, block arguments
  /// have the packed types.
  virtual mlir::LogicalResult emit(KernelBuilder &builder) const = 0;
  /// Other ways to do what match() takes, which may be faster on some machines
  /// or at some sizes: what `--tune` times. Results are the same to the last
  /// bit. Empty where match() gives none.
  virtual llvm::SmallVector<KernelSchedule> getAlternatives(
      DispatchOp, llvm::ArrayRef<Capabilities> /*levels*/,
      llvm::function_ref<bool(unsigned operand)> /*isConstant*/) const {
    return {};
  }
};

/// Name of a dispatch's attribute with the schedule that it gets (as
/// describeSchedule says it), where not that of its emitter's match().
inline constexpr llvm::StringLiteral kScheduleAttr = "qcc.schedule";

/// What tells a schedule from the others of its dispatch, as text: parameters
/// and layouts.
std::string describeSchedule(const KernelSchedule &schedule);

class Target;

/// An emitter that takes a dispatch, and its schedules for it: that of match(),
/// then others.
struct KernelChoices {
  const KernelEmitter *emitter = nullptr; ///< null: none takes it
  llvm::SmallVector<KernelSchedule> schedules;
};

/// The first of a target's emitters that takes a dispatch at all levels.
KernelChoices findKernel(const Target &target, DispatchOp dispatch,
                         llvm::ArrayRef<Capabilities> levels);

/// Sizes of a product with a constant weight, or of a convolution, whose time
/// is asked for: `rows` (output pixels of all images) times `outputs`, each a
/// sum over `taps` of a window and `inputs` of its group.
struct ProductShape {
  bool isConv = false;
  int64_t rows = 1, outputs = 1, inputs = 1, taps = 1, groups = 1;
  int64_t stride = 1;    ///< the largest
  int64_t rowLength = 1; ///< output pixels in a row of an image
  /// Output pixels of an image, if it has two dimensions of known size.
  int64_t imagePixels = 0;
  bool isDepthwise() const { return isConv && groups > 1 && inputs == 1; }
};

/// Sizes of an attention, whose time is asked for.
struct AttentionShape {
  int64_t heads; ///< of all of the batch
  int64_t queries, keys;
  int64_t depth; ///< of a query and a key
  int64_t width; ///< of a value
};

/// A machine to compile for: a name, its feature levels and its emitters in
/// order of preference (the last one matches everything).
class Target {
public:
  virtual ~Target() = default;
  virtual llvm::StringRef getName() const = 0;
  virtual llvm::StringRef getSummary() const = 0;
  /// Feature levels named by a `--target` value this target answers to, or an
  /// empty list. The first is the lowest.
  virtual llvm::SmallVector<Capabilities>
  parse(llvm::StringRef value) const = 0;
  /// The values that parse() takes, for messages: "avx2, avx512, native".
  virtual std::string getValues() const { return getName().str(); }
  virtual llvm::ArrayRef<std::unique_ptr<KernelEmitter>>
  getEmitters() const = 0;

  // Time in nanoseconds on one thread of a core of a level, for choosing
  // between floats and integers: only ratios matter.

  /// Of a product with its epilogue; none if the target has no figures.
  virtual std::optional<double>
  estimateProduct(const ProductShape & /*shape*/, bool /*inIntegers*/,
                  const Capabilities & /*level*/) const {
    return std::nullopt;
  }
  /// Of an attention in f32, or with products of codes; none if the target has
  /// no figures.
  virtual std::optional<double>
  estimateAttention(const AttentionShape & /*shape*/, bool /*inIntegers*/,
                    const Capabilities & /*level*/) const {
    return std::nullopt;
  }
  /// Of maxima of windows that read so many elements in all.
  virtual double estimatePool(int64_t /*reads*/, bool /*inIntegers*/,
                              const Capabilities & /*level*/) const {
    return 0;
  }
  /// Of finding the range of each sample of a tensor and making its codes,
  /// with a zero point if some may be negative.
  virtual double estimateSampleCodes(int64_t /*elements*/, bool /*hasZero*/,
                                     const Capabilities & /*level*/) const {
    return 0;
  }
  /// Of making codes of floats that a float operation leaves, or of bringing
  /// floats that an integer operation leaves to where float operations read
  /// them; `permuted`: their channels are moved too.
  virtual double estimateBorder(int64_t /*elements*/, bool /*toCodes*/,
                                bool /*permuted*/,
                                const Capabilities & /*level*/) const {
    return 0;
  }
};

/// Targets by name. Belongs to the MLIR context, as part of the qcc dialect.
class TargetRegistry {
public:
  void add(std::unique_ptr<Target> target) {
    targets.push_back(std::move(target));
  }
  llvm::ArrayRef<std::unique_ptr<Target>> all() const { return targets; }
  /// The target and levels for a `--target` value ("native", "avx2+amx", ...).
  llvm::Expected<std::pair<const Target *, llvm::SmallVector<Capabilities>>>
  find(llvm::StringRef value) const;

private:
  std::vector<std::unique_ptr<Target>> targets;
};

/// The targets of a context that has the qcc dialect loaded.
TargetRegistry &getTargets(QCCDialect &dialect);
const TargetRegistry &getTargets(mlir::MLIRContext *context);

/// Registers a target in every context that the registry makes. This is all a
/// plugin calls.
template <typename TargetT>
void registerTarget(mlir::DialectRegistry &registry) {
  registry.addExtension(+[](mlir::MLIRContext *, QCCDialect *dialect) {
    getTargets(*dialect).add(std::make_unique<TargetT>());
  });
}

/// Adds the targets of the tree (defined in targets/).
void registerReferenceTarget(TargetRegistry &registry);
void registerX86Target(TargetRegistry &registry);

} // namespace qcc

#endif // QCC_TARGET_TARGET_H
