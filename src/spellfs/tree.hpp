// Saving a folder into a pack, and reading trees: list, stat, file ranges.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "spellfs/object.hpp"
#include "spellfs/store.hpp"

namespace spell::spellfs {

/// State of a file that need not be saved if it is still the same (what a checkout made).
struct KnownFile {
  std::int64_t size = 0, mtime_ns = 0, ctime_ns = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
};

struct SaveOptions {
  std::map<std::string, KnownFile> known{};      ///< relative path -> state: left out where unchanged
  std::vector<std::string> skip_folders{};       ///< names of folders that are left out wherever they are
  /// Asked in batches for names that need not be written; not set: all are written.
  std::function<Result<std::vector<Name>>(std::span<const Name>)> missing{};
  std::function<void(std::int64_t files, std::int64_t bytes)> progress{};
};

struct SaveResult {
  std::optional<Name> tree{};      ///< none: nothing to save
  std::int64_t files = 0, bytes = 0, new_bytes = 0;  ///< new_bytes: written to the pack
  std::int64_t left_out = 0;       ///< files in skipped folders
  std::vector<std::string> skipped{};   ///< "path: why": sockets, devices, unreadable files
};

/// Reads what is new or changed below `folder` and writes its objects to `pack`. Links are kept as links, never followed.
Result<SaveResult> save(const std::string& folder, const SaveOptions&, PackWriter& pack);

/// The entry at `path` below a tree; "" is the tree itself. Error `resource_not_found`.
Result<Entry> find(const ChunkStore&, const Name& tree, const std::string& path);
/// Entries of a folder node, sorted by name, those after `after`, at most `limit`.
Result<std::vector<Entry>> list(const ChunkStore&, const Name& tree, const std::string& after = {}, std::size_t limit = SIZE_MAX);
/// Up to `size` bytes of a file at `offset`.
Result<std::string> read(const ChunkStore&, const Name& file_node, std::int64_t file_size, std::int64_t offset, std::size_t size);

}  // namespace spell::spellfs
