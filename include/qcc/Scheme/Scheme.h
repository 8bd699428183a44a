//===- Scheme.h - how a weight is stored in few bits ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A scheme says how a group of weights becomes small codes, how the codes of 16
// columns are stored, and how stored bytes become codes again inside a kernel.
// Everything else is common to all schemes: the order of blocks in memory
// (EncodedLayout), the quantization of activations, and on each target one
// matrix product that inlines the scheme's decode. A scheme is registered under
// a key; nothing else in the compiler knows it by name.
//
// A weight is a matrix [K, N]. The N columns are cut into blocks of 16, the K
// rows into groups that share a scale per column; the last group may have fewer
// rows than the others and is padded. In memory:
//
//   [ceil(N / 16)][groups] { scales[16], zeros[16], units[groupK / unit.k] }
//
// Scales are f32 or f16; zeros are bytes and only there if the scheme is not
// symmetric. A unit holds the codes of `unit.k` rows and 16 columns.
//
// Parameters are chosen apart from codes: an algorithm that knows more than the
// weights (GPTQ, AWQ) calls choose() once per group and assign() for whatever
// it wants to store there, and value() says what a code stands for.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_SCHEME_H
#define QCC_SCHEME_SCHEME_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Value.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/Support/Error.h"
#include <map>
#include <memory>
#include <mutex>

namespace qcc {

/// Columns of a block: one vector of f32 at 512 bits.
inline constexpr int64_t kSchemeColumns = 16;

/// What a scheme's decode returns, and so what the product is computed in.
enum class SchemeCompute {
  /// Unsigned 8-bit codes against int8 activations, exact int32 sums per group.
  Integer,
  /// f32 values (before the scale) against f32 activations.
  Float,
};

/// Narrow floats for activations: of 8 bits (OCP 8-bit floating point
/// specification) with a scale per token (row), bfloat16 without scales.
enum class TokenFormat { None, E4M3, E5M2, BF16 };

/// The map of a group of one column from codes to weights. For linear schemes
/// weight = scale * (code - zero), for others see Scheme::value.
struct GroupAffine {
  float scale = 0;
  int32_t zero = 0; ///< in [0, getMaxCode()]; getZero() of symmetric schemes
};

/// The smallest piece of codes that is stored and decoded at once.
struct CodeUnit {
  unsigned k;     ///< rows: 4, 8, 16, 32 or 64
  unsigned bytes; ///< of 16 columns: a multiple of 16, at most 256
};

/// What decodes are built with: operations of arith and vector, and what each
/// target does in its own way.
class DecodeBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;
  virtual ~DecodeBuilder();

  /// The number `value` in every lane of an integer or float vector type.
  mlir::Value splat(mlir::VectorType type, double value);
  /// `table[index]` for a vector of i32 indices below the table's size, a power
  /// of two of at most 256. Bits of an index above are ignored. The default is
  /// a tree of selects.
  virtual mlir::Value lookup(llvm::ArrayRef<float> table, mlir::Value indices);
};

class StoredFloatScheme;

/// A storage and compute format. Objects are immutable and shared by threads.
///
/// Who writes a scheme says in choose() how the scale of some weights is found,
/// with no regard to how scales are stored or to clipping; the schemes that the
/// registry hands out do that as well.
class Scheme {
public:
  virtual ~Scheme();

  /// What `--precision` calls it: letters, digits, `-` and `_`; behind them the
  /// parameters of SchemeRegistry::find that are not the scheme's own.
  virtual llvm::StringRef getKey() const = 0;
  /// One line for `qcc schemes`.
  virtual llvm::StringRef getSummary() const = 0;
  /// Bits per weight without scales, for reports.
  virtual unsigned getWeightBits() const = 0;
  virtual SchemeCompute getCompute() const { return SchemeCompute::Integer; }

