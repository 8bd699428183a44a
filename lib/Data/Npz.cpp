//===- Npz.cpp - reads and writes numpy archives ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The format: numpy.lib.format, versions 1 to 3.
//===----------------------------------------------------------------------===//

#include "Npz.h"

#include <charconv>
#include <cstring>
#include <set>
#include <zip.h>

using namespace qcc::run;

namespace {

constexpr uint64_t maxHeaderBytes = 65536;
constexpr int64_t maxMembers = 65536;
/// Bytes that any archive may expand to, and how much larger ones may.
constexpr uint64_t maxFreeBytes = uint64_t(256) << 20, maxExpansion = 20;

/// Reads the dictionary in a .npy header: three keys, no expressions.
class HeaderParser {
public:
  explicit HeaderParser(std::string_view text) : text(text) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      std::string key = parseString();
      expect(':');
      if (key == "descr")
        descr = parseString();
      else if (key == "fortran_order")
        fortranOrder = parseBool();
      else if (key == "shape")
        parseShape();
      else
        fail();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (descr.empty() || !hasShape)
      fail();
  }

  std::string descr;
  bool fortranOrder = false;
  std::vector<int64_t> shape;

private:
  [[noreturn]] static void fail() {
    throw RunError(BadData, "the header is not that of a plain numpy array");
  }

  void skipSpace() {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\n'))
      text.remove_prefix(1);
  }
  bool accept(char c) {
    skipSpace();
    if (text.empty() || text[0] != c)
      return false;
    text.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c))
      fail();
  }
  std::string parseString() {
    skipSpace();
    if (text.empty() || (text[0] != '\'' && text[0] != '"'))
      fail();
    size_t end = text.find(text[0], 1);
    if (end == std::string_view::npos)
      fail();
    std::string value(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    return value;
  }
  bool parseBool() {
    skipSpace();
    for (auto [word, value] :
         {std::pair("True", true), std::pair("False", false)}) {
      if (text.substr(0, strlen(word)) != word)
        continue;
      text.remove_prefix(strlen(word));
      return value;
    }
    fail();
  }
  void parseShape() {
    expect('(');
    hasShape = true;
    while (!accept(')')) {
      skipSpace();
      int64_t dim = -1;
      auto [end, error] =
          std::from_chars(text.data(), text.data() + text.size(), dim);
      if (error != std::errc() || dim < 0 || shape.size() >= 32)
        fail();
      text.remove_prefix(size_t(end - text.data()));
      shape.push_back(dim);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text;
  bool hasShape = false;
};

/// An open archive.
class Zip {
public:
  Zip(const std::filesystem::path &path, int flags, ExitCode onError) {
    int code = 0;
    archive = zip_open(path.c_str(), flags, &code);
    if (archive)
      return;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string text = zip_error_strerror(&error);
    if (code == ZIP_ER_NOZIP)
      text += "; np.savez(FILE, NAME=array) writes an .npz, where NAME is that "
              "of an input";
    zip_error_fini(&error);
    // The name first: callers do not say it again then.
    throw RunError(onError, path.string() + ": cannot be opened: " + text);
  }
  ~Zip() {
    if (archive)
      zip_discard(archive);
  }
  Zip(const Zip &) = delete;

  zip_t *archive = nullptr;
};

/// One member while it is read.
class MemberReader {
public:
  MemberReader(zip_t *archive, zip_uint64_t index)
      : file(zip_fopen_index(archive, index, 0)) {
    if (!file)
      throw RunError(BadData, "cannot be read");
  }
  ~MemberReader() { zip_fclose(file); }
  MemberReader(const MemberReader &) = delete;

  void read(void *to, uint64_t bytes) {
    auto *at = static_cast<char *>(to);
    while (bytes > 0) {
      zip_int64_t got = zip_fread(file, at, bytes);
      if (got <= 0)
        throw RunError(BadData, "ends too early or is damaged");
      at += got;
      bytes -= uint64_t(got);
    }
  }
  /// The archive compares its sum over the bytes when there are no more.
  void finish() {
    char more;
    if (zip_fread(file, &more, 1) != 0)
      throw RunError(BadData, "is damaged");
  }

private:
  zip_file_t *file;
};

} // namespace

/// Elements in the order of the last dim first become row-major.
static std::vector<std::byte> toRowMajor(const std::vector<std::byte> &bytes,
                                         const std::vector<int64_t> &shape,
                                         size_t size) {
  std::vector<std::byte> result(bytes.size());
  std::vector<int64_t> index(shape.size(), 0);
  std::vector<uint64_t> strides(shape.size());
  uint64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i, stride *= uint64_t(shape[i - 1]))
    strides[i] = stride;
  for (uint64_t at = 0; at < bytes.size() / size; ++at) {
    uint64_t from = 0;
    for (size_t i = 0; i < shape.size(); ++i)
      from += uint64_t(index[i]) * strides[i];
    std::memcpy(result.data() + at * size, bytes.data() + from * size, size);
    for (size_t i = shape.size(); i-- > 0;) {
      if (++index[i] < shape[i])
        break;
      index[i] = 0;
    }
  }
  return result;
}

