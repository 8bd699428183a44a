//===- Artifact.cpp - a compiled model and its runs -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Artifact.h"
#include "qcc/Support/LibraryFile.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <optional>
#include <set>

using namespace qcc::run;

ExitCode qcc::run::exitCodeOf(qcc_status status) {
  switch (status) {
  case QCC_OK:
    return Ok;
  case QCC_NOT_FOUND:
    return Usage;
  case QCC_BAD_SHAPE:
  case QCC_BAD_TYPE:
  case QCC_BAD_LAYOUT:
  case QCC_BAD_DATA:
    return BadData;
  case QCC_OUT_OF_MEMORY:
    return Resources;
  case QCC_BAD_WEIGHTS:
    return Integrity;
  case QCC_UNSUPPORTED_HOST:
    return Unsupported;
  case QCC_CANCELLED:
    return Interrupted;
  default:
    return Internal;
  }
}

/// Structures of the interface, filled by a call that must succeed.
template <typename T, typename Call> static T query(Call call) {
  T result{};
  result.struct_size = sizeof(T);
  if (qcc_status status = call(&result))
    throw RunError(Internal, "the model does not describe itself: status " +
                                 std::to_string(status));
  return result;
}

static void logToStderr(void *, int32_t level, const char *text) {
  // Errors come back as a status and are printed once.
  if (level != QCC_LOG_ERROR)
    std::fprintf(stderr, "note: %s\n", text);
}

