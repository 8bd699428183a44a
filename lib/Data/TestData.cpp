//===- TestData.cpp - ONNX test data sets -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads the wire format of protocol buffers directly: one flat message with a
// dozen fields (onnx.proto, TensorProto). Nothing nests, so nothing recurses.
//===----------------------------------------------------------------------===//

#include "TestData.h"

#include <cstring>
#include <fstream>

using namespace qcc::run;

namespace {

/// A field of a message: its number and its value.
struct Field {
  uint32_t number = 0;
  uint32_t wire = 0;
  uint64_t value = 0;     ///< of varint and fixed fields
  std::string_view bytes; ///< of length-delimited fields
};

[[noreturn]] void malformed() {
  throw RunError(BadData, "is no serialized ONNX tensor");
}

/// Walks over the fields of one message.
class FieldReader {
public:
  explicit FieldReader(std::string_view text) : text(text) {}

  bool done() const { return text.empty(); }

  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (text.empty())
        malformed();
      auto byte = static_cast<unsigned char>(text[0]);
      text.remove_prefix(1);
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80)
        return value;
    }
    malformed();
  }

  Field next() {
    uint64_t tag = varint();
    Field field;
    field.number = uint32_t(tag >> 3);
    field.wire = uint32_t(tag & 7);
    if (field.wire == 0) {
      field.value = varint();
    } else if (field.wire == 2) {
      field.bytes = take(varint());
    } else if (field.wire == 1 || field.wire == 5) {
      std::string_view raw = take(field.wire == 1 ? 8 : 4);
      std::memcpy(&field.value, raw.data(), raw.size());
    } else {
      malformed();
    }
    return field;
  }

private:
  std::string_view take(uint64_t size) {
    if (size > text.size())
      malformed();
    std::string_view taken = text.substr(0, size);
    text.remove_prefix(size);
    return taken;
  }

  std::string_view text;
};

/// The elements of a tensor as its typed fields have them: numbers of 8 bytes
/// or, for the float fields, their own bytes.
struct TypedData {
  std::vector<uint64_t> integers; ///< int32_data, int64_data, uint64_data
  std::string floats;             ///< float_data, as bytes
  std::string doubles;            ///< double_data, as bytes
};

} // namespace

/// A repeated field of numbers, packed or one at a time.
static void addIntegers(const Field &field, std::vector<uint64_t> &to) {
  if (field.wire == 0) {
    to.push_back(field.value);
    return;
  }
  for (FieldReader packed(field.bytes); !packed.done();)
    to.push_back(packed.varint());
}

static void addFloats(const Field &field, size_t size, std::string &to) {
  if (field.wire == 2)
    to.append(field.bytes);
  else
    to.append(reinterpret_cast<const char *>(&field.value), size);
}

static void setBytes(Array &array, std::string_view bytes) {
  array.bytes.resize(bytes.size());
  if (!bytes.empty())
    std::memcpy(array.bytes.data(), bytes.data(), bytes.size());
}

/// int32_data and its like hold one number per element of a narrower type, or
/// per packed byte of a type below a byte.
static void setIntegers(Array &array, const std::vector<uint64_t> &integers) {
  uint64_t size = array.type->bits < 8 ? 1 : array.type->bits / 8;
  // Complex and double elements have fields of their own.
  if (size > 8)
    malformed();
  array.bytes.resize(integers.size() * size);
  for (size_t i = 0; i < integers.size(); ++i)
    std::memcpy(array.bytes.data() + i * size, &integers[i], size);
}

Array qcc::run::parseTensorProto(const std::string &bytes) {
  Array array;
  TypedData data;
  std::string_view raw;
  uint64_t type = 0;
  bool hasRaw = false;
  for (FieldReader reader(bytes); !reader.done();) {
    Field field = reader.next();
    switch (field.number) {
    case 1: { // dims
      std::vector<uint64_t> dims;
      addIntegers(field, dims);
      for (uint64_t dim : dims)
        array.shape.push_back(int64_t(dim));
      break;
    }
    case 2:
      type = field.value;
      break;
    case 4:
      addFloats(field, 4, data.floats);
      break;
    case 5:  // int32_data
    case 7:  // int64_data
    case 11: // uint64_data
      addIntegers(field, data.integers);
      break;
    case 8:
      array.name = field.bytes;
      break;
    case 9:
      raw = field.bytes;
      hasRaw = true;
      break;
    case 10:
      addFloats(field, 8, data.doubles);
      break;
    default:
      break;
    }
  }
  array.type = findOnnxType(int64_t(type));
  if (!array.type)
    throw RunError(Unsupported, "has elements of ONNX type " +
                                    std::to_string(type) +
                                    ", which no model takes");
  if (array.shape.size() > 32)
    malformed();
  if (hasRaw)
    setBytes(array, raw);
  else if (!data.floats.empty())
    setBytes(array, data.floats);
  else if (!data.doubles.empty())
    setBytes(array, data.doubles);
  else
    setIntegers(array, data.integers);
  uint64_t expected = byteCount(array.count(), *array.type);
  if (array.bytes.size() != expected)
    throw RunError(BadData, "has " + std::to_string(array.bytes.size()) +
                                " bytes of data, but its shape needs " +
                                std::to_string(expected));
  return array;
}

/// Protobuf's own limit on the length of a message.
static constexpr uint64_t maxFileBytes = uint64_t(1) << 31;

static std::vector<Array> readAll(const std::filesystem::path &folder,
                                  const std::string &prefix) {
  std::vector<Array> arrays;
  for (int i = 0; i < 65536; ++i) {
    std::filesystem::path path = folder / (prefix + std::to_string(i) + ".pb");
    std::error_code error;
    if (std::filesystem::symlink_status(path, error).type() ==
        std::filesystem::file_type::not_found)
      break;
    // To open a pipe would be to wait for its writer.
    if (!std::filesystem::is_regular_file(path, error) ||
        std::filesystem::file_size(path) > maxFileBytes)
      throw RunError(BadData, path.string() +
                                  ": expected a regular file of at most 2 GiB");
    std::ifstream in(path, std::ios::binary);
    if (!in)
      throw RunError(BadData, path.string() + " cannot be read");
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    try {
      arrays.push_back(widen(parseTensorProto(bytes)));
    } catch (const RunError &error) {
      throw RunError(error.code(), path.string() + " " + error.what());
    }
  }
  return arrays;
}

static void checkFolder(const std::filesystem::path &folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    throw RunError(Usage, "expected a folder of test data, but got " +
                              folder.string());
}

std::vector<Array>
qcc::run::readTestInputs(const std::filesystem::path &folder) {
  checkFolder(folder);
  return readAll(folder, "input_");
}

TestData qcc::run::readTestData(const std::filesystem::path &folder) {
  checkFolder(folder);
  TestData data{readAll(folder, "input_"), readAll(folder, "output_")};
  if (data.outputs.empty())
    throw RunError(BadData, "found no output_0.pb in " + folder.string());
  return data;
}
