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

#include "base/fd.hpp"
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

/// Reads a cache piece by piece: memory does not grow with the folder.
class SaveCacheReader {
 public:
  /// Reads all of it once, for its sum. Error `bad_cache`.
  static Result<SaveCacheReader> open(base::Fd file);
  const SaveCacheHead& head() const { return head_; }
  /// The next file; none at the end. Error `bad_cache`.
  Result<std::optional<CachedFile>> next(std::string& path);

 private:
  Result<> fill();

  base::Fd file_;
  std::int64_t read_up_to_ = 0, end_ = 0;  ///< in the file; the sum is behind the end
  std::string window_;
  std::size_t at_ = 0;  ///< in the window
  SaveCacheHead head_;
  std::uint64_t read_ = 0;
};

/// Writes one; what is many files' goes by way of a file without a name.
class SaveCacheWriter {
 public:
  /// `path`: what is to be replaced.
  explicit SaveCacheWriter(std::string path) : path_(std::move(path)) {}
  /// In the order of the walk.
  void add(const std::string& path, const CachedFile& file);
  std::uint64_t count() const { return count_; }
  /// Puts the cache in its place; not synced: one that is torn is none. Errors: those of writing,
  /// also of add().
  Result<> finish(SaveCacheHead head);

 private:
  Result<> spill();
  Result<> write(int fd, const SaveCacheHead& head);

  const std::string path_;
  std::string body_, last_;  ///< body: of the entries, what is not in the file
  base::Fd file_;
  Result<> written_ = ok();
  std::uint64_t count_ = 0;
};

}  // namespace spell::spellfs
