//===- Hash.cpp - SHA-256 of large files ------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Hash.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/SHA256.h"
#include <cpuid.h>
#include <cstring>
#include <immintrin.h>

using namespace llvm;

namespace qcc {

/// The round constants: fractional parts of the cube roots of the first 64
/// primes (FIPS 180-4, 4.2.2).
alignas(16) static constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/// Whether the CPU has the SHA extensions (CPUID leaf 7, EBX bit 29) and
/// SSE4.1, whose blends go with them.
static bool hasShaInstructions() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 29 & 1))
    return false;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 19 & 1);
}

/// Adds blocks of 64 bytes to the state a, b, ... h. The instructions hold the
/// state as {f, e, b, a} and {h, g, d, c}.
__attribute__((target("sha,sse4.1"))) static void
addBlocks(uint32_t state[8], const char *data, size_t numBlocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef =
      _mm_set_epi32(static_cast<int>(state[0]), static_cast<int>(state[1]),
                    static_cast<int>(state[4]), static_cast<int>(state[5]));
  __m128i cdgh =
      _mm_set_epi32(static_cast<int>(state[2]), static_cast<int>(state[3]),
                    static_cast<int>(state[6]), static_cast<int>(state[7]));
  for (; numBlocks; --numBlocks, data += 64) {
    __m128i startAbef = abef, startCdgh = cdgh, words[4];
    for (unsigned i = 0; i < 16; ++i) {
      __m128i &word = words[i % 4];
      if (i < 4) {
        word = _mm_shuffle_epi8(
            _mm_loadu_si128(reinterpret_cast<const __m128i *>(data) + i), swap);
      } else {
        // W[t] from W[t-16], W[t-15], W[t-7] and W[t-2], four at a time.
        __m128i last = words[(i + 3) % 4];
        __m128i sum =
            _mm_add_epi32(_mm_sha256msg1_epu32(word, words[(i + 1) % 4]),
                          _mm_alignr_epi8(last, words[(i + 2) % 4], 4));
        word = _mm_sha256msg2_epu32(sum, last);
      }
      __m128i keyed = _mm_add_epi32(
          word, _mm_load_si128(reinterpret_cast<const __m128i *>(kRounds) + i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
    }
    abef = _mm_add_epi32(abef, startAbef);
    cdgh = _mm_add_epi32(cdgh, startCdgh);
  }
  alignas(16) uint32_t low[4], high[4];
  _mm_store_si128(reinterpret_cast<__m128i *>(low), abef);
  _mm_store_si128(reinterpret_cast<__m128i *>(high), cdgh);
  const uint32_t result[8] = {low[3], low[2], high[3], high[2],
                              low[1], low[0], high[1], high[0]};
  memcpy(state, result, sizeof(result));
}

Digest hashSha256(ArrayRef<char> bytes) {
  if (!hasShaInstructions())
    return SHA256::hash(
        {reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()});
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  size_t whole = bytes.size() / 64;
  addBlocks(state, bytes.data(), whole);
  // The rest, a one bit, zeros, and the length in bits: one block or two.
  char tail[128] = {};
  ArrayRef<char> rest = bytes.drop_front(whole * 64);
  llvm::copy(rest, tail);
  tail[rest.size()] = static_cast<char>(0x80);
  size_t tailBlocks = rest.size() < 56 ? 1 : 2;
  support::endian::write64be(tail + tailBlocks * 64 - 8,
                             static_cast<uint64_t>(bytes.size()) * 8);
  addBlocks(state, tail, tailBlocks);
  Digest digest;
  for (unsigned i = 0; i < 8; ++i)
    support::endian::write32be(digest.data() + 4 * i, state[i]);
  return digest;
}

std::string toText(const Digest &digest) {
  return "sha256:" + toHex(digest, /*LowerCase=*/true);
}

std::string hashBytes(StringRef bytes) {
  return toText(hashSha256(ArrayRef<char>(bytes.data(), bytes.size())));
}

Expected<std::string> hashFile(StringRef path) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file) {
    consumeError(file.takeError());
    return makeError(Diag::BadArtifact, path, "cannot be read");
  }
  return toText(hashSha256((*file)->getBytes()));
}

} // namespace qcc
