//===- Array.h - named tensors and their types ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DATA_ARRAY_H
#define QCC_LIB_DATA_ARRAY_H

#include "qcc/Runtime/qcc.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace qcc::run {

/// The exit codes of the command line.
enum ExitCode {
  Ok = 0,
  Internal = 1,
  Usage = 2,
  BadModel = 3,
  Unsupported = 4,
  BadData = 5,
  Missed = 6,
  Resources = 7,
  CannotWrite = 8,
  Integrity = 9,
  Interrupted = 130
};

/// The stable code of an error with this exit code (qcc explain CODE).
const char *getDiagnosticCode(ExitCode code);

/// What ends the program: one line for the user and an exit code.
class RunError : public std::runtime_error {
public:
  RunError(ExitCode code, const std::string &text)
      : std::runtime_error(text), exitCode(code) {}
  ExitCode code() const { return exitCode; }

private:
  ExitCode exitCode;
};

/// How an element type is called and where files have it.
struct TypeInfo {
  const char *name;
  uint8_t code; ///< DLPack's
  uint8_t bits;
  int onnx;           ///< TensorProto.DataType, 0: none
  const char *npy;    ///< the type of a .npy file, its bytes in this order
  const char *suffix; ///< of the name of a member whose npy type says too
                      ///< little ("bf16"), or ""
};

/// The type of a DLPack pair, an ONNX number or an npy type with suffix; null
/// when there is none.
const TypeInfo *findType(DLDataType dtype);
const TypeInfo *findOnnxType(int64_t number);
const TypeInfo *findNpyType(const std::string &npy, const std::string &suffix);
/// Whether a name ends in a suffix of a type: "x.bf16" is "x" and "bf16".
bool splitSuffix(const std::string &name, std::string &stem,
                 std::string &suffix);

/// Elements of a shape; throws BadData on overflow or negative dims.
uint64_t elementCount(const std::vector<int64_t> &shape);
/// Bytes of packed elements.
uint64_t byteCount(uint64_t count, const TypeInfo &type);

/// A dense tensor: types below a byte are packed, the first element in the low
/// bits.
struct Array {
  std::string name;
  const TypeInfo *type = nullptr;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  uint64_t count() const { return elementCount(shape); }
  /// Element `i` as a number; complex ones give their real part.
  double at(uint64_t i) const;
  /// The imaginary part, 0 for what is not complex.
  double imaginaryAt(uint64_t i) const;
};

/// "float32[2, 3]"
std::string describe(const TypeInfo *type, const std::vector<int64_t> &shape);

/// Elements of packed 2- and 4-bit types as one byte each, and back.
std::vector<std::byte> unpack(const Array &array);
/// The same elements in the type that models take, which is one byte for each
/// below a byte: int4 becomes int8.
Array widen(Array array);
std::vector<std::byte> pack(const std::vector<std::byte> &bytes,
                            const TypeInfo &type);

} // namespace qcc::run

#endif // QCC_LIB_DATA_ARRAY_H
