//===- States.h - inputs that become states, and outputs --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_STATES_H
#define QCC_LIB_PIPELINE_STATES_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"
#include <string>
#include <utility>

namespace qcc {

/// For each pair of input and output of `main`: the input vanishes from the
/// signature and reads a `qcc.state` that the output's value replaces at the
/// end of the run. The output stays. Errors: Usage if there is no such input
/// or output, their types differ or no input gives a size of the state.
llvm::Error
addStates(mlir::ModuleOp module,
          llvm::ArrayRef<std::pair<std::string, std::string>> states);

/// Takes the results of `main` away whose name one of the regexes matches.
/// Errors: Usage if a regex matches none, or if none would be left.
llvm::Error dropOutputs(mlir::ModuleOp module,
                        llvm::ArrayRef<std::string> regexes);

/// The inverse of addStates, for samples that have the states' values: `main`
/// gets an input for each, behind the others and by its name.
void turnStatesIntoInputs(mlir::ModuleOp module);

} // namespace qcc

#endif // QCC_LIB_PIPELINE_STATES_H
