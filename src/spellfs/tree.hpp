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

/// State of a file or link that need not be saved if it is still the same (what a checkout made),
/// from lstat(2). Times of a file are as coarse as the kernel's tick (4 ms): a change right after
/// the state was taken is only sure to be seen if the mtime was set to another time than now
/// before.
struct KnownFile {
  std::int64_t size = 0, mtime_ns = 0, ctime_ns = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
};

struct SaveOptions {
  std::map<std::string, KnownFile> known{};  ///< relative path -> state: left out where unchanged
  std::vector<std::string> skip_folders{};   ///< names of folders to leave out wherever they are
  /// Asked in batches of up to 16 MiB which of the names are missing at the store: only these are
  /// written. Not set: all are written. May be called from a thread of save()'s own, one call at a
  /// time.
  std::function<Result<std::vector<Name>>(std::span<const Name>)> missing{};
  /// Called now and then with what was read so far, and at the end.
  std::function<void(std::int64_t files, std::int64_t bytes)> progress{};
};

struct SaveResult {
  std::optional<Name> tree{};                        ///< none: nothing to save
  std::int64_t files = 0, bytes = 0, new_bytes = 0;  ///< new_bytes: written to the pack
  std::int64_t left_out = 0;                         ///< files in skipped folders
  std::vector<std::string> skipped{};  ///< "path: why": sockets, devices, unreadable files
};

/// Reads what is new or changed below `folder` and writes its objects to `pack`. Links are kept as
/// links, never followed. A folder is part of the tree if something in it is saved, or if it is
/// empty and no known file was in it. A file that changes while it is read is read again twice,
/// then saved as it was read and named in `skipped`. What cannot be read is named in `skipped`, the
/// rest is saved. Errors: the folder itself cannot be read, the pack not written.
Result<SaveResult> save(const std::string& folder, const SaveOptions&, PackWriter& pack);

/// The entry at `path` below a tree; "" is the tree itself (mode 0755 and no mtime: those stand in
/// a parent's entry). Error `resource_not_found`.
Result<Entry> find(const ChunkStore&, const Name& tree, const std::string& path);
/// Entries of a folder node, sorted by name, those after `after`, at most `limit`.
Result<std::vector<Entry>> list(const ChunkStore&, const Name& tree, const std::string& after = {},
                                std::size_t limit = SIZE_MAX);
/// No single read() is longer: ask again behind it.
inline constexpr std::size_t max_read = 64 << 20;
/// Up to `size` bytes of a file at `offset`, fewer only at the end of the file or beyond
/// `max_read`. `file_node`: Entry::node. Holes are zeros. Errors: `range_not_satisfiable` (a
/// negative offset; one beyond the end reads ""), `object_not_found`, `damaged`.
Result<std::string> read(const ChunkStore&, const Name& file_node, std::int64_t file_size,
                         std::int64_t offset, std::size_t size);

}  // namespace spell::spellfs
