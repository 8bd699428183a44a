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
#include "llvm/Support/FileSystem.h"

namespace qcc::onnx_import {
namespace {

/// Protobuf's own limit on the length of a message.
constexpr uint64_t kMaxModelBytes = 0x7fffffff;
/// Depth of messages; protobuf stops at 100 as well.
constexpr unsigned kMaxDepth = 100;

/// Bytes of memory that protobuf may take for a model without its weights. Two
/// bytes of a file can ask for hundreds, so this is counted before parsing.
constexpr uint64_t kMaxCost = uint64_t(768) << 20;
/// What a message and a string take at least, and a number of a list.
constexpr uint64_t kMessageCost = 400, kStringCost = 64, kNumberCost = 8;
/// Longest name of a value, a node or an operator; most attributes of a node.
constexpr uint64_t kMaxNameBytes = 65536, kMaxAttributes = 4096;

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

/// Bytes of memory for each byte of a field that is copied as it is: lists of
/// numbers that may be packed, and messages that are mostly other messages.
uint64_t getExpansion(Kind message, uint64_t number) {
  switch (message) {
  case Kind::Graph:
    return number >= 11 && number <= 14 ? 32 : 1;
  case Kind::Attribute:
    return number == 14 || number == 15 ? 32 : number == 8 ? 8 : 1;
  case Kind::Tensor:
    return number == 1 || number == 5 || number == 7 || number == 11 ? 8 : 1;
  case Kind::SparseTensor:
    return 8;
  default:
    return 1;
  }
}

/// True for strings that name something.
bool isName(Kind message, uint64_t number) {
  switch (message) {
  case Kind::Node:
    return number <= 4 || number == 7 || number == 8;
  case Kind::Attribute:
    return number == 1 || number == 21;
  case Kind::Tensor:
    return number == 8;
  case Kind::Function:
    return number == 1 || number == 10 || (number >= 4 && number <= 6);
  default:
    return false;
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
  /// The limit that the file exceeds, as what was expected; empty if none.
  llvm::StringRef getLimit() const { return limit; }

private:
  bool readVarint(uint64_t &position, uint64_t end, uint64_t &value);
  /// Counts a field; false if it exceeds a limit.
  bool count(Kind message, uint64_t number, Kind child, uint64_t size);
  bool copyNested(Kind kind, uint64_t begin, uint64_t size, unsigned depth,
                  std::string &out);

  llvm::ArrayRef<char> bytes;
  std::vector<FileRange> &rawData;
  std::string limit;
  uint64_t cost = 0;
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

bool WireScan::count(Kind message, uint64_t number, Kind child, uint64_t size) {
  if (child != Kind::Opaque) {
    cost += kMessageCost;
  } else {
    cost += kStringCost + size * getExpansion(message, number);
    if (isName(message, number) && size > kMaxNameBytes)
      limit = "names of at most " + std::to_string(kMaxNameBytes) + " bytes";
  }
  if (cost > kMaxCost)
    limit = "a graph that takes at most 768 MiB to read, without weights in "
            "raw_data or in external files";
  return limit.empty();
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
    limit = "messages nested at most " + std::to_string(kMaxDepth) + " deep";
    return false;
  }
  uint64_t position = begin, numAttributes = 0;
  while (position < end) {
    uint64_t fieldBegin = position, tag, value;
    if (!readVarint(position, end, tag))
      return false;
    uint64_t afterTag = position;
    switch (tag & 7) {
    case 0:
      if (!readVarint(position, end, value))
        return false;
      cost += kNumberCost;
      break;
    case 1:
    case 5: {
      uint64_t width = (tag & 7) == 1 ? 8 : 4;
      if (end - position < width)
        return false;
      position += width;
      cost += kNumberCost;
      break;
    }
    case 2: {
      if (!readVarint(position, end, value) || value > end - position)
        return false;
      Kind child = getFieldKind(kind, tag >> 3);
      if (child != Kind::Dropped && !count(kind, tag >> 3, child, value))
        return false;
      if (child == Kind::Attribute && ++numAttributes > kMaxAttributes) {
        limit = "at most " + std::to_string(kMaxAttributes) +
                " attributes of a node";
        return false;
      }
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
  return cost <= kMaxCost || count(kind, 0, Kind::Opaque, 0);
}

} // namespace

/// What a file is that begins like those of other containers of models; "" if
/// nothing is known of it.
static llvm::StringRef findContainer(llvm::ArrayRef<char> bytes) {
  llvm::StringRef text(bytes.data(), bytes.size());
  if (text.starts_with("GGUF"))
    return "a GGUF file";
  // The length of a header in JSON, in 8 bytes.
  if (text.size() > 10 && text.substr(8, 2) == "{\"" &&
      llvm::support::endian::read64le(text.data()) <= text.size() - 8)
    return "a safetensors file";
  return "";
}

llvm::Expected<std::unique_ptr<ModelFile>> loadModelFile(llvm::StringRef path) {
  if (llvm::sys::fs::is_directory(path)) {
    bool isArtifact = llvm::sys::fs::exists(path + "/manifest.json");
    return makeError(Diag::BadModelFile, path,
                     isArtifact
                         ? "expected an ONNX model, but got an artifact, which "
                           "is compiled already; qcc-run runs it"
                         : "expected an ONNX model, but got a folder; name the "
                           "model in it");
  }
  auto model = std::make_unique<ModelFile>();
  llvm::Expected<std::shared_ptr<const MappedFile>> file =
      MappedFile::open(path);
  if (!file)
    return file.takeError();
  model->file = std::move(*file);
  if (llvm::StringRef kind = findContainer(model->file->getBytes());
      !kind.empty())
    return makeError(Diag::BadModelFile, path,
                     "expected an ONNX model, but got " + kind +
                         "; export the model that it was made of to ONNX");
  if (model->file->getSize() > kMaxModelBytes)
    return makeError(Diag::LimitReached, path,
                     "expected a model of at most 2147483647 bytes, but got " +
                         llvm::Twine(model->file->getSize()) +
                         "; export it with external data");
  WireScan scan(model->file->getBytes(), model->rawData);
  std::string skeleton;
  if (!scan.copyMessage(Kind::Model, 0, model->file->getSize(), 0, skeleton)) {
    if (!scan.getLimit().empty())
      return makeError(Diag::LimitReached, path,
                       "expected " + scan.getLimit() + ", but got more");
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
