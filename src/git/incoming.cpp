#include "git/incoming.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::git {

namespace {

constexpr std::int64_t header_size = 12, trailer_size = 20;
constexpr std::int64_t smallest_object = 9;  // a byte of header and an empty zlib stream
constexpr std::int64_t most_objects = 20'000'000;

Error bad(const std::string& why) { return base::error("bad_pack", "bad pack: " + why); }

/// The number of objects that the header promises, checked against what can be in `size` bytes: the
/// library reserves memory for as many as are promised.
Result<> check_header(int fd, std::int64_t size) {
  unsigned char header[header_size];
  if (size < header_size + trailer_size) return bad("it is too short");
  auto got = base::pread_full(fd, header, sizeof header, 0);
  if (!got) return got.error();
  if (*got < sizeof header) return bad("it is cut off");
  if (std::memcmp(header, "PACK\0\0\0\2", 8) != 0)
    return bad("it does not begin as one of version 2");
  std::int64_t count =
      std::int64_t{header[8]} << 24 | header[9] << 16 | header[10] << 8 | header[11];
  if (count == 0) return bad("it is empty");
  if (count > most_objects || count > (size - header_size - trailer_size) / smallest_object)
    return bad("it promises more objects than it can hold");
  return ok();
}

Result<> sync_file(const std::string& path) {
  auto file = base::open(path, O_RDONLY);
  if (!file) return file.error();
  return ::fsync(file->get()) == 0 ? ok() : Result<>(base::errno_error("sync " + path));
}

class Checker {
 public:
  Checker(git_odb* odb, const OidSet& pack) : odb_(odb), pack_(pack), unvisited_(pack) {}

  Result<> run(const Oid& commit) {
    SPELL_TRY(need(commit, GIT_OBJECT_COMMIT, "commit " + base::hex(commit), ""));
    while (!queue_.empty()) {
      Item item = std::move(queue_.back());
      queue_.pop_back();
      SPELL_TRY(item.type == GIT_OBJECT_COMMIT ? visit_commit(item) : visit_tree(item));
    }
    if (!unvisited_.empty())
      return bad(std::to_string(unvisited_.size()) + " of its objects are not needed by commit " +
                 base::hex(commit));
    return ok();
  }

 private:
  struct Item {
    Oid id{};
    git_object_t type = GIT_OBJECT_TREE;
    std::string path{};
  };

  static Error translated(const Error& e) {
    return e.code() == "bad_object" || e.code() == "missing_object" ? bad(e.message()) : e;
  }

  /// Checks that an object is here and of its type, and queues it where its own needs are not known
  /// to be met.
  Result<> need(const Oid& id, git_object_t type, const std::string& shown,
                const std::string& path) {
    git_oid name = to_git(id);
    std::size_t size = 0;
    git_object_t found = GIT_OBJECT_INVALID;
    int rc = git_odb_read_header(&size, &found, odb_, &name);
    if (rc == GIT_ENOTFOUND)
      return base::error("incomplete_pack", "incomplete pack: " + shown + " (" +
                                                git_object_type2string(type) + " " + base::hex(id) +
                                                ") is missing");
    if (rc != 0) return library_error("bad_pack", "bad pack: cannot read " + shown);
    if (found != type)
      return bad(shown + " is a " + git_object_type2string(found) + ", not a " +
                 git_object_type2string(type));
    if (unvisited_.erase(id) > 0 && type != GIT_OBJECT_BLOB) queue_.push_back({id, type, path});
    return ok();
  }

  Result<> visit_commit(const Item& item) {
    auto commit = read_commit(odb_, item.id);
    if (!commit) return translated(commit.error());
    SPELL_TRY(need(commit->tree, GIT_OBJECT_TREE, "the tree of commit " + base::hex(item.id), ""));
    // History is welcome but not needed.
    for (auto& parent : commit->parents)
      if (pack_.contains(parent))
        SPELL_TRY(need(parent, GIT_OBJECT_COMMIT, "commit " + base::hex(parent), ""));
    return ok();
  }

