// Objects of SpellFS: their names, and the nodes of files and folders. Pure encoding, no I/O.
//
// Name = algorithm tag 's' (SHA-256) + digest of (kind byte ‖ uncompressed bytes). Text form: "s" +
// 64 hex digits.
// Kinds: 'c' chunk, 'f' file node, 't' folder node: no user's bytes can pass for a tree.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <map>
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
/// For hashed containers: the digest's own bits.
struct NameHash {
  std::size_t operator()(const Name& name) const noexcept {
    std::size_t bits;
    std::memcpy(&bits, name.digest.data(), sizeof bits);
    return bits;
  }
};

/// No object is larger, chunk or node.
inline constexpr std::size_t max_object = 512 << 10;
/// A file up to this size is one chunk and has no node: its entry names the chunk.
inline constexpr std::int64_t small_file = 16 << 10;
/// Sizes and counts stay exact in JSON.
inline constexpr std::int64_t max_size = (1LL << 53) - 1;
/// Folders within folders.
inline constexpr int max_depth = 256;

enum class EntryType : std::uint8_t { file = 1, folder = 2, link = 3 };

/// An entry of a folder.
struct Entry {
  std::string name;
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;  ///< permission bits
  std::int64_t mtime_ns = 0;
  std::int64_t size = 0;   ///< file: bytes; folder: bytes below; link: 0
  std::int64_t files = 0;  ///< folder: files and links below
  /// file: its file node (up to `small_file` bytes: its chunk; empty: all zero); folder: its folder
  /// node
  Name node{};
  std::string target;  ///< link
  int depth = 0;       ///< folder: levels of folders from here on (1: no folder in it)
  std::map<std::string, std::string> xattrs{};  ///< reserved: kept, not yet filled by save()
  bool operator==(const Entry&) const = default;
};

}  // namespace spell::spellfs
