// Saving a file or folder into packs, changing a saved tree, reading it: list, stat, file ranges,
// and bringing it back to disk.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
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
  bool operator==(const KnownFile&) const = default;
};
KnownFile state_of(const struct stat&);

/// Memory that saves use again, one after the other or side by side: fresh memory costs as much as
/// reading into it. It grows as one of them needs it, and goes with the last who has it.
/// Thread-safe.
struct SaveRoom;
std::shared_ptr<SaveRoom> make_save_room();

struct SaveOptions {
  std::map<std::string, KnownFile> known{};  ///< relative path -> state: left out where unchanged
  /// Asked about a known file or link whose state is another, though not its size and mode: whether
  /// its content is what it was. `name` lies in the open folder. Not set: it counts as changed.
  std::function<bool(const std::string& path, int folder, const std::string& name)> same{};
  std::vector<std::string> skip_folders{};  ///< names of folders to leave out wherever they are
  /// Asked in batches of about `ask_bytes` which of the names are missing at the store: only these
  /// are written. Not set: all are written. May be called from a thread of save()'s own, one call
  /// at a time.
  std::function<Result<std::vector<Name>>(std::span<const Name>)> missing{};
  /// Called now and then with what was read so far, and at the end.
  std::function<void(std::int64_t files, std::int64_t bytes)> progress{};
  /// A file that remembers what the last save of the same folder found, so that unchanged files are
  /// not read again. Used only if `missing` says that the last save's tree is all there; written
  /// anew at the end. Lost, damaged or another folder's: read as if there were none. "": none.
  std::string cache{};
  /// True for what is to be left out; relative path. A folder's contents are not asked about then.
  std::function<bool(const std::string& path, bool is_folder)> ignore{};
  /// That read, hash and compress; 0: as many as there are cores, at most 8.
  int threads = 0;
  /// Error `canceled` soon after a stop is asked for.
  std::stop_token stop{};
  /// Kept in memory before it is asked about: less where asking costs nothing.
  std::size_t ask_bytes = 16 << 20;
  /// What is missing is compressed, on as many threads as there are, and written in batches of
  /// about so much.
  std::size_t write_bytes = 4 << 20;
  std::shared_ptr<SaveRoom> room{};  ///< none: one of its own
};

struct SaveResult {
  std::optional<Name> tree{};  ///< of a folder; none: nothing to save
  std::int64_t files = 0, bytes = 0;
  std::int64_t fresh_bytes = 0;        ///< of `bytes`, what the store did not have
  std::int64_t new_bytes = 0;          ///< written to the pack, compressed where that pays
  std::int64_t left_out = 0;           ///< files in skipped folders, and ignored ones
  std::vector<std::string> skipped{};  ///< "path: why": sockets, devices, unreadable files
  Entry root{};  ///< of what was saved; its name is the last component of the path
};

/// Reads what is new or changed below `path`, a folder, or a single file, and writes its objects to
/// `pack`. Links are kept as
/// links, never followed. A folder is part of the tree if something in it is saved, or if it is
/// empty and no known file was in it. A file that changes while it is read is read again twice,
/// then saved as it was read and named in `skipped`. What cannot be read is named in `skipped`, the
/// rest is saved. Errors: the path itself cannot be read (`not_found`, `not_permitted`,
/// `not_a_file`: a device or the like), the pack not written.
Result<SaveResult> save(const std::string& path, const SaveOptions&, PackWriter& pack);

/// Reads the first `size` bytes of a file that is open, fewer where there are no more, into an
/// entry without a name; the caller sees to it that nobody changes them meanwhile. `progress` and
/// `stop` are asked in this thread, about once a megabyte. Errors: `canceled`, those of reading and
/// of the pack.
Result<Entry> save_open_file(int fd, std::int64_t size, const SaveOptions&, PackWriter& pack);

/// What becomes of a path: an entry (its name is the path's last component, whatever it says), or
/// none: it goes. Folders on the way are made where they are missing (0755), and go with the last
/// that was in them.
using Changes = std::map<std::string, std::optional<Entry>>;
/// The tree with the changes, by writing only the nodes on their way to the root. `tree`: none for
/// an empty one. Returns the entry of the new root folder (without a name). What the changes name
/// must be in `pack` or the store. Errors: `invalid_path` (no plain relative path, or one below
/// what is no folder), `bad_node`, those of store and pack.
Result<Entry> edit(const ObjectSource&, const std::optional<Name>& tree, const Changes&,
                   PackWriter& pack);

/// The entry at `path` below a tree; "" is the tree itself (mode 0755 and no mtime: those stand in
/// a parent's entry). Error `resource_not_found`.
Result<Entry> find(const ObjectSource&, const Name& tree, const std::string& path);
/// Entries of a folder node, sorted by name, those after `after`, at most `limit`.
Result<std::vector<Entry>> list(const ObjectSource&, const Name& tree,
                                const std::string& after = {}, std::size_t limit = SIZE_MAX);
struct Piece;
/// Every entry of a folder, in order, read as it goes. An entry whose depth is 0 was not made
/// by a tree: its totals are not compared.
Result<> each_entry(const ObjectSource&, const Entry& folder,
                    const std::function<Result<>(Entry&)>& take);
/// Every piece of a file that has a node, see `small_file`.
Result<> each_piece(const ObjectSource&, const Name& node, std::int64_t size,
                    const std::function<Result<>(const Piece&)>& take);
/// The kind of the object that a file's or folder's entry names.
Kind kind_of(const Entry& entry);

struct RestoreOptions {
  bool durable = false;  ///< all is synced before it appears at the target
  /// Write permission is taken from all files and folders (a shared, read-only copy).
  bool read_only = false;
  int threads = 0;  ///< as SaveOptions::threads
  /// Called now and then with what was written so far, and at the end; one call at a time.
  std::function<void(std::int64_t files, std::int64_t bytes)> progress{};
  std::stop_token stop{};  ///< error `canceled` soon after
};
struct RestoreResult {
  std::int64_t files = 0, bytes = 0;
};

/// Brings a file or folder back as `target`, which must not exist yet (error `exists`), in a folder
/// that does. It is made under a temporary name beside it and renamed when it is whole; on an error
/// nothing stays. Modes, times, links (never followed) and holes are as they were saved.
Result<RestoreResult> restore(const ObjectSource&, const Entry& what, const std::string& target,
                              const RestoreOptions& = {});

/// No single read() is longer: ask again behind it.
inline constexpr std::size_t max_read = 64 << 20;
/// Up to `size` bytes of a file at `offset`, fewer only at the end of the file or beyond
/// `max_read`. `file_node`: Entry::node. Holes are zeros. Errors: `range_not_satisfiable` (a
/// negative offset; one beyond the end reads ""), `object_not_found`, `damaged`.
Result<std::string> read(const ObjectSource&, const Name& file_node, std::int64_t file_size,
                         std::int64_t offset, std::size_t size);

}  // namespace spell::spellfs
