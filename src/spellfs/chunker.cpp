#include "spellfs/chunker.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "base/hash.hpp"

namespace spell::spellfs {

namespace {

struct Gear {
  std::array<std::uint64_t, 256> one{}, doubled{};
  Gear() {
    for (int i = 0; i < 256; ++i) {
      base::Digest digest = base::sha256(std::string("spell gear v1") + static_cast<char>(i));
      for (int k = 0; k < 8; ++k) one[i] = one[i] << 8 | digest[k];
      doubled[i] = one[i] << 1;
    }
  }
  static const Gear& table() {
    static const Gear gear;
    return gear;
  }
};

/// Keeps a value in a register, so that a shift and a sum become one address computation: that
/// chain is what the time goes into.
inline void in_register([[maybe_unused]] std::uint64_t& value) {
#ifdef __GNUC__
  asm("" : "+r"(value));
#endif
}

/// The offset in [from, to) before which to cut, or `to`. Two bytes a step: h is doubled twice at
/// once, so after the first of the two bytes it is tested one bit higher.
std::size_t find_cut(const Gear& gear, const std::uint8_t* bytes, std::size_t from, std::size_t to,
                     std::uint64_t mask, std::uint64_t& hash) {
  std::size_t i = from;
  std::uint64_t h = hash;
  for (; i + 8 <= to; i += 8) {
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 8; k += 2) {
      std::uint64_t first = gear.doubled[bytes[i + k]];
      in_register(first);
      h = (h << 2) + first;
      if (!(h & mask << 1)) return i + k;
      h += gear.one[bytes[i + k + 1]];
      if (!(h & mask)) return i + k + 1;
    }
  }
  for (; i < to; ++i) {
    h = (h << 1) + gear.one[bytes[i]];
    if (!(h & mask)) return i;
  }
  hash = h;
  return to;
}

}  // namespace

std::uint64_t gear(std::uint8_t byte) { return Gear::table().one[byte]; }

std::size_t first_chunk(std::string_view bytes) {
  std::size_t end = std::min(bytes.size(), Chunking::max);
  if (end <= Chunking::min) return end;
  const Gear& gear = Gear::table();
  auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t normal = std::min(end, Chunking::normal);
  std::uint64_t h = 0;
  std::size_t cut = find_cut(gear, data, Chunking::min, normal, Chunking::mask_small, h);
  if (cut < normal) return cut;
  return find_cut(gear, data, normal, end, Chunking::mask_large, h);
}

}  // namespace spell::spellfs