Artifact::Artifact(const std::filesystem::path &path,
                   const OpenOptions &options) {
  std::error_code error;
  std::filesystem::path file =
      std::filesystem::is_directory(path, error) ? path / "libmodel.so" : path;
  if (!std::filesystem::exists(file, error))
    throw RunError(BadModel,
                   "expected an artifact with libmodel.so, but found none in " +
                       path.string());
  if (std::string fault = qcc::findLibraryFault(file.string()); !fault.empty())
    throw RunError(Integrity, file.string() + ": " + fault +
                                  "; compile the model again, or let `qcc "
                                  "verify` say which files are not whole");
  // Weights lie beside the library itself, not beside a link to it.
  library =
      dlopen(std::filesystem::canonical(file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw RunError(BadModel,
                   std::string("cannot load the library: ") + dlerror());
  auto find = reinterpret_cast<qcc_model_query_fn>(
      dlsym(library, "qcc_model_query_v1"));
  if (!find)
    throw RunError(BadModel,
                   file.string() +
                       " is no compiled model: it has no qcc_model_query_v1");
  api = find(QCC_ABI_VERSION, nullptr);
  if (!api)
    throw RunError(
        BadModel,
        file.string() +
            " needs a newer program: it has no interface of version 1");

  qcc_host host{};
  host.struct_size = sizeof(host);
  host.log = logToStderr;
  char text[1024] = "";
  qcc_open_options open{};
  open.struct_size = sizeof(open);
  open.host = options.quiet ? nullptr : &host;
  open.threads = options.threads;
  open.flags = (options.pin ? uint32_t(QCC_OPEN_PIN_THREADS) : 0) |
               (options.verify ? uint32_t(QCC_OPEN_VERIFY_WEIGHTS) : 0);
  open.error_text = text;
  open.error_text_size = sizeof(text);
  if (qcc_status status = api->open(&open, &model))
    throw RunError(exitCodeOf(status), text);
  description = query<qcc_model_info>(
      [&](auto *info) { return api->model_info(model, info); });
}

Artifact::~Artifact() {
  api->close(model);
  dlclose(library);
}

uint32_t Artifact::findEntry(const std::string &name) const {
  uint32_t entry = 0;
  if (name.empty() || api->find_entry(model, name.c_str(), &entry) == QCC_OK)
    return entry;
  std::string known;
  for (const std::string &other : entryNames())
    known += (known.empty() ? "" : ", ") + other;
  throw RunError(Usage,
                 "expected one of the entries " + known + ", but got " + name);
}

/// True if `array` has the sizes that are not symbolic.
static bool fits(const TensorSpec &spec, const Array &array) {
  if (spec.dims.size() != array.shape.size())
    return false;
  for (size_t i = 0; i < spec.dims.size(); ++i)
    if (spec.dims[i] >= 0 && spec.dims[i] != array.shape[i])
      return false;
  return true;
}

static std::string joinSizes(const std::set<int64_t> &sizes) {
  std::string text;
  for (auto size = sizes.begin(); size != sizes.end(); ++size) {
    bool isLast = std::next(size) == sizes.end();
    text += (size == sizes.begin() ? ""
             : isLast              ? " or "
                                   : ", ") +
            std::to_string(*size);
  }
  return text;
}

void Artifact::checkSizes(const std::vector<uint32_t> &entries,
                          const std::vector<Array> &arrays) const {
  std::vector<TensorSpec> first = inputs(entries.front());
  for (size_t i = 0; i < first.size(); ++i)
    for (const Array &array : arrays)
      for (size_t d = 0; d < first[i].dims.size(); ++d) {
        if (array.name != first[i].name ||
            array.shape.size() != first[i].dims.size())
          continue;
        std::set<int64_t> sizes;
        for (uint32_t entry : entries)
          sizes.insert(inputs(entry)[i].dims[d]);
        if (sizes.size() > 1 && *sizes.begin() >= 0 &&
            !sizes.contains(array.shape[d]))
          throw RunError(BadData, "input '" + array.name + "': expected dim " +
                                      std::to_string(d) + " to be " +
                                      joinSizes(sizes) + ", but got " +
                                      std::to_string(array.shape[d]));
      }
}

uint32_t Artifact::findEntryFor(const std::vector<Array> &arrays) const {
  std::vector<TensorSpec> first = inputs(0);
  std::vector<uint32_t> alike;
  for (uint32_t entry = 0; entry < description.num_entries; ++entry) {
    std::vector<TensorSpec> specs = inputs(entry);
    bool same =
        std::equal(specs.begin(), specs.end(), first.begin(), first.end(),
                   [](const auto &a, const auto &b) {
                     return a.name == b.name && a.dims.size() == b.dims.size();
                   });
    if (same)
      alike.push_back(entry);
    bool all =
        same && std::all_of(specs.begin(), specs.end(), [&](const auto &spec) {
          return std::any_of(
              arrays.begin(), arrays.end(), [&](const Array &array) {
                return array.name == spec.name && fits(spec, array);
              });
        });
    if (all)
      return entry;
  }
  checkSizes(alike, arrays);
  return 0;
}

/// A name of the model as the compiler writes it into that of an entry.
static std::string toIdentifier(std::string name) {
  for (char &c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return name;
}

/// The sizes in the name of an entry, `main_batch8_seq128`.
Sizes Artifact::entrySizes(const std::string &name) const {
  std::vector<std::string> symbols;
  for (uint32_t i = 0; i < description.num_symbols; ++i)
    symbols.emplace_back(query<qcc_symbol_info>([&](auto *to) {
                           return api->symbol_info(model, i, to);
                         }).name);
  Sizes sizes;
  std::string left = name;
  for (bool found = true; found;) {
    found = false;
    size_t digits = left.find_last_not_of("0123456789") + 1;
    if (digits == left.size() || left.size() - digits > 18)
      break;
    // Of names that end alike the longest.
    std::string longest, head = left.substr(0, digits);
    for (const std::string &symbol : symbols)
      if (head.ends_with("_" + toIdentifier(symbol)) &&
          symbol.size() > longest.size())
        longest = symbol;
    if (longest.empty())
      break;
    sizes.emplace_back(longest, std::stoll(left.substr(digits)));
    left.resize(digits - longest.size() - 1);
    found = true;
  }
  return sizes;
}

uint32_t Artifact::findEntryFor(const Sizes &asked,
                                std::optional<uint32_t> named) const {
  std::vector<std::string> names = entryNames();
  std::vector<Sizes> known;
  for (uint32_t entry = 0; entry < names.size(); ++entry) {
    if (named && entry != *named)
      continue;
    known.push_back(names.size() > 1 ? entrySizes(names[entry]) : Sizes());
    bool all = std::all_of(asked.begin(), asked.end(), [&](const auto &size) {
      return std::none_of(
          known.back().begin(), known.back().end(), [&](const auto &own) {
            return own.first == size.first && own.second != size.second;
          });
    });
    if (all)
      return entry;
  }
  for (const auto &[name, value] : asked) {
    std::set<int64_t> sizes;
    for (const Sizes &entry : known)
      for (const auto &own : entry)
        if (own.first == name)
          sizes.insert(own.second);
    if (!sizes.empty() && !sizes.contains(value))
      throw RunError(Usage, "--dim: expected " + name + " to be " +
                                joinSizes(sizes) + ", but got " +
                                std::to_string(value));
  }
  throw RunError(Usage, "--dim: no entry has all of these sizes");
}

std::vector<std::string> Artifact::entryNames() const {
  std::vector<std::string> names;
  names.reserve(description.num_entries);
  for (uint32_t i = 0; i < description.num_entries; ++i)
    names.push_back(query<qcc_entry_info>([&](auto *info) {
                      return api->entry_info(model, i, info);
                    }).name);
  return names;
}

std::vector<TensorSpec> Artifact::tensors(uint32_t entry,
                                          qcc_tensor_kind kind) const {
  auto counts = query<qcc_entry_info>(
      [&](auto *info) { return api->entry_info(model, entry, info); });
  uint32_t count = kind == QCC_STATE   ? description.num_states
                   : kind == QCC_INPUT ? counts.num_inputs
                                       : counts.num_outputs;
  std::vector<TensorSpec> specs;
  for (uint32_t i = 0; i < count; ++i) {
    auto info = query<qcc_tensor_info>(
        [&](auto *to) { return api->tensor_info(model, entry, kind, i, to); });
    TensorSpec spec{info.name,
                    findType(info.dtype),
                    {info.dims, info.dims + info.ndim},
                    {}};
    if (!spec.type)
      throw RunError(Unsupported,
                     "tensor '" + spec.name +
                         "' has a type that this program does not know");
    for (int32_t d = 0; d < info.ndim; ++d)
      spec.symbols.push_back(info.symbols[d] ? info.symbols[d] : "");
    specs.push_back(std::move(spec));
  }
  return specs;
}

std::vector<Site> Artifact::sites() const {
  std::vector<Site> sites;
  for (uint32_t i = 0; i < description.num_sites; ++i) {
    auto info = query<qcc_site_info>(
        [&](auto *to) { return api->site_info(model, i, to); });
    sites.push_back({info.entry, info.node, info.op, info.kernel});
  }
  return sites;
}

std::pair<int64_t, int64_t>
Artifact::symbolRange(const std::string &name) const {
  for (uint32_t i = 0; i < description.num_symbols; ++i) {
    auto info = query<qcc_symbol_info>(
        [&](auto *to) { return api->symbol_info(model, i, to); });
    if (name == info.name)
      return {info.min, info.max};
  }
  throw RunError(Usage, "the model has no size called " + name);
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

Runner::Runner(const Artifact &from, uint32_t number)
    : artifact(from), entry(number), inputSpecs(from.inputs(number)),
      outputSpecs(from.outputs(number)) {
  if (qcc_status status =
          artifact.api->context_create(artifact.model, nullptr, &context))
    throw RunError(exitCodeOf(status),
                   "cannot create a context: status " + std::to_string(status));
  outputTensors.resize(outputSpecs.size());
  for (size_t i = 0; i < outputSpecs.size(); ++i) {
    outputShapes.emplace_back(outputSpecs[i].dims.size());
    outputTensors[i].shape = outputShapes[i].data();
    outputPointers.push_back(&outputTensors[i]);
  }
}

Runner::~Runner() {
  freeOutputs();
  artifact.api->context_destroy(context);
}

void Runner::freeOutputs() {
  for (DLTensor &tensor : outputTensors)
    if (tensor.data)
      artifact.api->free_tensor(artifact.model, &tensor);
}

void Runner::setInputs(std::vector<Array> given, bool byPosition) {
  freeOutputs();
  arrays.clear();
  inputTensors.clear();
  inputPointers.clear();
  if (byPosition && given.size() != inputSpecs.size())
    throw RunError(BadData, "expected " + std::to_string(inputSpecs.size()) +
                                " inputs, but got " +
                                std::to_string(given.size()));
  for (size_t i = 0; i < inputSpecs.size(); ++i) {
    size_t at = byPosition ? i : 0;
    while (!byPosition && at < given.size() &&
           given[at].name != inputSpecs[i].name)
      ++at;
    if (at == given.size())
      throw RunError(BadData, "expected an array for input '" +
                                  inputSpecs[i].name + "', but got none");
    if (given[at].type != inputSpecs[i].type)
      throw RunError(BadData,
                     "input '" + inputSpecs[i].name + "': expected " +
                         describe(inputSpecs[i].type, inputSpecs[i].dims) +
                         ", but got " +
                         describe(given[at].type, given[at].shape));
    // Two inputs never have one name, so the array is not needed again.
    arrays.push_back(std::move(given[at]));
  }
  inputTensors.resize(arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    DLTensor &tensor = inputTensors[i];
    tensor.data = arrays[i].bytes.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = int32_t(arrays[i].shape.size());
    tensor.dtype = {arrays[i].type->code, arrays[i].type->bits, 1};
    tensor.shape = arrays[i].shape.data();
    inputPointers.push_back(&tensor);
  }
  // Shapes that only a run knows may be others in the next run.
  keepOutputs =
      artifact.api->infer_shapes(
          context, entry, inputPointers.data(), uint32_t(inputPointers.size()),
          outputPointers.data(), uint32_t(outputPointers.size())) == QCC_OK;
}

void Runner::run() {
  if (!keepOutputs)
    freeOutputs();
  qcc_status status = artifact.api->run(
      context, entry, inputPointers.data(), uint32_t(inputPointers.size()),
      outputPointers.data(), uint32_t(outputPointers.size()));
  if (status != QCC_OK)
    throw RunError(exitCodeOf(status), artifact.api->last_error(context));
}

std::vector<Array> Runner::outputs() const {
  std::vector<Array> result;
  result.reserve(outputSpecs.size());
  for (size_t i = 0; i < outputSpecs.size(); ++i)
    result.push_back(copyTensor(outputSpecs[i].name, outputTensors[i]));
  return result;
}

void Runner::observe(const qcc_observer *observer) {
  artifact.api->set_observer(context, observer);
}

qcc_memory_info Runner::memory() const {
  return query<qcc_memory_info>([&](auto *info) {
    return artifact.api->memory_need(
        artifact.model, nullptr, entry, inputPointers.data(),
        uint32_t(inputPointers.size()), info, nullptr, 0);
  });
}

Array qcc::run::copyTensor(const std::string &name, const DLTensor &tensor) {
  Array array;
  array.name = name;
  array.type = findType(tensor.dtype);
  if (!array.type)
    throw RunError(Unsupported,
                   "tensor '" + name +
                       "' has a type that this program does not know");
  array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  array.bytes.resize(byteCount(array.count(), *array.type));
  if (!array.bytes.empty())
    std::memcpy(array.bytes.data(),
                static_cast<const char *>(tensor.data) + tensor.byte_offset,
                array.bytes.size());
  return array;
}

//===----------------------------------------------------------------------===//
// Random inputs
//===----------------------------------------------------------------------===//

namespace {

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}

  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// From -1 to 1, in steps of 2^-23.
  float unit() {
    return float(int64_t(next() >> 40) - (int64_t(1) << 23)) / float(1 << 23);
  }

private:
  uint64_t state;
};

} // namespace

/// The code of a float of 8 bits and less that is made of random bits and near
/// 1; none for other types.
static std::optional<uint8_t> smallFloat(const TypeInfo &type, uint64_t bits) {
  switch (type.code) {
  case kDLFloat8_e4m3fn:
  case kDLFloat8_e4m3fnuz:
    return uint8_t((bits & 0x87) | 0x30);
  case kDLFloat8_e5m2:
  case kDLFloat8_e5m2fnuz:
    return uint8_t((bits & 0x83) | 0x38);
  case kDLFloat8_e8m0fnu:
    return uint8_t(126 + (bits & 1));
  case kDLFloat4_e2m1fn:
    return uint8_t(bits & 15);
  default:
    return std::nullopt;
  }
}

static void fillRandom(Array &array, Random &random, int64_t intMax) {
  uint64_t count = array.count();
  array.bytes.resize(byteCount(count, *array.type));
  const TypeInfo &type = *array.type;
  auto store = [&](uint64_t i, const auto &value) {
    std::memcpy(array.bytes.data() + i * sizeof(value), &value, sizeof(value));
  };
  for (uint64_t i = 0; i < count; ++i) {
    if (type.code == kDLFloat && type.bits == 32)
      store(i, random.unit());
    else if (type.code == kDLFloat && type.bits == 64)
      store(i, double(random.unit()));
    else if (type.code == kDLFloat && type.bits == 16)
      store(i, uint16_t((random.next() & 0x83ff) | 0x3400)); // 0.25 to 0.5
    else if (type.code == kDLBfloat)
      store(i, uint16_t(std::bit_cast<uint32_t>(random.unit()) >> 16));
    else if (type.code == kDLBool)
      store(i, uint8_t(random.next() & 1));
    else if ((type.code == kDLInt || type.code == kDLUInt) && type.bits >= 8) {
      uint64_t value = random.next() % (uint64_t(intMax) + 1);
      std::memcpy(array.bytes.data() + i * (type.bits / 8), &value,
                  type.bits / 8);
    } else if (std::optional<uint8_t> code = smallFloat(type, random.next())) {
      store(i, *code);
    } else {
      throw RunError(Unsupported, "input '" + array.name +
                                      "': there are no random values of type " +
                                      type.name);
    }
  }
}

std::vector<Array> qcc::run::makeRandomInputs(const Artifact &artifact,
                                              uint32_t entry, const Sizes &dims,
                                              uint64_t seed, int64_t intMax) {
  for (const auto &[name, value] : dims)
    artifact.symbolRange(name);
  Random random(seed);
  std::vector<Array> arrays;
  for (const TensorSpec &spec : artifact.inputs(entry)) {
    Array array{spec.name, spec.type, spec.dims, {}};
    for (size_t i = 0; i < spec.dims.size(); ++i) {
      if (spec.dims[i] >= 0)
        continue;
      if (spec.symbols[i].empty())
        throw RunError(Unsupported, "input '" + spec.name + "': its dim " +
                                        std::to_string(i) +
                                        " depends on others: give --inputs");
      array.shape[i] =
          std::max<int64_t>(1, artifact.symbolRange(spec.symbols[i]).first);
      for (const auto &[name, value] : dims)
        if (name == spec.symbols[i])
          array.shape[i] = value;
    }
    fillRandom(array, random, intMax);
    arrays.push_back(std::move(array));
  }
  return arrays;
}
