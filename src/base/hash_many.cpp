// The rounds are those of FIPS 180-4, section 6.2.2, in the instructions that Intel describes in
// "Intel SHA Extensions" (2013): a state is two registers, ABEF and CDGH, and an instruction makes
// two rounds.
#include "base/hash_many.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define SPELL_SHA_EXTENSIONS
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace spell::base {

namespace {

void one_by_one(char first, std::span<const std::string_view> texts, std::span<Digest> digests) {
  Sha256 hash;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    hash.update({&first, 1});
    hash.update(texts[i]);
    digests[i] = hash.finish();
  }
}

#ifdef SPELL_SHA_EXTENSIONS

#define SPELL_TARGET __attribute__((target("sha,sse4.1")))
constexpr std::size_t block = 64;
constexpr int most_lanes = 4;

alignas(16) constexpr std::uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

bool has_extensions() {
  static const bool has = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
  }();
  return has;
}

/// A text on its way: three stretches of whole blocks, the first and the last made here.
struct Lane {
  __m128i abef, cdgh;
  std::size_t index = 0;
  struct Stretch {
    const std::uint8_t* at = nullptr;
    std::size_t blocks = 0;
  } stretches[3];
  int stretch = 0;
  std::uint8_t head[block], tail[2 * block];

  SPELL_TARGET void begin(std::size_t i, char first, std::string_view text) {
    index = i;
    stretch = 0;
    abef = _mm_set_epi32(0x6a09e667, static_cast<int>(0xbb67ae85), 0x510e527f,
                         static_cast<int>(0x9b05688c));
    cdgh = _mm_set_epi32(0x3c6ef372, static_cast<int>(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19);
    std::uint64_t bits = (text.size() + 1) * 8;
    stretches[0] = stretches[1] = {};
    // What does not fill a block goes to the tail, behind it a bit, zeros and the length in bits.
    std::memset(tail, 0, sizeof tail);
    std::size_t rest = 0;
    if (text.size() + 1 >= block) {
      head[0] = static_cast<std::uint8_t>(first);
      std::memcpy(head + 1, text.data(), block - 1);
      text.remove_prefix(block - 1);
      stretches[0] = {head, 1};
      stretches[1] = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size() / block};
      text.remove_prefix(text.size() / block * block);
    } else {
      tail[rest++] = static_cast<std::uint8_t>(first);
    }
    std::copy(text.begin(), text.end(), tail + rest);
    rest += text.size();
    std::size_t blocks = rest + 9 <= block ? 1 : 2;
    tail[rest] = 0x80;
    for (std::size_t k = 0; k < 8; ++k)
      tail[blocks * block - 1 - k] = static_cast<std::uint8_t>(bits >> 8 * k);
    stretches[2] = {tail, blocks};
    skip_empty();
  }
  void advance(std::size_t blocks) {
    stretches[stretch].at += blocks * block;
    stretches[stretch].blocks -= blocks;
    skip_empty();
  }
  void skip_empty() {
    while (stretch < 3 && stretches[stretch].blocks == 0) ++stretch;
  }
  bool ended() const { return stretch == 3; }
  std::size_t blocks() const { return stretches[stretch].blocks; }

  SPELL_TARGET Digest digest() const {
    alignas(16) std::uint32_t ab[4], cd[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(ab), abef);
    _mm_store_si128(reinterpret_cast<__m128i*>(cd), cdgh);
    std::uint32_t words[8] = {ab[3], ab[2], cd[3], cd[2], ab[1], ab[0], cd[1], cd[0]};
    Digest out;
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<std::uint8_t>(words[i / 4] >> (24 - 8 * (i % 4)));
    return out;
  }
};

/// So many blocks of each lane.
template <int N>
SPELL_TARGET void compress(Lane* const* lanes, std::size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef[N], cdgh[N], words[N][4];
  const std::uint8_t* at[N];
  for (int l = 0; l < N; ++l) {
    abef[l] = lanes[l]->abef;
    cdgh[l] = lanes[l]->cdgh;
    at[l] = lanes[l]->stretches[lanes[l]->stretch].at;
  }
  for (std::size_t k = 0; k < blocks; ++k) {
    __m128i abef_before[N], cdgh_before[N];
    for (int l = 0; l < N; ++l) {
      abef_before[l] = abef[l];
      cdgh_before[l] = cdgh[l];
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(round_constants + 4 * r));
      for (int l = 0; l < N; ++l) {
        auto& w = words[l];
        if (r < 4) {
          auto* from = reinterpret_cast<const __m128i*>(at[l] + k * block + 16 * r);
          w[r] = _mm_shuffle_epi8(_mm_loadu_si128(from), big_endian);
        } else {
          __m128i next = _mm_sha256msg1_epu32(w[r & 3], w[(r + 1) & 3]);
          next = _mm_add_epi32(next, _mm_alignr_epi8(w[(r + 3) & 3], w[(r + 2) & 3], 4));
          w[r & 3] = _mm_sha256msg2_epu32(next, w[(r + 3) & 3]);
        }
        __m128i sum = _mm_add_epi32(w[r & 3], constants);
        cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], sum);
        abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], _mm_shuffle_epi32(sum, 0x0e));
      }
    }
    for (int l = 0; l < N; ++l) {
      abef[l] = _mm_add_epi32(abef[l], abef_before[l]);
      cdgh[l] = _mm_add_epi32(cdgh[l], cdgh_before[l]);
    }
  }
  for (int l = 0; l < N; ++l) {
    lanes[l]->abef = abef[l];
    lanes[l]->cdgh = cdgh[l];
    lanes[l]->advance(blocks);
  }
}

void side_by_side(char first, std::span<const std::string_view> texts, std::span<Digest> digests) {
  Lane all[most_lanes];
  Lane* active[most_lanes];
  int lanes = 0;
  std::size_t next = 0;
  for (; lanes < most_lanes && next < texts.size(); ++lanes, ++next) {
    active[lanes] = &all[lanes];
    active[lanes]->begin(next, first, texts[next]);
  }
  while (lanes > 0) {
    std::size_t blocks = active[0]->blocks();
    for (int l = 1; l < lanes; ++l) blocks = std::min(blocks, active[l]->blocks());
    switch (lanes) {
      case 1:
        compress<1>(active, blocks);
        break;
      case 2:
        compress<2>(active, blocks);
        break;
      case 3:
        compress<3>(active, blocks);
        break;
      default:
        compress<most_lanes>(active, blocks);
    }
    for (int l = 0; l < lanes;) {
      if (!active[l]->ended()) {
        ++l;
        continue;
      }
      digests[active[l]->index] = active[l]->digest();
      if (next < texts.size()) {
        active[l]->begin(next, first, texts[next]);
        ++next, ++l;
      } else {
        active[l] = active[--lanes];
      }
    }
  }
}

#endif

}  // namespace

void sha256_many(char first, std::span<const std::string_view> texts, std::span<Digest> digests) {
#ifdef SPELL_SHA_EXTENSIONS
  if (has_extensions()) return side_by_side(first, texts, digests);
#endif
  one_by_one(first, texts, digests);
}

}  // namespace spell::base