  /// Consecutive rows that share a scale, a multiple of the unit's; 0: all of
  /// them. Activations of integer compute are quantized in the same groups.
  virtual int64_t getGroup() const = 0;
  virtual CodeUnit getUnit() const = 0;
  /// Codes are in [0, getMaxCode()], at most 255. Kernels use the bound to
  /// choose instructions that would saturate on larger ones.
  virtual unsigned getMaxCode() const = 0;
  /// The code that means 0 in every group; none if each group and column has
  /// its own (asymmetric).
  virtual std::optional<int32_t> getZero() const = 0;
  /// Whether scales are stored in half precision. Scales of whole channels are
  /// f32 in any case.
  virtual bool hasHalfScales() const { return false; }
  /// Whether all columns share one scale and zero.
  virtual bool isPerTensor() const { return false; }
  /// Whether value() is `scale * (code - zero)`. Else it is `scale` times a
  /// number of the code alone, and the zero point is only the code of 0.
  /// A scheme that overrides value() with such numbers overrides this too.
  virtual bool isLinear() const { return true; }

  /// The scheme as one without scales and codes (StoredFloats.h), if it is.
  virtual const StoredFloatScheme *asStoredFloats() const { return nullptr; }

  /// What activations can be rounded to as well. Floats of 8 bits: if the
  /// parameter `token` asks for it. For float compute: products are those of
  /// the rounded numbers in f32, times the scale if there is one.
  virtual TokenFormat getTokenFormat() const { return TokenFormat::None; }
  /// Whether they are.
  virtual bool roundsTokens() const { return false; }

  /// Names of the conventions by which scales can be chosen (`sym`, `asym`),
  /// the default first; none if there is one only.
  virtual llvm::ArrayRef<llvm::StringRef> getGrids() const { return {}; }
  /// The same scheme with another convention of getGrids().
  virtual std::unique_ptr<Scheme> withGrid(llvm::StringRef grid) const {
    return nullptr;
  }

  /// Chooses scale (and zero) for the weights of one column and group: a
  /// group's length of them, fewer in a last group, all K if the group is 0.
  /// Weights are finite. `importance` is what a squared error of each weight
  /// counts (the mean square of its activation, say), of the same length, or
  /// empty; a scheme may ignore it. A group of zeros must give scale 0.
  /// Schemes of the registry return numbers that can be stored.
  virtual GroupAffine choose(llvm::ArrayRef<float> weights,
                             llvm::ArrayRef<float> importance) const = 0;
  /// The codes of weights under a map, each the nearest that there is; any
  /// number of weights, also one. With scale 0 the code that means 0. The
  /// default compares all values; linear schemes call assignLinear.
  virtual void assign(llvm::ArrayRef<float> weights, const GroupAffine &affine,
                      llvm::MutableArrayRef<uint8_t> codes) const;
  /// What a code stands for, as kernels compute it. The default is linear:
  /// `scale * (code - zero)`, rounded once.
  virtual float value(uint8_t code, const GroupAffine &affine) const;
  /// Stores the codes [unit.k][16] (row-major) in `unit.bytes` bytes.
  virtual void pack(llvm::ArrayRef<uint8_t> codes,
                    llvm::MutableArrayRef<char> bytes) const = 0;
  /// Builds the decode of `bytes` (vector<unit.bytes x i8>, as pack() wrote
  /// it). Integer: returns unit.k / 4 vectors of 64 x i8; element 4 * column +
  /// j of vector i is the code of row 4 * i + j. Float: unit.k vectors of 16 x
  /// f32, what the codes of a row stand for with scale 1 and, in linear
  /// schemes, zero 0: the codes themselves.
  virtual llvm::SmallVector<mlir::Value> decode(DecodeBuilder &b,
                                                mlir::Value bytes) const = 0;
};

/// The nearest integer (ties to even) within [low, high]; 0 for NaN.
int32_t roundCode(float value, int32_t low, int32_t high);
/// The nearest half (ties to even) of a finite number, as f32; saturates at the
/// largest half.
float roundToHalf(float value);

/// Codes of the numbers `round(weight / scale) + zero` within [low, high], ties
/// to even.
void assignLinear(llvm::ArrayRef<float> weights, const GroupAffine &affine,
                  int32_t low, int32_t high,
                  llvm::MutableArrayRef<uint8_t> codes);

/// Where everything is in an encoded weight; all sizes in bytes.
struct EncodedLayout {
  int64_t blocks;     ///< of columns
  int64_t groups;     ///< of rows
  int64_t groupK;     ///< rows of a group including padding
  int64_t zeroOffset; ///< of the zeros in a block of a group
  int64_t codeOffset; ///< of the first unit
  int64_t groupBytes; ///< of a block of a group
  int64_t totalBytes;
};
/// The layout of a [k, n] weight; none if a size is not positive or a product
/// overflows. A group of at least K rows is the whole channel.
std::optional<EncodedLayout> getEncodedLayout(const Scheme &scheme, int64_t k,
                                              int64_t n);
