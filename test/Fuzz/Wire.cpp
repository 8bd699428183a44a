//===- Wire.cpp - a serialized model as a tree of fields --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Wire.h"

namespace qcc::fuzz {
namespace {

/// The fields whose kind does not follow from how they are written: numbers of
/// onnx-ml.proto.
struct SchemaEntry {
  Kind message;
  uint32_t number;
  Kind kind;
};

constexpr SchemaEntry kSchema[] = {
    {Kind::Model, 7, Kind::Graph},
    {Kind::Model, 8, Kind::Opset},
    {Kind::Model, 14, Kind::Entry},
    {Kind::Model, 25, Kind::Function},
    {Kind::Opset, 1, Kind::Text},
    {Kind::Graph, 1, Kind::Node},
    {Kind::Graph, 2, Kind::Text},
    {Kind::Graph, 5, Kind::Tensor},
    {Kind::Graph, 11, Kind::ValueInfo},
    {Kind::Graph, 12, Kind::ValueInfo},
    {Kind::Graph, 13, Kind::ValueInfo},
    {Kind::Graph, 15, Kind::SparseTensor},
    {Kind::Node, 1, Kind::Name},
    {Kind::Node, 2, Kind::Name},
    {Kind::Node, 3, Kind::Text},
    {Kind::Node, 4, Kind::OpName},
    {Kind::Node, 5, Kind::Attribute},
    {Kind::Node, 7, Kind::Text},
    {Kind::Attribute, 1, Kind::Text},
    {Kind::Attribute, 4, Kind::Text},
    {Kind::Attribute, 5, Kind::Tensor},
    {Kind::Attribute, 6, Kind::Graph},
    {Kind::Attribute, 9, Kind::Text},
    {Kind::Attribute, 10, Kind::Tensor},
    {Kind::Attribute, 11, Kind::Graph},
    {Kind::Attribute, 14, Kind::Type},
    {Kind::Attribute, 15, Kind::Type},
    {Kind::Attribute, 20, Kind::Number},
    {Kind::Attribute, 21, Kind::Text},
    {Kind::Attribute, 22, Kind::SparseTensor},
    {Kind::Attribute, 23, Kind::SparseTensor},
    {Kind::Function, 1, Kind::OpName},
    {Kind::Function, 4, Kind::Name},
    {Kind::Function, 5, Kind::Name},
    {Kind::Function, 6, Kind::Text},
    {Kind::Function, 7, Kind::Node},
    {Kind::Function, 9, Kind::Opset},
    {Kind::Function, 10, Kind::Text},
    {Kind::Function, 11, Kind::Attribute},
    {Kind::Tensor, 2, Kind::DataType},
    {Kind::Tensor, 3, Kind::Segment},
    {Kind::Tensor, 8, Kind::Name},
    {Kind::Tensor, 13, Kind::Entry},
    {Kind::SparseTensor, 1, Kind::Tensor},
    {Kind::SparseTensor, 2, Kind::Tensor},
    {Kind::ValueInfo, 1, Kind::Name},
    {Kind::ValueInfo, 2, Kind::Type},
    {Kind::Type, 1, Kind::TensorType},
    {Kind::Type, 4, Kind::ElementType},
    {Kind::Type, 8, Kind::TensorType},
    {Kind::Type, 9, Kind::ElementType},
    {Kind::TensorType, 1, Kind::DataType},
    {Kind::TensorType, 2, Kind::Shape},
    {Kind::ElementType, 1, Kind::Type},
    {Kind::Shape, 1, Kind::Dim},
    {Kind::Dim, 2, Kind::Text},
    {Kind::Entry, 1, Kind::Text},
    {Kind::Entry, 2, Kind::Text},
};

Kind findKind(Kind message, uint32_t number, unsigned wire) {
  for (const SchemaEntry &entry : kSchema)
    if (entry.message == message && entry.number == number)
      return entry.kind;
  return wire == 0 ? Kind::Number : wire == 5 ? Kind::Float : Kind::Bytes;
}

bool readVarint(std::string_view &bytes, uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return false;
}

void writeVarint(uint64_t value, std::string &out) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

bool take(std::string_view &bytes, uint64_t count, std::string_view &part) {
  if (count > bytes.size())
    return false;
  part = bytes.substr(0, count);
  bytes.remove_prefix(count);
  return true;
}

} // namespace

bool parseMessage(std::string_view bytes, Kind kind, std::vector<Field> &fields,
                  unsigned depth) {
  if (depth > 100)
    return false;
  while (!bytes.empty()) {
    uint64_t tag, length;
    std::string_view part;
    if (!readVarint(bytes, tag) || tag > UINT32_MAX)
      return false;
    Field field;
    field.tag = static_cast<uint32_t>(tag);
    unsigned wire = tag & 7;
    field.kind = findKind(kind, field.tag >> 3, wire);
    switch (wire) {
    case 0:
      if (isMessage(field.kind) || !readVarint(bytes, field.number))
        return false;
      break;
    case 1:
    case 5:
      if (!take(bytes, wire == 1 ? 8 : 4, part))
        return false;
      field.bytes = part;
      break;
    case 2:
      if (!readVarint(bytes, length) || !take(bytes, length, part))
        return false;
      if (!isMessage(field.kind))
        field.bytes = part;
      else if (!parseMessage(part, field.kind, field.fields, depth + 1))
        return false;
      break;
    default:
      return false;
    }
    fields.push_back(std::move(field));
  }
  return true;
}

void writeMessage(const std::vector<Field> &fields, std::string &out) {
  for (const Field &field : fields) {
    writeVarint(field.tag, out);
    unsigned wire = field.tag & 7;
    if (wire == 0) {
      writeVarint(field.number, out);
    } else if (wire != 2) {
      std::string fixed = field.bytes;
      fixed.resize(wire == 1 ? 8 : 4);
      out += fixed;
    } else if (isMessage(field.kind)) {
      std::string nested;
      writeMessage(field.fields, nested);
      writeVarint(nested.size(), out);
      out += nested;
    } else {
      writeVarint(field.bytes.size(), out);
      out += field.bytes;
    }
  }
}

} // namespace qcc::fuzz