/// The header of a .npy member; returns how many bytes it took.
static uint64_t readHeader(MemberReader &reader, uint64_t size,
                           std::string &text) {
  unsigned char start[12];
  if (size < 12)
    throw RunError(BadData, "is too short for a numpy array");
  reader.read(start, 10);
  if (std::memcmp(start, "\x93NUMPY", 6) != 0 || start[6] < 1 || start[6] > 3)
    throw RunError(BadData, "is no numpy array");
  uint64_t used = 10, length = start[8] | uint64_t(start[9]) << 8;
  if (start[6] >= 2) {
    reader.read(start + 10, 2);
    length |= uint64_t(start[10]) << 16 | uint64_t(start[11]) << 24;
    used = 12;
  }
  if (length > maxHeaderBytes || length > size - used)
    throw RunError(BadData,
                   "has a header of " + std::to_string(length) + " bytes");
  text.resize(length);
  reader.read(text.data(), length);
  return used + length;
}

/// `size` is what the archive says the member holds.
static Array readMember(zip_t *archive, zip_uint64_t index, uint64_t size,
                        const std::string &member) {
  MemberReader reader(archive, index);
  std::string text;
  uint64_t used = readHeader(reader, size, text);
  HeaderParser header(text);
  header.parse();
  Array array;
  std::string suffix;
  splitSuffix(member, array.name, suffix);
  array.shape = header.shape;
  array.type = findNpyType(header.descr, suffix);
  // A name may end like a type by chance.
  if (!array.type && !suffix.empty()) {
    array.name = member;
    array.type = findNpyType(header.descr, "");
  }
  if (!array.type)
    throw RunError(BadData, "has elements of type '" + header.descr +
                                "', which no model takes");
  unsigned bits = array.type->bits < 8 ? 8 : array.type->bits;
  uint64_t bytes = array.count() * (bits / 8);
  if (bytes != size - used)
    throw RunError(BadData, "has " + std::to_string(size - used) +
                                " bytes of data, but its shape needs " +
                                std::to_string(bytes));
  array.bytes.resize(bytes);
  reader.read(array.bytes.data(), bytes);
  reader.finish();
  if (header.fortranOrder)
    array.bytes = toRowMajor(array.bytes, array.shape, bits / 8);
  // Packing drops what is above an element, whatever the sign of the integers.
  array.bytes = pack(array.bytes, *array.type);
  return widen(std::move(array));
}