/// Bits per weight with scales and zero points, in groups that are full; those
/// of whole channels count as nothing.
double getStoredBits(const Scheme &scheme);
/// The type of the encoded form of a weight `[K, N]`: a vector of bytes; null
/// where there is no layout.
mlir::RankedTensorType encodedType(const Scheme &scheme,
                                   mlir::RankedTensorType weight);

/// A [k, n] weight to encode, with what is known of it. Bytes of row-major f32
/// and i32, at any alignment.
struct WeightSource {
  int64_t k, n;
  llvm::ArrayRef<char> weights; ///< [k, n] f32
  llvm::ArrayRef<char> importance =
      {}; ///< [k] f32 for Scheme::choose, or empty
  /// [groups, n] f32: maps that were chosen before, or empty. Rounded to halves
  /// where the scheme stores halves.
  llvm::ArrayRef<char> scales = {};
  llvm::ArrayRef<char> zeros =
      {}; ///< [groups, n] i32; empty: the scheme's zero
};
/// Encodes a weight into `out`, which has the layout's size. Padding has the
/// code of zero. Errors (BadTensor): a weight or scale that is not finite, a
/// zero that is no code or missing, a scale too large for a half, arrays that
/// have not the size that they should. Errors (BadPlugin): a map or codes of
/// the scheme that are out of range for any weights.
llvm::Error encodeWeight(const Scheme &scheme, const WeightSource &source,
                         llvm::MutableArrayRef<char> out);
/// What kernels of float compute multiply by after encodeWeight: the weights
/// that the codes stand for, row-major [k, n], rounded as Scheme::value says.
/// Errors: as encodeWeight.
llvm::Error roundWeight(const Scheme &scheme, const WeightSource &source,
                        llvm::MutableArrayRef<float> out);

/// Schemes by key. Belongs to the MLIR context, as part of the qcc dialect.
class SchemeRegistry {
public:
  /// Takes a scheme over. False, with the reason in getRefused(), if the key is
  /// taken or reserved or a number is out of the bounds documented above.
  bool add(std::unique_ptr<Scheme> scheme);
  /// Why schemes were not taken, a line for each.
  llvm::ArrayRef<std::string> getRefused() const { return refused; }

  /// The scheme that a precision names: a key and parameters, joined by `:`.
  ///   gN       groups of N rows     channel  a scale per column
  ///   tensor   one scale            clip     clip the range for least error
  ///   token    activations in the format of Scheme::getTokenFormat
  ///   f32-scales  those of groups too, where the scheme has halves
  ///   sym, asym, ...                a convention of Scheme::getGrids
  /// Errors: Usage, with the nearest key; UnsupportedScheme, with what
  /// parameters there are. The object lives as long as the registry; its key is
  /// canonical.
  llvm::Expected<const Scheme *> find(llvm::StringRef precision) const;
  /// The same, or null.
  const Scheme *lookup(llvm::StringRef precision) const;
  /// All schemes with their own parameters, in order of registration.
  llvm::ArrayRef<const Scheme *> all() const { return defaults; }

private:
  const Scheme *getBase(llvm::StringRef key) const;

  std::vector<std::unique_ptr<Scheme>> bases;
  std::vector<const Scheme *> defaults;
  std::vector<std::string> refused;
  /// What find() has made, by canonical key.
  mutable std::mutex mutex;
  mutable std::map<std::string, std::unique_ptr<Scheme>> made;
};

/// The schemes of a context that has the qcc dialect loaded.
SchemeRegistry &getSchemes(QCCDialect &dialect);
const SchemeRegistry &getSchemes(mlir::MLIRContext *context);

/// Registers a scheme in every context that the registry makes. This is all a
/// plugin calls.
template <typename SchemeT>
void registerScheme(mlir::DialectRegistry &registry) {
  registry.addExtension(+[](mlir::MLIRContext *, QCCDialect *dialect) {
    getSchemes(*dialect).add(std::make_unique<SchemeT>());
  });
}

/// Registers the schemes of the tree.
void registerSchemes(mlir::DialectRegistry &registry);

} // namespace qcc

#endif // QCC_SCHEME_SCHEME_H
