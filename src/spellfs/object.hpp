// Objects of SpellFS: their names, and the nodes of files and folders. Pure encoding, no I/O.
//
// Name = algorithm tag 's' (SHA-256) + digest of (kind byte ‖ uncompressed bytes). Text form: "s" + 64 hex digits.
// Kinds: 'c' chunk, 'f' file node, 't' folder node: no user's bytes can pass for a tree.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"

namespace spell::spellfs {

enum class Kind : char { chunk = 'c', file = 'f', folder = 't' };

struct Name {
  std::array<std::uint8_t, 32> digest{};
  auto operator<=>(const Name&) const = default;
  std::string text() const;
  static std::optional<Name> parse(std::string_view text);
};
Name name_of(Kind kind, std::string_view bytes);

enum class EntryType : std::uint8_t { file = 1, folder = 2, link = 3 };

/// An entry of a folder.
struct Entry {
  std::string name;
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;         ///< permission bits
  std::int64_t mtime_ns = 0;
  std::int64_t size = 0;          ///< file: bytes; folder: bytes below; link: 0
  std::int64_t files = 0;         ///< folder: files below
  Name node{};                    ///< file: its file node (all zero: an empty file); folder: its folder node
  std::string target;             ///< link
};

}  // namespace spell::spellfs
