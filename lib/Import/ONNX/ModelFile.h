//===- ModelFile.h - a parsed model whose tensors stay in the file -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_MODELFILE_H
#define QCC_LIB_IMPORT_ONNX_MODELFILE_H

#include "onnx-ml.pb.h"
#include "qcc/Support/MappedFile.h"
#include <vector>

namespace qcc::onnx_import {

/// A range of bytes of the model file.
struct FileRange {
  uint64_t offset, size;
};

/// The message without the `raw_data` of its tensors: each is replaced by the
/// index of its range in `rawData`, four bytes little-endian, so that no weight
/// is ever copied to the heap.
struct ModelFile {
  std::shared_ptr<const MappedFile> file;
  onnx::ModelProto proto;
  std::vector<FileRange> rawData;
};

/// Reads a model. Errors: BadModelFile, LimitReached.
llvm::Expected<std::unique_ptr<ModelFile>> loadModelFile(llvm::StringRef path);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_MODELFILE_H
