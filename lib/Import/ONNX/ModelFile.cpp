//===- ModelFile.cpp - a parsed model whose tensors stay in the file -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Protobuf parses into owned strings, so a model of 2 GB would take 2 GB of
// heap. The scan below walks the wire format of the few messages that lead to
// tensors and rewrites them without `raw_data`; protobuf then parses the short
// form.
//
//===----------------------------------------------------------------------===//
#include "ModelFile.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Endian.h"

namespace qcc::onnx_import {
namespace {

/// Protobuf's own limit on the length of a message.
constexpr uint64_t kMaxModelBytes = 0x7fffffff;
/// Depth of messages; protobuf stops at 100 as well.
constexpr unsigned kMaxDepth = 100;

/// Messages on the way to a tensor. `Opaque` fields are copied as they are,
/// `Dropped` ones left out.
enum class Kind {
  Model,
  Graph,
  Node,
  Attribute,
  Function,
  SparseTensor,
  Tensor,
  RawData,
  Opaque,
  Dropped
};

/// What the length-delimited field `number` of a message holds (numbers of
/// onnx-ml.proto).
Kind getFieldKind(Kind message, uint64_t number) {
  switch (message) {
  case Kind::Model:
    // Field 20 is training_info: nothing of inference, and it may be large.
    return number == 7    ? Kind::Graph
           : number == 25 ? Kind::Function
           : number == 20 ? Kind::Dropped
                          : Kind::Opaque;
  case Kind::Graph:
    return number == 1    ? Kind::Node
           : number == 5  ? Kind::Tensor
           : number == 15 ? Kind::SparseTensor
                          : Kind::Opaque;
  case Kind::Node:
    return number == 5 ? Kind::Attribute : Kind::Opaque;
  case Kind::Attribute:
    if (number == 5 || number == 10)
      return Kind::Tensor;
    if (number == 6 || number == 11)
      return Kind::Graph;
    return number == 22 || number == 23 ? Kind::SparseTensor : Kind::Opaque;
  case Kind::Function:
    return number == 7    ? Kind::Node
           : number == 11 ? Kind::Attribute
                          : Kind::Opaque;
  case Kind::SparseTensor:
    return number == 1 || number == 2 ? Kind::Tensor : Kind::Opaque;
  case Kind::Tensor:
    return number == 9 ? Kind::RawData : Kind::Opaque;
  default:
    return Kind::Opaque;
  }
}

/// Rewrites one message after the other. All positions are offsets in the file.
class WireScan {
public:
  WireScan(llvm::ArrayRef<char> bytes, std::vector<FileRange> &rawData)
      : bytes(bytes), rawData(rawData) {}

  /// Appends the message at [begin, end) to `out`; false if it is malformed.
  bool copyMessage(Kind kind, uint64_t begin, uint64_t end, unsigned depth,
                   std::string &out);
  bool reachedLimit() const { return tooDeep; }

private:
  bool readVarint(uint64_t &position, uint64_t end, uint64_t &value);
  bool copyNested(Kind kind, uint64_t begin, uint64_t size, unsigned depth,
                  std::string &out);

  llvm::ArrayRef<char> bytes;
  std::vector<FileRange> &rawData;
  bool tooDeep = false;
};

void appendVarint(uint64_t value, std::string &out) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

bool WireScan::readVarint(uint64_t &position, uint64_t end, uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && position < end; shift += 7) {
    uint8_t byte = static_cast<uint8_t>(bytes[position++]);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return false;
}

bool WireScan::copyNested(Kind kind, uint64_t begin, uint64_t size,
                          unsigned depth, std::string &out) {
  if (kind == Kind::Dropped)
    return true;
  std::string nested;
  if (kind == Kind::RawData) {
    nested.resize(4);
    llvm::support::endian::write32le(nested.data(),
                                     static_cast<uint32_t>(rawData.size()));
    rawData.push_back({begin, size});
  } else if (!copyMessage(kind, begin, begin + size, depth + 1, nested)) {
    return false;
  }
  appendVarint(nested.size(), out);
  out += nested;
  return true;
}

bool WireScan::copyMessage(Kind kind, uint64_t begin, uint64_t end,
                           unsigned depth, std::string &out) {
  if (depth > kMaxDepth) {
    tooDeep = true;
    return false;
  }
  uint64_t position = begin;
  while (position < end) {
    uint64_t fieldBegin = position, tag, value;
    if (!readVarint(position, end, tag))
      return false;
    uint64_t afterTag = position;
    switch (tag & 7) {
    case 0:
      if (!readVarint(position, end, value))
        return false;
      break;
    case 1:
    case 5: {
      uint64_t width = (tag & 7) == 1 ? 8 : 4;
      if (end - position < width)
        return false;
      position += width;
      break;
    }
    case 2: {
      if (!readVarint(position, end, value) || value > end - position)
        return false;
      Kind child = getFieldKind(kind, tag >> 3);
      uint64_t dataBegin = position;
      position += value;
      if (child == Kind::Opaque)
        break;
      if (child != Kind::Dropped)
        out.append(bytes.data() + fieldBegin, afterTag - fieldBegin);
      if (!copyNested(child, dataBegin, value, depth, out))
        return false;
      continue;
    }
    default: // Groups are not used by ONNX.
      return false;
    }
    out.append(bytes.data() + fieldBegin, position - fieldBegin);
  }
  return true;
}

} // namespace

llvm::Expected<std::unique_ptr<ModelFile>> loadModelFile(llvm::StringRef path) {
  auto model = std::make_unique<ModelFile>();
  llvm::Expected<std::shared_ptr<const MappedFile>> file =
      MappedFile::open(path);
  if (!file)
    return file.takeError();
  model->file = std::move(*file);
  if (model->file->getSize() > kMaxModelBytes)
    return makeError(Diag::LimitReached, path,
                     "expected a model of at most 2147483647 bytes, but got " +
                         llvm::Twine(model->file->getSize()) +
                         "; export it with external data");
  WireScan scan(model->file->getBytes(), model->rawData);
  std::string skeleton;
  if (!scan.copyMessage(Kind::Model, 0, model->file->getSize(), 0, skeleton)) {
    if (scan.reachedLimit())
      return makeError(Diag::LimitReached, path,
                       "expected messages nested at most " +
                           llvm::Twine(kMaxDepth) + " deep");
    return makeError(
        Diag::BadModelFile, path,
        "expected an ONNX model, but the file is no protobuf message");
  }
  if (!model->proto.ParseFromString(skeleton))
    return makeError(
        Diag::BadModelFile, path,
        "expected an ONNX model, but the message cannot be parsed");
  if (!model->proto.has_graph() || !model->proto.has_ir_version())
    return makeError(
        Diag::BadModelFile, path,
        "expected an ONNX model, but the file has no graph or IR version");
  return model;
}

} // namespace qcc::onnx_import
