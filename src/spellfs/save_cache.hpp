// The file that remembers what a save found: path -> state and node, for regular files, in the
// order in which a folder is walked, so it is read and written in one pass. Private to this module.
//
//   cache    "spellsc1" · device (8) · inode (8) of the folder · root node (32) · count (8) ·
//   entries
//            · SHA-256 of all before
//   entry    bytes shared with the path before (varint) · rest of the path (text) · size (varint)
//            · mtime, ctime in ns (8, 8) · inode (8) · mode (varint) · node or chunk (32; absent
//            where the size is 0)
//
// Fixed integers are little-endian. Whatever is wrong with a cache makes it an empty one.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spellfs/bytes.hpp"
#include "spellfs/node.hpp"
#include "spellfs/tree.hpp"

namespace spell::spellfs {

/// A file's state, and what it was saved as.
struct CachedFile {
  KnownFile state{};
  Name node{};
};

/// The order of a walk: components are compared one by one, as bytes.
bool walked_before(std::string_view a, std::string_view b);

struct SaveCacheHead {
  std::uint64_t device = 0, inode = 0;
  Name root{};
  std::uint64_t count = 0;
};

class SaveCacheReader {
 public:
  /// Error `bad_cache`.
  static Result<SaveCacheReader> open(std::string bytes);
  const SaveCacheHead& head() const { return head_; }
  /// The next file; none at the end. Error `bad_cache`.
  Result<std::optional<CachedFile>> next(std::string& path);

 private:
  std::string bytes_;
  std::size_t at_ = 0;
  SaveCacheHead head_;
  std::uint64_t read_ = 0;
};

class SaveCacheWriter {
 public:
  /// In the order of the walk.
  void add(const std::string& path, const CachedFile& file);
  std::uint64_t count() const { return count_; }
  /// The whole file's bytes.
  std::string finish(SaveCacheHead head);
  /// Beyond this it is not worth its memory: the save goes on without.
  bool too_large() const { return body_.size() > limit; }
  static constexpr std::size_t limit = 256 << 20;

 private:
  std::string body_, last_;
  std::uint64_t count_ = 0;
};

}  // namespace spell::spellfs
