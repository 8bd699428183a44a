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
// rows into groups that share a scale per column. In memory:
//
//   [ceil(N / 16)][groups] { scales[16], zeros[16], units[groupK / unit.k] }
//
// Scales are f32 or f16; zeros are i32 and only there if the scheme is not
// symmetric. A unit holds the codes of `unit.k` rows and 16 columns.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_SCHEME_SCHEME_H
#define QCC_SCHEME_SCHEME_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Value.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include <memory>

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

/// The affine map of a group of one column: weight = scale * (code - zero).
struct GroupAffine {
  float scale = 0;
  int32_t zero = 0;
};

/// The smallest piece of codes that is stored and decoded at once.
struct CodeUnit {
  unsigned k;     ///< rows: a multiple of 4, at most 64
  unsigned bytes; ///< of 16 columns: a multiple of 16, at most 256
};

/// A storage and compute format. Objects are immutable and shared by threads.
class Scheme {
public:
  virtual ~Scheme();

  /// What `--precision` calls it: letters, digits, `-` and `_`.
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
  /// Whether scales are stored in half precision (quantize() must then return
  /// numbers that are halves: see roundToHalf).
  virtual bool hasHalfScales() const { return false; }

  /// Chooses scale (and zero) of the weights of one column and group, and their
  /// codes. `codes` has the size of `weights`; both have the length of a group,
  /// or K if the group is 0. A group of zeros must give scale 0.
  virtual GroupAffine quantize(llvm::ArrayRef<float> weights,
                               llvm::MutableArrayRef<uint8_t> codes) const = 0;
  /// Stores the codes [unit.k][16] (row-major) in `unit.bytes` bytes.
  virtual void pack(llvm::ArrayRef<uint8_t> codes,
                    llvm::MutableArrayRef<char> bytes) const = 0;
  /// Builds the decode of `bytes` (vector<unit.bytes x i8>, as pack() wrote
  /// it). Integer: returns unit.k / 4 vectors of 64 x i8; element 4 * column +
  /// j of vector i is the code of row 4 * i + j. Float: unit.k vectors of 16 x
  /// f32. Operations of arith and vector only.
  virtual llvm::SmallVector<mlir::Value> decode(mlir::ImplicitLocOpBuilder &b,
                                                mlir::Value bytes) const = 0;
};

/// The nearest integer (ties to even) within [low, high]; 0 for NaN.
int32_t roundCode(float value, int32_t low, int32_t high);
/// The nearest half (ties to even) of a finite number, as f32; saturates at the
/// largest half.
float roundToHalf(float value);

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
/// The layout of a [k, n] weight; none if K is not a multiple of the scheme's
/// group, a size is not positive or a product overflows.
std::optional<EncodedLayout> getEncodedLayout(const Scheme &scheme, int64_t k,
                                              int64_t n);
/// The type of the encoded form of a weight `[K, N]`: a vector of bytes; null
/// where there is no layout.
mlir::RankedTensorType encodedType(const Scheme &scheme,
                                   mlir::RankedTensorType weight);
/// Encodes a row-major [k, n] matrix (any alignment) into `out`, which has the
/// layout's size. Padding has the code of zero.
mlir::LogicalResult encodeWeight(const Scheme &scheme, int64_t k, int64_t n,
                                 llvm::ArrayRef<char> weights,
                                 llvm::MutableArrayRef<char> out);

/// Schemes by key. Belongs to the MLIR context, as part of the qcc dialect.
class SchemeRegistry {
public:
  /// Takes a scheme over. False if the key is taken or a number is out of the
  /// bounds documented above.
  bool add(std::unique_ptr<Scheme> scheme);
  /// The scheme of a key, or null.
  const Scheme *lookup(llvm::StringRef key) const;
  llvm::ArrayRef<std::unique_ptr<Scheme>> all() const { return schemes; }

private:
  std::vector<std::unique_ptr<Scheme>> schemes;
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

/// Registers the schemes of the tree: int8 and w4a8.
void registerSchemes(mlir::DialectRegistry &registry);

} // namespace qcc

#endif // QCC_SCHEME_SCHEME_H
