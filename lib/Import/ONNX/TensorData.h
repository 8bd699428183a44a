//===- TensorData.h - the bytes of a TensorProto, checked -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_TENSORDATA_H
#define QCC_LIB_IMPORT_ONNX_TENSORDATA_H

#include "ModelFile.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringMap.h"

namespace qcc::onnx_import {

/// The element type of an ONNX data type; null for strings, complex and
/// undefined ones.
mlir::Type getElementType(int32_t dataType, mlir::MLIRContext *context);
/// The ONNX name of a data type, as in `FLOAT16`; its number for unknown ones.
std::string getDataTypeName(int32_t dataType);

/// A tensor whose bytes were found and fit its shape: row-major, little-endian,
/// one byte per sub-byte element.
struct TensorData {
  llvm::SmallVector<int64_t> shape;
  mlir::Type elementType;
  int64_t numElements = 0;
  /// Where the bytes are if they are a range of a file as they stand.
  std::shared_ptr<const MappedFile> file;
  uint64_t offset = 0;
  /// Where they are otherwise: typed fields and packed sub-byte elements.
  std::string owned;
  uint64_t numBytes = 0;

  llvm::ArrayRef<char> getBytes() const {
    return file ? file->getBytes().slice(offset, numBytes)
                : llvm::ArrayRef<char>(owned.data(), owned.size());
  }
  /// The same as an attribute; bytes are copied.
  mlir::DenseElementsAttr toAttribute() const;
};

/// Finds the bytes of tensors: in the model file, in external files below its
/// folder, in typed fields.
class TensorReader {
public:
  TensorReader(const ModelFile &model, Folder folder)
      : model(model), folder(std::move(folder)) {}

  /// Errors: BadTensor, BadExternalData, UnsupportedType, LimitReached.
  llvm::Expected<TensorData> read(const onnx::TensorProto &tensor,
                                  llvm::StringRef name,
                                  mlir::MLIRContext *context);
  /// A sparse tensor as a dense one, with zeros where it has no element. What
  /// it takes is bounded by what its file holds of it. Errors: the same.
  llvm::Expected<TensorData> readSparse(const onnx::SparseTensorProto &tensor,
                                        llvm::StringRef name,
                                        mlir::MLIRContext *context);

private:
  llvm::Error readExternal(const onnx::TensorProto &tensor,
                           llvm::StringRef name, TensorData &data,
                           uint64_t expected);
  llvm::Error readRaw(const onnx::TensorProto &tensor, llvm::StringRef name,
                      TensorData &data, uint64_t expected);
  llvm::Error readTyped(const onnx::TensorProto &tensor, llvm::StringRef name,
                        TensorData &data);

  const ModelFile &model;
  Folder folder;
  /// An external file that is mapped, and its SHA-1 if that was asked for.
  struct ExternalFile {
    std::shared_ptr<const MappedFile> file;
    std::string digest;
  };
  /// External files by location.
  llvm::StringMap<ExternalFile> files;
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_TENSORDATA_H
