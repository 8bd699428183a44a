//===- TensorData.cpp - the bytes of a TensorProto, checked -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "TensorData.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/SmallFloat.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/SHA1.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Largest rank and size of a dimension; a product that overflows is refused
/// apart from them.
static constexpr int kMaxRank = 32;
static constexpr int64_t kMaxDim = int64_t(1) << 40;

Type getElementType(int32_t dataType, MLIRContext *context) {
  auto integer = [&](unsigned width, bool isUnsigned = false) -> Type {
    return IntegerType::get(context, width,
                            isUnsigned ? IntegerType::Unsigned
                                       : IntegerType::Signless);
  };
  switch (dataType) {
  case onnx::TensorProto::FLOAT:
    return Float32Type::get(context);
  case onnx::TensorProto::DOUBLE:
    return Float64Type::get(context);
  case onnx::TensorProto::FLOAT16:
    return Float16Type::get(context);
  case onnx::TensorProto::BFLOAT16:
    return BFloat16Type::get(context);
  case onnx::TensorProto::FLOAT8E4M3FN:
    return Float8E4M3FNType::get(context);
  case onnx::TensorProto::FLOAT8E4M3FNUZ:
    return Float8E4M3FNUZType::get(context);
  case onnx::TensorProto::FLOAT8E5M2:
    return Float8E5M2Type::get(context);
  case onnx::TensorProto::FLOAT8E5M2FNUZ:
    return Float8E5M2FNUZType::get(context);
  case onnx::TensorProto::FLOAT8E8M0:
    return Float8E8M0FNUType::get(context);
  case onnx::TensorProto::FLOAT4E2M1:
    return Float4E2M1FNType::get(context);
  case onnx::TensorProto::BOOL:
    return integer(1);
  case onnx::TensorProto::INT2:
    return integer(2);
  case onnx::TensorProto::UINT2:
    return integer(2, true);
  case onnx::TensorProto::INT4:
    return integer(4);
  case onnx::TensorProto::UINT4:
    return integer(4, true);
  case onnx::TensorProto::INT8:
    return integer(8);
  case onnx::TensorProto::UINT8:
    return integer(8, true);
  case onnx::TensorProto::INT16:
    return integer(16);
  case onnx::TensorProto::UINT16:
    return integer(16, true);
  case onnx::TensorProto::INT32:
    return integer(32);
  case onnx::TensorProto::UINT32:
    return integer(32, true);
  case onnx::TensorProto::INT64:
    return integer(64);
  case onnx::TensorProto::UINT64:
    return integer(64, true);
  default:
    return {};
  }
}

std::string getDataTypeName(int32_t dataType) {
  if (onnx::TensorProto::DataType_IsValid(dataType)) {
    static constexpr const char *kNames[] = {
        "UNDEFINED",      "FLOAT",      "UINT8",
        "INT8",           "UINT16",     "INT16",
        "INT32",          "INT64",      "STRING",
        "BOOL",           "FLOAT16",    "DOUBLE",
        "UINT32",         "UINT64",     "COMPLEX64",
        "COMPLEX128",     "BFLOAT16",   "FLOAT8E4M3FN",
        "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ",
        "UINT4",          "INT4",       "FLOAT4E2M1",
        "FLOAT8E8M0",     "UINT2",      "INT2"};
    if (static_cast<size_t>(dataType) < std::size(kNames))
      return kNames[dataType];
  }
  return std::to_string(dataType);
}

