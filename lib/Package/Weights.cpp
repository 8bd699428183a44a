//===- Weights.cpp - weights as a file or as an object ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Weights.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using namespace llvm;

namespace qcc {

Expected<uint64_t> layoutWeights(MutableArrayRef<PackedTensor> weights) {
  uint64_t offset = 0;
  for (PackedTensor &tensor : weights) {
    tensor.offset = offset;
    uint64_t end = offset + tensor.size;
    // Far below 2^64, so that sums of later stages cannot overflow either.
    if (end < offset || end > (uint64_t(1) << 48))
      return makeError(Diag::LimitReached, tensor.name,
                       "expected weights of less than 256 TiB");
    offset = alignTo(end, kWeightAlignment);
  }
  return offset;
}

uint64_t getWeightBytes(ArrayRef<PackedTensor> weights) {
  if (weights.empty())
    return 0;
  return alignTo(weights.back().offset + weights.back().size, kWeightAlignment);
}

std::string makeWeightHeader(ArrayRef<PackedTensor> weights) {
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os);
  json.object([&] {
    json.attributeObject("__metadata__", [&] {
      json.attribute("format", "qcc-packed/1");
      for (const PackedTensor &tensor : weights)
        json.attribute("layout." + json::fixUTF8(tensor.name), tensor.format);
    });
    for (auto [index, tensor] : llvm::enumerate(weights)) {
      uint64_t end = index + 1 < weights.size() ? weights[index + 1].offset
                                                : getWeightBytes(weights);
      json.attributeObject(json::fixUTF8(tensor.name), [&, &tensor = tensor] {
        json.attribute("dtype", "U8");
        json.attributeArray("shape", [&] { json.value(end - tensor.offset); });
        json.attributeArray("data_offsets", [&] {
          json.value(tensor.offset);
          json.value(end);
        });
      });
    }
  });
  std::string header(8, '\0');
  header += text;
  header.resize(alignTo(header.size(), kWeightDataAlignment), ' ');
  support::endian::write64le(header.data(), header.size() - 8);
  return header;
}

Error fillWeights(ArrayRef<PackedTensor> weights, MutableArrayRef<char> bytes) {
  for (const PackedTensor &tensor : weights)
    if (Error error = tensor.fill(bytes.slice(tensor.offset, tensor.size)))
      return error;
  return Error::success();
}

} // namespace qcc
