//===- Products.h - which products a scheme can take ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What all passes that choose weights of a scheme must agree on.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_PRODUCTS_H
#define QCC_SCHEME_PRODUCTS_H

#include "qcc/Scheme/Scheme.h"
#include "llvm/Support/Regex.h"

namespace qcc {

/// Attributes of a product whose weight an algorithm has chosen: the algorithm,
/// the relative error of the outputs when rounded to nearest and as chosen
/// ([f32, f32]), and the keys of the parameters that hold scales [groups, N]
/// f32 and, for schemes that are not symmetric, zero points [groups, N] i32.
/// The weight then is [K, N] and lies on the grid.
inline constexpr llvm::StringLiteral kAlgorithmAttr = "qcc.algorithm";
inline constexpr llvm::StringLiteral kErrorAttr = "qcc.error";
/// What these errors are of if not of the layer's weights: `corrected`, of
/// weights that make up for what earlier layers lost.
inline constexpr llvm::StringLiteral kErrorOfAttr = "qcc.error_of";
inline constexpr llvm::StringLiteral kScalesAttr = "qcc.scales";
inline constexpr llvm::StringLiteral kZerosAttr = "qcc.zeros";
/// The precision that mixed precision gave a product ("f32": none), and why.
inline constexpr llvm::StringLiteral kAssignedAttr = "qcc.assigned";
inline constexpr llvm::StringLiteral kAssignedReasonAttr =
    "qcc.assigned_reason";
/// Module attribute: what was measured for all products, as JSON.
inline constexpr llvm::StringLiteral kAssignmentAttr = "qcc.assignment";
/// The relative error of a layer's result in its precision, on exact inputs
/// (f32).
inline constexpr llvm::StringLiteral kLayerErrorAttr = "qcc.layer_error";
/// What was added to each output channel of a layer in int8 (array of f32).
inline constexpr llvm::StringLiteral kCorrectionAttr = "qcc.correction";
/// Of a product with constants per channel: equalised channels; the scales of
/// batch normalisation times the weight of the convolution in front of it.
inline constexpr llvm::StringLiteral kEqualisedAttr = "qcc.equalised";
inline constexpr llvm::StringLiteral kScaledAttr = "qcc.scaled";
/// Of the sum that such a normalisation leaves, whose second input is the
/// shift: the name of the convolution.
inline constexpr llvm::StringLiteral kShiftOfAttr = "qcc.shift_of";
/// A layer's weight as it is in the model, without those factors.
mlir::Value getModelWeight(mlir::Value weight);
/// Of qcc.dequantize and NormalFloats of a constant: each scale is a half,
/// whatever its type; each zero point is in the middle of the codes.
inline constexpr llvm::StringLiteral kHalfScalesAttr = "qcc.half_scales";
inline constexpr llvm::StringLiteral kMiddleZerosAttr = "qcc.middle_zeros";
/// Of a layer of the model's own codes (isOfCodes): its weight is stored in
/// words for some machine that is compiled for.
inline constexpr llvm::StringLiteral kWordsAttr = "qcc.words";
/// Of a convolution: bytes of its weight as the kernel in f32 stores it.
inline constexpr llvm::StringLiteral kFloatBytesAttr = "qcc.float_bytes";
/// Of a launch: tensors of 8 bits are among its inputs, among its results.
inline constexpr llvm::StringLiteral kReadsCodesAttr = "qcc.reads_codes";
inline constexpr llvm::StringLiteral kMakesCodesAttr = "qcc.makes_codes";
/// What a transform did to a product's weight, or why it did nothing.
inline constexpr llvm::StringLiteral kTransformAttr = "qcc.transform";
/// Adds to what is told of the transforms of a product.
void addTransformNote(MatMulOp layer, const llvm::Twine &text);

/// Nodes that stay float, by name.
class KeepRules {
public:
  /// Parses regular expressions. On failure the diagnostic is emitted.
  mlir::LogicalResult parse(mlir::Location loc,
                            llvm::ArrayRef<std::string> patterns);
  /// Why an operation stays float whatever format is asked for: a rule matches
  /// its name, or it is a router; empty for others.
  std::string getReason(mlir::Operation *op) const;

private:
  llvm::SmallVector<std::pair<llvm::Regex, std::string>> rules;
};

/// Of a product: its node has several weights, which no QDQ graph can have.
inline constexpr llvm::StringLiteral kPartAttr = "qcc.part";

/// Calls `visit` for everything that reads `value`, through operations that are
/// no products, branches or loops, until it returns true, which is the result;
/// at most some thousand values.
bool anyReader(
    mlir::Value value,
    llvm::function_ref<bool(mlir::Operation *, mlir::OpOperand &)> visit);

/// True for a product of at most 512 columns whose result is sorted or listed
/// for other products before any sees it, the choice of experts, and for those
/// with "router" in their names. A few weights in front of many: what they are
/// rounded to chooses other experts (quantization.md, pitfall 14).
bool isRouter(MatMulOp op);

/// Notes for the report what became of an operation: the precision that was
/// asked for, the one that it runs in, and why.
void noteOutcome(mlir::Operation *op, llvm::StringRef requested,
                 llvm::StringRef executed, const llvm::Twine &reason);

/// Most positions of a pooling's result along a spatial dimension whose windows
/// are counted one by one.
inline constexpr int64_t kMaxPooledSize = 65536;

/// True for an operation that averages or sums floats and whose sums have exact
/// kernels if they are made of codes of 8 bits with one scale: an average of
/// windows (`qcc.pool`) of at most 49 elements over one or two spatial
/// dimensions, whose number of channels is known, and a sum (`qcc.generic`)
/// over dimensions.
bool hasExactAverage(mlir::Operation *op);

/// Of a module: what a pass wants to be told to whoever compiles it, an array
/// of texts; whoever runs the pass takes it off.
inline constexpr llvm::StringLiteral kWarningsAttr = "qcc.warnings";
void addWarning(mlir::ModuleOp module, const llvm::Twine &text);

/// The scheme that a precision names ("w4a16:g32"); null with a diagnostic at
/// `loc` if there is none.
const Scheme *findScheme(mlir::Location loc, llvm::StringRef precision);

/// The formats that `mixed` stands for.
inline constexpr llvm::StringLiteral kMixedFormats =
    "w3a16,w4a16,w6a16,w8a16,f32";
/// The formats that a precision names: one, several joined by commas, or
/// `mixed`. Null is f32. No format comes twice. Errors: Usage,
/// UnsupportedScheme.
llvm::Expected<llvm::SmallVector<const Scheme *>>
findFormats(mlir::MLIRContext *context, llvm::StringRef precision);

/// The element type of Scheme::getTokenFormat, which is not None or BF16: it
/// has 8 bits.
mlir::FloatType getTokenType(const Scheme &scheme, mlir::MLIRContext *context);

/// The scheme that a product gets: `otherwise` unless mixed precision has
/// assigned one; null for f32.
const Scheme *getAssignedScheme(MatMulOp op, const Scheme *otherwise);

/// True for a product or convolution of the model's own codes: the input is
/// dequantized from integers of 8 bits with one scale, the constant weight from
/// such with one or one per output. int8 leaves it as it is.
bool isOfCodes(mlir::Operation *op);
/// True for one of the model's own codes of which some have more than 8 bits:
/// no kernel multiplies them, and int8 leaves it in f32.
bool isOfWideCodes(mlir::Operation *op);

/// A matrix of NF4: `scales[row, column floordiv block]` times the number of
/// NormalFloat.h that each code names.
struct NormalFloats {
  GenericOp op;
  mlir::Value codes, scales;
  int64_t block;
};
/// What a value is if it is such a matrix.
std::optional<NormalFloats> findNormalFloats(mlir::Value value);

/// True for a convolution with one input per group: a few weights per channel,
/// each with a part in all of its results.
bool isDepthwise(mlir::Operation *layer);

/// Why the second operand of a product or convolution is no weight; empty if it
/// is one. The weights of experts that a router picks are none here.
std::string getWeightObstacle(mlir::Operation *op);

/// Why a product cannot or should not be done in the scheme ("kept: ...", "not
/// supported: ..."); empty if it can.
std::string getObstacle(MatMulOp op, const Scheme &scheme);

} // namespace qcc

#endif // QCC_SCHEME_PRODUCTS_H
