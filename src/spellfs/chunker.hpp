// Chunking v1: cuts a file's bytes by content, so that an insertion changes only the chunks near
// it.
//
// FastCDC: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
// Deduplication", USENIX ATC 2016; the step of two bytes: Xia et al., "The Design of Fast
// Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 31(9), 2020.
//
//   gear[i]   the first 8 bytes, big-endian, of SHA-256("spell gear v1" ‖ byte i), i = 0 … 255
//   hash      h = 2h + gear[b] mod 2^64, beginning with h = 0 at the byte at offset `min`
//   cut       before the first byte, from offset `min` on, that leaves h & mask = 0;
//             mask is `mask_small` up to offset `normal`, from there on `mask_large`;
//             at `max` or the end of the bytes if there is none
//
// Level 2 of normalisation: 16 ± 2 bits for 64 KiB. The masks lie just below the top bit, where h
// depends on the last 46 to 63 bytes. The numbers are part of the format: they never change.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace spell::spellfs {

struct Chunking {
  static constexpr int version = 1;
  static constexpr std::size_t min = 16 << 10, normal = 64 << 10, max = 512 << 10;
  static constexpr std::uint64_t mask_small = ((1ULL << 18) - 1) << 45;
  static constexpr std::uint64_t mask_large = ((1ULL << 14) - 1) << 49;
};

/// The gear table's entry for a byte.
std::uint64_t gear(std::uint8_t byte);

/// Length of the first chunk of `bytes`, which hold at least Chunking::max or all up to the end.
std::size_t first_chunk(std::string_view bytes);

}  // namespace spell::spellfs
