//===- FunctionBody.h - the nodes of a model-local function for one call -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_FUNCTIONBODY_H
#define QCC_LIB_IMPORT_ONNX_FUNCTIONBODY_H

#include "onnx-ml.pb.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

namespace qcc::onnx_import {

/// A copy of the function's nodes where each reference to an attribute of the
/// function is the caller's value, else the default, else left out (in
/// subgraphs too), and inputs that `isAbsent` says were not given are empty
/// names.
google::protobuf::RepeatedPtrField<onnx::NodeProto>
instantiateFunction(const onnx::FunctionProto &function,
                    const onnx::NodeProto &call,
                    llvm::function_ref<bool(llvm::StringRef)> isAbsent);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_FUNCTIONBODY_H
