//===- Wire.h - a serialized model as a tree of fields ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Mutants are made from bytes, not from protobuf messages: that needs no
// reflection, keeps fields that protobuf does not know, and can write what its
// setters would not.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_TEST_FUZZ_WIRE_H
#define QCC_TEST_FUZZ_WIRE_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qcc::fuzz {

/// What a field of a model holds. Messages first.
enum class Kind : uint8_t {
  Model,
  Graph,
  Node,
  Attribute,
  Function,
  Tensor,
  SparseTensor,
  ValueInfo,
  Type,
  TensorType,
  ElementType, ///< the element of a sequence, an optional or a map
  Shape,
  Dim,
  Opset,
  Entry,   ///< a pair of strings
  Segment, ///< part of a tensor
  LastMessage = Segment,
  Name,   ///< of a value: an edge of the graph
  OpName, ///< of an operator
  Text,
  Number,
  DataType, ///< a number of TensorProto.DataType
  Float,
  Bytes, ///< packed numbers, raw data
};

inline bool isMessage(Kind kind) { return kind <= Kind::LastMessage; }

/// A field with its tag. Messages have `fields`, numbers `number`, anything
/// else `bytes`.
struct Field {
  uint32_t tag = 0;
  Kind kind = Kind::Bytes;
  uint64_t number = 0;
  std::string bytes;
  std::vector<Field> fields;
};

/// Splits a serialized message into its fields (onnx-ml.proto). False if the
/// bytes are none; at most 100 messages deep.
bool parseMessage(std::string_view bytes, Kind kind, std::vector<Field> &fields,
                  unsigned depth = 0);

/// The bytes of fields: always a well-formed message.
void writeMessage(const std::vector<Field> &fields, std::string &out);

} // namespace qcc::fuzz

#endif // QCC_TEST_FUZZ_WIRE_H