DenseElementsAttr TensorData::toAttribute() const {
  auto type = RankedTensorType::get(shape, elementType);
  ArrayRef<char> bytes = getBytes();
  if (elementType.isInteger(1)) {
    SmallVector<bool> values;
    for (char byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  if (unsigned width = elementType.getIntOrFloatBitWidth();
      width < 8 && isa<IntegerType>(elementType)) {
    bool isUnsigned = elementType.isUnsignedInteger();
    SmallVector<APInt> values;
    for (char byte : bytes)
      values.push_back(APInt(width,
                             static_cast<uint64_t>(static_cast<int64_t>(byte)),
                             !isUnsigned, true));
    return DenseElementsAttr::get(type, values);
  }
  // Attributes read their storage as whole elements: the file's bytes may have
  // any alignment.
  return DenseElementsAttr::getFromRawBuffer(type, SmallVector<char>(bytes));
}

/// Bytes that a tensor of this type takes in a file, where elements of less
/// than a byte are packed.
static uint64_t getPackedBytes(int64_t numElements, Type elementType) {
  unsigned width = elementType.getIntOrFloatBitWidth();
  if (width == 1)
    return numElements;
  return llvm::divideCeil(static_cast<uint64_t>(numElements) * width, 8);
}

/// One byte per element of packed 2 or 4-bit elements, sign- or zero-extended.
static std::string unpack(ArrayRef<char> packed, int64_t numElements,
                          unsigned width, bool isUnsigned) {
  std::string result(numElements, 0);
  unsigned perByte = 8 / width;
  for (int64_t i = 0; i < numElements; ++i) {
    auto bits =
        static_cast<uint8_t>(packed[i / perByte]) >> (i % perByte * width) &
        ((1 << width) - 1);
    result[i] =
        static_cast<char>(isUnsigned ? bits : llvm::SignExtend64(bits, width));
  }
  return result;
}

/// SHA-1 of a whole file in hex, which ONNX's `checksum` is.
static std::string getSha1(ArrayRef<char> bytes) {
  llvm::SHA1 hash;
  // It takes lengths of 32 bits.
  for (size_t at = 0; at < bytes.size(); at += 1 << 20)
    hash.update(StringRef(bytes.data() + at,
                          std::min<size_t>(bytes.size() - at, 1 << 20)));
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

llvm::Error TensorReader::readExternal(const onnx::TensorProto &tensor,
                                       StringRef name, TensorData &data,
                                       uint64_t expected) {
  // `basepath` is known and ignored: files lie below the model's folder.
  static constexpr StringRef kKeys[] = {"location", "offset", "length",
                                        "checksum", "basepath"};
  std::string location, checksum;
  uint64_t offset = 0, length = expected;
  llvm::StringSet<> seen;
  for (const onnx::StringStringEntryProto &entry : tensor.external_data()) {
    StringRef key = entry.key(), value = entry.value();
    if (!llvm::is_contained(kKeys, key))
      return makeError(Diag::BadExternalData, name,
                       "expected no key '" + key.take_front(100) +
                           "' of external data");
    if (!seen.insert(key).second)
      return makeError(Diag::BadExternalData, name,
                       "expected " + key + " of external data once");
    if (key == "location")
      location = entry.value();
    else if (key == "checksum")
      checksum = value.lower();
    else if ((key == "offset" && value.getAsInteger(10, offset)) ||
             (key == "length" && value.getAsInteger(10, length)))
      return makeError(Diag::BadExternalData, name,
                       "expected " + key + " to be a number, but got '" +
                           value.take_front(100) + "'");
  }
  if (tensor.has_raw_data())
    return makeError(Diag::BadTensor, name,
                     "expected no data beside external data");
  if (length != expected)
    return makeError(Diag::BadExternalData, name,
                     "expected " + Twine(expected) +
                         " bytes for its shape, but got " + Twine(length));
  auto [found, isNew] = files.try_emplace(location);
  std::shared_ptr<const MappedFile> &file = found->second.file;
  if (!file) {
    llvm::Expected<std::shared_ptr<const MappedFile>> opened =
        folder.open(location);
    if (!opened)
      return opened.takeError();
    file = std::move(*opened);
  }
  if (!checksum.empty()) {
    std::string &digest = found->second.digest;
    if (digest.empty())
      digest = getSha1(file->getBytes());
    if (digest != checksum)
      return makeError(Diag::BadExternalData, name,
                       "expected the SHA-1 digest " +
                           StringRef(checksum).take_front(100) + " of '" +
                           location + "', but got " + digest);
  }
  if (offset > file->getSize() || length > file->getSize() - offset)
    return makeError(Diag::BadExternalData, name,
                     "expected " + Twine(length) + " bytes at " +
                         Twine(offset) + " of '" + location + "', which has " +
                         Twine(file->getSize()));
  data.file = file;
  data.offset = offset;
  data.numBytes = length;
  return llvm::Error::success();
}

llvm::Error TensorReader::readRaw(const onnx::TensorProto &tensor,
                                  StringRef name, TensorData &data,
                                  uint64_t expected) {
  // The scan put an index in place of the bytes (ModelFile.h).
  assert(tensor.raw_data().size() == 4 && "raw data without a range");
  const FileRange &range =
      model.rawData[llvm::support::endian::read32le(tensor.raw_data().data())];
  if (range.size != expected)
    return makeError(Diag::BadTensor, name,
                     "expected " + Twine(expected) +
                         " bytes for its shape, but got " + Twine(range.size));
  data.file = model.file;
  data.offset = range.offset;
  data.numBytes = range.size;
  return llvm::Error::success();
}

/// Appends each number in little-endian as `T`.
template <typename T, typename Field>
static void appendAs(const Field &field, std::string &out) {
  for (auto value : field) {
    char bytes[sizeof(T)];
    llvm::support::endian::write<T>(bytes, static_cast<T>(value),
                                    llvm::endianness::little);
    out.append(bytes, sizeof(T));
  }
}

llvm::Error TensorReader::readTyped(const onnx::TensorProto &tensor,
                                    StringRef name, TensorData &data) {
  unsigned width = data.elementType.getIntOrFloatBitWidth();
  int64_t expected = data.numElements, count = 0;
  if (data.elementType.isF32()) {
    appendAs<float>(tensor.float_data(), data.owned);
    count = tensor.float_data_size();
  } else if (data.elementType.isF64()) {
    appendAs<double>(tensor.double_data(), data.owned);
    count = tensor.double_data_size();
  } else if (width == 64 && !data.elementType.isUnsignedInteger()) {
    appendAs<int64_t>(tensor.int64_data(), data.owned);
    count = tensor.int64_data_size();
  } else if (data.elementType.isUnsignedInteger() && width >= 32) {
    count = tensor.uint64_data_size();
    width == 64 ? appendAs<uint64_t>(tensor.uint64_data(), data.owned)
                : appendAs<uint32_t>(tensor.uint64_data(), data.owned);
  } else {
    count = tensor.int32_data_size();
    if (width == 32)
      appendAs<int32_t>(tensor.int32_data(), data.owned);
    else if (width == 16)
      appendAs<uint16_t>(tensor.int32_data(), data.owned);
    else
      appendAs<uint8_t>(tensor.int32_data(), data.owned);
    if (width == 2 || width == 4)
      expected = static_cast<int64_t>(
          getPackedBytes(data.numElements, data.elementType));
  }
  if (count != expected)
    return makeError(Diag::BadTensor, name,
                     "expected " + Twine(expected) +
                         " numbers for its shape, but got " + Twine(count));
  data.numBytes = data.owned.size();
  return llvm::Error::success();
}

llvm::Expected<TensorData> TensorReader::read(const onnx::TensorProto &tensor,
                                              StringRef name,
                                              MLIRContext *context) {
  TensorData data;
  data.elementType = getElementType(tensor.data_type(), context);
  if (!data.elementType)
    return makeError(Diag::UnsupportedType, name,
                     "a tensor of type " + getDataTypeName(tensor.data_type()) +
                         " is not supported");
  if (tensor.dims_size() > kMaxRank)
    return makeError(Diag::LimitReached, name,
                     "expected a rank of at most " + Twine(kMaxRank) +
                         ", but got " + Twine(tensor.dims_size()));
  if (tensor.has_segment())
    return makeError(Diag::UnsupportedForm, name,
                     "tensors in segments are not supported");
  data.numElements = 1;
  for (int64_t dim : tensor.dims()) {
    if (dim < 0 || dim > kMaxDim ||
        llvm::MulOverflow(data.numElements, dim, data.numElements) ||
        data.numElements > kMaxDim)
      return makeError(Diag::BadTensor, name,
                       "expected sizes from 0 to 2^40 in all, but got " +
                           Twine(dim));
    data.shape.push_back(dim);
  }
  unsigned width = data.elementType.getIntOrFloatBitWidth();
  uint64_t packed = getPackedBytes(data.numElements, data.elementType);
  llvm::Error error = tensor.data_location() == onnx::TensorProto::EXTERNAL
                          ? readExternal(tensor, name, data, packed)
                      : tensor.has_raw_data()
                          ? readRaw(tensor, name, data, packed)
                          : readTyped(tensor, name, data);
  if (error)
    return error;
  if (width == 2 || width == 4) {
    data.owned = unpack(data.getBytes(), data.numElements, width,
                        !data.elementType.isSignlessInteger());
    data.file.reset();
    data.numBytes = data.owned.size();
  }
  return data;
}

/// The position of element `i` of a sparse tensor, row-major; none if its
/// indices leave the shape. `indices` are `[count]` positions or `[count,
/// rank]` indices.
static std::optional<int64_t> getSparsePosition(const TensorData &indices,
                                                int64_t i,
                                                ArrayRef<int64_t> shape,
                                                int64_t numElements) {
  auto read = [&](int64_t at) {
    return static_cast<int64_t>(
        llvm::support::endian::read64le(indices.getBytes().data() + 8 * at));
  };
  if (indices.shape.size() == 1) {
    int64_t position = read(i);
    return position >= 0 && position < numElements ? std::optional(position)
                                                   : std::nullopt;
  }
  auto rank = static_cast<int64_t>(shape.size());
  int64_t position = 0;
  for (int64_t d = 0; d < rank; ++d) {
    int64_t index = read(i * rank + d);
    if (index < 0 || index >= shape[d])
      return std::nullopt;
    position = position * shape[d] + index;
  }
  return position;
}

llvm::Expected<TensorData>
TensorReader::readSparse(const onnx::SparseTensorProto &tensor, StringRef name,
                         MLIRContext *context) {
  llvm::Expected<TensorData> values = read(tensor.values(), name, context);
  if (!values)
    return values;
  llvm::Expected<TensorData> indices = read(tensor.indices(), name, context);
  if (!indices)
    return indices;
  auto bad = [&](const Twine &text) {
    return makeError(Diag::BadTensor, name, text);
  };
  if (isSmallFloat(values->elementType))
    return makeError(Diag::UnsupportedType, name,
                     "sparse tensors of floats of 8 bits and less are not "
                     "supported");
  TensorData dense;
  dense.elementType = values->elementType;
  dense.numElements = 1;
  for (int64_t dim : tensor.dims()) {
    if (dim < 1 || tensor.dims_size() > kMaxRank ||
        llvm::MulOverflow(dense.numElements, dim, dense.numElements) ||
        dense.numElements > kMaxDim)
      return bad("expected sizes from 1 to 2^40 in all, but got " + Twine(dim));
    dense.shape.push_back(dim);
  }
  int64_t count = values->numElements,
          rank = static_cast<int64_t>(dense.shape.size());
  bool isLinear = indices->shape == ArrayRef<int64_t>{count},
       isTuples = indices->shape == ArrayRef<int64_t>{count, rank};
  if (values->shape.size() != 1 || (!isLinear && !isTuples) ||
      !indices->elementType.isSignlessInteger(64))
    return bad("expected a vector of values, and an index of 64 bits or one "
               "for each dimension for each of them");
  int64_t size = getElementBytes(dense.elementType);
  constexpr int64_t bytesForOne = 64, bytesForNone = 1 << 16;
  int64_t given = static_cast<int64_t>(values->numBytes + indices->numBytes);
  if (dense.numElements > (bytesForNone + bytesForOne * given) / size)
    return makeError(Diag::LimitReached, name,
                     "expected a sparse tensor of at most " +
                         Twine(bytesForOne) + " times its bytes, but got " +
                         Twine(dense.numElements) + " elements for " +
                         Twine(count));
  dense.owned.assign(dense.numElements * size, 0);
  int64_t last = -1;
  for (int64_t i = 0; i < count; ++i) {
    std::optional<int64_t> position =
        getSparsePosition(*indices, i, dense.shape, dense.numElements);
    if (!position || *position <= last)
      return bad("expected ascending indices inside of its shape");
    last = *position;
    llvm::copy(values->getBytes().slice(i * size, size),
               dense.owned.begin() + last * size);
  }
  dense.numBytes = dense.owned.size();
  return dense;
}

} // namespace qcc::onnx_import