std::vector<Array> qcc::run::readNpz(const std::filesystem::path &path) {
  // To open a pipe would be to wait for its writer.
  std::error_code error; // a link to itself: opening it says so
  if (std::filesystem::exists(path, error) &&
      !std::filesystem::is_regular_file(path, error))
    throw RunError(BadData, path.string() + ": expected a regular file");
  Zip zip(path, ZIP_RDONLY, BadData);
  int64_t count = zip_get_num_entries(zip.archive, 0);
  if (count < 0 || count > maxMembers)
    throw RunError(BadData, path.string() + ": expected at most 65536 members");
  uint64_t total = 0, fileBytes = std::filesystem::file_size(path);
  std::vector<Array> arrays;
  std::set<std::string> names;
  for (zip_uint64_t i = 0; i < zip_uint64_t(count); ++i) {
    zip_stat_t stat;
    if (zip_stat_index(zip.archive, i, 0, &stat) != 0 ||
        !(stat.valid & ZIP_STAT_SIZE) || !(stat.valid & ZIP_STAT_NAME))
      throw RunError(BadData, path.string() + ": member " + std::to_string(i) +
                                  " has no size");
    std::string member = stat.name;
    if (member.size() > 4 && member.ends_with(".npy"))
      member.resize(member.size() - 4);
    if (!names.insert(member).second)
      throw RunError(BadData, path.string() + ": has two members '" + member +
                                  "'; leave one out");
    if (stat.size > maxArchiveBytes - total)
      throw RunError(Resources, path.string() + ": holds more than 16 GiB");
    total += stat.size;
    // Zeros pack a thousandfold: few bytes must not ask for much memory.
    if (total > maxFreeBytes && total / maxExpansion > fileBytes)
      throw RunError(Resources, path.string() + ": expands to more than " +
                                    std::to_string(maxExpansion) +
                                    " times its size");
    try {
      arrays.push_back(readMember(zip.archive, i, stat.size, member));
    } catch (const RunError &error) {
      throw RunError(error.code(),
                     path.string() + ": '" + member + "' " + error.what());
    }
  }
  return arrays;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// A .npy file, version 1: the header fills up a multiple of 64 bytes.
static std::string makeNpy(const Array &array) {
  std::string shape = "(";
  for (size_t i = 0; i < array.shape.size(); ++i)
    shape += std::to_string(array.shape[i]) + (i + 1 < array.shape.size() ? ", "
                                               : array.shape.size() == 1  ? ","
                                                                          : "");
  std::string header = std::string("{'descr': '") + array.type->npy +
                       "', 'fortran_order': False, 'shape': " + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += char(header.size() & 0xff);
  file += char(header.size() >> 8);
  std::vector<std::byte> bytes = unpack(array);
  file += header;
  file.append(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  return file;
}

void qcc::run::writeNpz(const std::filesystem::path &path,
                        const std::vector<Array> &arrays) {
  Zip zip(path, ZIP_CREATE | ZIP_TRUNCATE, CannotWrite);
  // The archive reads them when it is closed.
  std::vector<std::string> files;
  files.reserve(arrays.size());
  for (const Array &array : arrays) {
    files.push_back(makeNpy(array));
    std::string member = array.name + (*array.type->suffix ? "." : "") +
                         array.type->suffix + ".npy";
    zip_source_t *source = zip_source_buffer(zip.archive, files.back().data(),
                                             files.back().size(), 0);
    zip_int64_t index = source ? zip_file_add(zip.archive, member.c_str(),
                                              source, ZIP_FL_ENC_UTF_8)
                               : -1;
    if (index < 0)
      throw RunError(CannotWrite, "cannot add '" + member + "' to " +
                                      path.string() + ": " +
                                      zip_strerror(zip.archive));
    zip_set_file_compression(zip.archive, zip_uint64_t(index), ZIP_CM_STORE, 0);
    // 1980, where the dates of archives begin: equal arrays, equal bytes.
    zip_file_set_dostime(zip.archive, zip_uint64_t(index), 0, 1 << 5 | 1, 0);
  }
  if (zip_close(zip.archive) != 0)
    throw RunError(CannotWrite, "cannot write " + path.string() + ": " +
                                    zip_strerror(zip.archive));
  zip.archive = nullptr;
}
