//===- TestData.h - ONNX test data sets -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DATA_TESTDATA_H
#define QCC_LIB_DATA_TESTDATA_H

#include "Array.h"

#include <filesystem>

namespace qcc::run {

/// A folder test_data_set_N: tensors by their position in the graph. Their
/// names, when the files have them, need not be those of the graph.
struct TestData {
  std::vector<Array> inputs;
  std::vector<Array> outputs;
};

/// Reads input_N.pb and output_N.pb. Throws BadData, or Unsupported for what is
/// no dense tensor of numbers.
TestData readTestData(const std::filesystem::path &folder);

/// The inputs alone; outputs need not be there.
std::vector<Array> readTestInputs(const std::filesystem::path &folder);

/// One serialized onnx.TensorProto.
Array parseTensorProto(const std::string &bytes);

} // namespace qcc::run

#endif // QCC_LIB_DATA_TESTDATA_H