  Result<> visit_tree(const Item& item) {
    Object object;
    auto entries = read_tree(odb_, item.id, object);
    if (!entries) return translated(entries.error());
    for (auto& entry : *entries) {
      std::string path = item.path + std::string(entry.name);
      if (!safe_name(entry.name)) return bad("a tree names '" + base::to_utf8(path) + "'");
      if (entry.mode == mode_module) continue;
      bool tree = entry.mode == mode_tree;
      SPELL_TRY(need(entry.id, tree ? GIT_OBJECT_TREE : GIT_OBJECT_BLOB, base::to_utf8(path),
                     tree ? path + '/' : ""));
    }
    return ok();
  }

  git_odb* odb_;
  const OidSet& pack_;
  OidSet unvisited_;
  std::vector<Item> queue_;
};

}  // namespace

Result<IndexedPack> index_pack(int fd, std::int64_t size, const std::string& folder) {
  start_library();
  SPELL_TRY(check_header(fd, size));
  // The library writes through a mapping, where a full disk is a signal instead of an error: ask
  // first, with some to spare.
  std::int64_t wanted = size + size / 4 + (16 << 20), free = base::free_bytes(folder);
  if (free >= 0 && free < wanted)
    return base::error("disk_full", "cannot store " + base::format_size(size) + " of code: only " +
                                        base::format_size(free) + " free at " + folder);
  git_indexer_options options = GIT_INDEXER_OPTIONS_INIT;
  git_indexer_progress progress{};
  IndexerPtr indexer;
  if (make(indexer, git_indexer_new, folder.c_str(), 0, nullptr, &options) != 0)
    return library_error("io_error", "cannot index a pack in " + folder);
  std::string buffer(1 << 20, '\0');
  for (std::int64_t at = 0; at < size;) {
    auto want = static_cast<std::size_t>(
        std::min<std::int64_t>(size - at, static_cast<std::int64_t>(buffer.size())));
    auto got = base::pread_full(fd, buffer.data(), want, at);
    if (!got) return got.error();
    if (*got < want) return bad("it is cut off");
    if (git_indexer_append(indexer.get(), buffer.data(), want, &progress) != 0)
      return library_error("bad_pack", "bad pack");
    at += static_cast<std::int64_t>(want);
  }
  if (progress.received_objects < progress.total_objects) return bad("it is cut off");
  // A delta's result may be far larger than the pack; our packs have none. Only they are not
  // indexed yet at this point.
  if (progress.indexed_objects < progress.total_objects) return bad("it has deltas");
  if (git_indexer_commit(indexer.get(), &progress) != 0)
    return library_error("bad_pack", "bad pack");
  IndexedPack pack;
  pack.folder = folder;
  pack.name = git_indexer_name(indexer.get());
  SPELL_TRY(sync_file(pack.pack_file()));
  SPELL_TRY(sync_file(pack.index_file()));
  SPELL_TRY(list_pack(pack.index_file(), pack.ids));
  return pack;
}

Result<> list_pack(const std::string& index_file, OidSet& ids) {
  git_odb_backend* backend = nullptr;
  if (git_odb_backend_one_pack(&backend, index_file.c_str()) != 0)
    return library_error("io_error", "cannot read " + index_file);
  int rc = backend->foreach (
      backend,
      [](const git_oid* id, void* payload) {
        static_cast<OidSet*>(payload)->insert(from_git(*id));
        return 0;
      },
      &ids);
  backend->free(backend);
  return rc == 0 ? ok() : Result<>(library_error("io_error", "cannot read " + index_file));
}

Result<> check_complete(const IndexedPack& pack, const std::string& objects_folder,
                        const Oid& commit) {
  OdbPtr odb;
  git_odb_backend* backend = nullptr;
  if (make(odb, git_odb_new) != 0 ||
      git_odb_backend_one_pack(&backend, pack.index_file().c_str()) != 0)
    return library_error("io_error", "cannot read " + pack.index_file());
  if (git_odb_add_backend(odb.get(), backend, 1000) != 0) {
    backend->free(backend);
    return library_error("io_error", "cannot read " + pack.index_file());
  }
  if (git_odb_add_disk_alternate(odb.get(), objects_folder.c_str()) != 0)
    return library_error("io_error", "cannot read " + objects_folder);
  return Checker(odb.get(), pack.ids).run(commit);
}

}  // namespace spell::git
