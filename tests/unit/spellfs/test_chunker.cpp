#include <set>

#include "spellfs/chunker.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

std::vector<std::size_t> cuts(std::string_view bytes) {
  std::vector<std::size_t> out;
  for (std::size_t at = 0; at < bytes.size(); out.push_back(at))
    at += first_chunk(bytes.substr(at));
  return out;
}

/// The definition in chunker.hpp, one byte at a time.
std::size_t by_definition(std::string_view bytes) {
  std::size_t end = std::min(bytes.size(), Chunking::max);
  std::uint64_t h = 0;
  for (std::size_t i = Chunking::min; i < end; ++i) {
    h = 2 * h + gear(static_cast<std::uint8_t>(bytes[i]));
    if (!(h & (i < Chunking::normal ? Chunking::mask_small : Chunking::mask_large))) return i;
  }
  return end;
}

}  // namespace

TEST_CASE("the gear table is derived as the format says") {
  auto digest = base::sha256(std::string("spell gear v1") + '\0');
  std::uint64_t first = 0;
  for (int i = 0; i < 8; ++i) first = first << 8 | digest[i];
  CHECK(gear(0) == first);
  std::set<std::uint64_t> all;
  for (int i = 0; i < 256; ++i) all.insert(gear(static_cast<std::uint8_t>(i)));
  CHECK(all.size() == 256);
}

TEST_CASE("the two-byte step cuts where the definition does") {
  for (std::uint64_t seed : {1, 2, 3}) {
    std::string bytes = noise((2 << 20) + seed, seed);
    std::string_view rest = bytes;
    while (!rest.empty()) {
      std::size_t cut = first_chunk(rest);
      REQUIRE(cut == by_definition(rest));
      rest.remove_prefix(cut);
    }
  }
}

TEST_CASE("chunks keep their bounds, and average about 64 KiB") {
  std::string bytes = noise(16 << 20, 7);
  auto at = cuts(bytes);
  std::size_t from = 0;
  for (std::size_t cut : at) {
    if (cut != bytes.size()) CHECK(cut - from >= Chunking::min);
    CHECK(cut - from <= Chunking::max);
    from = cut;
  }
  CHECK(at.back() == bytes.size());
  CHECK(bytes.size() / at.size() > (48 << 10));
  CHECK(bytes.size() / at.size() < (96 << 10));
  CHECK(first_chunk(std::string(2 << 20, '\0')) == Chunking::max);
  CHECK(first_chunk("") == 0);
  CHECK(first_chunk(noise(Chunking::min, 1)) == Chunking::min);
}

TEST_CASE("chunking v1 cuts a fixed input at fixed places") {
  std::ostringstream found;
  for (std::size_t cut : cuts(noise(1 << 20, 42))) found << cut << '\n';
  CHECK(found.str() == slurp(SPELL_SOURCE_DIR "/tests/unit/spellfs/golden/chunks-v1.txt"));
}

TEST_CASE("an insertion changes only the chunks around it") {
  std::string bytes = noise(8 << 20, 5);
  auto names = [](std::string_view all) {
    std::set<Name> out;
    while (!all.empty()) {
      std::size_t cut = first_chunk(all);
      out.insert(name_of(Kind::chunk, all.substr(0, cut)));
      all.remove_prefix(cut);
    }
    return out;
  };
  auto before = names(bytes);
  bytes.insert(3 << 20, "x");
  auto after = names(bytes);
  std::size_t fresh = 0;
  for (auto& name : after) fresh += !before.contains(name);
  CHECK(fresh >= 1);
  CHECK(fresh <= 4);
}
