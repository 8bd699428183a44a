//===- Observations.h - which values calibration looks at -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_OBSERVATIONS_H
#define QCC_CALIBRATION_OBSERVATIONS_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace qcc {

/// Attribute (string) with an operation's value name; set by nameValues.
inline constexpr llvm::StringLiteral kValueNameAttr = "qcc.value";

/// Gives every operation with f32 results that are no constants a name that is
/// unique in the module: NODE.output, or NODE.output.KofN for the K-th of N
/// operations that a node became. Names depend on the module only. They stay on
/// operations through later passes until dropValueNames; what a pass makes
/// anew has none, so that it never gets the statistics of something else.
void nameValues(mlir::ModuleOp module);
void dropValueNames(mlir::ModuleOp module);

/// Name under which a value's statistics are kept: of an input of the function
/// INPUT.input, of a result that of its operation (and #I for result I > 0), of
/// a reshape without name that of what it reshapes, of a loop's carried value
/// LOOP.carried.I. "" if it has none.
std::string getResultObservationName(mlir::Value value);

/// The same of an operation's first operand.
std::string getObservationName(mlir::Operation *op);

/// What to observe.
enum class ObservationScope {
  Weighted, ///< first operands of products and convolutions with a weight
  All       ///< every value that an integer graph may need a range of
};

/// A value that is observed. Where it is the first operand of a product or
/// convolution with a weight, its channels: their number and the size of what
/// is behind that axis; otherwise `channels` is 0.
struct Observation {
  std::string name;
  int64_t channels = 0;
  mlir::AffineExpr inner;
};

/// Inserts a `qcc.observe` behind each value of the scope, once per value;
/// names must be set. Left out of All: values that only an elementwise
/// operation with no other activation reads, because that is computed together
/// with what gives them. Returns what is observed, in the order of the module.
std::vector<Observation> insertObservations(mlir::ModuleOp module,
                                            ObservationScope scope);

} // namespace qcc

#endif // QCC_CALIBRATION_OBSERVATIONS_H
